//! Times as the log and the answers write them.

use s3ota::manifest::Timestamp;

/// RFC 3339, in UTC.
pub(crate) fn rfc3339(unix: u64) -> String {
    Timestamp::from_unix_seconds(unix)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// The day.
pub(crate) fn day(unix: u64) -> String {
    let mut text = rfc3339(unix);
    text.truncate(10);
    text
}
