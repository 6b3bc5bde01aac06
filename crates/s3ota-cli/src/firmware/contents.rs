//! What a file holds, whatever its name: the one place that recognises a format.

use std::borrow::Cow;

use s3ota_image::Chip;
use s3ota_image::app::{Header, Image, Verifier};
use s3ota_image::otadata::{RECORD_LEN, Record, SECTOR_SIZE};

use super::dump::{Dump, image_in};
use crate::text;

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Contents {
    /// An app image and nothing else, intact or damaged.
    Image,
    /// An app image, and what no app image has behind it.
    Followed(Trailer),
    /// A bootloader.
    Bootloader,
    /// A delta or a compressed image.
    Artefact,
    /// An ELF file.
    Elf,
    /// A flash, with its partition table.
    Flash(Box<Dump>),
    /// A partition table alone, as its tools write it.
    Table,
    /// A partition table as CSV.
    TableCsv(String),
    /// Something else.
    Other(Format),
}

/// What follows an app image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailer {
    /// A signature of Secure Boot V1.
    SignatureV1,
    /// Erased flash, up to the end of the file.
    Erased,
    /// What else may be in a slot: the end of an older image, or the marks of an update.
    Slot,
}

/// A format of no use here, and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// What it is, after "this is".
    pub name: Cow<'static, str>,
    /// What to do.
    pub hint: &'static str,
}

/// How to make an app image.
pub const MAKE: &str = "make an app image with `espflash save-image`, `idf.py build` or the Arduino IDE's Export Compiled Binary";
const UNPACK: &str = "unpack it, and use the app image (.bin) or ELF file in it";
const AGAIN: &str = "download the file itself: on GitHub, its Raw or Download link";
const CONVERT: &str =
    "use the .bin of the same build, or convert it: `objcopy -I ihex -O binary FILE firmware.bin`";
const CONVERT_S: &str =
    "use the .bin of the same build, or convert it: `objcopy -I srec -O binary FILE firmware.bin`";
const CROSS: &str = "build the firmware for the chip, as in `cargo build --release --target riscv32imc-unknown-none-elf`";
const DATA: &str = "it is data beside the firmware, which an update does not touch; use the app image of the build";
const BUILD_DIR: &str = "use the app image beside it: build/PROJECT.bin of `idf.py build`";

/// Recognises the contents of a file. The partition table of a flash is at `table_offset`, or is looked for.
pub fn recognise(bytes: &[u8], table_offset: Option<u32>) -> Contents {
    if bytes.starts_with(b"\x7fELF") {
        return Contents::Elf;
    }
    if bytes.starts_with(&s3ota_codec::MAGIC) {
        return Contents::Artefact;
    }
    if let Some(format) = esp8266(bytes) {
        return Contents::Other(format);
    }
    if let Some(dump) = Dump::find(bytes, table_offset) {
        return Contents::Flash(Box::new(dump));
    }
    if bytes.first() == Some(&Header::MAGIC) {
        return image(bytes);
    }
    if bytes.starts_with(&[0xAA, 0x50]) {
        return Contents::Table;
    }
    let format = binary(bytes)
        .or_else(|| file_system(bytes))
        .or_else(|| flash_without_table(bytes));
    match format {
        Some(format) => Contents::Other(format),
        None => as_text(bytes),
    }
}

const fn other(name: &'static str, hint: &'static str) -> Format {
    Format {
        name: Cow::Borrowed(name),
        hint,
    }
}

/// What begins as an app image does.
fn image(bytes: &[u8]) -> Contents {
    let mut verifier = Verifier::in_slot();
    let intact = verifier.update(bytes).and_then(|()| verifier.finish());
    let Ok(image) = intact else {
        return Contents::Image;
    };
    let whole = image_in(bytes, &image);
    let rest = bytes.get(whole.len()..).unwrap_or_default();
    let is_alone = rest.iter().all(|&byte| byte == 0xFF);
    match is_bootloader(bytes, &image) {
        true if is_alone => Contents::Bootloader,
        true => Contents::Other(part_of_flash(0)),
        false if rest.is_empty() => Contents::Image,
        false => Contents::Followed(trailer(rest)),
    }
}

