//! The gateway to a private bucket: it serves devices the manifests, each with a fresh URL of its image.
//!
//! `answer.rs` is the only handler. `local.rs` puts it behind a listener, `lambda.rs` behind the URL of an AWS Lambda function.

mod answer;
pub mod lambda;
pub mod local;

pub use self::answer::{Gateway, Tokens};
