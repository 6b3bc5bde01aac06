//! What the development server promises, checked with the clients people use: the AWS SDK, plain HTTP over TLS, and the TLS
//! client of the devices. `judges.rs` has the `aws` command.

mod client;
mod durability;
mod plain_http;
mod public_access;
mod sdk;
mod signatures;
mod tls;
