//! `s3ota publish`: puts a firmware and its manifest into a bucket.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::inspect::parse_offset;
use crate::bucket::channel::{ChangeArgs, Changing, Opened, parse_rollout};
use crate::bucket::resign::{Intent, MinVersionArgs};
use crate::bucket::seal::SealArgs;
use crate::clock::parse_duration;
use crate::error::CliError;
use crate::firmware::report::ImageReport;
use crate::firmware::{self, Firmware};
use crate::legacy::LegacyClient;
use crate::output::Output;
use crate::publishing::{
    DeltaFrom, Installer, MISTAKES, Release, ReleaseOptions, SuccessionArgs, Urls, publish,
};
use crate::s3::{Location, S3Args};

// Headings of the help.
const INSTALLER: &str = "Web installer";
const LEGACY: &str = "Legacy clients";

/// Put a firmware and its manifest into a bucket
///
/// The image is uploaded first and the channel's manifest last, so a device never sees an incomplete release. Version and chip
/// are read from the image. Prints the manifest's URL, which you give to devices.
///
/// With --key the release is signed: devices that trust the key take no other. The signature covers everything that decides what
/// they run, but not the URLs. `s3ota keygen` creates a key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota publish lamp.bin s3://my-bucket/lamp
  s3ota publish lamp.elf s3://my-bucket/lamp --channel beta
  s3ota publish lamp.bin s3://my-bucket/lamp --presign 7d
  s3ota publish lamp.bin s3://my-bucket/lamp --delta-from 1.0.0,1.1.0
  s3ota publish lamp.bin s3://my-bucket/lamp --key release.key --expires 90d
  s3ota publish lamp.bin s3://my-bucket/lamp --key kms:alias/lamp-release
  s3ota publish lamp.bin s3://firmware/lamp --endpoint-url https://localhost:9443 --ca s3ota-data/ca.pem")]
pub struct PublishArgs {
    /// The firmware: an app image (.bin) or an ELF file
    pub firmware: PathBuf,

    /// FIRMWARE is a merged image, or a flash or slot that was read from a chip: publish the app image in it that would boot
    #[arg(long, conflicts_with = "web_installer")]
    pub from_merged: bool,

    /// With --from-merged: where the partition table is. By default it is looked for
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset, requires = "from_merged")]
    pub partition_table_offset: Option<u32>,

    /// The destination: s3://bucket/prefix, one prefix per product and kind of chip
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub destination: String,

    /// The channel whose devices get the release
    #[arg(long, default_value = "stable")]
    pub channel: String,

    /// The version of the release; needed only where the image does not name it (Arduino builds without S3OTA_VERSION)
    #[arg(long)]
    pub version: Option<String>,

    /// Release for devices of this board only
    #[arg(long)]
    pub board: Option<String>,

    /// The percentage of devices that take the release. By default all; and if the channel serves this version already, those that
    /// take it now
    #[arg(long, value_name = "PERCENT")]
    pub rollout: Option<String>,

    /// Pre-sign the URLs, for a private bucket; valid for this long, at most 7d (12h, 30m…)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "public_read")]
    pub presign: Option<Duration>,

    /// Where devices reach the bucket, if not at the endpoint: the https URL of s3://BUCKET, for example that of a CDN
    #[arg(long, value_name = "URL", conflicts_with = "presign")]
    pub public_url: Option<String>,

    /// The releases to make deltas from, for devices with the feature `delta`: auto, which is the newest 5 that the channel has served;
    /// another number of them; versions like 1.0.0,1.1.0; or none, which does not compress the image either
    #[arg(long, value_name = "FROM", default_value = "auto")]
    pub delta_from: DeltaFrom,

    /// A note for people, kept in the manifest
    #[arg(long)]
    pub notes: Option<String>,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub min_version: MinVersionArgs,

    /// Publish even though this host knows a newer release than the bucket holds, because the newer one is lost: for example after the
    /// bucket was restored from a backup. By default nothing is signed over an older release
    #[arg(long)]
    pub newer_is_lost: bool,

    /// Let devices that run a newer version go back to this one, until --expires
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub s3: S3Args,

    #[command(flatten)]
    pub succession: SuccessionArgs,

    /// Publish a firmware without a boot guard though the release before has one: devices cannot roll back from it
    #[arg(long, help_heading = MISTAKES)]
    pub drop_guard: bool,

    /// Also upload a web page that installs this firmware on a new board over USB, in Chrome or Edge, under
    /// PREFIX/installer/CHANNEL: bootloader, the usual partition table for 4 MB, and this firmware
    #[arg(long, conflicts_with = "presign", help_heading = INSTALLER)]
    pub web_installer: bool,

    /// The bootloader for that page; not needed with an ELF file
    #[arg(long, value_name = "FILE", requires = "web_installer", help_heading = INSTALLER)]
    pub bootloader: Option<PathBuf>,

    /// Upload the page's program with it, from the unpacked npm package esp-web-tools, so that the page loads nothing from elsewhere.
    /// By default browsers load the same files from a CDN, and reject changed ones
    #[arg(long, value_name = "DIR", requires = "web_installer", help_heading = INSTALLER)]
    pub esp_web_tools: Option<PathBuf>,

    /// Also keep the manifest that legacy clients read, under PREFIX/older, from now on: every change of the channel updates it. It
    /// has no signature and no rollout, so it names a release only while that is for everyone
    #[arg(long, value_name = "LIBRARY", help_heading = LEGACY)]
    pub also: Vec<LegacyClient>,

    /// Stop keeping it: it names no release from now on
    #[arg(long, value_name = "LIBRARY", help_heading = LEGACY, hide_possible_values = true)]
    pub not_also: Vec<LegacyClient>,
}

