//! `s3ota device`: a virtual ESP32 on a flash file.

mod args;
mod chip;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use s3ota::manifest::{Manifest, Version};
use s3ota::tls::Roots;
use s3ota::{
    Agent, Boot, Checked, Chip, Config, Confirm, Error, Hooks, Installed, NoUpdate, Outcome,
    ReleaseKey, Schedule, Timeouts, Workspace,
};
use s3ota_image::app::{Descriptor, Misfit, Revision};
use s3ota_sim::host::Date;
use s3ota_sim::{
    Flash, PowerOnError, RunningFirmware, Setup, SetupError, VirtualDevice, VirtualUpdater,
};
use serde_json::json;

pub use self::args::{DeviceCommand, DeviceNewArgs, DeviceRunArgs};
use self::chip::KnownChip;
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::output::{self, Output, Progress};
use crate::{certificates, keys};

/// Makes a flash file.
pub fn new(args: &DeviceNewArgs, out: &Output) -> Result<(), CliError> {
    let firmware = firmware::read(&args.image)?;
    let setup = match &args.partitions {
        Some(path) => {
            let csv = fs::read_to_string(path).map_err(|error| CliError::file(path, &error))?;
            Setup::from_csv(&csv)?
        }
        None => Setup::default(),
    };
    let flash = setup.flash(&firmware.bytes)?;
    let known = known_chip(args, &firmware)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).truncate(true);
    if args.force {
        options.create(true);
    } else {
        options.create_new(true);
    }
    let written = options
        .open(&args.flash)
        .and_then(|mut file| file.write_all(&flash));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::file(&args.flash, &error)
            .hint("add --force to replace it, and with it the device's whole past"),
        _ => CliError::file(&args.flash, &error),
    })?;
    KnownChip::keep(known, &args.flash)?;
    let version = firmware
        .image
        .descriptor
        .as_ref()
        .map_or("", Descriptor::version);
    let chip = firmware.image.header.chip().map_or("unknown", Chip::name);
    let revision = known.map(|known| known.revision);
    let of_revision = revision.map(|revision| format!(" of revision {}", Revision(revision)));
    out.say(format_args!(
        "{}: a virtual {chip}{} with {} MiB of flash and firmware {version}",
        args.flash.display(),
        of_revision.unwrap_or_default(),
        flash.len() >> 20
    ));
    out.event(
        "created",
        json!({
            "flash": args.flash.display().to_string(), "size": flash.len(), "chip": chip, "version": version,
            "chip_revision": revision,
        }),
    );
    Ok(())
}

/// What is said of a new device's chip, on which its first firmware must run.
fn known_chip(args: &DeviceNewArgs, firmware: &Firmware) -> Result<Option<KnownChip>, CliError> {
    let image = &firmware.image;
    let (Some(revision), Some(chip)) = (args.chip_revision, image.header.chip()) else {
        return Ok(None);
    };
    let known = KnownChip { chip, revision };
    let runs = known
        .hardware()
        .accepts(&image.header, image.descriptor.as_ref());
    runs.map_err(|misfit: Misfit| {
        CliError::new(
            misfit.code(),
            format!("the firmware does not boot: {misfit}"),
        )
        .hint("give a firmware that runs on this chip, or another --chip-revision")
    })?;
    Ok(Some(known))
}

/// Powers a device on.
pub async fn run(args: DeviceRunArgs, out: &Output) -> Result<(), CliError> {
    let roots = match &args.ca {
        Some(path) => certificates::read(path)?,
        None => Vec::new(),
    };
    let release_keys = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<_, _>>()?;
    let flash = Flash::open(&args.flash).map_err(|error| CliError::file(&args.flash, &error))?;
    let known = KnownChip::beside(&args.flash)?;
    let device_id = match args.device_id {
        Some(id) => id,
        None => id_of(&args.flash)?,
    };
    let settings = Settings {
        manifest_url: args.manifest_url,
        roots,
        device_id,
        board: args.board,
        release_keys,
        date: args.now.unwrap_or_default(),
        firmware_version: args.firmware_version,
        timeouts: Timeouts {
            attempts: args.attempts.max(1),
            deadline: args.deadline,
            ..Timeouts::default()
        },
    };
    let mut station = Station::new(flash, settings, *out).with_chip(known);
    if args.once {
        station.once(!args.no_confirm).await
    } else {
        station.forever(args.every, !args.no_confirm).await
    }
}

