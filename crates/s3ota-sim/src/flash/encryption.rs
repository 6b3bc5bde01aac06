//! Flash encryption, as far as it changes what a program sees of its flash.
//!
//! With flash encryption, every read passes a decryptor and every write an encryptor. It works on blocks of 16 bytes and
//! depends on their address (ESP-IDF programming guide, "Flash Encryption"; the chips use XTS-AES). Three things follow: a
//! program can write only whole blocks, it cannot add to a block written before, and erased flash, or a torn block, reads as
//! noise. The cipher here is a small Feistel network with these three properties and no other: it protects no secret.

use super::power::Noise;

/// The block of the cipher.
pub(super) const BLOCK: usize = 16;
const ROUNDS: u64 = 4;

/// The cipher, with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cipher {
    pub(super) key: u64,
}

impl Cipher {
    /// What is on flash for a block that reads as `block` at this address.
    pub(super) fn encrypt(self, at: u32, block: &mut [u8; BLOCK]) {
        let (mut left, mut right) = halves(block);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.mask(at, round, right));
        }
        join(left, right, block);
    }

    /// What a block on flash reads as at this address.
    pub(super) fn decrypt(self, at: u32, block: &mut [u8; BLOCK]) {
        let (mut left, mut right) = halves(block);
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.mask(at, round, left), left);
        }
        join(left, right, block);
    }

    fn mask(self, at: u32, round: u64, half: u64) -> u64 {
        let tweak = (u64::from(at) << 8 | round).wrapping_mul(0x2545_f491_4f6c_dd1d);
        Noise::new(self.key ^ tweak ^ half).next()
    }
}

fn halves(block: &[u8; BLOCK]) -> (u64, u64) {
    let value = u128::from_le_bytes(*block);
    (value as u64, (value >> 64) as u64)
}

fn join(left: u64, right: u64, block: &mut [u8; BLOCK]) {
    *block = (u128::from(right) << 64 | u128::from(left)).to_le_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_as_it_was_written_and_only_at_its_address() {
        let cipher = Cipher { key: 7 };
        let mut block = *b"sixteen bytes it";
        cipher.encrypt(0x1_0000, &mut block);
        assert_ne!(&block, b"sixteen bytes it");
        let mut moved = block;
        cipher.decrypt(0x1_0000, &mut block);
        assert_eq!(&block, b"sixteen bytes it");
        cipher.decrypt(0x1_0010, &mut moved);
        assert_ne!(&moved, b"sixteen bytes it");
    }
}
