//! Passphrases: from a file, from the environment, or from the user on a terminal.

use std::path::{Path, PathBuf};

use clap::Args;
use p256::elliptic_curve::zeroize::Zeroizing;

use crate::error::CliError;
use crate::output::terminal;
use crate::text;

/// The variable for the passphrase.
const VARIABLE: &str = "S3OTA_PASSPHRASE";

/// Where the passphrase of a key file comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct PassphraseArgs {
    /// A file whose first line is the passphrase of the key; by default S3OTA_PASSPHRASE, or else you are asked
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// A passphrase, and where it comes from.
pub(super) struct Given {
    pub passphrase: Zeroizing<String>,
    /// For a message: `S3OTA_PASSPHRASE`, a file, or the prompt.
    pub source: String,
}

/// The passphrase of the key in this file.
pub(super) fn of(key: &Path, args: &PassphraseArgs) -> Result<Given, CliError> {
    let source = match &args.passphrase_file {
        Some(path) => format!("the first line of {}", path.display()),
        None => VARIABLE.to_owned(),
    };
    Ok(match given(args)? {
        Some(passphrase) => Given { passphrase, source },
        None => Given {
            passphrase: ask(&format!("Passphrase for {}: ", key.display()))?,
            source: "what you typed".to_owned(),
        },
    })
}

/// A passphrase for a new key. The user types it twice.
pub fn choose(args: &PassphraseArgs) -> Result<Zeroizing<String>, CliError> {
    let passphrase = match given(args)? {
        Some(passphrase) => passphrase,
        None => {
            let first = ask("New passphrase for the key: ")?;
            if *first != *ask("Repeat the passphrase: ")? {
                return Err(CliError::new(
                    "key.passphrase",
                    "the passphrases differ; no key was created",
                ));
            }
            first
        }
    };
    if passphrase.is_empty() {
        return Err(
            CliError::new("key.passphrase", "an empty passphrase protects nothing")
                .hint("choose one, or use --no-passphrase if the key is protected in another way"),
        );
    }
    Ok(passphrase)
}

fn given(args: &PassphraseArgs) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(path) = &args.passphrase_file {
        let text = text::read_to_string(path)
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
            "the key needs a passphrase, and there is no terminal on which to ask for it",
        )
        .hint(format!(
            "pass it in a file with --passphrase-file, or in {VARIABLE}"
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
