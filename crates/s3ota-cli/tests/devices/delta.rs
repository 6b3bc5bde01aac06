//! `s3ota delta`: makes, explains and applies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../s3ota-image/tests/fixtures")
        .join(name)
}

fn s3ota(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
    command.current_dir(dir).args(args).output().unwrap()
}

/// The last JSON object on stdout.
fn last(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(stdout.lines().last().expect("an event")).unwrap()
}

/// A folder with two versions of a firmware.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [("1.0.0", "old.bin"), ("1.1.0", "new.bin")] {
        fs::copy(
            fixture(&format!("hello-esp32c3-{from}.bin")),
            dir.path().join(to),
        )
        .unwrap();
    }
    dir
}

fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_delta_makes_the_new_image_again() {
    let dir = folder();
    let dir = dir.path();
    let made = s3ota(
        dir,
        &["delta", "old.bin", "new.bin", "--output", "d", "--json"],
    );
    assert!(made.status.success());
    let event = last(&made);
    let size = fs::metadata(dir.join("d")).unwrap().len();
    assert_eq!(event["event"], "delta");
    assert_eq!(event["bytes"], size);
    assert_eq!(event["base"], sha256(&dir.join("old.bin")));
    assert_eq!(event["result"], sha256(&dir.join("new.bin")));
    assert!(size < 1_000, "{size}");

    let applied = s3ota(
        dir,
        &[
            "delta", "apply", "old.bin", "d", "--output", "made.bin", "--json",
        ],
    );
    assert!(applied.status.success());
    assert_eq!(last(&applied)["result"], event["result"]);
    assert_eq!(
        fs::read(dir.join("made.bin")).unwrap(),
        fs::read(dir.join("new.bin")).unwrap()
    );

    let inspected = last(&s3ota(dir, &["inspect", "d", "--json"]));
    for field in ["bytes", "base", "result", "base_bytes", "result_bytes"] {
        assert_eq!(inspected[field], event[field], "{field}");
    }
}

#[test]
fn without_an_old_image_it_is_compressed() {
    let dir = folder();
    let dir = dir.path();
    let made = s3ota(
        dir,
        &["delta", "-", "new.bin", "--output", "packed", "--json"],
    );
    let event = last(&made);
    assert_eq!(event["base"], Value::Null);
    let whole = fs::metadata(dir.join("new.bin")).unwrap().len();
    assert!(event["bytes"].as_u64().unwrap() < whole * 6 / 10);
    let applied = s3ota(
        dir,
        &["delta", "apply", "-", "packed", "--output", "made.bin"],
    );
    assert!(applied.status.success());
    assert_eq!(sha256(&dir.join("made.bin")), sha256(&dir.join("new.bin")));
}

#[test]
fn one_that_is_cut_off_is_seen_without_its_base() {
    let dir = folder();
    let dir = dir.path();
    s3ota(dir, &["delta", "-", "new.bin", "--output", "packed"]);
    assert!(s3ota(dir, &["inspect", "packed"]).status.success());
    let bytes = fs::read(dir.join("packed")).unwrap();
    fs::write(dir.join("cut"), &bytes[..bytes.len() - 9]).unwrap();
    let inspected = last(&s3ota(dir, &["inspect", "cut", "--json"]));
    assert_eq!(inspected["code"], "delta.invalid");

    // Of a delta only the header is left.
    s3ota(dir, &["delta", "old.bin", "new.bin", "--output", "d"]);
    let bytes = fs::read(dir.join("d")).unwrap();
    let header = s3ota_codec::Header::parse(&bytes).unwrap();
    let first = header.sections()[0].artefact as usize;
    fs::write(dir.join("cut"), &bytes[..first]).unwrap();
    let inspected = last(&s3ota(dir, &["inspect", "cut", "--json"]));
    assert_eq!(inspected["code"], "delta.invalid");
}

#[test]
fn it_says_what_it_costs() {
    let dir = folder();
    let made = s3ota(dir.path(), &["delta", "old.bin", "new.bin"]);
    let text = String::from_utf8(made.stdout).unwrap();
    for part in ["code as in the old image", "header", "a delta of"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn another_image_and_a_damaged_delta_are_refused() {
    let dir = folder();
    let dir = dir.path();
    s3ota(dir, &["delta", "old.bin", "new.bin", "--output", "d"]);
    let wrong = s3ota(
        dir,
        &["delta", "apply", "new.bin", "d", "--output", "x", "--json"],
    );
    assert_eq!(last(&wrong)["code"], "delta.base");
    let mut bytes = fs::read(dir.join("d")).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 0x40;
    fs::write(dir.join("damaged"), &bytes).unwrap();
    let damaged = s3ota(
        dir,
        &[
            "delta", "apply", "old.bin", "damaged", "--output", "x", "--json",
        ],
    );
    assert_eq!(last(&damaged)["code"], "delta.invalid");
    bytes[4] = 9;
    fs::write(dir.join("newer"), &bytes).unwrap();
    assert_eq!(
        last(&s3ota(dir, &["inspect", "newer", "--json"]))["code"],
        "delta.invalid"
    );
    let published = s3ota(dir, &["publish", "d", "s3://firmware/lamp", "--json"]);
    assert_eq!(last(&published)["code"], "image.invalid");
    assert!(!dir.join("x").exists());
}

#[test]
fn what_it_is_made_of_is_not_overwritten() {
    let dir = folder();
    let dir = dir.path();
    s3ota(dir, &["delta", "old.bin", "new.bin", "--output", "d"]);
    let (old, delta) = (
        fs::read(dir.join("old.bin")).unwrap(),
        fs::read(dir.join("d")).unwrap(),
    );
    for args in [
        &["delta", "old.bin", "new.bin", "--output", "./new.bin"][..],
        &["delta", "old.bin", "new.bin", "--output", "old.bin"],
        &["delta", "apply", "old.bin", "d", "--output", "d"],
        &["delta", "apply", "old.bin", "d", "--output", "old.bin"],
    ] {
        let refused = s3ota(dir, &[args, &["--json"]].concat());
        assert_eq!(last(&refused)["code"], "cli.usage", "{args:?}");
    }
    assert!(fs::read(dir.join("old.bin")).unwrap() == old);
    assert!(fs::read(dir.join("d")).unwrap() == delta);
}

#[test]
fn images_for_two_chips_are_warned_of() {
    let dir = folder();
    let dir = dir.path();
    fs::copy(fixture("hello-esp32c6-1.0.0.bin"), dir.join("c6.bin")).unwrap();
    let warnings = |new: &str| {
        let made = s3ota(dir, &["delta", "old.bin", new, "--json"]);
        assert!(made.status.success());
        let text = String::from_utf8(made.stdout).unwrap();
        text.matches("delta.chip").count()
    };
    assert_eq!((warnings("c6.bin"), warnings("new.bin")), (1, 0));
}
