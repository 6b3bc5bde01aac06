//! Deltas and compressed images (feature `delta`), and the image itself beside them.
//!
//! The old bytes come from the slot that runs, and what is in the image already from where it was written. Where an update
//! resumes, the decoder reads the artefact's beginning once more, and goes on with the last section that begins in what is on
//! flash. What it makes again of that is dropped.
//!
//! An artefact is not signed and may hold anything. It can take no more time than the bytes of the image allow, and none of it
//! can be installed but the image that the manifest names.

use embassy_futures::yield_now;
use embedded_storage_async::nor_flash::NorFlash;
use heapless::String;
use s3ota_codec::{Decoder, Memory, Refused, Step};

use crate::apart::{apart, ok};
use crate::device::Flash;
use crate::error::{Error, FirmwareError, HttpError};
use crate::flash::access as flash;
use crate::install::BLOCK;
use crate::install::decode::{Decode, Identity};
use crate::install::source::{Opened, Source};
use crate::install::writer::SlotWriter;
use crate::net::http::{MAX_ETAG, Part};

/// The most bytes of an artefact that are read only to get at those behind them: a new connection costs as many.
const WORTH_DROPPING: u32 = 8 * 1024;

/// What decodes whatever an image comes as.
pub(crate) enum Artefact<'p, 'm> {
    /// The image itself.
    Image(Identity),
    /// A delta, or a compressed image.
    Patch(Patch<'p, 'm>),
}

/// What an artefact must make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    /// Bytes of the image.
    pub(crate) size: u32,
    pub(crate) sha256: [u8; 32],
}

/// The image that a delta is applied to. That it is the one was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Base {
    /// Where it lies on flash.
    pub(crate) offset: u32,
    /// Its bytes.
    pub(crate) image: Made,
}

/// Where a decoder lies: it is too large to be passed around.
pub(crate) type Place<'m> = Option<Decoder<'m>>;

/// A delta, or a compressed image.
pub(crate) struct Patch<'p, 'm> {
    /// Bytes of the artefact.
    size: u32,
    base: Option<Base>,
    made: Made,
    /// Until the decoder has it.
    memory: Option<&'m mut Memory>,
    decoder: &'p mut Place<'m>,
    /// The byte of the artefact that is read next.
    at: u32,
    /// So many bytes of the source come before it.
    ahead: u32,
    etag: Option<String<MAX_ETAG>>,
    /// The header was held against what the manifest says.
    is_checked: bool,
    /// The source must be opened once more, for another part.
    goes_elsewhere: bool,
    /// It has made the image.
    is_whole: bool,
}

impl<'p, 'm> Artefact<'p, 'm> {
    /// The image itself.
    pub(crate) fn image() -> Self {
        Self::Image(Identity)
    }

    /// A delta or a compressed image of so many bytes, for a decoder in this place and memory.
    pub(crate) fn patch(
        size: u32,
        base: Option<Base>,
        made: Made,
        place: &'p mut Place<'m>,
        memory: &'m mut Memory,
    ) -> Self {
        Self::Patch(Patch {
            size,
            base,
            made,
            memory: Some(memory),
            decoder: place,
            at: 0,
            ahead: 0,
            etag: None,
            is_checked: false,
            goes_elsewhere: false,
            is_whole: false,
        })
    }
}

impl Decode for Artefact<'_, '_> {
    fn missing<'w>(
        &'w self,
        writer: &'w mut SlotWriter<'_>,
    ) -> (Option<Part<'w>>, &'w mut [u8; BLOCK]) {
        match self {
            Self::Image(image) => image.missing(writer),
            Self::Patch(patch) => {
                let part = (patch.at > 0).then_some(Part {
                    from: patch.at,
                    total: Some(patch.size),
                    etag: patch.etag.as_deref(),
                });
                (part, writer.missing().1)
            }
        }
    }

    fn opened(
        &mut self,
        opened: &Opened<'_>,
        writer: &mut SlotWriter<'_>,
    ) -> Result<Option<u64>, Error> {
        match self {
            Self::Image(image) => image.opened(opened, writer),
            Self::Patch(patch) => {
                ok!(patch.opened(opened, writer));
                Ok(None)
            }
        }
    }

    async fn read<S: Source, F: Flash>(
        &mut self,
        source: &mut S,
        flash: &mut F,
        writer: &mut SlotWriter<'_>,
    ) -> Result<usize, Error> {
        match self {
            Self::Image(image) => image.read(source, flash, writer).await,
            Self::Patch(patch) => apart!(patch.read(source, flash, writer)),
        }
    }

    fn needs_etag(&self) -> bool {
        matches!(self, Self::Patch(_))
    }

    fn goes_elsewhere(&self) -> bool {
        matches!(self, Self::Patch(patch) if patch.goes_elsewhere)
    }

    fn may_begin_again(&self) -> Result<(), Error> {
        match self {
            Self::Image(_) => Ok(()),
            // It has become another one, and is refused.
            Self::Patch(_) => {
                warn!("the server has another one by now, or gives no parts");
                Err(FirmwareError::Artefact.into())
            }
        }
    }

    fn is_at_fault(&self) -> bool {
        matches!(self, Self::Patch(patch) if patch.decoder.is_some() && !patch.is_whole)
    }
}

