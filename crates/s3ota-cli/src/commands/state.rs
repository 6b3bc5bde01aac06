//! `s3ota state`: this host's rollback state, to look at and to exchange with other hosts.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::Output;
use crate::output::table::{Column, Table};
use crate::state::rollback::RollbackState;
use crate::text;

/// What to do with the state.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Show the newest release of each channel that this host knows
    Show,
    /// Print the whole state as JSON, for `s3ota state import` on another host
    ///
    /// Nothing in it is secret. But an attacker who can change it on the way can make the other host accept an older manifest: keep
    /// it where only those who may release can write.
    #[command(after_help = "\
Examples:
  s3ota state export > state.json")]
    Export,
    Import(ImportArgs),
}

/// Add the state of another host
///
/// Nothing gets lost or lower: the higher of two serials counts, and the higher of two min_versions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota state import state.json
  ssh host s3ota state export | s3ota state import -")]
pub struct ImportArgs {
    /// The output of `s3ota state export`; - reads it from stdin
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
}

/// Runs the subcommand.
pub fn run(command: &StateCommand, out: &Output) -> Result<(), CliError> {
    match command {
        StateCommand::Show => show(&RollbackState::read()?, out),
        StateCommand::Export => {
            let state = RollbackState::read()?;
            let json = state.export()?;
            out.raw(&json);
            let state: Value = serde_json::from_str(&json)
                .map_err(|error| CliError::new("state.io", error.to_string()))?;
            out.event("state", json!({ "state": state }));
        }
        StateCommand::Import(args) => {
            let json = read(&args.file)?;
            let mut state = RollbackState::open()?;
            state.import(&json, &args.file.display().to_string())?;
            show(&state, out);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut bytes).map(drop),
        false => text::read(file).map(|read| bytes = read),
    };
    read.map_err(|error| CliError::file(file, &error))?;
    // With --json, `export` prints it as an event.
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(event) if event["event"] == "state" => Ok(event["state"].to_string().into_bytes()),
        _ => Ok(bytes),
    }
}

fn show(state: &RollbackState, out: &Output) {
    let mut table = Table::new(&[
        Column::new("location").text(),
        Column::new("channel"),
        Column::new("key").rank(2),
        Column::new("version"),
        Column::new("serial").rank(1),
        Column::new("not below").rank(3),
    ]);
    for (at, known) in state.channels() {
        let Some(newest) = known.newest() else {
            continue;
        };
        let min_version = known.min_version.clone();
        out.event(
            "known",
            json!({
                "location": at.place, "channel": at.channel, "keyid": at.key, "version": newest.version,
                "serial": newest.serial, "min_version": min_version, "min_version_is_known": known.knows_min_version(),
            }),
        );
        table.row([
            at.place,
            at.channel,
            at.key,
            newest.version.clone(),
            newest.serial.to_string(),
            match (min_version, known.knows_min_version()) {
                (min_version, true) => min_version.unwrap_or_default(),
                (Some(min_version), false) => format!("{min_version} or higher"),
                (None, false) => "not known".to_owned(),
            },
        ]);
    }
    if table.is_empty() {
        out.prose("this host has signed nothing, and has seen nothing signed");
    }
    out.table(&table);
    if let Some(file) = state.file() {
        out.say(format_args!("\nIn {}", file.display()));
    }
}
