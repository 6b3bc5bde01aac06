//! A channel in the bucket: the manifest that it serves, and the one way to replace it.
//!
//! Every command that changes a channel takes the same steps:
//!
//! 1. [`Channel::read`]: the present manifest, and the entity tag of exactly this state of it.
//! 2. [`Channel::stamp`]: the new manifest gets its serial, its date, and who did what. Where there is a key it is signed, if
//!    the [`SigningHost`] permits it.
//! 3. [`Channel::replace`]: the present manifest is filed in the history, and replaced if it is still the one that was read. The
//!    manifests of legacy clients are updated afterwards ([`Channel::update_legacy`]).
//!
//! So if two people change a channel at once, one of them is told. The history holds every manifest that the channel ever had.
//! A command that is killed on the way leaves the old manifest or the new one, whole.

mod args;

use std::collections::BTreeSet;
use std::mem;
use std::time::Duration;

use s3ota_manifest::{ManifestDocument, ManifestError, Sha256Digest, Timestamp, Version, layout};
use serde_json::json;
use sha2::{Digest, Sha256};

pub use self::args::{ChangeArgs, Changing, Opened, PlaceArgs, parse_rollout};
use crate::bucket::artefacts;
use crate::bucket::resign::{Origin, SigningHost};
use crate::bucket::seal::{self, Lifetime};
use crate::clock;
use crate::error::CliError;
use crate::legacy::LegacyClient;
use crate::output::{self, Output};
use crate::s3::{Condition, Found, Object, Put, Store, Upload};

/// How often to try a manifest that others are changing at the same time.
pub const ATTEMPTS: u32 = 10;

/// The year 2020: no lower serial is a second in which `s3ota` signed.
const BEGIN: u64 = 1_577_836_800;

/// A channel as it was when it was read.
#[derive(Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// What it holds, if anything.
    pub current: Option<Held>,
    /// The key of its manifest.
    pub key: String,
    prefix: String,
}

/// A document that a channel holds or held.
#[derive(Debug, Clone)]
pub struct Held {
    object: Object,
    /// Its contents, or why it is not a manifest.
    pub manifest: Result<ManifestDocument, ManifestError>,
}

impl Held {
    /// A document that was read.
    pub fn of(object: Object) -> Self {
        Self {
            manifest: ManifestDocument::parse(&object.bytes),
            object,
        }
    }

    /// The document.
    pub fn bytes(&self) -> &[u8] {
        &self.object.bytes
    }

    /// Its serial, or the second in which it was written where it has none.
    pub fn serial(&self) -> u64 {
        let own = self.manifest.as_ref().ok().and_then(|it| it.serial);
        own.or(self.object.modified).unwrap_or(0)
    }

    /// When it was written, if that is known.
    pub fn date(&self) -> Option<Timestamp> {
        let own = self
            .manifest
            .as_ref()
            .ok()
            .and_then(|manifest| Timestamp::parse(manifest.date.as_deref()?).ok());
        own.or_else(|| Timestamp::from_unix_seconds(self.object.modified?))
    }
}

/// A change of a channel: for its history, and for its signature.
#[derive(Clone)]
pub struct Act<'a> {
    /// `publish`, `promote`, `rollout`, `pause`, `yank`.
    pub action: &'static str,
    /// Where it comes from: the source channel of a promotion, the yanked version, the percentage before.
    pub from: Option<String>,
    /// The name for the history.
    pub by: Option<String>,
    /// What signs, and where the manifest comes from; `None` if it is not signed.
    pub signing: Option<(&'a SigningHost, Origin)>,
    /// How long the manifest is valid; `None` for the default.
    pub lifetime: Option<Lifetime>,
    /// Whether an unsigned manifest may replace a signed one.
    pub unsigned: bool,
    /// The legacy clients that the channel serves from now on; `None` for the present ones.
    pub legacy: Option<&'a BTreeSet<LegacyClient>>,
}

impl Channel {
    /// The channel as it is now.
    pub async fn read(store: &Store, prefix: &str, name: &str) -> Result<Self, CliError> {
        let key = layout::channel_key(prefix, name)
            .map_err(|error| CliError::new("publish.channel", error.to_string()))?;
        Ok(Self {
            current: store.get(&key).await?.map(Held::of),
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            key,
        })
    }

