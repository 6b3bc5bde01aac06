//! The perfect observer: sees each request of the model, and answers from that.
//!
//! It is told of requests by the model itself, one after the other, and keeps no more than the answers need. Requests of one device come
//! in the order of time, no two in the same second.

use std::collections::BTreeMap;

use s3ota::manifest;
use s3ota_answers::{
    Counts, Device, Errors, Mix, Point, Progress, Release, Silent, Status, UNKNOWN,
};

use crate::channel::CHANNEL;
use crate::device::Nature;
use crate::name::{Named, name as name_of};
use crate::request::{Object, Outcome, Request, Said, Stands, Version};
use crate::scenario::{DAY, Scenario};
use crate::story;
use crate::time::{day, rfc3339};
use crate::truth::{Rollout, Truth};

/// After how many seconds a device is silent.
const SILENT: u64 = 7 * DAY;

/// How many devices a small fleet has at most: their stories are told.
const SMALL: usize = 200;

/// How many silent devices are named.
const NAMED: usize = 20;

const HOUR: u64 = 60 * 60;

/// Never, as a second.
const NEVER: u32 = u32::MAX;

/// No version.
const NONE: Version = Version::MAX;

/// What is known of one device.
#[derive(Debug, Clone, Copy)]
struct Seen {
    first: u32,
    last: u32,
    said: Said,
    product: u8,
    named: Named,
    channel: bool,
    /// The version that the mix counts it for.
    counted: Version,
    tried: u16,
    confirmed: u16,
    failed: u16,
}

/// The observer.
pub(crate) struct Observer<'s> {
    scenario: &'s Scenario,
    devices: Vec<Option<Seen>>,
    /// When each device was first seen with each version.
    since: Vec<u32>,
    /// How many more devices run a version from a day on.
    mix: BTreeMap<(u64, Version), i64>,
    /// Devices with an error on a day.
    errors: BTreeMap<(u64, &'static str), u64>,
    /// The last day on which a device had an error, by device and code.
    codes: Vec<&'static str>,
    failed_on: Vec<Vec<u16>>,
    without_id: u64,
    newest: u64,
    /// All that each device said, in small fleets.
    stories: Vec<Vec<(u64, Said)>>,
}

fn bit(version: Version) -> u16 {
    1u16.checked_shl(version.into()).unwrap_or(0)
}

impl<'s> Observer<'s> {
    pub(crate) fn new(scenario: &'s Scenario) -> Self {
        let devices = scenario.devices as usize;
        Self {
            scenario,
            devices: vec![None; devices],
            since: vec![NEVER; devices * scenario.releases.len()],
            mix: BTreeMap::new(),
            errors: BTreeMap::new(),
            codes: Vec::new(),
            failed_on: Vec::new(),
            without_id: 0,
            newest: 0,
            stories: match devices {
                0..=SMALL => vec![Vec::new(); devices],
                _ => Vec::new(),
            },
        }
    }

    /// A request.
    pub(crate) fn see(&mut self, device: u32, nature: &Nature, request: &Request<'_>) {
        self.newest = self.newest.max(request.at);
        if nature.named == Named::Not {
            self.without_id += 1;
            return;
        }
        let index = device as usize;
        let said = request.said;
        let at = request.at as u32;
        let days = |second: u32| (self.scenario.start + u64::from(second)) / DAY;
        let Some(place) = self.devices.get_mut(index) else {
            return;
        };
        let seen = place.get_or_insert(Seen {
            first: at,
            last: at,
            said,
            product: nature.product,
            named: nature.named,
            channel: false,
            counted: NONE,
            tried: 0,
            confirmed: 0,
            failed: 0,
        });
        if days(seen.last) != days(at) {
            let (from, counted) = (days(seen.last), seen.counted);
            seen.counted = seen.said.firmware;
            count(&mut self.mix, from, counted, seen.counted);
        }
        (seen.last, seen.said) = (at, said);
        seen.channel |= request.object == Object::Manifest;
        if let Some(story) = self.stories.get_mut(index) {
            story.push((request.at, said));
        }
        let firmware = bit(said.firmware);
        seen.tried |= firmware;
        if said.stands == Stands::Valid {
            seen.confirmed |= firmware;
        }
        if let Stands::Back(from) = said.stands {
            seen.tried |= bit(from);
            seen.failed |= bit(from);
        }
        match said.last {
            Some(Outcome::Done(version)) => seen.tried |= bit(version),
            Some(Outcome::Failed(_, Some(version))) => {
                seen.tried |= bit(version);
                seen.failed |= bit(version);
            }
            _ => {}
        }
        let today = days(at);
        let of = index * self.scenario.releases.len() + usize::from(said.firmware);
        if let Some(since) = self.since.get_mut(of) {
            *since = at.min(*since);
        }
        if let Some(Outcome::Failed(code, _)) = said.last {
            self.fail(index, code, today);
        }
    }

