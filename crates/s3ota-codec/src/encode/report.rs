//! What an artefact costs, and why.

use crate::engine::{Doing, Engine};
use crate::layout::Kind;

/// Bytes of the result, and bits of the artefact that they took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Bytes of the result.
    pub result: usize,
    /// Bits of the artefact.
    pub bits: f64,
}

impl Cost {
    /// Bytes of the artefact.
    pub fn bytes(&self) -> usize {
        libm_ceil(self.bits / 8.0)
    }
}

fn libm_ceil(value: f64) -> usize {
    let whole = value as usize;
    whole + usize::from(value > whole as f64)
}

/// What an artefact costs, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Report {
    /// Bytes of the header: version, sizes, digests.
    pub header: usize,
    /// Bytes of segments and the copy table.
    pub table: usize,
    /// Entries of the copy table.
    pub blocks: usize,
    /// Code that is in the base as well.
    pub copied_code: Cost,
    /// Data that is in the base as well.
    pub copied_data: Cost,
    /// What is in the result twice.
    pub repeated: Cost,
    /// New code.
    pub new_code: Cost,
    /// New data.
    pub new_data: Cost,
}

impl Report {
    pub(crate) fn add(&mut self, doing: Doing, engine: &Engine, at: u32, bytes: usize, bits: f64) {
        let region = engine.result.region(at, engine.trailer);
        let code = matches!(region.kind, Kind::Code(_));
        let cost = match (doing, code) {
            (Doing::Copy, true) => &mut self.copied_code,
            (Doing::Copy, false) => &mut self.copied_data,
            (Doing::Again, _) => &mut self.repeated,
            (Doing::Gap, _) if bytes == 0 => &mut self.repeated,
            (Doing::Gap, true) => &mut self.new_code,
            (Doing::Gap, false) => &mut self.new_data,
        };
        cost.result += bytes;
        cost.bits += bits;
    }
}
