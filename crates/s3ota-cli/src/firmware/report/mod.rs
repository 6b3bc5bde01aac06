//! The contents of an app image or a flash dump, for people and for programs.

mod artefact;
mod bootloader;
mod flash;
mod image;
mod table;

pub use self::artefact::{ArtefactReport, refused};
pub use self::flash::FlashReport;
pub use self::image::ImageReport;
pub use self::table::TableReport;
