//! A virtual device that runs: it boots, updates itself and confirms, and reports every step.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use s3ota::manifest::Manifest;
use s3ota::{
    Agent, Boot, Checked, Config, Confirm, Error, Hooks, Installed, NoUpdate, Outcome, ReleaseKey,
    Reset, Schedule, Timeouts, TrialMode, Workspace,
};
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, PowerOnError, RunningFirmware, SetupError, VirtualDevice, VirtualUpdater};
use serde_json::json;

use super::chip::KnownChip;
use super::rehearsal::trusting;
use crate::error::CliError;
use crate::firmware::OwnVersion;
use crate::output::{self, Output, Progress};
use crate::s3::tunnel;

/// The configuration of the firmware of a virtual device.
pub struct Settings {
    /// The URL of the manifest.
    pub manifest_url: String,
    /// Roots to trust besides those built in, as DER.
    pub roots: Vec<Vec<u8>>,
    /// The device's id.
    pub device_id: String,
    /// Its board name.
    pub board: Option<String>,
    /// The release keys that it trusts. Without any, anyone who can write to the bucket can release.
    pub release_keys: Vec<ReleaseKey>,
    /// The date as it knows it.
    pub date: Date,
    /// The version of its firmware, if the image does not name it.
    pub firmware_version: Option<String>,
    /// Its timeouts.
    pub timeouts: Timeouts,
}

impl Settings {
    fn config<'a>(&'a self, running: &'a Running) -> Result<Config<'a>, CliError> {
        let chip = running.firmware.chip().ok_or_else(|| {
            let message = "this version of s3ota does not know the chip of the running firmware";
            CliError::new("image.chip", message)
        })?;
        Ok(Config {
            board: self.board.as_deref(),
            release_keys: &self.release_keys,
            timeouts: self.timeouts,
            roots: trusting(&self.roots)?,
            ..Config::new(&self.manifest_url, &running.version, chip, &self.device_id)
        })
    }

    /// The version that the firmware on this flash would tell the library: the one that its image names, if that can be compared.
    fn version_of(&self, running: &RunningFirmware, flash: &[u8]) -> String {
        if let Some(version) = &self.firmware_version {
            return version.clone();
        }
        let image = &running.app.image;
        let begin = running.app.partition.offset as usize;
        let bytes = flash.get(begin..).unwrap_or_default();
        let bytes = bytes.get(..image.length as usize).unwrap_or_default();
        OwnVersion::of(image, bytes).map_or_else(|_| "0.0.0".to_owned(), |own| own.text)
    }
}

/// A running firmware, and its version.
pub struct Running {
    /// What booted, and how.
    pub firmware: RunningFirmware,
    /// Its version.
    pub version: String,
}

impl Running {
    /// The name of the partition it runs from.
    pub fn slot(&self) -> String {
        let slot = self.firmware.app.slot;
        slot.map_or_else(|| "factory".to_owned(), |slot| format!("ota_{slot}"))
    }
}

/// A virtual device, and where it reports.
pub struct Station {
    device: VirtualDevice,
    /// The configuration of its firmware.
    pub settings: Settings,
    workspace: Box<Workspace>,
    chip: Option<(KnownChip, PathBuf)>,
    /// The reason of its next start.
    reset: Reset,
    /// Who boots a new firmware on trial.
    trial_mode: TrialMode,
    out: Output,
}

impl Station {
    /// A device with this flash.
    pub fn new(flash: Flash, settings: Settings, out: Output) -> Self {
        let workspace = Box::new(Workspace::new());
        Self {
            device: VirtualDevice::new(flash)
                .with_date(settings.date)
                .with_network(tunnel::network()),
            settings,
            workspace,
            chip: None,
            reset: Reset::Crash,
            trial_mode: TrialMode::default(),
            out,
        }
    }

    /// The same device with what is known of its chip. What its bootloader burns into eFuses is kept beside the flash file.
    pub fn with_chip(self, known: Option<KnownChip>, flash: &Path) -> Self {
        let Some(known) = known else { return self };
        let device = self.device.with_chip(known.chip);
        Self {
            device: device.with_hardware(known.hardware()),
            chip: Some((known, flash.to_owned())),
            ..self
        }
    }

    /// Keeps the secure version that the bootloader has burnt.
    fn keep_efuses(&mut self) -> Result<(), CliError> {
        let burnt = self.device.hardware().secure_version;
        if let Some((known, flash)) = &mut self.chip
            && known.secure_version != burnt
        {
            known.secure_version = burnt;
            KnownChip::keep(Some(*known), flash)?;
        }
        Ok(())
    }

