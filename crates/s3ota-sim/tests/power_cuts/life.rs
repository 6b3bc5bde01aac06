//! The life of one device, step by step, as its flash sees it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use embedded_storage_async::nor_flash::{NorFlash, ReadNorFlash};
use s3ota::{
    Boot, Chip, Error, NoUpdate, Outcome, Refusal, Reset, Timeouts, TrialMode, Updater, Workspace,
    boot_guard_after, launch_refused,
};
use s3ota_image::app::ImageBuilder;
use s3ota_image::partition::TABLE_OFFSET;
use s3ota_sim::{
    App, BootError, Bootloader, Flash, FlashError, InUnits, Launcher, Operation, Setup, Silicon,
};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use scripted_server::bucket::Bucket;
use scripted_server::deltas::{Release as Ways, noise};
use scripted_server::network::{Ending, Fault, Network, PORT, Way, identity};
use scripted_server::server::Identity;
use scripted_server::{Reply, Request};

/// How often a firmware may boot unconfirmed.
pub const TRIAL_BOOTS: u8 = 3;

/// How often a device restarts by itself before something stays. A firmware that dies has its trial boots, and some that do not
/// count.
const RESTARTS: usize = 12;

/// Slots are as small as may be: what matters lies at their ends.
const SLOT: u32 = 0x1_0000;

/// The block of the cipher.
const BLOCK: usize = 16;

/// The key of the boards with flash encryption.
const KEY: u64 = 0x5eed;

/// A device without its flash's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    pub bootloader: Bootloader,
    /// Who boots an image on trial.
    pub mode: TrialMode,
    /// What becomes of it where that is the old firmware.
    pub launcher: Launcher,
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
    /// It hangs before its first instruction, or was linked wrong: its guard is never reached.
    Dead,
    /// It runs, and knows nothing of this library: it calls no guard, and confirms nothing.
    Foreign,
    /// It calls its guard, and hangs once the chip is set up.
    Hangs,
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
    by: By,
}

/// What else a server offers to make the image of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    Nothing,
    /// A delta for what runs.
    Delta,
    /// One that makes another image.
    WrongDelta,
    /// The compressed image.
    Compressed,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// What the bootloader booted: this one, or what launched it.
    pub booted: Release,
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
    images: RefCell<HashMap<Release, Rc<Vec<u8>>>>,
    made: RefCell<HashMap<(Release, Release, By), Ways>>,
}

