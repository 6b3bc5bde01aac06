//! Verification of RSA signatures: PKCS #1 v1.5 and PSS (RFC 8017 sections 8.2.2 and 8.1.2).
//!
//! The arithmetic is in `power.rs`. All inputs are public, so timing reveals no secret.

use core::ops::RangeInclusive;

use rustls_pki_types::InvalidSignature;
use sha2::digest::DynDigest;

use crate::der;
use crate::power::{MAX_BYTES, power};

const KEY_BITS: RangeInclusive<usize> = 2048..=4096;
/// Of SHA-512.
const MAX_DIGEST: usize = 64;
/// Public exponents are 3 or 65537. A longer one only takes time.
const MAX_EXPONENT: u64 = (1 << 33) - 1;

/// How a hash is padded to the key's length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Padding {
    /// EMSA-PKCS1-v1_5, with the DER before the hash.
    Pkcs1(&'static [u8]),
    /// EMSA-PSS with MGF1 of the same hash, and a salt of the same length.
    Pss,
}

/// The DER before the hash in PKCS #1 v1.5 (RFC 8017 section 9.2, note 1).
pub(crate) mod digest_info {
    pub(crate) const SHA256: &[u8] =
        b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    pub(crate) const SHA384: &[u8] =
        b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30";
    pub(crate) const SHA512: &[u8] =
        b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";
}

/// Verifies a signature with the key in an RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 to 4096 bits.
pub(crate) fn verify(
    padding: Padding,
    hash: &mut dyn DynDigest,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), InvalidSignature> {
    match is_valid(padding, hash, public_key, message, signature) {
        Some(true) => Ok(()),
        Some(false) | None => Err(InvalidSignature),
    }
}

fn is_valid(
    padding: Padding,
    hash: &mut dyn DynDigest,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let (modulus, exponent) = der::two_numbers(public_key)?;
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    if !KEY_BITS.contains(&bits) || signature.len() != modulus.len() {
        return None;
    }
    let exponent = small(exponent)?;

    let mut encoded = [0; MAX_BYTES];
    let encoded = encoded.get_mut(..modulus.len())?;
    // RSAVP1 (RFC 8017 section 5.2.2).
    power(modulus, exponent, signature, encoded)?;

    let mut digest = [0; MAX_DIGEST];
    let digest = digest.get_mut(..hash.output_size())?;
    hash.update(message);
    hash.finalize_into_reset(digest).ok()?;
    match padding {
        Padding::Pkcs1(info) => is_pkcs1(encoded, info, digest),
        Padding::Pss => is_pss(encoded, bits, hash, digest),
    }
}

/// A public exponent: odd, at least 3.
fn small(bytes: &[u8]) -> Option<u64> {
    let exponent = u64::from_be_bytes(der::padded(bytes)?);
    (exponent % 2 == 1 && (3..=MAX_EXPONENT).contains(&exponent)).then_some(exponent)
}

/// EMSA-PKCS1-v1_5 (RFC 8017 section 9.2). A hash has one encoding, so it is compared, not parsed.
fn is_pkcs1(encoded: &[u8], info: &[u8], digest: &[u8]) -> Option<bool> {
    let end = info.len() + digest.len();
    let (start, end) = encoded.split_at_checked(encoded.len().checked_sub(end)?)?;
    let [0, 1, padding @ .., 0] = start else {
        return None;
    };
    let is_padding = padding.len() >= 8 && padding.iter().all(|byte| *byte == 0xff);
    Some(is_padding && end.strip_prefix(info)? == digest)
}

