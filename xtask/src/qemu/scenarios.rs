//! What the firmware goes through, and what must result.
//!
//! First it updates itself once. From there it is offered broken releases, and must roll back from each by itself; and from the
//! first flash it is updated many times, with a power cut somewhere in between.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::bootloader::{self, Bootloader};
use super::chain::Chain;
use super::deaths::{self, DEATHS, Death};
use super::delta::{self, Timing, Way};
use super::device::{Course, Device, Heard, TIMEOUT};
use super::emulator::Switches;
use super::improv;
use super::inside::{self, CutInside};
use super::mode::Mode;
use super::otadata;
use super::random::Random;
use super::server::Artefacts;
use super::transcript::Transcript;
use super::variants::{self, IS_RIGHT, LARGE, NEXT_WITH_KEY, PANICS, SECOND, Variant};
use crate::{Result, paths};

/// What all scenarios share.
#[derive(Debug)]
pub struct Bench {
    pub emulator: PathBuf,
    /// Whether the emulator can cut the power inside a flash operation.
    pub cuts_inside: bool,
    pub s3ota: PathBuf,
    pub authority: PathBuf,
    /// The release key.
    pub release_key: PathBuf,
    /// The ELF files of the firmwares, by name.
    pub images: HashMap<&'static str, PathBuf>,
    /// How the firmwares try what they install.
    pub mode: Mode,
    /// Where the flashes are.
    pub dir: PathBuf,
    /// The bootloaders that devices may have.
    pub bootloaders: Vec<Bootloader>,
    pub transcript: Transcript,
    /// The certificates that devices see, if not the server's own.
    pub chain: Option<Chain>,
}

impl Bench {
    /// A new device's flash, with 1.0.0.
    pub fn flashed(&self, bootloader: Bootloader) -> PathBuf {
        bootloader.flash(&self.dir, FLASHED)
    }

    /// The flash of a device that has updated itself to 1.1.0.
    pub fn updated(&self, bootloader: Bootloader) -> PathBuf {
        bootloader.flash(&self.dir, "updated")
    }
}

/// A new device's flash.
pub const FLASHED: &str = "flash";
/// The same, with a firmware that installs only signed releases.
pub const FLASHED_WITH_KEY: &str = "flash-with-key";
/// The same, with a firmware that takes deltas.
pub const FLASHED_WITH_DELTA: &str = "flash-with-delta";
/// The same, with a firmware that does nothing.
pub const FLASHED_IDLE: &str = "flash-idle";

/// The name of the comparison with `s3ota-sim`.
pub fn compared(bootloader: Bootloader) -> String {
    format!("the bootloader {bootloader} does what s3ota-sim says it does")
}

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Power cuts between flash operations,
    pub cuts: u32,
    /// inside them,
    pub cuts_inside: u32,
    /// and in an update by a delta.
    pub cuts_delta: u32,
    pub seed: u64,
    /// How many emulators run at the same time.
    pub jobs: u16,
    /// A text in the names of the scenarios to run besides the updates.
    pub only: String,
}

/// The names of two scenarios.
pub const SIGNED: &str = "signed releases";
pub const IN_RAM: &str = "much in RAM";

/// What the device logs when it has confirmed a release.
pub const CONFIRMED: &str = "confirmed: the next release can be fetched";

/// A scenario's name and result.
type Row = (String, Result<String>);

