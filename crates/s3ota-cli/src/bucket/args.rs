//! The command line of `s3ota bucket`.

use clap::{Args, Subcommand};

use crate::s3::S3Args;

#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    Init(BucketInitArgs),
}

/// Make a bucket fit for devices, or check one that is there
///
/// Makes the bucket, opens this one prefix to readers by a statement in the bucket's policy (or, with --private, closes
/// it), has unfinished uploads cleared away, and looks at CORS, versioning and whatever could delete images. Says first
/// what it would do. What others have set stays: statements and rules are added to theirs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota bucket init s3://my-bucket/lamp --dry-run
  s3ota bucket init s3://my-bucket/lamp --region eu-central-1 --yes
  s3ota bucket init s3://my-bucket/lamp --private --log-bucket my-logs")]
pub struct BucketInitArgs {
    /// The bucket, and the prefix that devices read
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub location: String,

    /// Let nobody read it without a signed URL: for releases published with --presign
    #[arg(long)]
    pub private: bool,

    /// Log every access into this bucket, which must be there: the devices' versions stand in its lines
    #[arg(long, value_name = "NAME")]
    pub log_bucket: Option<String>,

    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,

    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,

    #[command(flatten)]
    pub s3: S3Args,
}
