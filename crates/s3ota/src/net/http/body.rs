//! The body of a response, read up to its end and not a byte further.

use embedded_io_async::Read;

use super::{Framing, Head};
use crate::error::{Error, HttpError};

/// A chunk-size line, with extensions nobody uses, is at most this long.
const MAX_CHUNK_LINE: usize = 64;

/// The body of one response, in the framing its head announced.
///
/// `read` returns 0 only at the body's true end: everything else that stops it is an error.
pub struct Body<'s, IO> {
    io: &'s mut IO,
    state: State,
    received: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of the body, or of this chunk, are still to come.
    Data { left: u64, chunked: bool },
    /// In a line between two chunks, or behind the last one.
    Line(Line),
    /// Everything up to the end of the connection is body.
    UntilClose,
    /// Nothing more.
    End,
}

/// What was read of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    kind: Kind,
    /// Bytes of it.
    length: usize,
    /// The last one was a CR.
    is_at_end: bool,
    /// Of a chunk's size: its digits so far, and what they say.
    digits: u8,
    size: u32,
    /// Of a chunk's size: no digit may follow; and nothing that follows matters.
    is_over: bool,
    is_extension: bool,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A chunk's size.
    Size,
    /// The end of a chunk: empty.
    End,
    /// A trailer field, or the empty line at the end of all. So many more lines may follow.
    Trailer { more: u8 },
}

impl Line {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            length: 0,
            is_at_end: false,
            digits: 0,
            size: 0,
            is_over: false,
            is_extension: false,
        }
    }

    /// Takes its next byte. What follows the line, if it ends with that. An error as soon as no more bytes could make it a
    /// valid line, so that a connection that ends there is not taken for an incomplete body.
    fn take(&mut self, byte: u8) -> Result<Option<State>, HttpError> {
        if byte == b'\n' {
            return self.next().map(Some).ok_or(HttpError::Framing);
        }
        self.length = self.length.saturating_add(1);
        self.is_at_end = byte == b'\r';
        let is_sound = match self.kind {
            Kind::Size => self.take_of_size(byte),
            Kind::End => self.is_at_end && self.length == 1,
            // Read and ignored.
            Kind::Trailer { .. } => true,
        };
        if is_sound && self.length <= MAX_CHUNK_LINE {
            Ok(None)
        } else {
            Err(HttpError::Framing)
        }
    }

    fn take_of_size(&mut self, byte: u8) -> bool {
        match (char::from(byte).to_digit(16), byte) {
            _ if self.is_extension => {}
            (_, b';') if self.digits > 0 => self.is_extension = true,
            // At most 8 digits: 4 GiB, more than any flash.
            (Some(digit), _) if !self.is_over && self.digits < 8 => {
                self.digits = self.digits.saturating_add(1);
                self.size = self.size << 4 | digit;
            }
            _ if byte.is_ascii_whitespace() => self.is_over = self.digits > 0,
            _ => return false,
        }
        true
    }

    /// What follows the line, which ends here.
    fn next(&self) -> Option<State> {
        if !self.is_at_end {
            return None;
        }
        let is_empty = self.length == 1;
        Some(match self.kind {
            Kind::Size if self.digits == 0 => return None,
            // A few lines are plenty.
            Kind::Size if self.size == 0 => State::Line(Line::new(Kind::Trailer { more: 15 })),
            Kind::Size => State::Data {
                left: self.size.into(),
                chunked: true,
            },
            Kind::End => State::Line(Line::new(Kind::Size)),
            Kind::Trailer { .. } if is_empty => State::End,
            Kind::Trailer { more } => {
                let more = more.checked_sub(1)?;
                State::Line(Line::new(Kind::Trailer { more }))
            }
        })
    }
}

