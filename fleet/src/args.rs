//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};
#[cfg(feature = "athena")]
use s3ota_fleet::athena::Options;
use s3ota_fleet::sightings::DAY;
use s3ota_fleet::sources::bucket::Access;
use s3ota_fleet::sources::time;
use s3ota_manifest::Version;

/// The fleet, from the access logs of its bucket: who runs what, how the rollout goes, who is stuck, who went back
///
/// A device says in its User-Agent what it runs and how its last update ended, and S3 writes that into its access log. No other server
/// takes part. Logs are read once: what they say is kept in a cache, and the next run reads only what is new.
#[derive(Debug, Parser)]
#[command(
    name = "s3ota fleet",
    bin_name = "s3ota fleet",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  s3ota fleet status s3://my-logs/my-bucket/
  s3ota fleet status logs/ --html report.html
  s3ota fleet status logs/ --csv devices.csv
  s3ota fleet rollout 1.3.0 s3://my-logs/my-bucket/ --fail-above 2%
  s3ota fleet device a0b1c2d3e4f5 logs/
  export S3OTA_LOGS=s3://my-logs/my-bucket/; s3ota fleet watch"
)]
pub struct Args {
    /// Print the answer as one JSON object or array
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

// Each has its source last: what follows one would stand under its headings in the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The fleet now: devices by version, chip and channel; on trial, gone back, failing, silent
    ///
    /// Each device counts once, with what it said in its last request. --csv and --parquet write one row for each device.
    Status {
        /// Name all silent devices, not only the twenty that are silent for longest
        #[arg(long)]
        all: bool,
        /// Write the same in pictures to this file, with the newest release and the weeks before: one page of HTML that needs nothing else
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        source: Source,
    },
    /// The story of one device: versions, trials, errors, when it was silent
    Device {
        /// Its id, as it sends it
        id: String,
        #[command(flatten)]
        source: Source,
    },
    /// How a release does: its adoption curve, its failure rate beside the release before, and a verdict
    ///
    /// Devices have tried a release if they have run it, gone back from it, or told of an attempt to install it. Of these, the ones fail
    /// that went back from it or told of an error with it.
    #[command(after_help = "\
The exit status is 3 if the release fails and --fail-above is given, so that a script can stop.

Examples:
  s3ota fleet rollout logs/
  s3ota fleet rollout 1.3.0 logs/ --fail-above 2% && s3ota rollout s3://my-bucket/lamp 25%")]
    Rollout {
        /// The version. The highest that the logs name, unless it is said
        version: Option<String>,
        /// The highest failure rate that is still well, like 2%. 5% if it is not said
        #[arg(long, value_name = "PERCENT", value_parser = percent)]
        fail_above: Option<f64>,
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        source: Source,
    },
    /// The versions over time: at the end of each day, devices by the version of their last request
    Mix {
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        source: Source,
    },
    /// The errors over time: on each day, devices that told of each error
    Errors {
        #[command(flatten)]
        save: Save,
        #[command(flatten)]
        source: Source,
    },
    /// Show the status again whenever new logs have arrived, until Ctrl-C
    Watch {
        /// How often to look
        #[arg(long, value_name = "TIME", default_value = "5m")]
        every: Every,
        #[command(flatten)]
        source: Source,
    },
    /// Print the SQL for Amazon Athena and Trino: tables over the logs, and every question
    ///
    /// For logs that outgrow one machine. It makes a table over the log objects, with a partition for each day that needs no upkeep, and on it
    /// the views that the questions are about.
    Schema {
        /// Where the logs lie, as `bucket init --log-bucket` prints it
        #[arg(default_value = "s3://my-logs/my-bucket/")]
        location: String,
        /// The account whose bucket is logged
        #[arg(long, default_value = "123456789012")]
        account: String,
        /// Its region
        #[arg(long, default_value = "eu-central-1")]
        region: String,
        /// The bucket that devices read
        #[arg(long, default_value = "my-bucket")]
        bucket: String,
        /// The questions as well
        #[arg(long)]
        questions: bool,
    },
}

/// Where the logs are, and what is asked of them.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// The access logs: s3://BUCKET/PREFIX, a folder or a file
    #[arg(value_name = "LOGS")]
    pub logs: Vec<String>,

    /// The same, where no place on the command line is free
    #[arg(
        long = "logs",
        value_name = "LOGS",
        env = "S3OTA_LOGS",
        hide_env_values = true
    )]
    pub named: Option<String>,

    /// Answer as of this moment, and not of the newest request: 2026-11-20T08:00:00Z, or 2026-11-20 for the end of that day
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<Moment>,

    /// After what time without a request a device is silent: a day or more
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = silence)]
    pub silent_after: Silence,

    /// The channel whose release is looked at
    #[arg(long)]
    pub channel: Option<String>,

    /// The bucket that devices read: its manifest says which release is served, and to how many percent
    #[arg(long, value_name = "s3://BUCKET/PREFIX")]
    pub bucket: Option<String>,

    /// The folder of the cache. By default one for each source, in the user's folder for caches
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,

    /// List all objects of the log bucket, also those with dates long before the newest known one
    #[arg(long)]
    pub rescan: bool,

    #[command(flatten)]
    pub s3: S3,

    #[cfg(feature = "athena")]
    #[command(flatten)]
    pub athena: AthenaArgs,
}

impl Source {
    /// All sources.
    pub fn all(&self) -> Vec<String> {
        // A place on the command line counts more than the environment.
        match self.logs.is_empty() {
            true => self.named.iter().cloned().collect(),
            false => self.logs.clone(),
        }
    }
}

/// Where tables go.
#[derive(Debug, clap::Args)]
pub struct Save {
    /// Write the answer's table to this file as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Write it as Parquet
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
}

