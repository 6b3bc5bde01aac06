//! Asking for a URL as a device does: over HTTPS, with no credentials.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, TlsContext, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::error::chain;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client that is nobody.
#[derive(Debug)]
pub struct Probe(Connector);

impl Probe {
    pub(super) fn new(tls: TlsContext) -> Self {
        let provider = Provider::rustls(CryptoMode::Ring);
        Self(
            Connector::builder()
                .tls_provider(provider)
                .tls_context(tls)
                .build(),
        )
    }

    /// The status of the answer to a GET of the first byte, or why there was no answer.
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
