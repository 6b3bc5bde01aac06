//! A TLS 1.3 server that misbehaves on purpose, on 127.0.0.1, for one connection.
//!
//! ```ignore
//! let server = RogueServer::spawn(Misbehaviour::NoCertificate);
//! // connect to 127.0.0.1:server.port() as "localhost", trusting server.ca_der()
//! ```
//!
//! It speaks just enough of RFC 8446 for TLS_AES_128_GCM_SHA256 and P-256, on *ring* and rcgen, so it shares no code
//! with the client it tests.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256,
};
use ring::{aead, agreement, digest, hmac, rand, signature};

/// What the well-behaved server answers.
pub const GREETING: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Nothing: it answers [`GREETING`] and closes properly.
    None,

    // Who the server is.
    /// Sends neither Certificate nor CertificateVerify.
    NoCertificate,
    /// Sends a Certificate message with an empty list.
    EmptyCertificate,
    /// Sends a Certificate and no CertificateVerify.
    NoCertificateVerify,
    /// Sends a CertificateVerify and no Certificate.
    CertificateVerifyOnly,
    /// Proves that it holds another key than the certificate's.
    OtherKey,
    /// Signs the right transcript in the client's name.
    ClientContext,
    /// Signs a transcript of another handshake.
    ReplayedProof,
    /// Signs the transcript alone, without the words that say what it is for.
    BareProof,
    /// Changes one bit of its signature.
    FlippedProof,
    /// Sends a signature of no bytes.
    EmptyProof,
    /// Has a certificate with an RSA key, and signs with it by this scheme: PKCS #1 v1.5 for 0x0401, else PSS.
    RsaKey(u16),
    /// Uses this signature scheme in CertificateVerify (the signature is P-256's).
    SignatureScheme(u16),
    /// Sends Certificate and CertificateVerify twice.
    CertificateTwice,
    /// Sends Finished before Certificate and CertificateVerify, in one record.
    FinishedFirst,
    /// Sends these handshake messages behind its ServerHello, in this order, each right for its place.
    Order(&'static [u8]),
    /// Sends a status_request response with its certificate.
    StapledOcsp,
    /// Sends a Certificate message with a request context.
    CertificateContext,
    /// Sends a Certificate message with one byte behind its list.
    LongCertificate,
    /// Sends a certificate that is not DER.
    GarbageCertificate,
    /// Sends its certificate this many times.
    LongChain(usize),

    // How the handshake goes.
    /// Answers the ClientHello with plain HTTP.
    PlainHttp,
    /// Answers the ClientHello with this alert, in the clear.
    AlertInHello(u8),
    /// Answers the ClientHello with application data.
    DataInHello,
    /// Answers the ClientHello with a HelloRetryRequest for X25519.
    HelloRetryRequest,
    /// Sends a key share whose 64 bytes are all this one, which makes no point of P-256.
    BadKeyShare(u8),
    /// Sends a ServerHello with another byte at this place.
    HelloByte { at: usize, value: u8 },
    /// Sends a ServerHello with these extensions.
    HelloExtensions(&'static [u8]),
    /// Sends a ServerHello with a session id of 32 bytes, which the client has not sent.
    SessionId,
    /// Sends a ServerHello whose random says that the server knows TLS 1.3 and was kept from it.
    DowngradeSentinel,
    /// Sends the ServerHello of TLS 1.2, with the same random.
    Tls12Hello,
    /// Splits its ServerHello over two records.
    SplitHello,
    /// Sends EncryptedExtensions in the clear, in one record with its ServerHello.
    HelloAndMore,
    /// Says this version in the header of its ServerHello's record.
    RecordVersion(u16),
    /// Sends EncryptedExtensions with an empty extension of this type.
    Extension(u16),
    /// Sends a handshake message of this type with 36 bytes of zeros behind its EncryptedExtensions.
    EarlyMessage(u8),
    /// Sends its certificate in the clear.
    CertificateInTheClear,
    /// Splits its Certificate message over two records.
    SplitCertificate,
    /// Sends a Finished that does not match.
    WrongFinished,
    /// Breaks off the handshake with this alert, encrypted.
    AlertInHandshake(u8),
    /// Sends application data before its Finished.
    DataInHandshake,
    /// Sends EncryptedExtensions without end.
    EndlessHandshake,
    /// Ends the TCP connection after its ServerHello.
    HangUpInHandshake,
    /// Asks for a client certificate, which is allowed.
    CertificateRequest,

    // Records, during the handshake (`late: false`) or after it (`late: true`).
    /// Sends an encrypted record that is nothing but a tag.
    BareTag { late: bool },
    /// Sends an encrypted record of nothing but padding.
    OnlyPadding { late: bool },
    /// Sends a record of this type and no bytes.
    EmptyRecord { late: bool, kind: u8 },
    /// Announces a record of 16,641 bytes.
    OversizedRecord { late: bool },
    /// Sends a record header of this type, in the clear, with two bytes of content.
    InTheClear { late: bool, kind: u8 },
    /// Sends a record of this type with two bytes, in the clear, before its message of this number (0: ServerHello; 5: the
    /// greeting; 6: close_notify).
    Inject { before: usize, kind: u8 },
    /// Sends an encrypted record with one bit changed.
    FlippedBit { late: bool },
    /// Sends an encrypted record with this content type and content `04`.
    InnerType { late: bool, kind: u8 },
    /// Sends a change_cipher_spec record with this content this many times.
    ChangeCipherSpec {
        late: bool,
        content: u8,
        times: usize,
    },

    // After the handshake.
    /// Sends an empty fragment, then the greeting with padding: allowed.
    EmptyFragmentAndPadding,
    /// Sends so many empty fragments, then the greeting.
    EmptyFragments(usize),
    /// Sends so many session tickets, each in a record, then the greeting.
    ManyTickets(usize),
    /// Sends a record as long as they may be, before the greeting: allowed.
    FullRecord,
    /// Ends the TCP connection after so many bytes of what comes behind the handshake.
    CutAfter(usize),
    /// Sends two session tickets in one record, then the greeting: allowed.
    Tickets,
    /// Sends a handshake message of this type with 36 bytes of zeros.
    LateMessage(u8),
    /// Sends half a handshake message.
    LateHalfMessage,
    /// Sends a session ticket and a Finished in one record.
    TicketAndFinished,
    /// Sends a session ticket that says it is as long as a ticket and a Finished.
    FinishedInsideTicket,
    /// Sends this alert, encrypted, after the greeting.
    LateAlert(u8),
    /// Sends an encrypted alert of one byte.
    HalfAlert,
    /// Sends the greeting and ends the TCP connection without close_notify.
    Truncation,
    /// Ends the TCP connection in the middle of a record.
    TruncatedRecord,

    // Noise, for tests that want nothing but the absence of a panic.
    /// Changes a few bytes of its ServerHello, at random from this seed.
    NoisyHello(u64),
    /// Changes a few bytes of its handshake messages, at random from this seed, before it encrypts them; with an odd
    /// seed it sends them in one record.
    NoisyHandshake(u64),
    /// Sends random content of a random type, encrypted, after the handshake.
    NoisyStream(u64),
}

/// A rogue server that waits for its one connection.
pub struct RogueServer {
    port: u16,
    ca_der: Vec<u8>,
}

impl RogueServer {
    /// Starts the server in a thread of its own.
    pub fn spawn(misbehaviour: Misbehaviour) -> Self {
        let identity = Identity::new();
        let ca_der = identity.ca_der.clone();
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        std::thread::spawn(move || {
            let (socket, _) = listener.accept().expect("a client");
            // A client that noise has confused may wait for what never comes.
            let wait = match misbehaviour {
                Misbehaviour::NoisyHello(_) | Misbehaviour::NoisyHandshake(_) => {
                    Some(Duration::from_millis(300))
                }
                _ => Some(Duration::from_secs(10)),
            };
            socket.set_read_timeout(wait).expect("a socket");
            socket.set_write_timeout(wait).expect("a socket");
            socket.set_nodelay(true).expect("a socket");
            // The client may well hang up first: that is the point.
            let _ = serve(socket, &identity, misbehaviour);
        });
        Self { port, ca_der }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The root behind the server's certificate, which is for `localhost` and 127.0.0.1.
    pub fn ca_der(&self) -> &[u8] {
        &self.ca_der
    }
}

// --- The conversation ---

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const SERVER_HELLO: u8 = 2;
const NEW_SESSION_TICKET: u8 = 4;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;

const ECDSA_SECP256R1_SHA256: u16 = 0x0403;

fn serve(mut socket: TcpStream, identity: &Identity, what: Misbehaviour) -> io::Result<()> {
    use Misbehaviour as M;

    let (_, client_hello) = read_record(&mut socket)?;
    match what {
        M::PlainHttp => {
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
            return linger(socket);
        }
        M::AlertInHello(description) => {
            send_record(&mut socket, ALERT, &[2, description])?;
            return linger(socket);
        }
        M::DataInHello => {
            send_record(&mut socket, APPLICATION_DATA, &[0; 32])?;
            return linger(socket);
        }
        M::HelloRetryRequest => {
            let retry = message(SERVER_HELLO, &hello_retry_request());
            send_record(&mut socket, HANDSHAKE, &retry)?;
            return linger(socket);
        }
        _ => {}
    }

    let client_point = client_key_share(&client_hello).expect("a P-256 key share");
    let (server_point, shared_secret) = key_exchange(&client_point);
    let mut transcript = Transcript(client_hello);
    let mut hello = message(SERVER_HELLO, &server_hello(&server_point, what));
    let point = hello.len().saturating_sub(64);
    match what {
        M::BadKeyShare(byte) => hello[point..].fill(byte),
        M::HelloByte { at, value } => hello[at] = value,
        M::NoisyHello(seed) => Noise(seed).disturb(&mut hello),
        _ => {}
    }
    transcript.add(&hello);
    inject(&mut socket, what, 0)?;
    match what {
        M::SplitHello => {
            let (first, second) = hello.split_at(50);
            send_record(&mut socket, HANDSHAKE, first)?;
            send_record(&mut socket, HANDSHAKE, second)?;
        }
        M::HelloAndMore => {
            let more = message(ENCRYPTED_EXTENSIONS, &[0, 0]);
            send_record(&mut socket, HANDSHAKE, &[hello, more].concat())?;
        }
        M::RecordVersion(version) => {
            let mut header = record_header(HANDSHAKE, hello.len());
            header[1..3].copy_from_slice(&version.to_be_bytes());
            socket.write_all(&[&header[..], &hello].concat())?;
        }
        _ => send_record(&mut socket, HANDSHAKE, &hello)?,
    }
    if what == M::HangUpInHandshake {
        return Ok(());
    }

    let schedule = KeySchedule::new(&shared_secret, &transcript);
    let mut keys = RecordKeys::new(&schedule.server_handshake);
    misbehave_with_records(&mut socket, &mut keys, what, false)?;

    let mut flight = handshake_messages(identity, what, &mut transcript, &schedule);
    match what {
        M::CertificateInTheClear => {
            send_record(&mut socket, HANDSHAKE, &flight[1])?;
            return linger(socket);
        }
        M::SplitCertificate => {
            let (first, second) = flight[1].split_at(100);
            keys.send(&mut socket, HANDSHAKE, &flight[0])?;
            keys.send(&mut socket, HANDSHAKE, first)?;
            keys.send(&mut socket, HANDSHAKE, second)?;
            return linger(socket);
        }
        M::AlertInHandshake(description) => {
            keys.send(&mut socket, ALERT, &[2, description])?;
            return linger(socket);
        }
        M::DataInHandshake => {
            keys.send(&mut socket, APPLICATION_DATA, GREETING)?;
            return linger(socket);
        }
        M::EndlessHandshake => {
            // More than any client should take.
            for _ in 0..20_000 {
                keys.send(&mut socket, HANDSHAKE, &flight[0])?;
            }
            return linger(socket);
        }
        M::FinishedFirst => keys.send(&mut socket, HANDSHAKE, &flight.concat())?,
        M::NoisyHandshake(seed) => {
            let mut noise = Noise(seed);
            let victim = noise.below(flight.len());
            noise.disturb(&mut flight[victim]);
            if seed % 2 == 1 {
                flight = vec![flight.concat()];
            }
            for message in &flight {
                keys.send(&mut socket, HANDSHAKE, message)?;
            }
        }
        _ => {
            for (number, message) in flight.iter().enumerate() {
                inject(&mut socket, what, number + 1)?;
                keys.send(&mut socket, HANDSHAKE, message)?;
            }
        }
    }
    let has_asked = flight
        .iter()
        .any(|message| message[0] == CERTIFICATE_REQUEST);
    if flight.last().is_none_or(|message| message[0] != FINISHED) {
        return linger(socket);
    }

    let mut keys = RecordKeys::new(&schedule.server_application(&transcript));
    // The client's Finished (and its empty Certificate, if it was asked), then its request.
    let finished = if has_asked { 2 } else { 1 };
    for _ in 0..=finished {
        read_record(&mut socket)?;
    }

    misbehave_with_records(&mut socket, &mut keys, what, true)?;
    let ticket = message(NEW_SESSION_TICKET, &new_session_ticket());
    let any_finished = message(FINISHED, &[0; 32]);
    match what {
        M::EmptyFragmentAndPadding => {
            keys.send(&mut socket, APPLICATION_DATA, &[])?;
            keys.send_padded(&mut socket, APPLICATION_DATA, GREETING, 1000)?;
            return close(&mut socket, &mut keys);
        }
        M::EmptyFragments(times) => {
            for _ in 0..times {
                keys.send(&mut socket, APPLICATION_DATA, &[])?;
            }
        }
        M::ManyTickets(times) => {
            for _ in 0..times {
                keys.send(&mut socket, HANDSHAKE, &ticket)?;
            }
        }
        M::FullRecord => keys.send(&mut socket, APPLICATION_DATA, &[b'x'; 16_384])?,
        M::CutAfter(bytes) => {
            let records = [
                keys.seal(HANDSHAKE, &ticket, 0),
                keys.seal(APPLICATION_DATA, GREETING, 0),
                keys.seal(ALERT, &[1, 0], 0),
            ]
            .concat();
            return socket.write_all(records.get(..bytes).unwrap_or(&records));
        }
        M::Tickets => keys.send(&mut socket, HANDSHAKE, &[ticket.clone(), ticket].concat())?,
        M::LateMessage(kind) => keys.send(&mut socket, HANDSHAKE, &message(kind, &[0; 36]))?,
        M::LateHalfMessage => keys.send(&mut socket, HANDSHAKE, &ticket[..20])?,
        M::TicketAndFinished => {
            keys.send(&mut socket, HANDSHAKE, &[ticket, any_finished].concat())?;
        }
        M::FinishedInsideTicket => {
            let both = [new_session_ticket(), any_finished].concat();
            keys.send(&mut socket, HANDSHAKE, &message(NEW_SESSION_TICKET, &both))?;
        }
        M::HalfAlert => keys.send(&mut socket, ALERT, &[2])?,
        M::TruncatedRecord => {
            let record = keys.seal(APPLICATION_DATA, GREETING, 0);
            socket.write_all(&record[..20])?;
            return Ok(());
        }
        M::NoisyStream(seed) => {
            let mut noise = Noise(seed);
            let mut content = [ticket, any_finished, vec![0; noise.below(64)]].concat();
            noise.disturb(&mut content);
            let kind = 18 + noise.below(8) as u8;
            keys.send(&mut socket, kind, &content)?;
        }
        _ => {}
    }
    inject(&mut socket, what, 5)?;
    keys.send(&mut socket, APPLICATION_DATA, GREETING)?;
    inject(&mut socket, what, 6)?;
    match what {
        M::Truncation => Ok(()),
        M::LateAlert(description) => {
            keys.send(&mut socket, ALERT, &[2, description])?;
            linger(socket)
        }
        _ => close(&mut socket, &mut keys),
    }
}

/// EncryptedExtensions to Finished, each added to the transcript.
fn handshake_messages(
    identity: &Identity,
    what: Misbehaviour,
    transcript: &mut Transcript,
    schedule: &KeySchedule,
) -> Vec<Vec<u8>> {
    use Misbehaviour as M;

    let copies = match what {
        M::EmptyCertificate => 0,
        M::LongChain(length) => length,
        _ => 1,
    };
    let garbage = vec![0x30; 100];
    let extensions: &[u8] = match what {
        M::StapledOcsp => &[0, 9, 0, 5, 0, 5, 1, 0, 0, 1, 0x30],
        _ => &[0, 0],
    };
    let certificate = match what {
        M::GarbageCertificate => &garbage,
        M::RsaKey(_) => &identity.rsa_certificate,
        _ => &identity.certificate,
    };
    let mut certificate = certificate_message(certificate, extensions, copies);
    match what {
        M::CertificateContext => {
            certificate.splice(4..5, [1, 9]);
            certificate[3] = certificate[3].wrapping_add(1);
        }
        M::LongCertificate => {
            certificate.push(0);
            certificate[3] = certificate[3].wrapping_add(1);
        }
        _ => {}
    }
    // An empty context and the one mandatory extension, signature_algorithms.
    let request = message(CERTIFICATE_REQUEST, &[0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut extensions = vec![0, 0];
    if let M::Extension(kind) = what {
        extensions = [&[0, 4][..], &kind.to_be_bytes(), &[0, 0]].concat();
    }
    if what == M::Extension(10) {
        extensions = vec![0, 8, 0, 10, 0, 4, 0, 2, 0, 23];
    }
    let extensions = message(ENCRYPTED_EXTENSIONS, &extensions);
    if let M::Order(kinds) = what {
        let mut flight = Vec::new();
        for kind in kinds {
            let message = match *kind {
                ENCRYPTED_EXTENSIONS => extensions.clone(),
                CERTIFICATE_REQUEST => request.clone(),
                CERTIFICATE => certificate.clone(),
                CERTIFICATE_VERIFY => identity.certificate_verify(what, transcript),
                _ => schedule.finished(transcript),
            };
            transcript.add(&message);
            flight.push(message);
        }
        return flight;
    }
    let mut flight = vec![extensions];
    transcript.add(&flight[0]);
    let mut push = |transcript: &mut Transcript, message: Vec<u8>| {
        transcript.add(&message);
        flight.push(message);
    };

    if what == M::FinishedFirst {
        push(transcript, schedule.finished(transcript));
    }
    if what == M::CertificateRequest {
        push(transcript, request);
    }
    if let M::EarlyMessage(kind) = what {
        push(transcript, message(kind, &[0; 36]));
    }
    if !matches!(what, M::NoCertificate | M::CertificateVerifyOnly) {
        push(transcript, certificate.clone());
    }
    if !matches!(what, M::NoCertificate | M::NoCertificateVerify) {
        push(transcript, identity.certificate_verify(what, transcript));
    }
    if what == M::CertificateTwice {
        push(transcript, certificate);
        push(transcript, identity.certificate_verify(what, transcript));
    }
    if what != M::FinishedFirst {
        let mut finished = schedule.finished(transcript);
        if what == M::WrongFinished {
            finished[10] ^= 1;
        }
        push(transcript, finished);
    }
    flight
}

fn inject(socket: &mut TcpStream, what: Misbehaviour, now: usize) -> io::Result<()> {
    match what {
        // As an alert it reads close_notify.
        Misbehaviour::Inject { before, kind } if before == now => {
            send_record(socket, kind, &[1, 0])
        }
        _ => Ok(()),
    }
}

fn misbehave_with_records(
    socket: &mut TcpStream,
    keys: &mut RecordKeys,
    what: Misbehaviour,
    now_late: bool,
) -> io::Result<()> {
    use Misbehaviour as M;

    match what {
        M::BareTag { late } if late == now_late => {
            let record = keys.seal_inner(&[]);
            socket.write_all(&record)
        }
        M::OnlyPadding { late } if late == now_late => {
            let record = keys.seal_inner(&[0; 100]);
            socket.write_all(&record)
        }
        M::EmptyRecord { late, kind } if late == now_late => send_record(socket, kind, &[]),
        M::OversizedRecord { late } if late == now_late => {
            socket.write_all(&[APPLICATION_DATA, 3, 3, 0x41, 0x01])?;
            socket.write_all(&[0; 0x4101])
        }
        M::InTheClear { late, kind } if late == now_late => {
            // As an alert it reads close_notify.
            send_record(socket, kind, &[1, 0])
        }
        M::FlippedBit { late } if late == now_late => {
            let mut record = keys.seal(HANDSHAKE, &message(ENCRYPTED_EXTENSIONS, &[0, 0]), 0);
            record[7] ^= 1;
            socket.write_all(&record)
        }
        M::InnerType { late, kind } if late == now_late => keys.send(socket, kind, &[4]),
        M::ChangeCipherSpec {
            late,
            content,
            times,
        } if late == now_late => {
            for _ in 0..times {
                send_record(socket, CHANGE_CIPHER_SPEC, &[content])?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn close(socket: &mut TcpStream, keys: &mut RecordKeys) -> io::Result<()> {
    keys.send(socket, ALERT, &[1, 0])?;
    linger(socket.try_clone()?)
}

/// Waits for the client to hang up, so that what was sent is not lost to a TCP reset.
fn linger(mut socket: TcpStream) -> io::Result<()> {
    socket.shutdown(std::net::Shutdown::Write)?;
    io::copy(&mut socket, &mut io::sink()).map(drop)
}

// --- Messages ---

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short message");
    [&[kind], &length.to_be_bytes()[1..], body].concat()
}

fn server_hello(point: &[u8], what: Misbehaviour) -> Vec<u8> {
    use Misbehaviour as M;

    let mut hello = vec![3, 3];
    hello.extend([0x5A; 24]); // random
    hello.extend(match what {
        M::DowngradeSentinel | M::Tls12Hello => *b"DOWNGRD\x01",
        _ => [0x5A; 8],
    });
    match what {
        M::SessionId => hello.extend([&[32], &[7; 32][..]].concat()),
        _ => hello.push(0),
    }
    hello.extend([0x13, 0x01, 0]); // TLS_AES_128_GCM_SHA256, no compression
    let kinds: &[u8] = match what {
        M::HelloExtensions(kinds) => kinds,
        M::Tls12Hello => &[],
        _ => &[43, 51],
    };
    let mut extensions = Vec::new();
    for kind in kinds {
        extensions.extend([0, *kind]);
        match kind {
            43 => extensions.extend([0, 2, 3, 4]), // supported_versions: TLS 1.3
            51 => extensions.extend([&[0, 69, 0, 23, 0, 65], point].concat()), // key_share: secp256r1
            41 => extensions.extend([0, 2, 0, 0]), // pre_shared_key: the first
            _ => extensions.extend([0, 0]),
        }
    }
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    hello
}

fn hello_retry_request() -> Vec<u8> {
    let mut hello = vec![3, 3];
    // SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
    hello.extend(digest::digest(&digest::SHA256, b"HelloRetryRequest").as_ref());
    hello.extend([0, 0x13, 0x01, 0, 0, 12]);
    hello.extend([0, 43, 0, 2, 3, 4]);
    hello.extend([0, 51, 0, 2, 0, 29]); // key_share: X25519
    hello
}

fn certificate_message(der: &[u8], extensions: &[u8], copies: usize) -> Vec<u8> {
    let length = u32::try_from(der.len()).expect("a short certificate");
    let entry = [&length.to_be_bytes()[1..], der, extensions].concat();
    let list = entry.repeat(copies);
    let length = u32::try_from(list.len()).expect("a short chain");
    message(
        CERTIFICATE,
        &[&[0], &length.to_be_bytes()[1..], &list].concat(),
    )
}

fn new_session_ticket() -> Vec<u8> {
    let mut ticket = vec![0, 0, 0x1C, 0x20, 1, 2, 3, 4]; // two hours, age_add
    ticket.extend([1, 0]); // nonce
    ticket.extend([0, 32]);
    ticket.extend([7; 32]);
    ticket.extend([0, 0]); // no extensions
    ticket
}

/// The P-256 point in a ClientHello's key_share extension.
fn client_key_share(client_hello: &[u8]) -> Option<Vec<u8>> {
    // key_share, its length, the list's length, secp256r1, the point's length
    let start = [0, 51, 0, 71, 0, 69, 0, 23, 0, 65];
    let at = client_hello
        .windows(start.len())
        .position(|window| window == start)?;
    let point = client_hello.get(at + start.len()..)?.get(..65)?;
    Some(point.to_vec())
}

// --- Keys ---

/// The server's P-256 point and the shared secret.
fn key_exchange(client_point: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let random = rand::SystemRandom::new();
    let private =
        agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random).expect("a key");
    let point = private.compute_public_key().expect("a point");
    let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, client_point);
    let secret = agreement::agree_ephemeral(private, &peer, <[u8]>::to_vec).expect("a point");
    (point.as_ref().to_vec(), secret)
}

#[derive(Clone)]
struct Transcript(Vec<u8>);

impl Transcript {
    fn add(&mut self, message: &[u8]) {
        self.0.extend(message);
    }

    fn hash(&self) -> Vec<u8> {
        hash(&self.0)
    }
}

/// RFC 8446 section 7.1, without a pre-shared key.
struct KeySchedule {
    server_handshake: Vec<u8>,
    master: Vec<u8>,
}

impl KeySchedule {
    fn new(shared_secret: &[u8], transcript: &Transcript) -> Self {
        let early = mac(&[0; 32], &[0; 32]);
        let derived = expand_label(&early, "derived", &hash(b""), 32);
        let handshake = mac(&derived, shared_secret);
        let derived = expand_label(&handshake, "derived", &hash(b""), 32);
        Self {
            server_handshake: expand_label(&handshake, "s hs traffic", &transcript.hash(), 32),
            master: mac(&derived, &[0; 32]),
        }
    }

    fn server_application(&self, transcript: &Transcript) -> Vec<u8> {
        expand_label(&self.master, "s ap traffic", &transcript.hash(), 32)
    }

    fn finished(&self, transcript: &Transcript) -> Vec<u8> {
        let key = expand_label(&self.server_handshake, "finished", b"", 32);
        message(FINISHED, &mac(&key, &transcript.hash()))
    }
}

fn hash(data: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, data).as_ref().to_vec()
}

/// HMAC-SHA256, which is also HKDF-Extract.
fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
        .as_ref()
        .to_vec()
}

/// HKDF-Expand-Label, for up to 32 bytes.
fn expand_label(secret: &[u8], label: &str, context: &[u8], length: u8) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let mut info = vec![0, length, label.len() as u8];
    info.extend(label.as_bytes());
    info.push(context.len() as u8);
    info.extend(context);
    info.push(1); // the only block of HKDF-Expand
    let mut output = mac(secret, &info);
    output.truncate(length.into());
    output
}

// --- Records ---

/// Record protection in one direction (RFC 8446 section 5.2).
struct RecordKeys {
    key: aead::LessSafeKey,
    iv: Vec<u8>,
    sequence: u64,
}

impl RecordKeys {
    fn new(traffic_secret: &[u8]) -> Self {
        let key = expand_label(traffic_secret, "key", b"", 16);
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &key).expect("16 bytes");
        Self {
            key: aead::LessSafeKey::new(key),
            iv: expand_label(traffic_secret, "iv", b"", 12),
            sequence: 0,
        }
    }

    fn send(&mut self, socket: &mut TcpStream, kind: u8, content: &[u8]) -> io::Result<()> {
        self.send_padded(socket, kind, content, 0)
    }

    fn send_padded(
        &mut self,
        socket: &mut TcpStream,
        kind: u8,
        content: &[u8],
        padding: usize,
    ) -> io::Result<()> {
        let record = self.seal(kind, content, padding);
        socket.write_all(&record)
    }

    fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        self.seal_inner(&[content, &[kind], &vec![0; padding]].concat())
    }

    /// Encrypts a whole TLSInnerPlaintext.
    fn seal_inner(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut nonce: [u8; 12] = self.iv.as_slice().try_into().expect("12 bytes");
        for (byte, sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= sequence;
        }
        self.sequence += 1;
        let header = record_header(APPLICATION_DATA, inner.len() + 16);
        let mut body = inner.to_vec();
        self.key
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(header),
                &mut body,
            )
            .expect("a short record");
        [&header[..], &body].concat()
    }
}

