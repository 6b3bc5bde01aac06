//! The attacks of TUF and Uptane, and more of the kind, tried on a device.
//!
//! Each test is named after its attack, and is a row of the table in docs/security.md. On one side is the library that runs on
//! the chip; on the other an HTTPS server with a valid certificate. The attacker owns the bucket, or a mirror of it, and can put
//! anything there. They do not have the owner's key.
//!
//! `cargo xtask mutations` shows that each test fails once the defence it attacks is gone.

mod bricks;
mod documents;
mod field;
mod images;
mod keys;
mod memory;
mod servers;
mod time;
mod versions;
mod wear;
