//! The firmwares of the run: the example `simple`, unchanged, in several versions, and broken ones.
//!
//! The example's own sources do not know about this. Each variant is a copy in a workspace of its own under
//! `target/emulator/firmware`, with another version. A broken one has an additional statement in `main`, a function that the
//! runtime calls before `main`, another setting, or another first instruction. Board support and library are the
//! repository's, and are built once for all variants.

use std::fs;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

use super::emulator::StackRegion;
use super::mode::Mode;
use crate::alone::{self, PACKAGE, replace_line, the_line};
use crate::{Result, paths, toolchain};

/// The emulator's chip.
pub const CHIP: &str = "esp32c3";

/// A firmware to build.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// The name of its files.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What breaks it.
    fault: Option<Fault>,
    /// Whether it has a release key, and installs only what is signed with it.
    pub has_key: bool,
    /// Whether it takes deltas and compressed images.
    pub has_delta: bool,
}

/// What breaks a firmware.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Additional statements in `main.rs`,
    Main(&'static [Edit]),
    /// or in `start.rs` of the board support.
    Start(&'static [Edit]),
    /// The runtime, which calls `__pre_init` before it sets up RAM, hangs there.
    HangsBeforeMain,
    /// There it calls this additional function, at the end of `main.rs`.
    BeforeMain(&'static str),
    /// A setting of esp-hal, from the environment.
    Setting(&'static str, &'static str),
    /// The first instruction jumps to itself.
    Entry,
    /// The first instruction is none.
    NoInstruction,
}

/// An additional statement: after the line with this beginning, before it, or in its place.
#[derive(Debug, Clone, Copy)]
struct Edit {
    at: Anchor,
    place: Place,
    statement: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Behind,
    InsteadOf,
}

/// The line with this beginning.
#[derive(Debug, Clone, Copy)]
struct Anchor(&'static str);

/// The firmware has logged its version, and nothing else runs yet.
const STARTED: Anchor = Anchor("log::info!(\"simple {VERSION}");
/// The start of the program.
const MAIN: Anchor = Anchor("#[esp_hal::main]");
/// The very first call.
const GUARD: Anchor = Anchor("let (chip, started) = s3ota_esp::start(");
/// What follows the guard, in the board support.
const INIT: Anchor = Anchor("let mut chip = esp_hal::init(config);");
/// The network has an address.
const ONLINE: Anchor =
    Anchor("let _ = with_timeout(Duration::from_secs(60), stack.wait_config_up()).await;");

/// What is flashed by cable.
pub const FIRST: Variant = sound("1.0.0");
/// What it updates itself to.
pub const SECOND: Variant = sound("1.1.0");
/// What is published after a failure or a power cut.
pub const NEXT: Variant = sound("1.3.0");
/// What is flashed by cable, if releases are signed.
pub const FIRST_WITH_KEY: Variant = with_key("1.0.0-with-key", FIRST);
/// What it updates itself to.
pub const NEXT_WITH_KEY: Variant = with_key("1.3.0-with-key", NEXT);
/// What is flashed by cable, if releases come as deltas.
pub const FIRST_WITH_DELTA: Variant = with_delta("1.0.0-with-delta", FIRST);
/// What it updates itself to.
pub const SECOND_WITH_DELTA: Variant = with_delta("1.1.0-with-delta", SECOND);

// The compiler must not see that what follows is never reached, or it would leave it out: the images are whole.

/// Panics before the network is up.
pub const PANICS: Variant = broken(
    "1.2.0-panics",
    Fault::Main(&[Edit {
        at: STARTED,
        place: Place::Behind,
        statement: "if core::hint::black_box(true) { panic!(\"this firmware is broken\") }",
    }]),
);
/// Hangs once it has logged its version. Its trial boots last 15 seconds instead of 15 minutes: that is how long the watchdog
/// waits.
pub const HANGS: Variant = broken(
    "1.2.0-hangs",
    Fault::Main(&[
        Edit {
            at: GUARD,
            place: Place::InsteadOf,
            statement: "let (chip, started) = s3ota_esp::start_with(Config::default().with_cpu_clock(CpuClock::max()), \
                        s3ota_esp::Trial { time: core::time::Duration::from_secs(15), ..Default::default() });",
        },
        Edit {
            at: STARTED,
            place: Place::Behind,
            statement: "while core::hint::black_box(true) {}",
        },
    ]),
);
/// Works, but restarts in a loop before it has checked its bucket.
pub const NEVER_CONFIRMS: Variant = broken(
    "1.2.0-never-confirms",
    Fault::Main(&[Edit {
        at: ONLINE,
        place: Place::Behind,
        statement: "if core::hint::black_box(true) { s3ota_esp::restart() }",
    }]),
);
/// Is built for a later chip, which `esp_hal::init` notices.
pub const PANICS_IN_INIT: Variant = broken(
    "1.2.0-panics-in-init",
    Fault::Setting("ESP_HAL_CONFIG_MIN_CHIP_REVISION", "9900"),
);
/// Panics in `main`, before anything else.
pub const PANICS_BEFORE_THE_GUARD: Variant = broken(
    "1.2.0-panics-before-the-guard",
    Fault::Main(&[Edit {
        at: GUARD,
        place: Place::Before,
        statement: "if core::hint::black_box(true) { panic!(\"this firmware is broken\") }",
    }]),
);
/// Hangs in `main`, before anything else.
pub const HANGS_BEFORE_THE_GUARD: Variant = broken(
    "1.2.0-hangs-before-the-guard",
    Fault::Main(&[Edit {
        at: GUARD,
        place: Place::Before,
        statement: "while core::hint::black_box(true) {}",
    }]),
);
/// Hangs between the guard and the end of `esp_hal::init`.
pub const HANGS_IN_INIT: Variant = broken(
    "1.2.0-hangs-in-init",
    Fault::Start(&[Edit {
        at: INIT,
        place: Place::Before,
        statement: "while core::hint::black_box(true) {}",
    }]),
);
// What the runtime calls before it sets up RAM is `__pre_init` (riscv-rt's `asm.rs`, esp-riscv-rt's `lib.rs`). It calls no
// constructors of `.init_array`, and esp-riscv-rt's `__pre_init` cannot be defined anew where all is linked as one module.
/// Hangs before `main`.
pub const HANGS_BEFORE_MAIN: Variant = broken("1.2.0-hangs-before-main", Fault::HangsBeforeMain);
/// Panics before `main`.
pub const PANICS_BEFORE_MAIN: Variant = broken(
    "1.2.0-panics-before-main",
    Fault::BeforeMain(
        "#[inline(never)] extern \"C\" fn before_main() -> ! { panic!(\"this firmware is broken\") } \
         #[used] static BEFORE_MAIN: extern \"C\" fn() -> ! = before_main;",
    ),
);
/// Hangs in its first instruction.
pub const HANGS_AT_ITS_ENTRY: Variant = broken("1.2.0-hangs-at-its-entry", Fault::Entry);

/// Meets an illegal instruction before all others.
pub const MEETS_NO_INSTRUCTION: Variant =
    broken("1.2.0-meets-no-instruction", Fault::NoInstruction);
/// Does not call the library, and restarts in a loop. `esp_hal::init` switches the watchdogs off.
pub const IS_WITHOUT_THE_LIBRARY: Variant = broken(
    "1.2.0-is-without-the-library",
    Fault::Main(&[Edit {
        at: GUARD,
        place: Place::Before,
        statement: "if core::hint::black_box(true) { let _ = esp_hal::init(Config::default()); esp_hal::system::software_reset() }",
    }]),
);
/// Works, and has as much in RAM as there is room for: where it is copied to, the firmware before it has code, data and stack.
pub const LARGE: Variant = Variant {
    name: "1.3.0-large",
    version: "1.3.0",
    fault: Some(Fault::Main(&[
        Edit {
            at: MAIN,
            place: Place::Before,
            statement: "const fn fill<const N: usize>(mut x: u32) -> [u32; N] { let mut a = [0; N]; let mut i = 0; \
                        while i < N { x = x.wrapping_mul(1664525).wrapping_add(1013904223); a[i] = x; i += 1 } a } \
                        #[unsafe(link_section = \".rwtext.large\")] static CODE: [u32; 8 * 256] = fill(1); \
                        #[unsafe(link_section = \".data.large\")] static DATA: [u32; 64 * 256] = fill(2); \
                        #[unsafe(link_section = \".rtc_fast.data\")] static RTC: [u32; 1024] = fill(3); \
                        #[inline(never)] fn is_right<const N: usize>(a: &'static [u32; N], mut x: u32) -> bool { \
                        a.iter().all(|a| { x = x.wrapping_mul(1664525).wrapping_add(1013904223); \
                        core::hint::black_box(*a) == x }) }",
        },
        Edit {
            at: STARTED,
            place: Place::Behind,
            statement: "log::info!(\"what is in RAM is right: {}\", \
                        is_right(core::hint::black_box(&CODE), 1) && is_right(core::hint::black_box(&DATA), 2) \
                        && is_right(core::hint::black_box(&RTC), 3));",
        },
    ])),
    has_key: false,
    has_delta: false,
};
/// What it logs.
pub const IS_RIGHT: &str = "what is in RAM is right: true";

/// Where the main task's stack of a firmware lies.
pub fn stack(elf: &Path) -> Result<StackRegion> {
    let bytes = fs::read(elf).map_err(|error| paths::about(elf, &error))?;
    let file =
        object::File::parse(&*bytes).map_err(|error| format!("{}: {error}", elf.display()))?;
    let symbol = |name: &str| {
        let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
        let found = found.ok_or_else(|| format!("{} has no {name}", elf.display()))?;
        Ok::<_, String>(found.address() as u32)
    };
    let (start, end) = (symbol("_stack_end")?, symbol("_stack_start")?);
    Ok(StackRegion {
        start,
        length: end.saturating_sub(start),
    })
}

/// All of them. The first two suffice for one update.
pub const ALL: [Variant; 20] = [
    FIRST,
    SECOND,
    PANICS,
    HANGS,
    NEVER_CONFIRMS,
    PANICS_BEFORE_THE_GUARD,
    HANGS_BEFORE_THE_GUARD,
    HANGS_IN_INIT,
    HANGS_BEFORE_MAIN,
    PANICS_BEFORE_MAIN,
    HANGS_AT_ITS_ENTRY,
    NEXT,
    FIRST_WITH_KEY,
    NEXT_WITH_KEY,
    PANICS_IN_INIT,
    MEETS_NO_INSTRUCTION,
    IS_WITHOUT_THE_LIBRARY,
    LARGE,
    FIRST_WITH_DELTA,
    SECOND_WITH_DELTA,
];

/// The example, unchanged, in some version.
const fn sound(version: &'static str) -> Variant {
    Variant {
        name: version,
        version,
        fault: None,
        has_key: false,
        has_delta: false,
    }
}

const fn broken(name: &'static str, fault: Fault) -> Variant {
    Variant {
        name,
        version: "1.2.0",
        fault: Some(fault),
        has_key: false,
        has_delta: false,
    }
}

const fn with_key(name: &'static str, sound: Variant) -> Variant {
    Variant {
        name,
        has_key: true,
        ..sound
    }
}

const fn with_delta(name: &'static str, sound: Variant) -> Variant {
    Variant {
        name,
        has_delta: true,
        ..sound
    }
}

/// What is compiled into each variant.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The device's manifest.
    pub manifest_url: &'a str,
    /// The certificate of the server's authority.
    pub root_ca: &'a Path,
    /// The public key of those that have one.
    pub release_key: &'a Path,
    /// How they try what they install.
    pub mode: Mode,
}

impl Variant {
    /// Whether it works.
    pub fn is_sound(&self) -> bool {
        self.fault.is_none()
    }

    /// Builds it, with everything under `dir`, and returns its ELF file.
    pub fn build(&self, dir: &Path, settings: Settings<'_>) -> Result<PathBuf> {
        let workspace = dir.join(self.name);
        self.lay_out(&workspace)?;
        // A variant with another esp-hal must not make the others rebuild theirs.
        let target_dir = match self.fault {
            Some(Fault::Setting(..)) => dir.join("target"),
            _ => toolchain::target_dir(),
        };
        let mut build = toolchain::cargo_build(CHIP, &target_dir)?;
        let delta = if self.has_delta {
            ",s3ota-esp/delta"
        } else {
            ""
        };
        build
            .args(["--quiet", "--package", PACKAGE, "--features"])
            .arg(format!("{CHIP},{}{delta}", settings.mode.features()))
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
        if let Some(Fault::Setting(name, value)) = self.fault {
            build.env(name, value);
        }
        toolchain::run(build, &format!("{PACKAGE} {}", self.name))?;
        // The next variant is built to the same path.
        let elf = self.elf(dir);
        let built = toolchain::built(CHIP, PACKAGE, &target_dir)?;
        let mut bytes = fs::read(&built).map_err(|error| paths::about(&built, &error))?;
        match self.fault {
            Some(Fault::Entry) => replace_entry(&mut bytes, JUMP_TO_ITSELF),
            Some(Fault::NoInstruction) => replace_entry(&mut bytes, NO_INSTRUCTION),
            Some(Fault::HangsBeforeMain) => hang_before_main(&mut bytes),
            Some(Fault::BeforeMain(_)) => jump_before_main(&mut bytes),
            Some(Fault::Setting(..)) => forget_revision(&mut bytes),
            _ => Ok(()),
        }
        .map_err(|problem| format!("{}: {problem}", built.display()))?;
        paths::write_if_changed(&elf, &bytes)?;
        Ok(elf)
    }

    /// Its ELF file, with everything under `dir`.
    pub fn elf(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.elf", self.name))
    }

    /// Writes the workspace that is built.
    fn lay_out(&self, workspace: &Path) -> Result<()> {
        let example = Path::new("examples").join(PACKAGE);
        let support = Path::new(SUPPORT);
        let mut files = alone::files(&paths::root())?;
        if matches!(self.fault, Some(Fault::Start(_))) {
            files.extend(support_files()?);
        }
        // Its settings come from the environment. Without this file, cargo considers the build out of date.
        paths::write_if_changed(&workspace.join("cfg.toml"), b"")?;
        for (place, text) in files {
            let text = if place == example.join("Cargo.toml") {
                self.with_version(&text)
            } else if place == example.join("src/main.rs") {
                self.with_fault(&text)
            } else if place == support.join("src/start.rs") {
                self.with_fault_in_start(&text)
            } else if place == Path::new("Cargo.toml") {
                self.with_support(&text)
            } else {
                Ok(text)
            };
            let text = text.map_err(|problem| format!("{}: {problem}", place.display()))?;
            let file = workspace.join(&place);
            paths::write_if_changed(&file, text.as_bytes())?;
            // To cargo, variants with the same version are one package, since their workspaces look alike. It would take the last one's
            // program for this one's, unless a source is newer.
            if place == example.join("src/main.rs") {
                fs::write(&file, text).map_err(|error| paths::about(&file, &error))?;
            }
        }
        Ok(())
    }

    /// The workspace's manifest, with the broken board support, and what else the variant needs.
    fn with_support(&self, manifest: &str) -> Result<String> {
        match self.fault {
            Some(Fault::Start(_)) => Ok(on_support_beside_it(manifest)),
            // It says itself what goes where in RAM.
            _ if self.name == LARGE.name => {
                replace_line(manifest, "unsafe_code = ", "unsafe_code = \"allow\"")
            }
            _ => Ok(manifest.to_owned()),
        }
    }

    /// The example's manifest, with this version.
    fn with_version(&self, manifest: &str) -> Result<String> {
        replace_line(
            manifest,
            "version = ",
            &format!("version = \"{}\"", self.version),
        )
    }

    /// The example's `main.rs`, with what breaks it.
    fn with_fault(&self, main: &str) -> Result<String> {
        match self.fault {
            Some(Fault::Main(edits)) => self.with_edits(main, edits),
            Some(Fault::BeforeMain(function)) => Ok(format!("{main}\n{function}\n")),
            _ => Ok(main.to_owned()),
        }
    }

    /// The board support's `start.rs`, with what breaks it.
    fn with_fault_in_start(&self, start: &str) -> Result<String> {
        match self.fault {
            Some(Fault::Start(edits)) => self.with_edits(start, edits),
            _ => Ok(start.to_owned()),
        }
    }

    fn with_edits(&self, text: &str, edits: &[Edit]) -> Result<String> {
        let mut text = text.to_owned();
        for Edit {
            at: Anchor(anchor),
            place,
            statement,
        } in edits
        {
            let line = the_line(&text, anchor).map_err(|problem| {
                format!(
                    "{problem}, and {} needs it: see the anchors in xtask/src/qemu/variants.rs",
                    self.name
                )
            })?;
            let indent = &line[..line.len() - line.trim_start().len()];
            let statement = format!("{indent}{statement}");
            let with = match place {
                Place::Before => format!("{statement}\n{line}"),
                Place::Behind => format!("{line}\n{statement}"),
                Place::InsteadOf => statement,
            };
            text = text.replacen(line, &with, 1);
        }
        Ok(text)
    }
}

/// The board support's directory.
const SUPPORT: &str = "s3ota-esp";

/// The files of the board support, by their paths in a workspace with a copy of it.
fn support_files() -> Result<Vec<(PathBuf, String)>> {
    let firmware = paths::firmware();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).map_err(|error| paths::about(&file, &error))?;
        Ok((
            file.strip_prefix(&firmware).unwrap_or(&file).to_owned(),
            text,
        ))
    };
    let files = paths::files_below(&firmware.join(SUPPORT))?;
    files.into_iter().map(read).collect()
}

