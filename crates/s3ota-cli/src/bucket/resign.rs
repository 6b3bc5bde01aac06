//! What of a bucket is signed anew, and what is not.
//!
//! To sign again is to release. Whoever can write to the bucket has every manifest that was ever signed, and puts one where
//! the owner's next command picks it up: with a fresh serial and a fresh date it would be the newest for every device. So a
//! [`SigningHost`] vouches only for a manifest that
//!
//! 1. one of the keys at hand has signed,
//! 2. for the channel whose manifest it is, and the product, as far as this host knows it,
//! 3. that is not older than what this host remembers of the channel ([`RollbackState`]),
//! 4. that has not expired,
//! 5. and that is of the version the command line names, where it names one. It must, where this host remembers nothing.
//!
//! A permission to go back is never carried over. What is replaced, without being signed anew, must hold to 1 to 3, or
//! nothing of it counts: not its serial, not its least version.

mod ancestor;
mod withdrawn;

use std::cell::RefCell;
use std::collections::BTreeSet;

use clap::Args;
use s3ota_manifest::{KeyId, ManifestDocument, ReleaseKey, Version};

pub use self::ancestor::{Wanted, newest_good};
pub use self::withdrawn::{is_known as known_to_be_yanked, refuse_yanked};
use crate::bucket::catalogue;
use crate::bucket::channel::Channel;
use crate::clock;
use crate::error::CliError;
use crate::keys::{self, Signer};
use crate::legacy::LegacyClient;
use crate::s3::{Location, Store};
use crate::state::rollback::{self, At, Known, RollbackState, Signed};

/// Which release in the bucket is meant, for commands that sign it anew.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct MeantArgs {
    /// The version you mean. A host that has not signed on the channel before, such as a fresh CI machine, must be told: it
    /// cannot know whether what lies in the bucket is the newest. Where another version lies there, nothing is signed
    #[arg(id = "meant", long = "version", value_name = "VERSION")]
    pub version: Option<String>,

    /// What this host knows to be newer than what lies in the bucket is lost for good, as in a bucket restored from a backup: go
    /// on from what lies there. Without this, nothing older is signed
    #[arg(long)]
    pub newer_is_lost: bool,
}

impl MeantArgs {
    /// As a host takes it.
    pub fn intent(&self) -> Result<Intent, CliError> {
        Ok(Intent {
            version: self.version.as_deref().map(canonical).transpose()?,
            newer_is_lost: self.newer_is_lost,
            ..Intent::default()
        })
    }
}

/// Below which version devices do not go back, for commands that put a release on a channel.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct MinVersionArgs {
    /// No device that sees this release goes back below this version any more: what came before has a hole. Later releases
    /// carry it on by themselves, where this host remembers it or is told
    #[arg(long, value_name = "VERSION")]
    pub min_version: Option<String>,

    /// There is no such version, or no longer: nothing is carried on from the releases before. With --min-version, that
    /// one counts even if it is lower. Devices that have seen a higher one keep to it
    #[arg(long)]
    pub no_min_version: bool,
}

impl MinVersionArgs {
    /// Refuses what no device would heed, or would not understand.
    pub fn check(&self, is_signed: bool) -> Result<(), CliError> {
        let given = [
            (self.min_version.is_some(), "--min-version"),
            (self.no_min_version, "--no-min-version"),
        ];
        if let Some((_, flag)) = given.into_iter().find(|(given, _)| *given && !is_signed) {
            let message = format!("{flag} needs a signature: no device heeds it without");
            return Err(
                CliError::new("publish.unsigned", message).hint("sign the release with --key")
            );
        }
        self.raise(None).map(drop)
    }

    /// The least version of a release that had another one, or none.
    pub fn raise(&self, had: Option<String>) -> Result<Option<String>, CliError> {
        let given = self.min_version.as_deref().map(Version::parse).transpose();
        let given = given.map_err(|error| {
            CliError::new("publish.min_version", format!("--min-version: {error}")).usage()
        })?;
        let had = had.filter(|_| !self.no_min_version);
        Ok(rollback::highest(given.map(|it| it.to_string()), had))
    }
}

/// What the command line says of what is signed.
#[derive(Debug, Clone, Default)]
pub struct Intent {
    /// The version that is meant, in its canonical form.
    pub version: Option<String>,
    /// Whether to go on where this host knows something newer.
    pub newer_is_lost: bool,
    /// The least version.
    pub min_version: MinVersionArgs,
}

/// A version as manifests have it.
pub fn canonical(version: &str) -> Result<String, CliError> {
    Version::parse(version)
        .map(|version| version.to_string())
        .map_err(|error| {
            CliError::new("publish.version", format!("--version {version}: {error}")).usage()
        })
}

