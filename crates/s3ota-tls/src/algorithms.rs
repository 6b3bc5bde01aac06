//! The signatures that this client can verify: RustCrypto's implementations behind rustls-webpki's trait.
//!
//! Sizes are bounded: curve points have one size, RSA keys 2048 to 4096 bits.

use embedded_tls::SignatureScheme;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};

use crate::der;

/// An algorithm for rustls-webpki.
pub(crate) type Algorithm = &'static dyn SignatureVerificationAlgorithm;

pub(crate) const CERTIFICATE_ALGORITHM_COUNT: usize = 4 + if cfg!(feature = "rsa") { 6 } else { 0 };

/// The algorithms allowed on certificates. Those of P-384 verify nothing without the feature.
pub(crate) static CERTIFICATE_ALGORITHMS: [Algorithm; CERTIFICATE_ALGORITHM_COUNT] = [
    &EcdsaP256Sha256,
    &EcdsaP256Sha384,
    &EcdsaP384Sha256,
    &EcdsaP384Sha384,
    #[cfg(feature = "rsa")]
    &rsa_algorithms::Pkcs1Sha256,
    #[cfg(feature = "rsa")]
    &rsa_algorithms::Pkcs1Sha384,
    #[cfg(feature = "rsa")]
    &rsa_algorithms::Pkcs1Sha512,
    #[cfg(feature = "rsa")]
    &rsa_algorithms::PssSha256,
    #[cfg(feature = "rsa")]
    &rsa_algorithms::PssSha384,
    #[cfg(feature = "rsa")]
    &rsa_algorithms::PssSha512,
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
    ($name:ident, $curve:ident, $bytes:literal, $hash:ident, $key_id:ident, $signature_id:ident) => {
        #[derive(Debug)]
        pub(crate) struct $name;

        impl SignatureVerificationAlgorithm for $name {
            fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$key_id
            }

            fn signature_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$signature_id
            }

            fn verify_signature(
                &self,
                public_key: &[u8],
                message: &[u8],
                signature: &[u8],
            ) -> Result<(), InvalidSignature> {
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
            }
        }
    };
}

ecdsa!(EcdsaP256Sha256, p256, 32, Sha256, ECDSA_P256, ECDSA_SHA256);
ecdsa!(EcdsaP256Sha384, p256, 32, Sha384, ECDSA_P256, ECDSA_SHA384);
#[cfg(feature = "p384")]
ecdsa!(EcdsaP384Sha256, p384, 48, Sha256, ECDSA_P384, ECDSA_SHA256);
#[cfg(feature = "p384")]
ecdsa!(EcdsaP384Sha384, p384, 48, Sha384, ECDSA_P384, ECDSA_SHA384);

/// An algorithm that is known but not built in. No signature verifies, and the verifier can tell why.
#[cfg(not(feature = "p384"))]
macro_rules! not_built_in {
    ($name:ident, $key_id:ident, $signature_id:ident) => {
        #[derive(Debug)]
        pub(crate) struct $name;

        impl SignatureVerificationAlgorithm for $name {
            fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$key_id
            }

            fn signature_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$signature_id
            }

            fn verify_signature(
                &self,
                _: &[u8],
                _: &[u8],
                _: &[u8],
            ) -> Result<(), InvalidSignature> {
                Err(InvalidSignature)
            }
        }
    };
}

#[cfg(not(feature = "p384"))]
not_built_in!(EcdsaP384Sha256, ECDSA_P384, ECDSA_SHA256);
#[cfg(not(feature = "p384"))]
not_built_in!(EcdsaP384Sha384, ECDSA_P384, ECDSA_SHA384);

#[cfg(feature = "rsa")]
pub(crate) mod rsa_algorithms {
    use super::*;
    use crate::rsa::{Padding, digest_info, verify};

    macro_rules! rsa {
        ($name:ident, $padding:expr, $hash:ident, $signature_id:ident) => {
            #[derive(Debug)]
            pub(crate) struct $name;

            impl SignatureVerificationAlgorithm for $name {
                fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                    alg_id::RSA_ENCRYPTION
                }

                fn signature_alg_id(&self) -> AlgorithmIdentifier {
                    alg_id::$signature_id
                }

                fn verify_signature(
                    &self,
                    public_key: &[u8],
                    message: &[u8],
                    signature: &[u8],
                ) -> Result<(), InvalidSignature> {
                    let mut hash = sha2::$hash::default();
                    verify($padding, &mut hash, public_key, message, signature)
                }
            }
        };
    }

    const PKCS1_SHA256: Padding = Padding::Pkcs1(digest_info::SHA256);
    const PKCS1_SHA384: Padding = Padding::Pkcs1(digest_info::SHA384);
    const PKCS1_SHA512: Padding = Padding::Pkcs1(digest_info::SHA512);

    rsa!(Pkcs1Sha256, PKCS1_SHA256, Sha256, RSA_PKCS1_SHA256);
    rsa!(Pkcs1Sha384, PKCS1_SHA384, Sha384, RSA_PKCS1_SHA384);
    rsa!(Pkcs1Sha512, PKCS1_SHA512, Sha512, RSA_PKCS1_SHA512);
    rsa!(PssSha256, Padding::Pss, Sha256, RSA_PSS_SHA256);
    rsa!(PssSha384, Padding::Pss, Sha384, RSA_PSS_SHA384);
    rsa!(PssSha512, Padding::Pss, Sha512, RSA_PSS_SHA512);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_the_algorithm_of_its_name() {
        let ids = |scheme| {
            let place = certificate_verify_algorithm(scheme)?;
            let algorithm = CERTIFICATE_ALGORITHMS.get(usize::from(place))?;
            Some((algorithm.public_key_alg_id(), algorithm.signature_alg_id()))
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
