//! What the example goes through, and what must result.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::project::Kind;
use crate::qemu::bootloader::{self, Bootloader};
use crate::qemu::device::Device;
use crate::qemu::emulator::Switches;
use crate::qemu::inside::{self, CutInside};
use crate::qemu::random::Random;
use crate::qemu::scenarios::{Bench, CONFIRMED};
use crate::{Result, paths};

/// A new device's flash, with 2.0.0.
pub const FLASHED: &str = "flash";
/// The flash of a device that has updated itself to 3.0.0.
const UPDATED: &str = "updated";

const ON_TRIAL: &str = "s3ota: on trial, boot 1 of 3";
const GIVEN_UP: &str = "s3ota: given up: going back to the old firmware";
const RESTARTS: &str = "s3ota: restarting: a new firmware is installed";
const INSTALLING: &str = "s3ota: installing 3.0.0, running is 2.0.0";
const FAILED_BEFORE: &str = "s3ota: no update: failed_before";
/// It failed just now.
const RESTING: &str = "s3ota: no update: resting";
const UP_TO_DATE: &str = "s3ota: no update: up_to_date";
/// The example's own words.
const CONFIRMED_BEFORE: &str = "lamp: confirmed";

/// How much of it runs.
#[derive(Debug)]
pub struct Extent {
    /// How many updates lose power in the middle, under each bootloader,
    pub cuts: u32,
    /// and how many inside a flash operation, under all of them together.
    pub cuts_inside: u32,
    pub seed: u64,
    /// Besides the updates, only scenarios with this text in their name.
    pub only: String,
}

/// Runs the scenarios and says how each ended. Whether all have held.
pub fn run(bench: &Bench, extent: &Extent) -> Result<bool> {
    let is_wanted = |name: &str| name.contains(&extent.only);
    let mut all_held = true;
    let mut tell = |name: String, outcome: &Result<String>| {
        let line = match outcome {
            Ok(what) => format!("held    {name}: {what}"),
            Err(problem) => format!("FAILED  {name}: {problem}"),
        };
        all_held &= outcome.is_ok();
        bench.transcript.say(line);
    };
    let mut courses = Vec::new();
    for &bootloader in &bench.bootloaders {
        let updated = update(bench, bootloader);
        let told = updated
            .as_ref()
            .map(|time| format!("3.0.0 boots from ota_1, confirmed; {} s", time.as_secs()))
            .map_err(String::clone);
        tell(format!("the update, {bootloader}"), &told);
        let Ok(time) = updated else {
            continue;
        };
        if bench.cuts_inside {
            courses.push(inside::Course {
                bootloader,
                update: inside::operations(&log_of(bench, bootloader))?,
                failing: Vec::new(),
            });
        }
        // Six minutes of watchdog are enough under one of them: behind its guard a release is in the same hands.
        let kinds: &[Kind] = match bootloader {
            Bootloader::Stock => &[Kind::Panics, Kind::Hangs],
            Bootloader::AppRollback => &[Kind::Panics],
        };
        for &kind in kinds {
            let name = format!("{}, {bootloader}", name_of(kind));
            if is_wanted(&name) {
                let outcome = broken(bench, bootloader, kind, &name);
                tell(name, &outcome);
            }
        }
        let mut random = Random::new(extent.seed);
        for number in 1..=extent.cuts {
            let name = format!("power cut {number}, {bootloader}");
            let moments = [(); 2].map(|()| time.mul_f64(random.fraction()));
            if is_wanted(&name) {
                let outcome = power_cut(bench, bootloader, &name, moments);
                tell(name, &outcome);
            }
        }
    }
    if bench.cuts_inside {
        let flash = Bootloader::Stock.flash(&bench.dir, FLASHED);
        let flash = fs::read(&flash).map_err(|error| paths::about(&flash, &error))?;
        let table = bootloader::table(&flash)?;
        for cut in inside::cuts(extent.cuts_inside, extent.seed, &table, &courses) {
            let name = cut.to_string();
            if is_wanted(&name) {
                tell(name, &cut_inside(bench, cut));
            }
        }
    } else if extent.cuts_inside > 0 {
        bench.transcript.say(inside::SKIPPED);
    }
    Ok(all_held)
}

/// Where the flash operations of the update are.
fn log_of(bench: &Bench, bootloader: Bootloader) -> PathBuf {
    bootloader
        .flash(&bench.dir, UPDATED)
        .with_extension("operations")
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Panics => "a release that panics",
        Kind::Hangs => "a release that hangs",
        Kind::First | Kind::Next => "a release",
    }
}

