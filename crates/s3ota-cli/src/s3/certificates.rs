//! Certificate files, PEM or DER.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::CliError;
use crate::text;

/// The certificates in an optional file, as DER. An empty path names none.
pub fn read_all(path: Option<&Path>) -> Result<Vec<Vec<u8>>, CliError> {
    match path.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => read(path),
        None => Ok(Vec::new()),
    }
}

/// The certificates in a file, as DER. A file without a PEM header is one certificate in DER.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let bytes = text::read(path).map_err(|error| CliError::file(path, &error))?;
    let is_pem = bytes.windows(10).any(|window| window == b"-----BEGIN");
    if !is_pem {
        return Ok(vec![bytes]);
    }
    let certificates =
        CertificateDer::pem_slice_iter(&bytes).map(|der| der.map(|der| der.to_vec()));
    let broken = |error| CliError::new("tls.root", format!("{}: {error}", path.display()));
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(broken)?;
    if certificates.is_empty() {
        return Err(CliError::new(
            "tls.root",
            format!("{} contains no certificate", path.display()),
        ));
    }
    Ok(certificates)
}
