//! One entry of the table.

use core::fmt;

use super::{ENTRY_LEN, OTADATA_SIZE};
use crate::bytes::{c_buffer, c_str, field, put, u32_at};

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub label: Label,
    /// What it is for.
    pub kind: Kind,
    /// Where it starts on the flash, in bytes.
    pub offset: u32,
    /// How long it is, in bytes.
    pub size: u32,
    /// [`ENCRYPTED`](Partition::ENCRYPTED), [`READONLY`](Partition::READONLY); other bits have no
    /// meaning yet.
    pub flags: u32,
}

impl Partition {
    /// Flag: encrypted if the chip encrypts its flash (`PART_FLAG_ENCRYPTED`).
    pub const ENCRYPTED: u32 = 1 << 0;
    /// Flag: the application must not write it (`PART_FLAG_READONLY`).
    pub const READONLY: u32 = 1 << 1;

    /// The first two bytes of an entry (`ESP_PARTITION_MAGIC`).
    pub(super) const MAGIC: [u8; 2] = [0xAA, 0x50];

    /// The offset after its last byte. `None` past the 32-bit address space.
    pub fn end(&self) -> Option<u32> {
        self.offset.checked_add(self.size)
    }

    /// Parses an entry. `None` if the bytes do not begin with the magic.
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Option<Partition> {
        if field::<0, 2, ENTRY_LEN>(bytes) != Partition::MAGIC {
            return None;
        }
        Some(Partition {
            label: Label(field::<12, 16, ENTRY_LEN>(bytes)),
            kind: Kind::new(bytes[2], bytes[3]),
            offset: u32_at::<4, ENTRY_LEN>(bytes),
            size: u32_at::<8, ENTRY_LEN>(bytes),
            flags: u32_at::<28, ENTRY_LEN>(bytes),
        })
    }

    /// The bytes of this entry.
    pub fn emit(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        put::<0, 2, ENTRY_LEN>(&mut bytes, Partition::MAGIC);
        put::<2, 2, ENTRY_LEN>(&mut bytes, [self.kind.type_, self.kind.subtype]);
        put::<4, 4, ENTRY_LEN>(&mut bytes, self.offset.to_le_bytes());
        put::<8, 4, ENTRY_LEN>(&mut bytes, self.size.to_le_bytes());
        put::<12, 16, ENTRY_LEN>(&mut bytes, self.label.0);
        put::<28, 4, ENTRY_LEN>(&mut bytes, self.flags.to_le_bytes());
        bytes
    }

    /// What the offset must be a multiple of (`ALIGNMENT` in `gen_esp32part.py`).
    pub(super) fn offset_alignment(kind: Kind) -> u32 {
        if kind.is_app() { 0x1_0000 } else { 0x1000 }
    }

    /// Whether it may start before the end of the table's own sector.
    pub(super) fn may_lie_below_the_table(&self) -> bool {
        matches!(self.kind, Kind::BOOTLOADER | Kind::PARTITION_TABLE)
    }

    /// Whether it starts before `end`, the end of the table's own sector, and must not.
    pub(super) fn covers_the_table(&self, end: u32) -> bool {
        self.offset < end && !self.may_lie_below_the_table()
    }

    /// Whether it is an otadata partition that is not two sectors long, or is read-only.
    pub(super) fn is_unusable_otadata(&self) -> bool {
        self.kind == Kind::OTADATA
            && (self.size != OTADATA_SIZE || self.flags & Partition::READONLY != 0)
    }
}

/// What a partition is for: the numbers of its type and subtype.
///
/// The pairs that ESP-IDF names are constants here, for use in a `match`. Any other pair is kept as it
/// is.
///
/// ```
/// use s3ota_image::partition::Kind;
///
/// assert_eq!(Kind::ota_slot(3).map(|kind| kind.as_ota_slot()), Some(Some(3)));
/// assert_eq!(Kind::OTADATA.to_string(), "data/ota");
/// assert_eq!(Kind { type_: 0x40, subtype: 7 }.to_string(), "0x40/0x07");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The type: 0 app, 1 data, 2 bootloader, 3 partition table, 0x40 to 0xFE for applications.
    pub type_: u8,
    /// The subtype. Its meaning depends on the type.
    pub subtype: u8,
}

