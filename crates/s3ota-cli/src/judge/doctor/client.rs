//! Downloads as a device does: with its TLS client, its roots only, and its HTTP client. What that client reads past, and what it
//! refuses, is kept beside what it understood, so that there is something to look at.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use edge_nal::{AddrType, Dns, TcpConnect};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use s3ota::http::{Body, Framing, Head, Identity, MAX_FIELDS, MAX_HEAD, Request, Want, parse_head};
use s3ota::manifest::user_agent::UserAgent;
use s3ota::tls::{Buffers, CertTime, Roots, TlsError, connect};
use s3ota::{Error, HttpError};
use s3ota_manifest::HttpsUrl;
use s3ota_sim::host::{HostNetwork, OsRng};

use crate::clock;
use crate::error::CliError;
use crate::judge::certificates::Chain;
use crate::judge::rehearsal::{self, trusting};
use crate::s3::tunnel;

/// The longest time without a byte from the server.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The doctor, as its requests name it in the bucket's access log. It is no device, and has no id: nobody is to count it as one.
const DOCTOR: Identity<'_> = Identity {
    agent: UserAgent {
        library: env!("CARGO_PKG_VERSION"),
        device: None,
        firmware: None,
        chip: Some("doctor"),
        state: None,
        bootloader: None,
        last: None,
        image: None,
    },
    headers: &[],
    manifest_url: "",
};

/// An HTTPS client with the TLS and the HTTP of the devices.
pub struct Client {
    roots: Vec<Vec<u8>>,
    buffers: Box<Buffers>,
    /// The certificates of the servers, by host and port.
    chains: BTreeMap<(String, u16), Chain>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// What the client understood of the head.
    pub head: Head,
    /// The encoding of the body, for which the client refuses the answer.
    pub encoding: Option<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
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
        let tag = self.head.etag.as_deref();
        tag.filter(|tag| tag.starts_with('"'))
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
    /// The answer ended too early.
    Incomplete,
    /// The client refuses the answer for another reason, such as an end of the body that is unclear.
    Refused(Error),
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
            Self::Refused(error) => error.fmt(f),
            Self::TooLong(limit) => {
                write!(f, "the answer has more than {limit} bytes")
            }
        }
    }
}

impl From<TlsError> for Trouble {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Io(ErrorKind::TimedOut) => Self::Silence,
            error => Self::Tls(error),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Tls(error) => error.into(),
            Error::Http(HttpError::Malformed) => Self::NotHttp,
            Error::Http(HttpError::HeadTooLarge) => Self::HeadTooLarge,
            Error::Http(HttpError::Incomplete { .. }) | Error::ConnectionClosed => Self::Incomplete,
            error => Self::Refused(error),
        }
    }
}

impl Client {
    /// A client that trusts all built-in roots and these, given as DER.
    pub fn new(roots: Vec<Vec<u8>>) -> Result<Self, CliError> {
        let client = Self {
            roots,
            buffers: Box::new(Buffers::new()),
            chains: BTreeMap::new(),
        };
        trusting(&client.roots)?;
        Ok(client)
    }

