//! Any otadata, and what happens to a device that has it.
//!
//! The first byte: 1 and 2 correct the CRC of the records, 4 the checks of the logs after them; 8 and 16 select the partition
//! table, 32 a bootloader with app rollback, 64 leaves `ota_1` without an image, 128 lets the old firmware launch the new one.
//! Four bytes say what happens. 512 bytes for each sector follow.

use embassy_futures::block_on;
use s3ota::fuzzing::Release;
use s3ota::{Boot, Chip, Config, Error, Workspace};
use s3ota_image::otadata::{RECORD_LEN, Record, State};
use s3ota_image::partition::{PartitionTable, TABLE_OFFSET};
use s3ota_sim::{Bootloader, Flash, RunningFirmware, VirtualDevice, VirtualUpdater};
use sha2::{Digest, Sha256};

use crate::bench::{self, Apps, OTADATA, SECTOR, SLOT_SIZE, SLOTS};
use crate::input::Input;

const RIGHT_CRC_0: u8 = 1;
const RIGHT_CRC_1: u8 = 2;
const RIGHT_LOGS: u8 = 4;
const FACTORY: u8 = 8;
const THREE_SLOTS: u8 = 16;
const APP_ROLLBACK: u8 = 32;
const EMPTY_SLOT: u8 = 64;
const LAUNCH: u8 = 128;

/// How much of each sector is in the input: the record and 14 entries of its log.
const GIVEN: usize = 512;
/// How often a firmware may boot without confirmation.
const TRIAL_BOOTS: u8 = 3;
/// Powers the device on and off, and lets its firmware do what the input says in between.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let actions = [(); 4].map(|()| input.byte());
    let mut flash = bench::flash(apps(flags));
    for sector in [0, 1] {
        let given = input.take(GIVEN);
        let bytes = &mut flash[OTADATA as usize + sector * SECTOR..][..SECTOR];
        bytes[..given.len()].copy_from_slice(given);
        if flags & [RIGHT_CRC_0, RIGHT_CRC_1][sector] != 0 && !given.is_empty() {
            let record: &mut [u8; RECORD_LEN] = bytes.first_chunk_mut().expect("a record");
            let parsed = Record::parse(record);
            assert_eq!(parsed.emit(), *record);
            // No device lives long enough to use up the sequences.
            let sequence = parsed.sequence & (u32::MAX >> 1);
            *record = Record::new(sequence, parsed.state, parsed.label).emit();
        }
        if flags & RIGHT_LOGS != 0 {
            bench::repair_log(&mut bytes[64..]);
        }
    }
    if flags & EMPTY_SLOT != 0 {
        flash[SLOTS[1] as usize..][..SLOT_SIZE as usize].fill(0xff);
    }
    let bootloader = Bootloader {
        app_rollback: flags & APP_ROLLBACK != 0,
    };

    let launches = flags & LAUNCH != 0;
    let mut device = Bench {
        flash,
        bootloader,
        launches,
    };
    let mut twin = device.clone();
    assert_eq!(device.power_on(), twin.power_on());
    assert!(device.flash == twin.flash, "the same flash, another end");
    for action in actions {
        device.act(action);
    }
    device.comes_to_rest();
}

fn apps(flags: u8) -> Apps {
    match flags {
        _ if flags & FACTORY != 0 => Apps::Factory,
        _ if flags & THREE_SLOTS != 0 => Apps::ThreeSlots,
        _ => Apps::TwoSlots,
    }
}

/// What remains of a device while it is off, and how to power it on.
#[derive(Clone)]
struct Bench {
    flash: Vec<u8>,
    bootloader: Bootloader,
    launches: bool,
}

impl Bench {
    /// Something boots, and only otadata is written.
    fn power_on(&mut self) -> RunningFirmware {
        let running = self.change(None, |device| {
            device
                .power_on()
                .unwrap_or_else(|error| panic!("the device does not come up: {error}"))
        });
        if let Boot::Trial { boot, of } = running.boot {
            assert!((1..=u32::from(of)).contains(&boot) && of == TRIAL_BOOTS);
        }
        running
    }