/// Type of app partitions (`PART_TYPE_APP`).
const APP: u8 = 0;
/// Type of data partitions (`PART_TYPE_DATA`).
const DATA: u8 = 1;
/// Type of bootloader partitions (`BOOTLOADER_TYPE` in `gen_esp32part.py`).
const BOOTLOADER: u8 = 2;
/// Type of partition tables (`PARTITION_TABLE_TYPE` in `gen_esp32part.py`).
const PARTITION_TABLE: u8 = 3;
/// The subtype of slot 0; slot 15 is 15 more (`PART_SUBTYPE_OTA_FLAG`, `PART_SUBTYPE_OTA_MASK`).
const OTA_0: u8 = 0x10;
/// The most OTA slots.
pub(super) const MAX_OTA_SLOTS: u8 = 16;

impl Kind {
    /// app, factory: boots if otadata names no slot.
    pub const FACTORY: Kind = Kind::new(APP, 0x00);
    /// app, test: boots if a GPIO is held, with a bootloader that is built for it.
    pub const TEST: Kind = Kind::new(APP, 0x20);
    /// data, ota: the otadata partition, see [`otadata`](crate::otadata).
    pub const OTADATA: Kind = Kind::new(DATA, 0x00);
    /// data, phy: radio calibration.
    pub const PHY: Kind = Kind::new(DATA, 0x01);
    /// data, nvs: key-value storage.
    pub const NVS: Kind = Kind::new(DATA, 0x02);
    /// data, coredump.
    pub const COREDUMP: Kind = Kind::new(DATA, 0x03);
    /// bootloader, primary: the one the ROM starts. It may lie before the table.
    pub const BOOTLOADER: Kind = Kind::new(BOOTLOADER, 0x00);
    /// partition_table, primary: the table itself. It may lie before the end of the table.
    pub const PARTITION_TABLE: Kind = Kind::new(PARTITION_TABLE, 0x00);

    const fn new(type_: u8, subtype: u8) -> Kind {
        Kind { type_, subtype }
    }

    /// app, `ota_N`: OTA slot `slot`. `None` above 15.
    pub const fn ota_slot(slot: u8) -> Option<Kind> {
        if slot < MAX_OTA_SLOTS {
            Some(Kind::new(APP, OTA_0 + slot))
        } else {
            None
        }
    }

    /// The number of the OTA slot that this is, or `None`.
    pub const fn as_ota_slot(self) -> Option<u8> {
        if self.type_ == APP && self.subtype & !(MAX_OTA_SLOTS - 1) == OTA_0 {
            Some(self.subtype & (MAX_OTA_SLOTS - 1))
        } else {
            None
        }
    }

    /// Whether this is a bootloader, of any subtype.
    #[cfg(feature = "alloc")]
    pub(super) const fn is_bootloader(self) -> bool {
        self.type_ == BOOTLOADER
    }

    /// Whether this is a partition table, of any subtype.
    #[cfg(feature = "alloc")]
    pub(super) const fn is_partition_table(self) -> bool {
        self.type_ == PARTITION_TABLE
    }

    /// Whether this holds an app image.
    pub const fn is_app(self) -> bool {
        self.type_ == APP
    }

    /// The type's name in CSV. `None` if it has none.
    pub fn type_name(self) -> Option<&'static str> {
        TYPES
            .iter()
            .find(|(_, type_)| *type_ == self.type_)
            .map(|(name, _)| *name)
    }

    /// The subtype's name in CSV, such as `ota_0`. `None` if it has none.
    pub fn subtype_name(self) -> Option<&'static str> {
        SUBTYPES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map(|(name, _)| *name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.type_name() {
            Some(name) => write!(f, "{name}/")?,
            None => write!(f, "0x{:02x}/", self.type_)?,
        }
        match self.subtype_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:02x}", self.subtype),
        }
    }
}

/// `TYPES` of `gen_esp32part.py`.
pub(super) const TYPES: [(&str, u8); 4] = [
    ("app", APP),
    ("data", DATA),
    ("bootloader", BOOTLOADER),
    ("partition_table", PARTITION_TABLE),
];

