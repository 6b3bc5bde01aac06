//! Powers modulo a number of up to 4096 bits: the arithmetic of RSA.
//!
//! It works in place, in 1 KB of stack. crypto-bigint, which P-256 links, passes numbers of 512 bytes by value: with it a
//! verification took 9 KB. All inputs are public, so timing reveals no secret.
//!
//! The multiplication is Montgomery's, limb by limb: "finely integrated operand scanning" in Koç, Acar and Kaliski, *Analyzing and
//! Comparing Montgomery Multiplication Algorithms* (1996). With *R* = 2³² to the number of limbs, it gives *a · b / R*.

/// The longest modulus, in bytes.
pub(crate) const MAX_BYTES: usize = 4096 / 8;
const MAX_LIMBS: usize = MAX_BYTES / 4;

/// Writes `base` to the power of `exponent` modulo `modulus` into `result`. The numbers are big-endian and of one length.
///
/// `None` if the modulus is even or too long, if the base is not less than it, or if the exponent is not odd and at least 3.
// In a function of its own: its stack is free again when the message is hashed.
#[inline(never)]
pub(crate) fn power(modulus: &[u8], exponent: u64, base: &[u8], result: &mut [u8]) -> Option<()> {
    let is_odd = modulus.last()? & 1 == 1 && exponent & 1 == 1;
    let is_one_length = base.len() == modulus.len() && result.len() == modulus.len();
    if !is_odd || !is_one_length || exponent < 3 || base >= modulus {
        return None;
    }
    let length = modulus.len().div_ceil(4);
    let (mut value, mut product) = ([0; MAX_LIMBS], [0; MAX_LIMBS]);
    let mut value = value.get_mut(..length)?;
    let mut product = product.get_mut(..length)?;
    let n = Modulus::new(modulus)?;

    // base · R: Montgomery's form, in which products keep one factor R.
    for (limb, bytes) in value.iter_mut().zip(limbs(base)) {
        *limb = bytes;
    }
    for _ in 0..length * 32 {
        n.double(value);
    }
    write(value, result);
    for bit in (0..exponent.ilog2()).rev() {
        n.multiply(value, value.iter().copied(), product);
        core::mem::swap(&mut value, &mut product);
        if exponent >> bit & 1 == 1 {
            // The last factor is not in that form: it takes the R away.
            let factor = if bit == 0 { base } else { &*result };
            n.multiply(value, limbs(factor), product);
            core::mem::swap(&mut value, &mut product);
        }
    }
    write(value, result);
    Some(())
}

/// An odd number to calculate by.
struct Modulus<'a> {
    bytes: &'a [u8],
    /// Its negated inverse modulo 2³².
    inverse: u32,
}

impl<'a> Modulus<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        // By Newton's method: 3 bits of an odd number are its own inverse, and each step doubles them.
        let odd = limbs(bytes).next()?;
        let mut inverse = odd;
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Some(Self {
            bytes,
            inverse: inverse.wrapping_neg(),
        })
    }

    /// `product = a · b / R`. Both factors are less than the modulus; so is the product.
    fn multiply(&self, a: &[u32], b: impl Iterator<Item = u32>, product: &mut [u32]) {
        product.fill(0);
        let mut carry = 0;
        for b in b {
            carry = self.add_row(a, b, product, carry);
        }
        self.reduce(product, carry);
    }

    /// `sum = (sum + a · b + the multiple of the modulus that makes its last limb 0) / 2³²`. `carry` is the limb above `sum`.
    #[inline(never)]
    fn add_row(&self, a: &[u32], b: u32, sum: &mut [u32], carry: u32) -> u32 {
        let (mut above, mut above_multiple) = (0, 0);
        // The one that makes the last limb 0.
        let mut multiple = None;
        let mut below = &mut 0;
        for ((limb, a), n) in sum.iter_mut().zip(a).zip(limbs(self.bytes)) {
            let value;
            (value, above) = multiply_add(*a, b, *limb, above);
            let multiple = *multiple.get_or_insert(value.wrapping_mul(self.inverse));
            (*below, above_multiple) = multiply_add(n, multiple, value, above_multiple);
            below = limb;
        }
        let top = u64::from(carry) + u64::from(above) + u64::from(above_multiple);
        *below = top as u32;
        (top >> 32) as u32
    }

    /// `value = 2 · value`.
    fn double(&self, value: &mut [u32]) {
        let mut carry = 0;
        for limb in &mut *value {
            let above = *limb >> 31;
            *limb = *limb << 1 | carry;
            carry = above;
        }
        self.reduce(value, carry);
    }

    /// Takes the modulus away once, if the value is not less than it. `carry` is the limb above the value.
    fn reduce(&self, value: &mut [u32], carry: u32) {
        if carry == 0 && value.iter().rev().copied().lt(limbs(self.bytes).rev()) {
            return;
        }
        let mut borrow = false;
        for (limb, n) in value.iter_mut().zip(limbs(self.bytes)) {
            (*limb, borrow) = limb.borrowing_sub(n, borrow);
        }
    }
}

