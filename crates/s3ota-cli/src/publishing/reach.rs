//! Whether devices can reach what was published. Problems are warnings: the objects are in their place.

use std::time::{Duration, SystemTime};

use super::ReleaseOptions;
use super::plan::Plan;
use crate::clock;
use crate::error::CliError;
use crate::output::Output;
use crate::s3::{Location, Store};

/// Requests manifest and image as a device does, and warns of problems.
pub(super) async fn check(
    plan: &Plan<'_>,
    options: &ReleaseOptions,
    location: &Location,
    out: &Output,
) {
    if let Some(good_for) = options.presign
        && let Some(warning) = ends_early(plan.store, good_for)
    {
        out.warning(&warning);
    }
    if options.public_url.is_none() && !plan.store.is_https() {
        let url = without_query(&plan.manifest_url);
        let message = format!(
            "devices speak HTTPS only, but the endpoint is http: they are given {url}, which has to work"
        );
        let hint = match options.presign {
            None => {
                "put TLS in front of the endpoint, and name it with --public-url https://HOST/BUCKET"
            }
            Some(_) => {
                "put TLS in front of the endpoint, with the same host and port: they are part of the signature"
            }
        };
        out.warning(&CliError::new("publish.http", message).hint(hint));
        return;
    }
    for (what, url) in [
        ("manifest", &plan.manifest_url),
        ("image", &plan.manifest.url),
    ] {
        let status = plan.store.probe().status(url).await;
        let url = without_query(url);
        let status = match status {
            Ok((status, Some(reason))) => match reason.of_devices(what) {
                Some((code, message, hint)) => {
                    out.warning(&CliError::new(code, message).hint(hint));
                    break;
                }
                None => Ok((status, format!(", {}", reason.said()))),
            },
            Ok((status, None)) => Ok((status, String::new())),
            Err(problem) => Err(problem),
        };
        let warning = match status {
            Ok((200..=399, _)) => continue,
            Ok((401 | 403, said)) if options.presign.is_some() => CliError::new(
                "publish.private",
                format!("the {what} cannot be read by its pre-signed URL: HTTP 403{said}"),
            )
            .hint("the credentials need s3:GetObject on it themselves: the URL has no more permissions than they have"),
            Ok((401 | 403, _)) => private(plan, options, location, what),
            Ok((status, said)) => CliError::new("publish.unreachable", format!("the {what} at {url} answers HTTP {status}{said}")),
            Err(problem) => CliError::new("publish.unreachable", format!("the {what} at {url} cannot be downloaded: {problem}"))
                .hint("devices may see this differently; check the network, and the CA of the certificate, which devices must trust"),
        };
        out.warning(&warning);
        break;
    }
}

/// The fix for a bucket that is not public.
fn private(plan: &Plan<'_>, options: &ReleaseOptions, location: &Location, what: &str) -> CliError {
    let message = format!(
        "devices may not read the {what} yet: {} answers HTTP 403",
        without_query(&plan.manifest_url)
    );
    let hint = if options.public_url.is_some() {
        format!(
            "give the service behind --public-url access to s3://{}",
            location.bucket
        )
    } else {
        format!(
            "let anyone read it with `s3ota bucket init {location}`, which shows its plan first; or keep it private and publish with \
             --presign 7d"
        )
    };
    CliError::new("publish.private", message).hint(hint)
}

/// A URL that fits on a line, and gives no access.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// Warns of URLs that expire with the credentials that signed them.
pub fn ends_early(store: &Store, good_for: Duration) -> Option<CliError> {
    let ends = store.credentials_end()?;
    let left = ends.map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
    if left.is_some_and(|left| left >= good_for) {
        return None;
    }
    let when = match left {
        Some(left) => format!("in {}", clock::span(left.as_secs())),
        None => "which is often after an hour".to_owned(),
    };
    let message =
        format!("the URLs are signed with temporary credentials and expire with them, {when}");
    Some(
        CliError::new("publish.presign", message)
            .hint("sign with the access key of an IAM user, for up to 7d"),
    )
}
