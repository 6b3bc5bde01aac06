//! NOR flash like the real chips (e.g. Winbond W25Q32JV datasheet, sections 8.2.13 to 8.2.18): it is read in words,
//! programming only clears bits, and erasing a sector of 4 KiB sets them again.
//!
//! It fails like real flash: [`Flash::cut_power`] makes power fail inside a future operation, and [`Tear`] says what that
//! leaves behind. It can record the operations ([`Flash::record`]), and encrypt ([`Flash::encrypted`]).

mod encryption;
mod power;
mod reads;
mod sparse;
mod wear;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use encryption::{BLOCK, Cipher};
use power::Noise;
pub use power::{Mix, Operation, PowerCut, Tear};
use reads::Reads;
pub use sparse::SparseFlash;
pub use wear::Wear;

/// The unit of reading and programming, as in `esp-storage`.
const WORD: usize = 4;
/// The unit of erasing.
const SECTOR: usize = 4096;

/// A flash chip in memory, or in a file. The file contains every operation as soon as it returns: the process may be killed
/// at any moment, and the file has what a real chip would have.
#[derive(Debug)]
pub struct Flash {
    bytes: Vec<u8>,
    file: Option<File>,
    wear: Wear,
    rewrites: bool,
    cipher: Option<Cipher>,
    record: Option<Vec<Operation>>,
    reads: Option<Reads>,
    cut: Option<PowerCut>,
    has_power: bool,
    flaky: Flaky,
}

