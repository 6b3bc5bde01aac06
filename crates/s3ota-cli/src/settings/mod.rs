//! What this folder and this environment settle for every command: `S3OTA_LOCATION`, and the file `s3ota.toml` in the
//! working directory or the nearest folder above it ([`find`]).
//!
//! ```toml
//! location = "s3://my-bucket/lamp"
//! channel = "beta"
//! ```
//!
//! A setting is an option by its long name, with `_` for `-`. It is used where neither the command line nor the environment
//! sets the option. With a location, the command line needs none: `s3ota promote beta stable`. A relative path in the file is
//! relative to the file.
//!
//! The file may be someone else's, so some settings need approval first (`approval.rs`).

mod approval;
mod find;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use toml::{Table, Value};

use self::approval::{Claim, SENSITIVE};
use crate::error::CliError;
use crate::keys::{KeySource, signature};
use crate::output::{Output, help};
use crate::text;

pub use self::find::FILE;

/// The environment variable for the location.
const LOCATION: &str = "S3OTA_LOCATION";

/// The options that may be set.
const SETTINGS: [&str; 14] = [
    "addressing_style",
    "board",
    "by",
    "ca",
    "channel",
    "endpoint_url",
    "key",
    "presign",
    "profile",
    "public_read",
    "public_url",
    "region",
    "release_key",
    "sse",
];

/// The arguments that are a location, on any subcommand.
const LOCATIONS: [&str; 3] = ["location", "destination", "target"];

/// The settings.
#[derive(Debug, Default)]
pub struct Settings {
    /// Where the releases are, and where that is set.
    pub location: Option<(String, &'static str)>,
    /// The file that was found.
    pub file: Option<PathBuf>,
    /// The location that the file sets.
    location_of_file: Option<String>,
    /// Values of options, as they are in the file.
    settings: Vec<(String, String)>,
    /// A file that is not used, and why.
    ignored: Option<CliError>,
}

impl Settings {
    /// Reads the environment, and the nearest file.
    pub fn find() -> Result<Self, CliError> {
        let from_environment = std::env::var(LOCATION).ok().filter(|it| !it.is_empty());
        let found = find::nearest()?;
        let mut config = match &found.file {
            Some(file) => {
                let text =
                    text::read_to_string(file).map_err(|error| CliError::file(file, &error))?;
                let read = Self::read(&text).map_err(|error| CliError {
                    message: format!("{}: {}", file.display(), error.message),
                    ..error
                })?;
                Self {
                    file: found.file,
                    ..read
                }
            }
            None => Self::default(),
        };
        config.ignored = found.ignored;
        if let Some(location) = from_environment {
            config.location = Some((location, LOCATION));
        }
        Ok(config)
    }

    /// Tells which file is used.
    pub fn tell(&self, out: &Output) {
        if let Some(ignored) = &self.ignored {
            out.warning(ignored);
        }
        match &self.file {
            Some(file) => tracing::info!("settings from {}", file.display()),
            None => tracing::info!("there is no {FILE} in this folder or above it"),
        }
    }

    /// The value of a setting.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.settings.iter().find(|(id, _)| id == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a setting for its option: a relative path is relative to the file.
    fn resolved(&self, name: &str) -> Option<String> {
        let value = self.value(name)?;
        let is_path = match name {
            "key" => matches!(value.parse(), Ok(KeySource::File(_))),
            name => matches!(name, "ca" | "release_key"),
        };
        let folder = self.file.as_deref().and_then(Path::parent);
        Some(match folder {
            Some(folder) if is_path => folder.join(value).to_str()?.to_owned(),
            _ => value.to_owned(),
        })
    }

    /// Reads the text of a file.
    pub fn read(text: &str) -> Result<Self, CliError> {
        let wrong = |problem: String| {
            CliError::new("cli.config", problem)
                .hint(format!(
                    "the settings are location, {}",
                    SETTINGS.join(", ")
                ))
                .usage()
        };
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let mut config = Self::default();
        for (name, value) in table {
            let value = match value {
                // It would end up in help and errors.
                Value::String(text) if text.chars().any(char::is_control) => {
                    return Err(wrong(format!("`{name}` contains a control character")));
                }
                Value::String(text) => text,
                Value::Boolean(value) => value.to_string(),
                _ => return Err(wrong(format!("`{name}` must be a string, true or false"))),
            };
            match name.as_str() {
                "location" => {
                    config.location_of_file = Some(value.clone());
                    config.location = Some((value, FILE));
                }
                name if SETTINGS.contains(&name) => {
                    config.settings.push((name.to_owned(), value));
                }
                _ => return Err(wrong(format!("there is no setting `{name}`"))),
            }
        }
        Ok(config)
    }

    /// The default of each argument. Signatures are verified with `release_key`, or else with the public half of `key`.
    fn defaults(&self) -> Vec<(&str, String)> {
        let mut defaults: Vec<(&str, String)> = Vec::new();
        for (id, _) in &self.settings {
            let name = match id.as_str() {
                "release_key" => "known_keys",
                id => id,
            };
            if let Some(value) = self.resolved(id) {
                defaults.push((name, value));
            }
        }
        let beside = || {
            signature::public_half(&self.resolved("key")?)?
                .into_os_string()
                .into_string()
                .ok()
        };
        if self.value("release_key").is_none()
            && let Some(public) = beside()
        {
            defaults.push(("known_keys", public));
        }
        defaults
    }

    /// The part of the file that needs approval.
    pub fn claim(&self) -> Result<Claim, CliError> {
        let file = self.file.as_deref().unwrap_or(Path::new(FILE));
        Claim::of(file, self.location_of_file.as_deref(), &self.settings)
    }

