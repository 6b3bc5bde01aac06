//! The life of one device, step by step, as its flash sees it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use s3ota::{
    Boot, Chip, Error, NoUpdate, Outcome, Reset, Timeouts, Updater, Workspace, boot_guard_after,
};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{BootError, Bootloader, Flash, FlashError, InUnits, Operation, Setup};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use scripted_server::bucket::Bucket;
use scripted_server::network::{Ending, Fault, Network, PORT, Way};

/// How often a firmware may boot unconfirmed.
pub const TRIAL_BOOTS: u8 = 3;

/// Slots are as small as may be: what matters lies at their ends.
const SLOT: u32 = 0x1_0000;

/// The key of the boards with flash encryption.
const KEY: u64 = 0x5eed;

/// A device without its flash's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    pub bootloader: Bootloader,
    pub factory: bool,
    pub slots: u8,
    /// What runs at the beginning.
    pub running: Start,
    pub units: Units,
}

/// What flash is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// Words, as ever.
    Words,
    /// 16 bytes: flash encryption is on.
    Of16,
    /// 32 bytes: it is on, on the first ESP32.
    Of32,
}

/// What lies where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Otadata,
    /// The last sector of a slot, which an image may need for itself.
    Journal,
    Image,
}

/// Where the old image lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Factory,
    Slot(u8),
}

/// An image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// What is flashed by cable.
    First,
    /// What is installed after it until the old image lies where a board wants it: the last of these is the old one.
    Old(u8),
    New,
    /// As large as a slot.
    Full,
    Later,
    /// Later than these: what shows that a device can still be updated.
    Last,
    /// Later still, where that was tried already.
    Beyond,
}

/// What a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offer {
    pub release: Release,
    hashed: bool,
    damaged: bool,
    lost_after: Option<usize>,
}

/// What a promise broken does to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing boots.
    Bricked,
    /// Something boots that is no whole image.
    Torn,
    /// It runs, but not what it should, or it cannot be updated.
    Stuck,
    /// What runs is older than what was confirmed, and nobody asked for that.
    Older,
}

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It restarts by itself.
    Boot,
    /// It is switched off and on.
    PowerOn,
    /// Its firmware looks for an update.
    Update(Offer),
    /// Its firmware is content.
    Confirm,
    /// Its firmware is not.
    RollBack,
    /// Its firmware runs well, and did not reach its server.
    EndBoot,
    /// The new image turns out to be one that the bootloader refuses.
    Refuse,
}

/// What runs after a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Running {
    pub release: Release,
    pub at: u32,
    pub on_trial: bool,
}

/// Why a step did not end.
#[derive(Debug)]
pub enum Stopped {
    /// Power failed.
    NoPower,
    /// It broke a promise.
    Broken(Harm, String),
}

/// A promise is broken.
pub fn broken<T>(harm: Harm, what: impl Into<String>) -> Result<T, Stopped> {
    Err(Stopped::Broken(harm, what.into()))
}

/// A device of which all but the flash is here.
pub struct Life {
    pub board: Board,
    runtime: Runtime,
    images: RefCell<HashMap<Release, Vec<u8>>>,
    /// How many updates were tried: they are what takes time.
    pub updates: RefCell<usize>,
}

impl Board {
    /// With this bootloader: with a factory app and without; two, three and four slots; the old image in each kind of
    /// place; without flash encryption and with it.
    pub fn all(bootloader: Bootloader) -> Vec<Self> {
        use Start::*;
        use Units::*;
        let boards = [
            (false, 2, Slot(0), Words),
            (false, 2, Slot(1), Words),
            (true, 2, Factory, Words),
            (true, 2, Slot(0), Words),
            (true, 2, Slot(1), Words),
            (false, 3, Slot(1), Words),
            (false, 3, Slot(2), Words),
            (true, 4, Slot(2), Words),
            (false, 2, Slot(1), Of16),
            (true, 2, Slot(0), Of32),
            (true, 2, Factory, Of16),
        ];
        let boards = boards.map(|(factory, slots, running, units)| Self {
            bootloader,
            factory,
            slots,
            running,
            units,
        });
        boards.to_vec()
    }

