//! `--also`: legacy clients find a channel's releases, and take them.
//!
//! The judges decide as the sources of the clients do: esp32FOTA 0.3 (`esp32FOTA.cpp`, `checkJSONManifest`; `semver.c`),
//! ESP32-OTA-Pull (`ESP32OTAPull.h`, `CheckForOTAUpdate`), AwsS3Ota 2.0 and, where it says so, 1.0 (`AwsS3Ota.cpp`,
//! `fetchManifest`, `fetchFirmwareManifest`).

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::{Value, json};

const PLACE: &str = "s3://firmware/lamp";

/// What a device downloads, if anything.
type Download = Option<String>;

/// esp32FOTA: one object or a list of them; the first that is of its type and newer.
fn esp32fota(json: &Value, kind: &str, runs: &str) -> Download {
    let entries = match json {
        Value::Array(entries) => &entries[..],
        Value::Object(_) => std::slice::from_ref(json),
        _ => &[],
    };
    let takes = |entry: &Value| {
        // A manifest without a type is compared with a null pointer, and the device crashes.
        let is_ours = entry["type"].as_str().expect("esp32FOTA needs a type") == kind;
        let version = match &entry["version"] {
            Value::Number(number) => [number.as_u64()?, 0, 0],
            Value::String(text) => semver(text),
            _ => [0, 0, 0],
        };
        let text = |field: &str| entry[field].as_str().map(str::to_owned);
        let from_parts = || {
            let port = entry["port"].as_u64().filter(|port| *port < 65_536)?;
            let scheme = ["http", "https"][usize::from([443, 4433].contains(&port))];
            Some(format!(
                "{scheme}://{}:{port}{}",
                text("host")?,
                text("bin")?
            ))
        };
        let url = text("url").or_else(from_parts)?;
        (is_ours && version > semver(runs)).then_some(url)
    };
    entries.iter().find_map(takes)
}

/// Three numbers with dots between; anything else is 0.0.0. What follows a `-` or `+` is not looked for.
fn semver(text: &str) -> [u64; 3] {
    let mut version = [0; 3];
    for (number, part) in version.iter_mut().zip(text.split('.')) {
        match part.parse() {
            Ok(parsed) => *number = parsed,
            Err(_) => return [0; 3],
        }
    }
    version
}

/// ESP32-OTA-Pull: the first configuration that is for this board, device and configuration, and newer as a text.
fn esp32_ota_pull(json: &Value, board: &str, runs: &str, downgrades: bool) -> Download {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let is = |field: &Value, ours: &str| text(field).is_empty() || text(field) == ours;
    let configurations = json["Configurations"].as_array()?;
    configurations.iter().find_map(|configuration| {
        let fits = is(&configuration["Board"], board)
            && is(&configuration["Device"], "24:0A:C4:00:00:01")
            && is(&configuration["Config"], "");
        let version = text(&configuration["Version"]);
        let newer = version.is_empty()
            || version.as_str() > runs
            || (downgrades && version.as_str() != runs);
        (fits && newer).then(|| text(&configuration["URL"]))
    })
}

/// AwsS3Ota: any other version, if its URL is https; both are cut where they are too long.
fn aws_s3_ota(json: &Value, runs: &str) -> Download {
    let cut = |field: &Value, buffer: usize| {
        let text = field.as_str().filter(|text| !text.is_empty())?;
        Some(text[..text.len().min(buffer - 1)].to_owned())
    };
    let (version, url) = (cut(&json["version"], 32)?, cut(&json["url"], 512)?);
    (url.starts_with("https://") && version != runs).then_some(url)
}

/// AwsS3Ota 1.0: it refuses what is too long.
fn aws_s3_ota_1(json: &Value, runs: &str) -> Download {
    let is_short = |field: &str, buffer| json[field].as_str().is_some_and(|it| it.len() < buffer);
    let fits = is_short("version", 32) && is_short("url", 256);
    aws_s3_ota(json, runs).filter(|_| fits)
}

impl Bench {
    async fn older(&self, channel: &str, library: &str) -> Value {
        let key = format!("lamp/older/{channel}.{library}.json");
        serde_json::from_slice(&self.read(&key).await.2).unwrap()
    }

