//! Releases that die: in their first instruction, before `main`, before the guard, after it. A device must roll back from them by
//! itself. It does, with one exception: those that never reach the guard, under a bootloader without app rollback. Where the firmware
//! before launches them, there is no exception.

use std::fs;
use std::time::Duration;

use super::bootloader::{self, Bootloader};
use super::device::Device;
use super::emulator::Switches;
use super::mode::Mode;
use super::scenarios::{Bench, CONFIRMED};
use super::variants::{
    HANGS, HANGS_AT_ITS_ENTRY, HANGS_BEFORE_MAIN, HANGS_BEFORE_THE_GUARD, HANGS_IN_INIT,
    IS_WITHOUT_THE_LIBRARY, MEETS_NO_INSTRUCTION, NEVER_CONFIRMS, NEXT, PANICS, PANICS_BEFORE_MAIN,
    PANICS_BEFORE_THE_GUARD, PANICS_IN_INIT, Variant,
};
use crate::{Result, paths};

/// How far a release gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// Not to the guard.
    Nowhere,
    /// The guard counts its boots.
    ToTheGuard,
    /// It logs its version, and that it is on trial.
    ToItsVersion,
}

/// A release that does not work.
#[derive(Debug, Clone, Copy)]
pub struct Death {
    /// How, for people.
    pub what: &'static str,
    pub variant: Variant,
    comes: Comes,
}

const fn death(what: &'static str, variant: Variant, comes: Comes) -> Death {
    Death {
        what,
        variant,
        comes,
    }
}

/// In the order in which a boot gets to these places.
pub const DEATHS: [Death; 12] = [
    death(
        "hangs in its first instruction",
        HANGS_AT_ITS_ENTRY,
        Comes::Nowhere,
    ),
    death(
        "meets an illegal instruction",
        MEETS_NO_INSTRUCTION,
        Comes::Nowhere,
    ),
    death("hangs before main", HANGS_BEFORE_MAIN, Comes::Nowhere),
    // The panic handler is the guard there.
    death("panics before main", PANICS_BEFORE_MAIN, Comes::ToTheGuard),
    death(
        "hangs before the guard",
        HANGS_BEFORE_THE_GUARD,
        Comes::Nowhere,
    ),
    death(
        "is without the library",
        IS_WITHOUT_THE_LIBRARY,
        Comes::Nowhere,
    ),
    death(
        "panics before the guard",
        PANICS_BEFORE_THE_GUARD,
        Comes::ToTheGuard,
    ),
    death(
        "panics in init, its chip being too old",
        PANICS_IN_INIT,
        Comes::ToTheGuard,
    ),
    death("hangs in init", HANGS_IN_INIT, Comes::ToTheGuard),
    death("panics after the guard", PANICS, Comes::ToItsVersion),
    death("hangs after the guard", HANGS, Comes::ToItsVersion),
    death("never confirms", NEVER_CONFIRMS, Comes::ToItsVersion),
];

/// How long a release may keep dying: three boots that a watchdog ends, with time to spare.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// After this many resets without a count it is a loop.
const LOOP: usize = 4;

/// What the mask ROM prints first after a reset, with its cause.
const RESET: &str = "rst:0x";

/// What the device logs when it has rolled back.
const BACK: &str = "simple 1.1.0, ";

/// What a device does about a release, under a bootloader. The result.
pub fn dies(bench: &Bench, death: Death, bootloader: Bootloader) -> Result<String> {
    let heading = heading(death.variant, bootloader);
    let mut device = Device::new(bench, &heading, &bench.updated(bootloader), false)?;
    let outcome = (|| {
        device.publish(death.variant)?;
        let log = device.flash.with_extension("operations");
        let _ = fs::remove_file(&log);
        device.power_on_with(Switches {
            log: bench.cuts_inside.then_some(log.as_path()),
            ..Switches::default()
        })?;
        device.expect(&["simple 1.1.0, Confirmed"])?;
        device.expect(&["1.2.0 is on flash in slot 0"])?;
        device.expect(&["restarting into 1.2.0"])?;
        match (death.comes, bootloader, bench.mode) {
            (Comes::Nowhere, Bootloader::Stock, Mode::Switch) => loops(&mut device),
            (comes, ..) => is_left(&mut device, comes, bootloader, bench.mode),
        }
    })();
    device.end(outcome)
}

/// The name of a device with such a release.
pub fn heading(variant: Variant, bootloader: Bootloader) -> String {
    format!("{} {bootloader}", variant.name)
}

