//! What runs after the bootloader refuses a new image that the device took: a chip revision, a secure version or a
//! signature that does not fit, or bits that rotted. The confirmed release should run, not an older one.

mod support;

use s3ota::{Boot, Outcome, Workspace};
use s3ota_sim::{Bootloader, Flash, RunningFirmware, Setup, VirtualDevice};
use support::*;

const WITH_FACTORY: &str = "
nvs,      data, nvs,     0x9000,   0x4000
otadata,  data, ota,     0xd000,   0x2000
phy_init, data, phy,     0xf000,   0x1000
factory,  app,  factory, 0x10000,  0x100000
ota_0,    app,  ota_0,   0x110000, 0x100000
ota_1,    app,  ota_1,   0x210000, 0x100000
";

const THREE_SLOTS: &str = "
otadata,  data, ota,     0xd000,   0x2000
ota_0,    app,  ota_0,   0x10000,  0x100000
ota_1,    app,  ota_1,   0x110000, 0x100000
ota_2,    app,  ota_2,   0x210000, 0x100000
";

fn device_with(csv: &str, version: &str) -> VirtualDevice {
    let flash = Setup::from_csv(csv)
        .unwrap()
        .flash(&firmware(version))
        .unwrap();
    VirtualDevice::new(Flash::in_memory(flash))
}

async fn install(device: &mut VirtualDevice, version: &'static str) -> s3ota::Installed {
    let server = Server::start(releasing(version)).await;
    match update(device, &server, IMPATIENT).await {
        Ok(Outcome::Installed(installed)) => installed,
        other => panic!("{version} not installed: {other:?}"),
    }
}

async fn confirm(device: &mut VirtualDevice, running: &RunningFirmware) {
    let mut workspace = Box::new(Workspace::new());
    let config = s3ota::Config::new(
        "https://localhost/",
        running.version(),
        s3ota::Chip::Esp32C3,
        "",
    );
    assert_eq!(
        device
            .updater(running, config, &mut workspace)
            .confirm()
            .await,
        Ok(true)
    );
}

async fn install_and_confirm(device: &mut VirtualDevice, version: &'static str) {
    install(device, version).await;
    let running = device.power_on().unwrap();
    assert_eq!(running.version(), version);
    confirm(device, &running).await;
}

/// The flash with the image at `offset` no longer one the bootloader takes.
fn refused(device: VirtualDevice, offset: usize) -> VirtualDevice {
    let mut bytes = device.flash().bytes().to_vec();
    bytes[offset + 50_000..][..1000].fill(0);
    VirtualDevice::new(Flash::in_memory(bytes))
}

#[tokio::test]
async fn a_refused_image_does_not_lead_past_the_confirmed_release_to_the_factory_app() {
    for app_rollback in [false, true] {
        let mut device =
            device_with(WITH_FACTORY, "1.0.0").with_bootloader(Bootloader { app_rollback });
        install_and_confirm(&mut device, "1.1.0").await; // ota_0
        install_and_confirm(&mut device, "1.2.0").await; // ota_1
        assert_eq!(install(&mut device, "1.3.0").await.slot.index, 0);
        let mut device = refused(device, 0x110000).with_bootloader(Bootloader { app_rollback });
        let boots: Vec<_> = (0..3)
            .map(|_| {
                device
                    .power_on()
                    .map(|r| (r.version().to_owned(), r.boot))
                    .unwrap()
            })
            .collect();
        println!("rollback {app_rollback}: {boots:?}");
        assert_eq!(boots[0].0, "1.2.0", "{boots:?}");
    }
}

#[tokio::test]
async fn a_refused_image_does_not_select_an_older_release_for_good() {
    for app_rollback in [false, true] {
        let mut device =
            device_with(THREE_SLOTS, "1.0.0").with_bootloader(Bootloader { app_rollback });
        install_and_confirm(&mut device, "1.1.0").await; // ota_1
        install_and_confirm(&mut device, "1.2.0").await; // ota_2
        assert_eq!(install(&mut device, "1.3.0").await.slot.index, 0);
        let mut device = refused(device, 0x10000).with_bootloader(Bootloader { app_rollback });
        let boots: Vec<_> = (0..4)
            .map(|_| {
                device
                    .power_on()
                    .map(|r| (r.version().to_owned(), r.boot))
                    .unwrap()
            })
            .collect();
        println!("rollback {app_rollback}: {boots:?}");
        assert_eq!(boots[3], ("1.2.0".to_owned(), Boot::Confirmed), "{boots:?}");
    }
}

#[tokio::test]
async fn every_number_of_trial_boots_comes_to_an_end() {
    for trial_boots in [1u8, 3, 100, 118, 125, 126, 127, 200, 255] {
        let mut device = VirtualDevice::new(Flash::in_memory(
            Setup::default().flash(&firmware("1.0.0")).unwrap(),
        ))
        .with_trial_boots(trial_boots);
        install(&mut device, "1.1.0").await;
        let boots = (0..600)
            .take_while(|_| device.power_on().unwrap().version() == "1.1.0")
            .count();
        println!("trial_boots {trial_boots}: {boots} boots of the firmware that never confirms");
        assert!(boots <= usize::from(trial_boots), "{trial_boots}: {boots}");
    }
}

async fn roll_back(device: &mut VirtualDevice, running: &RunningFirmware) {
    let mut workspace = Box::new(Workspace::new());
    let config = s3ota::Config::new(
        "https://localhost/",
        running.version(),
        s3ota::Chip::Esp32C3,
        "",
    );
    device
        .updater(running, config, &mut workspace)
        .roll_back()
        .await
        .unwrap();
}

#[tokio::test]
async fn rolling_back_a_confirmed_firmware_selects_the_one_before_in_every_slot() {
    for updates in 1..=6 {
        let mut device = device_with(THREE_SLOTS, "1.0.0");
        for n in 1..=updates {
            let version: &'static str = Box::leak(format!("1.{n}.0").into_boxed_str());
            install_and_confirm(&mut device, version).await;
        }
        let running = device.power_on().unwrap();
        roll_back(&mut device, &running).await;
        let back = device.power_on().unwrap();
        println!(
            "{updates} updates: from {} in slot {:?} back to {}",
            running.version(),
            running.app.slot,
            back.version()
        );
        assert_eq!(back.version(), format!("1.{}.0", updates - 1));
    }
}
