//! Staged rollouts: how many devices, and which ones.

use core::fmt;
use core::str::FromStr;

use sha2::{Digest, Sha256};

use crate::Manifest;
use crate::json::number_length;
use crate::statement::HashWriter;

/// Millionths of a percent: the unit of [`Rollout`] and [`Place`].
const PERCENT: u32 = 1_000_000;
const DECIMALS: i64 = 6;

/// The share of the devices that install a release, in percent from 0 to 100.
///
/// It is stored as an integer, in millionths of a percent: 12.1 is exactly 12.1, on every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rollout(u32);

impl Rollout {
    /// 0 percent: a release that no device installs.
    pub const NOBODY: Rollout = Rollout(0);
    /// 100 percent.
    pub const EVERYONE: Rollout = Rollout(100 * PERCENT);

    /// A whole number of percent.
    ///
    /// # Errors
    ///
    /// [`RolloutError::OutOfRange`] above 100.
    pub const fn from_percent(percent: u8) -> Result<Self, RolloutError> {
        if percent > 100 {
            return Err(RolloutError::OutOfRange);
        }
        Ok(Rollout(percent as u32 * PERCENT))
    }

    /// Whether a device at this place installs the release. [`Rollout::EVERYONE`] includes every place,
    /// [`Rollout::NOBODY`] none. A higher rollout includes every place that a lower one does.
    pub const fn includes(self, place: Place) -> bool {
        place.0 < self.0
    }
}

impl FromStr for Rollout {
    type Err = RolloutError;

    /// Parses a percentage from the text of a JSON number: `12.5`, or `1.25e1` as some tools write it.
    ///
    /// Decimals after the sixth are dropped, so a rollout never reaches more devices than it says.
    fn from_str(text: &str) -> Result<Self, RolloutError> {
        if number_length(text.as_bytes()) != Ok(text.len()) {
            return Err(RolloutError::NotANumber);
        }
        let (mantissa, exponent) = split_exponent(text);
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        // The power of ten that a digit stands for, in millionths of a percent.
        let mut power = i64::try_from(whole.len())
            .unwrap_or(i64::MAX)
            .saturating_add(exponent)
            .saturating_add(DECIMALS);
        let (mut value, mut dropped) = (0_u32, false);
        for digit in whole.bytes().chain(fraction.bytes()) {
            power = power.saturating_sub(1);
            if digit == b'0' {
                continue;
            }
            match u32::try_from(power) {
                // At most nine digits get here, one for each power: they fit.
                Ok(power @ 0..=8) => value += u32::from(digit - b'0') * 10_u32.pow(power),
                Err(_) if power < 0 => dropped = true,
                // 1,000 percent or more.
                _ => return Err(RolloutError::OutOfRange),
            }
        }

        let nobody = value == 0 && !dropped;
        match Rollout(value) {
            _ if negative && !nobody => Err(RolloutError::OutOfRange),
            Self::EVERYONE if dropped => Err(RolloutError::OutOfRange),
            rollout if rollout > Self::EVERYONE => Err(RolloutError::OutOfRange),
            rollout => Ok(rollout),
        }
    }
}

impl fmt::Display for Rollout {
    /// The percentage, as short as possible: `12.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_percent(self.0, f)
    }
}

/// A device's place in the queue for a release, from 0 to just under 100 percent.
///
/// It comes from a hash of the device's id and the release. So places are spread evenly, differ from
/// release to release (it is not always the same devices that go first), and do not change while the
/// release is the same: raising a release's [`Rollout`] adds devices and removes none.
///
/// ```
/// # use s3ota_manifest::{Manifest, Place, Rollout};
/// # let mut document = *br#"{"version": "1.2.0", "url": "https://example.com/app.bin", "rollout": 25}"#;
/// # let manifest = Manifest::parse(&mut document)?;
/// let mac = [0x24, 0x0a, 0xc4, 0x00, 0x01, 0x10];
/// let place = Place::of(&mac, &manifest);
/// let install = manifest.rollout.unwrap_or(Rollout::EVERYONE).includes(place);
/// # assert_eq!(install, format!("{place}").parse::<f64>().unwrap() < 25.0);
/// # Ok::<(), s3ota_manifest::ManifestError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u32);

