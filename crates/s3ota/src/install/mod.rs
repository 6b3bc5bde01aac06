//! From bytes to an image that can be booted: one pipeline for every source.
//!
//! ```text
//!  source ──► decode ──► check ──► writer ──► Verified ──complete──► Bootable
//!                                    └► journal
//! ```
//!
//! - [`source`]: the bytes of an artefact, from the network or from the application, held to a size.
//! - [`decode`]: an artefact becomes an image. Most are one already; a delta is made into one.
//! - [`check`]: is it an image for this device?
//! - [`writer`]: into the slot, in such a way that it cannot be booted before it is known to be right.
//! - [`journal`]: how far it has come, so that a download resumes.
//! - [`wear`]: how often the slot may be erased.

pub(crate) mod check;
pub(crate) mod decode;
pub(crate) mod journal;
pub(crate) mod source;
pub(crate) mod trouble;
pub(crate) mod wear;
pub(crate) mod writer;

use s3ota_image::ImageError;
use s3ota_image::app::PREFIX_LEN;
use s3ota_image::otadata::SECTOR_SIZE;
use s3ota_manifest::{MAX_DOCUMENT, MAX_URL};

use crate::apart::{apart, ok};
use crate::device::Flash;
use crate::error::Error;
#[cfg(feature = "delta")]
use crate::error::FirmwareError;
use crate::flash::partitions::Slot;
use crate::flash::release::ReleaseId;
use crate::hooks::{Hooks, Progress, Watched};
use crate::install::check::{Announced, Expected};
use crate::install::decode::Decode;
use crate::install::source::{Limits, Opened, Source};
use crate::install::writer::{Bootable, Budget, SlotWriter, Verified};
use crate::net::http::{MAX_HEAD, Part};

/// Bytes held back: no flash on these chips is written in larger units than this (with flash encryption).
pub(crate) const WITHHELD: usize = 32;

/// Bytes gathered before they are written: one sector.
pub(crate) const BLOCK: usize = SECTOR_SIZE as usize;

/// The memory of all that comes one after the other: a manifest fits in all of it; the head of an HTTP message, a URL and a block in one
/// page each.
pub(crate) type Pages = [[u8; BLOCK]; PAGES];
pub(crate) const PAGES: usize = 2;

const _: () = assert!(size_of::<Pages>() == MAX_DOCUMENT && MAX_HEAD == BLOCK && MAX_URL <= BLOCK);

/// One image on its way into its slot.
pub(crate) struct Installation<'i, D> {
    expected: Expected<'i>,
    release: ReleaseId,
    decoder: D,
    writer: SlotWriter<'i>,
}

impl<'i, D: Decode> Installation<'i, D> {
    /// An installation of the image of `release` into `slot`. Nothing is read yet.
    pub(crate) fn new(
        expected: Expected<'i>,
        release: ReleaseId,
        slot: Slot,
        decoder: D,
        block: &'i mut [u8; BLOCK],
        budget: Budget<'i>,
    ) -> Self {
        Self {
            expected,
            release,
            decoder,
            writer: SlotWriter::new(slot, block, release, budget),
        }
    }

    /// Resumes where an update before this one was cut off, if one was. Erases nothing.
    pub(crate) async fn resume<F: Flash>(
        &mut self,
        flash: &mut F,
        hooks: &mut Watched<'_>,
    ) -> Result<(), Error> {
        ok!(apart!(self.writer.resume(flash)));
        hooks.resumed(self.writer.written(), self.expected.announced.size);
        Ok(())
    }

    /// Whether all of the image is on flash: no source is needed.
    pub(crate) fn is_complete(&self) -> bool {
        self.writer.is_complete()
    }

    /// The server does not give the missing part: all of the artefact then, if that can be begun again.
    pub(crate) fn begin_again(&mut self) -> Result<(), Error> {
        ok!(self.decoder.may_begin_again());
        warn!("the server does not give the rest of the image: all of it then");
        self.writer.begin_again();
        Ok(())
    }

    /// The part of the artefact that is missing, `None` if it is all of it. And the block, which is free until it
    /// [comes](Self::run).
    pub(crate) fn missing(&mut self) -> (Option<Part<'_>>, &mut [u8; BLOCK]) {
        self.decoder.missing(&mut self.writer)
    }

