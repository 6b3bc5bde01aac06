//! Absolute https URLs (RFC 3986), and redirects from one to another.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// How long a URL may be, in bytes. Pre-signed URLs with session tokens are long.
pub const MAX_URL: usize = 2048;

const HTTPS_PORT: u16 = 443;

/// An absolute https URL, split into what a client needs: a name to connect to and to check the
/// certificate against, a `Host` header, and a request target.
///
/// ```
/// use s3ota_manifest::HttpsUrl;
///
/// let url = HttpsUrl::parse("https://localhost:9443/bucket/app.bin?versionId=3#top")?;
/// assert_eq!((url.host(), url.port()), ("localhost", 9443));
/// assert_eq!(url.authority(), "localhost:9443");
/// assert_eq!(url.path_and_query(), "/bucket/app.bin?versionId=3");
/// # Ok::<(), s3ota_manifest::UrlError>(())
/// ```
///
/// You cannot build one for `http://`. Its text is printable ASCII without spaces, so it can go into
/// a request as it is. A fragment is dropped: it is never sent (RFC 9110, section 7.1).
///
/// The query of a pre-signed URL is a secret. So `Debug` does not show queries, and there is no
/// `Display`; [`HttpsUrl::as_str`] gives all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HttpsUrl<'a> {
    text: &'a str,
    host: &'a str,
    port: u16,
    authority: &'a str,
    path_and_query: &'a str,
}

impl<'a> HttpsUrl<'a> {
    /// Reads an absolute https URL of at most [`MAX_URL`] bytes.
    ///
    /// The host is a DNS name, an IPv4 address or an IPv6 address in brackets. Path and query may contain
    /// characters that RFC 3986 does not list but that cannot break a request, such as `|`. Whether they
    /// are valid is up to the server.
    ///
    /// # Errors
    ///
    /// A [`UrlError`] names the rule that the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, UrlError> {
        check_characters(text)?;
        let (text, _fragment) = split_before(text, &['#']);
        let after_scheme = match split_scheme(text) {
            Some((scheme, rest)) => {
                check_scheme(scheme)?;
                rest
            }
            None => return Err(UrlError::NotHttps),
        };
        let rest = after_scheme.strip_prefix("//").ok_or(UrlError::NotHttps)?;
        let (authority, path_and_query) = split_before(rest, &['/', '?']);
        let (host_text, host, port) = parse_authority(authority)?;
        Ok(HttpsUrl {
            text,
            host,
            port,
            // Other clients leave the default port out too. A pre-signed URL signs this header.
            authority: if port == HTTPS_PORT {
                host_text
            } else {
                authority
            },
            path_and_query: match path_and_query.chars().next() {
                None => "/",
                Some('/') => path_and_query,
                Some(_) => return Err(UrlError::NoPath),
            },
        })
    }

    /// The whole URL, without a fragment. It may contain a secret: see [`HttpsUrl`].
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The DNS name or IP address to connect to, an IPv6 address without brackets.
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The TCP port, 443 where the URL has none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header (RFC 9110, section 7.2): the host, with brackets around an IPv6
    /// address, and the port unless it is 443.
    pub const fn authority(&self) -> &'a str {
        self.authority
    }

    /// The request target (RFC 9112, section 3.2.1): the path, `/` where the URL has none, and the query.
    pub const fn path_and_query(&self) -> &'a str {
        self.path_and_query
    }

    /// Whether both URLs lead to the same server, so that one connection serves both.
    pub fn same_server(&self, other: &HttpsUrl<'_>) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(other.host)
    }

    /// Resolves the `location` of a redirect against this URL (RFC 3986, section 5.2) and writes the new
    /// URL into `out`.
    ///
    /// The location may be absolute or relative (`//host/path`, `/path`, `path`, `?query`). Dot segments
    /// are removed. A buffer of [`MAX_URL`] bytes is always large enough.
    ///
    /// # Errors
    ///
    /// A [`UrlError`] where the location is not a URL, or leads away from https.
    pub fn join<'b>(&self, location: &str, out: &'b mut [u8]) -> Result<HttpsUrl<'b>, UrlError> {
        check_characters(location)?;
        let (location, _fragment) = split_before(location, &['#']);
        let relative = match split_scheme(location) {
            Some((scheme, rest)) => {
                check_scheme(scheme)?;
                if !rest.starts_with("//") {
                    return Err(UrlError::NotHttps);
                }
                rest
            }
            None => location,
        };
        let (base_path, base_query) = split_before(self.path_and_query, &['?']);

        let mut out = Writer::new(out);
        out.push("https://")?;
        if let Some(rest) = relative.strip_prefix("//") {
            let (authority, rest) = split_before(rest, &['/', '?']);
            let (path, query) = split_before(rest, &['?']);
            out.push(authority)?;
            out.push_path(path.strip_prefix('/').unwrap_or(path).split('/'))?;
            out.push(query)?;
            return out.finish();
        }
        out.push(self.authority)?;
        let (path, query) = split_before(relative, &['?']);
        if path.is_empty() {
            out.push(base_path)?;
            out.push(if query.is_empty() { base_query } else { query })?;
        } else if let Some(path) = path.strip_prefix('/') {
            out.push_path(path.split('/'))?;
            out.push(query)?;
        } else {
            // Relative to the folder of the base: all of its path but the last segment.
            let folder = base_path.rsplit_once('/').map_or("", |(folder, _)| folder);
            out.push_path(folder.split('/').skip(1).chain(path.split('/')))?;
            out.push(query)?;
        }
        out.finish()
    }
}

