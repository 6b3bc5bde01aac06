#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use core::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

/// Looks for a path from a server's certificate to one of `roots`, by way of `intermediates`, that is valid `seconds` after the
/// Unix epoch. Signatures are what `algorithms` say.
///
/// # Errors
///
/// Those of [`EndEntityCert::verify_for_usage`].
#[inline(never)]
pub fn search(
    certificate: &EndEntityCert<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &[TrustAnchor<'_>],
    seconds: u64,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> Result<(), webpki::Error> {
    let found = certificate.verify_for_usage(
        algorithms,
        roots,
        intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        KeyUsage::server_auth(),
        None,
        None,
    );
    // By reference: moved out of the result, the error would take the stack of a path as well, which is 800 bytes.
    match &found {
        Ok(_) => Ok(()),
        Err(error) => Err(error.clone()),
    }
}
