//! `cargo xtask reproduce`: the same source makes the same firmware, wherever it is built.
//!
//! The example `simple` is built twice from scratch, in two directories, one after the other: so with two paths at two times.
//! Each is a workspace like a product's, with the sources of s3ota in a folder below. The rest is as docs/supply-chain.md
//! describes: paths are remapped, and `SOURCE_DATE_EPOCH` says when it was built.
//!
//! The whole ELF file must be the same, including debug information: its SHA-256 is in the image.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use object::{Object, ObjectSection, SectionFlags, elf};

use crate::{Result, alone, paths, toolchain};

/// Build the firmware in two places, and check that it is the same, byte for byte
///
/// This takes some three minutes on two cores, and temporarily 1.5 GB of disk space.
#[derive(Debug, clap::Args)]
pub struct Args {}

const CHIP: &str = "esp32c3";

/// Where to build it, below `target/reproduce`: one path is longer and deeper.
const PLACES: [&str; 2] = ["here", "in/another/place"];

/// The parts of the repository that the firmware consists of.
const SOURCES: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "firmware/Cargo.toml",
    "firmware/Cargo.lock",
    "firmware/.cargo",
    "firmware/examples",
    "firmware/open-eth",
    "firmware/s3ota-esp",
];

/// Builds twice and compares.
pub fn run(_: &Args) -> Result<ExitCode> {
    let dir = paths::target()?.join("reproduce");
    let mut elves = Vec::new();
    for place in PLACES {
        let place = dir.join(place);
        remove(&place)?;
        println!("building {} in {}", alone::PACKAGE, place.display());
        elves.push(build(&place)?);
        remove(&place)?;
    }
    let [one, other] = &elves[..] else {
        return Err("not built twice".into());
    };
    let Some(difference) = difference(one, other)? else {
        println!("both ELF files are the same, all {} bytes", one.len());
        return Ok(ExitCode::SUCCESS);
    };
    for (name, bytes) in [("one.elf", one), ("other.elf", other)] {
        let path = dir.join(name);
        fs::write(&path, bytes).map_err(|error| paths::about(&path, &error))?;
    }
    Err(format!(
        "the firmwares differ: {difference}\none.elf and other.elf are in {}; diffoscope shows more",
        dir.display()
    ))
}

/// Builds the example in a new directory, and returns its ELF file.
fn build(place: &Path) -> Result<Vec<u8>> {
    let s3ota = place.join("s3ota");
    paths::copy_parts(&SOURCES, &s3ota)?;
    for (file, text) in alone::files(&s3ota)? {
        paths::write_if_changed(&place.join(file), text.as_bytes())?;
    }
    let target_dir = place.join("target");
    let mut build = toolchain::cargo_build(CHIP, &target_dir)?;
    build
        .args(["--quiet", "--package", alone::PACKAGE, "--features", CHIP])
        .arg("--config")
        .arg(toolchain::remapped(CHIP, place)?)
        .current_dir(place)
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .envs(toolchain::SETTINGS);
    toolchain::run(build, alone::PACKAGE)?;
    let elf = toolchain::built(CHIP, alone::PACKAGE, &target_dir)?;
    fs::read(&elf).map_err(|error| paths::about(&elf, &error))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(paths::about(dir, &error))
        }
        _ => Ok(()),
    }
}

/// Where two ELF files first differ. What is loaded comes before what only a debugger reads.
fn difference(one: &[u8], other: &[u8]) -> Result<Option<String>> {
    let Some(byte) = first_difference(one, other) else {
        return Ok(None);
    };
    let parse = |elf| object::File::parse(elf).map_err(|error| format!("the ELF file: {error}"));
    let sections = |file: &object::File<'_>| -> Result<Vec<Section>> {
        let sections = file.sections().map(|section| Section::of(&section));
        sections.collect()
    };
    let (mut ones, mut others) = (sections(&parse(one)?)?, sections(&parse(other)?)?);
    for sections in [&mut ones, &mut others] {
        sections.sort_by_key(|section| !section.is_loaded);
    }
    for (one, other) in ones.iter().zip(&others) {
        let (name, address) = (&one.name, one.address);
        if (name, address) != (&other.name, other.address) {
            return Ok(Some(format!(
                "one has {name} at {address:#x} where the other has {} at {:#x}",
                other.name, other.address
            )));
        }
        if let Some(at) = first_difference(&one.bytes, &other.bytes) {
            let shown = |bytes: &[u8]| {
                let bytes = &bytes[at.saturating_sub(16)..bytes.len().min(at + 48)];
                bytes.escape_ascii().to_string()
            };
            return Ok(Some(format!(
                "{name} differs first at {:#x}\n  one:   {}\n  other: {}",
                address + at as u64,
                shown(&one.bytes),
                shown(&other.bytes)
            )));
        }
    }
    Ok(Some(if ones.len() == others.len() {
        format!("byte {byte} of the ELF files, which belongs to no section")
    } else {
        format!(
            "one has {} sections, the other {}",
            ones.len(),
            others.len()
        )
    }))
}

/// The first position where they differ: the end of one, if it is the beginning of the other.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let differ = one.iter().zip(other).position(|(a, b)| a != b);
    differ.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

/// A part of an ELF file.
struct Section {
    name: String,
    address: u64,
    bytes: Vec<u8>,
    is_loaded: bool,
}

impl Section {
    fn of<'data>(section: &impl ObjectSection<'data>) -> Result<Self> {
        let about = |error| format!("a section of the ELF file: {error}");
        let flags = match section.flags() {
            SectionFlags::Elf { sh_flags, .. } => sh_flags.0,
            _ => 0,
        };
        Ok(Self {
            name: section.name().map_err(about)?.to_owned(),
            address: section.address(),
            bytes: section.data().map_err(about)?.to_vec(),
            is_loaded: flags & elf::SHF_ALLOC.0 != 0,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// This program: an ELF file with everything in it.
    fn this() -> Vec<u8> {
        fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    /// Turns a byte in the middle of a section. Gives its address.
    fn turn(elf: &mut [u8], section: &str) -> u64 {
        let file = object::File::parse(&*elf).unwrap();
        let section = file.section_by_name(section).unwrap();
        let (start, size) = section.file_range().unwrap();
        let address = section.address() + size / 2;
        elf[(start + size / 2) as usize] ^= 1;
        address
    }

    #[test]
    fn the_first_difference_is_named_by_section_and_address() {
        let (one, mut other) = (this(), this());
        assert_eq!(difference(&one, &other), Ok(None));
        let address = turn(&mut other, ".comment");
        let named = difference(&one, &other).unwrap().unwrap();
        let expected = format!(".comment differs first at {address:#x}\n");
        assert!(named.starts_with(&expected), "{named}");
        // What is loaded is named before what lies in front of it and is not.
        let address = turn(&mut other, ".rodata");
        let named = difference(&one, &other).unwrap().unwrap();
        let expected = format!(".rodata differs first at {address:#x}\n");
        assert!(named.starts_with(&expected), "{named}");
    }

    #[test]
    fn what_is_behind_the_last_section_counts() {
        let (one, mut other) = (this(), this());
        other.push(0);
        let named = difference(&one, &other).unwrap().unwrap();
        assert!(named.contains(&format!("byte {} ", one.len())), "{named}");
    }
}
