//! The command `s3ota`: an ESP32 updates itself from nothing but an S3 bucket.
//!
//! | folder | what it holds |
//! |---|---|
//! | `commands` | the command line: a file for each subcommand |
//! | `settings` | `s3ota.toml`, and what of it the user has approved |
//! | `judge` | the virtual device, which judges releases (`verify`), buckets (`doctor`) and updates itself (`device`) |
//! | `gateway` | hands out the manifests of a private bucket |
//! | `publishing` | turns a firmware into a release |
//! | `bucket` | what lies in a bucket, and every way to change it: channels, releases, history, setup |
//! | `state` | what this host keeps between two commands: the rollback state |
//! | `keys` | release keys, signatures |
//! | `firmware` | app images, ELF files, flash dumps |
//! | `project` | the firmware project that `new` writes |
//! | `s3` | the S3 client |
//! | `output` | lines for people, JSON for programs, and the only way to the terminal |
//!
//! A folder uses those below it in this table and none above it; a test holds it to that. A failure is an `error.rs`: a code,
//! a sentence and a next step.

mod bucket;
mod clock;
mod commands;
mod error;
mod firmware;
mod gateway;
mod judge;
mod keys;
mod legacy;
mod output;
mod project;
mod publishing;
mod s3;
mod settings;
mod state;
mod text;
mod versions;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::commands::Cli;
use crate::error::CliError;
use crate::output::{Output, terminal};
use crate::settings::Settings;

fn main() -> ExitCode {
    terminal::tame_panics();
    let wants_json = std::env::args().any(|arg| arg == "--json");
    let code = match Settings::find() {
        Ok(settings) => run(&settings),
        Err(error) => end(Err(error), &Output::new(wants_json)),
    };
    let Some(problem) = terminal::lost() else {
        return ExitCode::from(code);
    };
    match (problem.kind(), code) {
        // As a command that the system ends for that: quietly.
        (ErrorKind::BrokenPipe, 0) => ExitCode::from(READER_GONE),
        (ErrorKind::BrokenPipe, code) => ExitCode::from(code),
        _ => {
            let message = format!("the output cannot be written: {problem}");
            let lost = CliError::new("output.lost", message);
            // Events would be lost as well.
            Output::new(false)
                .error(&lost.hint("the command itself went on; what it printed is incomplete"));
            ExitCode::FAILURE
        }
    }
}

/// The exit status if all went well, but the reader of the output has gone away: 128 and the number of SIGPIPE.
const READER_GONE: u8 = 141;

/// Runs the command line. Returns its exit status.
fn run(settings: &Settings) -> u8 {
    let matches = settings.parse(Cli::command(), std::env::args_os());
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(usage) => return commands::report_usage(&usage),
    };
    let out = Output::new(cli.json);
    output::init_logging(cli.verbose);
    settings.tell(&out);
    let ended = settings
        .permit(&matches, &out)
        .and_then(|()| commands::run(cli, settings, &out))
        .map_err(s3::tunnel::name_proxy);
    end(ended, &out)
}

/// Reports a failure, and returns the exit status.
fn end(result: Result<u8, CliError>, out: &Output) -> u8 {
    match result {
        Ok(status) => status,
        Err(error) => {
            out.error(&error);
            if error.is_usage { 2 } else { 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The layers, the lowest first.
    const LAYERS: [&[&str]; 9] = [
        &["clock", "error", "text", "versions"],
        &["output"],
        &["firmware", "project", "s3", "legacy"],
        &["keys"],
        &["state"],
        &["bucket", "settings"],
        &["publishing"],
        &["gateway", "judge"],
        &["commands"],
    ];

    fn layer(module: &str) -> Option<usize> {
        LAYERS.iter().position(|layer| layer.contains(&module))
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_folder_uses_one_above_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let mut arrows = 0;
        for file in files {
            let path = file.strip_prefix(&root).unwrap().with_extension("");
            let of = path.iter().next().unwrap().to_str().unwrap();
            if of == "main" {
                continue;
            }
            let own = layer(of).unwrap_or_else(|| panic!("{of} has no layer"));
            let source = fs::read_to_string(&file).unwrap();
            for used in source.split("crate::").skip(1) {
                let end = used.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let used = &used[..end.unwrap_or(used.len())];
                // What follows in texts and attributes is no module.
                let Some(theirs) = layer(used) else { continue };
                arrows += 1;
                assert!(
                    theirs < own || used == of,
                    "{} uses {used}, which is not below it",
                    file.display()
                );
            }
        }
        assert!(arrows > 100, "only {arrows} arrows");
    }
}
