//! What a device remembers against replays, whatever image runs: what release keys have signed, and which releases failed.
//!
//! A key binds itself by two claims:
//!
//! - its newest *serial* on a channel: an older manifest is refused;
//! - its *min_version*: the device does not go back below it.
//!
//! A claim counts as long as the firmware trusts the key. So an owner whose key was stolen, or whose clock was wrong, starts
//! anew with another key. It binds that key and those listed behind it: see
//! [`Config::release_keys`](crate::Config::release_keys).
//!
//! The state lies in both sectors of otadata as entries of their [logs](crate::flash::log), and is written again with each
//! record. It has a fixed number of entries of each kind; the one that was renewed longest ago makes room.

use heapless::Vec;
use s3ota_manifest::{KeyId, Manifest, ReleaseKey, Version};
use sha2::{Digest, Sha256};

use crate::bytes;
use crate::flash::log::{Kind, Value, kind, value};
use crate::flash::release::ReleaseId;

/// The newest serial of a key on a channel.
const SEEN: Kind = kind(b"seen");
/// The min_version of a key.
const MIN_VERSION: Kind = kind(b"base");

/// What became of a release that was tried; its value is the release's id and a [`Tries::count`].
pub(crate) const TRIED: Kind = kind(b"fail");

/// Entries of each kind: a few keys, each with a min_version and the channels a device was switched between; and a few
/// releases.
const ROOM: usize = 8;

/// How often a release is tried that ran well and did not reach its server.
const MOST_TRIES: u8 = 4;

/// Who claims: the first bytes of a SHA-256 over the key's id and the channel. Only trusted keys ever have an entry.
type Owner = [u8; 6];

/// What is claimed. Compared as bytes in this order; the greatest counts.
type ClaimValue = [u8; 18];

/// A min_version: major, minor, patch, 48 bits each. Larger numbers count as the largest of these, and a pre-release as its
/// release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MinVersion(ClaimValue);

impl MinVersion {
    /// Forbids nothing.
    pub(crate) const NONE: Self = Self([0; 18]);

    /// The highest min_version that allows `version`.
    pub(crate) fn of(version: &Version<'_>) -> Self {
        let mut claimed = [0; 18];
        let numbers = [version.major(), version.minor(), version.patch()];
        for (to, number) in claimed.chunks_exact_mut(6).zip(numbers) {
            let [_, _, bytes @ ..] = number.min((1 << 48) - 1).to_be_bytes();
            to.copy_from_slice(&bytes);
        }
        Self(claimed)
    }

    /// The lowest version that it allows.
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

/// What a trusted key that signed the manifest is bound by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signer {
    /// The newest serial that was seen.
    pub(crate) newest: u64,
    /// The version below which this device does not go back.
    pub(crate) min_version: MinVersion,
}

/// What a key has signed, as far as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    kind: Kind,
    owner: Owner,
    claimed: ClaimValue,
}

impl Claim {
    /// The claims of `manifest`, which `key` has signed.
    pub(crate) fn of(key: KeyId, manifest: &Manifest<'_>) -> [Self; 2] {
        let mut seen = [0; 18];
        let serial = manifest.serial.unwrap_or(0).to_be_bytes();
        bytes::copy(&[&serial], &mut seen);
        // A release does not forbid itself.
        let min_version = manifest.min_version.map_or(MinVersion::NONE, |least| {
            MinVersion::of(&least).min(MinVersion::of(&manifest.version))
        });
        [
            Self {
                kind: SEEN,
                owner: owner(key, manifest.channel),
                claimed: seen,
            },
            Self {
                kind: MIN_VERSION,
                owner: owner(key, None),
                claimed: min_version.0,
            },
        ]
    }

    /// As an entry of a log.
    pub(crate) fn entry(&self) -> (Kind, Value) {
        (self.kind, value(&[&self.owner, &self.claimed]))
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
        (TRIED, value(&[self.release.as_bytes(), &[self.count]]))
    }

    fn parse(value: &Value) -> Option<Self> {
        let (id, rest) = value.split_first_chunk()?;
        Some(Self {
            release: ReleaseId::from_bytes(*id),
            count: *rest.first()?,
        })
    }
}

/// What a device remembers: claims of keys, and releases that it tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RollbackState {
    claims: Vec<Claim, ROOM>,
    tried: Vec<Tries, ROOM>,
}

