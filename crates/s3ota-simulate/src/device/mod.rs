//! One device: its decisions are the library's, its hardware is a model.

mod nature;
mod power;
mod trial;
mod update;

use std::time::Duration;

use rand::Rng;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use s3ota::manifest::user_agent::Fetched;
use s3ota::simulate::{ErrorKind, Memory, Pauses, Trial};
use s3ota::{Error, HttpError};

use crate::channel::{Channel, Edition};
use crate::request::{Object, Outcome, Request, Said, Stands, Version};
use crate::scenario::Scenario;

pub(crate) use nature::Nature;

/// After how many checks in a row that ended in the same error a device is stuck.
const STUCK: u32 = 3;

/// What all devices share.
pub(crate) struct World<'w> {
    pub(crate) scenario: &'w Scenario,
    pub(crate) channels: &'w [Channel<'w>],
    pub(crate) pauses: Pauses,
    pub(crate) versions: &'w [String],
    pub(crate) urls: &'w [String],
}

/// A device.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) nature: Nature,
    /// When its next event is, in milliseconds from the start; `u64::MAX` for never.
    pub(crate) due: u64,
    rng: Xoshiro256PlusPlus,
    memory: Memory,
    firmware: Version,
    back: Option<Version>,
    /// Whether a trial has shown the kind of bootloader.
    bootloader_is_known: bool,
    partial: Option<Partial>,
    phase: Phase,
    /// The second of its last request.
    asked: Option<u64>,
    ram: Ram,
}

