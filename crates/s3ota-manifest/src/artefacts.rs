//! What makes the image in fewer bytes: deltas, and the compressed image (feature `delta`).
//!
//! They are an economy and no condition: what is wrong with one makes a device take the next, or the image itself. So what
//! cannot be read of these two fields is skipped, where a mistake in any other field makes the manifest invalid.

use crate::json::{Reader, Token};
use crate::{HttpsUrl, ManifestError, Sha256Digest, Version};

/// How many deltas of a manifest are read. Those behind them are skipped.
pub const MAX_DELTAS: usize = 8;

/// What is fetched to make the image of.
///
/// It is not signed, and need not be: the image that it makes has the `size` and the `sha256` that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Artefact<'a> {
    /// Where it lies, as for [`Manifest::url`](crate::Manifest::url).
    pub url: HttpsUrl<'a>,
    /// Its size in bytes, never 0.
    pub size: u32,
}

/// What makes the image of the one that a device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delta<'a> {
    /// The version of the image that it is applied to: its base.
    pub from: Version<'a>,
    /// The base's SHA-256. Another build of the same version has another one.
    pub base: Sha256Digest,
    /// The base's size in bytes, never 0.
    pub base_size: u32,
    /// The delta itself.
    pub artefact: Artefact<'a>,
}

/// The texts of an entry, empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Entry<'a> {
    from: &'a str,
    base: &'a str,
    base_size: &'a str,
    url: &'a str,
    size: &'a str,
}

/// The entries of a manifest, as they stand there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Artefacts<'a> {
    deltas: [Entry<'a>; MAX_DELTAS],
    count: usize,
    compressed: Entry<'a>,
}

impl<'a> Artefacts<'a> {
    /// The deltas that can be read, in their order.
    pub(crate) fn deltas(&self) -> impl Iterator<Item = Delta<'a>> + use<'a> {
        let entries = self.deltas.into_iter().take(self.count);
        entries.filter_map(|entry| {
            Some(Delta {
                from: Version::parse(entry.from).ok()?,
                base: entry.base.parse().ok()?,
                base_size: bytes(entry.base_size)?,
                artefact: entry.artefact()?,
            })
        })
    }

    /// The compressed image, if it can be read.
    pub(crate) fn compressed(&self) -> Option<Artefact<'a>> {
        self.compressed.artefact()
    }

    /// Reads the value of `deltas`.
    pub(crate) fn read_deltas(&mut self, reader: &mut Reader<'a>) -> Result<(), ManifestError> {
        let first = reader.next()?;
        if first != Token::ArrayStart {
            return reader.skip_rest(first);
        }
        loop {
            let element = reader.next()?;
            if element == Token::ArrayEnd {
                return Ok(());
            }
            let entry = Entry::read(element, reader)?;
            if let Some(place) = self.deltas.get_mut(self.count) {
                *place = entry;
                self.count += 1;
            }
        }
    }

    /// Reads the value of `compressed`.
    pub(crate) fn read_compressed(&mut self, reader: &mut Reader<'a>) -> Result<(), ManifestError> {
        let first = reader.next()?;
        self.compressed = Entry::read(first, reader)?;
        Ok(())
    }
}

impl<'a> Entry<'a> {
    /// Reads an entry that begins with this token. It is empty if it is no object, or has a member twice.
    fn read(first: Token<'a>, reader: &mut Reader<'a>) -> Result<Self, ManifestError> {
        let mut entry = Self::default();
        if first != Token::ObjectStart {
            reader.skip_rest(first)?;
            return Ok(entry);
        }
        let mut twice = false;
        while let Token::Key(key) = reader.next()? {
            let value = reader.next()?;
            reader.skip_rest(value)?;
            let (slot, text) = match (key, value) {
                ("from", Token::String(text)) => (&mut entry.from, text),
                ("base_sha256", Token::String(text)) => (&mut entry.base, text),
                ("base_size", Token::Number(text)) => (&mut entry.base_size, text),
                ("url", Token::String(text)) => (&mut entry.url, text),
                ("size", Token::Number(text)) => (&mut entry.size, text),
                _ => continue,
            };
            twice |= !slot.is_empty();
            *slot = text;
        }
        Ok(if twice { Self::default() } else { entry })
    }

    fn artefact(&self) -> Option<Artefact<'a>> {
        Some(Artefact {
            url: HttpsUrl::parse(self.url).ok()?,
            size: bytes(self.size)?,
        })
    }
}

/// A number of bytes, not 0.
fn bytes(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&bytes| bytes > 0)
}