    /// A channel whose manifest has been read already.
    pub fn holding(prefix: &str, name: &str, key: String, object: Object) -> Self {
        Self {
            name: name.to_owned(),
            current: Some(Held::of(object)),
            key,
            prefix: prefix.to_owned(),
        }
    }

    /// The manifest that the channel holds, if it can be read.
    pub fn readable(&self) -> Option<&ManifestDocument> {
        self.current.as_ref()?.manifest.as_ref().ok()
    }

    /// The manifest that the channel holds; an error where there is none, or one that cannot be read.
    pub fn manifest(&self, store: &Store) -> Result<&ManifestDocument, CliError> {
        let bucket = store.bucket();
        match &self.current {
            None => Err(CliError::new(
                "channel.empty",
                format!(
                    "there is no channel {}: no s3://{bucket}/{}",
                    self.name, self.key
                ),
            )
            .hint("`s3ota status` shows the channels")),
            Some(held) => held.manifest.as_ref().map_err(|error| {
                CliError::new(
                    "manifest.invalid",
                    format!("s3://{bucket}/{}: {error}", self.key),
                )
            }),
        }
    }

    /// Makes a manifest the next one of this channel, and signs it. An earlier signature is removed: it was over another
    /// statement. Returns a warning for what looks like a mistake.
    pub async fn stamp(
        &self,
        manifest: &mut ManifestDocument,
        act: &Act<'_>,
    ) -> Result<Option<CliError>, CliError> {
        let warning = self.may_be_signed_so(act)?;
        manifest.channel = Some(self.name.clone());
        manifest.serial = Some(self.next_serial(clock::now(), act.signing.is_some()));
        manifest.signature = None;
        let kept = self.kept_legacy(act.signing.map(|(host, _)| host))?;
        LegacyClient::write_down(act.legacy.unwrap_or(&kept), manifest);
        self.describe(manifest, act.action, act.from.as_deref(), act.by.as_deref());
        // They are not signed, and get the room that is left.
        let deltas = mem::take(&mut manifest.deltas);
        let compressed = manifest.compressed.take();
        if let Some((host, _)) = act.signing {
            let last = host.last(self)?;
            seal::seal(manifest, &self.name, act.lifetime, &last, &host.signer).await?;
        } else if let Some(lifetime) = act.lifetime {
            manifest.expires = lifetime.end()?;
        }
        (manifest.deltas, manifest.compressed) = (deltas, compressed);
        artefacts::fit(manifest);
        Ok(warning)
    }

    /// Writes into a manifest who did what, for the history. None of it is signed.
    pub fn describe(
        &self,
        manifest: &mut ManifestDocument,
        action: &str,
        from: Option<&str>,
        by: Option<&str>,
    ) {
        // If the version stays the same, so does the time since which the channel serves it.
        let since = match self.readable() {
            Some(old) if old.version == manifest.version && old.sha256 == manifest.sha256 => {
                since(old)
            }
            _ => None,
        };
        manifest.date = Some(clock::timestamp().to_string());
        manifest.uploader = by.map(str::to_owned);
        for (field, value) in [
            ("action", Some(action)),
            ("from", from),
            ("since", since.as_deref()),
        ] {
            match value {
                Some(value) => manifest.extra.insert(field.to_owned(), json!(value)),
                None => manifest.extra.remove(field),
            };
        }
    }

    /// A serial above the present manifest's, so that both have a place in the history. A serial that no clock can have led to is
    /// not followed: after the highest possible one there would be no other.
    fn next_serial(&self, now: u64, is_signed: bool) -> u64 {
        const HOUR: u64 = 60 * 60;
        const CENTURY: u64 = 100 * 365 * 24 * HOUR;
        // A signer follows the serials of its own key, which `seal` knows, and other serials only within the error of a clock.
        let far = now.saturating_add(if is_signed { HOUR } else { CENTURY });
        let before = self.current.as_ref().map(Held::serial);
        let before = before.filter(|before| *before < far);
        now.max(before.map_or(0, |before| before.saturating_add(1)))
    }

    /// The legacy clients that the channel serves.
    pub fn legacy(&self) -> BTreeSet<LegacyClient> {
        self.readable().map(LegacyClient::of).unwrap_or_default()
    }

