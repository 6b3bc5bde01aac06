//! Who signed a manifest, as far as this host can know.
//!
//! A manifest names the key that signed it. Anyone can write such a name: a manifest is *signed* only if this host has the key and
//! the signature verifies.

use std::path::{Path, PathBuf};

use clap::Args;
use console::Style;
use s3ota_manifest::{KeyId, Manifest, ReleaseKey, SignatureError};

use crate::error::CliError;
use crate::keys;
use crate::output::terminal::Painted;

/// The keys whose signatures are verified.
#[derive(Debug, Clone, Default, Args)]
pub struct KnownKeysArgs {
    /// A release key that devices trust, PEM or DER, to verify signatures with; by default the one beside S3OTA_KEY, or beside the
    /// key in s3ota.toml
    #[arg(long = "release-key", value_name = "FILE")]
    pub known_keys: Vec<PathBuf>,
}

impl KnownKeysArgs {
    /// Reads the keys.
    pub fn read(&self) -> Result<Vec<ReleaseKey>, CliError> {
        let beside = || public_half(&std::env::var("S3OTA_KEY").ok()?);
        let paths = match self.known_keys.as_slice() {
            [] => beside().into_iter().collect(),
            given => given.to_vec(),
        };
        paths.iter().map(|path| keys::read_public(path)).collect()
    }
}

/// The file that `s3ota keygen` put beside a private key, if it exists.
pub fn public_half(key: &str) -> Option<PathBuf> {
    let path = PathBuf::from(format!("{key}.pub"));
    (!key.is_empty() && Path::new(&path).is_file()).then_some(path)
}

/// The state of a manifest's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    None,
    /// This key signed it.
    By(KeyId),
    /// It names this key, which is not among the given ones.
    NotVerified(String),
    /// It names this key, which did not sign it.
    Wrong(String),
}

impl Signature {
    /// Verifies the signature of a manifest.
    pub fn of(json: &[u8], keys: &[ReleaseKey]) -> Self {
        let mut text = json.to_vec();
        let Ok(manifest) = Manifest::parse(&mut text) else {
            // Devices cannot read it, whoever signed it.
            return Self::None;
        };
        let Some(claimed) = manifest.signature.map(|it| it.keyid.to_owned()) else {
            return Self::None;
        };
        match manifest.verify(keys) {
            Ok(id) => Self::By(id),
            Err(SignatureError::UnknownKey) => Self::NotVerified(claimed),
            Err(_) => Self::Wrong(claimed),
        }
    }

    /// For programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::By(_) => "verified",
            Self::NotVerified(_) => "not verified",
            Self::Wrong(_) => "wrong",
        }
    }

    /// The key that signed it, which may differ from the key that it names.
    pub fn verified_by(&self) -> Option<String> {
        match self {
            Self::By(id) => Some(id.to_string()),
            _ => None,
        }
    }

    /// For a cell under `signed`.
    pub fn painted(&self) -> Painted {
        match self {
            Self::None => "no".into(),
            Self::By(id) => format!("by {id}").into(),
            Self::NotVerified(_) => "not verified".into(),
            Self::Wrong(_) => Painted::new(Style::new().red(), "does not verify"),
        }
    }
}

#[cfg(test)]
mod tests {
    use s3ota_manifest::{HttpsUrl, ManifestDocument, Sha256Digest, Version};

    use super::*;
    use crate::keys::{Signer, generate};

    #[tokio::test]
    async fn only_what_verifies_is_called_signed() {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        let mut manifest = ManifestDocument::new(&Version::new(1, 2, 0), &url);
        (manifest.size, manifest.sha256) = (Some(1000), Some(Sha256Digest([7; 32])));
        let look = |manifest: &ManifestDocument, keys: &[ReleaseKey]| {
            Signature::of(manifest.to_json().unwrap().as_bytes(), keys)
        };
        let (owner, stranger) = (Signer::from_key(generate()), Signer::from_key(generate()));
        assert_eq!(look(&manifest, &[owner.key()]), Signature::None);

        owner.sign_manifest(&mut manifest).await.unwrap();
        let name = owner.key_id().to_string();
        let both = [stranger.key(), owner.key()];
        assert_eq!(look(&manifest, &both), Signature::By(owner.key_id()));
        for keys in [&[][..], &[stranger.key()]] {
            assert_eq!(look(&manifest, keys), Signature::NotVerified(name.clone()));
        }
        // An attacker changes what is signed.
        manifest.version = "1.3.0".to_owned();
        assert_eq!(look(&manifest, &both), Signature::Wrong(name.clone()));
        // An attacker signs with their own key in the owner's name.
        stranger.sign_manifest(&mut manifest).await.unwrap();
        manifest.signature.as_mut().unwrap().keyid.clone_from(&name);
        assert_eq!(look(&manifest, &both), Signature::Wrong(name));
    }
}
