//! Opening a connection, and reading and writing over it.

use core::fmt;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use embedded_io_async::{BufRead, ErrorType, Read, Write};
use embedded_tls::{
    CryptoProvider, CryptoRngCore, TlsConfig, TlsConnection, TlsContext, TlsError as Inner,
    TlsVerifier,
};
use rand_core::{CryptoRng, RngCore};
use rustls_pki_types::ServerName;

use crate::built_with;
use crate::error::{CertificateError, HandshakeError, RecordError, TlsError};
use crate::protection::Aes128GcmSha256;
use crate::record_filter::{Link, MAX_CIPHERTEXT, Phase, RecordFilter};
use crate::roots::Roots;
use crate::server_name;
use crate::verifier::{CLAIM, CertTime, Verifier};

/// Bytes to write from. A ClientHello fits with the longest host name, which has 253 (`a_name_of_253_bytes` in the tests of chains), and
/// most requests without a signature in their URL fit in one record.
const WRITE: usize = 448;

/// The memory of one connection: 16,401 bytes to read into, which is the longest record that TLS 1.3 allows with AES-GCM (S3 sends
/// full records, whatever a client asks for), and 448 bytes to write from.
///
/// It is too large for most stacks: keep it in a static.
pub struct Buffers {
    read: [u8; MAX_CIPHERTEXT as usize],
    write: [u8; WRITE],
    link: Link,
}

impl Buffers {
    /// Empty buffers.
    pub const fn new() -> Self {
        Self {
            read: [0; MAX_CIPHERTEXT as usize],
            write: [0; WRITE],
            link: Link::new(),
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// Opens a TLS 1.3 connection to `host` over `io`, and returns only once the server has proven its identity.
///
/// - `io` is already connected to the server. Pass `&mut io` to keep it.
/// - `host` is the URL's host: a DNS name or an IP address, without port.
/// - `roots` are the authorities to trust, and `time` is what is known about the time.
/// - `rng` must be a true random number generator; on an ESP32 the radio or the ADC must be on for that.
/// - `buffers` belong to the connection until it is dropped.
///
/// After a failure `io` is in the middle of a conversation: close it.
///
/// # Errors
/// [`TlsError::Certificate`] if the server is not the expected one, [`TlsError::Handshake`] and
/// [`TlsError::Record`] if it violates the protocol or does not support this client's subset of it,
/// [`TlsError::Io`] and [`TlsError::Truncated`] if the transport failed.
pub async fn connect<'b, IO, R>(
    io: IO,
    host: &str,
    roots: &Roots<'_>,
    time: CertTime,
    rng: &mut R,
    buffers: &'b mut Buffers,
) -> Result<TlsStream<'b, IO>, TlsError>
where
    IO: Read + Write + 'b,
    R: CryptoRng + RngCore,
{
    let (mut place, mut claim) = (None, [0; CLAIM]);
    let memory = (buffers, &mut claim);
    connect_in(&mut place, io, host, roots, time, rng, memory).await?;
    place.ok_or(TlsError::Interrupted)
}

/// [`connect`], for little memory: the connection, which is 1.4 KB large, is made in `place` and stays there. And what the server claims
/// in the handshake lies in memory that is free again when this returns.
///
/// What was in `place` before is dropped. After a failure it is empty.
///
/// # Errors
/// Those of [`connect`].
// No async function: that would keep the transport, which the connection has.
pub fn connect_in<'b, IO, R>(
    place: &mut Option<TlsStream<'b, IO>>,
    io: IO,
    host: &str,
    roots: &Roots<'_>,
    time: CertTime,
    rng: &mut R,
    (buffers, claim): (&'b mut Buffers, &mut [u8; CLAIM]),
) -> impl Future<Output = Result<(), TlsError>>
where
    IO: Read + Write + 'b,
    R: CryptoRng + RngCore,
{
    built_with::label();
    TlsStream::unopened(place, io, buffers);
    async move {
        let Some(stream) = place else {
            return Err(TlsError::Interrupted);
        };
        let opened = match server_name::parse(host) {
            Ok(name) => {
                let config = config(&name);
                let mut provider = Provider {
                    rng,
                    verifier: Verifier::new(roots.as_slice(), &name, time, claim),
                };
                let opened = {
                    let context = TlsContext::new(&config, &mut provider);
                    let mut opening = pin!(stream.connection.open(context));
                    poll_fn(|context| poll(opening.as_mut(), context)).await
                };
                outcome(opened, &provider.verifier, stream.link)
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(()) => {
                stream.link.enter(Phase::Application);
                stream.state = State::Open;
            }
            Err(_) => *place = None,
        }
        opened
    }
}

/// How a handshake has ended.
fn outcome(
    opened: Result<(), Inner>,
    verifier: &Verifier<'_>,
    link: &Link,
) -> Result<(), TlsError> {
    match opened {
        Err(error) => Err(match verifier.refusal() {
            Some(refusal) => TlsError::Certificate(refusal),
            None => handshake_error(error, link),
        }),
        // UPSTREAM(embedded-tls): message-order.md. It completes handshakes without a certificate, or without proof of its key:
        // this check is the only one.
        Ok(()) => verifier.outcome().map_err(TlsError::Certificate),
    }
}

/// In a function of its own: what it needs of the stack is free again when the handshake begins.
#[inline(never)]
fn config<'n>(name: &'n ServerName<'_>) -> TlsConfig<'n> {
    let mut config = TlsConfig::new();
    if cfg!(feature = "rsa") {
        config = config.enable_rsa_signatures();
    }
    if let Some(name) = server_name::indication(name) {
        config = config.with_server_name(name);
    }
    config
}

#[inline(never)]
fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    future.poll(context)
}

/// An open connection to a server that has proven its identity.
///
/// Reading returns `Ok(0)` only after the server's authenticated close_notify; a transport that ends without it is
/// [`TlsError::Truncated`]. After an error every further call fails with that error.
///
/// Reading and writing are not cancel-safe: a future that is dropped before it completes, for instance by a timeout,
/// may leave half a record behind. So every further call fails with [`TlsError::Interrupted`].
pub struct TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    connection: TlsConnection<'b, RecordFilter<'b, IO>, Aes128GcmSha256>,
    link: &'b Link,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// The server has sent close_notify.
    Closed,
    Failed(TlsError),
}

impl<'b, IO> TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    /// A connection before its handshake, in `place`. To anyone who finds it there, it is one that was interrupted.
    // In a function of its own: the connection is made on the stack before it moves to its place.
    #[inline(never)]
    fn unopened(place: &mut Option<Self>, io: IO, buffers: &'b mut Buffers) {
        let Buffers { read, write, link } = buffers;
        *link = Link::new();
        let link: &'b Link = link;
        *place = Some(Self {
            connection: TlsConnection::new(RecordFilter::new(io, link), read, write),
            link,
            state: State::Failed(TlsError::Interrupted),
        });
    }

