//! otadata: which OTA slot boots.
//!
//! The otadata partition has two sectors of [`SECTOR_SIZE`] bytes. Each begins with one
//! [`Record`] of [`RECORD_LEN`] bytes; the rest of the sector is unused. The bootloader takes the
//! valid record with the higher sequence ([`active`]) and boots the slot it names
//! ([`Record::slot`]).
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | sequence, `0xFFFFFFFF` when erased |
//! | 4..24 | label, free for the application |
//! | 24..28 | [`State`] |
//! | 28..32 | CRC-32 of the four sequence bytes, of nothing else |
//!
//! All numbers are little-endian. Sources: ESP-IDF
//! `components/bootloader_support/include/esp_flash_partitions.h` (`esp_ota_select_entry_t`,
//! `esp_ota_img_states_t`) for the layout,
//! `components/bootloader_support/src/bootloader_common_loader.c` for the rules,
//! `components/bootloader_support/src/bootloader_utility.c` for the slot.
//!
//! ```
//! use s3ota_image::otadata::{self, Record, State};
//!
//! // ota_0 runs; make ota_1 the next to boot.
//! let records = [Record::new(1, State::Valid, [0xFF; 20]), Record::ERASED];
//! assert_eq!(otadata::active(&records), Some(0));
//!
//! let sequence = otadata::next_sequence(records[0].sequence, 1, 2).unwrap();
//! let records = [records[0], Record::new(sequence, State::New, [0xFF; 20])];
//! assert_eq!(otadata::active(&records), Some(1));
//! assert_eq!(records[1].slot(2), Some(1));
//! ```

use crate::bytes::{field, put, u32_at};

/// Bytes of one otadata sector: the erase unit of SPI NOR flash.
pub const SECTOR_SIZE: u32 = 4096;

/// Bytes of one record, at the start of its sector.
pub const RECORD_LEN: usize = 32;

/// The sequence of an erased sector.
const ERASED_SEQUENCE: u32 = u32::MAX;

/// One otadata record.
///
/// Any 32 bytes parse: after a power cut flash can contain anything. [`is_idf_valid`](Record::is_idf_valid)
/// and [`is_idf_invalid`](Record::is_idf_invalid) tell what the bootloader makes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// `ota_seq`: the record with the higher sequence is in force.
    pub sequence: u32,
    /// `seq_label`: the bootloader neither reads nor checks it.
    pub label: [u8; 20],
    /// `ota_state`.
    pub state: State,
    /// `crc`, as stored, whether it matches or not.
    pub crc: u32,
}

impl Record {
    /// What an erased sector holds: all bytes 0xFF.
    pub const ERASED: Record = Record {
        sequence: ERASED_SEQUENCE,
        label: [0xFF; 20],
        state: State::Undefined,
        crc: u32::MAX,
    };

    /// A record with a matching CRC.
    pub const fn new(sequence: u32, state: State, label: [u8; 20]) -> Record {
        Record {
            sequence,
            label,
            state,
            crc: sequence_crc(sequence),
        }
    }

    /// Reads a record from flash bytes.
    pub fn parse(bytes: &[u8; RECORD_LEN]) -> Record {
        Record {
            sequence: u32_at::<0, RECORD_LEN>(bytes),
            label: field::<4, 20, RECORD_LEN>(bytes),
            state: State::from_raw(u32_at::<24, RECORD_LEN>(bytes)),
            crc: u32_at::<28, RECORD_LEN>(bytes),
        }
    }

    /// The bytes to write to flash.
    pub fn emit(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        put::<0, 4, RECORD_LEN>(&mut bytes, self.sequence.to_le_bytes());
        put::<4, 20, RECORD_LEN>(&mut bytes, self.label);
        put::<24, 4, RECORD_LEN>(&mut bytes, self.state.raw().to_le_bytes());
        put::<28, 4, RECORD_LEN>(&mut bytes, self.crc.to_le_bytes());
        bytes
    }

    /// Whether the stored CRC is that of the sequence (`bootloader_common_ota_select_crc`).
    pub fn crc_matches(&self) -> bool {
        self.crc == sequence_crc(self.sequence)
    }

    /// Whether the bootloader calls this record *invalid*: erased, or its image was rejected
    /// (`bootloader_common_ota_select_invalid`).
    ///
    /// Not the opposite of [`is_idf_valid`](Record::is_idf_valid): a torn record, whose CRC does
    /// not match, is neither.
    pub fn is_idf_invalid(&self) -> bool {
        self.sequence == ERASED_SEQUENCE || matches!(self.state, State::Invalid | State::Aborted)
    }

