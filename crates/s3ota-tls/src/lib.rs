// `docs/upstream/` has the issues that would make most of the guard around embedded-tls unnecessary. Comments
// `UPSTREAM(embedded-tls)` mark the code that goes then.
#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate std;

mod alert;
mod algorithms;
mod built_with;
mod connection;
mod der;
mod error;
#[cfg(feature = "known-answers")]
#[doc(hidden)]
pub mod known_answers;
#[cfg(feature = "rsa")]
mod power;
mod protection;
mod record_filter;
mod roots;
#[cfg(feature = "rsa")]
mod rsa;
mod search;
mod server_hello;
mod server_name;
mod transcript;
mod verifier;

pub use alert::Alert;
pub use built_with::BuiltWith;
pub use connection::{Buffers, TlsStream, connect, connect_in};
pub use error::{CertificateError, HandshakeError, RecordError, TlsError};
/// rand_core 0.6: the traits of the random number generator that [`connect`] takes.
pub use rand_core;
pub use roots::{RootError, Roots};
pub use verifier::{CLAIM, CertTime};

#[cfg(test)]
mod wycheproof_tests;
