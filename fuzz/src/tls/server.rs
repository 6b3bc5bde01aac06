//! A TLS 1.3 server that follows a script (RFC 8446, TLS_AES_128_GCM_SHA256, P-256).
//!
//! | step | content | what it sends |
//! |---|---|---|
//! | 0 | anything | the content |
//! | 1 | content type, fragment | an unencrypted record; the first with a handshake message is the ServerHello |
//! | 2 | a TLSInnerPlaintext | an encrypted record |
//! | 3 | a mask | the correct CertificateVerify, XORed with the mask |
//! | 4 | a mask | the same for Finished; after it, application data keys are used |
//! | 5 | a TBSCertificate | a Certificate message with it, signed by the root |
//!
//! A step is its number, the length of its content in two bytes, and the content.

use std::sync::LazyLock;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Nonce};
use hkdf::Hkdf;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};

use super::identity::{self, IDENTITY, Owner};
use crate::input::Input;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;

/// A step of the script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// An unencrypted record: its content type and fragment.
    Clear(u8, Vec<u8>),
    /// An encrypted record with this TLSInnerPlaintext.
    Sealed(Vec<u8>),
    /// CertificateVerify, XORed with this mask.
    Proof(Vec<u8>),
    /// Finished, XORed with this mask.
    Finished(Vec<u8>),
    /// A certificate, to be signed.
    Issue(Vec<u8>),
}

impl Step {
    /// Handshake messages in an encrypted record.
    pub fn handshake(messages: &[u8]) -> Self {
        Self::Sealed([messages, &[HANDSHAKE]].concat())
    }

    /// Application data.
    pub fn data(data: &[u8]) -> Self {
        Self::Sealed([data, &[APPLICATION_DATA]].concat())
    }

    /// The step as it is in an input.
    pub fn emit(&self) -> Vec<u8> {
        let (number, content) = match self {
            Self::Raw(bytes) => (0, bytes.clone()),
            Self::Clear(kind, fragment) => (1, [&[*kind], &fragment[..]].concat()),
            Self::Sealed(inner) => (2, inner.clone()),
            Self::Proof(mask) => (3, mask.clone()),
            Self::Finished(mask) => (4, mask.clone()),
            Self::Issue(certificate) => (5, certificate.clone()),
        };
        let [high, low] = (content.len() as u16).to_be_bytes();
        [&[number, high, low], &content[..]].concat()
    }
}

/// Everything that the server has sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// The bytes of the connection.
    pub wire: Vec<u8>,
    /// The application data in them, up to the close_notify.
    pub data: Vec<u8>,
    /// A certificate that is really the server's.
    pub has_shown_certificate: bool,
    /// The right CertificateVerify, behind that.
    pub has_proven_key: bool,
    /// The right Finished, behind that.
    pub has_finished: bool,
    /// A close_notify under the application data keys.
    pub has_closed: bool,
}

/// Does all steps of an input.
pub fn play(client_hello: &[u8], steps: &[u8]) -> Sent {
    let mut server = Server {
        sent: Sent::default(),
        transcript: client_hello.to_vec(),
        has_issued: false,
        schedule: None,
        keys: None,
    };
    let mut input = Input::new(steps);
    // No client reads on behind 64 KiB of handshake.
    while !input.is_empty() && server.sent.wire.len() < 200_000 {
        let step = input.byte();
        let length = input.number();
        server.step(step, input.take(length.into()));
    }
    server.sent
}

struct Server {
    sent: Sent,
    transcript: Vec<u8>,
    has_issued: bool,
    schedule: Option<Schedule>,
    keys: Option<Keys>,
}

impl Server {
    fn step(&mut self, step: u8, content: &[u8]) {
        match (step % 6, content) {
            (0, bytes) => self.sent.wire.extend(bytes),
            (1, [kind, fragment @ ..]) => self.clear(*kind, fragment),
            (2, inner) => self.seal(inner),
            (3, mask) => {
                let mut message = proof(&self.transcript);
                let is_right = !change(&mut message, mask);
                self.sent.has_proven_key |= is_right && self.sent.has_shown_certificate;
                self.handshake(&message);
            }
            (4, mask) => self.finish(mask),
            (5, to_be_signed) => {
                self.has_issued = true;
                self.handshake(&certificate(&[&identity::issue(to_be_signed)]));
            }
            _ => {}
        }
    }

