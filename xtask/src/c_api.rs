//! `cargo xtask c-api`: the library for C, in `target/c-api/`.
//!
//! | folder | what is in it |
//! |---|---|
//! | `host/` | `libs3ota.a` for this machine, with log lines, and `s3ota.h` |
//! | `riscv32imc/`, `riscv32imac/` | `libs3ota.a` for the chips with RISC-V cores |
//! | `esp32/`, `esp32s2/`, `esp32s3/` | `libs3ota.a` for those with Xtensa cores, by Espressif's compiler |
//! | `xtensa/` | `libs3ota.a` for QEMU's Xtensa, and the tests' programs with it, for tests alone: see `c_api/xtensa.rs` |
//! | `known-answers/` | the arithmetic of TLS for RISC-V, for tests alone: see `bindings/c/known-answers` |
//! | `esp-idf/`, `arduino/` | the packages for ESP-IDF and Arduino, with the archives in their places |

mod packages;
mod xtensa;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use object::{Object, ObjectSection, SectionKind};

use crate::{Result, paths, toolchain};

/// Build the library for C: libs3ota.a and s3ota.h, in target/c-api
///
/// Each takes a minute on two cores.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// host, riscv32imc, riscv32imac, esp32, esp32s2, esp32s3; or for tests xtensa, known-answers. The first three if none is named
    targets: Vec<String>,
    /// Features besides the default ones, such as p384
    #[arg(long)]
    features: Vec<String>,
}

const HOST: &str = "host";
const XTENSA: &str = "xtensa";
const KNOWN_ANSWERS: &str = "known-answers";

const ARCHIVE: &str = "libs3ota.a";

/// An archive for chips: its name, one of the chips, and all of them as ESP-IDF calls them.
type Chips = (&'static str, &'static str, &'static [&'static str]);

const CHIPS: [Chips; 5] = [
    ("riscv32imc", "esp32c3", &["esp32c2", "esp32c3"]),
    (
        "riscv32imac",
        "esp32c6",
        &["esp32c5", "esp32c6", "esp32c61", "esp32h2"],
    ),
    ("esp32", "esp32", &["esp32"]),
    ("esp32s2", "esp32s2", &["esp32s2"]),
    ("esp32s3", "esp32s3", &["esp32s3"]),
];