    /// Sends what is still buffered and a close_notify, and returns the transport.
    ///
    /// If the server has closed first, or the connection has failed, nothing is sent.
    ///
    /// # Errors
    /// The transport's; or, if the connection had failed before, that error again.
    pub async fn close(self) -> Result<IO, TlsError> {
        if !matches!(self.state, State::Open) {
            self.link.enter(Phase::Over);
        }
        let closed = self.connection.close().await;
        match (self.state, closed) {
            (State::Failed(error), _) => Err(error),
            (State::Open, Err((_, error))) => Err(stream_error(error, self.link)),
            (_, Ok(filter) | Err((filter, _))) => Ok(filter.into_inner()),
        }
    }

    /// Call this before every await: if the future is dropped there, the state says so.
    fn begin(&mut self) {
        self.state = State::Failed(TlsError::Interrupted);
    }

    /// Settles the state after a call to embedded-tls.
    fn end<T>(&mut self, result: Result<T, Inner>) -> Result<T, TlsError> {
        settle(&mut self.state, self.link, result)
    }

    fn writable(&self) -> Result<(), TlsError> {
        match self.state {
            State::Open => Ok(()),
            State::Closed => Err(TlsError::Closed),
            State::Failed(error) => Err(error),
        }
    }
}

impl<'b, IO> ErrorType for TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    type Error = TlsError;
}

impl<'b, IO> Read for TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, TlsError> {
        match self.state {
            State::Open => {}
            State::Closed => return Ok(0),
            State::Failed(error) => return Err(error),
        }
        self.begin();
        self.link.begin_read();
        let result = self.connection.read(buf).await;
        match self.end(result) {
            Err(TlsError::Closed) => Ok(0),
            result => result,
        }
    }
}

