//! Action chunks, and the queue that plays them one action at a time.

use serde::{Deserialize, Serialize};

/// Why values could not become a chunk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The number of values is not `horizon * action_dim`.
    #[error("a chunk of {horizon} x {action_dim} needs {expected} values, found {found}")]
    Length {
        /// Actions in the chunk.
        horizon: usize,
        /// Width of an action.
        action_dim: usize,
        /// Values needed.
        expected: usize,
        /// Values found.
        found: usize,
    },
}

/// Consecutive actions, in the units that the robot's spec names.
///
/// # Shapes
///
/// `[horizon, action_dim]`, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionChunk {
    horizon: usize,
    action_dim: usize,
    values: Vec<f32>,
}

impl ActionChunk {
    /// Takes `horizon * action_dim` values, action by action.
    ///
    /// # Errors
    ///
    /// When the length does not fit.
    pub fn new(horizon: usize, action_dim: usize, values: Vec<f32>) -> Result<Self, ChunkError> {
        let expected = horizon.saturating_mul(action_dim);
        if values.len() == expected {
            Ok(Self { horizon, action_dim, values })
        } else {
            Err(ChunkError::Length { horizon, action_dim, expected, found: values.len() })
        }
    }

    /// Actions in the chunk.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// Width of an action.
    pub fn action_dim(&self) -> usize {
        self.action_dim
    }

    /// Every value, action by action.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One action.
    ///
    /// # Panics
    ///
    /// At or past the horizon.
    pub fn action(&self, step: usize) -> &[f32] {
        assert!(step < self.horizon, "action {step} of a chunk of {}", self.horizon);
        &self.values[step * self.action_dim..(step + 1) * self.action_dim]
    }

    /// The actions, first to last.
    pub fn actions(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.horizon).map(|step| self.action(step))
    }

    /// Whether every value is a number.
    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }
}

/// Plays chunks one action at a time, by absolute tick.
///
/// A chunk says for which tick its first action was meant. Late, repeated and overlapping
/// chunks then need no special care: the newest observation wins, and what lies in the past is
/// never played.
///
/// ```
/// use engraft_core::{ActionChunk, ChunkQueue};
///
/// let mut queue = ChunkQueue::new();
/// queue.push(10, ActionChunk::new(2, 1, vec![0.5, 0.6]).unwrap());
/// assert_eq!(queue.action(11), Some(&[0.6][..]));
/// assert_eq!(queue.action(12), None); // the chunk is played out
/// ```
#[derive(Debug, Clone, Default)]
pub struct ChunkQueue {
    current: Option<(u64, ActionChunk)>,
}

impl ChunkQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers a chunk whose first action belongs to `first_tick`.
    ///
    /// Returns whether it was taken: a chunk made from an older observation than the one that is
    /// playing is not.
    pub fn push(&mut self, first_tick: u64, chunk: ActionChunk) -> bool {
        let newer = self.current.as_ref().is_none_or(|(playing, _)| first_tick > *playing);
        if newer {
            self.current = Some((first_tick, chunk));
        }
        newer
    }

    /// The action meant for `tick`, if there is one.
    pub fn action(&self, tick: u64) -> Option<&[f32]> {
        let (first, chunk) = self.current.as_ref()?;
        let step = usize::try_from(tick.checked_sub(*first)?).ok()?;
        (step < chunk.horizon()).then(|| chunk.action(step))
    }

    /// Actions left to play, the one of `tick` included.
    pub fn remaining(&self, tick: u64) -> usize {
        self.current.as_ref().map_or(0, |(first, chunk)| {
            let end = first + chunk.horizon() as u64;
            end.saturating_sub(tick.max(*first)) as usize
        })
    }

    /// Forgets everything, for a new episode or a stop.
    pub fn clear(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(values: &[f32]) -> ActionChunk {
        ActionChunk::new(values.len(), 1, values.to_vec()).unwrap()
    }

    #[test]
    fn a_newer_chunk_replaces_the_rest_of_the_older() {
        let mut queue = ChunkQueue::new();
        assert!(queue.push(0, chunk(&[0.0, 1.0, 2.0, 3.0])));
        assert!(queue.push(2, chunk(&[20.0, 30.0])));
        assert_eq!(queue.action(2), Some(&[20.0][..]));
        assert_eq!(queue.remaining(3), 1);
    }

    #[test]
    fn an_older_or_repeated_chunk_is_not_taken() {
        let mut queue = ChunkQueue::new();
        queue.push(5, chunk(&[1.0]));
        assert!(!queue.push(5, chunk(&[2.0])));
        assert!(!queue.push(4, chunk(&[3.0, 4.0])));
        assert_eq!(queue.action(5), Some(&[1.0][..]));
    }

    #[test]
    fn what_lies_before_the_chunk_is_not_played() {
        let mut queue = ChunkQueue::new();
        queue.push(5, chunk(&[1.0]));
        assert_eq!(queue.action(4), None);
        assert_eq!(queue.remaining(4), 1);
        queue.clear();
        assert_eq!(queue.remaining(5), 0);
    }

    #[test]
    fn a_chunk_of_the_wrong_length_is_an_error() {
        let error = ActionChunk::new(2, 3, vec![0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "a chunk of 2 x 3 needs 6 values, found 5");
    }
}