    /// Whether the bootloader may boot what this record names: it is not invalid, and the CRC matches
    /// (`bootloader_common_ota_select_valid`).
    pub fn is_idf_valid(&self) -> bool {
        !self.is_idf_invalid() && self.crc_matches()
    }

    /// The OTA slot that this record names, in a table with `slot_count` slots:
    /// `(sequence - 1) mod slot_count`.
    ///
    /// `None` for an erased record, and if there are no slots. This does not say whether the record is
    /// valid. Sequence 0 wraps around, as in `bootloader_utility.c`.
    pub fn slot(&self, slot_count: u32) -> Option<u32> {
        if self.sequence == ERASED_SEQUENCE {
            return None;
        }
        self.sequence.wrapping_sub(1).checked_rem(slot_count)
    }
}

/// What is known about the image a record names (`esp_ota_img_states_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// 0: written, not yet booted.
    New,
    /// 1: booted once, not confirmed yet.
    PendingVerify,
    /// 2: confirmed by the application.
    Valid,
    /// 3: rejected by the application. The bootloader skips the record.
    Invalid,
    /// 4: never confirmed. The bootloader skips the record.
    Aborted,
    /// 0xFFFFFFFF: no state. The image boots without restrictions.
    Undefined,
    /// Any other number. The bootloader treats it like `Undefined`.
    Other(u32),
}

impl State {
    /// The state with this number.
    pub const fn from_raw(raw: u32) -> State {
        match raw {
            0 => State::New,
            1 => State::PendingVerify,
            2 => State::Valid,
            3 => State::Invalid,
            4 => State::Aborted,
            u32::MAX => State::Undefined,
            other => State::Other(other),
        }
    }

    /// The number of this state.
    pub const fn raw(self) -> u32 {
        match self {
            State::New => 0,
            State::PendingVerify => 1,
            State::Valid => 2,
            State::Invalid => 3,
            State::Aborted => 4,
            State::Undefined => u32::MAX,
            State::Other(raw) => raw,
        }
    }
}

/// Which of the two records is in force: the valid one with the higher sequence, the first when
/// both are equal, `None` when neither is valid (`bootloader_common_get_active_otadata`).
pub fn active(records: &[Record; 2]) -> Option<usize> {
    let [first, second] = records;
    match (first.is_idf_valid(), second.is_idf_valid()) {
        (true, true) => Some(usize::from(second.sequence > first.sequence)),
        (true, false) => Some(0),
        (false, true) => Some(1),
        (false, false) => None,
    }
}

/// The smallest sequence above `current` that names `slot` out of `slot_count`.
///
/// `None` if there is no such slot, and if the sequences are used up: 0xFFFFFFFF means *erased* and is
/// never a sequence.
///
/// ```
/// use s3ota_image::otadata::next_sequence;
///
/// assert_eq!(next_sequence(0, 0, 2), Some(1)); // the first switch to ota_0
/// assert_eq!(next_sequence(1, 1, 2), Some(2)); // from ota_0 to ota_1
/// assert_eq!(next_sequence(2, 1, 2), Some(4)); // ota_1 again, in the other sector
/// ```
pub fn next_sequence(current: u32, slot: u32, slot_count: u32) -> Option<u32> {
    if slot >= slot_count {
        return None;
    }
    let first = current.checked_add(1)?;
    // The slot that `first` names, and how many further the wanted one is. Both are below `slot_count`.
    let here = current.checked_rem(slot_count)?;
    let steps = if slot < here {
        slot_count - here + slot
    } else {
        slot - here
    };
    let sequence = first.checked_add(steps)?;
    (sequence != ERASED_SEQUENCE).then_some(sequence)
}