    fn csv(&self) -> String {
        let mut csv = String::from("otadata, data, ota, 0x9000, 0x2000\n");
        let mut at = SLOT;
        if self.factory {
            csv += &format!("factory, app, factory, {at:#x}, {SLOT:#x}\n");
            at += SLOT;
        }
        for slot in 0..self.slots {
            csv += &format!("ota_{slot}, app, ota_{slot}, {at:#x}, {SLOT:#x}\n");
            at += SLOT;
        }
        csv
    }

    /// Where on flash an operation is.
    pub fn place(&self, operation: &Operation) -> Place {
        match operation.range().start {
            0x9000..0xb000 => Place::Otadata,
            at if at >= SLOT && at % SLOT >= SLOT - 0x1000 => Place::Journal,
            _ => Place::Image,
        }
    }

    /// Bytes of flash.
    fn size(&self) -> usize {
        (1 + usize::from(self.factory) + usize::from(self.slots)) * SLOT as usize
    }

    /// How many updates bring the old image to its place.
    fn updates_before(&self) -> u8 {
        match self.running {
            Start::Factory => 0,
            Start::Slot(slot) => slot + u8::from(self.factory),
        }
    }

    /// The image that runs at the beginning.
    pub fn old(&self) -> Release {
        match self.updates_before() {
            0 => Release::First,
            n => Release::Old(n),
        }
    }
}

impl Release {
    fn version(self) -> String {
        match self {
            Self::First => "1.0.0".into(),
            Self::Old(n) => format!("1.{n}.0"),
            Self::New => "2.0.0".into(),
            Self::Full => "2.5.0".into(),
            Self::Later => "3.0.0".into(),
            Self::Last => "4.0.0".into(),
            Self::Beyond => "5.0.0".into(),
        }
    }

    fn of_version(version: &str) -> Option<Self> {
        let known = [
            Self::First,
            Self::New,
            Self::Full,
            Self::Later,
            Self::Last,
            Self::Beyond,
        ];
        let mut all = known.into_iter().chain((1..6).map(Self::Old));
        all.find(|release| release.version() == version)
    }

    /// Their order, the oldest first.
    pub fn age(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Old(n) => n,
            Self::New => 10,
            Self::Full => 11,
            Self::Later => 12,
            Self::Last => 13,
            Self::Beyond => 14,
        }
    }

    fn length(self) -> usize {
        match self {
            Self::First | Self::Old(_) | Self::Last | Self::Beyond => 10_000,
            Self::New => 22_000,
            Self::Full => SLOT as usize,
            Self::Later => 14_000,
        }
    }

    fn image(self) -> Vec<u8> {
        ImageBuilder::new(Chip::Esp32C3, &self.version())
            .length(self.length())
            .build()
    }
}

impl Offer {
    /// A release with its hash in the manifest.
    pub const fn of(release: Release) -> Self {
        Self {
            release,
            hashed: true,
            damaged: false,
            lost_after: None,
        }
    }

    /// The manifest says nothing but version and URL.
    pub const fn bare(self) -> Self {
        Self {
            hashed: false,
            ..self
        }
    }

    /// One byte of the image is wrong.
    pub const fn damaged(self) -> Self {
        Self {
            damaged: true,
            ..self
        }
    }

    /// Whether it is all there, and right.
    pub fn is_whole(&self) -> bool {
        !self.damaged && self.lost_after.is_none()
    }

    /// The connection is lost after about so many bytes.
    pub const fn lost_after(self, bytes: usize) -> Self {
        Self {
            lost_after: Some(bytes),
            ..self
        }
    }
}

