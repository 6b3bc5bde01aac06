//! The rollback state of this host: what its keys have signed. For each key, location and channel it holds the last manifests,
//! and the version below which devices do not go back.
//!
//! An attacker who can write to a bucket can put an old, signed manifest back, and nothing in the bucket tells it from the
//! newest one. What `bucket/resign` compares it with is kept here, in one file in the user's state directory:
//!
//! ```json
//! { "format": 1,
//!   "keys": { "97f1a8e3c5d20b46": { "s3://my-bucket/lamp": {
//!     "channels": { "stable": {
//!       "releases": [{ "serial": 1795500000, "version": "1.2.0", "statement": "9f86d0…" }],
//!       "min_version": "1.1.0" } } } } } }
//! ```
//!
//! The file is replaced as a whole, under a lock, and entries are only ever added or raised: two commands at once lose nothing.
//! Nothing in it is secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use s3ota_manifest::{ManifestDocument, Sha256Digest, Version};
use serde::{Deserialize, Serialize};

use super::dir;
use crate::error::CliError;
use crate::keys;
use crate::legacy::LegacyClient;
use crate::versions;

/// The file in that folder.
const FILE: &str = "signed.json";

/// The format that this program reads and writes.
const FORMAT: u32 = 1;

/// How many releases of a channel are kept: it can go back to one of them.
const RELEASES: usize = 32;

/// One channel, under one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The key's id.
    pub key: String,
    /// The location, and the service it is on.
    pub place: String,
    /// The channel.
    pub channel: String,
}

/// A manifest that was signed for a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Its serial.
    pub serial: u64,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its statement: no other manifest has the same.
    pub statement: String,
}

impl Signed {
    /// The entry for a signed manifest.
    pub fn of(manifest: &ManifestDocument) -> Result<Self, CliError> {
        Ok(Self {
            serial: manifest.serial.unwrap_or(0),
            version: manifest.version.clone(),
            statement: Sha256Digest(keys::digest(manifest)?).to_string(),
        })
    }
}

/// The entry for a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The last manifest of each of the last versions, by serial. Never empty.
    releases: Vec<Signed>,
    /// Its `min_version`: devices do not go back below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    /// Whether `min_version` was only found in the bucket, where an older manifest may have been, and is confirmed by nobody.
    #[serde(default, skip_serializing_if = "is_false")]
    min_version_is_found: bool,
    /// The project in the newest manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// The chip in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chip: Option<String>,
    /// The legacy clients in it. They are not signed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    also: BTreeSet<String>,
}

fn is_false(it: &bool) -> bool {
    !it
}

impl Known {
    /// Whether `min_version` is known: someone has set it, or this host has signed the channel's first release.
    pub fn knows_min_version(&self) -> bool {
        !self.min_version_is_found
    }

    /// An entry to merge into.
    fn nothing() -> Self {
        Self {
            min_version_is_found: true,
            ..Self::default()
        }
    }

    /// The newest manifest.
    pub fn newest(&self) -> Option<&Signed> {
        self.releases.last()
    }

    /// The last manifest of each version, newest first.
    pub fn releases(&self) -> impl Iterator<Item = &Signed> {
        self.releases.iter().rev()
    }

    /// The legacy clients in the newest manifest.
    pub fn also(&self) -> BTreeSet<LegacyClient> {
        LegacyClient::named(self.also.iter().map(String::as_str))
    }

    /// Whether a manifest is of the same product as the newest one.
    pub fn is_of_product(&self, manifest: &ManifestDocument) -> bool {
        (&self.project, &self.chip) == (&manifest.project, &manifest.chip)
    }

    /// Takes over what is newer or was not known.
    fn merge(&mut self, other: Self) {
        let is_newer = other.newest().map(|it| it.serial) > self.newest().map(|it| it.serial);
        if is_newer {
            (self.project, self.chip) = (other.project, other.chip);
            self.also = other.also;
        }
        self.min_version_is_found &= other.min_version_is_found;
        self.min_version = highest(self.min_version.take(), other.min_version);
        for signed in other.releases {
            let before = self
                .releases
                .iter()
                .position(|it| it.version == signed.version);
            match before {
                Some(at) if self.releases[at].serial >= signed.serial => continue,
                Some(at) => drop(self.releases.remove(at)),
                None => {}
            }
            let at = self
                .releases
                .partition_point(|it| it.serial <= signed.serial);
            self.releases.insert(at, signed);
        }
        let too_many = self.releases.len().saturating_sub(RELEASES);
        self.releases.drain(..too_many);
    }

