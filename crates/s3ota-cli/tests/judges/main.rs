//! Other people's programs judge ours: S3 servers, `aws`, openssl, espflash, esptool, a browser.

#[path = "../support/bucket.rs"]
mod bucket;
#[path = "../support/keys.rs"]
mod keys_bench;
#[path = "../support/servers.rs"]
mod servers;

mod installer;
mod keys;
mod openssl_commands;
mod other_tools;
mod stores;
mod terminal;
