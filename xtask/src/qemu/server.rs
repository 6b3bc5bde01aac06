//! The bucket: `s3ota serve` and `s3ota publish`, as a user runs them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::transcript::Who;
use super::{PORT, SERVER};
use crate::{Result, paths};

const BUCKET: &str = "firmware";

/// Bucket and prefix of the product.
pub const PREFIX: &str = "firmware/simple";

/// The files of the server's certificate authority.
const AUTHORITY: [&str; 2] = ["ca.pem", "ca-key.pem"];

/// What is published beside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artefacts {
    /// The compressed image, and deltas from the releases before.
    All,
    /// The compressed image.
    Compressed,
    /// Nothing.
    Nothing,
}

impl Artefacts {
    /// For `--delta-from`.
    fn word(self) -> &'static str {
        match self {
            Self::All => "auto",
            Self::Compressed => "0",
            Self::Nothing => "none",
        }
    }
}

/// A release in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub version: String,
    /// Of its image.
    pub size: u64,
}

/// Makes a certificate authority in `dir`, unless there is one. Firmware is compiled with its certificate, whose path this
/// returns.
pub fn authority(s3ota: &Path, dir: &Path) -> Result<PathBuf> {
    let certificate = dir.join(AUTHORITY[0]);
    if !certificate.exists() {
        paths::make_dir(dir)?;
        let (lines, _) = std::sync::mpsc::channel();
        Server::start_in(s3ota, dir, lines)?;
    }
    Ok(certificate)
}

/// Makes a release key, unless there is one. Its public half is beside it, in `release.key.pub`.
pub fn release_key(s3ota: &Path, dir: &Path) -> Result<PathBuf> {
    let key = dir.join("release.key");
    if !key.exists() {
        paths::make_dir(dir)?;
        let output = Command::new(s3ota)
            .args(["keygen", "--no-passphrase"])
            .arg(&key)
            .output()
            .map_err(|error| paths::about(s3ota, &error))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`s3ota keygen`: {why}"));
        }
    }
    Ok(key)
}

/// A server with an empty bucket.
#[derive(Debug)]
pub struct Server {
    process: Child,
    s3ota: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate of its authority.
    ca: PathBuf,
    access_key: String,
    secret_key: String,
    /// Removed with the server.
    dir: Option<TempDir>,
}

impl Server {
    /// Starts a server with a certificate from this authority. Its requests go to `out`.
    pub fn start(s3ota: &Path, authority: &Path, out: Sender<(Who, String)>) -> Result<Self> {
        let dir = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
        for file in AUTHORITY {
            let from = authority.with_file_name(file);
            fs::copy(&from, dir.path().join(file)).map_err(|error| paths::about(&from, &error))?;
        }
        let mut server = Self::start_in(s3ota, dir.path(), out)?;
        server.dir = Some(dir);
        Ok(server)
    }

    fn start_in(s3ota: &Path, dir: &Path, out: Sender<(Who, String)>) -> Result<Self> {
        let mut process = Command::new(s3ota)
            .args(["serve", "--json", "--listen", "127.0.0.1:0"])
            .args(["--bucket", BUCKET, "--host", SERVER, "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| paths::about(s3ota, &error))?;
        let stdout = process.stdout.take().ok_or("the server has no stdout")?;
        let mut events = BufReader::new(stdout)
            .lines()
            .map_while(std::result::Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let listening = events.next().filter(|event| event["event"] == "listening");
        let text = |name: &str| {
            let event = listening.as_ref()?;
            event[name].as_str().map(str::to_owned)
        };
        let port = text("endpoint_url").and_then(|url| url.rsplit(':').next()?.parse().ok());
        let (Some(port), Some(access_key), Some(secret_key)) =
            (port, text("access_key"), text("secret_key"))
        else {
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("`s3ota serve` did not start in {}", dir.display()));
        };
        thread::spawn(move || {
            for event in events {
                if event["event"] == "request" && out.send((Who::Server, sentence(&event))).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            s3ota: s3ota.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            ca: dir.join(AUTHORITY[0]),
            access_key,
            secret_key,
            dir: None,
        })
    }

    /// Publishes a firmware, signed if there is a key.
    pub fn publish(
        &self,
        elf: &Path,
        key: Option<&Path>,
        artefacts: Artefacts,
    ) -> Result<Published> {
        let mut command = Command::new(&self.s3ota);
        command
            .args(["publish", "--json", "--delta-from", artefacts.word()])
            .arg(elf);
        if let Some(key) = key {
            command.arg("--key").arg(key);
        }
        self.run(command, elf)
    }

    /// Publishes what boots from a flash, to the byte.
    pub fn publish_flashed(&self, flash: &Path) -> Result<Published> {
        let mut command = Command::new(&self.s3ota);
        command
            .args(["publish", "--json", "--delta-from"])
            .args([Artefacts::Nothing.word(), "--from-merged"])
            .arg(flash);
        self.run(command, flash)
    }

    fn run(&self, mut command: Command, firmware: &Path) -> Result<Published> {
        command
            .arg(format!("s3://{PREFIX}"))
            .args(["--public-url", &format!("https://{SERVER}:{PORT}/{BUCKET}")]);
        let output = command
            .env_remove("S3OTA_KEY")
            .env("S3OTA_STATE", self.ca.with_file_name("state"))
            .env(
                "AWS_ENDPOINT_URL",
                format!("https://localhost:{}", self.address.port()),
            )
            .env("AWS_CA_BUNDLE", &self.ca)
            .env("AWS_ACCESS_KEY_ID", &self.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &self.secret_key)
            .env("AWS_REGION", "us-east-1")
            .output()
            .map_err(|error| paths::about(&self.s3ota, &error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let published = events.find(|event| event["event"] == "published");
        published
            .and_then(|event| {
                Some(Published {
                    version: event["version"].as_str()?.to_owned(),
                    size: event["size"].as_u64()?,
                })
            })
            .filter(|_| output.status.success())
            .ok_or_else(|| format!("{} cannot be published: {text}", firmware.display()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        drop(self.dir.take());
    }
}

/// `GET /firmware/simple/stable.json 200, 260 bytes (s3ota/0.1.0 fw=1.0.0 …)`.
fn sentence(request: &Value) -> String {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let range = request["range"]
        .as_str()
        .map(|range| format!(" {range}"))
        .unwrap_or_default();
    // The SDK's is as long as the rest of the line.
    let agent = text("user_agent").chars().take(72).collect::<String>();
    format!(
        "{} {}{range} {}, {} bytes ({agent})",
        text("method"),
        text("path"),
        request["status"],
        request["bytes"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_in_one_line() {
        let request = serde_json::json!({
            "event": "request", "method": "GET", "path": "/firmware/simple/stable.json", "status": 206,
            "bytes": 260, "range": "bytes=4096-", "user_agent": "s3ota/0.1.0 fw=1.0.0",
        });
        assert_eq!(
            sentence(&request),
            "GET /firmware/simple/stable.json bytes=4096- 206, 260 bytes (s3ota/0.1.0 fw=1.0.0)"
        );
    }
}
