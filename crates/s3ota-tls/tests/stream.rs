//! What a caller may rely on between `connect` and `close`.

mod support;

use std::cell::Cell;
use std::future::pending;
use std::pin::pin;

use embassy_futures::{block_on, poll_once};
use embedded_io_async::{BufRead, ErrorKind, ErrorType, Read, Write};
use rogue_server::{GREETING, Misbehaviour, RogueServer};
use s3ota_tls::rand_core::OsRng;
use s3ota_tls::{Buffers, CertTime, Roots, TlsError, TlsStream, connect};
use support::{NOW, Socket};

/// A socket that can be told to fail.
struct Flaky<'a> {
    socket: Socket,
    fault: &'a Cell<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Reads and writes wait for ever.
    Stalls,
    /// Reads and writes fail.
    Fails,
    /// Writes take nothing.
    TakesNothing,
}

impl ErrorType for Flaky<'_> {
    type Error = ErrorKind;
}

impl Flaky<'_> {
    async fn check(&self) -> Result<(), ErrorKind> {
        match self.fault.get() {
            Fault::Stalls => pending().await,
            Fault::Fails => Err(ErrorKind::TimedOut),
            _ => Ok(()),
        }
    }
}

impl Read for Flaky<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        self.check().await?;
        self.socket.read(buf).await.map_err(|e| e.kind().into())
    }
}

impl Write for Flaky<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.check().await?;
        if self.fault.get() == Fault::TakesNothing {
            return Ok(0);
        }
        self.socket.write(buf).await.map_err(|e| e.kind().into())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.check().await
    }
}

/// Opens a connection to a well-behaved server.
async fn open<'b, IO: Read + Write + 'b>(
    buffers: &'b mut Buffers,
    transport: impl FnOnce(Socket) -> IO,
) -> Result<TlsStream<'b, IO>, TlsError> {
    let server = RogueServer::spawn(Misbehaviour::None);
    let mut roots = Roots::empty();
    roots.add_der(server.ca_der()).unwrap();
    let io = transport(Socket::connect(server.port()));
    connect(
        io,
        "127.0.0.1",
        &roots,
        CertTime::Known(NOW),
        &mut OsRng,
        buffers,
    )
    .await
}

async fn request(stream: &mut impl Write<Error = TlsError>) {
    stream.write_all(b"request").await.unwrap();
    stream.flush().await.unwrap();
}

#[test]
fn the_same_buffers_serve_one_connection_after_another() {
    let mut buffers = Box::new(Buffers::new());
    for _ in 0..3 {
        block_on(async {
            let mut stream = open(&mut buffers, |socket| socket).await.unwrap();
            request(&mut stream).await;
            let mut answer = [0; GREETING.len()];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, GREETING);
        });
    }
}

#[test]
fn data_can_be_read_in_place() {
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let mut stream = open(&mut buffers, |socket| socket).await.unwrap();
        request(&mut stream).await;
        assert_eq!(stream.fill_buf().await, Ok(GREETING));
        stream.consume(9);
        assert_eq!(stream.fill_buf().await, Ok(&GREETING[9..]));
        stream.consume(GREETING.len() - 9);
        assert_eq!(stream.fill_buf().await, Ok(&[][..]));
        assert_eq!(stream.fill_buf().await, Ok(&[][..]));
    });
}

#[test]
fn more_than_a_record_can_be_written() {
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let mut stream = open(&mut buffers, |socket| socket).await.unwrap();
        stream.write_all(&[b'x'; 10_000]).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.fill_buf().await, Ok(GREETING));
    });
}

#[test]
fn a_read_that_was_dropped_ends_the_connection() {
    let fault = Cell::new(Fault::None);
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let flaky = |socket| Flaky {
            socket,
            fault: &fault,
        };
        let mut stream = open(&mut buffers, flaky).await.unwrap();
        request(&mut stream).await;
        fault.set(Fault::Stalls);
        let mut buf = [0; 100];
        assert!(poll_once(pin!(stream.read(&mut buf))).is_pending());

        fault.set(Fault::None);
        assert_eq!(stream.read(&mut buf).await, Err(TlsError::Interrupted));
        assert_eq!(stream.write(b"more").await, Err(TlsError::Interrupted));
        assert_eq!(stream.close().await.err(), Some(TlsError::Interrupted));
    });
}

#[test]
fn a_failing_transport_is_reported_with_its_own_reason() {
    let fault = Cell::new(Fault::None);
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let flaky = |socket| Flaky {
            socket,
            fault: &fault,
        };
        let mut stream = open(&mut buffers, flaky).await.unwrap();
        request(&mut stream).await;
        fault.set(Fault::Fails);
        let error = stream.read(&mut [0; 100]).await.unwrap_err();
        assert_eq!(error, TlsError::Io(ErrorKind::TimedOut));
        assert_eq!((error.code(), error.is_transient()), ("net.io", true));

        let error = open(&mut Buffers::new(), flaky).await.unwrap_err();
        assert_eq!(error, TlsError::Io(ErrorKind::TimedOut));
    });
}

#[test]
fn a_transport_that_takes_nothing_is_an_error_and_no_panic() {
    let fault = Cell::new(Fault::TakesNothing);
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let flaky = |socket| Flaky {
            socket,
            fault: &fault,
        };
        let error = open(&mut buffers, flaky).await.unwrap_err();
        assert_eq!(error, TlsError::Io(ErrorKind::WriteZero));
    });
}

#[test]
fn closing_gives_the_transport_back() {
    let mut buffers = Box::new(Buffers::new());
    block_on(async {
        let stream = open(&mut buffers, |socket| socket).await.unwrap();
        let _socket: Socket = stream.close().await.unwrap();
    });
}

#[test]
fn a_connection_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<TlsStream<'_, Socket>>();
    is_send::<Buffers>();
}

#[test]
fn buffers_can_be_static_and_have_the_promised_size() {
    static BUFFERS: std::sync::Mutex<Buffers> = std::sync::Mutex::new(Buffers::new());
    assert!(BUFFERS.try_lock().is_ok());
    // What it is read into and written from, and what the connection and its parts tell each other.
    let size = size_of::<Buffers>() - 16_401 - 448;
    assert!(size < 16, "{size}");
}

#[test]
fn connecting_takes_little_beside_the_buffers() {
    let server = RogueServer::spawn(Misbehaviour::None);
    let (roots, time, mut rng) = (Roots::empty(), CertTime::Known(NOW), OsRng);
    let mut buffers = Box::new(Buffers::new());
    let socket = Socket::connect(server.port());
    let future = connect(socket, "localhost", &roots, time, &mut rng, &mut buffers);
    let size = size_of_val(&future);
    assert!(size < 8 * 1024, "the future takes {size} bytes");
}
