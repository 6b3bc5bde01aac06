//! A virtual ESP32 that runs the same library as a real one.
//!
//! Only the hardware around the library is simulated:
//!
//! - [`Flash`]: NOR flash in memory or in a file. Erasing sets bits, programming clears them, alignment is enforced, and
//!   power can fail inside an operation.
//! - [`Bootloader`]: which image an ESP-IDF bootloader boots from that flash, on a chip with the eFuses in [`Silicon`], and
//!   what it writes itself.
//! - [`host`]: the host's sockets, clocks and entropy, behind the library's traits.
//! - [`VirtualDevice`]: all of these together: power on, boot guard, update, restart.
//!
//! ```
//! use s3ota_image::app::ImageBuilder;
//! use s3ota_image::Chip;
//! use s3ota_sim::{Flash, Setup, VirtualDevice};
//!
//! let firmware = ImageBuilder::new(Chip::Esp32C3, "1.0.0").build();
//! let flash = Setup::default().flash(&firmware)?;
//! let mut device = VirtualDevice::new(Flash::in_memory(flash));
//! let running = device.power_on()?;
//! assert_eq!(running.version(), "1.0.0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bootloader;
mod device;
mod flash;
pub mod host;
mod setup;

pub use bootloader::{App, BootError, Bootloader, Silicon};
pub use device::{PowerOnError, RunningFirmware, VirtualDevice, VirtualUpdater};
pub use flash::{Flash, FlashError, InUnits, Mix, Operation, PowerCut, Tear, Wear};
pub use setup::{Setup, SetupError};
