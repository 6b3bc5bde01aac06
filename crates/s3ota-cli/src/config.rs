//! What the command takes for granted here: `S3OTA_LOCATION` and the file `s3ota.toml` in the working directory.
//!
//! ```toml
//! location = "s3://my-bucket/lamp"
//! channel = "beta"
//! ```
//!
//! Its settings are flags by their long names, with `_` for `-`, and stand in where neither the command line nor the
//! environment says anything. The location is left out on the command line then: `s3ota promote beta stable`.
//!
//! The file may be a stranger's: some of its settings must be approved first (`approval.rs`).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use toml::{Table, Value};

use crate::approval::{Claim, SENSITIVE};
use crate::error::CliError;
use crate::output::Output;
use crate::signature;

/// The file.
pub const FILE: &str = "s3ota.toml";

/// The environment's word for where the releases are.
const LOCATION: &str = "S3OTA_LOCATION";

/// The flags that may be settled once for all.
const SETTINGS: [&str; 12] = [
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
];

/// The subcommands that take a location, and whether it is the last thing on their command line.
const AT_LOCATION: [(&str, bool); 11] = [
    ("publish", true),
    ("gateway", false),
    ("promote", false),
    ("rollout", false),
    ("yank", false),
    ("list", false),
    ("status", false),
    ("history", false),
    ("diff", false),
    ("gc", false),
    ("presign", false),
];

/// What is settled here.
#[derive(Debug, Default)]
pub struct Config {
    /// Where the releases are, and who says so.
    pub location: Option<(String, &'static str)>,
    /// Whether there is a file.
    pub has_file: bool,
    /// Where the file says that they are.
    location_of_file: Option<String>,
    /// Values of flags.
    settings: Vec<(String, String)>,
}

impl Config {
    /// What the environment and the working directory say.
    pub fn find() -> Result<Self, CliError> {
        let from_environment = std::env::var(LOCATION).ok().filter(|it| !it.is_empty());
        let mut config = match fs::read_to_string(FILE) {
            Ok(text) => Self::parse(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(CliError::file(Path::new(FILE), &error)),
        };
        if let Some(location) = from_environment {
            config.location = Some((location, LOCATION));
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, CliError> {
        let wrong = |problem: String| {
            CliError::new("cli.config", format!("{FILE}: {problem}"))
                .hint(format!("it may settle location, {}", SETTINGS.join(", ")))
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
                // Help and errors show it.
                Value::String(text) if text.chars().any(char::is_control) => {
                    return Err(wrong(format!("`{name}` holds a control character")));
                }
                Value::String(text) => text,
                Value::Boolean(value) => value.to_string(),
                _ => return Err(wrong(format!("`{name}` must be a text, or true or false"))),
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

    /// The definition of the command line with these settings as defaults: on every subcommand that talks to S3.
    pub fn settle(&self, mut command: Command) -> Command {
        let names: Vec<String> = command
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            .collect();
        for name in names {
            command = command.mut_subcommand(name, |mut sub| {
                let has =
                    |sub: &Command, id: &str| sub.get_arguments().any(|arg| arg.get_id() == id);
                if !has(&sub, "endpoint_url") {
                    return sub;
                }
                for (id, value) in self.defaults() {
                    if has(&sub, id) {
                        let value: clap::builder::OsStr = value.into();
                        sub = sub.mut_arg(id, |arg| arg.default_value(value));
                    }
                }
                sub
            });
        }
        command
    }

    /// What stands in for which argument. Signatures are verified with `release_key`, or else with the public half of `key`.
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

    /// Refuses a command line that settings of the file had a part in which are not approved.
    pub fn permit(&self, matches: &ArgMatches, out: &Output) -> Result<(), CliError> {
        let Some((_, sub)) = matches.subcommand() else {
            return Ok(());
        };
        // A default of these is the file's: they have no other.
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

    /// What the file says that needs approval.
    pub fn claim(&self) -> Result<Claim, CliError> {
        Claim::of(self.location_of_file.as_deref(), &self.settings)
    }

    /// The command line with the location where it was left out.
    pub fn complete(&self, mut args: Vec<OsString>) -> Vec<OsString> {
        let subcommand = args.iter().skip(1).position(|arg| !is_flag(arg));
        let Some((location, at)) = self
            .location
            .as_ref()
            .zip(subcommand)
            .map(|((location, _), at)| (location, at + 1))
        else {
            return args;
        };
        let takes = AT_LOCATION.iter().find(|(name, _)| args[at] == *name);
        let says = |arg: &OsString| {
            arg.to_str()
                .is_some_and(|arg| arg.starts_with("s3://") || arg == "--help" || arg == "-h")
        };
        if let Some((_, last)) = takes
            && !args[at..].iter().any(says)
        {
            let place = if *last { args.len() } else { at + 1 };
            args.insert(place, location.into());
        }
        args
    }
}

fn is_flag(arg: &OsStr) -> bool {
    arg.to_str().is_some_and(|arg| arg.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::{Cli, Command as Subcommand};

    fn parse(config: &Config, args: &[&str]) -> Result<Cli, clap::Error> {
        let args = config.complete(args.iter().map(OsString::from).collect());
        let matches = config.settle(Cli::command()).try_get_matches_from(args)?;
        Cli::from_arg_matches(&matches)
    }

    #[test]
    fn what_is_settled_need_not_be_said_and_what_is_said_counts() {
        let config = Config::parse(
            "location = 's3://b/p'\nchannel = 'beta'\nendpoint_url = 'https://localhost:1'\npublic_read = true",
        )
        .unwrap();
        let Some(Subcommand::Rollout(args)) =
            parse(&config, &["s3ota", "rollout", "5%"]).unwrap().command
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
        let Some(Subcommand::Rollout(args)) = parse(&config, &said).unwrap().command else {
            panic!()
        };
        assert_eq!(
            (args.place.location.as_str(), args.channel.as_str()),
            ("s3://c", "x")
        );

        let publish = ["s3ota", "publish", "lamp.bin", "--board", "two"];
        let Some(Subcommand::Publish(args)) = parse(&config, &publish).unwrap().command else {
            panic!()
        };
        assert_eq!(args.destination, "s3://b/p");
        assert_eq!(args.channel, "beta");

        assert!(parse(&Config::default(), &["s3ota", "rollout", "5%"]).is_err());
        parse(&config, &["s3ota", "inspect", "x"]).unwrap();
    }

    #[test]
    fn a_file_that_says_something_else_is_refused() {
        for wrong in [
            "locaton = 's3://b'",
            "channel = 5",
            "channel =",
            "[x]\ny = 1",
        ] {
            let error = Config::parse(wrong).unwrap_err();
            assert_eq!(
                (error.code, error.is_usage),
                ("cli.config", true),
                "{wrong}"
            );
        }
    }
}
