//! The device: its flash, and how it starts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Bootloader, Flash, Setup};

use crate::libraries::{Firmware, Library, Refusal};

/// The offset of otadata.
pub const OTADATA: std::ops::Range<u32> = 0x9000..0xb000;

/// Bytes of an app partition.
const SLOT: u32 = 0x1_0000;

/// The offset of `ota_0`. `ota_1` is after it, and a factory partition after both.
const SLOTS: u32 = 0x1_0000;

/// How many restarts a library may request before something runs.
const RESTARTS: usize = 8;

/// A firmware. Each has the version of its number and differs from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// Flashed by cable.
    First,
    /// Installed by updates after it. The last of these is the old firmware.
    Old(u8),
    /// One that was given up before.
    Rejected,
    /// The new one. Power fails while it is installed, confirmed or given up.
    New,
    /// The one after it.
    Later,
}

/// A device without its flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    pub bootloader: Bootloader,
    /// Whether there is a factory partition beside the two slots.
    pub factory: bool,
    /// How many updates were made before: they decide what runs from where, and what otadata holds.
    pub updates: u8,
}

/// A board with a library and without its flash.
pub struct Device<'l> {
    pub board: Board,
    pub library: &'l dyn Library,
}

/// What happens to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is switched on, or restarts.
    Boot,
    /// Its firmware installs a release.
    Update(Release),
    /// Its firmware confirms itself.
    Confirm,
    /// Its firmware gives itself up.
    Reject,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    pub release: Release,
    at: u32,
}

/// Nothing does, or something that is not a complete image.
#[derive(Debug, Clone, Copy)]
pub struct NothingRuns;

/// The slot a partition is.
pub fn slot_at(partition: u32) -> Option<u8> {
    u8::try_from(partition.checked_sub(SLOTS)? / SLOT)
        .ok()
        .filter(|&slot| slot < 2)
}

impl Release {
    /// Its version.
    pub fn version(self) -> String {
        match self {
            Self::First => "1.0.0".into(),
            Self::Old(n) => format!("1.{n}.0"),
            Self::Rejected => "2.0.0".into(),
            Self::New => "3.0.0".into(),
            Self::Later => "4.0.0".into(),
        }
    }

    /// Its image.
    pub fn image(self) -> &'static [u8] {
        static IMAGES: LazyLock<Vec<(Release, Vec<u8>)>> = LazyLock::new(|| {
            let build = |release: Release| {
                let image = ImageBuilder::new(Chip::Esp32C3, &release.version());
                (release, image.length(9_000).build())
            };
            Release::all().map(build).collect()
        });
        IMAGES
            .iter()
            .find(|(release, _)| *release == self)
            .map_or(&[], |(_, image)| image)
    }

    fn all() -> impl Iterator<Item = Self> {
        let named = [Self::First, Self::Rejected, Self::New, Self::Later];
        named.into_iter().chain((1..=3).map(Self::Old))
    }
}

impl Board {
    /// Two slots, and two slots with a factory partition; every place the old firmware may run from, the first time and
    /// again; both kinds of bootloader.
    pub fn all() -> Vec<Self> {
        let places = [
            (false, 0),
            (false, 1),
            (false, 2),
            (true, 0),
            (true, 1),
            (true, 2),
            (true, 3),
        ];
        [false, true]
            .into_iter()
            .flat_map(|app_rollback| {
                places.map(|(factory, updates)| Self {
                    bootloader: Bootloader { app_rollback },
                    factory,
                    updates,
                })
            })
            .collect()
    }

    /// What runs before the update.
    pub fn old(&self) -> Release {
        match self.updates {
            0 => Release::First,
            n => Release::Old(n),
        }
    }

    /// A new device's flash.
    fn flash(&self) -> Flash {
        let mut csv = format!(
            "otadata, data, ota, {:#x}, 0x2000\n\
             ota_0, app, ota_0, {SLOTS:#x}, {SLOT:#x}\n\
             ota_1, app, ota_1, {:#x}, {SLOT:#x}\n",
            OTADATA.start,
            SLOTS + SLOT
        );
        if self.factory {
            csv += &format!(
                "factory, app, factory, {:#x}, {SLOT:#x}\n",
                SLOTS + 2 * SLOT
            );
        }
        let setup = Setup::from_csv(&csv).expect("the table is valid");
        let mut bytes = setup.flash(Release::First.image()).expect("the image fits");
        bytes.truncate((SLOTS + 3 * SLOT) as usize);
        Flash::in_memory(bytes)
    }
}

impl Device<'_> {
    /// A flash on which the old firmware runs, brought there by the library itself.
    pub fn flash(&self) -> Result<Flash, Refusal> {
        let mut flash = self.board.flash();
        for n in 1..=self.board.updates {
            let steps = [
                Step::Boot,
                Step::Update(Release::Old(n)),
                Step::Boot,
                Step::Confirm,
            ];
            self.run(&mut flash, None, &steps)?;
        }
        match self.boot(&mut flash) {
            Ok(running) if running.release == self.board.old() => Ok(flash),
            other => Err(format!("{other:?} instead of {:?}", self.board.old())),
        }
    }

    /// Goes through these steps. What runs at the end.
    pub fn run(
        &self,
        flash: &mut Flash,
        mut running: Option<Running>,
        steps: &[Step],
    ) -> Result<Option<Running>, Refusal> {
        for step in steps {
            match (step, running) {
                (Step::Boot, _) => running = Some(self.boot(flash).map_err(|_| "nothing boots")?),
                (_, None) => return Err("nothing runs before a boot".to_owned()),
                (Step::Update(to), Some(now)) => self.update(flash, now, *to)?,
                (Step::Confirm, Some(now)) => self.confirm(flash, now)?,
                (Step::Reject, Some(now)) => {
                    self.ask(flash, now, |library, firmware| library.reject(firmware))?;
                }
            }
        }
        Ok(running)
    }

    /// The bootloader, what the firmware does first, and the restarts it asks for.
    pub fn boot(&self, flash: &mut Flash) -> Result<Running, NothingRuns> {
        for _ in 0..RESTARTS {
            let app = self.board.bootloader.boot(flash).map_err(|_| NothingRuns)?;
            let at = app.partition.offset;
            let held = &flash.bytes()[at as usize..];
            let release = Release::all()
                .find(|release| held.starts_with(release.image()))
                .ok_or(NothingRuns)?;
            let running = Running { release, at };
            // A firmware that cannot do this continues; the result shows later.
            match self.ask(flash, running, |library, firmware| library.start(firmware)) {
                Ok(true) => {}
                _ => return Ok(running),
            }
        }
        Err(NothingRuns)
    }

    pub fn update(&self, flash: &mut Flash, running: Running, to: Release) -> Result<(), Refusal> {
        self.ask(flash, running, |library, firmware| {
            library.update(firmware, to)
        })
    }

    pub fn confirm(&self, flash: &mut Flash, running: Running) -> Result<(), Refusal> {
        self.ask(flash, running, |library, firmware| {
            library.confirm(firmware)
        })
    }

    /// Lets the running firmware call its library. A panic counts as an error.
    fn ask<T>(
        &self,
        flash: &mut Flash,
        running: Running,
        act: impl FnOnce(&dyn Library, &mut Firmware<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let Running { release, at } = running;
        let mut firmware = Firmware { flash, at, release };
        catch_unwind(AssertUnwindSafe(|| act(self.library, &mut firmware)))
            .unwrap_or_else(|_| Err("it panics".to_owned()))
    }
}
