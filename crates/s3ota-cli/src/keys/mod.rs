//! Release keys: in a file, or in AWS KMS.
//!
//! Signing takes two steps, and never touches the secret part of a key:
//!
//! ```text
//! let signer = args.key.open(&args.s3.aws).await?;      // KeyArgs: --key, --passphrase-file
//! signer.sign_manifest(&mut manifest).await?;           // sets `signature`, and replaces an earlier one
//! ```

mod file;
#[cfg(feature = "kms")]
mod kms;
mod passphrase;
pub mod signature;

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use pkcs8::Document;
use s3ota_manifest::{
    KeyId, Manifest, ManifestDocument, ReleaseKey, SignatureDocument, SignatureError,
};

pub use self::file::{generate, refuse_existing, write_private, write_public};
pub use self::passphrase::{PassphraseArgs, choose as choose_passphrase};
use crate::error::CliError;
use crate::s3::AwsArgs;
use crate::text;

/// The key to sign with.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct KeyArgs {
    /// Sign with this key: a file from `s3ota keygen` or openssl, or kms:ARN for a key in AWS KMS
    #[arg(long, env = "S3OTA_KEY", value_name = "FILE|kms:ARN")]
    pub key: Option<KeySource>,

    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

impl KeyArgs {
    /// The named key; an empty variable names none.
    pub fn source(&self) -> Option<&KeySource> {
        self.key
            .as_ref()
            .filter(|source| **source != KeySource::File(PathBuf::new()))
    }

    /// Opens the key to sign with, if one is named.
    pub async fn open(&self, aws: &AwsArgs) -> Result<Option<Signer>, CliError> {
        match self.source() {
            Some(source) => Signer::open(source, &self.passphrase, aws).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In a file: PKCS#8, PEM.
    File(PathBuf),
    /// In AWS KMS, under this id, alias or ARN.
    Kms(String),
}

impl FromStr for KeySource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix("kms:") {
            Some(id) => Self::Kms(id.to_owned()),
            None if text.starts_with("arn:") => Self::Kms(text.to_owned()),
            None => Self::File(text.into()),
        })
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Kms(id) => write!(f, "kms:{id}"),
        }
    }
}

/// A key that can sign.
pub struct Signer {
    key: ReleaseKey,
    secret: Secret,
}

/// The secret part.
enum Secret {
    File(Box<SigningKey>),
    #[cfg(feature = "kms")]
    Kms(kms::KmsKey),
}

impl Signer {
    /// Opens a key. For an encrypted file, the user may be asked for the passphrase; a key in KMS must be P-256.
    pub async fn open(
        source: &KeySource,
        passphrase: &PassphraseArgs,
        aws: &AwsArgs,
    ) -> Result<Self, CliError> {
        match source {
            KeySource::File(path) => file::read(path, passphrase).map(Self::from_key),
            #[cfg(feature = "kms")]
            KeySource::Kms(id) => {
                let (key, secret) = kms::KmsKey::open(id, aws).await?;
                Ok(Self {
                    key,
                    secret: Secret::Kms(secret),
                })
            }
            #[cfg(not(feature = "kms"))]
            KeySource::Kms(_) => {
                let _ = aws;
                Err(
                    CliError::new("key.kms", "this s3ota was built without AWS KMS")
                        .hint("build it with the feature `kms`, which is on by default"),
                )
            }
        }
    }

    /// A signer with a key in memory.
    pub fn from_key(secret: SigningKey) -> Self {
        Self {
            key: file::public(&secret),
            secret: Secret::File(Box::new(secret)),
        }
    }

    /// The public part, which devices trust.
    pub fn key(&self) -> ReleaseKey {
        self.key
    }

    /// The key id.
    pub fn key_id(&self) -> KeyId {
        self.key.id()
    }

    /// The signature of a message, with SHA-256, in DER.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CliError> {
        match &self.secret {
            Secret::File(key) => {
                let signature: DerSignature = key.sign(message);
                Ok(signature.as_bytes().to_vec())
            }
            #[cfg(feature = "kms")]
            Secret::Kms(key) => key.sign(message).await,
        }
    }

    /// Signs a manifest: afterwards, its `signature` is by this key, and verifies.
    ///
    /// It must name an image with size and SHA-256: no device accepts a signature over less.
    pub async fn sign_manifest(&self, manifest: &mut ManifestDocument) -> Result<(), CliError> {
        let signature = self.sign(manifest.statement()?.as_bytes()).await?;
        attach(manifest, &self.key, &signature)
    }
}

