//! An append-only log of 32-byte entries in erased flash.
//!
//! ```text
//! 0   kind      4 bytes of ASCII
//! 4   value    24 bytes, filled up with 0xFF
//! 28  check     4 bytes: the first of the SHA-256 of the 28 before
//! ```
//!
//! An entry is one program operation of flash and needs no erase. One that was torn by a power cut fails its check and
//! is passed over.

use embedded_storage_async::nor_flash::NorFlash;
use sha2::{Digest, Sha256};

use crate::bytes;
use crate::error::FlashFault;
use crate::flash::access as flash;

/// The length of an entry, in bytes: flash encryption writes in units of 16 or 32.
pub(crate) const ENTRY_LEN: usize = 32;
const KIND_LEN: usize = 4;
const CHECK_LEN: usize = 4;

/// Bytes of a value.
pub(crate) const VALUE_LEN: usize = ENTRY_LEN - KIND_LEN - CHECK_LEN;

/// What an entry is.
pub(crate) type Kind = u32;

/// What an entry says.
pub(crate) type Value = [u8; VALUE_LEN];

/// The kind with these letters: a number, because those are compared at once.
pub(crate) const fn kind(letters: &[u8; KIND_LEN]) -> Kind {
    Kind::from_le_bytes(*letters)
}

/// What lies in the place of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing was written here yet.
    Blank,
    /// Something that fails its check: written while the power failed.
    Torn,
    /// An entry.
    Whole(Kind, Value),
}

/// A log in a region of flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Log {
    start: u32,
    entries: u32,
}

/// Goes through the places of a log where something was written.
#[derive(Debug)]
pub(crate) struct Written {
    log: Log,
    /// The place behind the one that was read last.
    pub(crate) end: u32,
    /// What lies in that. Never [`Entry::Blank`].
    pub(crate) entry: Entry,
}

impl Written {
    /// Reads the next one. `false` if there is none.
    ///
    /// A blank place is no end: it may be torn so that it reads as blank now and then. Torn ones count where they can be told from
    /// erased flash.
    #[inline(never)]
    pub(crate) fn next<F: NorFlash>(&mut self, flash: &mut F) -> Result<bool, FlashFault> {
        while self.end < self.log.entries {
            self.entry = self.log.get(flash, self.end)?;
            self.end += 1;
            if match self.entry {
                Entry::Blank => false,
                Entry::Torn => shows_blank::<F>(),
                Entry::Whole(..) => true,
            } {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it reads the same each time.
    pub(crate) fn is_steady<F: NorFlash>(&self, flash: &mut F) -> Result<bool, FlashFault> {
        Ok(flash::read_steady(flash, self.log.at(self.end - 1))?.is_some())
    }
}

/// Whether erased flash shows as 0xFF.
///
/// Where flash is encrypted it does not, it is deciphered noise. Such a driver is known by its write unit: 16 or 32
/// bytes, the cipher's.
const fn shows_blank<F: NorFlash>() -> bool {
    F::WRITE_SIZE < 16
}

/// Whether these bytes of flash are known to be erased.
pub(crate) fn is_blank<F: NorFlash>(bytes: &[u8]) -> bool {
    shows_blank::<F>() && bytes.iter().all(|&byte| byte == 0xff)
}

/// A value that begins with these bytes.
#[inline(never)]
pub(crate) fn value(parts: &[&[u8]]) -> Value {
    let mut value = [0xff; VALUE_LEN];
    bytes::copy(parts, &mut value);
    value
}

impl Log {
    /// The log in the `length` bytes of flash from `start` on.
    pub(crate) const fn new(start: u32, length: u32) -> Self {
        let entries = length / ENTRY_LEN as u32;
        Self { start, entries }
    }

    /// The entry with this index.
    pub(crate) fn get<F: NorFlash>(self, flash: &mut F, index: u32) -> Result<Entry, FlashFault> {
        if index >= self.entries {
            return Ok(Entry::Torn);
        }
        let mut bytes = [0; ENTRY_LEN];
        flash::read(flash, self.at(index), &mut bytes)?;
        Ok(if is_blank::<F>(&bytes) {
            Entry::Blank
        } else {
            parse(&bytes).unwrap_or(Entry::Torn)
        })
    }

    /// Writes the entry with this index, if its place is blank. Whether it reads back as written, each time.
    pub(crate) fn put<F: NorFlash>(
        self,
        flash: &mut F,
        index: u32,
        kind: Kind,
        value: Value,
    ) -> Result<bool, FlashFault> {
        if index >= self.entries || shows_blank::<F>() && self.get(flash, index)? != Entry::Blank {
            return Ok(false);
        }
        let bytes = emit(kind, value);
        flash::write(flash, self.at(index), &bytes)?;
        // A place that was torn so that it read as blank may read as this entry now, and otherwise later.
        Ok(flash::read_steady(flash, self.at(index))? == Some(bytes))
    }

    /// This log without its last places, which are kept free.
    pub(crate) const fn without(self, places: u32) -> Self {
        let entries = self.entries.saturating_sub(places);
        Self { entries, ..self }
    }

    /// The index behind the last entry. Torn ones count where they can be told from erased flash.
    ///
    /// All places are read: one among the entries may be torn so that it reads as blank now and then, and what is written there
    /// would come before what is older.
    #[inline(never)]
    pub(crate) fn end<F: NorFlash>(self, flash: &mut F) -> Result<u32, FlashFault> {
        let mut end = 0;
        let mut written = self.written(0);
        while written.next(flash)? {
            end = written.end;
        }
        Ok(end)
    }

    /// How many entries there is room for.
    pub(crate) fn room<F: NorFlash>(self, flash: &mut F) -> Result<u32, FlashFault> {
        Ok(self.entries.saturating_sub(self.end(flash)?))
    }

    /// Appends an entry. `false` if there is no room for it.
    pub(crate) fn append<F: NorFlash>(
        self,
        flash: &mut F,
        kind: Kind,
        value: Value,
    ) -> Result<bool, FlashFault> {
        let end = self.end(flash)?;
        for index in end..self.entries {
            // A place that looked blank and does not take the entry was torn, or is worn: the next one.
            if self.put(flash, index, kind, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What was written, from this place on.
    pub(crate) const fn written(self, from: u32) -> Written {
        Written {
            log: self,
            end: from,
            entry: Entry::Blank,
        }
    }

    fn at(self, index: u32) -> u32 {
        self.start + index * ENTRY_LEN as u32
    }
}

fn check(kind: &[u8; KIND_LEN], value: &Value) -> [u8; CHECK_LEN] {
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update(value);
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

fn emit(kind: Kind, value: Value) -> [u8; ENTRY_LEN] {
    let kind = kind.to_le_bytes();
    let check = check(&kind, &value);
    let mut entry = [0; ENTRY_LEN];
    bytes::copy(&[&kind, &value, &check], &mut entry);
    entry
}

fn parse(bytes: &[u8; ENTRY_LEN]) -> Option<Entry> {
    let (kind, rest) = bytes.split_first_chunk::<KIND_LEN>()?;
    let (value, stored) = rest.split_first_chunk::<VALUE_LEN>()?;
    (stored == check(kind, value)).then_some(Entry::Whole(Kind::from_le_bytes(*kind), *value))
}
