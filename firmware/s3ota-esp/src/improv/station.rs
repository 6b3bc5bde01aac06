//! The radio as a station whose network can change.

use embassy_net::Stack;
use embassy_time::{Duration, Timer, with_timeout};
use esp_radio::wifi::WifiController;

use super::provisioning::Radio;
use crate::credentials::Credentials;
use crate::fmt::Debugged;
use crate::wifi;

/// How long joining a network may take, until there is an address. Clients wait 30 seconds for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long leaving one may take.
const LEAVING: Duration = Duration::from_secs(3);

/// The pause before a retry.
const PAUSE: Duration = Duration::from_secs(5);

/// The station.
pub struct Station {
    controller: WifiController<'static>,
    stack: Stack<'static>,
}

impl Station {
    /// A station on no network.
    pub fn new(controller: WifiController<'static>, stack: Stack<'static>) -> Self {
        Self { controller, stack }
    }

    /// Leaves the network, or stops joining it.
    async fn leave(&mut self) {
        let _ = with_timeout(LEAVING, self.controller.disconnect_async()).await;
        let _ = with_timeout(LEAVING, self.stack.wait_config_down()).await;
    }
}

impl Radio for Station {
    async fn join(&mut self, credentials: &Credentials) -> bool {
        self.leave().await;
        let config = wifi::config(credentials.ssid(), credentials.password());
        if let Err(error) = config.and_then(|config| self.controller.set_config(&config)) {
            warn!(
                "no network can have these credentials: {:?}",
                Debugged(error)
            );
            return false;
        }
        let joined = with_timeout(TIMEOUT, async {
            self.controller.connect_async().await?;
            self.stack.wait_config_up().await;
            Ok::<_, esp_radio::wifi::ConnectionError>(())
        });
        match joined.await {
            Ok(Ok(())) => {
                info!("Wi-Fi joined");
                return true;
            }
            Ok(Err(error)) => warn!("Wi-Fi cannot be joined: {:?}", Debugged(error)),
            Err(_) => warn!("Wi-Fi cannot be joined: no answer, or no address"),
        }
        self.leave().await;
        false
    }

    async fn lost(&mut self) {
        let _ = self.controller.wait_for_disconnect_async().await;
        warn!("Wi-Fi lost");
    }

    async fn pause(&mut self) {
        Timer::after(PAUSE).await;
    }
}
