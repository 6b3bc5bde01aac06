//! TCP and DNS over embassy-net.

use core::net::{IpAddr, SocketAddr};

use edge_nal::{AddrType, Dns, TcpConnect};
use edge_nal_embassy::{DnsError, Tcp, TcpBuffers, TcpError, TcpSocket};
use embassy_net::Stack;
use static_cell::StaticCell;

/// Bytes of the send buffer: an HTTP request fits.
const SEND: usize = 2048;

/// Bytes of the receive buffer, which is the TCP window: four full Ethernet segments.
const RECEIVE: usize = 4 * 1460;

/// The network of an embassy-net stack, for one connection at a time, which is all that an updater needs.
///
/// It takes one TCP socket of the stack's `StackResources`, one for DNS, and one for [`sntp`](crate::sntp).
#[derive(Clone, Copy)]
pub struct Network {
    tcp: Tcp<'static>,
    dns: edge_nal_embassy::Dns<'static>,
}

impl Network {
    /// A network on `stack`, with 8 KB of buffers in a static. `None` if called twice.
    pub fn new(stack: Stack<'static>) -> Option<Self> {
        static BUFFERS: StaticCell<TcpBuffers<1, SEND, RECEIVE>> = StaticCell::new();
        let buffers = BUFFERS.try_init_with(TcpBuffers::new)?;
        Some(Self {
            tcp: Tcp::new(stack, buffers),
            dns: edge_nal_embassy::Dns::new(stack),
        })
    }
}

impl TcpConnect for Network {
    type Error = TcpError;
    type Socket<'a>
        = TcpSocket<'a>
    where
        Self: 'a;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpSocket<'_>, TcpError> {
        self.tcp.connect(remote).await
    }
}

impl Dns for Network {
    type Error = DnsError;

    async fn get_host_by_name(&self, host: &str, kind: AddrType) -> Result<IpAddr, DnsError> {
        self.dns.get_host_by_name(host, kind).await
    }

    /// Not supported by embassy-net: always an error. (The adapter's own method panics.)
    async fn get_host_by_address(
        &self,
        _address: IpAddr,
        _result: &mut [u8],
    ) -> Result<usize, DnsError> {
        Err(embassy_net::dns::Error::Failed.into())
    }
}

impl core::fmt::Debug for Network {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}
