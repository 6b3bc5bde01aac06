//! The life of a release, on a real S3 server over TLS: channels, rollouts, yanks, clean-up.

use std::process::Command;
use std::time::Duration;

use crate::bucket::*;
use crate::proxy::Fate;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_manifest::{Manifest, ReleaseKey};
use serde_json::{Value, json};

const PLACE: &str = "s3://firmware/lamp";

impl Bench {
    /// What a channel serves, and to how many percent.
    async fn serves(&self, channel: &str) -> (String, String) {
        let manifest = self.manifest(&format!("lamp/{channel}.json")).await;
        let rollout = manifest
            .rollout
            .map_or("100".to_owned(), |it| it.to_string());
        (manifest.version, rollout)
    }

    /// Runs a command as a person does.
    fn said(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().unwrap();
        let (said, complained) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert!(output.status.success(), "{args:?}: {said}{complained}");
        format!("{said}{complained}")
    }
}

fn pair(version: &str, rollout: &str) -> (String, String) {
    (version.to_owned(), rollout.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_from_beta_to_everyone_and_is_yanked() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "beta");
    let uploaded = bench.keys().await;

    // From beta to stable: the same bytes.
    let promote = [
        "promote",
        PLACE,
        "beta",
        "stable",
        "--rollout",
        "5%",
        "--by",
        "ada",
    ];
    let run = bench.s3ota(&[&promote[..], &["--dry-run"]].concat());
    assert_eq!(run.succeeded()["event"], "would_promote");
    assert_eq!(bench.keys().await, uploaded, "a dry run changes nothing");
    assert_eq!(bench.serves("stable").await, pair("1.0.0", "100"));
    let run = bench.s3ota(&promote);
    assert_eq!(run.succeeded()["event"], "promoted");
    assert_eq!(run.succeeded()["replaced"], "1.0.0");
    let (beta, stable) = (
        bench.manifest("lamp/beta.json").await,
        bench.manifest("lamp/stable.json").await,
    );
    assert_eq!((&stable.url, stable.sha256), (&beta.url, beta.sha256));
    assert_eq!(stable.uploader.as_deref(), Some("ada"));
    assert_eq!(bench.serves("stable").await, pair("1.1.0", "5"));
    let new: Vec<_> = bench.keys().await;
    let new: Vec<_> = new.iter().filter(|key| !uploaded.contains(key)).collect();
    assert!(
        matches!(&new[..], [filed] if filed.starts_with("lamp/history/stable/")),
        "nothing else is uploaded: {new:?}"
    );
    // Again is not a rollout to everyone.
    let run = bench.s3ota(&["promote", PLACE, "beta", "stable"]);
    assert_eq!(run.succeeded()["event"], "unchanged");

    for (percent, rollout) in [
        ("25%", "25"),
        ("12.5", "12.5"),
        ("pause", "0"),
        ("100%", "100"),
    ] {
        let args = ["rollout", PLACE, percent];
        let before = bench.serves("stable").await;
        bench
            .s3ota(&[&args[..], &["--dry-run"]].concat())
            .succeeded();
        assert_eq!(bench.serves("stable").await, before);
        assert_eq!(bench.s3ota(&args).succeeded()["event"], "rolled_out");
        assert_eq!(bench.serves("stable").await, pair("1.1.0", rollout));
    }
    assert_eq!(
        bench.s3ota(&["rollout", PLACE, "100"]).succeeded()["event"],
        "unchanged"
    );
    for (args, code) in [
        (["rollout", PLACE, "101%"], "publish.rollout"),
        (["promote", PLACE, "beta"], "cli.usage"),
        (["yank", PLACE, "latest"], "publish.version"),
    ] {
        assert_eq!(bench.s3ota(&args).usage_error(), code, "{args:?}");
    }
    assert_eq!(
        bench.s3ota(&["yank", PLACE, "3.0.0"]).error(),
        "release.unknown"
    );
    let nowhere = ["rollout", PLACE, "5%", "--channel", "nightly"];
    assert_eq!(bench.s3ota(&nowhere).error(), "channel.empty");

    // Withdrawn: stable goes back, beta never served another one.
    let yank = [
        "yank", PLACE, "1.1.0", "--reason", "it hangs", "--by", "grace",
    ];
    bench
        .s3ota(&[&yank[..], &["--dry-run"]].concat())
        .succeeded();
    assert_eq!(bench.serves("stable").await, pair("1.1.0", "100"));
    let run = bench.s3ota(&yank);
    assert_eq!(
        run.warnings(),
        ["release.left"],
        "devices that have it stay, and that is said"
    );
    assert_eq!(run.all("returned").len(), 2);
    assert_eq!(bench.serves("stable").await, pair("1.0.0", "100"));
    assert_eq!(bench.serves("beta").await, pair("1.1.0", "0"));
    assert!(!bench.manifest("lamp/stable.json").await.downgrade);
    bench.s3ota(&yank).succeeded();
    assert_eq!(bench.serves("stable").await, pair("1.0.0", "100"));

    // It does not come back.
    let firmware = bench.firmware(Chip::Esp32C3, "1.1.0", b"1.1.0");
    assert_eq!(bench.publish(&firmware, &[]).error(), "publish.yanked");
    let run = bench.s3ota(&["promote", PLACE, "beta", "stable"]);
    assert_eq!(run.error(), "publish.yanked");
    let said = run.events.last().unwrap()["message"].as_str().unwrap();
    assert!(
        said.contains("it hangs") && said.contains("grace"),
        "{said}"
    );

    // Who did what.
    let run = bench.s3ota(&["history", PLACE]);
    let story: Vec<String> = run
        .all("change")
        .iter()
        .map(|it| {
            let text = |field: &str| it[field].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                text("channel"),
                text("action"),
                text("version"),
                text("rollout")
            )
        })
        .collect();
    for told in [
        "stable publish 1.0.0 100",
        "stable promote 1.1.0 5",
        "stable rollout 1.1.0 12.5",
        "stable pause 1.1.0 0",
        "stable yank 1.0.0 100",
        "beta yank 1.1.0 0",
        "- mark 1.1.0 -",
    ] {
        assert_eq!(
            story.iter().filter(|it| *it == told).count(),
            1,
            "{told}: {story:#?}"
        );
    }
    assert_eq!(story.len(), 10, "{story:#?}");
    let of_stable = bench.s3ota(&["history", PLACE, "--channel", "stable", "--limit", "2"]);
    assert_eq!(of_stable.all("change").len(), 2);
    let serials = |run: &Run| -> Vec<u64> {
        let changes = run.all("change");
        changes
            .iter()
            .map(|it| it["serial"].as_u64().unwrap())
            .collect()
    };
    assert!(
        serials(&of_stable).is_sorted_by(|a, b| a > b),
        "the last first"
    );

    let run = bench.s3ota(&["list", PLACE]);
    let listed: Vec<_> = run
        .all("release")
        .iter()
        .map(|it| json!([it["version"], it["channels"], it["yanked"], it["has_image"]]))
        .collect();
    assert_eq!(
        listed,
        [
            json!(["1.1.0", ["beta"], true, true]),
            json!(["1.0.0", ["stable"], false, true])
        ]
    );
    let run = bench.s3ota(&["diff", PLACE, "beta", "1.0.0"]);
    let diff = run.succeeded();
    assert_eq!(diff["is_update"], false);
    assert_eq!(diff["versions"], json!(["1.1.0", "1.0.0"]));
    assert_eq!(diff["differences"]["rollout"], json!(["0%", "100%"]));
    assert_eq!(
        bench.s3ota(&["diff", PLACE, "1.0.0", "9.9.9"]).error(),
        "release.unknown"
    );
    let same = bench.s3ota(&["diff", PLACE, "stable", "stable"]);
    assert_eq!(same.succeeded()["differences"], json!({}));

    // The next release is one like any other, for the channels that went back too.
    bench.release("1.2.0", "stable");
    assert_eq!(bench.serves("stable").await, pair("1.2.0", "100"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_no_colours_without_a_terminal() {
    let bench = Bench::new(Access::PublicRead).await;
    assert!(bench.said(&["status", PLACE]).contains("s3ota publish"));
    assert!(bench.said(&["list", PLACE]).contains("s3ota publish"));
    assert!(
        bench
            .said(&["history", PLACE])
            .contains("nothing has happened")
    );
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "beta");
    let status = bench.said(&["status", PLACE]);
    let lines: Vec<&str> = status.lines().collect();
    assert!(
        lines[0].starts_with("CHANNEL  VERSION  ROLLOUT  SINCE"),
        "{status}"
    );
    assert!(
        lines[1].starts_with("beta     1.1.0    100%     "),
        "{status}"
    );
    assert!(
        lines[2].starts_with("stable   1.0.0    100%     "),
        "{status}"
    );
    assert!(!status.contains('\u{1b}'), "{status:?}");
    let history = bench.said(&["history", PLACE]);
    assert!(
        history
            .lines()
            .any(|line| line.contains("beta") && line.contains("publish")),
        "{history}"
    );
    let dry = bench.said(&["yank", PLACE, "1.0.0", "--dry-run"]);
    assert!(dry.contains("nothing was changed"), "{dry}");
    let paused = bench.said(&["rollout", PLACE, "pause"]);
    assert!(
        paused.contains("To continue: `s3ota rollout s3://firmware/lamp 100% --channel stable`"),
        "{paused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_publish_uploads_nothing() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = bench.publish(&firmware, &["--dry-run"]);
    assert_eq!(run.succeeded()["event"], "would_publish");
    assert_eq!(run.all("would_upload").len(), 3);
    assert!(bench.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_channel_stays_signed_and_going_back_needs_a_signed_permission() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let key = bench.path("release.key");
    let shown = bench.s3ota(&["pubkey", "release.key.pub"]);
    let point = shown.succeeded()["point"].as_str().unwrap().to_owned();
    let bytes: Vec<u8> = (0..point.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&point[at..at + 2], 16).unwrap())
        .collect();
    let public = ReleaseKey::from_point(bytes.try_into().unwrap());
    for (version, channel) in [("1.0.0", "stable"), ("1.1.0", "beta")] {
        let firmware = bench.firmware(Chip::Esp32C3, version, version.as_bytes());
        let args = ["--channel", channel, "--key", &key, "--expires", "90d"];
        bench.publish(&firmware, &args).published();
    }
    let signed = async |channel: &str| {
        let mut json = bench.read(&format!("lamp/{channel}.json")).await.2;
        let manifest = Manifest::parse(&mut json).unwrap();
        manifest.verify(&[public]).unwrap();
        assert_eq!(manifest.channel, Some(channel));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let left = manifest.expires.unwrap().unix_seconds() - now.unwrap().as_secs();
        (manifest.serial.unwrap(), left / 86_400)
    };

    let promote = ["promote", PLACE, "beta", "stable"];
    assert_eq!(bench.s3ota(&promote).error(), "publish.unsigned");
    let (before, _) = signed("stable").await;
    // Nor does a new channel begin unsigned without a flag.
    let new = ["promote", PLACE, "beta", "nightly"];
    for more in [&[][..], &["--dry-run"], &["--presign", "1d"]] {
        let run = bench.s3ota(&[&new[..], more].concat());
        assert_eq!(run.error(), "publish.unsigned", "{more:?}");
    }
    let keys = bench.keys().await;
    assert!(!keys.iter().any(|key| key.contains("nightly")), "{keys:?}");
    let unsigned = [&new[..], &["--unsigned"]].concat();
    bench.s3ota(&unsigned).succeeded();
    let manifest = bench.manifest("lamp/nightly.json").await;
    assert_eq!(manifest.signature, None);
    bench.remove("lamp/nightly.json").await;
    bench
        .s3ota(&[&promote[..], &["--key", &key]].concat())
        .succeeded();
    let (promoted, days) = signed("stable").await;
    assert!(promoted > before, "an older manifest cannot come back");
    assert!(
        (89..=90).contains(&days),
        "it lasts as long as the one on beta: {days} days"
    );
    let rollout = ["rollout", PLACE, "25%"];
    assert_eq!(bench.s3ota(&rollout).error(), "publish.unsigned");
    bench
        .s3ota(&[&rollout[..], &["--key", &key]].concat())
        .succeeded();
    assert!(signed("stable").await.0 > promoted);

    let yank = ["yank", PLACE, "1.1.0"];
    assert_eq!(bench.s3ota(&yank).error(), "publish.unsigned");
    let keys = bench.keys().await;
    assert!(
        !keys.iter().any(|key| key.contains("/yanked/")),
        "nothing was begun: {keys:?}"
    );
    for (args, code) in [
        (
            &["--allow-downgrade", "--expires", "7d"][..],
            "publish.unsigned",
        ),
        (&["--allow-downgrade", "--key", &key], "cli.usage"),
        (
            &["--allow-downgrade", "--key", &key, "--expires", "never"],
            "publish.expires",
        ),
    ] {
        assert_eq!(bench.s3ota(&[&yank[..], args].concat()).usage_error(), code);
    }
    bench
        .s3ota(&[&yank[..], &["--key", &key]].concat())
        .succeeded();
    assert_eq!(bench.serves("stable").await.0, "1.0.0");
    assert!(
        !bench.manifest("lamp/stable.json").await.downgrade,
        "never in silence"
    );
    signed("stable").await;
    // Asked for afterwards, the permission comes with an end.
    let allow = ["--key", &key, "--allow-downgrade", "--expires", "7d"];
    bench.s3ota(&[&yank[..], &allow].concat()).succeeded();
    let manifest = bench.manifest("lamp/stable.json").await;
    assert!(manifest.downgrade && manifest.version == "1.0.0");
    assert!(signed("stable").await.1 <= 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_on_a_yanked_release_moves_only_to_a_newly_signed_one() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let url = format!("{}/firmware/lamp/stable.json", bench.server.endpoint_url());
    let publish = |version: &str| {
        let firmware = bench.firmware(Chip::Esp32C3, version, version.as_bytes());
        let signed = ["--key", "release.key", "--expires", "90d"];
        bench.publish(&firmware, &signed).published();
        firmware
    };
    let first = publish("1.0.0");
    for flash in ["stays.bin", "returns.bin"] {
        bench.new_device(flash, &first);
    }
    // Looks for an update, starts what it installed, and confirms it; the version that runs in the end.
    let run = |flash: &str| {
        let run = bench.run_device(flash, bench.ca(), &url, &[]);
        let text = |event: &Value, field: &str| event[field].as_str().unwrap().to_owned();
        let refused = run.all("error").last().map(|error| text(error, "code"));
        let runs = text(run.all("boot").last().unwrap(), "version");
        (runs, refused)
    };
    let moved = |version: &str| (version.to_owned(), None);
    publish("1.1.0");
    for flash in ["stays.bin", "returns.bin"] {
        assert_eq!(run(flash), moved("1.1.0"));
    }

    let yank = ["yank", PLACE, "1.1.0", "--key", "release.key"];
    bench.s3ota(&yank).succeeded();
    assert_eq!(bench.serves("stable").await.0, "1.0.0");
    for flash in ["stays.bin", "returns.bin"] {
        assert_eq!(
            run(flash),
            ("1.1.0".to_owned(), Some("release.downgrade".to_owned())),
            "nothing moves it back in silence"
        );
    }
    // By a permission to go back, which is signed and ends.
    let allow = ["--allow-downgrade", "--expires", "7d"];
    let run_of_yank = bench.s3ota(&[&yank[..], &allow].concat());
    run_of_yank.succeeded();
    let silence = Vec::<&str>::new();
    assert_eq!(
        run_of_yank.warnings(),
        silence,
        "it says no more that they stay"
    );
    assert_eq!(run("returns.bin"), moved("1.0.0"));
    // Or by the good code under a higher version: both kinds of device take it.
    publish("1.1.1");
    for flash in ["stays.bin", "returns.bin"] {
        assert_eq!(run(flash), moved("1.1.1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_removes_what_nobody_needs_and_nothing_new() {
    let bench = Bench::new(Access::PublicRead).await;
    for minor in 0..4 {
        bench.release(&format!("1.{minor}.0"), "stable");
    }
    bench.release("2.0.0", "beta");
    bench
        .write("lamp/images/by-hand.bin", b"of someone else".to_vec())
        .await;
    let all = bench.keys().await;
    let images = |keys: &[String]| -> Vec<String> {
        let keys = keys
            .iter()
            .filter_map(|key| key.strip_prefix("lamp/images/"));
        keys.map(|key| key.split('-').next().unwrap().to_owned())
            .collect()
    };
    tokio::time::sleep(Duration::from_millis(2100)).await;

    // Younger than a day, as by default: someone may be about to publish it.
    let run = bench.s3ota(&["gc", PLACE, "--keep", "1", "--delete"]);
    assert_eq!(run.succeeded()["images"], 0);
    let gc = ["gc", PLACE, "--keep", "2", "--grace", "1s"];
    let run = bench.s3ota(&gc);
    assert_eq!(run.all("would_remove").len(), 2);
    assert_eq!(run.succeeded()["dry_run"], true);
    assert_eq!(
        bench.keys().await,
        all,
        "without --delete nothing is removed"
    );
    let run = bench.s3ota(&[&gc[..], &["--delete"]].concat());
    assert_eq!(run.all("removed").len(), 2);
    assert_eq!(
        images(&bench.keys().await),
        ["1.2.0", "1.3.0", "2.0.0", "by"]
    );

    // Its record stays, so the version keeps its bytes; the same bytes restore the image.
    let listed = bench.s3ota(&["list", PLACE]);
    let first = listed.all("release");
    let first = first.iter().find(|it| it["version"] == "1.0.0").unwrap();
    assert_eq!(first["has_image"], false);
    let other = bench.firmware(Chip::Esp32C3, "1.0.0", b"other bytes");
    assert_eq!(
        bench.publish(&other, &["--channel", "old"]).error(),
        "publish.exists"
    );
    bench.release("1.0.0", "old");
    assert_eq!(images(&bench.keys().await).len(), 5);

    // What the channel would go back to is kept, and it goes back to it.
    bench.s3ota(&["yank", PLACE, "1.3.0"]).succeeded();
    assert_eq!(bench.serves("stable").await.0, "1.2.0");

    // Where it is not known what a channel needs, nothing is removed.
    bench
        .write(
            "lamp/broken.json",
            br#"{"version": "1", "url": 5}"#.to_vec(),
        )
        .await;
    let run = bench.s3ota(&[&gc[..], &["--delete"]].concat());
    assert_eq!(run.error(), "manifest.invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_needs_attention() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    let run = bench.s3ota(&["status", PLACE]);
    assert_eq!(run.warnings(), Vec::<&str>::new());
    let channel = run.all("channel")[0];
    assert_eq!(channel["version"], "1.0.0");
    assert_eq!(channel["rollout"], "100");
    assert_eq!(channel["has_image"], true);
    assert!(
        channel["since"].is_string() && channel["by"] != Value::Null
            || std::env::var("USER").is_err()
    );

    let firmware = bench.firmware(Chip::Esp32C3, "1.1.0", b"");
    let args = ["--channel", "beta", "--expires", "2d", "--presign", "1h"];
    bench.publish(&firmware, &args).published();
    bench.write("lamp/broken.json", b"{".to_vec()).await;
    bench
        .write(
            "lamp/web-installer.json",
            br#"{"name": "lamp", "builds": []}"#.to_vec(),
        )
        .await;
    let image = bench
        .keys()
        .await
        .into_iter()
        .find(|key| key.starts_with("lamp/images/1.0.0"));
    bench
        .client
        .delete_object()
        .bucket("firmware")
        .key(image.unwrap())
        .send()
        .await
        .unwrap();
    let run = bench.s3ota(&["status", PLACE]);
    run.succeeded();
    let mut warnings = run.warnings();
    warnings.sort_unstable();
    assert_eq!(
        warnings,
        [
            "manifest.expires",
            "manifest.invalid",
            "publish.presign",
            "release.image"
        ],
        "the web installer's manifest is none of ours"
    );
    let ended = format!("{PLACE}/gone");
    assert_eq!(bench.s3ota(&["status", &ended]).events, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_location_can_be_set_once() {
    let bench = Bench::new(Access::PublicRead).await;
    let run = bench.s3ota(&[]);
    assert_eq!(
        run.succeeded(),
        &json!({ "event": "home", "location": null })
    );
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "beta");
    std::fs::write(
        bench.path("s3ota.toml"),
        // As Notepad saves it.
        "\u{feff}location = 's3://firmware/lamp'\r\nchannel = 'beta'\r\nby = 'ada'\r\n",
    )
    .unwrap();
    let run = bench.s3ota(&[]);
    assert_eq!(run.all("home")[0]["location"], PLACE);
    assert_eq!(run.all("channel").len(), 2);
    bench.s3ota(&["rollout", "50%"]).succeeded();
    assert_eq!(bench.serves("beta").await, pair("1.1.0", "50"));
    assert_eq!(
        bench.manifest("lamp/beta.json").await.uploader.as_deref(),
        Some("ada")
    );
    bench
        .s3ota(&["promote", "beta", "stable", "--by", "grace"])
        .succeeded();
    assert_eq!(
        bench.manifest("lamp/stable.json").await.uploader.as_deref(),
        Some("grace")
    );
    let image = ImageBuilder::new(Chip::Esp32C3, "1.2.0").project_name("lamp");
    std::fs::write(bench.path("next.bin"), image.build()).unwrap();
    bench.s3ota(&["publish", "next.bin"]).published();
    assert_eq!(bench.serves("beta").await.0, "1.2.0");
    // The setting `channel` is the one to change. It hides nothing of the history.
    let history = bench.s3ota(&["history"]);
    let channels = history.all("change");
    assert!(channels.iter().any(|change| change["channel"] == "stable"));
    let of_stable = bench.s3ota(&["history", "--channel", "stable"]);
    let changes = of_stable.all("change");
    assert!(!changes.is_empty());
    assert!(changes.iter().all(|change| change["channel"] == "stable"));
    let examined = bench.s3ota(&["doctor"]);
    assert_eq!(
        examined.all("finding")[0]["message"],
        "s3://firmware/lamp/beta.json exists"
    );
    let planned = bench.s3ota(&["bucket", "init", "--dry-run"]);
    assert_eq!(planned.succeeded()["prefix"], "lamp");
    bench.key("release");
    let key = ["--key", "release.key"];
    let unsigned = bench.s3ota(&[&["sign"][..], &key].concat());
    assert_eq!(unsigned.error(), "sign.untrusted");
    // A location among the options is not the one that is meant.
    let reason = ["yank", "1.2.0", "--reason", "s3://other/lamp has it too"];
    bench.s3ota(&reason).succeeded();
    assert_eq!(bench.serves("beta").await.0, "1.1.0");
    bench
        .s3ota(&[
            "rollout",
            "s3://firmware/lamp",
            "10%",
            "--channel",
            "stable",
        ])
        .succeeded();
    assert_eq!(bench.serves("stable").await.1, "10");
    let elsewhere = |command: &mut Command| {
        let output = command
            .env("S3OTA_LOCATION", "s3://firmware/other")
            .output();
        Run::of(output.unwrap())
    };
    let mut command = bench.command();
    let run = elsewhere(
        command
            .args(["--json", "list"])
            .current_dir(bench.dir.path()),
    );
    assert_eq!(run.status, 0);
    assert!(
        run.events.is_empty(),
        "the environment counts more than the file"
    );

    std::fs::write(bench.path("s3ota.toml"), "locaton = 's3://firmware/lamp'\n").unwrap();
    assert_eq!(bench.s3ota(&["list"]).usage_error(), "cli.config");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_image_is_uploaded_in_parts_and_arrives_whole() {
    let bench = Bench::new(Access::PublicRead).await;
    let large = bench.large_firmware("1.0.0");
    let image = std::fs::read(&large).unwrap();
    let mut requests = bench.server.requests();
    let run = bench.s3ota(&["publish", &large, PLACE, "--delta-from", "none"]);
    let sha256 = run.published()["sha256"].as_str().unwrap().to_owned();
    let key = format!("lamp/images/1.0.0-{}.bin", &sha256[..12]);
    assert!(bench.read(&key).await.2 == image);
    let mut puts = 0;
    while let Ok(request) = requests.try_recv() {
        puts += usize::from(request.method == "PUT" && request.path.contains("/images/"));
    }
    assert_eq!(puts, 2, "two parts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_multipart_upload_is_aborted() {
    let bench = Bench::new(Access::PublicRead).await;
    let large = bench.large_firmware("1.0.0");
    let decide = |asked: crate::proxy::Asked| async move {
        if asked.method == "PUT" && asked.path.contains("/images/") {
            Fate::NotImplemented
        } else {
            Fate::Pass
        }
    };
    let url = crate::proxy::proxy(&bench.server, decide, || {}).await;
    let run = bench.s3ota(&[
        "publish",
        &large,
        PLACE,
        "--delta-from",
        "none",
        "--endpoint-url",
        &url,
    ]);
    assert_eq!(run.error(), "s3.error");
    let left = bench.client.list_multipart_uploads().bucket("firmware");
    assert!(left.send().await.unwrap().uploads().is_empty());
    assert!(bench.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_goes_back_to_a_release_that_is_good_and_allowed() {
    let bench = Bench::new(Access::PublicRead).await;
    for minor in 0..5 {
        bench.release(&format!("1.{minor}.0"), "stable");
    }
    // 1.3.0 was yanked before, and the image of 1.2.0 is gone.
    bench.s3ota(&["yank", PLACE, "1.3.0"]);
    let keys = bench.keys().await;
    let image = keys.iter().find(|key| key.contains("images/1.2.0-"));
    let delete = bench.client.delete_object().bucket("firmware");
    delete.key(image.unwrap()).send().await.unwrap();
    bench.s3ota(&["yank", PLACE, "1.4.0"]).succeeded();
    assert_eq!(bench.serves("stable").await, pair("1.1.0", "100"));

    // Devices do not go below 1.5.0 any more, so nothing is left where that is yanked.
    bench.key("release");
    for (version, min_version) in [("1.4.1", "1.0.0"), ("1.5.0", "1.5.0")] {
        let firmware = bench.firmware(Chip::Esp32C3, version, b"");
        let args = ["--key", "release.key", "--min-version", min_version];
        bench.publish(&firmware, &args).published();
    }
    let yank = ["yank", PLACE, "1.5.0", "--key", "release.key"];
    bench.s3ota(&yank).succeeded();
    assert_eq!(bench.serves("stable").await, pair("1.5.0", "0"));
}

/// After a slip that --other-chip allowed, for example.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_does_not_go_back_to_a_release_that_its_devices_refuse() {
    let bench = Bench::new(Access::PublicRead).await;
    let c6 = bench.firmware(Chip::Esp32C6, "1.3.0", b"");
    let kettle = bench.path("kettle.bin");
    let image = ImageBuilder::new(Chip::Esp32C3, "1.3.0").project_name("kettle");
    std::fs::write(&kettle, image.build()).unwrap();
    let lamp = bench.image("1.3.0");
    bench.key("release");
    let signed = ["--key", "release.key"];
    for (prefix, key) in [("u", &[][..]), ("s", &signed)] {
        for (nth, (other, switch)) in [
            (c6.to_str().unwrap(), &["--other-chip"][..]),
            (&*kettle, &["--other-project"]),
            (&*lamp, &["--board", "v2", "--other-board"]),
        ]
        .into_iter()
        .enumerate()
        {
            let place = format!("s3://firmware/{prefix}{nth}");
            let publish = |image: &str, args: &[&str]| {
                let run = bench.publish_to(image.as_ref(), &place, &[args, key].concat());
                run.published();
            };
            let serves = async || {
                let manifest = bench.manifest(&format!("{prefix}{nth}/stable.json")).await;
                let paused = manifest.rollout.is_some_and(|it| it.to_string() == "0");
                (manifest.version, paused)
            };
            let yank = |version: &str| {
                let yank = ["yank", &place, version];
                bench.s3ota(&[&yank[..], key].concat()).succeeded();
            };
            publish(&bench.image("1.1.0"), &[]);
            publish(&bench.image("1.2.0"), &[]);
            publish(other, switch);
            yank("1.3.0");
            assert_eq!(serves().await, ("1.3.0".to_owned(), true), "{switch:?}");
            if nth == 0 {
                // Further back there is one that fits.
                let c6 = bench.firmware(Chip::Esp32C6, "1.5.0", b"");
                publish(&bench.image("1.4.0"), switch);
                publish(c6.to_str().unwrap(), switch);
                publish(&bench.image("1.6.0"), switch);
                yank("1.6.0");
                assert_eq!(serves().await, ("1.4.0".to_owned(), false));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yank_says_that_a_channel_stays_paused_on_the_version() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    bench.s3ota(&["rollout", PLACE, "pause"]).succeeded();
    for _ in 0..2 {
        let said = bench.said(&["yank", PLACE, "1.0.0"]);
        assert!(said.contains("stable stays paused on 1.0.0"), "{said}");
        assert!(!said.contains("no channel serves"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_manifests_with_the_same_serial_are_both_kept() {
    let bench = Bench::new(Access::PublicRead).await;
    let by_hand = |name: &str| {
        format!(r#"{{"version": "0.1.0", "url": "https://example.com/{name}.bin", "serial": 5}}"#)
    };
    for (name, version) in [("one", "1.0.0"), ("another", "1.1.0")] {
        bench.write("lamp/stable.json", by_hand(name)).await;
        bench.release(version, "stable");
    }
    let first = bench.read("lamp/history/stable/5.json").await.2;
    assert_eq!(first, by_hand("one").as_bytes());
    let keys = bench.keys().await;
    let second = keys
        .iter()
        .find(|key| key.starts_with("lamp/history/stable/5-"));
    let second = bench.read(second.unwrap()).await.2;
    assert_eq!(second, by_hand("another").as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_reported() {
    let bench = Bench::new(Access::PublicRead).await;
    let decide = |asked: crate::proxy::Asked| async move {
        // What is asked for so must fail.
        if asked.path.contains("no-conditional-writes") {
            Fate::Taken
        } else {
            Fate::Pass
        }
    };
    let url = crate::proxy::proxy(&bench.server, decide, || {}).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = bench.publish(&firmware, &["--endpoint-url", &url]);
    run.published();
    assert!(
        run.warnings().contains(&"s3.conditional"),
        "{:?}",
        run.warnings()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditional_writes_is_reported() {
    let bench = Bench::new(Access::PublicRead).await;
    let decide = |asked: crate::proxy::Asked| async move {
        if asked.has_condition {
            Fate::NotImplemented
        } else {
            Fate::Pass
        }
    };
    let url = crate::proxy::proxy(&bench.server, decide, || {}).await;
    for version in ["1.0.0", "1.1.0"] {
        let firmware = bench.firmware(Chip::Esp32C3, version, b"");
        let run = bench.publish(&firmware, &["--endpoint-url", &url]);
        run.published();
        assert!(
            run.warnings().contains(&"s3.conditional"),
            "{:?}",
            run.warnings()
        );
    }
    assert_eq!(bench.serves("stable").await.0, "1.1.0");
    let history = bench.s3ota(&["history", PLACE]);
    assert_eq!(history.all("change").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_is_waited_for() {
    let bench = Bench::new(Access::PublicRead).await;
    let decide = |asked: crate::proxy::Asked| async move {
        // More than the five seconds after which the SDK would give up.
        if asked.method == "PUT" && asked.path.contains("/images/") {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
        Fate::Pass
    };
    let url = crate::proxy::proxy(&bench.server, decide, || {}).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench
        .publish(&firmware, &["--endpoint-url", &url])
        .published();
}
