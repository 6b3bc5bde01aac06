//! The command line: one file for each subcommand, with its options, its help and what it does.
//!
//! No other folder uses this one.

mod bucket;
mod delta;
mod demo;
mod device;
mod diff;
mod doctor;
mod fleet;
mod gateway;
mod gc;
mod history;
mod home;
mod inspect;
mod keygen;
mod list;
mod new;
mod presign;
mod promote;
mod publish;
mod rollout;
mod serve;
mod shell;
mod sign;
mod simulate;
mod state;
mod status;
mod trust;
mod verify;
mod yank;

use std::net::SocketAddr;

use clap::{Parser, Subcommand};

use self::bucket::BucketCommand;
use self::delta::DeltaArgs;
use self::demo::DemoArgs;
use self::device::DeviceCommand;
use self::diff::DiffArgs;
use self::doctor::DoctorArgs;
use self::fleet::FleetArgs;
use self::gateway::GatewayArgs;
use self::gc::GcArgs;
use self::history::HistoryArgs;
use self::inspect::InspectArgs;
use self::keygen::{KeygenArgs, PubkeyArgs};
use self::list::ListArgs;
use self::new::NewArgs;
use self::presign::PresignArgs;
use self::promote::PromoteArgs;
use self::publish::PublishArgs;
use self::rollout::RolloutArgs;
use self::serve::ServeArgs;
use self::shell::{CompletionsArgs, ManArgs};
use self::sign::SignArgs;
use self::simulate::SimulateArgs;
use self::state::StateCommand;
use self::status::StatusArgs;
use self::trust::TrustArgs;
use self::verify::VerifyArgs;
use self::yank::YankArgs;
use crate::error::CliError;
use crate::output::{Output, terminal};
use crate::settings::Settings;

/// ESP32 firmware updates over the air from nothing but an S3 bucket.
///
/// Publish a firmware to a bucket. Every device that runs the s3ota library finds it, checks it, installs it and proves it on a
/// trial boot. Try the whole path in one terminal, without an account or a board: s3ota demo
#[derive(Debug, Parser)]
#[command(name = "s3ota", version, max_term_width = 100)]
#[command(after_help = "Exit status: 0 done or nothing to do, 1 failed, 2 wrong usage.")]
pub struct Cli {
    /// Print one JSON object per event or result on stdout, and nothing else
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,

