//! The layout of the bucket: keys and headers of its objects (feature `alloc`).
//!
//! Under one prefix, one product on one kind of chip:
//!
//! ```text
//! <prefix>/<channel>.json                       the manifest of a channel: small, mutable
//! <prefix>/releases/<version>.json              the same record, immutable: which bytes a version is
//! <prefix>/images/<version>-<12 hex>.bin        the images, immutable, named by their hash
//! <prefix>/images/<version>-<12 hex>.delta      what makes one in fewer bytes, immutable, named by its own hash
//! <prefix>/history/<channel>/<serial>.json      each manifest the channel held before, immutable
//! <prefix>/yanked/<version>.json                a mark: this version is yanked, for good
//! <prefix>/older/<channel>.<library>.json       what the channel serves, for legacy clients
//! <prefix>/installer/<channel>/                 a page that installs the channel's release on a new board
//! ```
//!
//! Devices read only the manifest, and the image or what makes it; the rest is for the host.
//!
//! **The history is complete without a transaction.** Before a publisher replaces a channel's manifest, it files the
//! current one under its serial; then it replaces it on the condition that it is unchanged. So `history/` has every
//! manifest that a channel ever held, except the current one. Nothing else is filed: of several publishers that race, all
//! file the same document, and one replaces it.
//!
//! ```
//! use s3ota_manifest::layout;
//!
//! assert_eq!(layout::channel_key("greenhouse/c3", "stable")?, "greenhouse/c3/stable.json");
//! assert_eq!(layout::channel_key("", "beta")?, "beta.json");
//! # Ok::<(), layout::LayoutError>(())
//! ```
//!
//! The prefix may be empty. One `/` at its end is ignored, since people type `s3://bucket/` and
//! `s3://bucket/greenhouse/`.

use alloc::format;
use alloc::string::String;
use core::fmt;

use base16ct::HexDisplay;

use crate::{Sha256Digest, Version};

/// How long an object's key may be, in bytes of UTF-8
/// ([Amazon S3 User Guide, "Naming Amazon S3 objects"](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)).
pub const MAX_KEY: usize = 1024;

pub use crate::MAX_CHANNEL;

/// `Cache-Control` of a channel's manifest.
///
/// One minute rather than `no-cache`: behind a CDN, a polling fleet costs the bucket one request per minute, and
/// a release still reaches every device a minute after it is published.
pub const CHANNEL_CACHE_CONTROL: &str = "public, max-age=60";

/// `Cache-Control` of release records and images, which never change (RFC 8246 for `immutable`; a year is
/// the customary "for ever").
pub const IMMUTABLE_CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// `Content-Type` of manifests and release records (RFC 8259, section 11).
pub const MANIFEST_CONTENT_TYPE: &str = "application/json";

/// `Content-Type` of images (RFC 2046, section 4.5.1).
pub const IMAGE_CONTENT_TYPE: &str = "application/octet-stream";

/// The key of a channel's manifest.
///
/// # Errors
///
/// [`LayoutError`] if the channel is not a name of ASCII letters, digits, `-`, `_` and `.` that begins with
/// a letter or digit, or if the prefix is not valid.
pub fn channel_key(prefix: &str, channel: &str) -> Result<String, LayoutError> {
    let well_formed = channel.len() <= MAX_CHANNEL
        && channel.starts_with(|first: char| first.is_ascii_alphanumeric())
        && channel
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !well_formed {
        return Err(LayoutError::Channel);
    }
    key(prefix, format!("{channel}.json"))
}

/// The key of the immutable record of a release.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn release_key(prefix: &str, version: &Version<'_>) -> Result<String, LayoutError> {
    key(prefix, format!("releases/{version}.json"))
}

/// The key of an image: its version, for people, and the first 12 hex digits of its SHA-256, so that two
/// builds of one version do not overwrite each other.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn image_key(
    prefix: &str,
    version: &Version<'_>,
    sha256: &Sha256Digest,
) -> Result<String, LayoutError> {
    in_images(prefix, version, sha256, "bin")
}

/// The key of an artefact: a delta that makes the image of this version, or the compressed image. It lies beside the image,
/// so that whoever may read the one may read the other; `sha256` is the artefact's own.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn artefact_key(
    prefix: &str,
    version: &Version<'_>,
    sha256: &Sha256Digest,
) -> Result<String, LayoutError> {
    in_images(prefix, version, sha256, "delta")
}