fn trailer(rest: &[u8]) -> Trailer {
    // Version 0, then r and s of 32 bytes (`esp_secure_boot_sig_block_t` of `secure_boot_signatures.h`).
    const V1: usize = 68;
    let padding = rest.get(V1..).unwrap_or_default();
    let is_erased = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0xFF);
    if rest.len() >= V1 && rest.starts_with(&[0; 4]) && is_erased(padding) && rest[4..V1] != [0; 64]
    {
        Trailer::SignatureV1
    } else if is_erased(rest) {
        Trailer::Erased
    } else {
        Trailer::Slot
    }
}

/// Whether this is a bootloader: it describes itself as one, or it has no app descriptor and nothing that is mapped from flash.
fn is_bootloader(bytes: &[u8], image: &Image) -> bool {
    // `esp_bootloader_desc_t`, at the start of the first segment's data: magic 80, reserved bytes, and ESP-IDF's version as text.
    let described = bytes.get(32) == Some(&80) && bytes.get(40).is_some_and(u8::is_ascii_graphic);
    let only_ram = || {
        let mut at = Header::LEN;
        (0..image.header.segment_count).all(|_| {
            let Some(&[a, b, c, d, e, f, g, h]) =
                bytes.get(at..).and_then(|rest| rest.first_chunk())
            else {
                return false;
            };
            let length = u32::from_le_bytes([e, f, g, h]) as usize;
            at = at.saturating_add(8).saturating_add(length);
            !is_mapped(image.header.chip(), u32::from_le_bytes([a, b, c, d]))
        })
    };
    image.descriptor.is_none() && (described || only_ram())
}

/// Whether an address is in flash (`SOC_DROM_LOW`, `SOC_IROM_LOW` and their ends in `soc/*/include/soc/soc.h`).
fn is_mapped(chip: Option<Chip>, address: u32) -> bool {
    match chip {
        Some(Chip::Esp32) => {
            matches!(address, 0x3F40_0000..0x3F80_0000 | 0x400D_0000..0x4040_0000)
        }
        Some(Chip::Esp32S2) => {
            matches!(address, 0x3F00_0000..0x3FF8_0000 | 0x4008_0000..0x4080_0000)
        }
        Some(Chip::Esp32P4) => matches!(address, 0x4000_0000..0x4400_0000),
        _ => matches!(address, 0x3C00_0000..0x3E00_0000 | 0x4200_0000..0x4400_0000),
    }
}

/// An image of the ESP8266: it has no chip id, and its first segment follows after 8 bytes (esptool's `bin_image.py`).
fn esp8266(bytes: &[u8]) -> Option<Format> {
    let word = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let (entry, address, length) = (word(4)?, word(8)?, word(12)?);
    let is_ram = |address| matches!(address, 0x3FFE_8000..0x4000_0000 | 0x4010_0000..0x4011_0000);
    let is_code = |address| matches!(address, 0x4010_0000..0x4011_0000 | 0x4020_0000..0x4030_0000);
    let is_image = match bytes.get(..2)? {
        // Version 2 begins with the code in flash, to lie at 0.
        [0xEA, 4] => is_code(entry) && (address == 0 || is_code(address)),
        [0xE9, 1..=16] => {
            is_code(entry) && (is_ram(address) || is_code(address)) && length < 1 << 20
        }
        _ => false,
    };
    is_image.then(|| {
        other(
            "a firmware for the ESP8266",
            "s3ota updates the chips of the ESP32 family; build the firmware for one of them",
        )
    })
}

