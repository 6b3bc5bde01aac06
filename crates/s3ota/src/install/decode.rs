//! From an artefact to an image.
//!
//! Today an artefact is an image, and the only decoder is [`Identity`]. A compressed image or a delta gets a decoder of its
//! own here; nothing else has to know of it.

use crate::device::Flash;
use crate::error::Error;
use crate::install::source::Source;

/// Makes an image of an artefact, from the first byte to the last.
pub(crate) trait Decode {
    /// Prepares to go on with byte `image` of the image, and says with which byte of the artefact the source must then begin.
    fn seek(&mut self, image: u32) -> u32;

    /// Bytes of an artefact that makes an image of this size, as far as that can be said.
    fn artefact_length(&self, image: Option<u32>) -> Option<u32>;

    /// Bytes of the image that an artefact of this size makes, as far as that can be said.
    fn image_length(&self, artefact: Option<u64>) -> Option<u64>;

    /// Fills some of `room`, which must not be empty, with the next bytes of the image; 0 at its end.
    ///
    /// `flash` is there to be read: the slot that runs while the other is written.
    async fn read<S: Source, F: Flash>(
        &mut self,
        source: &mut S,
        flash: &mut F,
        room: &mut [u8],
    ) -> Result<usize, Error>;
}

/// The artefact is the image.
pub(crate) struct Identity;

impl Decode for Identity {
    fn seek(&mut self, image: u32) -> u32 {
        image
    }

    fn artefact_length(&self, image: Option<u32>) -> Option<u32> {
        image
    }

    fn image_length(&self, artefact: Option<u64>) -> Option<u64> {
        artefact
    }

    async fn read<S: Source, F: Flash>(
        &mut self,
        source: &mut S,
        _: &mut F,
        room: &mut [u8],
    ) -> Result<usize, Error> {
        source.read(room).await
    }
}
