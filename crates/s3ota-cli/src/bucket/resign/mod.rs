//! Which manifests in a bucket may be signed again.
//!
//! To sign again is to release. An attacker who can write to the bucket has every manifest that was ever signed, and can put one
//! where the owner's next command reads it: with a fresh serial and a fresh expiry it would be the newest for every device. So a
//! [`SigningHost`] vouches only for a manifest that
//!
//! 1. one of the given keys has signed,
//! 2. for the channel where it lies, and for the same product, as far as this host knows it,
//! 3. that is not older than what this host's [`RollbackState`] has for the channel,
//! 4. that has not expired,
//! 5. and that has the version that the command line names. It must name one where this host's state has no entry.
//!
//! A permission to go back is never carried over. A manifest that is only replaced must meet 1 to 3, or nothing of it counts:
//! neither its serial nor its `min_version`.

mod ancestor;
mod args;
mod min_version;
mod withdrawn;

use std::cell::RefCell;
use std::collections::BTreeSet;

use s3ota_manifest::{KeyId, ManifestDocument, ReleaseKey};

pub use self::ancestor::{Wanted, newest_good};
pub use self::args::{Intent, MeantArgs, MinVersionArgs, canonical};
pub use self::withdrawn::{is_known as known_to_be_yanked, refuse_yanked};
use crate::bucket::channel::Channel;
use crate::clock;
use crate::error::CliError;
use crate::keys::{self, Signer};
use crate::legacy::LegacyClient;
use crate::s3::{Location, Store};
use crate::state::rollback::{self, At, Known, RollbackState, Signed};

/// The proof that a manifest in the bucket may be signed again. Only its judge makes one.
#[derive(Debug, Clone, Copy)]
pub struct Vouched(());

/// Why a manifest is not signed again.
#[derive(Debug)]
pub enum Doubt {
    /// This host cannot know whether it is the newest one.
    Unknown {
        /// The version that the command line can name.
        version: String,
        /// The error to report.
        error: CliError,
    },
    /// It must not be signed, or something else is wrong.
    Refused(CliError),
}

impl From<CliError> for Doubt {
    fn from(error: CliError) -> Self {
        Self::Refused(error)
    }
}

impl From<Doubt> for CliError {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Unknown { error, .. } | Doubt::Refused(error) => error,
        }
    }
}

/// Where the signed manifest comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// From this host: its owner has the firmware.
    ThisHost,
    /// From the bucket.
    Bucket(Vouched),
}

/// What a channel's next manifest follows.
#[derive(Debug, Clone, Default)]
pub struct Last {
    /// The highest serial.
    pub serial: Option<u64>,
    /// The `min_version`.
    pub min_version: Option<String>,
    /// The legacy clients.
    pub also: BTreeSet<LegacyClient>,
}

/// The owner's computer as it signs: a key, the rollback state for it at a location, and the command line.
pub struct SigningHost {
    /// What signs.
    pub signer: Signer,
    /// The keys whose manifests are trusted: the signer's first.
    trusted: Vec<ReleaseKey>,
    state: RefCell<RollbackState>,
    bucket: String,
    place: String,
    intent: Intent,
}

impl SigningHost {
    /// A host with the rollback state of this user.
    pub async fn open(
        signer: Signer,
        store: &Store,
        location: &Location,
        intent: Intent,
    ) -> Result<Self, CliError> {
        Self::with(RollbackState::open()?, signer, store, location, intent).await
    }

    /// A host with the given rollback state.
    pub async fn with(
        state: RollbackState,
        signer: Signer,
        store: &Store,
        location: &Location,
        intent: Intent,
    ) -> Result<Self, CliError> {
        Ok(Self {
            trusted: vec![signer.key()],
            signer,
            state: RefCell::new(state),
            bucket: location.bucket.clone(),
            place: place(store, location).await?,
            intent,
        })
    }

