//! The network of Espressif's emulator, in place of Wi-Fi: Ethernet, an address by DHCP. ESP32-C3 only.

use embassy_executor::Spawner;
use embassy_net::{Runner, Stack, StackResources};
use esp_hal::interrupt::bind_handler;
use esp_hal::peripherals::{ADC1, Interrupt, RNG};
use esp_hal::rng::{Trng, TrngSource};
use s3ota_open_eth::{OpenEth, OpenEthError};
use static_cell::StaticCell;

/// Sockets of the stack: DHCP, DNS, SNTP, the updater's TCP connection, and four for the application.
const SOCKETS: usize = 8;

/// Connects to the emulator's network. Returns at once; wait with `stack.wait_config_up()` if you need an address.
///
/// Without a radio, an ADC feeds the random number generator; this keeps it on for good.
///
/// # Errors
///
/// Those of [`OpenEth::new`], such as that this is not the emulator.
#[inline(never)]
pub fn join(
    spawner: Spawner,
    rng: RNG<'static>,
    adc: ADC1<'static>,
) -> Result<Stack<'static>, OpenEthError> {
    static NOISE: StaticCell<TrngSource<'static>> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

    let interface = OpenEth::new()?;
    NOISE.init(TrngSource::new(rng, adc));
    // If two boots used the same seed, their ports would collide. This never fails: the source is on.
    let mut seed = [0; 8];
    if let Ok(trng) = Trng::try_new() {
        trng.read(&mut seed);
    }
    // The MAC uses the interrupt source of the chip's Wi-Fi.
    bind_handler(Interrupt::WIFI_MAC, ethernet_interrupt);
    let (stack, runner) = embassy_net::new(
        interface,
        embassy_net::Config::dhcpv4(embassy_net::DhcpConfig::default()),
        RESOURCES.init(StackResources::new()),
        u64::from_le_bytes(seed),
    );
    // Cannot fail: it runs once, since the peripherals exist once.
    if let Ok(run_stack) = run_stack(runner) {
        spawner.spawn(run_stack);
    }
    Ok(stack)
}

#[esp_hal::handler]
fn ethernet_interrupt() {
    s3ota_open_eth::on_interrupt();
}

#[embassy_executor::task]
async fn run_stack(mut runner: Runner<'static, OpenEth>) {
    runner.run().await
}
