//! The judge of releases and buckets: a virtual device with the code that runs on the chip.

pub mod artefacts;
pub mod certificates;
pub mod chip;
pub mod crowd;
pub mod device;
pub mod doctor;
pub mod rehearsal;
pub mod release;
