//! The parts of the command line that the commands on channels share.

use clap::Args;

use crate::error::CliError;
use crate::keys::Signer;
use crate::s3::{Location, S3Args, Store};
use crate::seal::SealArgs;

/// Where the releases of a product are.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Where the releases are: s3://bucket/prefix
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub location: String,
}

impl PlaceArgs {
    /// The location, and the bucket it is in.
    pub async fn open(&self, s3: &S3Args) -> Result<(Location, Store), CliError> {
        let location: Location = self.location.parse().map_err(CliError::usage)?;
        let store = Store::connect(s3, &location, None).await?;
        Ok((location, store))
    }
}

/// How something is changed.
#[derive(Debug, Clone, Default, Args)]
pub struct ChangeArgs {
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Set the ACL public-read on each object, for buckets whose ACLs are enabled
    #[arg(long)]
    pub public_read: bool,

    /// Leave the manifest unsigned, even if S3OTA_KEY is set or the channel's releases are signed: devices with release keys
    /// refuse it
    #[arg(long)]
    pub unsigned: bool,

    /// Who does it, for the history; by default who started the CI job, or your login name. Whoever may read the manifest
    /// can read it
    #[arg(long, value_name = "NAME", env = "S3OTA_BY")]
    pub by: Option<String>,
}

impl ChangeArgs {
    /// Whether a key is named to sign with.
    pub fn signs(&self, seal: &SealArgs) -> bool {
        seal.key.source().is_some() && !self.unsigned
    }

    /// The key to sign with, if one is named.
    pub async fn signer(&self, seal: &SealArgs, s3: &S3Args) -> Result<Option<Signer>, CliError> {
        match self.signs(seal) {
            true => seal.key.open(&s3.aws).await,
            false => Ok(None),
        }
    }

    /// Who does it.
    pub fn by(&self) -> Option<String> {
        self.by.clone().or_else(|| {
            [
                "GITHUB_ACTOR",
                "GITLAB_USER_LOGIN",
                "USER",
                "LOGNAME",
                "USERNAME",
            ]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|name| !name.is_empty())
        })
    }
}
