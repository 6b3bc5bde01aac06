//! Our reader of URLs against the `url` crate, which reads them as browsers do (the WHATWG's standard).
//!
//! URLs are generated, sound ones and spoiled ones. What both read must lead to the same server and ask it for the same
//! thing: a difference there is how requests end up elsewhere. What only the `url` crate reads must be something that
//! ours refuses on purpose: see [`refused_on_purpose`].

mod random;

use std::net::Ipv6Addr;

use random::Random;
use s3ota_manifest::{HttpsUrl, MAX_URL, UrlError};
use url::Url;

#[test]
fn what_both_read_is_the_same_url() {
    let mut random = Random::new(0x5EED);
    let mut agreed = 0;
    for _ in 0..100_000 {
        let text = url(&mut random);
        let theirs = Url::parse(&text);
        match (HttpsUrl::parse(&text), theirs) {
            (Ok(ours), Ok(theirs)) => {
                agreed += 1;
                assert_same(&text, &ours, &theirs);
            }
            (Err(error), Ok(theirs)) => assert!(
                refused_on_purpose(&text, error, &theirs),
                "{text:?}: {error:?}, but {theirs}"
            ),
            (Ok(ours), Err(error)) => assert!(read_on_purpose(&ours), "{text:?}: {error}"),
            (Err(_), Err(_)) => {}
        }
    }
    assert!(agreed > 20_000, "{agreed}");
}

#[test]
fn both_follow_a_redirect_to_the_same_place() {
    let mut random = Random::new(0x5EED);
    let mut agreed = 0;
    for _ in 0..100_000 {
        let base_text = url(&mut random);
        let (Ok(base), Ok(their_base)) = (HttpsUrl::parse(&base_text), Url::parse(&base_text))
        else {
            continue;
        };
        // RFC 3986 leaves it to a client whether it removes dots from the base first (section 5.2.1). Ours asks for what it
        // was given, and a base that ends in dots leads elsewhere then.
        if base_text
            .split(['?', '#'])
            .next()
            .is_some_and(|base| base.ends_with("/.") || base.ends_with("/.."))
        {
            continue;
        }
        let location = location(&mut random);
        let mut buffer = [0; MAX_URL];
        let what = format!("{base_text:?} to {location:?}");
        match (
            base.join(&location, &mut buffer),
            their_base.join(&location),
        ) {
            (Ok(ours), Ok(theirs)) => {
                agreed += 1;
                assert_same(&what, &ours, &theirs);
            }
            (Err(error), Ok(theirs)) => assert!(
                refused_on_purpose(&location, error, &theirs),
                "{what}: {error:?}, but {theirs}"
            ),
            (Ok(ours), Err(error)) => assert!(read_on_purpose(&ours), "{what}: {error}"),
            (Err(_), Err(_)) => {}
        }
    }
    assert!(agreed > 10_000, "{agreed}");
}