fn options(args: &PublishArgs) -> Result<ReleaseOptions, CliError> {
    let rollout = args.rollout.as_deref().map(parse_rollout).transpose()?;
    Ok(ReleaseOptions {
        channel: args.channel.clone(),
        version: args.version.clone(),
        board: args.board.clone(),
        rollout,
        presign: args.presign,
        public_url: args.public_url.clone(),
        delta_from: args.delta_from.clone(),
        notes: args.notes.clone(),
        expires: args.seal.expires,
        min_version: args.min_version.clone(),
        downgrade: args.allow_downgrade,
        succession: args.succession.clone(),
        drop_guard: args.drop_guard,
        also: args.also.clone(),
        not_also: args.not_also.clone(),
        change: args.change.clone(),
    })
}

/// The firmware to publish.
fn read(args: &PublishArgs, out: &Output) -> Result<Firmware, CliError> {
    if !args.from_merged {
        return firmware::read(&args.firmware);
    }
    let taken = firmware::take_from_merged(&args.firmware, args.partition_table_offset)?;
    let from = match &taken.partition {
        Some(partition) => format!("{partition}, which would boot"),
        None => "the slot".to_owned(),
    };
    let report = ImageReport::of_file(&taken.firmware.bytes);
    out.say(format_args!(
        "takes {} from {from}: {} bytes",
        report.title(),
        taken.firmware.bytes.len()
    ));
    out.event(
        "taken",
        json!({ "partition": taken.partition, "size": taken.firmware.bytes.len() }),
    );
    Ok(taken.firmware)
}

/// Publishes a firmware.
pub async fn run(args: Box<PublishArgs>, out: &Output) -> Result<(), CliError> {
    if args.firmware.starts_with("s3:") {
        let message = format!("{} is no firmware, but a location", args.firmware.display());
        let hint = format!(
            "the firmware comes first: `s3ota publish {} {}`",
            args.destination,
            args.firmware.display()
        );
        return Err(CliError::new("cli.usage", message).hint(hint).usage());
    }
    let location: Location = args.destination.parse().map_err(CliError::usage)?;
    let options = options(&args).map_err(CliError::usage)?;
    let is_signed = args.change.signs(&args.seal);
    options.check(is_signed).map_err(CliError::usage)?;
    let firmware = read(&args, out)?;
    // Problems with the firmware are reported before anyone is asked for a passphrase or credentials.
    let release = Release::of(&firmware, options.version.as_deref())?;
    let installer = match args.web_installer {
        true => Some(Installer::new(
            &release,
            &firmware,
            &args.firmware,
            args.bootloader.as_deref(),
            args.esp_web_tools.as_deref(),
            &location.prefix,
            &options.channel,
        )?),
        false => None,
    };
    let opened = Changing {
        change: &args.change,
        seal: &args.seal,
        s3: &args.s3,
        allow_downgrade: args.allow_downgrade,
    };
    let intent = Intent {
        newer_is_lost: args.newer_is_lost,
        min_version: options.min_version.clone(),
        ..Intent::default()
    };
    let Opened {
        location,
        store,
        host,
    } = opened.open(&args.destination, intent).await?;
    publish(&firmware, &options, host.as_ref(), &store, &location, out).await?;
    if let Some(installer) = installer.filter(|_| !options.change.dry_run) {
        installer.upload(&store, options.change.public_read).await?;
        let urls = Urls::of(&store, &options);
        let url = urls.lasting(&installer.page_key()).await?;
        out.say(format_args!("install new boards from this page:\n{url}"));
        out.event("installer", json!({ "url": url }));
    }
    Ok(())
}
