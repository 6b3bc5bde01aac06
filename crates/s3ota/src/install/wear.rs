//! What updates may cost the flash. Whatever a server, a network or a clock does, a slot is erased at most [twice an
//! hour](Wear::AN_HOUR) and [eight times a day](Wear::A_DAY).
//!
//! Flash takes some 100,000 erasures of a sector. A server that breaks off, lies about the end of an image, or names another
//! image each time makes a device begin again; without a limit, it could wear a slot out within weeks.
//!
//! An image that was refused is fetched once more, for the fault may have been the line's. If it is refused again its release
//! rests: an hour, then longer, until the manifest names another image. So does a release whose trial did not reach its
//! server.

use core::time::Duration;

use crate::flash::release::ReleaseId;
use crate::install::trouble::Trouble;

const HOUR: u32 = 60 * 60;
const DAY: u32 = 24 * HOUR;

/// How often the slot was erased lately, and which release is not tried for now.
///
/// It is held against the time since the power came on ([`Clock::since_power_on`](crate::Clock::since_power_on)), which
/// nobody on the network can change. A device that is always on keeps it in RAM, in its [`Updater`](crate::Updater). One
/// that sleeps between two checks must keep it through deep sleep, by [`Updater::wear`](crate::Updater::wear) and
/// [`Updater::set_wear`](crate::Updater::set_wear). After a power cut it begins anew. What a device that goes on after a restart
/// erases once more, the sector where it goes on, is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wear {
    /// When the slot was erased, the last time first: seconds since power-on plus one; 0 means never.
    erased: [u32; Self::A_DAY],
    /// The release below.
    release: [u8; 12],
    /// How often its image was refused.
    refused: u8,
    /// How many of its trials did not reach their server, when it last began to rest.
    away: u8,
    /// Until when it rests: seconds since power came on.
    until: u32,
    /// What makes its image in fewer bytes made a wrong one, and cost an erasure: once is enough.
    #[cfg(feature = "delta")]
    only_whole: bool,
    /// What it carries besides, for those that keep it: the error that checks end in.
    trouble: Trouble,
}

impl Wear {
    /// How often the slot is erased in an hour, at most.
    pub const AN_HOUR: usize = 2;
    /// How often the slot is erased in a day, at most.
    pub const A_DAY: usize = 8;
    /// How many words [`to_words`](Self::to_words) makes.
    pub const WORDS: usize = Self::A_DAY + 5 + Trouble::LONGEST / 4;

    /// As words to keep where deep sleep leaves them alone.
    pub fn to_words(&self) -> [u32; Self::WORDS] {
        let mut words = [0; Self::WORDS];
        let (id, _) = self.release.as_chunks::<4>();
        let id = id.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let counts = u32::from_le_bytes([self.away, self.refused, 0, self.trouble.times]);
        #[cfg(feature = "delta")]
        let counts = u32::from(self.only_whole) << 16 | counts;
        let rest = [counts, self.until];
        let (code, _) = self.trouble.code.as_chunks::<4>();
        let code = code.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let all = self.erased.into_iter().chain(id).chain(rest).chain(code);
        words.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        words
    }

    /// What [`to_words`](Self::to_words) made. Any words will do: nonsense makes a device rest, for a day at most.
    pub fn from_words(words: [u32; Self::WORDS]) -> Self {
        let mut wear = Self::default();
        let [erased @ .., a, b, c, counts, until, d, e, f, g, h] = words;
        wear.erased = erased;
        let release = wear.release.chunks_exact_mut(4).zip([a, b, c]);
        let code = wear.trouble.code.chunks_exact_mut(4);
        for (to, word) in release.chain(code.zip([d, e, f, g, h])) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let [away, refused, _, times] = counts.to_le_bytes();
        wear.trouble.times = times;
        #[cfg(feature = "delta")]
        {
            wear.only_whole = counts & 1 << 16 != 0;
        }
        Self {
            refused,
            away,
            until,
            ..wear
        }
    }

