//! Downloads as a device does: with its TLS client, its roots only, and HTTP/1.1. Unlike a device, this keeps the whole answer, so
//! that there is something to check.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edge_nal::{AddrType, Dns, TcpConnect};
use embedded_io_async::{Read, Write};
use s3ota::http::MAX_HEAD;
use s3ota::tls::{Buffers, CertTime, Roots, TlsError, connect};
use s3ota_manifest::HttpsUrl;
use s3ota_sim::host::{HostNetwork, OsRng};

use crate::clock;
use crate::error::CliError;
use crate::judge::rehearsal::trusting;

/// The longest time without a byte from the server.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The most fields in a head.
const MAX_FIELDS: usize = 64;

/// An HTTPS client with the TLS of the devices.
pub struct Client {
    roots: Vec<Vec<u8>>,
    buffers: Box<Buffers>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    fields: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The entity tag, if it is a strong one, which stands for every byte.
    pub fn strong_etag(&self) -> Option<&str> {
        self.field("etag").filter(|tag| tag.starts_with('"'))
    }
}

/// Why there is no usable answer.
#[derive(Debug)]
pub enum Trouble {
    /// The host's name has no address.
    Resolve,
    /// There is no server at the address.
    Connect(std::io::Error),
    /// The server did not prove who it is, or TLS failed.
    Tls(TlsError),
    /// The server has stopped answering.
    Silence,
    /// The answer is not HTTP/1.1.
    NotHttp,
    /// The head has more bytes or fields than a device accepts.
    HeadTooLarge,
    /// The body ended too early, or its end is unclear.
    Incomplete,
    /// The body has too many bytes.
    TooLong(usize),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve => f.write_str("the host's name has no address"),
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Tls(error) => error.fmt(f),
            Self::Silence => write!(
                f,
                "the server has sent nothing for {} seconds",
                TIMEOUT.as_secs()
            ),
            Self::NotHttp => f.write_str("the server's answer is not HTTP/1.1"),
            Self::HeadTooLarge => write!(
                f,
                "the head of the server's answer has more than {MAX_HEAD} bytes or {MAX_FIELDS} fields"
            ),
            Self::Incomplete => f.write_str("the answer was cut off"),
            Self::TooLong(limit) => {
                write!(f, "the answer has more than {limit} bytes")
            }
        }
    }
}

impl From<TlsError> for Trouble {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl Client {
    /// A client that trusts Amazon's roots and these, given as DER.
    pub fn new(roots: Vec<Vec<u8>>) -> Result<Self, CliError> {
        let client = Self {
            roots,
            buffers: Box::new(Buffers::new()),
        };
        trusting(&client.roots)?;
        Ok(client)
    }

    /// The roots it trusts.
    pub fn roots(&self) -> Roots<'_> {
        trusting(&self.roots).unwrap_or_default()
    }

    /// Downloads a document of at most `limit` bytes. `progress` gets the bytes so far and in total.
    pub async fn get(
        &mut self,
        url: &HttpsUrl<'_>,
        fields: &[(&str, &str)],
        limit: usize,
        mut progress: impl FnMut(usize, Option<usize>),
    ) -> Result<Answer, Trouble> {
        let network = HostNetwork::default();
        let address = match url.host().parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => within_timeout(network.get_host_by_name(url.host(), AddrType::IPv4))
                .await?
                .map_err(|_| Trouble::Resolve)?,
        };
        let socket = within_timeout(network.connect(SocketAddr::new(address, url.port())))
            .await?
            .map_err(Trouble::Connect)?;
        let roots = trusting(&self.roots).unwrap_or_default();
        let time = CertTime::Known(clock::now());
        let mut rng = OsRng;
        let tls = connect(
            socket,
            url.host(),
            &roots,
            time,
            &mut rng,
            &mut self.buffers,
        );
        let mut stream = within_timeout(tls).await??;

        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: identity\r\nUser-Agent: s3ota/{} doctor\r\nConnection: close\r\n",
            url.path_and_query(),
            url.authority(),
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        within_timeout(stream.write_all(request.as_bytes())).await??;
        within_timeout(stream.flush()).await??;