    /// A host at `s3://b/p` with an empty rollback state.
    #[cfg(test)]
    pub fn without_state(signer: Signer) -> Self {
        Self {
            trusted: vec![signer.key()],
            signer,
            state: RefCell::new(RollbackState::volatile()),
            bucket: "b".to_owned(),
            place: "s3://b/p".to_owned(),
            intent: Intent::default(),
        }
    }

    /// Trusts manifests of these keys, too.
    pub fn trusting(mut self, keys: impl IntoIterator<Item = ReleaseKey>) -> Self {
        self.trusted.extend(keys);
        self
    }

    /// What the command line says.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    fn at(&self, key: KeyId, channel: &str) -> At {
        At {
            key: key.to_string(),
            place: self.place.clone(),
            channel: channel.to_owned(),
        }
    }

    /// The state's entry for a channel, under the key that signs.
    pub fn known(&self, channel: &str) -> Option<Known> {
        let key = self.signer.key_id().to_string();
        self.state
            .borrow()
            .known(&key, &self.place, channel)
            .cloned()
    }

    /// The newest manifest of a channel in the state, under any of the keys.
    fn newest(&self, channel: &str) -> Option<Signed> {
        let state = self.state.borrow();
        let known = self.trusted.iter().filter_map(|key| {
            state
                .known(&key.id().to_string(), &self.place, channel)?
                .newest()
        });
        known.max_by_key(|signed| signed.serial).cloned()
    }

    /// The channels in the state, at this location and under the key that signs, with the newest manifest of each.
    pub fn channels(&self) -> Vec<(String, Signed)> {
        let (state, key) = (self.state.borrow(), self.signer.key_id());
        let here = state
            .channels()
            .filter(|(at, _)| key.is(&at.key) && at.place == self.place);
        here.filter_map(|(at, known)| Some((at.channel, known.newest()?.clone())))
            .collect()
    }

    /// Which of the keys signed what a channel holds, if any did.
    fn signed_by(&self, channel: &Channel) -> Option<KeyId> {
        keys::verify(channel.current.as_ref()?.bytes(), &self.trusted).ok()
    }

    /// What a channel holds, if one of the keys signed it: the next manifest follows it. An error if it cannot be the channel's newest
    /// one.
    pub fn present<'c>(
        &self,
        channel: &'c Channel,
    ) -> Result<Option<&'c ManifestDocument>, CliError> {
        let (Some(manifest), Some(_)) = (channel.readable(), self.signed_by(channel)) else {
            return Ok(None);
        };
        self.is_of(manifest, channel)?;
        self.is_of_product(manifest, channel)?;
        self.is_not_older(manifest, channel)?;
        Ok(Some(manifest))
    }

    /// Refuses what a channel holds if none of the keys signed it, or if it cannot be the channel's newest one.
    pub fn must_have_signed(&self, channel: &Channel) -> Result<(), CliError> {
        let bytes = channel.current.as_ref().map(|held| held.bytes());
        keys::verify(bytes.unwrap_or_default(), &self.trusted).map_err(|error| {
            let message = format!(
                "{} has no valid signature by the key {}, so it is not signed again: {error}",
                self.object(&channel.key),
                self.signer.key_id()
            );
            CliError::new("sign.untrusted", message).hint(
                "publish your firmware with --key; or, if another key of yours signed it, sign it with this key first: `s3ota sign s3://… \
                 --key NEW --release-key OLD.pub`",
            )
        })?;
        self.present(channel).map(drop)
    }

    /// Vouches for what a channel holds, so that it may be signed again; `meant` is the version that the command line names.
    pub fn vouch(
        &self,
        channel: &Channel,
        store: &Store,
        meant: Option<&str>,
    ) -> Result<Vouched, Doubt> {
        let manifest = channel.manifest(store)?;
        self.must_have_signed(channel)?;
        has_not_expired(manifest, &self.object(&channel.key))?;
        is_meant(manifest, &self.object(&channel.key), meant)?;
        let is_known = self
            .newest(&channel.name)
            .is_some_and(|newest| newest.serial <= serial(manifest));
        if meant.is_none() && !is_known {
            return Err(Doubt::Unknown {
                version: manifest.version.clone(),
                error: self.unknown(manifest, channel),
            });
        }
        Ok(Vouched(()))
    }

    /// Refuses a manifest that was signed for another channel.
    fn is_of(&self, manifest: &ManifestDocument, channel: &Channel) -> Result<(), CliError> {
        if manifest.channel.as_deref() == Some(&*channel.name) {
            return Ok(());
        }
        let of = match &manifest.channel {
            Some(other) => format!("was signed for the channel {other}"),
            None => "was signed for no channel".to_owned(),
        };
        let message = format!(
            "{} holds a manifest of {} that {of}: someone put it there. Nothing was signed",
            self.object(&channel.key),
            manifest.version
        );
        Err(CliError::new("sign.channel", message).hint(format!(
            "find out who writes to your bucket; then remove the object, and publish your firmware to {}",
            channel.name
        )))
    }

    /// Refuses a manifest of another product under the same key, which may have a channel of the same name.
    fn is_of_product(
        &self,
        manifest: &ManifestDocument,
        channel: &Channel,
    ) -> Result<(), CliError> {
        let Some(known) = self.known(&channel.name) else {
            return Ok(());
        };
        let found = Signed::of(manifest)?;
        if known.newest() == Some(&found) {
            return Ok(());
        }
        let of = if !known.is_of_product(manifest) {
            let named = [&manifest.project, &manifest.chip].into_iter().flatten();
            let named: Vec<_> = named.map(String::as_str).collect();
            match &named[..] {
                [] => "an unknown product".to_owned(),
                named => named.join(" for "),
            }
        } else if manifest.project.is_none() && self.intent.version.is_none() {
            // Images built with Arduino do not name their project. But this host may know where such a manifest was.
            let state = self.state.borrow();
            let elsewhere = state.channels().find(|(at, known)| {
                at.place != self.place && known.releases().any(|it| *it == found)
            });
            match elsewhere {
                Some((at, _)) => at.place,
                None => return Ok(()),
            }
        } else {
            return Ok(());
        };
        let message = format!(
            "{} holds a manifest of {} for {of}, which is not what {} has served. Nothing was signed",
            self.object(&channel.key),
            manifest.version,
            channel.name
        );
        Err(CliError::new("sign.product", message).hint(format!(
            "if someone put it there, remove the object, and publish your firmware to {}; if another host has changed the channel's \
             purpose, copy its state: `s3ota state export` there, `s3ota state import` here",
            channel.name
        )))
    }

    /// Refuses a manifest that is older than the state's newest, unless that one is lost.
    fn is_not_older(&self, manifest: &ManifestDocument, channel: &Channel) -> Result<(), CliError> {
        let Some(newest) = self.newest(&channel.name) else {
            return Ok(());
        };
        let found = Signed::of(manifest)?;
        if found.serial > newest.serial || found == newest || self.intent.newer_is_lost {
            return Ok(());
        }
        Err(replayed(
            &format!(
                "{} holds {} with the serial {}",
                self.object(&channel.key),
                found.version,
                found.serial
            ),
            &channel.name,
            &newest,
        ))
    }

    /// The error that this host has never seen what the channel holds.
    fn unknown(&self, manifest: &ManifestDocument, channel: &Channel) -> CliError {
        let version = &manifest.version;
        if self.intent.newer_is_lost {
            let message = format!(
                "{} holds {version}, which is older than what this host knows; name the version to go on from",
                self.object(&channel.key)
            );
            return CliError::new("sign.unknown", message)
                .hint(format!("use --version {version} with --newer-is-lost"));
        }
        let message = format!(
            "{} holds {version} with the serial {}, but this host knows nothing about the channel {} under the key {}: an older \
             manifest may have been put back. Nothing was signed",
            self.object(&channel.key),
            serial(manifest),
            channel.name,
            self.signed_by(channel).unwrap_or(self.signer.key_id()),
        );
        CliError::new("sign.unknown", message).hint(format!(
            "if you know from elsewhere that {version} is the newest release there, use --version {version}; or copy the state of \
             another host: `s3ota state export` there, `s3ota state import` here"
        ))
    }

    /// What the next manifest of a channel follows: what the channel holds, if it is ours, and this host's state.
    pub fn last(&self, channel: &Channel) -> Result<Last, CliError> {
        let present = self.present(channel)?;
        let known = self.known(&channel.name);
        let newest = self.newest(&channel.name).map(|newest| newest.serial);
        let is_newer = present.is_some_and(|present| newest.is_none_or(|it| it < serial(present)));
        let also = match &known {
            // The field is not signed: what this host has seen, only its state can tell.
            Some(known) if !is_newer => known.also(),
            _ => channel.legacy(),
        };
        let min_versions = [
            present.and_then(|present| present.min_version.clone()),
            known.and_then(|known| known.min_version),
        ];
        let min_version = min_versions.into_iter().reduce(rollback::highest).flatten();
        Ok(Last {
            serial: present.map(serial).max(newest),
            min_version: min_version.filter(|_| !self.intent.min_version.no_min_version),
            also,
        })
    }

    /// A warning about what a channel holds, where nothing of it counts.
    pub fn warning(&self, channel: &Channel) -> Option<CliError> {
        let (name, key) = (&channel.name, self.signer.key_id());
        let who = "find out who writes to your bucket: `s3ota verify` shows more";
        let warning = |message: String| CliError::new("publish.key", message);
        let manifest = channel
            .current
            .as_ref()
            .map(|held| held.manifest.as_ref().ok());
        match manifest.map(|it| it.map(|manifest| manifest.signature.as_ref())) {
            _ if self.signed_by(channel) == Some(key) => None,
            Some(Some(Some(signature))) if !key.is(&signature.keyid) => Some(
                warning(format!(
                    "the release on the channel {name} was signed with the key {}, and this one is with {key}: devices that do not \
                     trust both would refuse it",
                    signature.keyid
                ))
                .hint("to replace a key, first publish a firmware that trusts both, signed with the old one"),
            ),
            Some(Some(Some(_))) => Some(
                warning(format!(
                    "the manifest on the channel {name} was changed after it was signed"
                ))
                .hint(who),
            ),
            found => self.known(name)?.newest().map(|newest| {
                let what = match found {
                    None => "its manifest is no longer in the bucket",
                    Some(_) => "the present manifest is not signed",
                };
                warning(format!(
                    "this host knows that {} was signed for the channel {name}, but {what}",
                    newest.version
                ))
                .hint(who)
            }),
        }
    }

    /// Records what a channel holds, if it is ours.
    pub fn remember_present(&self, channel: &Channel) -> Result<(), CliError> {
        if let Some(present) = self.present(channel)?
            && let Some(key) = self.signed_by(channel)
        {
            let at = self.at(key, &channel.name);
            self.state.borrow_mut().remember_found(&at, present)?;
        }
        Ok(())
    }

    /// Records a manifest that was signed and is now the channel's, and the one before it.
    pub fn remember(&self, channel: &Channel, manifest: &ManifestDocument) -> Result<(), CliError> {
        let knows_min_version = self.knows_min_version(channel)?;
        self.remember_present(channel)?;
        let at = self.at(self.signer.key_id(), &channel.name);
        let mut state = self.state.borrow_mut();
        match knows_min_version {
            true => state.remember(&at, manifest)?,
            false => state.remember_found(&at, manifest)?,
        }
        match self.intent.min_version.no_min_version {
            true => state.lower(&at, manifest.min_version.as_deref()),
            false => Ok(()),
        }
    }

    /// Reads the state again: another command on this host may have signed in the meantime.
    pub fn look_again(&self) -> Result<(), CliError> {
        self.state.borrow_mut().look_again()
    }

    /// An object of the bucket, for people.
    pub fn object(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }
}

