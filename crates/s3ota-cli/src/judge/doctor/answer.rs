//! Downloads a document, and checks what the answer's head says about polling, caching and clocks.

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use s3ota::MAX_REDIRECTS;
use s3ota::http::{MAX_ETAG, Want};
use s3ota::tls::{CertificateError, RecordError, TlsError};
use s3ota_manifest::{HttpsUrl, MAX_URL, layout};

use super::address;
use super::client::{Answer, Client, Trouble};
use super::features;
use super::finding::Report;
use crate::clock;
use crate::s3::{Location, Reason, Store, presigned_until, tunnel};

/// Note a clock error above this. S3 refuses signatures whose clock is 15 minutes off.
const SKEW: u64 = 5 * 60;

/// A cache lifetime of the manifest, in seconds, above which releases arrive late.
const LONG: u64 = 60 * 60;

/// What to do about an object that cannot be downloaded.
pub struct Advice {
    denied: String,
    missing: &'static str,
    /// Whether the manifest's URL was pre-signed for this examination, so that its expiry says nothing about devices.
    pub url_is_own: bool,
}

impl Advice {
    /// For a URL of which no more is known.
    pub fn for_url(url: &str) -> Self {
        let denied = match presigned_until(url) {
            Some(_) => {
                "pre-sign it again with `s3ota presign`, with credentials that have s3:GetObject on it themselves"
                    .to_owned()
            }
            None => {
                "open the prefix to readers with `s3ota bucket init s3://BUCKET/PREFIX`, or give devices a pre-signed URL \
                 (`s3ota publish --presign 7d`); if it is open already, the object is missing: publish it again"
                    .to_owned()
            }
        };
        Self {
            denied,
            missing: "check the spelling of bucket, prefix and channel, and publish a release there",
            url_is_own: false,
        }
    }

    /// For a bucket with credentials.
    pub fn for_bucket(
        store: &Store,
        location: &Location,
        public_url: Option<&str>,
        is_presigned: bool,
    ) -> Self {
        let policy = store.public_read_policy(&location.prefix);
        Self {
            denied: format!(
                "open the prefix to readers with `s3ota bucket init {location}`, which adds this to the bucket's policy: {policy}; \
                 or keep the bucket private and publish with --presign 7d"
            ),
            missing: match public_url {
                Some(_) => "check the URL (--public-url), or publish the release again",
                None => "publish the release again",
            },
            url_is_own: public_url.is_none() && is_presigned,
        }
    }
}

/// A downloaded document.
pub struct Fetched {
    /// Its URL, after all redirects.
    pub url: String,
    /// The answer, with status 200.
    pub answer: Answer,
}

/// Downloads a document, and reports whatever stops a device from doing so.
pub async fn fetch(
    client: &mut Client,
    report: &mut Report,
    subject: &'static str,
    url: &str,
    advice: &Advice,
    limit: usize,
) -> Option<Fetched> {
    let mut url = url.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let at = HttpsUrl::parse(&url).ok()?;
        let mut bar = None;
        let out = *report.out();
        let progress = |done: usize, total: Option<usize>| {
            if subject == "image"
                && let Some(total) = total
            {
                bar.get_or_insert_with(|| out.progress("download", total as u64))
                    .set(done as u64);
            }
        };
        let got = client.get(&at, Want::All, limit, progress).await;
        if let Some(bar) = bar {
            bar.finish();
        }
        if matches!(got, Ok(_) | Err(Trouble::Tls(TlsError::Certificate(_)))) {
            client.look_at_certificates(&at).await;
        }
        let answer = match got {
            Ok(answer) => answer,
            Err(trouble) => {
                report_trouble(client, report, subject, &at, &trouble);
                return None;
            }
        };
        let status = answer.head.status;
        let reason = Reason::of(&answer.body);
        let said = reason
            .as_ref()
            .map_or(String::new(), |reason| format!(", {}", reason.said()));
        match status {
            200 => {
                report.good(
                    subject,
                    format!(
                        "{} has a valid certificate, and answers 200 with {} bytes",
                        at.host(),
                        answer.body.len()
                    ),
                );
                return Some(Fetched { url, answer });
            }
            301 | 302 | 303 | 307 | 308 => {
                examine_encoding(report, subject, &answer);
                url = follow(report, subject, &at, &answer)?;
                if !address::examine(report, subject, &url, advice.url_is_own) {
                    return None;
                }
            }
            400..
                if let Some((code, message, fix)) = reason
                    .as_ref()
                    .and_then(|reason| reason.of_devices(subject)) =>
            {
                report.fault(subject, code, message, fix);
                return None;
            }
            401 | 403 => {
                let message = format!(
                    "devices may not read the {subject}, or it does not exist: HTTP {status}{said}"
                );
                report.fault(subject, "http.denied", message, &advice.denied);
                return None;
            }
            404 | 410 => {
                let message = format!("the {subject} does not exist: HTTP {status}");
                report.fault(subject, "http.missing", message, advice.missing);
                return None;
            }
            429 | 500..=599 => {
                let message = format!("the server is overloaded or broken: HTTP {status}{said}");
                let fix = "wait and check again; devices do so, too, and ask less often with a longer interval";
                report.fault(subject, "http.status", message, fix);
                return None;
            }
            _ => {
                let message = format!(
                    "the server answers HTTP {status}{said}, which a device does not accept"
                );
                let fix = "make the URL answer 200 with the document itself";
                report.fault(subject, "http.status", message, fix);
                return None;
            }
        }
    }
    let message = format!("there are more than {MAX_REDIRECTS} redirects, perhaps in a circle");
    let fix = "give devices the final URL of the document";
    report.fault(subject, "http.redirect", message, fix);
    None
}

