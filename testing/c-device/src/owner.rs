//! Who signs releases.

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{DerSignature, SigningKey};
use s3ota_manifest::{Manifest, ReleaseKey};

use crate::offers::Offer;

/// A release key, both halves.
pub struct Owner(SigningKey);

impl Default for Owner {
    /// Always the same key.
    fn default() -> Self {
        Self(SigningKey::from_slice(&[7; 32]).expect("a key"))
    }
}

impl Owner {
    fn key(&self) -> ReleaseKey {
        let point = self.0.verifying_key().to_encoded_point(false);
        ReleaseKey::from_point(point.as_bytes().try_into().unwrap())
    }

    /// The public half, as devices are given it.
    pub fn spki(&self) -> Vec<u8> {
        self.key().to_spki().to_vec()
    }

    /// Signs a release.
    pub fn signs(&self, offer: &Offer) -> Offer {
        let mut document = offer.manifest.replace("PORT", "443").into_bytes();
        let digest = Manifest::parse(&mut document).unwrap().statement_digest();
        let signature: DerSignature = self.0.sign_prehash(&digest).unwrap();
        let (id, signature) = (self.key().id(), base64(signature.as_bytes()));
        offer.clone().with(&format!(
            r#""signature":{{"keyid":"{id}","sig":"{signature}"}}"#
        ))
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let is_padding = place > chunk.len();
            text.push(if is_padding {
                '='
            } else {
                ALPHABET[index as usize].into()
            });
        }
    }
    text
}