    /// Log to stderr; twice for more
    #[arg(short, long, global = true, help_heading = "Output", action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Without one, it shows your location and the next steps
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Publish(Box<PublishArgs>),
    Sign(Box<SignArgs>),
    Verify(Box<VerifyArgs>),
    Presign(PresignArgs),
    Gateway(Box<GatewayArgs>),
    Keygen(KeygenArgs),
    Pubkey(PubkeyArgs),
    /// Show or exchange this host's rollback state: what its keys have signed
    ///
    /// For each key, location and channel, the state holds the newest manifests that were signed here or seen to be signed, and the
    /// version below which devices do not go back. Commands that sign compare it with the bucket, where an attacker may have put an
    /// older manifest back. It is kept in the user's state directory, or in the folder that S3OTA_STATE names.
    #[command(subcommand)]
    State(StateCommand),
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
    Fleet(FleetArgs),
    Inspect(InspectArgs),
    Delta(DeltaArgs),
    Serve(ServeArgs),
    /// Create and run a virtual ESP32: a flash file, booted and updated by the code that runs on the chip
    #[command(subcommand)]
    Device(DeviceCommand),
    Demo(DemoArgs),
    Simulate(Box<SimulateArgs>),
    New(NewArgs),
    Trust(TrustArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Runs a command on one thread: none is bound by the processor for long. Returns the exit status.
#[tokio::main(flavor = "current_thread")]
pub async fn run(cli: Cli, settings: &Settings, out: &Output) -> Result<u8, CliError> {
    let Some(command) = cli.command else {
        return home::run(settings, out).await.map(|()| 0);
    };
    let done = match command {
        // Another program, with a status of its own.
        Command::Fleet(args) => return fleet::run(args, out),
        Command::Publish(args) => publish::run(args, out).await,
        Command::Sign(args) => sign::run(*args, out).await,
        Command::Verify(args) => verify::run(*args, settings, out).await,
        Command::Presign(args) => presign::run(args, out).await,
        Command::Gateway(args) => gateway::run(*args, out).await,
        Command::Keygen(args) => keygen::keygen(&args, out),
        Command::Pubkey(args) => keygen::pubkey(args, out).await,
        Command::State(command) => state::run(&command, out),
        Command::Promote(args) => promote::run(args, out).await,
        Command::Rollout(args) => rollout::run(args, out).await,
        Command::Yank(args) => yank::run(args, out).await,
        Command::Status(args) => status::run(args, out).await,
        Command::List(args) => list::run(args, out).await,
        Command::History(args) => history::run(args, out).await,
        Command::Diff(args) => diff::run(args, out).await,
        Command::Gc(args) => gc::run(args, out).await,
        Command::Bucket(command) => bucket::run(command, out).await,
        Command::Doctor(args) => doctor::run(args, out).await,
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Delta(args) => delta::run(&args, out),
        Command::Serve(args) => watched(serve::run(args, out)).await,
        Command::Device(DeviceCommand::New(args)) => device::new(&args, out),
        Command::Device(DeviceCommand::Hash(args)) => device::hash(&args, out),
        Command::Device(DeviceCommand::Run(args)) if args.once => device::run(args, out).await,
        Command::Device(DeviceCommand::Run(args)) => watched(device::run(args, out)).await,
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Demo(args) => demo::run(args, out).await,
        Command::Simulate(args) => simulate::run(*args, out).await,
        Command::New(args) => new::run(args, out),
        Command::Trust(args) => trust::run(&args, settings, out),
    };
    done.map(|()| 0)
}

/// A command that has no end of its own: it ends when nobody can see any more what it does.
async fn watched(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::select! {
        ended = command => ended,
        () = terminal::until_lost() => Ok(()),
    }
}

/// How many of something to show.
fn parse_limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "write a number from 1 on, like 100".to_owned())
}

/// An address to listen on.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, like 127.0.0.1:9443 or [::1]:9443".to_owned())
}

/// Reports a wrong command line, or prints the help that was asked for. Returns the exit status.
pub fn report_usage(usage: &clap::Error) -> u8 {
    let wrong = usage.use_stderr();
    if wrong && std::env::args().any(|arg| arg == "--json") {
        let text = usage.render().to_string();
        let message = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
        Output::new(true).usage_error(message);
    } else {
        terminal::usage(usage);
    }
    if wrong { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

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

    fn parse(settings: &Settings, args: &[&str]) -> Result<Cli, clap::Error> {
        let args = args.iter().map(std::ffi::OsString::from);
        Cli::from_arg_matches(&settings.parse(Cli::command(), args)?)
    }

    #[test]
    fn a_setting_is_a_default_and_the_command_line_wins() {
        let settings = Settings::read(
            "location = 's3://b/p'\nchannel = 'beta'\nendpoint_url = 'https://localhost:1'\npublic_read = true",
        )
        .unwrap();
        let Some(Command::Rollout(args)) = parse(&settings, &["s3ota", "rollout", "5%"])
            .unwrap()
            .command
        else {
            panic!()
        };
        assert_eq!(args.place.location, "s3://b/p");
        assert_eq!(
            (args.percent.as_str(), args.channel.as_str()),
            ("5%", "beta")
        );
        assert!(args.change.public_read);

        let said = [
            "s3ota",
            "--json",
            "rollout",
            "s3://c",
            "5%",
            "--channel",
            "x",
        ];
        let Some(Command::Rollout(args)) = parse(&settings, &said).unwrap().command else {
            panic!()
        };
        assert_eq!(
            (args.place.location.as_str(), args.channel.as_str()),
            ("s3://c", "x")
        );

        let publish = ["s3ota", "publish", "lamp.bin", "--board", "two"];
        let Some(Command::Publish(args)) = parse(&settings, &publish).unwrap().command else {
            panic!()
        };
        assert_eq!(args.destination, "s3://b/p");
        assert_eq!(args.channel, "beta");

        assert!(parse(&Settings::default(), &["s3ota", "rollout", "5%"]).is_err());
        parse(&settings, &["s3ota", "inspect", "x"]).unwrap();
    }
}
