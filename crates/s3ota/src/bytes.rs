//! Copies bytes, in one place: each chain of iterators would be a loop of its own.

/// Copies `parts`, one behind the other, to the start of `to`. What has no room there is left out.
#[inline(never)]
pub(crate) fn copy(parts: &[&[u8]], to: &mut [u8]) {
    let mut to = to.iter_mut();
    for part in parts {
        for (from, to) in part.iter().zip(&mut to) {
            *to = *from;
        }
    }
}