/// The SHA-256 of a manifest's release statement.
pub fn digest(manifest: &ManifestDocument) -> Result<[u8; 32], CliError> {
    let mut json = manifest.to_json()?.into_bytes();
    Ok(Manifest::parse(&mut json)?.statement_digest())
}

/// Puts a signature, in DER, into a manifest, and verifies it as a device with this key would.
pub fn attach(
    manifest: &mut ManifestDocument,
    key: &ReleaseKey,
    signature: &[u8],
) -> Result<(), CliError> {
    manifest.signature = Some(SignatureDocument {
        keyid: key.id().to_string(),
        sig: base64_simd::STANDARD.encode_to_string(signature),
    });
    let mut json = manifest.to_json()?.into_bytes();
    Manifest::parse(&mut json)?.verify(&[*key])?;
    Ok(())
}

/// Whether a file contains a public key in PEM.
pub fn is_public(path: &Path) -> Result<bool, CliError> {
    let bytes = text::read(path).map_err(|error| CliError::file(path, &error))?;
    Ok(bytes
        .windows(21)
        .any(|window| window == b"-----BEGIN PUBLIC KEY"))
}

/// Which of these keys signed a manifest.
pub fn verify(json: &[u8], keys: &[ReleaseKey]) -> Result<KeyId, CliError> {
    let mut json = json.to_vec();
    Ok(Manifest::parse(&mut json)?.verify(keys)?)
}

/// Refuses a manifest without the size or the SHA-256 of its image: its signature would say nothing.
pub fn vouches_for_an_image(manifest: &ManifestDocument) -> Result<(), CliError> {
    match (manifest.size, manifest.sha256) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(SignatureError::NoImage.into()),
    }
}

/// Reads a public key, from PEM (`PUBLIC KEY`) or from DER.
pub fn read_public(path: &Path) -> Result<ReleaseKey, CliError> {
    let bytes = text::read(path).map_err(|error| CliError::file(path, &error))?;
    let wrong = |problem: &str| {
        CliError::new("key.invalid", format!("{}: {problem}", path.display()))
            .hint("a release key is a P-256 public key in PEM: FILE.pub from `s3ota keygen`, or the output of `s3ota pubkey`")
    };
    let der = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => {
            match Document::from_pem(text)
                .map_err(|error| wrong(&format!("this PEM cannot be read: {error}")))?
            {
                ("PUBLIC KEY", document) => document.to_vec(),
                (label, _) if label.contains("PRIVATE KEY") => {
                    return Err(wrong("this is a private key, and a public key is needed"));
                }
                (label, _) => {
                    return Err(wrong(&format!("this is not a public key but a {label}")));
                }
            }
        }
        _ => bytes,
    };
    ReleaseKey::from_spki(&der).ok_or_else(|| wrong("this is not a P-256 public key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_manifest::{HttpsUrl, Sha256Digest, Version};

    #[test]
    fn a_key_is_a_file_unless_it_is_in_kms() {
        let source = |text: &str| text.parse::<KeySource>().unwrap();
        assert_eq!(source("release.key"), KeySource::File("release.key".into()));
        assert_eq!(
            source("kms:alias/release"),
            KeySource::Kms("alias/release".into())
        );
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";
        assert_eq!(source(&format!("kms:{arn}")), KeySource::Kms(arn.into()));
        assert_eq!(source(arn), KeySource::Kms(arn.into()));
    }

    #[tokio::test]
    async fn a_signed_manifest_verifies_and_signing_again_replaces_the_signature() {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        let mut manifest = ManifestDocument::new(&Version::new(1, 2, 0), &url);
        let (first, second) = (Signer::from_key(generate()), Signer::from_key(generate()));
        let no_image = first.sign_manifest(&mut manifest).await.unwrap_err();
        assert_eq!(no_image.code, "release.signature");

        (manifest.size, manifest.sha256) = (Some(1000), Some(Sha256Digest([7; 32])));
        for signer in [&first, &second] {
            signer.sign_manifest(&mut manifest).await.unwrap();
            let mut json = manifest.to_json().unwrap().into_bytes();
            let signed = Manifest::parse(&mut json).unwrap();
            assert_eq!(
                signed.verify(&[first.key(), second.key()]),
                Ok(signer.key_id())
            );
        }
        assert_ne!(first.key_id(), second.key_id());
    }
}