impl<'s, IO> Body<'s, IO>
where
    IO: Read,
    Error: From<IO::Error>,
{
    /// The body that follows `head`: `io` gives it from its first byte on.
    pub fn new(io: &'s mut IO, head: &Head) -> Self {
        let state = match head.framing {
            Framing::Length(0) => State::End,
            Framing::Length(left) => State::Data {
                left,
                chunked: false,
            },
            Framing::Chunked => State::Line(Line::new(Kind::Size)),
            Framing::Close => State::UntilClose,
        };
        Self {
            io,
            state,
            received: 0,
        }
    }

    /// Reads some of the body into `buffer`, which must not be empty; 0 at its end.
    ///
    /// # Errors
    ///
    /// The connection's, and [`HttpError::Incomplete`] or [`HttpError::Framing`] for a body that does not end as announced.
    // It awaits in one place: each more would take as much memory again for a line.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let mut byte = [0];
            let room = match self.state {
                State::End => return Ok(0),
                State::Line(_) => &mut byte,
                State::UntilClose => &mut *buffer,
                State::Data { left, .. } => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let most = most.min(buffer.len());
                    buffer.get_mut(..most).unwrap_or_default()
                }
            };
            let n = self.io.read(room).await?;
            self.state = match self.state {
                State::UntilClose if n == 0 => State::End,
                _ if n == 0 => return Err(self.incomplete()),
                State::Line(mut line) => {
                    let [byte] = byte;
                    self.state = line.take(byte)?.unwrap_or(State::Line(line));
                    continue;
                }
                State::Data { left, chunked } => match (left.saturating_sub(n as u64), chunked) {
                    (0, false) => State::End,
                    (0, true) => State::Line(Line::new(Kind::End)),
                    (left, _) => State::Data { left, chunked },
                },
                state => state,
            };
            self.received = self.received.saturating_add(n as u64);
            return Ok(n);
        }
    }

    /// Reads the rest of the body if it is at most `most` bytes, so that the connection can be used again.
    pub(crate) async fn drain(&mut self, most: usize) -> Result<bool, Error> {
        let mut waste = [0; 64];
        let mut left = most;
        loop {
            match self.read(&mut waste).await? {
                0 => return Ok(true),
                n if n > left => return Ok(false),
                n => left -= n,
            }
        }
    }

    /// Whether the body was read to its end.
    pub(crate) fn at_end(&self) -> bool {
        self.state == State::End
    }

    fn incomplete(&self) -> Error {
        HttpError::Incomplete {
            received: self.received,
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::prelude::rust_2024::*;

    use super::super::MAX_HEAD;
    use super::*;
    use embassy_futures::block_on;
    use s3ota_tls::TlsError;

    /// A connection that delivers a text in pieces of a given size, then ends cleanly.
    struct Wire<'a>(&'a [u8], usize);

    impl embedded_io_async::ErrorType for Wire<'_> {
        type Error = TlsError;
    }

    impl Read for Wire<'_> {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
            let n = buffer.len().min(self.1).min(self.0.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn fetch(response: &str, pieces: usize) -> Result<String, Error> {
        block_on(async {
            let mut wire = Wire(response.as_bytes(), pieces);
            let mut buffer = [0; MAX_HEAD];
            let head = Head::read(&mut wire, &mut buffer).await?;
            // What came with the head comes again.
            let (start, end) = head.body;
            let read = response.len() - wire.0.len() - (end - start);
            wire.0 = &response.as_bytes()[read..];
            let mut body = Body::new(&mut wire, &head);
            let mut out = Vec::new();
            let mut part = [0; 7];
            loop {
                match body.read(&mut part).await? {
                    0 => return Ok(String::from_utf8(out).unwrap()),
                    n => out.extend_from_slice(&part[..n]),
                }
            }
        })
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                           5\r\nhello\r\n7;name=value\r\n, world\r\n0\r\nTrailer: x\r\n\r\n";

    #[test]
    fn every_framing_gives_the_same_body_however_it_is_cut() {
        for pieces in 1..80 {
            for response in [
                "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world and more",
                CHUNKED,
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello, world",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world",
            ] {
                assert_eq!(
                    fetch(response, pieces).unwrap(),
                    "hello, world",
                    "{response:?} by {pieces}"
                );
            }
        }
    }

    #[test]
    fn a_body_cut_short_is_incomplete() {
        let cut = fetch("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello", 100);
        assert!(matches!(
            cut,
            Err(Error::Http(HttpError::Incomplete { received: 5 }))
        ));
        let start = CHUNKED.find("5\r\nhello").unwrap();
        for end in start..CHUNKED.len() {
            assert!(
                matches!(
                    fetch(&CHUNKED[..end], 100),
                    Err(Error::Http(HttpError::Incomplete { .. }))
                ),
                "{end}"
            );
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for chunks in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "123456789\r\n",
            "5\nhello",
            "5\r\nhelloX\r\n0\r\n\r\n",
            // Invalid already where the connection ends.
            "x",
            ";",
            "5\r\nhelloX",
            "5\r\nhello\r\r",
        ] {
            let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
            assert!(
                matches!(fetch(&response, 100), Err(Error::Http(HttpError::Framing))),
                "{chunks:?}"
            );
        }
    }

    #[test]
    fn a_head_that_never_ends_is_refused() {
        let response = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD));
        assert!(matches!(
            fetch(&response, 100),
            Err(Error::Http(HttpError::HeadTooLarge))
        ));
    }
}
