//! The server's identity: its certificate chain, its name, and the proof that it has the private key.
//!
//! rustls-webpki builds the path and checks dates, key usage, path length and name constraints; `algorithms.rs` has the
//! signatures. This file decides what is checked, and in which order.

use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;

use embedded_tls::{
    CertificateEntryRef, CertificateRef, CertificateVerifyRef, TlsError as Refusal, TlsVerifier,
};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName,
    SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime, alg_id,
};
use sha2::digest::FixedOutput;
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity};

use crate::algorithms::{Algorithm, CERTIFICATE_ALGORITHMS, certificate_verify_algorithm};
use crate::der;
use crate::error::CertificateError;
use crate::protection::Aes128GcmSha256;
use crate::transcript::Transcript;

/// What the device knows about the time, for the dates of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CertTime {
    /// The time is known: seconds since the Unix epoch.
    Known(u64),
    /// The time is not known yet, but it is not earlier than this (the firmware's build time): seconds since the Unix epoch.
    ///
    /// The whole chain must be valid at one instant that is not before this. So a certificate that had expired when the
    /// firmware was built is refused, and one issued since then is accepted.
    AtLeast(u64),
}

/// Certificates besides the server's own. S3 sends three; each more multiplies the paths to search.
const MAX_INTERMEDIATES: usize = 5;
/// Certificate signatures verified per connection. Two or three are usual. A hostile server decides how many there are to
/// try, and nothing else runs meanwhile: webpki's own limit of 100 is for faster machines.
const MAX_SIGNATURES: u8 = 16;
/// SubjectPublicKeyInfo of a 4096-bit RSA key: 550 bytes.
const MAX_PUBLIC_KEY: usize = 560;

/// How far verification has come. embedded-tls completes a handshake without Certificate or CertificateVerify, so the
/// caller must ask [`Verifier::outcome`] at the end.
// UPSTREAM(embedded-tls): message-order.md.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them, and no heap"
)]
enum Progress {
    AwaitingCertificate,
    AwaitingProof {
        /// The handshake up to and including the certificate: what the server signs.
        transcript: Transcript,
        public_key: heapless::Vec<u8, MAX_PUBLIC_KEY>,
    },
    Authenticated,
    Refused(CertificateError),
}

pub(crate) struct Verifier<'a> {
    roots: &'a [TrustAnchor<'a>],
    name: &'a ServerName<'a>,
    time: CertTime,
    progress: Progress,
}

impl<'a> Verifier<'a> {
    pub(crate) fn new(
        roots: &'a [TrustAnchor<'a>],
        name: &'a ServerName<'a>,
        time: CertTime,
    ) -> Self {
        Self {
            roots,
            name,
            time,
            progress: Progress::AwaitingCertificate,
        }
    }

    /// Whether the server has proven its identity, once the handshake is over.
    pub(crate) fn outcome(&self) -> Result<(), CertificateError> {
        match &self.progress {
            Progress::AwaitingCertificate => Err(CertificateError::NotPresented),
            Progress::AwaitingProof { .. } => Err(CertificateError::NotProven),
            Progress::Authenticated => Ok(()),
            Progress::Refused(error) => Err(*error),
        }
    }

    /// The reason, if this verifier ended the handshake.
    pub(crate) fn refusal(&self) -> Option<CertificateError> {
        match &self.progress {
            Progress::Refused(error) => Some(*error),
            _ => None,
        }
    }

    /// Checks the server's certificates, and keeps the key of its own.
    // In a function of its own, as what is below: less stack at the signatures.
    #[inline(never)]
    fn check_certificate(
        &mut self,
        transcript: &Transcript,
        certificate: &CertificateRef<'_>,
    ) -> Result<(), CertificateError> {
        let mut chain = certificate.entries.iter().filter_map(|entry| match entry {
            CertificateEntryRef::X509(der) => Some(CertificateDer::from(*der)),
            CertificateEntryRef::RawPublicKey(_) => None,
        });
        let own = chain.next().ok_or(CertificateError::NotPresented)?;
        let mut intermediates = heapless::Vec::<_, MAX_INTERMEDIATES>::new();
        for der in chain {
            intermediates
                .push(der)
                .map_err(|_| CertificateError::TooLarge)?;
        }

        let certificate = EndEntityCert::try_from(&own).map_err(reason)?;
        self.check_chain(&certificate, &intermediates)?;
        certificate
            .verify_is_valid_for_subject_name(self.name)
            .map_err(reason)?;
        // Keep only the key: the read buffer is reused before the proof comes.
        let public_key = der::subject_public_key_info(&own).ok_or(CertificateError::Malformed)?;
        self.await_proof(transcript, public_key)
    }

    #[inline(never)]
    fn await_proof(
        &mut self,
        transcript: &Transcript,
        public_key: &[u8],
    ) -> Result<(), CertificateError> {
        self.progress = Progress::AwaitingProof {
            transcript: transcript.clone(),
            public_key: heapless::Vec::from_slice(public_key)
                .map_err(|_| CertificateError::UnsupportedAlgorithm)?,
        };
        Ok(())
    }

    fn check_chain(
        &self,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), CertificateError> {
        let budget = Budget::new();
        let algorithms = CERTIFICATE_ALGORITHMS.map(|algorithm| Budgeted {
            algorithm,
            budget: &budget,
        });
        let algorithms = algorithms
            .each_ref()
            .map(|algorithm| -> &dyn SignatureVerificationAlgorithm { algorithm });
        let check = |seconds| {
            certificate
                .verify_for_usage(
                    &algorithms,
                    self.roots,
                    intermediates,
                    UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                    KeyUsage::server_auth(),
                    None,
                    None,
                )
                .map(drop)
        };

        let result = match self.time {
            CertTime::Known(now) => check(now),
            CertTime::AtLeast(earliest) => check_from(earliest, check),
        };
        result.map_err(|error| match reason(error) {
            CertificateError::BadSignature if budget.is_spent() => CertificateError::TooLarge,
            CertificateError::BadSignature if budget.has_met_p384() => CertificateError::NeedsP384,
            reason => reason,
        })
    }

    #[inline(never)]
    fn check_proof(&self, proof: &CertificateVerifyRef<'_>) -> Result<(), CertificateError> {
        let (transcript, public_key) = match &self.progress {
            Progress::AwaitingProof {
                transcript,
                public_key,
            } => (transcript, public_key.as_slice()),
            Progress::AwaitingCertificate => return Err(CertificateError::NotPresented),
            Progress::Authenticated => return Err(CertificateError::NotProven),
            Progress::Refused(error) => return Err(*error),
        };
        let algorithm = certificate_verify_algorithm(proof.signature_scheme)
            .ok_or_else(|| unsupported_key(public_key))?;
        let message = signed_content(transcript).ok_or(CertificateError::NotProven)?;
        let public_key = SubjectPublicKeyInfoDer::from(public_key);
        RawPublicKeyEntity::try_from(&public_key)
            .and_then(|key| key.verify_signature(algorithm, &message, proof.signature))
            .map_err(|error| match reason(error) {
                CertificateError::UnsupportedAlgorithm => CertificateError::UnsupportedAlgorithm,
                _ => CertificateError::NotProven,
            })
    }
}

