//! NOR flash as the chips have it (e.g. Winbond W25Q32JV datasheet, sections 8.2.13 to 8.2.18): bytes are read in
//! words, programming only clears bits, and erasing a sector of 4 KiB sets them all again.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// The unit of reading and programming, as `esp-storage` has it.
const WORD: usize = 4;
/// The unit of erasing.
const SECTOR: usize = 4096;

/// A flash chip in memory, or in a file that holds every operation as soon as it returns: the process may be killed at
/// any moment, and what is in the file is what a real chip would hold.
#[derive(Debug)]
pub struct Flash {
    bytes: Vec<u8>,
    file: Option<File>,
    wear: Wear,
}

/// How much was done to a flash since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wear {
    /// Erase operations, of whatever length.
    pub erases: u32,
    /// Sectors erased.
    pub sectors: u32,
    /// Program operations.
    pub programs: u32,
    /// Bytes programmed.
    pub bytes: u64,
}

/// What a flash refuses to do.
#[derive(Debug)]
pub enum FlashError {
    /// An address or a length that is not a multiple of the unit.
    NotAligned,
    /// Beyond the end of the chip.
    OutOfBounds,
    /// Programming a word that is not erased: the result would be the AND of old and new.
    NotErased {
        /// The offset of the first such byte.
        offset: u32,
    },
    /// The file behind the flash.
    File(io::Error),
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => write!(
                f,
                "the flash was accessed off its word or sector boundaries"
            ),
            Self::OutOfBounds => write!(f, "the flash was accessed beyond its end"),
            Self::NotErased { offset } => write!(
                f,
                "the flash at {offset:#x} was programmed without being erased"
            ),
            Self::File(error) => write!(f, "the flash file: {error}"),
        }
    }
}

impl std::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::NotErased { .. } | Self::File(_) => NorFlashErrorKind::Other,
        }
    }
}

impl Flash {
    /// A flash in memory that holds `bytes`.
    pub fn in_memory(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            file: None,
            wear: Wear::default(),
        }
    }

    /// The flash in an existing file, whose length is the chip's size.
    ///
    /// # Errors
    ///
    /// What the file system says; `InvalidData` where the length is no multiple of 4 KiB.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.is_empty() || bytes.len() % SECTOR != 0 {
            let message = format!(
                "not a flash dump: {} bytes is no multiple of 4096",
                bytes.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self {
            bytes,
            file: Some(file),
            wear: Wear::default(),
        })
    }

    /// What the flash holds.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much was done to it.
    pub fn wear(&self) -> Wear {
        self.wear
    }

    fn range(
        &self,
        offset: u32,
        length: usize,
        unit: usize,
    ) -> Result<std::ops::Range<usize>, FlashError> {
        let start = offset as usize;
        let end = start.checked_add(length).ok_or(FlashError::OutOfBounds)?;
        if !start.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return Err(FlashError::NotAligned);
        }
        if end > self.bytes.len() {
            return Err(FlashError::OutOfBounds);
        }
        Ok(start..end)
    }

    pub(crate) fn read_now(&self, offset: u32, into: &mut [u8]) -> Result<(), FlashError> {
        let range = self.range(offset, into.len(), WORD)?;
        into.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    pub(crate) fn program_now(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let range = self.range(offset, bytes.len(), WORD)?;
        let at = &mut self.bytes[range];
        if let Some(dirty) = at.iter().position(|&byte| byte != 0xff) {
            return Err(FlashError::NotErased {
                offset: offset + dirty as u32,
            });
        }
        at.copy_from_slice(bytes);
        self.wear.programs += 1;
        self.wear.bytes += bytes.len() as u64;
        self.keep(offset, bytes.len())
    }

    pub(crate) fn erase_now(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds)? as usize;
        let range = self.range(from, length, SECTOR)?;
        self.bytes[range].fill(0xff);
        self.wear.erases += 1;
        self.wear.sectors += (length / SECTOR) as u32;
        self.keep(from, length)
    }

    /// Writes a changed range through to the file.
    fn keep(&mut self, offset: u32, length: usize) -> Result<(), FlashError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let start = offset as usize;
        file.seek(SeekFrom::Start(offset.into()))
            .map_err(FlashError::File)?;
        file.write_all(&self.bytes[start..start + length])
            .map_err(FlashError::File)
    }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = WORD;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.erase_now(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.program_now(offset, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programming_needs_erased_flash_and_whole_words() {
        let mut flash = Flash::in_memory(vec![0xff; 2 * SECTOR]);
        flash.program_now(8, &[1, 2, 3, 4]).unwrap();
        assert!(matches!(
            flash.program_now(8, &[0; 4]),
            Err(FlashError::NotErased { offset: 8 })
        ));
        assert!(matches!(
            flash.program_now(9, &[0; 4]),
            Err(FlashError::NotAligned)
        ));
        assert!(matches!(
            flash.program_now(12, &[0; 3]),
            Err(FlashError::NotAligned)
        ));
        assert!(matches!(
            flash.program_now(2 * SECTOR as u32, &[0; 4]),
            Err(FlashError::OutOfBounds)
        ));
        assert!(matches!(
            flash.erase_now(0, 100),
            Err(FlashError::NotAligned)
        ));
        assert!(matches!(
            flash.erase_now(SECTOR as u32, 0),
            Err(FlashError::OutOfBounds)
        ));
        flash.erase_now(0, SECTOR as u32).unwrap();
        assert!(flash.bytes().iter().all(|&byte| byte == 0xff));
        assert_eq!(
            flash.wear(),
            Wear {
                erases: 1,
                sectors: 1,
                programs: 1,
                bytes: 4
            }
        );
    }

    #[test]
    fn a_file_holds_every_operation_at_once() {
        let path = std::env::temp_dir().join(format!("s3ota-flash-{}.bin", std::process::id()));
        std::fs::write(&path, vec![0xff; 2 * SECTOR]).unwrap();
        let mut flash = Flash::open(&path).unwrap();
        flash.program_now(SECTOR as u32, b"text").unwrap();
        // Not closed, not flushed: what another process sees now is what a killed one leaves.
        assert_eq!(std::fs::read(&path).unwrap(), flash.bytes());
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(
            Flash::open(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        std::fs::remove_file(&path).unwrap();
    }
}
