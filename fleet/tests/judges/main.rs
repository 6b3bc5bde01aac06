//! What other tools say: a browser of the page, and other engines of the answers.

#[cfg(feature = "engine")]
#[path = "../common/mod.rs"]
mod common;
#[path = "../samples/mod.rs"]
mod samples;

#[cfg(feature = "athena")]
mod athena;
mod browser;
#[cfg(feature = "engine")]
mod dialects;
#[cfg(feature = "engine")]
mod duck;
