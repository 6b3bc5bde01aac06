//! A marker in an image that says: this is the version that the firmware tells the library.
//!
//! The descriptor of an Arduino build holds the version of the Arduino core, not the sketch's. So the Arduino
//! library puts the version that it is given into the image as a [`VersionMarker`], and whoever publishes
//! the image finds it there. Devices do not look for it.

use core::fmt;

/// The version that a firmware tells the library, as 64 bytes of its data.
///
/// | bytes | part |
/// |---|---|
/// | 0..16 | 0xF5, then `s3ota-version` and a 1 for this layout |
/// | 16..64 | the version, 1 to 47 visible ASCII characters; the rest is 0 |
///
/// `bindings/arduino/src/s3ota_version.h` makes it in C++.
///
/// ```
/// use s3ota_image::app::{ImageBuilder, VersionMarker};
/// use s3ota_image::Chip;
///
/// let marker = VersionMarker::new("1.2.0").unwrap();
/// let image = ImageBuilder::new(Chip::Esp32, "v5.5.1")
///     .project_name("arduino-lib-builder")
///     .payload(&marker.bytes())
///     .build();
/// let found = VersionMarker::find(&image)?.unwrap();
/// assert_eq!(found.version(), "1.2.0");
/// # Ok::<(), s3ota_image::app::TwoVersions>(())
/// ```
///
/// Like the [boot guard's marker](super::GuardMarker) it must be in memory that the chip maps from flash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionMarker {
    text: [u8; TEXT],
}

impl VersionMarker {
    /// Bytes of a marker.
    pub const LEN: usize = 64;
    /// The most bytes of a version: at least one 0 follows.
    pub const TEXT_MAX: usize = TEXT - 1;

    /// The marker of this version. `None` if it is empty, longer than
    /// [`TEXT_MAX`](VersionMarker::TEXT_MAX), or has other than visible ASCII characters.
    pub fn new(version: &str) -> Option<VersionMarker> {
        let version = version.as_bytes();
        let mut text = [0; TEXT];
        text.get_mut(..version.len())?.copy_from_slice(version);
        parse(&text)
    }

    /// The version, as the firmware spells it.
    pub fn version(&self) -> &str {
        let length = self.text.iter().position(|byte| *byte == 0);
        let text = self.text.get(..length.unwrap_or(TEXT));
        core::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }

    /// The bytes to put into an image. A program that calls this contains the pattern.
    pub fn bytes(&self) -> [u8; VersionMarker::LEN] {
        let mut bytes = [0; VersionMarker::LEN];
        let (magic, text) = bytes.split_at_mut(MAGIC);
        for (byte, inverted) in magic.iter_mut().zip(&INVERTED) {
            *byte = !inverted;
        }
        text.copy_from_slice(&self.text);
        bytes
    }

    /// The only marker in an image, however often it is there. `None` if there is none.
    ///
    /// The image may be any bytes. They are gone through once, and nothing of them is kept but two versions.
    ///
    /// # Errors
    /// If markers of two versions are there.
    pub fn find(image: &[u8]) -> Result<Option<VersionMarker>, TwoVersions> {
        let mut found = None;
        for marker in VersionMarker::all(image) {
            match found {
                None => found = Some(marker),
                Some(first) if first != marker => {
                    return Err(TwoVersions {
                        first,
                        second: marker,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(found)
    }

    /// Every marker in an image, in its order.
    pub fn all(image: &[u8]) -> impl Iterator<Item = VersionMarker> + '_ {
        let places = image.iter().enumerate();
        places
            .filter(|(_, byte)| **byte == !INVERTED[0])
            .filter_map(|(at, _)| {
                let bytes: &[u8; VersionMarker::LEN] = image.get(at..)?.first_chunk()?;
                let (magic, text) = bytes.split_first_chunk::<MAGIC>()?;
                let is_magic = magic.iter().zip(&INVERTED).all(|(a, b)| *a == !*b);
                is_magic.then(|| text.first_chunk().and_then(parse))?
            })
    }
}

impl fmt::Debug for VersionMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VersionMarker")
            .field(&self.version())
            .finish()
    }
}

/// An image has markers of two versions: which one its firmware tells the library is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoVersions {
    /// The first marker.
    pub first: VersionMarker,
    /// The first one that differs from it.
    pub second: VersionMarker,
}

impl fmt::Display for TwoVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = (self.first.version(), self.second.version());
        write!(
            f,
            "the image calls itself both {first} and {second}: the firmware gives the library two versions"
        )
    }
}

impl core::error::Error for TwoVersions {}

