//! The search for a path of certificates, and the verification of its signatures, one after the other instead of one in the other.
//!
//! rustls-webpki verifies a signature in the middle of its search, which calls itself once for each certificate. So the stack of
//! both would add up. Here the search is told the verdict on each signature that it has asked for before. At the first new one it
//! is told no, and its result is void: the signature is verified, and the search is made again from the start. A search depends
//! on nothing but the certificates and the verdicts, so it asks for the same signatures in the same order, and the last one, which
//! meets nothing new, is the search that would have verified the signatures itself.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicUsize, Ordering::Relaxed};

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    TrustAnchor,
};

use crate::algorithms::{Algorithm, CERTIFICATE_ALGORITHM_COUNT, CERTIFICATE_ALGORITHMS};
use crate::der;

/// Certificate signatures verified per connection. Two or three are usual. A hostile server decides how many there are to
/// try, and nothing else runs meanwhile: webpki's own limit of 100 is for faster machines.
pub(crate) const MAX_SIGNATURES: u8 = 16;

/// What is known of the signatures of one connection.
///
/// Atomics, because rustls-webpki wants algorithms that can be shared; loads and stores only, because not every chip has more.
pub(crate) struct Verdicts {
    /// How many signatures were verified, and which of them are good: the first is the lowest bit.
    known: AtomicU8,
    good: AtomicU16,
    /// How many signatures the searches that are over have asked for, and this one.
    asked: AtomicU8,
    /// How many the searches that are over have asked for.
    before: AtomicU8,
    /// The search has asked for a signature that is not known.
    is_void: AtomicBool,
    /// That signature: the place of its algorithm, and where key, message and signature lie: address and length of each.
    algorithm: AtomicU8,
    places: [(AtomicUsize, AtomicUsize); 3],
    /// A signature by a P-384 key was met that this firmware cannot verify.
    met_p384: AtomicBool,
}

impl Verdicts {
    /// Nothing is known.
    pub(crate) fn none() -> Self {
        Self {
            known: AtomicU8::new(0),
            good: AtomicU16::new(0),
            asked: AtomicU8::new(0),
            before: AtomicU8::new(0),
            is_void: AtomicBool::new(false),
            algorithm: AtomicU8::new(0),
            places: [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 3],
            met_p384: AtomicBool::new(false),
        }
    }

    /// Searches until all signatures that the search asks for are known. In `sources` are the keys, messages and signatures that it
    /// can ask for.
    pub(crate) fn complete<T>(&self, search: impl Fn() -> T, sources: &Sources<'_>) -> T {
        loop {
            self.is_void.store(false, Relaxed);
            self.asked.store(self.before.load(Relaxed), Relaxed);
            let result = search();
            if !self.is_void.load(Relaxed) {
                self.before.store(self.asked.load(Relaxed), Relaxed);
                return result;
            }
            // At most MAX_SIGNATURES times: the search is not void for more.
            self.verify(sources);
        }
    }

    /// Whether the budget is spent.
    pub(crate) fn are_too_many(&self) -> bool {
        self.asked.load(Relaxed) >= MAX_SIGNATURES
    }

    /// Whether a signature by a P-384 key was met that this firmware cannot verify.
    pub(crate) fn have_met_p384(&self) -> bool {
        self.met_p384.load(Relaxed)
    }

    /// Verifies the signature that made the search void, and notes the verdict.
    #[inline(never)]
    fn verify(&self, sources: &Sources<'_>) {
        let [key, message, signature] = self
            .places
            .each_ref()
            .map(|(start, length)| sources.find(start.load(Relaxed), length.load(Relaxed)));
        let place = usize::from(self.algorithm.load(Relaxed));
        let is_good = match (CERTIFICATE_ALGORITHMS.get(place), key, message, signature) {
            (Some(algorithm), Some(key), Some(message), Some(signature)) => {
                (algorithm.verify)(key, message, signature).is_ok()
            }
            // The search does not ask for what is not in its sources.
            _ => false,
        };
        let known = self.known.load(Relaxed);
        let bit = 1u16.checked_shl(known.into()).filter(|_| is_good);
        self.good
            .store(self.good.load(Relaxed) | bit.unwrap_or(0), Relaxed);
        self.known.store(known.saturating_add(1), Relaxed);
    }

    /// The verdict on the signature that the search asks for.
    #[inline(never)]
    fn of(&self, algorithm: &Recalled<'_>, signature: [&[u8]; 3]) -> Result<(), InvalidSignature> {
        if self.is_void.load(Relaxed) || self.are_too_many() {
            return Err(InvalidSignature);
        }
        let asked = self.asked.load(Relaxed);
        if asked >= self.known.load(Relaxed) {
            self.is_void.store(true, Relaxed);
            self.algorithm.store(algorithm.place, Relaxed);
            for ((start, length), bytes) in self.places.iter().zip(signature) {
                start.store(bytes.as_ptr().addr(), Relaxed);
                length.store(bytes.len(), Relaxed);
            }
            return Err(InvalidSignature);
        }
        self.asked.store(asked + 1, Relaxed);
        if cfg!(not(feature = "p384")) && is_p384(algorithm.place) {
            self.met_p384.store(true, Relaxed);
        }
        match self.good.load(Relaxed) >> asked & 1 {
            1 => Ok(()),
            _ => Err(InvalidSignature),
        }
    }
}

/// Whether the algorithm at this place is for keys on P-384.
fn is_p384(place: u8) -> bool {
    matches!(place, 2 | 3)
}

/// Where keys, messages and signatures lie.
pub(crate) struct Sources<'s> {
    pub(crate) parts: [&'s [u8]; 3],
    pub(crate) certificates: &'s [CertificateDer<'s>],
    pub(crate) roots: &'s [TrustAnchor<'s>],
}

