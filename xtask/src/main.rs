//! The tasks of this repository: `cargo xtask <task>`.
//!
//! | task | file | what it does |
//! |---|---|---|
//! | `api` | `api.rs` | writes down what the libraries promise, in `crates/*/api.txt` |
//! | `chips` | `chips.rs` | builds the firmware for the RISC-V chips, and type-checks it for the Xtensa chips |
//! | `mutations` | `mutations.rs` | takes the defences against attacks away one by one, and sees that tests notice |
//! | `packages` | `packages.rs` | sees that what crates.io will be given is complete |
//! | `qemu` | `qemu.rs` | runs the firmware under the real boot chain, in an emulator, through updates, failures and power cuts |
//! | `reproduce` | `reproduce.rs` | builds the firmware in two places, and sees that it is the same to the byte |
//! | `sizes` | `sizes.rs` | measures the firmwares and writes `firmware/SIZES.md` |
//!
//! Where things are is in `paths.rs`, how firmware is compiled in `toolchain.rs`, the example in a workspace of its own in
//! `alone.rs`.

mod alone;
mod api;
mod chips;
mod mutations;
mod packages;
mod paths;
mod qemu;
mod reproduce;
mod sizes;
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
    Chips(chips::Args),
    Mutations(mutations::Args),
    Packages(packages::Args),
    Qemu(qemu::Args),
    Reproduce(reproduce::Args),
    Sizes(sizes::Args),
    /// Joins stdin and stdout to a TCP connection: the emulator starts it for each connection of its guest
    #[command(hide = true)]
    Relay {
        to: SocketAddr,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Api(args) => api::run(&args),
        Task::Chips(args) => chips::run(&args),
        Task::Mutations(args) => mutations::run(&args),
        Task::Packages(args) => packages::run(&args),
        Task::Qemu(args) => qemu::run(&args),
        Task::Reproduce(args) => reproduce::run(&args),
        Task::Sizes(args) => sizes::run(&args),
        // The emulator connects its stderr to the guest as well: nothing may be printed.
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

/// What went wrong, in a sentence for people.
type Result<T, E = String> = std::result::Result<T, E>;