/// Says that a manifest in the bucket may be signed anew. Only what judged it makes one.
#[derive(Debug, Clone, Copy)]
pub struct Vouched(());

/// Why a manifest is not signed again.
#[derive(Debug)]
pub enum Doubt {
    /// This host cannot know whether it is the newest one.
    Unknown {
        /// The version that the command line can name.
        version: String,
        /// What to say.
        error: CliError,
    },
    /// It must not be, or something else is wrong.
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

/// Where what is signed comes from.
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
    /// The version below which devices do not go back.
    pub min_version: Option<String>,
    /// The older libraries whose manifests are kept.
    pub also: BTreeSet<LegacyClient>,
}

/// A key, what this host remembers of it at a location, and what the command line says.
pub struct SigningHost {
    /// What signs.
    pub signer: Signer,
    /// The keys whose manifests are believed: the signer's first.
    trusted: Vec<ReleaseKey>,
    state: RefCell<RollbackState>,
    bucket: String,
    place: String,
    intent: Intent,
}

impl SigningHost {
    /// A host with what this host remembers.
    pub async fn open(
        signer: Signer,
        store: &Store,
        location: &Location,
        intent: Intent,
    ) -> Result<Self, CliError> {
        Self::with(RollbackState::open()?, signer, store, location, intent).await
    }

    /// A host with a state.
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

    /// A host at `s3://b/p` that remembers nothing.
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

    /// Believes manifests of these keys, too.
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

    /// What this host knows of a channel under the key that signs.
    pub fn known(&self, channel: &str) -> Option<Known> {
        let key = self.signer.key_id().to_string();
        self.state
            .borrow()
            .known(&key, &self.place, channel)
            .cloned()
    }

    /// The newest manifest of a channel that this host knows, under any of the keys.
    fn newest(&self, channel: &str) -> Option<Signed> {
        let state = self.state.borrow();
        let known = self.trusted.iter().filter_map(|key| {
            state
                .known(&key.id().to_string(), &self.place, channel)?
                .newest()
        });
        known.max_by_key(|signed| signed.serial).cloned()
    }

    /// The channels that this host knows here under the key that signs, and the newest manifest of each.
    pub fn channels(&self) -> Vec<(String, Signed)> {
        let (state, key) = (self.state.borrow(), self.signer.key_id());
        let here = state
            .channels()
            .filter(|(at, _)| key.is(&at.key) && at.place == self.place);
        here.filter_map(|(at, known)| Some((at.channel, known.newest()?.clone())))
            .collect()
    }

    /// Which of the keys at hand signed what a channel holds, if any did.
    fn signed_by(&self, channel: &Channel) -> Option<KeyId> {
        keys::verify(channel.current.as_ref()?.bytes(), &self.trusted).ok()
    }

