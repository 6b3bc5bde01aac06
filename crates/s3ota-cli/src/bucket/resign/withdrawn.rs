//! What was withdrawn is not released again.
//!
//! A mark in the bucket says so, which whoever can write there can take away. A host that has withdrawn a version remembers it.

use super::SigningHost;
use crate::bucket::catalogue;
use crate::error::CliError;
use crate::s3::Store;

impl SigningHost {
    /// Whether this host has withdrawn a version here, under any of the keys.
    pub fn knows_yanked(&self, version: &str) -> bool {
        let state = self.state.borrow();
        self.trusted
            .iter()
            .any(|key| state.is_yanked(&key.id().to_string(), &self.place, version))
    }

    /// Remembers that a version is withdrawn.
    pub fn remember_yanked(&self, version: &str) -> Result<(), CliError> {
        let key = self.signer.key_id().to_string();
        let mut state = self.state.borrow_mut();
        state.remember_yanked(&key, &self.place, version)
    }
}

/// Refuses a version that is withdrawn: it is marked so in the bucket, or the host knows it.
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

/// This host knows that a version is withdrawn, and the bucket does not say so.
pub fn is_known(version: &str) -> CliError {
    let message = format!(
        "this host has yanked {version}, and the mark that says so is not in the bucket any more. Nothing was signed"
    );
    CliError::new("publish.yanked", message).hint(format!(
        "find out who writes to your bucket; `s3ota yank … {version}` puts the mark back. Build the firmware anew under a higher version"
    ))
}
