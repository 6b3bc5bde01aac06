//! The client's end of the tests: a blocking socket as an async transport, and one request.

#![allow(dead_code)]

pub mod chain;
pub mod openssl;

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use embassy_futures::block_on;
use embedded_io_async::{ErrorType, Read, Write};
use s3ota_tls::rand_core::OsRng;
use s3ota_tls::{Buffers, CertTime, Roots, TlsError, connect};

/// 2030-06-01, the date in the tests.
pub const NOW: u64 = 1_906_502_400;

/// A blocking socket: `block_on` is all the runtime these tests need.
pub struct Socket(TcpStream);

impl Socket {
    pub fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("a listening server");
        let wait = Some(Duration::from_secs(10));
        socket.set_read_timeout(wait).expect("a socket");
        socket.set_write_timeout(wait).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        Self(socket)
    }
}

impl ErrorType for Socket {
    type Error = io::Error;
}

impl Read for Socket {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.0, buf)
    }
}

impl Write for Socket {
    async fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.0, buf)
    }

    async fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut self.0)
    }
}

/// Connects, sends a request, and reads until the server closes.
pub fn fetch(
    port: u16,
    host: &str,
    roots: &Roots<'_>,
    time: CertTime,
) -> Result<Vec<u8>, TlsError> {
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let socket = Socket::connect(port);
        let mut stream = connect(socket, host, roots, time, &mut OsRng, &mut buffers).await?;
        let answer = exchange(&mut stream).await;
        if let Err(error) = answer {
            // Whatever it failed with, it stays failed.
            assert_eq!(stream.read(&mut [0; 16]).await, Err(error));
            assert_eq!(stream.write(b"more").await, Err(error));
            assert_eq!(stream.flush().await, Err(error));
            assert!(stream.close().await.is_err());
        } else {
            assert_eq!(stream.read(&mut [0; 16]).await, Ok(0));
            assert_eq!(stream.write(b"more").await, Err(TlsError::Closed));
            assert!(stream.close().await.is_ok());
        }
        answer
    })
}

async fn exchange(stream: &mut (impl Read<Error = TlsError> + Write)) -> Result<Vec<u8>, TlsError> {
    stream
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("a request");
    stream.flush().await.expect("a request");
    let mut answer = Vec::new();
    let mut buf = [0; 3000];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(answer),
            count => answer.extend(&buf[..count]),
        }
    }
}