    /// The legacy clients that the channel serves, as far as the signing host trusts the manifest that names them.
    pub fn kept_legacy(
        &self,
        host: Option<&SigningHost>,
    ) -> Result<BTreeSet<LegacyClient>, CliError> {
        match host {
            Some(host) => Ok(host.last(self)?.also),
            None => Ok(self.legacy()),
        }
    }

    /// Refuses an unsigned manifest in place of a signed one. Warns where another key signed the present one.
    pub fn may_be_signed_so(&self, act: &Act<'_>) -> Result<Option<CliError>, CliError> {
        if let Some((host, _)) = act.signing {
            host.present(self)?;
            return Ok(host.warning(self));
        }
        match self.readable().and_then(|it| it.signature.as_ref()) {
            Some(signature) if !act.unsigned => {
                let message = format!(
                    "the release on the channel {} has a signature by the key {}: devices with release keys would refuse an unsigned one",
                    self.name, signature.keyid
                );
                Err(CliError::new("publish.unsigned", message)
                    .hint("sign it with --key; or use --unsigned if that is what you want"))
            }
            _ => Ok(None),
        }
    }

    /// Replaces what the channel holds with `manifest`, unless someone else has changed it in the meantime. The host that signed it
    /// then records it.
    pub async fn replace(
        &self,
        store: &Store,
        manifest: &ManifestDocument,
        host: Option<&SigningHost>,
        public_read: bool,
    ) -> Result<(), CliError> {
        match self.try_replace(store, manifest, host, public_read).await? {
            Put::Written => Ok(()),
            Put::Conflict | Put::Missing => Err(self.conflict(store)),
        }
    }

    /// The same for a caller that handles a conflict.
    pub async fn try_replace(
        &self,
        store: &Store,
        manifest: &ManifestDocument,
        host: Option<&SigningHost>,
        public_read: bool,
    ) -> Result<Put, CliError> {
        self.try_conditions(store).await?;
        if let Some(held) = &self.current {
            self.file(store, held).await?;
        }
        let put = self.put(store, manifest, public_read).await?;
        if put == Put::Written {
            if let Some(host) = host {
                host.remember(self, manifest)?;
            }
            self.update(LegacyClient::of(manifest), store, public_read)
                .await?;
        }
        Ok(put)
    }

    /// Replaces the manifest with the same release under other URLs, unless someone else has changed it in the meantime. It gets no
    /// entry in the history.
    pub async fn refresh(
        &self,
        store: &Store,
        manifest: &ManifestDocument,
        public_read: bool,
    ) -> Result<(), CliError> {
        self.try_conditions(store).await?;
        if self.put(store, manifest, public_read).await? != Put::Written {
            return Err(self.conflict(store));
        }
        self.update(LegacyClient::of(manifest), store, public_read)
            .await
    }

    /// Updates the manifests of legacy clients. A change of the channel includes this; it is for commands that find nothing to
    /// change, because an earlier one may have been interrupted before it came to this.
    pub async fn update_legacy(&self, store: &Store, public_read: bool) -> Result<(), CliError> {
        self.update(self.legacy(), store, public_read).await
    }

    /// The legacy clients whose manifests are not what the channel serves.
    pub async fn legacy_out_of_step(&self, store: &Store) -> Result<Vec<LegacyClient>, CliError> {
        let manifest = self.manifest(store)?;
        let mut found = Vec::new();
        for library in LegacyClient::of(manifest) {
            let there = store.get(&library.key(&self.prefix, &self.name)?).await?;
            if there.is_none_or(|there| *there.bytes != *library.json(manifest).as_bytes()) {
                found.push(library);
            }
        }
        Ok(found)
    }

    async fn update(
        &self,
        libraries: BTreeSet<LegacyClient>,
        store: &Store,
        public_read: bool,
    ) -> Result<(), CliError> {
        for library in libraries {
            self.update_one(library, store, public_read).await?;
        }
        Ok(())
    }

