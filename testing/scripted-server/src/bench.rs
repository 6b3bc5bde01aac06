//! A device on the bench: what an update must leave behind, whatever happened to it.

use std::time::Duration;

use s3ota::{Chip, Error, Outcome, Timeouts};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{BootError, Bootloader, Flash, Setup, VirtualDevice};
use tokio::time::{Instant, timeout};

use crate::network::Network;

/// Two slots of 256 KB: a flash that is copied quickly.
const PARTITIONS: &str = "
otadata,  data, ota,     0xd000,  0x2000
ota_0,    app,  ota_0,   0x10000, 0x40000
ota_1,    app,  ota_1,   0x50000, 0x40000
";
const RUNNING: u32 = 0x1_0000;
const TARGET: u32 = 0x5_0000;
const END: usize = 0x9_0000;

/// The version a device on the bench runs.
pub const OLD: &str = "1.0.0";

/// The version it is offered.
pub const NEW: &str = "1.1.0";

/// A device's timeouts, but for the time: long enough for every retry, short enough for a drip to be too slow.
pub fn timeouts() -> Timeouts {
    Timeouts {
        deadline: Duration::from_secs(15 * 60),
        ..Timeouts::default()
    }
}

/// A firmware of so many bytes.
pub fn image(version: &str, length: usize) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version)
        .length(length)
        .build()
}

/// A device whose firmware is 1.0.0 in `ota_0`.
#[derive(Clone)]
pub struct Bench {
    flash: Vec<u8>,
    before: Vec<u8>,
}

/// What became of an attempt.
pub struct Attempt {
    pub outcome: Result<Outcome, Error>,
    /// By the device's clock.
    pub took: Duration,
}

impl Attempt {
    /// `updated`, or the code of the error.
    pub fn verdict(&self) -> &'static str {
        match &self.outcome {
            Ok(Outcome::Installed(_)) => "updated",
            Ok(_) => "no update",
            Err(error) => error.code(),
        }
    }
}

impl Bench {
    /// A device that has booted once, as the bootloader has its own word in otadata.
    pub fn new() -> Self {
        let setup = Setup::from_csv(PARTITIONS).unwrap();
        let mut flash = setup.flash(&image(OLD, 8_000)).unwrap();
        flash.truncate(END);
        let mut device = VirtualDevice::new(Flash::in_memory(flash));
        device.power_on().unwrap();
        let flash = device.flash().bytes().to_vec();
        Self {
            before: flash.clone(),
            flash,
        }
    }

    /// What the flash holds, and where the running firmware is in it.
    pub fn flash(&self) -> (&[u8], u32) {
        (&self.flash, RUNNING)
    }

    /// One update with all its retries; time is held against the deadline.
    pub async fn update(&mut self, network: &Network, timeouts: Timeouts) -> Attempt {
        let mut flash = Flash::in_memory(std::mem::take(&mut self.flash));
        let start = Instant::now();
        let hooks = &mut ();
        let update = network.install(&mut flash, RUNNING, OLD, timeouts, hooks);
        let outcome = timeout(2 * timeouts.deadline, update)
            .await
            .expect("an update that ends by itself");
        let took = start.elapsed();
        self.flash = flash.bytes().to_vec();
        assert!(took <= timeouts.deadline, "{outcome:?} after {took:?}");
        Attempt { outcome, took }
    }

    /// Nothing but the slot that is not running has changed, and what lies there does not boot. Else what is wrong.
    pub fn unharmed(&self) -> Result<(), String> {
        if self.flash[..TARGET as usize] != self.before[..TARGET as usize] {
            return Err("more than the other slot was written to".into());
        }
        let mut alone = self.flash.clone();
        alone[RUNNING as usize] = 0;
        match Bootloader::default().boot(&mut Flash::in_memory(alone)) {
            Err(BootError::NoBootableApp) => {}
            other => return Err(format!("not nothing boots from the other slot: {other:?}")),
        }
        match self.boots() {
            Some((0, _)) => Ok(()),
            other => Err(format!("not the old image boots: {other:?}")),
        }
    }

    /// The device boots exactly `image` from the other slot, and its old one is as it was. Else what is wrong.
    pub fn runs(&self, image: &[u8]) -> Result<(), String> {
        let running = RUNNING as usize..TARGET as usize;
        if self.flash[running.clone()] != self.before[running] {
            return Err("the running image was written to".into());
        }
        if self.boots() != Some((1, image.len() as u32)) {
            return Err(format!("not the new image boots: {:?}", self.boots()));
        }
        if self.flash[TARGET as usize..][..image.len()] != *image {
            return Err("what boots is not what was published".into());
        }
        Ok(())
    }

    /// The slot that boots, and the length of its image.
    fn boots(&self) -> Option<(u8, u32)> {
        let mut flash = Flash::in_memory(self.flash.clone());
        let app = Bootloader::default().boot(&mut flash).ok()?;
        Some((app.slot?, app.image.length))
    }
}
