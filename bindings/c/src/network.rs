//! The port's sockets and names, behind the library's traits.
//!
//! Every call of the network is asked without waiting first. Only the driver lets one wait, and for how long: it knows what is left
//! of each limit.

use core::fmt;
use core::future::poll_fn;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::task::Poll;

use edge_nal::{AddrType, Close, Dns, Readable, TcpConnect, TcpShutdown, TcpSplit};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use heapless::CString;

use crate::shared::Shared;
use crate::types::Address;

const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// What a port's call returns while it has nothing.
const AGAIN: i32 = -1;

/// The most bytes of a host's name (RFC 1035 section 2.3.4), and the 0 behind them.
const MAX_HOST: usize = 256;

/// The network of a state.
pub struct Network(pub &'static Shared);

/// Asks the port until it has an answer.
// No async function: that would keep the call twice.
pub fn ask(
    shared: &Shared,
    mut call: impl FnMut(u32) -> i32,
) -> impl Future<Output = Result<usize, NetworkError>> {
    poll_fn(move |_| {
        let turn = &shared.turn;
        if shared.is_turn_over() {
            turn.has_worked.set(true);
            return Poll::Pending;
        }
        match call(turn.wait_ms.replace(0)) {
            AGAIN => {
                turn.awaits_network.set(true);
                Poll::Pending
            }
            answer => {
                turn.count();
                Poll::Ready(usize::try_from(answer).map_err(|_| NetworkError(answer)))
            }
        }
    })
}

/// As many bytes as one call can be asked for.
pub fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len().min(i32::MAX as usize)).unwrap_or(0)
}

impl Dns for Network {
    type Error = NetworkError;

    async fn get_host_by_name(&self, host: &str, kind: AddrType) -> Result<IpAddr, NetworkError> {
        let (shared, port) = (self.0, &self.0.port);
        let resolve = port.resolve.ok_or(NetworkError::FAILED)?;
        let mut name = CString::<MAX_HOST>::new();
        name.extend_from_bytes(host.as_bytes())
            .map_err(|_| NetworkError::NOT_FOUND)?;
        let family = match kind {
            AddrType::IPv6 => IPV6,
            _ => IPV4,
        };
        let mut address = Address {
            family: 0,
            bytes: [0; 16],
            reserved: 0,
            port: 0,
        };
        ask(shared, |wait| {
            // SAFETY: the caller's function, with its `ctx`; the name ends with a 0, and the address is writable.
            unsafe { resolve(port.ctx, name.as_ptr(), family, &mut address, wait) }
        })
        .await?;
        let [a, b, c, d, ..] = address.bytes;
        match address.family {
            IPV4 => Ok(Ipv4Addr::new(a, b, c, d).into()),
            IPV6 => Ok(Ipv6Addr::from(address.bytes).into()),
            _ => Err(NetworkError::NOT_FOUND),
        }
    }

    async fn get_host_by_address(
        &self,
        _address: IpAddr,
        _result: &mut [u8],
    ) -> Result<usize, NetworkError> {
        Err(NetworkError::NOT_FOUND)
    }
}

impl TcpConnect for Network {
    type Error = NetworkError;
    type Socket<'a> = Socket;

    async fn connect(&self, remote: SocketAddr) -> Result<Socket, NetworkError> {
        let (shared, port) = (self.0, &self.0.port);
        let open = port.open.ok_or(NetworkError::FAILED)?;
        let connect = port.connect.ok_or(NetworkError::FAILED)?;
        let address = address(remote);
        // SAFETY: the caller's function, with its `ctx`; the address is readable.
        let number = unsafe { open(port.ctx, &address) };
        if number < 0 {
            return Err(NetworkError(number));
        }
        // From here on it is closed whatever happens.
        let socket = Socket { shared, number };
        // SAFETY: the caller's function, with its `ctx`, and a socket that it has opened.
        ask(shared, |wait| unsafe { connect(port.ctx, number, wait) }).await?;
        Ok(socket)
    }
}