    fn fail(&mut self, device: usize, code: &'static str, today: u64) {
        let known = self.codes.iter().position(|known| *known == code);
        let place = known.unwrap_or_else(|| {
            self.codes.push(code);
            self.failed_on.push(vec![u16::MAX; self.devices.len()]);
            self.codes.len() - 1
        });
        let number = (today - self.scenario.start / DAY) as u16;
        let days = self.failed_on.get_mut(place);
        if let Some(last) = days.and_then(|days| days.get_mut(device))
            && *last != number
        {
            *last = number;
            *self.errors.entry((today, code)).or_default() += 1;
        }
    }

    /// The answers.
    pub(crate) fn answer(mut self) -> Truth {
        let mut counts = std::mem::take(&mut self.mix);
        for seen in self.devices.iter().flatten() {
            let last = (self.scenario.start + u64::from(seen.last)) / DAY;
            count(&mut counts, last, seen.counted, seen.said.firmware);
        }
        let at = rfc3339(self.unix(self.newest));
        let rollouts = self.seen_versions();
        let figures: Vec<_> = rollouts.iter().map(|&it| self.figures(it)).collect();
        let mut before = None;
        let mut all = BTreeMap::new();
        for release in figures {
            let rollout = Rollout {
                before: before.replace(release.clone()),
                release,
            };
            all.insert(rollout.release.version.clone(), rollout);
        }
        Truth {
            status: self.status(&at, rollouts.last().copied()),
            at,
            rollouts: all,
            mix: self.mix_of(&counts),
            errors: self
                .errors
                .iter()
                .map(|(&(today, code), &devices)| Errors {
                    day: day(today * DAY),
                    code: code.to_owned(),
                    devices,
                })
                .collect(),
            devices: self.stories(),
        }
    }

    fn stories(&self) -> BTreeMap<String, Device> {
        let versions: Vec<String> = (self.scenario.releases.iter())
            .map(|release| release.version.clone())
            .collect();
        let mut stories = BTreeMap::new();
        for (index, (seen, told)) in (0..).zip(self.devices.iter().zip(&self.stories)) {
            let Some(seen) = seen else {
                continue;
            };
            let Some(name) = name_of(&self.scenario.ids, index, seen.named) else {
                continue;
            };
            let product = self.scenario.products.get(usize::from(seen.product));
            stories.insert(
                name.clone(),
                Device {
                    device: name,
                    first_seen: rfc3339(self.unix(seen.first.into())),
                    last_seen: rfc3339(self.unix(seen.last.into())),
                    version: self.version(seen.said.firmware),
                    chip: product.map_or("", |it| it.chip.name()).to_owned(),
                    channel: if seen.channel { CHANNEL } else { "" }.to_owned(),
                    state: story::state(seen.said.stands, &versions),
                    last: story::last(seen.said.last, &versions),
                    story: story::tell(told, &versions, self.scenario.start, self.newest, SILENT),
                },
            );
        }
        stories
    }

    fn unix(&self, second: u64) -> u64 {
        self.scenario.start + second
    }

    fn version(&self, version: Version) -> String {
        let release = self.scenario.releases.get(usize::from(version));
        release.map_or_else(|| UNKNOWN.to_owned(), |it| it.version.clone())
    }

