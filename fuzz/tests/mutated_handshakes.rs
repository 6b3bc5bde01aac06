//! Mutated handshakes: whatever a server sends, nothing panics, and the client believes nobody who has not shown the
//! certificate, proven its key and finished the handshake, each with the right bytes.
//!
//! Server, mutations and promises are those of the target `tls`. A hundred thousand, in a few minutes:
//!
//! ```text
//! cargo test --release --manifest-path fuzz/Cargo.toml --test mutated_handshakes -- --ignored --nocapture
//! ```
//!
//! `S3OTA_SEED=n` in the environment makes others.

use std::panic::catch_unwind;

use s3ota_fuzz::mutate::{Random, mutate};
use s3ota_fuzz::tls;

/// Longer handshakes find nothing that shorter ones do not.
const LONGEST: usize = 16 * 1024;

/// Mutates that many handshakes, each from a seed of its own, and counts the connections that came about.
fn try_mutations(count: u64) -> u64 {
    let seed = std::env::var("S3OTA_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("{count} mutated handshakes from seed {seed}");
    let seeds = tls::seeds();
    let mut connected = 0;
    for number in 0..count {
        let mut random = Random::new(seed ^ number << 32);
        let mut input = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        mutate(&mut input, other, tls::TOKENS, LONGEST, &mut random);
        match catch_unwind(|| tls::connects(&input)) {
            Ok(is_connected) => connected += u64::from(is_connected),
            Err(_) => panic!("mutation {number} of seed {seed} broke a promise: {input:02x?}"),
        }
    }
    println!("{connected} of them left intact what matters, and connected");
    connected
}

/// Some mutations hit what does not matter, or come behind the handshake: those must connect, or nothing was tried.
fn is_balanced(connected: u64, count: u64) -> bool {
    (count / 50..count / 2).contains(&connected)
}

#[test]
fn two_thousand_mutated_handshakes() {
    assert!(is_balanced(try_mutations(2_000), 2_000));
}

#[test]
#[ignore = "takes a few minutes"]
fn a_hundred_thousand_mutated_handshakes() {
    assert!(is_balanced(try_mutations(100_000), 100_000));
}
