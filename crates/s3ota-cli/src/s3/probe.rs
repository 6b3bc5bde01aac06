//! Requests as a device makes them: over HTTPS, without credentials.

use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};

use super::error::chain;
use super::network::Route;
use super::reason::Reason;
use crate::error::CliError;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client without an identity.
#[derive(Debug)]
pub struct Probe(Route);

impl Probe {
    /// A client that trusts the certificates in the file `ca` besides the system's.
    pub fn trusting(ca: Option<&Path>) -> Result<Self, CliError> {
        let ca = ca.filter(|path| !path.as_os_str().is_empty());
        super::tls::trust(ca, true).map(Self::new)
    }

    pub(super) fn new(tls: TlsContext) -> Self {
        Self(Route::new(&tls, None))
    }

    /// The document at a URL, at most `limit` bytes. Redirects are followed as a device does: a few, and to https only.
    pub async fn get(&self, url: &str, limit: usize) -> Result<Vec<u8>, CliError> {
        self.get_within(url, limit, TIMEOUT).await
    }

    /// The same for what may take longer: the whole download must end within `time`.
    pub async fn get_within(
        &self,
        url: &str,
        limit: usize,
        time: Duration,
    ) -> Result<Vec<u8>, CliError> {
        let late = |_| {
            unreadable(
                url,
                &format!("not downloaded within {} seconds", time.as_secs()),
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
        tokio::time::timeout(time, fetch).await.map_err(late)?
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
                let reason = reason(response).await;
                return Err(refused(url, status, reason.as_ref()));
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

    /// Why S3 refuses devices a URL, if it says so.
    pub async fn refusal(&self, url: &str) -> Option<CliError> {
        let (status, reason) = self.status(url).await.ok()?;
        reason.map(|reason| refused(url, status, Some(&reason)))
    }

    /// The status of a GET for the first byte, with S3's reason if it is a refusal; or why there was no answer.
    pub async fn status(&self, url: &str) -> Result<(u16, Option<Reason>), String> {
        let mut request = HttpRequest::get(url).map_err(|error| error.to_string())?;
        request.headers_mut().insert("range", "bytes=0-0");
        request.headers_mut().insert(
            "user-agent",
            concat!("s3ota/", env!("CARGO_PKG_VERSION"), " publish"),
        );
        let ask = async {
            let response = self.0.call(request).await;
            let response = response.map_err(|error| chain(&error))?;
            match response.status().as_u16() {
                status @ ..400 => Ok((status, None)),
                status => Ok((status, reason(response).await)),
            }
        };
        let late = |_| format!("no answer within {} seconds", TIMEOUT.as_secs());
        tokio::time::timeout(TIMEOUT, ask).await.map_err(late)?
    }
}

/// Why S3 refuses, if it is S3.
async fn reason(response: HttpResponse) -> Option<Reason> {
    const LIMIT: usize = 64 * 1024;
    let mut body = ByteStream::new(response.into_body());
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LIMIT {
            return None;
        }
    }
    Reason::of(&bytes)
}

/// The error that a URL does not answer with a document.
fn refused(url: &str, status: u16, reason: Option<&Reason>) -> CliError {
    let shown = url.split('?').next().unwrap_or(url);
    match reason.and_then(|reason| reason.of_devices("object")) {
        Some((code, message, fix)) => CliError::new(code, format!("{shown}: {message}")).hint(fix),
        None => {
            let said = reason.map_or(String::new(), |reason| format!(", {}", reason.said()));
            CliError::new(
                "http.status",
                format!("{shown} answers HTTP {status}{said}"),
            )
        }
    }
}

fn unreadable(url: &str, problem: &str) -> CliError {
    CliError::new("http.get", format!("{url} cannot be downloaded: {problem}"))
}
