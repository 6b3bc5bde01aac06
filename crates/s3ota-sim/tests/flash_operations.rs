//! What an update does to the flash, operation by operation, and what it does when the flash fails.

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use s3ota::{Device, Error, FirmwareError, Outcome, Updater, Workspace};
use s3ota_sim::host::{HostClock, HostNetwork, OsRng};
use s3ota_sim::{BootError, Bootloader, Flash, FlashError, Setup};
use scripted_server::*;

const SLOT_0: u32 = 0x1_0000;
const SLOT_1: u32 = 0x20_0000;
const SLOT_SIZE: u32 = 0x1f_0000;
const OTADATA: u32 = 0xd000;

/// A flash that keeps a log, and may be worn: one bit that should stay set reads as cleared.
struct Observed<'f> {
    flash: &'f mut Flash,
    log: Vec<Operation>,
    worn: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Erase(u32, u32),
    Program(u32, usize),
}

impl ErrorType for Observed<'_> {
    type Error = FlashError;
}

impl ReadNorFlash for Observed<'_> {
    const READ_SIZE: usize = Flash::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.flash.read(offset, bytes).await?;
        let worn = self.worn.and_then(|at| at.checked_sub(offset));
        if let Some(byte) = worn.and_then(|at| bytes.get_mut(at as usize)) {
            *byte ^= 0x10;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl NorFlash for Observed<'_> {
    const WRITE_SIZE: usize = Flash::WRITE_SIZE;
    const ERASE_SIZE: usize = Flash::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.log.push(Operation::Erase(from, to));
        self.flash.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.log.push(Operation::Program(offset, bytes.len()));
        self.flash.write(offset, bytes).await
    }
}

/// Updates a fresh device and says what was done to its flash.
async fn update_observed(
    flash: &mut Flash,
    server: &Server,
    worn: Option<u32>,
) -> (Result<Outcome, Error>, Vec<Operation>) {
    let mut device = s3ota_sim::VirtualDevice::new(Flash::in_memory(flash.bytes().to_vec()));
    let running = device.power_on().unwrap();
    *flash = Flash::in_memory(device.flash().bytes().to_vec());
    let mut observed = Observed {
        flash,
        log: Vec::new(),
        worn,
    };
    let mut workspace = Box::new(Workspace::new());
    let url = server.url("/manifest.json");
    let parts = Device {
        flash: &mut observed,
        running: SLOT_0,
        network: HostNetwork::default(),
        clock: HostClock::new(),
        rng: OsRng,
    };
    let result = Updater::new(
        config(&url, &running, server, IMPATIENT),
        parts,
        &mut workspace,
    )
    .install(&mut ())
    .await;
    (result, observed.log)
}

fn fresh() -> Flash {
    Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap())
}

#[tokio::test]
async fn the_first_bytes_of_an_image_are_written_last_and_then_one_record() {
    let server = Server::start(releasing("1.1.0")).await;
    let mut flash = fresh();
    let (result, log) = update_observed(&mut flash, &server, None).await;
    assert!(matches!(result, Ok(Outcome::Installed(_))), "{result:?}");

    let sector = OTADATA + 0x1000;
    let end = [
        Operation::Program(SLOT_1, 32),
        Operation::Erase(sector, sector + 0x1000),
        // The sequence last of all: without it the record does not count.
        Operation::Program(sector + 4, 28),
        Operation::Program(sector, 4),
    ];
    let (before, last) = log.split_at(log.len() - end.len());
    assert_eq!(last, end);
    for operation in before {
        let (from, to) = match *operation {
            Operation::Erase(from, to) => (from, to),
            Operation::Program(at, length) => {
                assert!(at >= SLOT_1 + 32, "{operation:?}");
                (at, at + length as u32)
            }
        };
        assert!(
            from >= SLOT_1 && to <= SLOT_1 + SLOT_SIZE,
            "{operation:?} is outside the slot"
        );
    }
}

#[tokio::test]
async fn flash_is_erased_in_large_blocks_and_no_further_than_needed() {
    let server = Server::start(releasing("1.1.0")).await;
    let (_, log) = update_observed(&mut fresh(), &server, None).await;
    let erases: Vec<_> = log
        .iter()
        .filter(|operation| matches!(operation, Operation::Erase(from, _) if *from >= SLOT_1))
        .collect();
    // 100,000 bytes are one block of 64 KiB and a part of another.
    let block = |n: u32| Operation::Erase(SLOT_1 + n * 0x1_0000, SLOT_1 + (n + 1) * 0x1_0000);
    assert_eq!(erases, [&block(0), &block(1)]);
}

#[tokio::test]
async fn until_the_end_no_bootloader_would_boot_the_slot() {
    // Everything arrives but the last byte, again and again; then the old image rots. Better nothing than that.
    let image = firmware("1.1.0");
    let server = Server::start(move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
        _ => Reply::SendAndClose(ok(&image)[..image.len()].to_vec(), false),
    })
    .await;
    let mut flash = fresh();
    let (result, _) = update_observed(&mut flash, &server, None).await;
    assert!(result.unwrap_err().is_transient());
    let mut bytes = flash.bytes().to_vec();
    assert_eq!(bytes[SLOT_1 as usize..][..32], [0xff; 32]);
    assert_ne!(bytes[SLOT_1 as usize + 32..][..32], [0xff; 32]);
    bytes[SLOT_0 as usize] = 0;
    let boot = Bootloader::default().boot(&mut Flash::in_memory(bytes));
    assert!(matches!(boot, Err(BootError::NoBootableApp)), "{boot:?}");
}

#[tokio::test]
async fn flash_that_does_not_hold_what_was_written_is_noticed() {
    for (worn, readable) in [
        (SLOT_1 + 50_000, true),
        (SLOT_1 + 5, true),
        (OTADATA + 0x1000 + 2, false),
    ] {
        for script in [false, true] {
            let image = firmware("1.1.0");
            let server = Server::start(move |request, port| match request.path.as_str() {
                "/manifest.json" if script => {
                    Reply::Send(ok(&full_manifest("1.1.0", port, &image)))
                }
                "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
                _ => Reply::Send(ok(&image)),
            })
            .await;
            let mut flash = fresh();
            let (result, _) = update_observed(&mut flash, &server, Some(worn)).await;
            assert_eq!(
                result,
                Err(Error::Image(FirmwareError::ReadBack)),
                "{worn:#x}"
            );
            if readable {
                let app = Bootloader::default().boot(&mut flash).unwrap();
                assert_eq!(app.slot, Some(0));
            }
        }
    }
}
