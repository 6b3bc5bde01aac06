//! Wi-Fi for most devices: one network, joined again whenever it is lost, and an address by DHCP.

use embassy_executor::Spawner;
use embassy_net::{Runner, Stack, StackResources};
use embassy_time::{Duration, Timer};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ControllerConfig, Interface, WifiController, WifiError,
};
use static_cell::StaticCell;

use crate::fmt::Debugged;

/// Sockets of the stack: DHCP, DNS, SNTP, the updater's TCP connection, and four for the application.
const SOCKETS: usize = 8;

/// The pause before a retry.
const PAUSE: Duration = Duration::from_secs(5);

/// Starts the radio and joins the network `ssid`, which is open if `password` is empty. Returns at once; wait with
/// `stack.wait_config_up()` if you need an address.
///
/// It needs a heap of about 100 KB (esp-alloc) and a started esp-rtos. Call it once.
///
/// # Errors
///
/// Those of esp-radio, such as a name or password that is too long.
#[inline(never)]
pub fn join(
    spawner: Spawner,
    radio: WIFI<'static>,
    ssid: &str,
    password: &str,
) -> Result<Stack<'static>, WifiError> {
    let config = config(ssid.as_bytes(), password.as_bytes())?;
    let config = ControllerConfig::default().with_initial_config(config);
    let (stack, controller) = start(spawner, radio, config)?;
    // Cannot fail: it runs once, because the radio exists once.
    if let Ok(keep_joined) = keep_joined(controller) {
        spawner.spawn(keep_joined);
    }
    Ok(stack)
}

/// The radio's configuration for a network, which is open if the password is empty.
pub(crate) fn config(ssid: &[u8], password: &[u8]) -> Result<Config, WifiError> {
    let authentication = if password.is_empty() {
        AuthenticationMethodConfig::Open
    } else {
        AuthenticationMethodConfig::Wpa2Personal(password.try_into()?)
    };
    let station = StationConfig::default()
        .with_ssid(ssid.try_into()?)
        .with_authentication(authentication);
    Ok(Config::Station(station))
}

/// Starts the radio and a network stack on it.
pub(crate) fn start(
    spawner: Spawner,
    radio: WIFI<'static>,
    config: ControllerConfig,
) -> Result<(Stack<'static>, WifiController<'static>), WifiError> {
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

    let interface = Interface::station();
    let controller = WifiController::new(radio, config)?;

    let rng = Rng::new();
    let seed = u64::from(rng.random()) << 32 | u64::from(rng.random());
    let (stack, runner) = embassy_net::new(
        interface,
        embassy_net::Config::dhcpv4(embassy_net::DhcpConfig::default()),
        RESOURCES.init(StackResources::new()),
        seed,
    );
    // Cannot fail, either.
    if let Ok(run_stack) = run_stack(runner) {
        spawner.spawn(run_stack);
    }
    Ok((stack, controller))
}

/// Joins again whenever the network is lost. It owns the controller, so the radio stays on.
#[embassy_executor::task]
async fn keep_joined(mut controller: WifiController<'static>) {
    loop {
        match controller.connect_async().await {
            Ok(_) => {
                info!("Wi-Fi joined");
                let _ = controller.wait_for_disconnect_async().await;
                warn!("Wi-Fi lost");
            }
            Err(error) => warn!("Wi-Fi cannot be joined: {:?}", Debugged(error)),
        }
        Timer::after(PAUSE).await;
    }
}

#[embassy_executor::task]
async fn run_stack(mut runner: Runner<'static, Interface>) {
    runner.run().await
}
