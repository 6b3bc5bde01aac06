//! A virtual device: flash, bootloader, and a firmware that is nothing but the update library.

use std::fmt;

use s3ota::{
    Boot, Booted, Bootloader as Kind, Chip, Config, Device, Reset, Updater, Workspace,
    boot_guard_at, launch_refused,
};
use s3ota_image::app::Hardware;
use s3ota_image::partition::TABLE_OFFSET;

use crate::bootloader::{App, BootError, Bootloader, Silicon};
use crate::flash::Flash;
use crate::host::{Date, HostClock, HostNetwork, OsRng};
use crate::launcher::Launcher;

/// The updater of a virtual device's firmware.
pub type VirtualUpdater<'a> = Updater<'a, &'a mut Flash, HostNetwork, HostClock, OsRng>;

/// A virtual ESP32.
///
/// Its firmware is what is in its slots: [`power_on`](VirtualDevice::power_on) boots it by the bootloader's rules and runs
/// the boot guard; [`updater`](VirtualDevice::updater) returns the firmware's updater.
#[derive(Debug)]
pub struct VirtualDevice {
    flash: Flash,
    bootloader: Bootloader,
    silicon: Silicon,
    launcher: Launcher,
    table_offset: u32,
    trial_boots: u8,
    clock: HostClock,
    network: HostNetwork,
}

/// The firmware that a virtual device runs, and how it got there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningFirmware {
    /// What the bootloader jumped to, or what that launched.
    pub app: App,
    /// Whether the firmware that the bootloader jumped to launched this one.
    pub launched: bool,
    /// What the boot guard found.
    pub boot: Boot,
    /// The kind of bootloader, if the guard found out.
    pub bootloader: Option<Kind>,
    /// How often the device restarted by itself before: once for each firmware it gave up.
    pub restarts: u32,
}

impl RunningFirmware {
    /// The version in the firmware's descriptor. Empty if it has none.
    pub fn version(&self) -> &str {
        self.app
            .image
            .descriptor
            .as_ref()
            .map_or("", |descriptor| descriptor.version())
    }

    /// The chip that the firmware is for, and so this device's chip.
    pub fn chip(&self) -> Option<Chip> {
        self.app.image.header.chip()
    }
}

/// Why a device does not start.
#[derive(Debug)]
pub enum PowerOnError {
    /// The bootloader found nothing to boot.
    Boot(BootError),
    /// The boot guard failed.
    Guard(s3ota::Error),
    /// The device restarts in a loop.
    BootLoop,
}

