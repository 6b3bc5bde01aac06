//! The life of a release, each step looked at with the `aws` command.

use serde_json::Value;

use crate::servers::Server;

const PLACE: &str = "s3://living/lamp";

/// From a beta to everyone, withdrawn, and cleaned up after.
pub fn a_release_lives_as_aws_sees_it(server: &Server, has_conditions: bool) {
    server.aws(&["s3", "mb", "s3://living"]);
    let publish = |version: &str, channel: &str| {
        let image = server.firmware(version);
        let args = [
            "publish",
            &image,
            PLACE,
            "--channel",
            channel,
            "--by",
            "ada",
        ];
        let events = events(server, &args);
        let codes = || events.iter().filter_map(|event| event["code"].as_str());
        assert_eq!(
            !codes().any(|code| code == "s3.conditional"),
            has_conditions
        );
    };
    publish("1.0.0", "stable");
    serves(server, "stable", "1.0.0", None);
    publish("1.1.0", "beta");
    serves(server, "beta", "1.1.0", None);
    serves(server, "stable", "1.0.0", None);
    let images = keys(server, "lamp/images/");
    assert_eq!(images.len(), 2);
    for (key, version) in images.iter().zip(["1.0.0", "1.1.0"]) {
        server.aws(&["s3", "cp", &format!("s3://living/{key}"), "copy.bin"]);
        let copy = std::fs::read(server.path("copy.bin")).unwrap();
        let image = std::fs::read(server.path(&format!("lamp-{version}.bin"))).unwrap();
        assert!(copy == image, "{key}");
    }

    told(
        server,
        &[
            "promote",
            PLACE,
            "beta",
            "stable",
            "--rollout",
            "5%",
            "--dry-run",
        ],
    );
    serves(server, "stable", "1.0.0", None);
    told(
        server,
        &["promote", PLACE, "beta", "stable", "--rollout", "5%"],
    );
    serves(server, "stable", "1.1.0", Some(5.0));
    assert_eq!(
        keys(server, "lamp/images/"),
        images,
        "the same bytes, nothing is uploaded"
    );
    assert_eq!(keys(server, "lamp/history/stable/").len(), 1);
    for (percent, rollout) in [("25%", Some(25.0)), ("pause", Some(0.0)), ("100%", None)] {
        told(server, &["rollout", PLACE, percent]);
        serves(server, "stable", "1.1.0", rollout);
    }
    assert_eq!(keys(server, "lamp/history/stable/").len(), 4);

    told(server, &["yank", PLACE, "1.1.0", "--reason", "it hangs"]);
    serves(server, "stable", "1.0.0", None);
    serves(server, "beta", "1.1.0", Some(0.0));
    let mark: Value = json(server, "lamp/yanked/1.1.0.json");
    assert_eq!(
        (&mark["version"], &mark["reason"]),
        (&"1.1.0".into(), &"it hangs".into())
    );

    publish("1.2.0", "stable");
    publish("1.3.0", "stable");
    publish("1.3.0", "beta");
    serves(server, "stable", "1.3.0", None);
    let status = events(server, &["status", PLACE]);
    let served: Vec<_> = status
        .iter()
        .map(|it| (&it["channel"], &it["version"]))
        .collect();
    assert_eq!(
        served,
        [
            (&"beta".into(), &"1.3.0".into()),
            (&"stable".into(), &"1.3.0".into())
        ]
    );
    let story: Vec<String> = events(server, &["history", PLACE, "--channel", "stable"])
        .iter()
        .rev()
        .map(|it| {
            format!(
                "{} {}",
                it["action"].as_str().unwrap(),
                it["version"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        story,
        [
            "publish 1.0.0",
            "promote 1.1.0",
            "rollout 1.1.0",
            "pause 1.1.0",
            "rollout 1.1.0",
            "yank 1.0.0",
            "publish 1.2.0",
            "publish 1.3.0",
        ]
    );

    // What was served a moment ago would be kept for a day.
    let gc = ["gc", PLACE, "--keep", "2"];
    told(server, &[&gc[..], &["--delete"]].concat());
    assert_eq!(keys(server, "lamp/images/").len(), 4);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let gc = [&gc[..], &["--grace", "1s"]].concat();
    told(server, &gc);
    assert_eq!(
        keys(server, "lamp/images/").len(),
        4,
        "without --delete nothing is removed"
    );
    told(server, &[&gc[..], &["--delete"]].concat());
    let left = keys(server, "lamp/images/");
    let left: Vec<&str> = left
        .iter()
        .map(|key| &key["lamp/images/".len()..][..5])
        .collect();
    assert_eq!(left, ["1.2.0", "1.3.0"]);
    assert_eq!(keys(server, "lamp/releases/").len(), 4, "records stay");

    // In parts, where it is large.
    let image =
        s3ota_image::app::ImageBuilder::new(s3ota_image::Chip::Esp32S3, "2.0.0").length(9_000_000);
    let image = image.build();
    std::fs::write(server.path("large.bin"), &image).unwrap();
    told(
        server,
        &[
            "publish",
            "large.bin",
            "s3://living/large",
            "--delta-from",
            "none",
        ],
    );
    let key = keys(server, "large/images/").remove(0);
    server.aws(&["s3", "cp", &format!("s3://living/{key}"), "copy.bin"]);
    assert!(std::fs::read(server.path("copy.bin")).unwrap() == image);
}

/// Runs `s3ota`; where a step fails, the test's output tells which.
fn told(server: &Server, args: &[&str]) {
    events(server, args);
}

fn events(server: &Server, args: &[&str]) -> Vec<Value> {
    println!("s3ota {}", args.join(" "));
    server.events(args)
}

/// What a channel serves, as `aws` reads it.
fn serves(server: &Server, channel: &str, version: &str, rollout: Option<f64>) {
    let manifest = json(server, &format!("lamp/{channel}.json"));
    assert_eq!(manifest["version"], version, "{channel}");
    assert_eq!(manifest["rollout"].as_f64(), rollout, "{channel}");
    let url = manifest["url"].as_str().unwrap();
    let key = url.split("/living/").nth(1).unwrap();
    let head = server.aws(&["s3api", "head-object", "--bucket", "living", "--key", key]);
    let head: Value = serde_json::from_str(&head).unwrap();
    assert_eq!(head["ContentLength"], manifest["size"], "{channel}: {key}");
}

fn json(server: &Server, key: &str) -> Value {
    let text = server.aws(&["s3", "cp", &format!("s3://living/{key}"), "-"]);
    serde_json::from_str(&text).unwrap()
}

fn keys(server: &Server, prefix: &str) -> Vec<String> {
    let listed = server.aws(&[
        "s3api",
        "list-objects-v2",
        "--bucket",
        "living",
        "--prefix",
        prefix,
        "--query",
        "Contents[].Key",
        "--output",
        "json",
    ]);
    serde_json::from_str::<Option<Vec<String>>>(&listed)
        .unwrap()
        .unwrap_or_default()
}