/// Runs all scenarios, and prints a table of the results. Whether all have passed.
pub fn run(bench: &Bench, extent: &Extent) -> Result<bool> {
    let Extent { seed, jobs, .. } = *extent;
    let is_wanted = |name: &str| name.contains(extent.only.as_str());
    let mut rows = Vec::new();
    let mut courses = HashMap::new();
    let mut took = String::new();
    let mut power = String::new();
    for &bootloader in &bench.bootloaders {
        let updated = update(bench, bootloader);
        rows.push((
            format!("1.0.0 updates itself to 1.1.0, which confirms itself, {bootloader}"),
            updated
                .as_ref()
                .map(|(_, stack)| {
                    format!("1.1.0 boots from ota_1, confirmed, with {stack} bytes of stack")
                })
                .map_err(String::clone),
        ));
        if let Ok((course, _)) = updated {
            courses.insert(bootloader, course);
        }
        let name = compared(bootloader);
        if is_wanted(&name) {
            let idle = bootloader.flash(&bench.dir, FLASHED_IDLE);
            let compared = otadata::compare(bench, bootloader, &idle, seed, jobs);
            rows.push((name, compared));
        }
    }

    let dying: Vec<_> = DEATHS
        .iter()
        .flat_map(|&death| bench.bootloaders.iter().map(move |&of| (death, of)))
        .filter(|(_, bootloader)| courses.contains_key(bootloader))
        .map(|(death, bootloader)| Scenario::Dies(death, bootloader))
        .filter(|scenario| is_wanted(&scenario.name()))
        .collect();
    let died = all(bench, &dying, jobs);
    let table: Vec<_> = dying
        .iter()
        .zip(&died)
        .filter_map(|(scenario, (_, outcome))| match *scenario {
            Scenario::Dies(death, bootloader) => Some((death, bootloader, outcome.clone())),
            _ => None,
        })
        .collect();
    rows.extend(died);

    if let Some(course) = courses.get(&Bootloader::Stock) {
        let cuts = cuts_of(extent.cuts, seed, course)?;
        let inside = cuts_inside(bench, extent, &courses)?;
        let (costs, timing) = by_every_way(bench, is_wanted, jobs, &mut rows);
        if !costs.is_empty() {
            took = delta::table(&costs);
        }
        // It takes longest, and comes first.
        let by_delta = timing.map(|timing| Scenario::DeltaCuts {
            cuts: extent.cuts_delta,
            seed,
            timing,
        });
        let scenarios: Vec<_> = by_delta
            .into_iter()
            .chain([Scenario::Signed, Scenario::Large, Scenario::Improv])
            .chain(cuts.into_iter().map(Scenario::Cut))
            .chain(inside.into_iter().map(Scenario::CutInside))
            .filter(|scenario| is_wanted(&scenario.name()))
            .collect();
        let ended = all(bench, &scenarios, jobs);
        power = power_cuts(&scenarios, &ended);
        rows.extend(ended);
    }

    bench.transcript.say("");
    for (name, outcome) in &rows {
        bench.transcript.say(match outcome {
            Ok(seen) => format!("held    {name}: {seen}"),
            Err(problem) => format!("FAILED  {name}: {problem}"),
        });
    }
    if !table.is_empty() {
        let table = deaths::table(&table, &bench.bootloaders);
        bench
            .transcript
            .say(format!("\nreleases that die:\n\n{table}"));
    }
    for text in [took, power] {
        if !text.is_empty() {
            bench.transcript.say(format!("\n{text}"));
        }
    }
    let held = rows.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    bench.transcript.say(format!(
        "\n{held} of {} scenarios held (seed {seed})",
        rows.len()
    ));
    // With launches it is left out on purpose.
    if bench.mode == Mode::Switch && !bench.bootloaders.contains(&Bootloader::AppRollback) {
        bench.transcript.say(bootloader::SKIPPED);
    }
    if !bench.cuts_inside && extent.cuts_inside > 0 {
        bench.transcript.say(inside::SKIPPED);
    }
    Ok(held == rows.len())
}

