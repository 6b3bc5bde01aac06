//! The options of commands that sign.

use clap::Args;
use s3ota_manifest::Version;

use crate::error::CliError;
use crate::state::rollback;

/// The release in the bucket to sign again.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct MeantArgs {
    /// The version that you expect in the bucket. Required on a host that has not signed on the channel before, such as a fresh CI
    /// machine: it cannot know whether the release in the bucket is the newest. If the bucket holds another version, nothing is signed
    #[arg(id = "meant", long = "version", value_name = "VERSION")]
    pub version: Option<String>,

    /// Go on even though this host knows a newer release than the bucket holds, because the newer one is lost: for example after the
    /// bucket was restored from a backup. By default nothing older is signed
    #[arg(long)]
    pub newer_is_lost: bool,
}

impl MeantArgs {
    /// What a signing host needs of it.
    pub fn intent(&self) -> Result<Intent, CliError> {
        Ok(Intent {
            version: self.version.as_deref().map(canonical).transpose()?,
            newer_is_lost: self.newer_is_lost,
            ..Intent::default()
        })
    }
}

/// The `min_version` of a release.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct MinVersionArgs {
    /// Devices that see this release never go back below this version, for example because older versions have a security hole. Later
    /// releases keep it, where this host knows it or is told
    #[arg(long, value_name = "VERSION")]
    pub min_version: Option<String>,

    /// Drop the min_version of the releases before. With --min-version, set a lower one. Devices that have seen a higher one keep
    /// it
    #[arg(long)]
    pub no_min_version: bool,
}

impl MinVersionArgs {
    /// Refuses options that devices would ignore or not understand.
    pub fn check(&self, is_signed: bool) -> Result<(), CliError> {
        let given = [
            (self.min_version.is_some(), "--min-version"),
            (self.no_min_version, "--no-min-version"),
        ];
        if let Some((_, flag)) = given.into_iter().find(|(given, _)| *given && !is_signed) {
            let message =
                format!("{flag} needs a signature: devices ignore it in an unsigned manifest");
            return Err(
                CliError::new("publish.unsigned", message).hint("sign the release with --key")
            );
        }
        self.raise(None).map(drop)
    }

    /// The `min_version` of a release that had this one, or none.
    pub fn raise(&self, had: Option<String>) -> Result<Option<String>, CliError> {
        let given = self.min_version.as_deref().map(Version::parse).transpose();
        let given = given.map_err(|error| {
            CliError::new("publish.min_version", format!("--min-version: {error}")).usage()
        })?;
        let had = had.filter(|_| !self.no_min_version);
        Ok(rollback::highest(given.map(|it| it.to_string()), had))
    }
}

/// What the command line says about what is signed.
#[derive(Debug, Clone, Default)]
pub struct Intent {
    /// The expected version, in its canonical form.
    pub version: Option<String>,
    /// Whether to go on where this host knows a newer release.
    pub newer_is_lost: bool,
    /// The `min_version`.
    pub min_version: MinVersionArgs,
}

/// A version in its canonical form, as in manifests.
pub fn canonical(version: &str) -> Result<String, CliError> {
    Version::parse(version)
        .map(|version| version.to_string())
        .map_err(|error| {
            CliError::new("publish.version", format!("--version {version}: {error}")).usage()
        })
}
