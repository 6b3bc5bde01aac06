//! `s3ota` alone: your location, and the next steps.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches};
use serde_json::json;

use crate::commands::{Cli, Command};
use crate::error::CliError;
use crate::output::{self, Output};
use crate::settings::{FILE, Settings};

/// Shows the location and the next steps.
pub async fn run(settings: &Settings, out: &Output) -> Result<(), CliError> {
    let Some((location, source)) = &settings.location else {
        out.event("home", json!({ "location": null }));
        out.prose("s3ota updates ESP32s over the air from nothing but an S3 bucket.");
        steps(
            out,
            &[
                ("s3ota demo", "see the whole path in this terminal"),
                (
                    "s3ota new NAME --chip CHIP",
                    "create a firmware project for a chip",
                ),
                (
                    "s3ota serve --bucket firmware",
                    "run an S3 server to try it with",
                ),
                (
                    "s3ota publish FIRMWARE s3://BUCKET/PREFIX",
                    "release a firmware",
                ),
                ("s3ota --help", "everything else"),
            ],
        );
        out.prose(format_args!(
            "\nSet `location = \"s3://BUCKET/PREFIX\"` in {FILE}, or S3OTA_LOCATION in the environment, and you can leave the location out."
        ));
        return Ok(());
    };
    let file = settings.file.as_ref().filter(|_| *source == FILE);
    let file = file.map(|file| file.display().to_string());
    out.event(
        "home",
        json!({ "location": location, "from": source, "file": file }),
    );
    let source = file.as_deref().unwrap_or(source);
    out.say(format_args!("{location}, from {source}\n"));
    // As `s3ota status` would be called here.
    let args = ["s3ota", "status"].map(OsString::from);
    let parsed = settings
        .parse(Cli::command(), args)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let mut is_signed = false;
    if let Ok((cli, matches)) = parsed
        && let Some(Command::Status(args)) = cli.command
    {
        settings.permit(&matches, out)?;
        is_signed = super::status::tell(args, out).await?;
    }
    // Where releases are signed, these commands need the key.
    let has_key = settings.value("key").is_some()
        || std::env::var("S3OTA_KEY").is_ok_and(|key| !key.is_empty());
    let key = match is_signed && !has_key {
        true => " --key KEY",
        false => "",
    };
    let signing = |command: &str| format!("{command}{key}");
    steps(
        out,
        &[
            (
                &*signing("s3ota publish FIRMWARE --channel beta"),
                "release a firmware",
            ),
            (
                &*signing("s3ota promote beta stable --rollout 5%"),
                "release on one channel what another serves",
            ),
            (&*signing("s3ota rollout 100%"), "roll it out to everyone"),
            (&*signing("s3ota yank VERSION"), "withdraw a release"),
            ("s3ota history", "see who did what"),
        ],
    );
    Ok(())
}

fn steps(out: &Output, steps: &[(&str, &str)]) {
    out.heading("Next");
    let width = steps.iter().map(|(command, _)| command.len()).max();
    for (command, what) in steps {
        let width = width.unwrap_or(0);
        out.say(output::fact(&format!("  {command}"), width + 4, what));
    }
}
