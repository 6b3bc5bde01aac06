//! The tasks of this repository: `cargo xtask <task>`.
//!
//! | task | file | what it does |
//! |---|---|---|
//! | `api` | `api.rs` | records the public API of the libraries, in `crates/*/api.txt` |
//! | `c-api` | `c_api.rs` | builds the library for C, and lays out the packages for ESP-IDF and Arduino |
//! | `chips` | `chips.rs` | builds the firmware for the RISC-V chips, and type-checks it for the Xtensa chips |
//! | `idf` | `idf.rs` | runs the component for ESP-IDF under the real boot chain, in an emulator, where ESP-IDF is installed |
//! | `mutations` | `mutations.rs` | removes the defences against attacks one by one, and checks that tests notice |
//! | `packages` | `packages.rs` | checks that what goes to crates.io is complete |
//! | `qemu` | `qemu.rs` | runs the firmware under the real boot chain, in an emulator, through updates, failures and power cuts |
//! | `reproduce` | `reproduce.rs` | builds the firmware in two places, and checks that it is the same, byte for byte |
//! | `sizes` | `sizes.rs` | measures the firmwares and writes `firmware/SIZES.md` |
//!
//! `stack.rs` counts a firmware's stack for `sizes`. `paths.rs` knows where things are, `toolchain.rs` how firmware is compiled, and `alone.rs` builds the example in a workspace
//! of its own.

mod alone;
mod api;
mod c_api;
mod chips;
mod idf;
mod mutations;
mod packages;
mod paths;
mod qemu;
mod reproduce;
mod sizes;
mod stack;
mod toolchain;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Api(api::Args),
    CApi(c_api::Args),
    Chips(chips::Args),
    Idf(idf::Args),
    Mutations(mutations::Args),
    Packages(packages::Args),
    Qemu(qemu::Args),
    Reproduce(reproduce::Args),
    Sizes(sizes::Args),
    /// Connect stdin and stdout to a TCP connection: the emulator starts this for each connection of its guest
    #[command(hide = true)]
    Relay {
        to: SocketAddr,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Api(args) => api::run(&args),
        Task::CApi(args) => c_api::run(&args),
        Task::Chips(args) => chips::run(&args),
        Task::Idf(args) => idf::run(&args),
        Task::Mutations(args) => mutations::run(&args),
        Task::Packages(args) => packages::run(&args),
        Task::Qemu(args) => qemu::run(&args),
        Task::Reproduce(args) => reproduce::run(&args),
        Task::Sizes(args) => sizes::run(&args),
        // The emulator connects this program's stderr to the guest, too: print nothing.
        Task::Relay { to } => return qemu::relay(to),
    };
    match done {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, as a sentence for people.
type Result<T, E = String> = std::result::Result<T, E>;
