//! Connections through a proxy for what is not the AWS SDK: the clients of devices.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use s3ota_sim::host::{Detour, HostNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::proxy::{Proxies, Proxy};
use crate::error::CliError;

/// The longest time to wait for the proxy.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest head of a proxy's answer.
const MAX_HEAD: usize = 16 * 1024;

/// Why the last tunnel was not opened. The library of the devices keeps no texts.
static TROUBLE: Mutex<Option<String>> = Mutex::new(None);

/// How long a proxy that refused is not asked again. A wrong password that is sent too often locks the account.
const REFUSED: Duration = Duration::from_secs(10 * 60);

/// The last refusal of a proxy.
static REFUSAL: Mutex<Option<Refusal>> = Mutex::new(None);

/// A proxy's answer that is about the request, not about the connection.
struct Refusal {
    proxy: String,
    /// The only server that it is about; `None` if the proxy does not accept the user.
    target: Option<String>,
    text: String,
    at: Instant,
}

/// Why a tunnel was not opened.
#[derive(Debug)]
pub(super) enum Closed {
    /// The proxy does not want to: another attempt gets the same answer.
    Refused(String),
    /// The connection to the proxy, or its own to the server, failed.
    Failed(String),
}

impl Closed {
    /// The reason, as a sentence about the proxy.
    pub(super) fn text(self) -> String {
        match self {
            Self::Refused(text) | Self::Failed(text) => text,
        }
    }

    fn of(proxy: &Proxy, status: &str, target: &str) -> Self {
        let needs_user = status.starts_with("407");
        let text = match needs_user {
            true => format!(
                "{proxy} wants a user and a password, or does not accept those in its URL: it answers {status} to CONNECT {target}"
            ),
            false => format!("{proxy} refuses: it answers {status} to CONNECT {target}"),
        };
        // Those that may be over in a moment: a timeout, too many requests, and trouble behind the proxy.
        if !status.starts_with('4') || status.starts_with("408") || status.starts_with("429") {
            return Self::Failed(text);
        }
        if let Ok(mut last) = REFUSAL.lock() {
            *last = Some(Refusal {
                proxy: proxy.url.clone(),
                target: (!needs_user).then(|| target.to_owned()),
                text: text.clone(),
                at: Instant::now(),
            });
        }
        Self::Refused(text)
    }
}

/// What the proxy answered to the same request a short time ago, if that was a refusal.
pub(super) fn refused(proxy: &Proxy, host: &str, port: u16) -> Option<String> {
    let target = authority(host, port);
    let last = REFUSAL.lock().ok()?;
    let last = last.as_ref().filter(|last| {
        last.proxy == proxy.url
            && last.target.as_ref().is_none_or(|it| *it == target)
            && last.at.elapsed() < REFUSED
    });
    last.map(|last| last.text.clone())
}

/// Records that a proxy did not accept the user, as another client was told.
pub(super) fn wants_user(proxy: &Proxy, host: &str, port: u16) -> Closed {
    let status = "407 Proxy Authentication Required";
    Closed::of(proxy, status, &authority(host, port))
}

/// A server as the target of CONNECT.
fn authority(host: &str, port: u16) -> String {
    match host.trim_matches(['[', ']']) {
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

/// The host's network for virtual devices, which goes through the proxy of the environment.
pub fn network() -> HostNetwork {
    HostNetwork::through(Tunnels(Proxies::from_env()))
}

/// Names the proxy in an error of a device, if it is the reason.
pub fn name_proxy(error: CliError) -> CliError {
    let trouble = TROUBLE.lock().ok().and_then(|mut last| last.take());
    match trouble {
        Some(trouble) if error.code.starts_with("net.") => CliError {
            message: format!("{}: {trouble}", error.message),
            ..error
        },
        _ => error,
    }
}

/// Whether a connection failed at the proxy.
pub fn is_of_proxy(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|cause| cause.is::<ProxyTrouble>())
}

/// What is wrong with the proxy.
#[derive(Debug)]
struct ProxyTrouble(String);

impl fmt::Display for ProxyTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProxyTrouble {}

struct Tunnels(Proxies);

impl Detour for Tunnels {
    fn may_lead_to(&self, host: &str) -> bool {
        self.0.may_lead_to(host)
    }

    fn exempts(&self, host: &str) -> bool {
        let exempts = self.0.exempts_host(host);
        if exempts {
            remember(self.0.unused(true, host, 443));
        }
        exempts
    }

    fn open<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Option<SocketAddr>>> + 'a>> {
        Box::pin(async move {
            let opened = match self.0.to(true, host, port) {
                Ok(None) => {
                    remember(self.0.unused(true, host, port));
                    return Ok(None);
                }
                Ok(Some(proxy)) => open(&proxy, host, port).await.map_err(Closed::text),
                Err(problem) => Err(problem),
            };
            remember(opened.as_ref().err().cloned());
            let stream = opened.map_err(|problem| io::Error::other(ProxyTrouble(problem)))?;
            relay(stream).await.map(Some)
        })
    }
}

fn remember(trouble: Option<String>) {
    if let Ok(mut last) = TROUBLE.lock() {
        *last = trouble;
    }
}

/// Makes the other end of a tunnel a port of this machine, for one connection.
async fn relay(mut far: TcpStream) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let accepted = tokio::time::timeout(TIMEOUT, listener.accept()).await;
        if let Ok(Ok((mut near, _))) = accepted
            && let Err(error) = copy_bidirectional(&mut near, &mut far).await
        {
            tracing::debug!("the tunnel ended: {error}");
        }
    });
    Ok(address)
}

/// Opens a tunnel with CONNECT (RFC 9110, section 9.3.6), or says what the proxy answered instead.
pub(super) async fn open(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, Closed> {
    if proxy.is_https() {
        return Err(Closed::Failed(format!(
            "{proxy} is spoken to over TLS, which virtual devices and doctor do not do: name it with http://"
        )));
    }
    if let Some(text) = refused(proxy, host, port) {
        return Err(Closed::Refused(text));
    }
    let late = |_| {
        Closed::Failed(format!(
            "{proxy} does not answer within {} seconds",
            TIMEOUT.as_secs()
        ))
    };
    let opening = tokio::time::timeout(TIMEOUT, connect(proxy, host, port));
    opening.await.map_err(late)?
}

async fn connect(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, Closed> {
    let unreachable =
        |error: io::Error| Closed::Failed(format!("{proxy} cannot be reached: {error}"));
    let connecting = TcpStream::connect((proxy.host(), proxy.port()));
    let mut stream = connecting.await.map_err(unreachable)?;
    let broken =
        |error: io::Error| Closed::Failed(format!("{proxy} breaks the connection: {error}"));
    let no_http = || Closed::Failed(format!("{proxy} does not answer in HTTP"));
    let target = authority(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broken)?;
    // Byte by byte: what follows the head belongs to the server.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8().await.map_err(broken)?;
        head.push(byte);
        if head.len() > MAX_HEAD {
            return Err(no_http());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..));
    match status {
        Some(status) if status.starts_with('2') => Ok(stream),
        Some(status) => Err(Closed::of(proxy, status, &target)),
        None => Err(no_http()),
    }
}