impl RollbackState {
    /// Takes an entry of a log. `false` if it is nothing new.
    pub(crate) fn take(&mut self, kind: Kind, value: &Value) -> bool {
        if kind == TRIED {
            return Tries::parse(value).is_some_and(|tries| self.take_tries(tries));
        }
        let (Some((owner, rest)), SEEN | MIN_VERSION) = (value.split_first_chunk(), kind) else {
            return false;
        };
        let Some(claimed) = rest.first_chunk() else {
            return false;
        };
        if *claimed <= self.claimed(kind, *owner) {
            return false;
        }
        let claim = Claim {
            kind,
            owner: *owner,
            claimed: *claimed,
        };
        self.claims
            .retain(|known| (known.kind, known.owner) != (kind, *owner));
        if self.claims.is_full() {
            self.claims.remove(0);
        }
        self.claims.push(claim).is_ok()
    }

    /// Takes what became of a release. `false` if that, or more, is known.
    pub(crate) fn take_tries(&mut self, tries: Tries) -> bool {
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
            self.take_tries(tries.and_failed());
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
        let claims = self.claims.iter().map(Claim::entry);
        claims.chain(self.tried.iter().map(Tries::entry))
    }

    /// What binds a release that `signer` has signed for a channel: the claims of that key and of those listed before it.
    pub(crate) fn signer(
        &self,
        keys: &[ReleaseKey],
        signer: KeyId,
        channel: Option<&str>,
    ) -> Signer {
        let mut bound = Signer {
            newest: 0,
            min_version: MinVersion::NONE,
        };
        for id in keys.iter().map(ReleaseKey::id) {
            let [serial @ .., _, _, _, _, _, _, _, _, _, _] =
                self.claimed(SEEN, owner(id, channel));
            bound.newest = bound.newest.max(u64::from_be_bytes(serial));
            bound.min_version = bound.min_version.max(self.min_version_of(id));
            if id == signer {
                break;
            }
        }
        bound
    }

    /// The highest min_version of these keys.
    pub(crate) fn min_version(&self, keys: &[ReleaseKey]) -> MinVersion {
        let versions = keys.iter().map(|key| self.min_version_of(key.id()));
        versions.max().unwrap_or_default()
    }

    fn min_version_of(&self, key: KeyId) -> MinVersion {
        MinVersion(self.claimed(MIN_VERSION, owner(key, None)))
    }

    fn claimed(&self, kind: Kind, owner: Owner) -> ClaimValue {
        let mut all = self.claims.iter();
        let claim = all.find(|claim| (claim.kind, claim.owner) == (kind, owner));
        claim.map_or([0; 18], |claim| claim.claimed)
    }
}

fn owner(key: KeyId, channel: Option<&str>) -> Owner {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update(channel.unwrap_or_default());
    let [a, b, c, d, e, f, ..]: [u8; 32] = hash.finalize().into();
    [a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn min_version(version: &str) -> MinVersion {
        MinVersion::of(&Version::parse(version).unwrap())
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
                std::format!("{}", min_version(version).version()),
                shown,
                "{version}"
            );
        }
    }

    #[test]
    fn min_versions_have_the_order_of_their_versions() {
        let ordered = [
            "0.0.0", "0.0.1", "0.0.256", "0.1.0", "1.0.0", "1.9.0", "1.10.0", "256.0.0",
        ];
        for pair in ordered.windows(2) {
            assert!(min_version(pair[0]) < min_version(pair[1]), "{pair:?}");
        }
    }

    fn claim(owner: u8, claimed: u8) -> (Kind, Value) {
        let claim = Claim {
            kind: SEEN,
            owner: [owner; 6],
            claimed: [claimed; 18],
        };
        claim.entry()
    }

    #[test]
    fn only_what_is_newer_is_news() {
        let mut state = RollbackState::default();
        for (claimed, news) in [(5, true), (5, false), (4, false), (6, true)] {
            let (kind, value) = claim(1, claimed);
            assert_eq!(state.take(kind, &value), news, "{claimed}");
        }
        assert_eq!(state.entries().count(), 1);
        assert_eq!(state.claimed(SEEN, [1; 6]), [6; 18]);
        assert_eq!(state.claimed(MIN_VERSION, [1; 6]), [0; 18]);
    }

    #[test]
    fn what_was_not_renewed_for_longest_gives_way() {
        let mut state = RollbackState::default();
        let full = ROOM as u8;
        for owner in 1..=full {
            let (kind, value) = claim(owner, 1);
            assert!(state.take(kind, &value));
        }
        for (owner, claimed) in [(1, 2), (full + 1, 1)] {
            let (kind, value) = claim(owner, claimed);
            assert!(state.take(kind, &value));
        }
        assert_eq!(state.claimed(SEEN, [1; 6]), [2; 18], "renewed");
        assert_eq!(state.claimed(SEEN, [2; 6]), [0; 18], "gone");
        assert_eq!(state.claimed(SEEN, [full + 1; 6]), [1; 18]);
    }
}
