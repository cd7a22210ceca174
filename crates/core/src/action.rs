//! Action chunks.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_the_wrong_length_is_an_error() {
        let error = ActionChunk::new(2, 3, vec![0.0; 5]).unwrap_err();
        assert_eq!(error.to_string(), "a chunk of 2 x 3 needs 6 values, found 5");
    }
}
