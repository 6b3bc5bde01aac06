//! One virtual device: flash, bootloader, and firmware that consists of nothing but the update library.

use std::fmt;

use s3ota::{
    Boot, Booted, Bootloader as Kind, Chip, Config, Device, Reset, Updater, Workspace,
    boot_guard_after,
};
use s3ota_image::app::Hardware;

use crate::bootloader::{App, BootError, Bootloader, Silicon};
use crate::flash::Flash;
use crate::host::{Date, HostClock, HostNetwork, OsRng};

/// The updater of a virtual device's firmware.
pub type VirtualUpdater<'a> = Updater<'a, &'a mut Flash, HostNetwork, HostClock, OsRng>;

/// A virtual ESP32.
///
/// Its firmware is what lies in its slots: [`power_on`](VirtualDevice::power_on) boots it by the bootloader's rules and
/// runs the boot guard, and [`updater`](VirtualDevice::updater) is the firmware's own updater.
#[derive(Debug)]
pub struct VirtualDevice {
    flash: Flash,
    bootloader: Bootloader,
    silicon: Silicon,
    trial_boots: u8,
    clock: HostClock,
}

/// The firmware a virtual device runs, and how it came to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningFirmware {
    /// What the bootloader jumped to.
    pub app: App,
    /// What the boot guard found.
    pub boot: Boot,
    /// What it found out about the bootloader.
    pub bootloader: Option<Kind>,
    /// How often the device restarted by itself on the way: once for each firmware it gave up.
    pub restarts: u32,
}

impl RunningFirmware {
    /// The firmware's version as its descriptor has it; empty where it has none.
    pub fn version(&self) -> &str {
        self.app
            .image
            .descriptor
            .as_ref()
            .map_or("", |descriptor| descriptor.version())
    }

    /// The chip the firmware is for, and so the one this device is.
    pub fn chip(&self) -> Option<Chip> {
        self.app.image.header.chip()
    }
}

/// Why a device does not come up.
#[derive(Debug)]
pub enum PowerOnError {
    /// The bootloader finds nothing to boot.
    Boot(BootError),
    /// The boot guard failed.
    Guard(s3ota::Error),
    /// The device restarts again and again.
    BootLoop,
}

impl fmt::Display for PowerOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(error) => write!(f, "the device does not boot: {error}"),
            Self::Guard(error) => write!(f, "the boot guard: {error}"),
            Self::BootLoop => write!(f, "the device restarts again and again"),
        }
    }
}

impl std::error::Error for PowerOnError {}

impl VirtualDevice {
    /// A device with this flash, an ordinary bootloader and the usual number of trial boots.
    pub fn new(flash: Flash) -> Self {
        Self {
            flash,
            bootloader: Bootloader::default(),
            silicon: Silicon::default(),
            trial_boots: s3ota::DEFAULT_TRIAL_BOOTS,
            clock: HostClock::new(),
        }
    }

    /// The same device with another bootloader.
    pub fn with_bootloader(self, bootloader: Bootloader) -> Self {
        Self { bootloader, ..self }
    }

    /// The same device with eFuses that say this. With a secure version the bootloader does anti-rollback.
    pub fn with_hardware(mut self, hardware: Hardware) -> Self {
        self.silicon.hardware = hardware;
        self
    }

    /// The same device with a chip of this kind: the bootloader takes no image for another.
    pub fn with_chip(mut self, chip: Chip) -> Self {
        self.silicon.chip = Some(chip);
        self
    }

    /// What the device's eFuses say now.
    pub fn hardware(&self) -> &Hardware {
        &self.silicon.hardware
    }

    /// The same device, giving up a new firmware after so many boots without confirmation.
    pub fn with_trial_boots(self, trial_boots: u8) -> Self {
        Self {
            trial_boots,
            ..self
        }
    }

    /// The same device with another idea of the date.
    pub fn with_date(self, date: Date) -> Self {
        Self {
            clock: HostClock::with_date(date),
            ..self
        }
    }

    /// Gives the device another idea of the date, from now on.
    pub fn set_date(&mut self, date: Date) {
        self.clock = HostClock::with_date(date);
    }

    /// The flash.
    pub fn flash(&self) -> &Flash {
        &self.flash
    }

    /// Starts the device: bootloader, boot guard, and the restarts the guard asks for.
    ///
    /// The start counts as a trial boot, as after a crash: the strictest. See [`start_after`](VirtualDevice::start_after).
    ///
    /// # Errors
    ///
    /// Nothing boots, or the guard cannot do its work.
    pub fn power_on(&mut self) -> Result<RunningFirmware, PowerOnError> {
        self.start_after(Reset::Crash)
    }

    /// The same for this reason, which decides whether it counts as a trial boot.
    ///
    /// # Errors
    ///
    /// Those of [`power_on`](VirtualDevice::power_on).
    pub fn start_after(&mut self, reset: Reset) -> Result<RunningFirmware, PowerOnError> {
        let mut reset = reset;
        for restarts in 0..8 {
            let app = self
                .bootloader
                .boot_on(&mut self.flash, &mut self.silicon)
                .map_err(PowerOnError::Boot)?;
            let running = app.partition.offset;
            let guard = boot_guard_after(reset, &mut self.flash, running, self.trial_boots);
            let Booted {
                boot, bootloader, ..
            } = embassy_futures::block_on(guard).map_err(PowerOnError::Guard)?;
            if boot != Boot::GivenUp {
                return Ok(RunningFirmware {
                    app,
                    boot,
                    bootloader,
                    restarts,
                });
            }
            reset = Reset::Crash;
        }
        Err(PowerOnError::BootLoop)
    }

    /// The updater of the running firmware, on the host's network.
    pub fn updater<'a>(
        &'a mut self,
        running: &RunningFirmware,
        config: Config<'a>,
        workspace: &'a mut Workspace,
    ) -> VirtualUpdater<'a> {
        let device = Device {
            flash: &mut self.flash,
            running: running.app.partition.offset,
            network: HostNetwork::default(),
            clock: self.clock,
            rng: OsRng,
        };
        Updater::new(config, device, workspace)
    }
}
