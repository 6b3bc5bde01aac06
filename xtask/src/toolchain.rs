//! How firmware is compiled. Only this module knows which compilers there are.
//!
//! Upstream Rust compiles it if the chip's target is installed (`rustup target add`). Otherwise Debian's packages do, which
//! include the sources of `core` and `alloc`; that is what CI uses.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, paths};

/// Debian's compiler (`rustc-web`, `cargo-web`, `rust-web-src`, `lld-22`).
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";
const DEBIAN_LINKER: &str = "/usr/bin/ld.lld-22";

/// Settings for an example that is measured or compared, but not run. `.ci/run` has the same.
pub const SETTINGS: [(&str, &str); 5] = [
    ("WIFI_SSID", "network"),
    ("WIFI_PASSWORD", "password"),
    (
        "MANIFEST_URL",
        "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json",
    ),
    ("ROOT_CA", ""),
    ("RELEASE_KEY", ""),
];

/// `cargo build --release` for a chip, with whichever compiler can. Run it in a workspace of firmware; the caller adds packages and
/// features.
///
/// Builds in one target directory, usually [`target_dir`], share what the workspaces have in common.
pub fn cargo_build(chip: &str, target_dir: &Path) -> Result<Command> {
    if is_xtensa(chip) {
        return Err(format!(
            "{chip} needs Espressif's own compiler, see docs/firmware.md"
        ));
    }
    cargo("build", chip, target_dir)
}

/// As [`cargo_build`], for `check`, and for Xtensa chips as far as upstream's compiler goes.
pub fn cargo(subcommand: &str, chip: &str, target_dir: &Path) -> Result<Command> {
    let target = target(chip)?;
    if has_upstream(target) {
        let mut command = host_cargo();
        command
            .args([subcommand, "--release", "--target", target])
            .arg("--target-dir")
            .arg(target_dir);
        return Ok(command);
    }
    debian_cargo(subcommand, "core,alloc", chip, target_dir)
}

/// `cargo build --release` for a chip without `alloc`: what allocates does not compile.
pub fn cargo_build_on_core(chip: &str, target_dir: &Path) -> Result<Command> {
    debian_cargo("build", "core", chip, target_dir)
}

fn debian_cargo(
    subcommand: &str,
    build_std: &str,
    chip: &str,
    target_dir: &Path,
) -> Result<Command> {
    let target = target(chip)?;
    let rustup = if is_xtensa(chip) {
        String::new()
    } else {
        format!("`rustup target add {target}`, or ")
    };
    let mut command = debian(subcommand, build_std, target, &rustup)?;
    command.env(linker_variable(target), DEBIAN_LINKER);
    if is_xtensa(chip) {
        let specification = paths::firmware().join(format!("targets/{target}.json"));
        command.arg(specification).args(["-Z", "json-target-spec"]);
    } else {
        command.arg(target);
    }
    command.arg("--target-dir").arg(target_dir);
    Ok(command)
}

/// `cargo build --release` of a library for chips of one compiler, [`remapped`]: without `alloc` where that can be said, which is by
/// Debian's compiler and by Espressif's.
pub fn cargo_build_library(chips: &[&str], target_dir: &Path) -> Result<Command> {
    let (first, others) = chips.split_first().ok_or("no chip is named")?;
    let mut command = if is_xtensa(first) {
        espressif_cargo(first, target_dir)
    } else if has_debian() {
        cargo_build_on_core(first, target_dir)
    } else {
        cargo("build", first, target_dir)
    }?;
    for chip in others {
        command.args(["--target", target(chip)?]);
    }
    for chip in chips {
        command.args(["--config", &remapped(chip, &paths::root())?]);
    }
    Ok(command)
}

/// `cargo build --release` for an Xtensa chip, by Espressif's compiler.
fn espressif_cargo(chip: &str, target_dir: &Path) -> Result<Command> {
    let target = target(chip)?;
    let installed = Command::new("rustup").args(["toolchain", "list"]).output();
    let is_installed = installed.is_ok_and(|output| {
        let list = String::from_utf8_lossy(&output.stdout);
        list.lines()
            .any(|line| line.split(' ').next() == Some("esp"))
    });
    if !is_installed {
        return Err(format!(
            "{chip} needs Espressif's own compiler: `cargo install espup && espup install`"
        ));
    }
    let mut command = Command::new("rustup");
    command
        .args(["run", "esp", "cargo", "build", "--release"])
        .args(["-Z", "build-std=core", "--target", target, "--target-dir"])
        .arg(target_dir);
    Ok(command)
}

/// `cargo build --release` for a target that a file describes, with `core` alone.
pub fn debian_cargo_for(specification: &Path, target_dir: &Path) -> Result<Command> {
    let name = specification.file_stem().unwrap_or_default();
    let mut command = debian("build", "core", &name.to_string_lossy(), "")?;
    command
        .arg(specification)
        .args(["-Z", "json-target-spec", "--target-dir"])
        .arg(target_dir);
    Ok(command)
}

