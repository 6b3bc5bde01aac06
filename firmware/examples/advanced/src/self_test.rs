//! What a new firmware must show before it is confirmed.

use core::time::Duration;

use embassy_time::{Timer, with_timeout};
use s3ota::Updater;
use s3ota::device::{Dns, NorFlash, TcpConnect};
use s3ota_esp::{Clock, Entropy};

/// The heap Wi-Fi needs to go on.
const HEAP: usize = 10 * 1024;

/// The pause before the server is tried once more.
const PAUSE: embassy_time::Duration = embassy_time::Duration::from_secs(60);

/// What is left of the watchdog's time when the test gives up: enough to write that down.
const MARGIN: Duration = Duration::from_secs(60);

/// Tests this firmware. If it passes it is confirmed. If it is at fault itself the old one is selected, and the chip restarts.
///
/// If only its server cannot be reached, the next of its trial boots goes on trying: an outage must not condemn a good release.
pub async fn pass_or_go_back<F: NorFlash, N: TcpConnect + Dns>(
    updater: &mut Updater<'_, F, N, &'static Clock, Entropy>,
) {
    if let Err(fault) = works() {
        log::error!("self-test failed, going back to the old firmware: {fault}");
        if let Err(error) = updater.roll_back().await {
            // On its own the trial ends after three boots.
            log::error!("{error}");
        }
        s3ota_esp::restart();
    }

    let left = updater.device().clock.trial_left().unwrap_or_default();
    let patience = left.saturating_sub(MARGIN).as_secs();
    let proof = async {
        while let Err(error) = updater.prove().await {
            log::warn!("this firmware could not be replaced: {error}");
            Timer::after(PAUSE).await;
        }
    };
    if with_timeout(embassy_time::Duration::from_secs(patience), proof)
        .await
        .is_ok()
    {
        match s3ota_esp::confirm(updater).await {
            Ok(_) => log::info!("self-test passed, confirmed"),
            // The trial goes on, and the watchdog with it.
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

/// Whether this firmware does what it is there for, on this device: here, whether it has memory to spare. Yours to extend:
/// sensors, actuators, stored settings. Nothing that others may be to blame for belongs here.
fn works() -> Result<(), &'static str> {
    if esp_alloc::HEAP.free() < HEAP {
        return Err("hardly any heap is free");
    }
    Ok(())
}