    /// The same device with its partition table at this offset.
    pub fn with_table_offset(self, table_offset: u32) -> Self {
        Self {
            device: self.device.with_table_offset(table_offset),
            ..self
        }
    }

    /// The same device, whose first start is a wake from deep sleep if so wanted. By default every start counts as a trial boot.
    pub fn that_wakes(self, wakes: bool) -> Self {
        let reset = if wakes { Reset::Wake } else { Reset::Crash };
        Self { reset, ..self }
    }

    /// The same device, whose firmware launches a new one for its trial. By default the bootloader boots it.
    pub fn that_launches(self, launches: bool) -> Self {
        let trial_mode = match launches {
            true => TrialMode::Launch,
            false => TrialMode::Switch,
        };
        Self { trial_mode, ..self }
    }

    /// The contents of its flash.
    pub fn flash(&self) -> &[u8] {
        self.device.flash().bytes()
    }

    /// Boots, checks once, and if something was installed restarts into it and confirms it.
    pub async fn once(&mut self, confirm: bool) -> Result<(), CliError> {
        let running = self.power_on()?;
        if let Boot::Trial { .. } = running.firmware.boot {
            if !confirm {
                return self.look(&running).await;
            }
            self.confirm(&running).await?;
        }
        if self.update(&running).await? {
            let running = self.restart()?;
            if confirm {
                self.confirm(&running).await?;
            } else {
                self.out.prose(
                    "left on trial: it rolls back unless the firmware is confirmed within its remaining boots",
                );
            }
        }
        Ok(())
    }

    /// Boots and runs the agent, again and again.
    pub async fn forever(&mut self, every: Duration, confirm: bool) -> Result<(), CliError> {
        let confirm = if confirm {
            Confirm::WhenServerReached
        } else {
            Confirm::ByApplication
        };
        let schedule = Schedule {
            first: Duration::ZERO,
            every,
            confirm,
            ..Schedule::default()
        };
        let mut running = self.power_on()?;
        loop {
            let out = self.out;
            let updater = self.updater(&running)?;
            Agent::new(updater, schedule)
                .run(&mut Teller::new(&out), std::future::pending)
                .await;
            running = self.restart()?;
        }
    }

    /// Powers the device on, and reports what booted.
    pub fn power_on(&mut self) -> Result<Running, CliError> {
        let reset = std::mem::replace(&mut self.reset, Reset::Crash);
        let firmware = self.device.start_after(reset)?;
        self.keep_efuses()?;
        let flash = self.device.flash().bytes();
        let version = self.settings.version_of(&firmware, flash);
        let running = Running { firmware, version };
        let (state, human) = match running.firmware.boot {
            Boot::Trial { boot, of } => {
                let how = match running.firmware.launched {
                    true => ", launched by the firmware before it",
                    false => "",
                };
                ("trial", format!(", on trial: boot {boot} of {of}{how}"))
            }
            Boot::FellBack => {
                let why = match self.trial_mode {
                    TrialMode::Launch => ": the firmware on trial was given up",
                    _ => ": the bootloader refused the new image",
                };
                ("fell_back", why.to_owned())
            }
            _ if running.firmware.restarts > 0 => (
                "rolled_back",
                ": the firmware on trial was rolled back".to_owned(),
            ),
            _ => ("confirmed", String::new()),
        };
        let (version, slot) = (&running.version, running.slot());
        tell(
            &self.out,
            format_args!("boots {version} from {slot}{human}"),
        );
        let mut event = json!({ "version": version, "slot": slot, "state": state });
        if let Boot::Trial { boot, of } = running.firmware.boot {
            event["boot"] = json!(boot);
            event["of"] = json!(of);
            event["launched"] = json!(running.firmware.launched);
        }
        self.out.event("boot", event);
        Ok(running)
    }

    /// Restarts the device.
    pub fn restart(&mut self) -> Result<Running, CliError> {
        tell(&self.out, "restarts");
        self.out.event("restart", json!({}));
        self.power_on()
    }

    /// Checks for an update and installs it. Returns whether it did.
    pub async fn update(&mut self, running: &Running) -> Result<bool, CliError> {
        Ok(self.try_update(running).await??)
    }

    /// The same, with a refusal of the device as its own error.
    pub async fn try_update(&mut self, running: &Running) -> Result<Result<bool, Error>, CliError> {
        let out = self.out;
        let outcome = self.updater(running)?.install(&mut Teller::new(&out)).await;
        Ok(outcome.map(|outcome| matches!(outcome, Outcome::Installed(_))))
    }