/// What is recognised by its first bytes.
fn binary(bytes: &[u8]) -> Option<Format> {
    if let Some(encoded) = bytes.first_chunk::<8>()
        && *encoded == *b"UF2\nWQ]\x9e"
    {
        let hint = "use the app image of the same build: build/PROJECT.bin of `idf.py build`";
        return Some(other(
            "a UF2 file, for a bootloader that is a USB disk",
            hint,
        ));
    }
    let magics: &[(&[u8], &'static str, &'static str)] = &[
        (b"\x1f\x8b", "a gzip archive", UNPACK),
        (b"PK\x03\x04", "a zip archive", UNPACK),
        (b"PK\x05\x06", "an empty zip archive", UNPACK),
        (b"\xfd7zXZ\0", "an xz archive", UNPACK),
        (b"BZh", "a bzip2 archive", UNPACK),
        (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
        (b"Rar!", "a RAR archive", UNPACK),
        (b"\xde\x10\xdd\xfc", "a patch of esp_delta_ota", MAKE),
        (
            b"!<arch>\n",
            "a static library",
            "link it, and use the ELF file of the firmware",
        ),
        (b"MZ", "a program for Windows", CROSS),
        (b"\xcf\xfa\xed\xfe", "a program for macOS", CROSS),
        (b"\xca\xfe\xba\xbe", "a program for macOS", CROSS),
        (b"\0asm", "a WebAssembly module", CROSS),
        (b"DfuSe", "a DfuSe file, for chips of ST", MAKE),
        (b"PHYINIT\0", "PHY init data", DATA),
        (b"%PDF", "a PDF document", MAKE),
        (b"\x89PNG", "a picture", MAKE),
        (b"SQLite format 3\0", "an SQLite database", MAKE),
        (b"LZ4\x18", "an LZ4 archive", UNPACK),
        (b"\x04\x22\x4d\x18", "an LZ4 archive", UNPACK),
    ];
    let magic = magics.iter().find(|(magic, ..)| bytes.starts_with(magic));
    if let Some((_, name, hint)) = magic {
        return Some(other(name, hint));
    }
    let is_tar = bytes
        .get(257..)
        .is_some_and(|rest| rest.starts_with(b"ustar"));
    is_tar.then(|| other("a tar archive", UNPACK))
}

/// What a data partition may hold.
fn file_system(bytes: &[u8]) -> Option<Format> {
    let name = if is_nvs(bytes) {
        "an NVS partition"
    } else if bytes
        .get(8..)
        .is_some_and(|rest| rest.starts_with(b"littlefs"))
    {
        "a LittleFS file system"
    } else if is_spiffs(bytes) {
        "a SPIFFS file system"
    } else if is_fat(bytes)
        // After the first sector of ESP-IDF's wear levelling.
        || bytes.get(SECTOR_SIZE as usize..).is_some_and(is_fat)
    {
        "a FAT file system"
    } else if is_otadata(bytes) {
        "an otadata partition"
    } else {
        return None;
    };
    Some(other(name, DATA))
}

/// A page header of `nvs_page.hpp`: state, sequence, version, 19 bytes 0xFF, CRC.
fn is_nvs(bytes: &[u8]) -> bool {
    let Some(&[a, 0xFF, 0xFF, 0xFF, _, _, _, _, version]) = bytes.first_chunk::<9>() else {
        return false;
    };
    let state = matches!(a, 0xFE | 0xFC | 0xF8 | 0xF0);
    let unused = bytes.get(9..28);
    state
        && matches!(version, 0xFE | 0xFF)
        && unused.is_some_and(|unused| unused.iter().all(|&byte| byte == 0xFF))
        && bytes.len() >= SECTOR_SIZE as usize
}

/// The magic of a SPIFFS block, behind the lookup table in its first page: `SPIFFS_MAGIC` of `spiffs_nucleus.h`, with or without the
/// number of blocks that follow, for the pages of 256 bytes and blocks of 4 KiB that ESP-IDF and Arduino have.
fn is_spiffs(bytes: &[u8]) -> bool {
    const PAGE: u16 = 256;
    let (blocks, rest) = bytes.as_chunks::<{ SECTOR_SIZE as usize }>();
    let magic = 0x0529 ^ PAGE;
    !blocks.is_empty()
        && rest.is_empty()
        && blocks.iter().take(4).enumerate().all(|(index, block)| {
            let found = u16::from_le_bytes([block[252], block[253]]);
            let left = blocks.len().saturating_sub(index) as u16;
            found == magic || found == magic ^ left
        })
}

/// The boot sector of a FAT volume (Microsoft's specification: 0xAA55 at 510, the type's name at 54 or 82).
fn is_fat(bytes: &[u8]) -> bool {
    let has = |at: usize, text: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(text));
    has(510, &[0x55, 0xAA]) && (has(54, b"FAT") || has(82, b"FAT"))
}