/// `esp_rom_crc32_le(UINT32_MAX, &ota_seq, 4)`: the reflected CRC-32 (0xEDB88320) whose register
/// starts at 0, because the ROM inverts the start value as well as the result.
const fn sequence_crc(sequence: u32) -> u32 {
    let mut crc = sequence;
    let mut bit = 0;
    while bit < 32 {
        crc = if crc & 1 == 1 {
            (crc >> 1) ^ 0xEDB8_8320
        } else {
            crc >> 1
        };
        bit += 1;
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: [u8; 20] = [0xFF; 20];

    fn valid(sequence: u32) -> Record {
        Record::new(sequence, State::Valid, LABEL)
    }

    #[test]
    fn the_crc_is_the_one_of_the_rom() {
        assert_eq!(valid(1).crc, 0x4743_989A);
        assert_eq!(valid(2).crc, 0x55F6_3774);
        assert_eq!(valid(1).emit()[28..], [0x9A, 0x98, 0x43, 0x47]);
        assert_eq!(valid(2).emit()[28..], [0x74, 0x37, 0xF6, 0x55]);
    }

    #[test]
    fn what_is_emitted_parses_to_the_same() {
        let record = Record::new(0x0102_0304, State::PendingVerify, *b"s3ota trial boot 1/3");
        assert_eq!(Record::parse(&record.emit()), record);
        assert_eq!(record.emit()[..8], [4, 3, 2, 1, b's', b'3', b'o', b't']);
    }

    #[test]
    fn any_bytes_survive_parse_and_emit() {
        for seed in 0..=255u8 {
            let bytes: [u8; RECORD_LEN] =
                core::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add((i as u8) ^ seed));
            assert_eq!(Record::parse(&bytes).emit(), bytes);
        }
    }

    #[test]
    fn an_erased_sector_is_invalid_and_names_no_slot() {
        let erased = Record::parse(&[0xFF; RECORD_LEN]);
        assert_eq!(erased, Record::ERASED);
        assert!(erased.is_idf_invalid());
        assert!(!erased.is_idf_valid());
        assert_eq!(erased.slot(2), None);
    }

    #[test]
    fn a_torn_record_is_neither_valid_nor_invalid() {
        let torn = Record {
            crc: 0xFFFF_989A,
            ..valid(1)
        };
        assert!(!torn.is_idf_valid());
        assert!(!torn.is_idf_invalid());
        assert_eq!(active(&[torn, Record::ERASED]), None);
        assert_eq!(active(&[torn, valid(1)]), Some(1));
    }

    #[test]
    fn a_rejected_image_is_invalid_whatever_its_crc() {
        for state in [State::Invalid, State::Aborted] {
            let record = Record::new(7, state, LABEL);
            assert!(record.crc_matches());
            assert!(record.is_idf_invalid());
            assert!(!record.is_idf_valid());
        }
    }

    #[test]
    fn every_other_state_may_boot() {
        let states = [
            State::New,
            State::PendingVerify,
            State::Valid,
            State::Undefined,
            State::Other(5),
        ];
        for state in states {
            assert!(Record::new(7, state, LABEL).is_idf_valid(), "{state:?}");
        }
    }

    #[test]
    fn the_higher_sequence_is_in_force_and_the_first_wins_a_tie() {
        assert_eq!(active(&[valid(3), valid(4)]), Some(1));
        assert_eq!(active(&[valid(5), valid(4)]), Some(0));
        assert_eq!(active(&[valid(4), valid(4)]), Some(0));
        assert_eq!(active(&[Record::ERASED, Record::ERASED]), None);
    }

    #[test]
    fn an_aborted_record_gives_way_to_a_lower_sequence() {
        let aborted = Record::new(8, State::Aborted, LABEL);
        assert_eq!(active(&[valid(7), aborted]), Some(0));
    }

    #[test]
    fn the_slot_is_the_sequence_less_one_modulo_the_slots() {
        assert_eq!(valid(1).slot(2), Some(0));
        assert_eq!(valid(2).slot(2), Some(1));
        assert_eq!(valid(3).slot(2), Some(0));
        assert_eq!(valid(6).slot(3), Some(2));
        assert_eq!(valid(1).slot(0), None);
        // 0xFFFFFFFF % 2, as C computes it.
        assert_eq!(valid(0).slot(2), Some(1));
    }

    #[test]
    fn the_next_sequence_is_the_smallest_that_names_the_slot() {
        for count in 1..=16 {
            for current in 0..50 {
                for slot in 0..count {
                    let next = next_sequence(current, slot, count).expect("far from the end");
                    assert!(next > current && next <= current + count);
                    assert_eq!(valid(next).slot(count), Some(slot));
                }
            }
        }
    }

    #[test]
    fn there_is_no_sequence_past_the_last() {
        assert_eq!(next_sequence(0xFFFF_FFFD, 1, 2), Some(0xFFFF_FFFE));
        assert_eq!(next_sequence(0xFFFF_FFFD, 0, 2), None); // would be 0xFFFFFFFF
        assert_eq!(next_sequence(0xFFFF_FFFE, 0, 2), None);
        assert_eq!(next_sequence(0xFFFF_FFFF, 0, 1), None);
        assert_eq!(next_sequence(0xFFFF_FFF0, 0xFFFF_FFFE, u32::MAX), None);
    }

    #[test]
    fn there_is_no_sequence_for_a_slot_that_is_not_there() {
        assert_eq!(next_sequence(1, 2, 2), None);
        assert_eq!(next_sequence(1, 0, 0), None);
    }
}
