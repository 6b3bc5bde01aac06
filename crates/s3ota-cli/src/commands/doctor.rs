//! `s3ota doctor`: looks at a bucket the way a device will.

use std::path::PathBuf;

use clap::Args;

use crate::error::CliError;
use crate::judge::doctor::{Examination, Target};
use crate::keys;
use crate::output::Output;
use crate::s3::S3Args;
use crate::s3::certificates;

/// Look at a bucket the way a device will, and say what to mend
///
/// Fetches manifest and image with the TLS client that runs on the chip, trusting Amazon's roots and --ca alone, and
/// examines names, certificates, access, headers, redirects, expiry, the release and its image; at the end a virtual
/// device installs it. Everything that is found comes with what to do about it. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 a device would update itself, 1 something would stop it, 2 wrong usage.

Examples:
  s3ota doctor s3://my-bucket/lamp
  s3ota doctor https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json --release-key release.key.pub
  s3ota doctor https://localhost:9443/firmware/lamp/stable.json --ca s3ota-data/ca.pem")]
pub struct DoctorArgs {
    /// The URL of the manifest, as devices have it, or s3://bucket/prefix, for which credentials are needed
    #[arg(value_name = "URL | s3://BUCKET/PREFIX")]
    pub target: String,

    /// The channel to look at under s3://bucket/prefix
    #[arg(long, default_value = "stable")]
    pub channel: String,

    /// Where devices reach s3://bucket, if not at the S3 service itself, such as at a CDN
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// A release key that devices have, as PUBLIC KEY in PEM or DER: the manifest must be signed by one of them
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// The board name that devices have; by default the manifest's
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Examines what the command line names. It fails if something would stop a device.
pub async fn run(args: DoctorArgs, out: &Output) -> Result<(), CliError> {
    let roots = certificates::read_all(args.s3.aws.ca.as_deref())?;
    let keys = args.release_keys.iter().map(|path| keys::read_public(path));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let examination = Examination::new(roots, keys, args.board, out)?;
    if !args.target.starts_with("s3://") {
        return examination.of_url(&args.target).await;
    }
    let target = Target {
        location: &args.target.parse().map_err(CliError::usage)?,
        channel: &args.channel,
        public_url: args.public_url.as_deref(),
        s3: &args.s3,
    };
    examination.of_bucket(&target).await
}
