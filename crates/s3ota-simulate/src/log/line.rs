//! A line: one record of a server access log
//! ([format](https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html)).

use std::io::Write;
use std::net::Ipv4Addr;

use rand::RngCore;

use crate::scenario::Bucket;
use crate::time::rfc3339;

/// The canonical id of the bucket's owner.
const OWNER: &str = "7c1d3f6a0b5e4928c6d7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";

/// The months, as the log writes them.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Who asks, by what connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Client<'c> {
    /// A device: without credentials, by TLS 1.3.
    Device { index: u32, agent: &'c str },
    /// The publisher, with credentials.
    Publisher { agent: &'c str },
    /// Anybody else.
    Stranger { number: u32, agent: &'c str },
}

/// What is in a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'l> {
    /// Seconds since 1970.
    pub(crate) time: u64,
    pub(crate) client: Client<'l>,
    pub(crate) method: &'l str,
    /// The object's key, as it is encoded in a URL.
    pub(crate) key: &'l str,
    pub(crate) status: u16,
    pub(crate) error: Option<&'l str>,
    pub(crate) sent: u64,
    pub(crate) size: Option<u32>,
    /// Milliseconds until the last byte, and until the first.
    pub(crate) took: u64,
    pub(crate) turned: u64,
}

/// Writes records. The date of a minute is made once.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    minute: Option<u64>,
    /// `06/Feb/2019:00:00`.
    date: String,
    /// The bucket's own host.
    bucket: Bucket,
}

impl Writer {
    /// For this bucket.
    pub(crate) fn new(bucket: &Bucket) -> Self {
        Self {
            bucket: bucket.clone(),
            ..Self::default()
        }
    }

    /// Appends a record, with its line break.
    pub(crate) fn write(&mut self, line: &Line<'_>, rng: &mut impl RngCore, out: &mut Vec<u8>) {
        self.turn_to(line.time / 60);
        let (agent, requester, signature, auth) = match line.client {
            Client::Publisher { agent } => (agent, OWNER, "SigV4", "AuthHeader"),
            Client::Device { agent, .. } | Client::Stranger { agent, .. } => (agent, "-", "-", "-"),
        };
        let Line {
            method,
            key,
            status,
            took,
            turned,
            ..
        } = line;
        // Writing into memory cannot fail.
        let _ = write!(
            out,
            "{OWNER} {} [{}:{:02} +0000] {} {requester} {:016X} REST.{method}.OBJECT {key} \"{method} /{key} HTTP/1.1\" {status} {} ",
            self.bucket.name,
            self.date,
            line.time % 60,
            address(line.client),
            rng.next_u64(),
            line.error.unwrap_or("-"),
        );
        for number in [line.sent, line.size.unwrap_or(0).into()] {
            let _ = match number {
                0 => out.write_all(b"- "),
                number => write!(out, "{number} "),
            };
        }
        let _ = writeln!(
            out,
            "{took} {turned} \"-\" \"{agent}\" - {:016x}{:016x}= {signature} TLS_AES_128_GCM_SHA256 {auth} {} TLSv1.3 - -",
            rng.next_u64(),
            rng.next_u64(),
            self.bucket.host
        );
    }

    fn turn_to(&mut self, minute: u64) {
        if self.minute.replace(minute) == Some(minute) {
            return;
        }
        let date = rfc3339(minute * 60);
        let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
        let month = part(5..7).parse::<usize>().unwrap_or(1);
        let month = MONTHS.get(month.saturating_sub(1)).unwrap_or(&"Jan");
        self.date = format!("{}/{month}/{}:{}", part(8..10), part(0..4), part(11..16));
    }
}

/// An address: of the networks for documentation (RFC 5737), and for others than devices of the one for benchmarks (RFC 2544).
fn address(client: Client<'_>) -> Ipv4Addr {
    match client {
        Client::Device { index, .. } => {
            let [.., c, d] = index.wrapping_mul(2_654_435_761).to_be_bytes();
            match c % 3 {
                0 => Ipv4Addr::new(192, 0, 2, d),
                1 => Ipv4Addr::new(198, 51, 100, d),
                _ => Ipv4Addr::new(203, 0, 113, d),
            }
        }
        Client::Publisher { .. } => Ipv4Addr::new(198, 18, 0, 1),
        Client::Stranger { number, .. } => {
            let [_, b, c, d] = number.to_be_bytes();
            Ipv4Addr::new(198, 18 + b % 2, c, d)
        }
    }
}
