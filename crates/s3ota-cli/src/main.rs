//! The command `s3ota`: an ESP32 updates itself from nothing but an S3 bucket.
//!
//! | subcommand | file | what it does |
//! |---|---|---|
//! | `publish` | `publish.rs` | puts a firmware and its manifest into a bucket |
//! | `keygen`, `pubkey` | `keygen.rs` | make a key that signs releases, print its public part |
//! | `sign` | `sign.rs` | signs a manifest that is there already |
//! | `verify` | `verify.rs` | judges a release as a device would |
//! | `presign` | `presign.rs` | renews the URLs of a release in a private bucket |
//! | `inspect` | `inspect.rs` | says what an image or a flash dump holds, and what would boot |
//! | `serve` | `serve.rs` | an S3 server over HTTPS for development |
//! | `device` | `device.rs` | a virtual ESP32 on a flash file |
//! | `demo` | `demo.rs` | all of it in one terminal |
//!
//! What people read goes through `output.rs`; what failed is an `error.rs`.

mod certificates;
mod cli;
mod demo;
mod device;
mod error;
mod firmware;
mod inspect;
mod keygen;
mod keys;
mod output;
mod presign;
mod publish;
mod s3;
mod seal;
mod serve;
mod sign;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::device::DeviceCommand;
use crate::error::CliError;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return cli::report_usage(&usage),
    };
    let out = Output::new(cli.json);
    output::init_logging(cli.verbose);
    match run(cli, &out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(if error.is_usage { 2 } else { 1 })
        }
    }
}

/// Runs one command on one thread: nothing here is bound by the processor for long.
#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli, out: &Output) -> Result<(), CliError> {
    match cli.command {
        Command::Publish(args) => publish::run(args, out).await,
        Command::Sign(args) => sign::run(*args, out).await,
        Command::Verify(args) => verify::run(args, out).await,
        Command::Presign(args) => presign::run(args, out).await,
        Command::Keygen(args) => keygen::keygen(&args, out),
        Command::Pubkey(args) => keygen::pubkey(args, out).await,
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Serve(args) => serve::run(args, out).await,
        Command::Device(DeviceCommand::New(args)) => device::new(&args, out),
        Command::Device(DeviceCommand::Run(args)) => device::run(args, out).await,
        Command::Demo(args) => demo::run(args, out).await,
    }
}