    fn clear(&mut self, kind: u8, fragment: &[u8]) {
        let length = (fragment.len() as u16).to_be_bytes();
        self.sent.wire.extend([kind, 3, 3, length[0], length[1]]);
        self.sent.wire.extend(fragment);
        if kind == HANDSHAKE && self.schedule.is_none() {
            self.transcript.extend(fragment);
            let schedule = Schedule::new(&self.transcript);
            self.keys = Some(Keys::new(&schedule.handshake));
            self.schedule = Some(schedule);
        }
    }

    fn handshake(&mut self, message: &[u8]) {
        self.seal(&[message, &[HANDSHAKE]].concat());
    }

    fn finish(&mut self, mask: &[u8]) {
        let Some(schedule) = &self.schedule else {
            return;
        };
        let mut finished = schedule.finished(&self.transcript);
        let is_right = !change(&mut finished, mask);
        self.handshake(&finished);
        self.sent.has_finished |= is_right && self.sent.has_proven_key;
        if let Some(schedule) = &self.schedule {
            self.keys = Some(Keys::new(&schedule.application(&self.transcript)));
        }
    }

    /// Sends a TLSInnerPlaintext, and takes note of what is in it.
    fn seal(&mut self, inner: &[u8]) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        self.sent.wire.extend(keys.seal(inner));
        let Some((&kind, content)) = inner
            .iter()
            .rposition(|&byte| byte != 0)
            .and_then(|last| inner[..=last].split_last())
        else {
            return;
        };
        match kind {
            HANDSHAKE if !self.sent.has_finished => {
                self.transcript.extend(content);
                self.sent.has_shown_certificate |= self.has_shown_certificate();
            }
            APPLICATION_DATA if self.sent.has_finished && !self.sent.has_closed => {
                self.sent.data.extend(content);
            }
            ALERT if self.sent.has_finished => self.sent.has_closed |= matches!(content, [_, 0]),
            _ => {}
        }
    }

    /// The whole certificate, or, where the root has signed what the input says, the server's key.
    fn has_shown_certificate(&self) -> bool {
        let contains = |part: &[u8]| self.transcript.windows(part.len()).any(|at| at == part);
        contains(&IDENTITY.certificate)
            || contains(&IDENTITY.issued_certificate)
            || (self.has_issued && contains(&IDENTITY.public_key))
    }
}

/// Changes a message by a mask; whether anything is different.
fn change(message: &mut [u8], mask: &[u8]) -> bool {
    message
        .iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
    mask.iter().take(message.len()).any(|&mask| mask != 0)
}

// --- Messages ---

/// A handshake message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &length(body)[..], body].concat()
}

/// A ServerHello with this P-256 point.
pub fn hello(point: &[u8]) -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend([0x5a; 32]); // random
    hello.extend([0, 0x13, 0x01, 0]); // no session id, TLS_AES_128_GCM_SHA256, no compression
    hello.extend([0, 79]); // extensions
    hello.extend([0, 43, 0, 2, 3, 4]); // supported_versions: TLS 1.3
    hello.extend([0, 51, 0, 69, 0, 23, 0, 65]); // key_share: secp256r1
    hello.extend(point);
    message(SERVER_HELLO, &hello)
}

/// A Certificate message with these certificates.
pub fn certificate(chain: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = chain
        .iter()
        .flat_map(|der| [&length(der)[..], der, &[0, 0]].concat())
        .collect();
    message(CERTIFICATE, &[&[0], &length(&list)[..], &list].concat())
}

