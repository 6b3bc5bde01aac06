//! What a device is, for good: drawn at the start, by the model's shares.

use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;
use s3ota::manifest::user_agent::Bootloader;

use crate::name::Named;
use crate::scenario::{DAY, Scenario};

/// What a device is, for good.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    pub(crate) product: u8,
    pub(crate) named: Named,
    /// Bytes a second.
    pub(super) rate: f64,
    /// Seconds between two breaks.
    pub(super) breaks: f64,
    pub(super) connect_fails: f64,
    pub(super) worn_flash: bool,
    pub(super) odd_batch: bool,
    pub(super) crash_is_late: bool,
    pub(super) bootloader: Bootloader,
    /// Milliseconds at which it is sold, and falls silent.
    pub(super) begins: u64,
    pub(super) ends: u64,
    /// When it is off for long, in milliseconds.
    pub(super) asleep: (u64, u64),
    /// The second of the day at which it is switched off for the night.
    pub(super) night: Option<u64>,
    pub(crate) hit_by_power_failure: bool,
}

impl Nature {
    pub(super) fn draw(scenario: &Scenario, rng: &mut Xoshiro256PlusPlus) -> Self {
        let model = &scenario.model;
        let end = scenario.seconds * 1000;
        let mut product = 0;
        let mut left = rng.gen_range(0.0..1.0);
        for (index, of) in scenario.products.iter().enumerate() {
            product = index as u8;
            left -= of.share;
            if left < 0.0 {
                break;
            }
        }
        let mut is = |share: f64| rng.gen_bool(share.clamp(0.0, 1.0));
        let (later, silent, sleeps, at_night) = (
            is(model.sold_later),
            is(model.falls_silent),
            is(model.sleeps_for_weeks),
            is(model.off_at_night),
        );
        let (weak, worn_flash, odd_batch, crash_is_late) = (
            is(model.weak_link),
            is(model.worn_flash),
            is(model.odd_batch),
            is(model.crash_is_late),
        );
        let (without, hashed, app_rollback) = (
            is(model.without_id),
            is(model.hashed_id),
            is(model.app_rollback),
        );
        let share = scenario.power_failure.map_or(0.0, |failure| failure.share);
        let hit_by_power_failure = is(share);
        let rate = if weak { model.weak_rate } else { model.rate };
        let mut some = |of: u64| rng.gen_range(0..of.max(1));
        let begins = if later { some(end) } else { 0 };
        let ends = if silent { some(end) } else { u64::MAX };
        // Of a month, one to three and a half weeks.
        let (from, length) = (some(end), end / 4 + some(end * 6 / 10));
        Self {
            product,
            named: match (without, hashed) {
                (true, _) => Named::Not,
                (_, true) => Named::Hashed,
                _ => Named::Plainly,
            },
            begins,
            ends,
            asleep: if sleeps {
                (from, from.saturating_add(length))
            } else {
                (u64::MAX, u64::MAX)
            },
            night: at_night.then(|| 19 * 3600 + some(4 * 3600)),
            rate: rng.gen_range(rate.0..=rate.1),
            breaks: if weak {
                model.weak_breaks
            } else {
                model.breaks
            },
            connect_fails: if weak {
                model.weak_connect_fails
            } else {
                model.connect_fails
            },
            worn_flash,
            odd_batch,
            crash_is_late,
            bootloader: if app_rollback {
                Bootloader::Rollback
            } else {
                Bootloader::Plain
            },
            hit_by_power_failure,
        }
    }

    /// When the device, which is on at `at`, loses its power next, and when it has it again. Both may be never.
    pub(super) fn off(&self, at: u64, scenario: &Scenario) -> (u64, u64) {
        let mut off = (self.ends, u64::MAX);
        let mut or = |from: u64, to: u64| {
            if to > at && from < off.0 {
                off = (from, to);
            }
        };
        or(self.asleep.0, self.asleep.1);
        if let Some(failure) = scenario.power_failure.filter(|_| self.hit_by_power_failure) {
            or(failure.off * 1000, failure.on * 1000);
        }
        if let Some(night) = self.night {
            let (day, length) = (DAY as i64 * 1000, 8 * 3600 * 1000);
            // The first night that is not over yet; days are those of the calendar.
            let midnight = -((scenario.start % DAY) as i64) * 1000;
            let first = midnight + night as i64 * 1000 - day;
            let over = at as i64 - (first + length);
            let from = first + over.div_euclid(day) * day + day;
            or(from.max(0) as u64, (from + length).max(0) as u64);
        }
        off
    }
}
