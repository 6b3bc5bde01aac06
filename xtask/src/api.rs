//! `cargo xtask api`: what the libraries promise, as text in the repository.
//!
//! A change of a public item shows in `api.txt` of its crate, and so in the review. CI sees that the files are up to date. What
//! may change in which version is in RELEASING.md.
//!
//! rustdoc writes the items down as JSON, which is unstable: the crate `public-api` reads the format of one compiler. It is a
//! matter of seconds, where cargo-semver-checks would be compiled for minutes first.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use crate::{Result, paths, toolchain};

/// Write the public API of the libraries into crates/*/api.txt
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write nothing: fail if a file does not say what is public
    #[arg(long)]
    check: bool,
}

/// The libraries under semantic versioning, in whole: with these features beside the default ones.
const LIBRARIES: [(&str, &[&str]); 4] = [
    ("s3ota-manifest", &["alloc"]),
    ("s3ota-image", &["alloc"]),
    ("s3ota-tls", &["p384", "roots-gts", "roots-isrg"]),
    (
        "s3ota",
        &["delta", "launch", "p384", "roots-gts", "roots-isrg"],
    ),
];

/// Compares or writes the files.
pub fn run(args: &Args) -> Result<ExitCode> {
    let target = paths::target()?;
    document(&target)?;
    let mut up_to_date = true;
    for (name, _) in LIBRARIES {
        let json = target.join(format!("doc/{}.json", name.replace('-', "_")));
        let now = public_items(&json)?;
        let file = paths::root().join("crates").join(name).join("api.txt");
        if !args.check {
            paths::write_if_changed(&file, now.as_bytes())?;
            continue;
        }
        let written = fs::read_to_string(&file).map_err(|error| paths::about(&file, &error))?;
        for line in differences(&written, &now) {
            up_to_date = false;
            println!("{name}: {line}");
        }
    }
    if up_to_date {
        return Ok(ExitCode::SUCCESS);
    }
    Err("the public API is not what api.txt says: `cargo xtask api` writes it anew".into())
}

/// Lets rustdoc write JSON into `target`.
fn document(target: &Path) -> Result<()> {
    // For rustdoc alone. Were it set for cargo, build scripts would notice, and with them much would be compiled again.
    let rustdoc = target.join("rustdoc-json");
    let script = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";
    paths::write_if_changed(&rustdoc, script.as_bytes())?;
    paths::make_executable(&rustdoc)?;
    let mut cargo = toolchain::host_cargo();
    cargo
        .args(["doc", "--quiet", "--locked", "--no-deps", "--lib"])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTDOC", rustdoc)
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json")
        .current_dir(paths::root());
    for (name, features) in LIBRARIES {
        cargo.args(["--package", name]);
        for feature in features {
            cargo.arg("--features").arg(format!("{name}/{feature}"));
        }
    }
    toolchain::run(cargo, "the documentation as JSON")
}

/// One public item a line, sorted.
fn public_items(json: &Path) -> Result<String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .map_err(|error| {
            format!(
                "{error}\nThe crate public-api in xtask/Cargo.toml and the compiler must fit: it takes Rust 1.95"
            )
        })?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// The lines that only one of two texts has, marked as in a diff.
fn differences(written: &str, now: &str) -> Vec<String> {
    let only = |one: &str, other: &str, mark| {
        let others: Vec<_> = other.lines().collect();
        one.lines()
            .filter(|line| !others.contains(line))
            .map(|line| format!("{mark} {line}"))
            .collect::<Vec<_>>()
    };
    [only(written, now, '-'), only(now, written, '+')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_are_told_apart() {
        assert_eq!(
            differences("pub fn a()\npub fn b()\n", "pub fn a()\npub fn b(u8)\n"),
            ["- pub fn b()", "+ pub fn b(u8)"]
        );
        assert!(differences("pub fn a()\n", "pub fn a()\n").is_empty());
    }
}
