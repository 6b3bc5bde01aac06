//! Random numbers for cryptography.

use core::fmt;

use rand_core::{CryptoRng, Error, RngCore};

#[cfg(not(any(feature = "esp32c5", feature = "esp32h2")))]
use esp_hal::rng::Trng as Source;
// esp-hal 1.2 has no `Trng` for these two.
#[cfg(any(feature = "esp32c5", feature = "esp32h2"))]
use esp_hal::rng::Rng as Source;

/// The chip's random number generator, while noise feeds it.
///
/// Its numbers are random only while the radio is on or an ADC samples noise (ESP-IDF, "Random Number Generation"). esp-radio
/// tells esp-hal when Wi-Fi is on, and esp-hal's `TrngSource` when the ADC is; this type exists only while one of them does.
///
/// **ESP32-C5 and H2:** esp-hal 1.2 does not track this. [`Entropy::new`] always succeeds: call it with the radio on.
#[derive(Debug)]
pub struct Entropy(Source);

impl Entropy {
    /// The generator, once Wi-Fi has been started (`WifiController::new`) or a `TrngSource` created. Keep that alive as long as
    /// this: esp-hal panics if a generator in use loses its noise.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`] if nothing feeds the generator yet.
    pub fn new() -> Result<Self, NoEntropy> {
        #[cfg(not(any(feature = "esp32c5", feature = "esp32h2")))]
        return Source::try_new().map(Self).map_err(|_| NoEntropy);
        #[cfg(any(feature = "esp32c5", feature = "esp32h2"))]
        return Ok(Self(Source::new()));
    }
}

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        self.0.random()
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.read(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.read(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.read(bytes);
        Ok(())
    }
}

impl CryptoRng for Entropy {}

/// Nothing feeds the random number generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoEntropy;

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("random numbers are not random until the radio is on: start Wi-Fi first")
    }
}

impl core::error::Error for NoEntropy {}
