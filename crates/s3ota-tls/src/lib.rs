//! A strict TLS 1.3 client for microcontrollers, with the Amazon roots built in.
//!
//! [`connect`] takes any `embedded-io-async` transport. It returns a [`TlsStream`] only once the server has proven its
//! identity: with a certificate chain to one of the [`Roots`], for this host, for servers, valid at this [`CertTime`], and
//! with a signature of this handshake. The crate is `no_std`; its memory is one [`Buffers`].
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use s3ota_tls::rand_core::{CryptoRng, RngCore};
//! use s3ota_tls::{Buffers, CertTime, Roots, TlsError, connect};
//!
//! /// Requests a page over a connected socket, and reads the start of the response.
//! async fn ask<IO: Read + Write>(
//!     socket: IO,
//!     rng: &mut (impl CryptoRng + RngCore),
//!     buffers: &mut Buffers,
//!     answer: &mut [u8],
//! ) -> Result<usize, TlsError> {
//!     let host = "my-bucket.s3.eu-central-1.amazonaws.com";
//!     let roots = Roots::amazon();
//!     // No clock yet: it is not earlier than the day this firmware was built.
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
//! | RSA padding, and the DER of RSA keys and ECDSA signatures | `rsa.rs`, `der.rs` |
//! | the server's identity: order, limits, dates | `verifier.rs` |
//! | the order of messages | `transcript.rs`, from inside the hash |
//! | which records reach embedded-tls | `record_filter.rs`, from outside the encryption |
//! | which contents reach embedded-tls | `protection.rs`, from inside the encryption |
//!
//! [embedded-tls]: https://docs.rs/embedded-tls/0.19.0
//! [rustls-webpki]: https://docs.rs/rustls-webpki/0.103
//!
//! embedded-tls is pinned to one exact version: the last two parts, and the meaning of its errors, depend on its source.
//! `docs/upstream/` in the repository has the issues that would make them unnecessary, and the comments
//! `UPSTREAM(embedded-tls)` mark the code.
//!
//! # What it needs
//!
//! - **RAM**: 17,668 bytes of [`Buffers`], and some 14 KB of stack during the handshake. Nothing is allocated.
//! - **Random numbers** from hardware: the connection's secrecy depends on them.
//! - **The time**, or at least a lower bound: see [`CertTime`].
//! - **A timeout around every call**: neither a handshake nor a read ends by itself while the server trickles bytes.
//!   A call that is dropped at its timeout ends the connection.
//!
//! # Features
//!
//! - `rsa` (default): servers and authorities with RSA keys, 2048 to 4096 bits. S3's chains are RSA.
//! - `p384`: keys on P-384, for about 126 KB more flash on an ESP32-C3. Amazon Root CA 4 needs it, S3 does not.
//! - `defmt`: the errors implement `defmt::Format`.
//!
//! # Attacks, and why they fail
//!
//! In short. `MATRIX.md`, beside this crate's `Cargo.toml`, has every case with its verdict and its test: 114
//! certificate chains, 153 misbehaving servers, 28 sets of vectors.
//!
//! | attack | defence |
//! |---|---|
//! | no certificate, an empty list, no proof of the key | [`connect`] returns only after both have been verified |
//! | a proof from another handshake, by another key, in the client's name | the signature covers this handshake's transcript |
//! | a certificate issued with another server's certificate | only authorities may issue |
//! | the right common name, a wrong subject alternative name | the common name never counts |
//! | an expired certificate, if the device has no clock | the firmware's build time is a lower bound |
//! | an injected unencrypted close_notify or handshake message | refused: after the handshake no unencrypted record passes |
//! | cutting the connection to shorten a file | [`TlsError::Truncated`], never a silent end |
//! | a chain that takes minutes to check | at most 5 intermediates and 16 signatures |
//! | an endless handshake, oversized records | at most 64 KiB, and the protocol's limits |
//! | messages that make the TLS stack panic | they do not reach it; 100,000 mutated handshakes have tried |
//!
//! # Known limits
//!
//! - TLS 1.3 with AES-128-GCM and a P-256 key exchange, nothing else. There is no revocation check.
//! - A handshake message that is split over records is refused, as [`HandshakeError::Split`]: embedded-tls cannot join
//!   it, and code outside of it has neither the keys nor, on a small chip, the memory. Servers split a Certificate message
//!   that is longer than their records: above 16 KB, and with s2n, which AWS uses, above 8,087 bytes. Four certificates
//!   with RSA keys are some 5 KB.
//! - KeyUpdate and post-handshake client authentication end the connection: connect again.
//! - The ClientHello always offers ECDSA on P-384 and Ed25519, and with `rsa` also RSA PKCS #1 v1.5: embedded-tls's list
//!   cannot be changed from outside. A server that chooses a scheme that cannot be verified, or must not be, is refused.
//!   Only servers with several certificates have a choice.
//! - A server that requests a client certificate gets none. It is refused if its request lists more than 25 signature
//!   schemes, or one that embedded-tls does not know.
//! - An encrypted alert ends the connection, but embedded-tls drops its description.
//! - The server is not told why it was refused; it sees the connection end.
//!
//! No input is known that makes the client panic.

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
