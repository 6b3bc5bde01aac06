//! Fuzz targets for everything in s3ota that parses foreign data: a server's responses, or a flash after a power cut.
//!
//! A target is a plain function of an input. It panics if a promise is broken; that the code does not panic is only the first
//! of them. The same functions run in two ways: in-process with blind mutations (`src/bin/smoke.rs`), and under libFuzzer,
//! guided by coverage (`fuzz_targets/`).
//!
//! | target | input | what must hold, besides no panic |
//! |---|---|---|
//! | [`manifest`] | a document; the same text as URL, version, timestamp, rollout | serde_json reads the same; what is written is read back the same |
//! | [`image`] | an app image, in pieces | pieces change nothing; a second parser accepts what is accepted |
//! | [`partition`] | a partition table, binary or CSV | nothing overlaps; both forms can be written and read back; it is found in a flash |
//! | [`otadata`] | both sectors of otadata, and what happens to the device | it boots, never writes elsewhere, and every trial ends |
//! | [`journal`] | the last sector of the slot | what boots after an update is the image, byte for byte |
//! | [`http`] | a response, in pieces | no byte of the body too many or too few, by a second parser |
//! | [`delta`] | a delta or a compressed image | no more bytes than it promises, in a bounded number of steps |
//! | [`encode`] | two images, as changes of a third | what is encoded is decoded to the byte |
//! | [`user_agent`] | a `User-Agent` of a log; the same text as values to write | one line that a log can keep; what is written is read back the same |
//! | [`tls`] | what a TLS server does | no data and no end that are not authenticated as the server's |
//!
//! A mutation nearly always breaks a checksum, and what comes after the check would never be tested. So if a format has
//! checksums, the input's first byte says which of them the target corrects.

pub mod bench;
pub mod delta;
pub mod encode;
pub mod http;
pub mod image;
pub mod input;
pub mod journal;
pub mod manifest;
pub mod mutate;
pub mod otadata;
pub mod partition;
pub mod tls;
pub mod user_agent;
pub mod wire;

/// A target with its seeds.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Inputs made from real files and recorded answers.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Tokens of such inputs.
    pub tokens: &'static [&'static [u8]],
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target {
        name: "delta",
        run: delta::target,
        seeds: delta::seeds,
        tokens: delta::TOKENS,
    },
    Target {
        name: "encode",
        run: encode::target,
        seeds: encode::seeds,
        tokens: encode::TOKENS,
    },
    Target {
        name: "manifest",
        run: manifest::target,
        seeds: manifest::seeds,
        tokens: manifest::TOKENS,
    },
    Target {
        name: "image",
        run: image::target,
        seeds: image::seeds,
        tokens: image::TOKENS,
    },
    Target {
        name: "partition",
        run: partition::target,
        seeds: partition::seeds,
        tokens: partition::TOKENS,
    },
    Target {
        name: "otadata",
        run: otadata::target,
        seeds: otadata::seeds,
        tokens: otadata::TOKENS,
    },
    Target {
        name: "journal",
        run: journal::target,
        seeds: journal::seeds,
        tokens: journal::TOKENS,
    },
    Target {
        name: "http",
        run: http::target,
        seeds: http::seeds,
        tokens: http::TOKENS,
    },
    Target {
        name: "user_agent",
        run: user_agent::target,
        seeds: user_agent::seeds,
        tokens: user_agent::TOKENS,
    },
    Target {
        name: "tls",
        run: tls::target,
        seeds: tls::seeds,
        tokens: tls::TOKENS,
    },
];
