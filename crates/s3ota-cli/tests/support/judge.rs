//! Other people's programs that judge ours, if they are installed.

use std::process::Command;

/// Whether a tool is installed. If it is missing, a message says how to get it; with `S3OTA_JUDGES=required` in the
/// environment, as in CI, it is an error.
pub fn installed(tool: &str, how_to_get_it: &str) -> bool {
    let found = Command::new(tool).arg("--help").output().is_ok();
    let required = std::env::var("S3OTA_JUDGES").is_ok_and(|value| value == "required");
    assert!(
        found || !required,
        "{tool} is required but missing: {how_to_get_it}"
    );
    if !found {
        eprintln!("SKIPPED: {tool} is not installed; get it with `{how_to_get_it}`");
    }
    found
}
