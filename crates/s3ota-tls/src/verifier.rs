//! The server's identity: its certificate chain, its name, and the proof that it has the private key.
//!
//! rustls-webpki builds the path and checks dates, key usage, path length and name constraints; `algorithms.rs` has the
//! signatures. This file decides what is checked, and in which order.

use embedded_tls::{
    CertificateEntryRef, CertificateRef, CertificateVerifyRef, TlsError as Refusal, TlsVerifier,
};
use rustls_pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
    TrustAnchor, alg_id,
};
use sha2::digest::FixedOutput;
use webpki::{EndEntityCert, RawPublicKeyEntity};

use crate::algorithms::{CERTIFICATE_ALGORITHM_COUNT, certificate_verify_algorithm};
use crate::der;
use crate::error::CertificateError;
use crate::protection::Aes128GcmSha256;
use crate::search::{Recalled, Sources, Verdicts};
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
/// SubjectPublicKeyInfo of a 4096-bit RSA key: 550 bytes.
const MAX_PUBLIC_KEY: usize = 560;

/// How far verification has come. embedded-tls completes a handshake without Certificate or CertificateVerify, so the
/// caller must ask [`Verifier::outcome`] at the end.
// UPSTREAM(embedded-tls): message-order.md.
enum Progress {
    AwaitingCertificate,
    AwaitingProof,
    Authenticated,
    Refused(CertificateError),
}

/// Bytes of what a server signs in CertificateVerify: see [`write_signed`].
const SIGNED: usize = 64 + CONTEXT.len() + 32;
const CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// Bytes of memory for what the server claims by its certificate, and is to prove by the end of the handshake: what it signs, and its
/// public key.
pub const CLAIM: usize = SIGNED + MAX_PUBLIC_KEY;

pub(crate) struct Verifier<'a> {
    roots: &'a [TrustAnchor<'a>],
    name: &'a ServerName<'a>,
    time: CertTime,
    progress: Progress,
    claim: &'a mut [u8; CLAIM],
    /// Bytes of the public key in the claim.
    key_length: usize,
}

impl<'a> Verifier<'a> {
    pub(crate) fn new(
        roots: &'a [TrustAnchor<'a>],
        name: &'a ServerName<'a>,
        time: CertTime,
        claim: &'a mut [u8; CLAIM],
    ) -> Self {
        Self {
            roots,
            name,
            time,
            progress: Progress::AwaitingCertificate,
            claim,
            key_length: 0,
        }
    }

    /// Whether the server has proven its identity, once the handshake is over.
    pub(crate) fn outcome(&self) -> Result<(), CertificateError> {
        match &self.progress {
            Progress::AwaitingCertificate => Err(CertificateError::NotPresented),
            Progress::AwaitingProof => Err(CertificateError::NotProven),
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

        // By reference: moved out of the result, it would take its stack twice.
        let parsed = EndEntityCert::try_from(&own);
        let certificate = match &parsed {
            Ok(certificate) => certificate,
            Err(error) => return Err(reason(error.clone())),
        };
        self.check_chain(&own, certificate, &intermediates)?;
        self.check_name(certificate)?;
        self.await_proof(transcript, &own)
    }

    #[inline(never)]
    fn check_name(&self, certificate: &EndEntityCert<'_>) -> Result<(), CertificateError> {
        certificate
            .verify_is_valid_for_subject_name(self.name)
            .map_err(reason)
    }

    /// Keeps only the key: the read buffer is reused before the proof comes.
    #[inline(never)]
    fn await_proof(&mut self, transcript: &Transcript, own: &[u8]) -> Result<(), CertificateError> {
        let public_key = der::subject_public_key_info(own).ok_or(CertificateError::Malformed)?;
        let (signed, room) = self.claim.split_at_mut(SIGNED);
        room.get_mut(..public_key.len())
            .ok_or(CertificateError::UnsupportedAlgorithm)?
            .copy_from_slice(public_key);
        self.key_length = public_key.len();
        write_signed(transcript, signed);
        self.progress = Progress::AwaitingProof;
        Ok(())
    }

    /// Looks for a path from the server's `own` certificate, which is this one, to a root.
    fn check_chain(
        &self,
        own: &[u8],
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), CertificateError> {
        let verdicts = Verdicts::none();
        let sources = Sources {
            parts: [own, &[], &[]],
            certificates: intermediates,
            roots: self.roots,
        };
        let check = |seconds| {
            let search = || search(certificate, intermediates, self.roots, seconds, &verdicts);
            verdicts.complete(search, &sources)
        };

        let result = match self.time {
            CertTime::Known(now) => check(now),
            CertTime::AtLeast(earliest) => check_from(earliest, check),
        };
        result.map_err(|error| match reason(error) {
            CertificateError::BadSignature if verdicts.are_too_many() => CertificateError::TooLarge,
            CertificateError::BadSignature if verdicts.have_met_p384() => {
                CertificateError::NeedsP384
            }
            reason => reason,
        })
    }

    #[inline(never)]
    fn check_proof(&self, proof: &CertificateVerifyRef<'_>) -> Result<(), CertificateError> {
        match &self.progress {
            Progress::AwaitingProof => {}
            Progress::AwaitingCertificate => return Err(CertificateError::NotPresented),
            Progress::Authenticated => return Err(CertificateError::NotProven),
            Progress::Refused(error) => return Err(*error),
        }
        let (message, public_key) = self.claim.split_at(SIGNED);
        let public_key = public_key.get(..self.key_length).unwrap_or_default();
        let algorithm = certificate_verify_algorithm(proof.signature_scheme)
            .ok_or_else(|| unsupported_key(public_key))?;
        let key = SubjectPublicKeyInfoDer::from(public_key);
        // As for certificates: webpki finds the key, and its stack is free again when the signature is verified.
        let verdicts = Verdicts::none();
        let recalled = Recalled::at(algorithm, &verdicts);
        let search = || {
            RawPublicKeyEntity::try_from(&key)?.verify_signature(
                &recalled,
                message,
                proof.signature,
            )
        };
        let sources = Sources {
            parts: [public_key, message, proof.signature],
            certificates: &[],
            roots: &[],
        };
        verdicts
            .complete(search, &sources)
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

/// Looks for a path, valid at one instant, by the verdicts on its signatures that are known.
// In a function of its own: no signature is verified above its stack.
#[inline(never)]
fn search(
    certificate: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &[TrustAnchor<'_>],
    seconds: u64,
    verdicts: &Verdicts,
) -> Result<(), webpki::Error> {
    let recalled = Recalled::all(verdicts);
    // In their places: mapped, they would take the stack of two more arrays.
    let [first, ..] = &recalled;
    let first: &dyn SignatureVerificationAlgorithm = first;
    let mut algorithms = [first; CERTIFICATE_ALGORITHM_COUNT];
    for (place, algorithm) in algorithms.iter_mut().zip(&recalled) {
        *place = algorithm;
    }
    s3ota_tls_path::search(certificate, intermediates, roots, seconds, &algorithms)
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

/// Writes what a server signs in CertificateVerify (RFC 8446 section 4.4.3): 64 spaces, a text, and the hash of the handshake up to and
/// including the certificate.
#[inline(never)]
fn write_signed(transcript: &Transcript, to: &mut [u8]) {
    let hash = transcript.clone().finalize_fixed();
    let parts = [&[b' '; 64], CONTEXT, &hash];
    let bytes = parts.into_iter().flatten();
    to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
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
    use std::time::Duration;

    use rustls_pki_types::UnixTime;

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
}
