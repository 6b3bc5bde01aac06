//! Other people's tools at both ends: another S3 server in place of ours, the `aws` command, espflash, esptool.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bucket::Bench;
use crate::servers::{Server, succeeded};
use s3ota_devserver::Access;
use serde_json::Value;

/// moto's S3 server, with a bucket.
fn moto() -> Server {
    let moto = Server::moto();
    moto.aws(&["s3", "mb", "s3://firmware"]);
    moto
}

/// Opens a prefix to anyone, by bucket policy.
fn open(moto: &Server, prefix: &str) {
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::firmware/{prefix}/*"}}]}}"#
    );
    moto.aws(&[
        "s3api",
        "put-bucket-policy",
        "--bucket",
        "firmware",
        "--policy",
        &policy,
    ]);
}

#[test]
#[ignore = "needs moto and aws: pip install 'moto[server]' awscli"]
fn a_release_on_another_s3_server_is_what_aws_and_a_device_expect() {
    let moto = moto();
    open(&moto, "lamp");
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
#[ignore = "needs moto and aws: pip install 'moto[server]' awscli"]
fn a_private_bucket_and_presigned_urls_update_a_device() {
    let moto = moto();
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
#[ignore = "needs moto and aws: pip install 'moto[server]' awscli"]
fn a_manifest_written_by_hand_and_an_image_put_by_aws_update_a_device() {
    let moto = moto();
    open(&moto, "by-hand");
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
#[ignore = "needs moto and aws: pip install 'moto[server]' awscli"]
fn a_key_in_kms_signs_a_release_that_a_device_takes() {
    let moto = moto();
    open(&moto, "lamp");
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
    // By its alias, and signed again.
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
#[ignore = "needs esptool, moto and aws: pip install 'esptool>=5' 'moto[server]' awscli"]
fn esptool_finds_the_updated_slot_valid() {
    let moto = moto();
    open(&moto, "lamp");
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
            .expect("esptool"),
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs espflash: cargo install espflash --locked"]
async fn an_elf_is_published_as_the_image_that_espflash_saves() {
    const ELF: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/hello-esp32c3-1.1.0.elf"
    );
    let bench = Bench::new(Access::PublicRead).await;
    let saved = bench.path("saved.bin");
    let mut espflash = Command::new("espflash");
    espflash.args(["save-image", "--chip", "esp32c3", ELF, &saved]);
    succeeded(&espflash.output().expect("espflash"));
    bench.publish(Path::new(ELF), &[]).published();
    let keys = bench.keys().await;
    let is_whole = |key: &&String| key.contains("/images/") && key.ends_with(".bin");
    let key = keys.iter().find(is_whole).unwrap();
    assert!(bench.read(key).await.2 == fs::read(saved).unwrap());
}
