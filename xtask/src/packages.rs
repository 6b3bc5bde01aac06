//! `cargo xtask packages`: what crates.io will be given is complete.
//!
//! `cargo publish --dry-run` would build each package and all that it stands on anew. This packs the same files, unpacks them
//! side by side into a workspace, and type-checks them there with the versions and profiles of this repository: what
//! `cargo clippy` and `cargo test` have compiled is not compiled again.
//!
//! Users of crates.io do not run the tests, but distributions that package the crate do.
//! So a file that names one outside its package is an error too. What tests share is in `testing/`, and tests that use it
//! are not packed: it is not on crates.io.

use std::fs;
use std::path::{Component, Path};
use std::process::{Command, ExitCode};

use crate::{Result, paths, toolchain};

/// Pack every crate that is published, and see that the packages are complete
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What is not published.
const PRIVATE: [&str; 3] = ["rogue-server", "scripted-server", "xtask"];

/// What is published out of the firmware's workspace. It takes the other crates from crates.io, so before they are there
/// nothing can be resolved: it is packed without a lock file, and not type-checked. `cargo xtask chips` builds the same sources.
const FIRMWARE: [&str; 2] = ["s3ota-open-eth", "s3ota-esp"];

/// Packs, unpacks and checks.
pub fn run(_: &Args) -> Result<ExitCode> {
    let (root, target) = (paths::root(), paths::target()?);
    // What the registry wants of a manifest, then the archives, which a dry run does not leave behind.
    for subcommand in [&["publish", "--dry-run"][..], &["package"]] {
        let mut cargo = toolchain::host_cargo();
        cargo
            .args(subcommand)
            .args(["--workspace", "--locked"])
            .args(PRIVATE.iter().flat_map(|name| ["--exclude", name]))
            .current_dir(&root);
        pack(cargo, &target)?;
    }
    let mut cargo = toolchain::host_cargo();
    cargo
        .args(["package", "--exclude-lockfile"])
        .args(FIRMWARE.iter().flat_map(|name| ["--package", name]))
        .current_dir(paths::firmware());
    pack(cargo, &target)?;

    let (archives, dir) = (target.join("package"), target.join("packages"));
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|error| paths::about(&dir, &error))?;
    }
    let crates = crates()?;
    let packages = crates.iter().map(|name| unpack(name, &archives, &dir));
    let packages = packages.collect::<Result<Vec<_>>>()?;
    let firmware = FIRMWARE.map(|name| unpack(name, &archives, &dir.join("firmware")));
    let firmware = firmware.into_iter().collect::<Result<Vec<_>>>()?;

    let mut missing = Vec::new();
    for package in &packages {
        missing.extend(missing_files(&dir.join(package))?);
    }
    for package in &firmware {
        missing.extend(missing_files(&dir.join("firmware").join(package))?);
    }
    if !missing.is_empty() {
        return Err(format!("not in the packages:\n{}", missing.join("\n")));
    }

    let read = |file| {
        let path = root.join(file);
        fs::read_to_string(&path).map_err(|error| paths::about(&path, &error))
    };
    let workspace = workspace(&packages, &read("Cargo.toml")?);
    paths::write_if_changed(&dir.join("Cargo.toml"), workspace.as_bytes())?;
    paths::write_if_changed(&dir.join("Cargo.lock"), read("Cargo.lock")?.as_bytes())?;
    let mut check = toolchain::host_cargo();
    check
        .args(["check", "--quiet", "--workspace", "--target-dir"])
        .arg(&target)
        .current_dir(&dir);
    toolchain::run(check, "what is in the packages")?;
    for package in packages.iter().chain(&firmware) {
        println!("{package} is complete");
    }
    Ok(ExitCode::SUCCESS)
}

fn pack(mut cargo: Command, target: &Path) -> Result<()> {
    cargo
        .args(["--quiet", "--no-verify", "--allow-dirty", "--target-dir"])
        .arg(target);
    toolchain::run(cargo, "what crates.io would be given")
}