    fn is_sound(&self) -> bool {
        let is_version = |text: &String| Version::parse(text).is_ok();
        let is_sound =
            |it: &Signed| is_version(&it.version) && it.statement.parse::<Sha256Digest>().is_ok();
        !self.releases.is_empty()
            && self.releases.iter().all(is_sound)
            && self.releases.is_sorted_by_key(|it| it.serial)
            && self.min_version.as_ref().is_none_or(is_version)
    }
}

/// The entries for a location.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    channels: BTreeMap<String, Known>,
    /// The versions that were yanked here, or whose marks were believed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    yanked: BTreeSet<String>,
}

/// The whole state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    /// By key id and location.
    keys: BTreeMap<String, BTreeMap<String, Place>>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            format: FORMAT,
            keys: BTreeMap::new(),
        }
    }
}

impl Contents {
    fn parse(json: &[u8]) -> Result<Self, String> {
        // Of a later format, only the number has to be readable.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!(
                "its format is {format}, and this s3ota reads {FORMAT}"
            ));
        }
        let contents: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if let Some((at, _)) = contents.channels().find(|(_, known)| !known.is_sound()) {
            return Err(format!(
                "its entry for {} on {} is impossible",
                at.channel, at.place
            ));
        }
        Ok(contents)
    }

    fn to_json(&self) -> Result<String, CliError> {
        serde_json::to_string_pretty(self)
            .map(|json| json + "\n")
            .map_err(|error| CliError::new("state.io", error.to_string()))
    }

    fn channels(&self) -> impl Iterator<Item = (At, &Known)> {
        let places = self
            .keys
            .iter()
            .flat_map(|(key, places)| places.iter().map(move |(place, it)| (key, place, it)));
        places.flat_map(|(key, place, it)| {
            it.channels.iter().map(move |(channel, known)| {
                let at = At {
                    key: key.clone(),
                    place: place.clone(),
                    channel: channel.clone(),
                };
                (at, known)
            })
        })
    }

    fn place(&mut self, key: &str, place: &str) -> &mut Place {
        let places = self.keys.entry(key.to_owned()).or_default();
        places.entry(place.to_owned()).or_default()
    }

    fn merge(&mut self, other: Self) {
        for (key, places) in other.keys {
            for (place, theirs) in places {
                let ours = self.place(&key, &place);
                ours.yanked.extend(theirs.yanked);
                for (channel, known) in theirs.channels {
                    ours.channels
                        .entry(channel)
                        .or_insert_with(Known::nothing)
                        .merge(known);
                }
            }
        }
    }
}

/// The rollback state of this host.
#[derive(Debug)]
pub struct RollbackState {
    /// Its folder; a state without one ends with the process.
    folder: Option<PathBuf>,
    contents: Contents,
}

impl RollbackState {
    /// Opens it for writing. That this is possible is checked before anything is signed.
    pub fn open() -> Result<Self, CliError> {
        Self::open_in(folder()?)
    }

    /// Opens the one in a folder, which is created if needed.
    pub fn open_in(folder: PathBuf) -> Result<Self, CliError> {
        dir::make(&folder).map_err(|error| unwritable(&folder, &error))?;
        lock(&folder)?;
        Self::read_in(folder)
    }

    /// Reads it; it is empty where there is no folder for it.
    pub fn read() -> Result<Self, CliError> {
        match folder() {
            Ok(folder) => Self::read_in(folder),
            Err(_) => Ok(Self::volatile()),
        }
    }

    fn read_in(folder: PathBuf) -> Result<Self, CliError> {
        let contents = load(&folder)?;
        Ok(Self {
            folder: Some(folder),
            contents,
        })
    }

    /// A state that ends with the process.
    pub fn volatile() -> Self {
        Self {
            folder: None,
            contents: Contents::default(),
        }
    }

    /// Reads what other commands have added in the meantime.
    pub fn look_again(&mut self) -> Result<(), CliError> {
        if let Some(folder) = &self.folder {
            self.contents = load(folder)?;
        }
        Ok(())
    }

