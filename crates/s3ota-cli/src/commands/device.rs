//! `s3ota device`: a virtual ESP32 on a flash file.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use s3ota::manifest::Timestamp;
use s3ota::manifest::user_agent::hashed_id;
use s3ota::{Chip, Timeouts};
use s3ota_image::app::{Descriptor, Misfit, Revision};
use s3ota_image::partition::TABLE_OFFSET;
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, Setup};
use serde_json::json;

use super::inspect::parse_offset;
use crate::clock::parse_duration;
use crate::error::CliError;
use crate::firmware::contents::{self, Contents};
use crate::firmware::dump::Dump;
use crate::firmware::report::{FlashReport, TableReport};
use crate::firmware::{self, Firmware, in_file};
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
    Hash(DeviceHashArgs),
}

/// Create a flash file with a partition table and a first firmware
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota device new flash.bin --image lamp-1.0.0.bin
  s3ota device new flash.bin --image lamp-1.0.0.bin --partitions partitions.csv --chip-revision v1.0")]
pub struct DeviceNewArgs {
    /// The flash file to create
    pub flash: PathBuf,

    /// The firmware that the device starts with: an app image, an ELF file, or a merged image or flash dump with its own partition
    /// table
    #[arg(long, value_name = "FIRMWARE")]
    pub image: PathBuf,

    /// The partition table as CSV; by default 4 MB with two OTA slots
    #[arg(long, value_name = "CSV")]
    pub partitions: Option<PathBuf>,

    /// Where the partition table is. By default 0x8000; in a merged image it is looked for
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset)]
    pub partition_table_offset: Option<u32>,

    /// The chip's revision: `v3.1`, `3.1` or 301. The device then neither boots nor downloads an image for another revision; by
    /// default it accepts any that a chip has. Stored beside the flash file, in FLASH.chip
    #[arg(long, value_name = "REVISION", value_parser = parse_revision)]
    pub chip_revision: Option<u16>,

    /// The revision of the chip's eFuse block, in the same notations
    #[arg(long, value_name = "REVISION", value_parser = parse_revision)]
    pub efuse_block_revision: Option<u16>,

    /// The secure version in the chip's eFuses, with a bootloader that does anti-rollback
    #[arg(long, value_name = "N")]
    pub secure_version: Option<u32>,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Power on a virtual device and let it check for updates
///
/// It boots what the flash holds, by the rules of the ESP-IDF bootloader, and runs the s3ota library as its firmware. You can
/// kill the process at any moment, which is a power cut, and run it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota device run flash.bin --manifest-url https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json --once
  s3ota device run flash.bin --manifest-url https://localhost:9443/firmware/lamp/stable.json --ca s3ota-data/ca.pem")]
pub struct DeviceRunArgs {
    /// The flash file, made by `s3ota device new` or read from a chip
    pub flash: PathBuf,

    /// Where the partition table is on this flash. By default it is looked for
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset)]
    pub partition_table_offset: Option<u32>,

    /// The URL of the manifest
    #[arg(long, value_name = "URL")]
    pub manifest_url: String,

    /// A root certificate to trust besides the built-in ones, PEM or DER. A device has room for few: a whole bundle of CAs in
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

    /// Start as after deep sleep: a wake does not use up one of the boots of a trial. By default the start counts, as after a crash
    #[arg(long)]
    pub wake: bool,

    /// The running firmware launches a new one for its trial, and the flash goes on booting the old one until the new one is confirmed:
    /// `TrialMode::Launch`. By default the bootloader boots it
    #[arg(long)]
    pub launch: bool,

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

/// Print the names that devices have in the access log which send a hash of their ids
///
/// One line for each id: `~` and 32 hex digits, as the firmware sends it with `SendId::hashed` and the same key.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota device hash a0b1c2d3e4f5 --key-file id.key
  s3ota fleet device \"$(s3ota device hash a0b1c2d3e4f5 --key-file id.key)\" s3://my-logs/my-bucket/")]
pub struct DeviceHashArgs {
    /// The devices' ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,

    /// The file with the key that the firmware has: all its bytes but for a line break at the end
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
}

/// Prints the hashes of ids.
pub fn hash(args: &DeviceHashArgs, out: &Output) -> Result<(), CliError> {
    let file = fs::read(&args.key_file);
    let mut key = &file.map_err(|error| CliError::file(&args.key_file, &error))?[..];
    for end in [b"\n", b"\r"] {
        key = key.strip_suffix(end).unwrap_or(key);
    }
    if key.is_empty() {
        let message = format!(
            "{} is empty, and a hash without a key hides nothing",
            args.key_file.display()
        );
        return Err(CliError::new("cli.usage", message)
            .hint("make one with `openssl rand -hex 16`, and build it into the firmware")
            .usage());
    }
    for id in &args.ids {
        let hash = hashed_id(key, id.as_bytes());
        out.say(hash.as_str());
        out.event("hash", json!({ "device": id, "hash": hash.as_str() }));
    }
    Ok(())
}

