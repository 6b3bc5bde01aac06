#![doc = include_str!("../README.md")]

mod bootloader;
mod device;
mod flash;
pub mod host;
mod launcher;
mod setup;

pub use bootloader::{App, BootError, Bootloader, Silicon};
pub use device::{PowerOnError, RunningFirmware, VirtualDevice, VirtualUpdater};
pub use flash::{Flash, FlashError, InUnits, Mix, Operation, PowerCut, SparseFlash, Tear, Wear};
pub use launcher::Launcher;
pub use setup::{Setup, SetupError};
