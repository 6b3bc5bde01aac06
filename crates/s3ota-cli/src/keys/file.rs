//! Key files: PKCS#8 in PEM (RFC 5958, RFC 7468), as `openssl` reads and writes them.
//!
//! A private key is encrypted with AES-256-CBC under a key that scrypt makes from the passphrase (PBES2, RFC 8018 and RFC
//! 7914). Keys encrypted with PBKDF2, the default of `openssl`, can be read as well.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::elliptic_curve::zeroize::Zeroizing;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncodePrivateKey, EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};
use rand_core::{OsRng, RngCore};
use s3ota_manifest::ReleaseKey;

use super::passphrase::{self, PassphraseArgs};
use crate::error::CliError;
use crate::text;

/// The cost of scrypt: N = 2^14, r = 8, p = 5, one of the settings that OWASP's Password Storage Cheat Sheet recommends. A higher
/// N would exceed the 32 MiB that `openssl` allows; a higher p makes up for that.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// Creates a key.
pub fn generate() -> SigningKey {
    SigningKey::random(&mut OsRng)
}

/// The public part of a key.
pub fn public(key: &SigningKey) -> ReleaseKey {
    let point = key.verifying_key().to_encoded_point(false);
    let mut bytes = [0; 65];
    // An uncompressed point of P-256 has 65 bytes.
    bytes
        .iter_mut()
        .zip(point.as_bytes())
        .for_each(|(to, from)| *to = *from);
    ReleaseKey::from_point(bytes)
}

/// Reads a private key, and asks for its passphrase if it has one.
pub fn read(path: &Path, passphrase: &PassphraseArgs) -> Result<SigningKey, CliError> {
    let text = text::read(path)
        .map(Zeroizing::new)
        .map_err(|error| CliError::file(path, &error))?;
    let wrong =
        |problem: &str| CliError::new("key.invalid", format!("{}: {problem}", path.display()));
    let pem = std::str::from_utf8(&text)
        .ok()
        .filter(|text| text.contains("-----BEGIN"))
        .ok_or_else(|| wrong("this is not a key in PEM").hint("create one with `s3ota keygen`"))?;
    if pem.contains("-----BEGIN EC PRIVATE KEY") {
        let hint = format!(
            "convert it with `openssl pkcs8 -topk8 -in {} -out release.key`",
            path.display()
        );
        return Err(wrong("this is a key in openssl's old format, not in PKCS#8").hint(hint));
    }
    let (label, document) = SecretDocument::from_pem(pem)
        .map_err(|error| wrong(&format!("this PEM cannot be read: {error}")))?;
    let document = match label {
        "PRIVATE KEY" => document,
        "ENCRYPTED PRIVATE KEY" => {
            let unknown = |error| {
                wrong(&format!("its encryption is not supported: {error}")).hint(
                    "encrypt it again with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`",
                )
            };
            let encrypted =
                EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(unknown)?;
            let given = passphrase::of(path, passphrase)?;
            encrypted
                .decrypt(given.passphrase.as_bytes())
                .map_err(|_| {
                    let problem = format!("{} is not its passphrase", given.source);
                    CliError::new("key.passphrase", format!("{}: {problem}", path.display()))
                })?
        }
        "PUBLIC KEY" => return Err(wrong("this is a public key; signing needs the private one")),
        label => return Err(wrong(&format!("this is not a private key but a {label}"))),
    };
    let not_p256 = || {
        wrong("this is not a P-256 key, and devices support no other kind")
            .hint("create one with `s3ota keygen`")
    };
    let info = PrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| not_p256())?;
    let secret = SecretKey::try_from(info).map_err(|_| not_p256())?;
    Ok(secret.into())
}

/// Writes a private key to a new file that only its owner can read; encrypted if there is a passphrase.
pub fn write_private(
    path: &Path,
    key: &SigningKey,
    passphrase: Option<&str>,
) -> Result<(), CliError> {
    let failed =
        |error: String| CliError::new("key.write", format!("the key cannot be written: {error}"));
    let secret = SecretKey::from(key.as_nonzero_scalar());
    let document = secret
        .to_pkcs8_der()
        .map_err(|error| failed(error.to_string()))?;
    let (label, document) = match passphrase {
        None => ("PRIVATE KEY", document),
        Some(passphrase) => {
            let encrypted = encrypt(document.as_bytes(), passphrase)
                .map_err(|error| failed(error.to_string()))?;
            ("ENCRYPTED PRIVATE KEY", encrypted)
        }
    };
    let pem = document
        .to_pem(label, LineEnding::LF)
        .map_err(|error| failed(error.to_string()))?;
    create(path, &pem, 0o600)
}

/// Writes a public key to a new file, in PEM.
pub fn write_public(path: &Path, pem: &str) -> Result<(), CliError> {
    create(path, pem, 0o644)
}

fn encrypt(key: &[u8], passphrase: &str) -> Result<SecretDocument, pkcs8::Error> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    OsRng.fill_bytes(&mut salt);
    OsRng.fill_bytes(&mut iv);
    let (log_n, r, p) = SCRYPT;
    let params =
        scrypt::Params::new(log_n, r, p, 32).map_err(|_| pkcs8::Error::ParametersMalformed)?;
    let scheme = pbes2::Parameters::scrypt_aes256cbc(params, &salt, &iv)?;
    PrivateKeyInfo::try_from(key)?.encrypt_with_params(scheme, passphrase.as_bytes())
}

/// Writes a new file.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => CliError::file(path, &error),
    })
}

/// Refuses an existing file, before anyone is asked for a passphrase.
pub fn refuse_existing(path: &Path) -> Result<(), CliError> {
    if path.exists() {
        Err(exists(path))
    } else {
        Ok(())
    }
}

fn exists(path: &Path) -> CliError {
    CliError::new("key.exists", format!("{} exists already", path.display()))
        .hint("keys are never overwritten: choose another name, or move the old one away")
}
