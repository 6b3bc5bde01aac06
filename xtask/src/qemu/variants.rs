//! The firmwares of the run: the example `simple` as it is, in several versions, and three broken ones.
//!
//! The example's own sources know nothing of this. Each variant is a copy of it, in a workspace of its own under
//! `target/emulator/firmware`, with another version; a broken one has one more statement in `main`. Board support and
//! library are those of the repository, and are built once for all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::alone::{self, PACKAGE, replace_line, the_line};
use crate::{Result, paths, toolchain};

/// The chip the emulator has.
pub const CHIP: &str = "esp32c3";

/// A firmware to build.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Names its files.
    pub name: &'static str,
    /// What it calls itself.
    pub version: &'static str,
    /// What breaks it.
    fault: Option<Fault>,
    /// It has a release key, and takes nothing else than what is signed with it.
    pub has_key: bool,
}

/// A statement too many.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// The line of `main.rs` it comes after, or in the place of.
    at: Anchor,
    place: Place,
    statement: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Behind,
    InsteadOf,
}

/// A line of the example's `main.rs` that begins like this.
#[derive(Debug, Clone, Copy)]
struct Anchor(&'static str);

/// The firmware has told its version, and nothing else runs yet.
const STARTED: Anchor = Anchor("log::info!(\"simple {VERSION}");
/// The first of all calls.
const GUARD: Anchor = Anchor("let board = s3ota_esp::boot_guard(chip.FLASH, chip.RTC_TIMER);");
/// The network has an address.
const ONLINE: Anchor = Anchor("stack.wait_config_up().await;");

/// What is flashed by cable.
pub const FIRST: Variant = sound("1.0.0");
/// What it updates itself to.
pub const SECOND: Variant = sound("1.1.0");
/// What is published after a failure or a power cut.
pub const NEXT: Variant = sound("1.3.0");
/// What is flashed by cable, where releases are signed.
pub const FIRST_WITH_KEY: Variant = with_key("1.0.0-with-key", FIRST);
/// What it updates itself to.
pub const NEXT_WITH_KEY: Variant = with_key("1.3.0-with-key", NEXT);

// The compiler must not see that what follows is never reached, or it would leave it out: the images are whole.

/// Panics before the network is up.
pub const PANICS: Variant = Variant {
    name: "1.2.0-panics",
    version: "1.2.0",
    has_key: false,
    fault: Some(Fault {
        at: STARTED,
        place: Place::Behind,
        statement: "if core::hint::black_box(true) { panic!(\"this firmware is broken\") }",
    }),
};
/// Does nothing any more before it says what it is. Its trial takes 15 seconds a boot in place of 15 minutes: that is how
/// long the watchdog waits.
pub const HANGS: Variant = Variant {
    name: "1.2.0-hangs",
    version: "1.2.0",
    has_key: false,
    fault: Some(Fault {
        at: GUARD,
        place: Place::InsteadOf,
        statement: "let board = s3ota_esp::boot_guard_with(chip.FLASH, chip.RTC_TIMER, s3ota_esp::Trial { time: \
                    core::time::Duration::from_secs(15), ..Default::default() }); \
                    if core::hint::black_box(true) { log::info!(\"simple {VERSION}, {:?}\", board.boot) } \
                    while core::hint::black_box(true) {}",
    }),
};
/// Works, and restarts again and again before it has looked into its bucket.
pub const NEVER_CONFIRMS: Variant = Variant {
    name: "1.2.0-never-confirms",
    version: "1.2.0",
    has_key: false,
    fault: Some(Fault {
        at: ONLINE,
        place: Place::Behind,
        statement: "if core::hint::black_box(true) { s3ota_esp::restart() }",
    }),
};

/// All of them.
pub const ALL: [Variant; 8] = [
    FIRST,
    SECOND,
    PANICS,
    HANGS,
    NEVER_CONFIRMS,
    NEXT,
    FIRST_WITH_KEY,
    NEXT_WITH_KEY,
];

/// The example, unchanged, in some version.
const fn sound(version: &'static str) -> Variant {
    Variant {
        name: version,
        version,
        fault: None,
        has_key: false,
    }
}

const fn with_key(name: &'static str, sound: Variant) -> Variant {
    Variant {
        name,
        has_key: true,
        ..sound
    }
}

/// What is compiled into each of them.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The device's manifest.
    pub manifest_url: &'a str,
    /// The certificate of the server's authority.
    pub root_ca: &'a Path,
    /// The public key of those that have one.
    pub release_key: &'a Path,
}

impl Variant {
    /// Whether it works.
    pub fn is_sound(&self) -> bool {
        self.fault.is_none()
    }

