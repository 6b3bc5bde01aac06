//! The location of a product in S3.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use s3ota_manifest::layout;

use crate::error::CliError;

/// `s3://bucket/prefix`: one prefix per product and kind of chip. The prefix may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The bucket's name.
    pub bucket: String,
    /// The beginning of every key, without `/` at either end.
    pub prefix: String,
}

impl Location {
    /// Refuses a bucket name with a dot, which S3's certificate does not cover.
    pub(super) fn check_tls_name(&self) -> Result<(), CliError> {
        if !self.bucket.contains('.') {
            return Ok(());
        }
        let message = format!(
            "the bucket {} has a dot in its name: a certificate such as that of *.s3.amazonaws.com covers one label before the host's \
             name, and not {0}.s3.amazonaws.com, so devices could not read from it over HTTPS",
            self.bucket
        );
        Err(CliError::new("s3.url", message).hint("use a bucket name without dots"))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

impl FromStr for Location {
    type Err = CliError;

    fn from_str(text: &str) -> Result<Self, CliError> {
        let wrong = |problem: String| {
            CliError::new("s3.url", problem)
                .hint("write the location as s3://BUCKET/PREFIX, for example s3://my-bucket/lamp")
        };
        let Some(rest) = text.strip_prefix("s3://") else {
            let error = wrong(format!("`{text}` does not begin with s3://"));
            let meant = format!("s3://{text}");
            return Err(match text.contains("://") {
                true => error.hint("this is a URL, as devices have it; a location is written s3://BUCKET/PREFIX, for example s3://my-bucket/lamp"),
                false if meant.parse::<Self>().is_ok() => error.hint(format!("write {meant}, if that is the location you mean")),
                false => error,
            });
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket_name(bucket) {
            return Err(wrong(format!(
                "`{bucket}` is not a valid bucket name: 3 to 63 lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
            )));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        layout::channel_key(prefix, "stable").map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// The rules for general purpose buckets
/// ([Amazon S3 User Guide](https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html)).
fn is_bucket_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner)
    };
    (3..=63).contains(&name.len())
        && name.split('.').all(label)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.parse::<Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_bucket_and_a_prefix() {
        for (text, bucket, prefix, canonical) in [
            (
                "s3://my-bucket/lamp/c3",
                "my-bucket",
                "lamp/c3",
                "s3://my-bucket/lamp/c3",
            ),
            (
                "s3://my-bucket/lamp/",
                "my-bucket",
                "lamp",
                "s3://my-bucket/lamp",
            ),
            ("s3://my-bucket/", "my-bucket", "", "s3://my-bucket"),
            ("s3://my-bucket", "my-bucket", "", "s3://my-bucket"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(
                (location.bucket.as_str(), location.prefix.as_str()),
                (bucket, prefix),
                "{text}"
            );
            assert_eq!(location.to_string(), canonical);
        }
    }

    #[test]
    fn an_invalid_location_is_refused_with_an_example() {
        for text in [
            "",
            "my-bucket/lamp",
            "https://my-bucket.s3.amazonaws.com/lamp",
            "s3://",
            "s3:///lamp",
            "s3://ab/lamp",
            "s3://My-Bucket/lamp",
            "s3://my_bucket/lamp",
            "s3://-bucket/lamp",
            "s3://my..bucket/lamp",
            "s3://127.0.0.1/lamp",
            "s3://my-bucket//lamp",
            "s3://my-bucket/a/../b",
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error.code, "s3.url", "{text}");
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn a_bucket_with_a_dot_has_no_certificate_on_aws() {
        let dotted: Location = "s3://my.bucket/lamp".parse().unwrap();
        assert_eq!(dotted.check_tls_name().unwrap_err().code, "s3.url");
        assert_eq!(
            "s3://my-bucket"
                .parse::<Location>()
                .unwrap()
                .check_tls_name(),
            Ok(())
        );
    }
}
