//! The library for C as Xtensa code, by an ordinary compiler: enough to run it in an emulator. What users get is better made by
//! Espressif's fork of the compiler.
//!
//! Upstream's LLVM generates right code for the windowed ABI. But its own object files put the literals of a function unaligned in
//! front of it, where `l32r` cannot load them. So it writes assembly, the literals are put into sections of their own, and its
//! assembler does the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, paths, toolchain};

/// QEMU's `dc232b` has neither floating point nor booleans nor the upper half of products.
const TARGET: &str = r#"{
  "arch": "xtensa",
  "cpu": "esp32",
  "crt-objects-fallback": "false",
  "data-layout": "e-m:e-p:32:32-i8:8:32-i16:16:32-i64:64-n32",
  "emit-debug-gdb-scripts": false,
  "features": "-fp,-dfpaccel,-mul32high,-bool",
  "linker": "xtensa-lx106-elf-ld",
  "linker-flavor": "gnu",
  "llvm-target": "xtensa-none-elf",
  "max-atomic-width": 32,
  "panic-strategy": "abort",
  "relocation-model": "static",
  "target-c-int-width": 32,
  "target-endian": "little",
  "target-pointer-width": 32
}
"#;

const NAME: &str = "xtensa-dc232b-none-elf";
const ASSEMBLER: &str = "llvm-mc-22";
const ARCHIVER: &str = "llvm-ar-22";
const COMPILER: &str = "clang-22";
const LINKER: &str = "xtensa-lx106-elf-ld";

/// What clang is told of the core, in C.
const FEATURES: [&str; 6] = ["+windowed", "+density", "+mul32", "+div32", "+sext", "+nsa"];

/// Builds the archive in the folder `work`.
pub fn build(crate_dir: &Path, work: &Path) -> Result<PathBuf> {
    for tool in [ASSEMBLER, ARCHIVER] {
        if toolchain::in_path(tool).is_none() {
            return Err(format!("{tool} is missing: `apt-get install llvm-22`"));
        }
    }
    let specification = work.join(format!("{NAME}.json"));
    paths::write_if_changed(&specification, TARGET.as_bytes())?;
    let mut command = toolchain::debian_cargo_for(&specification, work)?;
    command
        .args(["--quiet", "--locked"])
        .args(["--package", "s3ota-c", "--package", "s3ota-known-answers"])
        // With link-time optimisation, and at other levels, LLVM's Xtensa runs out of registers: it says so, and stops.
        .args(["s3ota-c", "s3ota-tls-path"].iter().flat_map(|package| {
            [
                "--config".to_owned(),
                format!("profile.release.package.{package}.opt-level=\"s\""),
            ]
        }))
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("RUSTFLAGS", "--emit=asm --cfg aes_compact")
        .current_dir(crate_dir);
    // What cargo does not compile anew it does not put out as assembly either, and what an earlier version left would be
    // linked, too.
    let all = work.join(NAME);
    if all.is_dir() {
        fs::remove_dir_all(&all).map_err(|error| paths::about(&all, &error))?;
    }
    let built = all.join("release/deps");
    toolchain::run(command, "the library for C, for Xtensa")?;
    let fixed = all.join("fixed");
    paths::make_dir(&fixed)?;
    let mut objects = Vec::new();
    for file in assembly(&built)? {
        objects.push(assemble(&file, &fixed)?);
    }
    if objects.is_empty() {
        return Err(format!(
            "the compiler left no assembly in {}",
            built.display()
        ));
    }
    let archive = fixed.join("libs3ota.a");
    let mut command = Command::new(ARCHIVER);
    command.arg("rcs").arg(&archive).args(&objects);
    toolchain::run(command, "the archive for Xtensa")?;
    Ok(archive)
}

/// Programs in C for the emulator, and their sources.
const PROGRAMS: [(&str, &[&str]); 2] = [
    ("device", &["device", "port", "os_bare"]),
    ("known_answers", &["known_answers", "os_bare"]),
];

/// The programs of the tests. Their ELF files are put beside the archive.
pub fn build_programs(crate_dir: &Path, archive: &Path, work: &Path) -> Result<()> {
    for (name, sources) in PROGRAMS {
        build_program(name, sources, crate_dir, archive, work)?;
    }
    Ok(())
}

