//! Other people's tools at both ends: another S3 server in place of ours, the `aws` command, esptool.
//!
//! A tool that is not installed is skipped with a sentence that says how to get it. With `S3OTA_JUDGES=required` in the
//! environment, as in CI, a missing one fails the test instead.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use serde_json::Value;
use tempfile::TempDir;

/// Whether a tool answers.
fn installed(tool: &str, how_to_get_it: &str) -> bool {
    let found = Command::new(tool).arg("--help").output().is_ok();
    let required = std::env::var("S3OTA_JUDGES").is_ok_and(|value| value == "required");
    assert!(
        found || !required,
        "{tool} is required but missing: {how_to_get_it}"
    );
    if !found {
        eprintln!("SKIPPED: {tool} is not installed; get it with `{how_to_get_it}`");
    }
    found
}

/// moto's S3 server over HTTPS, with a bucket.
struct Moto {
    process: Child,
    url: String,
    dir: TempDir,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    fn start() -> Option<Self> {
        if !installed("moto_server", "pip install 'moto[server]'")
            || !installed("aws", "pip install awscli")
        {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
        ca.distinguished_name.push(DnType::CommonName, "Test CA");
        fs::write(
            dir.path().join("ca.pem"),
            ca.self_signed(&ca_key).unwrap().pem(),
        )
        .unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        fs::write(dir.path().join("server.pem"), leaf.pem()).unwrap();
        fs::write(dir.path().join("server.key"), key.serialize_pem()).unwrap();

        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string(), "-s", "-c"])
            .arg(dir.path().join("server.pem"))
            .arg("-k")
            .arg(dir.path().join("server.key"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self {
            process,
            url: format!("https://localhost:{port}"),
            dir,
        };
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                moto.aws(&["s3", "mb", "s3://firmware"]);
                return Some(moto);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("moto_server does not listen within two minutes");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_CA_BUNDLE", self.path("ca.pem"))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_REGION", "us-east-1")
            .current_dir(self.dir.path());
        command
    }

    fn aws(&self, args: &[&str]) -> String {
        succeeded(&self.command("aws").args(args).output().unwrap())
    }

    fn s3ota(&self, args: &[&str]) -> String {
        succeeded(
            &self
                .command(env!("CARGO_BIN_EXE_s3ota"))
                .args(args)
                .output()
                .unwrap(),
        )
    }

