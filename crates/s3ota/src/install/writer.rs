//! Writing an image into a slot, in such a way that what lies there cannot be booted until it is known to be right.
//!
//! The first bytes of the image, with the magic number the bootloader looks for, are held back in RAM. Everything else
//! is written as it comes, checked, and read back; only then are the first bytes added. Whatever happens before, the
//! bootloader takes the slot for empty.
//!
//! How far the image has come is kept in the slot's [journal](crate::install::journal), so that an update that was cut off
//! resumes.

use core::time::Duration;

use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use heapless::String;
use s3ota_image::app::{GuardMarker, SignatureKind, Verifier};
use s3ota_image::otadata::SECTOR_SIZE;
use sha2::{Digest, Sha256};

use crate::apart::ok;
use crate::bytes;
use crate::device::Flash;
use crate::error::{Error, FirmwareError, flash as flash_error};
use crate::flash::access as flash;
use crate::flash::log::is_blank;
use crate::flash::partitions::Slot;
use crate::flash::release::ReleaseId;
use crate::install::journal::{Done, Goal, Journal, journal_offset, step};
use crate::install::wear::Wear;
use crate::install::{BLOCK, WITHHELD};
use crate::net::http::Part;

/// What is erased at once where the slot's alignment allows: flash chips erase 64 KiB hardly slower than three times
/// 4 KiB.
const ERASE_BLOCK: u32 = 64 * 1024;

/// An image on its way into a slot.
pub(crate) struct SlotWriter<'f> {
    slot: Slot,
    block: &'f mut [u8; BLOCK],
    /// Bytes gathered in `block`.
    gathered: usize,
    /// Bytes of the image on flash, those held back counted.
    written: u32,
    /// The flash is erased up to here, an offset in the slot.
    erased: u32,
    /// All of the image is on flash: an update before this one was cut off between its last byte and the switch.
    complete: bool,
    withheld: [u8; WITHHELD],
    verifier: Verifier,
    goal: Goal,
    journal: Journal,
    budget: Budget<'f>,
    /// Something of this image was written, or goes on where it was.
    begun: bool,
}

/// What erasing the slot is held against.
pub(crate) struct Budget<'f> {
    pub(crate) wear: &'f mut Wear,
    /// Time since the power came on.
    pub(crate) now: &'f dyn Fn() -> Duration,
    /// What is known of the slot.
    pub(crate) known: &'f mut Known,
}

/// What is known of the slot as long as nothing else writes to it and the power stays on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// So many bytes from its beginning were written whole: a server that sends them again costs no erasure.
    written: u32,
    /// It is erased from there up to here.
    erased: u32,
}

impl Known {
    /// A new image costs no erasure.
    pub(crate) fn is_blank(self) -> bool {
        self.written == 0 && self.erased > 0
    }
}

impl Budget<'_> {
    /// Notes that the slot is about to be erased.
    fn erase(&mut self) -> Result<(), Error> {
        let now = (self.now)();
        self.wear.erase(now).map_err(|rest| Error::Worn { rest })
    }
}

/// An image that is whole, checked and read back from flash, but cannot be booted yet: its first bytes are missing.
///
/// Only [`SlotWriter::verify`] makes one.
pub(crate) struct Verified {
    slot: Slot,
    withheld: [u8; WITHHELD],
    image: Whole,
}

/// What is still asked of an image that is known to be right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    /// Its bytes.
    pub(crate) length: u32,
    /// The boot guard that it claims to have.
    pub(crate) guard: Option<GuardMarker>,
    /// The kind of its signature for Secure Boot.
    pub(crate) signature: Option<SignatureKind>,
}

/// An image that lies whole on flash. It takes a record in otadata to be booted.
///
/// Only [`Verified::complete`] makes one.
pub(crate) struct Bootable {
    pub(crate) slot: Slot,
    pub(crate) release: ReleaseId,
    pub(crate) image: Whole,
}

impl<'f> SlotWriter<'f> {
    /// A writer for the image of `release`. Nothing is read yet.
    pub(crate) fn new(
        slot: Slot,
        block: &'f mut [u8; BLOCK],
        release: ReleaseId,
        budget: Budget<'f>,
    ) -> Self {
        Self {
            slot,
            block,
            gathered: 0,
            written: 0,
            erased: 0,
            complete: false,
            withheld: [0xff; WITHHELD],
            verifier: Verifier::new(),
            goal: Goal {
                release,
                total: None,
                etag: None,
            },
            journal: Journal::of(slot),
            budget,
            begun: false,
        }
    }