    /// The roots it trusts.
    pub fn roots(&self) -> Roots<'_> {
        trusting(&self.roots).unwrap_or_default()
    }

    /// The roots it trusts besides those that can be built in.
    pub fn more_roots(&self) -> Roots<'_> {
        rehearsal::with(Roots::empty(), &self.roots).unwrap_or_default()
    }

    /// Looks at the certificates of a server, once.
    pub async fn look_at_certificates(&mut self, url: &HttpsUrl<'_>) {
        let server = (url.host().to_owned(), url.port());
        if self.chains.contains_key(&server) {
            return;
        }
        let network = HostNetwork::default();
        let chain = async { Chain::of(dial(&network, url).await.ok()?, url.host()).await };
        if let Ok(Some(chain)) = tokio::time::timeout(TIMEOUT, chain).await {
            self.chains.insert(server, chain);
        }
    }

    /// The certificates of a server, if they have been looked at.
    pub fn chain(&self, url: &HttpsUrl<'_>) -> Option<&Chain> {
        self.chains.get(&(url.host().to_owned(), url.port()))
    }

    /// The hosts that were asked, and their certificates.
    pub fn chains(&self) -> impl Iterator<Item = (&str, &Chain)> {
        let chains = self.chains.iter();
        chains.map(|((host, _), chain)| (host.as_str(), chain))
    }

    /// Downloads what is wanted of a document, of at most `limit` bytes. `progress` gets the bytes so far and in total.
    pub async fn get(
        &mut self,
        url: &HttpsUrl<'_>,
        want: Want<'_>,
        limit: usize,
        mut progress: impl FnMut(usize, Option<usize>),
    ) -> Result<Answer, Trouble> {
        let network = tunnel::network();
        let socket = dial(&network, url).await?;
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

        let request = Request {
            url: *url,
            identity: DOCTOR,
            want,
        };
        let mut buffer = [0; MAX_HEAD];
        let request = request.encode(&mut buffer).map_err(Error::Http)?;
        within_timeout(stream.write_all(request)).await??;
        within_timeout(stream.flush()).await??;

        let mut answer = read_head(&mut stream).await?;
        let length = match answer.head.framing {
            // More than can be counted is more than any limit.
            Framing::Length(length) => Some(usize::try_from(length).unwrap_or(usize::MAX)),
            Framing::Chunked | Framing::Close => None,
        };
        if length.is_some_and(|length| length > limit) {
            return Err(Trouble::TooLong(limit));
        }
        let mut wire = Wire::new(&mut stream, usize::MAX);
        let mut body = Body::new(&mut wire, &answer.head);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match body.read(&mut buffer).await? {
                0 => return Ok(answer),
                n => answer.body.extend_from_slice(&buffer[..n]),
            }
            if answer.body.len() > limit {
                return Err(Trouble::TooLong(limit));
            }
            progress(answer.body.len(), length);
        }
    }
}

/// A connection to a server, without TLS.
async fn dial<'n>(
    network: &'n HostNetwork,
    url: &HttpsUrl<'_>,
) -> Result<<HostNetwork as TcpConnect>::Socket<'n>, Trouble> {
    let address = match url.host().parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => resolve(network, url.host()).await?,
    };
    within_timeout(network.connect(SocketAddr::new(address, url.port())))
        .await?
        .map_err(Trouble::Connect)
}

/// An address of a host, as a device finds it: of IPv4, or else of IPv6.
async fn resolve(network: &HostNetwork, host: &str) -> Result<IpAddr, Trouble> {
    for kind in [AddrType::IPv4, AddrType::IPv6] {
        if let Ok(address) = within_timeout(network.get_host_by_name(host, kind)).await? {
            return Ok(address);
        }
    }
    Err(Trouble::Resolve)
}

async fn within_timeout<T>(operation: impl Future<Output = T>) -> Result<T, Trouble> {
    tokio::time::timeout(TIMEOUT, operation)
        .await
        .map_err(|_| Trouble::Silence)
}

/// A connection, as the client reads it: at most some bytes at a time, and none later than the timeout.
struct Wire<'s, S> {
    stream: &'s mut S,
    most: usize,
}

impl<'s, S> Wire<'s, S> {
    fn new(stream: &'s mut S, most: usize) -> Self {
        Self { stream, most }
    }
}

impl<S> ErrorType for Wire<'_, S> {
    type Error = TlsError;
}

impl<S: Read<Error = TlsError>> Read for Wire<'_, S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        let most = buffer.len().min(self.most);
        let read = self.stream.read(&mut buffer[..most]);
        tokio::time::timeout(TIMEOUT, read)
            .await
            .unwrap_or(Err(TlsError::Io(ErrorKind::TimedOut)))
    }
}

/// Reads the head of the final answer, and nothing behind it. A body in an encoding that the client refuses can be read on.
async fn read_head(stream: &mut impl Read<Error = TlsError>) -> Result<Answer, Trouble> {
    let mut buffer = [0; MAX_HEAD];
    // Byte by byte: when the client refuses a head, what comes next is the body.
    let mut wire = Wire::new(stream, 1);
    let read = Head::read(&mut wire, &mut buffer).await;
    let mut seen = buffer.to_vec();
    let is_encoded = matches!(read, Err(Error::Http(HttpError::Encoded)));
    let head = if is_encoded {
        seen = without_encoding(&buffer);
        let head = parse_head(&seen).map_err(Error::Http)?;
        head.ok_or(Trouble::NotHttp)?
    } else {
        read?
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let location = head
        .location
        .map(|(start, end)| text(seen.get(start..end).unwrap_or_default()));
    let fields: Vec<_> = lines(&buffer)
        .filter_map(field)
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let mut answer = Answer {
        head,
        encoding: None,
        location,
        fields,
        body: Vec::new(),
    };
    if is_encoded {
        answer.encoding = answer.field(ENCODING).map(str::to_owned);
    }
    Ok(answer)
}

/// The field for which the client refuses a head that it could read otherwise.
const ENCODING: &str = "content-encoding";

/// The lines of a head that the client has read, which may be followed by other bytes.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.trim_ascii_start()
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii_end)
        .take_while(|line| !line.is_empty())
}