/// EMSA-PSS-VERIFY (RFC 8017 section 9.1.2), for a key of `bits` bits.
fn is_pss(
    mut encoded: &mut [u8],
    key_bits: usize,
    hash: &mut dyn DynDigest,
    digest: &[u8],
) -> Option<bool> {
    let bits = key_bits - 1;
    if bits.is_multiple_of(8) {
        let (0, rest) = encoded.split_first_mut()? else {
            return None;
        };
        encoded = rest;
    }
    let (0xbc, rest) = encoded.split_last_mut()? else {
        return None;
    };
    let (masked, seed) = rest.split_at_mut_checked(rest.len().checked_sub(digest.len())?)?;
    // The bits that are too many for the key.
    let used = 0xff >> (bits.next_multiple_of(8) - bits);
    if masked.first()? & !used != 0 {
        return None;
    }
    // MGF1 (appendix B.2.1).
    let mut mask = [0; MAX_DIGEST];
    let mask = mask.get_mut(..digest.len())?;
    for (counter, block) in (0u32..).zip(masked.chunks_mut(digest.len())) {
        hash.update(seed);
        hash.update(&counter.to_be_bytes());
        hash.finalize_into_reset(mask).ok()?;
        block
            .iter_mut()
            .zip(&*mask)
            .for_each(|(to, mask)| *to ^= mask);
    }
    *masked.first_mut()? &= used;

    let (padding, salt) = masked.split_at_checked(masked.len().checked_sub(digest.len())?)?;
    let (1, zeros) = padding.split_last()? else {
        return None;
    };
    hash.update(&[0; 8]);
    hash.update(digest);
    hash.update(salt);
    hash.finalize_into_reset(mask).ok()?;
    Some(zeros.iter().all(|byte| *byte == 0) && mask == seed)
}

/// Wycheproof's vectors are in `wycheproof_tests.rs`. These tests are for what they leave out.
#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use ::rsa::pkcs1::EncodeRsaPublicKey;
    use ::rsa::rand_core::OsRng;
    use ::rsa::signature::{RandomizedSigner, SignatureEncoding};
    use ::rsa::traits::PublicKeyParts;
    use ::rsa::{BigUint, RsaPrivateKey, RsaPublicKey, pss};
    use sha2::Sha256;

    use super::*;

    const MESSAGE: &[u8] = b"message";

    fn verify_pss(key: &[u8], signature: &[u8]) -> bool {
        verify(
            Padding::Pss,
            &mut Sha256::default(),
            key,
            MESSAGE,
            signature,
        )
        .is_ok()
    }

    fn der(modulus: &BigUint, exponent: &BigUint) -> Vec<u8> {
        let key = RsaPublicKey::new_unchecked(modulus.clone(), exponent.clone());
        key.to_pkcs1_der().unwrap().as_bytes().to_vec()
    }

    #[test]
    fn keys_and_signatures_out_of_range_are_refused_and_odd_lengths_taken() {
        // One bit more than whole bytes: the encoded message is a byte shorter than the modulus.
        let key = RsaPrivateKey::new(&mut OsRng, 2049).unwrap();
        let (n, e) = (key.n().clone(), key.e().clone());
        let one = BigUint::from(1u8);
        let signature = pss::SigningKey::<Sha256>::new(key)
            .sign_with_rng(&mut OsRng, MESSAGE)
            .to_vec();
        assert_eq!(signature.len(), 257);
        assert!(verify_pss(&der(&n, &e), &signature));

        let number = BigUint::from_bytes_be(&signature);
        assert!(!verify_pss(&der(&n, &e), &(number + &n).to_bytes_be()));
        assert!(!verify_pss(&der(&n, &e), &n.to_bytes_be()));
        assert!(!verify_pss(&der(&n, &e), &[0; 257]));
        assert!(!verify_pss(&der(&n, &e), &signature[1..]));
        assert!(!verify_pss(&der(&n, &e), &[]));
        assert!(!verify_pss(&der(&(&n - &one), &e), &signature));
        assert!(!verify_pss(&der(&n, &one), &signature));
        assert!(!verify_pss(&der(&n, &(&e - &one)), &signature));
        assert!(!verify_pss(&der(&n, &(e + (one << 64))), &signature));
        assert!(!verify_pss(b"", &signature));
    }
}
