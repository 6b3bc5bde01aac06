//! The flash wear of updates, kept through deep sleep and restarts.

use s3ota::Wear;

/// What [`keep_wear`] has kept, through deep sleep and every restart but power-on. Nothing on the ESP32-C2, which has no memory for
/// it.
///
/// [`run`](crate::run) uses it. Pass it to an [`Updater`](s3ota::Updater) of your own with
/// [`set_wear`](s3ota::Updater::set_wear).
pub fn kept_wear() -> Wear {
    rtc::load().map_or_else(Wear::default, Wear::from_words)
}

/// Keeps the flash wear of updates, from [`Updater::wear`](s3ota::Updater::wear). Call it before deep sleep.
pub fn keep_wear(wear: Wear) {
    rtc::store(wear.to_words());
}

/// The RTC's memory. After an update it may contain something else, from the previous firmware.
#[cfg(not(feature = "esp32c2"))]
mod rtc {
    use portable_atomic::{AtomicU32, Ordering};
    use s3ota::Wear;

    /// "wear".
    const MAGIC: u32 = 0x7765_6172;

    #[esp_hal::ram(unstable(rtc_fast, persistent))]
    static WORDS: [AtomicU32; Wear::WORDS] = [const { AtomicU32::new(0) }; Wear::WORDS];
    #[esp_hal::ram(unstable(rtc_fast, persistent))]
    static CHECK: AtomicU32 = AtomicU32::new(0);

    pub(super) fn load() -> Option<[u32; Wear::WORDS]> {
        let words = WORDS.each_ref().map(|word| word.load(Ordering::Relaxed));
        (CHECK.load(Ordering::Relaxed) == check(&words)).then_some(words)
    }

    pub(super) fn store(words: [u32; Wear::WORDS]) {
        for (kept, word) in WORDS.iter().zip(words) {
            kept.store(word, Ordering::Relaxed);
        }
        CHECK.store(check(&words), Ordering::Relaxed);
    }

    fn check(words: &[u32]) -> u32 {
        words
            .iter()
            .fold(MAGIC, |check, word| check.rotate_left(5) ^ word)
    }
}

#[cfg(feature = "esp32c2")]
mod rtc {
    use s3ota::Wear;

    pub(super) fn load() -> Option<[u32; Wear::WORDS]> {
        None
    }

    pub(super) fn store(_words: [u32; Wear::WORDS]) {}
}
