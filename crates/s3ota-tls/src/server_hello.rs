//! The ServerHello (RFC 8446 section 4.1.3), which embedded-tls 0.19.0 hardly checks: it accepts any version, session id
//! and compression, any cipher suite it knows, and unsolicited extensions.
//!
//! This client's offer leaves a server no choice but its random, its key and the order of two extensions. So the message is
//! compared, not parsed.
// UPSTREAM(embedded-tls): server-hello.md. Then this file goes.

use core::ops::Range;

/// The length of the only acceptable ServerHello, with its message header.
pub(crate) const LENGTH: usize = 4 + 40 + 6 + 73;

/// The header and `legacy_version`, which is 1.2 in every version.
const START: [u8; 6] = [2, 0, 0, (LENGTH - 4) as u8, 3, 3];
const RANDOM: Range<usize> = 6..38;
/// The random of a HelloRetryRequest: SHA-256 of those words.
const HELLO_RETRY_REQUEST: [u8; 32] = *b"\
    \xCF\x21\xAD\x74\xE5\x9A\x61\x11\xBE\x1D\x8C\x02\x1E\x65\xB8\x91\
    \xC2\xA2\x11\x16\x7A\xBB\x8C\x5E\x07\x9E\x09\xE2\xC8\xA8\x33\x9C";
/// No session id, TLS_AES_128_GCM_SHA256, no compression, 79 bytes of extensions.
const CHOICES: [u8; 6] = [0, 0x13, 0x01, 0, 0, 79];
/// supported_versions: TLS 1.3.
const VERSION: [u8; 6] = [0, 43, 0, 2, 3, 4];
/// key_share: secp256r1, an uncompressed point, whose 64 bytes follow.
const KEY_SHARE: [u8; 9] = [0, 51, 0, 69, 0, 23, 0, 65, 4];

/// What is wrong with a ServerHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is a HelloRetryRequest: the server wants another group.
    Retry,
    /// It continues in the next record.
    Split,
    /// It does not match what was offered.
    NotOffered,
}

/// Checks the record with the server's first message. `start` is all of it, or its first [`LENGTH`] bytes.
pub(crate) fn check(start: &[u8], length: usize) -> Result<(), Fault> {
    if start.get(RANDOM) == Some(&HELLO_RETRY_REQUEST) {
        return Err(Fault::Retry);
    }
    let is_message = start
        .iter()
        .zip(&START)
        .all(|(byte, wanted)| byte == wanted);
    if is_message && length < LENGTH {
        return Err(Fault::Split);
    }
    let choices = start.get(RANDOM.end..).unwrap_or_default();
    let extensions = choices.strip_prefix(&CHOICES).unwrap_or_default();
    let key_share = extensions
        .strip_prefix(&VERSION)
        .or(extensions.strip_suffix(&VERSION))
        .unwrap_or_default();
    if is_message && length == LENGTH && key_share.starts_with(&KEY_SHARE) {
        Ok(())
    } else {
        Err(Fault::NotOffered)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::vec::Vec;

    use super::*;

    /// A correct ServerHello.
    pub(crate) fn right() -> Vec<u8> {
        hello(&[&VERSION, &key_share()])
    }

    /// A ServerHello with these extensions, and the lengths that go with them.
    fn hello(extensions: &[&[u8]]) -> Vec<u8> {
        let extensions = extensions.concat();
        let length = extensions.len() as u8;
        [
            &[2, 0, 0, 40 + length, 3, 3][..],
            &[0x5A; 32],
            &[0, 0x13, 0x01, 0, 0, length],
            &extensions,
        ]
        .concat()
    }

    fn key_share() -> Vec<u8> {
        [&KEY_SHARE[..], &[7; 64]].concat()
    }

    fn judge(hello: &[u8]) -> Result<(), Fault> {
        check(&hello[..hello.len().min(LENGTH)], hello.len())
    }

    #[test]
    fn the_two_extensions_may_come_in_either_order() {
        assert_eq!(right().len(), LENGTH);
        assert_eq!(judge(&right()), Ok(()));
        assert_eq!(judge(&hello(&[&key_share(), &VERSION])), Ok(()));
    }

    #[test]
    fn one_bit_anywhere_but_in_the_random_and_the_point_is_refused() {
        let hello = right();
        for at in (0..hello.len() * 8).filter(|bit| !(6..38).contains(&(bit / 8))) {
            let mut changed = hello.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let is_in_point = at / 8 >= LENGTH - 64;
            assert_eq!(judge(&changed).is_ok(), is_in_point, "bit {at}");
        }
    }

    #[test]
    fn a_hello_retry_request_is_known_by_its_random() {
        let mut retry = hello(&[&VERSION, &[0, 51, 0, 2, 0, 29]]);
        assert_eq!(judge(&retry), Err(Fault::NotOffered));
        retry[RANDOM].copy_from_slice(&HELLO_RETRY_REQUEST);
        assert_eq!(judge(&retry), Err(Fault::Retry));
    }

    #[test]
    fn more_and_less_is_refused() {
        let hello = right();
        for length in 0..hello.len() {
            assert_eq!(judge(&hello[..length]), Err(Fault::Split), "{length}");
        }
        assert!(judge(&[&hello[..], &[0]].concat()).is_err());
        assert!(judge(&[&hello[..], &hello].concat()).is_err());
    }
}
