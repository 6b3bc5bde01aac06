//! The s3ota device library behind a C API.
//!
//! `include/s3ota.h` is the API and its documentation, README.md the way in. What is here makes it of the library:
//!
//! | file | what happens there |
//! |---|---|
//! | `calls.rs` | the functions of the header |
//! | `types.rs`, `codes.rs` | its structs and constants |
//! | `state.rs` | what lies in the caller's memory, and who may use it |
//! | `config.rs` | the configuration, read once |
//! | `operations.rs` | what a call sets going, as futures |
//! | `turns.rs` | how these are driven: budgets, waits, sleep |
//! | `shared.rs` | what driver, port and hooks share |
//! | `flash.rs`, `network.rs`, `time.rs` | the port, behind the library's traits |
//! | `source.rs` | an image that the application has |
//! | `hooks.rs`, `logs.rs` | the application's functions |
//! | `memory.rs` | what is read from C's memory |
//! | `pem.rs` | PEM to DER |
//!
//! This is the only crate of the project with unsafe code. What is unsafe is C: its pointers, and calls of its functions.

#![no_std]
#![allow(async_fn_in_trait)]

#[cfg(test)]
extern crate std;

mod calls;
mod codes;
mod config;
mod flash;
mod hooks;
mod logs;
mod memory;
mod network;
mod operations;
mod panic;
mod pem;
mod shared;
mod source;
mod state;
mod time;
mod turns;
mod types;
