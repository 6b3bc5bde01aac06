//! The roots a connection trusts.

use core::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use crate::der;

/// The roots of Amazon Trust Services, which S3's certificates end in. `roots/README.md` says where they come from.
static AMAZON: [&[u8]; 5] = [
    include_bytes!("../roots/amazon-root-ca-1.der"),
    include_bytes!("../roots/amazon-root-ca-2.der"),
    include_bytes!("../roots/amazon-root-ca-3.der"),
    include_bytes!("../roots/amazon-root-ca-4.der"),
    include_bytes!("../roots/starfield-services-root-ca-g2.der"),
];

/// A set of trusted roots: at most [`Roots::MAX`].
///
/// A root's own dates are not checked: it is trusted until it is removed.
#[derive(Clone, Debug, Default)]
pub struct Roots<'a> {
    certificates: heapless::Vec<CertificateDer<'a>, { Roots::MAX }>,
}

/// Why a root could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RootError {
    /// The bytes are not a DER-encoded X.509 certificate.
    Malformed,
    /// There are [`Roots::MAX`] roots already.
    Full,
}

impl Roots<'_> {
    /// The most roots a set can hold.
    pub const MAX: usize = 16;
}

impl<'a> Roots<'a> {
    /// No roots: no server is trusted until [`add_der`](Self::add_der).
    pub const fn empty() -> Self {
        Self {
            certificates: heapless::Vec::new(),
        }
    }

    /// Amazon Root CA 1 to 4 and Starfield Services Root CA - G2: S3 and every other AWS service.
    pub fn amazon() -> Self {
        let mut roots = Self::empty();
        for der in AMAZON {
            // Cannot fail: the tests parse all five.
            let _ = roots.add_der(der);
        }
        roots
    }

    /// Trusts one more root: a certificate in DER, the bytes between the lines of a PEM file after Base64.
    ///
    /// # Errors
    /// [`RootError::Malformed`] where `der` is not a certificate, [`RootError::Full`] at [`Roots::MAX`].
    pub fn add_der(&mut self, der: &'a [u8]) -> Result<(), RootError> {
        let certificate = CertificateDer::from(der);
        anchor_from_trusted_cert(&certificate).map_err(|_| RootError::Malformed)?;
        self.certificates
            .push(certificate)
            .map_err(|_| RootError::Full)
    }

    /// How many roots are trusted.
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether no root is trusted.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The roots' names for display, in the order they were added: the common name, or else the last part of the
    /// subject that is text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.certificates.iter().map(|certificate| {
            der::subject(certificate)
                .and_then(der::display_name)
                .unwrap_or("(no name)")
        })
    }

    /// The roots as rustls-webpki takes them.
    pub(crate) fn anchors(&self) -> heapless::Vec<TrustAnchor<'_>, { Roots::MAX }> {
        self.certificates
            .iter()
            .filter_map(|certificate| anchor_from_trusted_cert(certificate).ok())
            .collect()
    }
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a certificate in DER form"),
            Self::Full => write!(f, "no more than {} roots can be trusted", Roots::MAX),
        }
    }
}

impl core::error::Error for RootError {}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_amazon_roots_are_the_published_ones() {
        // SHA-256 of each certificate, as published on https://www.amazontrust.com/repository/ and in roots/README.md.
        const PUBLISHED: [(&str, &str); 5] = [
            (
                "Amazon Root CA 1",
                "8ECDE6884F3D87B1125BA31AC3FCB13D7016DE7F57CC904FE1CB97C6AE98196E",
            ),
            (
                "Amazon Root CA 2",
                "1BA5B2AA8C65401A82960118F80BEC4F62304D83CEC4713A19C39C011EA46DB4",
            ),
            (
                "Amazon Root CA 3",
                "18CE6CFE7BF14E60B2E347B8DFE868CB31D02EBB3ADA271569F50343B46DB3A4",
            ),
            (
                "Amazon Root CA 4",
                "E35D28419ED02025CFA69038CD623962458DA5C695FBDEA3C22B0BFB25897092",
            ),
            (
                "Starfield Services Root Certificate Authority - G2",
                "568D6905A2C88708A4B3025190EDCFEDB1974A606A13C6E5290FCB2AE63EDAB5",
            ),
        ];
        for (der, (name, fingerprint)) in AMAZON.iter().zip(PUBLISHED) {
            assert_eq!(
                std::format!("{:X}", Sha256::digest(der)),
                fingerprint,
                "{name}"
            );
        }
        assert!(Roots::amazon().names().eq(PUBLISHED.map(|(name, _)| name)));
    }

    #[test]
    fn the_amazon_roots_are_those_the_browsers_trust() {
        for der in AMAZON {
            assert!(
                webpki_root_certs::TLS_SERVER_ROOT_CERTS
                    .iter()
                    .any(|root| root.as_ref() == der)
            );
        }
    }

    #[test]
    fn a_set_takes_sixteen_roots_and_refuses_the_next() {
        let mut roots = Roots::empty();
        assert!(roots.is_empty());
        for _ in 0..Roots::MAX {
            assert_eq!(roots.add_der(AMAZON[0]), Ok(()));
        }
        assert_eq!(roots.add_der(AMAZON[0]), Err(RootError::Full));
        assert_eq!(roots.len(), 16);
    }

    #[test]
    fn what_is_no_certificate_is_no_root() {
        let mut roots = Roots::empty();
        let pem: &[u8] = b"-----BEGIN CERTIFICATE-----";
        for der in [b"", pem, &AMAZON[0][..500], &[0x30, 0x82]] {
            assert_eq!(roots.add_der(der), Err(RootError::Malformed));
        }
        assert_eq!(roots.len(), 0);
    }
}