/// 2.0.0 boots through mask ROM and bootloader and updates itself over TLS; 3.0.0 boots from the other slot and confirms itself.
/// How long it took.
fn update(bench: &Bench, bootloader: Bootloader) -> Result<Duration> {
    let live = bootloader == Bootloader::Stock;
    let heading = format!("the update, {bootloader}");
    let flash = bootloader.flash(&bench.dir, FLASHED);
    let mut device = Device::new(bench, &heading, &flash, live)?;
    let outcome = (|| {
        device.publish_image(Kind::Next.version())?;
        let log = log_of(bench, bootloader);
        let _ = fs::remove_file(&log);
        device.power_on_with(Switches {
            log: bench.cuts_inside.then_some(log.as_path()),
            ..Switches::default()
        })?;
        for line in [
            "ESP-ROM:",
            "Loaded app from partition at offset 0x10000",
            CONFIRMED_BEFORE,
            INSTALLING,
            RESTARTS,
            "Loaded app from partition at offset 0x200000",
            ON_TRIAL,
            CONFIRMED,
        ] {
            device.expect(&[line])?;
        }
        device.settled(Kind::Next.version(), 1)?;
        let updated = bootloader.flash(&bench.dir, UPDATED);
        fs::copy(&device.flash, &updated).map_err(|error| paths::about(&updated, &error))?;
        let course = &device.course;
        Ok(match (course.first(), course.last()) {
            (Some((began, _)), Some((ended, _))) => ended.duration_since(*began),
            _ => Duration::ZERO,
        })
    })();
    device.end(outcome)
}

/// A release that fails behind its guard, in each boot of its trial: the device goes back by itself, and stays there.
fn broken(bench: &Bench, bootloader: Bootloader, kind: Kind, heading: &str) -> Result<String> {
    let flash = bootloader.flash(&bench.dir, UPDATED);
    let mut device = Device::new(bench, heading, &flash, false)?;
    let outcome = (|| {
        device.publish_image(kind.version())?;
        device.power_on()?;
        device.expect(&[RESTARTS])?;
        for boot in 1..=3 {
            device.expect(&[&format!("s3ota: on trial, boot {boot} of 3")])?;
        }
        device.expect(&[GIVEN_UP])?;
        device.expect(&[CONFIRMED_BEFORE])?;
        device.expect(&[FAILED_BEFORE])?;
        device.settled(Kind::Next.version(), 1)?;
        Ok("given up after three boots, and 3.0.0 stays".to_owned())
    })();
    device.end(outcome)
}

/// Power fails twice, at any moment of the update: whatever boots then is complete, and the update is made.
fn power_cut(
    bench: &Bench,
    bootloader: Bootloader,
    heading: &str,
    moments: [Duration; 2],
) -> Result<String> {
    let flash = bootloader.flash(&bench.dir, FLASHED);
    let mut device = Device::new(bench, heading, &flash, false)?;
    let outcome = (|| {
        device.publish_image(Kind::Next.version())?;
        let mut left = Vec::new();
        for moment in moments {
            device.power_on()?;
            device.listen(moment);
            device.cut_power();
            left.push(format!("{} ms: {}", moment.as_millis(), device.boots()?));
        }
        let after = ends(&mut device, bootloader)?;
        Ok(format!("boots after {}; {after}", left.join(", then ")))
    })();
    device.end(outcome)
}

/// Power fails inside a flash operation of the update, perhaps twice.
fn cut_inside(bench: &Bench, cut: CutInside) -> Result<String> {
    let flash = cut.bootloader.flash(&bench.dir, FLASHED);
    let mut device = Device::new(bench, &cut.to_string(), &flash, false)?;
    let outcome = (|| {
        device.publish_image(Kind::Next.version())?;
        let left = inside::cut_twice(
            &mut device,
            &cut,
            &[CONFIRMED, UP_TO_DATE, FAILED_BEFORE, RESTING],
        )?;
        let after = ends(&mut device, cut.bootloader)?;
        Ok(format!("{left}; {after}"))
    })();
    device.end(outcome)
}

/// Powers the device on after a power cut: the update is made in the end. A bootloader with app rollback gives a release up that
/// loses power before its guard; then the old firmware stays.
fn ends(device: &mut Device<'_>, bootloader: Bootloader) -> Result<&'static str> {
    const GIVEN_UP: [&str; 2] = [FAILED_BEFORE, RESTING];
    device.power_on()?;
    let mut said = device.expect(&[CONFIRMED, CONFIRMED_BEFORE])?;
    if !said.contains(CONFIRMED) && device.boots()? == Kind::First.version() {
        let mut ends = vec![CONFIRMED];
        if bootloader == Bootloader::AppRollback {
            ends.extend(GIVEN_UP);
        }
        said = device.expect(&ends)?;
    }
    if GIVEN_UP.iter().any(|given_up| said.contains(given_up)) {
        device.settled(Kind::First.version(), 0)?;
        return Ok("the bootloader gives the release up, and 2.0.0 stays");
    }
    device.settled(Kind::Next.version(), 1)?;
    Ok("the update is made")
}