/// The same scheme, server and request. The `url` crate spells it otherwise: it percent-encodes characters that RFC 3986
/// does not list, writes hosts in lower case and addresses in their shortest form. So it reads ours again, too.
fn assert_same(what: &str, ours: &HttpsUrl<'_>, theirs: &Url) {
    assert_eq!(theirs.scheme(), "https", "{what}");
    assert_eq!(Some(ours.port()), theirs.port_or_known_default(), "{what}");
    match theirs.host() {
        Some(url::Host::Domain(host)) => assert!(host.eq_ignore_ascii_case(ours.host()), "{what}"),
        Some(url::Host::Ipv4(host)) => assert_eq!(host.to_string(), ours.host(), "{what}"),
        Some(url::Host::Ipv6(host)) => {
            assert_eq!(Ok(host), ours.host().parse::<Ipv6Addr>(), "{what}")
        }
        None => panic!("{what}: no host"),
    }
    // Browsers take `%2e` for a dot that ends a segment (WHATWG, "double-dot URL path segment"). RFC 3986 removes dots
    // before anything is decoded (section 6.2.2.3), and S3 has keys with such names.
    let encoded_dots = ours.path_and_query().to_ascii_lowercase().contains("%2e")
        || what.to_ascii_lowercase().contains("%2e");
    if !encoded_dots {
        let again = Url::parse(ours.as_str()).unwrap();
        let target = |url: &Url| (url.path().to_owned(), url.query().map(str::to_owned));
        // A `?` with nothing behind it is not sent where a redirect has none of its own.
        assert_eq!(target(&again), target(&without_fragment(theirs)), "{what}");
    }
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

/// What the `url` crate reads and we refuse, by the error's reason.
fn refused_on_purpose(text: &str, error: UrlError, theirs: &Url) -> bool {
    let authority = authority(text);
    match error {
        // A redirect to nothing is the page itself to browsers, over and over.
        UrlError::Empty => text.is_empty(),
        // Browsers drop tabs and line ends, take `\` for `/`, and encode the rest.
        UrlError::InvalidCharacter { at } => {
            let byte = text.as_bytes()[at];
            !byte.is_ascii_graphic() || byte == b'\\'
        }
        UrlError::Http => theirs.scheme() == "http",
        // Browsers read `https:a`, `https:/a` and `https:///a` as `https://a`.
        UrlError::NotHttps => {
            let after_scheme = text.split_once(':').map(|(_, after)| after);
            theirs.scheme() != "https" || after_scheme.is_some_and(|after| !after.starts_with("//"))
        }
        UrlError::UserInfo => authority.contains('@'),
        // Browsers decode percent signs, read `127.1` and `0x7f.1` as addresses, and know other names than the DNS has.
        UrlError::Host => !is_plain_host(authority),
        // Nobody listens on port 0, and a number with zeros in front has two spellings.
        UrlError::Port => authority.contains(":0"),
        // Browsers put the `/` in before the `?`. Here the text is the request's own, and signed: no character is added.
        UrlError::NoPath => !theirs.path().is_empty() && text.contains(&format!("{authority}?")),
        _ => false,
    }
}

/// What we read and the `url` crate refuses: a name in Punycode that decodes to nothing allowed. It is only looked up.
fn read_on_purpose(ours: &HttpsUrl<'_>) -> bool {
    ours.host().to_ascii_lowercase().contains("xn--")
}

fn authority(text: &str) -> &str {
    let rest = text.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// Names of letters, digits, `-` and `_`, and addresses, all in the one spelling that they have.
fn is_plain_host(authority: &str) -> bool {
    let host = authority.split(':').next().unwrap_or(authority);
    let is_number = |label: &str| label.starts_with(|first: char| first.is_ascii_digit());
    let is_name = host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        });
    is_name && !host.rsplit('.').next().is_some_and(is_number)
}

fn url(random: &mut Random) -> String {
    const SCHEMES: [&str; 8] = [
        "https://", "https://", "https://", "https://", "HTTPS://", "http://", "https:/", "ftp://",
    ];
    const HOSTS: [&str; 30] = [
        "a",
        "a.example",
        "A.Example",
        "my-bucket.s3.eu-central-1.amazonaws.com",
        "my_bucket.example",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[2001:DB8::0:1]",
        "[::ffff:1.2.3.4]",
        "127.1",
        "0x7f.1",
        "127.0.0.01",
        "2130706433",
        "1.2.3.256",
        "a.1",
        "1.a",
        "a.0xg",
        "[::1",
        "[fe80::1%25eth0]",
        "-a.example",
        "a-.example",
        "a..example",
        "a.example.",
        "a%2eb",
        "a*b",
        "user@a",
        "user:secret@a",
        "xn--a",
        "",
    ];
    const PORTS: [&str; 12] = [
        "", "", "", "", ":", ":443", ":8443", ":65535", ":65536", ":0", ":080", ":x",
    ];
    let scheme = random.pick(&SCHEMES);
    // Half of the hosts are sound ones.
    let host = if random.once_in(2) {
        random.pick(&HOSTS[..10])
    } else {
        random.pick(&HOSTS)
    };
    let mut text = format!("{scheme}{host}{}{}", random.pick(&PORTS), path(random));
    if random.once_in(20) {
        let at = random.below(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(
                at,
                random.pick(&[
                    "\\", " ", "\t", "\n", "é", "@", ":", "/", "?", "#", "%", ".", "\0", "\u{3002}",
                ]),
            );
        }
    }
    text
}

fn location(random: &mut Random) -> String {
    match random.below(4) {
        0 => url(random),
        1 => format!("//{}", url(random).trim_start_matches("https://")),
        2 => random
            .pick(&[
                "",
                "#top",
                "?x=y",
                "?",
                "https:a",
                "http:a",
                "javascript:x",
                "x:y",
                "///a/b",
                "./x:y",
            ])
            .to_owned(),
        _ => {
            let path = path(random);
            if random.once_in(2) {
                path
            } else {
                path.trim_start_matches('/').to_owned()
            }
        }
    }
}

fn path(random: &mut Random) -> String {
    const PIECES: [&str; 28] = [
        "/", "/", "/", "/", "a", "b.bin", ".", "..", "/../", "/./", "//", ";x=1", "%20", "%2F",
        "%zz", "%2e", "|", "^", "{}", "<>", "\"", "'", "`", "?", "?x=y&z", "#top", "@", ":",
    ];
    let path = random.join(&PIECES, 8);
    if path.is_empty() || path.starts_with('?') && random.once_in(2) {
        path
    } else {
        format!("/{path}")
    }
}
