//! What a device remembers for good, whatever image runs: what its owner's keys have said, and which releases have failed.
//!
//! A key has said two things, each of them bound to the key that signed it:
//!
//! - the newest *serial* a key has signed for a channel: an older manifest does not come back;
//! - the *floor*, the least version a key allows: this device does not go back below it.
//!
//! What a key has said counts as long as the firmware trusts the key, so an owner whose key was stolen, or whose clock was
//! wrong, starts anew with another one. It binds that key and those listed behind it: see
//! [`Config::release_keys`](crate::Config::release_keys).
//!
//! It lies in both sectors of otadata as entries of their [logs](crate::flash::log), and is written anew with a record. There
//! is room for so much of each kind; what was not renewed for longest gives way.

use heapless::Vec;
use s3ota_manifest::{KeyId, Manifest, ReleaseKey, Version};
use sha2::{Digest, Sha256};

use crate::flash::log::{Kind, Value, value};
use crate::flash::release::ReleaseId;

/// The newest serial of a key and a channel.
const SEEN: Kind = *b"seen";
/// The floor of a key.
const FLOOR: Kind = *b"base";

/// What became of a release that was tried; its value is the release's id and a [`Tries::count`].
const TRIED: Kind = *b"fail";

/// How much is remembered: a few keys, each with a floor and the channels a device was switched between; and a few releases.
const ROOM: usize = 8;

/// How often a release is tried that ran well and did not reach its server.
const MOST_TRIES: u8 = 4;

/// Whose word it is: the first bytes of a SHA-256 over the key's id and the channel. Only an owner's keys and channels
/// ever have one.
type Whose = [u8; 6];

/// What was said. The greater one counts, as bytes in this order.
type Word = [u8; 18];

/// The least version: major, minor, patch, 48 bits each. Greater numbers count as the greatest of these, and a pre-release
/// as its release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Floor(Word);

impl Floor {
    /// Forbids nothing.
    pub(crate) const NONE: Self = Self([0; 18]);

    /// The highest floor that `version` is not below of.
    pub(crate) fn of(version: &Version<'_>) -> Self {
        let mut word = [0; 18];
        let numbers = [version.major(), version.minor(), version.patch()];
        for (to, number) in word.chunks_exact_mut(6).zip(numbers) {
            let [_, _, bytes @ ..] = number.min((1 << 48) - 1).to_be_bytes();
            to.copy_from_slice(&bytes);
        }
        Self(word)
    }

    /// The least version that is not below it.
    pub(crate) fn version(&self) -> Version<'static> {
        let mut numbers = self.0.chunks_exact(6).map(|bytes| {
            bytes
                .iter()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        });
        let mut next = || numbers.next().unwrap_or(0);
        Version::new(next(), next(), next())
    }
}

/// A trusted key that signed the manifest, in the shape of what was signed before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signer {
    /// The newest serial.
    pub(crate) newest: u64,
    /// The version below which this device does not go back.
    pub(crate) floor: Floor,
}

/// Something a key has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    kind: Kind,
    whose: Whose,
    word: Word,
}

impl Told {
    /// What `manifest`, which `key` has signed, tells for good.
    pub(crate) fn by(key: KeyId, manifest: &Manifest<'_>) -> [Self; 2] {
        let mut seen = [0; 18];
        let serial = manifest.serial.unwrap_or(0).to_be_bytes();
        seen.iter_mut()
            .zip(serial)
            .for_each(|(to, from)| *to = from);
        // A release does not forbid itself.
        let floor = manifest.min_version.map_or(Floor::NONE, |least| {
            Floor::of(&least).min(Floor::of(&manifest.version))
        });
        [
            Self {
                kind: SEEN,
                whose: whose(key, manifest.channel),
                word: seen,
            },
            Self {
                kind: FLOOR,
                whose: whose(key, None),
                word: floor.0,
            },
        ]
    }

    /// As an entry of a log.
    pub(crate) fn entry(&self) -> (Kind, Value) {
        (self.kind, value(self.whose.iter().chain(&self.word)))
    }
}