    /// Updates the manifest of one legacy client: it names no release if the channel does not name the client. `false` if there is
    /// no such manifest, and none is needed.
    ///
    /// The manifest to replace is read first, and the channel after it, whoever changed it last. If someone changes the channel
    /// after that, they get here later: they find what was written here, or prevent it from being written.
    pub async fn update_one(
        &self,
        library: LegacyClient,
        store: &Store,
        public_read: bool,
    ) -> Result<bool, CliError> {
        let key = library.key(&self.prefix, &self.name)?;
        for _ in 0..ATTEMPTS {
            let there = store.get(&key).await?;
            let Some(Ok(manifest)) = store.get(&self.key).await?.map(|it| Held::of(it).manifest)
            else {
                return Ok(there.is_some());
            };
            if there.is_none() && !LegacyClient::of(&manifest).contains(&library) {
                return Ok(false);
            }
            let json = library.json(&manifest);
            if there.as_ref().map(|there| &*there.bytes) == Some(json.as_bytes()) {
                return Ok(true);
            }
            let upload = Upload {
                public_read,
                ..Upload::manifest(&key, &json)
            };
            let condition = Condition::as_read(there.as_ref());
            if store.put_if(&condition, &upload).await? == Put::Written {
                return Ok(true);
            }
        }
        let message = format!(
            "s3://{}/{key} keeps changing, and may differ from what {} serves",
            store.bucket(),
            self.name
        );
        Err(CliError::new("s3.conflict", message).hint("run this command again"))
    }

    /// Finds out whether the service honours conditions.
    async fn try_conditions(&self, store: &Store) -> Result<(), CliError> {
        store
            .try_conditions(&format!(
                "{}no-conditional-writes.txt",
                layout::history_folder(&self.prefix, &self.name)
                    .map_err(|error| CliError::new("s3.url", error.to_string()))?
            ))
            .await
    }

    /// Puts the manifest, unless the channel has changed since it was read.
    async fn put(
        &self,
        store: &Store,
        manifest: &ManifestDocument,
        public_read: bool,
    ) -> Result<Put, CliError> {
        let json = manifest.to_json()?;
        let key = |serial| {
            layout::history_key(&self.prefix, &self.name, serial)
                .map_err(|error| CliError::new("s3.url", error.to_string()))
        };
        if store.ignores_conditions() {
            // The best there is without conditions: a short time between reading and writing.
            let now = store.get(&self.key).await?;
            if now.as_ref().map(|now| &now.bytes)
                != self.current.as_ref().map(|held| &held.object.bytes)
            {
                return Ok(Put::Conflict);
            }
        }
        let upload = Upload {
            public_read,
            ..Upload::manifest(&self.key, &json)
        };
        let condition = Condition::as_read(self.current.as_ref().map(|held| &held.object));
        if store.put_if(&condition, &upload).await? == Put::Written {
            return Ok(Put::Written);
        }
        // A request that the SDK repeated finds the result of the first one, there or in the history.
        for key in [self.key.clone(), key(manifest.serial.unwrap_or(0))?] {
            if let Some(object) = store.get(&key).await?
                && object.bytes == json.as_bytes()
            {
                return Ok(Put::Written);
            }
        }
        Ok(Put::Conflict)
    }

    /// Files what the channel holds in its history.
    async fn file(&self, store: &Store, held: &Held) -> Result<(), CliError> {
        let named = |error: layout::LayoutError| CliError::new("s3.url", error.to_string());
        let key = layout::history_key(&self.prefix, &self.name, held.serial()).map_err(named)?;
        let filed = |key| Upload {
            cache_control: layout::IMMUTABLE_CACHE_CONTROL,
            ..Upload::manifest(key, held.bytes())
        };
        if store.put_if(&Condition::Absent, &filed(&key)).await? == Put::Written {
            return Ok(());
        }
        // Someone else filed it; or another document has this serial, written by another tool.
        let there = store.get(&key).await?;
        if there.is_some_and(|there| there.bytes == held.bytes()) {
            return Ok(());
        }
        let hash = output::hex(&Sha256::digest(held.bytes()));
        let (stem, short) = (key.trim_end_matches(".json"), &hash[..12]);
        let other = format!("{stem}-{short}.json");
        // The name follows from the contents, so one that exists is the same.
        let _ = store.put_if(&Condition::Absent, &filed(&other)).await?;
        Ok(())
    }

