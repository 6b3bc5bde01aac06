//! What the firmware goes through, and what must come of it.
//!
//! First it updates itself once. From there it meets three broken releases, each of which it must leave by itself; and
//! from the first flash it is updated again and again, with the power cut somewhere on the way.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::emulator::Chip;
use super::otadata;
use super::server::Server;
use super::transcript::{Part, Transcript, Who};
use super::variants::{HANGS, NEVER_CONFIRMS, NEXT, PANICS, SECOND, Variant};
use crate::{Result, paths};

/// What all scenarios share.
#[derive(Debug)]
pub struct Bench {
    pub emulator: PathBuf,
    pub s3ota: PathBuf,
    pub authority: PathBuf,
    /// The ELF files of the firmwares, by name.
    pub images: HashMap<&'static str, PathBuf>,
    /// The flash as the cable left it, with 1.0.0.
    pub flash: PathBuf,
    pub transcript: Transcript,
}

/// How long to wait for one thing: the emulator is slow on a busy machine, and the first check comes after 20 seconds.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What the device says when the release on trial is the one to keep.
const CONFIRMED: &str = "confirmed: the server can be reached";

/// A scenario's name, and what came of it.
type Row = (String, Result<String>);

/// Runs all scenarios, and tells in a table what came of them. Whether all held.
pub fn run(bench: &Bench, cuts: u32, seed: u64, jobs: u16) -> Result<bool> {
    let mut rows = vec![(
        "1.0.0 updates itself to 1.1.0, which confirms itself".to_owned(),
        update(bench),
    )];
    if rows.iter().all(|(_, outcome)| outcome.is_ok()) {
        let name = "the bootloader does what s3ota-sim says it does".to_owned();
        rows.push((name, otadata::compare(bench, &updated(bench))));
        let broken = [PANICS, HANGS, NEVER_CONFIRMS].map(Scenario::Broken);
        let cuts = cuts_of(cuts, seed).into_iter().map(Scenario::Cut);
        rows.extend(at_a_time(
            bench,
            broken.into_iter().chain(cuts).collect(),
            jobs,
        ));
    }
    bench.transcript.say("");
    for (name, outcome) in &rows {
        bench.transcript.say(match outcome {
            Ok(seen) => format!("held    {name}: {seen}"),
            Err(problem) => format!("FAILED  {name}: {problem}"),
        });
    }
    let held = rows.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    bench.transcript.say(format!(
        "\n{held} of {} scenarios held (seed {seed})",
        rows.len()
    ));
    Ok(held == rows.len())
}

/// What can run beside others.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    Broken(Variant),
    Cut(Cut),
}

/// A power cut: so long after a line of the device.
#[derive(Debug, Clone, Copy)]
struct Cut {
    number: u32,
    moment: Moment,
    after: Duration,
}

/// A stretch of an update.
#[derive(Debug, Clone, Copy)]
struct Moment {
    name: &'static str,
    /// It begins when the device says this,
    begins: &'static str,
    /// and lasts about so long.
    lasts: Duration,
}

const fn moment(name: &'static str, begins: &'static str, milliseconds: u64) -> Moment {
    Moment {
        name,
        begins,
        lasts: Duration::from_millis(milliseconds),
    }
}

/// The stretches of an update, in their order.
const MOMENTS: [Moment; 8] = [
    moment("in the boot", "ESP-ROM:", 1_000),
    moment("before the network is up", "simple 1.0.0, Confirmed", 2_000),
    moment(
        "at the first bytes of the image",
        "the manifest offers 1.1.0",
        1_000,
    ),
    moment("in the download", "the manifest offers 1.1.0", 1_800),
    moment("at the switch", "1.1.0 is on flash", 60),
    moment("in the restart", "restarting into 1.1.0", 600),
    moment("on trial", "simple 1.1.0, Trial", 8_000),
    moment("at the confirmation", CONFIRMED, 60),
];

/// So many cuts, spread over all moments.
fn cuts_of(cuts: u32, seed: u64) -> Vec<Cut> {
    // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64
    };
    (1..=cuts)
        .zip(MOMENTS.into_iter().cycle())
        .map(|(number, moment)| Cut {
            number,
            moment,
            after: moment.lasts.mul_f64(random()),
        })
        .collect()
}

/// Runs scenarios, so many at a time, and gives their outcomes in their order.
fn at_a_time(bench: &Bench, scenarios: Vec<Scenario>, jobs: u16) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(index) else {
                        return;
                    };
                    let row = match scenario {
                        Scenario::Broken(variant) => (
                            format!("1.2.0 {}", what_is_wrong(variant)),
                            broken(bench, *variant),
                        ),
                        Scenario::Cut(cut) => (
                            format!("cut {} {}", cut.number, cut.moment.name),
                            power_cut(bench, *cut),
                        ),
                    };
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    println!(
                        "{:>3} of {} {}  {}",
                        outcomes.len() + 1,
                        scenarios.len(),
                        if row.1.is_ok() { "held  " } else { "FAILED" },
                        row.0
                    );
                    outcomes.push((index, row));
                }
            });
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, row)| row).collect()
}