impl Place {
    /// The place of a device in the queue for a release. The device is identified by an id of its own, such as its MAC
    /// address, and the release by its version and its SHA-256.
    ///
    /// The hash is SHA-256 over `s3ota-place-v1\n`,
    /// the canonical version, `\n`, the digest in hex (nothing where the manifest has none), `\n`, and the id.
    /// Its first eight bytes, as a big-endian fraction of 2⁶⁴, are the place.
    pub fn of(device_id: &[u8], release: &Manifest<'_>) -> Self {
        use fmt::Write;

        let mut hash = HashWriter(Sha256::new());
        // Writing into a hash cannot fail.
        let _ = writeln!(hash, "s3ota-place-v1\n{}", release.version);
        let _ = match release.sha256 {
            Some(sha256) => writeln!(hash, "{sha256}"),
            None => writeln!(hash),
        };
        hash.0.update(device_id);
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..]: [u8; 32] = hash.0.finalize().into();
        let fraction = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);

        // A fraction of 2^64 times a number is less than that number.
        let place = (u128::from(fraction) * u128::from(Rollout::EVERYONE.0)) >> 64;
        Place(u32::try_from(place).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Place {
    /// The percentage that a rollout must exceed to include this place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_percent(self.0, f)
    }
}

/// The number before the exponent, and the exponent. An exponent beyond 32 bits is clamped: it moves every
/// digit out of range anyway.
fn split_exponent(number: &str) -> (&str, i64) {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return (number, 0);
    };
    let farthest = if exponent.starts_with('-') {
        i32::MIN
    } else {
        i32::MAX
    };
    (mantissa, exponent.parse().unwrap_or(farthest).into())
}

fn write_percent(value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (whole, mut fraction) = (value / PERCENT, value % PERCENT);
    write!(f, "{whole}")?;
    if fraction == 0 {
        return Ok(());
    }
    let mut width = 6;
    while fraction % 10 == 0 {
        fraction /= 10;
        width -= 1;
    }
    write!(f, ".{fraction:0width$}")
}

/// Why something is not a [`Rollout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RolloutError {
    /// It is not a JSON number.
    NotANumber,
    /// It is less than 0 or more than 100.
    OutOfRange,
}

impl fmt::Display for RolloutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RolloutError::NotANumber => "not a number; write a percentage like 25 or 0.5",
            RolloutError::OutOfRange => "a percentage must lie between 0 and 100",
        })
    }
}

