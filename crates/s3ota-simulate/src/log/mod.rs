//! The access log as S3 writes it: the lines, and the objects in which they are delivered.

mod delivery;
mod line;

pub use delivery::{LogFolder, Written};
pub(crate) use line::{Client, Line};