fn address(remote: SocketAddr) -> Address {
    let mut address = Address {
        family: IPV4,
        bytes: [0; 16],
        reserved: 0,
        port: remote.port(),
    };
    match remote.ip() {
        IpAddr::V4(ip) => {
            let octets = ip.octets();
            address
                .bytes
                .iter_mut()
                .zip(octets)
                .for_each(|(to, from)| *to = from);
        }
        IpAddr::V6(ip) => {
            address.family = IPV6;
            address.bytes = ip.octets();
        }
    }
    address
}

/// A socket of the port. Dropped, it is closed.
pub struct Socket {
    shared: &'static Shared,
    number: i32,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(close) = self.shared.port.close {
            // SAFETY: the caller's function, with its `ctx`, and a socket that it has opened and that was not closed yet.
            unsafe { close(self.shared.port.ctx, self.number) };
        }
    }
}

impl ErrorType for Socket {
    type Error = NetworkError;
}

impl Read for Socket {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, NetworkError> {
        let (port, number) = (&self.shared.port, self.number);
        let recv = port.recv.ok_or(NetworkError::FAILED)?;
        let (to, length) = (bytes.as_mut_ptr(), length(bytes));
        let received = ask(self.shared, |wait| {
            // SAFETY: the caller's function, with its `ctx` and its socket; `length` bytes are writable at `to`, which this
            // future has borrowed.
            unsafe { recv(port.ctx, number, to.cast(), length, wait) }
        })
        .await?;
        // A port that says it gave more than there was room for is not to be believed.
        if received > length as usize {
            return Err(NetworkError::FAILED);
        }
        Ok(received)
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, NetworkError> {
        let (port, number) = (&self.shared.port, self.number);
        let send = port.send.ok_or(NetworkError::FAILED)?;
        let (from, length) = (bytes.as_ptr(), length(bytes));
        let sent = ask(self.shared, |wait| {
            // SAFETY: the caller's function, with its `ctx` and its socket; `length` bytes are readable at `from`, which this
            // future has borrowed.
            unsafe { send(port.ctx, number, from.cast(), length, wait) }
        })
        .await?;
        if sent > length as usize || (sent == 0 && length > 0) {
            return Err(NetworkError::FAILED);
        }
        Ok(sent)
    }

    async fn flush(&mut self) -> Result<(), NetworkError> {
        Ok(())
    }
}

impl Readable for Socket {
    async fn readable(&mut self) -> Result<(), NetworkError> {
        Ok(())
    }
}

impl TcpShutdown for Socket {
    async fn close(&mut self, _what: Close) -> Result<(), NetworkError> {
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), NetworkError> {
        Ok(())
    }
}

/// Half of a socket, which the library does not ask for. It reads and writes nothing.
pub struct Half;

impl ErrorType for Half {
    type Error = NetworkError;
}

impl Read for Half {
    async fn read(&mut self, _bytes: &mut [u8]) -> Result<usize, NetworkError> {
        Err(NetworkError::FAILED)
    }
}

impl Write for Half {
    async fn write(&mut self, _bytes: &[u8]) -> Result<usize, NetworkError> {
        Err(NetworkError::FAILED)
    }

    async fn flush(&mut self) -> Result<(), NetworkError> {
        Err(NetworkError::FAILED)
    }
}

impl Readable for Half {
    async fn readable(&mut self) -> Result<(), NetworkError> {
        Err(NetworkError::FAILED)
    }
}

impl TcpSplit for Socket {
    type Read<'a> = Half;
    type Write<'a> = Half;

    fn split(&mut self) -> (Half, Half) {
        (Half, Half)
    }
}

/// A failure of the port's network, by the header's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkError(i32);

impl NetworkError {
    const FAILED: Self = Self(-2);
    const REFUSED: Self = Self(-3);
    const RESET: Self = Self(-4);
    const UNREACHABLE: Self = Self(-5);
    const NOT_FOUND: Self = Self(-6);
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the port's network failed ({})", self.0)
    }
}

impl core::error::Error for NetworkError {}

impl embedded_io_async::Error for NetworkError {
    fn kind(&self) -> ErrorKind {
        match *self {
            Self::REFUSED => ErrorKind::ConnectionRefused,
            Self::RESET => ErrorKind::ConnectionReset,
            Self::UNREACHABLE => ErrorKind::AddrNotAvailable,
            Self::NOT_FOUND => ErrorKind::NotFound,
            _ => ErrorKind::Other,
        }
    }
}
