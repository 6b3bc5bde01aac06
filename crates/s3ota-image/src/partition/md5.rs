//! MD5 (RFC 1321), which ESP-IDF's tools put at the end of a partition table. It detects damage, not attacks.
//!
//! The steps are loops, as the RFC describes them. Implementations that unroll them for speed take 2 KB more flash, and a
//! table has at most 3 KB.

/// How far each step rotates: in each round, four amounts in turn.
const ROTATIONS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// `floor(2^32 * abs(sin(i)))`, for i from 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

/// The MD5 of `bytes`.
pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        absorb(&mut state, block);
    }
    // A one bit, zeros up to the last eight bytes of a block, and there the length in bits.
    let mut last = [0; 64];
    let (start, end) = last.split_at_mut(rest.len());
    start.copy_from_slice(rest);
    if let [one, ..] = end {
        *one = 0x80;
    }
    if rest.len() >= 56 {
        absorb(&mut state, &last);
        last = [0; 64];
    }
    if let Some(length) = last.last_chunk_mut() {
        *length = (bytes.len() as u64).wrapping_mul(8).to_le_bytes();
    }
    absorb(&mut state, &last);

    let mut digest = [0; 16];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_le_bytes();
    }
    digest
}

/// Mixes a block into the state.
fn absorb(state: &mut [u32; 4], block: &[u8; 64]) {
    let words = block.as_chunks::<4>().0;
    let [mut a, mut b, mut c, mut d] = *state;
    for (step, sine) in SINES.iter().enumerate() {
        let round = step / 16;
        let (mixed, word) = match round {
            0 => (b & c | !b & d, step),
            1 => (d & b | !d & c, 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let word = words.get(word % 16).copied().unwrap_or_default();
        let rotation = ROTATIONS
            .as_flattened()
            .get(round * 4 + step % 4)
            .copied()
            .unwrap_or_default();
        let sum = a
            .wrapping_add(mixed)
            .wrapping_add(u32::from_le_bytes(word))
            .wrapping_add(*sine);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(rotation)));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use ::md5::{Digest, Md5};

    #[test]
    fn texts_of_every_length_have_the_digest_that_others_find() {
        let bytes: Vec<u8> = (0..300_u32).map(|n| ((n * 89) >> 3) as u8).collect();
        for length in 0..=bytes.len() {
            let text = &bytes[..length];
            assert_eq!(super::md5(text), *Md5::digest(text), "{length}");
        }
    }
}