const MAGIC: usize = 16;
const TEXT: usize = VersionMarker::LEN - MAGIC;

/// The start of every marker, inverted: what looks for it must not find itself.
static INVERTED: [u8; MAGIC] = invert(*b"\xF5s3ota-version\x01\0");

const fn invert(mut bytes: [u8; MAGIC]) -> [u8; MAGIC] {
    let mut i = 0;
    while i < MAGIC {
        bytes[i] = !bytes[i];
        i += 1;
    }
    bytes
}

/// The marker with this text.
fn parse(text: &[u8; TEXT]) -> Option<VersionMarker> {
    let length = text.iter().position(|byte| *byte == 0)?;
    let (version, rest) = text.split_at_checked(length)?;
    let is_text = !version.is_empty()
        && version.iter().all(u8::is_ascii_graphic)
        && rest.iter().all(|byte| *byte == 0);
    is_text.then_some(VersionMarker { text: *text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::ToString, vec, vec::Vec};

    fn marker(version: &str) -> VersionMarker {
        VersionMarker::new(version).unwrap()
    }

    fn find(bytes: &[u8]) -> Option<VersionMarker> {
        VersionMarker::find(bytes).unwrap()
    }

    #[test]
    fn the_bytes_are_those_that_the_sketch_makes() {
        let mut expected = b"\xF5s3ota-version\x01\x001.2.0".to_vec();
        expected.resize(64, 0);
        assert_eq!(marker("1.2.0").bytes()[..], expected);
    }

    #[test]
    fn a_marker_is_found_at_every_place() {
        let longest = "1.2.3-rc.1-10-g0a1b2c3d4e5f60718293a4b5c6d7e8f9";
        assert_eq!(longest.len(), VersionMarker::TEXT_MAX);
        for version in ["1", "1.2.0", longest] {
            for before in 0..70 {
                let mut data = vec![0xF5; before];
                data.extend(marker(version).bytes());
                data.extend(*b"more");
                assert_eq!(find(&data).unwrap().version(), version, "{before}");
            }
        }
    }

    #[test]
    fn the_same_marker_twice_is_one_and_two_are_an_error() {
        let one = marker("1.0.0").bytes();
        assert_eq!(find(&[one, one].concat()), Some(marker("1.0.0")));
        let data = [one, one, marker("1.1.0").bytes(), marker("1.2.0").bytes()].concat();
        let error = VersionMarker::find(&data).unwrap_err();
        assert_eq!(
            (error.first.version(), error.second.version()),
            ("1.0.0", "1.1.0")
        );
        assert!(error.to_string().contains("both 1.0.0 and 1.1.0"));
    }

    #[test]
    fn what_is_no_version_is_no_marker() {
        for text in ["", " 1.0", "1.0\n", "1.0\u{1b}[2J", "1.0é", &"1".repeat(48)] {
            assert_eq!(VersionMarker::new(text), None, "{text:?}");
            let mut data = marker("1.0.0").bytes();
            data[MAGIC..].fill(0);
            for (to, from) in data[MAGIC..].iter_mut().zip(text.as_bytes()) {
                *to = *from;
            }
            assert_eq!(find(&data), None, "{text:?}");
        }
        // A text without an end, or with another one behind its end.
        let mut behind = marker("1.0.0").bytes();
        behind[40] = b'2';
        assert_eq!(find(&behind), None);
    }

    #[test]
    fn no_torn_or_short_marker_is_one() {
        let whole = marker("1.0.0").bytes();
        for byte in 0..MAGIC {
            for bit in 0..8 {
                let mut torn = whole;
                torn[byte] ^= 1 << bit;
                assert_eq!(find(&torn), None, "bit {bit} of byte {byte}");
            }
        }
        for length in 0..VersionMarker::LEN {
            assert_eq!(find(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn an_image_full_of_markers_costs_no_more_than_its_length() {
        let many: Vec<u8> = (0..1000)
            .flat_map(|i| marker(&format!("1.0.{i}")).bytes())
            .collect();
        assert_eq!(VersionMarker::all(&many).count(), 1000);
        let error = VersionMarker::find(&many).unwrap_err();
        assert_eq!(error.second.version(), "1.0.1");
        assert_eq!(find(&vec![0xF5; 1 << 20]), None);
    }

    #[test]
    fn what_looks_for_markers_is_none() {
        assert_eq!(find(&INVERTED), None);
        let magic = &marker("1").bytes()[..MAGIC];
        assert!(INVERTED.iter().zip(magic).all(|(a, b)| *a == !*b));
    }
}
