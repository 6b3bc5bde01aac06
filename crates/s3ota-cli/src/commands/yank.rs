//! `s3ota yank`: withdraws a release; its channels go back to the newest good one.

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
/// The version is marked for good: it cannot be published or promoted any more. Every channel that serves it goes back to the
/// release before, the newest one that is not yanked. A channel that never served another release is paused.
///
/// Where releases are signed, this host's rollback state decides which release that is (`s3ota state show`), because an attacker
/// may have changed the history in the bucket. Where this host knows none, or the bucket disagrees, name the release to go back
/// to with --version.
///
/// Devices that run the yanked release stay on it: nothing moves them back silently. Build the good code under a higher version
/// and publish that; or let them go back with --allow-downgrade, a permission that is signed and ends.
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

    /// The version to yank
    #[arg(id = "release", value_name = "VERSION")]
    pub version: String,

    /// The reason, for the history
    #[arg(long)]
    pub reason: Option<String>,

    /// Let devices that run the yanked release go back, until --expires. Needs a signature
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    /// The version that channels go back to. Name it where this host does not know it, as on a fresh CI machine. Where no channel has
    /// ever served another one, name the yanked version itself, and the channels are paused
    #[arg(id = "meant", long = "version", value_name = "VERSION")]
    pub back_to: Option<String>,

    /// Go on even though this host knows a newer release than the bucket holds, because the newer one is lost: for example after the
    /// bucket was restored from a backup. By default nothing is signed over an older release
    #[arg(long)]
    pub newer_is_lost: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Yanks a release.
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