impl Life {
    pub fn new(board: Board) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        Self {
            board,
            runtime,
            images: RefCell::default(),
            updates: RefCell::default(),
        }
    }

    /// A flash on which the old image runs, confirmed.
    pub fn flash(&self) -> Vec<u8> {
        let setup = Setup::from_csv(&self.board.csv()).unwrap();
        let mut bytes = setup.flash(&self.image(Release::First)).unwrap();
        bytes.truncate(self.board.size());
        let mut flash = match self.board.units {
            Units::Words => Flash::in_memory(bytes),
            Units::Of16 | Units::Of32 => {
                let flash = Flash::in_memory(bytes).with_rewrites();
                flash.encrypted(KEY).unwrap()
            }
        };
        for n in 1..=self.board.updates_before() {
            let offer = Offer::of(Release::Old(n));
            self.run(
                &mut flash,
                &[Step::Boot, Step::Update(offer), Step::Boot, Step::Confirm],
            )
            .unwrap();
        }
        let running = self.boot(&mut flash).unwrap();
        assert_eq!(running.release, self.board.old(), "on {:?}", self.board);
        flash.bytes().to_vec()
    }

    /// This board's flash with these contents.
    ///
    /// With encryption what is erased cannot be told from what is torn, so a torn place may be programmed again.
    pub fn chip(&self, bytes: &[u8]) -> Flash {
        let flash = Flash::in_memory(bytes.to_vec());
        match self.board.units {
            Units::Words => flash,
            Units::Of16 | Units::Of32 => flash.with_rewrites().with_key(KEY),
        }
    }

    /// Whether a flash holds this image there, bit for bit.
    fn holds(&self, flash: &Flash, at: u32, release: Release) -> bool {
        let image = self.image(release);
        let held = &flash.bytes()[at as usize..][..SLOT as usize];
        match self.board.units {
            Units::Words => held.starts_with(&image),
            Units::Of16 | Units::Of32 => {
                let mut chip = self.chip(flash.bytes());
                let mut bytes = vec![0; image.len()];
                embassy_futures::block_on(chip.read(at, &mut bytes)).unwrap();
                bytes == image
            }
        }
    }

    fn image(&self, release: Release) -> Vec<u8> {
        let mut images = self.images.borrow_mut();
        images
            .entry(release)
            .or_insert_with(|| release.image())
            .clone()
    }

    /// Goes through these steps. What runs at the end.
    ///
    /// What an update comes to is not looked at: the steps after it show it.
    pub fn run(&self, flash: &mut Flash, steps: &[Step]) -> Result<Option<Running>, Stopped> {
        let mut running = None;
        for step in steps {
            match (step, running) {
                (Step::Boot, _) => running = Some(self.boot(flash)?),
                (Step::PowerOn, _) => running = Some(self.boot_after(Reset::PowerOn, flash)?),
                (Step::Refuse, _) => self.spoil(flash),
                (Step::Update(offer), Some(now)) => drop(self.update(flash, now, *offer)?),
                (Step::Confirm | Step::RollBack | Step::EndBoot, Some(now)) => {
                    self.decide(flash, now, *step)?;
                }
                (_, None) => panic!("nothing runs before a boot"),
            }
        }
        Ok(running)
    }

    /// Spoils the new image, wherever it lies.
    fn spoil(&self, flash: &mut Flash) {
        let mut bytes = flash.bytes().to_vec();
        for at in (SLOT..self.board.size() as u32).step_by(SLOT as usize) {
            if self.holds(flash, at, Release::New) {
                bytes[at as usize + 8_000..][..512].fill(0);
            }
        }
        *flash = self.chip(&bytes);
    }

    /// Bootloader and boot guard, with the restarts the guard asks for.
    pub fn boot(&self, flash: &mut Flash) -> Result<Running, Stopped> {
        self.boot_after(Reset::Crash, flash)
    }

    fn boot_after(&self, reset: Reset, flash: &mut Flash) -> Result<Running, Stopped> {
        let mut reset = reset;
        for _ in 0..4 {
            let app = match self.board.bootloader.boot(flash) {
                Ok(app) => app,
                Err(BootError::Flash(FlashError::NoPower)) => return Err(Stopped::NoPower),
                Err(error) => return broken(Harm::Bricked, error.to_string()),
            };
            let version = app
                .image
                .descriptor
                .as_ref()
                .map(|descriptor| descriptor.version());
            let release = version.and_then(Release::of_version);
            let at = app.partition.offset;
            let Some(release) = release.filter(|release| self.holds(flash, at, *release)) else {
                return broken(Harm::Torn, format!("what boots calls itself {version:?}"));
            };
            let guarded = embassy_futures::block_on(async {
                match self.board.units {
                    Units::Words => guard(reset, &mut *flash, at).await,
                    Units::Of16 => guard(reset, &mut InUnits::<16>(flash), at).await,
                    Units::Of32 => guard(reset, &mut InUnits::<32>(flash), at).await,
                }
            });
            let boot = match guarded {
                _ if !flash.has_power() => return Err(Stopped::NoPower),
                Ok(boot) => boot,
                Err(error) => return broken(Harm::Stuck, format!("the boot guard: {error}")),
            };
            if boot != Boot::GivenUp {
                return Ok(Running {
                    release,
                    at,
                    on_trial: matches!(boot, Boot::Trial { .. }),
                });
            }
            reset = Reset::Crash;
        }
        broken(Harm::Bricked, "it restarts again and again")
    }

    /// One attempt to update from a server with this offer.
    pub fn update(
        &self,
        flash: &mut Flash,
        running: Running,
        offer: Offer,
    ) -> Result<Result<Outcome, Error>, Stopped> {
        *self.updates.borrow_mut() += 1;
        let image = self.image(offer.release);
        let version = offer.release.version();
        let mut bucket = if offer.hashed {
            Bucket::hashed(&version, image, PORT)
        } else {
            Bucket::bare(&version, image, PORT)
        };
        if offer.damaged {
            let middle = bucket.image.len() / 2;
            bucket.image[middle] ^= 1;
        }
        let network = Network::new(move |request, _| bucket.answer(request).into());
        let network = network.with_faults(move |_| {
            let after = offer.lost_after?;
            Some(Fault::Cut(Way::ToDevice, after, Ending::Reset))
        });
        let result = self.runtime.block_on(async {
            match self.board.units {
                Units::Words => install(&mut *flash, &network, running).await,
                Units::Of16 => install(InUnits::<16>(flash), &network, running).await,
                Units::Of32 => install(InUnits::<32>(flash), &network, running).await,
            }
        });
        if flash.has_power() {
            Ok(result)
        } else {
            Err(Stopped::NoPower)
        }
    }

    /// Ends the trial of what runs, or gives it up: `step` is one of these.
    pub fn decide(&self, flash: &mut Flash, running: Running, step: Step) -> Result<(), Stopped> {
        let result = self.runtime.block_on(async {
            match self.board.units {
                Units::Words => decide(&mut *flash, running, step).await,
                Units::Of16 => decide(InUnits::<16>(flash), running, step).await,
                Units::Of32 => decide(InUnits::<32>(flash), running, step).await,
            }
        });
        match result {
            _ if !flash.has_power() => Err(Stopped::NoPower),
            Ok(()) => Ok(()),
            Err(error) => broken(Harm::Stuck, error.to_string()),
        }
    }
}

