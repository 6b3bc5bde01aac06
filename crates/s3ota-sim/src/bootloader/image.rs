//! What the bootloader requires of an image beyond integrity.
//!
//! It is written after ESP-IDF alone, as a second judge of the library's own rules ([`Hardware::accepts`], and
//! [`Verifier`](s3ota_image::app::Verifier) for segments).

use s3ota_image::Chip;
use s3ota_image::app::Hardware;
use s3ota_image::partition::Partition;

use crate::{Flash, FlashError};

/// The chip that a bootloader runs on. By default nothing is known about it, and what is not known refuses no image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Silicon {
    /// The kind of chip that the bootloader was built for (`CONFIG_IDF_FIRMWARE_CHIP_ID`).
    pub chip: Option<Chip>,
    /// The contents of its eFuses. With a secure version, the bootloader is built with
    /// `CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK`.
    pub hardware: Hardware,
}

impl From<Hardware> for Silicon {
    fn from(hardware: Hardware) -> Self {
        Self {
            chip: None,
            hardware,
        }
    }
}

impl Silicon {
    /// Whether the image in a partition may run here: `verify_image_header`, `verify_segment_header` and
    /// `process_segment_data` of `esp_image_format.c`.
    pub(super) fn takes(
        &self,
        flash: &mut Flash,
        partition: &Partition,
    ) -> Result<bool, FlashError> {
        let header = read::<24>(flash, partition, 0)?;
        let chip_id = half(&header, 12);
        let chip = self.chip.or_else(|| Chip::from_id(chip_id));
        if chip.is_some_and(|chip| chip.id() != chip_id) || !self.has_revision_for(&header) {
            return Ok(false);
        }
        let description = read::<256>(flash, partition, 32)?;
        // The magic is not checked: whatever is there is read as the limits.
        if chip != Some(Chip::Esp32) && !self.has_efuse_block_for(&description) {
            return Ok(false);
        }
        match chip {
            Some(chip) => segments_can_be_mapped(flash, partition, chip, header[1], &description),
            None => Ok(true),
        }
    }

    /// `bootloader_common_check_chip_revision_validity`.
    fn has_revision_for(&self, header: &[u8]) -> bool {
        let (min, max) = (half(header, 15), half(header, 17));
        self.hardware.revision.is_none_or(|revision| {
            let lifted = self.hardware.any_max_revision;
            revision >= min && (lifted || unset(max) || revision <= max)
        })
    }

    /// `bootloader_common_check_efuse_blk_validity`.
    fn has_efuse_block_for(&self, description: &[u8]) -> bool {
        let (min, max) = (half(description, 176), half(description, 178));
        self.hardware.block_revision.is_none_or(|revision| {
            let lifted = self.hardware.any_max_block_revision;
            (unset(min) || revision >= min) && (lifted || unset(max) || revision <= max)
        })
    }

    /// `check_anti_rollback`: a bootloader that does anti-rollback refuses an image without a description.
    pub(super) fn is_no_rollback(
        &self,
        flash: &mut Flash,
        partition: &Partition,
    ) -> Result<bool, FlashError> {
        Ok(match self.hardware.secure_version {
            Some(min) => secure_version(flash, partition)?.is_some_and(|version| version >= min),
            None => true,
        })
    }

    /// `update_anti_rollback`: burns the secure version of the app in a partition into the eFuses.
    pub(super) fn burn_secure_version(
        &mut self,
        flash: &mut Flash,
        partition: &Partition,
    ) -> Result<(), FlashError> {
        if let Some(burnt) = &mut self.hardware.secure_version
            && let Some(version) = secure_version(flash, partition)?
        {
            *burnt = version.max(*burnt);
        }
        Ok(())
    }
}

/// `bootloader_common_get_partition_description`, the secure version of it.
fn secure_version(flash: &mut Flash, partition: &Partition) -> Result<Option<u32>, FlashError> {
    let begin = read::<8>(flash, partition, 32)?;
    Ok((word(&begin, 0) == 0xABCD_5432).then_some(word(&begin, 4)))
}

/// `verify_segment_header`, for each segment: what is mapped has the same offset within its page in flash and memory.
fn segments_can_be_mapped(
    flash: &mut Flash,
    partition: &Partition,
    chip: Chip,
    count: u8,
    description: &[u8],
) -> Result<bool, FlashError> {
    // `SOC_MMU_PAGE_SIZE_CONFIGURABLE`
    let has_page_sizes = matches!(
        chip,
        Chip::Esp32C2 | Chip::Esp32C6 | Chip::Esp32C61 | Chip::Esp32H2
    );
    let page = match description[180] {
        bits @ 13..=16 if has_page_sizes => 1 << bits,
        // The bootloader's own `CONFIG_MMU_PAGE_SIZE` is not known here; it is at least the smallest one.
        _ if has_page_sizes => 0x2000,
        _ => 0x1_0000,
    };
    let mut at = 24;
    for _ in 0..count {
        let header = read::<8>(flash, partition, at)?;
        let (address, length) = (word(&header, 0), word(&header, 4));
        let data = partition.offset.wrapping_add(at).wrapping_add(8);
        if is_mapped(chip, address) && data % page != address % page {
            return Ok(false);
        }
        at = at.saturating_add(8).saturating_add(length);
    }
    Ok(true)
}

/// `should_map`, with `SOC_DROM_LOW`, `SOC_IROM_LOW` and their ends from `components/soc/*/include/soc/soc.h`.
fn is_mapped(chip: Chip, address: u32) -> bool {
    let (data, code) = match chip {
        Chip::Esp32 => (0x3F40_0000..0x3F80_0000, 0x400D_0000..0x4040_0000),
        Chip::Esp32S2 => (0x3F00_0000..0x3FF8_0000, 0x4008_0000..0x4080_0000),
        Chip::Esp32S3 => (0x3C00_0000..0x3E00_0000, 0x4200_0000..0x4400_0000),
        Chip::Esp32C2 => (0x3C00_0000..0x3C40_0000, 0x4200_0000..0x4240_0000),
        Chip::Esp32C3 => (0x3C00_0000..0x3C80_0000, 0x4200_0000..0x4280_0000),
        Chip::Esp32P4 => (0x4000_0000..0x4400_0000, 0x4000_0000..0x4400_0000),
        Chip::Esp32C6 | Chip::Esp32H2 => (0x4200_0000..0x4300_0000, 0x4200_0000..0x4300_0000),
        _ => (0x4200_0000..0x4400_0000, 0x4200_0000..0x4400_0000),
    };
    data.contains(&address) || code.contains(&address)
}

/// The bytes at offset `at` of a partition. What is after its end reads as erased.
fn read<const N: usize>(
    flash: &mut Flash,
    partition: &Partition,
    at: u32,
) -> Result<[u8; N], FlashError> {
    let mut bytes = [0xFF; N];
    if at.saturating_add(N as u32) <= partition.size {
        flash.read_now(partition.offset + at, &mut bytes)?;
    }
    Ok(bytes)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The opposite of `IS_FIELD_SET`.
fn unset(revision: u16) -> bool {
    matches!(revision, 0 | 0xFFFF)
}
