//! `s3ota inspect`, with files of other tools and with a flash.

use std::path::{Path, PathBuf};
use std::process::Command;

use s3ota_image::Chip;
use s3ota_image::app::{GuardMarker, ImageBuilder, SignatureKind};
use s3ota_image::otadata::{Record, State};
use s3ota_sim::Setup;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../s3ota-image/tests/fixtures")
        .join(name)
}

/// The exit status and the JSON objects on stdout.
fn inspect(file: &Path) -> (i32, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .arg("inspect")
        .arg(file)
        .arg("--json")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code().unwrap(),
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn text(file: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .arg("inspect")
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn file(bytes: &[u8]) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file.into_temp_path()
}

#[test]
fn an_image_is_one_object() {
    for (name, chip, version) in [
        ("hello-esp32c3-1.0.0.bin", "esp32c3", "1.0.0"),
        ("hello-esp32c3-1.1.0.bin", "esp32c3", "1.1.0"),
        ("hello-esp32c6-1.0.0.bin", "esp32c6", "1.0.0"),
    ] {
        let (status, events) = inspect(&fixture(name));
        assert_eq!((status, events.len()), (0, 1), "{name}");
        let image = &events[0];
        assert_eq!(image["event"], "image");
        assert_eq!(image["intact"], true);
        assert_eq!(
            (&image["chip"], &image["version"]),
            (&chip.into(), &version.into())
        );
        assert_eq!(
            image["size"],
            std::fs::metadata(fixture(name)).unwrap().len()
        );
    }
}

#[test]
fn an_elf_is_shown_as_the_image_it_makes() {
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hello-esp32c3-1.1.0.elf");
    let (status, elf) = inspect(&hello);
    let (_, image) = inspect(&fixture("hello-esp32c3-1.1.0.bin"));
    assert_eq!((status, elf), (0, image));
    assert!(text(&hello).contains("version         1.1.0"));
}

#[test]
fn a_broken_image_is_shown_and_fails() {
    let mut bytes = std::fs::read(fixture("hello-esp32c3-1.0.0.bin")).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let broken = file(&bytes);
    let (status, events) = inspect(&broken);
    assert_eq!(status, 1);
    assert_eq!(
        (&events[0]["event"], &events[0]["intact"]),
        (&"image".into(), &false.into())
    );
    assert_eq!(events[0]["version"], "1.0.0");
    assert_eq!(
        (&events[1]["event"], &events[1]["code"]),
        (&"error".into(), &"image.digest".into())
    );
    assert!(text(&broken).contains("broken          the SHA-256"));
}

#[test]
fn a_flash_dump_shows_what_would_boot_and_is_not_changed() {
    let firmware = std::fs::read(fixture("hello-esp32c3-1.0.0.bin")).unwrap();
    let bytes = Setup::default().flash(&firmware).unwrap();
    let flash = file(&bytes);
    let (status, events) = inspect(&flash);
    assert_eq!((status, events.len()), (0, 1));
    assert_eq!(events[0]["event"], "flash");
    assert_eq!(events[0]["boots"]["partition"], "ota_0");
    assert_eq!(events[0]["boots"]["version"], "1.0.0");
    assert_eq!(events[0]["partitions"][3]["image"]["intact"], true);
    assert_eq!(events[0]["partitions"][4]["image"], Value::Null);
    assert!(text(&flash).ends_with("boots: ota_0, version 1.0.0\n"));
    // The bootloader would have written otadata.
    assert!(std::fs::read(&flash).unwrap() == bytes);
}

#[test]
fn a_flash_dump_that_boots_nothing_is_an_error() {
    let firmware = std::fs::read(fixture("hello-esp32c3-1.0.0.bin")).unwrap();
    let mut bytes = Setup::default().flash(&firmware).unwrap();
    bytes[0x1_0400] ^= 1;
    let (status, events) = inspect(&file(&bytes));
    assert_eq!((status, events.len()), (1, 2));
    assert_eq!(events[0]["boots"], Value::Null);
    assert_eq!(events[1]["code"], "flash.boot");
}

#[test]
fn any_other_file_is_one_error() {
    for (bytes, code) in [(&b"hello"[..], "image.invalid"), (b"", "image.size")] {
        let (status, events) = inspect(&file(bytes));
        assert_eq!((status, events.len()), (1, 1));
        assert_eq!(events[0]["code"], code);
    }
    assert_eq!(inspect(Path::new("nowhere.bin")).1[0]["code"], "file.io");
}

#[test]
fn an_image_shows_which_chips_it_runs_on_and_whether_devices_can_roll_back() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .revisions(3, 199)
        .block_revisions(101, 0)
        .secure_version(7)
        .guard(GuardMarker::new(GuardMarker::ESP_HAL, 1))
        .signature(SignatureKind::Ecdsa)
        .build();
    let image = file(&image);
    let (status, events) = inspect(&image);
    assert_eq!(status, 0);
    for (field, value) in [
        ("min_revision", json!(3)),
        ("max_revision", json!(199)),
        ("min_efuse_block_revision", json!(101)),
        ("max_efuse_block_revision", json!(0)),
        ("secure_version", json!(7)),
        ("signature", json!("ecdsa")),
        (
            "guard",
            json!({ "kind": 1, "name": "esp-hal", "version": 1 }),
        ),
    ] {
        assert_eq!(events[0][field], value, "{field}");
    }
    let text = text(&image);
    for line in [
        "chip revision   v0.3 to v1.99",
        "eFuse block     v1.1 and later",
        "boot guard      esp-hal, version 1",
        "signature       ECDSA, of Secure Boot V2, not checked here",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let (_, events) = inspect(&fixture("hello-esp32c3-1.0.0.bin"));
    assert_eq!(events[0]["guard"], Value::Null, "it calls no guard");
}

#[test]
fn a_flash_dump_shows_its_bootloader_as_far_as_it_can() {
    let firmware = std::fs::read(fixture("hello-esp32c3-1.0.0.bin")).unwrap();
    let mut bytes = Setup::default().flash(&firmware).unwrap();
    let (_, events) = inspect(&file(&bytes));
    assert_eq!(events[0]["bootloader"]["present"], false);
    assert_eq!(events[0]["bootloader"]["app_rollback"], Value::Null);

    let waits = Record::new(1, State::PendingVerify, [0xFF; 20]).emit();
    bytes[0xd000..0xd000 + waits.len()].copy_from_slice(&waits);
    let dump = file(&bytes);
    let (_, events) = inspect(&dump);
    assert_eq!(events[0]["bootloader"]["app_rollback"], true);
    assert!(text(&dump).contains("does app rollback: a record is pending verification"));
}
