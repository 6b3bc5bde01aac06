//! The command line: the subcommands. The flags of each are in its own module, with the help a person can live by.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::bucket::BucketCommand;
use crate::demo::DemoArgs;
use crate::device::DeviceCommand;
use crate::diff::DiffArgs;
use crate::doctor::DoctorArgs;
use crate::gateway::GatewayArgs;
use crate::gc::GcArgs;
use crate::history::HistoryArgs;
use crate::inspect::InspectArgs;
use crate::keygen::{KeygenArgs, PubkeyArgs};
use crate::list::ListArgs;
use crate::output::Output;
use crate::presign::PresignArgs;
use crate::promote::PromoteArgs;
use crate::publish::PublishArgs;
use crate::rollout::RolloutArgs;
use crate::serve::ServeArgs;
use crate::shell::{CompletionsArgs, ManArgs};
use crate::sign::SignArgs;
use crate::status::StatusArgs;
use crate::terminal;
use crate::trust::TrustArgs;
use crate::verify::VerifyArgs;
use crate::yank::YankArgs;

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

    /// Without one, it says where you are and what to do next
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Publish(Box<PublishArgs>),
    Sign(Box<SignArgs>),
    Verify(VerifyArgs),
    Presign(PresignArgs),
    Gateway(Box<GatewayArgs>),
    Keygen(KeygenArgs),
    Pubkey(PubkeyArgs),
    Promote(PromoteArgs),
    Rollout(RolloutArgs),
    Yank(YankArgs),
    Status(StatusArgs),
    List(ListArgs),
    History(HistoryArgs),
    Diff(DiffArgs),
    Gc(GcArgs),
    /// Set up the bucket that devices read
    #[command(subcommand)]
    Bucket(BucketCommand),
    Doctor(DoctorArgs),
    Inspect(InspectArgs),
    Serve(ServeArgs),
    /// A virtual ESP32: a flash file, booted and updated by the code that runs on the chip
    #[command(subcommand)]
    Device(DeviceCommand),
    Demo(DemoArgs),
    Trust(TrustArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
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
        terminal::usage(usage);
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
