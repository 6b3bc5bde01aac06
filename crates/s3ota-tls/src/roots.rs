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

/// The roots of Amazon Trust Services, where S3's chains end.
///
/// `roots/README.md` says of each root here where it comes from, its key, its dates and its fingerprint. None has name
/// constraints; the tests check the offsets.
static AMAZON: [&[u8]; 5] = [
    subject_and_key!("../roots/amazon-root-ca-1.der", 140..493),
    subject_and_key!("../roots/amazon-root-ca-2.der", 140..749),
    subject_and_key!("../roots/amazon-root-ca-3.der", 137..287),
    subject_and_key!("../roots/amazon-root-ca-4.der", 137..316),
    subject_and_key!("../roots/starfield-services-root-ca-g2.der", 218..667),
];

/// The roots of the Internet Security Research Group, where the chains of Let's Encrypt end: X1 is RSA, X2 is P-384.
#[cfg(feature = "roots-isrg")]
static ISRG: [&[u8]; 2] = [
    subject_and_key!("../roots/isrg-root-x1.der", 160..791),
    subject_and_key!("../roots/isrg-root-x2.der", 156..357),
];

/// The roots of Google Trust Services: R1 is RSA, R3 and R4 are P-384.
#[cfg(feature = "roots-gts")]
static GTS: [&[u8]; 3] = [
    subject_and_key!("../roots/gts-root-r1.der", 148..771),
    subject_and_key!("../roots/gts-root-r3.der", 145..338),
    subject_and_key!("../roots/gts-root-r4.der", 145..338),
];

/// A set of trusted roots: at most [`Roots::MAX`].
///
/// A root's own dates are not checked: it is trusted until it is removed.
#[derive(Clone, Debug, Default)]
// As webpki wants them: a list of its own would take stack where there is least of it.
pub struct Roots<'a> {
    roots: heapless::Vec<TrustAnchor<'a>, { Roots::MAX }>,
}

