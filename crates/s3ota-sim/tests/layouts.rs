//! Partition tables that are not as usual, seen by the device.

use embassy_futures::block_on;
use s3ota::{
    Boot, Config, Error, FirmwareError, LayoutError, Outcome, Reset, Timeouts, Updater, Workspace,
    boot_guard_at,
};
use s3ota_sim::{Bootloader, Flash, Setup};
use scripted_server::network::*;
use scripted_server::*;

const USUAL: u32 = 0x8000;
const MOVED: u32 = 0x1_0000;

fn flash(partitions: &str) -> Flash {
    let setup = Setup::from_csv(partitions).unwrap();
    Flash::in_memory(setup.flash(&firmware("1.0.0")).unwrap())
}

/// The same flash with its partition table at another offset.
fn moved(flash: &Flash, from: u32, to: u32) -> Flash {
    let mut bytes = flash.bytes().to_vec();
    let (from, to) = (from as usize, to as usize);
    let table = bytes[from..from + 0x1000].to_vec();
    bytes[from..from + 0x1000].fill(0xff);
    bytes[to..to + 0x1000].copy_from_slice(&table);
    Flash::in_memory(bytes)
}

/// One attempt to update the firmware that runs from `running` with what the network has.
async fn install(
    flash: &mut Flash,
    running: u32,
    network: &Network,
    partition_table: u32,
) -> Result<Outcome, Error> {
    let timeouts = Timeouts {
        attempts: 1,
        ..Timeouts::default()
    };
    let mut workspace = Box::new(Workspace::new());
    let config = Config {
        partition_table,
        ..network.config("1.0.0", timeouts)
    };
    Updater::new(config, network.device(flash, running), &mut workspace)
        .install(&mut ())
        .await
}

#[tokio::test(start_paused = true)]
async fn a_table_elsewhere_is_used_where_it_was_configured() {
    const RUNNING: u32 = 0x2_0000;
    let usual = flash(
        "otadata, data, ota,   0x11000, 0x2000\n\
         ota_0,   app,  ota_0, 0x20000, 0x40000\n\
         ota_1,   app,  ota_1, 0x60000, 0x40000\n",
    );
    let network = Network::new(releasing("1.1.0"));
    let mut flash = moved(&usual, USUAL, MOVED);

    let before = flash.bytes().to_vec();
    let error = install(&mut flash, RUNNING, &network, USUAL).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Layout(_)), "{error}");
    assert_eq!(flash.bytes(), before);

    let outcome = install(&mut flash, RUNNING, &network, MOVED).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    // A bootloader that looks there boots the new image.
    let app = Bootloader::default().boot(&mut moved(&flash, MOVED, USUAL));
    let running = app.unwrap().partition.offset;
    assert_eq!(running, 0x6_0000);
    let mut start = || {
        let guard = boot_guard_at(MOVED, Reset::Crash, &mut flash, running, 3);
        block_on(guard).unwrap().boot
    };
    for boot in 1..=3 {
        assert_eq!(start(), Boot::Trial { boot, of: 3 });
    }
    assert_eq!(start(), Boot::GivenUp);
    let app = Bootloader::default().boot(&mut moved(&flash, MOVED, USUAL));
    assert_eq!(app.unwrap().partition.offset, RUNNING, "rolled back");
}

#[tokio::test(start_paused = true)]
async fn a_factory_app_and_one_slot_are_refused_while_it_can_be_mended() {
    let mut flash = flash(
        "otadata, data, ota,     0xd000,  0x2000\n\
         factory, app,  factory, 0x10000, 0x40000\n\
         ota_0,   app,  ota_0,   0x50000, 0x40000\n",
    );
    let before = flash.bytes().to_vec();
    let network = Network::new(releasing("1.1.0"));
    let error = install(&mut flash, 0x1_0000, &network, USUAL).await;
    let error = error.unwrap_err();
    assert_eq!(error, Error::Layout(LayoutError::OneSlot));
    assert!(error.to_string().contains("ota_0 and ota_1"), "{error}");
    assert_eq!(flash.bytes(), before);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_fits_only_one_slot_is_refused() {
    // The firmware's 100,000 bytes fit only the slot that is larger.
    let table = "otadata, data, ota,   0xd000,  0x2000\n\
                 ota_0,   app,  ota_0, 0x10000, 0x18000\n\
                 ota_1,   app,  ota_1, 0x30000, 0x40000\n";
    let small = s3ota_image::app::ImageBuilder::new(s3ota::Chip::Esp32C3, "1.0.0").length(8000);
    let setup = Setup::from_csv(table).unwrap();
    let mut flash = Flash::in_memory(setup.flash(&small.build()).unwrap());
    let before = flash.bytes().to_vec();
    // With its size in the manifest, and without.
    for network in [
        Network::new(releasing("1.1.0")),
        Network::new(serving("1.1.0", firmware("1.1.0"))),
    ] {
        let error = install(&mut flash, 0x1_0000, &network, USUAL).await;
        let expected = FirmwareError::TooLarge {
            size: 100_000,
            slot: 0x1_8000,
        };
        assert_eq!(error.unwrap_err(), Error::Image(expected));
        assert_eq!(flash.bytes(), before);
    }
}

#[tokio::test(start_paused = true)]
async fn tables_without_a_usable_otadata_are_named() {
    let network = Network::new(releasing("1.1.0"));
    let mut flash = flash(
        "ota_0, app, ota_0, 0x10000, 0x40000\n\
         ota_1, app, ota_1, 0x50000, 0x40000\n",
    );
    let error = install(&mut flash, 0x1_0000, &network, USUAL).await;
    let error = error.unwrap_err();
    assert_eq!(error, Error::Layout(LayoutError::NoOtadata));
    assert!(error.to_string().contains("otadata"), "{error}");
}