    /// The version that devices which run `runs` take from a channel, with each of the three libraries.
    async fn take(&self, channel: &str, runs: &str) -> [Option<String>; 3] {
        let downloads = [
            esp32fota(&self.older(channel, "esp32fota").await, "lamp", runs),
            esp32_ota_pull(
                &self.older(channel, "esp32-ota-pull").await,
                "ESP32_DEV",
                runs,
                false,
            ),
            aws_s3_ota(&self.older(channel, "aws-s3-ota").await, runs),
        ];
        let mut versions = Vec::new();
        for download in downloads {
            let Some(url) = download else {
                versions.push(None);
                continue;
            };
            let key = url.split("/firmware/").nth(1).unwrap();
            assert!(self.keys().await.contains(&key.to_owned()), "{url}");
            let name = key.strip_prefix("lamp/images/").unwrap();
            versions.push(name.split_once('-').map(|(version, _)| version.to_owned()));
        }
        versions.try_into().unwrap()
    }

    fn offer(&self, version: &str, args: &[&str]) -> Run {
        let run = self.publish(self.esp32_image(version).as_ref(), args);
        assert_eq!(run.status, 0, "{:?}", run.events);
        run
    }

    fn esp32_image(&self, version: &str) -> String {
        let path = self.firmware(Chip::Esp32, version, version.as_bytes());
        path.to_str().unwrap().to_owned()
    }
}

const ALSO: [&str; 6] = [
    "--also",
    "esp32fota",
    "--also",
    "esp32-ota-pull",
    "--also",
    "aws-s3-ota",
];

fn all(version: &str) -> [Option<String>; 3] {
    std::array::from_fn(|_| Some(version.to_owned()))
}

const NOTHING: [Option<String>; 3] = [None, None, None];

