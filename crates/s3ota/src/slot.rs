//! Writing an image into a slot, in such a way that what lies there cannot be booted until it is known to be right.
//!
//! The first bytes of the image, with the magic number the bootloader looks for, are held back in RAM. Everything else
//! is written as it comes, checked, and read back; only then are the first bytes added. Whatever happens before, the
//! bootloader takes the slot for empty.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::app::{Image, Verifier};
use s3ota_image::otadata::SECTOR_SIZE;
use sha2::{Digest, Sha256};

use crate::error::flash as flash_error;
use crate::layout::Slot;
use crate::release::ReleaseId;
use crate::{Error, FirmwareError};

/// Bytes held back: no flash on these chips is written in larger units than this (with flash encryption).
const WITHHELD: usize = 32;

/// Bytes gathered before they are written: one sector.
pub(crate) const BLOCK: usize = SECTOR_SIZE as usize;

/// What is erased at once where the slot's alignment allows: flash chips erase 64 KiB hardly slower than three times
/// 4 KiB.
const ERASE_BLOCK: u32 = 64 * 1024;

/// An image on its way into a slot.
pub(crate) struct SlotWriter<'f, F> {
    flash: &'f mut F,
    slot: Slot,
    block: &'f mut [u8; BLOCK],
    /// Bytes gathered in `block`.
    gathered: usize,
    /// Bytes of the image on flash, those held back counted.
    written: u32,
    /// The flash is erased up to here, an offset in the slot.
    erased: u32,
    withheld: [u8; WITHHELD],
    verifier: Verifier,
}

/// An image that is whole, checked and read back from flash, but cannot be booted yet: its first bytes are missing.
///
/// Only [`SlotWriter::verify`] makes one.
pub(crate) struct Verified {
    slot: Slot,
    withheld: [u8; WITHHELD],
    image: Image,
}

/// An image that lies whole on flash. It takes a record in otadata to be booted.
///
/// Only [`Verified::complete`] makes one.
pub(crate) struct Bootable {
    pub(crate) slot: Slot,
    pub(crate) release: ReleaseId,
    pub(crate) image: Image,
}

impl<'f, F: NorFlash> SlotWriter<'f, F> {
    /// Begins at the start of `slot`. Nothing is erased before the first block is full.
    pub(crate) fn new(flash: &'f mut F, slot: Slot, block: &'f mut [u8; BLOCK]) -> Self {
        let withheld = [0xff; WITHHELD];
        Self {
            flash,
            slot,
            block,
            gathered: 0,
            written: 0,
            erased: 0,
            withheld,
            verifier: Verifier::new(),
        }
    }

    /// What is known of the image so far.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u32 {
        self.written.saturating_add(self.gathered as u32)
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u32 {
        self.written
    }

