//! The contents of a flash, in whatever file they are: read from a chip, or merged for a new one.
//!
//! `esptool merge-bin` and `espflash save-image --merge --skip-padding` end the file with its last segment; and where the ROM looks
//! for the bootloader at 0x1000 or 0x2000, such a file may start there. What a file leaves out is erased flash.

use std::ops::Range;

use s3ota_image::Chip;
use s3ota_image::app::{Header, SignatureKind, Verifier};
use s3ota_image::partition::{
    Found, MAX_LEN, PartitionError, PartitionTable, TABLE_OFFSET, TABLE_SIZE, find,
};
use s3ota_sim::App;

use crate::error::CliError;

/// The largest flash of a chip, in bytes. What lies beyond it is in no file.
const MAX_FLASH: usize = 128 << 20;

/// A segment is shorter than this (`SIXTEEN_MB` of ESP-IDF's `esp_image_format.c`).
const SEGMENT_LIMIT: usize = 16 << 20;

/// The contents of a flash.
#[derive(Debug, Clone)]
pub struct Dump {
    /// The whole flash, from its first byte on.
    pub bytes: Vec<u8>,
    /// What of it is in the file.
    pub held: Range<usize>,
    /// Where the partition table is.
    pub table_offset: u32,
    /// Where there are others.
    pub other_tables: Vec<u32>,
}

impl Dump {
    /// The flash in a file. `None` if there is no partition table in it: at `table_offset`, or anywhere that a bootloader may be built
    /// to look for it.
    ///
    /// An app image is no flash, whatever it holds at such an offset.
    pub fn find(file: &[u8], table_offset: Option<u32>) -> Option<Self> {
        let mut best: Option<(Rank, Found<'_>, usize)> = None;
        let mut offsets = Vec::new();
        let first = image_length(file);
        let is_intact = first > 0 && begins_with_intact_image(file);
        for start in starts(file) {
            let tables = find(file, start)
                .filter(|found| table_offset.is_none_or(|given| given == found.offset));
            for found in tables {
                let at = found.offset.saturating_sub(start) as usize;
                let start = start as usize;
                let rank = rank(&found, file, start);
                // A bootloader ends before the table. What goes on is an app, unless it is broken and the table leads to another.
                if at < first && (is_intact || rank.1 == 0) {
                    continue;
                }
                offsets.push((found.offset, start));
                if best.as_ref().is_none_or(|(least, ..)| rank > *least) {
                    best = Some((rank, found, start));
                }
            }
        }
        let (_, found, start) = best?;
        let others = offsets
            .into_iter()
            .filter(|&(at, of)| of == start && at != found.offset)
            .map(|(at, _)| at)
            .collect();
        Some(Self::whole(file, start, &found, others))
    }

    /// The same, with an error that says where there are tables if there is none.
    pub fn of(file: &[u8], table_offset: Option<u32>) -> Result<Self, CliError> {
        if let Some(dump) = Self::find(file, table_offset) {
            return Ok(dump);
        }
        let missing = |message: String| CliError::new("flash.partitions", message);
        let elsewhere = Self::find(file, None).map(|dump| dump.table_offset);
        Err(match (table_offset, elsewhere) {
            (Some(at), Some(found)) => missing(format!(
                "there is no partition table at {at:#x}, but one at {found:#x}"
            ))
            .hint("leave out --partition-table-offset, or pass the offset that the bootloader was built for"),
            (Some(at), None) => missing(format!("there is no partition table at {at:#x}"))
                .hint("`s3ota inspect` without --partition-table-offset names what this file is"),
            (None, _) => missing("there is no partition table in this file".to_owned())
                .hint("use a dump of the whole flash, or a merged image; `s3ota device new` makes a flash file"),
        })
    }

    /// The whole flash, with what is in the file from `start` on.
    fn whole(file: &[u8], start: usize, found: &Found<'_>, other_tables: Vec<u32>) -> Self {
        let end = start.saturating_add(file.len());
        let sector = found.offset.saturating_add(TABLE_SIZE) as usize;
        let needed = found.table.map_or(0, |table| table.end()) as usize;
        let size = match needed.max(sector) {
            needed if needed <= end && end.is_multiple_of(TABLE_SIZE as usize) => end,
            needed if needed <= MAX_FLASH => needed.max(end).next_power_of_two(),
            _ => end.next_multiple_of(TABLE_SIZE as usize),
        };
        let mut bytes = vec![0xFF; start];
        bytes.extend(file);
        bytes.resize(size, 0xFF);
        Self {
            bytes,
            held: start..end,
            table_offset: found.offset,
            other_tables,
        }
    }

    /// Its partition table.
    pub fn table(&self) -> Result<PartitionTable<'_>, PartitionError> {
        PartitionTable::parse_at(self.table_bytes(), self.table_offset)
    }

