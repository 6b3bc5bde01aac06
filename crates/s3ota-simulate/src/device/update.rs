//! An update: attempts, and the pauses between them.

use std::time::Duration;

use rand::Rng;
use s3ota::manifest::user_agent::Fetched;
use s3ota::simulate::NorFlashErrorKind;
use s3ota::{Config, Error, NoUpdate};

use super::{Device, ERROR_BODY, Partial, Phase, Sink, World, is_forbidden, millis, status_error};
use crate::channel::Edition;
use crate::name::id;
use crate::request::{Object, Outcome, Request, Said, Version};

/// Bytes of a slot: that of the examples' partition table.
const ROOM: u32 = 0x001f_0000;

/// An image goes to flash in blocks of this size, and a download resumes at one.
const BLOCK: u64 = 4096;

/// Bytes of an image that are on the way before a device that cannot write closes the connection: its socket's buffers.
const IN_FLIGHT: u64 = 16 * 1024;

/// How a check ended.
pub(super) enum Turn {
    Checked,
    HalfDone,
    Rests(Duration),
}

/// What an attempt came to.
enum Attempt {
    /// It is over, until this millisecond.
    NoUpdate(Option<NoUpdate>),
    Installed {
        release: Version,
        at: u64,
    },
    Failed {
        error: Error,
        about: Option<Version>,
        started: bool,
        resumed: u64,
        at: u64,
    },
}
impl Device {
    /// One attempt of an update.
    pub(super) fn attempt(
        &mut self,
        now: u64,
        (number, began, reached): (u8, u64, u64),
        index: u32,
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) {
        match self.try_update(now, index, world, sink) {
            Attempt::NoUpdate(reason) => {
                if reason.is_some_and(|reason| reason != NoUpdate::Resting) {
                    self.ended_well();
                }
                self.after(Turn::Checked, now, world);
            }
            Attempt::Installed { release, at } => self.installed(release, at, index, world, sink),
            Attempt::Failed {
                error,
                about,
                started,
                resumed,
                at,
            } => {
                let deadline = world.pauses.timeouts.deadline;
                let left = millis(deadline).saturating_sub(at.saturating_sub(began));
                let error = match left {
                    0 => Error::Deadline { after: deadline },
                    _ => error,
                };
                let (number, reached) = match resumed > reached {
                    true => (1, resumed),
                    false => (number, reached),
                };
                let resumed = u32::try_from(resumed).unwrap_or(u32::MAX);
                let retry = world
                    .pauses
                    .retry(&error, number, started, resumed, &mut self.rng);
                if let Some(pause) = retry.map(millis).filter(|&pause| pause < left) {
                    self.phase = Phase::Attempt {
                        number: number.saturating_add(1),
                        began,
                        reached,
                    };
                    self.due = at + pause;
                    return;
                }
                self.failed(&error, about);
                let turn = match error {
                    Error::Worn { rest } => Turn::Rests(rest),
                    Error::Image(_) => Turn::Checked,
                    _ if self.partial.is_some_and(|partial| partial.bytes > 0) => Turn::HalfDone,
                    _ => Turn::Checked,
                };
                self.after(turn, at, world);
            }
        }
    }

    /// The next check follows, by the agent's own pauses.
    pub(super) fn after(&mut self, turn: Turn, at: u64, world: &World<'_>) {
        let rng = &mut self.rng;
        self.ram.half_done = match turn {
            Turn::HalfDone => self.ram.half_done.saturating_add(1),
            _ => 0,
        };
        let pause = match turn {
            Turn::Checked => world.pauses.next(rng),
            Turn::HalfDone => world.pauses.soon(self.ram.half_done, rng),
            Turn::Rests(rest) => world.pauses.rest(rest, rng),
        };
        self.begin_check(at + millis(pause));
    }

    /// A check found that nothing is wrong.
    fn ended_well(&mut self) {
        self.ram.failed = None;
        if matches!(self.ram.last, Some(Outcome::Failed(..))) {
            self.ram.last = None;
        }
    }

    pub(super) fn failed(&mut self, error: &Error, about: Option<Version>) {
        // That the slot rests says nothing of how the next update will end.
        if matches!(error, Error::Worn { .. }) {
            return;
        }
        let code = error.code();
        self.ram.last = Some(Outcome::Failed(code, about));
        self.ram.failed = match self.ram.failed {
            Some((same, times)) if same == code => Some((code, times.saturating_add(1))),
            _ => Some((code, 1)),
        };
    }

