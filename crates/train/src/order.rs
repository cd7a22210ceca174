//! Which sample comes when: a pure function of the seed and the pass over the data.
//!
//! A pass shows every sample once. The samples of a run stand in one long row, pass after pass,
//! and step `s` of batch size `b` takes places `s * b .. (s + 1) * b` of it: nothing needs to be
//! remembered to go on from any step.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a generator is for, so that two uses of one seed never draw the same numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augment = 2,
}

/// A generator that depends on all of `parts` and on nothing else.
pub(crate) fn generator(seed: u64, purpose: Purpose, parts: [u64; 2]) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, part) in key.chunks_exact_mut(8).zip([seed, purpose as u64, parts[0], parts[1]]) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number from `0..n`, without bias.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    assert!(n > 0, "a draw from nothing");
    // The largest multiple of n: what lies above would favour small numbers.
    let limit = u64::MAX - u64::MAX % n;
    loop {
        let draw = rng.next_u64();
        if draw < limit {
            return draw % n;
        }
    }
}

/// A number from `[low, high)`.
pub(crate) fn uniform(rng: &mut ChaCha8Rng, [low, high]: [f32; 2]) -> f32 {
    let unit = (rng.next_u32() >> 8) as f32 / (1 << 24) as f32;
    low + (high - low) * unit
}

/// The order in which pass `pass` shows its samples.
///
/// ```
/// use engraft_train::permutation;
///
/// let mut order = permutation(7, 0, 5);
/// assert_eq!(order, permutation(7, 0, 5));
/// order.sort_unstable();
/// assert_eq!(order, [0, 1, 2, 3, 4]);
/// ```
pub fn permutation(seed: u64, pass: u64, num_samples: usize) -> Vec<usize> {
    let mut rng = generator(seed, Purpose::Order, [pass, 0]);
    let mut order: Vec<usize> = (0..num_samples).collect();
    for last in (1..num_samples).rev() {
        order.swap(last, below(&mut rng, last as u64 + 1) as usize);
    }
    order
}

/// One place in the row of all samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The pass over the data.
    pub pass: u64,
    /// The sample, an index into the training split.
    pub sample: usize,
}

/// The row of all samples; remembers the last pass that it was asked for.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    num_samples: usize,
    pass: Option<(u64, Vec<usize>)>,
}

impl Order {
    /// The order of `num_samples` samples under `seed`.
    ///
    /// # Panics
    ///
    /// When there is no sample.
    pub fn new(seed: u64, num_samples: usize) -> Self {
        assert!(num_samples > 0, "an order of no samples");
        Self { seed, num_samples, pass: None }
    }

    /// What stands at `places` of the row.
    pub fn places(&mut self, places: Range<u64>) -> Vec<Place> {
        places.map(|place| self.place(place)).collect()
    }

    fn place(&mut self, place: u64) -> Place {
        let (pass, at) = (place / self.num_samples as u64, place % self.num_samples as u64);
        if self.pass.as_ref().is_none_or(|(known, _)| *known != pass) {
            self.pass = Some((pass, permutation(self.seed, pass, self.num_samples)));
        }
        let order = self.pass.as_ref().map_or(&[][..], |(_, order)| order);
        Place { pass, sample: order[at as usize] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_shows_every_sample_once_and_in_its_own_order() {
        let mut order = Order::new(3, 10);
        let row = order.places(0..30);
        for pass in 0..3 {
            let mut seen: Vec<_> =
                row.iter().filter(|place| place.pass == pass).map(|place| place.sample).collect();
            assert_eq!(seen, permutation(3, pass, 10));
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(permutation(3, 0, 10), permutation(3, 1, 10));
        assert_ne!(permutation(3, 0, 10), permutation(4, 0, 10));
    }

    #[test]
    fn a_run_that_starts_later_sees_what_the_whole_run_sees_from_there() {
        let whole = Order::new(1, 7).places(0..40);
        assert_eq!(Order::new(1, 7).places(23..40), whole[23..]);
    }

    #[test]
    fn two_purposes_never_share_their_numbers() {
        let mut order = generator(1, Purpose::Order, [0, 0]);
        let mut augment = generator(1, Purpose::Augment, [0, 0]);
        assert_ne!(order.next_u64(), augment.next_u64());
    }

    #[test]
    fn a_draw_stays_in_its_range() {
        let mut rng = generator(5, Purpose::Augment, [1, 2]);
        for _ in 0..1000 {
            assert!(below(&mut rng, 3) < 3);
            let draw = uniform(&mut rng, [-0.5, 0.25]);
            assert!((-0.5..0.25).contains(&draw));
        }
    }
}
