//! The bootloader of a flash, as far as a dump shows it.
//!
//! Whether it does app rollback is a setting of its build that it does not tell. Two things show it: a record that is pending
//! verification, since only such a bootloader writes that state (`write_otadata` in
//! `bootloader_utility_get_selected_boot_partition`, ESP-IDF `bootloader_utility.c`; the update library never does), and the log
//! message of a bootloader with anti-rollback, which requires app rollback (`BOOTLOADER_APP_ANTI_ROLLBACK` in
//! `components/bootloader/Kconfig.app_rollback`). Nothing shows that it does not.

use std::fmt;

use s3ota_image::app::Header;
use s3ota_image::otadata::{Record, State};
use s3ota_image::partition::PartitionTable;
use serde_json::{Value, json};

use crate::error::CliError;

/// The addresses at which the chips' ROMs look for it.
const ADDRESSES: [usize; 3] = [0, 0x1000, 0x2000];

/// What such a bootloader logs at each start (`bootloader_utility.c`).
const ANTI_ROLLBACK: &[u8] = b"Enabled a check secure version of app for anti rollback";

/// What a dump shows of the bootloader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BootloaderReport {
    /// Whether one is in the dump.
    is_there: bool,
    /// The ESP-IDF that built it, if it names it (v5.2 and newer).
    idf_version: Option<String>,
    built: Option<String>,
    /// The size of the flash as it takes it, in bytes.
    flash_size: Option<u64>,
    app_rollback: Option<Evidence>,
}

/// What shows that it does app rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// A record is pending verification.
    Record,
    /// It does anti-rollback.
    AntiRollback,
}

impl BootloaderReport {
    /// From the contents of a flash up to its partition table, and the records in its otadata.
    pub(super) fn of(below_table: &[u8], records: &[Record]) -> Self {
        let found = ADDRESSES.into_iter().find_map(|at| {
            let image = below_table.get(at..)?;
            let header = Header::parse(image.first_chunk()?).ok()?;
            header.chip().map(|_| (image, header))
        });
        let image = found.map(|(image, _)| image);
        let description = image.and_then(|image| image.get(32..)?.first_chunk::<80>());
        let described = description.filter(|bytes| bytes[0] == DESCRIPTION_MAGIC);
        let waits = records
            .iter()
            .any(|record| record.state == State::PendingVerify && record.sequence != u32::MAX);
        let says = image.is_some_and(|image| {
            let mut windows = image.windows(ANTI_ROLLBACK.len());
            windows.any(|window| window == ANTI_ROLLBACK)
        });
        let app_rollback = match (waits, says) {
            (true, _) => Some(Evidence::Record),
            (false, true) => Some(Evidence::AntiRollback),
            (false, false) => None,
        };
        Self {
            is_there: image.is_some(),
            flash_size: found.and_then(|(_, header)| flash_size(&header)),
            idf_version: described.and_then(|bytes| text(&bytes[8..40])),
            built: described.and_then(|bytes| text(&bytes[40..64])),
            app_rollback,
        }
    }

    /// Whether it certainly does app rollback.
    pub(super) fn does_app_rollback(&self) -> bool {
        self.app_rollback.is_some()
    }

    /// A table that reaches beyond the flash that the bootloader assumes: it then refuses the whole table
    /// (`esp_partition_table_verify`, ESP-IDF `flash_partitions.c`).
    pub(super) fn too_small_for(&self, table: &PartitionTable<'_>) -> Option<CliError> {
        let (size, end) = (self.flash_size?, table.end());
        if u64::from(end) <= size {
            return None;
        }
        let message = format!(
            "the partition table ends at {end:#x}, but the bootloader is set to a flash of {} MiB: it would refuse the table",
            size >> 20
        );
        let hint = "flash it with the size of the chip's flash, as in `espflash flash --flash-size 8mb`, or use a smaller table";
        Some(CliError::new("flash.partitions", message).hint(hint))
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "present": self.is_there,
            "idf_version": self.idf_version,
            "built": self.built,
            "flash_size": self.flash_size,
            // `null`: a dump does not show it.
            "app_rollback": self.does_app_rollback().then_some(true),
        })
    }
}

