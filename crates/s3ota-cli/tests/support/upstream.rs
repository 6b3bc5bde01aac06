//! The development server behind a server of a test: requests are read as they are, and passed on over TLS.

use std::io;
use std::sync::Arc;

use s3ota_devserver::DevServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// The way to the server.
#[derive(Clone)]
pub struct Upstream {
    connector: TlsConnector,
    port: u16,
}

impl Upstream {
    pub fn of(server: &DevServer) -> Self {
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
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            port: server.local_addr().port(),
        }
    }

    /// The server's whole answer to a request.
    pub async fn ask(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let server = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut server = self.connector.connect(name, server).await?;
        let (line, headers) = head.split_once("\r\n").unwrap();
        let kept = headers.split_inclusive("\r\n").filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("expect:") && !line.starts_with("connection:")
        });
        let kept: String = kept.collect();
        let forwarded = format!("{line}\r\nconnection: close\r\n{kept}");
        server.write_all(forwarded.as_bytes()).await?;
        server.write_all(body).await?;
        server.flush().await?;
        let mut answer = Vec::new();
        // The server may close without a notice, which TLS calls an error.
        let _ = server.read_to_end(&mut answer).await;
        Ok(answer)
    }
}

/// The value of a header in a request's head.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// The body that follows a head.
pub async fn body(client: &mut TcpStream, head: &str) -> io::Result<Vec<u8>> {
    if header(head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;
    Ok(body)
}
