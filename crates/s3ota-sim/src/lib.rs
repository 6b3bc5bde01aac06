#![doc = include_str!("../README.md")]

mod bootloader;
mod device;
mod flash;
pub mod host;
mod setup;

pub use bootloader::{App, BootError, Bootloader, Silicon};
pub use device::{PowerOnError, RunningFirmware, VirtualDevice, VirtualUpdater};
pub use flash::{Flash, FlashError, InUnits, Mix, Operation, PowerCut, Tear, Wear};
pub use setup::{Setup, SetupError};
