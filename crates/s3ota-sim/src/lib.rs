//! A virtual ESP32 that runs the very library a real one runs.
//!
//! What is simulated is the hardware around the library, and nothing else:
//!
//! - [`Flash`]: NOR flash in memory or in a file. Erasing sets bits, programming clears them, alignment is enforced, and
//!   power can fail inside an operation.
//! - [`Bootloader`]: which image an ESP-IDF bootloader would boot from that flash, on a chip whose eFuses say what
//!   [`Silicon`] says, and what it would write itself.
//! - [`host`]: the host's sockets, clocks and entropy behind the traits the library asks for.
//! - [`VirtualDevice`]: all of it together: power on, boot guard, update, restart.
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