/// The updates of a firmware with the feature `delta`, by every way. What they cost, and what the power cuts go by.
fn by_every_way(
    bench: &Bench,
    is_wanted: impl Fn(&str) -> bool,
    jobs: u16,
    rows: &mut Vec<Row>,
) -> (Vec<delta::Cost>, Option<Timing>) {
    let ways = Way::ALL.map(|way| (way, is_wanted(way.name())));
    let is_any = ways.iter().any(|(_, is_wanted)| *is_wanted);
    // The power cuts go by the update by a delta.
    let ways: Vec<_> = ways
        .into_iter()
        .filter(|(way, is_wanted)| *is_wanted || (!is_any && *way == Way::Delta))
        .map(|(way, _)| way)
        .filter(|_| bench.images.contains_key(variants::SECOND_WITH_DELTA.name))
        .collect();
    let costs = at_a_time(&ways, jobs, |&way| delta::update(bench, way));
    rows.extend(ways.iter().zip(&costs).map(|(way, cost)| {
        let told = cost.as_ref().map(ToString::to_string);
        (way.name().to_owned(), told.map_err(String::clone))
    }));
    let timing = ways
        .iter()
        .zip(&costs)
        .find(|(way, _)| **way == Way::Delta)
        .and_then(|(_, cost)| Some(cost.as_ref().ok()?.timing()));
    (costs.into_iter().filter_map(Result::ok).collect(), timing)
}

/// How many power cuts ended elsewhere than they should.
fn power_cuts(scenarios: &[Scenario], ended: &[Row]) -> String {
    let outcomes = scenarios.iter().zip(ended).filter_map(|(scenario, row)| {
        let is_cut = matches!(scenario, Scenario::Cut(_) | Scenario::CutInside(_));
        is_cut.then_some(row.1.is_ok())
    });
    let (mut all, mut wrong) = (0, 0);
    for is_right in outcomes {
        all += 1;
        wrong += u32::from(!is_right);
    }
    match all {
        0 => String::new(),
        _ => format!("{wrong} of {all} power cuts end elsewhere"),
    }
}

/// Runs scenarios, that many at the same time, and reports each when it ends.
fn all(bench: &Bench, scenarios: &[Scenario], jobs: u16) -> Vec<Row> {
    let done = AtomicUsize::new(0);
    at_a_time(scenarios, jobs, |scenario| {
        let row = scenario.run(bench);
        println!(
            "{:>3} of {} {}  {}",
            done.fetch_add(1, Ordering::Relaxed) + 1,
            scenarios.len(),
            if row.1.is_ok() { "held  " } else { "FAILED" },
            row.0
        );
        row
    })
}

/// The cuts inside flash operations, if the emulator supports them: in the recorded updates, and in the release that panicked.
fn cuts_inside(
    bench: &Bench,
    extent: &Extent,
    courses: &HashMap<Bootloader, Course>,
) -> Result<Vec<CutInside>> {
    if !bench.cuts_inside {
        return Ok(Vec::new());
    }
    let mut operations = Vec::new();
    for &bootloader in &bench.bootloaders {
        if !courses.contains_key(&bootloader) {
            continue;
        }
        let failing = deaths::heading(PANICS, bootloader).replace(' ', "-");
        let failing = bench.dir.join(format!("{failing}.operations"));
        operations.push(inside::Course {
            bootloader,
            update: inside::operations(&bench.updated(bootloader).with_extension("operations"))?,
            failing: if failing.exists() {
                inside::operations(&failing)?
            } else {
                Vec::new()
            },
        });
    }
    let flash = bench.flashed(Bootloader::Stock);
    let flash = fs::read(&flash).map_err(|error| paths::about(&flash, &error))?;
    let table = bootloader::table(&flash)?;
    Ok(inside::cuts(
        extent.cuts_inside,
        extent.seed,
        &table,
        &operations,
    ))
}

/// Scenarios that can run in parallel.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    Dies(Death, Bootloader),
    DeltaCuts {
        cuts: u32,
        seed: u64,
        timing: Timing,
    },
    Signed,
    Large,
    Improv,
    Cut(Cut),
    CutInside(CutInside),
}

impl Scenario {
    fn name(&self) -> String {
        match self {
            Self::Dies(death, bootloader) => format!("1.2.0 {}, {bootloader}", death.what),
            Self::DeltaCuts { cuts, .. } => delta::cuts_name(*cuts),
            Self::Signed => SIGNED.to_owned(),
            Self::Large => IN_RAM.to_owned(),
            Self::Improv => improv::NAME.to_owned(),
            Self::Cut(cut) => cut.to_string(),
            Self::CutInside(cut) => cut.to_string(),
        }
    }

