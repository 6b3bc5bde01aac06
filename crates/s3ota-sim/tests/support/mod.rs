//! A scripted HTTPS server and a device that updates from it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use s3ota::tls::Roots;
use s3ota::{Chip, Config, Error, Hooks, Outcome, Patience, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Flash, RunningFirmware, Setup, VirtualDevice};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// What the script answers.
pub enum Reply {
    /// These bytes; the connection stays open.
    Send(Vec<u8>),
    /// These bytes, and then the end of the connection, with or without a close_notify.
    SendAndClose(Vec<u8>, bool),
    /// These bytes one at a time, a pause before each.
    Drip(Vec<u8>, Duration),
}

/// An HTTPS server on the loopback address that answers by a script.
pub struct Server {
    pub port: u16,
    pub ca: Vec<u8>,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts a server. The script is called with its own port in hand.
    pub async fn start(script: impl Fn(&Request, u16) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_as(|_| {}, script).await
    }

    /// Starts a server whose certificate is not as it should be.
    pub async fn start_as(
        change: impl FnOnce(&mut CertificateParams),
        script: impl Fn(&Request, u16) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_der = ca.self_signed(&ca_key).unwrap().der().to_vec();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(String::from);
        let mut leaf = CertificateParams::new(names).unwrap();
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
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(script);
        let log = requests.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, script, log) = (acceptor.clone(), script.clone(), log.clone());
                tokio::spawn(async move {
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
                        let request = Request {
                            connection,
                            path,
                            head,
                        };
                        log.lock().unwrap().push(request.clone());
                        let sent = match script(&request, port) {
                            Reply::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
                            Reply::SendAndClose(bytes, clean) => {
                                let _ = stream.write_all(&bytes).await;
                                let _ = stream.flush().await;
                                if clean {
                                    let _ = stream.shutdown().await;
                                }
                                false
                            }
                            Reply::Drip(bytes, pause) => {
                                for byte in bytes {
                                    tokio::time::sleep(pause).await;
                                    if stream.write_all(&[byte]).await.is_err()
                                        || stream.flush().await.is_err()
                                    {
                                        return;
                                    }
                                }
                                true
                            }
                        };
                        if !sent || stream.flush().await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            port,
            ca: ca_der,
            requests,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// A 200 with a length.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend(body);
    response
}

/// An answer without a body.
pub fn status(line: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n{fields}\r\n").into_bytes()
}

/// A firmware for the ESP32-C3, of 100,000 bytes.
pub fn firmware(version: &str) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version)
        .length(100_000)
        .build()
}

/// A manifest as people write it.
pub fn manifest(version: &str, port: u16) -> Vec<u8> {
    format!(r#"{{"version":"{version}","url":"https://localhost:{port}/image.bin"}}"#).into_bytes()
}

/// A manifest with size and hash.
pub fn full_manifest(version: &str, port: u16, image: &[u8]) -> Vec<u8> {
    let sha256: String = Sha256::digest(image)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        r#"{{"version":"{version}","url":"https://localhost:{port}/image.bin","size":{},"sha256":"{sha256}","chip":"esp32c3"}}"#,
        image.len()
    )
    .into_bytes()
}

/// A script that serves a manifest and an image.
pub fn serving(
    version: &'static str,
    image: Vec<u8>,
) -> impl Fn(&Request, u16) -> Reply + Send + Sync {
    move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest(version, port))),
        "/image.bin" => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    }
}

/// A script that serves the firmware of this version, with its hash: the same release wherever it comes from.
pub fn releasing(version: &'static str) -> impl Fn(&Request, u16) -> Reply + Send + Sync {
    let image = firmware(version);
    move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&full_manifest(version, port, &image))),
        "/image.bin" => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    }
}

/// One attempt, and patience enough for a machine that does other things beside.
pub const IMPATIENT: Patience = Patience {
    idle: Duration::from_secs(10),
    deadline: Duration::from_secs(60),
    attempts: 1,
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(50),
};

/// A device that runs `version` from `ota_0`.
pub fn device(version: &str) -> VirtualDevice {
    VirtualDevice::new(Flash::in_memory(
        Setup::default().flash(&firmware(version)).unwrap(),
    ))
}

/// Boots the device and updates it from the server's `/manifest.json`.
pub async fn update(
    device: &mut VirtualDevice,
    server: &Server,
    patience: Patience,
) -> Result<Outcome, Error> {
    let running = device.power_on().unwrap();
    update_with(device, &running, server, patience, &mut ()).await
}

/// Updates a booted device.
pub async fn update_with(
    device: &mut VirtualDevice,
    running: &RunningFirmware,
    server: &Server,
    patience: Patience,
    hooks: &mut impl Hooks,
) -> Result<Outcome, Error> {
    let mut workspace = Box::new(Workspace::new());
    let url = server.url("/manifest.json");
    let config = config(&url, running, server, patience);
    device
        .updater(running, config, &mut workspace)
        .install(hooks)
        .await
}

/// The configuration of the running firmware.
pub fn config<'a>(
    url: &'a str,
    running: &'a RunningFirmware,
    server: &'a Server,
    patience: Patience,
) -> Config<'a> {
    let mut roots = Roots::empty();
    roots.add_der(&server.ca).unwrap();
    Config {
        roots,
        patience,
        ..Config::new(url, running.version(), Chip::Esp32C3, "device-1")
    }
}

/// Confirms the running firmware.
pub async fn confirm(
    device: &mut VirtualDevice,
    running: &RunningFirmware,
    server: &Server,
) -> bool {
    let mut workspace = Box::new(Workspace::new());
    let config = config("https://localhost/", running, server, IMPATIENT);
    device
        .updater(running, config, &mut workspace)
        .confirm()
        .await
        .unwrap()
}