impl core::error::Error for RolloutError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn one_percentage_has_many_spellings_and_one_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e7", "0"),
            ("0e999999999999999999999", "0"),
            ("100", "100"),
            ("100.000000000000000000000", "100"),
            ("1e2", "100"),
            ("0.1E+3", "100"),
            ("10000000000000000000000000000e-26", "100"),
            ("12.5", "12.5"),
            ("1.25e1", "12.5"),
            ("12.10", "12.1"),
            ("0.000001", "0.000001"),
            ("1e-6", "0.000001"),
            ("5e-1", "0.5"),
            ("99.999999", "99.999999"),
            ("33.333333333333336", "33.333333"),
            ("99.9999999999999", "99.999999"),
            ("1e-7", "0"),
            ("1e-999999999999999999999", "0"),
        ] {
            let rollout: Rollout = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rollout.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse(), Ok(rollout));
        }
    }

    #[test]
    fn less_than_nobody_and_more_than_everyone_are_refused() {
        for text in [
            "-1",
            "999",
            "1000",
            "9999.99",
            "1e10",
            "-1e-9",
            "-0.000001",
            "101",
            "100.000001",
            "100.0000000000001",
            "1e3",
            "4294967396",
            "18446744073709551616",
            "1e999999999999999999999",
            "9e9",
            "999999999999999999999e-18",
        ] {
            assert_eq!(
                text.parse::<Rollout>(),
                Err(RolloutError::OutOfRange),
                "{text}"
            );
        }
        assert_eq!(Rollout::from_percent(101), Err(RolloutError::OutOfRange));
        assert_eq!(Rollout::from_percent(100), Ok(Rollout::EVERYONE));
    }

    #[test]
    fn only_json_numbers_are_percentages() {
        for text in [
            "", "-", "+5", ".5", "5.", "05", "5%", "1e", "1e+", "0x10", "NaN", " 5", "5 ", "½",
        ] {
            assert_eq!(
                text.parse::<Rollout>(),
                Err(RolloutError::NotANumber),
                "{text}"
            );
        }
    }

    fn with_manifest<T>(document: &str, use_it: impl FnOnce(&Manifest<'_>) -> T) -> T {
        let mut document = document.as_bytes().to_vec();
        use_it(&Manifest::parse(&mut document).unwrap())
    }

    fn places(document: &str, devices: u32) -> Vec<Place> {
        with_manifest(document, |manifest| {
            (0..devices)
                .map(|device| Place::of(&device.to_be_bytes(), manifest))
                .collect()
        })
    }

    const RELEASE: &str = r#"{"version":"1.2.0","url":"https://example.com/a.bin",
        "sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#;

    #[test]
    fn places_are_spread_evenly() {
        let places = places(RELEASE, 100_000);
        let mut hundredths = [0; 100];
        for place in &places {
            hundredths[(place.0 / PERCENT) as usize] += 1;
        }
        // 1,000 expected in each, with a standard deviation of 31.5: five of them are allowed.
        for (percent, count) in hundredths.iter().enumerate() {
            assert!((843..=1157).contains(count), "{percent}: {count}");
        }
        // Pearson's chi-squared with 99 degrees of freedom: 148.2 is exceeded once in a thousand times.
        let chi_squared: f64 = hundredths
            .iter()
            .map(|&count| (f64::from(count) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!(chi_squared < 148.2, "{chi_squared}");
    }

    #[test]
    fn raising_a_rollout_only_adds_devices() {
        let places = places(RELEASE, 10_000);
        let included = |rollout: Rollout| -> Vec<bool> {
            places
                .iter()
                .map(|place| rollout.includes(*place))
                .collect()
        };
        let steps = ["0", "0.01", "1", "12.5", "50", "99.9", "100"];
        for pair in steps.windows(2) {
            let (lower, higher) = (pair[0].parse().unwrap(), pair[1].parse().unwrap());
            let (before, after) = (included(lower), included(higher));
            assert!(
                before
                    .iter()
                    .zip(&after)
                    .all(|(before, after)| !before || *after)
            );
            assert!(before != after, "{pair:?}");
        }
        assert!(included(Rollout::NOBODY).iter().all(|included| !included));
        assert!(included(Rollout::EVERYONE).iter().all(|included| *included));
    }

    #[test]
    fn the_extreme_places_keep_the_promise_too() {
        let last = Place(Rollout::EVERYONE.0 - 1);
        assert!(Rollout::EVERYONE.includes(last));
        assert!(!"99.999999".parse::<Rollout>().unwrap().includes(last));
        assert!(!Rollout::NOBODY.includes(Place(0)));
        assert!("0.000001".parse::<Rollout>().unwrap().includes(Place(0)));
    }

    #[test]
    fn a_place_depends_on_device_and_release_and_nothing_else() {
        let place = places(RELEASE, 100);
        let moved = RELEASE.replace("example.com", "other.example.com").replace(
            "1.2.0\"",
            "v1.2\", \"rollout\": 5, \"chip\": \"esp32\", \"notes\": \"…\"",
        );
        assert_eq!(places(&moved, 100), place);
        assert_ne!(places(&RELEASE.replace("1.2.0", "1.2.1"), 100), place);
        assert_ne!(places(&RELEASE.replace("e3b0", "e3b1"), 100), place);
    }

    /// Frozen: devices in the field and publishers' previews must always agree on it.
    /// The second one is 0x7f9223cbdaad33f7 / 2^64, where
    /// `printf 's3ota-place-v1\n1.0.0\n\ndevice-1' | sha256sum` prints 7f9223cbdaad33f7d3e5….
    #[test]
    fn the_place_of_a_known_device_is_known() {
        with_manifest(RELEASE, |manifest| {
            assert_eq!(Place::of(b"device-1", manifest).to_string(), "59.247055");
        });
        with_manifest(
            r#"{"version":"1","url":"https://example.com/"}"#,
            |manifest| {
                assert_eq!(Place::of(b"device-1", manifest).to_string(), "49.832366");
            },
        );
    }
}
