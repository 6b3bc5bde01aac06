//! Updates of a firmware with the feature `delta`: by a delta, by the compressed image, and by the image itself. What each takes of
//! the network stands in the transcript.
//!
//! And one by a delta that loses power many times on the way: inside flash operations while the image is made, then at the switch
//! and on trial. What boots in between is a whole 1.0.0 or a whole 1.1.0, and 1.1.0 is confirmed in the end.

use std::fs;
use std::time::Duration;

use super::bootloader::Bootloader;
use super::device::{Device, Heard, TIMEOUT};
use super::emulator::{CutAt, End, Switches};
use super::inside;
use super::random::Random;
use super::scenarios::{Bench, CONFIRMED, FLASHED_WITH_DELTA, ON_FLASH, ON_TRIAL, RUNS, time_of};
use super::server::Artefacts;
use super::variants::SECOND_WITH_DELTA;
use crate::Result;

/// How an image comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Delta,
    Compressed,
    Whole,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Delta, Self::Compressed, Self::Whole];

    /// The name of the scenario.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delta => "the update by a delta",
            Self::Compressed => "the update by the compressed image",
            Self::Whole => "the same update by the whole image",
        }
    }

    /// What is published for it.
    fn artefacts(self) -> Artefacts {
        match self {
            Self::Delta => Artefacts::All,
            Self::Compressed => Artefacts::Compressed,
            Self::Whole => Artefacts::Nothing,
        }
    }

    /// What the device logs before it fetches, and after the number of bytes.
    fn says(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Delta => Some((BY_DELTA, " bytes")),
            Self::Compressed => Some(("fetching the compressed image, ", " bytes")),
            Self::Whole => None,
        }
    }
}

const BY_DELTA: &str = "fetching a delta of ";

/// The name of the update that loses power.
pub fn cuts_name(cuts: u32) -> String {
    format!("an update by a delta loses power {cuts} times")
}

/// What an update took.
#[derive(Debug, Clone)]
pub struct Cost {
    way: Way,
    /// The bytes of what was fetched to make the image of,
    fetched: u64,
    /// of the image,
    image: u64,
    /// and of all connections from power-on to confirmation.
    wire: u64,
    /// For the power cuts.
    course: Timing,
}

/// The course of an update without a power cut.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// How many flash operations make the image.
    operations: u64,
    /// From the start to the image,
    making: Duration,
    /// from there to the trial,
    switching: Duration,
    /// and from there to the confirmation.
    trial: Duration,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes for an image of {}; {} on the wire, from power-on to confirmation",
            self.fetched, self.image, self.wire
        )
    }
}

impl Cost {
    /// For the power cuts.
    pub fn timing(&self) -> Timing {
        self.course
    }
}

/// 1.0.0 updates itself to 1.1.0, this way.
pub fn update(bench: &Bench, way: Way) -> Result<Cost> {
    let flash = Bootloader::Stock.flash(&bench.dir, FLASHED_WITH_DELTA);
    let mut device = Device::new(bench, way.name(), &flash, false)?;
    let outcome = (|| {
        let image = publish(&mut device, way)?;
        let log = device.flash.with_extension("operations");
        let _ = fs::remove_file(&log);
        device.power_on_with(Switches {
            log: bench.cuts_inside.then_some(log.as_path()),
            ..Switches::default()
        })?;
        device.expect(&[RUNS])?;
        let fetched = match way.says() {
            Some((begins, ends)) => {
                // Whatever it takes in its place would end in this, too.
                let line = device.expect(&[begins, ON_FLASH])?;
                number(&line, begins, ends).ok_or_else(|| format!("it says: {line}"))?
            }
            None => image,
        };
        device.expect(&[ON_FLASH])?;
        let operations = match bench.cuts_inside {
            true => inside::operations(&log)?.len() as u64,
            false => 0,
        };
        device.expect(&[ON_TRIAL])?;
        device.expect(&[CONFIRMED])?;
        let wire = device.bytes_on_the_wire();
        device.settled("1.1.0", 1)?;
        let fallback = device
            .course
            .iter()
            .any(|(_, line)| line.contains("is refused"));
        if fallback {
            return Err("what it fetched was refused".to_owned());
        }
        let course = Timing {
            operations,
            making: time_of(&device.course, [RUNS, ON_FLASH])?,
            switching: time_of(&device.course, [ON_FLASH, ON_TRIAL])?,
            trial: time_of(&device.course, [ON_TRIAL, CONFIRMED])?,
        };
        let cost = Cost {
            way,
            fetched,
            image,
            wire,
            course,
        };
        device.note(&cost.to_string());
        Ok(cost)
    })();
    device.end(outcome)
}

/// Publishes what the device has, and then 1.1.0. The size of its image.
fn publish(device: &mut Device<'_>, way: Way) -> Result<u64> {
    if way == Way::Delta {
        device.publish_own()?;
    }
    let published = device.publish_with(SECOND_WITH_DELTA, way.artefacts())?;
    Ok(published.size)
}

fn number(line: &str, begins: &str, ends: &str) -> Option<u64> {
    let (_, rest) = line.split_once(begins)?;
    let (number, _) = rest.split_once(ends)?;
    number.parse().ok()
}

/// What the ways cost, beside each other.
pub fn table(costs: &[Cost]) -> String {
    let mut lines = vec![format!(
        "{:<36}{:>12}{:>12}{:>14}",
        "what 1.1.0 takes of the network", "fetched", "image", "on the wire"
    )];
    lines.extend(costs.iter().map(|cost| {
        format!(
            "{:<36}{:>12}{:>12}{:>14}",
            cost.way.name(),
            cost.fetched,
            cost.image,
            cost.wire
        )
    }));
    lines.join("\n")
}

