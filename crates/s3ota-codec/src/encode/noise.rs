//! Images in which there is nothing to find: encrypted, or compressed before.

use alloc::vec;

/// Bytes of what is looked for again.
const WINDOW: usize = 8;

/// Of so many places one is looked at.
const EVERY: usize = 16;

/// Bits of the filter for each window.
const FILTER: usize = 32;

/// Whether an artefact would hardly be smaller than `result`: its bytes are all as frequent, and of what it holds less than a
/// fiftieth was in it before, or in `base`.
pub(super) fn is_noise(base: &[u8], result: &[u8]) -> bool {
    if entropy(result) < 7.8 {
        return false;
    }
    let bits = (FILTER * (base.len() + result.len())).next_power_of_two();
    let mut filter = vec![0_u64; bits / 64];
    let mut again = 0;
    let mut seen = |window: &[u8]| {
        let hash = hash(window);
        let mut known = true;
        for part in [hash as usize, (hash >> 32) as usize] {
            let at = part & (bits - 1);
            known &= filter[at / 64] >> (at % 64) & 1 == 1;
            filter[at / 64] |= 1 << (at % 64);
        }
        known
    };
    for window in base.windows(WINDOW) {
        seen(window);
    }
    for (at, window) in result.windows(WINDOW).enumerate() {
        let known = seen(window);
        again += usize::from(known && at % EVERY == 0);
    }
    again * EVERY * 50 < result.len()
}

/// Bits for each byte, if nothing but its frequency is known.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let all = bytes.len() as f64;
    let bits = |count: &u32| f64::from(*count) * (all / f64::from(*count)).log2();
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(bits)
        .sum::<f64>()
        / all
}

fn hash(window: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in window {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3_93d1);
    }
    hash ^ hash >> 29
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn noise_is_what_was_nowhere_before() {
        let (one, other) = (noise(1, 100_000), noise(2, 100_000));
        assert!(is_noise(&one, &other));
        assert!(is_noise(&[], &one));
        assert!(!is_noise(&one, &one));
        assert!(!is_noise(&[], &[&one[..], &one].concat()));
        // A twentieth of it is known.
        let mixed = [&other[..95_000], &one[..5000]].concat();
        assert!(!is_noise(&one, &mixed));
        assert!(!is_noise(&[], &vec![7; 100_000]));
        let code: Vec<u8> = one.iter().map(|byte| byte & 0x3f).collect();
        assert!(!is_noise(&other, &code));
    }
}
