//! An S3 server over HTTPS for development and tests.
//!
//! It keeps buckets in a directory and implements enough of S3 for the AWS SDKs and the `aws` command. Its certificate
//! comes from a certificate authority of its own. So you can test a device against "S3" offline, with the same TLS checks
//! as in the field.
//!
//! ```
//! use s3ota_devserver::{DevServer, Options};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let server = DevServer::start(Options { listen: ([127, 0, 0, 1], 0).into(), ..Options::default() }).await?;
//! println!("aws --endpoint-url {} s3 mb s3://firmware", server.endpoint_url());
//! println!("with AWS_CA_BUNDLE={}", server.ca_path().display());
//! server.stop().await;
//! # Ok::<(), s3ota_devserver::DevServerError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it does
//!
//! | | |
//! |---|---|
//! | Buckets | create, head, list, delete, location, policy (put, get, delete, status), public access block |
//! | Objects | put, get, head, copy, delete one or many, list (v1, v2: prefix, delimiter, pages) |
//! | Multipart uploads | create, list, upload and copy parts, list parts, complete, abort |
//! | Conditions | `If-Match`, `If-None-Match`, `If-(Un)Modified-Since`, `If-Range`; on writes `If-None-Match: *`, `If-Match` |
//! | Ranges | one range; `206`, `416`; an invalid range is ignored, as on S3 |
//! | Signatures | SigV4 in the header or the query (pre-signed, and expiring), chunked and trailing checksums; SigV2, which `aws s3 presign` uses for endpoints other than Amazon's |
//! | Addresses | `https://localhost:9443/bucket/key` and `https://bucket.s3.localhost:9443/key` |
//! | Anonymous reads | everything ([`Access::PublicRead`]), or what a bucket policy allows ([`Access::Policy`]) |
//!
//! # What it does not do
//!
//! - ACLs, versions, tags, encryption, lifecycle and replication are `501 NotImplemented`, or ignored if they come with an
//!   upload.
//! - Policies with `Condition`, `NotAction`, `NotPrincipal` or `NotResource` are refused rather than misread.
//! - Anonymous writes are refused, whatever a policy says.
//! - The region in a signature is not checked, so any `AWS_REGION` works.
//! - Unfinished multipart uploads end with the server.
//! - Do not keep data in it that you cannot lose: files are replaced atomically, but not flushed to disk.

mod access;
mod authority;
mod body;
mod condition;
mod error;
mod host;
mod listing;
mod observe;
mod operations;
mod options;
mod policy;
mod receive;
mod server;
mod store;
mod upload;

pub use error::DevServerError;
pub use observe::RequestRecord;
pub use options::{Access, Options};
pub use server::DevServer;
