//! The decoder over images that are in memory.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Decoder, Memory, Refused, Step};

/// Applies an artefact to the image that it was made from, with the device's decoder, and returns the image that it makes.
///
/// # Errors
///
/// If the artefact is refused. Whether `base` is the right one only shows in the result then: compare it with
/// [`Header::base`](crate::Header) first.
pub fn apply(base: &[u8], artefact: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut memory = Box::new(Memory::new());
    let base_size = u32::try_from(base.len()).unwrap_or(u32::MAX);
    let mut decoder = Decoder::new(&mut memory, base_size, 0);
    let mut result = Vec::new();
    let mut room = [0; 4096];
    loop {
        let (source, at): (&[u8], u32) = match decoder.step(&mut room)? {
            Step::Artefact(at) => (artefact, at),
            Step::Base(at) => (base, at),
            Step::Result(at) => (&result, at),
            Step::Output(n) => {
                result.extend_from_slice(&room[..n]);
                continue;
            }
            Step::End => return Ok(result),
        };
        let rest = source.get(at as usize..).unwrap_or(&[]);
        let room = decoder.room();
        let n = room.len().min(rest.len());
        room[..n].copy_from_slice(&rest[..n]);
        decoder.filled(n);
    }
}
