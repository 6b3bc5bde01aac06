//! What a new firmware must show before it is confirmed.

use embassy_time::Timer;
use s3ota::device::{Dns, NorFlash, TcpConnect};
use s3ota::{Error, ReleaseError, Updater};
use s3ota_esp::{Clock, Entropy};

/// How often the server may be unreachable before the firmware is blamed for it. A minute apart.
const ATTEMPTS: u32 = 10;

/// The heap Wi-Fi needs to go on.
const HEAP: usize = 10 * 1024;

/// Tests this firmware. If it passes it is confirmed; if not, the old one is selected and the chip restarts.
pub async fn pass_or_go_back<F: NorFlash, N: TcpConnect + Dns>(
    updater: &mut Updater<'_, F, N, &'static Clock, Entropy>,
) {
    if passes(updater).await {
        match s3ota_esp::confirm(updater).await {
            Ok(_) => log::info!("self-test passed, confirmed"),
            // The trial goes on, and the watchdog with it.
            Err(error) => log::error!("self-test passed, but: {error}"),
        }
        return;
    }
    log::error!("self-test failed: going back to the old firmware");
    if let Err(error) = updater.roll_back().await {
        log::error!("{error}");
    }
    // On its own the trial ends after three boots.
    s3ota_esp::restart();
}

/// Whether this firmware has memory to spare and reaches the place it would be replaced from. Yours to extend: sensors,
/// actuators, stored settings.
async fn passes<F: NorFlash, N: TcpConnect + Dns>(
    updater: &mut Updater<'_, F, N, &'static Clock, Entropy>,
) -> bool {
    for attempt in 1..=ATTEMPTS {
        match updater.check().await {
            // A firmware that does not trust the key in use could never be replaced.
            Err(error @ Error::Release(ReleaseError::Signature(_))) => {
                log::warn!("attempt {attempt} of {ATTEMPTS}: {error}");
            }
            // A release that is refused was read from a server that was reached, too.
            Ok(_) | Err(Error::Release(_) | Error::Image(_)) => {
                let free = esp_alloc::HEAP.free();
                if free < HEAP {
                    log::error!("only {free} bytes of heap are free");
                }
                return free >= HEAP;
            }
            Err(error) => log::warn!("attempt {attempt} of {ATTEMPTS}: {error}"),
        }
        Timer::after_secs(60).await;
    }
    false
}
