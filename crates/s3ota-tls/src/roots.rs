//! The roots that a connection trusts.

use core::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use crate::der;

/// The part of a certificate that makes it a root: subject and SubjectPublicKeyInfo, from `start` to `end`. The rest of the
/// file does not get into the firmware.
macro_rules! subject_and_key {
    ($file:literal, $start:literal..$end:literal) => {{
        const CERTIFICATE: &[u8] = include_bytes!($file);
        const PART: [u8; $end - $start] = part(CERTIFICATE, $start);
        &PART
    }};
}

/// The roots of Amazon Trust Services, where S3's chains end. `roots/README.md` says where they come from. None has name
/// constraints; the tests check the offsets.
static AMAZON: [&[u8]; 5] = [
    subject_and_key!("../roots/amazon-root-ca-1.der", 140..493),
    subject_and_key!("../roots/amazon-root-ca-2.der", 140..749),
    subject_and_key!("../roots/amazon-root-ca-3.der", 137..287),
    subject_and_key!("../roots/amazon-root-ca-4.der", 137..316),
    subject_and_key!("../roots/starfield-services-root-ca-g2.der", 218..667),
];

/// A set of trusted roots: at most [`Roots::MAX`].
///
/// A root's own dates are not checked: it is trusted until it is removed.
#[derive(Clone, Debug, Default)]
pub struct Roots<'a> {
    roots: heapless::Vec<Root<'a>, { Roots::MAX }>,
}

#[derive(Clone, Debug)]
enum Root<'a> {
    /// Subject and SubjectPublicKeyInfo alone.
    BuiltIn(&'static [u8]),
    /// One that [`anchor_from_trusted_cert`] accepts.
    Certificate(CertificateDer<'a>),
}

impl Root<'_> {
    fn anchor(&self) -> Option<TrustAnchor<'_>> {
        match self {
            Self::BuiltIn(fields) => {
                let (subject, key) = der::subject_and_key(fields)?;
                Some(TrustAnchor {
                    subject: subject.into(),
                    subject_public_key_info: key.into(),
                    name_constraints: None,
                })
            }
            Self::Certificate(certificate) => anchor_from_trusted_cert(certificate).ok(),
        }
    }

    fn subject(&self) -> Option<&[u8]> {
        match self {
            Self::BuiltIn(fields) => Some(der::subject_and_key(fields)?.0),
            Self::Certificate(certificate) => der::subject(certificate),
        }
    }
}

/// Why a root could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RootError {
    /// The bytes are not an X.509 certificate in DER.
    Malformed,
    /// There are already [`Roots::MAX`] roots.
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
            roots: heapless::Vec::new(),
        }
    }

    /// Amazon Root CA 1 to 4 and Starfield Services Root CA - G2: S3 and every other AWS service.
    pub fn amazon() -> Self {
        let mut roots = Self::empty();
        for fields in AMAZON {
            // Cannot fail: five fit.
            let _ = roots.roots.push(Root::BuiltIn(fields));
        }
        roots
    }

    /// Trusts one more root: a certificate in DER, which is the base64-decoded content of a PEM file.
    ///
    /// # Errors
    /// [`RootError::Malformed`] if `der` is not a certificate, [`RootError::Full`] at [`Roots::MAX`].
    pub fn add_der(&mut self, der: &'a [u8]) -> Result<(), RootError> {
        let certificate = CertificateDer::from(der);
        anchor_from_trusted_cert(&certificate).map_err(|_| RootError::Malformed)?;
        self.roots
            .push(Root::Certificate(certificate))
            .map_err(|_| RootError::Full)
    }

    /// How many roots are trusted.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether no root is trusted.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The roots' names for display, in the order they were added: the common name, or else the last part of the
    /// subject that is text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|root| {
            root.subject()
                .and_then(der::display_name)
                .unwrap_or("(no name)")
        })
    }

    /// The roots for rustls-webpki.
    pub(crate) fn anchors(&self) -> heapless::Vec<TrustAnchor<'_>, { Roots::MAX }> {
        self.roots.iter().filter_map(Root::anchor).collect()
    }
}

/// The bytes of `whole` from `start`, at compile time.
const fn part<const N: usize>(whole: &[u8], start: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(whole.split_at(start).1.split_at(N).0);
    part
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

    /// The files that the parts in [`AMAZON`] are from.
    const FILES: [&[u8]; 5] = [
        include_bytes!("../roots/amazon-root-ca-1.der"),
        include_bytes!("../roots/amazon-root-ca-2.der"),
        include_bytes!("../roots/amazon-root-ca-3.der"),
        include_bytes!("../roots/amazon-root-ca-4.der"),
        include_bytes!("../roots/starfield-services-root-ca-g2.der"),
    ];

    #[test]
    fn the_built_in_parts_are_what_webpki_takes_from_the_certificates() {
        let mut whole = Roots::empty();
        for der in FILES {
            whole.add_der(der).unwrap();
        }
        assert_eq!(Roots::amazon().anchors(), whole.anchors());
        assert_eq!(whole.anchors().len(), 5);
        assert!(Roots::amazon().names().eq(whole.names()));
    }

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
        for (der, (name, fingerprint)) in FILES.iter().zip(PUBLISHED) {
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
        for der in FILES {
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
            assert_eq!(roots.add_der(FILES[0]), Ok(()));
        }
        assert_eq!(roots.add_der(FILES[0]), Err(RootError::Full));
        assert_eq!(roots.len(), 16);
    }

    #[test]
    fn what_is_no_certificate_is_no_root() {
        let mut roots = Roots::empty();
        let pem: &[u8] = b"-----BEGIN CERTIFICATE-----";
        for der in [b"", pem, &FILES[0][..500], &[0x30, 0x82]] {
            assert_eq!(roots.add_der(der), Err(RootError::Malformed));
        }
        assert_eq!(roots.len(), 0);
    }
}
