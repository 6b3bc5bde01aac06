//! Moments in time, as RFC 3339 writes them.

use core::fmt;
use core::str::FromStr;

/// A moment, in whole seconds since 1970-01-01T00:00:00Z (Unix time, without leap seconds).
///
/// It is parsed from and displayed as [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339), always
/// displayed in UTC: `2027-01-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last moment that RFC 3339 can express: 9999-12-31T23:59:59Z.
    pub const MAX: Timestamp = Timestamp(253_402_300_799);

    /// A moment from a clock. `None` after [`Timestamp::MAX`].
    pub const fn from_unix_seconds(seconds: u64) -> Option<Self> {
        if seconds <= Self::MAX.0 {
            Some(Timestamp(seconds))
        } else {
            None
        }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_seconds(self) -> u64 {
        self.0
    }

    /// Reads an RFC 3339 date and time, in any time zone.
    ///
    /// As its section 5.6 allows, `t` and `z` may be lower case and a space may stand for the `T`
    /// (GNU `date --rfc-3339=seconds` writes that). A fraction of a second is dropped. The leap
    /// second 23:59:60 UTC is the same moment as the midnight after it, as in Unix time.
    ///
    /// # Errors
    ///
    /// A [`TimestampError`] if the text has another form, names no real moment, or one outside 1970 to
    /// 9999.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let mut cursor = Cursor(text.as_bytes());
        let year = cursor.digits(4)?;
        cursor.one_of(b"-")?;
        let month = cursor.digits(2)?;
        cursor.one_of(b"-")?;
        let day = cursor.digits(2)?;
        cursor.one_of(b"Tt ")?;
        let hour = cursor.digits(2)?;
        cursor.one_of(b":")?;
        let minute = cursor.digits(2)?;
        cursor.one_of(b":")?;
        let second = cursor.digits(2)?;
        cursor.fraction()?;
        let offset = cursor.offset()?;
        if !cursor.0.is_empty() {
            return Err(TimestampError::Syntax);
        }

        let month_length = days_in_month(year, month).ok_or(TimestampError::NoSuchMoment)?;
        if !(1..=month_length).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return Err(TimestampError::NoSuchMoment);
        }
        let minutes = hour * 60 + minute - offset;
        // A leap second is inserted at the end of a UTC day (RFC 3339, section 5.7).
        if second == 60 && minutes.rem_euclid(1440) != 1439 {
            return Err(TimestampError::NoSuchMoment);
        }
        let days = i64::from(days_from_civil(year, month, day));
        u64::try_from(days * 86_400 + i64::from(minutes * 60 + second))
            .ok()
            .and_then(Self::from_unix_seconds)
            .ok_or(TimestampError::OutOfRange)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

/// What is left to read. Numbers have at most four digits, so later arithmetic cannot overflow.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn digits(&mut self, count: usize) -> Result<i32, TimestampError> {
        let (digits, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(TimestampError::Syntax)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| match digit {
            b'0'..=b'9' => Ok(number * 10 + i32::from(digit - b'0')),
            _ => Err(TimestampError::Syntax),
        })
    }

    fn one_of(&mut self, allowed: &[u8]) -> Result<u8, TimestampError> {
        match self.0.split_first() {
            Some((byte, rest)) if allowed.contains(byte) => {
                self.0 = rest;
                Ok(*byte)
            }
            _ => Err(TimestampError::Syntax),
        }
    }

    fn fraction(&mut self) -> Result<(), TimestampError> {
        if self.one_of(b".").is_ok() {
            self.digits(1)?;
            while self.one_of(b"0123456789").is_ok() {}
        }
        Ok(())
    }

    /// Minutes that the time zone is ahead of UTC.
    fn offset(&mut self) -> Result<i32, TimestampError> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Ok(0),
        };
        let hours = self.digits(2)?;
        self.one_of(b":")?;
        let minutes = self.digits(2)?;
        if hours > 23 || minutes > 59 {
            return Err(TimestampError::NoSuchMoment);
        }
        Ok(sign * (hours * 60 + minutes))
    }
}

/// Days of a month in the proleptic Gregorian calendar. `None` if there is no such month.
fn days_in_month(year: i32, month: i32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days since 1970-01-01 of a date. Years begin in March, so that the leap day is the last one:
/// the algorithm `days_from_civil` of <https://howardhinnant.github.io/date_algorithms.html>.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day: the inverse, `civil_from_days` on the same page, for days since 1970.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Why a text is not a [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TimestampError {
    /// It does not have the form of RFC 3339.
    Syntax,
    /// It has the form but names no real moment, such as February 30th or 24:00.
    NoSuchMoment,
    /// It is before 1970 or after 9999.
    OutOfRange,
}

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TimestampError::Syntax => {
                "not an RFC 3339 date and time; write it like 2027-01-31T12:00:00Z"
            }
            TimestampError::NoSuchMoment => "there is no such date or time; check day and hour",
            TimestampError::OutOfRange => "the date must lie between 1970 and 9999",
        })
    }
}