/// CertificateVerify by the server's own key.
fn proof(transcript: &[u8]) -> Vec<u8> {
    let mut content = vec![b' '; 64];
    content.extend(b"TLS 1.3, server CertificateVerify\0");
    content.extend(Sha256::digest(transcript));
    static KEY: LazyLock<SigningKey> = LazyLock::new(|| identity::key(Owner::Server));
    let signature: Signature = KEY.sign(&content);
    let signature = signature.to_der();
    let length = (signature.as_bytes().len() as u16).to_be_bytes();
    let scheme = [4, 3]; // ecdsa_secp256r1_sha256
    message(
        CERTIFICATE_VERIFY,
        &[&scheme, &length, signature.as_bytes()].concat(),
    )
}

/// A length in three bytes.
fn length(bytes: &[u8]) -> [u8; 3] {
    let [_, high, middle, low] = (bytes.len() as u32).to_be_bytes();
    [high, middle, low]
}

// --- Keys ---

/// RFC 8446 section 7.1, without a pre-shared key.
struct Schedule {
    handshake: [u8; 32],
    master: [u8; 32],
}

impl Schedule {
    fn new(transcript: &[u8]) -> Self {
        let early = extract(&[0; 32], &[0; 32]);
        let derived: [u8; 32] = expand(&early, "derived", &Sha256::digest(b""));
        let secret = extract(&derived, &shared_secret(transcript));
        let derived: [u8; 32] = expand(&secret, "derived", &Sha256::digest(b""));
        Self {
            handshake: expand(&secret, "s hs traffic", &Sha256::digest(transcript)),
            master: extract(&derived, &[0; 32]),
        }
    }

    fn application(&self, transcript: &[u8]) -> [u8; 32] {
        expand(&self.master, "s ap traffic", &Sha256::digest(transcript))
    }

    fn finished(&self, transcript: &[u8]) -> Vec<u8> {
        let key: [u8; 32] = expand(&self.handshake, "finished", b"");
        // HKDF-Extract is HMAC.
        message(FINISHED, &extract(&key, &Sha256::digest(transcript)))
    }
}

/// Of the client's key share and the server's key: the same for every input, for both keys are.
fn shared_secret(transcript: &[u8]) -> [u8; 32] {
    static SECRET: std::sync::OnceLock<[u8; 32]> = std::sync::OnceLock::new();
    *SECRET.get_or_init(|| {
        // key_share, its length, the list's length, secp256r1, the point's length
        let start = [0, 51, 0, 71, 0, 69, 0, 23, 0, 65];
        let at = transcript
            .windows(start.len())
            .position(|window| window == start)
            .expect("a P-256 key share");
        let point = &transcript[at + start.len()..][..65];
        let client = PublicKey::from_sec1_bytes(point).expect("a point");
        let own = SecretKey::from(identity::key(Owner::Handshake));
        let secret = p256::ecdh::diffie_hellman(own.to_nonzero_scalar(), client.as_affine());
        (*secret.raw_secret_bytes()).into()
    })
}

fn extract(salt: &[u8], secret: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), secret).0.into()
}

/// HKDF-Expand-Label.
fn expand<const LENGTH: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; LENGTH] {
    let label = format!("tls13 {label}");
    let info = [
        &[0, LENGTH as u8, label.len() as u8],
        label.as_bytes(),
        &[context.len() as u8],
        context,
    ]
    .concat();
    let mut output = [0; LENGTH];
    Hkdf::<Sha256>::from_prk(secret)
        .and_then(|hkdf| {
            hkdf.expand(&info, &mut output)
                .map_err(|_| hkdf::InvalidPrkLength)
        })
        .expect("short enough");
    output
}

/// Record protection in one direction (RFC 8446 section 5.2).
struct Keys {
    cipher: Aes128Gcm,
    iv: [u8; 12],
    sequence: u64,
}

impl Keys {
    fn new(secret: &[u8; 32]) -> Self {
        Self {
            cipher: Aes128Gcm::new(&expand::<16>(secret, "key", b"").into()),
            iv: expand(secret, "iv", b""),
            sequence: 0,
        }
    }

    fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        let [high, low] = (inner.len() as u16).saturating_add(16).to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let payload = Payload {
            msg: inner,
            aad: &header,
        };
        let sealed = self.cipher.encrypt(Nonce::from_slice(&nonce), payload);
        [&header, &sealed.expect("a short record")[..]].concat()
    }
}
