//! `s3ota demo`: the whole path, with made-up firmwares and with your own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

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
    assert_eq!(published.len(), 3);
    assert!(published.iter().all(|event| event["keyid"] == key["keyid"]));
    let [fetched] = all(&events, "fetched")[..] else {
        panic!("{events:?}")
    };
    assert_eq!(fetched["is_artefact"], true);
    assert_eq!(fetched["instead_of"], published[1]["size"]);
    let bytes = fetched["bytes"].as_u64().unwrap();
    assert!(
        (1..2000).contains(&bytes),
        "{bytes} bytes for a new version number"
    );
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

/// The commands in a README, one text for each block.
fn blocks(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect()
}

/// A shell in which `s3ota` is the one that is tested.
fn shell(dir: &Path, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_s3ota")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        std::iter::once(program.to_owned()).chain(std::env::split_paths(&path)),
    );
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(dir);
    command.env("PATH", path.unwrap());
    command
}

/// A server that is stopped with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn what_it_keeps_goes_on_by_hand_with_the_commands_that_it_prints() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("it's kept");
    let keep = ["--keep", kept.to_str().unwrap()];
    let events = demo(&keep);
    let told = all(&events, "kept")[0];
    let readme = std::fs::read_to_string(kept.join("README.md")).unwrap();
    let [serve, by_hand] = blocks(&readme)[..] else {
        panic!("{readme}")
    };
    assert_eq!(
        (serve.trim_end(), by_hand.trim_end()),
        (
            told["serve"].as_str().unwrap(),
            told["by_hand"].as_str().unwrap()
        )
    );
    let serve = format!("exec {serve}");
    let server = shell(&kept, &serve).stdout(Stdio::null()).spawn().unwrap();
    let _server = Serving(server);
    let endpoint = all(&events, "server")[0]["endpoint_url"].as_str().unwrap();
    let address = endpoint.strip_prefix("https://").unwrap();
    let is_up = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        std::net::TcpStream::connect(address).is_ok()
    });
    assert!(is_up, "{address}");
    let output = shell(&kept, by_hand).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{said}");
    for part in [
        "published 1.3.0 on stable",
        "a device would take it",
        "confirms 1.3.0",
        "boots: ota_0, version 1.3.0",
    ] {
        assert!(text.contains(part), "no {part} in {text}{said}");
    }
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_firmware_that_is_no_update_is_refused_before_anything_begins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lamp.bin");
    let image = s3ota_image::app::ImageBuilder::new(s3ota_image::Chip::Esp32C3, "1.0.0").build();
    std::fs::write(&path, image).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
    let command = command.args(["demo", "--firmware"]).args([&path, &path]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let problem = "NEW (1.0.0) must have a higher version than OLD (1.0.0)";
    assert!(said.contains(problem), "{said}");
    assert_eq!(output.stdout, b"", "nothing was begun");
}

#[test]
fn it_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "mine").unwrap();
    let file = full.join("mine");
    for (keep, problem) in [(&full, "not empty"), (&file, "not a folder")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        let output = command.args(["demo", "--keep"]).arg(keep).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said.contains(problem) && said.contains(keep.to_str().unwrap()),
            "{said}"
        );
        assert_eq!(output.stdout, b"", "nothing was begun");
    }
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
}