/// A root that is built in: subject and SubjectPublicKeyInfo alone.
fn built_in(fields: &'static [u8]) -> Option<TrustAnchor<'static>> {
    let (subject, key) = der::subject_and_key(fields)?;
    Some(TrustAnchor {
        subject: subject.into(),
        subject_public_key_info: key.into(),
        name_constraints: None,
    })
}

/// A certificate as a root.
fn anchor(der: &[u8]) -> Option<TrustAnchor<'_>> {
    let certificate = CertificateDer::from(der);
    let anchor = anchor_from_trusted_cert(&certificate).ok()?;
    // The same parts: webpki's do not outlive `certificate`, which is no more than a reference to `der`.
    let part = |of: &[u8]| der::part(der, of.as_ptr().addr(), of.len());
    Some(TrustAnchor {
        subject: part(&anchor.subject)?.into(),
        subject_public_key_info: part(&anchor.subject_public_key_info)?.into(),
        name_constraints: match anchor.name_constraints {
            Some(constraints) => Some(part(&constraints)?.into()),
            None => None,
        },
    })
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

    /// The roots that this firmware was built with: Amazon's, and those of the features `roots-isrg` and `roots-gts`.
    pub fn built_in() -> Self {
        let roots = Self::amazon();
        #[cfg(feature = "roots-isrg")]
        let roots = roots.and(&ISRG);
        #[cfg(feature = "roots-gts")]
        let roots = roots.and(&GTS);
        roots
    }

    /// Amazon Root CA 1 to 4 and Starfield Services Root CA - G2: S3 and every other AWS service.
    pub fn amazon() -> Self {
        Self::empty().and(&AMAZON)
    }

    /// ISRG Root X1 and X2: Let's Encrypt. Its chains of P-256 and P-384 certificates need the feature `p384`, too.
    #[cfg(feature = "roots-isrg")]
    pub fn isrg() -> Self {
        Self::empty().and(&ISRG)
    }

    /// GTS Root R1, R3 and R4: Google Trust Services. Its chains of P-256 certificates need the feature `p384`, too.
    #[cfg(feature = "roots-gts")]
    pub fn gts() -> Self {
        Self::empty().and(&GTS)
    }

    /// With these, too.
    fn and(mut self, fields: &[&'static [u8]]) -> Self {
        // Cannot fail: all of them together are sound and fit, which is tested.
        for root in fields.iter().filter_map(|fields| built_in(fields)) {
            let _ = self.roots.push(root);
        }
        self
    }

    /// Trusts one more root: a certificate in DER, which is the base64-decoded content of a PEM file.
    ///
    /// # Errors
    /// [`RootError::Malformed`] if `der` is not a certificate, [`RootError::Full`] at [`Roots::MAX`].
    pub fn add_der(&mut self, der: &'a [u8]) -> Result<(), RootError> {
        let root = anchor(der).ok_or(RootError::Malformed)?;
        self.roots.push(root).map_err(|_| RootError::Full)
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
        self.roots
            .iter()
            .map(|root| der::display_name(&root.subject).unwrap_or("(no name)"))
    }

    /// The roots for [rustls-webpki](https://docs.rs/rustls-webpki/0.103).
    pub fn anchors(&self) -> impl Iterator<Item = TrustAnchor<'_>> {
        self.roots.iter().cloned()
    }

    pub(crate) fn as_slice(&self) -> &[TrustAnchor<'a>] {
        &self.roots
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

    /// A root: its file, its common name, and the SHA-256 of the certificate as its owner publishes it.
    type Published = (&'static [u8], &'static str, &'static str);

    /// <https://www.amazontrust.com/repository/>
    const AMAZON: [Published; 5] = [
        (
            include_bytes!("../roots/amazon-root-ca-1.der"),
            "Amazon Root CA 1",
            "8ECDE6884F3D87B1125BA31AC3FCB13D7016DE7F57CC904FE1CB97C6AE98196E",
        ),
        (
            include_bytes!("../roots/amazon-root-ca-2.der"),
            "Amazon Root CA 2",
            "1BA5B2AA8C65401A82960118F80BEC4F62304D83CEC4713A19C39C011EA46DB4",
        ),
        (
            include_bytes!("../roots/amazon-root-ca-3.der"),
            "Amazon Root CA 3",
            "18CE6CFE7BF14E60B2E347B8DFE868CB31D02EBB3ADA271569F50343B46DB3A4",
        ),
        (
            include_bytes!("../roots/amazon-root-ca-4.der"),
            "Amazon Root CA 4",
            "E35D28419ED02025CFA69038CD623962458DA5C695FBDEA3C22B0BFB25897092",
        ),
        (
            include_bytes!("../roots/starfield-services-root-ca-g2.der"),
            "Starfield Services Root Certificate Authority - G2",
            "568D6905A2C88708A4B3025190EDCFEDB1974A606A13C6E5290FCB2AE63EDAB5",
        ),
    ];

    /// <https://letsencrypt.org/certificates/>
    const ISRG: [Published; 2] = [
        (
            include_bytes!("../roots/isrg-root-x1.der"),
            "ISRG Root X1",
            "96BCEC06264976F37460779ACF28C5A7CFE8A3C0AAE11A8FFCEE05C0BDDF08C6",
        ),
        (
            include_bytes!("../roots/isrg-root-x2.der"),
            "ISRG Root X2",
            "69729B8E15A86EFC177A57AFB7171DFC64ADD28C2FCA8CF1507E34453CCB1470",
        ),
    ];

    /// <https://pki.goog/repository/>
    const GTS: [Published; 3] = [
        (
            include_bytes!("../roots/gts-root-r1.der"),
            "GTS Root R1",
            "D947432ABDE7B7FA90FC2E6B59101B1280E0E1C7E4E40FA3C6887FFF57A7F4CF",
        ),
        (
            include_bytes!("../roots/gts-root-r3.der"),
            "GTS Root R3",
            "34D8A73EE208D9BCDB0D956520934B4E40E69482596E8B6F73C8426B010A6F48",
        ),
        (
            include_bytes!("../roots/gts-root-r4.der"),
            "GTS Root R4",
            "349DFA4058C5E263123B398AE795573C4E1313C83FE68F93556CD5E8031B3C7D",
        ),
    ];

    /// The parts of these files are what webpki takes from them, under these names.
    fn are_parts_of(roots: &Roots<'_>, files: &[Published]) {
        let mut whole = Roots::empty();
        for (der, ..) in files {
            whole.add_der(der).unwrap();
        }
        assert_eq!(whole.len(), files.len());
        assert!(roots.anchors().eq(whole.anchors()));
        assert!(roots.names().eq(files.iter().map(|(_, name, _)| *name)));
    }

    #[test]
    fn the_built_in_parts_are_what_webpki_takes_from_the_certificates() {
        are_parts_of(&Roots::amazon(), &AMAZON);
        #[cfg(feature = "roots-isrg")]
        are_parts_of(&Roots::isrg(), &ISRG);
        #[cfg(feature = "roots-gts")]
        are_parts_of(&Roots::gts(), &GTS);
    }

    #[test]
    fn a_feature_adds_its_roots_to_amazon_s_and_no_others() {
        let mut files = AMAZON.to_vec();
        if cfg!(feature = "roots-isrg") {
            files.extend(ISRG);
        }
        if cfg!(feature = "roots-gts") {
            files.extend(GTS);
        }
        are_parts_of(&Roots::built_in(), &files);
        let all = AMAZON.len() + ISRG.len() + GTS.len();
        assert!(
            all + 4 <= Roots::MAX,
            "there is room for some of one's own, too"
        );
    }

    #[test]
    fn the_roots_are_the_published_ones() {
        for (der, name, fingerprint) in AMAZON.iter().chain(&ISRG).chain(&GTS) {
            let found = std::format!("{:X}", Sha256::digest(der));
            assert_eq!(found, *fingerprint, "{name}");
            let readme = include_str!("../roots/README.md");
            assert!(readme.contains(&found), "roots/README.md does not name it");
        }
    }

    #[test]
    fn the_roots_are_among_those_the_browsers_trust() {
        for (der, name, _) in AMAZON.iter().chain(&ISRG).chain(&GTS) {
            let browsers = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
            assert!(browsers.iter().any(|root| root.as_ref() == *der), "{name}");
        }
    }

    #[test]
    fn a_set_takes_sixteen_roots_and_refuses_the_next() {
        let mut roots = Roots::empty();
        assert!(roots.is_empty());
        for _ in 0..Roots::MAX {
            assert_eq!(roots.add_der(AMAZON[0].0), Ok(()));
        }
        assert_eq!(roots.add_der(AMAZON[0].0), Err(RootError::Full));
        assert_eq!(roots.len(), 16);
    }

    #[test]
    fn what_is_no_certificate_is_no_root() {
        let mut roots = Roots::empty();
        let pem: &[u8] = b"-----BEGIN CERTIFICATE-----";
        for der in [b"", pem, &AMAZON[0].0[..500], &[0x30, 0x82]] {
            assert_eq!(roots.add_der(der), Err(RootError::Malformed));
        }
        assert_eq!(roots.len(), 0);
    }
}
