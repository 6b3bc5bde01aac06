//! The parts of the command line that the commands on channels share.

use clap::Args;
use s3ota_manifest::Rollout;

use crate::bucket::resign::{Intent, SigningHost};
use crate::bucket::seal::{self, SealArgs};
use crate::error::CliError;
use crate::s3::{Location, S3Args, Store};

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

/// How a command that changes channels was called.
pub struct Changing<'a> {
    /// By whom, whether with ACLs, and whether at all.
    pub change: &'a ChangeArgs,
    /// How it is signed.
    pub seal: &'a SealArgs,
    /// As whom.
    pub s3: &'a S3Args,
    /// Whether devices may go back.
    pub allow_downgrade: bool,
}

/// What a command that changes channels works with.
pub struct Opened {
    /// Where the releases are.
    pub location: Location,
    /// The bucket they are in.
    pub store: Store,
    /// What signs; `None` if nothing is signed.
    pub host: Option<SigningHost>,
}

impl Changing<'_> {
    /// Opens the key, the bucket and this host's rollback state. Refuses what no device would heed before anyone is asked
    /// for a passphrase or for credentials.
    pub async fn open(&self, location: &str, intent: Intent) -> Result<Opened, CliError> {
        let is_signed = self.change.signs(self.seal);
        intent
            .min_version
            .check(is_signed)
            .map_err(CliError::usage)?;
        if self.allow_downgrade {
            seal::may_allow_downgrade(self.seal.expires, is_signed).map_err(CliError::usage)?;
        }
        let location: Location = location.parse().map_err(CliError::usage)?;
        let signer = match is_signed {
            true => self.seal.key.open(&self.s3.aws).await?,
            false => None,
        };
        let store = Store::connect(self.s3, &location, None).await?;
        let host = match signer {
            Some(signer) => Some(SigningHost::open(signer, &store, &location, intent).await?),
            None => None,
        };
        Ok(Opened {
            location,
            store,
            host,
        })
    }
}

/// A percentage, with its sign or without.
pub fn parse_rollout(text: &str) -> Result<Rollout, CliError> {
    text.strip_suffix('%')
        .unwrap_or(text)
        .parse()
        .map_err(|error| {
            CliError::new("publish.rollout", format!("rollout: {error}"))
                .hint("write it like 10, 12.5 or 100")
        })
}
