//! Statistics over the training split, streaming and without decoding a picture.

use engraft_core::{RunningStats, Stats};

use crate::{Dataset, DatasetError, PastEnd, for_each_window};

/// What a policy needs to scale its inputs and outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetStats {
    /// Of proprio, over every step.
    pub proprio: Stats,
    /// Of the actions, over every step.
    pub actions: Stats,
}

/// Statistics over every step of `episodes`.
///
/// # Errors
///
/// When an episode cannot be read, or holds a value that is not finite.
pub fn stats(dataset: &dyn Dataset, episodes: &[usize]) -> Result<DatasetStats, DatasetError> {
    let spec = dataset.spec();
    let mut proprio = RunningStats::new(spec.proprio_dim());
    let mut actions = RunningStats::new(spec.action_dim());
    for_each_window(dataset, episodes, 1, PastEnd::Repeat, |window| {
        proprio.push(window.proprio);
        actions.push(window.actions.action(0));
    })?;
    Ok(DatasetStats { proprio: proprio.finish(), actions: actions.finish() })
}

/// Statistics of chunks whose dimension `i` is taken relative to proprio `relative[i]`.
///
/// Every action of a chunk minus the proprio of the chunk's first step, over every step of
/// `episodes` and every action of its chunk that lies inside the episode. `None` leaves a
/// dimension as it is. [`RobotSpec::moved_proprio`](engraft_core::RobotSpec::moved_proprio) gives the usual `relative`.
///
/// # Errors
///
/// When an episode cannot be read, or holds a value that is not finite.
///
/// # Panics
///
/// When `relative` is not as long as an action, or points past proprio.
pub fn relative_stats(
    dataset: &dyn Dataset,
    episodes: &[usize],
    horizon: usize,
    relative: &[Option<usize>],
) -> Result<Stats, DatasetError> {
    let spec = dataset.spec();
    assert_eq!(relative.len(), spec.action_dim(), "one entry per dimension of an action");
    assert!(relative.iter().flatten().all(|&at| at < spec.proprio_dim()), "past proprio");
    let mut running = RunningStats::new(spec.action_dim());
    let mut difference = vec![0.0; spec.action_dim()];
    for_each_window(dataset, episodes, horizon, PastEnd::Repeat, |window| {
        let inside = window.actions.actions().zip(window.mask).filter(|(_, inside)| **inside);
        for (action, _) in inside {
            for (i, value) in difference.iter_mut().enumerate() {
                *value = action[i] - relative[i].map_or(0.0, |at| window.proprio[at]);
            }
            running.push(&difference);
        }
    })?;
    Ok(running.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CountingSet;

    #[test]
    fn stats_cover_the_episodes_asked_for_and_no_other() {
        let dataset = CountingSet::new(&[3, 5]);
        let found = stats(&dataset, &[0]).unwrap();
        assert_eq!((found.actions.count, found.actions.mean[0]), (3, 1.0));
        assert_eq!(stats(&dataset, &[0, 1]).unwrap().proprio.count, 8);
    }

    #[test]
    fn a_relative_chunk_counts_only_what_lies_inside() {
        // Proprio is the step, the action is the step: differences are the offsets 0 and 1.
        let dataset = CountingSet::new(&[3]);
        let relative = dataset.spec().moved_proprio();
        assert_eq!(relative, [Some(0)]);
        let found = relative_stats(&dataset, &[0], 2, &relative).unwrap();
        assert_eq!((found.count, found.min[0], found.max[0], found.mean[0]), (5, 0.0, 1.0, 0.4));
        let absolute = relative_stats(&dataset, &[0], 2, &[None]).unwrap();
        assert_eq!(absolute.max[0], 2.0);
    }
}