/// Where a redirect leads, if a device follows it.
fn follow(
    report: &mut Report,
    subject: &'static str,
    at: &HttpsUrl<'_>,
    answer: &Answer,
) -> Option<String> {
    let status = answer.head.status;
    let fix =
        "make the server redirect to https:// only, or give devices the final URL of the document";
    let Some(location) = answer.location.as_deref() else {
        let message = format!("the server redirects (HTTP {status}), but not to any URL");
        report.fault(subject, "http.redirect", message, fix);
        return None;
    };
    let mut joined = [0; MAX_URL];
    match HttpsUrl::join(at, location, &mut joined) {
        Ok(next) => {
            let next = next.as_str().to_owned();
            let shown = next.split('?').next().unwrap_or(&next);
            report.note(
                subject,
                format!(
                    "redirected ({status}) to {shown}: this costs each device another connection for each check"
                ),
            );
            Some(next)
        }
        Err(error) => {
            let message = format!(
                "the server redirects (HTTP {status}) to {location}, which no device follows: {error}"
            );
            report.fault(subject, "http.redirect", message, fix);
            None
        }
    }
}

/// Reports why there is no answer, and the fix.
pub fn report_trouble(
    client: &Client,
    report: &mut Report,
    subject: &'static str,
    url: &HttpsUrl<'_>,
    trouble: &Trouble,
) {
    let host = url.host();
    let (code, fix) = match trouble {
        Trouble::Resolve => (
            "net.dns",
            format!("check the spelling of {host}, and the region in it; if it is your host, create its DNS record"),
        ),
        Trouble::Connect(error) if tunnel::is_of_proxy(error) => (
            "net.proxy",
            format!("check the proxy's URL, or exempt {host} with NO_PROXY; devices do not use it"),
        ),
        Trouble::Connect(_) => (
            "net.connect",
            format!("start the server, and open port {} in its firewall", url.port()),
        ),
        Trouble::Silence => ("net.silence", format!("check why {host} does not answer")),
        Trouble::Tls(error) => (error.code(), mend_tls(*error, client, url)),
        Trouble::NotHttp => (
            "http.invalid",
            "make the server speak HTTP/1.1 on this port".to_owned(),
        ),
        Trouble::HeadTooLarge => (
            "http.invalid",
            "make the server send fewer or shorter header fields, such as cookies, policies and x-amz-meta-…".to_owned(),
        ),
        Trouble::Incomplete => (
            "http.incomplete",
            "upload the object again; check what is between devices and the bucket".to_owned(),
        ),
        Trouble::Refused(error) => (
            error.code(),
            "make the server or proxy say clearly where a body ends: with one Content-Length, or in whole chunks".to_owned(),
        ),
        Trouble::TooLong(_) if subject == "manifest" => (
            "manifest.invalid",
            "make the URL lead to a manifest, and keep its notes short".to_owned(),
        ),
        Trouble::TooLong(_) => (
            "image.size",
            "publish only the app image, not the dump of a flash".to_owned(),
        ),
    };
    report.fault(subject, code, format!("{host}: {trouble}"), fix);
}

/// The fix for a TLS server.
fn mend_tls(error: TlsError, client: &Client, url: &HttpsUrl<'_>) -> String {
    let host = url.host();
    match error {
        TlsError::Certificate(CertificateError::UnknownIssuer) => {
            features::mend_unknown_issuer(client, url)
        }
        TlsError::Certificate(CertificateError::Expired { .. }) => {
            "renew the certificate on the server, and automate that".to_owned()
        }
        TlsError::Certificate(CertificateError::NotYetValid { .. }) => {
            "set the clock of the machine that issued the certificate, or of this one".to_owned()
        }
        TlsError::Certificate(CertificateError::WrongName) => format!(
            "use a host name that the certificate covers, or get one with {host} among its subject alternative names"
        ),
        TlsError::Certificate(_) => {
            "use a certificate for TLS servers with a P-256, P-384 or RSA key, issued by a CA, with its chain"
                .to_owned()
        }
        TlsError::Record(RecordError::NotTls(_)) => {
            "make the server speak TLS on this port, or put a proxy or CDN with TLS in front".to_owned()
        }
        TlsError::Handshake(_) => {
            "make the server offer TLS 1.3 with TLS_AES_128_GCM_SHA256 and P-256 (secp256r1)".to_owned()
        }
        _ => "check again; if it persists, something on the way breaks the connection".to_owned(),
    }
}

