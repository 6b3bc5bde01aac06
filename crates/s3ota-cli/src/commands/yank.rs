//! `s3ota yank`: a release is withdrawn, and its channels go back to the newest good one.

use clap::Args;
use s3ota_manifest::Version;

use crate::bucket::channel::{ChangeArgs, Changing, PlaceArgs};
use crate::bucket::resign::{self, Intent};
use crate::bucket::seal::SealArgs;
use crate::bucket::withdrawal::Withdrawal;
use crate::error::CliError;
use crate::output::Output;
use crate::s3::S3Args;

/// Withdraw a release
///
/// The version is marked, for good: it cannot be published or promoted any more. Every channel that serves it goes back to
/// the release it served before, the newest one that is not withdrawn; a channel that never served another one is paused.
///
/// Where releases are signed, that is the release before as this host remembers it (`s3ota state show`): the history lies in the
/// bucket, where somebody may have changed it. Where this host remembers none, or the bucket says otherwise, name the release to go
/// back to with --version.
///
/// Devices that run the withdrawn release stay on it: nothing moves them back in silence. Build the good code under a
/// higher version and publish that; or let them go back with --allow-downgrade, a permission that is signed and ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota yank s3://my-bucket/lamp 1.3.0 --reason 'loses its Wi-Fi after a day'
  s3ota yank s3://my-bucket/lamp 1.3.0 --dry-run
  s3ota yank s3://my-bucket/lamp 1.3.0 --key kms:alias/lamp-release --version 1.2.0
  s3ota yank s3://my-bucket/lamp 1.3.0 --allow-downgrade --expires 14d --key release.key")]
pub struct YankArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The version to withdraw
    #[arg(id = "release", value_name = "VERSION")]
    pub version: String,

    /// Why, for the history
    #[arg(long)]
    pub reason: Option<String>,

    /// Devices that run the withdrawn release go back, until --expires: a permission that must be signed
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    /// The version that channels go back to. It must be named where this host does not remember which one it is, as on a fresh
    /// CI machine; where no channel ever served another one, name the withdrawn version itself, and they are paused
    #[arg(id = "meant", long = "version", value_name = "VERSION")]
    pub back_to: Option<String>,

    /// What this host knows to be newer than what lies in the bucket is lost for good, as in a bucket restored from a backup: go
    /// on from what lies there. Without this, nothing is signed where something older was put back
    #[arg(long)]
    pub newer_is_lost: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Withdraws a release.
pub async fn run(args: YankArgs, out: &Output) -> Result<(), CliError> {
    let version = Version::parse(&args.version).map_err(|error| {
        CliError::new("publish.version", format!("{}: {error}", args.version)).usage()
    })?;
    let intent = Intent {
        version: args.back_to.as_deref().map(resign::canonical).transpose()?,
        newer_is_lost: args.newer_is_lost,
        ..Intent::default()
    };
    let opened = Changing {
        change: &args.change,
        seal: &args.seal,
        s3: &args.s3,
        allow_downgrade: args.allow_downgrade,
    };
    let opened = opened.open(&args.place.location, intent).await?;
    let withdrawal = Withdrawal {
        version: version.to_string(),
        reason: args.reason.as_deref(),
        allow_downgrade: args.allow_downgrade,
        newer_is_lost: args.newer_is_lost,
        lifetime: args.seal.expires,
        change: &args.change,
        host: opened.host.as_ref(),
        store: &opened.store,
        location: &opened.location,
        out,
    };
    withdrawal.carry_out().await
}