fn record_header(kind: u8, length: usize) -> [u8; 5] {
    let [high, low] = u16::try_from(length).expect("a short record").to_be_bytes();
    [kind, 3, 3, high, low]
}

fn send_record(socket: &mut TcpStream, kind: u8, body: &[u8]) -> io::Result<()> {
    socket.write_all(&[&record_header(kind, body.len())[..], body].concat())
}

fn read_record(socket: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    socket.read_exact(&mut header)?;
    let mut body = vec![0; u16::from_be_bytes([header[3], header[4]]).into()];
    socket.read_exact(&mut body)?;
    Ok((header[0], body))
}

// --- Identity ---

/// A root, and a P-256 certificate for `localhost` and 127.0.0.1 under it.
struct Identity {
    ca_der: Vec<u8>,
    certificate: Vec<u8>,
    key: KeyPair,
    /// The same with an RSA key.
    rsa_certificate: Vec<u8>,
}

/// `openssl genrsa 2048`, as `README.md` in s3ota-tls' `tests/data` says.
const RSA_KEY: &[u8] = include_bytes!("../rsa-2048.key.der");

impl Identity {
    fn new() -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name
            .push(DnType::CommonName, "Rogue Server Root");
        let ca_der = ca
            .self_signed(&ca_key)
            .expect("a certificate")
            .der()
            .to_vec();

        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let own = CertificateParams::new(names).expect("names");
        let issuer = Issuer::new(ca, ca_key);
        let certificate = own.signed_by(&key, &issuer).expect("a certificate");
        let rsa_key = KeyPair::from_pkcs8_der_and_sign_algo(&RSA_KEY.into(), &PKCS_RSA_SHA256);
        let rsa_certificate = own
            .signed_by(&rsa_key.expect("a key"), &issuer)
            .expect("a certificate");
        Self {
            ca_der,
            certificate: certificate.der().to_vec(),
            key,
            rsa_certificate: rsa_certificate.der().to_vec(),
        }
    }

    fn certificate_verify(&self, what: Misbehaviour, transcript: &Transcript) -> Vec<u8> {
        use Misbehaviour as M;

        let other_key = KeyPair::generate().expect("a key");
        let key = match what {
            M::OtherKey => &other_key,
            _ => &self.key,
        };
        let side = match what {
            M::ClientContext => "client",
            _ => "server",
        };
        let scheme = match what {
            M::SignatureScheme(scheme) | M::RsaKey(scheme) => scheme,
            _ => ECDSA_SECP256R1_SHA256,
        };
        let transcript = match what {
            M::ReplayedProof => hash(b"another handshake"),
            _ => transcript.hash(),
        };
        let mut content = vec![b' '; 64];
        content.extend(format!("TLS 1.3, {side} CertificateVerify\0").bytes());
        if what == M::BareProof {
            content.clear();
        }
        content.extend(transcript);
        let mut signature = match what {
            M::RsaKey(scheme) => sign_with_rsa(scheme, &content),
            M::EmptyProof => Vec::new(),
            _ => sign_with_ecdsa(key, &content),
        };
        if what == M::FlippedProof {
            // In the middle, where the DER stays as it is.
            signature[20] ^= 1;
        }
        let length = signature.len() as u16;
        let body = [&scheme.to_be_bytes(), &length.to_be_bytes(), &signature[..]].concat();
        message(CERTIFICATE_VERIFY, &body)
    }
}

