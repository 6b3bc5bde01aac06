//! Fuzz targets for everything in s3ota that reads what others wrote: a server's answers, or a flash after a power cut.
//!
//! A target is a plain function of an input. It panics where a promise is broken; that nothing panics is only the first
//! of them. The same functions run in two ways: in-process with blind mutations (`src/bin/smoke.rs`), and under
//! libFuzzer, led by coverage (`fuzz_targets/`).
//!
//! | target | what is fed | what must hold, beside no panic |
//! |---|---|---|
//! | [`manifest`] | a document; the same text as URL, version, timestamp, rollout | serde_json reads the same; what is written reads the same |
//! | [`image`] | an app image, in pieces | pieces change nothing; what is accepted is an image by a second reading |
//! | [`partition`] | a partition table, binary or CSV | nothing overlaps; both forms can be written and read again |
//! | [`otadata`] | both sectors of otadata, and what is done with the device | it boots, never writes elsewhere, and every trial ends |
//! | [`journal`] | the last sector of the slot | what boots after an update is the image, byte for byte |
//! | [`http`] | a response, in pieces | no byte of the body too many or too few, by a second reading |
//! | [`tls`] | what a TLS server does | no data and no end that were not proven to be the server's |
//!
//! A mutation nearly always breaks a checksum, and nothing behind it would ever be tried. So where a format has one, the
//! input's first byte says which of them the target makes right again.

pub mod bench;
pub mod http;
pub mod image;
pub mod input;
pub mod journal;
pub mod manifest;
pub mod mutate;
pub mod otadata;
pub mod partition;
pub mod tls;
pub mod wire;

/// A target, and what to begin with.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Inputs made from real files and recorded answers.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What stands in such inputs.
    pub tokens: &'static [&'static [u8]],
}

/// All targets.
pub const TARGETS: [Target; 7] = [
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
        name: "tls",
        run: tls::target,
        seeds: tls::seeds,
        tokens: tls::TOKENS,
    },
];
