//! Record protection (RFC 8446 section 5.2): AES-128-GCM that also judges what it decrypted.
//!
//! embedded-tls takes its cipher suite as a type, so this module can stand between decryption and parsing. That is
//! the only place outside embedded-tls where the inside of an encrypted record can be seen, and some contents must
//! not reach its parser: 0.19.0 panics on an empty inner plaintext (`decrypt_record`, connection.rs) and on any
//! handshake message but NewSessionTicket after the handshake (`DecryptedReadHandler`, common/).

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::consts::{U0, U12, U16, U54};
use aes_gcm::aead::{self, AeadCore, AeadInPlace, Buffer, Key, KeyInit, KeySizeUser, Nonce, Tag};
use embedded_tls::TlsCipherSuite;
use sha2::Sha256;

/// Content types (RFC 8446 section 5.1).
pub(crate) mod content_type {
    pub(crate) const INVALID: u8 = 0;
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const APPLICATION_DATA: u8 = 23;
}

/// Handshake message types (RFC 8446 section 4).
const NEW_SESSION_TICKET: u8 = 4;
const FINISHED: u8 = 20;

/// The cipher suite TLS_AES_128_GCM_SHA256 (RFC 8446 appendix B.4) with checked record protection.
pub(crate) struct Aes128GcmSha256;

impl TlsCipherSuite for Aes128GcmSha256 {
    const CODE_POINT: u16 = 0x1301;
    type Cipher = CheckedAes128Gcm;
    type KeyLen = U16;
    type IvLen = U12;
    type Hash = Sha256;
    // HKDF label: 32 bytes of hash + 22 (embedded-tls config.rs, `LabelBuffer`).
    type LabelBufferSize = U54;
}

/// Which keys protect a record: those of the handshake or those of the application data.
///
/// The record filter knows the epoch, the cipher needs it, and embedded-tls lies between them. What it does hand
/// from one to the other, unread, is the header of each record. So the filter writes the epoch into the header's
/// `legacy_record_version`, which receivers ignore for all purposes (RFC 8446 section 5.1), and the cipher puts the
/// true value back before it authenticates the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epoch {
    Handshake,
    Application,
}

const LEGACY_RECORD_VERSION: [u8; 2] = [3, 3];
const APPLICATION_MARK: [u8; 2] = [3, 4];

impl Epoch {
    /// The header of an encrypted record of `length` bytes, marked with the epoch.
    pub(crate) fn mark(self, length: u16) -> [u8; 5] {
        let version = match self {
            Self::Handshake => LEGACY_RECORD_VERSION,
            Self::Application => APPLICATION_MARK,
        };
        header(version, length)
    }

    /// The epoch in a marked header, and the header as it was on the wire. `None`: not a header.
    fn unmark(marked: &[u8]) -> Option<(Self, [u8; 5])> {
        let [_, v0, v1, l0, l1] = *marked else {
            return None;
        };
        let epoch = if [v0, v1] == APPLICATION_MARK {
            Self::Application
        } else {
            Self::Handshake
        };
        let length = u16::from_be_bytes([l0, l1]);
        Some((epoch, header(LEGACY_RECORD_VERSION, length)))
    }
}

fn header([v0, v1]: [u8; 2], length: u16) -> [u8; 5] {
    let [l0, l1] = length.to_be_bytes();
    [content_type::APPLICATION_DATA, v0, v1, l0, l1]
}

/// AES-128-GCM whose decryption hands on only what embedded-tls can take.
pub(crate) struct CheckedAes128Gcm(Aes128Gcm);

impl KeySizeUser for CheckedAes128Gcm {
    type KeySize = U16;
}

impl KeyInit for CheckedAes128Gcm {
    fn new(key: &Key<Self>) -> Self {
        Self(Aes128Gcm::new(key))
    }
}

impl AeadCore for CheckedAes128Gcm {
    type NonceSize = U12;
    type TagSize = U16;
    type CiphertextOverhead = U0;
}

