//! The handshake's transcript hash, which also checks the order of messages (RFC 8446 section 4).
//!
//! embedded-tls 0.19.0 accepts EncryptedExtensions, CertificateRequest, Certificate and CertificateVerify in any order and
//! any number of times. The only code of ours that sees every message is the cipher suite's hash, so the hash checks the
//! order. When the certificate comes, the verifier asks it. After that, a message out of order spoils the hash, so no
//! Finished matches.
//!
//! HMAC and HKDF use the same type. What they hash never looks like a handshake: it comes in at most three pieces, and a
//! handshake has four up to its certificate.
// UPSTREAM(embedded-tls): message-order.md. Then `Sha256` takes this type's place, and the file goes.

use sha2::Sha256;
use sha2::digest::core_api::BlockSizeUser;
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Reset, Update};

/// SHA-256 of a handshake.
#[derive(Clone, Default)]
pub(crate) struct Transcript {
    hash: Sha256,
    stage: Stage,
}

/// The last message, if all have come in order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    ClientHello,
    ServerHello,
    EncryptedExtensions,
    CertificateRequest,
    Certificate,
    CertificateVerify,
    /// The server's Finished. The client's messages follow.
    Finished,
    /// Out of order, or not a handshake.
    Other,
}

impl Stage {
    /// The stage after one more message of this kind.
    fn next(self, kind: Option<&u8>) -> Self {
        match (self, kind) {
            (Self::Nothing, Some(1)) => Self::ClientHello,
            (Self::ClientHello, Some(2)) => Self::ServerHello,
            (Self::ServerHello, Some(8)) => Self::EncryptedExtensions,
            (Self::EncryptedExtensions, Some(13)) => Self::CertificateRequest,
            (Self::EncryptedExtensions | Self::CertificateRequest, Some(11)) => Self::Certificate,
            (Self::Certificate, Some(15)) => Self::CertificateVerify,
            (Self::CertificateVerify, Some(20)) | (Self::Finished, _) => Self::Finished,
            _ => Self::Other,
        }
    }
}

impl Transcript {
    /// Whether the last message was the Certificate, in its place.
    pub(crate) fn is_at_certificate(&self) -> bool {
        self.stage == Stage::Certificate
    }
}

impl Update for Transcript {
    fn update(&mut self, data: &[u8]) {
        let before = self.stage;
        self.stage = before.next(data.first());
        if matches!(before, Stage::Certificate | Stage::CertificateVerify)
            && self.stage == Stage::Other
        {
            Update::update(&mut self.hash, b"out of order");
        }
        Update::update(&mut self.hash, data);
    }
}

impl OutputSizeUser for Transcript {
    type OutputSize = <Sha256 as OutputSizeUser>::OutputSize;
}

impl BlockSizeUser for Transcript {
    type BlockSize = <Sha256 as BlockSizeUser>::BlockSize;
}

impl FixedOutput for Transcript {
    fn finalize_into(self, out: &mut Output<Self>) {
        FixedOutput::finalize_into(self.hash, out);
    }
}

impl Reset for Transcript {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

impl HashMarker for Transcript {}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    const HELLOS: [u8; 2] = [1, 2];

    fn transcript(kinds: &[u8]) -> Transcript {
        let mut transcript = Transcript::default();
        for kind in kinds {
            Update::update(&mut transcript, &[*kind, 0, 0, 1, 5]);
        }
        transcript
    }

    /// Whether the hash is that of the messages, and so a Finished could match.
    fn is_sound(kinds: &[u8]) -> bool {
        let mut plain = Sha256::new();
        for kind in kinds {
            Digest::update(&mut plain, [*kind, 0, 0, 1, 5]);
        }
        transcript(kinds).finalize_fixed() == plain.finalize_fixed()
    }

    #[test]
    fn the_certificate_has_one_place() {
        for (kinds, is_there) in [
            (&[8, 11][..], true),
            (&[8, 13, 11], true),
            (&[11], false),
            (&[13, 11], false),
            (&[8, 8, 11], false),
            (&[13, 8, 11], false),
            (&[8, 13, 13, 11], false),
            (&[8, 15, 11], false),
            (&[8, 20, 11], false),
            (&[8, 11, 11], false),
            (&[8, 11, 15], false),
        ] {
            let kinds = [&HELLOS, kinds].concat();
            assert_eq!(
                transcript(&kinds).is_at_certificate(),
                is_there,
                "{kinds:?}"
            );
        }
    }

    #[test]
    fn a_message_out_of_order_behind_the_certificate_spoils_the_hash() {
        for (kinds, sound) in [
            (&[8, 11, 15, 20][..], true),
            (&[8, 11, 15, 20, 20], true),
            (&[8, 13, 11, 15, 20, 11, 20], true),
            (&[8, 11, 8, 15], false),
            (&[8, 11, 13, 15], false),
            (&[8, 11, 15, 8], false),
            (&[8, 11, 15, 13], false),
            (&[8, 11, 15, 15], false),
        ] {
            let kinds = [&HELLOS, kinds].concat();
            assert_eq!(is_sound(&kinds), sound, "{kinds:?}");
        }
    }

    #[test]
    fn whatever_is_no_handshake_is_hashed_as_sha_256_does() {
        // Three pieces, as HMAC and HKDF have them, and all that do not come as far as a certificate.
        for first in 0..=255 {
            for second in 0..=255 {
                assert!(is_sound(&[first, second, 1]));
            }
        }
        assert!(is_sound(&[1, 2, 8, 13, 13, 15, 20]));
    }
}