    /// Powers it on, lets the firmware do something, and powers it off.
    fn act(&mut self, action: u8) {
        let running = self.power_on();
        let on_trial = matches!(running.boot, Boot::Trial { .. });
        let partition = running.app.partition;
        let has_way_back = !on_trial || self.has_way_back(&running);
        match action % 4 {
            0 => {}
            1 => match self.update(&running, async |updater| updater.confirm().await) {
                Ok(was_on_trial) => {
                    assert_eq!(was_on_trial, on_trial);
                    let again = self.power_on();
                    assert_eq!(
                        (again.boot, again.app.partition),
                        (Boot::Confirmed, partition)
                    );
                }
                Err(error) => panic!("not confirmed: {error}"),
            },
            2 => match self.update(&running, async |updater| updater.roll_back().await) {
                Ok(()) => {
                    let again = self.power_on();
                    assert!(
                        again.app.partition != partition || !has_way_back,
                        "not rolled back"
                    );
                }
                Err(error) => assert_eq!(error, Error::NothingToGoBackTo),
            },
            _ if on_trial => {}
            _ => self.install(partition.offset),
        }
    }

    /// Whether otadata leads back from the image on trial: to a slot with an image that another record has confirmed, or that the
    /// trial's record left for it. This library's records do. After damage there may be none, or another trial, which may have had
    /// its boots.
    fn has_way_back(&self, running: &RunningFirmware) -> bool {
        let slots: u32 = if self.has_three_slots() { 3 } else { 2 };
        let valid = [0, 1].into_iter().filter_map(|sector| {
            let bytes = self.flash[OTADATA as usize + sector * SECTOR..].first_chunk();
            Some(Record::parse(bytes?)).filter(Record::is_idf_valid)
        });
        let named = valid.map(|record| {
            let label = record.label.strip_prefix(b"s3ota\x01");
            let is_confirmed = match label {
                Some([purpose, ..]) => b"CRL".contains(purpose),
                _ => record.label == [0xff; 20],
            };
            if is_confirmed && record.state != State::PendingVerify {
                (false, record.slot(slots))
            } else {
                (true, label.map(|label| label[1].into()))
            }
        });
        let named: Vec<_> = named.collect();
        let is_one_trial = named.iter().filter(|(is_trial, _)| *is_trial).count() == 1;
        let running = running.app.slot.map(u32::from);
        let holds_image = |slot: u32| self.flash[SLOTS[slot as usize] as usize] == 0xe9;
        named
            .into_iter()
            .filter(|(is_trial, _)| !is_trial || is_one_trial)
            .filter_map(|(_, slot)| slot)
            .any(|slot| slot < slots && Some(slot) != running && holds_image(slot))
    }

    fn install(&mut self, running: u32) {
        let image = bench::firmware("9.9.9");
        let release = Release {
            id: *b"release 9.9.",
            image: &image,
            sha256: Sha256::digest(&image).into(),
            launches: self.launches,
        };
        let slot = SLOTS.iter().position(|&slot| slot == running);
        let slots = SLOTS.len() - usize::from(!self.has_three_slots());
        let target = SLOTS[slot
            .filter(|&slot| slot < slots)
            .map_or(0, |slot| (slot + 1) % slots)];
        let before = self.flash.clone();
        let mut flash = Flash::in_memory(before.clone());
        let installed = block_on(release.install(&mut flash, running, &mut [0; SECTOR]));
        self.flash = flash.bytes().to_vec();
        self.assert_only_changed(&before, Some(target));
        match installed {
            Ok(_) => {
                let updated = self.power_on();
                assert_eq!(updated.version(), "9.9.9");
                let first = Boot::Trial {
                    boot: 1,
                    of: TRIAL_BOOTS,
                };
                assert_eq!(updated.boot, first);
            }
            Err(error) => panic!("not installed: {error}"),
        }
    }