fn in_images(
    prefix: &str,
    version: &Version<'_>,
    sha256: &Sha256Digest,
    kind: &str,
) -> Result<String, LayoutError> {
    let [a, b, c, d, e, f, ..] = sha256.0;
    let short = HexDisplay(&[a, b, c, d, e, f]);
    key(prefix, format!("images/{version}-{short:x}.{kind}"))
}

/// The folder of the release records, with a `/` at its end.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn releases_folder(prefix: &str) -> Result<String, LayoutError> {
    key(prefix, "releases/".into())
}

/// The folder of the images, with a `/` at its end.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn images_folder(prefix: &str) -> Result<String, LayoutError> {
    key(prefix, "images/".into())
}

/// The folder of the marks of yanked versions, with a `/` at its end.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn yanked_folder(prefix: &str) -> Result<String, LayoutError> {
    key(prefix, "yanked/".into())
}

/// The key of the mark that a version is yanked.
///
/// # Errors
///
/// [`LayoutError`] if the prefix is not valid.
pub fn yanked_key(prefix: &str, version: &Version<'_>) -> Result<String, LayoutError> {
    key(prefix, format!("yanked/{version}.json"))
}

/// The folder of a channel's earlier manifests, with a `/` at its end.
///
/// # Errors
///
/// As [`channel_key`].
pub fn history_folder(prefix: &str, channel: &str) -> Result<String, LayoutError> {
    channel_key(prefix, channel)?;
    key(prefix, format!("history/{channel}/"))
}

/// The key under which one of a channel's earlier manifests is filed.
///
/// `serial` is the manifest's. A manifest without one, made by hand or by another tool, is filed under the time it was
/// written, in seconds since 1970.
///
/// # Errors
///
/// As [`channel_key`].
pub fn history_key(prefix: &str, channel: &str, serial: u64) -> Result<String, LayoutError> {
    channel_key(prefix, channel)?;
    key(prefix, format!("history/{channel}/{serial}.json"))
}

/// The key of a channel's manifest for legacy clients that use `library`. It has a folder of its own, since every manifest
/// beside the channels is a channel.
///
/// # Errors
///
/// As [`channel_key`].
pub fn older_key(prefix: &str, channel: &str, library: &str) -> Result<String, LayoutError> {
    channel_key(prefix, channel)?;
    key(prefix, format!("older/{channel}.{library}.json"))
}

/// The folder of the page that installs a channel's release on a new board, with a `/` at its end.
///
/// # Errors
///
/// As [`channel_key`].
pub fn installer_folder(prefix: &str, channel: &str) -> Result<String, LayoutError> {
    channel_key(prefix, channel)?;
    key(prefix, format!("installer/{channel}/"))
}

/// The name of an object `<name>.json` in a folder: a channel, a version, a serial. `None` for objects in folders below, and
/// for other names.
///
/// ```
/// use s3ota_manifest::layout;
///
/// assert_eq!(layout::name_in("p/releases/", "p/releases/1.2.0.json"), Some("1.2.0"));
/// assert_eq!(layout::name_in("p/", "p/releases/1.2.0.json"), None);
/// ```
pub fn name_in<'a>(folder: &str, key: &'a str) -> Option<&'a str> {
    let name = key.strip_prefix(folder)?.strip_suffix(".json")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// A key as the path of a URL: percent-encoded, without a `/` in front.
///
/// Everything but RFC 3986's unreserved characters and `/` is encoded. That matters for the `+` before a
/// version's build metadata: S3 reads a bare `+` in a URL as a space.
pub fn url_path(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

fn key(prefix: &str, name: String) -> Result<String, LayoutError> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.is_empty() {
        return Ok(name);
    }
    // `.` and `..` would be removed from URLs, and empty segments from paths on disk.
    let usable = !prefix.contains(char::is_control)
        && prefix
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."));
    let key = format!("{prefix}/{name}");
    if !usable || key.len() > MAX_KEY {
        return Err(LayoutError::Prefix);
    }
    Ok(key)
}