impl AeadInPlace for CheckedAes128Gcm {
    fn encrypt_in_place_detached(
        &self,
        nonce: &Nonce<Self>,
        associated_data: &[u8],
        buffer: &mut [u8],
    ) -> aead::Result<Tag<Self>> {
        self.0
            .encrypt_in_place_detached(nonce, associated_data, buffer)
    }

    fn decrypt_in_place(
        &self,
        nonce: &Nonce<Self>,
        associated_data: &[u8],
        buffer: &mut dyn Buffer,
    ) -> aead::Result<()> {
        let (epoch, header) = Epoch::unmark(associated_data).ok_or(aead::Error)?;
        self.0.decrypt_in_place(nonce, &header, buffer)?;
        match judge(epoch, buffer.as_ref()) {
            Verdict::Pass => Ok(()),
            // A lone content type is a record without content: embedded-tls goes on to the next one.
            Verdict::Drop(content_type) => replace(buffer, content_type),
            // embedded-tls answers the content type Invalid with `Unimplemented`, and with nothing else does it so:
            // error.rs gives that answer its meaning.
            Verdict::Refuse => replace(buffer, content_type::INVALID),
        }
    }

    fn decrypt_in_place_detached(
        &self,
        _nonce: &Nonce<Self>,
        _associated_data: &[u8],
        _buffer: &mut [u8],
        _tag: &Tag<Self>,
    ) -> aead::Result<()> {
        // Would go round the check. embedded-tls decrypts with `decrypt_in_place` only.
        Err(aead::Error)
    }
}

fn replace(buffer: &mut dyn Buffer, content_type: u8) -> aead::Result<()> {
    buffer.truncate(0);
    buffer.extend_from_slice(&[content_type])
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Drop(u8),
    Refuse,
}

/// Judges a TLSInnerPlaintext: content, content type, zero padding (RFC 8446 section 5.2).
fn judge(epoch: Epoch, inner: &[u8]) -> Verdict {
    // No content type at all: empty, or nothing but padding (section 5.4: unexpected_message).
    let unpadded = inner.iter().rposition(|byte| *byte != 0);
    let Some((content_type, content)) = unpadded
        .and_then(|last| inner.get(..=last))
        .and_then(<[u8]>::split_last)
    else {
        return Verdict::Refuse;
    };
    match (epoch, *content_type) {
        (Epoch::Handshake, content_type::HANDSHAKE) if holds_whole_messages(content, |_| true) => {
            Verdict::Pass
        }
        (Epoch::Application, content_type::APPLICATION_DATA) => Verdict::Pass,
        (_, content_type::ALERT) if content.len() == 2 => Verdict::Pass,
        // Tickets are for session resumption, which this client does not do.
        (Epoch::Application, content_type::HANDSHAKE)
            if holds_whole_messages(content, |kind| kind == NEW_SESSION_TICKET) =>
        {
            Verdict::Drop(content_type::HANDSHAKE)
        }
        _ => Verdict::Refuse,
    }
}

