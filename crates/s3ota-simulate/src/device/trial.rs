//! The trial of a new firmware: its boots, its proof, and the way back.

use rand::Rng;
use s3ota::Error;
use s3ota::manifest::user_agent::Bootloader;
use s3ota::simulate::Trial;

use super::update::Turn;
use super::{Device, ERROR_BODY, Phase, Sink, World, is_forbidden, millis, status_error};
use crate::request::{Object, Outcome, Request, Version};

/// The end of an image, which a firmware on trial fetches to prove itself.
const PROOF: u64 = 256;
impl Device {
    /// The new firmware is on flash: the device restarts into its trial.
    pub(super) fn installed(
        &mut self,
        release: Version,
        at: u64,
        index: u32,
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) {
        let channel = &world.channels[usize::from(self.nature.product)];
        let edition = channel
            .editions
            .iter()
            .find(|edition| edition.release == usize::from(release));
        let Some(edition) = edition else {
            return self.after(Turn::Checked, at, world);
        };
        let trial = self.memory.switch(&edition.manifest);
        let before = std::mem::replace(&mut self.firmware, release);
        sink.runs(index, release, at / 1000);
        self.restart(at, world);
        self.phase = Phase::OnTrial {
            trial,
            before,
            boot: 1,
            began: self.due,
            crashed: false,
        };
        self.bootloader_is_known = true;
    }

    /// The first thing that a firmware on trial does.
    pub(super) fn on_trial(
        &mut self,
        now: u64,
        index: u32,
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) {
        let Phase::OnTrial {
            trial,
            before,
            boot,
            began,
            crashed,
        } = self.phase
        else {
            return;
        };
        if boot > self.trial_boots() {
            let so_far = (trial, before, boot, crashed);
            return self.next_boot(now, so_far, index, world, sink);
        }
        let release = &world.scenario.releases[usize::from(self.firmware)];
        if release.crashes && self.nature.odd_batch {
            // It dies before the network is up, or just after its first request.
            if self.nature.crash_is_late {
                let _ = self.ask_for_manifest(now, index, world, sink);
            }
            let at = now + self.rng.gen_range(500..20_000);
            return self.next_boot(at, (trial, before, boot, true), index, world, sink);
        }
        let proven = self.prove(now, index, world, sink);
        if let Err(failure) = &proven {
            let (error, about) = &**failure;
            self.failed(error, *about);
        }
        if proven.is_ok() {
            self.memory.confirm();
            self.ram.failed = None;
            self.ram.last = Some(Outcome::Done(self.firmware));
            self.back = None;
            // The same turn goes on: the agent checks.
            return self.begin_check(now + 3000);
        }
        let over = began + millis(world.pauses.schedule.trial_time);
        let left = over.saturating_sub(now);
        if left == 0 {
            let so_far = (trial, before, boot, crashed);
            return self.next_boot(now, so_far, index, world, sink);
        }
        let soon = millis(world.pauses.soon(1, &mut self.rng));
        self.due = now + soon.min(left.max(1000));
    }

    /// Another boot of a trial, or none.
    fn next_boot(
        &mut self,
        at: u64,
        (trial, before, boot, crashed): (Trial, Version, u8, bool),
        index: u32,
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) {
        self.restart(at, world);
        if boot < self.trial_boots() {
            self.phase = Phase::OnTrial {
                trial,
                before,
                boot: boot + 1,
                began: self.due,
                crashed,
            };
            return;
        }
        self.memory.give_up(trial, crashed);
        self.back = Some(self.firmware);
        self.firmware = before;
        sink.runs(index, before, at / 1000);
        self.phase = Phase::Started;
    }

    /// How many boots a trial has. A bootloader with app rollback gives up what was not confirmed at its second boot.
    fn trial_boots(&self) -> u8 {
        match self.nature.bootloader {
            Bootloader::Rollback => 1,
            Bootloader::Plain => s3ota::DEFAULT_TRIAL_BOOTS,
        }
    }

    /// Shows that the firmware could be replaced: the manifest, and the end of the image that it names.
    fn prove(
        &mut self,
        now: u64,
        index: u32,
        world: &World<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Box<(Error, Option<Version>)>> {
        self.ram.settled = None;
        let answer = self.ask_for_manifest(now, index, world, sink);
        let (_, edition, _) = answer.map_err(|error| Box::new((error, None)))?;
        let size = edition.manifest.size.unwrap_or(0);
        let turned = self.rng.gen_range(10..60);
        let now = now + 1000;
        let is_forbidden = is_forbidden(world, now);
        let request = Request {
            at: 0,
            said: self.said(),
            object: Object::Image,
            key: &edition.image_key,
            status: if is_forbidden { 403 } else { 206 },
            error: is_forbidden.then_some("AccessDenied"),
            sent: if is_forbidden { ERROR_BODY } else { PROOF },
            size: (!is_forbidden).then_some(size),
            took: turned + 1,
            turned,
        };
        self.ask(index, now, request, sink);
        match is_forbidden {
            true => {
                let about = Some(edition.release as Version);
                Err(Box::new((status_error(403), about)))
            }
            false => Ok(()),
        }
    }
}
