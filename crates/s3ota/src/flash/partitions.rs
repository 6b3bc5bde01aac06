//! Where things lie on this device's flash, read from its partition table.

use embedded_storage_async::nor_flash::NorFlash;
use heapless::Vec;
use s3ota_image::otadata::SECTOR_SIZE;
use s3ota_image::partition::PartitionTable;

use crate::error::{Error, LayoutError};
use crate::flash::access as flash;

/// A partition table is at most this long: 95 entries of 32 bytes and one for its MD5.
const TABLE_LEN: usize = 0xc00;

/// A slot for one app image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Slot {
    /// 0 for `ota_0`, and so on.
    pub index: u8,
    /// Where it begins on flash, in bytes.
    pub offset: u32,
    /// Its size in bytes.
    pub size: u32,
}

/// The partitions an update needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Where otadata begins.
    pub(crate) otadata: u32,
    /// The slots, `ota_0` first.
    pub(crate) slots: Vec<Slot, 16>,
    /// Where the factory app begins, if there is one.
    pub(crate) factory: Option<u32>,
}

/// Which image is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Running {
    Slot(Slot),
    Factory,
}

/// Finds otadata alone, in a partition table that may be wrong in every other way: where a trial must end, and the firmware
/// on trial does not like the table. A layout without slots.
#[inline(never)]
pub(crate) fn find_otadata<F: NorFlash>(flash: &mut F, table: u32) -> Result<Layout, Error> {
    let mut entry = [0; 32];
    let end = table.saturating_add(TABLE_LEN as u32);
    for at in (table..end).step_by(entry.len()) {
        flash::read(flash, at, &mut entry)?;
        // Magic, type "data", subtype "ota", then the offset (ESP-IDF, `esp_partition_info_t`).
        if let [0xaa, 0x50, 1, 0, a, b, c, d, ..] = entry {
            return Ok(Layout {
                otadata: u32::from_le_bytes([a, b, c, d]),
                slots: Vec::new(),
                factory: None,
            });
        }
    }
    Err(LayoutError::NoOtadata.into())
}

impl Layout {
    /// Reads the partition table at this offset and finds what an update needs.
    #[inline(never)]
    pub(crate) fn read<F: NorFlash>(flash: &mut F, table: u32) -> Result<Self, Error> {
        let mut bytes = [0; TABLE_LEN];
        flash::read(flash, table, &mut bytes)?;
        let table = PartitionTable::parse(&bytes).map_err(LayoutError::Table)?;
        let otadata = table
            .otadata()
            .filter(|partition| partition.size >= 2 * SECTOR_SIZE);
        let mut slots: Vec<Slot, 16> = Vec::new();
        for (index, partition) in (0u8..).zip(table.ota_slots()) {
            let aligned = partition.offset % SECTOR_SIZE == 0 && partition.size % SECTOR_SIZE == 0;
            let end = partition.offset.checked_add(partition.size);
            let fits = end.is_some_and(|end| u64::from(end) <= flash.capacity() as u64);
            // The bootloader counts the slots and takes them for ota_0 to ota_(n-1).
            if !aligned || !fits || partition.kind.as_ota_slot() != Some(index) {
                return Err(LayoutError::Slots.into());
            }
            let slot = Slot {
                index,
                offset: partition.offset,
                size: partition.size,
            };
            slots.push(slot).map_err(|_| LayoutError::Slots)?;
        }
        let factory = table.factory().map(|partition| partition.offset);
        if slots.len() + usize::from(factory.is_some()) < 2 || slots.is_empty() {
            return Err(LayoutError::TooFewSlots.into());
        }
        Ok(Self {
            otadata: otadata.ok_or(LayoutError::NoOtadata)?.offset,
            slots,
            factory,
        })
    }

    /// How many slots there are; at least one, unless only otadata was looked for.
    pub(crate) fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Bytes of the largest image that fits every slot: a larger one could not be replaced by one of its size.
    pub(crate) fn room(&self) -> u32 {
        let sizes = self.slots.iter().map(|slot| slot.size);
        sizes.min().unwrap_or(0)
    }

    /// The slot with this index.
    pub(crate) fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(usize::try_from(index).ok()?).copied()
    }

    /// What runs from the flash offset `running`.
    pub(crate) fn running(&self, running: u32) -> Result<Running, LayoutError> {
        if self.factory == Some(running) {
            return Ok(Running::Factory);
        }
        let slot = self.slots.iter().find(|slot| slot.offset == running);
        slot.copied()
            .map(Running::Slot)
            .ok_or(LayoutError::RunningUnknown { offset: running })
    }

    /// The slot the next image goes to: the one after the running one, as `esp_ota_get_next_update_partition` has it
    /// (ESP-IDF `components/app_update/esp_ota_ops.c`).
    pub(crate) fn target(&self, running: Running) -> Result<Slot, LayoutError> {
        let target = match running {
            // Where it can still be mended: from the only slot no update leads on.
            Running::Factory if self.slot_count() < 2 => return Err(LayoutError::OneSlot),
            Running::Factory => self.slot(0),
            Running::Slot(slot) => {
                let next = (u32::from(slot.index) + 1).checked_rem(self.slot_count());
                next.and_then(|next| self.slot(next))
                    .filter(|target| target.index != slot.index)
            }
        };
        target.ok_or(LayoutError::TooFewSlots)
    }
}
