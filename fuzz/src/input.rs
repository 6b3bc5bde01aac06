//! Takes an input apart. After its end come zeros.

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// A whole input.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes as a number, the first one high.
    pub fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next `length` bytes, fewer at the end.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether it is used up.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Sizes of the pieces that bytes are split into, the same for the same seed. Seed 0 does not split.
#[derive(Debug, Clone)]
pub struct Pieces {
    seed: usize,
    state: usize,
}

impl Pieces {
    /// The sizes for a seed.
    pub fn new(seed: u8) -> Self {
        Self {
            seed: seed.into(),
            state: 0,
        }
    }

    /// The next size, at least 1.
    pub fn next_size(&mut self) -> usize {
        if self.seed == 0 {
            return usize::MAX;
        }
        self.state = (self.state * 31 + self.seed) % 1021;
        // Mostly small, sometimes larger than half of any buffer.
        match self.state % 8 {
            0 => 1 + self.state * 3,
            1..4 => 1 + self.state % 64,
            _ => 1 + self.state % 7,
        }
    }
}
