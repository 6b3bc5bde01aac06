//! A strict TLS 1.3 client for microcontrollers, with the Amazon roots built in.
//!
//! [`connect`] takes any `embedded-io-async` transport and returns a [`TlsStream`] only once the server has proven who
//! it is: a certificate chain to one of the [`Roots`], for this host, for servers, valid at this [`CertTime`], and a
//! signature over this very handshake. `no_std`; the memory is one [`Buffers`].
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use s3ota_tls::rand_core::{CryptoRng, RngCore};
//! use s3ota_tls::{Buffers, CertTime, Roots, TlsError, connect};
//!
//! /// Asks for a page over a connected socket, and reads the start of the answer.
//! async fn ask<IO: Read + Write>(
//!     socket: IO,
//!     rng: &mut (impl CryptoRng + RngCore),
//!     buffers: &mut Buffers,
//!     answer: &mut [u8],
//! ) -> Result<usize, TlsError> {
//!     let host = "my-bucket.s3.eu-central-1.amazonaws.com";
//!     let roots = Roots::amazon();
//!     // No clock yet: it is at least the day this firmware was built.
//!     let time = CertTime::AtLeast(1_780_000_000);
//!
//!     let mut stream = connect(socket, host, &roots, time, rng, buffers).await?;
//!     stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//!     stream.flush().await?;
//!     stream.read(answer).await
//! }
//! ```
//!
//! # What it is made of
//!
//! | part | by |
//! |---|---|
//! | handshake, key schedule, records | [embedded-tls] 0.19, without its verifier |
//! | certificate paths | [rustls-webpki] 0.103 |
//! | AES-128-GCM, P-256, P-384, SHA-2, arithmetic of RSA | RustCrypto |
//! | the paddings of RSA, and the DER of RSA keys and ECDSA signatures | `rsa.rs`, `der.rs` |
//! | the order of proof, the limits, the dates | `verifier.rs` |
//! | the order of messages | `transcript.rs`, from inside the hash |
//! | which records may reach embedded-tls | `record_filter.rs`, from outside the encryption |
//! | which contents may reach embedded-tls | `protection.rs`, from inside the encryption |
//!
//! [embedded-tls]: https://docs.rs/embedded-tls/0.19.0
//! [rustls-webpki]: https://docs.rs/rustls-webpki/0.103
//!
//! embedded-tls is pinned to one exact version: the last two parts, and the meaning of its errors, rest on its source.
//!
//! # What it needs
//!
//! - **RAM**: 17,668 bytes of [`Buffers`], and some 14 KB of stack during the handshake. Nothing is allocated.
//! - **Random numbers** from hardware: the secrecy of the connection rests on them.
//! - **Time**, or at least a floor for it: see [`CertTime`].
//! - **A deadline around every call**: neither a handshake nor a read ends by itself while the server drips bytes.
//!   A call that is dropped at its deadline ends the connection.
//!
//! # Features
//!
//! - `rsa` (default): servers and authorities with RSA keys, 2048 to 4096 bits. S3's chains are RSA.
//! - `p384`: keys on P-384, for about 126 KB more flash on an ESP32-C3. Amazon Root CA 4 needs it, S3 does not.
//! - `defmt`: the errors implement `defmt::Format`.
//!
//! # Attacks, and why they fail
//!
//! These in short. `MATRIX.md`, beside this crate's `Cargo.toml`, has every case with its verdict and its test: 114
//! certificate chains, 153 misbehaving servers, 28 sets of vectors.
//!
//! | attack | answer |
//! |---|---|
//! | no certificate, an empty list, no proof of the key | [`connect`] returns only after both were verified |
//! | proof from another handshake, by another key, in the client's name | the signature covers this handshake's transcript |
//! | a certificate issued with another server's certificate | only authorities may issue |
//! | the right common name, a wrong subject alternative name | the common name never counts |
//! | an expired certificate, where the device has no clock | the firmware's build time is a floor |
//! | a close_notify or handshake message injected in the clear | refused: after the handshake nothing in the clear passes |
//! | cutting the connection to shorten a file | [`TlsError::Truncated`], never a quiet end |
//! | a chain that takes minutes to check | at most 5 intermediates and 16 signatures |
//! | a handshake without end, oversized records | 64 KiB, and the protocol's limits |
//! | messages that make the TLS stack panic | they do not reach it; 100,000 mutated handshakes have tried |
//!
//! # Known limits
//!
//! - TLS 1.3 with AES-128-GCM and a P-256 key exchange, nothing else. There is no revocation check.
//! - A handshake message that is split over records is refused, as [`HandshakeError::Split`]: embedded-tls cannot join
//!   it, and outside there is neither the key nor, on a small chip, the memory. Servers split a Certificate message that
//!   is longer than their records: above 16 KB, and with s2n, which AWS uses, above 8,087 bytes. Four certificates with
//!   RSA keys are some 5 KB.
//! - KeyUpdate and post-handshake client authentication end the connection: connect again.
//! - The ClientHello always offers ECDSA on P-384 and Ed25519, and with `rsa` RSA PKCS #1 v1.5: embedded-tls's list
//!   cannot be changed from outside. A server that chooses one of those that cannot be verified, or must not be, is
//!   refused. Only servers with several certificates have a choice.
//! - A server that asks for a client certificate gets none, and is refused if its request names more than 25 signature
//!   schemes or one that embedded-tls does not know.
//! - An alert that the server sends inside the encryption ends the connection, but its reason is lost in embedded-tls.
//! - The server is not told why it was refused; it sees the connection end.
//! - There is no known input that makes the client panic.

#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

mod alert;
mod algorithms;
mod connection;
mod der;
mod error;
mod protection;
mod record_filter;
mod roots;
#[cfg(feature = "rsa")]
mod rsa;
mod server_hello;
mod server_name;
mod transcript;
mod verifier;

pub use alert::Alert;
pub use connection::{Buffers, TlsStream, connect};
pub use error::{CertificateError, HandshakeError, RecordError, TlsError};
/// rand_core 0.6: the traits of the random number generator that [`connect`] takes.
pub use rand_core;
pub use roots::{RootError, Roots};
pub use verifier::CertTime;

#[cfg(test)]
mod wycheproof_tests;
