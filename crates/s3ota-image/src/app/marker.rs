//! A marker in an image that says: this firmware has a boot guard.
//!
//! Without a boot guard a device cannot roll back from a firmware that fails. An image's header does not
//! tell whether it has one. So every image with a guard has a [`GuardMarker`] in its read-only data, and a
//! [`Verifier`](super::Verifier) finds it as the image streams by.
//!
//! The marker is a label, not a proof: it keeps an owner from dropping the guard by accident.

/// Which boot guard an image has, as 20 bytes of its data.
///
/// ```
/// use s3ota_image::app::{GuardMarker, ImageBuilder, Verifier};
/// use s3ota_image::Chip;
///
/// // In a firmware: a static that the linker must keep.
/// #[used]
/// static MARKER: [u8; GuardMarker::LEN] = GuardMarker::new(GuardMarker::ESP_HAL, 1).bytes();
///
/// let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").without_guard().payload(&MARKER).build();
/// let mut verifier = Verifier::new();
/// verifier.update(&image)?;
/// assert_eq!(verifier.guard(), Some(GuardMarker::new(GuardMarker::ESP_HAL, 1)));
/// # Ok::<(), s3ota_image::ImageError>(())
/// ```
///
/// It must be in memory that the chip maps from flash. A segment that is copied to RAM may be split to fill
/// a gap between mapped ones (`get_irom_segs` and `split_image` in esptool's `esptool/bin_image.py`), and
/// the marker with it. A plain Rust `static` is mapped.
///
/// An image may hold several: the guard for ESP-IDF and Arduino is built on the library's own, whose marker says esp-hal.
/// The highest kind counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuardMarker {
    kind: u8,
    version: u8,
}

impl GuardMarker {
    /// Bytes of a marker: 17 fixed ones, kind, version, and a check byte.
    pub const LEN: usize = 20;

    /// From this version on a guard, of whatever kind, knows of trials that the old firmware launches while otadata goes on
    /// selecting the old one. An earlier one takes itself for the confirmed firmware then.
    pub const LAUNCHED: u8 = 2;

    /// Kind of the guard of a virtual device.
    pub const VIRTUAL: u8 = 0;
    /// Kind of the guard for esp-hal.
    pub const ESP_HAL: u8 = 1;
    /// Kind of the guard for ESP-IDF in C.
    pub const ESP_IDF: u8 = 2;
    /// Kind of the guard for Arduino.
    pub const ARDUINO: u8 = 3;

    /// A guard of this kind and version.
    ///
    /// # Panics
    /// If one of them is above 127. In a constant this is a compile error.
    pub const fn new(kind: u8, version: u8) -> GuardMarker {
        assert!(kind < 0x80 && version < 0x80, "numbers go up to 127");
        GuardMarker { kind, version }
    }

    /// What the guard was made for: [`VIRTUAL`](GuardMarker::VIRTUAL), [`ESP_HAL`](GuardMarker::ESP_HAL),
    /// [`ESP_IDF`](GuardMarker::ESP_IDF), [`ARDUINO`](GuardMarker::ARDUINO), or a newer kind.
    pub const fn kind(self) -> u8 {
        self.kind
    }

    /// Version of the guard among those of its kind.
    pub const fn version(self) -> u8 {
        self.version
    }

    /// The name of the kind. `None` if it is unknown.
    pub const fn kind_name(self) -> Option<&'static str> {
        match self.kind {
            GuardMarker::VIRTUAL => Some("virtual"),
            GuardMarker::ESP_HAL => Some("esp-hal"),
            GuardMarker::ESP_IDF => Some("esp-idf"),
            GuardMarker::ARDUINO => Some("arduino"),
            _ => None,
        }
    }

    /// The bytes to put into an image.
    ///
    /// Call it only for the value of a constant or a static. Code that calls it at run time contains the
    /// pattern itself, and looks like half a marker.
    pub const fn bytes(self) -> [u8; GuardMarker::LEN] {
        let mut bytes = [0; GuardMarker::LEN];
        let mut i = 0;
        while i < MAGIC_LEN {
            bytes[i] = !INVERTED[i];
            i += 1;
        }
        let tail = [self.kind, self.version, check(self.kind, self.version)];
        while i < GuardMarker::LEN {
            bytes[i] = tail[i - MAGIC_LEN];
            i += 1;
        }
        bytes
    }
}

const MAGIC_LEN: usize = GuardMarker::LEN - 3;

/// The start of every marker, inverted: the scanner is in every image that links this crate, and must not
/// find itself.
static INVERTED: [u8; MAGIC_LEN] = invert(*b"\xF3s3ota-boot-guard");

/// The first byte of a marker. No other byte of a marker is the same, so wherever it appears the scanner
/// starts anew and never has to look back.
const FIRST: u8 = 0xF3;

const fn invert(mut bytes: [u8; MAGIC_LEN]) -> [u8; MAGIC_LEN] {
    let mut i = 0;
    while i < MAGIC_LEN {
        bytes[i] = !bytes[i];
        i += 1;
    }
    bytes
}

/// The check byte for kind and version. It is below 0x80, too.
const fn check(kind: u8, version: u8) -> u8 {
    kind ^ version ^ 0x2A
}

/// Looks for a marker in data that comes in pieces.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    /// The last [`FIRST`] in the data, and what followed it.
    candidate: [u8; GuardMarker::LEN],
    /// How many bytes of it have been seen. Full before the first candidate.
    filled: usize,
    found: Option<GuardMarker>,
}

