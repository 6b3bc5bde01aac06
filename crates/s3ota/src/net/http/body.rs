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
    /// The next thing is a chunk's size line; before all but the first there is the CRLF of the last.
    ChunkSize { first: bool },
    /// Everything up to the end of the connection is body.
    UntilClose,
    /// Nothing more.
    End,
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
            Framing::Chunked => State::ChunkSize { first: true },
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
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.state {
                State::End => return Ok(0),
                State::ChunkSize { first } => self.next_chunk(first).await?,
                State::UntilClose => {
                    let n = self.io.read(buffer).await?;
                    self.received = self.received.saturating_add(n as u64);
                    if n == 0 {
                        self.state = State::End;
                    }
                    return Ok(n);
                }
                State::Data { left, chunked } => {
                    let most = usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    let room = buffer.get_mut(..most).unwrap_or_default();
                    let n = self.io.read(room).await?;
                    if n == 0 {
                        return Err(self.incomplete());
                    }
                    self.received = self.received.saturating_add(n as u64);
                    let left = left.saturating_sub(n as u64);
                    self.state = match (left, chunked) {
                        (0, false) => State::End,
                        (0, true) => State::ChunkSize { first: false },
                        _ => State::Data { left, chunked },
                    };
                    return Ok(n);
                }
            }
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

    async fn next_chunk(&mut self, first: bool) -> Result<(), Error> {
        if !first && !self.line(&mut [0; MAX_CHUNK_LINE]).await?.is_empty() {
            return Err(HttpError::Framing.into());
        }
        let mut line = [0; MAX_CHUNK_LINE];
        let line = self.line(&mut line).await?;
        let digits = line
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        // At most 8 digits: 4 GiB, more than any flash.
        if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(HttpError::Framing.into());
        }
        let size = digits.iter().fold(0u64, |n, &b| {
            n * 16 + u64::from(char::from(b).to_digit(16).unwrap_or(0))
        });
        if size > 0 {
            self.state = State::Data {
                left: size,
                chunked: true,
            };
            return Ok(());
        }
        // Trailer fields are read and ignored; a few lines are plenty.
        for _ in 0..16 {
            if self.line(&mut [0; MAX_CHUNK_LINE]).await?.is_empty() {
                self.state = State::End;
                return Ok(());
            }
        }
        Err(HttpError::Framing.into())
    }

    /// Reads a line into `buffer` and returns it without its CRLF.
    async fn line<'l>(&mut self, buffer: &'l mut [u8; MAX_CHUNK_LINE]) -> Result<&'l [u8], Error> {
        let mut length = 0;
        loop {
            let mut byte = [0];
            if self.io.read(&mut byte).await? == 0 {
                return Err(self.incomplete());
            }
            let [byte] = byte;
            if byte == b'\n' {
                let line = buffer.get(..length).unwrap_or_default();
                return line.strip_suffix(b"\r").ok_or(HttpError::Framing.into());
            }
            *buffer.get_mut(length).ok_or(HttpError::Framing)? = byte;
            length += 1;
        }
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
