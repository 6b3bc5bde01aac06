//! Virtual devices, and what they meet: servers, gateways, flash.

#[path = "../support/bucket.rs"]
mod bucket;
#[path = "../../../s3ota-tls/tests/rogue_server/mod.rs"]
mod rogue_server;
#[path = "../../../s3ota-sim/tests/support/mod.rs"]
mod support;

mod demo;
mod device;
mod doctor;
mod gateway;
mod inspect;
mod new;
mod serve;
mod verify;