/// The names of the crates of this workspace that are published.
fn crates() -> Result<Vec<String>> {
    let dir = paths::root().join("crates");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|error| paths::about(&dir, &error))? {
        let entry = entry.map_err(|error| paths::about(&dir, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Unpacks a crate's archive. Gives the name of the folder in `to`, such as `s3ota-0.1.0`.
fn unpack(name: &str, archives: &Path, to: &Path) -> Result<String> {
    paths::make_dir(to)?;
    let package = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
    // With the date of now. In a package files are of 2006, and cargo would not see that one has changed.
    let mut tar = Command::new("tar");
    tar.arg("-xzmf")
        .arg(archives.join(format!("{package}.crate")))
        .arg("-C")
        .arg(to);
    match tar.status() {
        Ok(status) if status.success() => Ok(package),
        Ok(_) => Err(format!("{package}.crate cannot be unpacked")),
        Err(error) => Err(format!("tar: {error}")),
    }
}

/// A workspace of these packages, with the profiles of ours: `cargo check` takes what it has compiled for us.
fn workspace(packages: &[String], ours: &str) -> String {
    let mut text = format!("[workspace]\nresolver = \"3\"\nmembers = {packages:?}\n\n");
    text += "[patch.crates-io]\n";
    for package in packages {
        let name = package.rsplit_once('-').map_or("", |(name, _)| name);
        text += &format!("{name} = {{ path = {package:?} }}\n");
    }
    let mut in_profile = false;
    for line in ours.lines() {
        if line.starts_with('[') {
            in_profile = line.starts_with("[profile.");
        }
        if in_profile {
            text += line;
            text.push('\n');
        }
    }
    text
}

/// The files that sources of a package name by their paths, and that are not in it.
fn missing_files(package: &Path) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for file in paths::files_below(package)? {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&file).map_err(|error| paths::about(&file, &error))?;
        let within = file.strip_prefix(package).unwrap_or(&file);
        for (line, named) in named_files(&text) {
            // What goes up further than to the package's own folder may be there by chance: it does not belong to it.
            if is_within(within, named) && file.with_file_name(named).exists() {
                continue;
            }
            missing.push(format!("{}:{line} names {named}", file.display()));
        }
    }
    Ok(missing)
}

/// The paths that a source includes or takes modules from, with the numbers of their lines.
fn named_files(source: &str) -> impl Iterator<Item = (usize, &str)> {
    const BEGINNINGS: [&str; 3] = ["#[path = \"", "include_bytes!(\"", "include_str!(\""];
    source.lines().enumerate().filter_map(|(line, text)| {
        let text = text.trim_start();
        if text.starts_with("//") {
            return None;
        }
        BEGINNINGS.iter().find_map(|beginning| {
            let (_, after) = text.split_once(beginning)?;
            Some((line + 1, after.split_once('"')?.0))
        })
    })
}

/// Whether a path, from the folder of a file of a package, stays in the package.
fn is_within(file: &Path, path: &str) -> bool {
    let mut depth = file.components().count() - 1;
    Path::new(path).components().all(|component| {
        let after = match component {
            Component::ParentDir => depth.checked_sub(1),
            _ => Some(depth + 1),
        };
        depth = after.unwrap_or_default();
        after.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_reaches_out_of_its_package_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("one-0.1.0");
        let put = |path: &str, text: &str| {
            paths::write_if_changed(&dir.path().join(path), text.as_bytes()).unwrap();
        };
        put("other/there.rs", "");
        put("one-0.1.0/tests/there.rs", "");
        put(
            "one-0.1.0/tests/main.rs",
            "#[path = \"there.rs\"]\nmod a;\n#[path = \"../tests/there.rs\"]\nmod b;\n",
        );
        assert_eq!(missing_files(&package), Ok(vec![]));
        put(
            "one-0.1.0/src/lib.rs",
            "#[path = \"gone.rs\"]\nmod a;\nconst B: &[u8] = include_bytes!(\"../../other/there.rs\");\n",
        );
        let missing = missing_files(&package).unwrap();
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].ends_with("src/lib.rs:1 names gone.rs"));
        assert!(missing[1].ends_with("src/lib.rs:3 names ../../other/there.rs"));
    }

    #[test]
    fn the_workspace_of_packages_has_the_profiles_and_nothing_else_of_ours() {
        let ours =
            "[workspace]\nmembers = [\"crates/*\"]\n[profile.dev]\ndebug = false\n[lints]\nx = 1\n";
        assert_eq!(
            workspace(&["s3ota-tls-0.1.0".to_owned()], ours),
            "[workspace]\nresolver = \"3\"\nmembers = [\"s3ota-tls-0.1.0\"]\n\n[patch.crates-io]\n\
             s3ota-tls = { path = \"s3ota-tls-0.1.0\" }\n[profile.dev]\ndebug = false\n"
        );
    }
}