impl<'s> Sources<'s> {
    /// The bytes of this address and length, if they are a part of a source.
    #[inline(never)]
    fn find(&self, address: usize, length: usize) -> Option<&'s [u8]> {
        let certificates = self.certificates.iter().map(|der| &**der);
        let keys = self.roots.iter().map(|root| &*root.subject_public_key_info);
        let mut all = self.parts.into_iter().chain(certificates).chain(keys);
        all.find_map(|source| der::part(source, address, length))
    }
}

/// One of [`CERTIFICATE_ALGORITHMS`], which recalls verdicts.
#[derive(Clone, Copy)]
pub(crate) struct Recalled<'v> {
    place: u8,
    verdicts: &'v Verdicts,
}

impl<'v> Recalled<'v> {
    /// All of them.
    pub(crate) fn all(verdicts: &'v Verdicts) -> [Self; CERTIFICATE_ALGORITHM_COUNT] {
        let mut all = [Self::at(0, verdicts); CERTIFICATE_ALGORITHM_COUNT];
        for (place, one) in (0..).zip(&mut all) {
            one.place = place;
        }
        all
    }

    /// The one at this place.
    pub(crate) fn at(place: u8, verdicts: &'v Verdicts) -> Self {
        Self { place, verdicts }
    }

    fn algorithm(&self) -> &'static Algorithm {
        let [first, ..] = &CERTIFICATE_ALGORITHMS;
        let algorithm = CERTIFICATE_ALGORITHMS.get(usize::from(self.place));
        algorithm.unwrap_or(first)
    }
}

/// rustls-webpki's trait wants it. Derived, it would bring a kilobyte of `core::fmt` into a firmware, which nothing calls.
impl fmt::Debug for Recalled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recalled")
    }
}

impl SignatureVerificationAlgorithm for Recalled<'_> {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm().key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm().signature
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.verdicts.of(self, [public_key, message, signature])
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::vec::Vec;

    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};

    use super::*;

    // At one address: a constant may lie at several.
    static MESSAGE: &[u8] = b"message";

    fn sources<'s>(parts: [&'s [u8]; 3], certificates: &'s [CertificateDer<'s>]) -> Sources<'s> {
        Sources {
            parts,
            certificates,
            roots: &[],
        }
    }

    /// A P-256 key and its signature of [`MESSAGE`].
    fn signature() -> (Vec<u8>, Vec<u8>) {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let signature: Signature = key.sign(MESSAGE);
        let public = key.verifying_key().to_encoded_point(false);
        (
            public.as_bytes().to_vec(),
            signature.to_der().as_bytes().to_vec(),
        )
    }

    #[test]
    fn a_search_ends_once_it_knows_the_verdict_on_every_signature() {
        let (key, good) = signature();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        let verdicts = Verdicts::none();
        let searches = Cell::new(0);
        let search = || {
            searches.set(searches.get() + 1);
            let [p256_sha256, ..] = Recalled::all(&verdicts);
            [&good, &bad, &good, &bad].map(|signature| {
                p256_sha256
                    .verify_signature(&key, MESSAGE, signature)
                    .is_ok()
            })
        };
        let certificates = [CertificateDer::from(&*bad)];
        let sources = sources([&key, MESSAGE, &good], &certificates);
        let result = verdicts.complete(search, &sources);
        assert_eq!(result, [true, false, true, false]);
        assert_eq!(searches.get(), 5);
        assert!(!verdicts.are_too_many());
    }

    #[test]
    fn sixteen_signatures_are_verified_and_no_more() {
        let (key, good) = signature();
        let verdicts = Verdicts::none();
        let sources = sources([&key, MESSAGE, &good], &[]);
        let search = |times: usize| {
            let [p256_sha256, ..] = Recalled::all(&verdicts);
            let ask = |_| p256_sha256.verify_signature(&key, MESSAGE, &good).is_ok();
            (0..times).map(ask).filter(|is_good| *is_good).count()
        };
        // In two searches, as for two instants.
        assert_eq!(verdicts.complete(|| search(10), &sources), 10);
        assert!(!verdicts.are_too_many());
        assert_eq!(verdicts.complete(|| search(10), &sources), 6);
        assert!(verdicts.are_too_many());
        assert_eq!(verdicts.known.load(Relaxed), MAX_SIGNATURES);
        assert_eq!(verdicts.complete(|| search(1), &sources), 0);
    }

    #[test]
    fn the_algorithms_on_p384_are_known() {
        let keys = CERTIFICATE_ALGORITHMS
            .each_ref()
            .map(|algorithm| algorithm.key);
        for (place, key) in (0u8..).zip(keys) {
            let expected = key == rustls_pki_types::alg_id::ECDSA_P384;
            assert_eq!(is_p384(place), expected, "{place}");
        }
    }

    #[test]
    fn what_does_not_lie_in_the_sources_is_no_signature() {
        let (key, good) = signature();
        for missing in 0..3 {
            let verdicts = Verdicts::none();
            let mut parts = [&*key, MESSAGE, &*good];
            parts[missing] = &[];
            let sources = sources(parts, &[]);
            let [p256_sha256, ..] = Recalled::all(&verdicts);
            let search = || p256_sha256.verify_signature(&key, MESSAGE, &good).is_ok();
            assert!(!verdicts.complete(search, &sources));
        }
        let bytes = [0; 8];
        let start = bytes.as_ptr().addr();
        let sources = sources([&bytes, &[], &[]], &[]);
        assert_eq!(sources.find(start + 2, 6), Some(&bytes[2..]));
        assert_eq!(sources.find(start + 2, 7), None);
        assert_eq!(sources.find(start - 1, 1), None);
        assert_eq!(sources.find(start + 2, usize::MAX), None);
    }
}
