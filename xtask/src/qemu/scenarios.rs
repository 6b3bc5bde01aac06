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
use super::random::Random;
use super::server::Server;
use super::transcript::{Part, Transcript, Who};
use super::variants::{HANGS, NEVER_CONFIRMS, NEXT, NEXT_WITH_KEY, PANICS, SECOND, Variant};
use crate::{Result, paths};

/// What all scenarios share.
#[derive(Debug)]
pub struct Bench {
    pub emulator: PathBuf,
    pub s3ota: PathBuf,
    pub authority: PathBuf,
    /// The key that signs releases.
    pub release_key: PathBuf,
    /// The ELF files of the firmwares, by name.
    pub images: HashMap<&'static str, PathBuf>,
    /// The flash as the cable left it, with 1.0.0.
    pub flash: PathBuf,
    /// The same, of a firmware that takes signed releases only.
    pub flash_with_key: PathBuf,
    pub transcript: Transcript,
}

/// How long to wait for one thing. The first check comes after 20 seconds at most; the rest is for slow emulators.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How often to look whether the emulator is still there, while it says nothing.
pub const LOOK: Duration = Duration::from_millis(500);

/// What the device says when the release on trial is the one to keep.
const CONFIRMED: &str = "confirmed: the server can be reached";

/// A scenario's name, and what came of it.
type Row = (String, Result<String>);

/// Runs all scenarios, and tells in a table what came of them. Whether all held.
pub fn run(bench: &Bench, cuts: u32, seed: u64, jobs: u16) -> Result<bool> {
    let updated = update(bench);
    let mut rows = vec![(
        "1.0.0 updates itself to 1.1.0, which confirms itself".to_owned(),
        updated
            .as_ref()
            .map(|_| "1.1.0 boots from ota_1, confirmed".to_owned())
            .map_err(String::clone),
    )];
    if let Ok(course) = &updated {
        let flash = after_update(bench);
        let name = "the bootloader does what s3ota-sim says it does".to_owned();
        rows.push((name, otadata::compare(bench, &flash, seed, jobs)));
        let broken = [PANICS, HANGS, NEVER_CONFIRMS].map(Scenario::Broken);
        let cuts = cuts_of(cuts, seed, course)?;
        let scenarios: Vec<_> = broken
            .into_iter()
            .chain([Scenario::Signed])
            .chain(cuts.into_iter().map(Scenario::Cut))
            .collect();
        let done = AtomicUsize::new(0);
        rows.extend(at_a_time(&scenarios, jobs, |scenario| {
            let row = scenario.run(bench);
            println!(
                "{:>3} of {} {}  {}",
                done.fetch_add(1, Ordering::Relaxed) + 1,
                scenarios.len(),
                if row.1.is_ok() { "held  " } else { "FAILED" },
                row.0
            );
            row
        }));
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
    Ok(updated.is_ok() && held == rows.len())
}

/// What can run beside others.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    Broken(Variant),
    Signed,
    Cut(Cut),
}

impl Scenario {
    fn run(self, bench: &Bench) -> Row {
        match self {
            Self::Broken(variant) => (
                format!("1.2.0 {}", what_is_wrong(&variant)),
                broken(bench, variant),
            ),
            Self::Signed => ("signed releases".to_owned(), signed(bench)),
            Self::Cut(cut) => (cut.to_string(), power_cut(bench, cut)),
        }
    }
}

/// A power cut: so long after a line of the device.
#[derive(Debug, Clone, Copy)]
struct Cut {
    number: u32,
    moment: Moment,
    after: Duration,
    /// It is cut again so long after it has come back.
    again: Option<Duration>,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cut {} {}", self.number, self.moment.name)?;
        match self.again {
            Some(_) => f.write_str(", and again"),
            None => Ok(()),
        }
    }
}

