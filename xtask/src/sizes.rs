//! `cargo xtask sizes`: the sizes of the firmwares, as a table in the repository.
//!
//! `firmware/size-baseline` is a firmware with Wi-Fi, DHCP, DNS and one TCP connection, and nothing of s3ota. The difference to an
//! example is what s3ota, and the example's own work, add.
//!
//! RAM is static RAM: s3ota uses no heap. CI builds the device crates with `core` alone, so nothing in them can allocate. The stack
//! is counted in `stack.rs`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use object::{Object, ObjectSection, SectionFlags, elf};

use crate::stack::{self, Program};
use crate::{Result, paths, toolchain};

/// Measure the firmwares and write firmware/SIZES.md
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write nothing; fail if the table differs from the measurement by more than 2 percent, or if s3ota exceeds a limit
    #[arg(long)]
    check: bool,
    /// Print what these features of s3ota-esp, such as `p384`, add to `simple` on the ESP32-C3 instead; write nothing
    #[arg(long, value_delimiter = ',', conflicts_with = "check")]
    features: Vec<String>,
    /// Write nothing; print the stack of one chip's firmwares, and the deepest path, function by function
    #[arg(long, value_name = "CHIP", conflicts_with = "check")]
    stack: Option<String>,
}

const CHIPS: [&str; 2] = ["esp32c3", "esp32c6"];
const BASELINE: &str = "size-baseline";
const EXAMPLES: [&str; 2] = ["simple", "advanced"];

/// The chips whose stack is counted.
const STACK_CHIPS: [&str; 4] = ["esp32c2", "esp32c3", "esp32c5", "esp32c6"];

/// The certificates of a chain that lie below an authority that is built in: S3's own and the one that issued it.
const USUAL_CHAIN: u32 = 2;
/// The most that s3ota-tls verifies: the server's own and MAX_INTERMEDIATES others.
const LONGEST_CHAIN: u32 = 6;

/// The most that s3ota may add to `simple` on the ESP32-C3.
const WANTED_FLASH: u64 = 240 * 1024;
const WANTED_RAM: u64 = 48 * 1024;

/// The size of a firmware in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weight {
    /// Instructions in flash.
    text: u64,
    /// Constants.
    rodata: u64,
    /// What is copied from flash to RAM at start: instructions and variables.
    copied: u64,
    /// Variables that are zero at start: they take only RAM.
    bss: u64,
}

impl Weight {
    fn flash(self) -> u64 {
        self.text + self.rodata + self.copied
    }

    fn ram(self) -> u64 {
        self.copied + self.bss
    }

    fn of(elf: &[u8]) -> Result<Self> {
        let file = object::File::parse(elf).map_err(|error| format!("the ELF file: {error}"))?;
        let mut weight = Self {
            text: 0,
            rodata: 0,
            copied: 0,
            bss: 0,
        };
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                continue;
            };
            let name = section.name().unwrap_or_default();
            // Reserved and skipped addresses, the stack, and what the bootloader leaves for the heap are not part of a
            // firmware.
            if sh_flags.0 & elf::SHF_ALLOC.0 == 0
                || name.contains("dummy")
                || name.contains("gap")
                || name == ".stack"
                || name.contains("reclaimed")
            {
                continue;
            }
            let is_zero = section.kind() == object::SectionKind::UninitializedData;
            *match name {
                _ if is_zero => &mut weight.bss,
                ".text" => &mut weight.text,
                ".rodata" | ".flash.appdesc" | ".rodata_desc" | ".rodata.wifi" => {
                    &mut weight.rodata
                }
                _ => &mut weight.copied,
            } += section.size();
        }
        Ok(weight)
    }
}

