//! A file, or a part of it, as the body of a response.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Frame, SizeHint};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes to read from disk at a time.
const CHUNK: usize = 64 * 1024;

/// The next `remaining` bytes of a file.
pub(crate) struct FileBody {
    file: tokio::fs::File,
    remaining: u64,
    buffer: Vec<u8>,
}

impl FileBody {
    /// `length` bytes of `file` from `start`.
    pub(crate) fn new(mut file: File, start: u64, length: u64) -> io::Result<FileBody> {
        file.seek(SeekFrom::Start(start))?;
        Ok(FileBody {
            file: tokio::fs::File::from_std(file),
            remaining: length,
            buffer: vec![0; CHUNK],
        })
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let wanted =
            usize::try_from(this.remaining).map_or(CHUNK, |remaining| remaining.min(CHUNK));
        if wanted == 0 {
            return Poll::Ready(None);
        }
        let mut buffer = ReadBuf::new(&mut this.buffer[..wanted]);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer))?;
        let filled = buffer.filled();
        if filled.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.remaining -= filled.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(filled)))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
