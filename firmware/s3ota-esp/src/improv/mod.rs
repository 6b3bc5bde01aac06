//! Wi-Fi whose credentials are on flash and not in the image, and are entered over [Improv Serial](https://www.improv-wifi.com/serial/):
//! on the page that installs the firmware, or on any other that speaks it.
//!
//! A computer connected by USB or UART sends name and password. The device tries them, saves them if it can join the network, and says
//! so; otherwise it keeps what it has. It offers no list of networks. Whoever has the cable can enter another network, but cannot read
//! the password over it.
//!
//! Packets share the line with the log, so a logger must print whole lines.

#[cfg(feature = "qemu")]
mod cable;
mod console;
mod packet;
mod provisioning;
mod station;

use embassy_executor::Spawner;
use embassy_futures::block_on;
use embassy_net::Stack;
use esp_hal::peripherals::WIFI;
#[cfg(feature = "qemu")]
use esp_hal::peripherals::{ADC1, RNG};
use esp_radio::wifi::WifiError;

pub use self::console::{Console, Usb};
use self::provisioning::{Info, Radio, Store, provision};
use self::station::Station;
use crate::credentials::{self, Credentials};
use crate::{CHIP, SharedFlash, device_id, wifi};

/// Starts the radio, joins the network of the saved credentials, and takes new ones over `console`. Returns at once; wait with
/// `stack.wait_config_up()` if you need an address.
///
/// While nothing is saved, it uses `otherwise`, for development. `firmware` and `version` are what a client is told; a page that
/// installs this firmware recognises it by its project name (`CARGO_PKG_NAME`).
///
/// It needs a heap of about 100 KB (esp-alloc) and a started esp-rtos. Call it once.
///
/// # Errors
///
/// Those of esp-radio.
#[inline(never)]
pub fn join(
    spawner: Spawner,
    radio: WIFI<'static>,
    flash: SharedFlash,
    console: Console,
    firmware: &'static str,
    version: &'static str,
    otherwise: Option<Credentials>,
) -> Result<Stack<'static>, WifiError> {
    let (stack, controller) = wifi::start(spawner, radio, Default::default())?;
    let station = Station::new(controller, stack);
    // Cannot fail: it runs once, because the radio exists once.
    if let Ok(task) = keep_provisioned(station, flash, console, firmware, version, otherwise) {
        spawner.spawn(task);
    }
    Ok(stack)
}

/// The same in the emulator, which has no radio: its Ethernet plays the part of a network with the name `qemu` and any password.
/// Everything else is what runs on a board. With the feature `qemu`.
///
/// # Errors
///
/// Those of [`qemu::join`](crate::qemu::join).
#[cfg(feature = "qemu")]
#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "those of `join`, with other peripherals"
)]
pub fn join_emulated(
    spawner: Spawner,
    rng: RNG<'static>,
    adc: ADC1<'static>,
    flash: SharedFlash,
    console: Console,
    firmware: &'static str,
    version: &'static str,
    otherwise: Option<Credentials>,
) -> Result<Stack<'static>, s3ota_open_eth::OpenEthError> {
    let stack = crate::qemu::join(spawner, rng, adc)?;
    let cable = cable::Cable::new(stack);
    if let Ok(task) = keep_emulated(cable, flash, console, firmware, version, otherwise) {
        spawner.spawn(task);
    }
    Ok(stack)
}

#[cfg(feature = "qemu")]
#[embassy_executor::task]
async fn keep_emulated(
    mut cable: cable::Cable,
    flash: SharedFlash,
    mut console: Console,
    firmware: &'static str,
    version: &'static str,
    otherwise: Option<Credentials>,
) {
    keep(
        &mut cable,
        flash,
        &mut console,
        (firmware, version),
        otherwise,
    )
    .await
}

#[embassy_executor::task]
async fn keep_provisioned(
    mut station: Station,
    flash: SharedFlash,
    mut console: Console,
    firmware: &'static str,
    version: &'static str,
    otherwise: Option<Credentials>,
) {
    keep(
        &mut station,
        flash,
        &mut console,
        (firmware, version),
        otherwise,
    )
    .await
}

/// What both tasks do: a task cannot be generic.
async fn keep(
    radio: &mut impl Radio,
    flash: SharedFlash,
    console: &mut Console,
    (firmware, version): (&str, &str),
    otherwise: Option<Credentials>,
) {
    let info = Info {
        firmware,
        version,
        chip: CHIP.family(),
        device: &device_id(),
    };
    let mut store = OnFlash(flash);
    provision(radio, &mut store, console, &info, otherwise).await
}

/// The credentials on flash. An operation takes milliseconds, 45 of them if a sector is erased, and awaits nothing while the flash
/// is locked: whoever else waits for it need not wait long.
struct OnFlash(SharedFlash);

impl Store for OnFlash {
    async fn load(&mut self) -> Option<Credentials> {
        let mut flash = self.0.0.lock().await;
        match block_on(credentials::load(&mut *flash)) {
            Ok(None) => {
                info!("no Wi-Fi credentials yet: enter them over Improv");
                None
            }
            Ok(found) => found,
            Err(error) => {
                error!("Wi-Fi credentials: {}", error);
                None
            }
        }
    }

    async fn save(&mut self, credentials: &Credentials) -> bool {
        let mut flash = self.0.0.lock().await;
        let saved = block_on(credentials::save(&mut *flash, credentials));
        if let Err(error) = saved {
            error!("Wi-Fi credentials: {}", error);
        }
        saved.is_ok()
    }
}