/// `a · b + c + d`, which never exceeds two limbs: the lower and the upper one.
fn multiply_add(a: u32, b: u32, c: u32, d: u32) -> (u32, u32) {
    let sum = u64::from(a) * u64::from(b) + u64::from(c) + u64::from(d);
    (sum as u32, (sum >> 32) as u32)
}

/// The limbs of a big-endian number, the least first.
fn limbs(bytes: &[u8]) -> impl DoubleEndedIterator<Item = u32> {
    let value = |chunk: &[u8]| {
        chunk
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    };
    bytes.rchunks(4).map(value)
}

/// Writes limbs, the least first, as a big-endian number of this length.
fn write(limbs: &[u32], bytes: &mut [u8]) {
    for (chunk, limb) in bytes.rchunks_mut(4).zip(limbs) {
        for (byte, value) in chunk.iter_mut().rev().zip(limb.to_le_bytes()) {
            *byte = value;
        }
    }
}

/// Against num-bigint's. Wycheproof's vectors for RSA are in `wycheproof_tests.rs`.
#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use ::rsa::BigUint;
    use ::rsa::rand_core::{OsRng, RngCore};

    use super::*;

    fn random(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        OsRng.fill_bytes(&mut bytes);
        bytes
    }

    /// The number in `length` bytes.
    fn padded(number: &BigUint, length: usize) -> Vec<u8> {
        let bytes = number.to_bytes_be();
        let mut padded = vec![0; length - bytes.len()];
        padded.extend_from_slice(&bytes);
        padded
    }

    fn check(modulus: &[u8], exponent: u64, base: &[u8]) {
        let mut result = vec![0; modulus.len()];
        power(modulus, exponent, base, &mut result).unwrap();
        let expected = BigUint::from_bytes_be(base)
            .modpow(&BigUint::from(exponent), &BigUint::from_bytes_be(modulus));
        assert_eq!(
            result,
            padded(&expected, modulus.len()),
            "{base:x?} to the power of {exponent} modulo {modulus:x?}"
        );
    }

    #[test]
    fn powers_are_those_of_another_library() {
        for length in [1, 3, 4, 5, 8, 256, 257, 384, 511, MAX_BYTES] {
            for exponent in [3, 5, 17, 35, 65537, (1 << 33) - 1, u64::MAX] {
                let mut modulus = random(length);
                modulus[0] |= 0x80;
                *modulus.last_mut().unwrap() |= 1;
                let base = BigUint::from_bytes_be(&random(length));
                let base = base % BigUint::from_bytes_be(&modulus);
                check(&modulus, exponent, &padded(&base, length));
            }
        }
    }

    #[test]
    fn the_largest_and_smallest_numbers_are_right_too() {
        let largest = [0xff; MAX_BYTES];
        let mut one_less = largest;
        one_less[MAX_BYTES - 1] = 0xfe;
        let mut sparse = [0; MAX_BYTES];
        (sparse[0], sparse[MAX_BYTES - 1]) = (0x80, 1);
        let mut below = [0xff; MAX_BYTES];
        below[0] = 0x7f;
        for exponent in [3, 35, 65537] {
            check(&largest, exponent, &one_less);
            check(&sparse, exponent, &below);
            check(&largest, exponent, &[0; MAX_BYTES]);
            check(&[1], exponent, &[0]);
            check(&[0, 0, 0, 0, 3], exponent, &[0, 0, 0, 0, 2]);
        }
    }

    #[test]
    fn what_cannot_be_calculated_is_refused() {
        let calculate = |modulus: &[u8], exponent, base: &[u8]| {
            power(modulus, exponent, base, &mut vec![0; modulus.len()])
        };
        assert_eq!(calculate(&[15], 3, &[14]), Some(()));
        assert_eq!(calculate(&[15], 3, &[15]), None);
        assert_eq!(calculate(&[16], 3, &[14]), None);
        assert_eq!(calculate(&[15], 1, &[14]), None);
        assert_eq!(calculate(&[15], 4, &[14]), None);
        assert_eq!(calculate(&[15], 3, &[0, 14]), None);
        assert_eq!(calculate(&[], 3, &[]), None);
        let long = [0xff; MAX_BYTES + 1];
        assert_eq!(calculate(&long, 3, &[0; MAX_BYTES + 1]), None);
        assert_eq!(power(&[15], 3, &[14], &mut [0; 2]), None);
    }
}
