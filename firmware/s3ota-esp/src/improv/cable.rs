//! The emulator's Ethernet in place of the radio: a network called `qemu`, with any password, and no other.

use embassy_net::Stack;
use embassy_time::{Duration, Timer, with_timeout};

use super::provisioning::Radio;
use crate::credentials::Credentials;

/// The name of the network.
const NAME: &[u8] = b"qemu";

/// As long as joining one by radio may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The pause before a retry.
const PAUSE: Duration = Duration::from_secs(5);

/// The cable.
pub struct Cable {
    stack: Stack<'static>,
}

impl Cable {
    /// The cable of this network.
    pub fn new(stack: Stack<'static>) -> Self {
        Self { stack }
    }
}

impl Radio for Cable {
    async fn join(&mut self, credentials: &Credentials) -> bool {
        let joined = credentials.ssid() == NAME
            && with_timeout(TIMEOUT, self.stack.wait_config_up())
                .await
                .is_ok();
        if joined {
            info!("the emulator's network joined");
        } else {
            warn!("the emulator has no such network");
        }
        joined
    }

    async fn lost(&mut self) {
        self.stack.wait_config_down().await;
        warn!("the emulator's network lost");
    }

    async fn pause(&mut self) {
        Timer::after(PAUSE).await;
    }
}
