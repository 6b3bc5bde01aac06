//! What this folder and this environment settle for every command: `S3OTA_LOCATION`, and the file `s3ota.toml` in the
//! working directory.
//!
//! ```toml
//! location = "s3://my-bucket/lamp"
//! channel = "beta"
//! ```
//!
//! A setting is an option by its long name, with `_` for `-`. It is used where neither the command line nor the environment
//! sets the option. With a location, the command line needs none: `s3ota promote beta stable`.
//!
//! The file may be someone else's, so some settings need approval first (`approval.rs`).

mod approval;

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use toml::{Table, Value};

use self::approval::{Claim, SENSITIVE};
use crate::error::CliError;
use crate::keys::signature;
use crate::output::Output;
use crate::text;

/// The file.
pub const FILE: &str = "s3ota.toml";

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
    /// Whether there is a file.
    pub has_file: bool,
    /// The location that the file sets.
    location_of_file: Option<String>,
    /// Values of options.
    settings: Vec<(String, String)>,
}

impl Settings {
    /// Reads the environment and the working directory.
    pub fn find() -> Result<Self, CliError> {
        let from_environment = std::env::var(LOCATION).ok().filter(|it| !it.is_empty());
        let mut config = match text::read_to_string(Path::new(FILE)) {
            Ok(text) => Self::read(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(CliError::file(Path::new(FILE), &error)),
        };
        if let Some(location) = from_environment {
            config.location = Some((location, LOCATION));
        }
        Ok(config)
    }

    pub fn read(text: &str) -> Result<Self, CliError> {
        let wrong = |problem: String| {
            CliError::new("cli.config", format!("{FILE}: {problem}"))
                .hint(format!(
                    "the settings are location, {}",
                    SETTINGS.join(", ")
                ))
                .usage()
        };
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let mut config = Self {
            has_file: true,
            ..Self::default()
        };
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
        let setting = |name: &str| {
            let found = self.settings.iter().find(|(id, _)| id == name);
            found.map(|(_, value)| value.clone())
        };
        let mut defaults: Vec<(&str, String)> = Vec::new();
        for (id, value) in &self.settings {
            let id = match id.as_str() {
                "release_key" => "known_keys",
                id => id,
            };
            defaults.push((id, value.clone()));
        }
        let beside = || {
            signature::public_half(&setting("key")?)?
                .into_os_string()
                .into_string()
                .ok()
        };
        if setting("release_key").is_none()
            && let Some(public) = beside()
        {
            defaults.push(("known_keys", public));
        }
        defaults
    }

    /// The part of the file that needs approval.
    pub fn claim(&self) -> Result<Claim, CliError> {
        Claim::of(self.location_of_file.as_deref(), &self.settings)
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
        if self.location.is_none() {
            return full.try_get_matches_from(args);
        }
        let seen = full
            .clone()
            .ignore_errors(true)
            .try_get_matches_from(&args)
            .is_ok_and(|matches| !names_location(&full, &matches));
        match seen {
            true => self
                .settle(command, Place::LeftOut)
                .try_get_matches_from(args),
            false => full.try_get_matches_from(args),
        }
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
