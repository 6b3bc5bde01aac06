//! Going back leads to the release that was left, and to no older one: after the bootloader refused an image, after trial
//! boots were used up, and where the firmware asks for it; with a factory app, and among three and four slots.

use s3ota::{Boot, MAX_TRIAL_BOOTS, NoUpdate, Outcome};
use s3ota_sim::{Bootloader, Flash, Setup, VirtualDevice};
use scripted_server::slots::{
    THREE_SLOTS, WITH_FACTORY, device_with, install, install_and_confirm, roll_back,
};
use scripted_server::*;

const FOUR_SLOTS: &str = "
otadata,  data, ota,     0xd000,   0x2000
ota_0,    app,  ota_0,   0x10000,  0x80000
ota_1,    app,  ota_1,   0x90000,  0x80000
ota_2,    app,  ota_2,   0x110000, 0x80000
ota_3,    app,  ota_3,   0x190000, 0x80000
";

/// The flash with the image at `offset` no longer one the bootloader takes.
fn refused(device: VirtualDevice, offset: usize) -> VirtualDevice {
    let mut bytes = device.flash().bytes().to_vec();
    bytes[offset + 50_000..][..1000].fill(0);
    VirtualDevice::new(Flash::in_memory(bytes))
}

/// What runs after so many starts.
fn boots(device: &mut VirtualDevice, starts: usize) -> Vec<(String, Boot)> {
    let start = |_| device.power_on().unwrap();
    let running = (0..starts).map(start);
    running
        .map(|running| (running.version().to_owned(), running.boot))
        .collect()
}

#[tokio::test]
async fn a_refused_image_leads_to_the_release_that_was_left_and_not_to_the_factory_app() {
    for app_rollback in [false, true] {
        let bootloader = Bootloader { app_rollback };
        let mut device = device_with(WITH_FACTORY, "1.0.0").with_bootloader(bootloader);
        install_and_confirm(&mut device, "1.1.0").await; // ota_0
        install_and_confirm(&mut device, "1.2.0").await; // ota_1
        assert_eq!(install(&mut device, "1.3.0").await.slot.index, 0);
        let mut device = refused(device, 0x110000).with_bootloader(bootloader);
        let boots = boots(&mut device, 3);
        let left = ("1.2.0".to_owned(), Boot::Confirmed);
        assert_eq!(boots, vec![left; 3], "{app_rollback}");
    }
}

#[tokio::test]
async fn a_refused_image_leads_to_the_release_that_was_left_and_not_to_an_older_slot() {
    for app_rollback in [false, true] {
        let bootloader = Bootloader { app_rollback };
        let mut device = device_with(THREE_SLOTS, "1.0.0").with_bootloader(bootloader);
        install_and_confirm(&mut device, "1.1.0").await; // ota_1
        install_and_confirm(&mut device, "1.2.0").await; // ota_2
        assert_eq!(install(&mut device, "1.3.0").await.slot.index, 0);
        let mut device = refused(device, 0x10000).with_bootloader(bootloader);
        for (version, boot) in boots(&mut device, 4) {
            assert_eq!(version, "1.2.0", "{app_rollback}");
            assert!(matches!(boot, Boot::Confirmed | Boot::FellBack), "{boot:?}");
        }
        // The refused release is known; the next one is taken.
        let server = Server::start(releasing("1.3.0")).await;
        let outcome = update(&mut device, &server, IMPATIENT).await;
        assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::FailedBefore)));
        install_and_confirm(&mut device, "1.4.0").await;
    }
}

#[tokio::test]
async fn a_refused_update_of_the_factory_app_leads_back_to_it() {
    for app_rollback in [false, true] {
        let bootloader = Bootloader { app_rollback };
        let mut device = device_with(WITH_FACTORY, "1.0.0").with_bootloader(bootloader);
        assert_eq!(install(&mut device, "1.1.0").await.slot.index, 0);
        let mut device = refused(device, 0x110000).with_bootloader(bootloader);
        for (version, _) in boots(&mut device, 3) {
            assert_eq!(version, "1.0.0");
        }
        install_and_confirm(&mut device, "1.2.0").await;
    }
}

#[tokio::test]
async fn every_number_of_trial_boots_is_kept_or_ends_the_trial_at_once() {
    for trial_boots in [0, 1, 2, 3, 10, 99, 100, 101, 118, 125, 126, 127, 200, 255] {
        let flash = Setup::default().flash(&firmware("1.0.0")).unwrap();
        let mut device = VirtualDevice::new(Flash::in_memory(flash)).with_trial_boots(trial_boots);
        install(&mut device, "1.1.0").await;
        let on_trial = |_: &usize| device.power_on().unwrap().version() == "1.1.0";
        let boots = (0..600).take_while(on_trial).count();
        let expected = match trial_boots {
            1..=MAX_TRIAL_BOOTS => usize::from(trial_boots),
            _ => 0,
        };
        assert_eq!(boots, expected, "{trial_boots}");
    }
}

#[tokio::test]
async fn rolling_back_a_confirmed_firmware_selects_the_one_before_in_every_slot() {
    for slots in [THREE_SLOTS, FOUR_SLOTS] {
        for updates in 1..=6 {
            let mut device = device_with(slots, "1.0.0");
            for n in 1..=updates {
                install_and_confirm(&mut device, version_of(n)).await;
            }
            let running = device.power_on().unwrap();
            roll_back(&mut device, &running).await.unwrap();
            let back = device.power_on().unwrap();
            assert_eq!(back.version(), version_of(updates - 1));
        }
    }
}

#[tokio::test]
async fn rolling_back_goes_neither_to_a_release_that_failed_nor_past_it() {
    // With two slots the failed release lies where the one before was.
    let mut device = device_with(WITH_FACTORY, "1.0.0");
    install_and_confirm(&mut device, "1.1.0").await;
    install_and_confirm(&mut device, "1.2.0").await;
    install(&mut device, "1.3.0").await;
    while device.power_on().unwrap().version() == "1.3.0" {}
    let running = device.power_on().unwrap();
    assert_eq!(running.version(), "1.2.0");
    roll_back(&mut device, &running).await.unwrap();
    assert_eq!(
        device.power_on().unwrap().version(),
        "1.0.0",
        "the factory app"
    );
}

fn version_of(n: usize) -> &'static str {
    [
        "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0",
    ][n]
}