    /// The bytes of its partition table.
    pub fn table_bytes(&self) -> &[u8] {
        let at = self.table_offset as usize;
        let end = at.saturating_add(MAX_LEN);
        self.bytes.get(at..end).unwrap_or_default()
    }

    /// The image of an app in it, with its signature for Secure Boot.
    pub fn image_of(&self, app: &App) -> &[u8] {
        let begin = app.partition.offset as usize;
        let slot = self.bytes.get(begin..).unwrap_or_default();
        image_in(slot, &app.image)
    }
}

/// The image at the start of a slot, with its signature for Secure Boot.
pub fn image_in<'a>(slot: &'a [u8], image: &s3ota_image::app::Image) -> &'a [u8] {
    let signature = image.signature_offset() as usize;
    let is_signed = slot
        .get(signature..)
        .and_then(|sector| sector.first_chunk())
        .and_then(SignatureKind::parse)
        .is_some();
    let end = match is_signed {
        true => signature.saturating_add(TABLE_SIZE as usize),
        false => image.image_length as usize,
    };
    slot.get(..end).unwrap_or(slot)
}

/// The offsets of the flash at which a file may start.
fn starts(file: &[u8]) -> Vec<u32> {
    let header = file
        .first_chunk()
        .and_then(|bytes| Header::parse(bytes).ok());
    let bootloader = header
        .and_then(|header| header.chip())
        .map(Chip::bootloader_offset);
    match bootloader {
        // No bootloader of this chip lies at 0.
        Some(offset) if offset > 0 => vec![offset, 0],
        Some(_) => vec![0],
        // From the partition table on, or from the beginning.
        None if file.starts_with(&[0xAA, 0x50]) && file.len() > TABLE_SIZE as usize => {
            vec![TABLE_OFFSET, 0]
        }
        None => vec![0],
    }
}

fn begins_with_intact_image(file: &[u8]) -> bool {
    let mut verifier = Verifier::in_slot();
    verifier
        .update(file)
        .and_then(|()| verifier.finish())
        .is_ok()
}

