//! The gateway as a server: HTTPS with the given certificate, or HTTP behind a proxy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

use super::answer::Gateway;
use crate::error::CliError;
use crate::output::Output;
use crate::text;

/// The longest time for a handshake or a request.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many connections are open at a time. Others wait.
const MOST_CONNECTIONS: usize = 1000;

/// TLS with the certificate chain and the key in these files.
pub fn tls(chain: &Path, key: &Path) -> Result<TlsAcceptor, CliError> {
    let broken = |path: &Path, problem: String| {
        CliError::new("gateway.tls", format!("{}: {problem}", path.display())).usage()
    };
    let read = |path| text::read(path).map_err(|error| CliError::file(path, &error).usage());
    let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(chain, error.to_string()))?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| broken(key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, secret)
        })
        .map_err(|error| broken(chain, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Listens until Ctrl-C.
pub async fn run(
    gateway: Gateway,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    is_open: bool,
    out: &Output,
) -> Result<(), CliError> {
    let unusable = |error: std::io::Error| {
        CliError::new(
            "gateway.listen",
            format!("cannot listen on {address}: {error}"),
        )
        .hint("choose another address with --listen")
    };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    out.say(format_args!(
        "The gateway to {} listens on {scheme}://{address}",
        gateway.location()
    ));
    if tls.is_none() {
        out.say(
            "Devices accept HTTPS only: put a TLS proxy in front, or use --tls-cert and --tls-key",
        );
    }
    if is_open {
        out.say("Anyone who finds it gets an answer: with --token-file, devices need a token");
    }
    out.event(
        "listening",
        json!({ "url": format!("{scheme}://{address}"), "port": address.port(), "tokens": !is_open }),
    );

    let gateway = Arc::new(gateway);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tokio::signal::ctrl_c() => break,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).acquire_owned().await)
        else {
            // Most likely out of file descriptors: others may be closed soon.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (gateway, tls) = (Arc::clone(&gateway), tls.clone());
        tokio::spawn(async move {
            let _place = place;
            match tls {
                Some(tls) => match tokio::time::timeout(TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => serve(&gateway, stream).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                },
                None => serve(&gateway, stream).await,
            }
        });
    }
    out.say("stopped");
    Ok(())
}

/// Answers the requests of one connection.
async fn serve(gateway: &Gateway, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(gateway.answer(&request).await) });
    let ended = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