    /// Resumes the image where an update before this one was cut off, if it was.
    ///
    /// Nothing is erased before the first block is full.
    pub(crate) async fn resume<F: Flash>(&mut self, flash: &mut F) -> Result<(), Error> {
        let left = ok!(self.left(&mut *flash.lock().await));
        match left {
            Left::Nothing => {}
            Left::All(done) => {
                ok!(self.read_further(flash, done.length).await);
                self.complete = done == Done::new(done.length, &self.verifier.digest());
                self.begun = self.complete;
            }
            Left::Steps(steps) => {
                let sound = ok!(self.sound_steps(flash, steps).await);
                // The last mark may be torn: then the verifier has seen more than is sound, and looks again.
                self.begun = sound > 0
                    && (sound == steps || ok!(self.sound_steps(flash, sound).await) == sound);
            }
        }
        if !self.begun {
            self.begin_again();
        }
        // What was written since the power came on needs no mark: where marks are far apart, nothing is erased twice for them.
        let Known { written, erased } = *self.budget.known;
        let whole = written - written % BLOCK as u32;
        if self.begun && !self.complete && whole > self.written {
            ok!(self.read_further(flash, whole).await);
        }
        if self.written == written {
            self.erased = self.erased.max(erased);
        }
        Ok(())
    }

    /// What the journal says is on flash of this image.
    #[inline(never)]
    fn left<C: NorFlash>(&mut self, flash: &mut C) -> Result<Left, Error> {
        let Some(found) = ok!(self.journal.read(flash, self.goal.release)) else {
            return Ok(Left::Nothing);
        };
        self.goal = found.goal;
        self.withheld = found.head;
        if let Some(done) = found.done {
            let fits = done.length <= self.slot.size;
            return Ok(if fits { Left::All(done) } else { Left::Nothing });
        }
        let mut first = [0; WITHHELD];
        ok!(flash::read(flash, self.slot.offset, &mut first));
        // Only an image that was verified has its first bytes.
        if first == self.withheld {
            return Ok(Left::Nothing);
        }
        let most = journal_offset(self.slot) / self.step::<C>();
        Ok(Left::Steps(ok!(self.journal.steps(flash)).min(most)))
    }

    /// Reads back so many steps of the image and says how many of them the marks confirm.
    async fn sound_steps<F: Flash>(&mut self, flash: &mut F, steps: u32) -> Result<u32, Error> {
        let (journal, step) = (self.journal, self.step::<F::Chip>());
        let mut sound = 0;
        self.verifier = Verifier::new();
        self.written = steps * step;
        self.erased = self.written;
        let each = &mut |flash: &mut F::Chip, verifier: &mut Verifier, bytes: &[u8], end: u32| {
            let _ = verifier.update(bytes);
            if end.is_multiple_of(step) && ok!(journal.has(flash, end / step, &verifier.digest())) {
                sound = end / step;
            }
            Ok(())
        };
        ok!(self.read_image(flash, 0, steps * step, each).await);
        Ok(sound)
    }

    /// Bytes between two marks in the journal.
    fn step<F: NorFlash>(&self) -> u32 {
        step::<F>(self.goal.total.unwrap_or(self.slot.size))
    }

    /// Takes what is on flash of the image up to byte `end`, from where it was taken to before.
    async fn read_further<F: Flash>(&mut self, flash: &mut F, end: u32) -> Result<(), Error> {
        let start = self.written;
        self.written = end;
        self.erased = end.next_multiple_of(SECTOR_SIZE);
        // Where an image shows that it is broken the digests differ, too.
        let each = &mut |_: &mut F::Chip, verifier: &mut Verifier, bytes: &[u8], _| {
            let _ = verifier.update(bytes);
            Ok(())
        };
        self.read_image(flash, start, end, each).await
    }

