//! From an artefact to an image.
//!
//! An artefact is the image itself, for which [`Identity`] is the decoder; or, with the feature `delta`, a delta or a compressed
//! image, which [`Artefact`] decodes. Nothing else has to know which.

#[cfg(feature = "delta")]
mod artefact;

use crate::device::Flash;
use crate::error::Error;
use crate::install::BLOCK;
use crate::install::source::{Opened, Source};
use crate::install::writer::SlotWriter;
use crate::net::http::Part;

#[cfg(feature = "delta")]
pub(crate) use artefact::{Artefact, Base, Made, Place};

/// Makes an image of an artefact, from the first byte to the last.
pub(crate) trait Decode {
    /// The part of the artefact that is missing, `None` if it is all of it. And the writer's block, which is free meanwhile.
    fn missing<'w>(
        &'w self,
        writer: &'w mut SlotWriter<'_>,
    ) -> (Option<Part<'w>>, &'w mut [u8; BLOCK]);

    /// Takes note of what was opened. Says how many bytes the image has by that, where it tells.
    fn opened(
        &mut self,
        opened: &Opened<'_>,
        writer: &mut SlotWriter<'_>,
    ) -> Result<Option<u64>, Error>;

    /// Puts the next bytes of the image into the writer's room, and says how many; 0 at its end.
    ///
    /// `flash` is there to be read: the slot that runs while the other is written.
    async fn read<S: Source, F: Flash>(
        &mut self,
        source: &mut S,
        flash: &mut F,
        writer: &mut SlotWriter<'_>,
    ) -> Result<usize, Error>;

    /// Whether an update that breaks off resumes only by the artefact's entity tag.
    fn needs_etag(&self) -> bool {
        false
    }

    /// Whether the source must be opened once more, for [what is missing](Self::missing) now.
    fn goes_elsewhere(&self) -> bool {
        false
    }

    /// Where the server does not give the part that is missing: whether the artefact can be begun again.
    fn may_begin_again(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether an image that is wrong is so because of its artefact. One that has made the image of the manifest is right.
    #[cfg(feature = "delta")]
    fn is_at_fault(&self) -> bool {
        false
    }
}

/// The decoder of the image itself.
#[cfg(not(feature = "delta"))]
pub(crate) fn image() -> Identity {
    Identity
}

/// The decoder of the image itself: one that could decode others.
#[cfg(feature = "delta")]
pub(crate) fn image<'p, 'm>() -> Artefact<'p, 'm> {
    Artefact::image()
}

/// The artefact is the image.
pub(crate) struct Identity;

impl Decode for Identity {
    fn missing<'w>(
        &'w self,
        writer: &'w mut SlotWriter<'_>,
    ) -> (Option<Part<'w>>, &'w mut [u8; BLOCK]) {
        writer.missing()
    }

    fn opened(
        &mut self,
        opened: &Opened<'_>,
        writer: &mut SlotWriter<'_>,
    ) -> Result<Option<u64>, Error> {
        if opened.from == 0 {
            // All of it: the server knows no ranges, or has another image by now.
            writer.begin_again();
        }
        Ok(opened.length)
    }

    async fn read<S: Source, F: Flash>(
        &mut self,
        source: &mut S,
        _: &mut F,
        writer: &mut SlotWriter<'_>,
    ) -> Result<usize, Error> {
        source.read(writer.room()).await
    }
}
