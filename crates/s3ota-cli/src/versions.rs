//! The order of versions.

use s3ota_manifest::Version;

/// The order in which two versions follow each other; what is not a version is ordered as text.
pub fn by_precedence(a: &str, b: &str) -> std::cmp::Ordering {
    match (Version::parse(a), Version::parse(b)) {
        (Ok(left), Ok(right)) => left.cmp(&right).then_with(|| a.cmp(b)),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_devices_order_them() {
        let mut versions = ["1.10.0", "1.9.0", "1.10.0-rc.1", "1.9.0+b"];
        versions.sort_by(|a, b| by_precedence(a, b));
        assert_eq!(versions, ["1.9.0", "1.9.0+b", "1.10.0-rc.1", "1.10.0"]);
    }
}
