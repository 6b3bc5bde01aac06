//! Host names: which of them the certificate covers, and which bucket a `Host` header names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

use crate::authority::is_host_name;
use crate::{DevServerError, Options};

/// The address of the machine that QEMU runs on, in its user-mode network.
/// Source: QEMU manual, "Using the user mode network stack".
const QEMU_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The names of a server.
pub(crate) struct HostNames {
    /// Endpoint names: `https://<name>/<bucket>/<key>` and `https://<bucket>.<name>/<key>`. Longest first.
    domains: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl HostNames {
    pub(crate) fn new(options: &Options, listen: SocketAddr) -> Result<HostNames, DevServerError> {
        let mut domains = vec![
            format!("s3.{}.localhost", options.region),
            "s3.localhost".to_owned(),
            "localhost".to_owned(),
        ];
        let mut addresses = vec![
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
            QEMU_HOST.into(),
        ];
        if listen.ip().is_unspecified() {
            addresses.extend(network_address());
        } else {
            addresses.push(listen.ip());
        }
        for name in options.host_names.iter().chain(&domains.clone()) {
            if !is_host_name(name) {
                return Err(DevServerError::HostName { name: name.clone() });
            }
            match name.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => domains.push(name.to_ascii_lowercase()),
            }
        }
        domains.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        domains.dedup();
        addresses.sort();
        addresses.dedup();
        Ok(HostNames { domains, addresses })
    }

    /// Everything that the certificate must cover. Strict clients (webpki, OpenSSL) refuse a wildcard directly below a single
    /// label, so `bucket.localhost` works only with lenient ones; `bucket.s3.localhost` works with all.
    pub(crate) fn certificate_names(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        self.domains
            .iter()
            .flat_map(|domain| [domain.clone(), format!("*.{domain}")])
            .chain(addresses)
            .collect()
    }

    /// The bucket that a `Host` header names, `None` for path-style requests.
    fn bucket<'a>(&self, host: &'a str) -> Option<&'a str> {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        if self
            .domains
            .iter()
            .any(|domain| domain.eq_ignore_ascii_case(name))
        {
            return None;
        }
        self.domains.iter().find_map(|domain| {
            let (bucket, suffix) = name.split_at_checked(name.len().checked_sub(domain.len())?)?;
            if suffix.eq_ignore_ascii_case(domain) {
                bucket.strip_suffix('.')
            } else {
                None
            }
        })
    }
}

impl S3Host for HostNames {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let domain = VirtualHost::new(host);
        Ok(match self.bucket(host) {
            Some(bucket) => domain.with_bucket(bucket.to_ascii_lowercase()),
            None => domain,
        })
    }
}

/// This machine's address in its network: the one that packets would be sent from. None is sent.
fn network_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address in the documentation range (RFC 5737): any that is not local will do.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(host_names: &[&str]) -> HostNames {
        let options = Options {
            host_names: host_names.iter().map(|&name| name.to_owned()).collect(),
            ..Options::default()
        };
        HostNames::new(&options, options.listen).unwrap()
    }

    #[test]
    fn a_bucket_is_what_comes_before_a_known_name() {
        let names = names(&["host.example"]);
        for (host, bucket) in [
            ("localhost:9443", None),
            ("s3.localhost", None),
            ("s3.us-east-1.localhost:9443", None),
            ("firmware.localhost:9443", Some("firmware")),
            ("firmware.s3.localhost:9443", Some("firmware")),
            ("firmware.s3.us-east-1.localhost", Some("firmware")),
            ("host.example:9443", None),
            ("firmware.host.example:9443", Some("firmware")),
            ("Firmware.Host.Example", Some("Firmware")),
            ("elsewhere.example", None),
            ("notlocalhost", None),
        ] {
            assert_eq!(names.bucket(host), bucket, "{host}");
        }
    }

    #[test]
    fn the_certificate_covers_host_network_and_emulator() {
        let covered = names(&["192.168.1.7", "host.example"]).certificate_names();
        for name in [
            "localhost",
            "127.0.0.1",
            "::1",
            "10.0.2.2",
            "*.s3.localhost",
            "*.s3.us-east-1.localhost",
        ] {
            assert!(covered.iter().any(|it| it == name), "{name}");
        }
        for name in ["192.168.1.7", "host.example", "*.host.example"] {
            assert!(covered.iter().any(|it| it == name), "{name}");
        }
    }

    #[test]
    fn a_malformed_name_is_refused() {
        let options = Options {
            host_names: vec!["https://host".to_owned()],
            ..Options::default()
        };
        assert!(matches!(
            HostNames::new(&options, options.listen),
            Err(DevServerError::HostName { .. })
        ));
    }
}
