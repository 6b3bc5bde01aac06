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
async fn the_installer_has_everything_in_its_place_and_leaves_what_the_device_keeps() {
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
    // The page waits for the new firmware to ask for a Wi-Fi network.
    assert_eq!(manifest["new_install_improv_wait_time"], 10);

    // A device that has been at work: its firmware is in the other slot, and it has saved something.
    let used = bench.path("used.bin");
    bench
        .s3ota(&["device", "new", &used, "--image", ELF])
        .succeeded();
    let mut flash = std::fs::read(&used).unwrap();
    let nvs = 0x9000..0xD000;
    flash[nvs.clone()].fill(0x5A);
    flash[0xD000..0xF000].fill(0);
    for part in build["parts"].as_array().unwrap() {
        let key = format!("lamp/installer/stable/{}", part["path"].as_str().unwrap());
        let (_, _, bytes) = bench.read(&key).await;
        let offset = part["offset"].as_u64().unwrap() as usize;
        if offset == 0 {
            assert_eq!(bytes[0], 0xE9, "a bootloader");
        }
        // A flasher erases whole sectors.
        let end = offset + bytes.len().next_multiple_of(4096);
        assert!(offset.is_multiple_of(4096) && (end <= nvs.start || offset >= nvs.end));
        flash[offset..end].fill(0xFF);
        flash[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }
    assert!(flash[nvs].iter().all(|byte| *byte == 0x5A));
    assert!(flash[0xD000..0xF000].iter().all(|byte| *byte == 0xFF));
    let file = bench.path("flash.bin");
    std::fs::write(&file, &flash).unwrap();
    let report = bench.s3ota(&["inspect", &file]);
    let boots = &report.succeeded()["boots"];
    assert_eq!(boots["version"], "1.1.0", "{:?}", report.events);

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