async fn install<F: NorFlash>(
    flash: F,
    network: &Network,
    running: Running,
) -> Result<Outcome, Error> {
    let timeouts = Timeouts {
        attempts: 1,
        ..Timeouts::default()
    };
    let version = running.release.version();
    let mut workspace = Box::new(Workspace::new());
    let config = network.config(&version, timeouts);
    let mut updater = Updater::new(config, network.device(flash, running.at), &mut workspace);
    let outcome = updater.install(&mut ()).await;
    if outcome != Ok(Outcome::NoUpdate(NoUpdate::Resting)) {
        return outcome;
    }
    // A release rests for a day at most.
    sleep(Duration::from_secs(24 * 60 * 60)).await;
    updater.install(&mut ()).await
}

async fn guard<F: NorFlash>(reset: Reset, flash: &mut F, at: u32) -> Result<Boot, Error> {
    let booted = boot_guard_after(reset, flash, at, TRIAL_BOOTS).await;
    booted.map(|booted| booted.boot)
}

async fn decide<F: NorFlash>(flash: F, running: Running, step: Step) -> Result<(), Error> {
    let network = Network::new(|_, _| unreachable!("no server is asked"));
    let version = running.release.version();
    let mut workspace = Box::new(Workspace::new());
    let config = network.config(&version, Timeouts::default());
    let device = network.device(flash, running.at);
    let mut updater = Updater::new(config, device, &mut workspace);
    match step {
        Step::Confirm => updater.confirm().await.map(drop),
        Step::RollBack => updater.roll_back().await,
        Step::EndBoot => updater.end_trial_boot().await,
        Step::Boot | Step::PowerOn | Step::Update(_) | Step::Refuse => unreachable!("no decision"),
    }
}
