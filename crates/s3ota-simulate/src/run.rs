//! The run: all devices in virtual time, one event after the other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use s3ota::manifest::ManifestError;
use s3ota::manifest::user_agent::{Fetched, MAX_USER_AGENT};
use s3ota::simulate::Pauses;
use s3ota::{Schedule, Timeouts};
use serde::Serialize;

use crate::channel::{Channel, Documents};
use crate::cost::Traffic;
use crate::device::{Device, Nature, Sink, World};
use crate::foreign;
use crate::load::{Counter, Load};
use crate::log::{Client, Line, LogFolder};
use crate::model::Model;
use crate::name::{Named, name};
use crate::observer::Observer;
use crate::request::{Object, Request, Version};
use crate::scenario::{DAY, Scenario};
use crate::truth::Truth;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// What a perfect observer answers.
    pub truth: Truth,
    /// What was asked for and sent.
    pub traffic: Traffic,
    /// Requests a second.
    pub load: Load,
    /// How fast each release spread.
    pub spread: Vec<Spread>,
}

/// How fast a release spread, once it was for all devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The release.
    pub version: String,
    /// How many devices were there: seen before it was for all, and at least one interval later.
    pub devices: u64,
    /// After how many seconds half of them, 90 % and 99 % ran it, or a later one; `None` if they did not.
    pub reached: [Option<u64>; 3],
}

/// Why a scenario cannot be played.
#[derive(Debug)]
pub enum SimulateError {
    /// A device could not read one of its manifests.
    Manifest(ManifestError),
    /// More releases than can be told apart.
    TooManyReleases,
    /// Longer than can be counted.
    TooLong,
    /// No devices, no time, no product, no release, or none at the start.
    Nothing,
}

impl fmt::Display for SimulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(error) => write!(f, "the scenario has an impossible manifest: {error}"),
            Self::TooManyReleases => write!(f, "a scenario has at most 16 releases"),
            Self::TooLong => write!(
                f,
                "a simulation has at most 3,650 days and 10 million devices"
            ),
            Self::Nothing => write!(
                f,
                "a scenario needs devices, time, a product, and a channel that serves a release from the start"
            ),
        }
    }
}

impl std::error::Error for SimulateError {}

/// What is not a device in the queue of events.
const SCANNER: u32 = u32::MAX;
const PUBLISHER: u32 = u32::MAX - 1;

/// Plays a scenario. The log goes to `log`, if there is one; `progress` is told how much of the time has passed, from 0 to 1. If the log
/// cannot be written, the run ends early; [`LogFolder::finish`] says why.
///
/// # Errors
///
/// The scenario cannot be played.
pub fn simulate(
    scenario: &Scenario,
    log: Option<&mut LogFolder>,
    progress: &mut dyn FnMut(f64),
) -> Result<Run, SimulateError> {
    check(scenario)?;
    let mut documents = Documents::of(scenario).map_err(SimulateError::Manifest)?;
    let channels = documents
        .channels(scenario)
        .map_err(SimulateError::Manifest)?;
    let versions: Vec<String> = (scenario.releases.iter())
        .map(|release| release.version.clone())
        .collect();
    let urls: Vec<String> = (channels.iter())
        .map(|channel| format!("https://{}/{}", scenario.bucket.host, channel.key))
        .collect();
    let world = World {
        scenario,
        channels: &channels,
        pauses: Pauses {
            schedule: Schedule {
                every: scenario.every,
                ..Schedule::default()
            },
            timeouts: Timeouts::default(),
        },
        versions: &versions,
        urls: &urls,
    };
    let mut devices: Vec<Device> = (0..scenario.devices)
        .map(|index| Device::new(index, &world))
        .collect();
    let end = scenario.seconds * 1000;
    let mut queue: BinaryHeap<Reverse<(u64, u32)>> = (0..)
        .zip(&devices)
        .filter(|(_, device)| device.due < end)
        .map(|(index, device)| Reverse((device.due, index)))
        .collect();
    queue.extend(
        scenario
            .changes
            .iter()
            .map(|it| Reverse((it.at * 1000, PUBLISHER))),
    );
    if scenario.foreign_a_day > 0.0 {
        queue.push(Reverse((0, SCANNER)));
    }
    let mut records = Records::new(&world, &devices, log);
    let mut events = 0u64;
    while let Some(Reverse((now, index))) = queue.pop() {
        if events.is_multiple_of(1 << 14) {
            progress(now as f64 / end as f64);
            if records.log.as_ref().is_some_and(|log| log.has_failed()) {
                break;
            }
        }
        events += 1;
        match index {
            SCANNER => {
                let next = now + records.scan(now / 1000);
                if next < end {
                    queue.push(Reverse((next, SCANNER)));
                }
            }
            PUBLISHER => records.publish(now / 1000),
            _ => {
                let device = &mut devices[index as usize];
                device.step(index, &world, &mut records);
                if device.due < end {
                    queue.push(Reverse((device.due, index)));
                }
            }
        }
    }
    progress(1.0);
    Ok(records.finish())
}

