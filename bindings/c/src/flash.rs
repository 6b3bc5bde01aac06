//! The port's flash, behind the library's trait.

use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::shared::Shared;
use crate::types::Port;

/// How many bytes are erased at once: chips have a command for that many.
const BLOCK: u32 = 64 * 1024;

/// From how many bytes on a read is long work.
const LONG_READ: usize = 1024;

/// The whole flash chip. It lets go after each long operation.
pub struct Flash<'p> {
    port: &'p Port,
    shared: Option<&'p Shared>,
}

impl<'p> Flash<'p> {
    /// The flash of a state.
    pub const fn of(shared: &'p Shared) -> Self {
        Self {
            port: &shared.port,
            shared: Some(shared),
        }
    }

    /// The flash of a port that belongs to no state yet.
    pub const fn alone(port: &'p Port) -> Self {
        Self { port, shared: None }
    }

    fn check(&self, offset: u32, length: usize) -> Result<u32, FlashError> {
        let length = u32::try_from(length).map_err(|_| FlashError::OutOfBounds)?;
        let end = offset.checked_add(length);
        end.filter(|end| *end <= self.port.flash_size)
            .map(|_| length)
            .ok_or(FlashError::OutOfBounds)
    }

    /// Lets go once, with more to do.
    async fn let_go(&self) {
        let Some(shared) = self.shared else { return };
        shared.turn.count();
        let mut first = true;
        poll_fn(|_| {
            if first {
                first = false;
                shared.turn.has_worked.set(true);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    fn read_now(&self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let length = self.check(offset, bytes.len())?;
        let read = self.port.flash_read.ok_or(FlashError::Failed)?;
        // SAFETY: the caller's function, with its `ctx`; `bytes` are writable, and as many.
        done(unsafe { read(self.port.ctx, offset, bytes.as_mut_ptr().cast(), length) })
    }

    fn write_now(&self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let length = self.check(offset, bytes.len())?;
        let write = self.port.flash_write.ok_or(FlashError::Failed)?;
        if let Some(words) = aligned(bytes) {
            // SAFETY: the caller's function, with its `ctx`; `words` are readable, and as many.
            return done(unsafe { write(self.port.ctx, offset, words.as_ptr().cast(), length) });
        }
        let mut at = offset;
        for chunk in bytes.chunks(32) {
            let mut copy = Words([0xff; 32]);
            let part = copy.0.get_mut(..chunk.len()).ok_or(FlashError::Failed)?;
            part.copy_from_slice(chunk);
            let length = u32::try_from(part.len()).map_err(|_| FlashError::OutOfBounds)?;
            // SAFETY: the same, with the copy.
            done(unsafe { write(self.port.ctx, at, part.as_ptr().cast(), length) })?;
            at = at.saturating_add(length);
        }
        Ok(())
    }

    fn erase_now(&self, from: u32, length: u32) -> Result<(), FlashError> {
        let erase = self.port.flash_erase.ok_or(FlashError::Failed)?;
        // SAFETY: the caller's function, with its `ctx`.
        done(unsafe { erase(self.port.ctx, from, length) })
    }
}

/// Bytes where a driver can read words.
#[repr(align(4))]
struct Words([u8; 32]);

fn aligned(bytes: &[u8]) -> Option<&[u8]> {
    bytes.as_ptr().cast::<u32>().is_aligned().then_some(bytes)
}

fn done(result: i32) -> Result<(), FlashError> {
    if result < 0 {
        return Err(FlashError::Failed);
    }
    Ok(())
}

impl ErrorType for Flash<'_> {
    type Error = FlashError;
}

impl ReadNorFlash for Flash<'_> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.read_now(offset, bytes)?;
        if bytes.len() >= LONG_READ {
            self.let_go().await;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.port.flash_size as usize
    }
}

impl NorFlash for Flash<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds)?;
        self.check(from, length as usize)?;
        let mut at = from;
        while at < to {
            // The first step ends where a block begins: from there on whole blocks are erased.
            let to_block = BLOCK.saturating_sub(at % BLOCK);
            let step = to_block.min(to.saturating_sub(at));
            self.erase_now(at, step)?;
            at = at.saturating_add(step);
            self.let_go().await;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.write_now(offset, bytes)?;
        self.let_go().await;
        Ok(())
    }
}

/// Why flash was not read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    /// The port said so.
    Failed,
    /// Beyond the end of the chip.
    OutOfBounds,
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the port's flash call failed",
            Self::OutOfBounds => "beyond the end of the flash chip",
        })
    }
}

impl core::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Failed => NorFlashErrorKind::Other,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
        }
    }
}
