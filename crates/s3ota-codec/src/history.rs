//! What a bit was so far, in a byte: how many zeros there were and how many ones, as far as they are counted.
//!
//! What comes unexpectedly takes away from what was seen before, so the newest bits count most.

use crate::literal::squash;

/// How many histories there are. The number 0 is that of a bit that was never seen.
const HISTORIES: usize = {
    let mut count = 0;
    let mut sum = 0;
    while sum <= MOST {
        let mut ones = 0;
        while ones <= sum {
            count += is_counted(sum - ones, ones) as usize;
            ones += 1;
        }
        sum += 1;
    }
    count
};

/// The most bits in a history.
const MOST: u32 = 32;

/// Whether there is a history of so many zeros and ones.
const fn is_counted(zeros: u32, ones: u32) -> bool {
    let (more, fewer) = if zeros > ones {
        (zeros, ones)
    } else {
        (ones, zeros)
    };
    match fewer {
        0..=2 => more <= 30,
        3 => more <= 12,
        4 => more <= 5,
        _ => false,
    }
}

/// Zeros and ones of each history, those with the fewest bits first.
const COUNTS: [[u32; 2]; HISTORIES] = {
    let mut counts = [[0; 2]; HISTORIES];
    let mut next = 0;
    let mut sum = 0;
    while sum <= MOST {
        let mut ones = 0;
        while ones <= sum {
            if is_counted(sum - ones, ones) {
                counts[next] = [sum - ones, ones];
                next += 1;
            }
            ones += 1;
        }
        sum += 1;
    }
    counts
};

const fn number(zeros: u32, ones: u32) -> u8 {
    let mut number = 0;
    while COUNTS[number][0] != zeros || COUNTS[number][1] != ones {
        number += 1;
    }
    number as u8
}

/// What follows when there were `same` bits like the one that came, and `other` ones.
const fn counted(same: u32, other: u32) -> [u32; 2] {
    let mut same = same + 1;
    let mut other = if other > 2 {
        (other * 5 + 4) / 8
    } else {
        other
    };
    while !is_counted(same, other) {
        if same > other {
            // Their ratio stays, as far as it can.
            let fewer = (2 * other * (same - 1) + same) / (2 * same);
            other = if other > 0 && fewer == 0 { 1 } else { fewer };
            same -= 1;
        } else {
            other -= 1;
        }
    }
    [same, other]
}

/// The history after a zero, and after a one: two for each.
pub(crate) static NEXT: [u8; 512] = {
    let mut next = [0; 512];
    let mut at = 0;
    while at < HISTORIES {
        let [zeros, ones] = COUNTS[at];
        let [more, fewer] = counted(zeros, ones);
        next[2 * at] = number(more, fewer);
        let [more, fewer] = counted(ones, zeros);
        next[2 * at + 1] = number(fewer, more);
        at += 1;
    }
    next
};

/// The logarithmic odds of a one, in 1/256.
pub(crate) static ODDS: [i16; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < HISTORIES {
        let [zeros, ones] = COUNTS[at];
        // As if there had been half a bit of each before.
        let p = (4096 * (2 * ones + 1) / (2 * (zeros + ones) + 2)) as i32;
        let (mut low, mut high) = (-2047, 2047);
        while low < high {
            let middle = low + (high - low) / 2;
            if squash(middle) < p {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        table[at] = low as i16;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bits: &[bool]) -> usize {
        let step = |at: usize, bit: &bool| usize::from(NEXT[2 * at + usize::from(*bit)]);
        bits.iter().fold(0, step)
    }

    #[test]
    fn every_history_is_followed_by_one_that_expects_more_of_what_came() {
        for at in 0..HISTORIES {
            let (zero, one) = (usize::from(NEXT[2 * at]), usize::from(NEXT[2 * at + 1]));
            assert!(zero < HISTORIES && one < HISTORIES);
            assert!(ODDS[zero] <= ODDS[at] && ODDS[at] <= ODDS[one], "{at}");
        }
    }

    #[test]
    fn zeros_and_ones_are_alike() {
        for bits in [&[true][..], &[true, false, true], &[true; 40]] {
            let opposite: std::vec::Vec<bool> = bits.iter().map(|bit| !bit).collect();
            let (odds, other) = (ODDS[after(bits)], ODDS[after(&opposite)]);
            assert!((odds + other).abs() <= 8, "{odds} {other}");
        }
        assert_eq!(ODDS[0], 0);
    }

    #[test]
    fn the_newest_bits_count_most() {
        let mut bits = std::vec![true; 30];
        let sure = ODDS[after(&bits)];
        bits.extend([false; 6]);
        assert!(sure > 900 && ODDS[after(&bits)] < 0);
    }
}