#[tokio::test(flavor = "multi_thread")]
async fn legacy_clients_of_each_kind_find_what_is_published() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = bench.esp32_image("2.0.0");
    let publish = ["publish", &image, PLACE];
    let run = bench.s3ota(&[&publish[..], &ALSO, &["--dry-run"]].concat());
    assert_eq!(run.all("would_upload").len(), 6);
    assert!(bench.keys().await.is_empty());
    let run = bench.s3ota(&[&publish[..], &ALSO].concat());
    let url = run.published()["image_url"].as_str().unwrap().to_owned();
    assert_eq!(run.warnings(), Vec::<&str>::new());
    let libraries: Vec<_> = run.all("older").iter().map(|it| &it["library"]).collect();
    assert_eq!(libraries, ["esp32fota", "esp32-ota-pull", "aws-s3-ota"]);
    assert_eq!(
        run.all("older")[2]["url"],
        format!(
            "{}/firmware/lamp/older/stable.aws-s3-ota.json",
            bench.server.endpoint_url()
        ),
        "what such a device is given"
    );
    let (content_type, cache_control, _) = bench.read("lamp/older/stable.esp32fota.json").await;
    assert_eq!(
        (&*content_type, &*cache_control),
        ("application/json", "public, max-age=60"),
        "like a channel's"
    );
    assert_eq!(bench.take("stable", "1.9.0").await, all("2.0.0"));
    assert_eq!(bench.take("stable", "2.0.0").await, NOTHING);
    // The channel's own manifest does for AwsS3Ota, too.
    let own = serde_json::from_slice(&bench.read("lamp/stable.json").await.2).unwrap();
    assert_eq!(aws_s3_ota(&own, "1.9.0"), Some(url.clone()));
    assert_eq!(aws_s3_ota_1(&own, "1.9.0"), Some(url.clone()));

    // Only for whom it is meant.
    let fota = bench.older("stable", "esp32fota").await;
    assert_eq!(
        fota,
        json!({ "type": "lamp", "version": "2.0.0", "url": url })
    );
    assert_eq!(esp32fota(&fota, "kettle", "1.9.0"), None);
    let board = ["--board", "ESP32_DEV", "--channel", "beta"];
    bench
        .s3ota(&[&publish[..], &ALSO, &board].concat())
        .published();
    let fota = bench.older("beta", "esp32fota").await;
    assert_eq!(esp32fota(&fota, "lamp", "1.9.0"), None);
    assert_eq!(esp32fota(&fota, "ESP32_DEV", "1.9.0"), Some(url.clone()));
    let pull = bench.older("beta", "esp32-ota-pull").await;
    assert_eq!(
        esp32_ota_pull(&pull, "ESP32S3_DEV", "1.9.0", false),
        None,
        "{pull}"
    );
    assert_eq!(
        esp32_ota_pull(&pull, "ESP32_DEV", "1.9.0", false),
        Some(url)
    );

    // They are not taken for channels.
    let status = bench.s3ota(&["status", PLACE]);
    assert_eq!(status.all("channel").len(), 2, "{:?}", status.events);
    assert_eq!(status.warnings(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_channel_changes_what_legacy_clients_are_offered() {
    let bench = Bench::new(Access::PublicRead).await;
    let publish = |version: &str, args: &[&str]| bench.offer(version, args);
    publish("1.0.0", &ALSO);
    publish("1.1.0", &["--channel", "beta"]);
    let run = bench.s3ota(&["promote", PLACE, "beta", "stable", "--rollout", "5%"]);
    assert_eq!(run.succeeded()["event"], "promoted");
    assert_eq!(
        run.warnings(),
        ["publish.older"; 3],
        "it is said that they have to wait"
    );
    assert_eq!(
        bench.take("stable", "0.9.0").await,
        NOTHING,
        "none of the libraries knows a percentage"
    );
    let keys = bench.keys().await;
    assert!(
        !keys.iter().any(|key| key.starts_with("lamp/older/beta")),
        "beta was not asked for them: {keys:?}"
    );

    let rollout = |percent: &str| {
        let run = bench.s3ota(&["rollout", PLACE, percent]);
        run.succeeded();
        run.warnings().len()
    };
    assert_eq!(rollout("99.9%"), 3);
    assert_eq!(bench.take("stable", "0.9.0").await, NOTHING);
    assert_eq!(rollout("100%"), 0);
    assert_eq!(bench.take("stable", "1.0.0").await, all("1.1.0"));
    assert_eq!(rollout("pause"), 3);
    assert_eq!(bench.take("stable", "1.0.0").await, NOTHING);
    rollout("100%");
    assert_eq!(bench.take("stable", "1.0.0").await, all("1.1.0"));

    // Yanked: no device is offered it any more. Devices that have it keep it, except with AwsS3Ota, which takes any other version.
    bench.s3ota(&["yank", PLACE, "1.1.0"]).succeeded();
    assert_eq!(bench.take("stable", "0.9.0").await, all("1.0.0"));
    assert_eq!(
        bench.take("stable", "1.1.0").await,
        [None, None, Some("1.0.0".to_owned())]
    );
    // The next release needs no --also, and signing or new URLs change nothing about it.
    bench.key("release");
    publish("1.2.0", &["--key", "release.key"]);
    assert_eq!(bench.take("stable", "1.1.0").await, all("1.2.0"));
    let sign = ["sign", PLACE, "--key", "release.key", "--expires", "90d"];
    bench.s3ota(&sign).succeeded();
    assert_eq!(bench.take("stable", "1.1.0").await, all("1.2.0"));
    bench.s3ota(&["presign", PLACE]).succeeded();
    let manifest = bench.manifest("lamp/stable.json").await;
    let renewed = bench.older("stable", "esp32fota").await;
    assert!(renewed["url"].as_str() == Some(&*manifest.url) && manifest.url.contains('?'));

    // The first release of all that a channel has, and it is yanked: nothing is left to offer.
    publish("3.0.0", &[&ALSO[..], &["--channel", "nightly"]].concat());
    assert_eq!(bench.take("nightly", "1.0.0").await, all("3.0.0"));
    bench.s3ota(&["yank", PLACE, "3.0.0"]).succeeded();
    assert_eq!(bench.take("nightly", "1.0.0").await, NOTHING);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_served_any_more_finds_nothing_from_then_on() {
    let bench = Bench::new(Access::PublicRead).await;
    let publish = |version: &str, args: &[&str]| bench.offer(version, args);
    let take = async |version: &str| bench.take("stable", version).await;
    publish("1.0.0", &ALSO);
    let not_two = ["--not-also", "esp32fota", "--not-also", "aws-s3-ota"];
    let run = publish("1.1.0", &[&not_two[..], &["--dry-run"]].concat());
    assert_eq!(run.all("would_stop_older").len(), 2);
    assert_eq!(take("0.9.0").await, all("1.0.0"));
    let run = publish("1.1.0", &not_two);
    assert_eq!(run.all("older_stopped").len(), 2);
    let pull_only = |version: &str| [None, Some(version.to_owned()), None];
    assert_eq!(take("0.9.0").await, pull_only("1.1.0"));
    publish("1.2.0", &[]);
    bench.s3ota(&["rollout", PLACE, "100%"]).succeeded();
    assert_eq!(take("0.9.0").await, pull_only("1.2.0"));

    // As if it had been killed before: run again, it completes the update.
    bench
        .write(
            "lamp/older/stable.esp32fota.json",
            b"{\"type\": \"\"}".to_vec(),
        )
        .await;
    assert_eq!(publish("1.2.0", &not_two).all("older_stopped").len(), 2);
    assert_eq!(bench.older("stable", "esp32fota").await, json!([]));
    // Where there never was one, none is made.
    let beta = [&not_two[..], &["--channel", "beta"]].concat();
    assert!(publish("1.2.0", &beta).all("older_stopped").is_empty());
    assert!(
        !bench
            .keys()
            .await
            .iter()
            .any(|key| key.starts_with("lamp/older/beta"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_completes_an_interrupted_update_for_legacy_clients() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = bench.esp32_image("1.0.0");
    bench
        .s3ota(&[&["publish", &image, PLACE][..], &ALSO].concat())
        .published();
    let image = bench.esp32_image("1.1.0");
    let beta = ["publish", &image, PLACE, "--channel", "beta"];
    bench.s3ota(&[&beta[..], &ALSO].concat()).published();
    for args in [
        &["promote", PLACE, "beta", "stable"][..],
        &["rollout", PLACE, "100%"],
        &["yank", PLACE, "1.1.0"],
    ] {
        let run = |more: &[&str]| {
            let run = bench.s3ota(&[args, more].concat());
            assert_eq!(run.status, 0, "{args:?}: {:?}", run.events);
        };
        run(&[]);
        let expected = bench.take("stable", "0.9.0").await;
        // As if it had been killed before it came so far.
        for library in ["esp32fota", "esp32-ota-pull", "aws-s3-ota"] {
            let key = format!("lamp/older/stable.{library}.json");
            bench.write(&key, b"{\"type\": \"\"}".to_vec()).await;
        }
        assert_eq!(bench.take("stable", "0.9.0").await, NOTHING);
        let status = bench.s3ota(&["status", PLACE]);
        let out_of_step = status.warnings().into_iter();
        assert_eq!(out_of_step.filter(|it| *it == "publish.older").count(), 3);
        run(&["--dry-run"]);
        assert_eq!(bench.older("stable", "aws-s3-ota").await["type"], "");
        run(&[]);
        assert_eq!(bench.take("stable", "0.9.0").await, expected, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_legacy_client_cannot_handle_is_reported() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = bench.esp32_image("1.10.0");
    let publish = ["publish", &image, PLACE];
    let warned = |args: &[&str]| -> Vec<String> {
        let run = bench.s3ota(&[&publish[..], args].concat());
        run.published();
        let warnings = run.all("warning");
        let messages = warnings.iter().map(|it| it["message"].as_str().unwrap());
        messages.map(str::to_owned).collect()
    };
    let pull = warned(&["--also", "esp32-ota-pull"]);
    assert!(
        matches!(&pull[..], [text] if text.contains("as text")),
        "{pull:?}"
    );
    let document = bench.older("stable", "esp32-ota-pull").await;
    assert_eq!(
        esp32_ota_pull(&document, "ESP32_DEV", "1.9.0", false),
        None,
        "and so it is"
    );

    // AwsS3Ota takes 255 bytes of the manifest's URL, and 2.0 takes 511 of the image's: a pre-signed one is some 400 without a
    // token.
    let channel = ["--channel", "signed", "--also", "aws-s3-ota"];
    assert_eq!(warned(&channel), Vec::<String>::new());
    let signed = warned(&[&channel[..], &["--presign", "1h"]].concat());
    let about = |what: &str| {
        let said = signed.iter().filter(|text| text.contains("AwsS3Ota"));
        said.filter(|text| text.contains(what)).count()
    };
    assert_eq!(about("of its manifest's URL"), 1, "{signed:?}");
    let own = bench.manifest("lamp/signed.json").await.url;
    assert!((256..512).contains(&own.len()), "{own}");
    assert_eq!(about("image URLs of at most 255 bytes"), 1, "{signed:?}");
    let document = bench.older("signed", "aws-s3-ota").await;
    assert_eq!(aws_s3_ota_1(&document, "1.9.0"), None, "and so it is");
    assert_eq!(aws_s3_ota(&document, "1.9.0"), Some(own));
    let mut folder = "long".repeat(70);
    folder.insert(100, '/');
    let far = format!("{PLACE}/{folder}");
    let run = bench.s3ota(&[
        "publish",
        &image,
        &far,
        "--presign",
        "1h",
        "--also",
        "aws-s3-ota",
    ]);
    run.published();
    let messages: Vec<_> = run
        .all("warning")
        .iter()
        .map(|it| it["message"].to_string())
        .collect();
    assert!(
        messages
            .iter()
            .any(|text| text.contains("2.0 of at most 511")),
        "{messages:?}"
    );

    // esp32FOTA reads no suffix, so none of its devices takes such a version.
    let image = bench.esp32_image("1.11.0-rc.1");
    let run = bench.s3ota(&["publish", &image, PLACE, "--also", "esp32fota"]);
    run.published();
    let messages = format!("{:?}", run.all("warning"));
    assert!(
        messages.contains("esp32FOTA reads 1.11.0-rc.1 as 0.0.0"),
        "{messages}"
    );
    let document = bench.older("stable", "esp32fota").await;
    assert_eq!(esp32fota(&document, "lamp", "1.9.0"), None, "and so it is");
}

/// What the sources do with documents that others write, so that the judges are worth something.
#[test]
fn the_judges_decide_as_the_sources_of_the_clients_do() {
    let list = json!([
        { "type": "other", "version": "9.0.0", "url": "http://h/other" },
        { "type": "lamp", "version": "0.0.2", "url": "http://h/2" },
        { "type": "lamp", "version": "0.0.3", "url": "http://h/3" },
    ]);
    assert_eq!(esp32fota(&list, "lamp", "0.0.2").unwrap(), "http://h/3");
    assert_eq!(esp32fota(&list, "lamp", "0.0.1").unwrap(), "http://h/2");
    assert_eq!(esp32fota(&list, "lamp", "0.0.10"), None);
    let parts =
        json!({ "type": "lamp", "version": 2, "host": "h", "port": 443, "bin": "/lamp.bin" });
    assert_eq!(
        esp32fota(&parts, "lamp", "1.9.9").unwrap(),
        "https://h:443/lamp.bin"
    );
    let no_port = json!({ "type": "lamp", "version": 2, "host": "h", "bin": "/lamp.bin" });
    assert_eq!(esp32fota(&no_port, "lamp", "1.0.0"), None);
    assert_eq!(semver("1.2"), [1, 2, 0]);
    assert_eq!(semver("1.2.0-rc.1"), [0, 0, 0]);

    let pull = json!({ "Configurations": [
        { "Board": "ESP32_DEV", "Version": "1.10.0", "URL": "http://h/10" },
        { "Device": "another", "Version": "2.0.0", "URL": "http://h/2" },
    ] });
    assert_eq!(esp32_ota_pull(&pull, "ESP32_DEV", "1.9.0", false), None);
    assert_eq!(
        esp32_ota_pull(&pull, "ESP32_DEV", "1.1.0", false).unwrap(),
        "http://h/10"
    );
    assert_eq!(
        esp32_ota_pull(&pull, "ESP32_DEV", "1.9.0", true).unwrap(),
        "http://h/10"
    );
    assert_eq!(esp32_ota_pull(&pull, "ESP32S3_DEV", "1.0.0", false), None);

    let plain = json!({ "version": "1.0.0", "url": "http://h/lamp.bin" });
    assert_eq!(aws_s3_ota(&plain, "2.0.0"), None, "https only");
    let https = json!({ "version": "1.0.0", "url": "https://h/lamp.bin" });
    assert_eq!(
        aws_s3_ota(&https, "2.0.0").unwrap(),
        "https://h/lamp.bin",
        "a downgrade, too"
    );
    assert_eq!(aws_s3_ota(&json!({}), "2.0.0"), None);
}
