//! The clients that the tests use.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use s3ota_devserver::{Access, DevServer, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A server in a temporary directory on a free port.
pub async fn start(access: Access) -> DevServer {
    DevServer::start(options(access)).await.unwrap()
}

pub fn options(access: Access) -> Options {
    Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        access,
        ..Options::default()
    }
}

/// The AWS SDK with the server's keys.
pub fn sdk(server: &DevServer) -> Client {
    sdk_with_secret(server, "s3ota-secret")
}

pub fn sdk_with_secret(server: &DevServer, secret: &str) -> Client {
    let trust = TrustStore::empty().with_pem_certificate(server.ca_pem());
    let http = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(
            TlsContext::builder()
                .with_trust_store(trust)
                .build()
                .unwrap(),
        )
        .build_https();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("s3ota", secret, None, None, "test"))
        .endpoint_url(server.endpoint_url())
        .force_path_style(true)
        .http_client(http)
        .build();
    Client::from_conf(config)
}

/// An HTTP/1.1 connection on which a test says exactly what it means.
pub struct Connection(BufReader<TlsStream<TcpStream>>);

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects under `name`, which the certificate must cover.
    pub async fn open(server: &DevServer, name: &str) -> Connection {
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(tls_config(server.ca_der(), &[b"http/1.1"])));
        Connection(BufReader::new(
            connector.connect(name, stream).await.unwrap(),
        ))
    }

    /// Sends a request with these lines after the first, and reads the answer.
    pub async fn ask(
        &mut self,
        method: &str,
        target: &str,
        host: &str,
        headers: &[&str],
    ) -> Answer {
        self.send(method, target, host, headers, b"").await;
        self.receive(method).await
    }

    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        host: &str,
        headers: &[&str],
        body: &[u8],
    ) {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.0.write_all(body).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// Reads the answer to a request with this method.
    pub async fn receive(&mut self, method: &str) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if method != "HEAD" && status != 304 && status != 204 {
            let length = answer
                .header("content-length")
                .expect("every answer tells its length")
                .parse()
                .unwrap();
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).await.unwrap();
        }
        answer
    }

    pub async fn get(&mut self, target: &str, headers: &[&str]) -> Answer {
        self.ask("GET", target, "localhost", headers).await
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (it, value) = line.split_once(':')?;
            it.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub fn tls_config(ca: &[u8], alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.to_vec())).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
    config
}

/// Bytes that look like nothing in particular.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}
