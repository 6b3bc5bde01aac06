//! An image that the application has, behind the library's traits: `s3ota_source`.

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Seek, SeekFrom};

use crate::network::{ask, length};
use crate::shared::Shared;
use crate::types::Source;

/// What a call of `s3ota_install_from` was given. It lives as long as the call.
#[derive(Clone, Copy)]
pub struct Given {
    pub manifest: &'static [u8],
    pub source: Source,
}

/// The image, which is read once from some byte on.
pub struct Image {
    shared: &'static Shared,
    source: Source,
}

impl Image {
    pub const fn new(shared: &'static Shared, source: Source) -> Self {
        Self { shared, source }
    }
}

impl ErrorType for Image {
    type Error = ErrorKind;
}

impl Read for Image {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let read = self.source.read.ok_or(ErrorKind::Other)?;
        let (ctx, to, length) = (self.source.ctx, bytes.as_mut_ptr(), length(bytes));
        let given = ask(self.shared, |wait| {
            // SAFETY: the caller's function, with its `ctx`; `length` bytes are writable at `to`, which this future has borrowed.
            unsafe { read(ctx, to.cast(), length, wait) }
        });
        let given = given.await.map_err(|error| error.kind())?;
        // A source that says it gave more than there was room for is not to be believed.
        if given > length as usize {
            return Err(ErrorKind::InvalidData);
        }
        Ok(given)
    }
}

impl Seek for Image {
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let (Some(seek), SeekFrom::Start(place)) = (self.source.seek, to) else {
            return Err(ErrorKind::Unsupported);
        };
        let offset = u32::try_from(place).map_err(|_| ErrorKind::InvalidInput)?;
        // SAFETY: the caller's function, with its `ctx`.
        match unsafe { seek(self.source.ctx, offset) } {
            0.. => Ok(place),
            _ => Err(ErrorKind::Other),
        }
    }
}
