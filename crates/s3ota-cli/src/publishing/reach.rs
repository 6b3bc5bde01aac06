//! Whether devices will reach what was published. What is found is a warning: the objects are where they belong.

use std::time::{Duration, SystemTime};

use super::{Plan, ReleaseOptions};
use crate::error::CliError;
use crate::output::Output;
use crate::s3::{Location, Store};

/// Asks for manifest and image as a device does, and warns of what a device would meet.
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
            "devices speak HTTPS only, and the endpoint is http: they are given {url}, which has to work"
        );
        let hint = match options.presign {
            None => {
                "put TLS in front of the endpoint, and say where with --public-url https://HOST/BUCKET"
            }
            Some(_) => {
                "put TLS in front of the endpoint, with the same host and port: they are signed too"
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
        let warning = match status {
            Ok(200..=399) => continue,
            Ok(401 | 403) if options.presign.is_some() => CliError::new(
                "publish.private",
                format!("the {what} cannot be read by its pre-signed URL: HTTP 403"),
            )
            .hint("the credentials need s3:GetObject on it themselves; the URL may do no more than they"),
            Ok(401 | 403) => private(plan, options, location, what),
            Ok(status) => CliError::new("publish.unreachable", format!("the {what} at {url} answers HTTP {status}")),
            Err(problem) => CliError::new("publish.unreachable", format!("the {what} at {url} cannot be read: {problem}"))
                .hint("devices may see it otherwise; look at the certificate's CA, which they must know, and at the network"),
        };
        out.warning(&warning);
        break;
    }
}

/// What to do about a bucket that keeps its objects to itself.
fn private(plan: &Plan<'_>, options: &ReleaseOptions, location: &Location, what: &str) -> CliError {
    let bucket = &location.bucket;
    let message = format!(
        "devices may not read the {what} yet: {} answers HTTP 403",
        without_query(&plan.manifest_url)
    );
    let hint = if options.public_url.is_some() {
        format!("let what serves --public-url read s3://{bucket}")
    } else {
        let policy = plan.store.public_read_policy(&location.prefix);
        let unblock = if plan.store.is_aws() {
            format!("aws s3api delete-public-access-block --bucket {bucket} && ")
        } else {
            String::new()
        };
        format!(
            "open it to anyone: {unblock}aws s3api put-bucket-policy --bucket {bucket} --policy '{policy}' \
             (that replaces a policy the bucket may have) or keep it private and publish with --presign 7d"
        )
    };
    CliError::new("publish.private", message).hint(hint)
}

/// A URL that fits on a line, and gives no access.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// Warns of URLs that end with the credentials that signed them.
pub fn ends_early(store: &Store, good_for: Duration) -> Option<CliError> {
    let ends = store.credentials_end()?;
    let left = ends.map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
    if left.is_some_and(|left| left >= good_for) {
        return None;
    }
    let when = match left {
        Some(left) => format!("in {} minutes", left.as_secs() / 60),
        None => "which is often after an hour".to_owned(),
    };
    let message =
        format!("the URLs are signed with temporary credentials and end with them, {when}");
    Some(
        CliError::new("publish.presign", message)
            .hint("sign with the access key of an IAM user, for up to 7d"),
    )
}