/// Whether `content` is one or more complete handshake messages, each of a type that `allowed` takes.
///
/// embedded-tls cannot put together a message that is split over records. And it reads on after a Finished, though the
/// keys change there and the record must end (RFC 8446 section 5.1): a server could be authenticated by messages that
/// come after the handshake's end.
fn holds_whole_messages(mut content: &[u8], allowed: impl Fn(u8) -> bool) -> bool {
    let mut messages = 0u32;
    while let [kind, l0, l1, l2, rest @ ..] = content {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]);
        let Some(rest) = usize::try_from(length).ok().and_then(|n| rest.get(n..)) else {
            return false;
        };
        if !allowed(*kind) || (*kind == FINISHED && !rest.is_empty()) {
            return false;
        }
        messages = messages.saturating_add(1);
        content = rest;
    }
    messages > 0 && content.is_empty()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const KEY: [u8; 16] = [7; 16];
    const NONCE: [u8; 12] = [9; 12];

    /// Encrypts `inner` as a server does, and decrypts it as embedded-tls does.
    fn receive(epoch: Epoch, inner: &[u8]) -> aead::Result<Vec<u8>> {
        let length = u16::try_from(inner.len() + 16).unwrap();
        let mut buffer = inner.to_vec();
        Aes128Gcm::new(&KEY.into())
            .encrypt_in_place(
                &NONCE.into(),
                &header(LEGACY_RECORD_VERSION, length),
                &mut buffer,
            )
            .unwrap();
        CheckedAes128Gcm::new(&KEY.into()).decrypt_in_place(
            &NONCE.into(),
            &epoch.mark(length),
            &mut buffer,
        )?;
        Ok(buffer)
    }

    #[test]
    fn application_data_passes_with_its_padding() {
        let inner = b"hello\x17\0\0\0";
        assert_eq!(receive(Epoch::Application, inner), Ok(inner.to_vec()));
        // An empty fragment is allowed.
        assert_eq!(receive(Epoch::Application, &[23]), Ok([23].to_vec()));
    }

    #[test]
    fn a_record_without_a_content_type_never_reaches_the_parser_empty() {
        for epoch in [Epoch::Handshake, Epoch::Application] {
            assert_eq!(receive(epoch, b""), Ok([0].to_vec()));
            assert_eq!(receive(epoch, &[0; 50]), Ok([0].to_vec()));
        }
    }

    #[test]
    fn whole_handshake_messages_pass_in_the_handshake() {
        let two = [8, 0, 0, 2, 0, 0, 20, 0, 0, 1, 5, 22];
        assert_eq!(receive(Epoch::Handshake, &two), Ok(two.to_vec()));
    }

    #[test]
    fn split_handshake_messages_are_refused() {
        for inner in [
            &[8, 0, 0, 3, 0, 0, 22][..],
            &[8, 0, 22],
            &[22],
            &[8, 0xFF, 0xFF, 0xFF, 1, 22],
        ] {
            assert_eq!(receive(Epoch::Handshake, inner), Ok([0].to_vec()));
        }
    }

    #[test]
    fn nothing_may_follow_a_finished() {
        let inner = [20, 0, 0, 1, 5, 15, 0, 0, 1, 5, 22];
        assert_eq!(receive(Epoch::Handshake, &inner), Ok([0].to_vec()));
    }

    #[test]
    fn application_data_is_refused_in_the_handshake() {
        assert_eq!(receive(Epoch::Handshake, b"hello\x17"), Ok([0].to_vec()));
    }

    #[test]
    fn after_the_handshake_tickets_are_dropped_and_every_other_message_is_refused() {
        let tickets = [4, 0, 0, 2, 9, 9, 4, 0, 0, 0, 22];
        assert_eq!(receive(Epoch::Application, &tickets), Ok([22].to_vec()));
        for kind in (0..=255).filter(|kind| *kind != NEW_SESSION_TICKET) {
            let inner = [4, 0, 0, 1, 9, kind, 0, 0, 1, 9, 22];
            assert_eq!(
                receive(Epoch::Application, &inner),
                Ok([0].to_vec()),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_changed_record_does_not_decrypt() {
        let mut buffer = b"hello\x17".to_vec();
        let length = 6 + 16;
        Aes128Gcm::new(&KEY.into())
            .encrypt_in_place(
                &NONCE.into(),
                &header(LEGACY_RECORD_VERSION, length),
                &mut buffer,
            )
            .unwrap();
        let cipher = CheckedAes128Gcm::new(&KEY.into());
        for byte in 0..buffer.len() {
            let mut changed = buffer.clone();
            changed[byte] ^= 0x10;
            let marked = Epoch::Application.mark(length);
            let result = cipher.decrypt_in_place(&NONCE.into(), &marked, &mut changed);
            assert_eq!(result, Err(aead::Error), "byte {byte}");
        }
        // The length in the header is authenticated too.
        let marked = Epoch::Application.mark(length + 1);
        let result = cipher.decrypt_in_place(&NONCE.into(), &marked, &mut buffer);
        assert_eq!(result, Err(aead::Error));
    }
}