    /// With the error that checks end in, to be kept.
    pub(crate) fn with(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    /// The error that it was kept with.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// How long the slot rests before it may be erased once more.
    pub(crate) fn rest(&self, now: Duration) -> Duration {
        let now = seconds(now);
        let free = |since: Option<&u32>, span: u32| match since {
            None | Some(0) => 0,
            // A time to come is one before the power was cut.
            Some(&since) => since.min(now).saturating_add(span),
        };
        let hour = free(self.erased.get(Self::AN_HOUR - 1), HOUR);
        let day = free(self.erased.last(), DAY);
        Duration::from_secs(hour.max(day).saturating_sub(now).into())
    }

    /// Notes that the slot is erased now. How long it must rest first, if it must.
    pub(crate) fn erase(&mut self, now: Duration) -> Result<(), Duration> {
        let rest = self.rest(now);
        if !rest.is_zero() {
            return Err(rest);
        }
        self.erased.rotate_right(1);
        if let Some(last) = self.erased.first_mut() {
            *last = seconds(now);
        }
        Ok(())
    }

    /// Notes that the image of a release was refused: from the second time on the release rests.
    pub(crate) fn refuse(&mut self, release: ReleaseId, now: Duration) {
        self.turn_to(release);
        self.refused = self.refused.saturating_add(1);
        if let Some(times @ 1..) = self.refused.checked_sub(1) {
            self.until = seconds(now).saturating_add(pause(times));
        }
    }

    /// Notes that nothing but the image itself is to be fetched of a release.
    #[cfg(feature = "delta")]
    pub(crate) fn only_whole(&mut self, release: ReleaseId) {
        self.turn_to(release);
        self.only_whole = true;
    }

    /// Whether nothing but the image itself is to be fetched of a release.
    #[cfg(feature = "delta")]
    pub(crate) fn is_only_whole(&self, release: ReleaseId) -> bool {
        self.only_whole && self.release == *release.as_bytes()
    }

    /// Whether a release rests, of which so many trials did not reach their server.
    pub(crate) fn rests(&mut self, release: ReleaseId, away: u8, now: Duration) -> bool {
        let now = seconds(now);
        if away > 0 && (self.release != *release.as_bytes() || self.away != away) {
            self.turn_to(release);
            self.away = away;
            self.until = now.saturating_add(pause(away));
        }
        // Nothing rests for longer than a day.
        self.until = self.until.min(now.saturating_add(DAY));
        self.release == *release.as_bytes() && self.until > now
    }

    fn turn_to(&mut self, release: ReleaseId) {
        if self.release != *release.as_bytes() {
            *self = Self {
                erased: self.erased,
                release: *release.as_bytes(),
                ..Self::default()
            };
        }
    }
}

/// Seconds, from 1 on.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

/// How long a release rests for the nth time: 1 hour, 4, 16, and then a day.
fn pause(nth: u8) -> u32 {
    let shift = u32::from(nth.saturating_sub(1)).min(4) * 2;
    (HOUR << shift).min(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    #[test]
    fn twice_an_hour_and_eight_times_a_day() {
        let mut wear = Wear::default();
        let mut erased = std::vec::Vec::new();
        for minute in 0..3 * 24 * 60 {
            if wear.erase(minutes(minute)).is_ok() {
                erased.push(minute);
            }
        }
        for &start in &erased {
            let within = |span| {
                erased
                    .iter()
                    .filter(|at| (start..start + span).contains(at))
                    .count()
            };
            assert!(within(60) <= 2 && within(24 * 60) <= 8, "{erased:?}");
        }
        assert_eq!(erased.len(), 24, "{erased:?}");
    }

    #[test]
    fn a_rest_ends_when_it_says() {
        let mut wear = Wear::default();
        assert_eq!(wear.erase(minutes(10)), Ok(()));
        assert_eq!(wear.erase(minutes(20)), Ok(()));
        assert_eq!(wear.erase(minutes(30)), Err(minutes(40)));
        assert_eq!(wear.erase(minutes(70)), Ok(()));
    }

    #[test]
    fn what_was_kept_through_a_power_cut_rests_from_then_on() {
        let mut wear = Wear::default();
        for minute in [1000, 1001] {
            assert_eq!(wear.erase(minutes(minute)), Ok(()));
        }
        assert_eq!(wear.rest(minutes(0)), minutes(60));
    }

    #[test]
    fn words_say_it_all() {
        let mut wear = Wear::default();
        let release = ReleaseId::from_bytes(core::array::from_fn(|n| n as u8 * 19));
        assert_eq!(wear.erase(minutes(5)), Ok(()));
        wear.refuse(release, minutes(6));
        wear.refuse(release, minutes(7));
        assert!(wear.rests(release, 3, minutes(8)));
        assert_eq!(Wear::from_words(wear.to_words()), wear);
        #[cfg(feature = "delta")]
        {
            wear.only_whole(release);
            let kept = Wear::from_words(wear.to_words());
            assert_eq!(kept, wear);
            assert!(kept.is_only_whole(release));
            assert!(!kept.is_only_whole(ReleaseId::from_bytes([2; 12])));
        }
    }

    #[test]
    fn any_words_rest_for_a_day_at_most() {
        let mut wear = Wear::from_words([u32::MAX; Wear::WORDS]);
        let release = ReleaseId::from_bytes([0xff; 12]);
        assert_eq!(wear.rest(minutes(0)), minutes(24 * 60));
        assert!(wear.rests(release, 0, minutes(0)));
        assert!(!wear.rests(release, 0, minutes(24 * 60)));
    }

    #[test]
    fn an_image_is_fetched_twice_and_then_rests_for_longer_and_longer() {
        let mut wear = Wear::default();
        let release = ReleaseId::from_bytes([1; 12]);
        let mut now = minutes(0);
        wear.refuse(release, now);
        assert!(!wear.rests(release, 0, now));
        for hours in [1, 4, 16, 24, 24] {
            wear.refuse(release, now);
            assert!(wear.rests(release, 0, now + minutes(hours * 60 - 1)));
            now += minutes(hours * 60);
            assert!(!wear.rests(release, 0, now), "{hours}");
        }
        assert!(!wear.rests(ReleaseId::from_bytes([2; 12]), 0, now));
    }

    #[test]
    fn a_release_that_did_not_reach_its_server_rests_for_longer_and_longer() {
        let mut wear = Wear::default();
        let release = ReleaseId::from_bytes([1; 12]);
        let mut now = minutes(0);
        for (away, hours) in [(1, 1), (2, 4), (3, 16)] {
            assert!(wear.rests(release, away, now));
            now += minutes(hours * 60);
            assert!(!wear.rests(release, away, now));
        }
    }
}
