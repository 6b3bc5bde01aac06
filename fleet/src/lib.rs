//! The fleet view: who runs what, how the rollout goes, who is stuck, who went back, from nothing but the access logs of the bucket.
//!
//! A device says in its User-Agent what it runs and how its last update ended, and the store writes that into its access log.
//!
//! | module | what it does |
//! |---|---|
//! | `sources` | reads logs: where they lie, and in which format |
//! | `sightings` | reduces what was seen to what the answers need |
//! | `cache` | keeps that, so that the next run reads only what is new |
//! | `questions` | the questions in SQL, and the engine that answers them |
//! | `athena` | asks Amazon Athena instead, which reads the logs where they lie |
//! | `ask` | puts the answers together |
//! | `answers` | the answers |
//! | `view` | all of that, from logs to someone who can be asked |
//! | `table`, `page`, `export` | the answers for people, in a terminal or a browser, and for other tools |
//! | `figures` | how numbers are written, and the order of versions |
//! | `schema` | the questions for engines that read the logs themselves |

#[cfg(feature = "engine")]
pub mod ask;
#[cfg(feature = "athena")]
pub mod athena;
#[cfg(feature = "engine")]
pub mod cache;
pub mod error;
#[cfg(feature = "engine")]
pub mod export;
pub mod figures;
pub mod page;
#[cfg(feature = "engine")]
pub mod progress;
#[cfg(feature = "engine")]
pub mod questions;
#[cfg(feature = "engine")]
pub mod schema;
#[cfg(feature = "engine")]
pub mod sightings;
#[cfg(feature = "engine")]
pub mod sources;
pub mod table;
pub mod terminal;
#[cfg(feature = "engine")]
pub mod view;

pub use s3ota_answers as answers;
