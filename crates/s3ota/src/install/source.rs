//! Where the bytes of an artefact come from, and how many of them there may be.
//!
//! An *artefact* is what is fetched; an *image* is what is written. They are the same bytes until a
//! [decoder](crate::install::decode) says otherwise.

use embedded_io_async::{Error as _, ErrorKind, Read, Seek, SeekFrom};

use crate::device::Clock;
use crate::error::{Error, FirmwareError};
use crate::net::http::{Body, Framing, Head};
use crate::net::link::{Deadline, Link};

/// Gives the bytes of an artefact, one after the other.
pub(crate) trait Source {
    /// Reads some bytes into `buffer`, which must not be empty; 0 at the end of the artefact.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error>;
}

/// What a server says before the first byte of an artefact.
pub(crate) struct Opened<'h> {
    /// The byte of the artefact that comes first.
    pub(crate) from: u32,
    /// Bytes of the whole artefact, where the server knows.
    pub(crate) length: Option<u64>,
    /// The artefact's entity tag.
    pub(crate) etag: Option<&'h str>,
}

impl<'h> Opened<'h> {
    /// What the head of an answer says: 200 is all of the artefact, 206 its end.
    pub(crate) fn of(head: &'h Head) -> Self {
        let (from, length) = match (head.content_range, head.framing) {
            (Some(range), _) if head.status == 206 => {
                (range.first, Some(range.last.saturating_add(1)))
            }
            (_, Framing::Length(length)) => (0, Some(length)),
            (_, Framing::Chunked | Framing::Close) => (0, None),
        };
        Self {
            // A part is what was asked for, so it begins at 32 bits.
            from: u32::try_from(from).unwrap_or(0),
            length,
            etag: head.etag.as_deref(),
        }
    }
}

impl<IO> Source for Body<'_, IO>
where
    IO: Read,
    Error: From<IO::Error>,
{
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        Body::read(self, buffer).await
    }
}

/// Opens a source that the application has at byte `from`; at its start if it cannot seek. It keeps to `deadline`.
pub(crate) async fn open<'c, S: Read + Seek, C: Clock>(
    source: S,
    from: u32,
    deadline: Deadline<'c, C>,
) -> Result<(Opened<'static>, impl Source + use<'c, S, C>), Error> {
    let mut given = Given(Link::new(source, deadline));
    let mut opened = Opened {
        from,
        length: None,
        etag: None,
    };
    if from > 0 {
        match given.0.seek(SeekFrom::Start(from.into())).await {
            Ok(at) if at == u64::from(from) => {}
            Ok(_) => return Err(Error::Source(ErrorKind::InvalidInput)),
            Err(error) if error.kind() == ErrorKind::Unsupported => opened.from = 0,
            Err(error) => return Err(Error::Source(error.kind())),
        }
    }
    Ok((opened, given))
}

/// A source that the application has.
struct Given<S>(S);

impl<S: Read> Source for Given<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = self.0.read(buffer).await;
        read.map_err(|error| Error::Source(error.kind()))
    }
}

/// How large an image may be. The one place that holds a source to it.
pub(crate) struct Limits {
    /// Bytes of the image, where the manifest or the server says.
    pub(crate) exact: Option<u32>,
    /// Bytes of the slot.
    pub(crate) slot: u32,
}

impl Limits {
    /// Holds what a server announces against what the image may have, before anything is erased. From then on the image has
    /// that size.
    pub(crate) fn announce(&mut self, length: u64) -> Result<(), FirmwareError> {
        self.check(length)?;
        if let Some(expected) = self.exact
            && u64::from(expected) != length
        {
            return Err(FirmwareError::Size {
                expected,
                found: length,
            });
        }
        self.exact = u32::try_from(length).ok();
        Ok(())
    }

    /// Holds the bytes that have arrived against what the image may have.
    pub(crate) fn check(&self, arrived: u64) -> Result<(), FirmwareError> {
        if let Some(expected) = self.exact
            && arrived > u64::from(expected)
        {
            return Err(FirmwareError::Size {
                expected,
                found: arrived,
            });
        }
        if arrived > u64::from(self.slot) {
            return Err(FirmwareError::TooLarge {
                size: arrived,
                slot: self.slot,
            });
        }
        Ok(())
    }
}
