//! The options for the S3 service, the credentials and the CA.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Sse;

/// The S3 service and the credentials.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// The URL of an S3-compatible service other than AWS
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub endpoint_url: Option<String>,

    /// Where the bucket's name goes: into the path, or before the host's name. By default, as the service wants it: AWS, Alibaba OSS
    /// and Tencent COS before the host's name, others in the path
    #[arg(long, value_name = "STYLE", value_enum)]
    pub addressing_style: Option<AddressingStyle>,

    /// Encrypt what is uploaded: AES256, aws:kms, or aws:kms:KEY. By default, as the bucket is set up. What KMS encrypts can be read
    /// with pre-signed URLs only
    #[arg(long, value_name = "KIND")]
    pub sse: Option<Sse>,

    #[command(flatten)]
    pub aws: AwsArgs,
}

impl S3Args {
    /// The endpoint, if it is not the SDK that finds it. `AWS_ENDPOINT_URL_S3` is for this service, and counts more than
    /// `AWS_ENDPOINT_URL`.
    pub(super) fn endpoint_url(&self) -> Option<&str> {
        let variable = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
        let url = self.endpoint_url.as_deref().filter(|url| !url.is_empty())?;
        let is_of_all = variable("AWS_ENDPOINT_URL").as_deref() == Some(url);
        (!is_of_all || variable("AWS_ENDPOINT_URL_S3").is_none()).then_some(url)
    }
}

/// Where the bucket's name is in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AddressingStyle {
    /// https://HOST/BUCKET/KEY
    Path,
    /// https://BUCKET.HOST/KEY
    Virtual,
    /// As the service wants it
    Auto,
}

impl std::str::FromStr for AddressingStyle {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        <Self as ValueEnum>::from_str(text, true).map_err(|_| ())
    }
}

/// The AWS identity, and the CA that vouches for AWS.
#[derive(Debug, Clone, Default, Args)]
pub struct AwsArgs {
    /// The profile to use from the AWS configuration
    #[arg(long)]
    pub profile: Option<String>,

    /// The region of the bucket, or of the KMS key
    #[arg(long)]
    pub region: Option<String>,

    /// A CA certificate to trust besides the system's, PEM or DER
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}