    fn run(self, bench: &Bench) -> Row {
        let outcome = match self {
            Self::Dies(death, bootloader) => deaths::dies(bench, death, bootloader),
            Self::DeltaCuts { cuts, seed, timing } => delta::cuts(bench, cuts, seed, timing),
            Self::Signed => signed(bench),
            Self::Large => large(bench),
            Self::Improv => improv::provision(bench),
            Self::Cut(cut) => power_cut(bench, cut),
            Self::CutInside(cut) => inside::cut(bench, cut),
        };
        (self.name(), outcome)
    }
}

/// A power cut, a time after a line of the device's log.
#[derive(Debug, Clone, Copy)]
struct Cut {
    number: u32,
    moment: Moment,
    after: Duration,
    /// Power is cut again this long after it has come back.
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

/// A phase of an update.
#[derive(Debug, Clone, Copy)]
struct Moment {
    name: &'static str,
    /// What the device is updated to.
    release: Variant,
    /// When the device logs this,
    begins: &'static str,
    /// the cut comes within this share
    share: (f64, f64),
    /// of the time from one line of the update to another, measured without power cuts.
    of: [&'static str; 2],
}

const ON: &str = "ESP-ROM:";
pub const RUNS: &str = "simple 1.0.0, Confirmed";
const OFFERED: &str = "the manifest offers 1.1.0, running is 1.0.0";
pub const ON_FLASH: &str = "1.1.0 is on flash in slot 1";
const RESTARTS: &str = "restarting into 1.1.0";
pub const ON_TRIAL: &str = "simple 1.1.0, Trial { boot: 1, of: 3 }";
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

/// The phases of an update in their order, and what follows a release that panics.
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
        // Three boots that fail, one that gives the release up, one of the old firmware.
        share: (0.0, 5.0),
        of: [RESTARTS, ON_TRIAL],
    },
];

/// How long it takes from one line to another.
pub fn time_of(course: &Course, [begins, ends]: [&str; 2]) -> Result<Duration> {
    let mut lines = course.iter();
    let mut at = |text: &str| {
        let line = lines.find(|(_, line)| line.contains(text));
        line.map(|(at, _)| *at)
            .ok_or_else(|| format!("the update has no line `{text}`"))
    };
    let begins = at(begins)?;
    Ok(at(ends)?.duration_since(begins))
}

/// That many cuts, spread over all moments. Every other device loses power a second time, at some moment within the duration
/// of a whole update.
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

/// Does something with each item, that many at the same time, and returns the results in the items' order.
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

/// 1.0.0 boots through mask ROM and bootloader and updates itself over TLS; 1.1.0 boots from the other slot and confirms.
/// Returns the log lines with their times.
pub fn update(bench: &Bench, bootloader: Bootloader) -> Result<(Course, usize)> {
    let heading = match bench.chain {
        Some(chain) => format!("the update with {} RSA authorities", chain.authorities),
        None => format!("the update, {bootloader}"),
    };
    let live = bootloader == Bootloader::Stock;
    let mut device = Device::new(bench, &heading, &bench.flashed(bootloader), live)?;
    let outcome = (|| {
        let log = bench.updated(bootloader).with_extension("operations");
        let _ = fs::remove_file(&log);
        // It has no use for what is published beside the image, and takes that.
        device.publish_with(SECOND, Artefacts::All)?;
        device.power_on_with(Switches {
            cut_at: None,
            log: bench.cuts_inside.then_some(log.as_path()),
            stack: Some(variants::stack(&bench.images[SECOND.name])?),
            typing: false,
        })?;
        for line in [ON, "2nd stage bootloader", BOOTS_FIRST, RUNS, OFFERED] {
            device.expect(&[line])?;
        }
        let downloading = deepest_until(&mut device, ON_FLASH)?;
        device.expect(&[RESTARTS])?;
        let on_trial: &[&str] = match bench.mode {
            Mode::Switch => &[BOOTS_SECOND],
            Mode::Launch => &[BOOTS_FIRST, "launching the new firmware, boot 1"],
        };
        for line in on_trial.iter().chain(&[ON_TRIAL, REACHED, CONFIRMED]) {
            device.expect(&[line])?;
        }
        // Each boot finds its stack painted anew.
        let stack = downloading.max(device.stack_used()?);
        device.settled("1.1.0", 1)?;
        device.power_on()?;
        device.expect(&[BOOTS_SECOND])?;
        device.expect(&["simple 1.1.0, Confirmed"])?;
        device.settled("1.1.0", 1)?;
        let updated = bench.updated(bootloader);
        fs::copy(&device.flash, &updated).map_err(|error| paths::about(&updated, &error))?;
        Ok((std::mem::take(&mut device.course), stack))
    })();
    device.end(outcome)
}

