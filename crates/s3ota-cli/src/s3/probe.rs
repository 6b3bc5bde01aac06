//! Requests as a device makes them: over HTTPS, without credentials.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, TlsContext, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::error::chain;
use crate::error::CliError;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client without an identity.
#[derive(Debug)]
pub struct Probe(Connector);

impl Probe {
    /// A client that trusts the certificates in the file `ca` besides the system's.
    pub fn trusting(ca: Option<&Path>) -> Result<Self, CliError> {
        let ca = ca.filter(|path| !path.as_os_str().is_empty());
        super::tls::trust(ca, true).map(Self::new)
    }

    pub(super) fn new(tls: TlsContext) -> Self {
        let provider = Provider::rustls(CryptoMode::Ring);
        Self(
            Connector::builder()
                .tls_provider(provider)
                .tls_context(tls)
                .build(),
        )
    }

    /// The document at a URL, at most `limit` bytes. Redirects are followed as a device does: a few, and to https only.
    pub async fn get(&self, url: &str, limit: usize) -> Result<Vec<u8>, CliError> {
        let late = |_| {
            unreadable(
                url,
                &format!("no answer within {} seconds", TIMEOUT.as_secs()),
            )
        };
        let fetch = async {
            let mut at = url.to_owned();
            for _ in 0..=s3ota::MAX_REDIRECTS {
                match self.ask(&at, limit).await? {
                    Ok(document) => return Ok(document),
                    Err(elsewhere) => at = elsewhere,
                }
            }
            Err(CliError::new(
                "http.redirect",
                format!("{url} redirects too often"),
            ))
        };
        tokio::time::timeout(TIMEOUT, fetch).await.map_err(late)?
    }

    /// The document at a URL, or the URL that it redirects to.
    async fn ask(&self, url: &str, limit: usize) -> Result<Result<Vec<u8>, String>, CliError> {
        let mut request =
            HttpRequest::get(url).map_err(|error| unreadable(url, &error.to_string()))?;
        request.headers_mut().insert(
            "user-agent",
            concat!("s3ota/", env!("CARGO_PKG_VERSION"), " verify"),
        );
        let response = self
            .0
            .call(request)
            .await
            .map_err(|error| unreadable(url, &chain(&error)))?;
        match (
            response.status().as_u16(),
            response.headers().get("location"),
        ) {
            (200, _) => {}
            (301 | 302 | 303 | 307 | 308, Some(location)) if location.starts_with("https://") => {
                return Ok(Err(location.to_owned()));
            }
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                let message =
                    format!("{url} redirects to {location}, which a device does not follow");
                return Err(CliError::new("http.redirect", message));
            }
            (status, _) => {
                return Err(CliError::new(
                    "http.status",
                    format!("{url} answers HTTP {status}"),
                ));
            }
        }
        let mut body = ByteStream::new(response.into_body());
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| unreadable(url, &error.to_string()))?);
            if bytes.len() > limit {
                return Err(CliError::new(
                    "http.length",
                    format!("{url} has more than {limit} bytes"),
                ));
            }
        }
        Ok(Ok(bytes))
    }

    /// The status of a GET for the first byte, or why there was no answer.
    pub async fn status(&self, url: &str) -> Result<u16, String> {
        let mut request = HttpRequest::get(url).map_err(|error| error.to_string())?;
        request.headers_mut().insert("range", "bytes=0-0");
        request.headers_mut().insert(
            "user-agent",
            concat!("s3ota/", env!("CARGO_PKG_VERSION"), " publish"),
        );
        match tokio::time::timeout(TIMEOUT, self.0.call(request)).await {
            Ok(Ok(response)) => Ok(response.status().as_u16()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {} seconds", TIMEOUT.as_secs())),
        }
    }
}

fn unreadable(url: &str, problem: &str) -> CliError {
    CliError::new("http.get", format!("{url} cannot be downloaded: {problem}"))
}