/// The old firmware is back, and stays. A later release that works is installed.
fn is_left(
    device: &mut Device<'_>,
    comes: Comes,
    bootloader: Bootloader,
    mode: Mode,
) -> Result<String> {
    let boots = match (comes, bootloader) {
        (Comes::ToItsVersion, Bootloader::Stock) => 3,
        // Its bootloader gives it up after one.
        (Comes::ToItsVersion, Bootloader::AppRollback) => 1,
        _ => 0,
    };
    let before = device.course.len();
    let launches = if mode == Mode::Launch { 3 } else { 0 };
    for boot in 1..=boots.max(launches) {
        if boot <= launches {
            let line = format!("launching the new firmware, boot {boot}");
            device.expect_in(TIMEOUT, &[&line])?;
        }
        if boot <= boots {
            let line = format!("simple 1.2.0, Trial {{ boot: {boot}, of: 3 }}");
            device.expect_in(TIMEOUT, &[&line])?;
        }
    }
    device.expect_in(TIMEOUT, &[BACK])?;
    let resets = device.course[before..]
        .iter()
        .filter(|(_, line)| line.contains(RESET))
        .count();
    device.expect(&["FailedBefore"])?;
    device.settled("1.1.0", 1)?;
    device.publish(NEXT)?;
    device.power_on()?;
    device.expect(&["simple 1.3.0, Trial"])?;
    device.expect(&[CONFIRMED])?;
    device.settled("1.3.0", 0)?;
    // The last one is that of 1.1.0.
    Ok(match resets.saturating_sub(1) {
        1 => "1.1.0 is back after one boot of it".to_owned(),
        boots => format!("1.1.0 is back after {boots} boots of it"),
    })
}

/// Nothing counts the boots, and nothing ends the trial: it resets in a loop, powering it off does not help, and otadata never
/// changes.
fn loops(device: &mut Device<'_>) -> Result<String> {
    let mut causes = Vec::new();
    let mut otadata = Vec::new();
    for power_on in [false, true] {
        if power_on {
            device.cut_power();
            device.power_on()?;
        }
        // The first reset is the restart into the release, or power on.
        for reset in 0..=LOOP {
            let line = device.expect_in(TIMEOUT, &[RESET, BACK])?;
            if line.contains(BACK) {
                return Err(format!("it is stopped after all: {line}"));
            }
            if reset > 0 {
                causes.push(cause(&line));
            }
            let flash =
                fs::read(&device.flash).map_err(|error| paths::about(&device.flash, &error))?;
            otadata.push(bootloader::otadata(&flash)?.to_vec());
        }
    }
    device.cut_power();
    if otadata.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("it loops, and otadata changes nevertheless".to_owned());
    }
    let resets = causes.len();
    causes.sort();
    causes.dedup();
    Ok(format!(
        "never reaches the guard: not stopped here ({resets} resets, {}; otadata unchanged)",
        causes.join(" and ")
    ))
}

/// `rst:0x10 (RTCWDT_RTC_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)`: what is in the first parentheses.
fn cause(line: &str) -> String {
    let cause = line
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    cause.map_or(line, |(cause, _)| cause).to_owned()
}

/// The table of what happens.
pub fn table(
    outcomes: &[(Death, Bootloader, Result<String>)],
    bootloaders: &[Bootloader],
) -> String {
    let mut columns = vec![vec!["1.2.0".to_owned()]];
    columns[0].extend(DEATHS.map(|death| death.what.to_owned()));
    for bootloader in bootloaders {
        let of = |death: Death| {
            let mut outcomes = outcomes.iter();
            let outcome = outcomes.find(|(one, of, _)| one.what == death.what && of == bootloader);
            match outcome {
                Some((_, _, Ok(seen))) => seen.clone(),
                Some((_, _, Err(problem))) => format!("FAILED: {problem}"),
                None => "not run".to_owned(),
            }
        };
        let mut column = vec![bootloader.to_string()];
        column.extend(DEATHS.map(of));
        columns.push(column);
    }
    let mut lines = vec![String::new(); 1 + DEATHS.len()];
    for column in columns {
        let width = column.iter().map(|cell| cell.chars().count()).max();
        let width = width.unwrap_or_default();
        for (line, cell) in lines.iter_mut().zip(column) {
            line.push_str(&format!("{cell:width$}   "));
        }
    }
    let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_of_a_reset_is_what_the_rom_says() {
        assert_eq!(
            cause("rst:0x10 (RTCWDT_RTC_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)"),
            "RTCWDT_RTC_RST"
        );
        assert_eq!(cause("rst:0x77"), "rst:0x77");
    }

    #[test]
    fn every_release_that_dies_is_in_the_table_under_every_bootloader() {
        let bootloaders = [Bootloader::Stock, Bootloader::AppRollback];
        let outcomes: Vec<_> = DEATHS
            .iter()
            .flat_map(|death| bootloaders.map(|bootloader| (*death, bootloader)))
            .map(|(death, bootloader)| match bootloader {
                Bootloader::Stock => (death, bootloader, Err("it loops".to_owned())),
                Bootloader::AppRollback => (death, bootloader, Ok("1.1.0 is back".to_owned())),
            })
            .collect();
        let table = table(&outcomes, &bootloaders);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 1 + DEATHS.len());
        assert!(
            lines[0].contains("without app rollback") && lines[0].ends_with("with app rollback")
        );
        for (line, death) in lines[1..].iter().zip(DEATHS) {
            assert!(line.starts_with(death.what), "{line}");
            assert!(
                line.contains("FAILED: it loops") && line.ends_with("1.1.0 is back"),
                "{line}"
            );
        }
    }
}