/// The name and the value of a field.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], &line[colon + 1..]))
}

/// The same head, as it would be without an encoding.
fn without_encoding(head: &[u8]) -> Vec<u8> {
    let is_other = |line: &&[u8]| {
        field(line).is_none_or(|(name, _)| !name.eq_ignore_ascii_case(ENCODING.as_bytes()))
    };
    let mut plain = lines(head)
        .filter(is_other)
        .collect::<Vec<_>>()
        .join(&b"\r\n"[..]);
    plain.extend_from_slice(b"\r\n\r\n");
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that delivers these bytes, then ends.
    struct Bytes<'a>(&'a [u8]);

    impl ErrorType for Bytes<'_> {
        type Error = TlsError;
    }

    impl Read for Bytes<'_> {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
            let n = buffer.len().min(self.0.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    /// The head of an answer, and what is left on the connection behind it.
    async fn read(bytes: &str) -> (Result<Answer, Trouble>, String) {
        let mut stream = Bytes(bytes.as_bytes());
        let answer = read_head(&mut stream).await;
        (answer, String::from_utf8(stream.0.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_the_client_reads_past_is_kept() {
        let (answer, rest) = read(
            "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control:  max-age=60 \r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
             Content-Length: 4\r\n\r\nlamp",
        )
        .await;
        let answer = answer.unwrap();
        assert_eq!(answer.head.framing, Framing::Length(4));
        assert_eq!(answer.strong_etag(), Some("\"1\""));
        assert_eq!(answer.field("cache-control"), Some("max-age=60"));
        assert_eq!(answer.field("Date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
        assert_eq!(answer.field("Age"), None);
        assert_eq!(answer.encoding, None);
        assert_eq!(rest, "lamp");
    }

    #[tokio::test]
    async fn an_encoding_that_the_client_refuses_is_named_with_the_head() {
        for interim in [
            "",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        ] {
            let (answer, rest) = read(&format!(
                "{interim}HTTP/1.1 307 Temporary Redirect\r\nETag: W/\"1\"\r\nContent-Encoding: gzip\r\n\
                 Location: https://elsewhere.example/\r\nContent-Length: 4\r\n\r\nlamp"
            ))
            .await;
            let answer = answer.unwrap();
            assert_eq!(answer.encoding.as_deref(), Some("gzip"), "{interim}");
            assert_eq!(answer.head.status, 307);
            assert_eq!(answer.head.framing, Framing::Length(4));
            assert_eq!(answer.strong_etag(), None);
            let location = answer.location.as_deref();
            assert_eq!(location, Some("https://elsewhere.example/"));
            assert_eq!(answer.field("link"), None);
            assert_eq!(rest, "lamp");
        }
        let (answer, _) = read("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\n").await;
        assert_eq!(answer.unwrap().encoding, None);
    }

    #[tokio::test]
    async fn what_the_client_refuses_is_refused() {
        let refusal = async |bytes: &str| read(bytes).await.0.unwrap_err();
        for ambiguous in [
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            // Neither does an encoding hide it.
            "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: -4\r\n\r\n",
        ] {
            let trouble = refusal(ambiguous).await;
            assert!(
                matches!(trouble, Trouble::Refused(Error::Http(HttpError::Framing))),
                "{trouble:?}"
            );
        }
        let fields = "X: y\r\n".repeat(MAX_FIELDS + 1);
        let many = refusal(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).await;
        assert!(matches!(many, Trouble::HeadTooLarge), "{many:?}");
        let page = refusal("<html>\r\n\r\n").await;
        assert!(matches!(page, Trouble::NotHttp), "{page:?}");
        let cut = refusal("HTTP/1.1 200 OK\r\nContent-").await;
        assert!(matches!(cut, Trouble::Incomplete), "{cut:?}");
    }
}
