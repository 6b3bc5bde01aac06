//! The proxy between this host and a server, by the variables that curl and most programs heed: `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY` and `NO_PROXY`, in capitals or small letters. An empty variable counts as not set.
//!
//! This machine (`localhost`, loopback addresses) and the link (the metadata services of AWS) are never asked through a proxy.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::endpoint;

/// What the environment says about proxies.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    no: Vec<Rule>,
}

/// A variable that names a proxy, and its value, which may contain a password.
#[derive(Clone)]
struct Named {
    variable: String,
    value: String,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)
    }
}

/// Hosts that are asked directly.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// A domain, an address, a network, or `*`.
    hosts: String,
    /// Of these hosts, this port only.
    port: Option<u16>,
}

/// A proxy for some server.
#[derive(Clone)]
pub struct Proxy {
    variable: String,
    /// The variable's value, with a scheme.
    pub(super) url: String,
    intercept: Intercept,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_name(f)
    }
}

impl Proxy {
    /// Its scheme.
    pub fn is_https(&self) -> bool {
        self.intercept.uri().scheme_str() == Some("https")
    }

    /// Its host, without brackets.
    pub fn host(&self) -> &str {
        bare(self.intercept.uri().host().unwrap_or_default())
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        let uri = self.intercept.uri();
        uri.port_u16()
            .unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// The value of the field Proxy-Authorization.
    pub fn authorization(&self) -> Option<&[u8]> {
        self.intercept.basic_auth().map(|value| value.as_bytes())
    }

    fn fmt_name(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.intercept.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        let host = uri.host().unwrap_or_default();
        write!(f, "{scheme}://{host}:{}", self.port())
    }
}

/// Without its password, and with the variable that names it.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the proxy ")?;
        self.fmt_name(f)?;
        write!(f, " ({})", self.variable)
    }
}

impl Proxies {
    /// Those of the environment.
    pub fn from_env() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(env: impl Fn(&str) -> Option<String>) -> Self {
        let named = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            names.into_iter().find_map(|variable| {
                let value = env(&variable)?.trim().to_owned();
                (!value.is_empty()).then_some(Named { variable, value })
            })
        };
        let all = named("ALL_PROXY");
        let no = named("NO_PROXY").map_or(String::new(), |named| named.value);
        Self {
            http: named("HTTP_PROXY").or_else(|| all.clone()),
            https: named("HTTPS_PROXY").or(all),
            no: no
                .split([',', ' ', '\t'])
                .filter(|rule| !rule.is_empty())
                .map(Rule::read)
                .collect(),
        }
    }

    /// Whether any port of a host may have to be asked through a proxy over TLS, unless `NO_PROXY` exempts it.
    pub fn may_lead_to(&self, host: &str) -> bool {
        self.https.is_some() && !is_near(host)
    }

    /// Whether `NO_PROXY` exempts every port of a host.
    pub fn exempts_host(&self, host: &str) -> bool {
        self.exempts(bare(host).trim_end_matches('.'), None)
    }

    /// Why a server is asked directly although a proxy is set, as a sentence; `None` if none is set, or if it is used.
    pub fn unused(&self, is_https: bool, host: &str, port: u16) -> Option<String> {
        let host = bare(host).trim_end_matches('.');
        if is_near(host) {
            return None;
        }
        let (named, other) = match is_https {
            true => (&self.https, &self.http),
            false => (&self.http, &self.https),
        };
        match (named, other) {
            (Some(named), _) if self.exempts(host, Some(port)) => Some(format!(
                "{} is not used: NO_PROXY exempts {host}",
                named.variable
            )),
            (None, Some(other)) => {
                let (right, scheme) = if is_https {
                    ("HTTPS", "http")
                } else {
                    ("HTTP", "https")
                };
                Some(format!(
                    "{} is not used: it is for {scheme}:// only, set {right}_PROXY",
                    other.variable
                ))
            }
            _ => None,
        }
    }

    /// Whether `NO_PROXY` exempts a port of a host, or all of its ports.
    fn exempts(&self, host: &str, port: Option<u16>) -> bool {
        // hyper-util decides; only ports are unknown to it.
        let rules = self
            .no
            .iter()
            .filter(|rule| rule.port.is_none() || rule.port == port);
        let hosts: Vec<&str> = rules.map(|rule| rule.hosts.as_str()).collect();
        let bypass = Matcher::builder()
            .all("http://proxy")
            .no(hosts.join(","))
            .build();
        target(host).is_some_and(|target| bypass.intercept(&target).is_none())
    }

    /// The proxy to a server; `None` if it is asked directly. An error if the variable's value cannot be used.
    pub fn to(&self, is_https: bool, host: &str, port: u16) -> Result<Option<Proxy>, String> {
        let host = bare(host).trim_end_matches('.');
        let named = if is_https { &self.https } else { &self.http };
        let Some(named) = named.as_ref().filter(|_| !is_near(host)) else {
            return Ok(None);
        };
        let Some(target) = target(host).filter(|_| !self.exempts(host, Some(port))) else {
            return Ok(None);
        };
        let url = match named.value.contains("://") {
            true => named.value.clone(),
            false => format!("http://{}", named.value),
        };
        let variable = &named.variable;
        let scheme = url.split("://").next().unwrap_or_default();
        if !["http", "https"]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(scheme))
        {
            let kind = if scheme.starts_with("socks") {
                "SOCKS proxies"
            } else {
                "such proxies"
            };
            return Err(format!(
                "{variable} names a proxy with {scheme}://, and s3ota does not support {kind}: name an HTTP proxy (http://HOST:PORT), or \
                 exempt {host} with NO_PROXY"
            ));
        }
        let authority = url.split("://").nth(1).unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let server = authority
            .split_once('@')
            .map_or(authority, |(_, server)| server);
        let intercept = Matcher::builder().all(&url).build().intercept(&target);
        // A second @ or a wrong port would make it the URL of something else.
        match intercept.filter(|_| endpoint::host(server).is_some()) {
            Some(intercept) => Ok(Some(Proxy {
                variable: variable.clone(),
                url,
                intercept,
            })),
            None => Err(format!(
                "{variable} is not the URL of a proxy: write it like http://USER:PASSWORD@HOST:PORT, with special characters of the \
                 password percent-encoded (@ is %40)"
            )),
        }
    }
}

