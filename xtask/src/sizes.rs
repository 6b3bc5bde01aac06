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

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};

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

/// The feature of s3ota-esp for deltas and compressed images.
const DELTA: &str = "delta";
/// The firmware whose stack is counted with it.
const WITH_DELTA: &str = "simple with `delta`";
/// The most flash that its decoder may take, and the most that the feature may add to `simple` on the ESP32-C3 in all.
const WANTED_DECODER: u64 = 24 * 1024;
const WANTED_DELTA_FLASH: u64 = 36 * 1024;
const WANTED_DELTA_RAM: u64 = 32 * 1024;
/// The feature of s3ota-esp by which the old firmware launches the new one, and the most that it may add to `simple` on the ESP32-C3.
const LAUNCH: &str = "launch";
const WANTED_LAUNCH_FLASH: u64 = 3 * 1024;
const WANTED_LAUNCH_RAM: u64 = 0;

/// In whose functions the decoder is: its own, and those of s3ota that the compiler may have moved it into.
const DECODER: [&str; 2] = ["s3ota_codec::", "s3ota::install::decode::artefact::"];

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
    let (elf, with_delta) = build(CHIPS[0], EXAMPLES[0], &[DELTA.to_owned()])?;
    let mut stacks = Vec::new();
    for chip in STACK_CHIPS {
        for example in EXAMPLES {
            stacks.push(count(chip, example, false)?);
        }
    }
    let about = |problem| format!("{}: {problem}", elf.display());
    stacks.push(stack_of(CHIPS[0], WITH_DELTA, &with_delta, false).map_err(about)?);
    let decoder = decoder_flash(&with_delta).map_err(about)?;
    let delta = delta_costs(&rows, Weight::of(&with_delta).map_err(about)?, decoder);
    let with_launch = measure(CHIPS[0], EXAMPLES[0], &[LAUNCH.to_owned()])?;
    let launch = launch_costs(&rows, with_launch);
    let table = table(&rows) + &delta_table(delta) + &launch_table(launch) + &stack_table(&stacks);
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
    let of_features = [(DELTA, &delta[..]), (LAUNCH, &launch[..])];
    for (feature, costs) in of_features {
        for (what, limit, added) in costs {
            if added > limit {
                kept = false;
                println!(
                    "the feature {feature} adds {added} bytes of {what}, but may add at most {limit}"
                );
            }
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
    let stack = stack_of(chip, firmware, &bytes, show_path);
    stack.map_err(|problem| format!("{}: {problem}", elf.display()))
}

fn stack_of(
    chip: &'static str,
    firmware: &'static str,
    elf: &[u8],
    show_path: bool,
) -> Result<Stack> {
    let program = Program::of(elf)?;
    let usual = program.peak(USUAL_CHAIN)?;
    let longest = program.peak(LONGEST_CHAIN)?;
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

/// What is limited, the limit, and what a feature adds.
type Cost = (&'static str, u64, u64);

/// What a feature adds to the firmware that the limits are for.
fn added_by(rows: &[Row], with: Weight, of: fn(Weight) -> u64) -> u64 {
    let without = rows
        .iter()
        .find(|(chip, name, ..)| (*chip, *name) == (CHIPS[0], EXAMPLES[0]))
        .map_or(with, |(_, _, weight, _)| *weight);
    of(with).saturating_sub(of(without))
}

/// What deltas cost.
fn delta_costs(rows: &[Row], with: Weight, decoder: u64) -> [Cost; 3] {
    let added = |of| added_by(rows, with, of);
    [
        ("flash, the decoder", WANTED_DECODER, decoder),
        ("flash, in all", WANTED_DELTA_FLASH, added(Weight::flash)),
        ("RAM", WANTED_DELTA_RAM, added(Weight::ram)),
    ]
}

/// What launches cost.
fn launch_costs(rows: &[Row], with: Weight) -> [Cost; 2] {
    let added = |of| added_by(rows, with, of);
    [
        ("flash", WANTED_LAUNCH_FLASH, added(Weight::flash)),
        ("RAM", WANTED_LAUNCH_RAM, added(Weight::ram)),
    ]
}

/// Bytes of the functions and constants that the decoder is in.
fn decoder_flash(elf: &[u8]) -> Result<u64> {
    let file = object::File::parse(elf).map_err(|error| format!("the ELF file: {error}"))?;
    let of_decoder = file
        .symbols()
        .filter(|symbol| is_of_decoder(symbol.name().unwrap_or_default()));
    match of_decoder.map(|symbol| symbol.size()).sum() {
        0 => Err("no function of the decoder is in it".into()),
        bytes => Ok(bytes),
    }
}

/// Whether a function is the decoder's: by where it is written, and not by what it is generic over.
fn is_of_decoder(symbol: &str) -> bool {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    // A future of the decoder is polled in a function of its own, and a method's name begins with its type.
    let path = name.strip_prefix("s3ota::apart::poll::<").unwrap_or(&name);
    let path = path.trim_start_matches('<');
    DECODER.iter().any(|part| path.starts_with(part))
}

fn delta_table(costs: [Cost; 3]) -> String {
    let (example, chip) = (EXAMPLES[0], CHIPS[0]);
    let text = format!(
        "\n## Deltas\n\n\
         What the feature `{DELTA}` adds to `{example}` on the {chip}, in bytes. Beside the decoder, that is the choice of an artefact, its\n\
         place in the manifest, and the way back to the image itself. RAM is the decoder's. Without the feature none of it is there.\n\n\
         | what | added | at most |\n\
         |---|---:|---:|\n"
    );
    with_costs(text, &costs)
}

fn launch_table(costs: [Cost; 2]) -> String {
    let (example, chip) = (EXAMPLES[0], CHIPS[0]);
    let text = format!(
        "\n## Launches\n\n\
         What the feature `{LAUNCH}` adds to `{example}` on the {chip}, in bytes: the launcher, and the trial's entry in the log, by\n\
         which an update begins it, and guard and confirmation know of it.\n\n\
         | what | added | at most |\n\
         |---|---:|---:|\n"
    );
    with_costs(text, &costs)
}

/// A table's head, with its rows.
fn with_costs(mut text: String, costs: &[Cost]) -> String {
    for (what, limit, added) in costs {
        let _ = writeln!(text, "| {what} | {added} | {limit} |");
    }
    text
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
         firmware's machine code, by the sum of its frames. Each certificate between the server's own and a built-in authority makes\n\
         the search for a path deeper: `usual` is S3's chain, with one, and `longest` the most that s3ota-tls takes, which is up to\n\
         the server. They are the same where something else takes more. What is left must be at least {reserve}, for what is not\n\
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
    fn what_deltas_cost_is_the_difference_to_the_same_firmware() {
        let rows = [
            ("esp32c3", BASELINE, ONE, None),
            ("esp32c3", "simple", ONE, Some(ONE)),
        ];
        let with = Weight {
            text: ONE.text + 20_000,
            bss: ONE.bss + 30_000,
            ..ONE
        };
        let costs = delta_costs(&rows, with, 15_000);
        assert_eq!(costs.map(|(_, _, added)| added), [15_000, 20_000, 30_000]);
        let table = delta_table(costs);
        assert!(table.ends_with("| RAM | 30000 | 32768 |\n"), "{table}");
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
