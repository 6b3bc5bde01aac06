//! URLs before any request: whether a device accepts them, and when they expire.

use std::time::Duration;

use s3ota_manifest::{HttpsUrl, Timestamp, UrlError};

use super::finding::Report;
use crate::clock;
use crate::s3::presigned_until;

/// Warn of a pre-signed URL that expires sooner than this.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks a URL; `false` if a request would be pointless. One that was pre-signed for this examination is `own`: its expiry says
/// nothing about devices.
pub fn examine(report: &mut Report, subject: &'static str, url: &str, own: bool) -> bool {
    let parsed = match HttpsUrl::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => {
            let fix = match error {
                UrlError::Http | UrlError::NotHttps => {
                    "give devices an https:// URL; if the server has no TLS, add it, or put a CDN in front"
                }
                UrlError::TooLong => {
                    "use a shorter prefix, or sign with an access key that has no session token"
                }
                _ => {
                    "correct the URL; it looks like https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json"
                }
            };
            report.fault(subject, "url.invalid", error.to_string(), fix);
            return false;
        }
    };
    if let Some(bucket) = bucket_in_host(parsed.host())
        && bucket.contains('.')
    {
        report_dots(report, subject, bucket);
        return false;
    }
    let Some(ends) = presigned_until(url).filter(|_| !own) else {
        return true;
    };
    let when = display(ends);
    match ends.checked_sub(clock::now()) {
        None | Some(0) => {
            let message = format!("the pre-signed URL expired on {when}");
            let fix = "renew it with `s3ota presign s3://BUCKET/PREFIX --channel NAME`, and let a job do that every week";
            report.fault(subject, "url.expired", message, fix);
            false
        }
        Some(left) if left < SOON.as_secs() => {
            let message = format!(
                "the pre-signed URL expires in {}, on {when}",
                clock::span(left)
            );
            let fix = "renew it with `s3ota presign s3://BUCKET/PREFIX --channel NAME`; with an IAM user's keys it is valid for 7 days, with temporary \
                 credentials only as long as they are";
            report.warning(subject, "url.expires", message, fix);
            true
        }
        Some(_) => {
            report.good(subject, format!("the pre-signed URL is valid until {when}"));
            true
        }
    }
}

/// Reports a bucket whose name is more than one label of a host's name.
pub fn report_dots(report: &mut Report, subject: &'static str, bucket: &str) {
    let message = format!(
        "the bucket {bucket} has a dot in its name, and the certificate of *.s3.amazonaws.com covers one label only: \
         no device can connect to it"
    );
    let fix =
        "use a bucket name without dots, or put CloudFront with your own certificate in front";
    report.fault(subject, "url.dots", message, fix);
}

/// The bucket in the name of one of Amazon's hosts: `BUCKET.s3.REGION.amazonaws.com`.
fn bucket_in_host(host: &str) -> Option<&str> {
    let service = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let at = service
        .rfind(".s3.")
        .or_else(|| service.rfind(".s3-"))
        .or_else(|| service.ends_with(".s3").then(|| service.len() - 3))?;
    service.get(..at)
}

/// A time in RFC 3339.
pub fn display(unix_seconds: u64) -> String {
    Timestamp::from_unix_seconds(unix_seconds)
        .map_or_else(|| "the far future".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_found_in_amazons_hosts_only() {
        for (host, bucket) in [
            ("lamp.s3.eu-central-1.amazonaws.com", Some("lamp")),
            ("my.lamp.s3.eu-central-1.amazonaws.com", Some("my.lamp")),
            ("lamp.s3.amazonaws.com", Some("lamp")),
            ("lamp.s3-eu-west-1.amazonaws.com", Some("lamp")),
            ("lamp.s3.cn-north-1.amazonaws.com.cn", Some("lamp")),
            ("s3.eu-central-1.amazonaws.com", None),
            ("lamp.example.com", None),
        ] {
            assert_eq!(bucket_in_host(host), bucket, "{host}");
        }
    }
}
