//! `s3ota keygen` and `s3ota pubkey`: nobody overwrites or spies out the keys. `judges/keys.rs` shows them to openssl.

use std::fs;

use crate::keys_bench::Bench;

#[test]
fn a_key_is_encrypted_only_its_owner_can_read_it_and_nothing_is_overwritten() {
    let bench = Bench::new();
    let made = bench.s3ota(&["keygen"], Some("a long passphrase"));
    assert_eq!(
        (&made["event"], &made["encrypted"]),
        (&"key".into(), &true.into()),
        "{made}"
    );
    let pem = fs::read_to_string(bench.path().join("release.key")).unwrap();
    assert!(
        pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        "{pem}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(bench.path().join("release.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let public = fs::read_to_string(bench.path().join("release.key.pub")).unwrap();
    assert_eq!(made["pem"], public.as_str());

    assert_eq!(
        bench.s3ota(&["keygen"], Some("another"))["code"],
        "key.exists"
    );
    fs::remove_file(bench.path().join("release.key")).unwrap();
    assert_eq!(
        bench.s3ota(&["keygen"], Some("another"))["code"],
        "key.exists"
    );
    assert_eq!(
        fs::read_to_string(bench.path().join("release.key.pub")).unwrap(),
        public
    );
    assert!(!bench.path().join("release.key").exists());
}

#[test]
fn every_command_prints_the_same_public_key() {
    let bench = Bench::new();
    fs::write(bench.path().join("phrase"), "from a file\nand no more\n").unwrap();
    let made = bench.s3ota(
        &["keygen", "k", "--passphrase-file", "phrase"],
        Some("not this one"),
    );
    for (args, passphrase) in [
        (&["pubkey", "k"][..], Some("from a file")),
        (&["pubkey", "k", "--passphrase-file", "phrase"], None),
        (&["pubkey", "k.pub"], None),
    ] {
        let shown = bench.s3ota(args, passphrase);
        for field in ["keyid", "pem", "point", "rust"] {
            assert_eq!(shown[field], made[field], "{args:?}");
        }
    }
    let printed = |format| {
        let args = ["pubkey", "k.pub", "--format", format];
        let output = bench
            .command(env!("CARGO_BIN_EXE_s3ota"), &args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(printed("pem"), made["pem"].as_str().unwrap());
    assert_eq!(printed("rust"), made["rust"].as_str().unwrap());
    assert_eq!(printed("id").trim_end(), made["keyid"]);
    // The Rust source has the point of the key, byte by byte.
    let rust = made["rust"].as_str().unwrap();
    let bytes: String = rust.split("0x").skip(1).map(|rest| &rest[..2]).collect();
    assert_eq!(bytes, made["point"]);
}

#[test]
fn a_key_that_cannot_be_used_is_an_error_that_says_why() {
    let bench = Bench::new();
    assert_eq!(bench.s3ota(&["keygen"], Some(""))["code"], "key.passphrase");
    assert!(!bench.path().join("release.key").exists());
    // Nobody sits at this terminal.
    assert_eq!(bench.s3ota(&["keygen"], None)["code"], "key.passphrase");
    bench.s3ota(&["keygen"], Some("right"));
    let wrong = bench.s3ota(&["pubkey", "release.key"], Some("wrong"));
    assert_eq!(wrong["code"], "key.passphrase");
    assert!(
        wrong["message"]
            .as_str()
            .unwrap()
            .contains("release.key: S3OTA_PASSPHRASE is not its passphrase"),
        "{wrong}"
    );
    assert_eq!(
        bench.s3ota(&["pubkey", "release.key"], None)["code"],
        "key.passphrase"
    );
    assert_eq!(bench.s3ota(&["pubkey", "none"], None)["code"], "file.io");
    for noise in [
        "",
        "hello",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----",
    ] {
        fs::write(bench.path().join("noise"), noise).unwrap();
        assert_eq!(
            bench.s3ota(&["pubkey", "noise"], None)["code"],
            "key.invalid",
            "{noise}"
        );
    }
}
