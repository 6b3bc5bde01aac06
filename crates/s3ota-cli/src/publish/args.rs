//! The command line of `s3ota publish`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::channel::ChangeArgs;
use crate::channel::older::Older;
use crate::cli::parse_duration;
use crate::s3::S3Args;
use crate::seal::SealArgs;

/// Put a firmware and its manifest into a bucket
///
/// The image is uploaded first and the channel's manifest last, so that a device never sees a release that is not whole.
/// Version and chip are read from the image. Prints the manifest's URL, which is what a device is given.
///
/// With --key the release is signed: devices whose firmware has the key's public part take no other. Everything that decides
/// what they run is signed, the URLs are not. `s3ota keygen` makes a key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota publish target/lamp.bin s3://my-bucket/lamp
  s3ota publish target/riscv32imc-unknown-none-elf/release/lamp s3://my-bucket/lamp --channel beta
  s3ota publish lamp.bin s3://my-bucket/lamp --presign 7d
  s3ota publish lamp.bin s3://my-bucket/lamp --key release.key --expires 90d
  s3ota publish lamp.bin s3://my-bucket/lamp --key kms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd
  s3ota publish lamp.bin s3://firmware/lamp --endpoint-url https://localhost:9443 --ca s3ota-data/ca.pem")]
pub struct PublishArgs {
    /// The firmware: an app image (.bin) or an ELF file
    pub firmware: PathBuf,

    /// Where to: s3://bucket/prefix, one prefix per product and kind of chip
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub destination: String,

    /// The channel whose devices get the release
    #[arg(long, default_value = "stable")]
    pub channel: String,

    /// The release's version; needed only where the image does not say it (Arduino builds)
    #[arg(long)]
    pub version: Option<String>,

    /// Only devices of this board take the release
    #[arg(long)]
    pub board: Option<String>,

    /// How many percent of the devices take the release
    #[arg(long, value_name = "PERCENT")]
    pub rollout: Option<String>,

    /// Sign the URLs, for a private bucket; they are good for so long, at most 7d (12h, 30m…)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "public_read")]
    pub presign: Option<Duration>,

    /// Where devices reach the bucket, if not at the endpoint: the https URL that stands for s3://BUCKET, such as a CDN's
    #[arg(long, value_name = "URL", conflicts_with = "presign")]
    pub public_url: Option<String>,

    /// A note for people, kept in the manifest
    #[arg(long)]
    pub notes: Option<String>,

    #[command(flatten)]
    pub seal: SealArgs,

    /// No device that sees this release goes back below this version any more: what came before has a hole
    #[arg(long, value_name = "VERSION")]
    pub min_version: Option<String>,

    /// Devices that run a newer version go back to this one, until --expires
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    /// Publish a firmware without a boot guard, though the release before has one: devices that take it cannot go back from it
    #[arg(long)]
    pub drop_guard: bool,

    /// Put a page beside the release from which a new board is installed by USB, in Chrome or Edge, under
    /// PREFIX/installer/CHANNEL: bootloader, the usual partition table for 4 MB, and this firmware
    #[arg(long, conflicts_with = "presign")]
    pub web_installer: bool,

    /// The bootloader for that page; an ELF file needs none
    #[arg(long, value_name = "FILE", requires = "web_installer")]
    pub bootloader: Option<PathBuf>,

    /// Put the page's program beside it, from the unpacked npm package esp-web-tools: then the page loads nothing from elsewhere.
    /// Without it, browsers fetch the same files from a CDN, and run none that was changed
    #[arg(long, value_name = "DIR", requires = "web_installer")]
    pub esp_web_tools: Option<PathBuf>,

    /// Keep the manifest that devices with another library read, too, under PREFIX/older, from now on: whatever changes the
    /// channel changes it. It knows no signature and no percentage: it names a release while that is for everyone
    #[arg(long, value_name = "LIBRARY")]
    pub also: Vec<Older>,

    /// Keep it no longer: it names no release from now on
    #[arg(long, value_name = "LIBRARY")]
    pub not_also: Vec<Older>,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub s3: S3Args,
}