        let (mut answer, mut rest) = head(&mut stream).await?;
        let mut body = Framing::of(&answer)?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            body.take(&mut rest, &mut answer.body)?;
            if answer.body.len() > limit || body.length().is_some_and(|length| length > limit) {
                return Err(Trouble::TooLong(limit));
            }
            progress(answer.body.len(), body.length());
            if body.is_over() {
                return Ok(answer);
            }
            match within_timeout(stream.read(&mut buffer)).await?? {
                0 if matches!(body, Framing::ToTheEnd) => return Ok(answer),
                0 => return Err(Trouble::Incomplete),
                n => rest.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

async fn within_timeout<T>(operation: impl Future<Output = T>) -> Result<T, Trouble> {
    tokio::time::timeout(TIMEOUT, operation)
        .await
        .map_err(|_| Trouble::Silence)
}

/// Reads the head of the final answer, and the bytes that came with it.
async fn head(stream: &mut impl Read<Error = TlsError>) -> Result<(Answer, Vec<u8>), Trouble> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&bytes) {
            Ok(httparse::Status::Complete(length)) => {
                let status = response.code.ok_or(Trouble::NotHttp)?;
                if status >= 200 {
                    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
                    let fields = response.headers.iter();
                    let fields = fields.map(|field| (field.name.to_owned(), text(field.value)));
                    let answer = Answer {
                        status,
                        fields: fields.collect(),
                        body: Vec::new(),
                    };
                    return Ok((answer, bytes.split_off(length)));
                }
                bytes.drain(..length);
                continue;
            }
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => {}
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Trouble::HeadTooLarge),
            Err(_) => return Err(Trouble::NotHttp),
        }
        match within_timeout(stream.read(&mut buffer)).await?? {
            0 => return Err(Trouble::Incomplete),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// How a body ends.
enum Framing {
    /// After this many bytes, of which `left` are still to come.
    Length { total: usize, left: usize },
    /// With an empty chunk.
    Chunked { over: bool },
    /// With the connection.
    ToTheEnd,
}

impl Framing {
    fn of(answer: &Answer) -> Result<Self, Trouble> {
        let chunked = answer
            .field("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = match answer.field("content-length") {
            _ if matches!(answer.status, 204 | 304) => Some(0),
            Some(length) => Some(length.parse().map_err(|_| Trouble::NotHttp)?),
            None => None,
        };
        Ok(match length {
            _ if chunked => Self::Chunked { over: false },
            Some(total) => Self::Length { total, left: total },
            None => Self::ToTheEnd,
        })
    }

    /// The length of the body, if known.
    fn length(&self) -> Option<usize> {
        match self {
            Self::Length { total, .. } => Some(*total),
            _ => None,
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Length { left, .. } => *left == 0,
            Self::Chunked { over } => *over,
            Self::ToTheEnd => false,
        }
    }

    /// Moves the received bytes into the body.
    fn take(&mut self, rest: &mut Vec<u8>, body: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Self::Length { left, .. } => {
                let taken = rest.len().min(*left);
                body.extend(rest.drain(..taken));
                *left -= taken;
            }
            Self::ToTheEnd => body.append(rest),
            Self::Chunked { over } => {
                while !*over {
                    let (start, size) = match httparse::parse_chunk_size(rest) {
                        Ok(httparse::Status::Complete((start, size))) => (start, size),
                        Ok(httparse::Status::Partial) => return Ok(()),
                        Err(_) => return Err(Trouble::Incomplete),
                    };
                    let size = usize::try_from(size).map_err(|_| Trouble::Incomplete)?;
                    let Some(end) = start.checked_add(size) else {
                        return Err(Trouble::Incomplete);
                    };
                    *over = size == 0;
                    if *over {
                        return Ok(());
                    }
                    // The chunk, and the end of its line.
                    if rest.len() < end.saturating_add(2) {
                        return Ok(());
                    }
                    body.extend_from_slice(&rest[start..end]);
                    rest.drain(..end + 2);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(field: (&str, &str), bytes: &[u8]) -> Option<Vec<u8>> {
        let mut answer = Answer {
            status: 200,
            fields: vec![(field.0.to_owned(), field.1.to_owned())],
            body: Vec::new(),
        };
        let mut framing = Framing::of(&answer).ok()?;
        // One byte at a time: the end must not depend on how the bytes arrive.
        let mut rest = Vec::new();
        for byte in bytes {
            rest.push(*byte);
            framing.take(&mut rest, &mut answer.body).ok()?;
        }
        framing.is_over().then_some(answer.body)
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let chunked = ("transfer-encoding", "chunked");
        let bytes = b"4\r\nlamp\r\n1;x=y\r\n!\r\n0\r\n\r\n";
        assert_eq!(body_of(chunked, bytes).as_deref(), Some(&b"lamp!"[..]));
        assert_eq!(body_of(chunked, &bytes[..bytes.len() - 7]), None);
        assert_eq!(body_of(chunked, b"zz\r\n"), None);
        let length = ("Content-Length", "4");
        assert_eq!(body_of(length, b"lamp").as_deref(), Some(&b"lamp"[..]));
        assert_eq!(body_of(length, b"lam"), None);
        assert_eq!(body_of(("Content-Length", "-4"), b"lamp"), None);
    }
}