/// How to reach S3.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "S3")]
pub struct S3 {
    /// The URL of an S3-compatible service other than AWS
    #[arg(
        long,
        env = "AWS_ENDPOINT_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    endpoint_url: Option<String>,

    /// The profile to use from the AWS configuration
    #[arg(long)]
    profile: Option<String>,

    /// The region of the bucket
    #[arg(long)]
    region: Option<String>,

    /// A CA certificate to trust besides the system's, in PEM
    #[arg(
        long,
        env = "AWS_CA_BUNDLE",
        value_name = "FILE",
        hide_env_values = true
    )]
    ca: Option<PathBuf>,
}

impl S3 {
    /// The same for the library.
    pub fn access(&self) -> Access {
        let filled = |text: &Option<String>| text.clone().filter(|it| !it.is_empty());
        Access {
            profile: filled(&self.profile),
            region: filled(&self.region),
            endpoint_url: filled(&self.endpoint_url),
            ca: self.ca.clone(),
        }
    }
}

/// How to use Amazon Athena.
#[cfg(feature = "athena")]
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Amazon Athena")]
pub struct AthenaArgs {
    /// Ask Amazon Athena, which reads the logs where they lie, in this database. It is made if it is not there. `s3ota` unless it is said
    #[arg(long, value_name = "DATABASE", num_args = 0..=1, require_equals = true, default_missing_value = "s3ota", value_parser = database)]
    #[arg(conflicts_with_all = ["cache", "rescan"])]
    pub athena: Option<String>,

    /// The workgroup of Athena
    #[arg(long, value_name = "NAME", requires = "athena")]
    pub workgroup: Option<String>,

    /// Where Athena writes its results, unless the workgroup says it
    #[arg(long, value_name = "s3://BUCKET/PREFIX", requires = "athena")]
    pub results: Option<String>,
}

#[cfg(feature = "athena")]
impl AthenaArgs {
    /// The same for the library.
    pub fn options(&self) -> Option<Options> {
        Some(Options {
            database: self.athena.clone()?,
            workgroup: self.workgroup.clone(),
            results: self.results.clone(),
        })
    }
}

#[cfg(feature = "athena")]
fn database(name: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.bytes().all(fits)
    {
        return Ok(name.to_owned());
    }
    Err("a database has a name of lower-case letters, digits and `_`".to_owned())
}

/// `rollout [VERSION] [LOGS]`: what is no version is where the logs are.
pub fn version_and_source(version: Option<String>, mut source: Source) -> (Option<String>, Source) {
    let is_version =
        |text: &String| Version::parse(text).is_ok() && !std::path::Path::new(text).exists();
    match version {
        Some(text) if !is_version(&text) => {
            source.logs.insert(0, text);
            (None, source)
        }
        version => (version, source),
    }
}

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u32);

fn moment(text: &str) -> Result<Moment, String> {
    let day = || time::date_and_clock(text.as_bytes(), b"23:59:59");
    let moment = time::rfc3339(text).or_else(day);
    moment
        .map(Moment)
        .ok_or_else(|| "write it like 2026-11-20T08:00:00Z or 2026-11-20".to_owned())
}

/// Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence(pub u32);

fn seconds(text: &str) -> Option<u32> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    digits
        .parse::<u32>()
        .ok()?
        .checked_mul(unit)
        .filter(|it| *it > 0)
}

fn silence(text: &str) -> Result<Silence, String> {
    let wrong = || "write a time from a day on, like 7d or 36h".to_owned();
    // Within a day, the cache does not keep every request.
    seconds(text)
        .filter(|it| *it >= DAY)
        .map(Silence)
        .ok_or_else(wrong)
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(u32);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        seconds(text)
            .map(Self)
            .ok_or_else(|| "write a time, like 5m or 1h".to_owned())
    }
}

impl From<Every> for Duration {
    fn from(every: Every) -> Self {
        Self::from_secs(every.0.into())
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    let fits = number.ok().filter(|it| (0.0..=100.0).contains(it));
    fits.map(|it| it / 100.0)
        .ok_or_else(|| "write a percentage, like 2%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use s3ota_fleet::ask::SILENT_AFTER;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
        assert_eq!(Silence(SILENT_AFTER), silence("7d").unwrap());
    }

    #[test]
    fn times_and_percentages_are_as_people_write_them() {
        assert_eq!(silence("36h"), Ok(Silence(36 * 3600)));
        assert!(silence("1h").is_err());
        assert!(silence("d").is_err());
        assert_eq!(Every::from_str("90s"), Ok(Every(90)));
        assert_eq!(percent("2%"), Ok(0.02));
        assert_eq!(percent("2.5"), Ok(0.025));
        assert!(percent("200%").is_err());
        assert!(percent("NaN").is_err());
        assert_eq!(moment("1970-01-01"), Ok(Moment(DAY - 1)));
        assert_eq!(moment("1970-01-01T00:00:07Z"), Ok(Moment(7)));
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn a_rollout_takes_version_and_logs_in_any_number() {
        let parse = |args: &[&str]| {
            let args = ["s3ota fleet", "rollout"].iter().chain(args);
            match Args::parse_from(args).command {
                Command::Rollout {
                    version, source, ..
                } => {
                    let (version, source) = version_and_source(version, source);
                    (version, source.logs)
                }
                _ => unreachable!(),
            }
        };
        let logs = || vec!["s3://my-logs/x".to_owned()];
        assert_eq!(
            parse(&["1.2.0", "s3://my-logs/x"]),
            (Some("1.2.0".into()), logs())
        );
        assert_eq!(parse(&["s3://my-logs/x"]), (None, logs()));
        assert_eq!(parse(&["1.2.0"]), (Some("1.2.0".into()), vec![]));
    }
}
