//! Flash, for what is small: a record, an entry of a log, one sector.
//!
//! The flash trait is asynchronous, so that a driver can let other tasks run between the steps of long work. Work of
//! milliseconds is waited for on the spot instead: a future for each of some fifty accesses would cost 23 KB of program memory.
//! What is here takes a driver, which nobody else uses meanwhile: an updater gets at it by awaiting [`Flash::lock`].
//!
//! [`Flash::lock`]: crate::device::Flash::lock

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};
use s3ota_image::otadata::SECTOR_SIZE;

use crate::error::FlashFault;

/// Bytes that decide what boots: an otadata record, the first ones of an image.
pub(crate) const STEADY_LEN: usize = 32;

/// How often these are read, and must read the same.
const READS: u32 = 32;

/// Reads from offset `at` of the chip.
#[inline(never)]
pub(crate) fn read<F: NorFlash>(
    flash: &mut F,
    at: u32,
    bytes: &mut [u8],
) -> Result<(), FlashFault> {
    on_the_spot(flash.read(at, bytes))
}

/// Reads from any offset, and as many bytes as there are: the driver wants neither in whole units.
#[cfg(feature = "delta")]
#[inline(never)]
pub(crate) fn read_any<F: NorFlash>(
    flash: &mut F,
    at: u32,
    bytes: &mut [u8],
) -> Result<(), FlashFault> {
    let unit = F::READ_SIZE.max(1);
    let mut whole = [0; 64];
    let mut done = 0;
    while done < bytes.len() {
        let from = at.saturating_add(done as u32);
        let ahead = from as usize % unit;
        let rest = bytes.get_mut(done..).unwrap_or_default();
        if ahead == 0 && rest.len() >= unit {
            let length = rest.len() - rest.len() % unit;
            read(flash, from, rest.get_mut(..length).unwrap_or_default())?;
            done += length;
            continue;
        }
        let Some(whole) = whole.get_mut(..unit) else {
            return Err(FlashFault(NorFlashErrorKind::NotAligned));
        };
        read(flash, from - ahead as u32, whole)?;
        let found = whole.get(ahead..).unwrap_or_default();
        crate::bytes::copy(&[found], rest);
        done += found.len();
    }
    Ok(())
}

/// Reads bytes that decide what boots. `None` if they read differently: bits that were changing when power failed may lie
/// between 0 and 1, and read as either.
#[inline(never)]
pub(crate) fn read_steady<F: NorFlash>(
    flash: &mut F,
    at: u32,
) -> Result<Option<[u8; STEADY_LEN]>, FlashFault> {
    let mut bytes = [0; STEADY_LEN];
    read(flash, at, &mut bytes)?;
    for _ in 1..READS {
        let mut again = [0; STEADY_LEN];
        read(flash, at, &mut again)?;
        if again != bytes {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Writes to offset `at` of the chip.
#[inline(never)]
pub(crate) fn write<F: NorFlash>(flash: &mut F, at: u32, bytes: &[u8]) -> Result<(), FlashFault> {
    on_the_spot(flash.write(at, bytes))
}

/// Erases the sector at offset `at` of the chip.
#[inline(never)]
pub(crate) fn erase_sector<F: NorFlash>(flash: &mut F, at: u32) -> Result<(), FlashFault> {
    on_the_spot(flash.erase(at, at + SECTOR_SIZE))
}

/// How often a driver is asked whether it is done: for some seconds at least, on the fastest chip.
const MOST_POLLS: u32 = if cfg!(test) { 1 << 12 } else { 1 << 26 };

/// Waits for a driver without letting other tasks run. One that needs them fails: it would wait for ever.
fn on_the_spot<T, E: NorFlashError>(
    operation: impl Future<Output = Result<T, E>>,
) -> Result<T, FlashFault> {
    let mut operation = pin!(operation);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..MOST_POLLS {
        if let Poll::Ready(result) = operation.as_mut().poll(&mut context) {
            return result.map_err(|error| FlashFault(error.kind()));
        }
    }
    error!("the flash driver waits for another task: see device::Flash");
    Err(FlashFault(NorFlashErrorKind::Other))
}

#[cfg(test)]
mod tests {
    use core::future::{pending, poll_fn};

    use super::*;

    type Result = core::result::Result<u8, NorFlashErrorKind>;

    /// A flash that reads 16 bytes at once, each byte its own offset.
    #[cfg(feature = "delta")]
    struct Coarse;

    #[cfg(feature = "delta")]
    mod coarse {
        use embedded_storage_async::nor_flash::{ErrorType, ReadNorFlash};

        use super::*;

        impl ErrorType for Coarse {
            type Error = NorFlashErrorKind;
        }

        impl ReadNorFlash for Coarse {
            const READ_SIZE: usize = 16;

            async fn read(
                &mut self,
                at: u32,
                bytes: &mut [u8],
            ) -> core::result::Result<(), NorFlashErrorKind> {
                if !at.is_multiple_of(16) || !bytes.len().is_multiple_of(16) {
                    return Err(NorFlashErrorKind::NotAligned);
                }
                for (byte, place) in bytes.iter_mut().zip(at..) {
                    *byte = place as u8;
                }
                Ok(())
            }

            fn capacity(&self) -> usize {
                256
            }
        }

        impl NorFlash for Coarse {
            const WRITE_SIZE: usize = 16;
            const ERASE_SIZE: usize = 16;

            async fn erase(
                &mut self,
                _: u32,
                _: u32,
            ) -> core::result::Result<(), NorFlashErrorKind> {
                Err(NorFlashErrorKind::Other)
            }

            async fn write(
                &mut self,
                _: u32,
                _: &[u8],
            ) -> core::result::Result<(), NorFlashErrorKind> {
                Err(NorFlashErrorKind::Other)
            }
        }

        #[test]
        fn any_bytes_are_read_in_whole_units() {
            for start in 0..20_u32 {
                for length in 0..50 {
                    let mut bytes = std::vec![0; length];
                    assert_eq!(read_any(&mut Coarse, start, &mut bytes), Ok(()));
                    let expected: std::vec::Vec<u8> = (start as u8..).take(length).collect();
                    assert_eq!(bytes, expected, "{start} {length}");
                }
            }
        }
    }

    #[test]
    fn a_driver_may_let_go_between_its_steps() {
        let mut steps = 0;
        let operation = poll_fn(|_| {
            steps += 1;
            match steps {
                1000 => Poll::Ready(Result::Ok(7)),
                _ => Poll::Pending,
            }
        });
        assert_eq!(on_the_spot(operation), Ok(7));
    }

    #[test]
    fn a_driver_that_needs_another_task_is_not_waited_for_for_ever() {
        let error = on_the_spot(pending::<Result>()).unwrap_err();
        assert_eq!(error, FlashFault(NorFlashErrorKind::Other));
    }
}