    /// The file it is in.
    pub fn file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(FILE))
    }

    /// The entry for a channel.
    pub fn known(&self, key: &str, place: &str, channel: &str) -> Option<&Known> {
        self.contents
            .keys
            .get(key)?
            .get(place)?
            .channels
            .get(channel)
    }

    /// Whether a version is known to be yanked.
    pub fn is_yanked(&self, key: &str, place: &str, version: &str) -> bool {
        let places = self.contents.keys.get(key);
        places
            .and_then(|places| places.get(place))
            .is_some_and(|place| place.yanked.contains(version))
    }

    /// The entries of all channels.
    pub fn channels(&self) -> impl Iterator<Item = (At, &Known)> {
        self.contents.channels()
    }

    /// Records a manifest that was signed for a channel whose `min_version` is known.
    pub fn remember(&mut self, at: &At, manifest: &ManifestDocument) -> Result<(), CliError> {
        self.add(at, manifest, false)
    }

    /// Records a manifest that was found in the bucket, or signed after one that was found. It may have been an older one, so its
    /// `min_version` does not say what the channel's is.
    pub fn remember_found(&mut self, at: &At, manifest: &ManifestDocument) -> Result<(), CliError> {
        self.add(at, manifest, true)
    }

    fn add(
        &mut self,
        at: &At,
        manifest: &ManifestDocument,
        min_version_is_found: bool,
    ) -> Result<(), CliError> {
        let known = Known {
            releases: vec![Signed::of(manifest)?],
            min_version: manifest.min_version.clone(),
            min_version_is_found,
            project: manifest.project.clone(),
            chip: manifest.chip.clone(),
            also: LegacyClient::of(manifest)
                .into_iter()
                .map(|library| library.name().to_owned())
                .collect(),
        };
        self.change(|contents| {
            let place = contents.place(&at.key, &at.place);
            place
                .channels
                .entry(at.channel.clone())
                .or_insert_with(Known::nothing)
                .merge(known);
        })
    }

    /// Lowers a channel's `min_version`, or removes it.
    pub fn lower(&mut self, at: &At, min_version: Option<&str>) -> Result<(), CliError> {
        self.change(|contents| {
            let place = contents.place(&at.key, &at.place);
            if let Some(known) = place.channels.get_mut(&at.channel) {
                known.min_version = min_version.map(str::to_owned);
            }
        })
    }

    /// Records that a version is yanked.
    pub fn remember_yanked(
        &mut self,
        key: &str,
        place: &str,
        version: &str,
    ) -> Result<(), CliError> {
        self.change(|contents| {
            let place = contents.place(key, place);
            place.yanked.insert(version.to_owned());
        })
    }

    /// All of it, as [`import`](RollbackState::import) reads it.
    pub fn export(&self) -> Result<String, CliError> {
        self.contents.to_json()
    }

    /// Adds the state of another host. Nothing gets lost or lower.
    pub fn import(&mut self, json: &[u8], from: &str) -> Result<(), CliError> {
        let theirs = Contents::parse(json).map_err(|problem| {
            CliError::new(
                "state.damaged",
                format!("{from} is not the rollback state of a host: {problem}"),
            )
            .hint("it must be the output of `s3ota state export` on the other host")
        })?;
        self.change(|contents| contents.merge(theirs))
    }

    /// Changes the state, on top of what other commands have changed in the meantime.
    fn change(&mut self, change: impl FnOnce(&mut Contents)) -> Result<(), CliError> {
        let Some(folder) = &self.folder else {
            change(&mut self.contents);
            return Ok(());
        };
        let locked = lock(folder)?;
        self.contents = load(folder)?;
        change(&mut self.contents);
        let json = self.contents.to_json()?;
        dir::replace(&folder.join(FILE), &json).map_err(|error| unwritable(folder, &error))?;
        drop(locked);
        Ok(())
    }
}

/// The higher one of two `min_version`s.
pub fn highest(a: Option<String>, b: Option<String>) -> Option<String> {
    match (a, b) {
        (Some(a), Some(b)) if versions::by_precedence(&a, &b).is_lt() => Some(b),
        (a, b) => a.or(b),
    }
}