/// Why the flash refuses an operation.
#[derive(Debug)]
pub enum FlashError {
    /// An address or length that is not a multiple of the unit.
    NotAligned,
    /// Beyond the end of the chip.
    OutOfBounds,
    /// Programming a word that is not erased: the result would be the AND of old and new.
    NotErased {
        /// The offset of the first such byte.
        offset: u32,
    },
    /// There is no power: the device is off until it is switched on again.
    NoPower,
    /// The flash's file failed.
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
            Self::NoPower => write!(f, "the flash has no power"),
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
            Self::NotErased { .. } | Self::NoPower | Self::File(_) => NorFlashErrorKind::Other,
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
            rewrites: false,
            cipher: None,
            record: None,
            reads: None,
            cut: None,
            has_power: true,
            flaky: Flaky::default(),
        }
    }

    /// The flash in an existing file, whose length is the chip's size.
    ///
    /// # Errors
    ///
    /// The file system's; `InvalidData` if the length is not a multiple of 4 KiB.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.is_empty() || bytes.len() % SECTOR != 0 {
            let message = format!(
                "not a flash dump: {} bytes is not a multiple of 4096",
                bytes.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self {
            file: Some(file),
            ..Self::in_memory(bytes)
        })
    }

    /// The same flash, but words may be programmed again, as on real chips: the result is the AND of old and new.
    ///
    /// By default that is [`FlashError::NotErased`], because it is nearly always a mistake. With flash encryption the
    /// ciphertexts are ANDed, and the result reads as noise.
    pub fn with_rewrites(self) -> Self {
        Self {
            rewrites: true,
            ..self
        }
    }

    /// The same flash on a chip with flash encryption: its contents are encrypted, except that blank sectors stay blank. From
    /// now on it is written in blocks of 16 bytes, and erased flash reads as noise. See [`InUnits`].
    ///
    /// # Errors
    ///
    /// [`FlashError::File`].
    pub fn encrypted(mut self, key: u64) -> Result<Self, FlashError> {
        let cipher = Cipher { key };
        for (sector, at) in self.bytes.chunks_mut(SECTOR).zip((0u32..).step_by(SECTOR)) {
            if sector.iter().any(|&byte| byte != 0xff) {
                encrypt(cipher, at, sector);
            }
        }
        let length = self.bytes.len() as u32;
        self.keep(0..length)?;
        Ok(self.with_key(key))
    }

    /// A flash whose contents are encrypted already, by [`encrypted`](Flash::encrypted) with this key.
    pub fn with_key(self, key: u64) -> Self {
        Self {
            cipher: Some(Cipher { key }),
            ..self
        }
    }

    /// The chip's contents, bit for bit: with encryption, the ciphertext.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The chip's contents, as [`bytes`](Flash::bytes), of a flash that is not needed any more.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A part of the chip's contents, bit for bit. It counts as [read](Flash::watch_reads).
    ///
    /// # Panics
    ///
    /// If it reaches beyond this flash.
    pub fn look(&mut self, range: Range<u32>) -> &[u8] {
        let range = range.start as usize..range.end as usize;
        self.note_read(range.clone());
        &self.bytes[range]
    }

    /// How much it has been used.
    pub fn wear(&self) -> Wear {
        self.wear
    }

    /// Starts to record the operations.
    pub fn record(&mut self) {
        self.record = Some(Vec::new());
    }

    /// Ends the record, and returns it.
    pub fn take_record(&mut self) -> Vec<Operation> {
        self.record.take().unwrap_or_default()
    }

    /// Starts to watch what is read.
    pub fn watch_reads(&mut self) {
        self.reads = Some(Reads::new(self.bytes.len()));
    }

    /// Ends the watch, and returns the parts of the contents that all went by which happened since: what was read, before it
    /// was written, with some bytes around it; no part twice, and none beyond a sector.
    ///
    /// That holds as long as [every bit of them is settled](Flash::is_settled_in).
    pub fn take_reads(&mut self) -> Vec<Range<u32>> {
        self.reads.take().map(Reads::first).unwrap_or_default()
    }

    fn note_read(&mut self, range: Range<usize>) {
        if let Some(reads) = &mut self.reads {
            reads.read(range);
        }
    }

    /// Whether everything reads the same each time: a power cut has left no flaky bits, or they have been written since.
    pub fn is_settled(&self) -> bool {
        self.is_settled_in(0..u32::MAX)
    }

    /// The same of a part.
    pub fn is_settled_in(&self, range: Range<u32>) -> bool {
        let mut bits = self.flaky.bits.range(range);
        bits.all(|(_, &bits)| bits == 0)
    }

    /// Where bytes are with flaky bits.
    pub fn unsettled(&self) -> Vec<u32> {
        let bits = self.flaky.bits.iter();
        let unsettled = bits.filter(|(_, bits)| **bits != 0);
        unsettled.map(|(&at, _)| at).collect()
    }

    /// Repeats a [recorded](Flash::record) operation.
    ///
    /// # Errors
    ///
    /// [`FlashError::NoPower`] and [`FlashError::File`].
    ///
    /// # Panics
    ///
    /// If the operation reaches beyond this flash.
    pub fn repeat(&mut self, operation: &Operation) -> Result<(), FlashError> {
        if !self.has_power {
            return Err(FlashError::NoPower);
        }
        self.change(operation.clone())
    }

    /// Makes power fail in a future operation: that operation is torn, and from then on everything fails with
    /// [`FlashError::NoPower`] until [`restore_power`](Flash::restore_power).
    pub fn cut_power(&mut self, cut: PowerCut) {
        self.cut = Some(cut);
    }

    /// Whether there is power.
    pub fn has_power(&self) -> bool {
        self.has_power
    }

    /// Switches power on again. A cut that has not happened yet is cancelled.
    pub fn restore_power(&mut self) {
        self.cut = None;
        self.has_power = true;
    }

    /// The range of an access.
    fn range(&self, offset: u32, length: usize, unit: usize) -> Result<Range<usize>, FlashError> {
        if !self.has_power {
            return Err(FlashError::NoPower);
        }
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

    pub(crate) fn read_now(&mut self, offset: u32, into: &mut [u8]) -> Result<(), FlashError> {
        let range = self.range(offset, into.len(), WORD)?;
        self.note_read(range.clone());
        let Some(cipher) = self.cipher else {
            into.copy_from_slice(&self.bytes[range]);
            self.flaky.disturb(offset, into);
            return Ok(());
        };
        let blocks = range.start - range.start % BLOCK..range.end.next_multiple_of(BLOCK);
        let mut read = self.bytes[blocks.clone()].to_vec();
        self.flaky.disturb(blocks.start as u32, &mut read);
        let (chunks, _) = read.as_chunks_mut::<BLOCK>();
        for (block, at) in chunks
            .iter_mut()
            .zip((blocks.start as u32..).step_by(BLOCK))
        {
            cipher.decrypt(at, block);
        }
        into.copy_from_slice(&read[range.start - blocks.start..][..into.len()]);
        Ok(())
    }

    pub(crate) fn program_now(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let unit = if self.cipher.is_some() { BLOCK } else { WORD };
        let range = self.range(offset, bytes.len(), unit)?;
        self.note_read(range.clone());
        let dirty = (offset..)
            .zip(&self.bytes[range])
            .position(|(at, &byte)| byte | self.flaky.bits(at) != 0xff);
        if let Some(dirty) = dirty
            && !self.rewrites
        {
            return Err(FlashError::NotErased {
                offset: offset + dirty as u32,
            });
        }
        let mut bytes = bytes.to_vec();
        if let Some(cipher) = self.cipher {
            encrypt(cipher, offset, &mut bytes);
        }
        self.change(Operation::Program { at: offset, bytes })
    }

    pub(crate) fn erase_now(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let length = to.checked_sub(from).ok_or(FlashError::OutOfBounds)? as usize;
        self.range(from, length, SECTOR)?;
        self.change(Operation::Erase { from, to })
    }

    /// Performs an operation, or as much of it as power lasts for.
    fn change(&mut self, operation: Operation) -> Result<(), FlashError> {
        let range = operation.range();
        let place = range.start as usize..range.end as usize;
        match (&operation, &mut self.reads) {
            (Operation::Erase { .. }, Some(reads)) => reads.erased(place),
            // What is left of the old bits shows.
            (Operation::Program { .. }, _) => self.note_read(place),
            (Operation::Erase { .. }, None) => {}
        }
        let power_fails = match &mut self.cut {
            Some(cut) if cut.operation == 0 => Some(*cut),
            Some(cut) => {
                cut.operation -= 1;
                None
            }
            None => None,
        };
        if let Some(PowerCut { tear, flaky, .. }) = power_fails {
            let unsettled = flaky.then(|| operation.unsettled(&self.bytes, tear));
            operation.tear(&mut self.bytes, tear);
            self.flaky.settle(&operation, tear.reached);
            self.flaky.add(unsettled.unwrap_or_default());
            self.cut = None;
            self.has_power = false;
            self.keep(range)?;
            return Err(FlashError::NoPower);
        }
        operation.apply(&mut self.bytes);
        self.flaky.settle(&operation, operation.length());
        self.wear.count(&operation);
        if let Some(record) = &mut self.record {
            record.push(operation);
        }
        self.keep(range)
    }

    /// Writes a changed range to the file.
    fn keep(&mut self, range: Range<u32>) -> Result<(), FlashError> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(range.start.into()))
            .map_err(FlashError::File)?;
        file.write_all(&self.bytes[range.start as usize..range.end as usize])
            .map_err(FlashError::File)
    }
}

