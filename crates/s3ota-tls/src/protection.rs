//! Record protection (RFC 8446 section 5.2): AES-128-GCM that also checks what it has decrypted.
//!
//! embedded-tls's cipher suite is a type parameter, so this module can sit between decryption and parsing. It is the only
//! place outside embedded-tls that sees the content of an encrypted record, and some contents must not reach the parser:
//! 0.19.0 panics on an empty inner plaintext (`decrypt_record`, connection.rs) and, after the handshake, on any handshake
//! message but NewSessionTicket (`DecryptedReadHandler`, common/).
// UPSTREAM(embedded-tls): record-contents.md, panics.md, split-messages.md. With all of them `Aes128Gcm` takes the place of
// `CheckedAes128Gcm`, and this file goes but for `content_type`.

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::consts::{U0, U12, U16, U54};
use aes_gcm::aead::{self, AeadCore, AeadInPlace, Buffer, Key, KeyInit, KeySizeUser, Nonce, Tag};
use embedded_tls::TlsCipherSuite;

use crate::transcript::Transcript;

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
const ENCRYPTED_EXTENSIONS: u8 = 8;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;
/// Of SHA-256, and so of Finished.
const HASH_BYTES: usize = 32;

/// A counterfeit NewSessionTicket whose nonce is longer than the message. embedded-tls fails on it with
/// `InvalidNonceLength`. No server's ticket gets that far, so this error can stand for a split message.
// UPSTREAM(embedded-tls): split-messages.md.
const SPLIT_MARK: [u8; 14] = [
    NEW_SESSION_TICKET,
    0,
    0,
    9,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    1,
    content_type::HANDSHAKE,
];

/// The cipher suite TLS_AES_128_GCM_SHA256 (RFC 8446 appendix B.4) with checked record protection.
pub(crate) struct Aes128GcmSha256;

impl TlsCipherSuite for Aes128GcmSha256 {
    const CODE_POINT: u16 = 0x1301;
    type Cipher = CheckedAes128Gcm;
    type KeyLen = U16;
    type IvLen = U12;
    type Hash = Transcript;
    // HKDF label: 32 bytes of hash + 22 (embedded-tls config.rs, `LabelBuffer`).
    type LabelBufferSize = U54;
}

/// Which keys protect a record: the handshake's or the application data's.
///
/// The record filter knows the epoch, the cipher needs it, and embedded-tls is between them. It does pass each record's
/// header from one to the other unread. So the filter writes the epoch into the header's `legacy_record_version`, which
/// receivers must ignore (RFC 8446 section 5.1), and the cipher restores the original value before it authenticates the
/// header.
// UPSTREAM(embedded-tls): record-contents.md.
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

/// AES-128-GCM whose decryption passes on only what embedded-tls can handle.
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
            // A lone content type is a record without content: embedded-tls continues with the next one.
            Verdict::Drop(content_type) => replace(buffer, &[content_type]),
            // embedded-tls fails on the content type Invalid with `Unimplemented`, and on nothing else that passes:
            // connection.rs knows what it means.
            Verdict::Refuse => replace(buffer, &[content_type::INVALID]),
            Verdict::Split => replace(buffer, &SPLIT_MARK),
        }
    }

    fn decrypt_in_place_detached(
        &self,
        _nonce: &Nonce<Self>,
        _associated_data: &[u8],
        _buffer: &mut [u8],
        _tag: &Tag<Self>,
    ) -> aead::Result<()> {
        // This would bypass the check. embedded-tls decrypts with `decrypt_in_place` only.
        Err(aead::Error)
    }
}

fn replace(buffer: &mut dyn Buffer, inner: &[u8]) -> aead::Result<()> {
    buffer.truncate(0);
    buffer.extend_from_slice(inner)
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Drop(u8),
    Refuse,
    /// A handshake message continues in the next record.
    Split,
}

/// Checks a TLSInnerPlaintext: content, content type, zero padding (RFC 8446 section 5.2).
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
        (Epoch::Handshake, content_type::HANDSHAKE) => judge_handshake(content),
        (Epoch::Application, content_type::APPLICATION_DATA) => Verdict::Pass,
        (_, content_type::ALERT) if content.len() == 2 => Verdict::Pass,
        // Tickets are for session resumption, which this client does not do.
        (Epoch::Application, content_type::HANDSHAKE) if holds_tickets(content) => {
            Verdict::Drop(content_type::HANDSHAKE)
        }
        _ => Verdict::Refuse,
    }
}

/// Checks the content of a handshake record: complete messages, of the kinds that a server may send.
///
/// embedded-tls cannot join a message that is split over records. And it continues after a Finished, although the keys
/// change there and the record must end (RFC 8446 section 5.1): a server could be authenticated by messages after the
/// end of the handshake.
fn judge_handshake(mut content: &[u8]) -> Verdict {
    if content.is_empty() {
        return Verdict::Refuse;
    }
    while !content.is_empty() {
        let Some((kind, body, rest)) = message(content) else {
            return Verdict::Split;
        };
        if !is_sound(kind, body) || (kind == FINISHED && !rest.is_empty()) {
            return Verdict::Refuse;
        }
        content = rest;
    }
    Verdict::Pass
}

/// Whether `content` is one or more complete NewSessionTicket messages.
fn holds_tickets(mut content: &[u8]) -> bool {
    let is_something = !content.is_empty();
    while let Some((NEW_SESSION_TICKET, _, rest)) = message(content) {
        content = rest;
    }
    is_something && content.is_empty()
}

/// Splits off a handshake message: kind, body, rest. `None`: it is not complete.
fn message(content: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, content) = content.split_first()?;
    let (body, rest) = vector(3, content)?;
    Some((*kind, body, rest))
}

