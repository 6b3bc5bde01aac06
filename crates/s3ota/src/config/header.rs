//! Header fields that the application sends along.

use core::fmt;

use s3ota_manifest::HttpsUrl;

/// The longest name of a header field, in bytes.
const MAX_NAME: usize = 64;

/// The longest value of a header field, in bytes.
const MAX_VALUE: usize = 1024;

/// What the client sets itself, and what would change how a message ends or where it goes.
const RESERVED: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-none-match",
    "if-range",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A header field that requests carry besides the client's own, usually a token. See [`Config::headers`](crate::Config::headers).
///
/// ```
/// use s3ota::Header;
///
/// let token = Header::new("Authorization", "Bearer 0123456789")?;
/// // The images lie on another host, which wants the token, too.
/// let token = token.also_to(&["images.example.com"]);
/// # Ok::<(), s3ota::HeaderError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    name: &'a str,
    value: &'a str,
    hosts: &'a [&'a str],
}

/// Why a header field is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HeaderError {
    /// The name is not a token of RFC 9110.
    Name,
    /// The value has a line break, another control character, or one that is not ASCII; or it begins or ends with a space.
    Value,
    /// The client sets this field itself, or it would change how the message is framed.
    Reserved,
    /// The name has more than 64 bytes, or the value more than 1,024.
    TooLong,
}

impl<'a> Header<'a> {
    /// A header field for the server of the manifest.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] where name or value cannot be sent, or must not be.
    pub fn new(name: &'a str, value: &'a str) -> Result<Self, HeaderError> {
        if name.len() > MAX_NAME || value.len() > MAX_VALUE {
            return Err(HeaderError::TooLong);
        }
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HeaderError::Name);
        }
        if RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return Err(HeaderError::Reserved);
        }
        let is_text = |b: u8| b == b' ' || b.is_ascii_graphic();
        if !value.bytes().all(is_text) || value.trim_ascii() != value {
            return Err(HeaderError::Value);
        }
        Ok(Self {
            name,
            value,
            hosts: &[],
        })
    }

    /// The same field, also for these hosts (names without port), on whatever port.
    ///
    /// A host that is given the token can use it. Name none that you do not trust with it.
    pub const fn also_to(self, hosts: &'a [&'a str]) -> Self {
        Self { hosts, ..self }
    }

    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    pub(crate) fn value(&self) -> &'a str {
        self.value
    }

    /// Whether a request for `url` carries it, on a device that fetches its manifest from `manifest_url`.
    pub(crate) fn goes_to(&self, url: &HttpsUrl<'_>, manifest_url: &str) -> bool {
        HttpsUrl::parse(manifest_url).is_ok_and(|home| home.same_server(url))
            || self
                .hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(url.host()))
    }
}

/// Without the value, which may be a secret.
impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("name", &self.name)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the name of a header field must be letters, digits and hyphens",
            Self::Value => {
                "the value of a header field must be printable ASCII, without a space at its ends"
            }
            Self::Reserved => "the client sets this header field itself: choose another",
            Self::TooLong => {
                "a header field may have a name of 64 bytes and a value of 1,024: shorten it"
            }
        })
    }
}

impl core::error::Error for HeaderError {}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_field_cannot_become_two_nor_replace_the_clients_own() {
        for (name, value, error) in [
            ("X-Token", "a\r\nHost: evil.example", HeaderError::Value),
            ("X-Token", "a\nb", HeaderError::Value),
            ("X-Token", "a\0", HeaderError::Value),
            ("X-Token", "a\u{7f}", HeaderError::Value),
            ("X-Token", "\u{e4}", HeaderError::Value),
            ("X-Token", " a", HeaderError::Value),
            ("X-Token: a\r\nHost", "b", HeaderError::Name),
            ("X Token", "a", HeaderError::Name),
            ("", "a", HeaderError::Name),
            ("HOST", "evil.example", HeaderError::Reserved),
            ("range", "bytes=0-", HeaderError::Reserved),
            ("Transfer-Encoding", "chunked", HeaderError::Reserved),
            ("User-Agent", "other", HeaderError::Reserved),
        ] {
            assert_eq!(Header::new(name, value), Err(error), "{name:?}: {value:?}");
        }
        let long = "x".repeat(1025);
        assert_eq!(Header::new("X-Token", &long), Err(HeaderError::TooLong));
        assert!(Header::new("X-Token", &long[1..]).is_ok());
    }

    #[test]
    fn a_field_goes_to_the_manifests_server_and_to_those_named() {
        let token = Header::new("Authorization", "Bearer secret").unwrap();
        let home = "https://bucket.example/lamp/stable.json";
        let goes = |token: Header<'_>, url| token.goes_to(&HttpsUrl::parse(url).unwrap(), home);
        assert!(goes(token, "https://bucket.example/image.bin"));
        assert!(goes(token, "https://BUCKET.example:443/image.bin"));
        for other in [
            "https://bucket.example:8443/image.bin",
            "https://bucket.example.evil/image.bin",
            "https://cdn.example/image.bin",
        ] {
            assert!(!goes(token, other), "{other}");
        }
        let also = token.also_to(&["cdn.example"]);
        assert!(goes(also, "https://CDN.example/image.bin"));
        assert!(!goes(also, "https://evil.example/cdn.example"));
    }

    #[test]
    fn a_token_does_not_get_into_a_log() {
        let token = Header::new("Authorization", "Bearer secret").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
    }
}