/// What the firmware of a virtual device is configured with.
pub struct Settings {
    /// Where the manifest lies.
    pub manifest_url: String,
    /// Roots to trust besides Amazon's, as DER.
    pub roots: Vec<Vec<u8>>,
    /// The device's id.
    pub device_id: String,
    /// Its board name.
    pub board: Option<String>,
    /// Who may release; anyone who can write to the bucket, if it is empty.
    pub release_keys: Vec<ReleaseKey>,
    /// What it knows of the date.
    pub date: Date,
    /// The version of the firmware it runs, where the image does not say.
    pub firmware_version: Option<String>,
    /// How patient it is.
    pub timeouts: Timeouts,
}

impl Settings {
    fn config<'a>(&'a self, running: &'a Running) -> Result<Config<'a>, CliError> {
        let chip = running.firmware.chip().ok_or_else(|| {
            let message = "the running firmware is for a chip this version of s3ota does not know";
            CliError::new("image.chip", message)
        })?;
        let mut roots = Roots::amazon();
        for der in &self.roots {
            let wrong = |error| CliError::new("tls.root", format!("the CA certificate: {error}"));
            roots.add_der(der).map_err(wrong)?;
        }
        Ok(Config {
            board: self.board.as_deref(),
            release_keys: &self.release_keys,
            timeouts: self.timeouts,
            roots,
            ..Config::new(&self.manifest_url, &running.version, chip, &self.device_id)
        })
    }

    /// The version the firmware would tell the library: its descriptor's, where that is one.
    fn version_of(&self, running: &RunningFirmware) -> String {
        if let Some(version) = &self.firmware_version {
            return version.clone();
        }
        let comparable = |descriptor: &&Descriptor| {
            !descriptor.is_arduino() && Version::parse(descriptor.version()).is_ok()
        };
        let descriptor = running.app.image.descriptor.as_ref().filter(comparable);
        descriptor.map_or("0.0.0", Descriptor::version).to_owned()
    }
}

/// A firmware that runs, and the version it takes itself for.
pub struct Running {
    /// What was booted, and how.
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

/// A virtual device on the bench, and someone who tells what it does.
pub struct Station {
    device: VirtualDevice,
    /// What its firmware is configured with.
    pub settings: Settings,
    workspace: Box<Workspace>,
    out: Output,
}

impl Station {
    /// Puts a device with this flash on the bench.
    pub fn new(flash: Flash, settings: Settings, out: Output) -> Self {
        let workspace = Box::new(Workspace::new());
        Self {
            device: VirtualDevice::new(flash).with_date(settings.date),
            settings,
            workspace,
            out,
        }
    }

    /// The same device with a chip of which something is known.
    fn with_chip(self, known: Option<KnownChip>) -> Self {
        let Some(known) = known else { return self };
        let device = self.device.with_chip(known.chip);
        Self {
            device: device.with_hardware(known.hardware()),
            ..self
        }
    }

    /// What the device's flash holds.
    pub fn flash(&self) -> &[u8] {
        self.device.flash().bytes()
    }