fn build_program(
    name: &str,
    sources: &[&str],
    crate_dir: &Path,
    archive: &Path,
    work: &Path,
) -> Result<()> {
    for (tool, package) in [(COMPILER, COMPILER), (LINKER, "binutils-xtensa-lx106")] {
        if toolchain::in_path(tool).is_none() {
            return Err(format!("{tool} is missing: `apt-get install {package}`"));
        }
    }
    let (tests, work) = (crate_dir.join("tests"), work.join(NAME).join(name));
    paths::make_dir(&work)?;
    let mut objects = vec![assemble(&tests.join("os_xtensa.S"), &work)?];
    for source in sources {
        let assembly = work.join(format!("{source}.asm"));
        let mut command = Command::new(COMPILER);
        command
            .args([
                "--target=xtensa",
                "-std=c11",
                "-O1",
                "-S",
                "-Wall",
                "-Wextra",
                "-Werror",
            ])
            .args([
                "-ffreestanding",
                "-fno-builtin",
                "-nostdlibinc",
                "-ffunction-sections",
            ])
            .args(
                FEATURES
                    .iter()
                    .flat_map(|name| ["-Xclang", "-target-feature", "-Xclang", name]),
            )
            .arg("-I")
            .arg(crate_dir.join("include"))
            .arg(tests.join(format!("{source}.c")))
            .arg("-o")
            .arg(&assembly);
        toolchain::run(command, &format!("{source}.c for Xtensa"))?;
        objects.push(assemble(&assembly, &work)?);
    }
    let mut command = Command::new(LINKER);
    command
        .args([
            "--gc-sections",
            "--no-warn-rwx-segments",
            "-u",
            "begin",
            "-T",
        ])
        .arg(tests.join("xtensa.x"))
        .args(&objects)
        .arg(archive)
        .arg("-o")
        .arg(archive.with_file_name(name));
    toolchain::run(command, &format!("{name}.c with what it needs, for Xtensa"))
}

/// Assembles a file of the compiler's, also one that clang made of C. Its object file.
fn assemble(file: &Path, into: &Path) -> Result<PathBuf> {
    let source = fs::read_to_string(file).map_err(|error| paths::about(file, &error))?;
    let name = file.file_stem().unwrap_or_default();
    let fixed = into.join(name).with_extension("s");
    paths::write_if_changed(&fixed, with_literals_apart(&source).as_bytes())?;
    let object = fixed.with_extension("o");
    let mut command = Command::new(ASSEMBLER);
    command
        .args(["-triple=xtensa", "-mcpu=esp32", "-filetype=obj"])
        .arg("-mattr=-fp,-dfpaccel,-mul32high,-bool")
        .arg(&fixed)
        .arg("-o")
        .arg(&object);
    toolchain::run(command, &format!("{}", fixed.display()))?;
    Ok(object)
}

fn assembly(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = paths::files_below(dir)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "s"));
    files.sort();
    Ok(files)
}

/// The same assembly, with each function's literals in a section before the function's, aligned.
fn with_literals_apart(source: &str) -> String {
    let mut done = Vec::<String>::new();
    let mut literals = Vec::new();
    // Where the section began that the next function is in, and its name.
    let (mut begin, mut section) = (0, String::new());
    for line in source.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(".literal_position") {
            continue;
        }
        if let Some((label, value)) = trimmed
            .strip_prefix(".literal")
            .and_then(|literal| literal.trim().split_once(','))
        {
            literals.push(format!("{label}:\n\t.long {}", value.trim()));
            continue;
        }
        let is_section = trimmed.starts_with(".section");
        if is_section || trimmed == ".text" {
            (begin, section) = (done.len(), trimmed.to_owned());
        } else if trimmed.starts_with(".type")
            && trimmed.ends_with("@function")
            && !literals.is_empty()
        {
            let name = section
                .split_once(".text")
                .map_or("", |(_, rest)| rest.split(['"', ',']).next().unwrap_or(""));
            let mut block = vec![
                format!("\t.section\t\".literal{name}\",\"ax\",@progbits"),
                "\t.p2align\t2".to_owned(),
            ];
            block.append(&mut literals);
            if !section.starts_with(".section") {
                block.push("\t.text".to_owned());
            }
            let at = begin.min(done.len());
            done.splice(at..at, block);
        }
        done.push(line.to_owned());
    }
    done.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_come_aligned_before_their_function() {
        let source = "\t.section\t.text.f,\"ax\",@progbits\n\t.literal_position\n\t.literal .LCPI0_0, memcpy\n\t.global f\n\t.type f,@function\nf:\n\tretw.n\n";
        let fixed = with_literals_apart(source);
        let place = |text: &str| {
            fixed
                .find(text)
                .unwrap_or_else(|| panic!("{text}: {fixed}"))
        };
        assert!(place(".section\t\".literal.f\"") < place(".p2align\t2"));
        assert!(place(".p2align\t2") < place(".LCPI0_0:\n\t.long memcpy"));
        assert!(place(".long memcpy") < place(".section\t.text.f"));
        assert!(!fixed.contains(".literal_position"));
    }

    #[test]
    fn a_function_without_literals_stays_as_it_is() {
        let source = "\t.text\n\t.type g,@function\ng:\n\tretw.n\n";
        assert_eq!(with_literals_apart(source), source);
    }
}
