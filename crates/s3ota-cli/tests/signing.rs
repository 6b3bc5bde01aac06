//! Releases that are signed: what `s3ota publish --key` writes, and what it refuses.

mod bucket;

use bucket::*;
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
async fn a_signed_release_has_channel_serial_and_an_end_and_each_serial_is_higher() {
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
async fn an_unsigned_release_does_not_take_the_place_of_a_signed_one_unless_that_is_said() {
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
async fn what_only_counts_if_it_is_signed_needs_a_key_and_a_way_back_needs_an_end() {
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
    assert_eq!(run.published()["min_version"], "1.4.0", "the floor stays");
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