    /// What a channel holds, if one of the keys at hand signed it: the next manifest follows it. An error if it cannot be the
    /// channel's newest.
    pub fn present<'c>(
        &self,
        channel: &'c Channel,
    ) -> Result<Option<&'c ManifestDocument>, CliError> {
        let manifest = channel.current.as_ref().map(|held| held.manifest.as_ref());
        let (Some(Ok(manifest)), Some(_)) = (manifest, self.signed_by(channel)) else {
            return Ok(None);
        };
        self.is_of(manifest, channel)?;
        self.is_of_product(manifest, channel)?;
        self.is_not_older(manifest, channel)?;
        Ok(Some(manifest))
    }

    /// Refuses what a channel holds if none of the keys at hand signed it, or it cannot be the channel's newest.
    pub fn must_have_signed(&self, channel: &Channel) -> Result<(), CliError> {
        let bytes = channel.current.as_ref().map(|held| held.bytes());
        keys::verify(bytes.unwrap_or_default(), &self.trusted).map_err(|error| {
            let message = format!(
                "what {} holds has no good signature of the key {}, so it is not signed anew: {error}",
                self.object(&channel.key),
                self.signer.key_id()
            );
            CliError::new("sign.untrusted", message).hint(
                "publish the firmware that you have with --key; or, where another key of yours signed it, have `s3ota sign \
                 s3://… --key NEW --release-key OLD.pub` sign it with this one first",
            )
        })?;
        self.present(channel).map(drop)
    }

    /// Vouches for what a channel holds, so that it may be signed anew; `meant` is the version the command line names.
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

    /// Refuses what was signed for another channel.
    fn is_of(&self, manifest: &ManifestDocument, channel: &Channel) -> Result<(), CliError> {
        if manifest.channel.as_deref() == Some(&*channel.name) {
            return Ok(());
        }
        let of = match &manifest.channel {
            Some(other) => format!("was signed for the channel {other}"),
            None => "was signed for no channel".to_owned(),
        };
        let message = format!(
            "{} holds a manifest of {} that {of}: someone put it there, and nothing was signed",
            self.object(&channel.key),
            manifest.version
        );
        Err(CliError::new("sign.channel", message).hint(format!(
            "find out who writes to your bucket; then remove the object, and publish to {} the firmware that you have",
            channel.name
        )))
    }

    /// Refuses what is of another product under the same key: it has a channel of the same name.
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
            // Arduino's images do not say what they are of. But where such a manifest was, this host may know.
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
            "{} holds a manifest of {} that is of {of}, and not of what {} has served: nothing was signed",
            self.object(&channel.key),
            manifest.version,
            channel.name
        );
        Err(CliError::new("sign.product", message).hint(format!(
            "if someone put it there, remove the object, and publish to {} the firmware that you have; if another host has changed what \
             the channel is for, bring over what it knows: `s3ota state export` there, `s3ota state import` here",
            channel.name
        )))
    }

    /// Refuses what is older than what this host knows, unless that is lost.
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

    /// This host has never seen what the channel holds.
    fn unknown(&self, manifest: &ManifestDocument, channel: &Channel) -> CliError {
        let version = &manifest.version;
        if self.intent.newer_is_lost {
            let message = format!(
                "{} holds {version}, which is older than what this host knows: that this is the one to go on from has to be said",
                self.object(&channel.key)
            );
            return CliError::new("sign.unknown", message)
                .hint(format!("say --version {version} with --newer-is-lost"));
        }
        let message = format!(
            "{} holds {version} with the serial {}, and this host knows nothing of the channel {} under the key {}: an older manifest \
             may have been put back there. Nothing was signed",
            self.object(&channel.key),
            serial(manifest),
            channel.name,
            self.signed_by(channel).unwrap_or(self.signer.key_id()),
        );
        CliError::new("sign.unknown", message).hint(format!(
            "if you know from elsewhere that {version} is the newest release there, say --version {version}; or bring over what another \
             host knows: `s3ota state export` there, `s3ota state import` here"
        ))
    }

    /// What the next manifest of a channel follows: what the channel holds, as far as it is ours, and what this host knows.
    pub fn last(&self, channel: &Channel) -> Result<Last, CliError> {
        let present = self.present(channel)?;
        let known = self.known(&channel.name);
        let newest = self.newest(&channel.name).map(|newest| newest.serial);
        let is_newer = present.is_some_and(|present| newest.is_none_or(|it| it < serial(present)));
        let also = match &known {
            // The field is not signed: of what this host knows, only this host says what it was.
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

    /// Refuses to put a release on a channel where nobody knows below which version its devices do not go back: this host
    /// remembers nothing, the command line says nothing, and the bucket has releases of this channel under this key.
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
        let say = "say it with --min-version, or say --no-min-version if there is none";
        let known = self.known(name);
        match known.as_ref().map(Known::knows_min_version) {
            Some(true) => return Ok(()),
            Some(false) => {
                let message = format!(
                    "this host knows of {name} what lay in the bucket when --version named it. Below which version devices of {name} do \
                     not go back, nobody has said here yet: an older manifest may have been put back. Nothing was signed"
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
                None => format!("there are releases for {name}, whose least version is not known"),
            };
            let message =
                format!("under the key {other}, {below}; the key {key} has not said so yet");
            return Err(CliError::new("sign.min_version", message).hint(say));
        }
        let Some(found) = self.signed_before(store, prefix, channel).await? else {
            return Ok(());
        };
        let message = format!(
            "{found} was signed for {name} with the key {key}, and this host has never seen it. Below which version devices of {name} \
             do not go back cannot be known from a bucket, where an older manifest may have been put back. Nothing was signed"
        );
        Err(CliError::new("sign.min_version", message).hint(or_import(say)))
    }

    /// An object that shows that the key has signed for a channel before.
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

    /// What is odd about what a channel holds, where nothing of it counts.
    pub fn warning(&self, channel: &Channel) -> Option<CliError> {
        let (name, key) = (&channel.name, self.signer.key_id());
        let who = "find out who writes to your bucket: s3ota verify says more";
        let warning = |message: String| CliError::new("publish.key", message);
        let manifest = channel
            .current
            .as_ref()
            .map(|held| held.manifest.as_ref().ok());
        match manifest.map(|it| it.map(|manifest| manifest.signature.as_ref())) {
            _ if self.signed_by(channel) == Some(key) => None,
            Some(Some(Some(signature))) if !key.is(&signature.keyid) => Some(
                warning(format!(
                    "the release on the channel {name} was signed with the key {}, this one is with {key}: devices that do not trust \
                     both would refuse it",
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
                    None => "its manifest is not in the bucket any more",
                    Some(_) => "what lies there now is not signed",
                };
                warning(format!(
                    "this host knows that {} was signed for the channel {name}, and {what}",
                    newest.version
                ))
                .hint(who)
            }),
        }
    }

    /// Remembers what a channel holds, if it is ours.
    pub fn remember_present(&self, channel: &Channel) -> Result<(), CliError> {
        if let Some(present) = self.present(channel)?
            && let Some(key) = self.signed_by(channel)
        {
            let at = self.at(key, &channel.name);
            self.state.borrow_mut().remember_found(&at, present)?;
        }
        Ok(())
    }

    /// Remembers a manifest that was signed and is the channel's now, and the one before it.
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

    /// Whether what is signed now has the least version that its channel has. What was found in the bucket does not say so, nor
    /// does a --version that vouches for it.
    fn knows_min_version(&self, channel: &Channel) -> Result<bool, CliError> {
        let MinVersionArgs {
            min_version,
            no_min_version,
        } = &self.intent.min_version;
        if min_version.is_some() || *no_min_version {
            return Ok(true);
        }
        // Where nothing of ours is there, it is a firmware that is signed, and `min_version_is_known` found nothing against it.
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

    /// Looks again at what is remembered: another command on this host may have signed meanwhile.
    pub fn look_again(&self) -> Result<(), CliError> {
        self.state.borrow_mut().look_again()
    }

    /// An object of the bucket, for people.
    pub fn object(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }
}

/// What to do, if not to bring it over from another host.
fn or_import(say: &str) -> String {
    format!(
        "{say}; or bring over what another host knows: `s3ota state export` there, `s3ota state import` here"
    )
}

/// Refuses to renew the URLs of a signed manifest that cannot be the newest of its channel. No key is at hand, so its
/// signature is not verified: what is refused is what it says itself.
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
            .hint("find out who writes to your bucket, and publish the firmware that you have"));
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

/// The name under which a location is remembered: two services may have buckets of one name.
pub async fn place(store: &Store, location: &Location) -> Result<String, CliError> {
    Ok(match store.service().await? {
        None => location.to_string(),
        Some(service) => format!("{location} at {service}"),
    })
}

/// The number of a manifest; one without is before all others.
pub fn serial(manifest: &ManifestDocument) -> u64 {
    manifest.serial.unwrap_or(0)
}

/// What lies in the bucket is older than what this host knows.
pub fn replayed(found: &str, channel: &str, newest: &Signed) -> CliError {
    let message = format!(
        "{found}, and this host knows {} with the serial {} on the channel {channel}: someone put something older there. Nothing was signed",
        newest.version, newest.serial
    );
    CliError::new("sign.replayed", message).hint(format!(
        "find out who writes to your bucket. If {} is lost for good, as in a bucket restored from a backup, say --newer-is-lost: what is \
         signed then gets a serial above both",
        newest.version
    ))
}

/// Refuses what has ended.
pub fn has_not_expired(manifest: &ManifestDocument, target: &str) -> Result<(), CliError> {
    match manifest.expires {
        Some(end) if end.unix_seconds() <= clock::now() => {
            let message = format!(
                "{target} holds {}, which has expired at {end}: signed anew, it could hide whatever was released since. Nothing was signed",
                manifest.version
            );
            Err(CliError::new("sign.expired", message).hint(format!(
                "if {0} is the newest release, publish its firmware again: the same bytes under {0} get a new date",
                manifest.version
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses another version than the one that is meant.
pub fn is_meant(
    manifest: &ManifestDocument,
    target: &str,
    meant: Option<&str>,
) -> Result<(), CliError> {
    match meant {
        Some(meant) if meant != manifest.version => {
            let message = format!(
                "{target} holds {}, and {meant} is meant: nothing was signed",
                manifest.version
            );
            Err(CliError::new("sign.version", message)
                .hint("`s3ota history` shows what was there, and who changed it"))
        }
        _ => Ok(()),
    }
}

/// Takes the permission to go back from a manifest that is signed anew, unless it is asked for again; that is said.
pub fn end_permission(manifest: &mut ManifestDocument, asked_for: bool) -> Option<CliError> {
    let ends = manifest.downgrade && !asked_for;
    manifest.downgrade = asked_for;
    ends.then(|| {
        let message = format!(
            "devices with a newer version were allowed to go back to {}, and are not any more: the permission is not signed anew by itself",
            manifest.version
        );
        CliError::new("publish.downgrade", message)
            .hint("to give it again, say --allow-downgrade --expires TIME")
    })
}