    /// Forgets what is on flash: the image is fetched from its start.
    pub(crate) fn begin_again(&mut self) {
        if self.written > 0 {
            self.erased = 0;
            self.begun = false;
        }
        self.gathered = 0;
        self.written = 0;
        self.complete = false;
        self.withheld = [0xff; WITHHELD];
        self.verifier = Verifier::new();
        self.goal.total = None;
        self.goal.etag = None;
        self.journal = Journal::of(self.slot);
    }

    /// Whether all of the image is on flash already.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The part that is missing, `None` if it is all of it. What was gathered and not written is missing, too, so the block is
    /// for anything meanwhile.
    pub(crate) fn missing(&mut self) -> (Option<Part<'_>>, &mut [u8; BLOCK]) {
        debug_assert_eq!(
            self.gathered, 0,
            "a connection is made before it is read from"
        );
        let part = (self.written > 0).then_some(Part {
            from: self.written,
            total: self.goal.total,
            etag: self.goal.etag.as_deref(),
        });
        (part, &mut *self.block)
    }

    /// What the server says of the image as a whole: its size, and a tag to know it by.
    ///
    /// A weak tag (RFC 9110 section 8.8.1) does not promise the same bytes, so it is none here.
    pub(crate) fn expect(&mut self, total: Option<u32>, etag: Option<&str>) {
        self.goal.total = total.or(self.goal.total);
        if self.written == 0 {
            let etag = etag.filter(|tag| tag.starts_with('"'));
            self.goal.etag = etag.and_then(|tag| String::try_from(tag).ok());
        }
    }