    /// Opens a prefix to anyone, by bucket policy.
    fn open(&self, prefix: &str) {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::firmware/{prefix}/*"}}]}}"#
        );
        self.aws(&[
            "s3api",
            "put-bucket-policy",
            "--bucket",
            "firmware",
            "--policy",
            &policy,
        ]);
    }

    /// A firmware in a file.
    fn firmware(&self, version: &str) -> String {
        let name = format!("lamp-{version}.bin");
        let image = ImageBuilder::new(Chip::Esp32C3, version)
            .project_name("lamp")
            .length(150_000);
        fs::write(self.path(&name), image.build()).unwrap();
        name
    }

    /// Makes a device with 1.0.0 and lets it update itself to 1.1.0 from a manifest.
    fn update_a_device(&self, manifest_url: &str, more: &[&str]) {
        let first = self.firmware("1.0.0");
        self.s3ota(&["device", "new", "flash.bin", "--force", "--image", &first]);
        let run = [
            "device",
            "run",
            "flash.bin",
            "--json",
            "--once",
            "--ca",
            "ca.pem",
            "--manifest-url",
            manifest_url,
        ];
        let events = self.s3ota(&[&run, more].concat());
        let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["event"], &last["version"]),
            (&"confirmed".into(), &"1.1.0".into()),
            "{events}"
        );
    }
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn a_release_on_another_s3_server_is_what_aws_and_a_device_expect() {
    let Some(moto) = Moto::start() else { return };
    moto.open("lamp");
    let image = moto.firmware("1.1.0");
    let events = moto.s3ota(&["publish", &image, "s3://firmware/lamp", "--json"]);
    let published: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert!(!events.contains("\"warning\""), "{events}");

    let listed = moto.aws(&["s3", "ls", "--recursive", "s3://firmware/"]);
    let keys: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let [image_key, "lamp/releases/1.1.0.json", "lamp/stable.json"] = keys[..] else {
        panic!("{keys:?}")
    };
    let head = |key| -> Value {
        serde_json::from_str(&moto.aws(&[
            "s3api",
            "head-object",
            "--bucket",
            "firmware",
            "--key",
            key,
        ]))
        .unwrap()
    };
    assert_eq!(head("lamp/stable.json")["ContentType"], "application/json");
    assert_eq!(
        head("lamp/stable.json")["CacheControl"],
        "public, max-age=60"
    );
    assert_eq!(head(image_key)["ContentType"], "application/octet-stream");
    assert_eq!(
        head(image_key)["CacheControl"],
        "public, max-age=31536000, immutable"
    );
    moto.aws(&[
        "s3",
        "cp",
        &format!("s3://firmware/{image_key}"),
        "copy.bin",
    ]);
    assert!(fs::read(moto.path("copy.bin")).unwrap() == fs::read(moto.path(&image)).unwrap());

    moto.update_a_device(published["manifest_url"].as_str().unwrap(), &[]);
}

#[test]
fn a_private_bucket_and_presigned_urls_update_a_device() {
    let Some(moto) = Moto::start() else { return };
    let image = moto.firmware("1.1.0");
    let events = moto.s3ota(&[
        "publish",
        &image,
        "s3://firmware/lamp",
        "--presign",
        "1h",
        "--json",
    ]);
    let published: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let url = published["manifest_url"].as_str().unwrap();
    assert!(url.contains("X-Amz-Signature="), "{url}");
    moto.update_a_device(url, &[]);
}

#[test]
fn a_manifest_written_by_hand_and_an_image_put_by_aws_update_a_device() {
    let Some(moto) = Moto::start() else { return };
    moto.open("by-hand");
    let image = moto.firmware("1.1.0");
    moto.aws(&["s3", "cp", &image, "s3://firmware/by-hand/lamp.bin"]);
    let url = format!("{}/firmware/by-hand", moto.url);
    fs::write(
        moto.path("m.json"),
        format!(r#"{{"version": "1.1.0", "url": "{url}/lamp.bin"}}"#),
    )
    .unwrap();
    moto.aws(&["s3", "cp", "m.json", "s3://firmware/by-hand/manifest.json"]);
    moto.update_a_device(&format!("{url}/manifest.json"), &[]);
}

#[test]
fn a_key_in_kms_signs_a_release_that_a_device_takes() {
    let Some(moto) = Moto::start() else { return };
    moto.open("lamp");
    let create = |spec: &str| -> Value {
        let args = [
            "kms",
            "create-key",
            "--key-usage",
            "SIGN_VERIFY",
            "--key-spec",
            spec,
        ];
        serde_json::from_str(&moto.aws(&args)).unwrap()
    };
    let key = create("ECC_NIST_P256");
    let arn = format!("kms:{}", key["KeyMetadata"]["Arn"].as_str().unwrap());
    fs::write(
        moto.path("release.pub"),
        moto.s3ota(&["pubkey", &arn, "--format", "pem"]),
    )
    .unwrap();

    let image = moto.firmware("1.1.0");
    let events = moto.s3ota(&[
        "publish",
        &image,
        "s3://firmware/lamp",
        "--key",
        &arn,
        "--json",
    ]);
    let published: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let keyid = moto.s3ota(&["pubkey", "release.pub", "--format", "id"]);
    assert_eq!(published["keyid"], keyid.trim());
    let url = published["manifest_url"].as_str().unwrap();
    moto.s3ota(&[
        "verify",
        url,
        "--release-key",
        "release.pub",
        "--ca",
        "ca.pem",
    ]);
    moto.update_a_device(url, &["--release-key", "release.pub"]);
    // By its alias, and signed anew.
    let key_id = key["KeyMetadata"]["KeyId"].as_str().unwrap();
    moto.aws(&[
        "kms",
        "create-alias",
        "--alias-name",
        "alias/release",
        "--target-key-id",
        key_id,
    ]);
    moto.s3ota(&["sign", "s3://firmware/lamp", "--key", "kms:alias/release"]);

    let code = |key: &str| {
        let mut command = moto.command(env!("CARGO_BIN_EXE_s3ota"));
        let output = command.args(["--json", "pubkey", key]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        error["code"].as_str().unwrap().to_owned()
    };
    let p384 = create("ECC_NIST_P384");
    assert_eq!(
        code(&format!(
            "kms:{}",
            p384["KeyMetadata"]["Arn"].as_str().unwrap()
        )),
        "key.invalid"
    );
    assert_eq!(code("kms:alias/nobody"), "key.kms");
}

#[test]
fn esptool_finds_the_updated_slot_valid() {
    if !installed("esptool", "pip install esptool") {
        return;
    }
    let Some(moto) = Moto::start() else { return };
    moto.open("lamp");
    let image = moto.firmware("1.1.0");
    let events = moto.s3ota(&["publish", &image, "s3://firmware/lamp", "--json"]);
    let published: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    moto.update_a_device(published["manifest_url"].as_str().unwrap(), &[]);

    let report: Value =
        serde_json::from_str(moto.s3ota(&["inspect", "flash.bin", "--json"]).trim()).unwrap();
    assert_eq!(report["boots"]["partition"], "ota_1");
    assert_eq!(report["boots"]["version"], "1.1.0");
    let flash = fs::read(moto.path("flash.bin")).unwrap();
    fs::write(moto.path("slot.bin"), &flash[0x20_0000..0x3f_0000]).unwrap();
    let info = image_info(&moto.path("slot.bin"));
    assert!(
        info.contains("1.1.0") && info.contains("ESP32-C3"),
        "{info}"
    );
    let digest = info
        .lines()
        .find(|line| line.contains("alidation hash") || line.contains("alidation Hash"));
    assert!(
        digest.is_some_and(|line| line.contains("(valid)")),
        "{info}"
    );
}

fn image_info(path: &Path) -> String {
    succeeded(
        &Command::new("esptool")
            .arg("image-info")
            .arg(path)
            .output()
            .unwrap(),
    )
}
