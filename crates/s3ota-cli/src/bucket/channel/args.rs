//! The parts of the command line that all commands on channels share.

use clap::Args;
use s3ota_manifest::Rollout;

use crate::bucket::resign::{Intent, SigningHost};
use crate::bucket::seal::{self, SealArgs};
use crate::error::CliError;
use crate::output;
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

/// Options of every command that changes something.
#[derive(Debug, Clone, Default, Args)]
pub struct ChangeArgs {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Set the ACL public-read on each object, for buckets whose ACLs are enabled
    #[arg(long)]
    pub public_read: bool,

    /// Leave the manifest unsigned, even if S3OTA_KEY is set or the channel's releases are signed. Devices with release keys refuse
    /// it
    #[arg(long)]
    pub unsigned: bool,

    /// Your name for the history; by default the user who started the CI job, or your login name. Anyone who can read the manifest
    /// can see it
    #[arg(long, value_name = "NAME", env = "S3OTA_BY")]
    pub by: Option<String>,
}

impl ChangeArgs {
    /// Whether a key to sign with is named.
    pub fn signs(&self, seal: &SealArgs) -> bool {
        seal.key.source().is_some() && !self.unsigned
    }

    /// The option that names this key once more, for a command to paste; empty if nothing is signed.
    pub fn key_option(&self, seal: &SealArgs) -> String {
        match seal.key.source() {
            Some(key) if !self.unsigned => {
                format!(" --key {}", output::for_shell(&key.to_string()))
            }
            _ => String::new(),
        }
    }

    /// The name for the history.
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

/// The options with which a command changes channels.
pub struct Changing<'a> {
    /// The name for the history, ACLs, --dry-run.
    pub change: &'a ChangeArgs,
    /// The key and the expiry.
    pub seal: &'a SealArgs,
    /// The S3 service and the credentials.
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
    /// The key and this host's rollback state; `None` if nothing is signed.
    pub host: Option<SigningHost>,
}

impl Changing<'_> {
    /// Opens the key, the bucket and this host's rollback state. Options that devices would ignore are refused first, before anyone
    /// is asked for a passphrase or credentials.
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

/// A percentage, with or without `%`.
pub fn parse_rollout(text: &str) -> Result<Rollout, CliError> {
    text.strip_suffix('%')
        .unwrap_or(text)
        .parse()
        .map_err(|error| {
            CliError::new("publish.rollout", format!("rollout: {error}"))
                .hint("write it like 10, 12.5 or 100")
        })
}
