//! The contents of an app image or a flash dump, for people and for programs.

mod bootloader;
mod flash;
mod image;

pub use self::flash::FlashReport;
pub use self::image::ImageReport;
