//! A device on a network of its own, which starts for one reason after another.

use s3ota::{
    Agent, Boot, Bootloader as Kind, Error, NoUpdate, Outcome, Reset, Schedule, TrialMode, Updater,
    Wear, Workspace, boot_guard_after, launch_refused,
};
use s3ota_image::otadata::Record;
use s3ota_image::partition::TABLE_OFFSET;
use s3ota_sim::host::{HostClock, OsRng};
use s3ota_sim::{Bootloader, Flash, Launcher, Setup, Silicon};

use crate::bucket::Bucket;
use crate::network::{Fault, Network, PORT};
use crate::{IMPATIENT, firmware};

/// What goes back from a firmware that fails its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The bootloader.
    pub bootloader: Bootloader,
    /// Who boots a firmware on trial.
    pub mode: TrialMode,
    /// What becomes of it where that is the old firmware.
    pub launcher: Launcher,
}

/// The new firmware itself does, where the bootloader has no app rollback.
pub const PLAIN: Way = Way {
    bootloader: Bootloader {
        app_rollback: false,
    },
    mode: TrialMode::Switch,
    launcher: Launcher::Able,
};

/// The bootloader does.
pub const ROLLBACK: Way = Way {
    bootloader: Bootloader { app_rollback: true },
    ..PLAIN
};

/// The old firmware does.
pub const LAUNCH: Way = Way {
    mode: TrialMode::Launch,
    ..PLAIN
};

/// A device whose firmware is the library.
pub struct Device {
    /// Its flash.
    pub flash: Flash,
    /// What goes back from a firmware that fails.
    pub way: Way,
}

/// What runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    /// Its version.
    pub version: String,
    /// Its offset.
    pub at: u32,
    /// What its guard says.
    pub boot: Boot,
    /// The kind of bootloader, if the guard knows.
    pub bootloader: Option<Kind>,
    /// Whether another firmware launched it.
    pub launched: bool,
}

/// Where the usual slots lie.
pub const OTA_0: usize = 0x1_0000;
/// The other.
pub const OTA_1: usize = 0x20_0000;

/// The first boot of a trial.
pub const FIRST: Boot = Boot::Trial { boot: 1, of: 3 };

/// A network with a server that offers this version.
pub fn serving(version: &str) -> Network {
    offering(version, firmware(version))
}

/// A network with a server that offers this image.
pub fn offering(version: &str, image: Vec<u8>) -> Network {
    let bucket = Bucket::hashed(version, image, PORT);
    Network::new(move |request, _| bucket.answer(request).into())
}

/// A network on which nobody can be reached.
pub fn unreachable() -> Network {
    serving("9.9.9").with_faults(|_| Some(Fault::Refused))
}

impl Runs {
    /// Whether this version runs, and its guard says so.
    pub fn is(&self, version: &str, boot: Boot) -> bool {
        (self.version.as_str(), self.boot) == (version, boot)
    }
}

impl Device {
    /// A device with two slots that runs 1.0.0.
    pub fn new(way: Way) -> Self {
        Self::with(way, Setup::default())
    }

    /// A device with this partition table that runs 1.0.0.
    pub fn with(way: Way, setup: Setup) -> Self {
        let flash = Flash::in_memory(setup.flash(&firmware("1.0.0")).unwrap());
        Self { flash, way }
    }

    /// Starts for this reason, and again as often as the guard asks for it.
    pub async fn starts(&mut self, reset: Reset) -> Runs {
        let mut reset = reset;
        for _ in 0..8 {
            let runs = self.start(reset).await;
            if runs.boot != Boot::GivenUp {
                return runs;
            }
            reset = Reset::Crash;
        }
        panic!("it restarts again and again");
    }

    /// Starts once: the bootloader, the guard, and the launch that the guard may ask for.
    pub async fn start(&mut self, reset: Reset) -> Runs {
        let mut app = self.way.bootloader.boot(&mut self.flash).unwrap();
        let old = app.partition.offset;
        let booted = boot_guard_after(reset, &mut self.flash, old, 3).await;
        let mut booted = booted.unwrap();
        let mut launched = false;
        if let Boot::Launch { slot, .. } = booted.boot {
            let (flash, silicon) = (&mut self.flash, Silicon::default());
            let launcher = self.way.launcher;
            let launch = launcher.launch(TABLE_OFFSET, flash, &silicon, slot.index);
            match launch.unwrap() {
                Ok(new) => {
                    (app, launched) = (new, true);
                    let at = app.partition.offset;
                    let guard = boot_guard_after(reset, &mut self.flash, at, 3).await;
                    booted = guard.unwrap();
                }
                Err(refusal) => {
                    booted.boot = launch_refused(TABLE_OFFSET, flash, old, refusal);
                }
            }
        }
        Runs {
            version: app.image.descriptor.unwrap().version().to_owned(),
            at: app.partition.offset,
            boot: booted.boot,
            bootloader: booted.bootloader,
            launched,
        }
    }

