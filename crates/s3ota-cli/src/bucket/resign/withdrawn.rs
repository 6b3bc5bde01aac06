//! A yanked version is not released again.
//!
//! An attacker who can write to the bucket can remove the mark there, so the host that yanked a version records it as well.

use super::SigningHost;
use crate::bucket::catalogue;
use crate::error::CliError;
use crate::s3::Store;

impl SigningHost {
    /// Whether this host has yanked a version here, under any of the keys.
    pub fn knows_yanked(&self, version: &str) -> bool {
        let state = self.state.borrow();
        self.trusted
            .iter()
            .any(|key| state.is_yanked(&key.id().to_string(), &self.place, version))
    }

    /// Records that a version is yanked.
    pub fn remember_yanked(&self, version: &str) -> Result<(), CliError> {
        let key = self.signer.key_id().to_string();
        let mut state = self.state.borrow_mut();
        state.remember_yanked(&key, &self.place, version)
    }
}

/// Refuses a version that is yanked, by a mark in the bucket or by the host's state.
pub async fn refuse_yanked(
    host: Option<&SigningHost>,
    store: &Store,
    prefix: &str,
    version: &str,
) -> Result<(), CliError> {
    catalogue::refuse_yanked(store, prefix, version).await?;
    if !host.is_some_and(|host| host.knows_yanked(version)) {
        return Ok(());
    }
    Err(is_known(version))
}

/// The error that this host has yanked a version whose mark is missing.
pub fn is_known(version: &str) -> CliError {
    let message = format!(
        "this host has yanked {version}, but its mark is no longer in the bucket. Nothing was signed"
    );
    CliError::new("publish.yanked", message).hint(format!(
        "find out who writes to your bucket; `s3ota yank … {version}` puts the mark back. Build the firmware again under a higher version"
    ))
}