impl fmt::Debug for HttpsUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.split_once('?') {
            Some((text, _secret)) => write!(f, "HttpsUrl({text}?…)"),
            None => write!(f, "HttpsUrl({})", self.text),
        }
    }
}

fn check_characters(text: &str) -> Result<(), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > MAX_URL {
        return Err(UrlError::TooLong);
    }
    match text
        .bytes()
        .position(|byte| !byte.is_ascii_graphic() || byte == b'\\')
    {
        Some(at) => Err(UrlError::InvalidCharacter { at }),
        None => Ok(()),
    }
}

/// Splits off a scheme: a letter, then letters, digits, `+`, `-` and `.` until a colon (RFC 3986, section 3.1).
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then_some((scheme, rest))
}

fn check_scheme(scheme: &str) -> Result<(), UrlError> {
    if scheme.eq_ignore_ascii_case("https") {
        Ok(())
    } else if scheme.eq_ignore_ascii_case("http") {
        Err(UrlError::Http)
    } else {
        Err(UrlError::NotHttps)
    }
}

/// The host with and without brackets, and the port.
fn parse_authority(authority: &str) -> Result<(&str, &str, u16), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    let (host_text, host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            let host_text = authority.strip_suffix(port).ok_or(UrlError::Host)?;
            (host_text, host, port)
        }
        None => {
            let (host, port) = split_before(authority, &[':']);
            check_host(host)?;
            (host, host, port)
        }
    };
    Ok((host_text, host, parse_port(port)?))
}

/// Reads nothing, `:`, or `:` and a number.
fn parse_port(text: &str) -> Result<u16, UrlError> {
    let digits = match text.strip_prefix(':') {
        Some(digits) => digits,
        None if text.is_empty() => return Ok(HTTPS_PORT),
        None => return Err(UrlError::Host),
    };
    match digits.bytes().next() {
        None => Ok(HTTPS_PORT),
        Some(b'1'..=b'9') => digits.parse().map_err(|_| UrlError::Port),
        Some(_) => Err(UrlError::Port),
    }
}

