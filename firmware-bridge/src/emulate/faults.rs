//! What can go wrong on a wire, drawn from a seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the emulated wire does to the bytes that the device sends, and on request to those that it
/// hears. All of it can change while the emulator runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Part of the bytes that get one bit flipped.
    pub flip: f64,
    /// Part of the bytes that get lost.
    pub lose: f64,
    /// Part of the bytes after which a 0xFF comes out of nowhere.
    pub insert: f64,
    /// Whether the bytes that the device hears are damaged in the same way.
    pub both_ways: bool,
    /// Whether the adapter hands the host's own bytes back to it.
    pub echo: bool,
    /// How much later than on a real bus the device answers.
    pub delay: Duration,
    /// Bytes that lie in the adapter from before, and come ahead of the next answer once.
    pub stale: Vec<u8>,
    /// Ids that say nothing.
    pub silent: Vec<u8>,
    /// The id that answers in the place of another, `(asked, answering)`.
    pub impostor: Option<(u8, u8)>,
}

/// [`Faults`] at work.
#[derive(Debug)]
pub(crate) struct Damage {
    rng: ChaCha8Rng,
}

impl Damage {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// What of `bytes` arrives at the host.
    pub(crate) fn damage(&mut self, faults: &Faults, bytes: &[u8]) -> Vec<u8> {
        if faults.flip == 0.0 && faults.lose == 0.0 && faults.insert == 0.0 {
            return bytes.to_vec();
        }
        let mut arrived = Vec::with_capacity(bytes.len() + 4);
        for &byte in bytes {
            if !self.happens(faults.lose) {
                let flipped = self.happens(faults.flip);
                let bit = if flipped { 1 << self.rng.random_range(0..8_u32) } else { 0 };
                arrived.push(byte ^ bit);
            }
            if self.happens(faults.insert) {
                arrived.push(0xFF);
            }
        }
        arrived
    }

    fn happens(&mut self, part: f64) -> bool {
        part > 0.0 && self.rng.random_bool(part.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_as_frequent_as_asked_and_the_same_for_a_seed() {
        let faults = Faults { flip: 0.01, lose: 0.02, insert: 0.005, ..Faults::default() };
        let bytes = vec![0x55; 100_000];
        let [a, b] = [7, 7].map(|seed| Damage::new(seed).damage(&faults, &bytes));
        assert_eq!(a, b);
        let flipped = a.iter().filter(|&&byte| byte != 0x55 && byte != 0xFF).count();
        assert!((800..1200).contains(&flipped), "{flipped} of 1000 flipped");
        let length = bytes.len() - 2000 + 500;
        assert!(a.len().abs_diff(length) < 300, "{} bytes arrived", a.len());
        assert_eq!(Damage::new(1).damage(&Faults::default(), &bytes), bytes);
    }
}
