//! The command `s3ota` in a folder to make keys in.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder to make keys in.
pub struct Bench(TempDir);

impl Bench {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.path());
        command
            .env_remove("S3OTA_PASSPHRASE")
            .env_remove("S3OTA_KEY");
        command
    }

    /// Runs `s3ota --json` with a passphrase in the environment, and returns its last event.
    pub fn s3ota(&self, args: &[&str], passphrase: Option<&str>) -> Value {
        let mut command = self.command(env!("CARGO_BIN_EXE_s3ota"), args);
        if let Some(passphrase) = passphrase {
            command.env("S3OTA_PASSPHRASE", passphrase);
        }
        last_event(&command.arg("--json").output().unwrap())
    }
}

fn last_event(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_else(|| panic!("{output:?}"))).unwrap()
}