    /// Parses a command line, with these settings as defaults.
    ///
    /// Where the location comes before other arguments, leaving it out gives a subcommand with one argument less. A first,
    /// lenient look at the arguments tells whether a location is among them.
    pub fn parse(
        &self,
        command: Command,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<ArgMatches, clap::Error> {
        let args: Vec<OsString> = args.into_iter().collect();
        let full = self.settle(command.clone(), Place::Given);
        let lenient = full.clone().ignore_errors(true);
        let seen = lenient.try_get_matches_from(&args);
        let names_location = seen.is_ok_and(|matches| names_location(&full, &matches));
        let settled = match self.location.is_some() && !names_location {
            true => self.settle(command, Place::LeftOut),
            false => full,
        };
        settled.clone().try_get_matches_from(&args).or_else(|_| {
            // Once more, for a help or an error that fits the terminal.
            let parsed = help::fitted(settled).try_get_matches_from(&args);
            parsed.map_err(|error| match self.location.is_some() || names_location {
                true => with_key_tip(error),
                false => with_location_tip(error),
            })
        })
    }

    /// Sets the defaults on every subcommand that talks to S3.
    fn settle(&self, mut command: Command, place: Place) -> Command {
        let names: Vec<String> = command
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            .collect();
        for name in names {
            command = command.mut_subcommand(name, |sub| self.settle(sub, place));
        }
        let has = |command: &Command, id: &str| command.get_arguments().any(|it| it.get_id() == id);
        if !has(&command, "endpoint_url") {
            return command;
        }
        for (id, value) in self.defaults() {
            if has(&command, id) {
                let value: clap::builder::OsStr = value.into();
                command = command.mut_arg(id, |arg| arg.default_value(value));
            }
        }
        let positionals = command
            .get_positionals()
            .map(|arg| arg.get_id().to_string());
        let positionals: Vec<String> = positionals.collect();
        let location = LOCATIONS
            .iter()
            .find_map(|id| Some((*id, positionals.iter().position(|it| it == id)?)));
        if let (Some((id, at)), Some((location, _))) = (location, &self.location) {
            let is_last = at + 1 == positionals.len();
            if is_last || place == Place::LeftOut {
                let location: clap::builder::OsStr = location.into();
                command = command.mut_arg(id, |arg| {
                    let arg = arg.required(false).default_value(location);
                    match is_last {
                        true => arg,
                        // Then it is not a positional argument any more.
                        false => arg.long("location").hide(true),
                    }
                });
            }
        }
        command
    }

    /// Refuses a command line that uses settings of the file that are not approved.
    pub fn permit(&self, matches: &ArgMatches, out: &Output) -> Result<(), CliError> {
        let mut sub = matches;
        while let Some((_, below)) = sub.subcommand() {
            sub = below;
        }
        // Where one of these has its default, the default is the file's.
        let is_used = |id: &&str| {
            self.settings.iter().any(|(name, _)| name == id)
                && sub.try_contains_id(id).is_ok()
                && sub.value_source(id) == Some(ValueSource::DefaultValue)
        };
        let used: Vec<&str> = SENSITIVE.into_iter().filter(is_used).collect();
        if used.is_empty() {
            return Ok(());
        }
        self.claim()?.permit(&used, out)
    }
}

/// An error that says how to give the location, if one is missing.
fn with_location_tip(mut error: clap::Error) -> clap::Error {
    let says = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let (missing, usage) = (says(ContextKind::InvalidArg), says(ContextKind::Usage));
    // Where the location comes first, what was given in its place counts as one.
    let comes_first = usage.contains("<s3://BUCKET/PREFIX>")
        && !usage.trim_end().ends_with("<s3://BUCKET/PREFIX>");
    if error.kind() == ErrorKind::MissingRequiredArgument
        && (missing.contains("s3://BUCKET/PREFIX") || comes_first)
    {
        let tip = format!(
            "say where the releases are, for example s3://my-bucket/lamp: here, in {LOCATION}, or as `location` in {FILE}"
        );
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// Where `verify` lacks only the key.
fn with_key_tip(mut error: clap::Error) -> clap::Error {
    let missing = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if error.kind() == ErrorKind::MissingRequiredArgument
        && missing.is_some_and(|missing| {
            missing.contains("--release-key") && missing.contains("--unsigned")
        })
    {
        let tip = "name the key that devices trust with --release-key, or pass --unsigned if they trust none";
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// Whether the location is on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Given,
    LeftOut,
}

/// Whether one of the positional arguments is a location.
fn names_location(command: &Command, matches: &ArgMatches) -> bool {
    let (mut command, mut matches) = (command, matches);
    while let Some((name, sub)) = matches.subcommand()
        && let Some(found) = command.find_subcommand(name)
    {
        (command, matches) = (found, sub);
    }
    command.get_positionals().any(|arg| {
        let values = matches.get_raw(arg.get_id().as_str());
        let is_typed =
            matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let is_location = |value: &OsStr| value.to_str().is_some_and(|it| it.starts_with("s3://"));
        is_typed && values.is_some_and(|mut values| values.any(is_location))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_refused() {
        for wrong in [
            "locaton = 's3://b'",
            "channel = 5",
            "channel =",
            "[x]\ny = 1",
        ] {
            let error = Settings::read(wrong).unwrap_err();
            assert_eq!(
                (error.code, error.is_usage),
                ("cli.config", true),
                "{wrong}"
            );
        }
    }
}