/// A DNS name as in certificates (RFC 1123, section 2.1; underscores are allowed, since some names have
/// them), or an IPv4 address.
fn check_host(host: &str) -> Result<(), UrlError> {
    if host.is_empty() || host.len() > 253 {
        return Err(UrlError::Host);
    }
    for label in host.split('.') {
        let well_formed = (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !well_formed {
            return Err(UrlError::Host);
        }
    }
    // No top-level domain begins with a digit, so this must be an address.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        host.parse::<Ipv4Addr>().map_err(|_| UrlError::Host)?;
    }
    Ok(())
}

/// Splits before the first of these characters. The second part begins with it, or is empty.
fn split_before<'t>(text: &'t str, characters: &[char]) -> (&'t str, &'t str) {
    text.find(characters)
        .and_then(|at| text.split_at_checked(at))
        .unwrap_or((text, ""))
}

/// Builds a URL in a buffer.
struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    fn new(buffer: &'b mut [u8]) -> Self {
        Writer { buffer, length: 0 }
    }

    fn push(&mut self, text: &str) -> Result<(), UrlError> {
        // What has been written fits the buffer, so the sum cannot overflow.
        let end = self.length.saturating_add(text.len());
        match self.buffer.get_mut(self.length..end) {
            Some(room) => room.copy_from_slice(text.as_bytes()),
            None if end > MAX_URL => return Err(UrlError::TooLong),
            None => return Err(UrlError::BufferTooSmall),
        }
        self.length = end;
        Ok(())
    }

    /// Writes an absolute path from its segments, without dot segments (RFC 3986, section 5.2.4).
    fn push_path<'s>(&mut self, segments: impl Iterator<Item = &'s str>) -> Result<(), UrlError> {
        let start = self.length;
        let mut segments = segments.peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match segment {
                "." => {}
                ".." => self.pop_segment(start),
                _ => {
                    self.push("/")?;
                    self.push(segment)?;
                    continue;
                }
            }
            if last {
                self.push("/")?;
            }
        }
        Ok(())
    }

    fn pop_segment(&mut self, start: usize) {
        let path = self.buffer.get(start..self.length).unwrap_or_default();
        let kept = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.length = start.saturating_add(kept);
    }

    fn finish(self) -> Result<HttpsUrl<'b>, UrlError> {
        let Writer { buffer, length } = self;
        let text: &'b [u8] = buffer;
        text.get(..length)
            .and_then(|text| core::str::from_utf8(text).ok())
            .ok_or(UrlError::BufferTooSmall)
            .and_then(HttpsUrl::parse)
    }
}

/// Why a text is not a usable https URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UrlError {
    /// It is empty.
    Empty,
    /// It is longer than [`MAX_URL`] bytes.
    TooLong,
    /// It contains a space, a control character, a backslash or a non-ASCII character.
    InvalidCharacter {
        /// Where the character is, in bytes.
        at: usize,
    },
    /// It is an `http://` URL.
    Http,
    /// It does not begin with `https://`.
    NotHttps,
    /// It has a user name or a password before the host.
    UserInfo,
    /// The host is missing, or neither a DNS name nor an IP address.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
    /// A query follows the host with no path between them.
    NoPath,
    /// The buffer for the result is too small. [`MAX_URL`] bytes are always enough.
    BufferTooSmall,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::Empty => f.write_str("the URL is empty"),
            UrlError::TooLong => write!(f, "the URL is longer than {MAX_URL} bytes"),
            UrlError::InvalidCharacter { at } => write!(
                f,
                "the URL contains a character at byte {at} that must be percent-encoded, like %20 for a space"
            ),
            UrlError::Http => f.write_str(
                "the URL is http://, which anyone on the network path can change; use https://",
            ),
            UrlError::NotHttps => f.write_str("the URL must begin with https://"),
            UrlError::UserInfo => f.write_str(
                "the URL has a user name or password; remove it and use a pre-signed URL instead",
            ),
            UrlError::Host => f.write_str("the URL's host is neither a DNS name nor an IP address"),
            UrlError::Port => f.write_str("the URL's port is not a number from 1 to 65535"),
            UrlError::NoPath => {
                f.write_str("the URL has no path before its query; put a `/` before the `?`")
            }
            UrlError::BufferTooSmall => {
                write!(
                    f,
                    "the buffer for the URL is too small; {MAX_URL} bytes are enough"
                )
            }
        }
    }
}

