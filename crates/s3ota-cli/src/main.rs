//! The command `s3ota`: an ESP32 updates itself from nothing but an S3 bucket.
//!
//! | subcommand | file | what it does |
//! |---|---|---|
//! | `publish` | `publish.rs` | puts a firmware and its manifest into a bucket |
//! | `keygen`, `pubkey` | `keygen.rs` | make a key that signs releases, print its public part |
//! | `sign` | `sign.rs` | signs a manifest that is there already |
//! | `verify` | `verify.rs` | judges a release as a device would |
//! | `presign` | `presign.rs` | renews the URLs of a release in a private bucket |
//! | `gateway` | `gateway.rs` | gives devices the manifests of a private bucket, with fresh URLs |
//! | `promote`, `rollout`, `yank` | `promote.rs`, `rollout.rs`, `yank.rs` | change what a channel serves |
//! | `status`, `list`, `history`, `diff` | files of these names | show what is in a bucket |
//! | `gc` | `gc.rs` | removes images that nobody needs |
//! | `inspect` | `inspect.rs` | says what an image or a flash dump holds, and what would boot |
//! | `bucket init` | `bucket.rs` | makes a bucket fit for devices |
//! | `doctor` | `doctor.rs` | looks at a bucket the way a device will, and says what to mend |
//! | `serve` | `serve.rs` | an S3 server over HTTPS for development |
//! | `device` | `device.rs` | a virtual ESP32 on a flash file |
//! | `demo` | `demo.rs` | all of it in one terminal |
//! | `trust` | `trust.rs` | approves an `s3ota.toml`; what needs that is in `approval.rs` |
//!
//! What commands on a bucket share: `channel.rs`, the one way to change a channel, and `catalogue.rs`, what lies in a bucket.
//! What people read goes through `output.rs`, and to the terminal by `terminal.rs` alone; what failed is an `error.rs`.

mod approval;
mod bucket;
mod catalogue;
mod certificates;
mod channel;
mod cli;
mod clock;
mod config;
mod demo;
mod device;
mod diff;
mod doctor;
mod error;
mod firmware;
mod gateway;
mod gc;
mod history;
mod home;
mod inspect;
mod keygen;
mod keys;
mod list;
mod output;
mod presign;
mod promote;
mod publish;
mod rollout;
mod s3;
mod seal;
mod serve;
mod shell;
mod sign;
mod signature;
mod state_dir;
mod status;
mod table;
mod terminal;
mod trust;
mod verify;
mod yank;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::device::DeviceCommand;
use crate::error::CliError;
use crate::output::Output;

fn main() -> ExitCode {
    terminal::tame_panics();
    let wants_json = std::env::args().any(|arg| arg == "--json");
    let config = match Config::find() {
        Ok(config) => config,
        Err(error) => return end(Err(error), &Output::new(wants_json)),
    };
    let args = config.complete(std::env::args_os().collect());
    let matches = config.settle(Cli::command()).try_get_matches_from(args);
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(usage) => return cli::report_usage(&usage),
    };
    let out = Output::new(cli.json);
    output::init_logging(cli.verbose);
    let ended = config
        .permit(&matches, &out)
        .and_then(|()| run(cli, &config, &out));
    end(ended, &out)
}

/// Says what failed, and how the command ends.
fn end(result: Result<(), CliError>, out: &Output) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(if error.is_usage { 2 } else { 1 })
        }
    }
}

/// Runs one command on one thread: nothing here is bound by the processor for long.
#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli, config: &Config, out: &Output) -> Result<(), CliError> {
    let Some(command) = cli.command else {
        return home::run(config, out).await;
    };
    match command {
        Command::Publish(args) => publish::run(args, out).await,
        Command::Sign(args) => sign::run(*args, out).await,
        Command::Verify(args) => verify::run(args, out).await,
        Command::Presign(args) => presign::run(args, out).await,
        Command::Gateway(args) => gateway::run(*args, out).await,
        Command::Keygen(args) => keygen::keygen(&args, out),
        Command::Pubkey(args) => keygen::pubkey(args, out).await,
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
        Command::Serve(args) => serve::run(args, out).await,
        Command::Device(DeviceCommand::New(args)) => device::new(&args, out),
        Command::Device(DeviceCommand::Run(args)) => device::run(args, out).await,
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Demo(args) => demo::run(args, out).await,
        Command::Trust(args) => trust::run(&args, config, out),
    }
}
