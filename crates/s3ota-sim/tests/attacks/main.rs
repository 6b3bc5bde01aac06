//! The attacks of TUF and Uptane, and more of the kind, tried on a device.
//!
//! Each test is named after what it tries, and is a line of the table in SECURITY.md. On one side is the library that runs
//! on the chip; on the other an HTTPS server whose certificate is in order: whoever attacks owns the bucket, or a mirror of
//! it, and can put there whatever he likes. What he has not is the owner's key.
//!
//! `cargo xtask mutations` shows that every one of them fails once the defence it tries is gone.

#[path = "../support/bucket.rs"]
mod bucket;
mod documents;
mod field;
mod images;
mod keys;
mod memory;
#[path = "../support/network.rs"]
mod network;

mod servers;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod versions;
mod wear;
