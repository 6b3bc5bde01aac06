//! The part of the command line that says which bucket is meant, and as whom AWS is asked.

use std::path::PathBuf;

use clap::Args;

/// Which S3 service, and as whom.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// The URL of an S3-compatible service other than AWS
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub endpoint_url: Option<String>,

    #[command(flatten)]
    pub aws: AwsArgs,
}

/// As whom AWS is asked, and whom to believe that it is AWS.
#[derive(Debug, Clone, Default, Args)]
pub struct AwsArgs {
    /// The profile of the AWS configuration to use
    #[arg(long)]
    pub profile: Option<String>,

    /// The region of the bucket, or of the KMS key
    #[arg(long)]
    pub region: Option<String>,

    /// A CA certificate to trust besides the system's, PEM or DER
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}
