//! A plain HTTP proxy in front of the S3 server. A test tells it what to do with each request.

// Each test takes what it needs.
#![allow(dead_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use s3ota_devserver::DevServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    /// Without the query.
    pub path: String,
    pub has_condition: bool,
}

impl Asked {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It does not reach the server; the line breaks.
    Lost,
    /// The server does it, and the line breaks before the answer.
    Unanswered,
    /// The server is one that has never heard of such a thing.
    NotImplemented,
    /// The server is one that says it was done.
    Taken,
}

type Decide = dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Fate> + Send>> + Send + Sync;

/// Called when the server has done what stays unanswered, before the line breaks.
type Done = dyn Fn() + Send + Sync;

/// Starts a proxy; its URL.
pub async fn proxy<D, F>(
    server: &DevServer,
    decide: D,
    done: impl Fn() + Send + Sync + 'static,
) -> String
where
    D: Fn(Asked) -> F + Send + Sync + 'static,
    F: Future<Output = Fate> + Send + 'static,
{
    let decide: Arc<Decide> = Arc::new(move |asked| Box::pin(decide(asked)));
    let done: Arc<Done> = Arc::new(done);
    let mut roots = RootCertStore::empty();
    let ca = std::fs::read(server.ca_path()).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(&ca).unwrap())
        .unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let target = server.local_addr().port();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (decide, done) = (decide.clone(), done.clone());
            let connector = connector.clone();
            tokio::spawn(async move {
                // A line that breaks is what the tests are about.
                let _ = one_request(client, target, connector, &*decide, &*done).await;
            });
        }
    });
    url
}

/// Serves one request of a connection, and ends it.
async fn one_request(
    mut client: TcpStream,
    target: u16,
    connector: TlsConnector,
    decide: &Decide,
    done: &Done,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let mut words = head.split(' ');
    let method = words.next().unwrap().to_owned();
    let path = words.next().unwrap().split('?').next().unwrap().to_owned();
    if header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;

    let has_condition = header("if-match").is_some() || header("if-none-match").is_some();
    let fate = decide(Asked {
        method,
        path,
        has_condition,
    })
    .await;
    match fate {
        Fate::Lost => return Ok(()),
        Fate::NotImplemented => {
            let xml = "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error>";
            let answer = format!(
                "HTTP/1.1 501 Not Implemented\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{xml}",
                xml.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Taken => {
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            return client.write_all(answer.as_bytes()).await;
        }
        Fate::Pass | Fate::Unanswered => {}
    }
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut server = connector.connect(name, server).await?;
    let (request_line, headers) = head.split_once("\r\n").unwrap();
    let headers: String = headers
        .split_inclusive("\r\n")
        .filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("expect:") && !line.starts_with("connection:")
        })
        .collect();
    let forwarded = format!("{request_line}\r\nconnection: close\r\n{headers}");
    server.write_all(forwarded.as_bytes()).await?;
    server.write_all(&body).await?;
    server.flush().await?;
    let mut answer = Vec::new();
    // The server may close without a notice, which TLS calls an error.
    let _ = server.read_to_end(&mut answer).await;
    if fate == Fate::Unanswered {
        done();
        return Ok(());
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}