    /// Installs the image: from `source`, which has been opened for what is [missing](Self::missing); or from flash alone, if
    /// that [is complete](Self::is_complete).
    ///
    /// An image that fails its checks is erased again. `None` where the decoder goes on with another part of the artefact: the
    /// source must be opened anew.
    pub(crate) async fn run<S: Source, F: Flash>(
        &mut self,
        flash: &mut F,
        source: Option<(&Opened<'_>, &mut S)>,
        hooks: &mut Watched<'_>,
    ) -> Result<Option<Bootable>, Error> {
        let arrived = match source {
            Some((opened, source)) => apart!(self.receive(flash, opened, source, hooks)),
            None => self.check_prefix(),
        };
        if arrived.is_err() && self.decoder.goes_elsewhere() {
            return Ok(None);
        }
        let verified = match arrived {
            Ok(()) => apart!(self.verify(flash)),
            Err(error) => Err(error),
        };
        let verified = match verified {
            #[cfg(feature = "delta")]
            Err(Error::Image(error)) if self.decoder.is_at_fault() => {
                warn!("what the image is made of is refused: {}", error);
                ok!(apart!(self.writer.leave(flash, self.release)));
                return Err(FirmwareError::Artefact.into());
            }
            Err(Error::Image(error)) => {
                warn!("the image is refused: {}", error);
                self.writer.refuse(self.release);
                // It cannot be booted anyway: an image that cannot be erased, or not now, changes nothing about the refusal.
                if apart!(self.writer.wipe(flash)).is_err() {
                    warn!("what was written of it stays for now");
                }
                return Err(error.into());
            }
            // A connection that broke says nothing against the bytes that arrived.
            verified => verified?,
        };
        let written = self.writer.written();
        hooks.on_progress(Progress {
            written,
            total: Some(written),
        });
        let block = self.writer.end();
        let image = verified.complete(&mut *flash.lock().await, block, self.release);
        Ok(Some(ok!(image)))
    }

    /// Streams the source to flash, looking at the first bytes before anything is erased.
    async fn receive<S: Source, F: Flash>(
        &mut self,
        flash: &mut F,
        opened: &Opened<'_>,
        source: &mut S,
        hooks: &mut Watched<'_>,
    ) -> Result<(), Error> {
        let length = self.decoder.opened(opened, &mut self.writer)?;
        let announced = self.expected.announced;
        let mut limits = Limits {
            exact: announced.size,
            slot: self.expected.room,
        };
        if let Some(length) = length {
            limits.announce(length)?;
        }
        self.writer.expect(limits.exact, opened.etag);
        if announced.sha256.is_none() || self.decoder.needs_etag() {
            self.writer.rely_on_etag();
        }
        let has_prefix = |writer: &SlotWriter<'_>| writer.received() >= PREFIX_LEN as u32;
        // What is on flash is checked again: it may have been begun under another manifest.
        let mut prefix_checked = has_prefix(&self.writer);
        if prefix_checked {
            ok!(self.check_prefix());
        }
        loop {
            let read = self.decoder.read(source, flash, &mut self.writer);
            let n = ok!(apart!(read));
            if n == 0 {
                break;
            }
            ok!(self.writer.received_more(n));
            if !prefix_checked && has_prefix(&self.writer) {
                ok!(self.check_prefix());
                prefix_checked = true;
            }
            limits.check(self.writer.received().into())?;
            if self.writer.is_block_full() {
                let flash = &mut *flash.lock().await;
                ok!(apart!(self.writer.write_block(flash)));
                hooks.on_progress(Progress {
                    written: self.writer.written(),
                    total: limits.exact,
                });
            }
        }
        if prefix_checked {
            return Ok(());
        }
        Err(ImageError::Truncated {
            length: self.writer.received(),
            needed: PREFIX_LEN as u32,
        }
        .into())
    }

    fn check_prefix(&self) -> Result<(), Error> {
        Ok(self.expected.check_prefix(self.writer.verifier())?)
    }

    /// Checks the whole image, and that flash holds it.
    async fn verify<F: Flash>(&mut self, flash: &mut F) -> Result<Verified, Error> {
        let announced = self.expected.announced;
        let Announced { size, sha256, .. } = *announced;
        let verified = ok!(apart!(self.writer.verify(flash, size, sha256)));
        self.expected.own.is_kept_by(verified.image())?;
        Ok(verified)
    }
}
