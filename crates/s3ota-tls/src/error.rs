//! What can go wrong, in the caller's terms.

use core::fmt;

use embedded_io_async::ErrorKind;

use crate::alert::Alert;

/// Why a connection could not be made, or why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsError {
    /// The transport under TLS failed.
    Io(ErrorKind),
    /// The server is not the expected one, or did not prove it.
    Certificate(CertificateError),
    /// The two sides did not agree on a connection.
    Handshake(HandshakeError),
    /// A record that is not allowed, or was modified in transit.
    Record(RecordError),
    /// The transport ended without the server's close_notify: the end of the data may be missing.
    Truncated,
    /// A write after the server had closed the connection.
    Closed,
    /// An earlier call was dropped before it completed, in the middle of a record.
    Interrupted,
}

/// What is wrong with the server's certificate, or with its proof that it has the private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CertificateError {
    /// The server sent no certificate.
    NotPresented,
    /// The server did not prove that it has the certificate's private key.
    NotProven,
    /// The chain does not lead to a trusted root.
    UnknownIssuer,
    /// A certificate in the chain has expired.
    Expired {
        /// The last second of its validity, in seconds since the Unix epoch.
        not_after: u64,
    },
    /// A certificate in the chain is not valid yet.
    NotYetValid {
        /// The first second of its validity, in seconds since the Unix epoch.
        not_before: u64,
    },
    /// The certificate is for another host. Only subject alternative names count (RFC 9525), never the common name.
    WrongName,
    /// The certificate is not for TLS servers (its extended key usage lacks serverAuth).
    NotForServers,
    /// The server presented a CA certificate as its own.
    IsAnAuthority,
    /// A certificate in the chain was issued with one that is not a CA certificate.
    NotAnAuthority,
    /// A CA in the chain may not issue this certificate: path length, name constraints, a critical extension.
    NotAllowed,
    /// The signature on a certificate in the chain does not match.
    BadSignature,
    /// A key or signature of a kind that is not supported, or an RSA key outside 2048 to 4096 bits.
    UnsupportedAlgorithm,
    /// The chain has a signature by a P-384 key, and this firmware was built without the feature `p384`.
    NeedsP384,
    /// A certificate that cannot be parsed.
    Malformed,
    /// More certificates, or more ways to combine them, than this client will check.
    TooLarge,
}

/// Why the handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HandshakeError {
    /// The host is neither a DNS name nor an IP address.
    HostName,
    /// The server refused with this unencrypted alert.
    Alert(Alert),
    /// The server refused with an encrypted alert.
    EncryptedAlert,
    /// The server's key share is not a P-256 point, or the server requested another group.
    KeyShare,
    /// The server did not choose what was offered: TLS 1.3, AES-128-GCM, P-256, and no unsolicited extension.
    NotOffered,
    /// A message of an unknown kind, or out of order.
    UnexpectedMessage,
    /// The server splits its handshake messages over several records. This client cannot join them.
    Split,
    /// A message that cannot be parsed.
    Malformed,
    /// The server's Finished message does not match: the handshake was modified in transit.
    Finished,
    /// More than 64 KiB of handshake.
    TooLong,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecordError {
    /// Not a TLS record: it began with this byte. The server may speak plain HTTP on this port.
    NotTls(u8),
    /// A record of this type (RFC 8446 section 5.1) where it is not allowed.
    UnexpectedType(u8),
    /// Longer than the protocol allows: 16,384 bytes in the clear, 16,401 encrypted.
    TooLong,
    /// Too short to contain anything.
    Empty,
    /// A change_cipher_spec record with invalid content, or too many of them.
    ChangeCipherSpec,
    /// A record that does not decrypt: it was modified in transit.
    BadMac,
    /// The server sent KeyUpdate, or something else that this client does not support after the handshake.
    UnexpectedMessage,
    /// The server ended the connection with an error alert.
    Alert,
    /// Content that cannot be parsed.
    Malformed,
    /// The server sent more than 32 records without data in a row.
    Idle,
}

impl TlsError {
    /// A stable code for programs, the same for every error of one kind.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "net.io",
            Self::Certificate(_) => "tls.certificate",
            // Without TLS there is no handshake either.
            Self::Handshake(_) | Self::Record(RecordError::NotTls(_)) => "tls.handshake",
            Self::Record(_) => "tls.record",
            Self::Truncated => "tls.truncated",
            Self::Closed => "tls.closed",
            Self::Interrupted => "tls.interrupted",
        }
    }

    /// Whether a new connection may succeed: the network failed, not the handshake.
    ///
    /// A certificate or a handshake that was refused will be refused again until someone changes something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Certificate(_) | Self::Handshake(_) | Self::Record(RecordError::NotTls(_)) => {
                false
            }
            Self::Io(_) | Self::Truncated | Self::Closed | Self::Interrupted | Self::Record(_) => {
                true
            }
        }
    }
}

impl embedded_io_async::Error for TlsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(kind) => *kind,
            Self::Certificate(_) => ErrorKind::PermissionDenied,
            Self::Handshake(_) | Self::Record(_) => ErrorKind::InvalidData,
            Self::Truncated => ErrorKind::ConnectionReset,
            Self::Closed => ErrorKind::NotConnected,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }
}

