//! Training and validation, by whole episodes.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Which episodes are learned from, and which only judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Episodes to learn from, ascending.
    pub train: Vec<usize>,
    /// Episodes to judge with, ascending.
    pub val: Vec<usize>,
}

/// Draws a split; equal arguments give equal splits, on every machine.
///
/// At least one episode is left to learn from. Where `val_fraction` is above zero and there are
/// two episodes or more, at least one judges.
///
/// ```
/// let split = engraft_datasets::split(10, 0.2, 7);
/// assert_eq!((split.train.len(), split.val.len()), (8, 2));
/// ```
pub fn split(num_episodes: usize, val_fraction: f32, seed: u64) -> Split {
    let wanted = (num_episodes as f64 * f64::from(val_fraction.clamp(0.0, 1.0))).round() as usize;
    let least = usize::from(val_fraction > 0.0);
    let num_val = wanted.max(least).min(num_episodes.saturating_sub(1));
    let mut order: Vec<usize> = (0..num_episodes).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for last in (1..num_episodes).rev() {
        // The bias of a remainder of 64 bits is far below one in a billion.
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    let mut val = order.split_off(num_episodes - num_val);
    order.sort_unstable();
    val.sort_unstable();
    Split { train: order, val }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_episode_is_on_one_side() {
        for num_episodes in 0..20 {
            let split = split(num_episodes, 0.3, 5);
            let mut all = [split.train, split.val].concat();
            all.sort_unstable();
            assert_eq!(all, (0..num_episodes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_seed_gives_the_same_split_for_ever() {
        assert_eq!(split(10, 0.2, 7), split(10, 0.2, 7));
        assert_ne!(split(10, 0.2, 7), split(10, 0.2, 8));
        assert_eq!(split(10, 0.2, 7).val, split(10, 0.2, 7).val);
    }

    #[test]
    fn small_sets_keep_something_to_learn_from() {
        assert_eq!(split(1, 0.5, 0), Split { train: vec![0], val: vec![] });
        assert_eq!(split(2, 0.01, 0).val.len(), 1);
        assert_eq!(split(3, 1.0, 0).train.len(), 1);
        assert_eq!(split(3, 0.0, 0).val, Vec::<usize>::new());
    }
}
