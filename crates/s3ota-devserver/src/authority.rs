//! The certificate authority of a directory, and the server certificate that it issues at each start.
//!
//! The authority lives as long as its directory, so devices have to be told about it only once. Each start creates a new
//! server certificate: its names follow the options, and it does not expire while a server runs. Both keys are ECDSA P-256,
//! which every client of this project can verify, including embedded-tls.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::DevServerError;
use crate::error::file_error;

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";

/// Long enough for any use. Devices' clocks are often unset, so a short life would protect nobody.
const AUTHORITY_LIFE: Duration = Duration::days(3650);

/// Apple's platforms refuse server certificates that live longer than 398 days.
const SERVER_LIFE: Duration = Duration::days(397);

/// To a clock that is a little slow, a certificate must not be from the future.
const BACKDATED: Duration = Duration::days(1);

/// A certificate authority kept in a directory.
pub(crate) struct Authority {
    pub(crate) path: PathBuf,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// Reads the authority of `dir`, or creates one.
    pub(crate) fn load_or_create(dir: &Path) -> Result<Authority, DevServerError> {
        let path = dir.join(CERTIFICATE_FILE);
        let key_path = dir.join(KEY_FILE);
        let stored_pem = read_if_exists(&path)?;
        let key = match read_if_exists(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|error| DevServerError::Damaged {
                path: key_path,
                reason: error.to_string(),
            })?,
            None if stored_pem.is_some() => {
                return Err(DevServerError::AuthorityKeyMissing { path: key_path });
            }
            None => {
                let key = KeyPair::generate().map_err(certificate_error)?;
                write_private(&key_path, &key.serialize_pem()).map_err(file_error(&key_path))?;
                key
            }
        };
        let pem = match stored_pem {
            Some(pem) => pem,
            None => {
                let pem = authority_params()
                    .self_signed(&key)
                    .map_err(certificate_error)?
                    .pem();
                write_atomically(&path, pem.as_bytes()).map_err(file_error(&path))?;
                pem
            }
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
            DevServerError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            }
        })?;
        if !contains(&der, key.public_key_raw()) {
            return Err(DevServerError::AuthorityMismatch { path });
        }
        Ok(Authority {
            path,
            pem,
            der,
            key,
        })
    }

    /// A TLS configuration with a fresh certificate for `names` (DNS names, wildcards or IP addresses).
    pub(crate) fn server_config(&self, names: &[String]) -> Result<ServerConfig, DevServerError> {
        let mut params = CertificateParams::new(names).map_err(certificate_error)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "s3ota development server");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, SERVER_LIFE);

        let key = KeyPair::generate().map_err(certificate_error)?;
        let issuer = Issuer::new(authority_params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(certificate_error)?;
        // Both certificates together are well below one TLS record (about 1.2 of 16 KiB): embedded-tls cannot join a
        // handshake message that is split over records.
        let chain = vec![certificate.der().clone(), self.der.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(certificate_error)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Whether `name` is valid in a certificate and in a `Host` header.
pub(crate) fn is_host_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
        || (name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            }))
}

/// The authority's name must not change: clients match the certificate on disk with its issuer by name and key.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "s3ota development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_life(&mut params, AUTHORITY_LIFE);
    params
}

fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + life - BACKDATED;
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn read_if_exists(path: &Path) -> Result<Option<String>, DevServerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path)(error)),
    }
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Writes a file atomically, readable for everyone who can read the directory.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)?;
    fs::rename(&part, path)
}

fn certificate_error(error: impl std::fmt::Display) -> DevServerError {
    DevServerError::Certificate {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_a_directory_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(dir.path()).unwrap();
        let second = Authority::load_or_create(dir.path()).unwrap();
        assert_eq!(first.der, second.der);
        assert_eq!(first.pem, second.pem);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_private_key() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Authority::load_or_create(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_lost_key_is_not_silently_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Authority::load_or_create(dir.path()).unwrap();
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        assert!(matches!(
            Authority::load_or_create(dir.path()),
            Err(DevServerError::AuthorityKeyMissing { .. })
        ));
    }

    #[test]
    fn a_lost_certificate_is_made_again_for_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(dir.path()).unwrap();
        fs::remove_file(&first.path).unwrap();
        let second = Authority::load_or_create(dir.path()).unwrap();
        assert_eq!(first.key.public_key_raw(), second.key.public_key_raw());
    }

    #[test]
    fn a_certificate_of_another_authority_is_noticed() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Authority::load_or_create(one.path()).unwrap();
        let foreign = Authority::load_or_create(other.path()).unwrap();
        fs::copy(&foreign.path, one.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(matches!(
            Authority::load_or_create(one.path()),
            Err(DevServerError::AuthorityMismatch { .. })
        ));
    }

    #[test]
    fn host_names_are_dns_names_or_addresses() {
        for good in [
            "host",
            "host.local",
            "192.168.1.7",
            "fe80::1",
            "a-b.example",
        ] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in [
            "",
            "host:9443",
            "https://host",
            "-a.b",
            "a..b",
            "a b",
            "*.host",
        ] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
