//! A private bucket: a device updates itself with pre-signed URLs, and they are renewed without the release key.

use std::time::Duration;

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::Value;

/// Runs a new device with 1.0.0 and the release key once; its last event.
fn update_a_device(bench: &Bench, manifest_url: &str) -> Value {
    let first = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench.new_device("flash.bin", &first);
    let run = bench.run_device("flash.bin", bench.ca(), manifest_url, &[]);
    run.events.last().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_updates_from_a_private_bucket_and_the_urls_are_renewed_without_the_release_key() {
    let bench = Bench::new(Access::Policy).await;
    bench.key("release");
    let release = bench.firmware(Chip::Esp32C3, "1.1.0", b"");
    let run = bench.publish(&release, &["--key", "release.key", "--presign", "1s"]);
    let url = run.published()["manifest_url"].as_str().unwrap().to_owned();
    let before = bench.manifest("lamp/stable.json").await;
    let record = bench.read("lamp/releases/1.1.0.json").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        update_a_device(&bench, &url)["code"],
        "http.status",
        "the URL has ended"
    );

    // The renewal has no key, not even its public part.
    for file in ["release.key", "release.key.pub"] {
        std::fs::rename(bench.path(file), bench.path(&format!("{file}.away"))).unwrap();
    }
    let run = bench.s3ota(&["presign", "s3://firmware/lamp", "--presign", "1h"]);
    let presigned = run.succeeded().clone();
    std::fs::rename(
        bench.path("release.key.pub.away"),
        bench.path("release.key.pub"),
    )
    .unwrap();
    assert_eq!(run.warnings(), Vec::<&str>::new());
    assert_eq!(
        (&presigned["event"], &presigned["version"]),
        (&"presigned".into(), &"1.1.0".into())
    );

    let mut after = bench.manifest("lamp/stable.json").await;
    assert_eq!(after.url, presigned["image_url"].as_str().unwrap());
    assert!(after.url.contains("X-Amz-Expires=3600") && after.url != before.url);
    after.url.clone_from(&before.url);
    assert_eq!(after, before, "nothing but the URL has changed");
    assert_eq!(bench.read("lamp/releases/1.1.0.json").await, record);

    let last = update_a_device(&bench, presigned["manifest_url"].as_str().unwrap());
    assert_eq!(
        (&last["event"], &last["version"]),
        (&"confirmed".into(), &"1.1.0".into()),
        "{last}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_that_cannot_be_renewed_are_reported() {
    let bench = Bench::new(Access::Policy).await;
    let presign = |args: &[&str]| bench.s3ota(&[&["presign", "s3://firmware/lamp"], args].concat());
    assert_eq!(presign(&[]).error(), "channel.empty");
    assert_eq!(
        presign(&["--presign", "8d"]).usage_error(),
        "publish.presign"
    );
    assert_eq!(presign(&["--channel", "a/b"]).error(), "publish.channel");
    let by_hand = r#"{"version":"1.0.0","url":"https://example.com/lamp.bin"}"#;
    bench.write("lamp/stable.json", by_hand).await;
    assert_eq!(presign(&[]).error(), "presign.nothing");
    // The URL may name what it likes: it is the image of this hash that gets one, or nothing.
    let sha256 = "ab".repeat(32);
    let other = format!(
        r#"{{"version":"1.0.0","url":"https://example.com/secret","size":10,"sha256":"{sha256}"}}"#
    );
    bench.write("lamp/stable.json", other.as_str()).await;
    assert_eq!(presign(&[]).error(), "presign.nothing");
    assert_eq!(bench.read("lamp/stable.json").await.2, other.as_bytes());
    bench.write("lamp/stable.json", "{").await;
    assert_eq!(presign(&[]).error(), "manifest.invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_channel_is_not_given_urls_that_end_without_a_warning() {
    let bench = Bench::new(Access::PublicRead).await;
    let place = "s3://firmware/lamp";
    bench.release("1.0.0", "stable");
    let status = || {
        let mut command = bench.command();
        let output = command.args(["status", place]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!status().contains("URL ENDS"), "{}", status());
    let run = bench.s3ota(&["presign", place, "--presign", "2d"]);
    run.succeeded();
    assert_eq!(run.warnings(), ["presign.public"]);
    // It ends, and the status says when, long before it is near.
    let run = bench.s3ota(&["status", place]);
    assert_eq!(run.warnings(), Vec::<&str>::new());
    let until = run.all("channel")[0]["url_until"].as_str().unwrap();
    let (day, time) = until.split_once('T').unwrap();
    let shown = status();
    assert!(
        shown.contains("URL ENDS") && shown.contains(&format!("{day} {}", &time[..5])),
        "{shown}"
    );
    // Once it is so, it is meant.
    assert_eq!(
        bench.s3ota(&["presign", place]).warnings(),
        Vec::<&str>::new()
    );
}