fn what_is_wrong(variant: &Variant) -> &str {
    variant
        .name
        .split_once('-')
        .map_or(variant.name, |(_, fault)| fault)
}

/// 1.0.0 boots by mask ROM and bootloader and updates itself over TLS; 1.1.0 boots from the other slot and confirms.
fn update(bench: &Bench) -> Result<String> {
    let mut device = Device::new(bench, "the update", &bench.flash, true)?;
    let outcome = (|| {
        device.publish(SECOND)?;
        device.power_on()?;
        for line in [
            "ESP-ROM:esp32c3",
            "2nd stage bootloader",
            "Loaded app from partition at offset 0x10000",
            "simple 1.0.0, Confirmed",
            "1.1.0 is on flash in slot 1",
            "Loaded app from partition at offset 0x200000",
            "simple 1.1.0, Trial { boot: 1, of: 3 }",
            CONFIRMED,
        ] {
            device.expect(&[line])?;
        }
        device.settled("1.1.0", 1)?;
        Ok("1.1.0 boots from ota_1, confirmed".to_owned())
    })();
    if outcome.is_ok() {
        fs::copy(&device.flash, updated(bench))
            .map_err(|error| paths::about(&device.flash, &error))?;
    }
    device.end(outcome)
}

/// The flash of a device that has updated itself.
fn updated(bench: &Bench) -> PathBuf {
    bench.flash.with_file_name("updated.bin")
}

/// A release that does not work is installed, fails its trial, and is left for the one before, for good. A later one
/// that works is taken.
fn broken(bench: &Bench, variant: Variant) -> Result<String> {
    let heading = format!("1.2.0 {}", what_is_wrong(&variant));
    let mut device = Device::new(bench, &heading, &updated(bench), false)?;
    let outcome = (|| {
        device.publish(variant)?;
        device.power_on()?;
        device.expect(&["simple 1.1.0, Confirmed"])?;
        device.expect(&["1.2.0 is on flash in slot 0"])?;
        for boot in 1..=3 {
            device.expect(&[&format!("simple 1.2.0, Trial {{ boot: {boot}, of: 3 }}")])?;
        }
        device.expect(&["going back to the old firmware"])?;
        device.expect(&["simple 1.1.0, Confirmed"])?;
        device.expect(&["FailedBefore"])?;
        device.settled("1.1.0", 1)?;
        device.publish(NEXT)?;
        device.power_on()?;
        device.expect(&["simple 1.3.0, Trial"])?;
        device.expect(&[CONFIRMED])?;
        device.settled("1.3.0", 0)?;
        Ok("three boots, then 1.1.0 is back and does not take it again; 1.3.0 is taken".to_owned())
    })();
    device.end(outcome)
}

/// The power is cut in an update. Whatever boots then is whole, and the update is made.
fn power_cut(bench: &Bench, cut: Cut) -> Result<String> {
    let Cut {
        number,
        moment,
        after,
    } = cut;
    let heading = format!(
        "cut {number} {}: {} ms after `{}`",
        moment.name,
        after.as_millis(),
        moment.begins
    );
    let mut device = Device::new(bench, &heading, &bench.flash, false)?;
    let outcome = (|| {
        device.publish(SECOND)?;
        device.power_on()?;
        device.expect(&[moment.begins])?;
        device.listen(after);
        device.cut_power();
        let left = device.boots()?;
        device.power_on()?;
        let booted = device.expect(&["simple 1.0.0, ", "simple 1.1.0, "])?;
        if !booted.contains("simple 1.1.0, Confirmed") {
            device.expect(&[CONFIRMED])?;
        }
        device.settled("1.1.0", 1)?;
        Ok(format!("{left} boots afterwards, and the update is made"))
    })();
    device.end(outcome)
}

/// One device with its server, and what is said about it.
struct Device<'b> {
    bench: &'b Bench,
    part: Part<'b>,
    server: Server,
    flash: PathBuf,
    chip: Option<Chip>,
    said: Receiver<(Who, String)>,
    saying: Sender<(Who, String)>,
}

impl<'b> Device<'b> {
    /// A device with a copy of this flash, switched off.
    fn new(bench: &'b Bench, heading: &str, flash: &Path, live: bool) -> Result<Self> {
        let (saying, said) = channel();
        let name: String = heading
            .chars()
            .map_while(|c| match c {
                ':' => None,
                ' ' => Some('-'),
                c => Some(c),
            })
            .collect();
        let copy = bench.flash.with_file_name(format!("{name}.bin"));
        fs::copy(flash, &copy).map_err(|error| paths::about(flash, &error))?;
        Ok(Self {
            bench,
            part: bench.transcript.part(heading, live),
            server: Server::start(&bench.s3ota, &bench.authority, saying.clone())?,
            flash: copy,
            chip: None,
            said,
            saying,
        })
    }