fn check(scenario: &Scenario) -> Result<(), SimulateError> {
    if scenario.releases.len() > 16 || scenario.products.len() > 16 {
        return Err(SimulateError::TooManyReleases);
    }
    if scenario.seconds > 3650 * DAY || scenario.devices > 10_000_000 {
        return Err(SimulateError::TooLong);
    }
    let begins = scenario
        .changes
        .first()
        .is_some_and(|change| change.at == 0);
    let is_served = |change: &crate::Change| change.release < scenario.releases.len();
    if scenario.devices == 0
        || scenario.seconds == 0
        || scenario.every < Duration::from_secs(1)
        || scenario.products.is_empty()
        || !begins
        || !scenario.changes.iter().all(is_served)
    {
        return Err(SimulateError::Nothing);
    }
    Ok(())
}

/// When a device first ran a release.
const NEVER: u32 = u32::MAX;

/// All that is recorded of the requests.
struct Records<'r, 'w> {
    world: &'r World<'w>,
    observer: Observer<'w>,
    log: Option<&'r mut LogFolder>,
    counter: Counter,
    traffic: Traffic,
    /// The names of the devices in the log.
    names: Vec<Option<Box<str>>>,
    agent: String,
    strangers: Xoshiro256PlusPlus,
    /// When each device ran each release first.
    runs: Vec<u32>,
    /// The first and the last request of each device.
    seen: Vec<(u32, u32)>,
}

impl<'r, 'w> Records<'r, 'w> {
    fn new(world: &'r World<'w>, devices: &[Device], log: Option<&'r mut LogFolder>) -> Self {
        let scenario = world.scenario;
        let named = |(index, device): (u32, &Device)| {
            name(&scenario.ids, index, device.nature.named).map(String::into_boxed_str)
        };
        let mut runs = vec![NEVER; devices.len() * scenario.releases.len()];
        for (row, device) in runs.chunks_mut(scenario.releases.len()).zip(devices) {
            row[usize::from(device.firmware())] = 0;
        }
        Self {
            world,
            observer: Observer::new(scenario),
            counter: Counter::new(
                scenario.start,
                scenario.seconds,
                scenario.devices,
                scenario.power_failure.map(|failure| failure.on),
            ),
            traffic: Traffic {
                stored: stored(world.channels),
                ..Traffic::default()
            },
            names: match &log {
                Some(_) => (0..).zip(devices).map(named).collect(),
                None => Vec::new(),
            },
            log,
            agent: String::with_capacity(MAX_USER_AGENT),
            strangers: Xoshiro256PlusPlus::seed_from_u64(scenario.seed.rotate_left(32)),
            runs,
            seen: vec![(NEVER, 0); devices.len()],
        }
    }

    /// A scanner's request. When the next one comes, in milliseconds.
    fn scan(&mut self, second: u64) -> u64 {
        let time = self.world.scenario.start + second;
        self.traffic.foreign += 1;
        let log = &mut self.log;
        foreign::scan(time, &mut self.strangers, |line| {
            if let Some(log) = log {
                log.add(time, line, false);
            }
        });
        let mean = DAY as f64 * 1000.0 / self.world.scenario.foreign_a_day;
        let pause = -(1.0 - self.strangers.gen_range(0.0..1.0_f64)).ln() * mean;
        (pause as u64).max(1)
    }

    /// The publisher's upload of the manifests that are served from this second on.
    fn publish(&mut self, second: u64) {
        let time = self.world.scenario.start + second;
        for channel in self.world.channels {
            let new = channel.editions.iter().filter(|it| it.from == second);
            for edition in new {
                self.traffic.uploads += 1;
                if let Some(log) = &mut self.log {
                    foreign::publish(time, &channel.key, edition.length, |line| {
                        log.add(time, line, false);
                    });
                }
            }
        }
    }