impl Patch<'_, '_> {
    #[inline(never)]
    fn opened(&mut self, opened: &Opened<'_>, writer: &mut SlotWriter<'_>) -> Result<(), Error> {
        if let Some(length) = opened.length
            && length != u64::from(self.size)
        {
            warn!("it has {} bytes, not {}", length, self.size);
            return Err(FirmwareError::Artefact.into());
        }
        self.goes_elsewhere = false;
        // A server that knows no ranges gives it from the start.
        self.ahead = self.at.saturating_sub(opened.from);
        if let Some(memory) = self.memory.take() {
            let etag = opened.etag.filter(|tag| tag.starts_with('"'));
            self.etag = etag.and_then(|tag| String::try_from(tag).ok());
            // What another artefact has made, or may have made, is not gone on with: that one may have been wrong.
            if self.etag.is_none() || !writer.is_of(self.etag.as_deref()) {
                writer.begin_again();
            }
            let base = self.base.map_or(0, |base| base.image.size);
            *self.decoder = Some(Decoder::new(memory, base, writer.written()));
        }
        Ok(())
    }

    async fn read<S: Source, F: Flash>(
        &mut self,
        source: &mut S,
        flash: &mut F,
        writer: &mut SlotWriter<'_>,
    ) -> Result<usize, Error> {
        loop {
            // What is made without a byte from the network, as most of a delta is, must let other tasks run.
            yield_now().await;
            match ok!(self.step(writer)) {
                Step::Output(n) if self.is_on_flash(writer) => debug_assert!(n > 0),
                Step::Output(n) => return Ok(n),
                Step::End => {
                    self.is_whole = true;
                    return Ok(0);
                }
                Step::Artefact(at) => {
                    // Where another part must be asked for, the block has its head. An artefact that turns away when the
                    // block is in use is not one that resumes.
                    let may_turn = writer.received() == writer.written();
                    ok!(apart!(self.read_artefact(source, at, may_turn)));
                }
                Step::Base(at) => {
                    let chip = &mut *flash.lock().await;
                    ok!(self.read_base(chip, at));
                }
                Step::Result(at) => {
                    let chip = &mut *flash.lock().await;
                    ok!(self.read_result(chip, writer, at));
                }
            }
        }
    }

    /// Whether what the decoder has just made lies on flash already.
    fn is_on_flash(&self, writer: &SlotWriter<'_>) -> bool {
        let position = self.decoder.as_ref().map_or(0, Decoder::position);
        position <= writer.received()
    }

    /// One step of the decoder, into the writer's room: up to where the writer is, if it is not there yet.
    #[inline(never)]
    fn step(&mut self, writer: &mut SlotWriter<'_>) -> Result<Step, Error> {
        let received = writer.received();
        let Some(decoder) = &mut *self.decoder else {
            return Err(refused(Refused::NotAnArtefact));
        };
        let behind = received.saturating_sub(decoder.position()) as usize;
        let room = writer.room();
        let end = if behind > 0 {
            behind.min(room.len())
        } else {
            room.len()
        };
        let step = decoder.step(room.get_mut(..end).unwrap_or_default());
        let step = step.map_err(refused)?;
        if !self.is_checked
            && let Some(header) = decoder.header()
        {
            let base = self.base.map(|base| base.image);
            let named = (header.base_size > 0).then_some(Made {
                size: header.base_size,
                sha256: header.base,
            });
            let made = Made {
                size: header.result_size,
                sha256: header.result,
            };
            if named != base || made != self.made {
                warn!("it is for another image, or makes another one");
                return Err(FirmwareError::Artefact.into());
            }
            self.is_checked = true;
        }
        Ok(step)
    }

    /// Reads bytes of the artefact, from the one with this offset on.
    async fn read_artefact<S: Source>(
        &mut self,
        source: &mut S,
        at: u32,
        may_turn: bool,
    ) -> Result<(), Error> {
        let over = at.wrapping_sub(self.at);
        if over <= WORTH_DROPPING {
            self.ahead = self.ahead.saturating_add(over);
            self.at = at;
        } else if !may_turn {
            return Err(refused(Refused::Malformed));
        } else {
            self.at = at;
            self.goes_elsewhere = true;
            // Nothing is wrong: the attempt goes on with that part.
            return Err(HttpError::NoSuchPart.into());
        }
        while self.ahead > 0 {
            let mut dropped = [0; 64];
            let most = dropped.len().min(self.ahead as usize);
            let n = ok!(source
                .read(dropped.get_mut(..most).unwrap_or_default())
                .await);
            if n == 0 {
                break;
            }
            self.ahead = self.ahead.saturating_sub(n as u32);
        }
        let left = self.size.saturating_sub(self.at) as usize;
        let Some(decoder) = &mut *self.decoder else {
            return Ok(());
        };
        let room = decoder.room();
        let end = room.len().min(left);
        let n = match room.get_mut(..end) {
            Some(room) if !room.is_empty() => ok!(source.read(room).await),
            _ => 0,
        };
        decoder.filled(n);
        self.at = self.at.saturating_add(n as u32);
        Ok(())
    }

    #[inline(never)]
    fn read_base<C: NorFlash>(&mut self, chip: &mut C, at: u32) -> Result<(), Error> {
        let (Some(decoder), Some(base)) = (&mut *self.decoder, self.base) else {
            return Err(refused(Refused::Short));
        };
        let room = decoder.room();
        let n = room.len();
        ok!(flash::read_any(chip, base.offset.saturating_add(at), room));
        decoder.filled(n);
        Ok(())
    }

    #[inline(never)]
    fn read_result<C: NorFlash>(
        &mut self,
        chip: &mut C,
        writer: &SlotWriter<'_>,
        at: u32,
    ) -> Result<(), Error> {
        let Some(decoder) = &mut *self.decoder else {
            return Err(refused(Refused::Short));
        };
        let room = decoder.room();
        let n = room.len();
        ok!(writer.read_back(chip, at, room));
        decoder.filled(n);
        Ok(())
    }
}

/// Says why, once.
#[inline(never)]
fn refused(why: Refused) -> Error {
    warn!("{}", why);
    FirmwareError::Artefact.into()
}
