//! The options for the S3 service, the credentials and the CA.

use std::path::PathBuf;

use clap::Args;

/// The S3 service and the credentials.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// The URL of an S3-compatible service other than AWS
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub endpoint_url: Option<String>,

    #[command(flatten)]
    pub aws: AwsArgs,
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
