//! The server: a listener, TLS, HTTP/1.1, and the S3 service behind them.

use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::access::{Gate, KeyPair};
use crate::authority::Authority;
use crate::error::file_error;
use crate::host::HostNames;
use crate::observe::{Observed, RequestRecord};
use crate::operations::Operations;
use crate::store::{self, Store};
use crate::{DevServerError, Options};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be idle between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long [`DevServer::stop`] waits for responses that are being sent.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How many records a reader of [`DevServer::requests`] may lag behind.
const RECORDS_KEPT: usize = 1024;

/// A running S3 server. It runs until it is stopped or dropped.
pub struct DevServer {
    local_addr: SocketAddr,
    authority: Authority,
    certificate_names: Vec<String>,
    dir: PathBuf,
    requests: broadcast::Sender<RequestRecord>,
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
    // Declared last, so dropped last: first the lock, then the directory if it is temporary.
    _lock: File,
    _temporary: Option<TempDir>,
}

impl DevServer {
    /// Starts a server. It is ready when this returns.
    ///
    /// # Errors
    ///
    /// The address is in use, or it is beyond this machine and the secret is the default; another server uses the directory,
    /// a file in it cannot be used, or a host name is not valid: see [`DevServerError`].
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with I/O and time enabled.
    pub async fn start(options: Options) -> Result<DevServer, DevServerError> {
        if options.is_open_to_others() {
            return Err(DevServerError::KnownSecret {
                address: options.listen,
            });
        }
        let (dir, temporary) = open_dir(options.dir.as_deref())?;
        let lock = store::lock(&dir)?;
        let authority = Authority::load_or_create(&dir)?;
        let store = Arc::new(Store::open(&dir)?);

        let listen_error = |source| DevServerError::Listen {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;

        let host_names = HostNames::new(&options, local_addr)?;
        let certificate_names = host_names.certificate_names();
        let tls = TlsAcceptor::from(Arc::new(authority.server_config(&certificate_names)?));
        let (requests, _) = broadcast::channel(RECORDS_KEPT);
        let (stopping, stopped) = watch::channel(false);
        let connections = Connections {
            tls,
            service: service(&options, store, host_names),
            requests: requests.clone(),
            stopping: stopped,
        };
        let task = tokio::spawn(connections.serve(listener));
        tracing::debug!(%local_addr, dir = %dir.display(), "development server started");
        Ok(DevServer {
            local_addr,
            authority,
            certificate_names,
            dir,
            requests,
            stopping,
            task,
            _lock: lock,
            _temporary: temporary,
        })
    }

    /// The URL for `--endpoint-url`: `https://localhost:<port>`, or the address listened on if it is one of the network or of IPv6,
    /// since `localhost` is 127.0.0.1 to many programs.
    /// Objects are at `<url>/<bucket>/<key>`.
    pub fn endpoint_url(&self) -> String {
        let ip = self.local_addr.ip();
        let port = self.local_addr.port();
        if ip.is_unspecified() || (ip.is_loopback() && ip.is_ipv4()) {
            format!("https://localhost:{port}")
        } else {
            format!("https://{}", self.local_addr)
        }
    }

    /// The address listened on, with the actual port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The DNS names, wildcards and IP addresses that the server's certificate covers.
    pub fn certificate_names(&self) -> &[String] {
        &self.certificate_names
    }

    /// The local authority's certificate in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// The same as a file in [`dir`](Self::dir), for `AWS_CA_BUNDLE` or `curl --cacert`.
    pub fn ca_path(&self) -> &Path {
        &self.authority.path
    }

    /// The same in DER, for devices.
    pub fn ca_der(&self) -> &[u8] {
        &self.authority.der
    }

    /// The directory with the buckets and the authority.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every request from now on, reported when its response has been passed to the connection. A reader that lags more than
    /// 1,024 records behind loses the oldest.
    pub fn requests(&self) -> broadcast::Receiver<RequestRecord> {
        self.requests.subscribe()
    }

    /// Stops the server: it accepts no new connections, and responses may complete within two seconds. A temporary directory
    /// is removed.
    pub async fn stop(mut self) {
        // This fails if the task has already ended.
        let _ = self.stopping.send(true);
        let _ = (&mut self.task).await;
    }
}

impl fmt::Debug for DevServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevServer")
            .field("local_addr", &self.local_addr)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open_dir(dir: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), DevServerError> {
    match dir {
        Some(dir) => {
            fs::create_dir_all(dir).map_err(file_error(dir))?;
            Ok((dir.canonicalize().map_err(file_error(dir))?, None))
        }
        None => {
            let temporary = tempfile::Builder::new()
                .prefix("s3ota-devserver-")
                .tempdir()
                .map_err(file_error(&std::env::temp_dir()))?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

fn service(options: &Options, store: Arc<Store>, host_names: HostNames) -> S3Service {
    let gate = Gate {
        store: Arc::clone(&store),
        access: options.access,
    };
    let mut builder =
        S3ServiceBuilder::new(Operations::new(store, gate.clone(), options.region.clone()));
    builder.set_auth(KeyPair {
        access_key: options.access_key.clone(),
        secret_key: options.secret_key.clone().into(),
    });
    builder.set_access(gate);
    builder.set_host(host_names);
    builder.build()
}

/// What each connection needs.
#[derive(Clone)]
struct Connections {
    tls: TlsAcceptor,
    service: S3Service,
    requests: broadcast::Sender<RequestRecord>,
    stopping: watch::Receiver<bool>,
}

impl Connections {
    /// Accepts connections until told to stop.
    async fn serve(mut self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        tasks.spawn(self.clone().serve_one(stream, peer));
                    }
                    Err(error) => {
                        // Most likely there are no file descriptors left. Others may be closed meanwhile.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                _ = self.stopping.changed() => break,
            }
        }
        drop(listener);
        let _ = tokio::time::timeout(STOP_TIMEOUT, async {
            while tasks.join_next().await.is_some() {}
        })
        .await;
        tasks.shutdown().await;
    }

    async fn serve_one(mut self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let stream = tokio::select! {
            handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)) => match handshake {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::warn!(%peer, %error, "TLS handshake failed"),
                Err(_) => return tracing::warn!(%peer, "TLS handshake took too long"),
            },
            _ = self.stopping.changed() => return,
        };
        // Layers go around the S3 service here.
        let service = Observed {
            inner: self.service,
            peer,
            audience: self.requests,
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            _ = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}
