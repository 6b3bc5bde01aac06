//! Virtual devices whose firmware is written in C, over `libs3ota.a`.
//!
//! The firmware is the program in `bindings/c/tests`: its arguments say what it does, its output what came of it. The bootloader
//! is the simulator's. `cargo xtask c-api` makes the archives.

mod offers;
mod owner;
mod program;
mod serving;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Bootloader, Flash, Setup};
use tempfile::TempDir;

pub use offers::{Offer, offer};
pub use owner::Owner;
pub use program::{Program, ROOT, archive, target};
pub use serving::Serving;

/// A firmware for the ESP32-C3, of 100,000 bytes.
pub fn firmware(version: &str) -> Vec<u8> {
    builder(version).build()
}

/// The same, to change.
pub fn builder(version: &str) -> ImageBuilder {
    ImageBuilder::new(Chip::Esp32C3, version)
        .project_name("lamp")
        .length(100_000)
}

/// A device: a folder with its flash and its files, and the program that its firmware is.
pub struct Device {
    program: Program,
    dir: TempDir,
    settings: Vec<String>,
    bootloader: Bootloader,
}

/// What a firmware printed.
#[derive(Debug)]
pub struct Said {
    /// Its lines.
    pub lines: Vec<String>,
    /// Its exit code.
    pub code: Option<i32>,
}

impl Device {
    /// A new device that runs `version`.
    pub fn new(program: &Program, version: &str) -> Self {
        Self::with(program, &firmware(version))
    }

    /// A new device with this firmware.
    pub fn with(program: &Program, firmware: &[u8]) -> Self {
        Self::set_up(
            program,
            &Setup::default().flash(firmware).expect("a firmware"),
        )
    }

    /// A device with this on its flash.
    pub fn set_up(program: &Program, flash: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("flash.bin"), flash).expect("the flash");
        Self {
            program: program.clone(),
            dir,
            settings: [
                "attempts=1",
                "idle_ms=10000",
                "deadline_ms=60000",
                "longest_pause_ms=50",
            ]
            .map(String::from)
            .to_vec(),
            bootloader: Bootloader::default(),
        }
    }

    /// The same device, with a bootloader that does app rollback or not.
    pub fn with_bootloader(self, bootloader: Bootloader) -> Self {
        Self { bootloader, ..self }
    }

    /// The same device with one more setting of its program.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// The same device with a file of its own, and the setting that names it.
    pub fn with_file(mut self, setting: &str, bytes: &[u8]) -> Self {
        let path = self
            .dir
            .path()
            .join(format!("file-{}", self.settings.len()));
        fs::write(&path, bytes).expect("a file");
        self.settings.push(format!("{setting}={}", path.display()));
        self
    }

    /// Its flash.
    pub fn flash(&self) -> PathBuf {
        self.dir.path().join("flash.bin")
    }

    /// Boots: the version in the image that the bootloader takes, and its program with these arguments, from its own place.
    pub fn boot(&mut self, arguments: &[&str]) -> (String, Said) {
        let (version, mut command) = self.command(arguments);
        let output = command.output().expect("the program cannot be started");
        (version, said(output))
    }

    /// [`boot`](Self::boot), and the program is expected to come to its end.
    pub fn run(&mut self, arguments: &[&str]) -> Said {
        let (_, said) = self.boot(arguments);
        assert_eq!(said.code, Some(0), "{said:#?}");
        said
    }

    /// What the bootloader makes run.
    pub fn version(&mut self) -> String {
        self.command(&[]).0
    }

    /// The version that runs, and its program, not started yet.
    pub fn command(&mut self, arguments: &[&str]) -> (String, Command) {
        let mut flash = Flash::open(&self.flash()).expect("the flash");
        let app = self
            .bootloader
            .boot(&mut flash)
            .expect("the device does not boot");
        let version = app.image.descriptor.as_ref().map_or("", |it| it.version());
        let mut command = self.program.command();
        command
            .arg(format!("flash={}", self.flash().display()))
            .arg(format!("running={}", app.partition.offset))
            .arg(format!("version={version}"))
            .args(&self.settings)
            .args(arguments);
        (version.to_owned(), command)
    }
}

/// The lines of a program. What a sanitizer found is a failure.
fn said(output: Output) -> Said {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    Said {
        lines: text.lines().map(String::from).collect(),
        code: output.status.code(),
    }
}

impl Said {
    /// The rest of the only line that begins so.
    pub fn of(&self, name: &str) -> &str {
        let mut found = self
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        match (found.next(), found.next()) {
            (Some(rest), None) => rest,
            _ => panic!("not one line begins with {name:?}: {self:#?}"),
        }
    }

    /// A number behind a word in the only line that begins so.
    pub fn number(&self, line: &str, word: &str) -> u64 {
        let rest = format!("{line} {}", self.of(line));
        let mut words = rest.split(' ').skip_while(|it| *it != word).skip(1);
        let number = words.next().and_then(|it| it.parse().ok());
        number.unwrap_or_else(|| panic!("no number behind {word:?} in {rest:?}"))
    }

    /// Whether there is a line that begins so.
    pub fn has(&self, beginning: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with(beginning))
    }
}

/// A tool of Debian, or a failure that says how to get it.
pub fn tool(name: &str, package: &str) -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|dir| dir.join(name).is_file());
    assert!(found, "{name} is missing: apt-get install {package}");
    name.to_owned()
}

/// A file below the repository.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}
