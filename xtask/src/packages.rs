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
const PRIVATE: [&str; 4] = ["c-device", "rogue-server", "scripted-server", "xtask"];

/// What is published out of the firmware's workspace. It takes the other crates from crates.io, so before they are there
/// it is packed without a lock file, and not type-checked. `cargo xtask chips` builds the same sources.
const FIRMWARE: [&str; 2] = ["s3ota-open-eth", "s3ota-esp"];

/// Packs, unpacks and checks.
pub fn run(_: &Args) -> Result<ExitCode> {
    let (root, target) = (paths::root(), paths::target()?);
    let mut cargo = toolchain::host_cargo();
    cargo
        .args(["package", "--workspace", "--locked"])
        .args(PRIVATE.iter().flat_map(|name| ["--exclude", name]))
        .current_dir(&root);
    pack(cargo, &target)?;
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
    let all: Vec<&str> = crates.iter().map(String::as_str).chain(FIRMWARE).collect();
    dry_run(&all, &archives, &dir.join("all"), &target)?;
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

/// What crates.io wants of all packages, together: `cargo publish --dry-run`.
///
/// It takes from crates.io what is not in the same workspace. So here the packages of both workspaces are in one.
fn dry_run(names: &[&str], archives: &Path, dir: &Path, target: &Path) -> Result<()> {
    let mut members = Vec::new();
    for name in names {
        let package = unpack(name, archives, dir)?;
        let manifest = dir.join(&package).join("Cargo.toml");
        let text =
            fs::read_to_string(&manifest).map_err(|error| paths::about(&manifest, &error))?;
        let text = with_paths(&text, names);
        paths::write_if_changed(&manifest, text.as_bytes())?;
        // Cargo writes these itself, and takes none that is there.
        for written in ["Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"] {
            let file = dir.join(&package).join(written);
            if file.exists() {
                fs::remove_file(&file).map_err(|error| paths::about(&file, &error))?;
            }
        }
        members.push(package);
    }
    let workspace = format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n");
    paths::write_if_changed(&dir.join("Cargo.toml"), workspace.as_bytes())?;
    let mut cargo = toolchain::host_cargo();
    cargo
        .args(["publish", "--dry-run", "--workspace"])
        .current_dir(dir);
    pack(cargo, target)
}

/// A package's manifest, in which the packages of these names are looked for beside it.
fn with_paths(manifest: &str, names: &[&str]) -> String {
    let mut text = String::new();
    for line in manifest.lines() {
        text += line;
        text.push('\n');
        let table = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'));
        let dependency = table.and_then(|table| table.rsplit_once("dependencies."));
        if let Some((_, name)) = dependency
            && names.contains(&name)
        {
            let version = env!("CARGO_PKG_VERSION");
            text += &format!("path = \"../{name}-{version}\"\n");
        }
    }
    text
}

/// The names of the crates of this workspace that are published.
fn crates() -> Result<Vec<String>> {
    let dir = paths::root().join("crates");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|error| paths::about(&dir, &error))? {
        let entry = entry.map_err(|error| paths::about(&dir, &error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.push("s3ota-fleet".to_owned());
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
    fn a_packages_own_neighbours_are_looked_for_beside_it() {
        let version = env!("CARGO_PKG_VERSION");
        let manifest = "[package]\nname = \"s3ota-esp\"\n[dependencies.s3ota]\nversion = \"1\"\n[dependencies.log]\n\
                        [target.\"cfg(unix)\".dev-dependencies.s3ota-tls]\n";
        assert_eq!(
            with_paths(manifest, &["s3ota", "s3ota-tls"]),
            format!(
                "[package]\nname = \"s3ota-esp\"\n[dependencies.s3ota]\npath = \"../s3ota-{version}\"\nversion = \"1\"\n\
                 [dependencies.log]\n[target.\"cfg(unix)\".dev-dependencies.s3ota-tls]\npath = \"../s3ota-tls-{version}\"\n"
            )
        );
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