/// Splits off a vector that is preceded by its length in that many bytes.
fn vector(length_bytes: usize, content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, content) = content.split_at_checked(length_bytes)?;
    let length = length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    content.split_at_checked(length)
}

/// Whether a server may send such a message, and whether its parts add up to its length. embedded-tls goes by the parts,
/// and would parse what is left as the next message.
fn is_sound(kind: u8, body: &[u8]) -> bool {
    match (kind, body) {
        (ENCRYPTED_EXTENSIONS, body) => whole(2, body).is_some_and(holds_only_what_was_offered),
        // No request context: that is for post-handshake authentication.
        (CERTIFICATE, [0, list @ ..]) => whole(3, list).is_some_and(holds_bare_certificates),
        (CERTIFICATE_REQUEST, [0, extensions @ ..]) => whole(2, extensions).is_some(),
        (CERTIFICATE_VERIFY, [_, _, signature @ ..]) => whole(2, signature).is_some(),
        (FINISHED, body) => body.len() == HASH_BYTES,
        _ => false,
    }
}

/// A vector with nothing after it.
fn whole(length_bytes: usize, content: &[u8]) -> Option<&[u8]> {
    match vector(length_bytes, content) {
        Some((vector, [])) => Some(vector),
        _ => None,
    }
}

/// Whether the entries of a Certificate message have no extensions: the ClientHello requests none.
fn holds_bare_certificates(mut list: &[u8]) -> bool {
    while let Some((_certificate, [0, 0, rest @ ..])) = vector(3, list) {
        list = rest;
    }
    list.is_empty()
}

/// Whether EncryptedExtensions contain only what the ClientHello offered (RFC 8446 section 4.2: others must be refused).
fn holds_only_what_was_offered(mut extensions: &[u8]) -> bool {
    const SERVER_NAME: u8 = 0;
    const SUPPORTED_GROUPS: u8 = 10;
    while let [0, SERVER_NAME | SUPPORTED_GROUPS, rest @ ..] = extensions {
        let Some((_data, rest)) = vector(2, rest) else {
            return false;
        };
        extensions = rest;
    }
    extensions.is_empty()
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
        let two = [&[8, 0, 0, 2, 0, 0, 20, 0, 0, 32][..], &[5; 32], &[22]].concat();
        assert_eq!(receive(Epoch::Handshake, &two), Ok(two.to_vec()));
    }

    #[test]
    fn split_handshake_messages_are_refused() {
        for inner in [
            &[8, 0, 0, 3, 0, 0, 22][..],
            &[8, 0, 22],
            &[8, 0xFF, 0xFF, 0xFF, 1, 22],
        ] {
            assert_eq!(receive(Epoch::Handshake, inner), Ok(SPLIT_MARK.to_vec()));
        }
        // No message at all is something else.
        assert_eq!(receive(Epoch::Handshake, &[22]), Ok([0].to_vec()));
    }

    #[test]
    fn the_handshake_has_no_messages_but_the_five_of_a_server() {
        let bodies: [(u8, &[u8]); 5] = [
            (ENCRYPTED_EXTENSIONS, &[0, 0]),
            (CERTIFICATE, &[0, 0, 0, 7, 0, 0, 2, 5, 5, 0, 0]),
            (CERTIFICATE_REQUEST, &[0, 0, 2, 5, 5]),
            (CERTIFICATE_VERIFY, &[4, 3, 0, 2, 5, 5]),
            (FINISHED, &[5; 32]),
        ];
        for (right, body) in bodies {
            let message = |kind| [&[kind, 0, 0, body.len() as u8], body, &[22]].concat();
            assert_eq!(
                receive(Epoch::Handshake, &message(right)),
                Ok(message(right))
            );
            for kind in (0..=255).filter(|kind| bodies.iter().all(|(other, _)| other != kind)) {
                assert_eq!(
                    receive(Epoch::Handshake, &message(kind)),
                    Ok([0].to_vec()),
                    "{kind}"
                );
            }
            // A message is as long as its parts.
            let longer = [&[right, 0, 0, body.len() as u8 + 1], body, &[0, 22]].concat();
            assert_eq!(receive(Epoch::Handshake, &longer), Ok([0].to_vec()));
            let shorter = [&[right, 0, 0, body.len() as u8 - 1], &body[1..], &[22]].concat();
            assert_eq!(receive(Epoch::Handshake, &shorter), Ok([0].to_vec()));
        }
    }

    #[test]
    fn extensions_nobody_asked_for_are_refused() {
        let receive = |extensions: &[u8]| {
            let length = extensions.len() as u8;
            let inner = [&[8, 0, 0, length + 2, 0, length], extensions, &[22]].concat();
            receive(Epoch::Handshake, &inner) == Ok(inner)
        };
        let (server_name, groups) = ([0, 0, 0, 0], [0, 10, 0, 4, 0, 2, 0, 23]);
        assert!(receive(&[]));
        assert!(receive(&[&server_name[..], &groups].concat()));
        for kind in (1..=255).filter(|kind| *kind != 10) {
            assert!(!receive(&[0, kind, 0, 0]), "{kind}");
            assert!(
                !receive(&[&groups[..], &[0, kind, 0, 0]].concat()),
                "{kind}"
            );
            assert!(!receive(&[kind, 0, 0, 0]), "{kind}");
        }
        assert!(!receive(&[0, 0, 0, 1]));
        assert!(!receive(&[0, 0, 0]));
    }

    #[test]
    fn nothing_may_follow_a_finished() {
        let proof = [15, 0, 0, 5, 4, 3, 0, 1, 5];
        let inner = [&[20, 0, 0, 32], &[5; 32][..], &proof, &[22]].concat();
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