    /// Checks for an update that cannot be installed now.
    async fn look(&mut self, running: &Running) -> Result<(), CliError> {
        let out = self.out;
        match self.updater(running)?.check().await? {
            Checked::Available(release) => {
                tell(
                    &out,
                    format_args!("sees {}, but must be confirmed first", release.version),
                );
                out.event("on_trial", json!({ "available": release.version.as_str() }));
            }
            Checked::NoUpdate(reason) => Teller::new(&out).on_no_update(reason),
        }
        Ok(())
    }

    /// Confirms the running firmware.
    pub async fn confirm(&mut self, running: &Running) -> Result<(), CliError> {
        if self.updater(running)?.confirm().await? {
            let version = &running.version;
            tell(&self.out, format_args!("confirms {version}"));
            self.out.event("confirmed", json!({ "version": version }));
        }
        Ok(())
    }

    /// The updater of the running firmware.
    fn updater<'a>(&'a mut self, running: &'a Running) -> Result<VirtualUpdater<'a>, CliError> {
        let config = Config {
            // As a firmware reads them from the eFuses: it does not download what its bootloader would refuse.
            hardware: *self.device.hardware(),
            trial_mode: self.trial_mode,
            ..self.settings.config(running)?
        };
        Ok(self
            .device
            .updater(&running.firmware, config, &mut self.workspace))
    }
}

/// Reports what the device does.
fn tell(out: &Output, what: impl Display) {
    out.say(output::fact("device", 9, what));
}

/// Reports the calls of the library's hooks.
pub struct Teller<'o> {
    out: &'o Output,
    progress: Option<Progress>,
}

impl<'o> Teller<'o> {
    /// Reports to `out`.
    pub fn new(out: &'o Output) -> Self {
        Self {
            out,
            progress: None,
        }
    }
}

impl Hooks for Teller<'_> {
    fn on_start(&mut self, release: &Manifest<'_>) {
        let size = release
            .size
            .map(|size| format!(", {}", output::bytes(size.into())))
            .unwrap_or_default();
        tell(
            self.out,
            format_args!("downloads {}{size}", release.version),
        );
        self.out.event(
            "download",
            json!({ "version": release.version.to_string(), "size": release.size }),
        );
    }

    fn on_progress(&mut self, progress: s3ota::Progress) {
        let total = progress.total.unwrap_or(progress.written).into();
        let bar = self
            .progress
            .get_or_insert_with(|| self.out.progress("download", total));
        bar.set(progress.written.into());
    }

    fn on_no_update(&mut self, reason: NoUpdate) {
        let (name, human) = match reason {
            NoUpdate::UpToDate => ("up_to_date", "is up to date"),
            NoUpdate::NotModified => (
                "not_modified",
                "is up to date: the manifest has not changed",
            ),
            NoUpdate::NotInRollout => ("not_in_rollout", "is not in the rollout yet"),
            NoUpdate::FailedBefore => (
                "failed_before",
                "has tried this release before and rolled back: it waits for another",
            ),
            NoUpdate::Vetoed => ("vetoed", "does not want to update now"),
            _ => ("none", "has nothing to do"),
        };
        tell(self.out, human);
        self.out.event("no_update", json!({ "reason": name }));
    }

    fn on_error(&mut self, error: &Error, retry_in: Option<Duration>) {
        if let Some(bar) = self.progress.take() {
            bar.finish();
        }
        // The last error is reported at the end of the command.
        if let Some(pause) = retry_in {
            tell(
                self.out,
                format_args!("{error}; retries in {:.1} s", pause.as_secs_f32()),
            );
            let fields = json!({ "code": error.code(), "message": error.to_string(), "in_ms": pause.as_millis() as u64 });
            self.out.event("retry", fields);
        }
    }

    fn on_confirm(&mut self) {
        tell(self.out, "confirms its firmware: the server can be reached");
        self.out.event("confirmed", json!({}));
    }

    fn on_complete(&mut self, installed: &Installed) {
        if let Some(bar) = self.progress.take() {
            bar.finish();
        }
        let Installed {
            version,
            size,
            slot,
            ..
        } = installed;
        tell(
            self.out,
            format_args!(
                "has {version} in ota_{}: {} written, checked and read back",
                slot.index,
                output::bytes((*size).into())
            ),
        );
        self.out.event("installed", json!({ "version": version.as_str(), "size": size, "slot": format!("ota_{}", slot.index) }));
    }
}

impl From<PowerOnError> for CliError {
    fn from(error: PowerOnError) -> Self {
        match error {
            PowerOnError::Guard(error) => error.into(),
            error => Self::new("device.boot", error.to_string()),
        }
    }
}

impl From<SetupError> for CliError {
    fn from(error: SetupError) -> Self {
        let code = match &error {
            SetupError::Image(error) => error.code(),
            SetupError::TooLarge { .. } => "image.size",
            _ => "device.partitions",
        };
        Self::new(code, error.to_string())
    }
}
