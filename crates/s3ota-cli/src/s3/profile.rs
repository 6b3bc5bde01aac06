//! The profile of the AWS configuration: whether it exists, and the settings that the SDK does not read.

use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use super::args::AddressingStyle;
use super::error::chain;
use crate::error::CliError;

/// The profiles of this user, one of which is chosen.
#[derive(Debug)]
pub(super) struct Profiles(Option<ProfileSet>);

impl Profiles {
    /// No profiles.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Reads them. A profile that was chosen, by `--profile` or `AWS_PROFILE`, must exist: without it, a command would go on with
    /// another identity, or at another service.
    pub(super) async fn read(chosen: Option<&str>) -> Result<Self, CliError> {
        let from_env = std::env::var("AWS_PROFILE")
            .ok()
            .filter(|name| !name.is_empty());
        let (source, name) = match (chosen, from_env) {
            (Some(name), _) => ("--profile", name.to_owned()),
            (None, Some(name)) => ("AWS_PROFILE", name),
            (None, None) => ("", "default".to_owned()),
        };
        let (fs, env, files) = (Fs::real(), Env::real(), EnvConfigFiles::default());
        let read = aws_config::profile::load(&fs, &env, &files, Some(name.clone().into()));
        // Without it, the credentials of the environment would go to another region or endpoint than it names.
        let profiles = read.await.map_err(|error| {
            let message = format!("the AWS configuration cannot be read: {}", chain(&error));
            CliError::new("s3.profile", message).hint(
                "correct that line; `aws configure list` shows whether the aws command can read it",
            )
        })?;
        if name != "default" && profiles.get_profile(&name).is_none() {
            let mut known: Vec<&str> = profiles.profiles().collect();
            known.sort_unstable();
            let message = format!(
                "there is no profile {name}, which {source} names, in the AWS configuration"
            );
            let hint = match known.as_slice() {
                [] => "there is none at all: `aws configure --profile NAME` makes one, `aws configure sso` one for SSO".to_owned(),
                known => format!("the profiles are {}", known.join(", ")),
            };
            return Err(CliError::new("s3.profile", message).hint(hint));
        }
        Ok(Self(Some(profiles)))
    }

    /// `addressing_style` under `s3`.
    pub(super) fn addressing_style(&self) -> Result<Option<AddressingStyle>, CliError> {
        let s3 = self.0.as_ref().and_then(|profiles| profiles.get("s3"));
        let lines = s3.unwrap_or_default().lines();
        let mut values = lines.filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == "addressing_style").then(|| value.trim())
        });
        let wrong = |value| {
            CliError::new(
                "s3.addressing",
                format!("`{value}` in the AWS configuration is no addressing style"),
            )
            .hint("addressing_style is path, virtual or auto")
        };
        match values.next() {
            None => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|()| wrong(value)),
        }
    }
}
