//! Records when this is built: on a device that runs it, the date cannot be earlier.
//!
//! `SOURCE_DATE_EPOCH` is honoured, so that a build can be reproduced (reproducible-builds.org).

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
}