impl Rule {
    /// Reads `example.com`, `.example.com`, `*.example.com`, `example.com:8443`, `10.0.0.0/8`, `[::1]:9000` or `*`.
    fn read(text: &str) -> Self {
        let is_plain = text.parse::<IpAddr>().is_ok() || text.contains('/');
        let port_after = |rest: &str| rest.strip_prefix(':').and_then(|port| port.parse().ok());
        let (hosts, port) = match text.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((address, rest)) => (address, port_after(rest)),
            None if is_plain => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
                _ => (text, None),
            },
        };
        let hosts = match hosts.strip_prefix('*') {
            Some(domain) if domain.starts_with('.') => domain,
            _ => hosts,
        };
        Self {
            hosts: hosts.to_owned(),
            port,
        }
    }
}

/// Whether a host is this machine, or on its link.
fn is_near(host: &str) -> bool {
    let host = bare(host).trim_end_matches('.').to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        // fd00:ec2::/32 has the metadata services of AWS.
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => false,
    }
}

/// A server by its host, for the matcher.
fn target(host: &str) -> Option<Uri> {
    let url = match host.contains(':') {
        true => format!("https://[{host}]"),
        false => format!("https://{host}"),
    };
    url.parse().ok()
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn url(proxies: &Proxies, host: &str, port: u16) -> Option<String> {
        proxies.to(true, host, port).unwrap().map(|it| it.url)
    }

    #[test]
    fn the_variables_are_read_in_either_case_and_empty_ones_do_not_count() {
        for variables in [
            &[("HTTPS_PROXY", "http://proxy:3128")][..],
            &[("https_proxy", "http://proxy:3128")],
            &[("all_proxy", "http://proxy:3128")],
            &[("HTTPS_PROXY", ""), ("https_proxy", "http://proxy:3128")],
            &[
                ("HTTPS_PROXY", "http://proxy:3128"),
                ("ALL_PROXY", "socks5://other"),
            ],
            &[("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", "")],
        ] {
            let url = url(&proxies(variables), "s3.example.com", 443);
            assert_eq!(url.as_deref(), Some("http://proxy:3128"), "{variables:?}");
        }
        for variables in [
            &[("HTTP_PROXY", "http://proxy")][..],
            &[("HTTPS_PROXY", "")],
            &[],
        ] {
            assert_eq!(url(&proxies(variables), "s3.example.com", 443), None);
        }
        let plain = proxies(&[("http_proxy", "http://proxy")]);
        assert!(plain.to(false, "s3.example.com", 80).unwrap().is_some());
    }

    #[test]
    fn no_proxy_exempts_domains_addresses_networks_and_ports() {
        let of = |rules: &str| proxies(&[("HTTPS_PROXY", "http://proxy"), ("no_proxy", rules)]);
        for (rules, host, port) in [
            ("*", "s3.example.com", 443),
            ("example.com", "example.com", 443),
            ("example.com", "s3.EXAMPLE.com.", 443),
            (".example.com", "s3.example.com", 443),
            ("*.example.com", "s3.example.com", 443),
            ("other.org, example.com", "s3.example.com", 443),
            ("other.org example.com", "s3.example.com", 443),
            ("example.com:8443", "s3.example.com", 8443),
            ("10.0.0.0/8", "10.1.2.3", 443),
            ("192.0.2.1", "192.0.2.1", 9000),
            ("192.0.2.1:9000", "192.0.2.1", 9000),
            ("2001:db8::/32", "[2001:db8::1]", 443),
            ("[2001:db8::1]", "2001:db8::1", 443),
            ("[2001:db8::1]:9000", "2001:db8::1", 9000),
            ("", "localhost", 9443),
            ("", "bucket.s3.localhost", 9443),
            ("", "127.0.0.1", 9443),
            ("", "[::1]", 9443),
            ("", "169.254.169.254", 80),
            ("", "[fd00:ec2::254]", 80),
        ] {
            assert_eq!(url(&of(rules), host, port), None, "{rules}: {host}:{port}");
        }
        for (rules, host, port) in [
            ("example.com", "notexample.com", 443),
            ("example.com:8443", "s3.example.com", 443),
            ("10.0.0.0/8", "11.1.2.3", 443),
            ("192.0.2.1:9000", "192.0.2.1", 443),
            ("[2001:db8::1]:9000", "2001:db8::1", 443),
            ("", "localhost.example.com", 443),
        ] {
            assert!(
                url(&of(rules), host, port).is_some(),
                "{rules}: {host}:{port}"
            );
        }
    }

    #[test]
    fn a_proxy_that_is_set_and_not_used_is_named_with_the_reason() {
        let unused = |variables: &[(&str, &str)], host: &str| {
            let proxies = proxies(variables);
            assert_eq!(
                proxies.unused(true, host, 443).is_some(),
                proxies.to(true, host, 443).unwrap().is_none() && !variables.is_empty()
            );
            proxies.unused(true, host, 443).unwrap_or_default()
        };
        let exempt = [
            ("https_proxy", "http://proxy"),
            ("NO_PROXY", ".example.com"),
        ];
        assert_eq!(
            unused(&exempt, "s3.example.com"),
            "https_proxy is not used: NO_PROXY exempts s3.example.com"
        );
        assert_eq!(unused(&exempt, "example.org"), "");
        let plain = unused(&[("HTTP_PROXY", "http://proxy")], "s3.example.com");
        assert!(
            plain.starts_with("HTTP_PROXY ") && plain.contains("set HTTPS_PROXY"),
            "{plain}"
        );
        assert_eq!(unused(&[], "s3.example.com"), "");
        let exempt = proxies(&exempt);
        assert!(exempt.exempts_host("s3.example.com.") && !exempt.exempts_host("example.org"));
        let port = proxies(&[
            ("HTTPS_PROXY", "http://proxy"),
            ("NO_PROXY", "example.com:1"),
        ]);
        assert!(!port.exempts_host("example.com"));
        assert_eq!(exempt.unused(true, "localhost", 443), None);
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://ada:p%40ss@proxy.example.com:3128/")]);
        let proxy = proxies.to(true, "s3.example.com", 443).unwrap().unwrap();
        let shown = format!("{proxy} {proxy:?} {proxies:?}");
        assert!(shown.contains("http://proxy.example.com:3128 (HTTPS_PROXY)"));
        assert!(
            !shown.contains("p%40ss") && !shown.contains("ada"),
            "{shown}"
        );
        let expected = base64_simd::STANDARD.encode_to_string("ada:p@ss");
        let expected = format!("Basic {expected}");
        assert_eq!(proxy.authorization(), Some(expected.as_bytes()));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_where_it_would_be() {
        for wrong in [
            "socks5://proxy:1080",
            "socks5h://proxy",
            "ftp://proxy",
            "http://u:p@ss@proxy",
            "http://u:p/ss@proxy",
            "http://proxy:x",
        ] {
            let proxies = proxies(&[("ALL_PROXY", wrong), ("NO_PROXY", "example.com")]);
            let problem = proxies.to(true, "s3.example.org", 443).unwrap_err();
            assert!(problem.contains("ALL_PROXY"), "{problem}");
            assert!(!problem.contains("ss@"), "{problem}");
            assert!(proxies.to(true, "localhost", 443).unwrap().is_none());
            assert!(proxies.to(true, "s3.example.com", 443).unwrap().is_none());
        }
    }
}
