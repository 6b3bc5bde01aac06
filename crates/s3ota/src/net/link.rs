//! Connections that cannot wait for ever.
//!
//! The limits are an adapter around the socket, under TLS and HTTP, so that nothing above can forget them.

use core::fmt;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::{Pin, pin};
use core::time::Duration;

use edge_nal::{AddrType, Dns, TcpConnect};
use embassy_futures::select::{Either, select};
use embedded_io_async::{ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};

use crate::device::Clock;

/// A moment by which everything must be over, and the longest silence until then.
pub(crate) struct Deadline<'c, C> {
    clock: &'c C,
    at: Duration,
    idle: Duration,
}

impl<C> Clone for Deadline<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Deadline<'_, C> {}

impl<'c, C: Clock> Deadline<'c, C> {
    /// A deadline `after` from now; no single wait under it is longer than `idle`.
    pub(crate) fn new(clock: &'c C, after: Duration, idle: Duration) -> Self {
        Self {
            clock,
            at: clock.uptime().saturating_add(after),
            idle,
        }
    }

    /// What is left of the time.
    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_sub(self.clock.uptime())
    }

    /// Runs `operation`, at most until the deadline or for the longest silence. It stays where it lies: an async function keeps what it is
    /// given twice.
    async fn limit<T, E>(
        &self,
        operation: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, LinkError<E>> {
        let Some(wait) = self.wait() else {
            return Err(LinkError::TimedOut);
        };
        match select(operation, self.clock.sleep(wait)).await {
            Either::First(result) => result.map_err(LinkError::Io),
            Either::Second(()) => Err(LinkError::TimedOut),
        }
    }

    /// The longest that may be waited now, unless the time is over.
    fn wait(&self) -> Option<Duration> {
        let wait = self.idle.min(self.left());
        (!wait.is_zero()).then_some(wait)
    }
}

/// A socket under a [`Deadline`].
pub(crate) struct Link<'c, S, C> {
    socket: S,
    deadline: Deadline<'c, C>,
}

impl<'c, S, C> Link<'c, S, C> {
    /// Puts a socket, or any other source of bytes, under a deadline.
    pub(crate) fn new(socket: S, deadline: Deadline<'c, C>) -> Self {
        Self { socket, deadline }
    }
}

/// Why a [`Link`] could not be made.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// No address was found for the host's name.
    Resolve,
    /// There was no connection to that address.
    Connect(ErrorKind),
}

/// Resolves `host` and connects to it.
pub(crate) async fn connect<'n, 'c, N, C>(
    network: &'n N,
    host: &str,
    port: u16,
    deadline: Deadline<'c, C>,
) -> Result<Link<'c, N::Socket<'n>, C>, ConnectError>
where
    N: TcpConnect + Dns,
    C: Clock,
{
    let address = match host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => {
            let mut found = Err(ConnectError::Resolve);
            // A host without an IPv4 address may have an IPv6 one.
            for kind in [AddrType::IPv4, AddrType::IPv6] {
                let lookup = pin!(network.get_host_by_name(host, kind));
                match deadline.limit(lookup).await {
                    Ok(address) => {
                        found = Ok(address);
                        break;
                    }
                    Err(LinkError::TimedOut) => break,
                    Err(LinkError::Io(_)) => {}
                }
            }
            found?
        }
    };
    let connecting = pin!(network.connect(SocketAddr::new(address, port)));
    let socket = deadline
        .limit(connecting)
        .await
        .map_err(|error| ConnectError::Connect(kind(&error)))?;
    Ok(Link::new(socket, deadline))
}

/// What went wrong on a [`Link`].
#[derive(Debug)]
pub(crate) enum LinkError<E> {
    /// The socket's own error.
    Io(E),
    /// The deadline passed, or there was silence for too long.
    TimedOut,
}

impl<E: fmt::Debug> fmt::Display for LinkError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error:?}"),
            Self::TimedOut => write!(f, "timed out"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for LinkError<E> {}

impl<E: embedded_io_async::Error> embedded_io_async::Error for LinkError<E> {
    fn kind(&self) -> ErrorKind {
        kind(self)
    }
}

fn kind<E: embedded_io_async::Error>(error: &LinkError<E>) -> ErrorKind {
    match error {
        LinkError::Io(error) => error.kind(),
        LinkError::TimedOut => ErrorKind::TimedOut,
    }
}

impl<S: ErrorType, C> ErrorType for Link<'_, S, C> {
    type Error = LinkError<S::Error>;
}

impl<S: Read, C: Clock> Read for Link<'_, S, C> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let reading = pin!(self.socket.read(buffer));
        self.deadline.limit(reading).await
    }
}

impl<S: Seek, C: Clock> Seek for Link<'_, S, C> {
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, Self::Error> {
        let seeking = pin!(self.socket.seek(to));
        self.deadline.limit(seeking).await
    }
}

impl<S: Write, C: Clock> Write for Link<'_, S, C> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let writing = pin!(self.socket.write(bytes));
        self.deadline.limit(writing).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        let flushing = pin!(self.socket.flush());
        self.deadline.limit(flushing).await
    }
}