impl Board {
    /// With this bootloader, and trials of this kind: with a factory app and without; two, three and four slots; the old image in
    /// each kind of place; without flash encryption and with it.
    pub fn all(bootloader: Bootloader, mode: TrialMode) -> Vec<Self> {
        use Start::*;
        use Units::*;
        let boards = [
            (true, 2, Factory, Words),
            (false, 2, Slot(1), Words),
            (true, 2, Slot(0), Of32),
            (false, 3, Slot(2), Words),
            (false, 2, Slot(1), Of16),
            (true, 4, Slot(2), Words),
            (false, 2, Slot(0), Words),
            (true, 2, Slot(1), Words),
            (true, 2, Factory, Of16),
            (true, 2, Slot(0), Words),
            (false, 3, Slot(1), Words),
        ];
        let boards = boards.map(|(factory, slots, running, units)| Self {
            bootloader,
            mode,
            launcher: Launcher::Able,
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

    /// Whether an operation erases a slot for an image: its second sector, too. The first is erased for its last bytes, where
    /// flash encryption hides whether they are there.
    pub fn begins_slot(&self, operation: &Operation) -> bool {
        let second = |slot: u32| slot * SLOT + 0x1000;
        let slots = 1..(self.size() as u32 / SLOT);
        let is_erasure = matches!(operation, Operation::Erase { .. });
        is_erasure && slots.map(second).any(|at| operation.range().contains(&at))
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
            Self::Dead => "2.1.0".into(),
            Self::Foreign => "2.2.0".into(),
            Self::Hangs => "2.3.0".into(),
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
            Self::Dead,
            Self::Foreign,
            Self::Hangs,
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
            Self::Dead => 11,
            Self::Foreign => 12,
            Self::Hangs => 13,
            Self::Full => 14,
            Self::Later => 15,
            Self::Last => 16,
            Self::Beyond => 17,
        }
    }

    /// Bytes of it, but for what frames them.
    fn length(self) -> usize {
        match self {
            Self::First | Self::Old(_) | Self::Last | Self::Beyond => 10_000,
            Self::New | Self::Dead | Self::Foreign | Self::Hangs => 22_000,
            Self::Full => SLOT as usize,
            Self::Later => 14_000,
        }
    }

    /// Whether it calls its boot guard.
    fn has_guard(self) -> bool {
        !matches!(self, Self::Dead | Self::Foreign)
    }

    /// How it ends after so many starts, if it does not run on: a watchdog resets it, or its power goes.
    fn dies(self, start: usize) -> Option<Reset> {
        match self {
            Self::Dead | Self::Hangs => Some(Reset::Crash),
            Self::Foreign if start.is_multiple_of(2) => Some(Reset::PowerOn),
            Self::Foreign => Some(Reset::Crash),
            _ => None,
        }
    }

    /// As firmware is: most of it is in each release, and some is its own.
    fn image(self) -> Vec<u8> {
        let builder = ImageBuilder::new(Chip::Esp32C3, &self.version());
        if self == Self::Full {
            return builder.length(self.length()).build();
        }
        let common = noise(0, 1536);
        let mut payload = Vec::new();
        for part in 1.. {
            payload.extend(&noise(u64::from(self.age()) << 8 | part, 512));
            payload.extend(&common);
            if payload.len() >= self.length() {
                break;
            }
        }
        payload.truncate(self.length());
        builder.payload(&payload).build()
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
            by: By::Nothing,
        }
    }

    /// There is something to make the image of.
    pub const fn by(self, by: By) -> Self {
        Self { by, ..self }
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
            made: RefCell::default(),
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
    pub fn chip(&self, bytes: Vec<u8>) -> Flash {
        let flash = Flash::in_memory(bytes);
        match self.board.units {
            Units::Words => flash,
            Units::Of16 | Units::Of32 => flash.with_rewrites().with_key(KEY),
        }
    }

    /// Whether a flash holds this image there, bit for bit.
    fn holds(&self, flash: &mut Flash, at: u32, release: Release) -> bool {
        let image = self.image(release);
        let length = image.len().next_multiple_of(BLOCK);
        let held = flash.look(at..at + length as u32);
        match self.board.units {
            Units::Words => held.starts_with(&image),
            Units::Of16 | Units::Of32 => {
                // The cipher goes by the address.
                let mut bytes = vec![0; at as usize];
                bytes.extend_from_slice(held);
                let mut read = vec![0; image.len()];
                embassy_futures::block_on(self.chip(bytes).read(at, &mut read)).unwrap();
                read == *image
            }
        }
    }

    fn image(&self, release: Release) -> Rc<Vec<u8>> {
        let mut images = self.images.borrow_mut();
        let image = images
            .entry(release)
            .or_insert_with(|| Rc::new(release.image()));
        image.clone()
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
                (Step::Update(offer), Some(now)) => {
                    let before = flash.wear().bytes;
                    drop(self.update(flash, now, *offer)?);
                    let written = flash.wear().bytes - before;
                    assert!(
                        offer.lost_after.is_none() || written > 0x1000,
                        "{offer:?} broke off before anything was on flash"
                    );
                }
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
        *flash = self.chip(bytes);
    }

    /// Bootloader and boot guard, with the restarts the guard asks for.
    pub fn boot(&self, flash: &mut Flash) -> Result<Running, Stopped> {
        self.boot_after(Reset::Crash, flash)
    }

    fn boot_after(&self, reset: Reset, flash: &mut Flash) -> Result<Running, Stopped> {
        let mut reset = reset;
        for start in 0..RESTARTS {
            let app = with_power(self.board.bootloader.boot(flash))?;
            let booted = self.whole(flash, &app)?;
            let (mut release, mut at) = (booted, app.partition.offset);
            let mut boot = self.guard(reset, flash, release, at)?;
            if let Some(Boot::Launch { slot, .. }) = boot {
                let silicon = Silicon::default();
                let launcher = self.board.launcher;
                let launched = launcher.launch(TABLE_OFFSET, flash, &silicon, slot.index);
                match with_power(launched)? {
                    Ok(app) => {
                        (release, at) = (self.whole(flash, &app)?, app.partition.offset);
                        boot = self.guard(reset, flash, release, at)?;
                    }
                    Err(refusal) => boot = Some(self.refuse(flash, at, refusal)?),
                }
            }
            if boot == Some(Boot::GivenUp) {
                reset = Reset::Crash;
            } else if let Some(end) = release.dies(start) {
                reset = end;
            } else {
                return Ok(Running {
                    release,
                    booted,
                    at,
                    on_trial: matches!(boot, Some(Boot::Trial { .. })),
                });
            }
        }
        broken(Harm::Bricked, "it restarts again and again")
    }

    /// The release that an app is, whole.
    fn whole(&self, flash: &mut Flash, app: &App) -> Result<Release, Stopped> {
        let descriptor = app.image.descriptor.as_ref();
        let version = descriptor.map(|descriptor| descriptor.version());
        let release = version.and_then(Release::of_version);
        let at = app.partition.offset;
        match release.filter(|release| self.holds(flash, at, *release)) {
            Some(release) => Ok(release),
            None => broken(Harm::Torn, format!("what boots calls itself {version:?}")),
        }
    }

    /// What the guard of this release says, if it has one.
    fn guard(
        &self,
        reset: Reset,
        flash: &mut Flash,
        release: Release,
        at: u32,
    ) -> Result<Option<Boot>, Stopped> {
        if !release.has_guard() {
            return Ok(None);
        }
        let guarded = embassy_futures::block_on(async {
            match self.board.units {
                Units::Words => guard(reset, &mut *flash, at).await,
                Units::Of16 => guard(reset, &mut InUnits::<16>(flash), at).await,
                Units::Of32 => guard(reset, &mut InUnits::<32>(flash), at).await,
            }
        });
        guarded_well(flash, guarded).map(Some)
    }

    /// The firmware at this offset does not launch what it should.
    fn refuse(&self, flash: &mut Flash, at: u32, refusal: Refusal) -> Result<Boot, Stopped> {
        let table = TABLE_OFFSET;
        let refused = match self.board.units {
            Units::Words => launch_refused(table, &mut *flash, at, refusal),
            Units::Of16 => launch_refused(table, &mut InUnits::<16>(flash), at, refusal),
            Units::Of32 => launch_refused(table, &mut InUnits::<32>(flash), at, refusal),
        };
        guarded_well(flash, Ok(refused))
    }

    /// One attempt to update from a server with this offer.
    pub fn update(
        &self,
        flash: &mut Flash,
        running: Running,
        offer: Offer,
    ) -> Result<Result<Outcome, Error>, Stopped> {
        let image = self.image(offer.release);
        let version = offer.release.version();
        let mut bucket = if offer.hashed {
            Bucket::hashed(&version, image.to_vec(), PORT)
        } else {
            Bucket::bare(&version, image.to_vec(), PORT)
        };
        if offer.damaged {
            let middle = bucket.image.len() / 2;
            bucket.image[middle] ^= 1;
        }
        let network = match self.ways(running.release, offer) {
            Some(ways) => network(move |request| ways.answer(request, PORT).into()),
            None => network(move |request| bucket.answer(request).into()),
        };
        let network = network.with_faults(move |_| {
            let after = offer.lost_after?;
            Some(Fault::Cut(Way::ToDevice, after, Ending::Reset))
        });
        let mode = self.board.mode;
        let result = self.runtime.block_on(async {
            match self.board.units {
                Units::Words => install(&mut *flash, &network, running, mode).await,
                Units::Of16 => install(InUnits::<16>(flash), &network, running, mode).await,
                Units::Of32 => install(InUnits::<32>(flash), &network, running, mode).await,
            }
        });
        if flash.has_power() {
            Ok(result)
        } else {
            Err(Stopped::NoPower)
        }
    }

    /// The release with what it can be made of, if it is offered so.
    fn ways(&self, running: Release, offer: Offer) -> Option<Ways> {
        let (release, by) = (offer.release, offer.by);
        if by == By::Nothing {
            return None;
        }
        let mut made = self.made.borrow_mut();
        let ways = made.entry((running, release, by)).or_insert_with(|| {
            let ways = Ways::whole(&release.version(), self.image(release).to_vec());
            if by == By::Compressed {
                return ways.compressed();
            }
            let mut ways = ways.from(&running.version(), &self.image(running));
            if by == By::WrongDelta {
                let bytes = &mut ways.deltas[0].artefact.bytes;
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x55;
            }
            ways
        });
        Some(ways.clone())
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

/// What the bootloader, or a launcher, found; unless power failed.
fn with_power<T>(result: Result<T, BootError>) -> Result<T, Stopped> {
    match result {
        Ok(found) => Ok(found),
        Err(BootError::Flash(FlashError::NoPower)) => Err(Stopped::NoPower),
        Err(error) => broken(Harm::Bricked, error.to_string()),
    }
}

/// What a guard found; unless power failed.
fn guarded_well(flash: &Flash, boot: Result<Boot, Error>) -> Result<Boot, Stopped> {
    match boot {
        _ if !flash.has_power() => Err(Stopped::NoPower),
        Ok(boot) => Ok(boot),
        Err(error) => broken(Harm::Stuck, format!("the boot guard: {error}")),
    }
}

/// A server whose answers come in small records, so that a connection may break off between any of them.
fn network(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Network {
    let mut config = (*identity().config).clone();
    config.max_fragment_size = Some(1024);
    let server = Arc::new(Identity {
        ca: identity().ca.clone(),
        config: Arc::new(config),
    });
    let answer = Arc::new(answer);
    Network::of_peers(move |socket, connection| {
        let (server, answer) = (server.clone(), answer.clone());
        async move {
            let answer = move |request: Request| answer(&request);
            server.serve(socket, connection, answer).await;
        }
    })
}

async fn install<F: NorFlash>(
    flash: F,
    network: &Network,
    running: Running,
    mode: TrialMode,
) -> Result<Outcome, Error> {
    let timeouts = Timeouts {
        attempts: 1,
        ..Timeouts::default()
    };
    let version = running.release.version();
    let mut workspace = Box::new(Workspace::new());
    let mut config = network.config(&version, timeouts);
    config.trial_mode = mode;
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
