//! On a terminal, which `script` makes, the user is asked before an `s3ota.toml` from someone else sends credentials anywhere.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bucket::{Run, s3ota};

/// The command, with a user's credentials.
fn user(folder: &Path) -> Command {
    let mut command = s3ota();
    command
        .env("AWS_ACCESS_KEY_ID", "the-users")
        .env("AWS_SECRET_ACCESS_KEY", "the-users")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("S3OTA_STATE", folder.join("state"))
        .current_dir(folder);
    command
}

/// What is seen on a terminal on which `s3ota status` runs, with this typed into it.
fn status(folder: &Path, more: &str, typed: &str) -> String {
    let command = user(folder);
    let line = format!("{} status {more}", command.get_program().display());
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let mut running = script.spawn().expect("script");
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    drop(stdin);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs script: apt-get install bsdutils"]
fn on_a_terminal_the_user_is_asked_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let says = |toml: &str| std::fs::write(folder.join("s3ota.toml"), toml).unwrap();
    // Nobody listens on port 1: the command ends at once where it is let go.
    says("location = 's3://firmware/lamp'\nendpoint_url = 'http://127.0.0.1:1'\n");
    for answer in ["n\n", "\n", "yep\n"] {
        let seen = status(folder, "", answer);
        assert!(
            seen.contains("http://127.0.0.1:1") && seen.contains("[y/N]"),
            "{seen}"
        );
        assert!(
            seen.contains("you have not approved") && !seen.contains("cannot be reached"),
            "{seen}"
        );
    }
    let seen = status(folder, "", "y\n");
    assert!(
        seen.contains("[y/N]") && seen.contains("cannot be reached"),
        "{seen}"
    );
    let seen = status(folder, "", "n\n");
    assert!(
        !seen.contains("[y/N]") && seen.contains("cannot be reached"),
        "{seen}"
    );
    let elsewhere = user(folder).args(["status", "--json"]).output().unwrap();
    assert_eq!(Run::of(elsewhere).error(), "s3.connect");

    // What is asked cannot dress itself up.
    says("endpoint_url = 'http://127.0.0.1:1/\u{202e}evil'\n");
    let seen = status(folder, "s3://firmware/lamp", "n\n");
    assert!(
        seen.contains("\\u{202e}") && !seen.contains('\u{202e}'),
        "{seen}"
    );
}
