//! Files that other tools make: `inspect` knows what they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_sim::Setup;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with bootloader, partition table and app of a chip.
struct Build {
    dir: TempDir,
    chip: Chip,
}

impl Build {
    fn new(chip: Chip) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = ImageBuilder::new(chip, "1.2.0").project_name("lamp");
        let boot = ImageBuilder::new(chip, "")
            .without_descriptor()
            .length(0x4000);
        for (name, bytes) in [
            ("app.bin", app.length(40_000).build()),
            ("boot.bin", boot.build()),
            ("table.bin", Setup::default().table().unwrap()),
        ] {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        Self { dir, chip }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tool(&self, tool: &str, args: &[&str]) {
        let mut command = Command::new(tool);
        let output = command.args(args).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "{tool} {args:?}: {output:?}");
    }

    /// What `esptool merge-bin` makes, in this format.
    fn merge(&self, name: &str, more: &[&str]) {
        let at = format!("{:#x}", self.chip.bootloader_offset());
        let args = ["--chip", self.chip.name(), "merge-bin", "-o", name];
        let parts = [&at, "boot.bin", "0x8000", "table.bin", "0x10000", "app.bin"];
        self.tool("esptool", &[&args[..], more, &parts].concat());
    }

    /// The status, and the first event.
    fn inspect(&self, name: &str) -> (i32, Value) {
        inspect(&self.path(name))
    }

    /// The message of the error that the file is.
    fn refused(&self, name: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        let args = ["publish", "--dry-run", "--json"];
        let command = command
            .args(args)
            .arg(self.path(name))
            .arg("s3://firmware/lamp");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let event: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(event["hint"].is_string(), "{event}");
        event["message"].as_str().unwrap().to_owned()
    }
}

fn inspect(file: &Path) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
    let output = command.args(["inspect", "--json"]).arg(file).output();
    let output = output.unwrap();
    let first = output.stdout.split(|&byte| byte == b'\n').next().unwrap();
    (
        output.status.code().unwrap(),
        serde_json::from_slice(first).unwrap(),
    )
}

#[test]
#[ignore = "needs esptool: pip install esptool"]
fn what_esptool_merges_boots() {
    for chip in [Chip::Esp32C3, Chip::Esp32, Chip::Esp32C5, Chip::Esp32P4] {
        let build = Build::new(chip);
        let start = format!("{:#x}", chip.bootloader_offset());
        for more in [&[][..], &["-t", &start], &["--pad-to-size", "4MB"]] {
            build.merge("merged.bin", more);
            let (status, flash) = build.inspect("merged.bin");
            assert_eq!(status, 0, "{chip} {more:?}: {flash}");
            assert_eq!(flash["boots"]["version"], "1.2.0");
            assert_eq!(flash["boots"]["chip"], chip.name());
            assert_eq!(flash["bootloader"]["present"], true);
        }
        let refused = build.refused("merged.bin");
        assert!(refused.contains("a merged image, or a dump"), "{refused}");
    }
}

#[test]
#[ignore = "needs esptool: pip install esptool"]
fn other_formats_of_esptool_are_named() {
    let build = Build::new(Chip::Esp32C3);
    for (format, name) in [("hex", "Intel HEX"), ("uf2", "UF2")] {
        build.merge("merged", &["--format", format]);
        let (status, error) = build.inspect("merged");
        assert_eq!((status, &error["code"]), (1, &"image.invalid".into()));
        let refused = build.refused("merged");
        assert!(refused.contains(name), "{refused}");
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
    }
}

#[test]
#[ignore = "needs espsecure: pip install esptool"]
fn signatures_of_secure_boot_are_told_apart() {
    let build = Build::new(Chip::Esp32);
    let sign = |version: &str, scheme: &str| {
        let (key, signed) = (format!("{scheme}.pem"), format!("{scheme}.bin"));
        let (v, s) = ("--version", "--scheme");
        build.tool(
            "espsecure",
            &["generate-signing-key", v, version, s, scheme, &key],
        );
        let sign = [
            "sign-data",
            v,
            version,
            "--keyfile",
            &key,
            "--output",
            &signed,
        ];
        build.tool("espsecure", &[&sign[..], &["app.bin"]].concat());
        signed
    };
    let refused = build.refused(&sign("1", "ecdsa256"));
    assert!(refused.contains("Secure Boot V1"), "{refused}");
    let (status, image) = build.inspect(&sign("2", "rsa3072"));
    assert_eq!((status, &image["signature"]), (0, &"rsa".into()));
}
