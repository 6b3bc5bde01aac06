//! Release keys, and the signatures they verify.
//!
//! A release is signed with ECDSA on P-256 over the SHA-256 of its [statement](Manifest::write_statement) (FIPS 186-5
//! section 6; `ES256` elsewhere). KMS, smart cards and `openssl` can hold such keys, and every firmware that speaks TLS
//! has the code to verify their signatures.

use core::fmt;

use base16ct::HexDisplay;
use base64ct::{Base64, Encoding};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::{MAX_SIGNATURE, Manifest};

/// The start of every P-256 key's SubjectPublicKeyInfo (RFC 5480): all of it but the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Bytes of an uncompressed P-256 point (SEC 1 section 2.3.3): 4, x, y.
const POINT_LEN: usize = 65;

/// The public half of a release key: its owner may release firmware. `s3ota keygen` prints it as Rust source.
#[derive(Clone, Copy)]
pub struct ReleaseKey {
    point: [u8; POINT_LEN],
    /// The code that verifies with it. Only a key leads to it, so a firmware without keys does not contain it: 6 KB on an
    /// ESP32-C3.
    check: fn(&ReleaseKey, &Manifest<'_>, &str) -> Result<(), SignatureError>,
}

impl ReleaseKey {
    /// The key with this uncompressed point: 4, then x and y, 32 bytes each, big-endian.
    ///
    /// Whether the point is on the curve is checked at each verification: a key that is not verifies nothing.
    pub const fn from_point(point: [u8; POINT_LEN]) -> Self {
        Self {
            point,
            check: check_signature,
        }
    }

    /// Reads a SubjectPublicKeyInfo in DER, the content of a `PUBLIC KEY` PEM file. `None` if it is not a P-256 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let point: [u8; POINT_LEN] = der.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
        VerifyingKey::from_sec1_bytes(&point)
            .is_ok()
            .then_some(Self::from_point(point))
    }

    /// The key's SubjectPublicKeyInfo in DER.
    pub fn to_spki(&self) -> [u8; SPKI_PREFIX.len() + POINT_LEN] {
        let mut der = [0; SPKI_PREFIX.len() + POINT_LEN];
        der.iter_mut()
            .zip(SPKI_PREFIX.iter().chain(&self.point))
            .for_each(|(to, from)| *to = *from);
        der
    }

    /// The uncompressed point.
    pub fn point(&self) -> &[u8; POINT_LEN] {
        &self.point
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(self.to_spki()).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        KeyId([a, b, c, d, e, f, g, h])
    }

    /// Whether `signature`, in DER, is this key's signature of a message with this SHA-256.
    pub fn verifies(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        // By reference: moved out of the option, both would take their stack twice.
        match &self.parse(signature) {
            Some((key, signature)) => key.verify_prehash(digest, signature).is_ok(),
            None => false,
        }
    }

    /// Key and signature for the curve's arithmetic.
    // In a function of its own: a device has this stack again when the arithmetic needs its own.
    #[inline(never)]
    fn parse(&self, signature: &[u8]) -> Option<(VerifyingKey, Signature)> {
        let key = VerifyingKey::from_sec1_bytes(&self.point).ok()?;
        Some((key, Signature::from_der(signature).ok()?))
    }
}

impl PartialEq for ReleaseKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for ReleaseKey {}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({})", self.id())
    }
}

/// The id of a release key: the first 8 bytes of the SHA-256 of its SubjectPublicKeyInfo, 16 digits in hex.
///
/// `openssl pkey -pubin -in release.pub -outform DER | sha256sum | cut -c1-16` prints the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Whether `text` is this id, in lower-case hex.
    pub fn is(&self, text: &str) -> bool {
        base16ct::lower::encode_str(&self.0, &mut [0; 16]) == Ok(text)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for KeyId {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&HexDisplay(&self.0), f)
    }
}

/// Why a manifest's signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SignatureError {
    /// The manifest has no signature.
    Missing,
    /// The signature is by a key that is not trusted.
    UnknownKey,
    /// That key has not signed this statement.
    Wrong,
    /// The statement does not identify an image: `size` or `sha256` is missing.
    NoImage,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => {
                "the manifest is not signed, and this device installs only signed releases: publish with --key"
            }
            Self::UnknownKey => {
                "the manifest is signed with a key that this device does not trust: sign with a key that is built into its firmware"
            }
            Self::Wrong => {
                "the manifest's signature does not match this release: it was changed after it was signed; sign it again"
            }
            Self::NoImage => {
                "the signed manifest lacks size or sha256, so it does not identify an image: publish it again"
            }
        })
    }
}

impl core::error::Error for SignatureError {}

impl Manifest<'_> {
    /// Verifies that one of `keys` signed this release, and returns its id.
    ///
    /// # Errors
    ///
    /// [`SignatureError`]. Then trust nothing in the manifest.
    pub fn verify(&self, keys: &[ReleaseKey]) -> Result<KeyId, SignatureError> {
        let signature = self.signature.ok_or(SignatureError::Missing)?;
        let (id, key) = keys
            .iter()
            .map(|key| (key.id(), key))
            .find(|(id, _)| id.is(signature.keyid))
            .ok_or(SignatureError::UnknownKey)?;
        (key.check)(key, self, signature.sig)?;
        if self.size.is_none() || self.sha256.is_none() {
            return Err(SignatureError::NoImage);
        }
        Ok(id)
    }
}

/// Verifies that `signature`, in base64, is `key`'s signature of the manifest's statement.
fn check_signature(
    key: &ReleaseKey,
    manifest: &Manifest<'_>,
    signature: &str,
) -> Result<(), SignatureError> {
    let mut der = [0; MAX_SIGNATURE];
    let der = Base64::decode(signature, &mut der).or(Err(SignatureError::Wrong))?;
    if key.verifies(&manifest.statement_digest(), der) {
        Ok(())
    } else {
        Err(SignatureError::Wrong)
    }
}
