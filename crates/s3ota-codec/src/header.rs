//! The first bytes of an artefact: what it is made from, and what it makes.

use crate::Refused;
use crate::blocks::MAX_SIZE;

/// What an artefact begins with.
pub const MAGIC: [u8; 4] = *b"s3od";

/// The version of the format that this crate writes and reads.
pub const VERSION: u8 = 1;

/// The most sections of an artefact.
pub const MAX_SECTIONS: usize = 64;

/// Bytes of the header without the list of sections.
const FIXED: usize = 80;

/// Bytes of a section in the list.
const ENTRY: usize = 8;

/// The longest header.
pub const MAX_HEADER: usize = FIXED + ENTRY * (MAX_SECTIONS - 1);

/// Where a section begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Section {
    /// Its first byte in the result.
    pub result: u32,
    /// Its first byte in the artefact.
    pub artefact: u32,
}

/// What an artefact says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the image that the artefact is applied to; 0 if it needs none.
    pub base_size: u32,
    /// SHA-256 of that image.
    pub base: [u8; 32],
    /// Bytes of the image that it makes.
    pub result_size: u32,
    /// SHA-256 of that image.
    pub result: [u8; 32],
    sections: [Section; MAX_SECTIONS],
    count: usize,
}

impl Header {
    /// A header with one section.
    #[cfg(feature = "encode")]
    pub(crate) fn new(
        base_size: u32,
        base: [u8; 32],
        result_size: u32,
        result: [u8; 32],
    ) -> Header {
        let mut header = Header {
            base_size,
            base,
            result_size,
            result,
            sections: [Section::default(); MAX_SECTIONS],
            count: 1,
        };
        header.place();
        header
    }

    /// Adds a section. False if there are too many.
    #[cfg(feature = "encode")]
    pub(crate) fn add(&mut self, section: Section) -> bool {
        let Some(place) = self.sections.get_mut(self.count) else {
            return false;
        };
        *place = section;
        self.count += 1;
        self.place();
        true
    }

    fn place(&mut self) {
        self.sections[0] = Section {
            result: 0,
            artefact: Header::length(self.count) as u32,
        };
    }

    /// Where the sections begin. The first one is behind the header.
    pub fn sections(&self) -> &[Section] {
        self.sections.get(..self.count).unwrap_or(&[])
    }

    /// The section that holds this byte of the result, and its number.
    pub(crate) fn section_of(&self, at: u32) -> (usize, Section) {
        let behind = self
            .sections()
            .partition_point(|section| section.result <= at);
        let number = behind.saturating_sub(1);
        (number, self.sections[number % MAX_SECTIONS])
    }

    /// Bytes of a header for so many sections.
    pub(crate) fn length(sections: usize) -> usize {
        FIXED + ENTRY * sections.saturating_sub(1)
    }

    /// How many bytes the header has that begins so, as soon as that can be said.
    ///
    /// # Errors
    ///
    /// If these are not the first bytes of an artefact, or of one that this version cannot read.
    pub fn length_of(bytes: &[u8]) -> Result<Option<usize>, Refused> {
        let known = bytes.len().min(MAGIC.len());
        if bytes.get(..known) != MAGIC.get(..known) {
            return Err(Refused::NotAnArtefact);
        }
        match (bytes.get(4), bytes.get(5)) {
            (Some(version), _) if *version != VERSION => Err(Refused::Version(*version)),
            (_, Some(0)) => Err(Refused::Header),
            (_, Some(count)) if usize::from(*count) > MAX_SECTIONS => Err(Refused::Header),
            (_, Some(count)) => Ok(Some(Header::length(usize::from(*count)))),
            _ => Ok(None),
        }
    }

    /// Reads a header from an artefact's first bytes.
    ///
    /// # Errors
    ///
    /// If these are not the first bytes of an artefact, if they end in the middle, or contradict themselves.
    pub fn parse(bytes: &[u8]) -> Result<Header, Refused> {
        let length = Header::length_of(bytes)?.ok_or(Refused::Truncated)?;
        let bytes = bytes.get(..length).ok_or(Refused::Truncated)?;
        let number = |at: usize| crate::isa::word(bytes.get(at..at + 4).unwrap_or(&[]));
        let digest = |at: usize| {
            let mut digest = [0; 32];
            for (to, from) in digest.iter_mut().zip(bytes.get(at..).unwrap_or(&[])) {
                *to = *from;
            }
            digest
        };
        let mut header = Header {
            base_size: number(8),
            base: digest(12),
            result_size: number(44),
            result: digest(48),
            sections: [Section::default(); MAX_SECTIONS],
            count: usize::from(bytes.get(5).copied().unwrap_or(1)),
        };
        header.place();
        let mut before = header.sections[0];
        for i in 1..header.count {
            let at = Header::length(i);
            let section = Section {
                result: number(at),
                artefact: number(at + 4),
            };
            let behind = section.result > before.result && section.artefact > before.artefact;
            if !behind || section.result >= header.result_size {
                return Err(Refused::Header);
            }
            if let Some(place) = header.sections.get_mut(i) {
                *place = section;
            }
            before = section;
        }
        let reserved = bytes.get(6..8) == Some(&[0, 0]);
        if !reserved || header.base_size > MAX_SIZE || header.result_size > MAX_SIZE {
            return Err(Refused::Header);
        }
        Ok(header)
    }

    /// The header's bytes.
    #[cfg(feature = "encode")]
    pub(crate) fn emit(&self) -> alloc::vec::Vec<u8> {
        let mut bytes = alloc::vec::Vec::from(MAGIC);
        bytes.extend([VERSION, self.count as u8, 0, 0]);
        bytes.extend(self.base_size.to_le_bytes());
        bytes.extend(self.base);
        bytes.extend(self.result_size.to_le_bytes());
        bytes.extend(self.result);
        for section in self.sections().iter().skip(1) {
            bytes.extend(section.result.to_le_bytes());
            bytes.extend(section.artefact.to_le_bytes());
        }
        bytes
    }
}