    /// The running firmware, awake for a moment, checks once and has no reason to restart. It is given the wear that it kept, and
    /// gives what it keeps.
    pub async fn checks_once(
        &mut self,
        runs: &Runs,
        network: &Network,
        kept: [u32; Wear::WORDS],
    ) -> [u32; Wear::WORDS] {
        let mut workspace = Box::new(Workspace::new());
        let config = network.config(&runs.version, IMPATIENT);
        let parts = network.device(&mut self.flash, runs.at);
        let updater = Updater::new(config, parts, &mut workspace);
        let mut agent = Agent::new(updater, Schedule::default());
        agent.updater().set_wear(Wear::from_words(kept));
        assert_eq!(agent.once(&mut ()).await, None);
        agent.updater().wear().to_words()
    }

    /// The running firmware does something with its updater.
    pub async fn does<T>(
        &mut self,
        runs: &Runs,
        network: &Network,
        what: impl AsyncFnOnce(&mut Updater<'_, &mut Flash, &Network, HostClock, OsRng>) -> T,
    ) -> T {
        let mut workspace = Box::new(Workspace::new());
        let mut config = network.config(&runs.version, IMPATIENT);
        config.trial_mode = self.way.mode;
        let device = network.device(&mut self.flash, runs.at);
        what(&mut Updater::new(config, device, &mut workspace)).await
    }

    /// The running firmware looks for an update, and finds this version.
    pub async fn installs(&mut self, runs: &Runs, version: &str) -> Result<Outcome, Error> {
        self.takes(runs, version, firmware(version)).await
    }

    /// The running firmware looks for an update, and finds this image.
    pub async fn takes(
        &mut self,
        runs: &Runs,
        version: &str,
        image: Vec<u8>,
    ) -> Result<Outcome, Error> {
        let network = offering(version, image);
        self.does(runs, &network, async |updater| {
            updater.install(&mut ()).await
        })
        .await
    }

    /// Whether the running firmware says of this version that it failed.
    pub async fn has_failed(&mut self, runs: &Runs, version: &str) -> bool {
        self.installs(runs, version).await == Ok(Outcome::NoUpdate(NoUpdate::FailedBefore))
    }

    /// Installs 1.1.0 and starts it, for the first time and by a restart of the software.
    pub async fn on_trial(way: Way) -> (Self, Runs) {
        let mut device = Self::installed(way).await;
        let runs = device.starts(Reset::Crash).await;
        assert_eq!((runs.version.as_str(), runs.boot), ("1.1.0", FIRST));
        assert_eq!(runs.launched, way.mode == TrialMode::Launch);
        (device, runs)
    }

    /// The running firmware proves itself, and is confirmed.
    pub async fn confirms(&mut self, runs: &Runs) {
        let network = serving(&runs.version);
        let confirmed = self.does(runs, &network, async |updater| {
            updater.prove().await?;
            updater.confirm().await
        });
        assert_eq!(confirmed.await, Ok(true));
    }

    /// A device that has installed 1.1.0, and not started it.
    pub async fn installed(way: Way) -> Self {
        let mut device = Self::new(way);
        let runs = device.starts(Reset::PowerOn).await;
        let outcome = device.installs(&runs, "1.1.0").await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        device
    }

    /// The two records of otadata.
    pub fn records(&self) -> [Record; 2] {
        [0xd000, 0xe000].map(|at| Record::parse(self.flash.bytes()[at..].first_chunk().unwrap()))
    }

    /// The version that the bootloader would boot now.
    pub fn selected(&self) -> String {
        let mut flash = Flash::in_memory(self.flash.bytes().to_vec());
        let app = self.way.bootloader.boot(&mut flash).unwrap();
        app.image.descriptor.unwrap().version().to_owned()
    }

    /// What the guard of the firmware at this offset says, and nothing more happens.
    pub async fn guard(&mut self, at: usize) -> Boot {
        let guard = boot_guard_after(Reset::Crash, &mut self.flash, at as u32, 3);
        guard.await.unwrap().boot
    }

    /// Somebody writes to its flash, by cable.
    pub fn change(&mut self, change: impl FnOnce(&mut [u8])) {
        let mut bytes = self.flash.bytes().to_vec();
        change(&mut bytes);
        self.flash = Flash::in_memory(bytes);
    }
}
