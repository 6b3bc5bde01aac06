//! `s3ota serve`, and what its owner publishes there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use serde_json::Value;
use tempfile::TempDir;

use crate::target;

/// The development server with a bucket, and a project beside it. It ends with the test.
pub struct Serving {
    process: Child,
    listening: Value,
    dir: TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn s3ota() -> Command {
    let program = target().join("debug/s3ota");
    assert!(
        program.is_file(),
        "{} is missing: cargo build -p s3ota-cli",
        program.display()
    );
    Command::new(program)
}

impl Serving {
    /// Starts it on the loopback address.
    pub fn start() -> Self {
        Self::listen("127.0.0.1:0")
    }

    /// Starts it at an address.
    pub fn listen(address: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut process = s3ota()
            .args([
                "serve", "--json", "--bucket", "firmware", "--listen", address, "--dir",
            ])
            .arg(dir.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server cannot be started");
        let stdout = process.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next().expect("a line").expect("text");
        thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            listening: serde_json::from_str(&first).expect("JSON"),
            dir,
        }
    }

    fn says(&self, field: &str) -> &str {
        self.listening[field]
            .as_str()
            .unwrap_or_else(|| panic!("no {field}: {}", self.listening))
    }

    /// Runs the command beside it.
    pub fn s3ota(&self, arguments: &[&str]) -> Vec<Value> {
        let output = s3ota()
            .args(arguments)
            .arg("--json")
            .env("AWS_ENDPOINT_URL", self.says("endpoint_url"))
            .env("AWS_CA_BUNDLE", self.says("ca"))
            .env("AWS_ACCESS_KEY_ID", self.says("access_key"))
            .env("AWS_SECRET_ACCESS_KEY", self.says("secret_key"))
            .env("AWS_REGION", "us-east-1")
            .current_dir(self.dir.path())
            .output()
            .expect("the command cannot be started");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Publishes an image as a release of the project `lamp`.
    pub fn publish(&self, image: &[u8], arguments: &[&str]) {
        fs::write(self.dir.path().join("lamp.bin"), image).expect("the image");
        let publish = ["publish", "lamp.bin", "s3://firmware/lamp"];
        self.s3ota(&[&publish[..], arguments].concat());
    }

    /// A file of the project.
    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.path().join(name)).expect("a file of the project")
    }

    /// The root that devices trust, in PEM.
    pub fn ca(&self) -> Vec<u8> {
        fs::read(Path::new(self.says("ca"))).expect("the server's root")
    }

    /// The URL of the manifest.
    pub fn manifest_url(&self) -> String {
        let endpoint = self.says("endpoint_url").trim_end_matches('/');
        let (_, port) = endpoint.rsplit_once(':').expect("a port");
        format!("https://localhost:{port}/firmware/lamp/stable.json")
    }
}