    /// The error that someone else has changed the channel.
    pub fn conflict(&self, store: &Store) -> CliError {
        let message = format!(
            "someone else has changed the channel {} in the meantime (s3://{}/{}); their change was not overwritten",
            self.name,
            store.bucket(),
            self.key
        );
        CliError::new("s3.conflict", message).hint(
            "check what it serves now with `s3ota status`, and run this command again if it still applies",
        )
    }
}

/// Since when a channel serves the version of its manifest.
pub fn since(manifest: &ManifestDocument) -> Option<String> {
    let kept = manifest.extra.get("since").and_then(|since| since.as_str());
    kept.map(str::to_owned).or_else(|| manifest.date.clone())
}

/// The lifetime of a manifest when it was written, so that the next one can have the same; `None` where it is unsigned and has
/// no expiry, and where the lifetime is not known.
pub fn lifetime(manifest: &ManifestDocument) -> Option<Lifetime> {
    let Some(end) = manifest.expires.map(Timestamp::unix_seconds) else {
        return manifest.signature.as_ref().map(|_| Lifetime::Never);
    };
    // The date is not signed: with another one, an attacker could extend the lifetime of what is signed next. The serial is
    // signed, and is the second of signing.
    let begin = match &manifest.signature {
        Some(_) => manifest.serial.filter(|serial| *serial > BEGIN),
        None => manifest.date.as_deref().and_then(clock::seconds),
    };
    let time = end.checked_sub(begin?).filter(|time| *time > 0)?;
    Some(Lifetime::For(Duration::from_secs(time)))
}

/// The key of the image that a manifest names by its hash.
pub fn image_key(prefix: &str, version: &str, sha256: Option<Sha256Digest>) -> Option<String> {
    let version = Version::parse(version).ok()?;
    layout::image_key(prefix, &version, &sha256?).ok()
}

/// Checks again what others may have done in the meantime: yanked the version, or removed the image.
pub async fn see_that_it_stands(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
) -> Result<(), CliError> {
    super::catalogue::refuse_yanked(store, prefix, &manifest.version).await?;
    must_have_image(store, prefix, manifest).await
}

/// Refuses a manifest whose image no device could read.
pub async fn must_have_image(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
) -> Result<(), CliError> {
    match image_lack(store, prefix, manifest).await? {
        Some(lack) => Err(lack),
        None => Ok(()),
    }
}

/// Whether the image of a manifest is in the bucket, and can be read.
pub async fn has_image(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
) -> Result<bool, CliError> {
    match own_image(prefix, manifest) {
        Some(key) => Ok(store.head(&key).await?.is_some()),
        None => Ok(true),
    }
}

/// Why no device could read the image of a manifest: it is missing or archived. An image elsewhere is taken to be there.
pub async fn image_lack(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
) -> Result<Option<CliError>, CliError> {
    match own_image(prefix, manifest) {
        Some(key) => lack_of(store, &manifest.version, &key).await,
        None => Ok(None),
    }
}

/// The key of a manifest's image, if its URL leads to the image of ours.
fn own_image(prefix: &str, manifest: &ManifestDocument) -> Option<String> {
    let key = image_key(prefix, &manifest.version, manifest.sha256)?;
    manifest
        .url
        .contains(&layout::url_path(&key))
        .then_some(key)
}

/// Why no device could read the image of a version under a key.
pub async fn lack_of(
    store: &Store,
    version: &str,
    key: &str,
) -> Result<Option<CliError>, CliError> {
    let what = format!("the image of {version}");
    Ok(match store.find(key).await? {
        Found::Object(_) => None,
        Found::Nothing => {
            let message = format!("{what} is not in the bucket: s3://{}/{key}", store.bucket());
            Some(CliError::new("release.image", message).hint(
                "publish the firmware again: the same bytes under the same version restore it",
            ))
        }
        Found::Archived(archived, _) => {
            let error = store.archived(&what, key, &archived).await;
            Some(error.hint(
                "publish the firmware again: the same bytes under the same version are uploaded anew; and exclude the prefix from the \
                 lifecycle rule that archives it (`s3ota bucket init` looks for it)",
            ))
        }
    })
}

