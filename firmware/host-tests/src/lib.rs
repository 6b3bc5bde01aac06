//! Runs, on the desk, the tests of those parts of s3ota-esp that need no chip.
//!
//! s3ota-esp itself builds for Espressif's chips only, as esp-hal does; here its files are compiled once more.

#[cfg(test)]
#[path = "../../s3ota-esp/src/credentials.rs"]
mod credentials;
#[cfg(test)]
#[path = "../../s3ota-esp/src/doubt.rs"]
mod doubt;
#[cfg(test)]
#[path = "../../s3ota-esp/src/improv/packet.rs"]
mod packet;
#[cfg(test)]
#[path = "../../s3ota-esp/src/improv/provisioning.rs"]
mod provisioning;
#[cfg(test)]
#[path = "../../s3ota-esp/src/reset.rs"]
mod reset;
#[cfg(test)]
#[path = "../../s3ota-esp/src/sntp/message.rs"]
mod sntp_message;