    /// Boots, checks once, and if something was installed restarts into it and confirms it.
    async fn once(&mut self, confirm: bool) -> Result<(), CliError> {
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
                self.out.say(
                    "left on trial: it is given up if it is not confirmed in the boots it has left",
                );
            }
        }
        Ok(())
    }

    /// Boots and runs the agent, again and again.
    async fn forever(&mut self, every: Duration, confirm: bool) -> Result<(), CliError> {
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

    /// Switches the device on and tells what came up.
    pub fn power_on(&mut self) -> Result<Running, CliError> {
        let firmware = self.device.power_on()?;
        let version = self.settings.version_of(&firmware);
        let running = Running { firmware, version };
        let (state, human) = match running.firmware.boot {
            Boot::Trial { boot, of } => ("trial", format!(", on trial: boot {boot} of {of}")),
            Boot::FellBack => (
                "fell_back",
                ": the bootloader refused the new image".to_owned(),
            ),
            _ if running.firmware.restarts > 0 => (
                "rolled_back",
                ": the firmware on trial was given up".to_owned(),
            ),
            _ => ("confirmed", String::new()),
        };
        let (version, slot) = (&running.version, running.slot());
        self.out
            .say(format_args!("device    boots {version} from {slot}{human}"));
        let mut event = json!({ "version": version, "slot": slot, "state": state });
        if let Boot::Trial { boot, of } = running.firmware.boot {
            event["boot"] = json!(boot);
            event["of"] = json!(of);
        }
        self.out.event("boot", event);
        Ok(running)
    }

    /// Restarts the device.
    pub fn restart(&mut self) -> Result<Running, CliError> {
        self.out.say("device    restarts");
        self.out.event("restart", json!({}));
        self.power_on()
    }

    /// Looks for an update and installs it; whether one was installed.
    pub async fn update(&mut self, running: &Running) -> Result<bool, CliError> {
        let out = self.out;
        let outcome = self
            .updater(running)?
            .install(&mut Teller::new(&out))
            .await?;
        Ok(matches!(outcome, Outcome::Installed(_)))
    }

    /// Looks for an update that cannot be installed now.
    async fn look(&mut self, running: &Running) -> Result<(), CliError> {
        let out = self.out;
        match self.updater(running)?.check().await? {
            Checked::Available(release) => {
                out.say(format_args!(
                    "device    sees {}, but must be confirmed first",
                    release.version
                ));
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
            self.out.say(format_args!("device    confirms {version}"));
            self.out.event("confirmed", json!({ "version": version }));
        }
        Ok(())
    }

    /// The updater of the running firmware.
    fn updater<'a>(&'a mut self, running: &'a Running) -> Result<VirtualUpdater<'a>, CliError> {
        let config = Config {
            // As a firmware reads them from the eFuses: what its bootloader would refuse, it does not download.
            hardware: *self.device.hardware(),
            ..self.settings.config(running)?
        };
        Ok(self
            .device
            .updater(&running.firmware, config, &mut self.workspace))
    }
}

/// A stable id for the device in this file.
fn id_of(flash: &Path) -> Result<String, CliError> {
    let path = flash
        .canonicalize()
        .map_err(|error| CliError::file(flash, &error))?;
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    Ok(format!("virtual-{hash:016x}"))
}

/// Tells what the library's hooks are told.
pub struct Teller<'o> {
    out: &'o Output,
    progress: Option<Progress>,
}

impl<'o> Teller<'o> {
    /// Tells it to `out`.
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
        self.out.say(format_args!(
            "device    downloads {}{size}",
            release.version
        ));
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
            NoUpdate::NotInRollout => (
                "not_in_rollout",
                "is not among those the release is rolled out to yet",
            ),
            NoUpdate::FailedBefore => (
                "failed_before",
                "has tried this release and gave it up: it waits for another",
            ),
            NoUpdate::Vetoed => ("vetoed", "does not want to update now"),
            _ => ("none", "has nothing to do"),
        };
        self.out.say(format_args!("device    {human}"));
        self.out.event("no_update", json!({ "reason": name }));
    }

    fn on_error(&mut self, error: &Error, retry_in: Option<Duration>) {
        if let Some(bar) = self.progress.take() {
            bar.finish();
        }
        // The last error is the command's own, told at its end.
        if let Some(pause) = retry_in {
            self.out.say(format_args!(
                "device    {error}; tries again in {:.1} s",
                pause.as_secs_f32()
            ));
            let fields = json!({ "code": error.code(), "message": error.to_string(), "in_ms": pause.as_millis() as u64 });
            self.out.event("retry", fields);
        }
    }

    fn on_confirm(&mut self) {
        self.out
            .say("device    confirms its firmware: the server can be reached");
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
        self.out.say(format_args!(
            "device    has {version} in ota_{}: {} downloaded, checked, read back",
            slot.index,
            output::bytes((*size).into())
        ));
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