/// What is lost with the power.
#[derive(Debug, Clone, Copy, Default)]
struct Ram {
    /// When the power came on, in milliseconds.
    power_on: u64,
    /// The edition that left nothing to do.
    settled: Option<usize>,
    last: Option<Outcome>,
    /// The error of the last check, and of how many in a row.
    failed: Option<(&'static str, u32)>,
    half_done: u32,
}

/// A part of an image on flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Partial {
    release: Version,
    fetched: Fetched,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The network is up after a start.
    Started,
    /// The next attempt of an update that began at this millisecond.
    Attempt {
        number: u8,
        began: u64,
        /// The most bytes that an attempt had behind it.
        reached: u64,
    },
    /// A firmware on trial, in this boot, which began at this millisecond.
    OnTrial {
        trial: Trial,
        before: Version,
        boot: u8,
        began: u64,
        crashed: bool,
    },
}
/// Where requests go.
pub(crate) trait Sink {
    fn request(&mut self, device: u32, nature: &Nature, request: &Request<'_>);
    /// A device runs a release from now on.
    fn runs(&mut self, device: u32, release: Version, at: u64);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Device {
    /// The device with this number.
    pub(crate) fn new(index: u32, world: &World<'_>) -> Self {
        let scenario = world.scenario;
        // Each has randomness of its own: another device more changes nothing for the others.
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(
            scenario.seed ^ (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        let nature = Nature::draw(scenario, &mut rng);
        let mut left = rng.gen_range(0.0..1.0);
        let mut firmware = 0;
        for (release, of) in scenario.releases.iter().enumerate() {
            if of.share_at_start > 0.0 {
                firmware = release as Version;
                left -= of.share_at_start;
                if left < 0.0 {
                    break;
                }
            }
        }
        let new = nature.begins > 0;
        let mut device = Self {
            due: nature.begins,
            nature,
            memory: Memory::default(),
            firmware,
            back: None,
            bootloader_is_known: false,
            partial: None,
            phase: Phase::Started,
            asked: None,
            ram: Ram::default(),
            rng,
        };
        if new {
            device.start(device.due, world);
        } else {
            // It has been on for long, and is anywhere between two checks.
            let first = device.rng.gen_range(0..millis(scenario.every).max(1));
            device.begin_check(first);
        }
        device.be_on(world);
        device
    }

    /// What happens when the device is due. Afterwards it is due again, later, or never.
    pub(crate) fn step(&mut self, index: u32, world: &World<'_>, sink: &mut dyn Sink) {
        let now = self.due;
        match self.phase {
            Phase::Started => {
                let first = millis(world.pauses.first(&mut self.rng));
                self.begin_check(now + first);
            }
            Phase::Attempt {
                number,
                began,
                reached,
            } => self.attempt(now, (number, began, reached), index, world, sink),
            Phase::OnTrial { .. } => self.on_trial(now, index, world, sink),
        }
        self.be_on(world);
    }

    fn begin_check(&mut self, at: u64) {
        self.due = at;
        self.phase = Phase::Attempt {
            number: 1,
            began: at,
            reached: 0,
        };
    }

    /// Sends a request, in a second of its own.
    fn ask(&mut self, index: u32, at: u64, request: Request<'_>, sink: &mut dyn Sink) {
        let second = at / 1000;
        let second = match self.asked {
            Some(asked) if second <= asked => asked + 1,
            _ => second,
        };
        self.asked = Some(second);
        let request = Request {
            at: second,
            ..request
        };
        sink.request(index, &self.nature, &request);
    }

    fn said(&self) -> Said {
        let stands = match (self.phase, self.ram.failed, self.back) {
            (Phase::OnTrial { boot, .. }, ..) => Stands::Trial(boot),
            (_, Some((code, STUCK..)), _) => Stands::Stuck(code),
            (_, _, Some(from)) => Stands::Back(from),
            _ => Stands::Valid,
        };
        Said {
            firmware: self.firmware,
            stands,
            last: self.ram.last,
            bootloader: self.bootloader_is_known.then_some(self.nature.bootloader),
            fetched: None,
        }
    }

    /// The edition that the server has, and the request for it; an error if the server is not reached.
    fn ask_for_manifest<'w>(
        &mut self,
        now: u64,
        index: u32,
        world: &World<'w>,
        sink: &mut dyn Sink,
    ) -> Result<(usize, &'w Edition<'w>, u16), Error> {
        if self.rng.gen_bool(self.nature.connect_fails) {
            return Err(match self.rng.gen_bool(0.5) {
                true => Error::Resolve(Default::default()),
                false => Error::Connect {
                    host: Default::default(),
                    port: 443,
                    kind: ErrorKind::TimedOut,
                },
            });
        }
        let channel = &world.channels[usize::from(self.nature.product)];
        let number = channel.at(now / 1000);
        let busy = self.rng.gen_bool(world.scenario.model.busy);
        let turned = self.rng.gen_range(8..40);
        let mut request = Request {
            at: 0,
            said: self.said(),
            object: Object::Manifest,
            key: &channel.key,
            status: 200,
            error: None,
            sent: 0,
            size: None,
            took: turned + 1,
            turned,
        };
        let (Some(number), false) = (number, busy) else {
            let (status, error) = match busy {
                true => (503, "SlowDown"),
                false => (404, "NoSuchKey"),
            };
            (request.status, request.error, request.sent) = (status, Some(error), ERROR_BODY);
            self.ask(index, now, request, sink);
            return Err(status_error(status));
        };
        let edition = &channel.editions[number];
        if self.ram.settled == Some(number) {
            request.status = 304;
        } else {
            (request.sent, request.size) = (edition.length.into(), Some(edition.length));
        }
        let status = request.status;
        self.ask(index, now, request, sink);
        Ok((number, edition, status))
    }

    /// The running firmware.
    pub(crate) fn firmware(&self) -> Version {
        self.firmware
    }
}

/// Bytes of S3's error document.
const ERROR_BODY: u64 = 243;

fn status_error(status: u16) -> Error {
    Error::Http(HttpError::Status {
        status,
        retry_after: None,
    })
}

/// Whether the images cannot be read at this millisecond.
fn is_forbidden(world: &World<'_>, at: u64) -> bool {
    let forbidden = world.scenario.forbidden;
    forbidden.is_some_and(|(from, to)| (from..to).contains(&(at / 1000)))
}