/// Waits for a line, and looks at the painted stack once a second until it comes. The most that was used.
fn deepest_until(device: &mut Device<'_>, line: &str) -> Result<usize> {
    let until = Instant::now() + TIMEOUT;
    let mut deepest = 0;
    loop {
        match device.wait(Duration::from_secs(1), &[line]) {
            Heard::Said(_) => return Ok(deepest),
            Heard::Ended(end) => return Err(end.to_string()),
            Heard::Nothing if Instant::now() < until => {
                deepest = deepest.max(device.stack_used()?);
            }
            Heard::Nothing => return Err(format!("the device did not say `{line}`")),
        }
    }
}

/// What the bootloader says of its choice.
const BOOTS_FIRST: &str = "Loaded app from partition at offset 0x10000";
const BOOTS_SECOND: &str = "Loaded app from partition at offset 0x200000";

/// A release has code and data in RAM where the old firmware has its own, and finds all of it.
fn large(bench: &Bench) -> Result<String> {
    let flash = bench.flashed(Bootloader::Stock);
    let mut device = Device::new(bench, IN_RAM, &flash, false)?;
    let outcome = (|| {
        device.publish(LARGE)?;
        device.power_on()?;
        device.expect(&[RUNS])?;
        device.expect(&["restarting into 1.3.0"])?;
        device.expect(&["simple 1.3.0, Trial"])?;
        device.expect(&[IS_RIGHT])?;
        device.expect(&[CONFIRMED])?;
        device.settled("1.3.0", 1)?;
        Ok("80 KB in RAM, RTC memory, and what is in it is right".to_owned())
    })();
    device.end(outcome)
}

/// A device with a release key refuses unsigned releases, and installs signed ones.
fn signed(bench: &Bench) -> Result<String> {
    let mut device = Device::new(
        bench,
        SIGNED,
        &Bootloader::Stock.flash(&bench.dir, FLASHED_WITH_KEY),
        false,
    )?;
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

/// The power is cut, perhaps twice. Whatever boots then is complete; an update that works is installed, and one that does not
/// is rolled back.
fn power_cut(bench: &Bench, cut: Cut) -> Result<String> {
    let Moment {
        release, begins, ..
    } = cut.moment;
    let heading = format!("{cut}: {} ms after `{begins}`", cut.after.as_millis());
    let good = release.is_sound();
    let flash = if good {
        bench.flashed(Bootloader::Stock)
    } else {
        bench.updated(Bootloader::Stock)
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

#[cfg(test)]
mod tests {
    use super::super::variants::{FIRST, NEXT};
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

    /// Without an emulator nothing else would notice that a log line was reworded.
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
            "simple {VERSION}, {board}",
            "the manifest offers {}, running is {}",
            "{} is on flash in slot {} and boots next",
            "restarting into {}",
            CONFIRMED,
            "no update: {:?}",
            "fetching a delta of {} bytes",
            "fetching the compressed image, {} bytes",
            "the delta or compressed image is refused",
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