impl TlsVerifier<Aes128GcmSha256> for Verifier<'_> {
    fn set_hostname_verification(&mut self, _host: &str) -> Result<(), Refusal> {
        // Called only with a server_name extension, so not for IP addresses. `new` gets the name instead.
        Ok(())
    }

    fn verify_certificate(
        &mut self,
        transcript: &Transcript,
        certificate: CertificateRef<'_>,
    ) -> Result<(), Refusal> {
        // True at most once in a handshake.
        if !transcript.is_at_certificate() {
            return Err(Refusal::InvalidHandshake);
        }
        self.check_certificate(transcript, &certificate)
            .map_err(|error| {
                self.progress = Progress::Refused(error);
                Refusal::InvalidCertificate
            })
    }

    fn verify_signature(&mut self, proof: CertificateVerifyRef<'_>) -> Result<(), Refusal> {
        let checked = self.check_proof(&proof);
        self.progress = match checked {
            Ok(()) => Progress::Authenticated,
            Err(error) => Progress::Refused(error),
        };
        checked.map_err(|_| Refusal::InvalidSignature)
    }
}

/// Looks for an instant, not before `earliest`, at which `check` succeeds: the first that satisfies every notBefore.
fn check_from(
    earliest: u64,
    check: impl Fn(u64) -> Result<(), webpki::Error>,
) -> Result<(), webpki::Error> {
    // Each retry satisfies at least one more certificate.
    const RETRIES: usize = MAX_INTERMEDIATES + 1;
    let mut instant = earliest;
    let mut result = check(instant);
    for _ in 0..RETRIES {
        match result {
            Err(webpki::Error::CertNotValidYet { not_before, .. })
                if not_before.as_secs() > instant =>
            {
                instant = not_before.as_secs();
                result = check(instant);
            }
            _ => break,
        }
    }
    result
}

/// What a server signs in CertificateVerify (RFC 8446 section 4.4.3).
#[inline(never)]
fn signed_content(transcript: &Transcript) -> Option<heapless::Vec<u8, 130>> {
    let mut content = heapless::Vec::new();
    content.resize(64, b' ').ok()?;
    content
        .extend_from_slice(b"TLS 1.3, server CertificateVerify\0")
        .ok()?;
    content
        .extend_from_slice(&transcript.clone().finalize_fixed())
        .ok()?;
    Some(content)
}

/// Why the handshake cannot be verified with this SubjectPublicKeyInfo.
fn unsupported_key(public_key: &[u8]) -> CertificateError {
    let kind = &*alg_id::ECDSA_P384;
    let is_p384 = public_key.windows(kind.len()).any(|part| part == kind);
    if cfg!(not(feature = "p384")) && is_p384 {
        CertificateError::NeedsP384
    } else {
        CertificateError::UnsupportedAlgorithm
    }
}