    /// Room for the next bytes; never empty. Call [`SlotWriter::received_more`] with how many were put there.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.block.get_mut(self.gathered..).unwrap_or_default()
    }

    /// Takes up `n` bytes that were put into [`SlotWriter::room`]: checks them, without writing yet.
    pub(crate) fn received_more(&mut self, n: usize) -> Result<(), Error> {
        let end = self.gathered.saturating_add(n).min(BLOCK);
        self.verifier
            .update(self.block.get(self.gathered..end).unwrap_or_default())?;
        self.gathered = end;
        if self.received() > self.slot.size {
            return Err(FirmwareError::TooLarge {
                size: self.received().into(),
                slot: self.slot.size,
            }
            .into());
        }
        Ok(())
    }

    /// Whether a block is full and waits to be written.
    pub(crate) fn is_block_full(&self) -> bool {
        self.gathered == BLOCK
    }

    /// Writes what was gathered, all of it but the bytes that are held back.
    pub(crate) async fn write_block(&mut self) -> Result<(), Error> {
        if self.gathered == 0 {
            return Ok(());
        }
        // The last block is filled up to the flash's unit with what erased flash holds anyway.
        let unit = F::WRITE_SIZE.max(1);
        let end = self.gathered.next_multiple_of(unit).min(BLOCK);
        self.block
            .get_mut(self.gathered..end)
            .unwrap_or_default()
            .fill(0xff);
        self.erase_up_to(self.written.saturating_add(end as u32))
            .await?;

        let mut from = 0;
        if self.written == 0 {
            let first = self.block.get_mut(..WITHHELD).unwrap_or_default();
            self.withheld
                .iter_mut()
                .zip(first)
                .for_each(|(to, from)| *to = *from);
            from = WITHHELD;
        }
        let bytes = self.block.get(from..end).unwrap_or_default();
        let at = self.slot.offset + self.written + from as u32;
        self.flash.write(at, bytes).await.map_err(flash_error)?;
        self.written = self.written.saturating_add(self.gathered as u32);
        self.gathered = 0;
        Ok(())
    }

    /// Erases as far as needed, in large blocks where they fit into the slot.
    async fn erase_up_to(&mut self, end: u32) -> Result<(), Error> {
        while self.erased < end {
            let at = self.slot.offset + self.erased;
            let left = self.slot.size - self.erased;
            let length = if at.is_multiple_of(ERASE_BLOCK) && left >= ERASE_BLOCK {
                ERASE_BLOCK
            } else {
                SECTOR_SIZE
            };
            self.flash
                .erase(at, at + length)
                .await
                .map_err(flash_error)?;
            self.erased += length;
        }
        Ok(())
    }

    /// Erases again what was written. An image that failed its checks leaves nothing behind.
    pub(crate) async fn wipe(self) -> Result<(), Error> {
        let Slot { offset, .. } = self.slot;
        if self.erased == 0 {
            return Ok(());
        }
        self.flash
            .erase(offset, offset + self.erased)
            .await
            .map_err(flash_error)
    }

    /// Ends the image: writes the rest, checks the whole and reads it back from flash.
    pub(crate) async fn verify(
        &mut self,
        size: Option<u32>,
        sha256: Option<[u8; 32]>,
    ) -> Result<Verified, Error> {
        self.write_block().await?;
        if let Some(expected) = size
            && expected != self.written
        {
            return Err(FirmwareError::Size {
                expected,
                found: self.written.into(),
            }
            .into());
        }
        let read_back = self.hash_from_flash().await?;
        let image = match core::mem::take(&mut self.verifier).finish() {
            Ok(image) => image,
            // Where the manifest's hash does not match either, what the bytes say of themselves does not matter.
            Err(_) if sha256.is_some_and(|expected| expected != read_back) => {
                return Err(FirmwareError::Sha256.into());
            }
            Err(error) => return Err(error.into()),
        };
        if sha256.is_some_and(|expected| expected != image.sha256) {
            return Err(FirmwareError::Sha256.into());
        }
        if image.sha256 != read_back {
            return Err(FirmwareError::ReadBack.into());
        }
        Ok(Verified {
            slot: self.slot,
            withheld: self.withheld,
            image,
        })
    }

    /// The SHA-256 of the image as it lies on flash, with the bytes held back in their place.
    async fn hash_from_flash(&mut self) -> Result<[u8; 32], Error> {
        let mut hash = Sha256::new();
        let head = self.withheld.len().min(self.written as usize);
        hash.update(self.withheld.get(..head).unwrap_or_default());
        let mut at = head as u32;
        let unit = F::READ_SIZE.max(1) as u32;
        while at < self.written {
            let length = (self.written - at).min(BLOCK as u32);
            let padded = length.next_multiple_of(unit).min(BLOCK as u32);
            let block = self.block.get_mut(..padded as usize).unwrap_or_default();
            self.flash
                .read(self.slot.offset + at, block)
                .await
                .map_err(flash_error)?;
            hash.update(block.get(..length as usize).unwrap_or_default());
            at += length;
        }
        Ok(hash.finalize().into())
    }
}

impl Verified {
    /// Writes the bytes that were held back, and reads them back.
    pub(crate) async fn complete<F: NorFlash>(
        self,
        flash: &mut F,
        release: ReleaseId,
    ) -> Result<Bootable, Error> {
        let Self {
            slot,
            withheld,
            image,
        } = self;
        flash
            .write(slot.offset, &withheld)
            .await
            .map_err(flash_error)?;
        let mut back = [0; WITHHELD];
        flash
            .read(slot.offset, &mut back)
            .await
            .map_err(flash_error)?;
        if back != withheld {
            return Err(FirmwareError::ReadBack.into());
        }
        Ok(Bootable {
            slot,
            release,
            image,
        })
    }
}