/// Builds the archives, and lays out the packages.
///
/// Link-time optimisation keeps one core busy for most of the time. So what has a compiler of its own is built at the same time, in a
/// folder of its own, and the archives for RISC-V come from one call of cargo.
pub fn run(args: &Args) -> Result<ExitCode> {
    let all = [HOST, "riscv32imc", "riscv32imac"].map(String::from);
    let targets = if args.targets.is_empty() {
        &all[..]
    } else {
        &args.targets
    };
    targets.iter().try_for_each(|target| check(target))?;
    let wants = |name: &str| targets.iter().any(|target| target == name);
    let chips: Vec<_> = CHIPS.iter().filter(|(name, ..)| wants(name)).collect();
    let features: Vec<_> = args
        .features
        .iter()
        .flat_map(|it| ["--features", it])
        .collect();
    let host = || build_host(&features);
    let chips = || {
        build_chips(&chips, &features)?;
        wants(KNOWN_ANSWERS).then(build_known_answers).transpose()?;
        Ok(())
    };
    let emulated = || wants(XTENSA).then(build_xtensa).transpose().map(drop);
    thread::scope(|scope| {
        let others = [
            wants(HOST).then(|| scope.spawn(host)),
            Some(scope.spawn(emulated)),
        ];
        let mut results = vec![chips()];
        results.extend(others.into_iter().flatten().map(|other| {
            let result = other.join();
            result.unwrap_or_else(|_| Err("a build has panicked".into()))
        }));
        results.into_iter().collect::<Result<Vec<()>>>()
    })?;
    for target in targets.iter().filter(|target| *target != KNOWN_ANSWERS) {
        let archive = folder(target)?.join(ARCHIVE);
        let size = Size::of(&archive)?;
        println!(
            "{target}: {} bytes of code and constants, {} of variables, in {}",
            size.flash,
            size.ram,
            archive.display()
        );
    }
    packages::lay_out(&out()?, &CHIPS)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether there is such a target.
fn check(target: &str) -> Result<()> {
    let names = CHIPS.map(|(name, ..)| name);
    if names.contains(&target) || [HOST, XTENSA, KNOWN_ANSWERS].contains(&target) {
        return Ok(());
    }
    let names = names.join(", ");
    Err(format!(
        "no target is called {target}; there are {HOST}, {names}, {XTENSA} and {KNOWN_ANSWERS}"
    ))
}

/// Where the component for ESP-IDF is laid out.
pub fn esp_idf() -> Result<PathBuf> {
    Ok(packages::folder(&out()?, packages::ESP_IDF))
}

fn out() -> Result<PathBuf> {
    Ok(paths::target()?.join("c-api"))
}

/// Where the archive for a target is put.
fn folder(target: &str) -> Result<PathBuf> {
    let folder = out()?.join(target);
    paths::make_dir(&folder)?;
    Ok(folder)
}

fn crate_dir() -> PathBuf {
    paths::root().join("bindings/c")
}

/// Puts an archive with the header into its folder. The archive's place there.
fn deliver(built: &Path, target: &str) -> Result<PathBuf> {
    let folder = folder(target)?;
    let archive = folder.join(ARCHIVE);
    copy(built, &archive)?;
    copy(
        &crate_dir().join("include/s3ota.h"),
        &folder.join("s3ota.h"),
    )?;
    Ok(archive)
}

fn build_host(features: &[&str]) -> Result<()> {
    let work = out()?.join("build/host");
    let mut command = toolchain::host_cargo();
    command
        .args(["build", "--release", "--features", "log", "--target-dir"])
        .arg(&work)
        .args(["--quiet", "--locked"])
        .args(features)
        .current_dir(crate_dir());
    toolchain::run(command, "the library for C, for this machine")?;
    deliver(&work.join("release").join(ARCHIVE), HOST).map(drop)
}

fn build_chips(chips: &[&Chips], features: &[&str]) -> Result<()> {
    let work = out()?.join("build/chips");
    let (xtensa, riscv): (Vec<&Chips>, Vec<&Chips>) = chips
        .iter()
        .copied()
        .partition(|(_, chip, _)| toolchain::is_xtensa(chip));
    let calls = xtensa.into_iter().map(|one| vec![one]).chain([riscv]);
    for together in calls.filter(|together| !together.is_empty()) {
        let names: Vec<_> = together.iter().map(|(name, ..)| *name).collect();
        let chips: Vec<_> = together.iter().map(|(_, chip, _)| *chip).collect();
        let mut command = toolchain::cargo_build_library(&chips, &work)?;
        command
            .args(["--quiet", "--locked"])
            .args(features)
            .current_dir(crate_dir());
        toolchain::run(
            command,
            &format!("the library for C, for {}", names.join(", ")),
        )?;
        for (name, chip, _) in together {
            deliver(&toolchain::built(chip, ARCHIVE, &work)?, name)?;
        }
    }
    Ok(())
}

/// Builds the archive of `bindings/c/known-answers`, as those for the chips are built.
fn build_known_answers() -> Result<()> {
    const ARCHIVE: &str = "libs3ota_known_answers.a";
    let chip = "esp32c6";
    let work = out()?.join("build/chips");
    let mut command = toolchain::cargo_build_library(&[chip], &work)?;
    command
        .args(["--quiet", "--locked", "--package", "s3ota-known-answers"])
        .current_dir(crate_dir());
    toolchain::run(command, "the arithmetic of TLS")?;
    let place = folder(KNOWN_ANSWERS)?.join(ARCHIVE);
    copy(&toolchain::built(chip, ARCHIVE, &work)?, &place)
}

fn build_xtensa() -> Result<()> {
    let work = out()?.join("build/xtensa");
    let built = xtensa::build(&crate_dir(), &work)?;
    let archive = deliver(&built, XTENSA)?;
    xtensa::build_programs(&crate_dir(), &archive, &work)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).map_err(|error| paths::about(from, &error))?;
    paths::write_if_changed(to, &bytes)
}

/// What the library's own code in an archive weighs. The compiler's arithmetic beside it is a part of every program.
struct Size {
    flash: u64,
    ram: u64,
}

impl Size {
    fn of(archive: &Path) -> Result<Self> {
        let bytes = fs::read(archive).map_err(|error| paths::about(archive, &error))?;
        let problem = |error: object::Error| format!("{}: {error}", archive.display());
        let parsed = object::read::archive::ArchiveFile::parse(&*bytes).map_err(problem)?;
        let mut size = Self { flash: 0, ram: 0 };
        for member in parsed.members() {
            let member = member.map_err(problem)?;
            let name = String::from_utf8_lossy(member.name());
            if name.starts_with("compiler_builtins") {
                continue;
            }
            let Ok(file) = object::File::parse(member.data(&*bytes).map_err(problem)?) else {
                continue;
            };
            for section in file.sections() {
                match section.kind() {
                    SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => {
                        size.flash += section.size();
                    }
                    SectionKind::Data | SectionKind::UninitializedData => {
                        size.ram += section.size();
                    }
                    _ => {}
                }
            }
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_not_there_is_answered_with_those_that_are() {
        let problem = check("riscv64").unwrap_err();
        assert!(problem.contains("riscv32imac, esp32, "), "{problem}");
        assert_eq!(check("esp32s3"), Ok(()));
    }

    #[test]
    fn chips_are_in_one_archive_each() {
        let mut all: Vec<_> = CHIPS.iter().flat_map(|(.., chips)| *chips).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
