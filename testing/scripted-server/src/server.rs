//! An HTTPS server that answers by a script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// A request, as the script sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which connection it came over, counted from 0.
    pub connection: usize,
    /// Path and query.
    pub path: String,
    /// The whole head.
    pub head: String,
}

impl Request {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// What the script answers.
pub enum Reply {
    /// These bytes; the connection stays open.
    Send(Vec<u8>),
    /// These bytes, and then the end of the connection, with or without a close_notify.
    SendAndClose(Vec<u8>, bool),
    /// These bytes one at a time, a pause before each.
    Drip(Vec<u8>, Duration),
    /// These bytes, and then those others again and again for as long as the client stays.
    Endless(Vec<u8>, Vec<u8>),
}

/// What decides about every answer. It is called with its own port in hand.
pub trait Script: Fn(&Request, u16) -> Reply + Send + Sync + 'static {}

impl<T: Fn(&Request, u16) -> Reply + Send + Sync + 'static> Script for T {}

/// An authority, and a server's certificate and key that it vouches for.
pub struct Identity {
    pub ca: Vec<u8>,
    pub config: Arc<ServerConfig>,
}

/// The names every server answers to.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "cdn.example"];

impl Identity {
    /// New keys, and a certificate in which something may be changed.
    pub fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_der = ca.self_signed(&ca_key).unwrap().der().to_vec();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(NAMES.map(String::from)).unwrap();
        change(&mut leaf);
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        Self {
            ca: ca_der,
            config: Arc::new(config),
        }
    }

    /// Serves one connection until either side has enough of it. `answer` is called for each request.
    pub async fn serve<S>(
        &self,
        socket: S,
        connection: usize,
        answer: impl Fn(Request) -> Reply + Send,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let acceptor = TlsAcceptor::from(self.config.clone());
        let Ok(mut stream) = acceptor.accept(socket).await else {
            return;
        };
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let reply = answer(Request {
                connection,
                path,
                head,
            });
            if !send(&mut stream, reply).await {
                return;
            }
        }
    }
}

/// Sends a reply. `false` if that was the end of the connection.
async fn send(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> bool {
    let sent = match reply {
        Reply::Send(bytes) => stream.write_all(&bytes).await,
        Reply::SendAndClose(bytes, clean) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            if clean {
                let _ = stream.shutdown().await;
            }
            return false;
        }
        Reply::Drip(bytes, pause) => {
            for byte in bytes {
                tokio::time::sleep(pause).await;
                if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                    return false;
                }
            }
            Ok(())
        }
        Reply::Endless(bytes, again) => {
            let mut sent = stream.write_all(&bytes).await;
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
            }
            sent
        }
    };
    sent.is_ok() && stream.flush().await.is_ok()
}

/// A server on the loopback address.
pub struct Server {
    pub port: u16,
    pub ca: Vec<u8>,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server.
    pub async fn start(script: impl Script) -> Self {
        Self::start_as(|_| {}, script).await
    }

    /// Starts a server whose certificate is not as it should be.
    pub async fn start_as(
        change: impl FnOnce(&mut CertificateParams),
        script: impl Script,
    ) -> Self {
        Self::start_with(Identity::new(change), script).await
    }

    /// Starts a server with this certificate.
    pub async fn start_with(identity: Identity, script: impl Script) -> Self {
        let identity = Arc::new(identity);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            port,
            ca: identity.ca.clone(),
            requests: requests.clone(),
        };
        let script = Arc::new(script);
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (identity, script, log) = (identity.clone(), script.clone(), requests.clone());
                tokio::spawn(async move {
                    let answer = move |request: Request| {
                        log.lock().unwrap().push(request.clone());
                        script(&request, port)
                    };
                    identity.serve(socket, connection, answer).await;
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}
