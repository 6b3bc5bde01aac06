//! `cargo xtask chips`: the firmware for every chip that s3ota supports.
//!
//! The RISC-V chips are built and linked. The Xtensa chips are type-checked, by an ordinary compiler: see `chips/xtensa.rs`.
//! `--new` does the same with what `s3ota new` makes, outside of the repository.
//! `--core` builds the crates that need no chip, for both instruction sets and with `core` alone, so that nothing in them can
//! allocate.

mod project;
mod xtensa;

use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::{Result, paths, toolchain};

/// Build the firmware for the RISC-V chips, and type-check it for the Xtensa chips
///
/// One chip takes one to three minutes on two cores, the first one a minute more.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Chips such as esp32c3; all eight if none is named
    chips: Vec<String>,
    /// Only type-check, also what could be built
    #[arg(long)]
    check: bool,
    /// What `s3ota new` makes, instead of the examples
    #[arg(long)]
    new: bool,
    /// The crates that need no chip instead, with `core` alone
    #[arg(long, conflicts_with_all = ["chips", "check", "new"])]
    core: bool,
}

/// A chip, and what of the firmware runs on it.
struct Chip {
    name: &'static str,
    packages: &'static [&'static str],
    /// Features of these packages beside the chip's.
    features: &'static [&'static str],
}

const EXAMPLES: &[&str] = &["simple", "advanced", "sleeper"];

const CHIPS: [Chip; 8] = [
    Chip::with("esp32", EXAMPLES),
    // Nothing of its memory outlives deep sleep.
    Chip::with("esp32c2", &["simple", "advanced"]),
    Chip::with("esp32c3", EXAMPLES),
    Chip::with("esp32c5", EXAMPLES),
    Chip::with("esp32c6", EXAMPLES),
    // The examples take Wi-Fi, which it does not have.
    Chip {
        name: "esp32h2",
        packages: &["s3ota-esp"],
        features: &["panic-handler"],
    },
    Chip::with("esp32s2", EXAMPLES),
    Chip::with("esp32s3", EXAMPLES),
];

/// The board support's features for logs, besides the default, which is `log`: none, another, both.
const OTHER_LOGS: [&str; 3] = ["", "defmt", "defmt,log"];

/// The chip for which the board support is type-checked with each of them.
const CHECKED_WITH_OTHER_LOGS: &str = "esp32c3";

/// The device crates that need no chip.
const DEVICE_CRATES: [&str; 6] = [
    "s3ota-manifest",
    "s3ota-image",
    "s3ota-tls-path",
    "s3ota-tls",
    "s3ota-codec",
    "s3ota",
];