    /// Builds it, with everything under `dir`. Gives its ELF file.
    pub fn build(&self, dir: &Path, settings: Settings<'_>) -> Result<PathBuf> {
        let workspace = dir.join(self.name);
        self.lay_out(&workspace)?;
        let target_dir = toolchain::target_dir();
        let mut build = toolchain::cargo_build(CHIP, &target_dir)?;
        build
            .args(["--quiet", "--package", PACKAGE, "--features"])
            .arg(format!("{CHIP},qemu"))
            .current_dir(&workspace)
            .env("WIFI_SSID", "")
            .env("WIFI_PASSWORD", "")
            .env("MANIFEST_URL", settings.manifest_url)
            .env("ROOT_CA", settings.root_ca)
            .env(
                "RELEASE_KEY",
                if self.has_key {
                    settings.release_key
                } else {
                    Path::new("")
                },
            );
        toolchain::run(build, &format!("{PACKAGE} {}", self.name))?;
        // The next variant is built to the same place.
        let elf = dir.join(format!("{}.elf", self.name));
        let built = toolchain::built(CHIP, PACKAGE, &target_dir)?;
        let bytes = fs::read(&built).map_err(|error| paths::about(&built, &error))?;
        paths::write_if_changed(&elf, &bytes)?;
        Ok(elf)
    }

    /// Writes the workspace that is built.
    fn lay_out(&self, workspace: &Path) -> Result<()> {
        let example = Path::new("examples").join(PACKAGE);
        for (place, text) in alone::files(&paths::root())? {
            let text = if place == example.join("Cargo.toml") {
                self.with_version(&text)
            } else if place == example.join("src/main.rs") {
                self.with_fault(&text)
            } else {
                Ok(text)
            };
            let text = text.map_err(|problem| format!("{}: {problem}", place.display()))?;
            paths::write_if_changed(&workspace.join(place), text.as_bytes())?;
        }
        Ok(())
    }

    /// The example's manifest, with this version.
    fn with_version(&self, manifest: &str) -> Result<String> {
        replace_line(
            manifest,
            "version = ",
            &format!("version = \"{}\"", self.version),
        )
    }

    /// The example's `main.rs`, with the statement that breaks it.
    fn with_fault(&self, main: &str) -> Result<String> {
        let Some(Fault {
            at: Anchor(anchor),
            place,
            statement,
        }) = self.fault
        else {
            return Ok(main.to_owned());
        };
        let line = the_line(main, anchor).map_err(|problem| {
            format!(
                "{problem}, and {} needs it: see the anchors in xtask/src/qemu/variants.rs",
                self.name
            )
        })?;
        let indent = &line[..line.len() - line.trim_start().len()];
        let statement = format!("{indent}{statement}");
        let with = match place {
            Place::Behind => format!("{line}\n{statement}"),
            Place::InsteadOf => statement,
        };
        Ok(main.replacen(line, &with, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(paths::firmware().join(path)).unwrap()
    }

    #[test]
    fn a_sound_firmware_is_the_example_unchanged_but_for_its_version() {
        let (main, manifest) = (
            read("examples/simple/src/main.rs"),
            read("examples/simple/Cargo.toml"),
        );
        assert_eq!(SECOND.with_fault(&main), Ok(main.clone()));
        let changed = SECOND.with_version(&manifest).unwrap();
        let differ: Vec<_> = manifest
            .lines()
            .zip(changed.lines())
            .filter(|(one, other)| one != other)
            .map(|(_, changed)| changed)
            .collect();
        assert_eq!(differ, ["version = \"1.1.0\""]);
    }

    #[test]
    fn a_broken_firmware_differs_in_one_line() {
        let main = read("examples/simple/src/main.rs");
        for variant in ALL {
            let Some(fault) = variant.fault else { continue };
            let broken = variant.with_fault(&main).unwrap();
            let rest = broken.replacen(fault.statement, "", 1);
            assert_ne!(rest, broken, "{}", variant.name);
            let lines = |text: &str| -> Vec<String> {
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                lines.map(str::to_owned).collect()
            };
            let mut expected = lines(&main);
            if fault.place == Place::InsteadOf {
                expected.retain(|line| !line.trim().starts_with(fault.at.0));
            }
            assert_eq!(lines(&rest), expected, "{}", variant.name);
        }
    }

    #[test]
    fn a_missing_anchor_is_named_with_the_file_to_look_at() {
        let problem = PANICS.with_fault("fn main() {}\n").unwrap_err();
        assert!(
            problem.contains("no line begins with `log::info!"),
            "{problem}"
        );
        assert!(problem.contains("variants.rs"), "{problem}");
        let twice = "    stack.wait_config_up().await;\n".repeat(2);
        let problem = NEVER_CONFIRMS.with_fault(&twice).unwrap_err();
        assert!(problem.contains("more than one"), "{problem}");
    }
}
