//! `s3ota device`: a virtual ESP32 on a flash file.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use s3ota::manifest::Timestamp;
use s3ota::{Chip, Timeouts};
use s3ota_image::app::{Descriptor, Misfit, Revision};
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, Setup};
use serde_json::json;

use crate::clock::parse_duration;
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::judge::chip::KnownChip;
use crate::judge::device::{Settings, Station};
use crate::judge::rehearsal::MoreRoots;
use crate::keys;
use crate::output::Output;
use crate::text;

#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    New(DeviceNewArgs),
    Run(DeviceRunArgs),
}

/// Create a flash file with a partition table and a first firmware
#[derive(Debug, Args)]
pub struct DeviceNewArgs {
    /// The flash file to create
    pub flash: PathBuf,

    /// The firmware that the device starts with: an app image or an ELF file
    #[arg(long, value_name = "FIRMWARE")]
    pub image: PathBuf,

    /// The partition table as CSV; by default 4 MB with two OTA slots
    #[arg(long, value_name = "CSV")]
    pub partitions: Option<PathBuf>,

    /// The chip's revision: `v3.1`, `3.1` or 301. The device then neither boots nor downloads an image for another revision; by
    /// default it accepts any. Stored beside the flash file, in FLASH.chip
    #[arg(long, value_name = "REVISION", value_parser = parse_revision)]
    pub chip_revision: Option<u16>,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Power on a virtual device and let it check for updates
///
/// It boots what the flash holds, by the rules of the ESP-IDF bootloader, and runs the s3ota library as its firmware. You can
/// kill the process at any moment, which is a power cut, and run it again.
#[derive(Debug, Args)]
pub struct DeviceRunArgs {
    /// The flash file, made by `s3ota device new` or read from a chip
    pub flash: PathBuf,

    /// The URL of the manifest
    #[arg(long, value_name = "URL")]
    pub manifest_url: String,

    /// A root certificate to trust besides Amazon's, PEM or DER. A device has room for few: a whole bundle of CAs in
    /// AWS_CA_BUNDLE is not used, and an error that may come from that says so
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Check once; if something was installed, restart into it, confirm it and exit
    #[arg(long, conflicts_with = "every")]
    pub once: bool,

    /// The time between checks
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub every: Duration,

    /// Leave a new firmware on trial instead of confirming it
    #[arg(long)]
    pub no_confirm: bool,

    /// The device's id, which decides its place in a rollout
    #[arg(long, value_name = "ID")]
    pub device_id: Option<String>,

    /// The device's board name
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    /// A release key that the device trusts, PEM or DER, as `s3ota keygen` writes it. With one or more, the device takes signed
    /// releases only
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// The date as the device knows it: RFC 3339, such as 2027-01-31T12:00:00Z, or `unknown`. By default this computer's
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub now: Option<Date>,

    /// The version of the running firmware, where its image does not name it (Arduino builds)
    #[arg(long, value_name = "VERSION")]
    pub firmware_version: Option<String>,

    /// The number of attempts for an update
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub attempts: u8,

    /// The deadline for an update
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = parse_duration)]
    pub deadline: Duration,
}

/// Creates a flash file.
pub fn new(args: &DeviceNewArgs, out: &Output) -> Result<(), CliError> {
    let firmware = firmware::read(&args.image)?;
    let setup = match &args.partitions {
        Some(path) => {
            let csv = text::read_to_string(path).map_err(|error| CliError::file(path, &error))?;
            Setup::from_csv(&csv)?
        }
        None => Setup::default(),
    };
    let flash = setup.flash(&firmware.bytes)?;
    let known = known_chip(args, &firmware)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).truncate(true);
    if args.force {
        options.create(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(&args.flash)
        .and_then(|mut file| file.write_all(&flash));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::file(&args.flash, &error)
            .hint("add --force to replace it, which also deletes the device's history"),
        _ => CliError::file(&args.flash, &error),
    })?;
    KnownChip::keep(known, &args.flash)?;
    let version = firmware
        .image
        .descriptor
        .as_ref()
        .map_or("", Descriptor::version);
    let chip = firmware.image.header.chip().map_or("unknown", Chip::name);
    let revision = known.map(|known| known.revision);
    let of_revision = revision.map(|revision| format!(" of revision {}", Revision(revision)));
    out.say(format_args!(
        "{}: a virtual {chip}{} with {} MiB of flash and firmware {version}",
        args.flash.display(),
        of_revision.unwrap_or_default(),
        flash.len() >> 20
    ));
    out.event(
        "created",
        json!({
            "flash": args.flash.display().to_string(), "size": flash.len(), "chip": chip, "version": version,
            "chip_revision": revision,
        }),
    );
    Ok(())
}

