//! The numbers of one episode in memory, whatever format they came from.

use std::ops::Range;

use engraft_core::{ActionChunk, RobotSpec};

use crate::DatasetError;

/// Proprio and actions of every step.
pub(crate) struct Numbers {
    num_steps: usize,
    proprio_dim: usize,
    action_dim: usize,
    /// `[num_steps, proprio_dim]`
    proprio: Vec<f32>,
    /// `[num_steps, action_dim]`
    actions: Vec<f32>,
}

impl Numbers {
    /// Takes `num_steps` whole vectors of each.
    ///
    /// # Panics
    ///
    /// When the lengths are not those of the robot's vectors.
    pub(crate) fn new(
        spec: &RobotSpec,
        num_steps: usize,
        proprio: Vec<f32>,
        actions: Vec<f32>,
    ) -> Self {
        let (proprio_dim, action_dim) = (spec.proprio_dim(), spec.action_dim());
        assert_eq!(proprio.len(), num_steps * proprio_dim, "values of proprio");
        assert_eq!(actions.len(), num_steps * action_dim, "values of actions");
        Self { num_steps, proprio_dim, action_dim, proprio, actions }
    }

    pub(crate) fn num_steps(&self) -> usize {
        self.num_steps
    }

    pub(crate) fn num_bytes(&self) -> usize {
        (self.proprio.len() + self.actions.len()) * size_of::<f32>()
    }

    pub(crate) fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        self.check_step(step)?;
        Ok(&self.proprio[step * self.proprio_dim..(step + 1) * self.proprio_dim])
    }

    pub(crate) fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        let dim = self.action_dim;
        let values = match steps.clone().last() {
            Some(last) => {
                self.check_step(last)?;
                self.actions[steps.start * dim..steps.end * dim].to_vec()
            }
            None => Vec::new(),
        };
        Ok(ActionChunk::new(values.len() / dim, dim, values).expect("whole actions"))
    }

    fn check_step(&self, step: usize) -> Result<(), DatasetError> {
        let num_steps = self.num_steps;
        if step < num_steps { Ok(()) } else { Err(DatasetError::NoStep { step, num_steps }) }
    }
}