/// Bytes of the app image or bootloader that a file begins with, by its segments' headers; 0 if there is none.
fn image_length(file: &[u8]) -> usize {
    let Some(header) = file
        .first_chunk()
        .and_then(|bytes| Header::parse(bytes).ok())
    else {
        return 0;
    };
    let mut at = Header::LEN;
    for _ in 0..header.segment_count {
        let Some(&[_, _, _, _, a, b, c, d]) = file.get(at..).and_then(|rest| rest.first_chunk())
        else {
            return at;
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        // No segment is that long: what was here is cut or overwritten.
        if length >= SEGMENT_LIMIT {
            return at;
        }
        at = at.saturating_add(8).saturating_add(length);
    }
    at
}

/// How much speaks for a table: that it is valid, and the number of its app partitions that hold an image.
type Rank = (bool, usize);

fn rank(found: &Found<'_>, file: &[u8], start: usize) -> Rank {
    let Ok(table) = found.table else {
        return (false, 0);
    };
    let holds_image = |at: u32| {
        let at = (at as usize).checked_sub(start);
        at.and_then(|at| file.get(at)) == Some(&Header::MAGIC)
    };
    let apps = table.entries().filter(|entry| entry.kind.is_app());
    (true, apps.filter(|app| holds_image(app.offset)).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::app::ImageBuilder;
    use s3ota_sim::Setup;

    /// A flash with a bootloader of this chip, the table at `offset`, and an app.
    fn flash(chip: Chip, offset: u32) -> Vec<u8> {
        let app = ImageBuilder::new(chip, "1.0.0").build();
        let setup = Setup::at(offset, None, Some(chip)).unwrap();
        let mut flash = setup.flash(&app).unwrap();
        let boot = ImageBuilder::new(chip, "")
            .without_descriptor()
            .length(0x4000)
            .build();
        let at = chip.bootloader_offset() as usize;
        flash[at..at + boot.len()].copy_from_slice(&boot);
        flash
    }

    fn end(flash: &[u8]) -> usize {
        flash.iter().rposition(|&byte| byte != 0xFF).unwrap() + 1
    }

    #[test]
    fn a_whole_flash_is_itself() {
        for (chip, offset) in [
            (Chip::Esp32C3, 0x8000),
            (Chip::Esp32, 0x8000),
            (Chip::Esp32S3, 0x1_0000),
            (Chip::Esp32P4, 0x1_0000),
            (Chip::Esp32C3, 0xC000),
            (Chip::Esp32C3, 0x2_0000),
        ] {
            let flash = flash(chip, offset);
            let dump = Dump::find(&flash, None).unwrap();
            assert_eq!(dump.table_offset, offset);
            assert!(dump.held == (0..flash.len()) && dump.bytes == flash);
            assert!(Dump::find(&flash, Some(offset)).is_some());
            assert!(Dump::find(&flash, Some(0x7000)).is_none());
        }
    }

    #[test]
    fn what_a_merged_image_leaves_out_is_erased() {
        for chip in [Chip::Esp32C3, Chip::Esp32, Chip::Esp32C5] {
            for offset in [0x8000, 0x1_0000] {
                let flash = flash(chip, offset);
                let start = chip.bootloader_offset() as usize;
                for start in [0, start] {
                    let merged = &flash[start..end(&flash)];
                    let dump = Dump::find(merged, None).unwrap();
                    assert_eq!(dump.table_offset, offset, "{chip} from {start:#x}");
                    assert_eq!(dump.held, start..end(&flash));
                    assert!(dump.bytes == flash, "{chip} from {start:#x}");
                }
            }
        }
        // From the partition table on.
        let flash = flash(Chip::Esp32C3, 0x8000);
        let dump = Dump::find(&flash[0x8000..], None).unwrap();
        assert_eq!(dump.held, 0x8000..flash.len());
    }

    #[test]
    fn an_app_image_is_no_flash_whatever_it_holds() {
        let table = Setup::default().table().unwrap();
        for at in (0x1000..=0x2_0000).step_by(0x1000) {
            let mut payload = vec![0xFF; 0x3_0000];
            // After header, segment header and descriptor.
            payload[at - 0x120..][..table.len()].copy_from_slice(&table);
            let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").payload(&payload);
            let image = image.build();
            assert_eq!(image[at..][..table.len()], table);
            assert!(Dump::find(&image, None).is_none(), "{at:#x}");
            let broken = &image[..image.len() - 1];
            assert!(Dump::find(broken, None).is_none(), "{at:#x}");
        }
    }

    #[test]
    fn whatever_lies_before_the_table_a_flash_is_one() {
        let mut flash = flash(Chip::Esp32C3, 0x1_0000);
        let app = ImageBuilder::new(Chip::Esp32C3, "1.0.0").length(0x2_0000);
        let app = app.build();
        for (length, from) in [(0x2000, 0), (0x1_0000, 0), (0x1_0000, 0x1000)] {
            flash[..0x1_0000].fill(0xFF);
            flash[..length - from].copy_from_slice(&app[from..length]);
            let dump = Dump::find(&flash, None).unwrap();
            assert_eq!(dump.table_offset, 0x1_0000);
        }
    }

    #[test]
    fn of_two_tables_the_one_with_images_counts() {
        let mut flash = flash(Chip::Esp32C3, 0x1_0000);
        let old = Setup::default().table().unwrap();
        flash[0x8000..0x8000 + old.len()].copy_from_slice(&old);
        let dump = Dump::find(&flash, None).unwrap();
        // Its ota_0 lies where the other one's ota_1 begins to be empty.
        assert_eq!(
            (dump.table_offset, dump.other_tables),
            (0x1_0000, vec![0x8000])
        );
        assert_eq!(
            Dump::find(&flash, Some(0x8000)).unwrap().table_offset,
            0x8000
        );
    }

    #[test]
    fn a_partition_beyond_every_flash_takes_no_memory() {
        let csv = "nvs,data,nvs,,16K\nota_0,app,ota_0,,1M\nhuge,data,fat,,3000M\n";
        let table = Setup::from_csv(csv).unwrap().table().unwrap();
        let mut file = vec![0xFF; 0x9000];
        file[0x8000..0x8000 + table.len()].copy_from_slice(&table);
        let dump = Dump::find(&file, None).unwrap();
        assert_eq!(dump.bytes.len(), 0x9000);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let flash = flash(Chip::Esp32, 0x8000);
        for cut in (0..0x1_2000).step_by(333) {
            let _ = Dump::find(&flash[..cut], None);
            let _ = Dump::find(&flash[cut..0x1_2000], None);
        }
    }
}
