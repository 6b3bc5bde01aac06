//! A connection whose peer has sent everything it will send.

use embedded_io_async::{ErrorType, Read, Write};
use s3ota_tls::TlsError;

use crate::input::Pieces;

/// Delivers bytes in pieces, then ends cleanly. It keeps what is written to it.
#[derive(Debug, Clone)]
pub struct Wire<'a> {
    bytes: &'a [u8],
    pieces: Pieces,
    delivered: usize,
    written: Vec<u8>,
}

impl<'a> Wire<'a> {
    /// A connection that delivers `bytes`.
    pub fn new(bytes: &'a [u8], pieces: Pieces) -> Self {
        Self {
            bytes,
            pieces,
            delivered: 0,
            written: Vec::new(),
        }
    }

    /// How many bytes were read from it.
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    /// What was written to it.
    pub fn written(&self) -> &[u8] {
        &self.written
    }
}

impl ErrorType for Wire<'_> {
    type Error = TlsError;
}

impl Read for Wire<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        assert!(!buffer.is_empty(), "a read for nothing looks like the end");
        let left = &self.bytes[self.delivered..];
        let n = left.len().min(buffer.len()).min(self.pieces.next_size());
        buffer[..n].copy_from_slice(&left[..n]);
        self.delivered += n;
        Ok(n)
    }
}

impl Write for Wire<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        self.written.extend(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), TlsError> {
        Ok(())
    }
}
