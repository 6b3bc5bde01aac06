//! URLs before anyone is asked: whether a device takes them, and for how long they are good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3ota_manifest::{HttpsUrl, Timestamp, UrlError};

use super::finding::Report;

/// A pre-signed URL that ends sooner than this is worth a warning.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// Examines a URL; `false` where nothing can come of asking for it.
pub fn examine(report: &mut Report, subject: &'static str, url: &str) -> bool {
    let parsed = match HttpsUrl::parse(url) {
        Ok(parsed) => parsed,
        Err(error) => {
            let fix = match error {
                UrlError::Http | UrlError::NotHttps => {
                    "give devices an https:// URL; where the server has no TLS, put it there or a CDN in front"
                }
                UrlError::TooLong => {
                    "use a shorter prefix, or sign with an access key that has no session token"
                }
                _ => {
                    "correct the URL: it is one like https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json"
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
    let Some(ends) = expiry(url) else { return true };
    let when = display(ends);
    match ends.checked_sub(now()) {
        None | Some(0) => {
            let message = format!("the pre-signed URL ended on {when}");
            let fix = "publish the release again with --presign 7d, and let a job repeat it before the week is over";
            report.fault(subject, "url.expired", message, fix);
            false
        }
        Some(left) if left < SOON.as_secs() => {
            let message = format!("the pre-signed URL ends in {}, on {when}", hours(left));
            let fix = "publish the release again with --presign 7d; temporary credentials end sooner than that, an IAM user's keys do not";
            report.warning(subject, "url.expires", message, fix);
            true
        }
        Some(_) => {
            report.good(subject, format!("the pre-signed URL is good until {when}"));
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
    let fix = "use a bucket without dots in its name, or put CloudFront with a certificate of your own in front";
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

/// When a pre-signed URL ends, in seconds since the epoch; `None` for other URLs.
///
/// Signature version 4 says when it was made and for how long it is good, version 2 says the end.
pub fn expiry(url: &str) -> Option<u64> {
    let query = url.split_once('?')?.1;
    let value = |name: &str| {
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    if let (Some(made), Some(good_for)) = (value("X-Amz-Date"), value("X-Amz-Expires")) {
        // 20261125T130413Z
        let digits = |range| made.get(range);
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            digits(0..4)?,
            digits(4..6)?,
            digits(6..8)?,
            digits(9..11)?,
            digits(11..13)?,
            digits(13..15)?
        );
        let made = Timestamp::parse(&text).ok()?.unix_seconds();
        return made.checked_add(good_for.parse().ok()?);
    }
    value("Signature")?;
    value("Expires")?.parse().ok()
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A moment as people write it.
pub fn display(unix_seconds: u64) -> String {
    Timestamp::from_unix_seconds(unix_seconds)
        .map_or_else(|| "a day beyond counting".to_owned(), |at| at.to_string())
}

/// A time span as people say it.
pub fn hours(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
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

    #[test]
    fn both_kinds_of_pre_signed_urls_say_when_they_end() {
        let v4 = "https://b/k?X-Amz-Date=20261125T130413Z&X-Amz-Expires=60&X-Amz-Signature=0";
        assert_eq!(
            expiry(v4).map(display).as_deref(),
            Some("2026-11-25T13:05:13Z")
        );
        let v2 = "https://b/k?AWSAccessKeyId=A&Signature=x%3D&Expires=1795611913";
        assert_eq!(expiry(v2), Some(1_795_611_913));
        for other in [
            "https://b/k",
            "https://b/k?Expires=5",
            "https://b/k?X-Amz-Date=2026&X-Amz-Expires=60",
        ] {
            assert_eq!(expiry(other), None, "{other}");
        }
    }
}