/// Warns of what a store cannot do.
pub fn warn_of_store(store: &Store, out: &Output) {
    if store.ignores_conditions() {
        out.warning(
            &CliError::new(
                "s3.conditional",
                "this store has no conditional writes: if two people change a channel in the same second, one may overwrite the other unnoticed",
            )
            .hint("publish from one place only, such as one CI job at a time"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_manifest::HttpsUrl;

    fn manifest(version: &str) -> ManifestDocument {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        ManifestDocument::new(&Version::parse(version).unwrap(), &url)
    }

    fn channel(held: &[u8], modified: u64) -> Channel {
        let object = Object {
            bytes: held.to_vec(),
            etag: None,
            modified: Some(modified),
        };
        Channel::holding("p", "stable", "p/stable.json".into(), object)
    }

    const ACT: Act<'_> = Act {
        action: "publish",
        from: None,
        by: None,
        signing: None,
        lifetime: None,
        unsigned: false,
        legacy: None,
    };

    #[tokio::test]
    async fn serials_only_rise_whatever_the_clocks_say() {
        let future = 4_000_000_000;
        let mut next = manifest("1.0.0");
        let by_hand = br#"{"version": "1.0.0", "url": "https://example.com/a.bin"}"#;
        channel(by_hand, future)
            .stamp(&mut next, &ACT)
            .await
            .unwrap();
        assert_eq!(next.serial, Some(future + 1));
        let held = next.to_json().unwrap();
        let mut after = manifest("1.1.0");
        channel(held.as_bytes(), 0)
            .stamp(&mut after, &ACT)
            .await
            .unwrap();
        assert_eq!(after.serial, Some(future + 2));
    }

    #[test]
    fn a_serial_that_no_clock_can_have_led_to_is_not_followed() {
        let now = clock::now();
        let planted = |serial: u64| {
            let json = format!(
                r#"{{"version": "1.0.0", "url": "https://example.com/a.bin", "serial": {serial}}}"#
            );
            channel(json.as_bytes(), 0)
        };
        assert_eq!(planted(u64::MAX).next_serial(now, false), now);
        assert_eq!(planted(now + 7200).next_serial(now, false), now + 7201);
        assert_eq!(planted(now + 7200).next_serial(now, true), now);
        assert_eq!(planted(now + 5).next_serial(now, true), now + 6);
    }

    #[tokio::test]
    async fn a_new_rollout_does_not_change_since_when_a_version_is_served() {
        let mut first = manifest("1.0.0");
        first.date = Some("2026-01-01T00:00:00Z".into());
        let held = first.to_json().unwrap();
        let mut wider = first.clone();
        channel(held.as_bytes(), 0)
            .stamp(&mut wider, &ACT)
            .await
            .unwrap();
        assert_eq!(since(&wider).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_ne!(wider.date, first.date);
        let mut other = manifest("1.1.0");
        channel(wider.to_json().unwrap().as_bytes(), 0)
            .stamp(&mut other, &ACT)
            .await
            .unwrap();
        assert_eq!(since(&other), other.date);
    }

    #[test]
    fn the_lifetime_of_a_signed_manifest_is_read_from_what_is_signed() {
        let mut signed = manifest("1.0.0");
        signed.signature = Some(s3ota_manifest::SignatureDocument {
            keyid: "k".into(),
            sig: "s".into(),
        });
        signed.date = Some("1970-01-01T00:00:00Z".into());
        assert_eq!(lifetime(&signed), Some(Lifetime::Never));
        signed.expires = Timestamp::from_unix_seconds(1_800_000_600);
        assert_eq!(lifetime(&signed), None);
        for (serial, time) in [
            (1_800_000_000, Some(600)),
            (1_800_000_600, None),
            (1_900_000_000, None),
            (7, None),
        ] {
            signed.serial = Some(serial);
            let time = time.map(|time| Lifetime::For(Duration::from_secs(time)));
            assert_eq!(lifetime(&signed), time, "{serial}");
        }
        signed.signature = None;
        signed.date = Some("2027-01-15T08:09:00Z".into());
        let rest = 1_800_000_600 - clock::seconds("2027-01-15T08:09:00Z").unwrap();
        assert_eq!(
            lifetime(&signed),
            Some(Lifetime::For(Duration::from_secs(rest)))
        );
    }
}