/// After the image is on flash power is cut at most this often in one update.
const LATE_CUTS: u32 = 6;

/// An update loses power again and again. Should it be made before that many cuts, the next device goes on.
pub fn cuts(bench: &Bench, cuts: u32, seed: u64, timing: Timing) -> Result<String> {
    let mut random = Random::new(seed);
    let flash = Bootloader::Stock.flash(&bench.dir, FLASHED_WITH_DELTA);
    let (mut made, mut updates) = (0, 0);
    let mut boots = [0_u32; 2];
    let mut wire = 0;
    while made < cuts {
        updates += 1;
        let name = match updates {
            1 => cuts_name(cuts),
            n => format!("{} {n}", cuts_name(cuts)),
        };
        let mut device = Device::new(bench, &name, &flash, false)?;
        let outcome = one_update(&mut device, bench, cuts - made, &mut random, timing);
        wire += device.bytes_on_the_wire();
        let of = device.end(outcome)?;
        made += of[0] + of[1];
        boots = [boots[0] + of[0], boots[1] + of[1]];
    }
    Ok(format!(
        "after {} cuts 1.0.0 boots, after {} 1.1.0, each whole; confirmed in the end, {updates} of {updates}; {wire} bytes on the \
         wire",
        boots[0], boots[1]
    ))
}

/// One of them, with so many cuts at most. After how many 1.0.0 boots, and after how many 1.1.0.
fn one_update(
    device: &mut Device<'_>,
    bench: &Bench,
    cuts: u32,
    random: &mut Random,
    timing: Timing,
) -> Result<[u32; 2]> {
    publish(device, Way::Delta)?;
    let early = cuts.saturating_sub(LATE_CUTS).max(1);
    let mut boots = [0; 2];
    let mut late = 0;
    let mut is_made = false;
    while boots[0] + boots[1] < cuts && late < LATE_CUTS {
        if is_made {
            device.power_on()?;
            let line = device.expect(&["simple 1.0.0, ", "simple 1.1.0, "])?;
            if line.contains("simple 1.1.0, Confirmed") {
                break;
            }
            device.listen(timing.trial.mul_f64(random.fraction()));
            is_made = line.contains("simple 1.1.0, ");
        } else {
            // All of these together make most of the image.
            let share = 2.0 * random.fraction() / f64::from(early);
            is_made = match bench.cuts_inside {
                true => make_until_operation(device, timing.operations, share, random)?,
                false => make_for(device, timing.making.mul_f64(share))?,
            };
            if is_made {
                device.listen(timing.switching.mul_f64(random.fraction()));
            }
        }
        late += u32::from(is_made);
        device.cut_power();
        let version = device.boots()?;
        device.note(&format!("{version} boots"));
        match version.as_str() {
            "1.0.0" => boots[0] += 1,
            "1.1.0" => boots[1] += 1,
            other => return Err(format!("{other} boots")),
        }
    }
    device.power_on()?;
    device.expect(&["simple 1.1.0, Confirmed", CONFIRMED])?;
    device.settled("1.1.0", 1)?;
    Ok(boots)
}

/// The power is cut inside an operation, after this share of all. Whether the image was on flash before.
fn make_until_operation(
    device: &mut Device<'_>,
    operations: u64,
    share: f64,
    random: &mut Random,
) -> Result<bool> {
    // Records have 32 bytes, and a block that is erased 65,536. What is complete by then is cut behind.
    let most = if random.fraction() < 0.7 { 32 } else { 65_536 };
    let bytes = random.below(most);
    device.power_on_with(Switches {
        cut_at: Some(CutAt {
            operation: 1 + (operations as f64 * share) as u64,
            bytes: bytes as u32,
        }),
        ..Switches::default()
    })?;
    match device.wait(TIMEOUT, &[ON_FLASH]) {
        Heard::Said(_) => Ok(true),
        Heard::Ended(End::CutInside) => Ok(false),
        Heard::Ended(end) => Err(end.to_string()),
        Heard::Nothing => Err("neither the operation came nor the image".to_owned()),
    }
}

/// The power is cut when the firmware has run for so long. Whether the image was on flash before.
fn make_for(device: &mut Device<'_>, time: Duration) -> Result<bool> {
    device.power_on()?;
    device.expect(&[RUNS])?;
    match device.wait(time, &[ON_FLASH]) {
        Heard::Said(_) => Ok(true),
        Heard::Nothing => Ok(false),
        Heard::Ended(end) => Err(end.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_in_the_line_that_says_so() {
        let line = "INFO - fetching a delta of 1234 bytes";
        assert_eq!(number(line, BY_DELTA, " bytes"), Some(1234));
        assert_eq!(number("1.1.0 is on flash", BY_DELTA, " bytes"), None);
    }

    #[test]
    fn every_way_has_a_line_in_the_table() {
        let costs = Way::ALL.map(|way| Cost {
            way,
            fetched: 1,
            image: 2,
            wire: 3,
            course: Timing::default(),
        });
        let table = table(&costs);
        assert_eq!(table.lines().count(), 1 + Way::ALL.len());
        for (line, way) in table.lines().skip(1).zip(Way::ALL) {
            assert!(line.starts_with(way.name()), "{line}");
        }
    }
}
