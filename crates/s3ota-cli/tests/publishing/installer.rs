//! `s3ota publish --web-installer`: what is in the bucket then. `judges/installer.rs` opens the page in a browser.

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::Value;

const ELF: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/hello-esp32c3-1.1.0.elf"
);

#[tokio::test(flavor = "multi_thread")]
async fn the_installer_has_bootloader_partition_table_and_app_in_their_places() {
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
    // The page waits for the new firmware to ask for a Wi-Fi network.
    assert_eq!(manifest["new_install_improv_wait_time"], 10);
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
async fn an_app_image_alone_needs_a_bootloader() {
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