/// Two sectors, of which one has a record.
fn is_otadata(bytes: &[u8]) -> bool {
    let (sectors, rest) = bytes.as_chunks::<{ SECTOR_SIZE as usize }>();
    let has_record = |sector: &[u8; SECTOR_SIZE as usize]| {
        let record = sector.first_chunk::<RECORD_LEN>().map(Record::parse);
        record.is_some_and(|record| record.sequence != u32::MAX && record.crc_matches())
    };
    sectors.len() == 2 && rest.is_empty() && sectors.iter().any(has_record)
}

/// A part of a flash in which there is no partition table.
fn flash_without_table(bytes: &[u8]) -> Option<Format> {
    let first = bytes.first()?;
    if bytes.iter().all(|byte| byte == first) && matches!(first, 0 | 0xFF) {
        let name = match first {
            0 => "a file of zeros",
            _ => "erased flash: every byte is 0xFF",
        };
        return Some(other(name, MAKE));
    }
    let image = bytes
        .chunks(SECTOR_SIZE as usize)
        .take(0x40)
        .position(|sector| {
            let header = sector
                .first_chunk()
                .and_then(|bytes| Header::parse(bytes).ok());
            header.is_some_and(|header| header.chip().is_some())
        });
    Some(part_of_flash(image? * SECTOR_SIZE as usize))
}

fn part_of_flash(image: usize) -> Format {
    Format {
        name: format!("a part of a flash: there is an image at {image:#x}, but no partition table")
            .into(),
        hint: "use the app image alone, or a merged image with its partition table",
    }
}

/// What is text, or nothing known.
fn as_text(bytes: &[u8]) -> Contents {
    let text = String::from_utf8(text::decoded(bytes.to_vec())).ok();
    let text = text.filter(|text| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c'))
    });
    if text.is_none() && text::is_unmarked_utf16(bytes) {
        let name = "text in UTF-16 without a byte order mark";
        return Contents::Other(other(name, "save it as UTF-8, if it is a partition table"));
    }
    let Some(text) = text else {
        let hint = "make an app image with `espflash save-image`, `idf.py build` or the Arduino IDE's Export Compiled Binary; \
                    if this one is encrypted for flash encryption, use the unencrypted one";
        return Contents::Other(other("neither an app image nor an ELF file", hint));
    };
    if text.trim().is_empty() {
        return Contents::Other(other("an empty file", MAKE));
    }
    if let Some(format) = named_text(text.trim_start()) {
        return Contents::Other(format);
    }
    if is_partition_csv(&text) {
        return Contents::TableCsv(text);
    }
    Contents::Other(other(
        "a text file, neither an app image nor an ELF file",
        MAKE,
    ))
}

/// Whether a line has the type of a partition where a partition table has it.
fn is_partition_csv(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| {
        let mut fields = line.split(',').map(str::trim);
        let kind = fields.nth(1).unwrap_or_default().to_ascii_lowercase();
        let named = matches!(
            kind.as_str(),
            "app" | "data" | "bootloader" | "partition_table"
        );
        !line.starts_with('#') && named && fields.count() >= 2
    })
}