/// `SUBTYPES` of `gen_esp32part.py`.
pub(super) const SUBTYPES: [(&str, Kind); 37] = [
    ("factory", Kind::FACTORY),
    ("ota_0", Kind::new(APP, 0x10)),
    ("ota_1", Kind::new(APP, 0x11)),
    ("ota_2", Kind::new(APP, 0x12)),
    ("ota_3", Kind::new(APP, 0x13)),
    ("ota_4", Kind::new(APP, 0x14)),
    ("ota_5", Kind::new(APP, 0x15)),
    ("ota_6", Kind::new(APP, 0x16)),
    ("ota_7", Kind::new(APP, 0x17)),
    ("ota_8", Kind::new(APP, 0x18)),
    ("ota_9", Kind::new(APP, 0x19)),
    ("ota_10", Kind::new(APP, 0x1A)),
    ("ota_11", Kind::new(APP, 0x1B)),
    ("ota_12", Kind::new(APP, 0x1C)),
    ("ota_13", Kind::new(APP, 0x1D)),
    ("ota_14", Kind::new(APP, 0x1E)),
    ("ota_15", Kind::new(APP, 0x1F)),
    ("test", Kind::TEST),
    ("tee_0", Kind::new(APP, 0x30)),
    ("tee_1", Kind::new(APP, 0x31)),
    ("ota", Kind::OTADATA),
    ("phy", Kind::PHY),
    ("nvs", Kind::NVS),
    ("coredump", Kind::COREDUMP),
    ("nvs_keys", Kind::new(DATA, 0x04)),
    ("efuse", Kind::new(DATA, 0x05)),
    ("undefined", Kind::new(DATA, 0x06)),
    ("esphttpd", Kind::new(DATA, 0x80)),
    ("fat", Kind::new(DATA, 0x81)),
    ("spiffs", Kind::new(DATA, 0x82)),
    ("littlefs", Kind::new(DATA, 0x83)),
    ("tee_ota", Kind::new(DATA, 0x90)),
    ("primary", Kind::BOOTLOADER),
    ("ota", Kind::new(BOOTLOADER, 0x01)),
    ("recovery", Kind::new(BOOTLOADER, 0x02)),
    ("primary", Kind::PARTITION_TABLE),
    ("ota", Kind::new(PARTITION_TABLE, 0x01)),
];

/// A partition's name: up to 16 bytes of UTF-8, NUL-terminated if shorter.
#[derive(Clone, Copy)]
pub struct Label([u8; Label::LEN]);

impl Label {
    /// Bytes of a label.
    pub const LEN: usize = 16;

    /// A label. `None` if the text is longer than 16 bytes or contains a NUL.
    pub fn new(text: &str) -> Option<Label> {
        c_buffer(text).map(Label)
    }

    /// The name. Empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        c_str(&self.0)
    }

    /// The bytes before the NUL: what ESP-IDF compares.
    fn text(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Label {}

impl core::hash::Hash for Label {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Label {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_entry_survives_parse_and_emit() {
        for seed in 0..=255u8 {
            let mut bytes: [u8; ENTRY_LEN] =
                core::array::from_fn(|i| seed ^ (i as u8).wrapping_mul(37));
            bytes[..2].copy_from_slice(&Partition::MAGIC);
            assert_eq!(Partition::parse(&bytes).unwrap().emit(), bytes);
        }
        assert_eq!(Partition::parse(&[0xFF; ENTRY_LEN]), None);
    }

    #[test]
    fn sixteen_slots_have_their_number() {
        for slot in 0..16 {
            assert_eq!(Kind::ota_slot(slot).unwrap().as_ota_slot(), Some(slot));
        }
        assert_eq!(Kind::ota_slot(16), None);
        for other in [
            Kind::FACTORY,
            Kind::TEST,
            Kind::OTADATA,
            Kind::new(DATA, 0x10),
        ] {
            assert_eq!(other.as_ota_slot(), None);
        }
    }

    #[test]
    fn a_label_of_sixteen_bytes_needs_no_nul() {
        assert_eq!(
            Label::new("sixteen_letters_").unwrap().as_str(),
            "sixteen_letters_"
        );
        assert_eq!(Label::new("seventeen_letters"), None);
        assert_eq!(Label::new("a\0b"), None);
        // What follows the NUL is not part of the name.
        assert_eq!(Label(*b"app\0fill fill fi"), Label::new("app").unwrap());
    }
}
