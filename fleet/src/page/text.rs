//! Numbers, times and foreign text, as people read them.

use s3ota_manifest::Timestamp;

pub(super) use crate::figures::number as count;
use crate::figures::{self, share};

/// The longest value that is shown, in characters.
const LONGEST: usize = 64;

/// The longest sentence.
const SENTENCE: usize = 400;

/// A value from a log, fit to be shown: what is not printable, or would turn the direction of what follows, is replaced.
pub(super) fn clean(text: &str) -> String {
    clean_up_to(text, LONGEST)
}

/// A sentence that such values are part of.
pub(super) fn sentence(text: &str) -> String {
    clean_up_to(text, SENTENCE)
}

fn clean_up_to(text: &str, most: usize) -> String {
    let shown = |c: char| match c {
        ' ' | '!'..='~' => c,
        c if c.is_alphanumeric() || c == '…' => c,
        _ => '\u{fffd}',
    };
    let mut clean: String = text.chars().take(most).map(shown).collect();
    if text.chars().nth(most).is_some() {
        clean.push('…');
    }
    clean
}

/// `12.3 %`, and `–` of nothing. What is not nothing does not look like it, nor what is not all.
pub(super) fn percent(part: u64, all: u64) -> String {
    if all == 0 {
        return "–".into();
    }
    match share(part, all) * 100.0 {
        percent if part > 0 && percent < 0.1 => "< 0.1 %".into(),
        percent if part < all && percent > 99.9 => "> 99.9 %".into(),
        percent if part == 0 || part == all => format!("{percent:.0} %"),
        _ => figures::percent(share(part, all)),
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: &str) -> Option<u64> {
    Timestamp::parse(time).ok().map(Timestamp::unix_seconds)
}

/// The day of a time.
pub(super) fn day(time: &str) -> String {
    clean(time.split('T').next().unwrap_or(time))
}

/// Day and minute of a time.
pub(super) fn moment(time: &str) -> String {
    match time.split_once('T') {
        Some((day, clock)) => clean(&format!("{day} {}", clock.get(..5).unwrap_or(clock))),
        None => clean(time),
    }
}

/// A length of time: `7 days`, `36 hours`.
pub(super) fn span(seconds: u64) -> String {
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;
    let (number, unit) = match seconds {
        s if s >= DAY && (s.is_multiple_of(DAY) || s >= 3 * DAY) => (s / DAY, "day"),
        s if s >= HOUR => (s / HOUR, "hour"),
        s => (s / 60, "minute"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

/// How long before `now` something was.
pub(super) fn ago(then: &str, now: &str) -> String {
    let between = seconds(now).zip(seconds(then));
    between.map_or("–".into(), |(now, then)| span(now.saturating_sub(then)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_is_shown_as_text() {
        assert_eq!(clean("lamp-7 <b>"), "lamp-7 <b>");
        assert_eq!(
            clean("a\u{1b}[31m\r\nb\u{202e}c\u{200b}"),
            "a\u{fffd}[31m\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"
        );
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn numbers_are_easy_to_read_and_do_not_lie() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        let shares = [(0, 0), (0, 9), (9, 9), (1, 3), (1, 5000), (4999, 5000)];
        let shares = shares.map(|(part, all)| percent(part, all));
        assert_eq!(
            shares,
            ["–", "0 %", "100 %", "33.3 %", "< 0.1 %", "> 99.9 %"]
        );
    }

    #[test]
    fn times_are_cut_to_what_matters() {
        assert_eq!(moment("2026-11-20T08:15:42Z"), "2026-11-20 08:15");
        assert_eq!(day("2026-11-20T08:15:42Z"), "2026-11-20");
        assert_eq!(
            [7 * 86_400, 86_400, 36 * 3600, 3600, 90].map(span),
            ["7 days", "1 day", "36 hours", "1 hour", "1 minute"]
        );
        assert_eq!(
            ago("2026-11-01T00:00:00Z", "2026-11-20T00:00:01Z"),
            "19 days"
        );
        assert_eq!(
            (ago("", "x"), moment("x"), day("")),
            ("–".into(), "x".into(), String::new())
        );
    }
}
