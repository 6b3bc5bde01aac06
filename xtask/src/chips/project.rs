//! What `s3ota new` makes for a chip, compiled as a user would: outside of this repository.
//!
//! It shares the target directory, so what the examples consist of is not compiled again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use super::xtensa;
use crate::{Result, paths, toolchain};

/// The project's name.
const NAME: &str = "of-my-own";

/// A folder outside of the repository, which is removed again.
struct Outside(PathBuf);

impl Outside {
    fn new() -> Result<Self> {
        let dir = env::temp_dir().join(format!("s3ota-new-{}", process::id()));
        fs::create_dir(&dir).map_err(|error| paths::about(&dir, &error))?;
        Ok(Self(dir))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a project for the chip and builds it, or type-checks it. Says what has been done.
pub fn compile(chip: &str, only_check: bool) -> Result<&'static str> {
    let outside = Outside::new()?;
    let command = the_command()?;
    let dir = outside.0.join(NAME);
    let mut new = Command::new(&command);
    new.args(["new", NAME, "--chip", chip, "--path"])
        .arg(paths::root())
        .current_dir(&outside.0);
    run(new, "s3ota new")?;

    let target_dir = toolchain::target_dir();
    let what = format!("what `s3ota new` makes for {chip}");
    let is_built = !only_check && !toolchain::is_xtensa(chip);
    let mut cargo = if toolchain::is_xtensa(chip) {
        xtensa::cargo_check(chip, &target_dir)?
    } else if only_check {
        toolchain::cargo("check", chip, &target_dir)?
    } else {
        toolchain::cargo_build(chip, &target_dir)?
    };
    cargo.arg("--quiet").current_dir(&dir);
    // It brings all that it needs to compile.
    for (name, _) in toolchain::SETTINGS {
        cargo.env_remove(name);
    }
    toolchain::run(cargo, &what)?;
    if !is_built {
        return Ok("type-checked");
    }
    let elf = toolchain::built(chip, NAME, &target_dir)?;
    let mut inspect = Command::new(&command);
    inspect.arg("inspect").arg(&elf);
    let report = run(inspect, "s3ota inspect")?;
    let is_named = |name: &str| report.lines().any(|line| line.contains(name));
    if !is_named(NAME) || !is_named("1.0.0") {
        return Err(format!("{} is not {NAME} 1.0.0:\n{report}", elf.display()));
    }
    Ok("built")
}

/// Builds `s3ota`, and says where it is.
fn the_command() -> Result<PathBuf> {
    let target = paths::target()?;
    let mut build = toolchain::host_cargo();
    build
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "s3ota-cli",
            "--target-dir",
        ])
        .arg(&target)
        .current_dir(paths::root());
    toolchain::run(build, "the command s3ota")?;
    let name = Path::new("s3ota").with_extension(env::consts::EXE_EXTENSION);
    Ok(target.join("debug").join(name))
}

/// Runs a program that must succeed; what it prints.
fn run(mut program: Command, what: &str) -> Result<String> {
    let output = program
        .output()
        .map_err(|error| format!("{what} cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{what} failed: {said}"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