impl core::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn url(text: &str) -> HttpsUrl<'_> {
        HttpsUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_url_is_cut_into_what_a_client_needs() {
        for (text, host, port, authority, target) in [
            ("https://a.example", "a.example", 443, "a.example", "/"),
            ("HTTPS://A.Example/", "A.Example", 443, "A.Example", "/"),
            (
                "https://a.example:443/x",
                "a.example",
                443,
                "a.example",
                "/x",
            ),
            ("https://a.example:/x", "a.example", 443, "a.example", "/x"),
            (
                "https://a.example:9443",
                "a.example",
                9443,
                "a.example:9443",
                "/",
            ),
            (
                "https://a/b:c@d/e?f@g:h?i#j?k",
                "a",
                443,
                "a",
                "/b:c@d/e?f@g:h?i",
            ),
            ("https://a/#", "a", 443, "a", "/"),
            ("https://a#b/c", "a", 443, "a", "/"),
            ("https://127.0.0.1:1/x", "127.0.0.1", 1, "127.0.0.1:1", "/x"),
            ("https://[::1]/x", "::1", 443, "[::1]", "/x"),
            (
                "https://[2001:db8::1]:65535/",
                "2001:db8::1",
                65535,
                "[2001:db8::1]:65535",
                "/",
            ),
            (
                "https://[::ffff:1.2.3.4]:443",
                "::ffff:1.2.3.4",
                443,
                "[::ffff:1.2.3.4]",
                "/",
            ),
            (
                "https://my_bucket.s3.amazonaws.com//x/../y",
                "my_bucket.s3.amazonaws.com",
                443,
                "my_bucket.s3.amazonaws.com",
                "//x/../y",
            ),
            (
                "https://a/%2B|^{}\"<>`?a=b&c=%zz",
                "a",
                443,
                "a",
                "/%2B|^{}\"<>`?a=b&c=%zz",
            ),
        ] {
            let url = url(text);
            assert_eq!(
                (
                    url.host(),
                    url.port(),
                    url.authority(),
                    url.path_and_query()
                ),
                (host, port, authority, target),
                "{text}"
            );
        }
    }

    #[test]
    fn each_way_to_be_no_https_url_has_its_name() {
        let long_label = format!("https://{}.example/", "a".repeat(64));
        let long_host = format!("https://{}a/", "a.".repeat(127));
        for (text, error) in [
            ("", UrlError::Empty),
            ("http://a.example/x", UrlError::Http),
            ("HTTP://a.example/x", UrlError::Http),
            ("ftp://a.example/x", UrlError::NotHttps),
            ("httpss://a.example/x", UrlError::NotHttps),
            ("a.example/x", UrlError::NotHttps),
            ("//a.example/x", UrlError::NotHttps),
            ("/x", UrlError::NotHttps),
            ("https:a.example/x", UrlError::NotHttps),
            ("https:/a.example/x", UrlError::NotHttps),
            ("https://user@a.example/", UrlError::UserInfo),
            ("https://user:secret@a.example/", UrlError::UserInfo),
            ("https://good.example@evil.example/", UrlError::UserInfo),
            ("https://", UrlError::Host),
            ("https:///x", UrlError::Host),
            ("https://?x", UrlError::Host),
            ("https://:443/", UrlError::Host),
            ("https://a..example/", UrlError::Host),
            ("https://a.example./", UrlError::Host),
            ("https://.example/", UrlError::Host),
            ("https://-a.example/", UrlError::Host),
            ("https://a-.example/", UrlError::Host),
            ("https://a%20b.example/", UrlError::Host),
            ("https://a*.example/", UrlError::Host),
            (&long_label, UrlError::Host),
            (&long_host, UrlError::Host),
            ("https://1.2.3/", UrlError::Host),
            ("https://1.2.3.256/", UrlError::Host),
            ("https://1.2.3.4.5/", UrlError::Host),
            ("https://127.0.0.01/", UrlError::Host),
            ("https://2130706433/", UrlError::Host),
            ("https://0x7f.1/", UrlError::Host),
            ("https://::1/", UrlError::Host),
            ("https://[::1/", UrlError::Host),
            ("https://[]/", UrlError::Host),
            ("https://[fe80::1%25eth0]/", UrlError::Host),
            ("https://[127.0.0.1]/", UrlError::Host),
            ("https://[::1]x:443/", UrlError::Host),
            ("https://a:0/", UrlError::Port),
            ("https://a:00443/", UrlError::Port),
            ("https://a:65536/", UrlError::Port),
            ("https://a:+443/", UrlError::Port),
            ("https://a:443x/", UrlError::Port),
            ("https://a:1:2/", UrlError::Port),
            ("https://a?x=1", UrlError::NoPath),
            (
                "https://a.example/a b",
                UrlError::InvalidCharacter { at: 19 },
            ),
            (" https://a.example/", UrlError::InvalidCharacter { at: 0 }),
            (
                "https://a.example/\r\nX: y",
                UrlError::InvalidCharacter { at: 18 },
            ),
            (
                "https://a.example/\0",
                UrlError::InvalidCharacter { at: 18 },
            ),
            (
                "https://a.example/\x7f",
                UrlError::InvalidCharacter { at: 18 },
            ),
            (
                "https://a.example\\@b.example/",
                UrlError::InvalidCharacter { at: 17 },
            ),
            ("https://ä.example/", UrlError::InvalidCharacter { at: 8 }),
        ] {
            assert_eq!(HttpsUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_url_may_have_2048_bytes_and_no_more() {
        let longest = format!("https://a/{}", "x".repeat(MAX_URL - 10));
        assert_eq!(url(&longest).as_str().len(), MAX_URL);
        assert_eq!(
            HttpsUrl::parse(&format!("{longest}x")),
            Err(UrlError::TooLong)
        );
    }

    #[test]
    fn debug_output_does_not_tell_a_secret() {
        let url = url("https://a/b?X-Amz-Signature=secret");
        assert_eq!(format!("{url:?}"), "HttpsUrl(https://a/b?…)");
    }

    #[test]
    fn same_server_means_same_host_and_port() {
        assert!(url("https://A.example/x").same_server(&url("https://a.EXAMPLE:443/y")));
        assert!(!url("https://a.example/x").same_server(&url("https://a.example:444/x")));
        assert!(!url("https://a.example/x").same_server(&url("https://b.example/x")));
    }

    fn join(base: &str, location: &str) -> Result<std::string::String, UrlError> {
        let mut out = [0; MAX_URL];
        url(base)
            .join(location, &mut out)
            .map(|url| url.as_str().into())
    }

    #[test]
    fn redirects_resolve_as_rfc_3986_says() {
        // The examples of RFC 3986, sections 5.4.1 and 5.4.2, without their fragments and with
        // https in place of http.
        for (location, target) in [
            ("https://g", "https://g/"),
            ("g", "https://a/b/c/g"),
            ("./g", "https://a/b/c/g"),
            ("g/", "https://a/b/c/g/"),
            ("/g", "https://a/g"),
            ("//g", "https://g/"),
            ("?y", "https://a/b/c/d;p?y"),
            ("g?y", "https://a/b/c/g?y"),
            ("#s", "https://a/b/c/d;p?q"),
            ("g#s", "https://a/b/c/g"),
            ("g?y#s", "https://a/b/c/g?y"),
            (";x", "https://a/b/c/;x"),
            ("g;x", "https://a/b/c/g;x"),
            ("g;x?y#s", "https://a/b/c/g;x?y"),
            (".", "https://a/b/c/"),
            ("./", "https://a/b/c/"),
            ("..", "https://a/b/"),
            ("../", "https://a/b/"),
            ("../g", "https://a/b/g"),
            ("../..", "https://a/"),
            ("../../", "https://a/"),
            ("../../g", "https://a/g"),
            ("../../../g", "https://a/g"),
            ("../../../../g", "https://a/g"),
            ("/./g", "https://a/g"),
            ("/../g", "https://a/g"),
            ("g.", "https://a/b/c/g."),
            (".g", "https://a/b/c/.g"),
            ("g..", "https://a/b/c/g.."),
            ("..g", "https://a/b/c/..g"),
            ("./../g", "https://a/b/g"),
            ("./g/.", "https://a/b/c/g/"),
            ("g/./h", "https://a/b/c/g/h"),
            ("g/../h", "https://a/b/c/h"),
            ("g;x=1/./y", "https://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "https://a/b/c/y"),
            ("g?y/./x", "https://a/b/c/g?y/./x"),
            ("g?y/../x", "https://a/b/c/g?y/../x"),
        ] {
            assert_eq!(
                join("https://a/b/c/d;p?q", location).as_deref(),
                Ok(target),
                "{location}"
            );
        }
    }

    #[test]
    fn redirects_resolve_in_other_corners_too() {
        for (base, location, target) in [
            ("https://a:9443", "x", "https://a:9443/x"),
            ("https://a:443/x?y", "?z", "https://a/x?z"),
            ("https://[::1]:8/x/y", "z", "https://[::1]:8/x/z"),
            ("https://a/b", "HTTPS://C:1/d/../e?f", "https://C:1/e?f"),
            ("https://a/b", "https://c?d", "https://c/?d"),
            ("https://a/b", "//c?d", "https://c/?d"),
            ("https://a/b", "/x:y//z", "https://a/x:y//z"),
            ("https://a/b//c", "../d", "https://a/b/d"),
            ("https://a/b", "./x:y", "https://a/x:y"),
        ] {
            assert_eq!(
                join(base, location).as_deref(),
                Ok(target),
                "{base} {location}"
            );
        }
    }

    #[test]
    fn redirects_lead_to_https_only() {
        for (location, error) in [
            ("http://a/b/c", UrlError::Http),
            ("hTTp:g", UrlError::Http),
            ("ftp://a/b", UrlError::NotHttps),
            ("javascript:x", UrlError::NotHttps),
            ("https:g", UrlError::NotHttps),
            ("x:y", UrlError::NotHttps),
            ("//user@a/", UrlError::UserInfo),
            ("///x", UrlError::Host),
            ("https://a:0/", UrlError::Port),
            ("", UrlError::Empty),
            ("/a b", UrlError::InvalidCharacter { at: 2 }),
            ("/ä", UrlError::InvalidCharacter { at: 1 }),
            ("\\\\evil.example\\x", UrlError::InvalidCharacter { at: 0 }),
        ] {
            assert_eq!(join("https://a/b/c", location), Err(error), "{location}");
        }
    }

    #[test]
    fn redirects_know_their_limits() {
        let base = format!("https://a/{}/x", "b".repeat(1500));
        let location = "c".repeat(600);
        assert_eq!(join(&base, &location), Err(UrlError::TooLong));
        assert_eq!(
            join(&base, &"c".repeat(MAX_URL + 1)),
            Err(UrlError::TooLong)
        );
        assert!(join(&base, &format!("/{location}")).is_ok());
        for length in 0.."https://a/bcd".len() {
            let mut out = std::vec![0; length];
            assert_eq!(
                url("https://a/x").join("bcd", &mut out),
                Err(UrlError::BufferTooSmall)
            );
        }
        assert!(url("https://a/x").join("bcd", &mut [0; 13]).is_ok());
    }
}