impl fmt::Display for PowerOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(error) => write!(f, "the device does not boot: {error}"),
            Self::Guard(error) => write!(f, "the boot guard: {error}"),
            Self::BootLoop => write!(f, "the device restarts in a loop"),
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
            launcher: Launcher::default(),
            table_offset: TABLE_OFFSET,
            trial_boots: s3ota::DEFAULT_TRIAL_BOOTS,
            clock: HostClock::new(),
            network: HostNetwork::default(),
        }
    }

    /// The same device with another bootloader.
    pub fn with_bootloader(self, bootloader: Bootloader) -> Self {
        Self { bootloader, ..self }
    }

    /// The same device with a firmware that launches others in this way, if it is to.
    pub fn with_launcher(self, launcher: Launcher) -> Self {
        Self { launcher, ..self }
    }

    /// The same device with these eFuses. With a secure version the bootloader does anti-rollback.
    pub fn with_hardware(mut self, hardware: Hardware) -> Self {
        self.silicon.hardware = hardware;
        self
    }

    /// The same device with a chip of this kind: the bootloader refuses images for other chips.
    pub fn with_chip(mut self, chip: Chip) -> Self {
        self.silicon.chip = Some(chip);
        self
    }

    /// The same device with the partition table at this offset, for bootloader and firmware alike.
    pub fn with_table_offset(self, table_offset: u32) -> Self {
        Self {
            table_offset,
            ..self
        }
    }

    /// The current state of the device's eFuses.
    pub fn hardware(&self) -> &Hardware {
        &self.silicon.hardware
    }

    /// The same device, which gives up a new firmware after this many boots without confirmation.
    pub fn with_trial_boots(self, trial_boots: u8) -> Self {
        Self {
            trial_boots,
            ..self
        }
    }

    /// The same device on another network than the host's own.
    pub fn with_network(self, network: HostNetwork) -> Self {
        Self { network, ..self }
    }

    /// The same device with another date.
    pub fn with_date(self, date: Date) -> Self {
        Self {
            clock: HostClock::with_date(date),
            ..self
        }
    }

    /// Sets the device's date.
    pub fn set_date(&mut self, date: Date) {
        self.clock = HostClock::with_date(date);
    }

    /// The flash.
    pub fn flash(&self) -> &Flash {
        &self.flash
    }

    /// Starts the device: bootloader, boot guard, and the launch and the restarts that the guard requests.
    ///
    /// The start counts as a trial boot, as after a crash, which is the strictest reason. See [`start_after`](VirtualDevice::start_after).
    ///
    /// # Errors
    ///
    /// Nothing boots, or the guard fails.
    pub fn power_on(&mut self) -> Result<RunningFirmware, PowerOnError> {
        self.start_after(Reset::Crash)
    }

    /// Starts the device after this kind of reset, which decides whether the start counts as a trial boot.
    ///
    /// # Errors
    ///
    /// Those of [`power_on`](VirtualDevice::power_on).
    pub fn start_after(&mut self, reset: Reset) -> Result<RunningFirmware, PowerOnError> {
        let mut reset = reset;
        for restarts in 0..8 {
            let mut app = self
                .bootloader
                .boot_at(self.table_offset, &mut self.flash, &mut self.silicon)
                .map_err(PowerOnError::Boot)?;
            let mut booted = self.guard(reset, app.partition.offset)?;
            let mut launched = false;
            if let Boot::Launch { slot, .. } = booted.boot {
                let old = app.partition.offset;
                let (table, flash) = (self.table_offset, &mut self.flash);
                match self
                    .launcher
                    .launch(table, flash, &self.silicon, slot.index)
                {
                    Ok(Ok(new)) => {
                        (app, launched) = (new, true);
                        booted = self.guard(reset, app.partition.offset)?;
                    }
                    Ok(Err(refusal)) => {
                        booted.boot = launch_refused(table, flash, old, refusal);
                    }
                    Err(error) => return Err(PowerOnError::Boot(error)),
                }
            }
            let Booted {
                boot, bootloader, ..
            } = booted;
            if boot != Boot::GivenUp {
                return Ok(RunningFirmware {
                    app,
                    launched,
                    boot,
                    bootloader,
                    restarts,
                });
            }
            reset = Reset::Crash;
        }
        Err(PowerOnError::BootLoop)
    }

    /// The boot guard of the firmware at this offset.
    fn guard(&mut self, reset: Reset, running: u32) -> Result<Booted, PowerOnError> {
        let guard = boot_guard_at(
            self.table_offset,
            reset,
            &mut self.flash,
            running,
            self.trial_boots,
        );
        embassy_futures::block_on(guard).map_err(PowerOnError::Guard)
    }

    /// The updater of the running firmware, on the host's network. It looks for the partition table where the bootloader does.
    pub fn updater<'a>(
        &'a mut self,
        running: &RunningFirmware,
        mut config: Config<'a>,
        workspace: &'a mut Workspace,
    ) -> VirtualUpdater<'a> {
        config.partition_table = self.table_offset;
        let device = Device {
            flash: &mut self.flash,
            running: running.app.partition.offset,
            network: self.network.clone(),
            clock: self.clock,
            rng: OsRng,
        };
        Updater::new(config, device, workspace)
    }
}