/// Refuses to renew the URLs of a signed manifest that cannot be the newest of its channel. There is no key to verify its
/// signature with: it is judged by what it says about itself.
pub fn may_be_renewed(
    channel: &Channel,
    manifest: &ManifestDocument,
    place: &str,
) -> Result<(), CliError> {
    let Some(signature) = &manifest.signature else {
        return Ok(());
    };
    if let Some(other) = manifest.channel.as_deref().filter(|it| *it != channel.name) {
        let message = format!(
            "{} holds a manifest of {} for the channel {other}: someone put it there",
            channel.key, manifest.version
        );
        return Err(CliError::new("sign.channel", message)
            .hint("find out who writes to your bucket, and publish your firmware"));
    }
    has_not_expired(manifest, &channel.key)?;
    let state = RollbackState::read()?;
    let known = state.known(&signature.keyid, place, &channel.name);
    match known.and_then(Known::newest) {
        Some(newest) if serial(manifest) < newest.serial => {
            let found = format!(
                "{} holds {} with the serial {}",
                channel.key,
                manifest.version,
                serial(manifest)
            );
            Err(replayed(&found, &channel.name, newest))
        }
        _ => Ok(()),
    }
}

/// The name of a location in the state: two services may have buckets of the same name.
pub async fn place(store: &Store, location: &Location) -> Result<String, CliError> {
    Ok(match store.service().await? {
        None => location.to_string(),
        Some(service) => format!("{location} at {service}"),
    })
}

