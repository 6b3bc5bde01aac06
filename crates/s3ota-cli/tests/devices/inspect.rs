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

/// A flash as `esptool merge-bin` makes it of bootloader, table and app: it ends with the app, and starts at `start`.
fn merged(chip: Chip, table_offset: u32, start: usize) -> Vec<u8> {
    let app = ImageBuilder::new(chip, "1.2.0")
        .project_name("lamp")
        .build();
    let setup = Setup::at(table_offset, None, Some(chip)).unwrap();
    let mut flash = setup.flash(&app).unwrap();
    let boot = ImageBuilder::new(chip, "")
        .without_descriptor()
        .length(0x4000)
        .build();
    let at = chip.bootloader_offset() as usize;
    flash[at..at + boot.len()].copy_from_slice(&boot);
    let end = flash.iter().rposition(|&byte| byte != 0xFF).unwrap() + 1;
    flash[start..end].to_vec()
}

#[test]
fn a_merged_image_boots_wherever_it_starts_and_ends_and_its_table_lies() {
    for (chip, table_offset, start) in [
        (Chip::Esp32C3, 0x8000, 0),
        (Chip::Esp32, 0x8000, 0),
        (Chip::Esp32, 0x8000, 0x1000),
        (Chip::Esp32S2, 0x1_0000, 0x1000),
        (Chip::Esp32C5, 0x8000, 0x2000),
        (Chip::Esp32P4, 0x1_0000, 0x2000),
        (Chip::Esp32C3, 0xC000, 0),
        (Chip::Esp32C3, 0x2_0000, 0),
    ] {
        let merged = file(&merged(chip, table_offset, start));
        let (status, events) = inspect(&merged);
        assert_eq!((status, events.len()), (0, 1), "{chip}: {events:?}");
        let flash = &events[0];
        assert_eq!(flash["event"], "flash");
        assert_eq!(flash["table_offset"], table_offset);
        assert_eq!(flash["held"]["from"], start);
        assert_eq!(flash["boots"]["version"], "1.2.0");
        let text = text(&merged);
        let place = format!("partition table at {table_offset:#x}\n");
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("the rest counts as erased"), "{text}");
    }
}

#[test]
fn the_offset_of_the_table_can_be_given() {
    let merged = file(&merged(Chip::Esp32C3, 0x1_0000, 0));
    let at = |offset: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        command.args(["inspect", "--json", "--partition-table-offset", offset]);
        let output = command.arg(&merged).output().unwrap();
        let first = output.stdout.split(|&byte| byte == b'\n').next().unwrap();
        let event = serde_json::from_slice(first).unwrap_or(Value::Null);
        (output.status.code().unwrap(), event)
    };
    let (status, flash) = at("0x10000");
    assert_eq!((status, &flash["table_offset"]), (0, &json!(0x1_0000)));
    let (status, error) = at("0x8000");
    assert_eq!((status, &error["code"]), (1, &json!("flash.partitions")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("at 0x8000, but one at 0x10000"), "{error}");
    for wrong in ["0x8001", "0", "here", "0x8000000"] {
        assert_eq!(at(wrong).0, 2, "{wrong}");
    }
}

#[test]
fn an_app_image_is_one_whatever_lies_in_it_at_the_place_of_a_table() {
    let table = Setup::default().table().unwrap();
    for fill in [vec![0xFF; 0x1000], vec![0xAA, 0x50], table] {
        let mut payload = vec![0x5A; 0x1_0000];
        payload[0x8000 - 0x120..][..fill.len()].copy_from_slice(&fill);
        let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").payload(&payload);
        let image = image.build();
        assert_eq!(image[0x8000..][..fill.len()], fill);
        let (status, events) = inspect(&file(&image));
        assert_eq!((status, &events[0]["event"]), (0, &json!("image")));
        let (status, events) = inspect(&file(&image[..image.len() - 40]));
        assert_eq!((status, &events[0]["event"]), (1, &json!("image")));
        assert_eq!(events[1]["code"], "image.size");
    }
}

#[test]
fn a_partition_table_is_shown_with_what_it_means_for_updates() {
    let csv = "\u{FEFF}# Name,Type\r\nbootloader,bootloader,primary,N/A,N/A\r\nnvs,data,nvs,,16K\r\n\
               otadata,data,ota,,8K\r\nota_0,app,ota_0,,1M\r\n";
    let units: Vec<u8> = csv.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [csv.as_bytes(), &units] {
        let (status, events) = inspect(&file(bytes));
        assert_eq!((status, events.len()), (0, 1), "{events:?}");
        let table = &events[0];
        assert_eq!(table["event"], "partitions");
        assert_eq!(table["largest_image"], 1 << 20);
        assert_eq!(table["warnings"][0]["code"], "flash.slots");
    }
    let binary = std::fs::read(fixture("partitions-two-slots.bin")).unwrap();
    let (status, events) = inspect(&file(&binary));
    assert_eq!((status, &events[0]["event"]), (0, &json!("partitions")));
    assert_eq!(events[0]["warnings"], json!([]));
    let (status, events) = inspect(&file(b"nvs,data,nvs,,16K\notadata,data,ota,,4K\n"));
    assert_eq!(
        (status, &events[0]["code"]),
        (1, &json!("flash.partitions"))
    );
}

#[test]
fn a_bootloader_is_shown_as_one() {
    let boot = ImageBuilder::new(Chip::Esp32C3, "").without_descriptor();
    // It begins with its description.
    let boot = boot.payload(&[80, 0, 0, 0, 0, 0, 0, 0, b'v', b'5']).build();
    let (status, events) = inspect(&file(&boot));
    assert_eq!((status, &events[0]["event"]), (0, &json!("bootloader")));
    assert!(text(&file(&boot)).starts_with("a bootloader\n"));
}
