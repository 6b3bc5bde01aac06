//! `s3ota demo`: the whole path, with made-up firmwares and with your own.

use std::process::Command;

use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use serde_json::Value;

/// The events of a demo that went well.
fn demo(args: &[&str]) -> Vec<Value> {
    let state = std::env::temp_dir().join(format!("s3ota-demo-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .args(["demo", "--json"])
        .args(args)
        .env("S3OTA_STATE", &state)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        !state.exists(),
        "its key is thrown away, so nothing of it is remembered"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn all<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .collect()
}

#[test]
fn a_signed_release_is_installed_an_attackers_refused_and_a_broken_one_rolled_back() {
    let events = demo(&[]);
    let [key] = all(&events, "key")[..] else {
        panic!("{events:?}")
    };
    let published = all(&events, "published");
    assert_eq!(published.len(), 2);
    assert!(published.iter().all(|event| event["keyid"] == key["keyid"]));
    assert_eq!(all(&events, "refused")[0]["code"], "release.signature");
    assert_eq!(all(&events, "warning"), Vec::<&Value>::new());
    let boot = *all(&events, "boot").last().unwrap();
    assert_eq!(
        (&boot["version"], &boot["state"]),
        (&"1.1.0".into(), &"rolled_back".into())
    );
    assert_eq!(events.last().unwrap()["version"], "1.1.0");
}

#[test]
fn it_runs_with_your_own_firmwares() {
    let dir = tempfile::tempdir().unwrap();
    let firmware = |version: &str| {
        let path = dir.path().join(format!("{version}.bin"));
        let image = ImageBuilder::new(Chip::Esp32C6, version)
            .project_name("kettle")
            .length(50_000);
        std::fs::write(&path, image.build()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let events = demo(&["--firmware", &firmware("3.0.0"), &firmware("3.1.4")]);
    assert_eq!(events.last().unwrap()["version"], "3.1.4");
    let published = all(&events, "published");
    assert_eq!(published.last().unwrap()["version"], "3.2.0");
}
