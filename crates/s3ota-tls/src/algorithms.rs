//! The signatures that this client can verify: RustCrypto's implementations.
//!
//! `search.rs` puts them behind rustls-webpki's trait. Sizes are bounded: curve points have one size, RSA keys 2048 to 4096 bits.

use embedded_tls::SignatureScheme;
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, alg_id};

use crate::der;

/// An algorithm, as certificates name it. A table, no trait: each implementation of rustls-webpki's takes some 300 bytes.
pub(crate) struct Algorithm {
    /// Of the key.
    pub(crate) key: AlgorithmIdentifier,
    /// Of the signature.
    pub(crate) signature: AlgorithmIdentifier,
    pub(crate) verify: Verify,
}

/// Verifies, by a public key, of a message, a signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Result<(), InvalidSignature>;

pub(crate) const CERTIFICATE_ALGORITHM_COUNT: usize = 4 + if cfg!(feature = "rsa") { 6 } else { 0 };

/// The algorithms allowed on certificates. Those of P-384 verify nothing without the feature.
pub(crate) static CERTIFICATE_ALGORITHMS: [Algorithm; CERTIFICATE_ALGORITHM_COUNT] = [
    ECDSA_P256_SHA256,
    ECDSA_P256_SHA384,
    ECDSA_P384_SHA256,
    ECDSA_P384_SHA384,
    #[cfg(feature = "rsa")]
    rsa_algorithms::PKCS1_SHA256,
    #[cfg(feature = "rsa")]
    rsa_algorithms::PKCS1_SHA384,
    #[cfg(feature = "rsa")]
    rsa_algorithms::PKCS1_SHA512,
    #[cfg(feature = "rsa")]
    rsa_algorithms::PSS_SHA256,
    #[cfg(feature = "rsa")]
    rsa_algorithms::PSS_SHA384,
    #[cfg(feature = "rsa")]
    rsa_algorithms::PSS_SHA512,
];

/// The algorithm of a CertificateVerify message (RFC 8446 section 4.4.3), if this client supports it: its place in
/// [`CERTIFICATE_ALGORITHMS`].
///
/// RSA PKCS #1 v1.5 is for certificates only and must not be used here.
pub(crate) fn certificate_verify_algorithm(scheme: SignatureScheme) -> Option<u8> {
    Some(match scheme {
        SignatureScheme::EcdsaSecp256r1Sha256 => 0,
        #[cfg(feature = "p384")]
        SignatureScheme::EcdsaSecp384r1Sha384 => 3,
        #[cfg(feature = "rsa")]
        SignatureScheme::RsaPssRsaeSha256 => 7,
        #[cfg(feature = "rsa")]
        SignatureScheme::RsaPssRsaeSha384 => 8,
        #[cfg(feature = "rsa")]
        SignatureScheme::RsaPssRsaeSha512 => 9,
        _ => return None,
    })
}

/// The hash of a message. In a function of its own, so that its stack is free again before the curve's arithmetic.
#[inline(never)]
fn hashed<H: sha2::Digest>(message: &[u8]) -> sha2::digest::Output<H> {
    H::digest(message)
}

macro_rules! ecdsa {
    ($name:ident: $curve:ident, $bytes:literal, $hash:ident => $key:ident, $signature:ident) => {
        pub(crate) const $name: Algorithm = Algorithm {
            key: alg_id::$key,
            signature: alg_id::$signature,
            verify: |public_key, message, signature| {
                use $curve::ecdsa::signature::hazmat::PrehashVerifier;
                use $curve::ecdsa::{Signature, VerifyingKey};

                let key = VerifyingKey::from_sec1_bytes(public_key).or(Err(InvalidSignature))?;
                let (r, s) = der::two_numbers(signature).ok_or(InvalidSignature)?;
                let signature = Signature::from_scalars(
                    der::padded::<$bytes>(r).ok_or(InvalidSignature)?,
                    der::padded::<$bytes>(s).ok_or(InvalidSignature)?,
                )
                .or(Err(InvalidSignature))?;
                key.verify_prehash(&hashed::<sha2::$hash>(message), &signature)
                    .or(Err(InvalidSignature))
            },
        };
    };
}