/// The workspace's manifest, with its own board support.
fn on_support_beside_it(manifest: &str) -> String {
    let original = paths::firmware().join(SUPPORT);
    manifest.replace(
        &format!("path = \"{}\"", original.display()),
        &format!("path = \"{SUPPORT}\""),
    )
}

/// `j .`, compressed.
const JUMP_TO_ITSELF: [u8; 2] = 0xa001_u16.to_le_bytes();

/// All bits are zero: the ISA keeps that illegal (RISC-V unprivileged ISA, 1.5).
const NO_INSTRUCTION: [u8; 2] = [0, 0];

/// Replaces the first instruction of a firmware.
fn replace_entry(elf: &mut [u8], instruction: [u8; 2]) -> Result<()> {
    let entry = parse(elf)?.entry();
    write_at(elf, entry, &instruction)
}

/// The same, in what the runtime calls first.
fn hang_before_main(elf: &mut [u8]) -> Result<()> {
    let at = address_of(elf, |name| name == "__pre_init")?;
    write_at(elf, at, &JUMP_TO_ITSELF)
}

/// A jump to the additional function, in what the runtime calls first.
fn jump_before_main(elf: &mut [u8]) -> Result<()> {
    let at = address_of(elf, |name| name == "__pre_init")?;
    let to = address_of(elf, |name| name.contains("before_main"))?;
    write_at(elf, at, &jump(at as u32, to as u32))
}

