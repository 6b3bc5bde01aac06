//! `s3ota publish --web-installer`: the page, in a real browser where there is one.

mod bucket;

use std::process::Command;

use bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::Value;

const ELF: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../s3ota-image/tests/fixtures/hello-esp32c3-1.1.0.elf"
);

/// A Chromium, if one is installed.
fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    let required = std::env::var("S3OTA_JUDGES").is_ok_and(|value| value == "required");
    assert!(
        found.is_some() || !required,
        "chromium is required but missing: apt-get install chromium"
    );
    if found.is_none() {
        eprintln!("SKIPPED: chromium is not installed; get it with `apt-get install chromium`");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_installer_holds_bootloader_partition_table_and_app_at_their_places() {
    let bench = Bench::new(Access::PublicRead).await;
    let run = bench.s3ota(&["publish", ELF, "s3://firmware/lamp", "--web-installer"]);
    let page = run.succeeded()["url"].as_str().unwrap().to_owned();
    assert!(
        page.ends_with("/lamp/installer/stable/index.html"),
        "{page}"
    );

    let (_, _, manifest) = bench
        .read("lamp/installer/stable/manifest-webtools.json")
        .await;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let build = &manifest["builds"][0];
    assert_eq!(build["chipFamily"], "ESP32-C3");
    assert_eq!(build["parts"][0]["offset"], 0);
    let key = format!(
        "lamp/installer/stable/{}",
        build["parts"][0]["path"].as_str().unwrap()
    );
    let (_, _, mut flash) = bench.read(&key).await;
    assert_eq!(flash[0], 0xE9, "a bootloader");
    // What is not written is erased.
    flash.resize(4 << 20, 0xFF);
    let file = bench.path("flash.bin");
    std::fs::write(&file, &flash).unwrap();
    let report = bench.s3ota(&["inspect", &file]);
    assert_eq!(
        report.succeeded()["boots"]["version"],
        "1.1.0",
        "{:?}",
        report.events
    );

    let (content_type, _, html) = bench.read("lamp/installer/stable/index.html").await;
    assert!(content_type.starts_with("text/html"));
    assert!(String::from_utf8(html).unwrap().contains("esp-web-tools@"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_image_alone_is_told_to_bring_its_bootloader() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32, "1.0.0", b"");
    let refused = bench.publish(&firmware, &["--web-installer"]);
    assert_eq!(refused.error(), "publish.installer");

    // The ESP32's ROM looks for it at 0x1000.
    let bootloader = bench.path("bootloader.bin");
    std::fs::write(&bootloader, [[0xE9].as_slice(), &[7; 20_000]].concat()).unwrap();
    bench
        .publish(&firmware, &["--web-installer", "--bootloader", &bootloader])
        .succeeded();
    let (_, _, manifest) = bench
        .read("lamp/installer/stable/manifest-webtools.json")
        .await;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["builds"][0]["chipFamily"], "ESP32");
    assert_eq!(manifest["builds"][0]["parts"][0]["offset"], 0x1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_renders_in_a_browser_and_serves_its_manifest() {
    let Some(chromium) = chromium() else { return };
    let bench = Bench::new(Access::PublicRead).await;
    let run = bench.s3ota(&["publish", ELF, "s3://firmware/lamp", "--web-installer"]);
    let page = run.succeeded()["url"].as_str().unwrap().to_owned();
    let mut requests = bench.server.requests();
    let profile = bench.path("profile");
    let mut browser = Command::new(chromium);
    browser
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--ignore-certificate-errors",
        ])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={profile}"))
        .arg(page);
    let output = tokio::task::spawn_blocking(move || browser.output().unwrap())
        .await
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    // The version and the offset are filled in from the manifest, though the CDN may be out of reach.
    for text in [
        "1.1.0</span>",
        "ESP32-C3",
        "0x0</span>",
        "esp-web-install-button",
    ] {
        assert!(
            dom.contains(text),
            "{text}: {dom}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut asked = Vec::new();
    while let Ok(request) = requests.try_recv() {
        asked.push(request.path);
    }
    assert!(
        asked
            .iter()
            .any(|path| path.ends_with("manifest-webtools.json")),
        "{asked:?}"
    );
}
