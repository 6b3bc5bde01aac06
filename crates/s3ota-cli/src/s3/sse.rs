//! Encryption at rest, as uploads ask for it.

use std::str::FromStr;

use aws_sdk_s3::types::ServerSideEncryption;

use crate::error::CliError;

/// What encrypts objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sse {
    /// The header `x-amz-server-side-encryption`.
    pub(super) kind: ServerSideEncryption,
    /// The KMS key; `None` for the account's own.
    pub(super) key: Option<String>,
}

impl FromStr for Sse {
    type Err = CliError;

    fn from_str(text: &str) -> Result<Self, CliError> {
        let kinds = [
            ("aws:kms:dsse", ServerSideEncryption::AwsKmsDsse),
            ("aws:kms", ServerSideEncryption::AwsKms),
            ("AES256", ServerSideEncryption::Aes256),
        ];
        for (name, kind) in kinds {
            let key = match text.strip_prefix(name) {
                Some("") => None,
                Some(rest) if kind != ServerSideEncryption::Aes256 => {
                    match rest.strip_prefix(':') {
                        Some(key) if !key.is_empty() => Some(key.to_owned()),
                        _ => continue,
                    }
                }
                _ => continue,
            };
            return Ok(Self { kind, key });
        }
        let message = format!("`{text}` is no server-side encryption");
        Err(CliError::new("s3.sse", message)
            .hint("write AES256, aws:kms, aws:kms:KEY with a key's ID, ARN or alias, or aws:kms:dsse[:KEY]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kms_key_may_be_an_arn() {
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234";
        let sse: Sse = format!("aws:kms:{arn}").parse().unwrap();
        assert_eq!(
            (sse.kind.as_str(), sse.key.as_deref()),
            ("aws:kms", Some(arn))
        );
        let sse: Sse = "aws:kms:dsse".parse().unwrap();
        assert_eq!((sse.kind.as_str(), sse.key), ("aws:kms:dsse", None));
        assert_eq!("AES256".parse::<Sse>().unwrap().key, None);
        for wrong in ["", "aes256", "AES256:key", "aws:kms:", "aws:kmskey", "kms"] {
            assert_eq!(wrong.parse::<Sse>().unwrap_err().code, "s3.sse", "{wrong}");
        }
    }
}
