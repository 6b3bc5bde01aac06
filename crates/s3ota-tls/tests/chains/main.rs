//! Which certificate chains are taken, with rustls as the server. `judges.rs` tries them with OpenSSL's.

#[path = "../support/mod.rs"]
mod support;

/// One line a promise: the name, the chain, how the connection ends.
macro_rules! chains {
    ($($(#[$attribute:meta])* $name:ident: $chain:expr => $verdict:expr;)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $name() {
                assert_eq!(crate::support::chain::rustls(&$chain), $verdict);
            }
        )*
    };
}

mod cases;

use cases::{keys, plan, refused};
use s3ota_tls::CertificateError as C;
use support::chain::KeyKind as K;

// What OpenSSL's tools do not read or send.
chains! {
    an_ed25519_server: keys(K::Ed25519, K::Ed25519, K::Ed25519) => refused(C::UnsupportedAlgorithm);
    bytes_behind_the_certificate: plan(|_| {}).append(0) => refused(C::Malformed);
    bytes_behind_an_authority: plan(|_| {}).append(1) => refused(C::Malformed);
}
