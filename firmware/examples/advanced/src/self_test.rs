//! The self-test before a new firmware is confirmed.

use core::time::Duration;

use embassy_time::{Timer, with_timeout};
use s3ota::Updater;
use s3ota::device::{Dns, Flash, TcpConnect};
use s3ota_esp::{Clock, Entropy};

/// The heap that Wi-Fi needs to keep working.
const HEAP: usize = 10 * 1024;

/// The pause before the next attempt to reach the server.
const PAUSE: embassy_time::Duration = embassy_time::Duration::from_secs(60);

/// How much of the watchdog's time is left when the test gives up: enough to record that.
const MARGIN: Duration = Duration::from_secs(60);

/// Tests this firmware. If it passes, it is confirmed. If it is at fault itself, it is rolled back, and the chip restarts.
///
/// If only its server cannot be reached, the next trial boot tries again: an outage must not condemn a good release.
pub async fn pass_or_go_back<F: Flash, N: TcpConnect + Dns>(
    updater: &mut Updater<'_, F, N, &'static Clock, Entropy>,
) {
    if let Err(fault) = works() {
        log::error!("self-test failed, rolling back: {fault}");
        if let Err(error) = updater.roll_back().await {
            // Without this, the trial ends after three boots.
            log::error!("{error}");
        }
        s3ota_esp::restart();
    }

    let left = updater.device().clock.trial_left().unwrap_or_default();
    let timeout = left.saturating_sub(MARGIN).as_secs();
    let proof = async {
        while let Err(error) = updater.prove().await {
            log::warn!("this firmware could not be updated: {error}");
            Timer::after(PAUSE).await;
        }
    };
    if with_timeout(embassy_time::Duration::from_secs(timeout), proof)
        .await
        .is_ok()
    {
        match s3ota_esp::confirm(updater).await {
            Ok(_) => log::info!("self-test passed, confirmed"),
            // The trial continues, and the watchdog with it.
            Err(error) => log::error!("self-test passed, but: {error}"),
        }
        return;
    }
    log::warn!("the server cannot be reached: this trial boot is over");
    if let Err(error) = updater.end_trial_boot().await {
        log::error!("{error}");
    }
    s3ota_esp::restart();
}

/// Whether this firmware works on this device: here, whether it has memory to spare. Extend it: sensors, actuators, stored
/// settings. Test nothing here that may fail for other reasons than the firmware.
fn works() -> Result<(), &'static str> {
    if esp_alloc::HEAP.free() < HEAP {
        return Err("hardly any heap is free");
    }
    Ok(())
}
