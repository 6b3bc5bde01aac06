//! Virtual devices, and what they meet: servers, gateways, flash.

#[path = "../support/bucket.rs"]
mod bucket;

mod demo;
mod device;
mod doctor;
mod gateway;
mod inspect;
mod serve;
mod verify;
