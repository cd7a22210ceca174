//! Random draws that depend on nothing but their seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of draws. The same words always begin the same stream.
#[derive(Debug, Clone)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// A stream for these words; any two that differ anywhere give unrelated streams.
    pub(crate) fn new(words: [u64; 4]) -> Self {
        let mut seed = [0; 32];
        for (bytes, word) in seed.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// Uniform between two numbers.
    pub(crate) fn within(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * unit
    }

    /// Uniform within `spread` of zero.
    pub(crate) fn about(&mut self, spread: f64) -> f64 {
        self.within(-spread, spread)
    }

    /// Whether something of this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.within(0.0, 1.0) < probability
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[(self.0.next_u64() % from.len() as u64) as usize]
    }

    /// A bell-shaped number with mean 0 and deviation 1 that never exceeds 3.5.
    pub(crate) fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.within(-0.5, 0.5)).sum::<f64>().clamp(-3.5, 3.5)
    }
}
