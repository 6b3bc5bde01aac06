//! `s3ota new`: what is in the folder afterwards. That it builds is what `cargo xtask chips --new` sees.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `s3ota new` in a folder.
fn new(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .arg("new")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The exit status, and the last of the JSON objects.
fn new_json(folder: &Path, args: &[&str]) -> (i32, Value) {
    let output = new(folder, &[args, &["--json"]].concat());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let last = stdout.lines().last().unwrap();
    (
        output.status.code().unwrap(),
        serde_json::from_str(last).unwrap(),
    )
}

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_project_has_all_that_it_needs_and_git_ignores_its_password() {
    let dir = tempfile::tempdir().unwrap();
    let url = "https://b.s3.eu-central-1.amazonaws.com/lamp/stable.json";
    let options = [
        "lamp",
        "--chip",
        "ESP32-S3",
        "--flash",
        "16MB",
        "--manifest-url",
        url,
    ];
    let (status, project) = new_json(dir.path(), &options);
    assert_eq!(status, 0, "{project}");
    assert_eq!(project["event"], "project");
    assert_eq!(project["target"], "xtensa-esp32s3-none-elf");
    // This command was built from the checkout that it is tested in.
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap();
    assert_eq!(project["s3ota"]["path"].as_str(), checkout.to_str());

    let lamp = dir.path().join("lamp");
    for file in project["files"].as_array().unwrap() {
        assert!(lamp.join(file.as_str().unwrap()).is_file(), "{file}");
    }
    let text = |file: &str| fs::read_to_string(lamp.join(file)).unwrap();
    assert!(text(".gitignore").lines().any(|line| line == "/cfg.toml"));
    assert!(text("cfg.toml").contains(url));
    assert!(text("rust-toolchain.toml").contains("\"esp\""));
    assert!(text("partitions.csv").starts_with("# 16 MB"));
    assert!(text("README.md").contains("espup"));
    // Cargo reads it.
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        // Of this toolchain, not of the one that builds the firmware.
        .env(
            "RUSTUP_TOOLCHAIN",
            std::env::var_os("RUSTUP_TOOLCHAIN").unwrap_or_else(|| "stable".into()),
        )
        .current_dir(&lamp)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&metadata.stderr).into_owned();
    assert!(metadata.status.success(), "{told}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    assert_eq!(metadata["packages"][0]["name"], "lamp");
    assert_eq!(
        metadata["workspace_root"].as_str().map(Path::new),
        Some(&*lamp.canonicalize().unwrap())
    );
}

#[test]
fn an_empty_folder_is_used_and_another_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    let (status, _) = new_json(
        &dir.path().join("empty"),
        &["lamp", "--chip", "esp32c6", "--dir", "."],
    );
    assert_eq!(status, 0);
    assert!(dir.path().join("empty/src/main.rs").is_file());

    fs::create_dir(dir.path().join("lamp")).unwrap();
    fs::write(dir.path().join("lamp/notes"), "mine").unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for options in [
        &["lamp", "--chip", "esp32c3"][..],
        &["lamp", "--chip", "esp32c3", "--dir", "file"],
    ] {
        let (status, error) = new_json(dir.path(), options);
        assert_eq!(
            (status, &error["code"]),
            (2, &Value::from("project.dir")),
            "{error}"
        );
        assert!(error["hint"].as_str().unwrap().contains("--dir"));
    }
    assert_eq!(entries(&dir.path().join("lamp")), ["notes"]);
}

#[test]
fn what_there_can_be_no_project_for_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().to_str().unwrap();
    for (options, code, says) in [
        (
            &["2lamp", "--chip", "esp32c3"][..],
            "project.name",
            "letter",
        ),
        (&["log", "--chip", "esp32c3"], "project.name", "package"),
        (&["lamp", "--chip", "esp32h2"], "project.chip", "no Wi-Fi"),
        (
            &["lamp", "--chip", "esp32p4"],
            "project.chip",
            "not support",
        ),
        (&["lamp", "--chip", "esp8266"], "cli.usage", "esp32c6"),
        (
            &["lamp", "--chip", "esp32c3", "--flash", "3mb"],
            "cli.usage",
            "16mb",
        ),
        (
            &["lamp", "--chip", "esp32c3", "--path", elsewhere],
            "project.source",
            "checkout",
        ),
        (
            &["lamp", "--chip", "esp32c3", "--git", ""],
            "project.source",
            "git URL",
        ),
        (
            &["lamp", "--chip", "esp32c3", "--manifest-url", "http://x/"],
            "project.url",
            "http://x/",
        ),
    ] {
        let (status, error) = new_json(dir.path(), options);
        assert_eq!(error["code"], code, "{error}");
        assert!(
            status != 0 && error["message"].as_str().unwrap().contains(says),
            "{error}"
        );
        assert_eq!(entries(dir.path()), [""; 0]);
    }
}