/// How many more signatures may be verified, and [`MET_P384`]. Loads and stores only: not every chip has more.
#[derive(Debug)]
struct Budget(AtomicU8);

/// Set once a signature by a P-384 key was met that this firmware cannot verify.
const MET_P384: u8 = 0x80;

impl Budget {
    fn new() -> Self {
        Self(AtomicU8::new(MAX_SIGNATURES))
    }

    fn spend(&self) -> Result<(), InvalidSignature> {
        if self.is_spent() {
            return Err(InvalidSignature);
        }
        // Above zero, so nothing is borrowed from the mark.
        self.0
            .store(self.0.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        Ok(())
    }

    fn meet_p384(&self) {
        self.0
            .store(self.0.load(Ordering::Relaxed) | MET_P384, Ordering::Relaxed);
    }

    fn has_met_p384(&self) -> bool {
        self.0.load(Ordering::Relaxed) & MET_P384 != 0
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !MET_P384 == 0
    }
}

/// An algorithm that fails once the budget is spent.
#[derive(Debug)]
struct Budgeted<'a> {
    algorithm: Algorithm,
    budget: &'a Budget,
}

impl SignatureVerificationAlgorithm for Budgeted<'_> {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.budget.spend()?;
        if cfg!(not(feature = "p384")) && self.public_key_alg_id() == alg_id::ECDSA_P384 {
            self.budget.meet_p384();
        }
        self.algorithm
            .verify_signature(public_key, message, signature)
    }
}

/// rustls-webpki's reason in this crate's terms.
fn reason(error: webpki::Error) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertExpired { not_after, .. } => CertificateError::Expired {
            not_after: not_after.as_secs(),
        },
        E::CertNotValidYet { not_before, .. } => CertificateError::NotYetValid {
            not_before: not_before.as_secs(),
        },
        E::CertNotValidForName(_) => CertificateError::WrongName,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => CertificateError::NotForServers,
        E::CaUsedAsEndEntity => CertificateError::IsAnAuthority,
        E::EndEntityUsedAsCa => CertificateError::NotAnAuthority,
        E::PathLenConstraintViolated
        | E::NameConstraintViolation
        | E::UnsupportedCriticalExtension => CertificateError::NotAllowed,
        E::InvalidSignatureForPublicKey | E::SignatureAlgorithmMismatch => {
            CertificateError::BadSignature
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateError::UnsupportedAlgorithm
        }
        E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => CertificateError::TooLarge,
        _ => CertificateError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn not_valid_before(seconds: u64) -> webpki::Error {
        webpki::Error::CertNotValidYet {
            time: UnixTime::since_unix_epoch(Duration::ZERO),
            not_before: UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn the_earliest_instant_that_suits_every_certificate_is_found() {
        // Three certificates, which begin at 10, 20 and 30.
        let check = |instant| match instant {
            0..10 => Err(not_valid_before(10)),
            10..20 => Err(not_valid_before(20)),
            20..30 => Err(not_valid_before(30)),
            _ => Ok(()),
        };
        assert_eq!(check_from(5, check), Ok(()));
    }

    #[test]
    fn the_earliest_instant_is_never_lowered() {
        let asked = Cell::new(u64::MAX);
        let result = check_from(100, |instant| {
            asked.set(asked.get().min(instant));
            Err(not_valid_before(50))
        });
        assert_eq!((result, asked.get()), (Err(not_valid_before(50)), 100));
    }

    #[test]
    fn the_search_for_an_instant_ends() {
        let calls = Cell::new(0);
        let result = check_from(0, |instant| {
            calls.set(calls.get() + 1);
            Err(not_valid_before(instant + 1))
        });
        assert!(result.is_err());
        assert_eq!(calls.get(), 1 + MAX_INTERMEDIATES + 1);
    }

    #[test]
    fn a_spent_budget_verifies_no_more_signatures() {
        #[derive(Debug)]
        struct Anything;
        impl SignatureVerificationAlgorithm for Anything {
            fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                rustls_pki_types::alg_id::ECDSA_P256
            }
            fn signature_alg_id(&self) -> AlgorithmIdentifier {
                rustls_pki_types::alg_id::ECDSA_SHA256
            }
            fn verify_signature(
                &self,
                _: &[u8],
                _: &[u8],
                _: &[u8],
            ) -> Result<(), InvalidSignature> {
                Ok(())
            }
        }
        let budget = Budget::new();
        let budgeted = Budgeted {
            algorithm: &Anything,
            budget: &budget,
        };
        for _ in 0..MAX_SIGNATURES {
            assert!(!budget.is_spent());
            assert!(budgeted.verify_signature(b"", b"", b"").is_ok());
        }
        assert!(budget.is_spent());
        assert!(budgeted.verify_signature(b"", b"", b"").is_err());
    }
}
