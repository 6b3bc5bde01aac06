//! What an app image or a flash dump holds, for people and for programs.

mod bootloader;
mod flash;
mod image;

pub use self::flash::FlashReport;
pub use self::image::ImageReport;
