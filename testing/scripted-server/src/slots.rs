//! Devices with other slots than the usual two, and what happens to one between its starts.

use s3ota::{Error, Installed, Outcome, Workspace};
use s3ota_sim::{Flash, RunningFirmware, Setup, VirtualDevice};

use crate::{IMPATIENT, Server, firmware, releasing, update};

/// A factory app and two slots.
pub const WITH_FACTORY: &str = "
nvs,      data, nvs,     0x9000,   0x4000
otadata,  data, ota,     0xd000,   0x2000
phy_init, data, phy,     0xf000,   0x1000
factory,  app,  factory, 0x10000,  0x100000
ota_0,    app,  ota_0,   0x110000, 0x100000
ota_1,    app,  ota_1,   0x210000, 0x100000
";

/// Three slots, and no factory app.
pub const THREE_SLOTS: &str = "
otadata,  data, ota,     0xd000,   0x2000
ota_0,    app,  ota_0,   0x10000,  0x100000
ota_1,    app,  ota_1,   0x110000, 0x100000
ota_2,    app,  ota_2,   0x210000, 0x100000
";

/// A device with this partition table that runs `version`.
pub fn device_with(csv: &str, version: &str) -> VirtualDevice {
    let flash = Setup::from_csv(csv)
        .unwrap()
        .flash(&firmware(version))
        .unwrap();
    VirtualDevice::new(Flash::in_memory(flash))
}

/// Installs `version` and leaves it for the next boot.
pub async fn install(device: &mut VirtualDevice, version: &'static str) -> Installed {
    let server = Server::start(releasing(version)).await;
    match update(device, &server, IMPATIENT).await {
        Ok(Outcome::Installed(installed)) => installed,
        other => panic!("{version} not installed: {other:?}"),
    }
}

/// Ends the trial of what runs.
pub async fn confirm(device: &mut VirtualDevice, running: &RunningFirmware) {
    let mut workspace = Box::new(Workspace::new());
    let version = running.version();
    let config = s3ota::Config::new("https://localhost/", version, s3ota::Chip::Esp32C3, "");
    let mut updater = device.updater(running, config, &mut workspace);
    assert_eq!(updater.confirm().await, Ok(true));
}

/// Installs `version`, boots and confirms it.
pub async fn install_and_confirm(
    device: &mut VirtualDevice,
    version: &'static str,
) -> RunningFirmware {
    install(device, version).await;
    let running = device.power_on().unwrap();
    assert_eq!(running.version(), version);
    confirm(device, &running).await;
    running
}

/// The running firmware asks to be left for the one before.
pub async fn roll_back(device: &mut VirtualDevice, running: &RunningFirmware) -> Result<(), Error> {
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
}
