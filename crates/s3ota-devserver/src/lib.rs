#![doc = include_str!("../README.md")]

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
