//! The commands of docs/signing.md as they are written there: openssl makes keys and signatures that `s3ota` accepts, and the
//! other way round.

use std::fs;
use std::path::Path;
use std::process::Command;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/signing.md");

/// The shell commands under a heading of the document.
fn commands(document: &str, heading: &str) -> String {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks.collect()
}

#[test]
#[ignore = "needs openssl: apt-get install openssl"]
fn openssl_alone_makes_a_key_signs_what_s3ota_takes_and_verifies_what_s3ota_signs() {
    let script = commands(&fs::read_to_string(DOCUMENT).unwrap(), "With openssl alone");
    assert_eq!(script.matches("openssl dgst -sha256 -sign").count(), 2);
    assert_eq!(script.matches("openssl dgst -sha256 -verify").count(), 1);
    assert_eq!(script.matches("s3ota verify").count(), 2);

    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lamp.bin"), [0x5a; 1000]).unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_s3ota")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-eu", "-c", script])
            .current_dir(dir.path())
            .env("PATH", &path)
            .env("S3OTA_STATE", dir.path().join("state"))
            .env_remove("S3OTA_KEY");
        shell.output().unwrap()
    };
    let output = run(&script);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("Verified OK"), "{said}");

    // It would have reported an error.
    let changed = run("sed -i s/1.2.0/1.3.0/ statement.txt signed.json
        ! openssl dgst -sha256 -verify release.pub -signature statement.sig statement.txt
        ! s3ota verify signed.json --release-key release.pub");
    let said = String::from_utf8_lossy(&changed.stdout).into_owned();
    assert!(
        changed.status.success() && said.contains("Verification failure"),
        "{said}"
    );
    let wrong = run("echo x >> statement.txt
        openssl dgst -sha256 -sign release.key -passin 'pass:correct horse battery staple' -out wrong.sig statement.txt
        s3ota sign stable.json --signature wrong.sig --release-key release.pub --json");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("sign.signature"));
}
