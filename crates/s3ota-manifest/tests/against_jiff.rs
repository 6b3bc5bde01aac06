//! Our reader and writer of dates against jiff's.
//!
//! Dates are generated, sound ones and spoiled ones. Both readers must agree on the second that a text names, and on
//! which texts name none. [`explained`] lists the differences that are meant.

mod random;

use jiff::Timestamp as Theirs;
use random::Random;
use s3ota_manifest::{Timestamp, TimestampError};

#[test]
fn both_read_the_same_second_or_none() {
    let mut random = Random::new(0x5EED);
    let (mut agreed, mut differed) = (0, 0);
    for _ in 0..100_000 {
        let text = date(&mut random);
        let ours = Timestamp::parse(&text);
        let theirs = text.parse::<Theirs>().ok().map(Theirs::as_second);
        match ours {
            Ok(ours) if Some(seconds(ours)) == theirs => agreed += 1,
            Err(_) if theirs.is_none() => {}
            _ => {
                differed += 1;
                assert!(
                    explained(&text, ours, theirs),
                    "{text}: {ours:?}, jiff {theirs:?}"
                );
            }
        }
    }
    assert!(agreed > 10_000 && differed > 10_000, "{agreed} {differed}");
}

#[test]
fn both_write_the_same_text() {
    let mut random = Random::new(0x5EED);
    for _ in 0..50_000 {
        let seconds = random.below(LAST_OF_JIFF as usize) as u64;
        let ours = Timestamp::from_unix_seconds(seconds).unwrap();
        let theirs = Theirs::from_second(seconds as i64).unwrap();
        assert_eq!(ours.to_string(), theirs.to_string());
    }
}

/// jiff keeps 26 hours away from the end of 9999, so that any time zone can show any of its timestamps.
const LAST_OF_JIFF: i64 = 253_402_207_200;

/// Whether a difference is one that is meant.
fn explained(text: &str, ours: Result<Timestamp, TimestampError>, theirs: Option<i64>) -> bool {
    let leap_second = text.get(17..19) == Some("60");
    match (ours, theirs) {
        // A leap second is the midnight after it to us, as in Unix time. jiff takes it for 23:59:59.
        (Ok(ours), Some(theirs)) => leap_second && seconds(ours) == theirs + 1,
        // RFC 3339 sets no limit to a fraction's digits, and ours drops them all. jiff keeps nine and refuses more.
        (Ok(_), None) if fraction_digits(text) > 9 => true,
        (Ok(ours), None) => seconds(ours) > LAST_OF_JIFF,
        // jiff reads more of ISO 8601 and RFC 9557 than RFC 3339 allows.
        (Err(TimestampError::Syntax), Some(_)) => !has_rfc_3339_form(text),
        // jiff takes any `:60` for `:59`. To us a leap second ends a UTC day (RFC 3339, section 5.7).
        // It also lets offsets go up to 25:59; RFC 3339 ends at 23:59 (`time-numoffset`, section 5.6).
        (Err(TimestampError::NoSuchMoment), Some(_)) => leap_second || offset_hours(text) > 23,
        // Before 1970 there are no manifests.
        (Err(TimestampError::OutOfRange), Some(theirs)) => theirs < 0,
        _ => false,
    }
}

fn seconds(timestamp: Timestamp) -> i64 {
    timestamp.unix_seconds().try_into().unwrap()
}

fn fraction_digits(text: &str) -> usize {
    let after_point = text.split_once('.').map_or("", |(_, after)| after);
    after_point.bytes().take_while(u8::is_ascii_digit).count()
}

fn offset_hours(text: &str) -> u32 {
    let offset = text.rsplit(['+', '-']).next().unwrap();
    offset
        .get(..2)
        .map_or(0, |hours| hours.parse().unwrap_or(0))
}

/// The form of RFC 3339, section 5.6: `dddd-dd-ddTdd:dd:dd`, perhaps a fraction, and `Z` or an offset.
fn has_rfc_3339_form(text: &str) -> bool {
    let has_form = |text: &str, form: &str| {
        text.len() == form.len()
            && text
                .bytes()
                .zip(form.bytes())
                .all(|(byte, form)| match form {
                    b'd' => byte.is_ascii_digit(),
                    b'T' => b"Tt ".contains(&byte),
                    _ => byte == form,
                })
    };
    let Some((moment, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    has_form(moment, "dddd-dd-ddTdd:dd:dd")
        && (zone.eq_ignore_ascii_case("z") || has_form(zone, "+dd:dd") || has_form(zone, "-dd:dd"))
}

/// A date: most parts within their range, some just outside of it, and some other characters.
fn date(random: &mut Random) -> String {
    let year = match random.below(4) {
        0 => [1968, 1969, 1970, 2000, 2100, 2400, 9998, 9999][random.below(8)],
        1 => random.below(10_000),
        _ => 1970 + random.below(200),
    };
    let mut text = format!("{year:04}-");
    for (first, last, separator) in [
        (1, 12, &["-", "-", "-", ""][..]),
        (1, 31, &["T", "T", "T", "t", " ", "_"]),
        (0, 23, &[":", ":", ":", ""]),
        (0, 59, &[":", ":", ":", ""]),
        (0, 59, &[""]),
    ] {
        let number = match random.below(12) {
            0 => last + 1,
            1 => last,
            2 => first,
            _ => first + random.below(last - first + 1),
        };
        text += &format!("{number:02}");
        // The separators of the standard, unless this one is to be spoiled.
        text += if random.once_in(20) {
            random.pick(separator)
        } else {
            separator[0]
        };
    }
    // Leap seconds are rare, and only one minute of a day can have one.
    if random.once_in(50) && text.len() == 19 {
        text.replace_range(11.., ["23:59:60", "15:59:60", "23:58:60"][random.below(3)]);
    }
    text += random.pick(&[
        "",
        "",
        "",
        ".",
        ",5",
        ".5",
        ".000000001",
        ".123456789",
        ".1234567890",
    ]);
    text += random.pick(&[
        "Z",
        "Z",
        "Z",
        "z",
        "+00:00",
        "-00:00",
        "+01:30",
        "-08:00",
        "+23:59",
        "-23:59",
        "+24:00",
        "-25:00",
        "+26:00",
        "+00:60",
        "+0100",
        "+01",
        "+01:00:30",
        "",
        "Z ",
        "ZZ",
        "[UTC]",
        "Z[UTC]",
        "Zé",
    ]);
    if random.once_in(20) {
        let at = random.below(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, random.pick(&["0", "9", "-", "+", ":", " ", "é", "T"]));
        }
    }
    text
}