/// Encrypts whole blocks in place.
fn encrypt(cipher: Cipher, at: u32, bytes: &mut [u8]) {
    let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
    for (block, at) in blocks.iter_mut().zip((at..).step_by(BLOCK)) {
        cipher.encrypt(at, block);
    }
}

/// Bits that are between two values, and read as either.
#[derive(Debug)]
struct Flaky {
    bits: BTreeMap<u32, u8>,
    noise: Noise,
}

impl Default for Flaky {
    fn default() -> Self {
        Self {
            bits: BTreeMap::new(),
            noise: Noise::new(0),
        }
    }
}

impl Flaky {
    fn add(&mut self, bits: Vec<(u32, u8)>) {
        self.bits.extend(bits);
    }

    /// The unsettled bits of a byte.
    fn bits(&self, at: u32) -> u8 {
        self.bits.get(&at).copied().unwrap_or(0)
    }

    /// Flips a coin for each unsettled bit that is read.
    fn disturb(&mut self, offset: u32, read: &mut [u8]) {
        let end = offset + read.len() as u32;
        for (&at, &bits) in self.bits.range(offset..end) {
            read[(at - offset) as usize] ^= bits & self.noise.byte();
        }
    }

    /// An operation settles the bits it changes: an erase settles all of them, a program those that it clears.
    fn settle(&mut self, operation: &Operation, reached: u32) {
        let start = operation.range().start;
        match operation {
            Operation::Erase { .. } => {
                self.bits
                    .retain(|&at, _| !(start..start + reached).contains(&at));
            }
            Operation::Program { bytes, .. } => {
                for (at, byte) in (start..start + reached).zip(bytes) {
                    self.bits.entry(at).and_modify(|bits| *bits &= byte);
                }
            }
        }
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

/// A flash that is written in larger units: 16 bytes with flash encryption, 32 on the original ESP32.
#[derive(Debug)]
pub struct InUnits<'f, const UNIT: usize>(pub &'f mut Flash);

impl<const UNIT: usize> ErrorType for InUnits<'_, UNIT> {
    type Error = FlashError;
}

impl<const UNIT: usize> ReadNorFlash for InUnits<'_, UNIT> {
    const READ_SIZE: usize = WORD;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.0.read_now(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.bytes.len()
    }
}

impl<const UNIT: usize> NorFlash for InUnits<'_, UNIT> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.0.erase_now(from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        if !(offset as usize).is_multiple_of(UNIT) || !bytes.len().is_multiple_of(UNIT) {
            return Err(FlashError::NotAligned);
        }
        self.0.program_now(offset, bytes)
    }
}

#[cfg(test)]
mod tests;