impl core::error::Error for TlsError {}
impl core::error::Error for CertificateError {}
impl core::error::Error for HandshakeError {}
impl core::error::Error for RecordError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "the network connection failed: {kind}"),
            Self::Certificate(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
            Self::Truncated => f.write_str(
                "the connection ended before the server closed it properly; what was received may be incomplete",
            ),
            Self::Closed => f.write_str("the server has closed this connection; open a new one"),
            Self::Interrupted => f.write_str(
                "an earlier read or write on this connection was abandoned; open a new one",
            ),
        }
    }
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresented => f.write_str("the server sent no certificate"),
            Self::NotProven => {
                f.write_str("the server did not prove that it has its certificate's key")
            }
            Self::UnknownIssuer => f.write_str(
                "the server's certificate was not issued by a trusted authority; \
                 add the authority's root if this server is yours",
            ),
            Self::Expired { not_after } => write!(
                f,
                "the server's certificate expired on {}; renew it, or set this device's clock",
                Date(*not_after)
            ),
            Self::NotYetValid { not_before } => write!(
                f,
                "the server's certificate is not valid before {}; is this device's clock right?",
                Date(*not_before)
            ),
            Self::WrongName => f.write_str(
                "the server's certificate is for another host; \
                 the host must be among its subject alternative names",
            ),
            Self::NotForServers => {
                f.write_str("the server's certificate is not meant for servers (no serverAuth)")
            }
            Self::IsAnAuthority => f.write_str(
                "the server presented a CA certificate (CA:TRUE) as its own; \
                 give it a certificate issued by that CA",
            ),
            Self::NotAnAuthority => f.write_str(
                "the server's certificate was issued with one that is not a CA certificate",
            ),
            Self::NotAllowed => {
                f.write_str("the CA of the server's certificate is not allowed to issue it")
            }
            Self::BadSignature => f.write_str(
                "the signature on the server's certificate is wrong; \
                 the trusted root may have a different key than the issuer of the same name",
            ),
            Self::UnsupportedAlgorithm => f.write_str(
                "the server's certificates use an algorithm or key size that is not supported; \
                 P-256 and RSA with 2048 to 4096 bits are, if built in",
            ),
            Self::NeedsP384 => {
                f.write_str("the server's certificates need P-384; build with the feature p384")
            }
            Self::Malformed => f.write_str("the server's certificate cannot be parsed"),
            Self::TooLarge => {
                f.write_str("the server's certificate chain is too large or too complex")
            }
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostName => f.write_str("the host is neither a DNS name nor an IP address"),
            Self::Alert(alert) => write!(
                f,
                "the server refused the connection: {alert}; \
                 it must offer TLS 1.3 with AES-128-GCM and P-256"
            ),
            Self::EncryptedAlert => f.write_str("the server aborted the handshake with an alert"),
            Self::KeyShare => {
                f.write_str("the server did not agree to a P-256 key exchange; enable it there")
            }
            Self::NotOffered => f.write_str(
                "the server chose something that was not offered; \
                 it must speak TLS 1.3 with AES-128-GCM and P-256",
            ),
            Self::UnexpectedMessage => {
                f.write_str("the server sent a handshake message that is unknown or out of order")
            }
            Self::Split => f.write_str(
                "the server splits its handshake over several records, which is not supported; \
                 give it a shorter certificate chain",
            ),
            Self::Malformed => f.write_str("the server sent a handshake that cannot be parsed"),
            Self::Finished => f.write_str("the handshake was modified in transit"),
            Self::TooLong => f.write_str("the server's handshake does not end"),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls(_) => f.write_str(
                "the server does not speak TLS on this port; is it a plain http address?",
            ),
            Self::UnexpectedType(kind) => {
                write!(
                    f,
                    "the server sent a TLS record of type {kind} out of place"
                )
            }
            Self::TooLong => f.write_str("the server sent a TLS record that is too long"),
            Self::Empty => f.write_str("the server sent a TLS record that is too short"),
            Self::ChangeCipherSpec => {
                f.write_str("the server sent a change_cipher_spec record that is not allowed")
            }
            Self::BadMac => f.write_str("data from the server was modified in transit"),
            Self::UnexpectedMessage => f.write_str(
                "the server changes its keys or requests something unsupported; connect again",
            ),
            Self::Alert => f.write_str("the server ended the connection with an error alert"),
            Self::Malformed => f.write_str("the server sent a TLS record that cannot be parsed"),
            Self::Idle => f.write_str("the server keeps sending records without data"),
        }
    }
}

/// A day, as `2026-05-26`, from seconds since the Unix epoch.
struct Date(u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days to civil date, with years that start in March: every constant is that calendar's
        // (400 years are 146,097 days; five months from March on are 153 days).
        const SECONDS_PER_DAY: u64 = 86_400;
        const DAYS_FROM_MARCH_0000_TO_1970: u64 = 719_468;
        let days = (self.0 / SECONDS_PER_DAY).saturating_add(DAYS_FROM_MARCH_0000_TO_1970);
        let (era, day) = (days / 146_097, days % 146_097);
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let (month, carry) = if month_from_march < 10 {
            (month_from_march + 3, 0)
        } else {
            (month_from_march - 9, 1)
        };
        let year = era * 400 + year_of_era + carry;
        write!(f, "{year:04}-{month:02}-{day_of_month:02}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn a_date_is_written_as_people_write_it() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (2_147_483_648, "2038-01-19"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date(seconds).to_string(), date);
        }
        // No date overflows.
        assert!(!Date(u64::MAX).to_string().is_empty());
    }

    #[test]
    fn only_a_failed_network_is_worth_a_retry() {
        assert!(TlsError::Io(ErrorKind::TimedOut).is_transient());
        assert!(TlsError::Truncated.is_transient());
        assert!(!TlsError::Certificate(CertificateError::UnknownIssuer).is_transient());
        assert!(!TlsError::Handshake(HandshakeError::Alert(Alert(70))).is_transient());
    }

    #[test]
    fn a_refusal_in_the_clear_names_its_alert() {
        let text = TlsError::Handshake(HandshakeError::Alert(Alert(70))).to_string();
        assert!(text.contains("protocol_version (alert 70)"), "{text}");
    }
}
