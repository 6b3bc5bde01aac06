//! Signed releases: what `s3ota publish --key` writes, and what it refuses.

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_manifest::{Manifest, ManifestDocument, ReleaseKey, Timestamp};
use serde_json::Value;

/// The public key in a `NAME.key.pub` that the bench made.
fn public(bench: &Bench, name: &str) -> ReleaseKey {
    let shown = bench.s3ota(&["pubkey", &format!("{name}.key.pub")]);
    let point = shown.succeeded()["point"].as_str().unwrap();
    let bytes: Vec<u8> = (0..point.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&point[at..at + 2], 16).unwrap())
        .collect();
    ReleaseKey::from_point(bytes.try_into().unwrap())
}

fn is_signed_by(manifest: &ManifestDocument, key: ReleaseKey) -> bool {
    let mut json = manifest.to_json().unwrap().into_bytes();
    Manifest::parse(&mut json).unwrap().verify(&[key]).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_release_has_a_channel_a_rising_serial_and_an_expiry() {
    let bench = Bench::new(Access::PublicRead).await;
    let keyid = bench.key("release");
    let key = public(&bench, "release");
    let first = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = bench.publish(&first, &["--key", &bench.path("release.key")]);
    assert_eq!(run.published()["keyid"], keyid.as_str());
    assert_eq!(run.warnings(), Vec::<&str>::new());

    let manifest = bench.manifest("lamp/stable.json").await;
    assert!(is_signed_by(&manifest, key));
    assert_eq!(manifest.channel.as_deref(), Some("stable"));
    assert_eq!(run.published()["serial"], manifest.serial.unwrap());
    let date = Timestamp::parse(manifest.date.as_deref().unwrap()).unwrap();
    let lifetime = manifest.expires.unwrap().unix_seconds() - date.unix_seconds();
    assert!(
        (31_535_940..=31_536_060).contains(&lifetime),
        "about a year: {lifetime} s"
    );
    let record = bench.manifest("lamp/releases/1.0.0.json").await;
    assert_eq!(record, manifest, "the history is signed too");

    // The same again within the same second, and by a key from the environment.
    let mut command = bench.command();
    command
        .env("S3OTA_KEY", bench.path("release.key"))
        .arg("--json")
        .arg("publish")
        .arg(&first);
    let again = Run::of(
        command
            .args(["s3://firmware/lamp", "--expires", "90d"])
            .output()
            .unwrap(),
    );
    assert_eq!(again.published()["keyid"], keyid.as_str());
    let next = bench.manifest("lamp/stable.json").await;
    assert!(next.serial > manifest.serial && is_signed_by(&next, key));
    assert!(next.expires < manifest.expires);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_release_does_not_replace_a_signed_one_without_a_flag() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let key = bench.path("release.key");
    bench
        .publish(
            &bench.firmware(Chip::Esp32C3, "1.0.0", b""),
            &["--key", &key],
        )
        .published();
    let before = bench.read("lamp/stable.json").await;
    let next = bench.firmware(Chip::Esp32C3, "1.1.0", b"");
    assert_eq!(bench.publish(&next, &[]).error(), "publish.unsigned");
    assert_eq!(bench.read("lamp/stable.json").await, before);
    assert_eq!(bench.keys().await.len(), 3, "nothing was uploaded");
    // Another channel of the product is its own affair.
    bench.publish(&next, &["--channel", "beta"]).published();
    let run = bench.publish(&next, &["--unsigned", "--key", &key]);
    assert_eq!(run.published()["keyid"], Value::Null);
    assert_eq!(bench.manifest("lamp/stable.json").await.signature, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_and_a_changed_manifest_are_warned_of() {
    let bench = Bench::new(Access::PublicRead).await;
    let (old, new) = (bench.key("old"), bench.key("new"));
    let release = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench
        .publish(&release, &["--key", &bench.path("old.key")])
        .published();
    let run = bench.publish(&release, &["--key", &bench.path("new.key")]);
    assert_eq!(run.warnings(), ["publish.key"]);
    let warning = run.all("warning")[0]["message"].as_str().unwrap();
    assert!(
        warning.contains(&old) && warning.contains(&new),
        "{warning}"
    );

    let mut manifest = bench.manifest("lamp/stable.json").await;
    manifest.serial = Some(u64::MAX);
    bench
        .write("lamp/stable.json", manifest.to_json().unwrap())
        .await;
    let run = bench.publish(&release, &["--key", &bench.path("new.key")]);
    assert_eq!(run.warnings(), ["publish.key"]);
    assert!(
        bench.manifest("lamp/stable.json").await.serial.unwrap() < u64::MAX / 2,
        "it was not believed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_need_a_signature_need_a_key_and_a_permission_to_go_back_must_expire() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let key = bench.path("release.key");
    let release = bench.firmware(Chip::Esp32C3, "1.5.0", b"");
    for (args, code) in [
        (&["--min-version", "1.0"][..], "publish.unsigned"),
        (
            &["--allow-downgrade", "--expires", "1d"],
            "publish.unsigned",
        ),
        (&["--key", &key, "--allow-downgrade"], "cli.usage"),
        (
            &["--key", &key, "--allow-downgrade", "--expires", "never"],
            "publish.expires",
        ),
        (&["--key", &key, "--expires", "soon"], "cli.usage"),
        (
            &["--key", &key, "--min-version", "latest"],
            "publish.min_version",
        ),
    ] {
        assert_eq!(
            bench.publish(&release, args).usage_error(),
            code,
            "{args:?}"
        );
    }
    assert_eq!(
        bench.publish(&release, &["--key", "nowhere.key"]).error(),
        "file.io"
    );
    assert_eq!(
        bench
            .publish(&release, &["--key", &key, "--min-version", "1.6"])
            .error(),
        "publish.min_version"
    );
    assert!(bench.keys().await.is_empty());

    bench
        .publish(&release, &["--key", &key, "--min-version", "1.4"])
        .published();
    let manifest = bench.manifest("lamp/stable.json").await;
    assert_eq!(manifest.min_version.as_deref(), Some("1.4.0"));
    let back = bench.firmware(Chip::Esp32C3, "1.4.1", b"");
    let run = bench.publish(
        &back,
        &["--key", &key, "--allow-downgrade", "--expires", "7d"],
    );
    assert_eq!(
        run.published()["min_version"],
        "1.4.0",
        "the min_version stays"
    );
    assert_eq!(run.warnings(), Vec::<&str>::new());
    assert!(bench.manifest("lamp/stable.json").await.downgrade);
    let below = bench.firmware(Chip::Esp32C3, "1.3.0", b"");
    assert_eq!(
        bench
            .publish(
                &below,
                &["--key", &key, "--allow-downgrade", "--expires", "7d"]
            )
            .error(),
        "publish.min_version"
    );
}

/// Whether `s3ota verify` finds that a device with this key would take what is on the channel.
fn verify(bench: &Bench, name: &str, args: &[&str]) -> Run {
    let url = format!("{}/firmware/lamp/stable.json", bench.server.endpoint_url());
    let (key, ca) = (
        format!("{name}.key.pub"),
        bench.server.ca_path().to_str().unwrap().to_owned(),
    );
    let mut all = vec!["verify", &url, "--release-key", &key, "--ca", &ca];
    all.extend(args);
    bench.s3ota(&all)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_judges_a_url_as_a_device_would() {
    let bench = Bench::new(Access::PublicRead).await;
    let keyid = bench.key("release");
    bench.key("other");
    let release = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let key = bench.path("release.key");
    bench
        .publish(
            &release,
            &["--key", &key, "--rollout", "1", "--board", "lamp-2"],
        )
        .published();
    let run = verify(&bench, "release", &[]);
    let verified = run.succeeded();
    assert_eq!(
        (&verified["keyid"], &verified["image"]),
        (&keyid.as_str().into(), &true.into())
    );
    assert_eq!(run.all("manifest")[0]["board"], "lamp-2");
    assert_eq!(
        verify(&bench, "release", &["--manifest-only"]).succeeded()["image"],
        false
    );
    assert_eq!(verify(&bench, "other", &[]).error(), "release.signature");
    assert_eq!(
        verify(&bench, "other", &["--release-key", "release.key.pub"]).succeeded()["keyid"],
        keyid.as_str()
    );
    assert_eq!(
        verify(&bench, "release", &["--board", "lamp-1"]).error(),
        "release.board"
    );
    assert_eq!(
        verify(&bench, "release", &["--channel", "beta"]).error(),
        "release.channel"
    );
    let url = format!("{}/firmware/lamp/stable.json", bench.server.endpoint_url());
    assert_eq!(bench.s3ota(&["verify", &url]).usage_error(), "cli.usage");

    // Rolled out to nobody: valid, but no device would download it.
    let board = ["--key", &key, "--board", "lamp-2"];
    let publish = |rollout: &str| {
        let run = bench.publish(&release, &[&board[..], &["--rollout", rollout]].concat());
        run.published();
    };
    publish("0");
    let run = verify(&bench, "release", &[]);
    assert_eq!(
        (&run.succeeded()["image"], run.warnings()),
        (&false.into(), vec!["verify.rollout"])
    );

    // An image that was exchanged behind the manifest's back.
    publish("100");
    let manifest = bench.manifest("lamp/stable.json").await;
    let image_key = manifest.url.split("/firmware/").nth(1).unwrap().to_owned();
    let mut image = std::fs::read(&release).unwrap();
    *image.last_mut().unwrap() ^= 1;
    bench.write(&image_key, image).await;
    assert_eq!(verify(&bench, "release", &[]).error(), "image.digest");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_judges_files_without_a_network() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let release = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench
        .publish(&release, &["--key", &bench.path("release.key")])
        .published();
    let file = bench.path("m.json");
    std::fs::write(&file, bench.read("lamp/stable.json").await.2).unwrap();
    let verify = |args: &[&str]| {
        let mut all = vec!["verify", "m.json", "--release-key", "release.key.pub"];
        all.extend(args);
        bench.s3ota(&all)
    };
    assert_eq!(verify(&[]).succeeded()["image"], false);
    assert_eq!(
        verify(&["--image", release.to_str().unwrap()]).succeeded()["image"],
        true
    );
    let other = bench.firmware(Chip::Esp32C3, "1.0.0", &[7; 100]);
    assert_eq!(
        verify(&["--image", other.to_str().unwrap()]).error(),
        "image.size"
    );

    // As PowerShell and Notepad save it. Devices read neither.
    let text = std::fs::read_to_string(&file).unwrap();
    let wide = text.encode_utf16().flat_map(u16::to_le_bytes);
    for bytes in [
        [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        b"\xFF\xFE".iter().copied().chain(wide).collect(),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let refused = verify(&[]);
        assert_eq!(refused.error(), "manifest.invalid");
        let hint = refused.all("error")[0]["hint"].as_str().unwrap();
        assert!(hint.contains("byte order mark"), "{hint}");
    }
    std::fs::write(&file, text).unwrap();

    let mut manifest = ManifestDocument::parse(&std::fs::read(&file).unwrap()).unwrap();
    manifest.url = "https://cdn.example.com/elsewhere.bin".to_owned();
    std::fs::write(&file, manifest.to_json().unwrap()).unwrap();
    verify(&[]).succeeded();
    manifest.channel = Some("../../beta".to_owned());
    std::fs::write(&file, manifest.to_json().unwrap()).unwrap();
    assert_eq!(verify(&[]).error(), "release.signature");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(verify(&[]).error(), "manifest.invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_a_bucket_is_signed_again_and_its_key_is_replaced() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("old");
    bench.key("new");
    let release = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench
        .publish(
            &release,
            &[
                "--key",
                &bench.path("old.key"),
                "--expires",
                "1d",
                "--notes",
                "kept",
            ],
        )
        .published();
    let first = bench.manifest("lamp/stable.json").await;

    let run = bench.s3ota(&[
        "sign",
        "s3://firmware/lamp",
        "--key",
        "old.key",
        "--expires",
        "90d",
    ]);
    run.succeeded();
    let again = bench.manifest("lamp/stable.json").await;
    assert!(again.serial > first.serial && again.expires > first.expires);
    assert_eq!(
        (&again.url, &again.sha256, &again.notes),
        (&first.url, &first.sha256, &first.notes)
    );
    verify(&bench, "old", &[]).succeeded();

    // The new key signs nothing but what the old one vouches for.
    let args = ["sign", "s3://firmware/lamp", "--key", "new.key"];
    assert_eq!(bench.s3ota(&args).error(), "sign.untrusted");
    let with_old = [&args[..], &["--release-key", "old.key.pub"]].concat();
    let mut forged = again.clone();
    forged.version = "9.9.9".to_owned();
    bench
        .write("lamp/stable.json", forged.to_json().unwrap())
        .await;
    assert_eq!(bench.s3ota(&with_old).error(), "sign.untrusted");
    bench
        .write("lamp/stable.json", again.to_json().unwrap())
        .await;
    bench.s3ota(&with_old).succeeded();
    verify(&bench, "new", &[]).succeeded();
    assert_eq!(verify(&bench, "old", &[]).error(), "release.signature");

    assert_eq!(
        bench.s3ota(&["sign", "s3://firmware/lamp"]).usage_error(),
        "cli.usage"
    );
    assert_eq!(
        bench
            .s3ota(&[
                "sign",
                "s3://firmware/lamp",
                "--key",
                "new.key",
                "--channel",
                "beta"
            ])
            .error(),
        "sign.nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_in_a_file_gets_what_a_signed_one_needs() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let by_hand = |fields: &str| {
        let json = format!(
            r#"{{"version":"1.0.0","url":"https://example.com/lamp.bin","note to self":7{fields}}}"#
        );
        std::fs::write(bench.path("m.json"), json).unwrap();
    };
    let sign =
        |args: &[&str]| bench.s3ota(&[&["sign", "m.json", "--key", "release.key"], args].concat());
    by_hand("");
    assert_eq!(sign(&[]).error(), "sign.channel");
    assert_eq!(sign(&["--channel", "stable"]).error(), "release.signature");
    let sha256 = "ab".repeat(32);
    let image = format!(r#","size":1000,"sha256":"{sha256}""#);
    by_hand(&image);
    sign(&["--channel", "stable"]).succeeded();
    let signed = ManifestDocument::parse(&std::fs::read(bench.path("m.json")).unwrap()).unwrap();
    assert!(signed.serial.is_some() && signed.expires.is_some());
    assert_eq!(signed.extra["note to self"], 7);
    assert!(is_signed_by(&signed, public(&bench, "release")));

    by_hand(&format!(r#"{image},"downgrade":true"#));
    assert_eq!(
        sign(&["--channel", "stable", "--expires", "never"]).error(),
        "publish.expires"
    );
    by_hand("\"");
    assert_eq!(sign(&["--channel", "stable"]).error(), "manifest.invalid");
    std::fs::remove_file(bench.path("m.json")).unwrap();
    assert_eq!(sign(&[]).error(), "file.io");
}
