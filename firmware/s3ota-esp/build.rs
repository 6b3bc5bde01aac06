//! Records when this is built: on a device that runs it, the date cannot be earlier.
//!
//! `SOURCE_DATE_EPOCH` is honoured, so that a build can be reproduced (reproducible-builds.org).
//!
//! And where the partition table lies: what esp-bootloader-esp-idf is told, this crate heeds, too.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let built_at = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => match text.parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                println!(
                    "cargo::error=SOURCE_DATE_EPOCH is `{text}`, which is not a number of seconds"
                );
                return;
            }
        },
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    println!("cargo::rustc-env=S3OTA_BUILT_AT={built_at}");
    table_offset();
}

/// The setting of esp-bootloader-esp-idf for the partition table's offset.
const TABLE_OFFSET: &str = "ESP_BOOTLOADER_ESP_IDF_CONFIG_PARTITION_TABLE_OFFSET";

fn table_offset() {
    println!("cargo::rerun-if-env-changed={TABLE_OFFSET}");
    let offset = match std::env::var(TABLE_OFFSET) {
        Ok(text) => {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            };
            match number {
                Ok(offset) if offset % 0x1000 == 0 => offset,
                _ => {
                    println!(
                        "cargo::error={TABLE_OFFSET} is `{text}`, which is no multiple of 0x1000"
                    );
                    return;
                }
            }
        }
        // ESP-IDF's default.
        Err(_) => 0x8000,
    };
    println!("cargo::rustc-env=S3OTA_TABLE_OFFSET={offset}");
}
