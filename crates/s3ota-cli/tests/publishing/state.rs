//! The rollback state of a host, and what a host without it asks for.

use crate::bucket::*;
use s3ota_devserver::Access;
use serde_json::Value;

const PLACE: &str = "s3://firmware/lamp";

impl Bench {
    /// Runs a command with the key, on a host.
    fn signs(&self, host: &str, args: &[&str]) -> Run {
        self.s3ota_on(host, &[args, &["--key", "release.key"]].concat())
    }

    fn release_from(&self, host: &str, version: &str, args: &[&str]) -> Run {
        let image = self.image(version);
        self.signs(host, &[&["publish", &image, PLACE], args].concat())
    }

    async fn served(&self, channel: &str) -> (String, String) {
        let manifest = self.manifest(&format!("lamp/{channel}.json")).await;
        let rollout = manifest
            .rollout
            .map_or("100".to_owned(), |it| it.to_string());
        (manifest.version, rollout)
    }
}

fn hint(run: &Run) -> &str {
    run.events.last().unwrap()["hint"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_host_a_release_needs_no_further_options() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    for (version, channel) in [
        ("1.0.0", "stable"),
        ("1.1.0", "stable"),
        ("1.2.0", "beta"),
        ("1.2.0", "beta"),
    ] {
        let run = bench.release_from("laptop", version, &["--channel", channel]);
        run.published();
        assert_eq!(run.warnings(), Vec::<&str>::new());
    }
    let acts: [&[&str]; 6] = [
        &["promote", PLACE, "beta", "stable", "--rollout", "5%"],
        &["rollout", PLACE, "50%"],
        &["sign", PLACE, "--expires", "90d"],
        &["yank", PLACE, "1.2.0"],
        &["yank", PLACE, "1.1.0"],
        &["rollout", PLACE, "10%"],
    ];
    for act in acts {
        bench.signs("laptop", act).succeeded();
    }
    let ten_percent = ("1.0.0".to_owned(), "10".to_owned());
    assert_eq!(bench.served("stable").await, ten_percent);
    bench.release_from("laptop", "1.3.0", &[]).published();

    let run = bench.s3ota_on("laptop", &["state", "show"]);
    let known = run.all("known");
    assert_eq!(known.len(), 2);
    assert_eq!(known[1]["channel"], "stable");
    assert_eq!(known[1]["version"], "1.3.0");
    let manifest = bench.manifest("lamp/stable.json").await;
    assert_eq!(known[1]["serial"], manifest.serial.unwrap());
    let place = known[1]["location"].as_str().unwrap();
    assert!(
        place.starts_with("s3://firmware/lamp at localhost:"),
        "{place}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_state_must_be_told_the_version() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    for (version, channel) in [("1.0.0", "stable"), ("1.1.0", "stable"), ("1.2.0", "beta")] {
        bench
            .release_from("laptop", version, &["--channel", channel])
            .published();
    }
    let promote = ["promote", PLACE, "beta", "stable"];
    let acts: [(&[&str], &str, &[&str]); 5] = [
        (&["sign", PLACE], "1.1.0", &[]),
        (&["rollout", PLACE, "50%"], "1.1.0", &[]),
        (&["rollout", PLACE, "50%"], "1.1.0", &[]),
        (&promote, "1.2.0", &["--no-min-version"]),
        (&["yank", PLACE, "1.2.0"], "1.1.0", &[]),
    ];
    for (n, (act, version, more)) in acts.into_iter().enumerate() {
        // Each time another machine.
        let host = format!("ci-{n}");
        let before = bench.objects().await;
        let run = bench.signs(&host, act);
        assert_eq!(run.error(), "sign.unknown", "{act:?}");
        let says = format!("--version {version}");
        assert!(hint(&run).contains(&says), "{}", hint(&run));
        let other = [act, more, &["--version", "9.9.9"]].concat();
        let code = bench.signs(&host, &other).error().to_owned();
        let is_yank = act[0] == "yank";
        assert_eq!(
            code,
            if is_yank {
                "sign.history"
            } else {
                "sign.version"
            }
        );
        assert!(bench.objects().await == before, "{act:?}");
        if !more.is_empty() {
            let named = [act, &["--version", version]].concat();
            assert_eq!(bench.signs(&host, &named).error(), "sign.min_version");
        }
        let named = [act, more, &["--version", version]].concat();
        bench.signs(&host, &named).succeeded();
    }
    let half = ("1.1.0".to_owned(), "50".to_owned());
    assert_eq!(bench.served("stable").await, half);
    // A host that was told once knows it from then on.
    bench.signs("ci-4", &["sign", PLACE]).succeeded();
    bench.signs("ci-4", &["rollout", PLACE, "60%"]).succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_state_must_be_told_the_min_version_unless_the_channel_is_new() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    bench.release_from("laptop", "1.0.0", &[]).published();
    let run = bench.release_from("ci", "1.1.0", &[]);
    assert_eq!(run.error(), "sign.min_version");
    assert!(hint(&run).contains("--min-version") && hint(&run).contains("--no-min-version"));
    bench
        .release_from("ci", "1.1.0", &["--channel", "beta"])
        .published();
    let run = bench.release_from("ci", "1.1.0", &["--min-version", "1.0.0"]);
    assert_eq!(run.published()["min_version"], "1.0.0");
    // From then on it is known, and on the other host, too.
    assert_eq!(
        bench.release_from("ci", "1.2.0", &[]).published()["min_version"],
        "1.0.0"
    );
    assert_eq!(
        bench.release_from("laptop", "1.3.0", &[]).published()["min_version"],
        "1.0.0"
    );
    bench
        .release_from("another", "1.3.0", &["--no-min-version"])
        .published();
    assert_eq!(
        bench.release_from("laptop", "1.4.0", &[]).published()["min_version"],
        "1.0.0",
        "it is not given up in silence"
    );
    // An unsigned one has none to lose.
    let image = bench.image("1.5.0");
    let unsigned = ["publish", &image, PLACE, "--no-min-version"];
    assert_eq!(bench.s3ota(&unsigned).usage_error(), "publish.unsigned");
}

#[tokio::test(flavor = "multi_thread")]
async fn naming_a_version_does_not_make_a_host_trust_its_min_version() {
    let min_version = ["--min-version", "1.0.0"];
    let acts: [&[&str]; 3] = [
        &["rollout", PLACE, "50%", "--version", "1.0.0"],
        &["sign", PLACE, "--version", "1.0.0"],
        &["yank", PLACE, "1.1.0", "--version", "1.0.0"],
    ];
    for act in acts {
        let bench = Bench::new(Access::PublicRead).await;
        bench.key("release");
        bench.release_from("laptop", "1.0.0", &[]).published();
        let before = bench.read("lamp/stable.json").await.2;
        bench
            .release_from("laptop", "1.1.0", &min_version)
            .published();
        bench
            .release_from("laptop", "1.1.5", &["--channel", "beta"])
            .published();
        // The bucket holds the release before, which has no min_version; `yank` goes back to it.
        let is_yank = act[0] == "yank";
        if !is_yank {
            bench.write("lamp/stable.json", before).await;
        }
        let knows_floor = |host: &str, channel: &str| {
            let run = bench.s3ota_on(host, &["state", "show"]);
            let known = run.all("known");
            let known = known.iter().find(|it| it["channel"] == channel).unwrap();
            known["min_version_is_known"] == true
        };
        bench.signs("ci", act).succeeded();
        assert!(!knows_floor("ci", "stable"));
        let kept = bench.manifest("lamp/stable.json").await.min_version;
        assert_eq!(kept.as_deref(), is_yank.then_some("1.0.0"), "{act:?}");

        // Signing what the bucket holds again does not confirm it.
        bench.signs("ci", &["sign", PLACE]).succeeded();
        let objects = bench.objects().await;
        let promote = ["promote", PLACE, "beta", "stable", "--version", "1.1.5"];
        for run in [
            bench.release_from("ci", "1.2.0", &[]),
            bench.signs("ci", &promote),
        ] {
            assert_eq!(run.error(), "sign.min_version", "{act:?}");
            assert!(hint(&run).contains("--no-min-version"), "{}", hint(&run));
        }
        assert!(bench.objects().await == objects, "{act:?}");

        // Said once, it is known.
        let run = bench.release_from("ci", "1.2.0", &min_version);
        assert_eq!(run.published()["min_version"], "1.0.0");
        assert!(knows_floor("ci", "stable"));
        let run = bench.release_from("ci", "1.3.0", &[]);
        assert_eq!(run.published()["min_version"], "1.0.0");

        // Or another host confirms it. The host that signed the first release of a channel knows it already.
        let rollout = ["rollout", PLACE, "20%", "--version", "1.3.0"];
        bench.signs("other", &rollout).succeeded();
        assert!(!knows_floor("other", "stable") && knows_floor("laptop", "beta"));
        let event = bench.s3ota_on("laptop", &["state", "export"]);
        std::fs::write(bench.path("state.json"), event.succeeded().to_string()).unwrap();
        let import = ["state", "import", "state.json"];
        bench.s3ota_on("other", &import).succeeded();
        assert!(knows_floor("other", "stable"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_one_host_is_imported_on_another() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    bench
        .release_from("laptop", "1.0.0", &["--min-version", "0.9.0"])
        .published();
    bench.release_from("laptop", "1.1.0", &[]).published();
    let mut command = bench.command();
    let exported = command
        .env("S3OTA_STATE", bench.path("laptop"))
        .args(["state", "export"])
        .output()
        .unwrap();
    std::fs::write(bench.path("state.json"), &exported.stdout).unwrap();
    let import = ["state", "import", "state.json"];
    assert_eq!(
        bench.s3ota_on("ci", &import).all("known")[0]["min_version"],
        "0.9.0"
    );
    bench.signs("ci", &["rollout", PLACE, "50%"]).succeeded();
    bench.signs("ci", &["yank", PLACE, "1.1.0"]).succeeded();
    assert_eq!(bench.served("stable").await.0, "1.0.0");
    assert_eq!(
        bench.release_from("ci", "1.2.0", &[]).published()["min_version"],
        "0.9.0"
    );
    // As an event, and again: that makes nothing older.
    let event = bench.s3ota_on("laptop", &["state", "export"]);
    std::fs::write(bench.path("state.json"), event.succeeded().to_string()).unwrap();
    let run = bench.s3ota_on("ci", &import);
    assert_eq!(run.all("known")[0]["version"], "1.2.0");
    std::fs::write(bench.path("state.json"), "{}").unwrap();
    assert_eq!(bench.s3ota_on("ci", &import).error(), "state.damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_goes_on_where_the_newer_release_is_lost() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    bench.release_from("laptop", "1.0.0", &[]).published();
    let backup = bench.read("lamp/stable.json").await.2;
    bench.release_from("laptop", "1.1.0", &[]).published();
    let lost = bench.manifest("lamp/stable.json").await;
    bench.write("lamp/stable.json", backup).await;
    let rollout = ["rollout", PLACE, "50%"];
    let run = bench.signs("laptop", &rollout);
    assert_eq!(run.error(), "sign.replayed");
    let message = run.events.last().unwrap()["message"].as_str().unwrap();
    for said in ["1.0.0", "1.1.0", &lost.serial.unwrap().to_string()] {
        assert!(message.contains(said), "both are named: {message}");
    }
    assert!(hint(&run).contains("--newer-is-lost"));
    let run = bench.signs("laptop", &[&rollout[..], &["--newer-is-lost"]].concat());
    assert_eq!(run.error(), "sign.unknown", "which one has to be said, too");
    let named = ["--newer-is-lost", "--version", "1.0.0"];
    bench
        .signs("laptop", &[&rollout[..], &named].concat())
        .succeeded();
    let now = bench.manifest("lamp/stable.json").await;
    assert!(
        now.serial > lost.serial,
        "devices that have seen the lost one take it"
    );
    bench
        .signs("laptop", &["rollout", PLACE, "60%"])
        .succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_read_or_written_is_reported_before_anything_is_signed() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    bench.release_from("laptop", "1.0.0", &[]).published();
    let file = bench.path("laptop/signed.json");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    let before = bench.objects().await;
    for act in [
        &["sign", PLACE][..],
        &["rollout", PLACE, "50%"],
        &["yank", PLACE, "1.0.0"],
        &["presign", PLACE],
        &["state", "show"],
        &["state", "export"],
    ] {
        let args = match act[0] {
            "presign" | "state" => bench.s3ota_on("laptop", act),
            _ => bench.signs("laptop", act),
        };
        assert_eq!(args.error(), "state.damaged", "{act:?}");
    }
    let run = bench.release_from("laptop", "1.1.0", &[]);
    assert_eq!(run.error(), "state.damaged");
    assert!(hint(&run).contains("s3ota state import"), "{}", hint(&run));
    assert!(bench.objects().await == before);
    assert_eq!(std::fs::read(&file).unwrap(), good[..good.len() / 2]);
    std::fs::write(&file, good).unwrap();
    bench.release_from("laptop", "1.1.0", &[]).published();

    // No folder at all, or one that cannot be made.
    std::fs::write(bench.path("a-file"), "").unwrap();
    assert_eq!(
        bench.release_from("a-file", "1.2.0", &[]).error(),
        "state.io"
    );
    let homeless = |set: &[(&str, String)]| -> Value {
        let mut command = bench.command();
        for name in ["S3OTA_STATE", "XDG_STATE_HOME", "HOME"] {
            command.env_remove(name);
        }
        let args = ["--json", "sign", PLACE, "--key"];
        let output = command
            .envs(set.iter().map(|(name, value)| (name, value)))
            .args(args)
            .arg(bench.path("release.key"))
            .output()
            .unwrap();
        Run::of(output).events.last().unwrap().clone()
    };
    assert_eq!(homeless(&[])["code"], "state.io");
    if cfg!(target_os = "linux") {
        let (home, state) = (bench.path("home"), bench.path("xdg"));
        homeless(&[("HOME", home.clone())]);
        assert!(bench.dir.path().join("home/.local/state/s3ota").is_dir());
        homeless(&[("HOME", home), ("XDG_STATE_HOME", state)]);
        assert!(bench.dir.path().join("xdg/s3ota").is_dir());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_with_a_bucket_of_the_same_name_are_two_locations() {
    let (one, two) = (
        Bench::new(Access::PublicRead).await,
        Bench::new(Access::PublicRead).await,
    );
    one.key("release");
    let key = one.path("release.key");
    let state = one.path("laptop");
    let release = |bench: &Bench, version: &str| {
        let mut command = bench.command();
        let args = [
            "--json",
            "publish",
            &bench.image(version),
            PLACE,
            "--key",
            &key,
        ]
        .map(str::to_owned);
        let output = command.env("S3OTA_STATE", &state).args(args).output();
        Run::of(output.unwrap()).published();
    };
    release(&one, "1.0.0");
    release(&one, "1.1.0");
    release(&two, "1.0.0");
    release(&one, "1.2.0");
    assert_eq!(one.s3ota_on("laptop", &["state", "show"]).events.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_in_a_file_is_not_signed_for_another_channel_or_when_it_is_outdated() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let fetch = async |file: &str| {
        let manifest = bench.read("lamp/stable.json").await.2;
        std::fs::write(bench.path(file), manifest).unwrap();
    };
    bench
        .release_from("laptop", "1.0.0", &["--allow-downgrade", "--expires", "2s"])
        .published();
    fetch("old.json").await;
    bench
        .release_from("laptop", "1.1.0", &["--allow-downgrade", "--expires", "9d"])
        .published();
    fetch("permission.json").await;
    bench.release_from("laptop", "1.2.0", &[]).published();
    fetch("newest.json").await;
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;

    let sign = |file: &str, args: &[&str]| {
        let before = std::fs::read(bench.path(file)).unwrap();
        let run = bench.signs("laptop", &[&["sign", file], args].concat());
        let after = std::fs::read(bench.path(file)).unwrap();
        assert_eq!(run.status == 0, before != after, "{file}: {:?}", run.events);
        run
    };
    let expires = ["--expires", "30d"];
    let allow = ["--expires", "30d", "--allow-downgrade"];
    assert_eq!(sign("old.json", &allow).error(), "sign.expired");
    assert_eq!(sign("permission.json", &expires).error(), "sign.downgrade");
    assert_eq!(sign("permission.json", &allow).error(), "sign.replayed");
    let beta = ["--channel", "beta"];
    assert_eq!(sign("newest.json", &beta).error(), "sign.channel");
    let other = ["--version", "1.1.0"];
    assert_eq!(sign("newest.json", &other).error(), "sign.version");
    sign("newest.json", &expires).succeeded();
}
