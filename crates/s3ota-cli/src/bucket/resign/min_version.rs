//! The `min_version` of a channel, below which its devices do not go back: it is never lost without a word.
//!
//! A bucket cannot tell what it is: an older manifest without it may have been put back. So either this host's rollback state has
//! it, or the command line does.

use s3ota_manifest::ManifestDocument;

use super::{MinVersionArgs, SigningHost};
use crate::bucket::catalogue;
use crate::bucket::channel::Channel;
use crate::error::CliError;
use crate::keys;
use crate::s3::Store;
use crate::state::rollback::Known;

impl SigningHost {
    /// Refuses to put a release on a channel whose `min_version` nobody knows: this host's state has none, the command line names
    /// none, and the bucket has releases of this channel under this key or another one with a `min_version`.
    pub async fn min_version_is_known(
        &self,
        store: &Store,
        prefix: &str,
        channel: &Channel,
    ) -> Result<(), CliError> {
        let MinVersionArgs {
            min_version,
            no_min_version,
        } = &self.intent.min_version;
        if min_version.is_some() || *no_min_version {
            return Ok(());
        }
        let (name, key) = (&channel.name, self.signer.key_id());
        let say = "set it with --min-version, or use --no-min-version if there is none";
        let known = self.known(name);
        match known.as_ref().map(Known::knows_min_version) {
            Some(true) => return Ok(()),
            Some(false) => {
                let message = format!(
                    "this host knows of {name} only what was in the bucket when --version named it. The min_version of {name} is not known: \
                     an older manifest may have been put back. Nothing was signed"
                );
                return Err(CliError::new("sign.min_version", message).hint(or_import(say)));
            }
            None => {}
        }
        let under_another = {
            let state = self.state.borrow();
            state
                .channels()
                .filter(|(at, _)| at.place == self.place && at.channel == *name)
                .find_map(|(at, known)| match &known.min_version {
                    None if known.knows_min_version() => None,
                    min_version => Some((at.key, min_version.clone())),
                })
        };
        if let Some((other, min_version)) = under_another {
            let below = match min_version {
                Some(min_version) => {
                    format!("devices of {name} do not go back below {min_version}")
                }
                None => format!("there are releases for {name} whose min_version is not known"),
            };
            let message =
                format!("under the key {other}, {below}; under the key {key}, nothing is known");
            return Err(CliError::new("sign.min_version", message).hint(say));
        }
        let Some(found) = self.signed_before(store, prefix, channel).await? else {
            return self.drops_no_min_version(channel);
        };
        let message = format!(
            "{found} was signed for {name} with the key {key}, and this host has never seen it. The min_version of {name} cannot be \
             taken from a bucket, where an older manifest may have been put back. Nothing was signed"
        );
        Err(CliError::new("sign.min_version", message).hint(or_import(say)))
    }

    /// Refuses to put a release after one whose `min_version` another key has signed, without a word about it. This host cannot
    /// verify that signature, so it takes nothing over by itself.
    fn drops_no_min_version(&self, channel: &Channel) -> Result<(), CliError> {
        let manifest = channel.current.as_ref().map(|held| held.manifest.as_ref());
        let Some(Ok(manifest)) = manifest else {
            return Ok(());
        };
        let (Some(signature), Some(min_version)) = (&manifest.signature, &manifest.min_version)
        else {
            return Ok(());
        };
        let key = self.signer.key_id();
        if key.is(&signature.keyid) {
            return Ok(());
        }
        let message = format!(
            "the manifest on the channel {} has the min_version {min_version} under the key {}; under the key {key}, it would be \
             dropped. Nothing was signed",
            channel.name, signature.keyid
        );
        Err(CliError::new("sign.min_version", message).hint(format!(
            "keep it with --min-version {min_version}, or use --no-min-version if it is not yours; to replace a key on this \
             host, bring the manifest over first: `s3ota sign s3://… --key NEW --release-key OLD.pub`"
        )))
    }

    /// An object that proves that the key has signed for a channel before.
    async fn signed_before(
        &self,
        store: &Store,
        prefix: &str,
        channel: &Channel,
    ) -> Result<Option<String>, CliError> {
        let key = [self.signer.key()];
        let is_ours = |bytes: &[u8], manifest: &ManifestDocument| {
            manifest.channel.as_deref() == Some(&*channel.name) && keys::verify(bytes, &key).is_ok()
        };
        if let Some(held) = &channel.current
            && let Ok(manifest) = &held.manifest
            && is_ours(held.bytes(), manifest)
        {
            return Ok(Some(self.object(&channel.key)));
        }
        for (key, held) in catalogue::filed(store, prefix, &channel.name, usize::MAX).await? {
            if let Ok(manifest) = &held.manifest
                && is_ours(held.bytes(), manifest)
            {
                return Ok(Some(self.object(&key)));
            }
        }
        let versions = catalogue::versions(store, prefix).await?;
        for (version, record) in catalogue::records(store, prefix, &versions).await? {
            if is_ours(record.to_json()?.as_bytes(), &record) {
                return Ok(Some(format!("the record of {version}")));
            }
        }
        Ok(None)
    }

    /// Whether the `min_version` of what is signed now is known to be the channel's. A manifest found in the bucket does not prove
    /// it, nor does a --version that vouches for one.
    pub(super) fn knows_min_version(&self, channel: &Channel) -> Result<bool, CliError> {
        let MinVersionArgs {
            min_version,
            no_min_version,
        } = &self.intent.min_version;
        if min_version.is_some() || *no_min_version {
            return Ok(true);
        }
        // Where there is nothing of ours, a firmware is signed, and `min_version_is_known` has permitted it.
        if self.present(channel)?.is_none() {
            return Ok(true);
        }
        let state = self.state.borrow();
        Ok(self.trusted.iter().any(|key| {
            let key = key.id().to_string();
            state
                .known(&key, &self.place, &channel.name)
                .is_some_and(Known::knows_min_version)
        }))
    }
}

/// The hint `say`, or to copy the state of another host.
fn or_import(say: &str) -> String {
    format!(
        "{say}; or copy the state of another host: `s3ota state export` there, `s3ota state import` here"
    )
}
