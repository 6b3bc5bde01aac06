//! Completions and manual pages come from the definition of the command line.

use std::process::Command;

fn s3ota(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_completes_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = s3ota(&["completions", shell]);
        for word in ["publish", "doctor", "bucket", "rollout"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn there_is_a_manual_page_for_each_subcommand() {
    assert!(s3ota(&["man"]).contains(".TH s3ota 1"));
    let dir = tempfile::tempdir().unwrap();
    s3ota(&["man", "--dir", dir.path().to_str().unwrap()]);
    for page in [
        "s3ota.1",
        "s3ota-publish.1",
        "s3ota-doctor.1",
        "s3ota-bucket-init.1",
    ] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
}