/// An algorithm that is known but not built in. No signature verifies, and the verifier can tell why.
#[cfg(not(feature = "p384"))]
macro_rules! not_built_in {
    ($name:ident => $key:ident, $signature:ident) => {
        const $name: Algorithm = Algorithm {
            key: alg_id::$key,
            signature: alg_id::$signature,
            verify: |_, _, _| Err(InvalidSignature),
        };
    };
}

ecdsa! { ECDSA_P256_SHA256: p256, 32, Sha256 => ECDSA_P256, ECDSA_SHA256 }
ecdsa! { ECDSA_P256_SHA384: p256, 32, Sha384 => ECDSA_P256, ECDSA_SHA384 }
#[cfg(feature = "p384")]
ecdsa! { ECDSA_P384_SHA256: p384, 48, Sha256 => ECDSA_P384, ECDSA_SHA256 }
#[cfg(feature = "p384")]
ecdsa! { ECDSA_P384_SHA384: p384, 48, Sha384 => ECDSA_P384, ECDSA_SHA384 }
#[cfg(not(feature = "p384"))]
not_built_in! { ECDSA_P384_SHA256 => ECDSA_P384, ECDSA_SHA256 }
#[cfg(not(feature = "p384"))]
not_built_in! { ECDSA_P384_SHA384 => ECDSA_P384, ECDSA_SHA384 }

#[cfg(feature = "rsa")]
pub(crate) mod rsa_algorithms {
    use super::*;
    use crate::rsa::Padding::{Pkcs1, Pss};
    use crate::rsa::{digest_info, verify};

    macro_rules! rsa {
        ($name:ident: $padding:expr, $hash:ident => $signature:ident) => {
            pub(crate) const $name: Algorithm = Algorithm {
                key: alg_id::RSA_ENCRYPTION,
                signature: alg_id::$signature,
                verify: |public_key, message, signature| {
                    let mut hash = sha2::$hash::default();
                    verify($padding, &mut hash, public_key, message, signature)
                },
            };
        };
    }

    rsa! { PKCS1_SHA256: Pkcs1(digest_info::SHA256), Sha256 => RSA_PKCS1_SHA256 }
    rsa! { PKCS1_SHA384: Pkcs1(digest_info::SHA384), Sha384 => RSA_PKCS1_SHA384 }
    rsa! { PKCS1_SHA512: Pkcs1(digest_info::SHA512), Sha512 => RSA_PKCS1_SHA512 }
    rsa! { PSS_SHA256: Pss, Sha256 => RSA_PSS_SHA256 }
    rsa! { PSS_SHA384: Pss, Sha384 => RSA_PSS_SHA384 }
    rsa! { PSS_SHA512: Pss, Sha512 => RSA_PSS_SHA512 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_the_algorithm_of_its_name() {
        let ids = |scheme| {
            let place = certificate_verify_algorithm(scheme)?;
            let algorithm = CERTIFICATE_ALGORITHMS.get(usize::from(place))?;
            Some((algorithm.key, algorithm.signature))
        };
        let rsa = |id| cfg!(feature = "rsa").then_some((alg_id::RSA_ENCRYPTION, id));
        let p384 = (alg_id::ECDSA_P384, alg_id::ECDSA_SHA384);
        for (scheme, expected) in [
            (
                SignatureScheme::EcdsaSecp256r1Sha256,
                Some((alg_id::ECDSA_P256, alg_id::ECDSA_SHA256)),
            ),
            (
                SignatureScheme::EcdsaSecp384r1Sha384,
                cfg!(feature = "p384").then_some(p384),
            ),
            (
                SignatureScheme::RsaPssRsaeSha256,
                rsa(alg_id::RSA_PSS_SHA256),
            ),
            (
                SignatureScheme::RsaPssRsaeSha384,
                rsa(alg_id::RSA_PSS_SHA384),
            ),
            (
                SignatureScheme::RsaPssRsaeSha512,
                rsa(alg_id::RSA_PSS_SHA512),
            ),
            (SignatureScheme::RsaPkcs1Sha256, None),
            (SignatureScheme::EcdsaSecp521r1Sha512, None),
            (SignatureScheme::Ed25519, None),
        ] {
            assert_eq!(ids(scheme), expected, "{scheme:?}");
        }
    }
}
