//! Connections through a proxy for what is not the AWS SDK: the clients of devices.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

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

    fn open<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Option<SocketAddr>>> + 'a>> {
        Box::pin(async move {
            let opened = match self.0.to(true, host, port) {
                Ok(None) => return Ok(None),
                Ok(Some(proxy)) => open(&proxy, host, port).await,
                Err(problem) => Err(problem),
            };
            let stream = opened.map_err(|problem| {
                if let Ok(mut last) = TROUBLE.lock() {
                    *last = Some(problem.clone());
                }
                io::Error::other(ProxyTrouble(problem))
            })?;
            relay(stream).await.map(Some)
        })
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
pub(super) async fn open(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, String> {
    if proxy.is_https() {
        return Err(format!(
            "{proxy} is spoken to over TLS, which virtual devices and doctor do not do: name it with http://"
        ));
    }
    let late = |_| {
        format!(
            "{proxy} does not answer within {} seconds",
            TIMEOUT.as_secs()
        )
    };
    let opening = tokio::time::timeout(TIMEOUT, connect(proxy, host, port));
    opening.await.map_err(late)?
}

async fn connect(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, String> {
    let unreachable = |error: io::Error| format!("{proxy} cannot be reached: {error}");
    let connecting = TcpStream::connect((proxy.host(), proxy.port()));
    let mut stream = connecting.await.map_err(unreachable)?;
    let broken = |error: io::Error| format!("{proxy} breaks the connection: {error}");
    let target = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
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
            return Err(format!("{proxy} does not answer in HTTP"));
        }
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..));
    match status {
        Some(status) if status.starts_with('2') => Ok(stream),
        Some(status) if status.starts_with("407") => Err(format!(
            "{proxy} wants a user and a password, or does not accept those in its URL: it answers {status} to CONNECT {target}"
        )),
        Some(status) => Err(format!(
            "{proxy} refuses: it answers {status} to CONNECT {target}"
        )),
        None => Err(format!("{proxy} does not answer in HTTP")),
    }
}
