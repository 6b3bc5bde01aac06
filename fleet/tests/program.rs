//! The program, as people and scripts run it.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{START, asks, fleet, line};
use serde_json::Value;
use tempfile::TempDir;

fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota-fleet"));
    command
        .current_dir(dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("HOME", dir)
        .env("LOCALAPPDATA", dir.join("cache"));
    for name in [
        "S3OTA_LOGS",
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "AWS_PROFILE",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    program(dir).args(args).output().unwrap()
}

fn json(dir: &Path, args: &[&str]) -> Value {
    let output = run(dir, args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {output:?}"))
}

fn logs() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("logs")).unwrap();
    fs::write(
        dir.path().join("logs/a"),
        fleet().iter().map(line).collect::<String>(),
    )
    .unwrap();
    dir
}

#[test]
fn each_command_answers_people_and_programs() {
    let dir = logs();
    let dir = dir.path();
    for command in ["status", "mix", "errors", "rollout"] {
        let people = run(dir, &[command, "logs"]);
        assert!(people.status.success(), "{people:?}");
        let text = String::from_utf8(people.stdout).unwrap();
        assert!(text.lines().count() > 3, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        // The logs of the tests are of the past, or of the future.
        json(dir, &["--json", command, "--logs", "logs"]);
    }
    let status = json(dir, &["status", "logs", "--json"]);
    assert_eq!(
        (&status["devices"], &status["rolled_back"]),
        (&12.into(), &1.into())
    );
    let device = json(dir, &["device", "d03", "logs", "--json"]);
    assert_eq!(device["story"][4]["event"], "rolled_back");
    let until = json(dir, &["status", "logs", "--json", "--at", "2026-11-22"]);
    assert_eq!(until["versions"]["1.0.0"], 12);
}

#[test]
fn a_failing_release_has_an_exit_status_of_its_own() {
    let dir = logs();
    let dir = dir.path();
    let status = |args: &[&str]| run(dir, args).status.code();
    assert_eq!(status(&["rollout", "1.2.0", "logs"]), Some(0));
    assert_eq!(
        status(&["rollout", "1.2.0", "logs", "--fail-above", "2%"]),
        Some(3)
    );
    assert_eq!(
        status(&["rollout", "1.2.0", "logs", "--fail-above", "50%"]),
        Some(0)
    );
    assert_eq!(status(&["rollout", "1.2.0", "nowhere"]), Some(1));
    assert_eq!(
        status(&["rollout", "1.2.0", "logs", "--fail-above", "x"]),
        Some(2)
    );
    let error = json(dir, &["rollout", "nowhere", "--json"]);
    assert_eq!(
        (&error["event"], &error["code"]),
        (&"error".into(), &"file.io".into())
    );
}

#[test]
fn tables_are_for_other_tools() {
    let dir = logs();
    let dir = dir.path();
    let output = run(
        dir,
        &[
            "status",
            "logs",
            "--csv",
            "devices.csv",
            "--parquet",
            "devices.parquet",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let csv = fs::read_to_string(dir.join("devices.csv")).unwrap();
    let mut lines = csv.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("device,version,chip,channel,state,last,boot,first_seen,last_seen")
    );
    assert_eq!(
        lines.next().unwrap(),
        "d00,1.2.0,esp32c3,stable,valid,ok@1.2.0,plain,2026-11-20T00:00:00Z,2026-12-09T18:00:02Z"
    );
    assert_eq!(csv.lines().count(), 13);
    let parquet = fs::read(dir.join("devices.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    run(dir, &["mix", "logs", "--csv", "mix.csv"]);
    assert_eq!(
        fs::read_to_string(dir.join("mix.csv"))
            .unwrap()
            .lines()
            .nth(1),
        Some("2026-11-20,1.0.0,12")
    );
}

#[test]
fn hostile_logs_reach_the_terminal_as_text() {
    let dir = TempDir::new().unwrap();
    let hostile = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    let text: String = [
        line(&asks(START, &format!("dev=a fw={hostile} chip=<b>"))),
        line(&asks(START, "dev=<script>alert(1)</script> fw=<img/src=x>")),
    ]
    .concat();
    fs::write(dir.path().join(format!("{hostile}.log")), text).unwrap();
    for args in [
        &["status", "."][..],
        &["device", hostile, "."],
        &["status", hostile],
        &["mix", "."],
        &["status", ".", "--json"],
    ] {
        let output = run(dir.path(), args);
        for stream in [output.stdout, output.stderr] {
            let text = String::from_utf8(stream).unwrap();
            assert!(
                !text
                    .chars()
                    .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
                "{text:?}"
            );
        }
    }
}

/// A run that is killed, at many moments: the next one has the same answers as if nothing had been.
#[test]
fn a_run_that_is_killed_loses_nothing() {
    let dir = logs();
    let dir = dir.path();
    let lines = fleet().iter().map(line).collect::<String>();
    let wanted = json(dir, &["status", "logs", "--json", "--cache", "whole"]);
    for at in 0..12 {
        // The same again, so that the answers stay, and there is something to read.
        fs::write(dir.join(format!("logs/more-{at}")), lines.repeat(40)).unwrap();
        let mut child = program(dir)
            .args(["status", "logs", "--json", "--cache", "killed"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(15 * at));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut status = json(dir, &["status", "logs", "--json", "--cache", "killed"]);
    status["without_id"] = wanted["without_id"].clone();
    assert_eq!(status, wanted);
}

#[test]
fn help_and_schema_need_no_logs() {
    let dir = TempDir::new().unwrap();
    for args in [
        &["--help"][..],
        &["status", "--help"],
        &["rollout", "--help"],
        &["schema"],
    ] {
        let output = run(dir.path(), args);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.len() > 500);
    }
    let schema = String::from_utf8(
        run(
            dir.path(),
            &[
                "schema",
                "s3://my-logs/lamp/",
                "--account",
                "1",
                "--bucket",
                "b",
            ],
        )
        .stdout,
    )
    .unwrap();
    assert!(
        schema.contains("LOCATION 's3://my-logs/lamp/1/eu-central-1/b/'"),
        "{schema}"
    );
    assert!(run(dir.path(), &["status"]).status.code() == Some(1));
}