impl Scanner {
    pub(super) const fn new() -> Scanner {
        Scanner {
            candidate: [0; GuardMarker::LEN],
            filled: GuardMarker::LEN,
            found: None,
        }
    }

    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == FIRST {
                self.filled = 0;
            }
            // Almost all of an image ends here.
            let Some(place) = self.candidate.get_mut(self.filled) else {
                continue;
            };
            *place = byte;
            self.filled += 1;
            if self.filled == GuardMarker::LEN {
                self.found = higher(self.found, parse(&self.candidate));
            }
        }
    }

    /// The marker found; of several, that of the highest kind.
    pub(super) fn found(&self) -> Option<GuardMarker> {
        self.found
    }
}

/// The marker of the higher kind, and version.
fn higher(one: Option<GuardMarker>, other: Option<GuardMarker>) -> Option<GuardMarker> {
    let rank = |marker: &GuardMarker| (marker.kind, marker.version);
    match (one, other) {
        (Some(one), Some(other)) if rank(&one) > rank(&other) => Some(one),
        (one, None) => one,
        (_, other) => other,
    }
}

/// The marker that these bytes are.
fn parse(bytes: &[u8; GuardMarker::LEN]) -> Option<GuardMarker> {
    let (magic, &[kind, version, confirmed]) = bytes.split_last_chunk()?;
    let is_marker = magic
        .iter()
        .zip(&INVERTED)
        .all(|(byte, inverted)| *byte == !inverted)
        && (kind | version) < 0x80
        && confirmed == check(kind, version);
    is_marker.then_some(GuardMarker { kind, version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const MARKER: GuardMarker = GuardMarker::new(GuardMarker::ESP_HAL, 7);

    fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<GuardMarker> {
        let mut scanner = Scanner::new();
        for piece in pieces {
            scanner.update(piece);
        }
        scanner.found()
    }

    #[test]
    fn every_kind_and_version_is_read_back() {
        for kind in 0..0x80 {
            for version in 0..0x80 {
                let marker = GuardMarker::new(kind, version);
                assert_eq!(scan([&marker.bytes()[..]]), Some(marker));
            }
        }
    }

    #[test]
    fn the_first_byte_of_a_marker_is_in_it_once() {
        for kind in 0..0x80 {
            for version in 0..0x80 {
                let bytes = GuardMarker::new(kind, version).bytes();
                assert_eq!(bytes[0], FIRST);
                assert!(!bytes[1..].contains(&FIRST));
            }
        }
    }

    #[test]
    fn a_marker_is_found_wherever_the_pieces_are_cut() {
        let data = [&[0xFF; 5][..], &MARKER.bytes(), &[0; 5]].concat();
        for first in 0..=data.len() {
            for second in first..=data.len() {
                let pieces = [&data[..first], &data[first..second], &data[second..]];
                assert_eq!(scan(pieces), Some(MARKER), "{first}, {second}");
            }
        }
        assert_eq!(scan(data.chunks(1)), Some(MARKER));
    }

    #[test]
    fn a_marker_is_found_behind_any_beginning_of_another() {
        for length in 0..GuardMarker::LEN {
            for again in 0..GuardMarker::LEN {
                let beginning = &MARKER.bytes()[..length];
                let data = [beginning, &MARKER.bytes()[..again], &MARKER.bytes()].concat();
                assert_eq!(scan([&data[..]]), Some(MARKER), "{length}, {again}");
                assert_eq!(scan(data.chunks(1)), Some(MARKER), "{length}, {again}");
            }
        }
    }

    #[test]
    fn the_scanner_finds_what_a_plain_search_finds() {
        // Words made of the pattern's own bytes, by chance with a marker among them.
        let alphabet = MARKER.bytes();
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize
        };
        let mut found = 0;
        for _ in 0..3_000 {
            let mut data = Vec::new();
            for _ in 0..6 {
                let (a, b) = (random() % 21, random() % 21);
                data.extend(&alphabet[a.min(b)..a.max(b)]);
            }
            let plain = data.windows(GuardMarker::LEN).any(|w| w == alphabet);
            found += usize::from(plain);
            let cut = random() % (data.len() + 1);
            let (one, two) = data.split_at(cut);
            assert_eq!(scan([one, two]).is_some(), plain, "{data:02X?}");
        }
        assert!(found > 50, "{found} of the words held a marker");
    }

    #[test]
    fn no_marker_with_a_bit_flipped_or_a_byte_missing_is_one() {
        for byte in 0..GuardMarker::LEN {
            for bit in 0..8 {
                let mut torn = MARKER.bytes();
                torn[byte] ^= 1 << bit;
                assert_eq!(scan([&torn[..]]), None, "bit {bit} of byte {byte}");
            }
            let short = [&MARKER.bytes()[..byte], &MARKER.bytes()[byte + 1..]].concat();
            assert_eq!(scan([&short[..]]), None, "without byte {byte}");
        }
    }

    #[test]
    fn the_highest_kind_of_several_counts() {
        let arduino = GuardMarker::new(GuardMarker::ARDUINO, 1);
        for order in [[arduino, MARKER], [MARKER, arduino]] {
            let data = order.map(GuardMarker::bytes).concat();
            assert_eq!(scan([&data[..]]), Some(arduino));
        }
        let newer = GuardMarker::new(GuardMarker::ARDUINO, 2);
        let data = [newer.bytes(), arduino.bytes()].concat();
        assert_eq!(scan([&data[..]]), Some(newer));
    }

    #[test]
    fn what_the_scanner_carries_is_no_marker() {
        assert_eq!(scan([&INVERTED[..]]), None);
        let magic = &MARKER.bytes()[..MAGIC_LEN];
        assert!(INVERTED.iter().zip(magic).all(|(a, b)| *a == !*b));
    }

    #[test]
    fn kinds_have_names() {
        assert_eq!(MARKER.kind_name(), Some("esp-hal"));
        assert_eq!(GuardMarker::new(99, 1).kind_name(), None);
    }
}