    /// The versions that devices were seen to run, the lowest first.
    fn seen_versions(&self) -> Vec<Version> {
        let releases = self.scenario.releases.len();
        let mut versions: Vec<_> = (0..releases)
            .filter(|version| {
                let mut since = self.since.iter().skip(*version).step_by(releases);
                since.any(|since| *since != NEVER)
            })
            .map(|version| version as Version)
            .collect();
        versions.sort_by(|a, b| {
            let (a, b) = (self.version(*a), self.version(*b));
            match (manifest::Version::parse(&a), manifest::Version::parse(&b)) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                _ => a.cmp(&b),
            }
        });
        versions
    }

    fn figures(&self, version: Version) -> Release {
        let all = || self.devices.iter().flatten();
        let of = bit(version);
        let number = |is: fn(&Seen, u16, Version) -> bool| {
            all().filter(|seen| is(seen, of, version)).count() as u64
        };
        let releases = self.scenario.releases.len();
        let since = self.since.iter().skip(version.into()).step_by(releases);
        let mut times: Vec<u64> = since
            .filter(|since| **since != NEVER)
            .map(|since| u64::from(*since))
            .collect();
        times.sort_unstable();
        let (tried, failed) = (
            number(|seen, of, _| seen.tried & of != 0),
            number(|seen, of, _| seen.failed & of != 0),
        );
        Release {
            version: self.version(version),
            since: times.first().map(|first| rfc3339(self.unix(*first))),
            devices: all().count() as u64,
            tried,
            running: number(|seen, _, version| seen.said.firmware == version),
            confirmed: number(|seen, of, _| seen.confirmed & of != 0),
            failed,
            failure_rate: share(failed, tried),
            curve: self.curve(&times),
        }
    }

    fn curve(&self, times: &[u64]) -> Vec<Point> {
        let Some(&first) = times.first() else {
            return Vec::new();
        };
        let hours = (0..=3 * 24).map(|hour| first + hour * HOUR);
        let days = (4..).map(|day| first + day * DAY);
        hours
            .chain(days)
            .take_while(|at| *at <= self.newest)
            .map(|at| Point {
                at: rfc3339(self.unix(at)),
                running: times.partition_point(|time| *time <= at) as u64,
            })
            .collect()
    }

    fn status(&self, at: &str, newest: Option<Version>) -> Status {
        let age = |seen: &Seen| self.newest - u64::from(seen.last);
        let all = || self.devices.iter().enumerate();
        let all = || all().filter_map(|(index, seen)| Some((index, seen.as_ref()?)));
        let number = |is: &dyn Fn(&Seen) -> bool| all().filter(|(_, it)| is(it)).count() as u64;
        let by = |value: &dyn Fn(&Seen) -> Option<String>| {
            let mut counts = Counts::new();
            for value in all().filter_map(|(_, seen)| value(seen)) {
                *counts.entry(value).or_default() += 1;
            }
            counts
        };
        let error = |seen: &Seen| match seen.said.last {
            Some(Outcome::Failed(code, _)) => Some(code.to_owned()),
            _ => None,
        };
        let mut silent: Vec<_> = all().filter(|(_, seen)| age(seen) > SILENT).collect();
        let number_of_silent = silent.len() as u64;
        let name = |index: usize, seen: &Seen| {
            name_of(&self.scenario.ids, index as u32, seen.named).unwrap_or_default()
        };
        silent.sort_by_cached_key(|(index, seen)| (seen.last, name(*index, seen)));
        Status {
            at: at.to_owned(),
            devices: number(&|_| true),
            seen: [("24h", 1), ("7d", 7), ("30d", 30)]
                .into_iter()
                .map(|(name, days)| (name.to_owned(), number(&|seen| age(seen) <= days * DAY)))
                .collect(),
            versions: by(&|seen| Some(self.version(seen.said.firmware))),
            chips: by(&|seen| {
                let product = self.scenario.products.get(usize::from(seen.product));
                product.map(|product| product.chip.name().to_owned())
            }),
            boot: by(&|seen| {
                let kind = seen.said.bootloader.map_or(UNKNOWN, |kind| kind.name());
                Some(kind.to_owned())
            }),
            on_trial: number(&|seen| matches!(seen.said.stands, Stands::Trial(_))),
            rolled_back: number(&|seen| matches!(seen.said.stands, Stands::Back(_))),
            stuck: number(&|seen| matches!(seen.said.stands, Stands::Stuck(_))),
            failing: number(&|seen| error(seen).is_some()),
            errors: by(&error),
            channels: by(&|seen| seen.channel.then(|| CHANNEL.to_owned())),
            silent: number_of_silent,
            silent_after: SILENT,
            silent_devices: silent
                .into_iter()
                .take(NAMED)
                .map(|(index, seen)| Silent {
                    device: name(index, seen),
                    since: rfc3339(self.unix(seen.last.into())),
                    version: self.version(seen.said.firmware),
                })
                .collect(),
            without_id: self.without_id,
            rollout: newest.map(|version| {
                let devices = number(&|seen| seen.channel);
                let running = number(&|seen| seen.channel && seen.said.firmware == version);
                Progress {
                    channel: CHANNEL.to_owned(),
                    version: self.version(version),
                    percent: None,
                    devices,
                    running,
                    share: share(running, devices),
                }
            }),
        }
    }

    fn mix_of(&self, counts: &BTreeMap<(u64, Version), i64>) -> Vec<Mix> {
        let last = self.unix(self.newest) / DAY;
        let first = counts.keys().next().map_or(last + 1, |(day, _)| *day);
        let mut running = vec![0i64; self.scenario.releases.len()];
        let mut mix = Vec::new();
        for today in first..=last {
            for (&(_, version), change) in counts.range((today, 0)..=(today, Version::MAX)) {
                running[usize::from(version)] += change;
            }
            let mut rows: Vec<_> = (0..)
                .zip(&running)
                .filter(|(_, devices)| **devices > 0)
                .map(|(version, devices)| Mix {
                    day: day(today * DAY),
                    version: self.version(version),
                    devices: devices.unsigned_abs(),
                })
                .collect();
            rows.sort_by(|a, b| a.version.cmp(&b.version));
            mix.extend(rows);
        }
        mix
    }
}

/// From a day on, a device counts for another version.
fn count(mix: &mut BTreeMap<(u64, Version), i64>, day: u64, from: Version, to: Version) {
    if from == to {
        return;
    }
    if from != NONE {
        *mix.entry((day, from)).or_default() -= 1;
    }
    *mix.entry((day, to)).or_default() += 1;
}

fn share(part: u64, of: u64) -> f64 {
    match of {
        0 => 0.0,
        of => part as f64 / of as f64,
    }
}
