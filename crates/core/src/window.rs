//! One training example, and the arithmetic that cuts it out of an episode.

use crate::{ActionChunk, Observation};

/// One training example: a frame stack, and the actions that followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The last `num_frames` observations, oldest first.
    pub frames: Vec<Observation>,
    /// What the demonstrator did from the newest frame on: `[horizon, action_dim]`.
    pub actions: ActionChunk,
    /// Which actions lie inside the episode: `[horizon]`.
    pub mask: Vec<bool>,
}

/// Steps of a frame stack ending at `step`, oldest first; step 0 repeats before the start.
///
/// ```
/// assert_eq!(engraft_core::frame_stack(1, 4), [0, 0, 0, 1]);
/// ```
pub fn frame_stack(step: usize, num_frames: usize) -> Vec<usize> {
    (0..num_frames).rev().map(|age| step.saturating_sub(age)).collect()
}

/// Steps of an action chunk starting at `step`, `None` past the end of the episode.
///
/// ```
/// assert_eq!(engraft_core::chunk_steps(3, 3, 5), [Some(3), Some(4), None]);
/// ```
pub fn chunk_steps(step: usize, horizon: usize, num_steps: usize) -> Vec<Option<usize>> {
    (step..step + horizon).map(|at| (at < num_steps).then_some(at)).collect()
}