/// `auipc t1, …; jr …(t1)`: a jump from one address to another (RISC-V unprivileged ISA, 2.4 and 2.5).
fn jump(at: u32, to: u32) -> [u8; 8] {
    const T1: u32 = 6;
    let offset = to.wrapping_sub(at);
    let high = offset.wrapping_add(0x800) & 0xffff_f000;
    let low = offset.wrapping_sub(high);
    let auipc = high | T1 << 7 | 0x17;
    let jalr = low << 20 | T1 << 15 | 0x67;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&auipc.to_le_bytes());
    bytes[4..].copy_from_slice(&jalr.to_le_bytes());
    bytes
}

fn parse(elf: &[u8]) -> Result<object::File<'_>> {
    object::File::parse(elf).map_err(|error| error.to_string())
}

/// The address of the only symbol with this name.
fn address_of(elf: &[u8], is_it: impl Fn(&str) -> bool) -> Result<u64> {
    let file = parse(elf)?;
    // Symbols from assembly need not be marked as functions.
    let mut symbols = file.symbols();
    let symbol = symbols
        .find(|symbol| symbol.name().is_ok_and(&is_it))
        .ok_or("a function is missing in it")?;
    Ok(symbol.address())
}

/// Writes to what is at an address in memory.
fn write_at(elf: &mut [u8], address: u64, bytes: &[u8]) -> Result<()> {
    let at = {
        let file = parse(elf)?;
        let mut segments = file.segments();
        let offset = segments.find_map(|segment| {
            let within = address.checked_sub(segment.address())?;
            let (start, length) = segment.file_range();
            (within < length).then_some(start + within)
        });
        offset
            .and_then(|offset| usize::try_from(offset).ok())
            .ok_or_else(|| format!("{address:#x} is in no segment"))?
    };
    elf.get_mut(at..at + bytes.len())
        .ok_or("the file is cut off")?
        .copy_from_slice(bytes);
    Ok(())
}

