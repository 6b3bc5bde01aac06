//! Planning: what follows from how often devices check.

use std::time::Duration;

use serde::Serialize;

use crate::cost::{Bill, Traffic};
use crate::model::Model;
use crate::run::{SimulateError, simulate};
use crate::scenario::{DAY, Scenario};

/// How many devices are enough to plan with: a percent of them is twenty.
const SAMPLE: u32 = 2_000;

/// What an interval means, for devices that are always on and reach the server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// Seconds between two checks.
    pub every: u64,
    /// Seconds from a release's publication to all until half of the devices, 90 % and 99 % run it.
    pub reached: [Option<u64>; 3],
    /// Requests in a month without releases.
    pub requests: u64,
    /// The bill of a month with one release, by deltas; and with compressed and whole images.
    pub bill: Bill,
}

/// Plays a plain scenario for some intervals, with a part of the devices, and scales it up.
///
/// # Errors
///
/// Those of [`simulate`].
pub fn intervals(scenario: &Scenario, every: &[Duration]) -> Result<Vec<Interval>, SimulateError> {
    let sample = scenario.devices.min(SAMPLE);
    let scale = |number: u64| number * u64::from(scenario.devices) / u64::from(sample.max(1));
    let mut plan = Vec::new();
    for &every in every {
        let days = 2 + (every.as_secs() * 3).div_ceil(DAY);
        let days = u32::try_from(days).unwrap_or(u32::MAX);
        let plain = scenario.one_release(sample, days, every);
        let run = simulate(&plain, None, &mut |_| {})?;
        let seconds = plain.seconds;
        let month = |number: u64| scale(number) * 30 * DAY / seconds;
        let image = u64::from(scenario.releases.first().map_or(0, |release| release.size));
        let devices = u64::from(scenario.devices);
        let checks = month(run.traffic.manifests + run.traffic.not_modified);
        // One release a month: every device fetches its manifest, and what makes its image.
        let of = |size: u64| devices * size + scale(run.traffic.manifests) * 1200;
        let traffic = Traffic {
            not_modified: checks,
            images: 2 * devices,
            sent: of(Model::delta_size(image as u32).into()),
            sent_if_compressed: of(Model::compressed_size(image as u32).into()),
            sent_if_whole: of(image),
            stored: run.traffic.stored,
            logs: (checks + 2 * devices) * LINE,
            ..Traffic::default()
        };
        plan.push(Interval {
            every: every.as_secs(),
            reached: run.spread.last().map_or([None; 3], |it| it.reached),
            requests: checks,
            bill: traffic.bill(30 * DAY),
        });
    }
    Ok(plan)
}

/// Bytes of a line of the log.
const LINE: u64 = 440;
