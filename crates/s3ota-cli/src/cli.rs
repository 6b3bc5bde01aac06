//! The command line: every subcommand and flag, with the help a person can live by.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::output::Output;

/// ESP32 firmware updates over the air from nothing but an S3 bucket.
///
/// Publish a firmware to a bucket, and every device that runs the s3ota library finds it, checks it, installs it and
/// proves it on a trial boot. Try it all in one terminal, without an account and without a board: s3ota demo
#[derive(Debug, Parser)]
#[command(name = "s3ota", version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 done or nothing to do, 1 failed, 2 wrong usage.")]
pub struct Cli {
    /// Print one JSON object per event or result on stdout, and nothing else
    #[arg(long, global = true)]
    pub json: bool,

    /// Log what happens to stderr; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Publish(Box<PublishArgs>),
    Inspect(InspectArgs),
    Serve(ServeArgs),
    /// A virtual ESP32: a flash file, booted and updated by the code that runs on the chip
    #[command(subcommand)]
    Device(DeviceCommand),
    Demo(DemoArgs),
}

/// Put a firmware and its manifest into a bucket
///
/// The image is uploaded first and the channel's manifest last, so that a device never sees a release that is not whole.
/// Version and chip are read from the image. Prints the manifest's URL, which is what a device is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota publish target/lamp.bin s3://my-bucket/lamp
  s3ota publish target/riscv32imc-unknown-none-elf/release/lamp s3://my-bucket/lamp --channel beta
  s3ota publish lamp.bin s3://my-bucket/lamp --presign 7d
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

    /// Set the ACL public-read on each object, for buckets whose ACLs are enabled
    #[arg(long)]
    pub public_read: bool,

    /// A note for people, kept in the manifest
    #[arg(long)]
    pub notes: Option<String>,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Which S3 service, and as whom.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// The URL of an S3-compatible service other than AWS
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    pub endpoint_url: Option<String>,

    /// The profile of the AWS configuration to use
    #[arg(long)]
    pub profile: Option<String>,

    /// The bucket's region
    #[arg(long)]
    pub region: Option<String>,

    /// A CA certificate to trust besides the system's, PEM or DER
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Say what an app image or a flash dump holds
///
/// Of an app image: chip, version, size, digest, and whether it is intact. Of a flash dump: partition table, slots,
/// versions, otadata, and which firmware would boot.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An app image, an ELF file, or a dump of a whole flash
    pub file: PathBuf,
}

/// Run an S3 server over HTTPS for development
///
/// Buckets are folders in DIR. Anyone may read, writing needs the access key it prints. The certificate comes from a CA
/// made on the first start and kept in DIR; give its file to clients and virtual devices with --ca.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where buckets, objects and the CA are kept
    #[arg(long, default_value = "s3ota-data")]
    pub dir: PathBuf,

    /// A bucket to make, if it is not there yet
    #[arg(long = "bucket", value_name = "NAME")]
    pub buckets: Vec<String>,

    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:9443")]
    pub listen: SocketAddr,

    /// Only what a bucket policy opens may be read without a key, as on AWS
    #[arg(long)]
    pub private: bool,

    /// A further name or address for the server's certificate
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    New(DeviceNewArgs),
    Run(DeviceRunArgs),
}

/// Make a flash file with a partition table and a first firmware
#[derive(Debug, Args)]
pub struct DeviceNewArgs {
    /// The flash file to make
    pub flash: PathBuf,

    /// The firmware the device has from the start: an app image or an ELF file
    #[arg(long, value_name = "FIRMWARE")]
    pub image: PathBuf,

    /// The partition table as CSV; 4 MB with two OTA slots by default
    #[arg(long, value_name = "CSV")]
    pub partitions: Option<PathBuf>,

    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// Power a virtual device on and let it look for updates
///
/// It boots what the flash says, by the rules of the ESP-IDF bootloader, and runs the s3ota library as its firmware. The
/// process may be killed at any moment, which is a power cut, and run again.
#[derive(Debug, Args)]
pub struct DeviceRunArgs {
    /// The flash file, made by `s3ota device new` or read from a chip
    pub flash: PathBuf,

    /// The URL of the manifest
    #[arg(long, value_name = "URL")]
    pub manifest_url: String,

    /// A root certificate to trust besides Amazon's, PEM or DER
    #[arg(long, value_name = "FILE")]
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

    /// The device's id, which decides its place in a staged rollout
    #[arg(long, value_name = "ID")]
    pub device_id: Option<String>,

    /// The device's board name
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    /// The version of the running firmware, where its image does not say it (Arduino builds)
    #[arg(long, value_name = "VERSION")]
    pub firmware_version: Option<String>,

    /// How many attempts an update gets
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub attempts: u8,

    /// The longest time an update may take
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = parse_duration)]
    pub deadline: Duration,
}

/// See all of it in one terminal: no account, no board
///
/// A local S3 server, a virtual ESP32 with version 1.0.0, version 1.1.0 published and installed over real TLS; then a
/// version 1.2.0 that never confirms itself and is rolled back.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Play it with two firmwares of your own, instead of made-up ones
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub firmware: Option<Vec<PathBuf>>,
}

/// `90s`, `30m`, `12h`, `7d`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" | "" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        other => return Err(format!("`{other}` is no unit of time: use s, m, h or d")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a time is a whole number and a unit: 90s, 30m, 12h, 7d".to_owned())?;
    let seconds = number.checked_mul(unit).filter(|&seconds| seconds > 0);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "a time is more than nothing and less than for ever".to_owned())
}

/// Reports a command line that cannot be understood, or the help that was asked for.
pub fn report_usage(usage: &clap::Error) -> ExitCode {
    let wrong = usage.use_stderr();
    if wrong && std::env::args().any(|arg| arg == "--json") {
        let text = usage.render().to_string();
        let message = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        Output::new(true).usage_error(message);
    } else {
        let _ = usage.print();
    }
    if wrong {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_may_stand_before_or_after_the_subcommand() {
        assert!(Cli::parse_from(["s3ota", "--json", "inspect", "x"]).json);
        assert!(Cli::parse_from(["s3ota", "inspect", "x", "--json"]).json);
        assert!(!Cli::parse_from(["s3ota", "inspect", "x"]).json);
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        for wrong in [
            "",
            "0s",
            "-1s",
            "5 parsecs",
            "5x",
            "99999999999999999999d",
            "1.5h",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