    /// Publishes a firmware.
    fn publish(&mut self, variant: Variant) -> Result<()> {
        let version = self.server.publish(&self.bench.images[variant.name])?;
        let note = format!("published {version} ({})", variant.name);
        self.part.line(Who::Harness, note);
        Ok(())
    }

    fn power_on(&mut self) -> Result<()> {
        self.part.line(Who::Harness, "power on");
        let Bench { emulator, .. } = self.bench;
        let chip = Chip::power_on(
            emulator,
            &self.flash,
            self.server.address,
            self.saying.clone(),
        )?;
        self.chip = Some(chip);
        Ok(())
    }

    fn cut_power(&mut self) {
        if let Some(chip) = self.chip.take() {
            chip.cut_power();
        }
        // What was said before the cut.
        self.listen(Duration::ZERO);
        self.part.line(Who::Harness, "power cut");
    }

    /// Waits until the device says one of these.
    fn expect(&mut self, texts: &[&str]) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while let Some((who, line)) = self.next(end) {
            if who == Who::Device && texts.iter().any(|text| line.contains(text)) {
                return Ok(line);
            }
        }
        Err(format!(
            "the device did not say `{}` in {} s",
            texts.join("` or `"),
            PATIENCE.as_secs()
        ))
    }

    /// Listens for a while.
    fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while self.next(end).is_some() {}
    }

    /// What is said next, until `end`.
    fn next(&mut self, end: Instant) -> Option<(Who, String)> {
        let left = end.saturating_duration_since(Instant::now());
        match self.said.recv_timeout(left) {
            Ok((who, line)) => {
                self.part.line(who, &line);
                Some((who, line))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Switches the device off, whose flash must now hold this version, confirmed, in this slot.
    fn settled(&mut self, version: &str, slot: u64) -> Result<()> {
        // The confirmation is written before it is told.
        self.cut_power();
        let flash = inspect(self.bench, &self.flash)?;
        let in_force = flash["otadata"]
            .as_array()
            .and_then(|sectors| sectors.iter().find(|sector| sector["in_force"] == true))
            .cloned()
            .unwrap_or_default();
        let boots = &flash["boots"];
        let seen = format!(
            "{} boots from slot {}, otadata says {}",
            boots["version"], boots["slot"], in_force["state"]
        );
        self.part.line(Who::Harness, &seen);
        if boots["version"] != version || boots["slot"] != slot || in_force["state"] != "valid" {
            return Err(format!(
                "{version} should be confirmed in slot {slot}, but {seen}"
            ));
        }
        Ok(())
    }

    /// What the bootloader's rules say boots from the flash as it is. It must be something.
    fn boots(&mut self) -> Result<String> {
        let flash = inspect(self.bench, &self.flash)?;
        let version = flash["boots"]["version"].as_str().map(str::to_owned);
        version.ok_or_else(|| format!("nothing boots: {}", flash["problem"]))
    }

    /// Ends the scenario, and the transcript's part with it.
    fn end(mut self, outcome: Result<String>) -> Result<String> {
        self.cut_power();
        if let Err(problem) = &outcome {
            self.part.line(Who::Harness, format!("FAILED: {problem}"));
        }
        self.part.end(outcome.is_err());
        outcome
    }
}

/// What `s3ota inspect` says of a flash.
pub fn inspect(bench: &Bench, flash: &Path) -> Result<Value> {
    let output = Command::new(&bench.s3ota)
        .args(["inspect", "--json"])
        .arg(flash)
        .output()
        .map_err(|error| paths::about(&bench.s3ota, &error))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "`s3ota inspect` says: {}",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::variants::FIRST;
    use super::*;

    #[test]
    fn cuts_fall_on_every_moment_and_the_same_seed_makes_the_same_ones() {
        let cuts = cuts_of(24, 7);
        for moment in MOMENTS {
            let here = cuts.iter().filter(|cut| cut.moment.name == moment.name);
            assert_eq!(here.count(), 3, "{}", moment.name);
        }
        assert!(cuts.iter().all(|cut| cut.after <= cut.moment.lasts));
        let moments = |seed| {
            cuts_of(24, seed)
                .iter()
                .map(|cut| cut.after)
                .collect::<Vec<_>>()
        };
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
    }

    #[test]
    fn the_device_is_flashed_with_the_first_version() {
        assert_eq!(
            (FIRST.version, SECOND.version, NEXT.version),
            ("1.0.0", "1.1.0", "1.3.0")
        );
    }
}
