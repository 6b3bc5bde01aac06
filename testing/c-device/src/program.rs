//! The firmware's program, compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::tool;

/// The repository.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A program that runs on this machine, by itself or in an emulator.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    emulator: Vec<String>,
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    let this = env::current_exe().expect("the path of this program");
    // target/debug/deps/this
    this.ancestors()
        .nth(3)
        .map_or_else(PathBuf::new, Path::to_owned)
}

/// An archive that `cargo xtask c-api` has made.
pub fn archive(name: &str) -> PathBuf {
    made(name, "libs3ota.a")
}

/// A file that `cargo xtask c-api` has made.
fn made(name: &str, file: &str) -> PathBuf {
    let path = target().join("c-api").join(name).join(file);
    assert!(
        path.is_file(),
        "{} is missing: cargo xtask c-api {name}",
        path.display()
    );
    path
}

impl Program {
    /// The program in `path`, run by an emulator.
    fn emulated(path: PathBuf, emulator: &[&str]) -> Self {
        let emulator = emulator.iter().map(|it| (*it).to_owned()).collect();
        Self { path, emulator }
    }

    /// The test device as RISC-V code, in QEMU's user mode.
    pub fn on_riscv() -> Self {
        let sources = ["device", "port", "os_bare"];
        Self::riscv("device", &sources, &archive("riscv32imac"))
    }

    /// The arithmetic of TLS as RISC-V code, in QEMU's user mode.
    pub fn known_answers_on_riscv() -> Self {
        let archive = made("known-answers", "libs3ota_known_answers.a");
        Self::riscv("known-answers", &["known_answers", "os_bare"], &archive)
    }

    fn riscv(name: &str, sources: &[&str], archive: &Path) -> Self {
        let dir = target().join("c-api/tests");
        fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join(format!("riscv-{name}-{}", std::process::id()));
        let mut gcc = Command::new(tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"));
        gcc.args(["-march=rv32imac", "-mabi=ilp32", "-std=c11", "-Os"])
            .args([
                "-Wall",
                "-Wextra",
                "-Werror",
                "-ffreestanding",
                "-nostdlib",
                "-static",
            ])
            .args(["-ffunction-sections", "-Wl,--gc-sections", "-I"])
            .arg(Path::new(ROOT).join("bindings/c/include"))
            .args(sources.iter().map(|it| tests(&format!("{it}.c"))))
            .arg(archive)
            .args(["-lgcc", "-o"])
            .arg(&path);
        compile(gcc);
        Self::emulated(path, &[&tool("qemu-riscv32", "qemu-user")])
    }

    /// The test device as windowed Xtensa code, in QEMU's user mode. `cargo xtask c-api xtensa` has built it.
    pub fn on_xtensa() -> Self {
        Self::xtensa("device")
    }

    /// The arithmetic of TLS as windowed Xtensa code, in QEMU's user mode.
    pub fn known_answers_on_xtensa() -> Self {
        Self::xtensa("known_answers")
    }

    fn xtensa(name: &str) -> Self {
        let emulator = tool("qemu-xtensa", "qemu-user");
        Self::emulated(made("xtensa", name), &[&emulator, "-cpu", "dc232b"])
    }

    /// A C program for this machine, under AddressSanitizer and UndefinedBehaviorSanitizer. Warnings are errors.
    ///
    /// Each test program compiles its own, once.
    pub fn on_host(name: &str, sources: &[&str], flags: &[&str]) -> Self {
        let dir = target().join("c-api/tests");
        fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join(format!("{name}-{}", std::process::id()));
        let mut gcc = Command::new(tool("gcc", "gcc"));
        gcc.args([
            "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread",
        ])
        .args(flags)
        .arg("-I")
        .arg(archive("host").with_file_name(""))
        .args(
            sources
                .iter()
                .map(|it| Path::new(ROOT).join("bindings/c").join(it)),
        )
        .arg(archive("host"))
        .arg("-o")
        .arg(&path);
        compile(gcc);
        Self {
            path,
            emulator: Vec::new(),
        }
    }

    /// What starts it.
    pub fn command(&self) -> Command {
        let mut words = self.emulator.iter().map(Path::new).chain([&*self.path]);
        let mut command = Command::new(words.next().unwrap_or(&self.path));
        command.args(words);
        command
    }
}

fn tests(file: &str) -> PathBuf {
    Path::new(ROOT).join("bindings/c/tests").join(file)
}

/// Runs a compiler, or fails with what it says.
pub fn compile(mut command: Command) {
    let output = command.output().expect("the compiler cannot be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
}