/// Builds, measures, and writes or compares the table.
pub fn run(args: &Args) -> Result<ExitCode> {
    if !args.features.is_empty() {
        return cost(&args.features);
    }
    if let Some(chip) = &args.stack {
        let chip = STACK_CHIPS.into_iter().find(|known| known == chip);
        let chip = chip.ok_or_else(|| format!("one of {}", STACK_CHIPS.join(", ")))?;
        let stacks = EXAMPLES.map(|example| count(chip, example, true));
        let stacks = stacks.into_iter().collect::<Result<Vec<_>>>()?;
        print!("{}", stack_table(&stacks));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for chip in CHIPS {
        let baseline = measure(chip, BASELINE, &[])?;
        rows.push((chip, BASELINE, baseline, None));
        for example in EXAMPLES {
            rows.push((chip, example, measure(chip, example, &[])?, Some(baseline)));
        }
    }
    let mut stacks = Vec::new();
    for chip in STACK_CHIPS {
        for example in EXAMPLES {
            stacks.push(count(chip, example, false)?);
        }
    }
    let table = table(&rows) + &stack_table(&stacks);
    print!("{table}");
    let path = paths::firmware().join("SIZES.md");
    if !args.check {
        fs::write(&path, &table).map_err(|error| paths::about(&path, &error))?;
        return Ok(ExitCode::SUCCESS);
    }
    let written = fs::read_to_string(&path).map_err(|error| paths::about(&path, &error))?;
    let differ = differences(&written, &table);
    for line in &differ {
        println!("{} differs: {line}", path.display());
    }
    if !differ.is_empty() {
        println!("`cargo xtask sizes` updates it");
    }
    let mut kept = true;
    for stack in stacks
        .iter()
        .filter(|stack| stack.left() < stack::RESERVE as i64)
    {
        kept = false;
        let (chip, firmware, left) = (stack.chip, stack.firmware, stack.left());
        println!("{firmware} on the {chip} has {left} bytes of stack left at its deepest");
    }
    for (what, limit, added) in limits(&rows) {
        if added > limit {
            kept = false;
            println!("s3ota adds {added} bytes of {what}, but may add at most {limit}");
        }
    }
    Ok(if differ.is_empty() && kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints what features add: each by itself, then all of them.
fn cost(features: &[String]) -> Result<ExitCode> {
    let (chip, example) = (CHIPS[0], EXAMPLES[0]);
    let without = measure(chip, example, &[])?;
    println!(
        "{example} on the {chip}: {} bytes of flash, {} of RAM",
        without.flash(),
        without.ram()
    );
    let mut sets: Vec<&[String]> = features.chunks(1).collect();
    if features.len() > 1 {
        sets.push(features);
    }
    for set in sets {
        let with = measure(chip, example, set)?;
        println!(
            "{}: {} bytes of flash, {} of RAM",
            set.join(","),
            with.flash().saturating_sub(without.flash()),
            with.ram().saturating_sub(without.ram())
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds a firmware, with these features of s3ota-esp, and weighs it.
fn measure(chip: &str, package: &str, features: &[String]) -> Result<Weight> {
    let (elf, bytes) = build(chip, package, features)?;
    Weight::of(&bytes).map_err(|problem| format!("{}: {problem}", elf.display()))
}

/// The stack of a firmware in bytes.
struct Stack {
    chip: &'static str,
    firmware: &'static str,
    /// What the linker has left for it.
    room: u64,
    /// The deepest path with [`USUAL_CHAIN`], and with [`LONGEST_CHAIN`].
    usual: u64,
    longest: u64,
}

impl Stack {
    /// What is left at the deepest.
    fn left(&self) -> i64 {
        self.room as i64 - self.longest as i64
    }
}

fn count(chip: &'static str, firmware: &'static str, show_path: bool) -> Result<Stack> {
    let (elf, bytes) = build(chip, firmware, &[])?;
    let about = |problem| format!("{}: {problem}", elf.display());
    let program = Program::of(&bytes).map_err(about)?;
    let usual = program.peak(USUAL_CHAIN).map_err(about)?;
    let longest = program.peak(LONGEST_CHAIN).map_err(about)?;
    if show_path {
        println!("{firmware} on the {chip}:");
        for (name, frame) in &usual.path {
            println!("{frame:8} {name}");
        }
    }
    Ok(Stack {
        chip,
        firmware,
        room: program.room,
        usual: usual.bytes,
        longest: longest.bytes,
    })
}

fn build(chip: &str, package: &str, features: &[String]) -> Result<(PathBuf, Vec<u8>)> {
    eprintln!("building {package} for {chip}");
    let target_dir = toolchain::target_dir();
    let mut build = toolchain::cargo_build(chip, &target_dir)?;
    build
        .args(["--quiet", "--package", package, "--features", chip])
        .args(
            features
                .iter()
                .map(|name| format!("--features=s3ota-esp/{name}")),
        )
        .current_dir(paths::firmware())
        .envs(toolchain::SETTINGS);
    toolchain::run(build, &format!("{package} for {chip}"))?;
    let elf = toolchain::built(chip, package, &target_dir)?;
    let bytes = fs::read(&elf).map_err(|error| paths::about(&elf, &error))?;
    Ok((elf, bytes))
}

type Row = (&'static str, &'static str, Weight, Option<Weight>);

/// What s3ota adds to the firmware that its limits are for.
fn added(rows: &[Row], of: fn(Weight) -> u64) -> u64 {
    rows.iter()
        .filter(|(chip, name, ..)| (*chip, *name) == (CHIPS[0], EXAMPLES[0]))
        .filter_map(|(_, _, weight, baseline)| {
            baseline.map(|base| of(*weight).saturating_sub(of(base)))
        })
        .sum()
}

/// What is limited, the limit, and the measured value.
fn limits(rows: &[Row]) -> [(&'static str, u64, u64); 2] {
    [
        ("flash", WANTED_FLASH, added(rows, Weight::flash)),
        ("RAM", WANTED_RAM, added(rows, Weight::ram)),
    ]
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Sizes of the firmwares\n\n\
         In bytes, by `cargo xtask sizes`, with this workspace's release profile (`opt-level = \"s\"`, and \"z\" for what s3ota\n\
         adds) and the flags in `.cargo/config.toml`, the same for all firmwares. `size-baseline` is the same firmware without\n\
         s3ota: Wi-Fi, DHCP, DNS and one TCP connection; `simple` adds everything else, including its SNTP clock. Flash is the\n\
         sum of the first three columns. RAM is what is copied and what is zeroed, and all that an update uses: s3ota allocates\n\
         nothing, its crates are built without `alloc`. The heap, which is Wi-Fi's, is not counted.\n\n",
    );
    for (what, limit, added) in limits(rows) {
        let verdict = match added.checked_sub(limit) {
            None | Some(0) => "kept".to_owned(),
            Some(over) => format!("missed by {over}"),
        };
        let (example, chip) = (EXAMPLES[0], CHIPS[0]);
        let _ = writeln!(
            text,
            "- s3ota may add at most {limit} bytes of {what} to `{example}` on the {chip}. It adds {added}: {verdict}."
        );
    }
    text.push_str(
        "\n\
         | chip | firmware | text | rodata | copied to RAM | zeroed RAM | flash | RAM | flash added | RAM added |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (chip, name, weight, baseline) in rows {
        let Weight {
            text: code,
            rodata,
            copied,
            bss,
        } = weight;
        let added = |of: fn(Weight) -> u64| match baseline {
            Some(baseline) => of(*weight).saturating_sub(of(*baseline)).to_string(),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "| {chip} | {name} | {code} | {rodata} | {copied} | {bss} | {} | {} | {} | {} |",
            weight.flash(),
            weight.ram(),
            added(Weight::flash),
            added(Weight::ram)
        );
    }
    text
}

/// The linker fails where less than this is left for the stack: see `firmware/.cargo/config.toml`.
const MINIMUM: &str = "ESP_HAL_CONFIG_ENSURE_MAIN_STACK_MINIMUM";

fn stack_table(stacks: &[Stack]) -> String {
    let reserve = stack::RESERVE;
    let mut text = format!(
        "\n## Stack\n\n\
         The main task's stack, in bytes. *Room* is what the linker leaves for it. *Peak* is the longest path through the calls in the\n\
         firmware's machine code, by the sum of its frames: the verification of a signature in the TLS handshake. Each certificate\n\
         between the server's own and a built-in authority makes it deeper: `usual` is S3's chain, with one, and `longest` the most\n\
         that s3ota-tls verifies, which is up to the server. What is left at the longest must be at least {reserve}, for what is not\n\
         counted: interrupts, panics, the chip's ROM, and calls through pointers in the radio's libraries\n\
         ([`stack.rs`](../xtask/src/stack.rs) says how the others are). `{MINIMUM}` makes a firmware that has less not link.\n\n\
         | chip | firmware | room | peak, usual | peak, longest | left |\n\
         |---|---|---:|---:|---:|---:|\n"
    );
    for stack in stacks {
        let Stack {
            chip,
            firmware,
            room,
            usual,
            longest,
        } = stack;
        let left = stack.left();
        let _ = writeln!(
            text,
            "| {chip} | {firmware} | {room} | {usual} | {longest} | {left} |"
        );
    }
    text
}

/// The rows of the table in `measured` that differ from those in `written`: in a number by more than 2 percent, or otherwise.
fn differences<'m>(written: &str, measured: &'m str) -> Vec<&'m str> {
    let row = |line: &&str| line.starts_with('|');
    let mut written = written.lines().filter(row);
    let agree = |one: &str, other: &str| {
        one == other
            || match (one.parse::<f64>(), other.parse::<f64>()) {
                (Ok(one), Ok(other)) => (one - other).abs() <= 0.02 * one.max(other),
                _ => false,
            }
    };
    measured
        .lines()
        .filter(row)
        .filter(|line| {
            let other = written.next().unwrap_or_default();
            let (cells, others): (Vec<_>, Vec<_>) = (
                line.split('|').map(str::trim).collect(),
                other.split('|').map(str::trim).collect(),
            );
            cells.len() != others.len() || !cells.iter().zip(&others).all(|(a, b)| agree(a, b))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Weight = Weight {
        text: 400_000,
        rodata: 60_000,
        copied: 10_000,
        bss: 50_000,
    };

    #[test]
    fn the_table_says_what_an_example_adds() {
        let two = Weight {
            text: 500_000,
            ..ONE
        };
        let table = table(&[
            ("esp32c3", BASELINE, ONE, None),
            ("esp32c3", "simple", two, Some(ONE)),
        ]);
        assert!(
            table.ends_with("| 570000 | 60000 | 100000 | 0 |\n"),
            "{table}"
        );
        assert!(table.contains("It adds 100000: kept."), "{table}");
        let three = Weight {
            bss: 50_000 + WANTED_RAM + 7,
            ..ONE
        };
        let table = super::table(&[("esp32c3", "simple", three, Some(ONE))]);
        assert!(table.contains("missed by 7."), "{table}");
    }

    #[test]
    fn a_table_that_is_off_by_more_than_two_percent_is_noticed() {
        let table_of = |weight| table(&[("esp32c3", BASELINE, weight, None)]);
        let written = table_of(ONE);
        assert!(
            differences(
                &written,
                &table_of(Weight {
                    text: 404_000,
                    ..ONE
                })
            )
            .is_empty()
        );
        assert_eq!(
            differences(
                &written,
                &table_of(Weight {
                    text: 420_000,
                    ..ONE
                })
            )
            .len(),
            1
        );
        assert_eq!(
            differences("", &written).len(),
            written.lines().filter(|line| line.starts_with('|')).count()
        );
    }
}
