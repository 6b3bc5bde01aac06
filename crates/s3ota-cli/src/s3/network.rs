//! The HTTP client of every request to AWS and to S3: it heeds proxies, and its errors name the server.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use hyper::Uri;

use super::error::chain;
use super::proxy::{Proxies, Proxy};
use super::tunnel;

/// The network as a client of the SDK uses it.
#[derive(Debug)]
pub(super) struct Network {
    tls: TlsContext,
    connector: OnceLock<SharedHttpConnector>,
}

impl Network {
    pub(super) fn new(tls: TlsContext) -> Self {
        Self {
            tls,
            connector: OnceLock::new(),
        }
    }
}

impl HttpClient for Network {
    // All requests have the same timeouts.
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let make = || SharedHttpConnector::new(Route::new(&self.tls, Some(settings)));
        self.connector.get_or_init(make).clone()
    }
}

/// Connections: direct ones, and those through each proxy.
#[derive(Debug)]
pub(super) struct Route {
    proxies: Proxies,
    direct: Connector,
    tls: TlsContext,
    settings: Option<HttpConnectorSettings>,
    /// For http and for https.
    proxied: [OnceLock<Connector>; 2],
}

impl Route {
    pub(super) fn new(tls: &TlsContext, settings: Option<&HttpConnectorSettings>) -> Self {
        let settings = settings.cloned();
        Self {
            proxies: Proxies::from_env(),
            direct: connector(tls, settings.clone(), None),
            tls: tls.clone(),
            settings,
            proxied: Default::default(),
        }
    }
}

fn connector(
    tls: &TlsContext,
    settings: Option<HttpConnectorSettings>,
    proxy: Option<ProxyConfig>,
) -> Connector {
    let mut builder = Connector::builder();
    builder.set_connector_settings(settings);
    let mut builder = builder
        .tls_provider(Provider::rustls(CryptoMode::Ring))
        .tls_context(tls.clone());
    builder.set_proxy_config(proxy);
    builder.build_with_resolver(Resolver)
}

impl HttpConnector for Route {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let failed =
            |problem: String| HttpConnectorFuture::ready(Err(ConnectorError::user(problem.into())));
        let target = match Target::of(request.uri()) {
            Some(target) => target,
            None => return failed(format!("`{}` is not the URL of a server", request.uri())),
        };
        let proxy = match self.proxies.to(target.is_https, &target.host, target.port) {
            Ok(proxy) => proxy,
            Err(problem) => return failed(problem),
        };
        let connector = match &proxy {
            None => &self.direct,
            Some(proxy) => {
                if let Some(answer) = tunnel::refused(proxy, &target.host, target.port) {
                    return failed(format!("{target}: {answer}"));
                }
                let config = match ProxyConfig::all(proxy.url.as_str()) {
                    Ok(config) => config,
                    Err(error) => return failed(format!("{proxy}: {error}")),
                };
                self.proxied[usize::from(target.is_https)]
                    .get_or_init(|| connector(&self.tls, self.settings.clone(), Some(config)))
            }
        };
        let unused = self
            .proxies
            .unused(target.is_https, &target.host, target.port);
        let answer = connector.call(request);
        HttpConnectorFuture::new(async move {
            match answer.await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(explain(error, &target, proxy, unused).await),
            }
        })
    }
}

/// The server of a request.
#[derive(Debug, Clone)]
struct Target {
    is_https: bool,
    host: String,
    port: u16,
}

impl Target {
    fn of(uri: &str) -> Option<Self> {
        let uri: Uri = uri.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self {
            is_https,
            host: uri.host()?.to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// An error with the server, and with the proxy if there is one.
#[derive(Debug)]
struct Unreachable {
    message: String,
    cause: Option<ConnectorError>,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Unreachable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// The same error of the same kind, which decides whether the SDK tries again, in words for people.
async fn explain(
    error: ConnectorError,
    target: &Target,
    proxy: Option<Proxy>,
    unused: Option<String>,
) -> ConnectorError {
    let (is_timeout, is_io, mut is_user) = (error.is_timeout(), error.is_io(), error.is_user());
    let text = chain(&error);
    let unreachable = match proxy {
        Some(proxy) if text.contains("tunnel error") => {
            let closed = match text.contains("proxy authorization required") {
                true => Some(tunnel::wants_user(&proxy, &target.host, target.port)),
                false if proxy.is_https() => None,
                // The client keeps the proxy's answer to itself: ask again.
                false => {
                    let host = target.host.trim_matches(['[', ']']);
                    tunnel::open(&proxy, host, target.port).await.err()
                }
            };
            is_user |= matches!(closed, Some(tunnel::Closed::Refused(_)));
            let answer = closed.map_or_else(
                || format!("{proxy} opens no connection: {text}"),
                tunnel::Closed::text,
            );
            Unreachable {
                message: format!("{target}: {answer}"),
                cause: None,
            }
        }
        proxy => {
            let through = match (proxy, unused) {
                (Some(proxy), _) => format!(" through {proxy}"),
                (None, Some(why)) => format!(" ({why})"),
                (None, None) => String::new(),
            };
            Unreachable {
                message: format!("{target}{through}{}", remark(target, &text)),
                cause: Some(error),
            }
        }
    };
    let unreachable = Box::new(unreachable);
    if is_user {
        ConnectorError::user(unreachable)
    } else if is_timeout {
        ConnectorError::timeout(unreachable)
    } else if is_io {
        ConnectorError::io(unreachable)
    } else {
        ConnectorError::other(unreachable, None)
    }
}

/// What an error means where the URL has the wrong scheme.
fn remark(target: &Target, text: &str) -> &'static str {
    match target.is_https {
        true if text.contains("InvalidContentType") => {
            " does not speak TLS on this port (is it an http:// server?)"
        }
        false if text.contains("invalid HTTP") => {
            " does not speak plain HTTP on this port (is it an https:// server?)"
        }
        false if text.contains("message completed") || text.contains("reset by peer") => {
            " closes the connection (if it speaks TLS on this port, write https://)"
        }
        _ => "",
    }
}

/// The host's resolver, which may not know that names under `.localhost` are this machine (RFC 6761, section 6.3).
#[derive(Debug, Clone)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            if name.to_ascii_lowercase().ends_with(".localhost") {
                return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
            }
            let found = tokio::net::lookup_host((name, 0)).await;
            let found = found.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