/// A text that names its format.
fn named_text(text: &str) -> Option<Format> {
    let begins = |with: &str| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let holds = |part: &str| text.contains(part);
    let format = if begins("version https://git-lfs") {
        let hint = "fetch the file itself with `git lfs pull`";
        other("a pointer of Git LFS, which stands for a file", hint)
    } else if begins("<!doctype html") || begins("<html") {
        other(
            "a web page, which a browser or a redirect saved in place of the file",
            AGAIN,
        )
    } else if begins("<?xml") || begins("<error>") {
        let denied = ["<Code>", "<Error>"].iter().any(|part| holds(part));
        match denied {
            true => other(
                "an error message of a server such as S3, saved in place of the file",
                "look into it for the reason, and download the file again",
            ),
            false => other("an XML document", MAKE),
        }
    } else if is_records(text, is_intel_hex) {
        other("an Intel HEX file", CONVERT)
    } else if is_records(text, is_s_record) {
        other("a Motorola S-record file", CONVERT_S)
    } else if begins("-----BEGIN") {
        other("a key or a certificate", MAKE)
    } else if begins("{") || begins("[") {
        json(text)?
    } else if begins("Archive member included") || holds("\nMemory Configuration\n") {
        other("a map file of the linker", BUILD_DIR)
    } else {
        return None;
    };
    Some(format)
}

/// A JSON document of a build, or of s3ota itself.
fn json(text: &str) -> Option<Format> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let has = |field: &str| json.get(field).is_some();
    Some(if has("flash_files") || has("write_flash_args") {
        other("the flasher_args.json of an ESP-IDF build", BUILD_DIR)
    } else if has("project_name") && has("app_bin") {
        other(
            "the project_description.json of an ESP-IDF build",
            BUILD_DIR,
        )
    } else if has("version") && has("url") {
        other(
            "a manifest",
            "`publish` takes the firmware and makes the manifest; to check this one, use `s3ota verify`",
        )
    } else {
        other("a JSON document", MAKE)
    })
}

/// Whether all of the first lines are records of one kind.
fn is_records(text: &str, is_record: fn(&str) -> bool) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first: Vec<&str> = lines.by_ref().take(4).collect();
    !first.is_empty() && first.into_iter().all(is_record)
}

/// `:`, then bytes in hexadecimal that add up to 0.
fn is_intel_hex(line: &str) -> bool {
    let bytes = line.strip_prefix(':').and_then(hex_bytes);
    bytes.is_some_and(|bytes| {
        bytes.len() >= 5 && bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
    })
}

