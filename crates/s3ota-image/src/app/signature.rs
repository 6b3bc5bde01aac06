//! The signature sector that Secure Boot V2 appends to an image.

use core::fmt;

/// The kind of key that an image is signed with for Secure Boot V2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignatureKind {
    /// RSA-3072.
    Rsa,
    /// ECDSA, on any curve.
    Ecdsa,
}

/// Bytes of a signature sector, and its alignment (`SECTOR_SIZE` in esptool's
/// `espsecure/__init__.py`).
pub(super) const SIGNATURE_SECTOR: u32 = 4096;

/// First byte of a signature block (`SIG_BLOCK_MAGIC`, same file).
pub(super) const SIGNATURE_MAGIC: u8 = 0xE7;

impl SignatureKind {
    /// The kind of the signature sector that begins with these bytes. `None` if they do not begin one.
    ///
    /// For an image in a slot, where anything may follow the image: pass the bytes at
    /// [`Image::signature_offset`](super::Image::signature_offset). The signature itself is not
    /// checked.
    ///
    /// After the version comes the kind of hash (1 for SHA-384) in ECDSA blocks, then a 0
    /// (`generate_signature_block_using_private_key` in esptool's `espsecure/__init__.py`).
    pub const fn parse(bytes: &[u8; 4]) -> Option<SignatureKind> {
        match *bytes {
            [SIGNATURE_MAGIC, version, 0 | 1, 0] => SignatureKind::from_version(version),
            _ => None,
        }
    }

    /// The kind by the second byte (`SIG_BLOCK_VERSION_RSA`, `SIG_BLOCK_VERSION_ECDSA`, same file).
    pub(super) const fn from_version(version: u8) -> Option<SignatureKind> {
        match version {
            2 => Some(SignatureKind::Rsa),
            3 => Some(SignatureKind::Ecdsa),
            _ => None,
        }
    }

    /// The first bytes of a signature sector of this kind.
    #[cfg(feature = "alloc")]
    pub(super) const fn first_bytes(self) -> [u8; 4] {
        match self {
            SignatureKind::Rsa => [SIGNATURE_MAGIC, 2, 0, 0],
            SignatureKind::Ecdsa => [SIGNATURE_MAGIC, 3, 0, 0],
        }
    }

    /// `rsa` or `ecdsa`.
    pub const fn name(self) -> &'static str {
        match self {
            SignatureKind::Rsa => "rsa",
            SignatureKind::Ecdsa => "ecdsa",
        }
    }
}

impl fmt::Display for SignatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignatureKind::Rsa => "RSA",
            SignatureKind::Ecdsa => "ECDSA",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_bytes_tell_the_kind() {
        for kind in [SignatureKind::Rsa, SignatureKind::Ecdsa] {
            assert_eq!(SignatureKind::parse(&kind.first_bytes()), Some(kind));
        }
        let p384 = [0xE7, 3, 1, 0];
        assert_eq!(SignatureKind::parse(&p384), Some(SignatureKind::Ecdsa));
    }

    #[test]
    fn what_else_may_lie_there_is_no_signature() {
        for bytes in [
            [0xFF; 4],
            [0; 4],
            [0xE7, 1, 0, 0],
            [0xE7, 4, 0, 0],
            [0xE7, 2, 0, 1],
            [0xE7, 2, 2, 0],
            [0xE9, 2, 0, 0],
        ] {
            assert_eq!(SignatureKind::parse(&bytes), None, "{bytes:02X?}");
        }
    }
}
