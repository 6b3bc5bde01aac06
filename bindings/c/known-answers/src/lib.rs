//! The arithmetic of TLS, one question at a time: signatures by s3ota-tls's own algorithms, and what embedded-tls calls for keys and
//! records. Compiled as `libs3ota.a` is, so that the answers are those of a chip's code.
//!
//! `bindings/c/tests/known_answers.c` asks; `testing/c-device` knows the answers.

#![no_std]

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use p256::{PublicKey, SecretKey};
use s3ota_tls::known_answers::verifies;
use sha2::{Digest, Sha256, Sha384, Sha512};

const TAG: usize = 16;

/// Answers a question: the number of the answer's bytes, or -1 where there is none, as for a signature that is not valid.
///
/// A question is its kind, an algorithm, and fields, each with its length in four bytes before it.
///
/// # Safety
///
/// `question` has `len` bytes, `answer` has `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn known_answer(
    question: *const u8,
    len: usize,
    answer: *mut u8,
    room: usize,
) -> i32 {
    // SAFETY: as above.
    let (question, answer) = unsafe {
        (
            core::slice::from_raw_parts(question, len),
            core::slice::from_raw_parts_mut(answer, room),
        )
    };
    answered(question, answer)
        .and_then(|len| i32::try_from(len).ok())
        .unwrap_or(-1)
}

fn answered(question: &[u8], answer: &mut [u8]) -> Option<usize> {
    let ([kind, algorithm], mut rest) = question.split_first_chunk()?;
    let mut field = || {
        let (len, after) = rest.split_first_chunk()?;
        let (field, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = after;
        Some(field)
    };
    match kind {
        b'v' => verifies((*algorithm).into(), field()?, field()?, field()?).then_some(0),
        b's' => sealed(field()?, field()?, field()?, field()?, answer),
        b'o' => opened(field()?, field()?, field()?, field()?, answer),
        b'k' => derived(field()?, field()?, field()?, field()?, answer),
        b'd' => agreed(field()?, field()?, answer),
        b'h' => match algorithm {
            0 => put(&Sha256::digest(field()?), answer),
            1 => put(&Sha384::digest(field()?), answer),
            _ => put(&Sha512::digest(field()?), answer),
        },
        _ => None,
    }
}

fn put(bytes: &[u8], answer: &mut [u8]) -> Option<usize> {
    answer.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(bytes.len())
}

/// AES-128-GCM: the text in cipher and its tag.
fn sealed(key: &[u8], nonce: &[u8], data: &[u8], text: &[u8], answer: &mut [u8]) -> Option<usize> {
    let cipher = Aes128Gcm::new_from_slice(key).ok()?;
    let nonce: &[u8; 12] = nonce.try_into().ok()?;
    put(text, answer)?;
    let (place, rest) = answer.split_at_mut_checked(text.len())?;
    let tag = cipher.encrypt_in_place_detached(Nonce::from_slice(nonce), data, place);
    Some(text.len() + put(&tag.ok()?, rest)?)
}

/// AES-128-GCM: the text of what is sealed so.
fn opened(
    key: &[u8],
    nonce: &[u8],
    data: &[u8],
    sealed: &[u8],
    answer: &mut [u8],
) -> Option<usize> {
    let cipher = Aes128Gcm::new_from_slice(key).ok()?;
    let nonce: &[u8; 12] = nonce.try_into().ok()?;
    let (text, tag) = sealed.split_last_chunk::<TAG>()?;
    let len = put(text, answer)?;
    let place = answer.get_mut(..len)?;
    let nonce = Nonce::from_slice(nonce);
    let opened = cipher.decrypt_in_place_detached(nonce, data, place, tag.into());
    opened.ok().map(|()| len)
}

/// HKDF with SHA-256; of `length` only how long it is counts.
fn derived(
    secret: &[u8],
    salt: &[u8],
    info: &[u8],
    length: &[u8],
    answer: &mut [u8],
) -> Option<usize> {
    let key = answer.get_mut(..length.len())?;
    let hkdf = Hkdf::<Sha256>::new(Some(salt), secret);
    hkdf.expand(info, key).ok()?;
    Some(length.len())
}

/// ECDH on P-256.
fn agreed(secret: &[u8], point: &[u8], answer: &mut [u8]) -> Option<usize> {
    let secret = SecretKey::from_slice(secret).ok()?;
    let point = PublicKey::from_sec1_bytes(point).ok()?;
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), point.as_affine());
    put(shared.raw_secret_bytes(), answer)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn abort() -> !;
    }
    abort()
}
