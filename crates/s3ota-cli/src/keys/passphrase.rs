//! Passphrases: from a file, from the environment, or from a person at a terminal.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use p256::elliptic_curve::zeroize::Zeroizing;

use crate::error::CliError;
use crate::output::terminal;

/// The variable that may hold the passphrase.
const VARIABLE: &str = "S3OTA_PASSPHRASE";

/// Where the passphrase of a key file is.
#[derive(Debug, Clone, Default, Args)]
pub struct PassphraseArgs {
    /// A file whose first line is the passphrase of the key; else S3OTA_PASSPHRASE holds it, else it is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// The passphrase of the key in this file.
pub(super) fn of(key: &Path, args: &PassphraseArgs) -> Result<Zeroizing<String>, CliError> {
    match given(args)? {
        Some(passphrase) => Ok(passphrase),
        None => ask(&format!("Passphrase of {}: ", key.display())),
    }
}

/// A passphrase for a new key. Who types it does so twice.
pub fn choose(args: &PassphraseArgs) -> Result<Zeroizing<String>, CliError> {
    let passphrase = match given(args)? {
        Some(passphrase) => passphrase,
        None => {
            let first = ask("A passphrase for the key: ")?;
            if *first != *ask("The same once more: ")? {
                return Err(CliError::new(
                    "key.passphrase",
                    "the two passphrases differ: no key was made",
                ));
            }
            first
        }
    };
    if passphrase.is_empty() {
        return Err(
            CliError::new("key.passphrase", "an empty passphrase protects nothing")
                .hint("choose one, or say --no-passphrase if the key is protected in another way"),
        );
    }
    Ok(passphrase)
}

fn given(args: &PassphraseArgs) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(path) = &args.passphrase_file {
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| CliError::file(path, &error))?;
        return Ok(Some(Zeroizing::new(
            text.lines().next().unwrap_or_default().to_owned(),
        )));
    }
    match std::env::var(VARIABLE) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(CliError::new(
            "key.passphrase",
            format!("{VARIABLE}: {error}"),
        )),
    }
}

fn ask(question: &str) -> Result<Zeroizing<String>, CliError> {
    let Some(answer) = terminal::ask_secret(question) else {
        return Err(CliError::new(
            "key.passphrase",
            "the key needs a passphrase, and there is no terminal to ask at",
        )
        .hint(format!(
            "give it in a file with --passphrase-file, or in the variable {VARIABLE}"
        )));
    };
    let failed = |error| {
        CliError::new(
            "key.passphrase",
            format!("the passphrase cannot be read: {error}"),
        )
    };
    answer.map(Zeroizing::new).map_err(failed)
}
