//! Virtual devices, and what they meet: servers, gateways, flash.

#[path = "../support/bucket.rs"]
mod bucket;
#[path = "../support/http_proxy.rs"]
mod http_proxy;

mod delta;
mod demo;
mod device;
mod doctor;
mod gateway;
mod inspect;
mod networks;
mod new;
mod serve;
mod simulate;
mod verify;
