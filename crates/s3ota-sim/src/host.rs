//! The host's network, clocks and entropy, behind the device library's traits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_nal::{AddrType, Dns, TcpConnect};
use edge_nal_std::Stack;
pub use rand_core::OsRng;
use s3ota::Clock;
use tokio::time::Instant;

/// The host's clocks. Needs tokio's timer.
#[derive(Debug, Clone, Copy)]
pub struct HostClock {
    start: Instant,
    date: Date,
}

/// What a device knows about the date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Date {
    /// The host's date.
    #[default]
    Host,
    /// Nothing: its clock has no battery and has not been set yet.
    Unknown,
    /// It started at this date, in seconds since the Unix epoch.
    At(u64),
}

impl HostClock {
    /// A clock whose uptime starts now.
    pub fn new() -> Self {
        Self::with_date(Date::Host)
    }

    /// A clock whose uptime starts now, with another date.
    pub fn with_date(date: Date) -> Self {
        Self {
            start: Instant::now(),
            date,
        }
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for HostClock {
    fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_time(&self) -> Option<u64> {
        match self.date {
            Date::Host => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .map(|time| time.as_secs()),
            Date::Unknown => None,
            Date::At(start) => Some(start.saturating_add(self.start.elapsed().as_secs())),
        }
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The host's TCP sockets and resolver. Names under `.localhost` are this machine (RFC 6761 section 6.3); not every
/// resolver knows that.
#[derive(Clone, Copy, Default)]
pub struct HostNetwork(Stack);

impl TcpConnect for HostNetwork {
    type Error = io::Error;
    type Socket<'a> = <Stack as TcpConnect>::Socket<'a>;

    async fn connect(&self, remote: SocketAddr) -> io::Result<Self::Socket<'_>> {
        self.0.connect(remote).await
    }
}

impl Dns for HostNetwork {
    type Error = io::Error;

    async fn get_host_by_name(&self, host: &str, addr_type: AddrType) -> io::Result<IpAddr> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(Ipv4Addr::LOCALHOST.into());
        }
        self.0.get_host_by_name(host, addr_type).await
    }

    async fn get_host_by_address(&self, addr: IpAddr, result: &mut [u8]) -> io::Result<usize> {
        self.0.get_host_by_address(addr, result).await
    }
}
