//! The judge `openssl`, where it is installed.

use std::process::Command;

/// Whether there is one. Where it is missing that is said; where judges are required, it is an error.
pub fn is_there() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    let required = std::env::var("S3OTA_JUDGES").is_ok_and(|value| value == "required");
    assert!(
        found || !required,
        "openssl is required but missing: apt-get install openssl"
    );
    if !found {
        eprintln!("SKIPPED: openssl is not installed; get it with `apt-get install openssl`");
    }
    found
}