    fn has_three_slots(&self) -> bool {
        let table = &self.flash[TABLE_OFFSET as usize..];
        let table = PartitionTable::parse(table).expect("the bench's own table");
        table.ota_slots().count() == SLOTS.len()
    }

    /// Left alone it comes to rest: no trial lasts for ever.
    fn comes_to_rest(&mut self) {
        let mut boots = Vec::new();
        for _ in 0..4 * TRIAL_BOOTS {
            let before = self.flash.clone();
            boots.push(self.power_on().boot);
            if self.flash == before {
                let at_rest = matches!(boots.last(), Some(Boot::Confirmed));
                return assert!(at_rest, "at rest, and not confirmed: {boots:?}");
            }
        }
        panic!("a trial without end: {boots:?}");
    }

    /// What the running firmware's updater does.
    fn update<T>(
        &mut self,
        running: &RunningFirmware,
        action: impl AsyncFnOnce(&mut VirtualUpdater<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.change(None, |device| {
            let mut workspace = Workspace::new();
            let config = Config::new("https://unused.example/", "1.0.0", Chip::Esp32C3, "");
            block_on(action(&mut device.updater(running, config, &mut workspace)))
        })
    }

    /// Does something to the device that changes only otadata and a slot.
    fn change<T>(&mut self, slot: Option<u32>, change: impl FnOnce(&mut VirtualDevice) -> T) -> T {
        let mut device = VirtualDevice::new(Flash::in_memory(self.flash.clone()))
            .with_bootloader(self.bootloader)
            .with_trial_boots(TRIAL_BOOTS);
        let result = change(&mut device);
        let before = std::mem::replace(&mut self.flash, device.flash().bytes().to_vec());
        self.assert_only_changed(&before, slot);
        result
    }

    fn assert_only_changed(&self, before: &[u8], slot: Option<u32>) {
        let otadata = OTADATA as usize..OTADATA as usize + 2 * SECTOR;
        let slot = slot.map_or(0..0, |slot| slot as usize..(slot + SLOT_SIZE) as usize);
        let sectors = before.chunks(SECTOR).zip(self.flash.chunks(SECTOR));
        for ((before, after), at) in sectors.zip((0..).step_by(SECTOR)) {
            let may_change = otadata.contains(&at) || slot.contains(&at);
            assert!(before == after || may_change, "{at:#x} was changed");
        }
    }
}

/// A device's otadata at each stage of an update, with both bootloaders.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for flags in [
        0,
        FACTORY,
        THREE_SLOTS,
        APP_ROLLBACK,
        APP_ROLLBACK | EMPTY_SLOT,
        LAUNCH,
        LAUNCH | FACTORY,
    ] {
        let mut seed = |actions: [u8; 4], flash: &[u8]| {
            let sector = |sector: usize| &flash[OTADATA as usize + sector * SECTOR..][..GIVEN];
            let first = flags | RIGHT_LOGS | RIGHT_CRC_0 | RIGHT_CRC_1;
            seeds.push([&[first], &actions[..], sector(0), sector(1)].concat());
        };
        let mut device = Bench {
            flash: bench::flash(apps(flags)),
            bootloader: Bootloader {
                app_rollback: flags & APP_ROLLBACK != 0,
            },
            launches: flags & LAUNCH != 0,
        };
        seed([0; 4], &device.flash);
        // Install, three boots, confirm, install, roll back.
        for (action, next) in [(3, 1), (0, 0), (0, 2), (1, 3), (3, 0), (2, 3), (0, 1)] {
            device.act(action);
            seed([next, 3, 1, 2], &device.flash);
        }
    }
    seeds
}

/// Tokens of otadata.
pub const TOKENS: &[&[u8]] = &[
    b"s3ota\x01T\x00",
    b"s3ota\x01T\xff",
    b"s3ota\x01C\x01",
    b"release 9.9.",
    b"boot",
    b"fail",
    b"test",
    b"away",
    b"\x00\x00\x00\x00",
    b"\x01\x00\x00\x00",
    b"\x02\x00\x00\x00",
    b"\x03\x00\x00\x00",
    b"\x04\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xfe\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
];