/// Debian's cargo, up to `--target`. `other` is another way to a compiler for this target.
fn debian(subcommand: &str, build_std: &str, target: &str, other: &str) -> Result<Command> {
    if !has_debian() {
        return Err(format!(
            "no compiler here for {target}: {other}on Debian \
             `apt-get install rustc-web cargo-web rust-web-src lld-22`"
        ));
    }
    let mut command = Command::new(DEBIAN_CARGO);
    command
        .env("PATH", path_led_by("/usr/bin")?)
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .args([subcommand, "--release", "-Z"])
        .arg(format!("build-std={build_std}"))
        .arg("--target");
    Ok(command)
}

/// The sources of `core` and `alloc` that Debian's compiler builds.
pub fn debian_sources() -> &'static Path {
    Path::new(DEBIAN_SOURCES)
}

/// Whether the chip has Xtensa cores, for which upstream's compiler has no inline assembly.
pub fn is_xtensa(chip: &str) -> bool {
    matches!(chip, "esp32" | "esp32s2" | "esp32s3")
}

/// The cargo that runs this program.
pub fn host_cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a [`cargo_build`] of `what`.
pub fn run(mut build: Command, what: &str) -> Result<()> {
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("{what} does not compile")),
        Err(error) => Err(format!("the compiler cannot be started: {error}")),
    }
}

/// Where [`cargo_build`] leaves the ELF file of a package.
pub fn built(chip: &str, package: &str, target_dir: &Path) -> Result<PathBuf> {
    Ok(target_dir.join(target(chip)?).join("release").join(package))
}

/// A value for `cargo --config` that keeps the paths of this machine out of a firmware: the workspace's, and the home
/// directory's, where cargo keeps sources and rustup compilers. It adds to the workspace's flags.
pub fn remapped(chip: &str, workspace: &Path) -> Result<String> {
    // The workspace may be in the home directory: of two that match, the last one counts.
    let home = env::home_dir().map(|home| remap(&home, "/home"));
    let flags: Vec<_> = home.into_iter().chain([remap(workspace, "/src")]).collect();
    let target = target(chip)?;
    Ok(format!("target.{target}.rustflags=[{}]", flags.join(", ")))
}

fn remap(path: &Path, to: &str) -> String {
    format!("'--remap-path-prefix={}={to}'", path.display())
}

/// The compiler's target for a chip.
fn target(chip: &str) -> Result<&'static str> {
    match chip {
        "esp32c2" | "esp32c3" => Ok("riscv32imc-unknown-none-elf"),
        "esp32c5" | "esp32c6" | "esp32h2" => Ok("riscv32imac-unknown-none-elf"),
        "esp32" => Ok("xtensa-esp32-none-elf"),
        "esp32s2" => Ok("xtensa-esp32s2-none-elf"),
        "esp32s3" => Ok("xtensa-esp32s3-none-elf"),
        _ => Err(format!("no chip is called {chip}")),
    }
}

/// Where cargo would build when called in `firmware`.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .and_then(|dir| std::path::absolute(dir).ok())
        .unwrap_or_else(|| paths::firmware().join("target"))
}

/// Whether the compiler that cargo uses has the target's standard library.
fn has_upstream(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout);
        let library = Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(target)
            .join("lib");
        output.status.success() && library.is_dir()
    })
}

fn has_debian() -> bool {
    [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_SOURCES, DEBIAN_LINKER]
        .iter()
        .all(|path| Path::new(path).exists())
}

/// `PATH` with `first` in front.
fn path_led_by(first: &str) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let others = env::split_paths(&path);
    env::join_paths(std::iter::once(PathBuf::from(first)).chain(others))
        .map_err(|error| format!("PATH: {error}"))
}

/// The variable by which cargo is told a target's linker.
fn linker_variable(target: &str) -> String {
    format!(
        "CARGO_TARGET_{}_LINKER",
        target.replace('-', "_").to_uppercase()
    )
}

/// The program with this name in `PATH`.
pub fn in_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program.as_ref()))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_has_its_target_and_xtensa_is_not_built() {
        assert_eq!(target("esp32c3"), Ok("riscv32imc-unknown-none-elf"));
        assert_eq!(target("esp32c6"), Ok("riscv32imac-unknown-none-elf"));
        assert_eq!(target("esp32s3"), Ok("xtensa-esp32s3-none-elf"));
        assert!(target("esp8266").unwrap_err().contains("esp8266"));
        let problem = cargo_build("esp32s3", Path::new("target")).unwrap_err();
        assert!(problem.contains("esp32s3"), "{problem}");
    }

    #[test]
    fn the_linker_is_told_by_the_variable_cargo_reads() {
        assert_eq!(
            linker_variable("riscv32imc-unknown-none-elf"),
            "CARGO_TARGET_RISCV32IMC_UNKNOWN_NONE_ELF_LINKER"
        );
    }

    #[test]
    fn programs_are_found_by_path_and_only_there() {
        assert!(in_path("cargo").is_some_and(|path| path.is_absolute()));
        assert_eq!(in_path("no-program-has-this-name"), None);
    }
}