    /// The manifest, the decision, the image.
    fn try_update(
        &mut self,
        now: u64,
        index: u32,
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) -> Attempt {
        let failed = |error, about| Attempt::Failed {
            error,
            about,
            started: false,
            resumed: 0,
            at: now,
        };
        let (number, edition, status) = match self.ask_for_manifest(now, index, world, sink) {
            Ok(answer) => answer,
            Err(error) => return failed(error, None),
        };
        if status == 304 {
            return Attempt::NoUpdate(Some(NoUpdate::NotModified));
        }
        let release = edition.release as Version;
        let up = Duration::from_millis(now.saturating_sub(self.ram.power_on));
        let id = id(&world.scenario.ids, index);
        let product = usize::from(self.nature.product);
        let config = Config::new(
            &world.urls[product],
            &world.versions[usize::from(self.firmware)],
            world.scenario.products[product].chip,
            &id,
        );
        let date = Some(world.scenario.start + now / 1000);
        let judged = self
            .memory
            .judge(&edition.manifest, &config, ROOM, date, up);
        match judged {
            Err(error) => failed(error, Some(release)),
            Ok(Some(reason)) => {
                self.ram.settled = Some(number).filter(|_| reason != NoUpdate::Resting);
                Attempt::NoUpdate(Some(reason))
            }
            Ok(None) => {
                self.ram.settled = None;
                self.fetch(now + 1000, edition, (index, up), world, sink)
            }
        }
    }

    /// Fetches what is missing of an image.
    fn fetch(
        &mut self,
        now: u64,
        edition: &Edition<'_>,
        (index, up): (u32, Duration),
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) -> Attempt {
        let release = edition.release as Version;
        let (fetched, key, size) = self.way(edition);
        let done = match self.partial {
            Some(partial) if (partial.release, partial.fetched) == (release, fetched) => {
                partial.bytes
            }
            _ => 0,
        };
        let turned = self.rng.gen_range(10..60);
        let mut request = Request {
            at: 0,
            said: Said {
                fetched: Some(fetched),
                ..self.said()
            },
            object: match fetched {
                Fetched::Whole => Object::Image,
                _ => Object::Artefact,
            },
            key,
            status: if done > 0 { 206 } else { 200 },
            error: None,
            sent: 0,
            size: Some(size),
            took: turned,
            turned,
        };
        let failed = |error, at| Attempt::Failed {
            error,
            about: Some(release),
            started: true,
            resumed: done,
            at,
        };
        if is_forbidden(world, now) {
            (request.status, request.error) = (403, Some("AccessDenied"));
            (request.sent, request.size) = (ERROR_BODY, None);
            self.ask(index, now, request, sink);
            return failed(status_error(403), now);
        }
        let missing = u64::from(size).saturating_sub(done);
        let begun = if self.nature.worn_flash {
            Err(Error::Flash(NorFlashErrorKind::Other))
        } else if done == 0 {
            self.memory.erase(up)
        } else {
            Ok(())
        };
        if let Err(error) = begun {
            request.sent = missing.min(IN_FLIGHT);
            self.ask(index, now, request, sink);
            return failed(error, now + 1000);
        }
        // How long it takes, and whether the link or the power holds so long.
        let needs = missing as f64 / self.nature.rate;
        let holds = -(1.0 - self.rng.gen_range(0.0..1.0_f64)).ln() * self.nature.breaks;
        let since = self.ram.power_on.max(self.nature.begins);
        let (off, _) = self.nature.off(since, world.scenario);
        let power = off.saturating_sub(now) as f64 / 1000.0;
        let lasts = needs.min(holds).min(power);
        let at = now + (lasts * 1000.0) as u64;
        request.took = turned + (lasts * 1000.0) as u64;
        if lasts < needs {
            let got = ((lasts * self.nature.rate) as u64).min(missing);
            request.sent = got;
            self.ask(index, now, request, sink);
            let bytes = (done + got) / BLOCK * BLOCK;
            self.partial = Some(Partial {
                release,
                fetched,
                bytes,
            });
            return failed(Error::ConnectionClosed, at);
        }
        request.sent = missing;
        self.ask(index, now, request, sink);
        self.partial = None;
        Attempt::Installed { release, at }
    }

    /// The shortest way to the image: a delta for what runs, the compressed image, or the image.
    fn way<'e>(&self, edition: &'e Edition<'_>) -> (Fetched, &'e str, u32) {
        let from = usize::from(self.firmware);
        if let Some((_, key, size)) = edition.deltas.iter().find(|delta| delta.0 == from) {
            return (Fetched::Delta, key, *size);
        }
        if let Some((key, size)) = &edition.compressed {
            return (Fetched::Compressed, key, *size);
        }
        let size = edition.manifest.size.unwrap_or(0);
        (Fetched::Whole, &edition.image_key, size)
    }
}
