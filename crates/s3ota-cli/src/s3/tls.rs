//! The trusted certificates.

use std::path::Path;

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls_pki_types::CertificateDer;

use crate::error::CliError;
use crate::s3::certificates;

/// Trusts the certificates in the file `ca`, and the system's roots if `system_roots` is set.
pub(super) fn trust(ca: Option<&Path>, system_roots: bool) -> Result<TlsContext, CliError> {
    let mut roots = TrustStore::empty().with_native_roots(system_roots);
    if let Some(path) = ca {
        // The SDK panics on an invalid certificate, and takes PEM only.
        let certificates = certificates::read(path)?
            .into_iter()
            .map(CertificateDer::from);
        let anchors: Vec<_> = certificates
            .filter(|der| webpki::anchor_from_trusted_cert(der).is_ok())
            .collect();
        if anchors.is_empty() {
            let message = format!("{} contains no usable certificate", path.display());
            return Err(CliError::new("tls.root", message)
                .hint("--ca takes the certificate of a CA, PEM or DER"));
        }
        for der in anchors {
            roots.add_pem_certificate(pem(&der));
        }
    }
    let failed = |error| {
        CliError::new(
            "tls.root",
            format!("the trusted certificates cannot be used: {error}"),
        )
    };
    TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .map_err(failed)
}

/// A certificate in PEM (RFC 7468), except that it is one long line.
fn pem(der: &[u8]) -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}