/// Makes an ELF file claim that it runs on every revision of the chip. It states the revision that it needs apart from its code,
/// and would not be published or installed otherwise; but here it must run.
fn forget_revision(elf: &mut [u8]) -> Result<()> {
    /// From `metadata!` in esp-hal's `lib.rs`: digits.
    const SYMBOL: &str = "build_info.MIN_CHIP_REVISION";

    let range = {
        let file = parse(elf)?;
        let mut symbols = file.symbols();
        let symbol = symbols.find(|symbol| symbol.name() == Ok(SYMBOL));
        let range = symbol.and_then(|symbol| {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            let (start, _) = section.file_range()?;
            let start = start + symbol.address().checked_sub(section.address())?;
            Some(usize::try_from(start).ok()?..usize::try_from(start + symbol.size()).ok()?)
        });
        range.ok_or_else(|| format!("there is no {SYMBOL} in it"))?
    };
    elf.get_mut(range).ok_or("the file is cut off")?.fill(b'0');
    Ok(())
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
    fn a_broken_firmware_differs_in_its_fault_and_nothing_else() {
        let main = read("examples/simple/src/main.rs");
        let start = read("s3ota-esp/src/start.rs");
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            lines.map(str::to_owned).collect()
        };
        let check = |name: &str, original: &str, broken: &str, edits: &[Edit]| {
            let mut rest = broken.to_owned();
            let mut expected = lines(original);
            for edit in edits {
                let without = rest.replacen(edit.statement, "", 1);
                assert_ne!(rest, without, "{name}");
                rest = without;
                if edit.place == Place::InsteadOf {
                    expected.retain(|line| !line.trim().starts_with(edit.at.0));
                }
            }
            assert_eq!(lines(&rest), expected, "{name}");
        };
        for variant in ALL {
            let broken = variant.with_fault(&main).unwrap();
            let broken_start = variant.with_fault_in_start(&start).unwrap();
            match variant.fault {
                Some(Fault::Main(edits)) => check(variant.name, &main, &broken, edits),
                Some(Fault::Start(edits)) => check(variant.name, &start, &broken_start, edits),
                Some(Fault::BeforeMain(function)) => {
                    assert_eq!(broken, format!("{main}\n{function}\n"), "{}", variant.name);
                }
                Some(
                    Fault::Setting(..)
                    | Fault::Entry
                    | Fault::NoInstruction
                    | Fault::HangsBeforeMain,
                )
                | None => {}
            }
            let in_main = matches!(variant.fault, Some(Fault::Main(_) | Fault::BeforeMain(_)));
            let in_start = matches!(variant.fault, Some(Fault::Start(_)));
            assert_eq!(
                (broken != main, broken_start != start),
                (in_main, in_start),
                "{}",
                variant.name
            );
        }
    }

    #[test]
    fn a_workspace_can_stand_on_a_board_support_of_its_own() {
        let files = alone::files(&paths::root()).unwrap();
        let mut manifests = files
            .iter()
            .filter(|(place, _)| place == Path::new("Cargo.toml"));
        let manifest = on_support_beside_it(&manifests.next().unwrap().1);
        assert!(manifest.contains("path = \"s3ota-esp\""), "{manifest}");
        let start = Path::new("s3ota-esp/src/start.rs");
        assert!(
            support_files()
                .unwrap()
                .iter()
                .any(|(place, _)| place == start)
        );
    }

    #[test]
    fn a_firmware_that_hangs_at_its_entry_differs_in_its_first_instruction() {
        // Of what there is on every machine: this test itself.
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut patched = this.clone();
        replace_entry(&mut patched, JUMP_TO_ITSELF).unwrap();
        let differ: Vec<_> = (0..this.len())
            .filter(|&at| this[at] != patched[at])
            .collect();
        assert!((1..=2).contains(&differ.len()), "{differ:?}");
        let at = differ[0] & !1;
        assert_eq!(patched[at..at + 2], [0x01, 0xa0]);
        assert!(replace_entry(&mut this[..64].to_vec(), NO_INSTRUCTION).is_err());
    }

    /// As `riscv64-unknown-elf-as` writes `auipc t1, 0x2; jr -0x7f0(t1)`.
    #[test]
    fn a_jump_is_two_instructions() {
        assert_eq!(
            jump(0x4038_0000, 0x4038_1810),
            [0x17, 0x23, 0x00, 0x00, 0x67, 0x00, 0x03, 0x81]
        );
        assert_eq!(jump(0x4200_0000, 0x4200_0010)[..4], [0x17, 0x03, 0, 0]);
    }

    #[test]
    fn a_missing_anchor_is_named_with_the_file_to_look_at() {
        let problem = PANICS.with_fault("fn main() {}\n").unwrap_err();
        assert!(
            problem.contains("no line begins with `log::info!"),
            "{problem}"
        );
        assert!(problem.contains("variants.rs"), "{problem}");
        let twice = format!("    {}\n", ONLINE.0).repeat(2);
        let problem = NEVER_CONFIRMS.with_fault(&twice).unwrap_err();
        assert!(problem.contains("more than one"), "{problem}");
    }
}