/// Why there is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The channel's name is empty, too long, or contains a character that is not allowed.
    Channel,
    /// The prefix begins with `/`; contains `//`, a segment `.` or `..`, or a control character; or is so
    /// long that the key would exceed [`MAX_KEY`].
    Prefix,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::Channel => write!(
                f,
                "a channel's name has at most {MAX_CHANNEL} ASCII letters, digits, `-`, `_` and `.`, and begins with a letter or digit, like `stable`"
            ),
            LayoutError::Prefix => f.write_str(
                "the prefix is not valid; write one like `product/esp32c3`, without `//`, `.` or `..` and without `/` in front",
            ),
        }
    }
}

impl core::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: Sha256Digest = Sha256Digest([0xab; 32]);

    #[test]
    fn keys_are_those_of_the_contract() {
        let version = Version::parse("v1.2-rc.1+b7").unwrap();
        assert_eq!(channel_key("p/q", "stable").unwrap(), "p/q/stable.json");
        assert_eq!(
            release_key("p", &version).unwrap(),
            "p/releases/1.2.0-rc.1+b7.json"
        );
        assert_eq!(
            image_key("p", &version, &SHA256).unwrap(),
            "p/images/1.2.0-rc.1+b7-abababababab.bin"
        );
        assert_eq!(
            artefact_key("p", &version, &SHA256).unwrap(),
            "p/images/1.2.0-rc.1+b7-abababababab.delta"
        );
    }

    #[test]
    fn what_the_host_keeps_lies_in_folders_of_its_own() {
        let version = Version::new(1, 2, 0);
        assert_eq!(
            history_key("p", "stable", 1_795_500_000).unwrap(),
            "p/history/stable/1795500000.json"
        );
        assert_eq!(history_folder("", "beta").unwrap(), "history/beta/");
        assert_eq!(yanked_key("p", &version).unwrap(), "p/yanked/1.2.0.json");
        assert_eq!(
            older_key("", "beta", "esp32fota").unwrap(),
            "older/beta.esp32fota.json"
        );
        assert_eq!(installer_folder("p", "beta").unwrap(), "p/installer/beta/");
        for (folder, key) in [
            (releases_folder("p"), release_key("p", &version)),
            (yanked_folder("p"), yanked_key("p", &version)),
        ] {
            assert_eq!(name_in(&folder.unwrap(), &key.unwrap()), Some("1.2.0"));
        }
        assert_eq!(name_in("p/", "p/stable.json"), Some("stable"));
        assert_eq!(name_in("p/", "p/stable.txt"), None);
        assert_eq!(name_in("", ".json"), None);
        assert_eq!(images_folder("p/").unwrap(), "p/images/");
        assert_eq!(history_key("p", "a/b", 1), Err(LayoutError::Channel));
    }

    #[test]
    fn an_empty_prefix_leaves_no_slash_in_front() {
        let version = Version::new(1, 2, 0);
        for prefix in ["", "/"] {
            assert_eq!(channel_key(prefix, "beta").unwrap(), "beta.json");
            assert_eq!(
                release_key(prefix, &version).unwrap(),
                "releases/1.2.0.json"
            );
            assert_eq!(
                image_key(prefix, &version, &SHA256).unwrap(),
                "images/1.2.0-abababababab.bin"
            );
        }
        assert_eq!(channel_key("p/", "beta").unwrap(), "p/beta.json");
    }

    #[test]
    fn names_that_would_get_lost_in_a_url_are_refused() {
        let long = "a".repeat(MAX_CHANNEL + 1);
        for channel in [
            "", ".", "..", ".hidden", "-x", "a/b", "a b", "a+b", "ä", "a\n", &long,
        ] {
            assert_eq!(
                channel_key("p", channel),
                Err(LayoutError::Channel),
                "{channel:?}"
            );
        }
        assert!(channel_key("p", &long[1..]).is_ok());
        let long = "a".repeat(MAX_KEY - "/stable.json".len() + 1);
        for prefix in ["/p", "p//", "p//q", ".", "p/../q", "p/.", "p\nq", &long] {
            assert_eq!(
                channel_key(prefix, "stable"),
                Err(LayoutError::Prefix),
                "{prefix:?}"
            );
        }
        assert_eq!(channel_key(&long[1..], "stable").unwrap().len(), MAX_KEY);
    }

    #[test]
    fn a_key_survives_the_way_through_a_url() {
        assert_eq!(url_path("p q/1.2.0+b~_-.bin"), "p%20q/1.2.0%2Bb~_-.bin");
        assert_eq!(url_path("ä%?#"), "%C3%A4%25%3F%23");
    }
}
