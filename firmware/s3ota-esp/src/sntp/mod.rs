//! The date from the network: a small SNTP client (RFC 4330).
//!
//! It is strict about answers (they must match the request, and come from a synchronised server) and believes no date before
//! this firmware was built. SNTP does not authenticate servers: an attacker on the network path can set the date within
//! these bounds. That can make certificates look expired, or expired ones valid; it cannot forge one.
//!
//! The crate `sntpc` (0.11) does not replace it: it takes 1.6 KB more flash and 224 bytes more RAM in `simple` on the
//! ESP32-C3; its requests carry at most 52 bits that an attacker must guess, ours 64; and the first packet that is not the
//! answer ends its request, while this client keeps waiting for the answer.

mod message;

use core::fmt;

use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use rand_core::RngCore;

use self::message::{LENGTH, is_answer_to, request, seconds_of};
use crate::Clock;
use crate::clock::is_believable;

/// The NTP pool, for makers. Products should use their own name in it (ntppool.org, "vendor zone") or their own server.
pub const POOL: &str = "pool.ntp.org";

/// The NTP port.
const PORT: u16 = 123;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two requests that succeed.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The first pause after a failure. It doubles up to [`INTERVAL`]. RFC 4330 section 10 requires at least 15 seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(15);

/// Sets `clock` from `server` whenever the network is up: at once, then every hour. Run it as a task of its own.
pub async fn keep_time(clock: &Clock, stack: Stack<'_>, server: &str, mut rng: impl RngCore) -> ! {
    let mut pause = FIRST_PAUSE;
    loop {
        stack.wait_config_up().await;
        match ask(stack, server, &mut rng).await {
            Ok(seconds) => {
                clock.set_unix_time(seconds);
                debug!("the time is {} s, from {}", seconds, server);
                pause = FIRST_PAUSE;
                Timer::after(INTERVAL).await;
            }
            Err(error) => {
                warn!(
                    "no time from {}, retry in {} s: {}",
                    server,
                    pause.as_secs(),
                    error
                );
                Timer::after(pause).await;
                pause = (pause * 2).min(INTERVAL);
            }
        }
    }
}

/// Asks `server` once, and returns seconds since the Unix epoch.
///
/// # Errors
///
/// [`SntpError`].
pub async fn ask(stack: Stack<'_>, server: &str, rng: &mut impl RngCore) -> Result<u64, SntpError> {
    let began = Instant::now();
    let addresses = with_timeout(TIMEOUT, stack.dns_query(server, DnsQueryType::A))
        .await
        .map_err(|_| SntpError::Name)?
        .map_err(|_| SntpError::Name)?;
    let server = IpEndpoint::new(*addresses.first().ok_or(SntpError::Name)?, PORT);

    let (mut receive_meta, mut send_meta) = ([PacketMetadata::EMPTY; 2], [PacketMetadata::EMPTY]);
    let (mut receive, mut send) = ([0; 2 * LENGTH], [0; LENGTH]);
    let mut socket = UdpSocket::new(
        stack,
        &mut receive_meta,
        &mut receive,
        &mut send_meta,
        &mut send,
    );
    // A port and a nonce that nobody off the path can guess.
    let port = 49_152 | (rng.next_u32() as u16 >> 2);
    socket.bind(port).map_err(|_| SntpError::Network)?;
    let nonce = rng.next_u64().to_be_bytes();
    socket
        .send_to(&request(nonce), server)
        .await
        .map_err(|_| SntpError::Network)?;

    let deadline = TIMEOUT * 2;
    with_timeout(deadline - began.elapsed().min(deadline), async {
        loop {
            let mut answer = [0; LENGTH];
            // A longer message (with extensions) is not an answer: it does not fit, which is an error here.
            let Ok((length, from)) = socket.recv_from(&mut answer).await else {
                continue;
            };
            // Ignore what comes from elsewhere, or answers another request.
            if from.endpoint != server || length != LENGTH || !is_answer_to(&answer, nonce) {
                continue;
            }
            return seconds_of(&answer)
                .ok_or(SntpError::NotSynchronised)?
                .into_iter()
                .find(|&seconds| is_believable(seconds))
                .ok_or(SntpError::Unbelievable);
        }
    })
    .await
    .map_err(|_| SntpError::Silence)?
}

/// Why there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SntpError {
    /// The server's name has no address.
    Name,
    /// The request could not be sent.
    Network,
    /// No answer came in time.
    Silence,
    /// The server is not synchronised, or refuses to answer.
    NotSynchronised,
    /// The answer is before this firmware was built, or more than 30 years after.
    Unbelievable,
}

impl fmt::Display for SntpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name has no address: check that the network has DNS",
            Self::Network => "the request cannot be sent",
            Self::Silence => "no answer: check that the network lets UDP port 123 through",
            Self::NotSynchronised => "it is not synchronised, or refuses to answer",
            Self::Unbelievable => {
                "its answer cannot be right: it is before this firmware was built"
            }
        })
    }
}

impl core::error::Error for SntpError {}