/// Checks how a manifest is served.
pub async fn examine_manifest(client: &mut Client, report: &mut Report, fetched: &Fetched) {
    const SUBJECT: &str = "manifest";
    let answer = &fetched.answer;
    examine_encoding(report, SUBJECT, answer);
    examine_clock(report, answer);

    let mend_field = |what: &str| {
        format!(
            "publish with s3ota, which sets {what}; or `aws s3 cp` the object onto itself with --metadata-directive REPLACE"
        )
    };
    let content_type = answer.field("content-type").unwrap_or_default();
    if !content_type.starts_with(layout::MANIFEST_CONTENT_TYPE) {
        let message = format!(
            "its Content-Type is `{content_type}`: devices ignore it, but other clients and proxies may not"
        );
        let fix = mend_field("application/json");
        report.warning(SUBJECT, "http.type", message, fix);
    }
    examine_manifest_cache(report, answer);

    let Some(tag) = answer.head.etag.as_deref() else {
        let message = format!(
            "there is no ETag of at most {MAX_ETAG} bytes: every check downloads the whole manifest"
        );
        let fix = "make the server send an ETag; S3 does, and CDNs pass it on by default";
        report.warning(SUBJECT, "http.etag", message, fix);
        return;
    };
    let Ok(url) = HttpsUrl::parse(&fetched.url) else {
        return;
    };
    let unchanged = client
        .get(&url, Want::Changed(tag), answer.body.len(), |_, _| {})
        .await;
    match unchanged.map(|answer| answer.head.status) {
        Ok(304) => report.good(SUBJECT, "a check without news costs a 304 and no body"),
        Ok(status) => {
            let message = format!(
                "a check of an unchanged manifest is answered with HTTP {status} instead of 304: it downloads the whole manifest each time"
            );
            let fix = "make the server or CDN answer If-None-Match with 304";
            report.warning(SUBJECT, "http.not_modified", message, fix);
        }
        Err(trouble) => report_trouble(client, report, SUBJECT, &url, &trouble),
    }
}

/// Reports a body that has to be decompressed, which no device does.
pub fn examine_encoding(report: &mut Report, subject: &'static str, answer: &Answer) {
    let Some(encoding) = &answer.encoding else {
        return;
    };
    let message = format!(
        "the {subject} is served with Content-Encoding: {encoding}, which no device decodes"
    );
    let fix = "upload it without --content-encoding, and turn compression off for it at the CDN";
    report.fault(subject, "http.encoded", message, fix);
}

fn examine_clock(report: &mut Report, answer: &Answer) {
    let date = answer
        .field("date")
        .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok())
        .and_then(|date| u64::try_from(date.secs()).ok());
    let Some(date) = date else { return };
    // A cached answer has the date on which it was made, and its age.
    let age: u64 = answer
        .field("age")
        .and_then(|age| age.parse().ok())
        .unwrap_or(0);
    let (server, here) = (date.saturating_add(age), clock::now());
    let off = server.abs_diff(here);
    if off <= SKEW {
        return report.good(
            "manifest",
            "the clocks of the server and this computer agree",
        );
    }
    let word = if server > here { "ahead of" } else { "behind" };
    let message = format!(
        "the server's clock is {} {word} this computer's: it decides when pre-signed URLs expire, the devices' clocks when manifests and certificates do",
        clock::span(off)
    );
    let fix = "set the wrong clock by NTP; is it this computer's?";
    report.warning("manifest", "clock.skew", message, fix);
}

fn examine_manifest_cache(report: &mut Report, answer: &Answer) {
    let fix = format!(
        "publish with s3ota, which sets `Cache-Control: {}`, and make the CDN respect it",
        layout::CHANNEL_CACHE_CONTROL
    );
    let Some(control) = answer.field("cache-control") else {
        let message = "there is no Cache-Control: caches between devices and the bucket decide how late a release arrives; \
             CloudFront's default is a day";
        return report.warning("manifest", "http.cache", message, fix);
    };
    let seconds = |name: &str| {
        let mut directives = control.split(',').map(str::trim);
        directives.find_map(|directive| directive.strip_prefix(name)?.parse::<u64>().ok())
    };
    match seconds("s-maxage=").or(seconds("max-age=")) {
        Some(time) if time > LONG && !control.contains("no-cache") => {
            let message = format!(
                "caches may keep the manifest for {}: releases arrive that late",
                clock::span(time)
            );
            report.warning("manifest", "http.cache", message, fix);
        }
        Some(time) => report.good(
            "manifest",
            format!("caches keep it for at most {}", clock::span(time)),
        ),
        None => {}
    }
}