    /// Nothing in the manifest tells these bytes from others': without a tag of the server's they cannot be resumed after a
    /// cut.
    pub(crate) fn rely_on_etag(&mut self) {
        if self.goal.etag.is_none() {
            self.journal.close();
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

    /// Takes `n` bytes that were put into [`SlotWriter::room`]: checks them, without writing yet.
    pub(crate) fn received_more(&mut self, n: usize) -> Result<(), Error> {
        let end = self.gathered.saturating_add(n).min(BLOCK);
        self.verifier
            .update(self.block.get(self.gathered..end).unwrap_or_default())?;
        self.gathered = end;
        Ok(())
    }

    /// Whether what is on flash was made of what has this entity tag.
    #[cfg(feature = "delta")]
    pub(crate) fn is_of(&self, etag: Option<&str>) -> bool {
        self.goal.etag.as_deref() == etag
    }

    /// Reads bytes of the image that were received: from flash, but for those held back, or from the block.
    #[cfg(feature = "delta")]
    #[inline(never)]
    pub(crate) fn read_back<F: NorFlash>(
        &self,
        flash: &mut F,
        at: u32,
        bytes: &mut [u8],
    ) -> Result<(), Error> {
        let on_flash = (self.written.saturating_sub(at) as usize).min(bytes.len());
        let (before, behind) = bytes.split_at_mut(on_flash);
        flash::read_any(flash, self.slot.offset.saturating_add(at), before)?;
        let held_back = self.withheld.get(at as usize..).unwrap_or_default();
        bytes::copy(&[held_back], before);
        let from = at.saturating_sub(self.written) as usize;
        let gathered = self.block.get(from..).unwrap_or_default();
        bytes::copy(&[gathered], behind);
        Ok(())
    }

    /// Leaves an image that an artefact has made wrong: nothing of it is resumed. What is right of it costs no erasure when the
    /// image itself comes.
    #[cfg(feature = "delta")]
    pub(crate) async fn leave<F: Flash>(
        &mut self,
        flash: &mut F,
        release: ReleaseId,
    ) -> Result<(), Error> {
        if self.begun {
            self.budget.wear.only_whole(release);
            ok!(self.journal.clear(&mut *flash.lock().await));
        }
        Ok(())
    }

    /// Whether a block is full and waits to be written.
    pub(crate) fn is_block_full(&self) -> bool {
        self.gathered == BLOCK
    }

    /// Writes what was gathered, all of it but the bytes that are held back.
    pub(crate) async fn write_block<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), Error> {
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
        let mut from = 0;
        if self.written == 0 {
            let first = self.block.get_mut(..WITHHELD).unwrap_or_default();
            bytes::copy(&[first], &mut self.withheld);
            from = WITHHELD;
        }
        if self.is_there(flash, from, end)? {
            let end = self.written.saturating_add(end as u32);
            self.erased = self.erased.max(end.next_multiple_of(SECTOR_SIZE));
        } else {
            self.begin(flash)?;
            self.erase_up_to(flash, self.written.saturating_add(end as u32))
                .await?;
            let bytes = self.block.get(from..end).unwrap_or_default();
            let at = self.slot.offset + self.written + from as u32;
            // What is being written is neither, should that end half-way.
            self.budget.known.erased = 0;
            flash.write(at, bytes).await.map_err(flash_error)?;
        }
        self.written = self.written.saturating_add(self.gathered as u32);
        self.gathered = 0;
        if !self.begun {
            return Ok(());
        }
        *self.budget.known = Known {
            written: self.written,
            erased: self.erased,
        };
        if self.written.is_multiple_of(self.step::<F>()) {
            let steps = self.written / self.step::<F>();
            let sha256 = self.verifier.digest();
            self.journal
                .mark(flash, &self.goal, &self.withheld, steps, &sha256)?;
        }
        Ok(())
    }

    /// Whether these bytes of the block are in their place already: a server that does not give the rest of an image sends
    /// what is there once more. What was not written since the power came on is not asked: it may read differently tomorrow.
    fn is_there<F: NorFlash>(
        &mut self,
        flash: &mut F,
        from: usize,
        end: usize,
    ) -> Result<bool, Error> {
        if self.begun || self.written.saturating_add(end as u32) > self.budget.known.written {
            return Ok(false);
        }
        let at = self.slot.offset + self.written;
        let mut back = [0; 256];
        for start in (from..end).step_by(back.len()) {
            let bytes = self.block.get(start..end).unwrap_or_default();
            let back = back.get_mut(..bytes.len().min(256)).unwrap_or_default();
            flash::read(flash, at + start as u32, back)?;
            if !bytes.starts_with(back) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Before the first byte of this image is written: that costs an erasure of the slot, unless it was erased for it, and
    /// what the journal says of another image must be gone.
    fn begin<F: NorFlash>(&mut self, flash: &mut F) -> Result<(), Error> {
        if self.begun {
            return Ok(());
        }
        if self.erased <= self.written {
            self.budget.erase()?;
        }
        self.begun = true;
        *self.budget.known = Known {
            written: self.written,
            erased: self.erased,
        };
        if self.erased > journal_offset(self.slot) {
            // The image before needed that sector, and so may this one: it is erased already.
            self.journal.close();
        }
        Ok(self.journal.clear(flash)?)
    }

    /// Erases as far as needed, in large blocks where they fit into the slot and leave the journal alone.
    async fn erase_up_to<F: NorFlash>(&mut self, flash: &mut F, end: u32) -> Result<(), Error> {
        let journal = journal_offset(self.slot);
        while self.erased < end {
            let at = self.slot.offset + self.erased;
            let left = journal.saturating_sub(self.erased);
            if left == 0 {
                self.journal.close();
            }
            let length = if at.is_multiple_of(ERASE_BLOCK) && left >= ERASE_BLOCK {
                ERASE_BLOCK
            } else {
                SECTOR_SIZE
            };
            self.budget.known.erased = 0;
            flash.erase(at, at + length).await.map_err(flash_error)?;
            self.erased += length;
            self.budget.known.erased = self.erased;
        }
        Ok(())
    }

    /// Nothing more is written: the slot's block for something else. What is known of the slot ends here.
    pub(crate) fn end(&mut self) -> &mut [u8; BLOCK] {
        *self.budget.known = Known::default();
        self.block
    }

    /// Notes that the image of this release was refused.
    pub(crate) fn refuse(&mut self, release: ReleaseId) {
        let now = (self.budget.now)();
        self.budget.wear.refuse(release, now);
    }

    /// Erases again what was written. An image that failed its checks leaves nothing behind; if the wear limit forbids the
    /// erasure, at least nothing that an update could resume.
    pub(crate) async fn wipe<F: Flash>(&mut self, flash: &mut F) -> Result<(), Error> {
        let Slot { offset, .. } = self.slot;
        if self.written == 0 {
            return Ok(());
        }
        self.journal.clear(&mut *flash.lock().await)?;
        self.budget.erase()?;
        *self.budget.known = Known::default();
        let end = offset + self.erased;
        for at in (offset..end).step_by(ERASE_BLOCK as usize) {
            let flash = &mut *flash.lock().await;
            let until = (at + ERASE_BLOCK).min(end);
            flash.erase(at, until).await.map_err(flash_error)?;
        }
        self.budget.known.erased = self.erased;
        Ok(())
    }

    /// Ends the image: writes the rest, checks the whole and reads it back from flash.
    pub(crate) async fn verify<F: Flash>(
        &mut self,
        flash: &mut F,
        size: Option<u32>,
        sha256: Option<[u8; 32]>,
    ) -> Result<Verified, Error> {
        self.write_block(&mut *flash.lock().await).await?;
        if let Some(expected) = size
            && expected != self.written
        {
            return Err(FirmwareError::Size {
                expected,
                found: self.written.into(),
            }
            .into());
        }
        let mut hash = Sha256::new();
        let each = &mut |_: &mut F::Chip, _: &mut Verifier, bytes: &[u8], _| {
            hash.update(bytes);
            Ok(())
        };
        ok!(self.read_image(flash, 0, self.written, each).await);
        let read_back: [u8; 32] = hash.finalize().into();
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
        if !self.complete {
            let done = Done::new(self.written, &read_back);
            let flash = &mut *flash.lock().await;
            self.journal
                .finish(flash, &self.goal, &self.withheld, done)?;
        }
        Ok(Verified {
            slot: self.slot,
            withheld: self.withheld,
            image: Whole {
                length: image.length,
                guard: image.guard,
                signature: image.signature,
            },
        })
    }

    /// Reads the image from byte `start` to `end` as it lies on flash, with the bytes held back in their place.
    async fn read_image<F: Flash>(
        &mut self,
        flash: &mut F,
        start: u32,
        end: u32,
        each: &mut Each<'_, F::Chip>,
    ) -> Result<(), Error> {
        let unit = F::Chip::READ_SIZE.max(1);
        for at in (start..end).step_by(BLOCK) {
            let length = (end - at).min(BLOCK as u32);
            let padded = (length as usize).next_multiple_of(unit).min(BLOCK);
            let block = self.block.get_mut(..padded).unwrap_or_default();
            let flash = &mut *flash.lock().await;
            flash
                .read(self.slot.offset + at, block)
                .await
                .map_err(flash_error)?;
            if at == 0 {
                bytes::copy(&[&self.withheld], block);
            }
            let bytes = block.get(..length as usize).unwrap_or_default();
            ok!(each(flash, &mut self.verifier, bytes, at + length));
        }
        Ok(())
    }
}

/// What is done with each block that is read: it gets the flash, the verifier, the bytes, and where in the image they end.
type Each<'e, C> = dyn FnMut(&mut C, &mut Verifier, &[u8], u32) -> Result<(), Error> + 'e;

/// What is on flash of an image, before it is read back.
enum Left {
    Nothing,
    /// All of it.
    All(Done),
    /// So many steps, at most.
    Steps(u32),
}

impl Verified {
    /// The image.
    pub(crate) fn image(&self) -> &Whole {
        &self.image
    }

    /// Writes the bytes that were held back, and reads them back.
    #[inline(never)]
    pub(crate) fn complete<F: NorFlash>(
        self,
        flash: &mut F,
        block: &mut [u8; BLOCK],
        release: ReleaseId,
    ) -> Result<Bootable, Error> {
        let Self {
            slot,
            withheld,
            image,
        } = self;
        let at = slot.offset;
        // They are there, or torn, if an update before this one was cut off just here.
        let mut back = flash::read_steady(flash, at)?;
        if back != Some(withheld) {
            if !back.is_some_and(|back| is_blank::<F>(&back)) {
                flash::read(flash, at, block)?;
                flash::erase_sector(flash, at)?;
                let rest = block.get(WITHHELD..).unwrap_or_default();
                flash::write(flash, at + WITHHELD as u32, rest)?;
            }
            flash::write(flash, at, &withheld)?;
            back = flash::read_steady(flash, at)?;
        }
        if back != Some(withheld) {
            return Err(FirmwareError::ReadBack.into());
        }
        Ok(Bootable {
            slot,
            release,
            image,
        })
    }
}
