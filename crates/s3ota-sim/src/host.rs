//! The host's network, clocks and entropy, behind the device library's traits.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
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

/// A way to servers other than the direct one, such as a proxy.
pub trait Detour: Send + Sync {
    /// Whether connections to some port of a host may take it. Then the host's name is not resolved here.
    fn may_lead_to(&self, host: &str) -> bool;

    /// Whether no port of such a host takes it after all. Then its name is resolved, so that one that does not exist is an error of
    /// the resolver, as without a detour.
    fn exempts(&self, host: &str) -> bool {
        let _ = host;
        false
    }

    /// Opens a connection to a port of a host, and returns the address on this machine that leads into it, for one connection;
    /// `None` if the direct way is the right one.
    fn open<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Option<SocketAddr>>> + 'a>>;
}

/// The host's TCP sockets and resolver. Names under `.localhost` are this machine (RFC 6761 section 6.3); not every
/// resolver knows that.
#[derive(Clone, Default)]
pub struct HostNetwork {
    stack: Stack,
    detour: Option<Arc<Names>>,
}

/// A detour, and the hosts that it may lead to. Each has an address that is no host's, by its place in the list.
struct Names {
    detour: Box<dyn Detour>,
    hosts: Mutex<Vec<String>>,
}

/// The network for benchmarks of network devices (RFC 2544): no server is there.
const NOWHERE: u32 = u32::from_be_bytes([198, 18, 0, 0]);

/// How many addresses it has.
const PLACES: usize = 1 << 17;

impl Names {
    /// The address that stands for a host.
    fn address(&self, host: &str) -> io::Result<IpAddr> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.iter().position(|known| known == host);
        let place = known.unwrap_or(hosts.len());
        if place >= PLACES {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if known.is_none() {
            hosts.push(host.to_owned());
        }
        Ok(Ipv4Addr::from_bits(NOWHERE + place as u32).into())
    }

    /// The host that an address stands for.
    fn host(&self, address: IpAddr) -> Option<String> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let place = address.to_bits().checked_sub(NOWHERE)?;
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(usize::try_from(place).ok()?).cloned()
    }
}

impl HostNetwork {
    /// The host's network, with a detour to some servers.
    pub fn through(detour: impl Detour + 'static) -> Self {
        let names = Names {
            detour: Box::new(detour),
            hosts: Mutex::default(),
        };
        Self {
            detour: Some(Arc::new(names)),
            ..Self::default()
        }
    }

    /// Where a connection really goes.
    async fn way_to(&self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let Some(names) = &self.detour else {
            return Ok(remote);
        };
        let (ip, port) = (remote.ip(), remote.port());
        let named = names.host(ip);
        let host = named.clone().unwrap_or_else(|| ip.to_string());
        if named.is_none() && !names.detour.may_lead_to(&host) {
            return Ok(remote);
        }
        match names.detour.open(&host, port).await? {
            Some(address) => Ok(address),
            None if named.is_none() => Ok(remote),
            None => {
                let found = self.stack.get_host_by_name(&host, AddrType::Either).await?;
                Ok(SocketAddr::new(found, port))
            }
        }
    }
}

impl fmt::Debug for HostNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_detour = self.detour.is_some();
        f.debug_struct("HostNetwork")
            .field("has_detour", &has_detour)
            .finish()
    }
}

impl TcpConnect for HostNetwork {
    type Error = io::Error;
    type Socket<'a> = <Stack as TcpConnect>::Socket<'a>;

    async fn connect(&self, remote: SocketAddr) -> io::Result<Self::Socket<'_>> {
        let way = self.way_to(remote).await?;
        self.stack.connect(way).await
    }
}

impl Dns for HostNetwork {
    type Error = io::Error;

    async fn get_host_by_name(&self, host: &str, addr_type: AddrType) -> io::Result<IpAddr> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(Ipv4Addr::LOCALHOST.into());
        }
        if let Some(names) = &self.detour
            && names.detour.may_lead_to(&name)
        {
            if names.detour.exempts(&name) {
                self.stack.get_host_by_name(host, addr_type).await?;
            }
            return names.address(&name);
        }
        self.stack.get_host_by_name(host, addr_type).await
    }

    async fn get_host_by_address(&self, addr: IpAddr, result: &mut [u8]) -> io::Result<usize> {
        self.stack.get_host_by_address(addr, result).await
    }
}