/// What became of a release that was tried on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tries {
    release: ReleaseId,
    /// Grows only: 2n − 1 after the nth trial that ran well and did not reach its server, 2n while it is tried once more,
    /// [`FAILED`](Self::FAILED) for good.
    count: u8,
}

impl Tries {
    /// A crash, or the application's own judgement.
    const FAILED: u8 = u8::MAX;

    /// The release.
    pub(crate) fn release(self) -> ReleaseId {
        self.release
    }

    /// It was never given up.
    pub(crate) fn is_untried(self) -> bool {
        self.count == 0
    }

    /// Its last trial has come to an end that is known.
    pub(crate) fn is_settled(self) -> bool {
        self.count % 2 == 1
    }

    /// It is not tried again.
    pub(crate) fn has_failed(self) -> bool {
        self.count == Self::FAILED
    }

    /// After how many trials it waits for another. 0 if it does not.
    pub(crate) fn away(self) -> u8 {
        if self.count % 2 == 1 && !self.has_failed() {
            self.count / 2 + 1
        } else {
            0
        }
    }

    /// It failed.
    pub(crate) fn and_failed(self) -> Self {
        Self {
            count: Self::FAILED,
            ..self
        }
    }

    /// Its trial ran well, and did not reach its server. That happens so often, and then it has failed.
    pub(crate) fn and_away(self) -> Self {
        let count = self.count | 1;
        if count >= 2 * MOST_TRIES - 1 {
            return self.and_failed();
        }
        Self { count, ..self }
    }

    /// It is tried once more.
    pub(crate) fn and_again(self) -> Self {
        let count = self.count.saturating_add(u8::from(self.away() > 0));
        Self { count, ..self }
    }

    /// As an entry of a log.
    pub(crate) fn entry(&self) -> (Kind, Value) {
        let id = self.release.as_bytes().iter();
        (TRIED, value(id.chain(&[self.count])))
    }

    fn parse(value: &Value) -> Option<Self> {
        let (id, rest) = value.split_first_chunk()?;
        Some(Self {
            release: ReleaseId::from_bytes(*id),
            count: *rest.first()?,
        })
    }
}

/// What this device was told, and has tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    told: Vec<Told, ROOM>,
    tried: Vec<Tries, ROOM>,
}

impl Memory {
    /// Takes in an entry of a log. `false` if it says nothing new.
    pub(crate) fn take(&mut self, kind: Kind, value: &Value) -> bool {
        if kind == TRIED {
            return Tries::parse(value).is_some_and(|tries| self.tried(tries));
        }
        let (Some((whose, rest)), SEEN | FLOOR) = (value.split_first_chunk(), kind) else {
            return false;
        };
        let Some(word) = rest.first_chunk() else {
            return false;
        };
        if *word <= self.word(kind, *whose) {
            return false;
        }
        let told = Told {
            kind,
            whose: *whose,
            word: *word,
        };
        self.told
            .retain(|known| (known.kind, known.whose) != (kind, *whose));
        if self.told.is_full() {
            self.told.remove(0);
        }
        self.told.push(told).is_ok()
    }

    /// Takes in what became of a release. `false` if that is known, or more than that.
    fn tried(&mut self, tries: Tries) -> bool {
        if tries.count <= self.tries(tries.release).count {
            return false;
        }
        self.tried.retain(|known| known.release != tries.release);
        if self.tried.is_full() {
            self.tried.remove(0);
        }
        self.tried.push(tries).is_ok()
    }

    /// A bootloader gave this release up: it failed, unless it said before that it did not reach its server.
    pub(crate) fn gave_up(&mut self, release: ReleaseId) {
        let tries = self.tries(release);
        if tries.away() == 0 {
            self.tried(tries.and_failed());
        }
    }

    /// What became of a release.
    pub(crate) fn tries(&self, release: ReleaseId) -> Tries {
        let never = Tries { release, count: 0 };
        let mut all = self.tried.iter();
        *all.find(|tries| tries.release == release).unwrap_or(&never)
    }