fn sign_with_ecdsa(key: &KeyPair, content: &[u8]) -> Vec<u8> {
    let random = rand::SystemRandom::new();
    signature::EcdsaKeyPair::from_pkcs8(
        &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        key.serialized_der(),
        &random,
    )
    .expect("a P-256 key")
    .sign(&random, content)
    .expect("a signature")
    .as_ref()
    .to_vec()
}

fn sign_with_rsa(scheme: u16, content: &[u8]) -> Vec<u8> {
    let key = signature::RsaKeyPair::from_pkcs8(RSA_KEY).expect("an RSA key");
    let padding: &dyn signature::RsaEncoding = match scheme {
        0x0401 => &signature::RSA_PKCS1_SHA256,
        0x0805 => &signature::RSA_PSS_SHA384,
        0x0806 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PSS_SHA256,
    };
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &rand::SystemRandom::new(), content, &mut signature)
        .expect("a signature");
    signature
}

// --- Noise ---

/// SplitMix64: the same noise for the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Changes one to three bytes, and cuts the message one time in four.
    fn disturb(&mut self, message: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            // Half of the changes hit the start, where the structure is.
            let reach = [message.len(), message.len().min(16)][self.below(2)];
            let at = self.below(reach);
            message[at] = self.next() as u8;
        }
        if self.below(4) == 0 {
            message.truncate(1 + self.below(message.len()));
        }
    }
}
