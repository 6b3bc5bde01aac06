//! Access logs, wherever they lie and whoever wrote them: sightings come out.
//!
//! | file | which logs |
//! |---|---|
//! | `s3.rs` | Amazon S3 server access logs |
//! | `cloudfront.rs` | CloudFront standard logs: text, JSON, Parquet |
//! | `events.rs` | what `s3ota gateway --json` and `s3ota serve --json` print |
//! | `files.rs` | files and folders |
//! | `bucket.rs` | an S3 bucket |
//!
//! What a file holds is told by its first bytes, never by its name.

pub mod bucket;
pub mod cloudfront;
pub mod events;
pub mod files;
pub mod s3;
pub mod text;
pub mod time;