/// The serial of a manifest; one without is older than all others.
pub fn serial(manifest: &ManifestDocument) -> u64 {
    manifest.serial.unwrap_or(0)
}

/// The error that the bucket holds something older than this host knows.
pub fn replayed(found: &str, channel: &str, newest: &Signed) -> CliError {
    let message = format!(
        "{found}, but this host knows {} with the serial {} on the channel {channel}: someone put something older there. Nothing was signed",
        newest.version, newest.serial
    );
    CliError::new("sign.replayed", message).hint(format!(
        "find out who writes to your bucket. If {} is lost for good, for example after the bucket was restored from a backup, use \
         --newer-is-lost: the new serial is then above both",
        newest.version
    ))
}

/// Refuses an expired manifest.
pub fn has_not_expired(manifest: &ManifestDocument, target: &str) -> Result<(), CliError> {
    match manifest.expires {
        Some(end) if end.unix_seconds() <= clock::now() => {
            let message = format!(
                "{target} holds {}, which expired at {end}: signed again, it could hide whatever was released since. Nothing was signed",
                manifest.version
            );
            Err(CliError::new("sign.expired", message).hint(format!(
                "if {0} is the newest release, publish its firmware again: the same bytes under {0} get a new expiry",
                manifest.version
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses another version than the expected one.
pub fn is_meant(
    manifest: &ManifestDocument,
    target: &str,
    meant: Option<&str>,
) -> Result<(), CliError> {
    match meant {
        Some(meant) if meant != manifest.version => {
            let message = format!(
                "{target} holds {}, but {meant} is expected. Nothing was signed",
                manifest.version
            );
            Err(CliError::new("sign.version", message)
                .hint("`s3ota history` shows what was there, and who changed it"))
        }
        _ => Ok(()),
    }
}

/// Removes the permission to go back from a manifest that is signed again, unless it is given again. Returns a warning.
pub fn end_permission(manifest: &mut ManifestDocument, asked_for: bool) -> Option<CliError> {
    let ends = manifest.downgrade && !asked_for;
    manifest.downgrade = asked_for;
    ends.then(|| {
        let message = format!(
            "devices with a newer version were allowed to go back to {}, and no longer are: the permission is not carried over",
            manifest.version
        );
        CliError::new("publish.downgrade", message)
            .hint("to give it again, use --allow-downgrade --expires TIME")
    })
}
