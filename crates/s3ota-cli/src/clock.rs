//! The time, and how people write it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3ota_manifest::Timestamp;

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Now, by this computer's clock.
pub fn timestamp() -> Timestamp {
    Timestamp::from_unix_seconds(now()).unwrap_or(Timestamp::MAX)
}

/// A date in RFC 3339, in seconds since 1970.
pub fn seconds(date: &str) -> Option<u64> {
    Timestamp::parse(date).ok().map(Timestamp::unix_seconds)
}

/// A date in RFC 3339 for people: to the minute, in UTC.
pub fn day(date: &str) -> String {
    match Timestamp::parse(date) {
        Ok(date) => {
            let text = date.to_string().replace('T', " ");
            text.get(..16).unwrap_or(&text).to_owned()
        }
        Err(_) => date.to_owned(),
    }
}

/// How long ago a date in RFC 3339 is.
pub fn ago(date: &str) -> String {
    match seconds(date) {
        Some(then) if then == now() => "just now".to_owned(),
        Some(then) if then <= now() => format!("{} ago", span(now() - then)),
        _ => day(date),
    }
}

/// A time span for people: `3 days`.
pub fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s}")
}

/// `90s`, `30m`, `12h`, `7d`. A bare number has no meaning that everyone would guess.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "" => {
            return Err(format!(
                "`{text}` needs a unit: {text}s, {text}m, {text}h or {text}d"
            ));
        }
        other => return Err(format!("`{other}` is not a unit of time: use s, m, h or d")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a time as a number and a unit: 90s, 30m, 12h, 7d".to_owned())?;
    let seconds = number.checked_mul(unit).filter(|&seconds| seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| {
        "a time must be at least 1s, and short enough to be counted in seconds".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_written_as_people_write_it() {
        for (seconds, said) in [
            (1, "1 second"),
            (119, "1 minute"),
            (3 * 3_600, "3 hours"),
            (47 * 3_600, "47 hours"),
            (20 * 86_400, "20 days"),
        ] {
            assert_eq!(span(seconds), said);
        }
        assert_eq!(day("2027-01-31T12:34:56+01:00"), "2027-01-31 11:34");
        assert_eq!(day("some day"), "some day");
        assert_eq!(ago("9999-01-01T00:00:00Z"), "9999-01-01 00:00");
        assert_eq!(ago("1970-01-01T00:00:00Z"), format!("{} ago", span(now())));
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in [
            "",
            "90",
            "0s",
            "-1s",
            "5 parsecs",
            "5x",
            "99999999999999999999d",
            "1.5h",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