    /// Everything, as entries of a log.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Kind, Value)> {
        let told = self.told.iter().map(Told::entry);
        told.chain(self.tried.iter().map(Tries::entry))
    }

    /// What binds a release that one of `keys` has signed for a channel: the word of that key, and of those before it.
    pub(crate) fn signer(
        &self,
        keys: &[ReleaseKey],
        signer: KeyId,
        channel: Option<&str>,
    ) -> Signer {
        let mut bound = Signer {
            newest: 0,
            floor: Floor::NONE,
        };
        for id in keys.iter().map(ReleaseKey::id) {
            let [serial @ .., _, _, _, _, _, _, _, _, _, _] = self.word(SEEN, whose(id, channel));
            bound.newest = bound.newest.max(u64::from_be_bytes(serial));
            bound.floor = bound.floor.max(self.floor_of(id));
            if id == signer {
                break;
            }
        }
        bound
    }

    /// The highest floor of these keys.
    pub(crate) fn floor(&self, keys: &[ReleaseKey]) -> Floor {
        let floors = keys.iter().map(|key| self.floor_of(key.id()));
        floors.max().unwrap_or_default()
    }

    fn floor_of(&self, key: KeyId) -> Floor {
        Floor(self.word(FLOOR, whose(key, None)))
    }

    fn word(&self, kind: Kind, whose: Whose) -> Word {
        let mut all = self.told.iter();
        let told = all.find(|told| (told.kind, told.whose) == (kind, whose));
        told.map_or([0; 18], |told| told.word)
    }
}

fn whose(key: KeyId, channel: Option<&str>) -> Whose {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(channel.unwrap_or_default());
    let [a, b, c, d, e, f, ..]: [u8; 32] = hash.finalize().into();
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(version: &str) -> Floor {
        Floor::of(&Version::parse(version).unwrap())
    }

    #[test]
    fn a_floor_is_a_version_without_its_ends() {
        for (version, shown) in [
            ("0.0.0", "0.0.0"),
            ("1.2.3-rc.1+build", "1.2.3"),
            ("281474976710655.0.7", "281474976710655.0.7"),
            ("281474976710656.0.7", "281474976710655.0.7"),
        ] {
            assert_eq!(
                std::format!("{}", floor(version).version()),
                shown,
                "{version}"
            );
        }
    }

    #[test]
    fn floors_have_the_order_of_their_versions() {
        let ordered = [
            "0.0.0", "0.0.1", "0.0.256", "0.1.0", "1.0.0", "1.9.0", "1.10.0", "256.0.0",
        ];
        for pair in ordered.windows(2) {
            assert!(floor(pair[0]) < floor(pair[1]), "{pair:?}");
        }
    }

    fn told(whose: u8, word: u8) -> (Kind, Value) {
        let told = Told {
            kind: SEEN,
            whose: [whose; 6],
            word: [word; 18],
        };
        told.entry()
    }

    #[test]
    fn only_what_is_newer_is_news() {
        let mut memory = Memory::default();
        for (word, news) in [(5, true), (5, false), (4, false), (6, true)] {
            let (kind, value) = told(1, word);
            assert_eq!(memory.take(kind, &value), news, "{word}");
        }
        assert_eq!(memory.entries().count(), 1);
        assert_eq!(memory.word(SEEN, [1; 6]), [6; 18]);
        assert_eq!(memory.word(FLOOR, [1; 6]), [0; 18]);
    }

    #[test]
    fn what_was_not_renewed_for_longest_gives_way() {
        let mut memory = Memory::default();
        let full = ROOM as u8;
        for whose in 1..=full {
            let (kind, value) = told(whose, 1);
            assert!(memory.take(kind, &value));
        }
        for (whose, word) in [(1, 2), (full + 1, 1)] {
            let (kind, value) = told(whose, word);
            assert!(memory.take(kind, &value));
        }
        assert_eq!(memory.word(SEEN, [1; 6]), [2; 18], "renewed");
        assert_eq!(memory.word(SEEN, [2; 6]), [0; 18], "gone");
        assert_eq!(memory.word(SEEN, [full + 1; 6]), [1; 18]);
    }
}
