//! Power that fails and comes back, and restarts.

use rand::Rng;
use s3ota::manifest::user_agent::Bootloader;

use super::{Device, Phase, Ram, World};

impl Device {
    /// If the power is off when it is due, it starts when the power is back.
    pub(super) fn be_on(&mut self, world: &World<'_>) {
        loop {
            let now = self.due;
            let since = self.ram.power_on.max(self.nature.begins);
            let (off, on) = self.nature.off(since, world.scenario);
            if off > now {
                return;
            }
            if on == u64::MAX {
                self.due = u64::MAX;
                return;
            }
            self.cut_power(on, world);
        }
    }

    fn cut_power(&mut self, on: u64, world: &World<'_>) {
        self.memory.cut_power();
        if let Phase::OnTrial { boot, .. } = &mut self.phase
            && self.nature.bootloader == Bootloader::Rollback
        {
            // This bootloader takes any second boot for a failure.
            *boot += 1;
        }
        self.ram = Ram {
            power_on: on,
            ..Ram::default()
        };
        self.start(on, world);
    }

    /// The chip starts. A power-on does not count against a firmware on trial.
    pub(super) fn start(&mut self, at: u64, world: &World<'_>) {
        self.ram.power_on = at;
        self.due = at + self.until_network(world);
        if let Phase::OnTrial { began, .. } = &mut self.phase {
            *began = self.due;
        } else {
            self.phase = Phase::Started;
        }
    }

    /// The chip restarts by software: RAM is lost, and the power stays on.
    pub(super) fn restart(&mut self, at: u64, world: &World<'_>) {
        self.ram = Ram {
            power_on: self.ram.power_on,
            ..Ram::default()
        };
        self.due = at + self.until_network(world);
    }

    pub(super) fn until_network(&mut self, world: &World<'_>) -> u64 {
        let (from, to) = world.scenario.model.until_network;
        (self.rng.gen_range(from..=to) * 1000.0) as u64
    }
}