/// Creates a flash file.
pub fn new(args: &DeviceNewArgs, out: &Output) -> Result<(), CliError> {
    let (dump, firmware) = first_flash(args)?;
    let report = FlashReport::of(&dump)?;
    let flash = &dump.bytes;
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
        .and_then(|mut file| file.write_all(flash));
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
    report.warnings().iter().for_each(|it| out.warning(it));
    if args.partition_table_offset.is_none() && args.partitions.is_some() {
        let table = TableReport::of(dump.table_bytes(), dump.table_offset)?;
        table.gap().iter().for_each(|it| out.warning(it));
    }
    let revision = known.and_then(|known| known.revision);
    let of_revision = revision.map(|revision| format!(" of revision {}", Revision(revision)));
    out.prose(format_args!(
        "{}: a virtual {chip}{} with {} MiB of flash and firmware {version}",
        args.flash.display(),
        of_revision.unwrap_or_default(),
        flash.len() >> 20
    ));
    out.event(
        "created",
        json!({
            "flash": args.flash.display().to_string(), "size": flash.len(), "chip": chip, "version": version,
            "chip_revision": revision, "table_offset": dump.table_offset,
        }),
    );
    Ok(())
}

/// The flash of a new device, and the firmware that boots from it.
fn first_flash(args: &DeviceNewArgs) -> Result<(Dump, Firmware), CliError> {
    let (path, offset) = (&args.image, args.partition_table_offset);
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    if let Contents::Flash(dump) = contents::recognise(&bytes, offset) {
        if args.partitions.is_some() {
            let message = "it is a merged image, which has a partition table of its own";
            let error = CliError::new("cli.usage", message).hint("leave out --partitions");
            return Err(in_file(path, error).usage());
        }
        let report = FlashReport::of(&dump);
        let firmware = report.and_then(|report| {
            let image = dump.image_of(report.app()?);
            Firmware::from_image(image.to_vec())
        });
        return Ok((*dump, firmware.map_err(|error| in_file(path, error))?));
    }
    let firmware = firmware::read(path)?;
    let csv = match &args.partitions {
        Some(path) => {
            let csv = text::read_to_string(path).map_err(|error| CliError::file(path, &error))?;
            Some(csv)
        }
        None => None,
    };
    let offset = offset.unwrap_or(TABLE_OFFSET);
    let setup = Setup::at(offset, csv.as_deref(), firmware.image.header.chip());
    let flash = setup.and_then(|setup| setup.flash(&firmware.bytes));
    let dump = flash
        .map_err(CliError::from)
        .and_then(|flash| Dump::of(&flash, Some(offset)));
    let dump = dump.map_err(|error| match &args.partitions {
        Some(path) => in_file(path, error),
        None => error,
    })?;
    Ok((dump, firmware))
}

/// The chip of a new device. Its first firmware must run on it.
fn known_chip(args: &DeviceNewArgs, firmware: &Firmware) -> Result<Option<KnownChip>, CliError> {
    let image = &firmware.image;
    let Some(chip) = image.header.chip() else {
        return Ok(None);
    };
    let known = KnownChip {
        revision: args.chip_revision,
        block_revision: args.efuse_block_revision,
        secure_version: args.secure_version,
        ..KnownChip::of(chip)
    };
    let runs = known
        .hardware()
        .accepts(&image.header, image.descriptor.as_ref());
    runs.map_err(|misfit: Misfit| {
        CliError::new(
            misfit.code(),
            format!("the firmware does not boot: {misfit}"),
        )
        .hint("use a firmware that runs on this chip, or describe another chip, as with --chip-revision")
    })?;
    Ok(Some(known).filter(KnownChip::is_described))
}

/// Powers a device on.
pub async fn run(args: DeviceRunArgs, out: &Output) -> Result<(), CliError> {
    let roots = MoreRoots::read(args.ca.as_deref())?;
    let release_keys = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<_, _>>()?;
    let dump = completed(&args.flash, args.partition_table_offset, out)?;
    let flash = Flash::open(&args.flash).map_err(|error| CliError::file(&args.flash, &error))?;
    let known = KnownChip::beside(&args.flash)?.or_else(|| chip_of(&dump).map(KnownChip::of));
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
    let mut station = Station::new(flash, settings, *out)
        .with_chip(known, &args.flash)
        .with_table_offset(dump.table_offset)
        .that_wakes(args.wake)
        .that_launches(args.launch);
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

/// The flash in a file, which holds all of it from now on: `esptool merge-bin` leaves out what is erased.
fn completed(path: &Path, table_offset: Option<u32>, out: &Output) -> Result<Dump, CliError> {
    let failed = |error: std::io::Error| CliError::file(path, &error);
    let bytes = fs::read(path).map_err(|error| {
        failed(error)
            .hint("make one with `s3ota device new FLASH --image FIRMWARE`, or read one from a chip with `espflash read-flash`")
    })?;
    let dump = Dump::of(&bytes, table_offset).map_err(|error| in_file(path, error))?;
    let Range { start, end } = dump.held;
    if start > 0 {
        let message = format!(
            "this file is not a whole flash: it starts at {start:#x} of it, as a merged image may"
        );
        let hint = format!(
            "make a flash file of it: s3ota device new flash.bin --image {}",
            path.display()
        );
        return Err(in_file(
            path,
            CliError::new("flash.partitions", message).hint(hint),
        ));
    }
    let missing = dump.bytes.get(end..).unwrap_or_default();
    if !missing.is_empty() {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(failed)?;
        file.write_all(missing).map_err(failed)?;
        out.prose(format_args!(
            "{}: completed to a flash of {} KiB; what was missing is erased",
            path.display(),
            dump.bytes.len() / 1024
        ));
    }
    Ok(dump)
}

/// The chip of the firmware that boots.
fn chip_of(dump: &Dump) -> Option<s3ota::Chip> {
    let report = FlashReport::of(dump).ok()?;
    report.app().ok()?.image.header.chip()
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
