//! `s3ota keygen` and `s3ota pubkey`: nobody overwrites or spies out the keys, and openssl understands them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A folder to make keys in.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.path());
        command
            .env_remove("S3OTA_PASSPHRASE")
            .env_remove("S3OTA_KEY");
        command
    }

    /// Runs `s3ota --json` with a passphrase in the environment, and returns its last event.
    fn s3ota(&self, args: &[&str], passphrase: Option<&str>) -> Value {
        let mut command = self.command(env!("CARGO_BIN_EXE_s3ota"), args);
        if let Some(passphrase) = passphrase {
            command.env("S3OTA_PASSPHRASE", passphrase);
        }
        last_event(&command.arg("--json").output().unwrap())
    }

    fn openssl(&self, args: &[&str]) -> Vec<u8> {
        let output = self.command("openssl", args).output().unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

fn last_event(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(text.lines().last().unwrap_or_else(|| panic!("{output:?}"))).unwrap()
}

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
        wrong["message"].as_str().unwrap().contains("release.key"),
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

#[test]
fn openssl_reads_our_keys_and_we_read_its_keys() {
    if !crate::judge::installed("openssl", "apt-get install openssl") {
        return;
    }
    let bench = Bench::new();
    let made = bench.s3ota(&["keygen"], Some("phrase"));
    let public = bench.openssl(&[
        "pkey",
        "-in",
        "release.key",
        "-passin",
        "pass:phrase",
        "-pubout",
    ]);
    assert_eq!(made["pem"], String::from_utf8(public).unwrap());
    let made = bench.s3ota(&["keygen", "open.key", "--no-passphrase"], None);
    let public = bench.openssl(&["pkey", "-in", "open.key", "-pubout"]);
    assert_eq!(made["pem"], String::from_utf8(public).unwrap());

    bench.openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "plain.pem",
    ]);
    let public =
        String::from_utf8(bench.openssl(&["pkey", "-in", "plain.pem", "-pubout"])).unwrap();
    assert_eq!(
        bench.s3ota(&["pubkey", "plain.pem"], None)["pem"],
        public.as_str()
    );
    for (name, more) in [
        ("pbkdf2.pem", &["-v2", "aes-256-cbc"][..]),
        ("scrypt.pem", &["-scrypt"]),
    ] {
        let mut args = vec![
            "pkcs8",
            "-topk8",
            "-in",
            "plain.pem",
            "-out",
            name,
            "-passout",
            "pass:phrase",
        ];
        args.extend(more);
        bench.openssl(&args);
        assert_eq!(
            bench.s3ota(&["pubkey", name], Some("phrase"))["pem"],
            public.as_str(),
            "{name}"
        );
    }
    // What it makes that is of no use here has its way out in the hint.
    bench.openssl(&["ec", "-in", "plain.pem", "-out", "sec1.pem"]);
    let old = bench.s3ota(&["pubkey", "sec1.pem"], None);
    assert_eq!(old["code"], "key.invalid");
    assert!(
        old["hint"]
            .as_str()
            .unwrap()
            .contains("openssl pkcs8 -topk8"),
        "{old}"
    );
    bench.openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-out",
        "p384.pem",
    ]);
    assert_eq!(
        bench.s3ota(&["pubkey", "p384.pem"], None)["code"],
        "key.invalid"
    );
}
