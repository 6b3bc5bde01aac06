//! `s3ota serve`: the walk through the commands in the README, without any other tool.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use serde_json::Value;

/// A server that is stopped with the test.
struct Serving {
    process: Child,
    listening: Value,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Serving {
    fn start(dir: &Path) -> Self {
        Self::listen(dir, "127.0.0.1:0")
    }

    fn listen(dir: &Path, address: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_s3ota"))
            .args([
                "serve", "--json", "--listen", address, "--bucket", "firmware", "--dir",
            ])
            .arg(dir.join("data"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().unwrap().unwrap();
        // What follows is a line a request: it must go on being read, or the server would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            listening: serde_json::from_str(&first).unwrap(),
        }
    }

    fn says(&self, field: &str) -> &str {
        self.listening[field].as_str().unwrap()
    }

    fn s3ota(&self, dir: &Path, args: &[&str]) -> Vec<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_s3ota"))
            .args(args)
            .arg("--json")
            .env("AWS_ENDPOINT_URL", self.says("endpoint_url"))
            .env("AWS_CA_BUNDLE", self.says("ca"))
            .env("AWS_ACCESS_KEY_ID", self.says("access_key"))
            .env("AWS_SECRET_ACCESS_KEY", self.says("secret_key"))
            .env("AWS_REGION", "us-east-1")
            .current_dir(dir)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {text}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn the_walk_in_the_readme_ends_with_an_updated_device() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for version in ["1.0.0", "1.1.0"] {
        let image = ImageBuilder::new(Chip::Esp32C3, version)
            .project_name("lamp")
            .length(100_000);
        std::fs::write(dir.join(format!("lamp-{version}.bin")), image.build()).unwrap();
    }
    // The second start finds what the first one left: bucket, CA and all.
    drop(Serving::start(dir));
    let server = Serving::start(dir);
    let published = server.s3ota(dir, &["publish", "lamp-1.1.0.bin", "s3://firmware/lamp"]);
    let url = published.last().unwrap()["manifest_url"].as_str().unwrap();
    assert_eq!(
        url,
        format!("{}/firmware/lamp/stable.json", server.says("endpoint_url"))
    );

    server.s3ota(
        dir,
        &["device", "new", "flash.bin", "--image", "lamp-1.0.0.bin"],
    );
    let run = [
        "device",
        "run",
        "flash.bin",
        "--once",
        "--ca",
        server.says("ca"),
        "--manifest-url",
        url,
    ];
    assert_eq!(
        server.s3ota(dir, &run).last().unwrap()["event"],
        "confirmed"
    );
    let report = server.s3ota(dir, &["inspect", "flash.bin"]);
    assert_eq!(report[0]["boots"]["version"], "1.1.0");
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Serving::start(dir.path());
    let second = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .args(["serve", "--json", "--listen", "127.0.0.1:0", "--dir"])
        .arg(dir.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(error["code"], "serve.start");
}

#[test]
fn a_reachable_server_accepts_only_its_own_secret() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").project_name("lamp");
    std::fs::write(dir.join("lamp.bin"), image.build()).unwrap();
    let server = Serving::listen(dir, "0.0.0.0:0");
    let secret = server.says("secret_key").to_owned();
    assert!(secret.len() >= 40, "{secret}");
    let publish = |secret: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_s3ota"))
            .args(["--json", "publish", "lamp.bin", "s3://firmware/lamp"])
            .env("AWS_ENDPOINT_URL", server.says("endpoint_url"))
            .env("AWS_CA_BUNDLE", server.says("ca"))
            .env("AWS_ACCESS_KEY_ID", server.says("access_key"))
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_REGION", "us-east-1")
            .env("S3OTA_STATE", dir.join("state"))
            .current_dir(dir)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    for known in ["s3ota-secret", "s3ota", "minioadmin", &"0".repeat(40)] {
        assert_eq!(publish(known)["code"], "s3.credentials", "{known}");
    }
    assert_eq!(publish(&secret)["event"], "published");

    // It is the folder's: what was exported once is good for the next start, and for no other folder.
    drop(server);
    let again = Serving::start(dir);
    assert_eq!(again.says("secret_key"), secret);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(Serving::start(other.path()).says("secret_key"), secret);
}
