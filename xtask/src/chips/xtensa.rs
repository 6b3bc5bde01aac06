//! The Xtensa chips without Espressif's compiler: type-checked, not built.
//!
//! Upstream's compiler knows Xtensa, but has no inline assembly for it, and esp-hal is full of that. So the sources of `core`
//! are copied, and in the copy `asm!` is an ordinary macro, which takes the operands and drops the assembly (`asm.rs`).
//! Everything else is checked as for any chip: types, features, `cfg`s, lints. Assembly and registers are not.
//!
//! The copies lie in the target directory. Nothing of them is in the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Result, paths, toolchain};

/// What the compiler's own macros look like in `core/src/arch.rs`.
const BUILT_IN: &str = "#[rustc_builtin_macro]
pub macro NAME(\"assembly template\", $(operands,)* $(options($(option),*))?) {
    /* compiler built-in */
}
";

/// What takes their places.
const ORDINARY: [(&str, &str); 3] = [
    ("asm", include_str!("asm.rs")),
    (
        "naked_asm",
        "pub macro naked_asm($($ignored:tt)*) { loop {} }\n",
    ),
    ("global_asm", "pub macro global_asm($($ignored:tt)*) {}\n"),
];

/// The crates with naked functions. Those consist of assembly, so the compiler accepts nothing else in them.
const WITH_NAKED_FUNCTIONS: [&str; 2] = ["esp-hal", "esp-rtos"];
const NAKED: &str = "#[unsafe(naked)]";

/// `cargo check --release` for a chip. To be run in the firmware's workspace; packages and features are the caller's.
pub fn cargo_check(chip: &str, target_dir: &Path) -> Result<Command> {
    let mut command = toolchain::cargo("check", chip, target_dir)?;
    let copies = target_dir.join("without-assembly");
    let library = copies.join("library");
    copy_core(toolchain::debian_sources(), &library)?;
    // What `-Z build-std` takes the sources of `core` from, in place of the compiler's own.
    command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
    let mut overrides = Vec::new();
    for (name, from) in sources_of(&WITH_NAKED_FUNCTIONS)? {
        let to = copies.join(name);
        copy_crate(&from, &to)?;
        overrides.push(format!("'{}'", to.display()));
    }
    command
        .arg("--config")
        .arg(format!("paths=[{}]", overrides.join(", ")));
    Ok(command)
}

/// Copies the sources of the standard library, with ordinary macros for the assembly.
fn copy_core(from: &Path, to: &Path) -> Result<()> {
    paths::copy(from, to, |path, bytes| {
        if path == Path::new("core/src/arch.rs") {
            with_ordinary_macros(&text(path, bytes)?).map(String::into_bytes)
        } else {
            Ok(bytes)
        }
    })
}

fn with_ordinary_macros(arch: &str) -> Result<String> {
    ORDINARY
        .iter()
        .try_fold(arch.to_owned(), |arch, (name, ordinary)| {
            let built_in = BUILT_IN.replace("NAME", name);
            if arch.matches(&built_in).count() != 1 {
                return Err(format!(
                    "core/src/arch.rs of this compiler does not define {name}! as expected: \
                     adapt xtask/src/chips/xtensa.rs"
                ));
            }
            Ok(arch.replace(&built_in, ordinary))
        })
}

/// Copies a crate, with ordinary functions for the naked ones.
fn copy_crate(from: &Path, to: &Path) -> Result<()> {
    paths::copy(from, to, |path, bytes| {
        if path.extension().is_none_or(|extension| extension != "rs") {
            return Ok(bytes);
        }
        let text = text(path, bytes)?.replace(NAKED, "");
        // Cargo hides the warnings of what comes from crates.io, and not those of a copy.
        let text = if path == Path::new("src/lib.rs") {
            format!("#![allow(warnings)] {text}")
        } else {
            text
        };
        Ok(text.into_bytes())
    })
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where cargo keeps the sources of these crates, in the versions that the firmware's lock file names.
fn sources_of(names: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let output = toolchain::host_cargo()
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(paths::firmware())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("what cargo metadata says: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let sources: Vec<_> = packages
        .filter_map(|package| {
            let name = package["name"].as_str()?;
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let is_wanted = names.contains(&name);
            is_wanted.then(|| Some((name.to_owned(), manifest.parent()?.to_owned())))?
        })
        .collect();
    if sources.len() == names.len() {
        Ok(sources)
    } else {
        Err(format!(
            "cargo metadata does not name each of {}",
            names.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_macros_are_replaced_or_none() {
        let built_in = |name| BUILT_IN.replace("NAME", name);
        let arch = ["asm", "naked_asm", "global_asm"].map(built_in).concat();
        let ordinary = with_ordinary_macros(&arch).unwrap();
        assert!(!ordinary.contains("rustc_builtin_macro"), "{ordinary}");
        for (name, _) in ORDINARY {
            assert!(
                ordinary.contains(&format!("pub macro {name}")),
                "{ordinary}"
            );
        }
        let problem = with_ordinary_macros(&built_in("asm")).unwrap_err();
        assert!(problem.contains("naked_asm!"), "{problem}");
    }
}