impl<'b, IO> BufRead for TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    async fn fill_buf(&mut self) -> Result<&[u8], TlsError> {
        match self.state {
            State::Open => {}
            State::Closed => return Ok(&[]),
            State::Failed(error) => return Err(error),
        }
        self.begin();
        self.link.begin_read();
        let result = self.connection.fill_buf().await;
        match settle(&mut self.state, self.link, result) {
            Err(TlsError::Closed) => Ok(&[]),
            result => result,
        }
    }

    fn consume(&mut self, amount: usize) {
        self.connection.consume(amount);
    }
}

impl<'b, IO> Write for TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    async fn write(&mut self, buf: &[u8]) -> Result<usize, TlsError> {
        self.writable()?;
        if buf.is_empty() {
            return Ok(0);
        }
        self.begin();
        let result = self.connection.write(buf).await;
        self.end(result)
    }

    async fn flush(&mut self) -> Result<(), TlsError> {
        self.writable()?;
        self.begin();
        let result = self.connection.flush().await;
        self.end(result)
    }
}

impl<'b, IO> fmt::Debug for TlsStream<'b, IO>
where
    IO: Read + Write + 'b,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What embedded-tls asks for during the handshake.
struct Provider<'a, R> {
    rng: &'a mut R,
    verifier: Verifier<'a>,
}

impl<R: CryptoRng + RngCore> CryptoProvider for Provider<'_, R> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = &'static [u8];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut *self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, Inner> {
        Ok(&mut self.verifier)
    }
}

fn settle<T>(state: &mut State, link: &Link, result: Result<T, Inner>) -> Result<T, TlsError> {
    match result {
        Ok(value) => {
            *state = State::Open;
            Ok(value)
        }
        Err(Inner::ConnectionClosed) => {
            *state = State::Closed;
            Err(TlsError::Closed)
        }
        Err(error) => {
            let error = stream_error(error, link);
            *state = State::Failed(error);
            Err(error)
        }
    }
}

/// Why a handshake failed. `InvalidSignature` and `InvalidRecord` have one meaning each here: the verifier and the filter
/// handle all other cases (embedded-tls 0.19.0, connection.rs, `process_server_verify`). So has `InvalidNonceLength`: see
/// SPLIT_MARK in `protection.rs`.
// UPSTREAM(embedded-tls): alerts.md (`InvalidRecord`), split-messages.md (`InvalidNonceLength`).
fn handshake_error(error: Inner, link: &Link) -> TlsError {
    if let Some(fault) = link.fault() {
        return fault;
    }
    match error {
        Inner::Io(kind) => TlsError::Io(kind),
        Inner::IoError => TlsError::Truncated,
        Inner::CryptoError => TlsError::Record(RecordError::BadMac),
        Inner::InvalidCertificate | Inner::InvalidCertificateEntry => {
            TlsError::Certificate(CertificateError::Malformed)
        }
        Inner::InvalidSignatureScheme => {
            TlsError::Certificate(CertificateError::UnsupportedAlgorithm)
        }
        Inner::InvalidSignature => TlsError::Handshake(HandshakeError::Finished),
        Inner::InvalidRecord => TlsError::Handshake(HandshakeError::EncryptedAlert),
        Inner::InvalidKeyShare => TlsError::Handshake(HandshakeError::KeyShare),
        Inner::InvalidNonceLength => TlsError::Handshake(HandshakeError::Split),
        Inner::InvalidHandshake | Inner::Unimplemented => {
            TlsError::Handshake(HandshakeError::UnexpectedMessage)
        }
        _ => TlsError::Handshake(HandshakeError::Malformed),
    }
}

/// Why an open connection failed (embedded-tls 0.19.0, common/decrypted_read_handler.rs).
fn stream_error(error: Inner, link: &Link) -> TlsError {
    if let Some(fault) = link.fault() {
        return fault;
    }
    match error {
        Inner::Io(kind) => TlsError::Io(kind),
        Inner::IoError => TlsError::Truncated,
        Inner::CryptoError => TlsError::Record(RecordError::BadMac),
        Inner::InternalError => TlsError::Record(RecordError::Alert),
        Inner::Unimplemented => TlsError::Record(RecordError::UnexpectedMessage),
        _ => TlsError::Record(RecordError::Malformed),
    }
}