/// The chip of a new device. Its first firmware must run on it.
fn known_chip(args: &DeviceNewArgs, firmware: &Firmware) -> Result<Option<KnownChip>, CliError> {
    let image = &firmware.image;
    let (Some(revision), Some(chip)) = (args.chip_revision, image.header.chip()) else {
        return Ok(None);
    };
    let known = KnownChip { chip, revision };
    let runs = known
        .hardware()
        .accepts(&image.header, image.descriptor.as_ref());
    runs.map_err(|misfit: Misfit| {
        CliError::new(
            misfit.code(),
            format!("the firmware does not boot: {misfit}"),
        )
        .hint("use a firmware that runs on this chip, or another --chip-revision")
    })?;
    Ok(Some(known))
}

/// Powers a device on.
pub async fn run(args: DeviceRunArgs, out: &Output) -> Result<(), CliError> {
    let roots = MoreRoots::read(args.ca.as_deref())?;
    let release_keys = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<_, _>>()?;
    let flash = Flash::open(&args.flash).map_err(|error| {
        CliError::file(&args.flash, &error)
            .hint("make one with `s3ota device new FLASH --image FIRMWARE`, or read one from a chip with `espflash read-flash`")
    })?;
    let known = KnownChip::beside(&args.flash)?;
    let device_id = match args.device_id {
        Some(id) => id,
        None => id_of(&args.flash)?,
    };
    let settings = Settings {
        manifest_url: args.manifest_url,
        roots: roots.der.clone(),
        device_id,
        board: args.board,
        release_keys,
        date: args.now.unwrap_or_default(),
        firmware_version: args.firmware_version,
        timeouts: Timeouts {
            attempts: args.attempts.max(1),
            deadline: args.deadline,
            ..Timeouts::default()
        },
    };
    let mut station = Station::new(flash, settings, *out).with_chip(known);
    if args.once {
        let ended = station.once(!args.no_confirm).await;
        ended.map_err(|error| roots.explain(error))
    } else {
        if let Some(warning) = roots.warning() {
            out.warning(&warning);
        }
        station.forever(args.every, !args.no_confirm).await
    }
}

/// A stable id for the device in this file.
fn id_of(flash: &Path) -> Result<String, CliError> {
    let path = flash
        .canonicalize()
        .map_err(|error| CliError::file(flash, &error))?;
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Ok(format!("virtual-{hash:016x}"))
}

/// A revision, major * 100 + minor, in any of the usual notations.
fn parse_revision(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| plain)
    };
    let revision = match digits.split_once('.') {
        Some((major, minor)) => {
            let minor = number(minor).filter(|minor| *minor < 100);
            let major = number(major).and_then(|major| major.checked_mul(100));
            major
                .zip(minor)
                .and_then(|(major, minor)| major.checked_add(minor))
        }
        None if digits == text => number(digits),
        None => number(digits).and_then(|major| major.checked_mul(100)),
    };
    revision.ok_or_else(|| "write it like v3.1, 3.1 or 301".to_owned())
}

/// A date in RFC 3339, or `unknown`.
fn parse_date(text: &str) -> Result<Date, String> {
    match text {
        "unknown" => Ok(Date::Unknown),
        text => Timestamp::parse(text)
            .map(|date| Date::At(date.unix_seconds()))
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_in_any_of_the_usual_notations() {
        for (text, revision) in [
            ("v3.1", Some(301)),
            ("3.1", Some(301)),
            ("301", Some(301)),
            ("v3", Some(300)),
            ("0.3", Some(3)),
            ("3", Some(3)),
            ("v0.12", Some(12)),
            ("0", Some(0)),
            ("", None),
            ("v", None),
            ("3.", None),
            (".1", None),
            ("3.100", None),
            ("+3", None),
            ("-1", None),
            ("700.0", None),
            ("65536", None),
            ("new", None),
        ] {
            assert_eq!(parse_revision(text).ok(), revision, "{text:?}");
        }
    }
}