/// The folder it is in.
fn folder() -> Result<PathBuf, CliError> {
    dir::state_dir().ok_or_else(|| {
        let message = "there is no folder for the rollback state: the home directory is not known";
        CliError::new("state.io", message).hint(format!("name a folder in {}", dir::VARIABLE))
    })
}

/// Waits until no other command changes the state. The lock ends when the file is closed.
fn lock(folder: &Path) -> Result<File, CliError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let locked = options
        .open(folder.join("lock"))
        .and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| unwritable(folder, &error))
}

fn load(folder: &Path) -> Result<Contents, CliError> {
    let file = folder.join(FILE);
    let json = match fs::read(&file) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contents::default()),
        Err(error) => {
            return Err(CliError::new(
                "state.io",
                format!("{}: {error}", file.display()),
            ));
        }
    };
    Contents::parse(&json).map_err(|problem| {
        let message = format!(
            "{}, the rollback state of this host, is damaged: {problem}. It was left as it is, and nothing was signed",
            file.display()
        );
        CliError::new("state.damaged", message).hint(
            "restore a copy of it; or move it away and fetch the state of another host with `s3ota state import`. Commands ask for what no \
             host knows any more",
        )
    })
}

fn unwritable(folder: &Path, error: &std::io::Error) -> CliError {
    let message = format!(
        "the rollback state cannot be written to {}: {error}",
        folder.display()
    );
    CliError::new("state.io", message).hint(format!(
        "make the folder writable, or name another one in {}",
        dir::VARIABLE
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_manifest::HttpsUrl;

    const KEY: &str = "97f1a8e3c5d20b46";
    const PLACE: &str = "s3://b/lamp";

    fn at(channel: &str) -> At {
        At {
            key: KEY.into(),
            place: PLACE.into(),
            channel: channel.into(),
        }
    }

    fn manifest(version: &str, serial: u64) -> ManifestDocument {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        let mut manifest = ManifestDocument::new(&Version::parse(version).unwrap(), &url);
        manifest.serial = Some(serial);
        manifest
    }

    fn with_min_version(version: &str, serial: u64, min_version: &str) -> ManifestDocument {
        ManifestDocument {
            min_version: Some(min_version.into()),
            ..manifest(version, serial)
        }
    }

    fn state() -> (tempfile::TempDir, RollbackState) {
        let dir = tempfile::tempdir().unwrap();
        let state = RollbackState::read_in(dir.path().to_owned()).unwrap();
        (dir, state)
    }

    fn known<'a>(state: &'a RollbackState, channel: &str) -> &'a Known {
        state.known(KEY, PLACE, channel).unwrap()
    }

    #[test]
    fn the_newest_serial_and_the_highest_min_version_win_in_any_order() {
        let manifests = [
            with_min_version("1.0.0", 10, "0.9.0"),
            with_min_version("1.10.0", 20, "1.9.0"),
            manifest("1.11.0", 30),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let (dir, mut state) = state();
            for index in order {
                state.remember(&at("stable"), &manifests[index]).unwrap();
            }
            for state in [state, RollbackState::read_in(dir.path().into()).unwrap()] {
                let known = known(&state, "stable");
                assert_eq!(known.newest(), Some(&Signed::of(&manifests[2]).unwrap()));
                assert_eq!(known.min_version.as_deref(), Some("1.9.0"));
                let versions: Vec<_> = known.releases().map(|it| &*it.version).collect();
                assert_eq!(versions, ["1.11.0", "1.10.0", "1.0.0"]);
                assert_eq!(state.known(KEY, PLACE, "beta"), None);
                assert_eq!(state.known("other", PLACE, "stable"), None);
            }
        }
    }

    #[test]
    fn the_last_manifest_of_each_of_the_last_versions_is_kept() {
        let mut state = RollbackState::volatile();
        for serial in 0..100 {
            let version = format!("1.{}.0", serial / 2);
            state
                .remember(&at("stable"), &manifest(&version, serial))
                .unwrap();
        }
        // Going back to an older version makes it the newest manifest.
        state
            .remember(&at("stable"), &manifest("1.40.0", 200))
            .unwrap();
        let known = known(&state, "stable");
        assert_eq!(known.releases.len(), RELEASES);
        let first: Vec<_> = known.releases().take(3).map(|it| it.serial).collect();
        assert_eq!(first, [200, 99, 97]);
        assert!(known.is_sound());
    }

    #[test]
    fn hosts_exchange_their_states_and_nothing_gets_lower() {
        let (_dir, mut ours) = state();
        let (_other, mut theirs) = state();
        ours.remember(&at("stable"), &with_min_version("1.1.0", 20, "1.1.0"))
            .unwrap();
        theirs
            .remember(&at("stable"), &manifest("1.2.0", 30))
            .unwrap();
        theirs.remember(&at("beta"), &manifest("2.0.0", 5)).unwrap();
        theirs.remember_yanked(KEY, PLACE, "1.0.0").unwrap();
        ours.import(theirs.export().unwrap().as_bytes(), "x")
            .unwrap();
        theirs
            .import(ours.export().unwrap().as_bytes(), "x")
            .unwrap();
        assert_eq!(ours.contents, theirs.contents);
        let stable = known(&ours, "stable");
        assert_eq!(stable.newest().unwrap().version, "1.2.0");
        assert_eq!(stable.min_version.as_deref(), Some("1.1.0"));
        assert!(ours.is_yanked(KEY, PLACE, "1.0.0"));
        ours.lower(&at("stable"), None).unwrap();
        assert_eq!(known(&ours, "stable").min_version, None);
    }

    #[test]
    fn a_min_version_that_was_only_found_is_known_once_any_host_knows_it() {
        let min_version = |state: &RollbackState| {
            let known = known(state, "stable");
            (known.min_version.clone(), known.knows_min_version())
        };
        let (older, newer) = (
            manifest("1.0.0", 10),
            with_min_version("1.1.0", 20, "1.1.0"),
        );
        let mut ours = RollbackState::volatile();
        ours.remember_found(&at("stable"), &older).unwrap();
        assert_eq!(min_version(&ours), (None, false));
        ours.remember_found(&at("stable"), &newer).unwrap();
        assert_eq!(min_version(&ours), (Some("1.1.0".into()), false));
        let mut theirs = RollbackState::volatile();
        theirs.remember(&at("stable"), &older).unwrap();
        assert_eq!(min_version(&theirs), (None, true));
        let exported = [theirs.export(), ours.export()];
        for (to, from) in [&mut ours, &mut theirs].into_iter().zip(exported) {
            to.import(from.unwrap().as_bytes(), "x").unwrap();
            assert_eq!(min_version(to), (Some("1.1.0".into()), true));
        }
    }

    #[test]
    fn commands_at_the_same_time_lose_nothing() {
        let (dir, _) = state();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let dir = dir.path();
                scope.spawn(move || {
                    for n in 0..8 {
                        let mut state = RollbackState::read_in(dir.to_owned()).unwrap();
                        let channel = format!("channel-{thread}-{n}");
                        let manifest = manifest("1.0.0", n);
                        state.remember(&at(&channel), &manifest).unwrap();
                    }
                });
            }
        });
        let state = RollbackState::read_in(dir.path().to_owned()).unwrap();
        assert_eq!(state.channels().count(), 64);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays_as_it_is() {
        let (dir, mut state) = state();
        state
            .remember(&at("stable"), &manifest("1.0.0", 1))
            .unwrap();
        let good = state.export().unwrap();
        let file = dir.path().join(FILE);
        for damaged in [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"format\": 1", "\"format\": 2"),
            good.replace("1.0.0", "one"),
            good.replace("\"serial\": 1", "\"serial\": -1"),
            good.replace("\"statement\": \"", "\"statement\": \"x"),
            good.replace("\"releases\"", "\"release\""),
        ] {
            fs::write(&file, &damaged).unwrap();
            let read = RollbackState::read_in(dir.path().to_owned()).unwrap_err();
            assert_eq!(read.code, "state.damaged", "{damaged}");
            assert!(read.hint.is_some());
            let added = state.remember(&at("beta"), &manifest("1.0.0", 2));
            assert_eq!(added.unwrap_err().code, "state.damaged");
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
            assert_eq!(
                RollbackState::volatile()
                    .import(damaged.as_bytes(), "x")
                    .unwrap_err()
                    .code,
                "state.damaged"
            );
        }
        fs::write(&file, good).unwrap();
        state.remember(&at("beta"), &manifest("1.0.0", 2)).unwrap();
        assert_eq!(state.channels().count(), 2);
    }
}
