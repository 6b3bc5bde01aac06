//! Mutations of an input, from a seed.

/// SplitMix64: the same numbers for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    /// One of these.
    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }
}

/// Boundary values of numbers in formats.
const NUMBERS: [u32; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xfff,
    0x1000,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    u32::MAX,
];

/// Changes an input in one to eight places. `other` is an input to take parts from.
pub fn mutate(
    input: &mut Vec<u8>,
    other: &[u8],
    tokens: &[&[u8]],
    limit: usize,
    random: &mut Random,
) {
    for _ in 0..1 << random.below(4) {
        mutate_once(input, other, tokens, random);
    }
    input.truncate(limit);
}

fn mutate_once(input: &mut Vec<u8>, other: &[u8], tokens: &[&[u8]], random: &mut Random) {
    if input.is_empty() {
        return input.extend(other);
    }
    // Every other change is near the start, where headers are.
    let reach = if random.below(2) == 0 {
        input.len()
    } else {
        input.len().min(64)
    };
    let at = random.below(reach);
    let longest = 1 + random.below(64);
    let length = 1 + random.below((input.len() - at).min(longest));
    match random.below(12) {
        0 | 1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = random.number() as u8,
        3 => input[at] = input[at].wrapping_add(random.pick(&[&1, &0xff]).to_owned()),
        4 => input.truncate(at),
        5 => drop(input.drain(at..at + length)),
        6 => {
            let copy = input[at..at + length].to_vec();
            insert(input, random, &copy);
        }
        7 => overwrite(input, at, random.pick(tokens)),
        8 => {
            let token = random.pick(tokens);
            insert(input, random, token);
        }
        9 => {
            let number = NUMBERS[random.below(NUMBERS.len())];
            let width = 1 << random.below(3);
            let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
            let bytes = if random.below(2) == 0 {
                &little[..width]
            } else {
                &big[4 - width..]
            };
            overwrite(input, at, bytes);
        }
        10 if !other.is_empty() => {
            // The start of one and the end of another.
            input.truncate(at);
            input.extend(&other[random.below(other.len())..]);
        }
        _ if !other.is_empty() => {
            let from = random.below(other.len());
            let part = &other[from..other.len().min(from + length)];
            if random.below(2) == 0 {
                overwrite(input, at, part);
            } else {
                insert(input, random, part);
            }
        }
        _ => {}
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    let into = &mut input[at..];
    let length = into.len().min(bytes.len());
    into[..length].copy_from_slice(&bytes[..length]);
}

fn insert(input: &mut Vec<u8>, random: &mut Random, bytes: &[u8]) {
    let at = random.below(input.len() + 1);
    input.splice(at..at, bytes.iter().copied());
}
