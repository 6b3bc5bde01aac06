//! What the command prints arrives, or its exit status says that it did not.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::bucket::*;
use s3ota_devserver::Access;

/// Commands that print something, each in its own way.
const COMMANDS: [&[&str]; 9] = [
    &["list", "s3://firmware/lamp"],
    &["status", "s3://firmware/lamp", "--json"],
    &["history", "s3://firmware/lamp"],
    &["verify", "s3://firmware/lamp", "--unsigned"],
    &["completions", "bash"],
    &["man"],
    &["--help"],
    &["publish", "--help"],
    &["--version"],
];

fn command(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.command();
    command.args(args).current_dir(bench.dir.path());
    command
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    for args in COMMANDS {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(&bench, args).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("cannot be written") && said.contains("No space"),
            "{args:?}: {said}"
        );
    }
    // The work is done all the same: half of a publication would be worse.
    let image = bench.image("1.1.0");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let publish = ["publish", &image, "s3://firmware/lamp"];
    let status = command(&bench, &publish).stdout(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(bench.manifest("lamp/stable.json").await.version, "1.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_away_ends_the_command_quietly_and_not_with_success() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    let run = |args: &[&str]| {
        let mut command = command(&bench, args);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(said, "", "{args:?}");
        child.wait().unwrap().code()
    };
    for args in COMMANDS {
        assert_eq!(run(args), Some(141), "{args:?}");
    }
    let image = bench.image("1.1.0");
    assert_eq!(run(&["publish", &image, "s3://firmware/lamp"]), Some(141));
    assert_eq!(bench.manifest("lamp/stable.json").await.version, "1.1.0");
}