/// A stretch of an update.
#[derive(Debug, Clone, Copy)]
struct Moment {
    name: &'static str,
    /// What the device is updated to.
    release: Variant,
    /// When the device says this,
    begins: &'static str,
    /// the cut comes within this share
    share: (f64, f64),
    /// of the time from one line of the update to another, as long as that took when nobody cut.
    of: [&'static str; 2],
}

const ON: &str = "ESP-ROM:";
const RUNS: &str = "simple 1.0.0, Confirmed";
const OFFERED: &str = "the manifest offers 1.1.0, running is 1.0.0";
const ON_FLASH: &str = "1.1.0 is on flash in slot 1";
const RESTARTS: &str = "restarting into 1.1.0";
const ON_TRIAL: &str = "simple 1.1.0, Trial { boot: 1, of: 3 }";
const REACHED: &str = "the manifest offers 1.1.0, running is 1.1.0";

const fn moment(
    name: &'static str,
    begins: &'static str,
    share: (f64, f64),
    ends: &'static str,
) -> Moment {
    Moment {
        name,
        release: SECOND,
        begins,
        share,
        of: [begins, ends],
    }
}

/// The stretches of an update in their order, and what follows a release that panics.
const MOMENTS: [Moment; 9] = [
    moment("in the boot", ON, (0.0, 1.0), RUNS),
    moment("before the check", RUNS, (0.0, 1.0), OFFERED),
    moment(
        "at the first bytes of the image",
        OFFERED,
        (0.0, 0.1),
        ON_FLASH,
    ),
    moment("in the download", OFFERED, (0.1, 0.95), ON_FLASH),
    moment("at the switch", OFFERED, (0.95, 1.05), ON_FLASH),
    moment("in the restart", RESTARTS, (0.0, 1.0), ON_TRIAL),
    moment("on trial", ON_TRIAL, (0.0, 1.0), CONFIRMED),
    moment("at the confirmation", REACHED, (0.0, 1.5), CONFIRMED),
    Moment {
        name: "on a trial that fails",
        release: PANICS,
        begins: "restarting into 1.2.0",
        // Three boots that fail, one that gives it up, one of the old firmware.
        share: (0.0, 5.0),
        of: [RESTARTS, ON_TRIAL],
    },
];

/// What a device says in an update, and when.
type Course = Vec<(Instant, String)>;

/// How long it takes from one line to another.
fn time_of(course: &Course, [begins, ends]: [&str; 2]) -> Result<Duration> {
    let mut lines = course.iter();
    let mut at = |text: &str| {
        let line = lines.find(|(_, line)| line.contains(text));
        line.map(|(at, _)| *at)
            .ok_or_else(|| format!("the update has no line `{text}`"))
    };
    let begins = at(begins)?;
    Ok(at(ends)?.duration_since(begins))
}

/// So many cuts, spread over all moments. Every other device loses its power a second time, somewhere in the time that a
/// whole update takes.
fn cuts_of(cuts: u32, seed: u64, course: &Course) -> Result<Vec<Cut>> {
    let mut random = Random::new(seed);
    let whole = time_of(course, [ON, ON_FLASH])?;
    (1..=cuts)
        .zip(MOMENTS.into_iter().cycle())
        .map(|(number, moment)| {
            let (from, to) = moment.share;
            let share = from + (to - from) * random.fraction();
            let again = whole.mul_f64(random.fraction());
            Ok(Cut {
                number,
                moment,
                after: time_of(course, moment.of)?.mul_f64(share),
                again: number.is_multiple_of(2).then_some(again),
            })
        })
        .collect()
}

/// Does something with each item, so many at a time, and gives what came of it in their order.
pub fn at_a_time<T: Sync, R: Send>(
    items: &[T],
    jobs: u16,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        return;
                    };
                    let result = work(item);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn what_is_wrong(variant: &Variant) -> &str {
    variant
        .name
        .split_once('-')
        .map_or(variant.name, |(_, fault)| fault)
}

/// 1.0.0 boots by mask ROM and bootloader and updates itself over TLS; 1.1.0 boots from the other slot and confirms.
/// What was said, and when.
fn update(bench: &Bench) -> Result<Course> {
    let mut device = Device::new(bench, "the update", &bench.flash, true)?;
    let outcome = (|| {
        device.publish(SECOND)?;
        device.power_on()?;
        for line in [
            ON,
            "2nd stage bootloader",
            "Loaded app from partition at offset 0x10000",
            RUNS,
            OFFERED,
            ON_FLASH,
            RESTARTS,
            "Loaded app from partition at offset 0x200000",
            ON_TRIAL,
            REACHED,
            CONFIRMED,
        ] {
            device.expect(&[line])?;
        }
        device.settled("1.1.0", 1)?;
        let updated = after_update(bench);
        fs::copy(&device.flash, &updated).map_err(|error| paths::about(&updated, &error))?;
        Ok(std::mem::take(&mut device.course))
    })();
    device.end(outcome)
}

/// The flash of a device that has updated itself.
fn after_update(bench: &Bench) -> PathBuf {
    bench.flash.with_file_name("updated.bin")
}

/// A release that does not work is installed, fails its trial, and is left for the one before, for good. A later one
/// that works is taken.
fn broken(bench: &Bench, variant: Variant) -> Result<String> {
    let heading = format!("1.2.0 {}", what_is_wrong(&variant));
    let mut device = Device::new(bench, &heading, &after_update(bench), false)?;
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

/// A device with a release key leaves alone what nobody signed, and takes what is signed.
fn signed(bench: &Bench) -> Result<String> {
    let mut device = Device::new(bench, "signed releases", &bench.flash_with_key, false)?;
    let outcome = (|| {
        device.publish(SECOND)?;
        device.power_on()?;
        device.expect(&[RUNS])?;
        device.expect(&["the manifest is not signed"])?;
        device.cut_power();
        device.publish(NEXT_WITH_KEY)?;
        device.power_on()?;
        device.expect(&["1.3.0 is on flash in slot 1"])?;
        device.expect(&["simple 1.3.0, Trial"])?;
        device.expect(&[CONFIRMED])?;
        device.settled("1.3.0", 1)?;
        Ok("1.1.0, which nobody signed, is left alone; 1.3.0 is taken".to_owned())
    })();
    device.end(outcome)
}

/// The power is cut, perhaps twice. Whatever boots then is whole; an update that works is made, and one that does not is
/// left.
fn power_cut(bench: &Bench, cut: Cut) -> Result<String> {
    let Moment {
        release, begins, ..
    } = cut.moment;
    let heading = format!("{cut}: {} ms after `{begins}`", cut.after.as_millis());
    let good = release.is_sound();
    let flash = if good {
        bench.flash.clone()
    } else {
        after_update(bench)
    };
    let mut device = Device::new(bench, &heading, &flash, false)?;
    let outcome = (|| {
        device.publish(release)?;
        device.power_on()?;
        device.expect(&[begins])?;
        device.listen(cut.after);
        device.cut_power();
        let mut left = device.boots()?;
        if let Some(time) = cut.again {
            device.power_on()?;
            device.listen(time);
            device.cut_power();
            left = format!("{left}, then {}", device.boots()?);
        }
        device.power_on()?;
        if good {
            let booted = device.expect(&["simple 1.0.0, ", "simple 1.1.0, "])?;
            if !booted.contains("simple 1.1.0, Confirmed") {
                device.expect(&[CONFIRMED])?;
            }
        } else {
            device.expect(&["FailedBefore"])?;
        }
        device.settled("1.1.0", 1)?;
        Ok(match good {
            true => format!("{left} boots afterwards, and the update is made"),
            false => format!("{left} boots afterwards, and 1.1.0 stays"),
        })
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
    course: Course,
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
            course: Course::new(),
        })
    }

    /// Publishes a firmware, signed if it has the key itself.
    fn publish(&mut self, variant: Variant) -> Result<()> {
        let Bench {
            images,
            release_key,
            ..
        } = self.bench;
        let key = variant.has_key.then_some(release_key.as_path());
        let version = self.server.publish(&images[variant.name], key)?;
        let signed = if key.is_some() { ", signed" } else { "" };
        let note = format!("published {version} ({}){signed}", variant.name);
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
        loop {
            match self.next(end.min(Instant::now() + LOOK)) {
                Some((Who::Device, line)) if texts.iter().any(|text| line.contains(text)) => {
                    return Ok(line);
                }
                Some(_) => {}
                None => {
                    if let Some(problem) = self.chip.as_mut().and_then(Chip::has_ended) {
                        // What it said last.
                        self.listen(Duration::ZERO);
                        return Err(problem);
                    }
                    if Instant::now() >= end {
                        break;
                    }
                }
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
                if who == Who::Device {
                    self.course.push((Instant::now(), line.clone()));
                }
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
        let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
        let seen = format!(
            "{} boots from slot {}, otadata says {}",
            text(&boots["version"]),
            boots["slot"],
            text(&in_force["state"])
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
    fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
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
        let began = Instant::now();
        let lines = [
            ON, RUNS, OFFERED, ON_FLASH, RESTARTS, ON_TRIAL, REACHED, CONFIRMED,
        ];
        let course = (0..)
            .zip(lines)
            .map(|(n, line)| (began + Duration::from_secs(n * n), line.to_owned()));
        let course: Course = course.collect();
        let cuts = cuts_of(27, 7, &course).unwrap();
        for moment in MOMENTS {
            let here = cuts.iter().filter(|cut| cut.moment.name == moment.name);
            assert_eq!(here.count(), 3, "{}", moment.name);
        }
        let of = |cut: &Cut| time_of(&course, cut.moment.of).unwrap().as_secs_f64();
        assert!(cuts.iter().all(|cut| {
            let (from, to) = cut.moment.share;
            (from * of(cut)..=to * of(cut)).contains(&cut.after.as_secs_f64())
        }));
        assert!(cuts.iter().any(|cut| cut.again.is_some()));
        let moments = |seed| {
            let cuts = cuts_of(27, seed, &course).unwrap();
            cuts.iter().map(|cut| cut.after).collect::<Vec<_>>()
        };
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
    }

    /// Where there is no emulator nothing else would notice that a line was reworded.
    #[test]
    fn the_lines_that_are_waited_for_are_those_the_firmware_says() {
        let sources = [
            paths::root().join("crates/s3ota/src"),
            paths::root().join("crates/s3ota-manifest/src"),
            paths::firmware().join("s3ota-esp/src"),
            paths::firmware().join("examples/simple/src"),
        ];
        let files = sources
            .iter()
            .flat_map(|dir| paths::files_below(dir).unwrap());
        let text: String = files
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        for line in [
            "simple {VERSION}, {:?}",
            "the manifest offers {}, running is {}",
            "{version} is on flash in slot {} and boots next",
            "restarting into {}",
            CONFIRMED,
            "going back to the old firmware",
            "no update: {reason:?}",
            "the manifest is not signed",
        ] {
            assert!(text.contains(line), "nobody says `{line}` any more");
        }
    }

    #[test]
    fn the_device_is_flashed_with_the_first_version() {
        assert_eq!(
            (FIRST.version, SECOND.version, NEXT.version),
            ("1.0.0", "1.1.0", "1.3.0")
        );
    }
}