/// `S`, a kind, then bytes in hexadecimal that add up to 0xFF.
fn is_s_record(line: &str) -> bool {
    let rest = line.strip_prefix('S').or_else(|| line.strip_prefix('s'));
    let Some((kind, bytes)) = rest.and_then(|rest| rest.split_at_checked(1)) else {
        return false;
    };
    kind.bytes().all(|kind| kind.is_ascii_digit())
        && hex_bytes(bytes).is_some_and(|bytes| {
            bytes.len() >= 3 && bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0xFF
        })
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::app::{ImageBuilder, SignatureKind};
    use s3ota_image::otadata::State;
    use s3ota_sim::Setup;

    const CSV: &str =
        "# Name, Type\nnvs,data,nvs,,16K\notadata,data,ota,,8K\nota_0,app,ota_0,,1M\n";

    fn app() -> Vec<u8> {
        ImageBuilder::new(Chip::Esp32C3, "1.0.0").build()
    }

    fn bootloader() -> Vec<u8> {
        let mut description = vec![0; 80];
        description[0] = 80;
        description[8..14].copy_from_slice(b"v5.5.1");
        ImageBuilder::new(Chip::Esp32C3, "")
            .without_descriptor()
            .payload(&description)
            .build()
    }

    /// Sectors that begin with these bytes.
    fn sectors(count: usize, begin: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xFF; count * SECTOR_SIZE as usize];
        bytes[..begin.len()].copy_from_slice(begin);
        bytes
    }

    fn fat() -> Vec<u8> {
        let mut bytes = sectors(2, b"\xEB\xFE\x90MSDOS5.0");
        bytes[54..62].copy_from_slice(b"FAT     ");
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        bytes
    }

    fn spiffs(with_length: bool) -> Vec<u8> {
        let mut bytes = sectors(16, b"");
        for block in 0..16u16 {
            let left = if with_length { 16 - block } else { 0 };
            let magic = 0x0529 ^ 0x0100 ^ left;
            let at = usize::from(block) * 4096 + 252;
            bytes[at..at + 2].copy_from_slice(&magic.to_le_bytes());
        }
        bytes
    }

    fn nvs() -> Vec<u8> {
        let mut header = vec![0xFF; 32];
        header[..9].copy_from_slice(&[0xFE, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFE]);
        header[28..].copy_from_slice(b"crc!");
        sectors(6, &header)
    }

    fn esp8266(version: u8) -> Vec<u8> {
        let words = match version {
            1 => [0x4020_01E9_u32, 0x4010_F29C, 0x4010_F000, 0x500],
            _ => [0x4000_04EA, 0x4010_0A00, 0, 0x5000],
        };
        let header = words.into_iter().flat_map(u32::to_le_bytes);
        header.chain([0; 0x500]).collect()
    }

    /// Every format, and a part of its name.
    fn others() -> Vec<(Vec<u8>, &'static str)> {
        let utf16: Vec<u8> = std::iter::once(0xFEFF)
            .chain(":00000001FF\r\n".encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        let otadata = Record::new(1, State::Valid, [0xFF; 20]).emit();
        let text = |text: &str| text.as_bytes().to_vec();
        vec![
            (b"UF2\nWQ]\x9e\0\0\0\0".to_vec(), "UF2"),
            (b"\x1f\x8b\x08\0".to_vec(), "gzip"),
            (b"PK\x03\x04\x14\0".to_vec(), "zip"),
            (b"\xfd7zXZ\0\0".to_vec(), "xz"),
            (tar, "tar"),
            (b"!<arch>\n".to_vec(), "static library"),
            (b"MZ\x90\0".to_vec(), "Windows"),
            (b"\xcf\xfa\xed\xfe\x0c".to_vec(), "macOS"),
            (nvs(), "NVS"),
            (spiffs(true), "SPIFFS"),
            (spiffs(false), "SPIFFS"),
            (sectors(2, b"\0\0\0\0\xf0\x0f\xff\xf7littlefs"), "LittleFS"),
            (fat(), "FAT"),
            ([sectors(1, b""), fat()].concat(), "FAT"),
            (sectors(2, &otadata), "otadata"),
            (esp8266(1), "ESP8266"),
            (esp8266(2), "ESP8266"),
            (sectors(2, b""), "erased flash"),
            (vec![0; 4096], "zeros"),
            ([sectors(16, b""), app()].concat(), "part of a flash"),
            (
                [bootloader(), sectors(16, b""), app()].concat(),
                "part of a flash",
            ),
            (
                text(":10000000000102030405060708090A0B0C0D0E0F78\n:00000001FF\n"),
                "Intel HEX",
            ),
            (text("\u{FEFF}:00000001FF\r\n"), "Intel HEX"),
            (utf16, "Intel HEX"),
            (b"n\0v\0s\0,\0d\0a\0t\0a\0".to_vec(), "UTF-16"),
            (text("S00600004844521B\nS9030000FC\n"), "S-record"),
            (text("\n<!DOCTYPE html>\n<title>login</title>"), "web page"),
            (text("<HTML>"), "web page"),
            (
                text("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
                "error message",
            ),
            (
                text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
                "Git LFS",
            ),
            (
                text("{\"flash_files\":{\"0x0\":\"a.bin\"}}"),
                "flasher_args",
            ),
            (
                text("{\"project_name\":\"a\",\"app_bin\":\"a.bin\"}"),
                "project_description",
            ),
            (
                text("{\"version\":\"1.0.0\",\"url\":\"https://x\"}"),
                "manifest",
            ),
            (text("Archive member included to satisfy"), "map file"),
            (text("-----BEGIN EC PRIVATE KEY-----\n"), "key"),
            (text("hello"), "text file"),
            (b"\x01\x02\x03".to_vec(), "neither an app image"),
            (Vec::new(), "empty"),
        ]
    }

    #[test]
    fn every_other_format_is_named() {
        for (bytes, part) in others() {
            match recognise(&bytes, None) {
                Contents::Other(Format { name, hint }) => {
                    assert!(name.contains(part), "{part}: {name}");
                    assert!(!hint.is_empty());
                }
                other => panic!("{part}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_of_use_is_recognised() {
        let table = Setup::default().table().unwrap();
        let flash = Setup::default().flash(&app()).unwrap();
        let signed = ImageBuilder::new(Chip::Esp32C3, "1.0.0").signature(SignatureKind::Rsa);
        assert!(matches!(recognise(&app(), None), Contents::Image));
        assert!(matches!(recognise(&signed.build(), None), Contents::Image));
        assert!(matches!(recognise(&app()[..300], None), Contents::Image));
        assert!(matches!(
            recognise(&bootloader(), None),
            Contents::Bootloader
        ));
        assert!(matches!(recognise(b"\x7fELF", None), Contents::Elf));
        assert!(matches!(recognise(&flash, None), Contents::Flash(_)));
        assert!(matches!(recognise(&table, None), Contents::Table));
        for csv in [
            CSV.to_owned(),
            format!("\u{FEFF}{}", CSV.replace('\n', "\r\n")),
        ] {
            assert!(matches!(
                recognise(csv.as_bytes(), None),
                Contents::TableCsv(_)
            ));
        }
        // A mistake in it does not make it something else.
        let wrong = CSV.replace("16K", "sixteen");
        assert!(matches!(
            recognise(wrong.as_bytes(), None),
            Contents::TableCsv(_)
        ));
    }

    #[test]
    fn what_follows_an_app_image_is_told_apart() {
        let followed = |more: &[u8]| match recognise(&[&app(), more].concat(), None) {
            Contents::Followed(trailer) => trailer,
            other => panic!("{other:?}"),
        };
        let mut v1 = [7; 68];
        v1[..4].fill(0);
        assert_eq!(followed(&v1), Trailer::SignatureV1);
        assert_eq!(
            followed(&[&v1[..], &[0xFF; 100]].concat()),
            Trailer::SignatureV1
        );
        assert_eq!(followed(&[0xFF; 100]), Trailer::Erased);
        assert_eq!(followed(&[0; 100]), Trailer::Slot);
        assert_eq!(followed(b"s3ota"), Trailer::Slot);
    }

    /// Real bootloaders, of every chip that espflash has one for.
    #[test]
    fn a_bootloader_without_description_is_known_by_its_addresses() {
        let elf = include_bytes!("../../fixtures/hello-esp32c3-1.1.0.elf");
        let real = crate::firmware::bundled_bootloader(elf).unwrap();
        assert!(matches!(recognise(&real, None), Contents::Bootloader));
        // An app without a descriptor has code in flash.
        let bare = ImageBuilder::new(Chip::Esp32C3, "").without_descriptor();
        let bare = bare.payload(&[0; 300]).build();
        assert!(matches!(recognise(&bare, None), Contents::Image));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut seeds: Vec<Vec<u8>> = others().into_iter().map(|(bytes, _)| bytes).collect();
        let flash = Setup::default().flash(&app()).unwrap();
        seeds.extend([app(), bootloader(), flash[..0x1_0400].to_vec(), CSV.into()]);
        let mut state = 1u32;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below.max(1)
        };
        for seed in &seeds {
            for _ in 0..40 {
                let mut bytes = seed.clone();
                bytes.truncate(random(bytes.len() + 1));
                for _ in 0..random(4) {
                    let at = random(bytes.len().min(0x9000));
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random(256) as u8;
                    }
                }
                let contents = recognise(&bytes, None);
                if crate::firmware::Firmware::from_image(bytes).is_ok() {
                    assert!(matches!(contents, Contents::Image), "{contents:?}");
                }
            }
        }
    }
}