/// Builds or checks one chip after the other.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.core {
        return core_alone();
    }
    let chips: Vec<&Chip> = if args.chips.is_empty() {
        CHIPS.iter().collect()
    } else {
        let chips = args.chips.iter().map(|name| Chip::named(name));
        chips.collect::<Result<_>>()?
    };
    for chip in chips {
        let start = Instant::now();
        if args.new {
            // Chips without Wi-Fi have no project.
            if chip.packages.contains(&"simple") {
                let done = project::compile(chip.name, args.check)?;
                let seconds = start.elapsed().as_secs();
                println!("`s3ota new` for {}: {done} in {seconds} s", chip.name);
            }
            continue;
        }
        let done = chip.compile(args.check)?;
        let (packages, seconds) = (chip.packages.join(", "), start.elapsed().as_secs());
        println!("{packages} for {}: {done} in {seconds} s", chip.name);
        if chip.name == CHECKED_WITH_OTHER_LOGS {
            check_other_logs()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Chip {
    const fn with(name: &'static str, packages: &'static [&'static str]) -> Self {
        Self {
            name,
            packages,
            features: &[],
        }
    }

    fn named(name: &str) -> Result<&'static Self> {
        CHIPS.iter().find(|chip| chip.name == name).ok_or_else(|| {
            let names = CHIPS.map(|chip| chip.name).join(", ");
            format!("no chip is called {name}; there are {names}")
        })
    }

    /// Compiles its packages. Gives what has been done.
    fn compile(&self, only_check: bool) -> Result<&'static str> {
        let target_dir = toolchain::target_dir();
        if toolchain::is_xtensa(self.name) {
            self.run(xtensa::cargo_check(self.name, &target_dir)?, self.packages)?;
        } else if only_check {
            let check = toolchain::cargo("check", self.name, &target_dir)?;
            self.run(check, self.packages)?;
        } else {
            // One after the other, as a user builds them: together, each would get the features that another one asks for.
            for package in self.packages {
                let build = toolchain::cargo_build(self.name, &target_dir)?;
                self.run(build, &[package])?;
            }
            return Ok("built");
        }
        Ok("type-checked")
    }

    fn run(&self, mut cargo: Command, packages: &[&str]) -> Result<()> {
        cargo
            .args(["--quiet", "--locked"])
            .args(packages.iter().flat_map(|name| ["--package", name]))
            .args(["--features", self.name])
            .args(self.features.iter().flat_map(|name| ["--features", name]))
            .current_dir(paths::firmware())
            .envs(toolchain::SETTINGS);
        toolchain::run(cargo, &format!("{} for {}", packages.join(", "), self.name))
    }
}

/// Type-checks the board support with each other choice of logs. Nothing is built, so this takes a minute.
fn check_other_logs() -> Result<()> {
    let chip = CHECKED_WITH_OTHER_LOGS;
    for logs in OTHER_LOGS {
        let mut command = toolchain::cargo("check", chip, &toolchain::target_dir())?;
        command
            .args(["--quiet", "--locked", "--package", "s3ota-esp"])
            .args(["--no-default-features", "--features"])
            .arg(format!(
                "{chip},delta,improv,launch,p384,panic-handler,roots-gts,roots-isrg,rsa,wifi,{logs}"
            ))
            .current_dir(paths::firmware());
        let what = format!("s3ota-esp for {chip} with the logs {logs:?}");
        toolchain::run(command, &what)?;
        println!("{what}: type-checked");
    }
    Ok(())
}

/// Builds the crates that need no chip with `core` and nothing else.
fn core_alone() -> Result<ExitCode> {
    let target_dir = paths::target()?.join("chip");
    for chip in ["esp32c3", "esp32s2"] {
        let mut command = toolchain::cargo_build_on_core(chip, &target_dir)?;
        command
            .args(["--quiet", "--locked"])
            .args(DEVICE_CRATES.iter().flat_map(|name| ["--package", name]))
            .current_dir(paths::root());
        let what = format!("{} for {chip}", DEVICE_CRATES.join(", "));
        toolchain::run(command, &what)?;
        println!("{what}: built with core alone");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_chip_that_the_board_support_has_a_feature_for_is_here() {
        let manifest = paths::firmware().join("s3ota-esp/Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let mut features: Vec<_> = manifest
            .lines()
            .filter(|line| line.contains("\"esp-hal/"))
            .filter_map(|line| line.split(' ').next())
            .collect();
        features.sort_unstable();
        assert_eq!(features, CHIPS.map(|chip| chip.name));
    }

    #[test]
    fn the_other_logs_are_checked_for_a_chip_that_ci_builds() {
        let ci = fs::read_to_string(paths::root().join(".ci/run")).unwrap();
        assert!(Chip::named(CHECKED_WITH_OTHER_LOGS).is_ok());
        assert!(ci.contains(CHECKED_WITH_OTHER_LOGS));
    }

    #[test]
    fn a_chip_that_is_not_there_is_answered_with_those_that_are() {
        assert_eq!(Chip::named("esp32c6").map(|chip| chip.name), Ok("esp32c6"));
        let problem = Chip::named("esp8266").err().unwrap();
        assert!(problem.contains("esp8266"), "{problem}");
        assert!(problem.contains("esp32h2, esp32s2"), "{problem}");
    }
}
