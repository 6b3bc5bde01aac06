//! Verification of signatures by itself, for tests that run it as the code of a chip. Not a part of the API: it may change at any time.

use crate::algorithms::CERTIFICATE_ALGORITHMS;

/// Whether the algorithm at this place of the list takes a signature. ECDSA with P-256 and SHA-256 is at 0, RSA with PKCS #1 v1.5 from
/// 4 on, and with PSS from 7 on, each with SHA-256, SHA-384 and SHA-512.
pub fn verifies(algorithm: usize, public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    CERTIFICATE_ALGORITHMS
        .get(algorithm)
        .is_some_and(|algorithm| (algorithm.verify)(public_key, message, signature).is_ok())
}