impl fmt::Display for BootloaderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.idf_version, &self.built) {
            (Some(version), Some(built)) => write!(f, "of ESP-IDF {version}, built {built}")?,
            (Some(version), None) => write!(f, "of ESP-IDF {version}")?,
            _ if self.is_there => f.write_str("of an unknown version")?,
            _ => f.write_str("not in this dump")?,
        }
        f.write_str(match self.app_rollback {
            Some(Evidence::Record) => {
                "; does app rollback: a record is pending verification, which nothing else writes"
            }
            Some(Evidence::AntiRollback) => "; does app rollback, and anti-rollback",
            None => "; may do app rollback, which this dump does not show",
        })
    }
}

/// The flash size in an image's header (`esp_image_flash_size_t`: 0 for 1 MB, and twice as much for each number up to 128 MB).
fn flash_size(header: &Header) -> Option<u64> {
    let size = header.spi_size_and_speed >> 4;
    (size <= 7).then(|| 1 << (20 + size))
}

/// The first byte of `esp_bootloader_desc_t`, which lies at the start of the first segment's data
/// (`components/esp_bootloader_format/include/esp_bootloader_desc.h`): 80 bytes, with the version at 8 and the date at 40.
const DESCRIPTION_MAGIC: u8 = 80;

/// The text in a C string buffer, if it can be shown.
fn text(buffer: &[u8]) -> Option<String> {
    let end = buffer.iter().position(|byte| *byte == 0)?;
    let text = buffer.get(..end)?;
    let shows = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = String::from_utf8(text.to_vec()).ok()?;
    (shows && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;

    /// A flash with a bootloader that names its version, and this in its data.
    fn flash(at: usize, version: &[u8], more: &[u8]) -> Vec<u8> {
        let mut description = [0; 80];
        description[0] = DESCRIPTION_MAGIC;
        description[8..8 + version.len()].copy_from_slice(version);
        description[40..51].copy_from_slice(b"Mar  1 2026");
        let bootloader = ImageBuilder::new(Chip::Esp32C3, "")
            .without_descriptor()
            .without_guard()
            .payload(&[&description, more].concat());
        let mut flash = vec![0xFF; 0x1_0000];
        let bytes = bootloader.build();
        flash[at..at + bytes.len()].copy_from_slice(&bytes);
        flash
    }

    #[test]
    fn a_bootloader_is_recognised_by_its_description() {
        for at in ADDRESSES {
            let report = BootloaderReport::of(&flash(at, b"v5.5.1", b""), &[]);
            assert_eq!(
                report.to_string(),
                "of ESP-IDF v5.5.1, built Mar  1 2026; may do app rollback, which this dump does not show"
            );
            assert_eq!(report.to_json()["app_rollback"], Value::Null);
        }
        let hostile = BootloaderReport::of(&flash(0, b"\x1b[2J", b""), &[]);
        assert!(hostile.to_string().starts_with("of an unknown version"));
    }

    #[test]
    fn a_real_bootloader_is_recognised_by_its_description() {
        const ELF: &[u8] = include_bytes!("../../../fixtures/hello-esp32c3-1.1.0.elf");
        let bootloader = crate::firmware::bundled_bootloader(ELF).unwrap();
        let mut flash = vec![0xFF; 0x1_0000];
        flash[..bootloader.len()].copy_from_slice(&bootloader);
        let report = BootloaderReport::of(&flash, &[]);
        let version = report.idf_version.as_deref().unwrap();
        assert!(version.starts_with('v'), "{report}");
        assert!(!report.does_app_rollback());
    }

    #[test]
    fn app_rollback_is_recognised_by_what_only_it_leaves_behind() {
        let state = |state| [Record::new(2, state, [0xFF; 20]), Record::ERASED];
        let none = vec![0xFF; 0x1_0000];
        for other in [State::New, State::Valid, State::Aborted, State::Undefined] {
            assert!(BootloaderReport::of(&none, &state(other)).is_empty());
        }
        let waits = BootloaderReport::of(&none, &state(State::PendingVerify));
        assert!(waits.does_app_rollback() && !waits.is_empty());
        assert_eq!(waits.to_json()["present"], false);
        let anti = BootloaderReport::of(&flash(0, b"v5.5.1", ANTI_ROLLBACK), &[]);
        assert_eq!(anti.to_json()["app_rollback"], true);
    }

    #[test]
    fn a_dump_that_ends_early_has_no_bootloader() {
        for length in [0, 1, 24, 0x1000, 0x8000] {
            assert!(BootloaderReport::of(&vec![0xE9; length], &[]).is_empty());
        }
    }
}
