//! The server's name, as the certificate must have it, and as the ClientHello may.

use rustls_pki_types::{DnsName, IpAddr, ServerName};

use crate::error::{HandshakeError, TlsError};

/// The host of a URL: a DNS name with or without a trailing dot, or an IP address (IPv6 with or without brackets).
pub(crate) fn parse(host: &str) -> Result<ServerName<'_>, TlsError> {
    let unbracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = IpAddr::try_from(unbracketed.unwrap_or(host)) {
        return Ok(ServerName::IpAddress(address));
    }
    // Names in certificates and in the ClientHello have no trailing dot (RFC 6066 section 3).
    let name = host.strip_suffix('.').unwrap_or(host);
    DnsName::try_from(name)
        .map(ServerName::DnsName)
        .map_err(|_| TlsError::Handshake(HandshakeError::HostName))
}

/// The name for the ClientHello's server_name extension: none for an IP address (RFC 6066 section 3).
pub(crate) fn indication<'a>(name: &'a ServerName<'_>) -> Option<&'a str> {
    match name {
        ServerName::DnsName(name) => Some(name.as_ref()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_name_is_indicated_without_its_trailing_dot() {
        for host in ["bucket.s3.amazonaws.com", "bucket.s3.amazonaws.com."] {
            let name = parse(host).unwrap();
            assert_eq!(indication(&name), Some("bucket.s3.amazonaws.com"));
        }
    }

    #[test]
    fn an_ip_address_is_never_indicated() {
        for host in ["192.0.2.7", "2001:db8::7", "[2001:db8::7]"] {
            let name = parse(host).unwrap();
            assert!(matches!(name, ServerName::IpAddress(_)), "{host}");
            assert_eq!(indication(&name), None);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "",
            ".",
            "..",
            "two words",
            "a..b",
            "-a.example",
            "[::1",
            "host:443",
        ] {
            assert_eq!(
                parse(host),
                Err(TlsError::Handshake(HandshakeError::HostName)),
                "{host:?}"
            );
        }
    }
}
