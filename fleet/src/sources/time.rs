//! The times in logs, as seconds since 1970.

use s3ota_manifest::Timestamp;

/// `20/Nov/2026:08:15:00 +0000`
pub fn apache(text: &[u8]) -> Option<u32> {
    let [
        d1,
        d2,
        b'/',
        m1,
        m2,
        m3,
        b'/',
        y1,
        y2,
        y3,
        y4,
        b':',
        clock @ ..,
        b' ',
        sign,
        z1,
        z2,
        z3,
        z4,
    ] = text
    else {
        return None;
    };
    let month = b"JanFebMarAprMayJunJulAugSepOctNovDec"
        .chunks_exact(3)
        .position(|name| name == [*m1, *m2, *m3])?;
    let date = Date {
        year: number(&[*y1, *y2, *y3, *y4])?,
        month: u32::try_from(month).ok()? + 1,
        day: number(&[*d1, *d2])?,
    };
    let offset = number(&[*z1, *z2])? * 3600 + number(&[*z3, *z4])? * 60;
    let local = i64::from(date.midnight()?) + i64::from(seconds(clock)?);
    let utc = match sign {
        b'+' => local - i64::from(offset),
        b'-' => local + i64::from(offset),
        _ => return None,
    };
    u32::try_from(utc).ok()
}

/// `2026-11-20` and `08:15:00`
pub fn date_and_clock(date: &[u8], clock: &[u8]) -> Option<u32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else {
        return None;
    };
    let date = Date {
        year: number(&[*y1, *y2, *y3, *y4])?,
        month: number(&[*m1, *m2])?,
        day: number(&[*d1, *d2])?,
    };
    date.midnight()?.checked_add(seconds(clock)?)
}

/// RFC 3339.
pub fn rfc3339(text: &str) -> Option<u32> {
    u32::try_from(Timestamp::parse(text).ok()?.unix_seconds()).ok()
}

/// A moment as RFC 3339 writes it.
pub fn written(time: u32) -> String {
    Timestamp::from_unix_seconds(time.into()).map_or_else(String::new, |it| it.to_string())
}

struct Date {
    year: u32,
    month: u32,
    day: u32,
}

impl Date {
    /// The beginning of the day, by the days of the years and months before.
    fn midnight(&self) -> Option<u32> {
        let Self { year, month, day } = *self;
        let leap = |year: u32| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        const MONTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let index = month.checked_sub(1)? as usize;
        let february = |index: usize| u32::from(index == 1 && leap(year));
        let length = MONTHS.get(index)? + february(index);
        if !(1970..2106).contains(&year) || !(1..=length).contains(&day) {
            return None;
        }
        let before = year - 1;
        let leaps = before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
        let months = MONTHS.iter().take(index).sum::<u32>() + u32::from(index > 1 && leap(year));
        let days = (year - 1970) * 365 + leaps + months + day - 1;
        days.checked_mul(86_400)
    }
}

/// `08:15:00`
fn seconds(clock: &[u8]) -> Option<u32> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = clock else {
        return None;
    };
    let (hour, minute, second) = (
        number(&[*h1, *h2])?,
        number(&[*m1, *m2])?,
        number(&[*s1, *s2])?,
    );
    // A leap second, in the minute that has it.
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_moment_in_every_format() {
        for (text, at) in [
            ("01/Jan/1970:00:00:00 +0000", "1970-01-01T00:00:00Z"),
            ("20/Nov/2026:08:15:00 +0000", "2026-11-20T08:15:00Z"),
            ("20/Nov/2026:08:15:00 +0130", "2026-11-20T06:45:00Z"),
            ("31/Dec/2027:23:30:00 -0100", "2028-01-01T00:30:00Z"),
            ("29/Feb/2028:23:59:59 +0000", "2028-02-29T23:59:59Z"),
            ("01/Mar/2100:00:00:00 +0000", "2100-03-01T00:00:00Z"),
        ] {
            let time = apache(text.as_bytes()).unwrap();
            assert_eq!(written(time), at);
            assert_eq!(rfc3339(at), Some(time));
            let (date, clock) = at.trim_end_matches('Z').split_once('T').unwrap();
            assert_eq!(
                date_and_clock(date.as_bytes(), clock.as_bytes()),
                Some(time)
            );
        }
    }

    #[test]
    fn every_day_is_one_after_the_day_before() {
        let mut wanted = 0;
        for year in 1970..2106 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let date = Date { year, month, day };
                    if let Some(midnight) = date.midnight() {
                        assert_eq!(midnight, wanted, "{year}-{month}-{day}");
                        wanted = midnight.saturating_add(86_400);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "20/Nov/2026:08:15:00",
            "20/Foo/2026:08:15:00 +0000",
            "31/Nov/2026:08:15:00 +0000",
            "20/Nov/2026:24:15:00 +0000",
            "20/Nov/1969:08:15:00 +0000",
            "20/Nov/9999:08:15:00 +0000",
            "01/Jan/1970:00:00:00 +0100",
        ] {
            assert_eq!(apache(text.as_bytes()), None, "{text}");
        }
    }
}
