//! What a device remembers for good, whatever image runs: what its owner's keys have said.
//!
//! Two things, each of them bound to the key that signed it:
//!
//! - the newest *serial* a key has signed for a channel: an older manifest does not come back;
//! - the *floor*, the least version a key allows: this device does not go back below it.
//!
//! What a key has said counts as long as the firmware trusts the key, so an owner whose key was stolen, or whose clock was
//! wrong, starts anew with another one. It binds that key and those listed behind it: see
//! [`Config::release_keys`](crate::Config::release_keys).
//!
//! It lies in both sectors of otadata as entries of their [logs](crate::flash_log), and is written anew with a record.

use heapless::Vec;
use s3ota_manifest::{KeyId, Manifest, ReleaseKey, Version};
use sha2::{Digest, Sha256};

use crate::flash_log::{Kind, Value, value};
use crate::release::Signer;

/// The newest serial of a key and a channel.
const SEEN: Kind = *b"seen";
/// The floor of a key.
const FLOOR: Kind = *b"base";

/// How much is remembered: a few keys, each with a floor and the channels a device was switched between. What was not
/// renewed for longest gives way.
const ROOM: usize = 8;

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

/// What this device was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory(Vec<Told, ROOM>);

impl Memory {
    /// Takes in an entry of a log. `false` if it says nothing new.
    pub(crate) fn take(&mut self, kind: Kind, value: &Value) -> bool {
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
        self.0
            .retain(|known| (known.kind, known.whose) != (kind, *whose));
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push(told).is_ok()
    }

    /// Everything, as entries of a log.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Kind, Value)> {
        self.0.iter().map(Told::entry)
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
        let mut all = self.0.iter();
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
