//! `s3ota doctor`: checks a bucket the way a device will see it.

use std::path::PathBuf;

use clap::Args;

use crate::error::CliError;
use crate::judge::doctor::{Examination, Target};
use crate::judge::rehearsal::more_roots;
use crate::keys;
use crate::output::Output;
use crate::s3::S3Args;

/// Check a bucket the way a device will see it, and say what to fix
///
/// Downloads the manifest and the image with the TLS client that runs on the chip, which trusts the built-in roots and --ca only.
/// Checks names, certificates, access, headers, redirects, expiry, the release and its image; at the end a virtual device
/// installs it. Each finding comes with a fix. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 a device would update itself, 1 something would stop it, 2 wrong usage.

Examples:
  s3ota doctor s3://my-bucket/lamp
  s3ota doctor https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json --release-key release.key.pub
  s3ota doctor https://localhost:9443/firmware/lamp/stable.json --ca s3ota-data/ca.pem")]
pub struct DoctorArgs {
    /// The URL of the manifest as devices have it; or s3://bucket/prefix, which needs credentials
    #[arg(value_name = "URL | s3://BUCKET/PREFIX")]
    pub target: String,

    /// The channel to check under s3://bucket/prefix
    #[arg(long, default_value = "stable")]
    pub channel: String,

    /// Where devices reach s3://bucket, if not at the S3 service itself: for example the URL of a CDN
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,

    /// A release key that devices trust, PEM or DER: one of them must have signed the manifest
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// The board name of the devices; by default the manifest's
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Runs the checks. Fails if something would stop a device.
pub async fn run(args: DoctorArgs, out: &Output) -> Result<(), CliError> {
    let roots = more_roots(args.s3.aws.ca.as_deref(), out)?;
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