impl core::error::Error for TimestampError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn one_moment_has_many_spellings_and_one_canonical_form() {
        for text in [
            "2027-01-31T12:00:00Z",
            "2027-01-31t12:00:00z",
            "2027-01-31 12:00:00+00:00",
            "2027-01-31T12:00:00-00:00",
            "2027-01-31T12:00:00.999999999999999Z",
            "2027-01-31T13:30:00.0+01:30",
            "2027-02-01T11:59:00+23:59",
            "2027-01-30T12:01:00-23:59",
        ] {
            let timestamp =
                Timestamp::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            // date -u -d 2027-01-31T12:00:00Z +%s
            assert_eq!(timestamp.unix_seconds(), 1_801_396_800, "{text}");
            assert_eq!(timestamp.to_string(), "2027-01-31T12:00:00Z");
        }
    }

    #[test]
    fn a_leap_second_is_the_midnight_after_it() {
        // The leap second of RFC 3339, section 5.8, in two time zones.
        for text in ["1990-12-31T23:59:60Z", "1990-12-31T15:59:60-08:00"] {
            assert_eq!(
                Timestamp::parse(text).unwrap().to_string(),
                "1991-01-01T00:00:00Z"
            );
        }
        for text in [
            "1990-12-31T23:58:60Z",
            "1990-12-31T23:59:60+01:00",
            "1990-12-31T23:59:61Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(TimestampError::NoSuchMoment));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "2027",
            "2027-01-31",
            "2027-01-31T12:00Z",
            "2027-01-31T12:00:00",
            "2027-1-31T12:00:00Z",
            "27-01-31T12:00:00Z",
            "2027-01-31T12:00:00.Z",
            "2027-01-31T12:00:00+0100",
            "2027-01-31T12:00:00+01",
            "2027-01-31T12:00:00Z ",
            " 2027-01-31T12:00:00Z",
            "2027-01-31T12:00:00Zé",
            "+027-01-31T12:00:00Z",
            "2027/01/31T12:00:00Z",
            "1801396800",
            "2027-01-31T12:00:00,5Z",
            "2027-01-31_12:00:00Z",
            "Sun, 31 Jan 2027 12:00:00 GMT",
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Err(TimestampError::Syntax),
                "{text:?}"
            );
        }
    }

    #[test]
    fn moments_that_do_not_exist_are_refused() {
        for text in [
            "2027-00-10T00:00:00Z",
            "2027-13-10T00:00:00Z",
            "2027-01-00T00:00:00Z",
            "2027-01-32T00:00:00Z",
            "2027-04-31T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-01-01T24:00:00Z",
            "2027-01-01T00:60:00Z",
            "2027-01-01T00:00:00+24:00",
            "2027-01-01T00:00:00+00:60",
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Err(TimestampError::NoSuchMoment),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_range_is_1970_to_9999() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:00:00-01:00", 0),
            ("9999-12-31T23:59:59Z", Timestamp::MAX.unix_seconds()),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().unix_seconds(), seconds);
        }
        for text in [
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Err(TimestampError::OutOfRange),
                "{text}"
            );
        }
        assert_eq!(
            Timestamp::from_unix_seconds(Timestamp::MAX.unix_seconds() + 1),
            None
        );
    }

    /// Walks the calendar day by day, without clever arithmetic. It repeats after 400 years; from then on
    /// the first day of each month is enough.
    #[test]
    fn every_date_until_9999_is_read_and_written_right() {
        let mut seconds = 0;
        for year in 1970..=9999 {
            for month in 1..=12 {
                let length = match month {
                    2 if year % 400 == 0 || (year % 4 == 0 && year % 100 != 0) => 29,
                    2 => 28,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                for day in 1..=length {
                    if year < 2370 || day == 1 {
                        let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                        let timestamp = Timestamp::from_unix_seconds(seconds).unwrap();
                        assert_eq!(timestamp.to_string(), text);
                        assert_eq!(Timestamp::parse(&text), Ok(timestamp));
                    }
                    seconds += 86_400;
                }
            }
        }
        assert_eq!(seconds, Timestamp::MAX.unix_seconds() + 1);
    }
}