    fn count(&mut self, request: &Request<'_>) {
        let traffic = &mut self.traffic;
        match (request.status, request.object) {
            (304, _) => traffic.not_modified += 1,
            (200 | 206, Object::Manifest) => traffic.manifests += 1,
            (200 | 206, _) => traffic.images += 1,
            _ => traffic.errors += 1,
        }
        traffic.sent += request.sent;
        let (mut whole, mut compressed) = (request.sent, request.sent);
        if let (Some(fetched), Some(size)) = (request.said.fetched, request.size) {
            let image = self.world.scenario.releases[0].size;
            let share = request.sent as f64 / f64::from(size.max(1));
            let of = |size: u32| (share * f64::from(size)) as u64;
            whole = of(image);
            if fetched != Fetched::Whole {
                compressed = of(Model::compressed_size(image));
            }
        }
        traffic.sent_if_whole += whole;
        traffic.sent_if_compressed += compressed;
    }

    fn finish(self) -> Run {
        let spread = self.spread();
        Run {
            truth: self.observer.answer(),
            traffic: self.traffic,
            load: self.counter.load(),
            spread,
        }
    }

    /// How fast the releases spread that were for all devices at some time.
    fn spread(&self) -> Vec<Spread> {
        let scenario = self.world.scenario;
        let releases = scenario.releases.len();
        let mut spread: Vec<Spread> = Vec::new();
        for (index, release) in scenario.releases.iter().enumerate() {
            let change = scenario
                .changes
                .iter()
                .find(|it| it.release == index && it.percent == 100 && it.at > 0);
            let Some(change) = change else {
                continue;
            };
            let until = change.at + scenario.every.as_secs();
            let mut times: Vec<Option<u64>> = (self.seen.iter().zip(self.runs.chunks(releases)))
                .filter(|((first, last), _)| {
                    u64::from(*first) <= change.at && u64::from(*last) >= until
                })
                // Who went on to a later one has it as well.
                .map(|(_, runs)| match runs[index..].iter().min() {
                    None | Some(&NEVER) => None,
                    Some(&at) => Some(u64::from(at).saturating_sub(change.at)),
                })
                .collect();
            // Those that never ran it come last.
            times.sort_unstable_by_key(|time| time.unwrap_or(u64::MAX));
            let quantile = |share: f64| {
                let index = (times.len() as f64 * share).ceil() as usize;
                times.get(index.saturating_sub(1)).copied().flatten()
            };
            spread.push(Spread {
                version: release.version.clone(),
                devices: times.len() as u64,
                reached: [quantile(0.5), quantile(0.9), quantile(0.99)],
            });
        }
        spread
    }
}

impl Sink for Records<'_, '_> {
    fn request(&mut self, device: u32, nature: &Nature, request: &Request<'_>) {
        let scenario = self.world.scenario;
        if request.at >= scenario.seconds {
            return;
        }
        self.observer.see(device, nature, request);
        self.counter
            .count(request.at, device, nature.hit_by_power_failure);
        self.count(request);
        let seen = &mut self.seen[device as usize];
        *seen = (seen.0.min(request.at as u32), request.at as u32);
        let Some(log) = &mut self.log else {
            return;
        };
        self.agent.clear();
        let named = self.names[device as usize].as_deref();
        let chip = scenario.products[usize::from(nature.product)].chip.name();
        let agent = request.said.agent(named, chip, self.world.versions);
        // Writing into a string cannot fail.
        let _ = agent.write(&mut self.agent);
        let time = scenario.start + request.at;
        let line = Line {
            time,
            client: Client::Device {
                index: device,
                agent: &self.agent,
            },
            method: "GET",
            key: request.key,
            status: request.status,
            error: request.error,
            sent: request.sent,
            size: request.size,
            took: request.took,
            turned: request.turned,
        };
        log.add(time, &line, nature.named != Named::Not);
    }

    fn runs(&mut self, device: u32, release: Version, at: u64) {
        let releases = self.world.scenario.releases.len();
        let run = &mut self.runs[device as usize * releases + usize::from(release)];
        *run = (*run).min(at as u32);
    }
}

/// Bytes in the bucket at the end.
fn stored(channels: &[Channel<'_>]) -> u64 {
    let mut objects = std::collections::BTreeMap::new();
    for edition in channels.iter().flat_map(|channel| &channel.editions) {
        let size = edition.manifest.size.unwrap_or(0);
        objects.insert(edition.image_key.as_str(), size);
        let artefacts = edition.deltas.iter().map(|(_, key, size)| (key, size));
        let compressed = edition.compressed.iter().map(|(key, size)| (key, size));
        for (key, size) in artefacts.chain(compressed) {
            objects.insert(key, *size);
        }
    }
    objects.values().map(|size| u64::from(*size)).sum()
}
