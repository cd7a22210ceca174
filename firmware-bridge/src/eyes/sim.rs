//! The embedded simulator's cameras.

use engraft_core::{Environment, RobotSpec, View, ViewSpec};
use engraft_sim::{SimError, SimOptions, Simulator, Split, Task};

use super::{Eyes, EyesError};

/// The embedded simulator's cameras: its world moves as the arm was measured to move.
pub struct SimEyes {
    simulator: Simulator,
    success: bool,
}

impl SimEyes {
    /// Those cameras that a policy with this contract looks through.
    ///
    /// # Errors
    ///
    /// When the simulator has no such cameras.
    pub fn new(task: Task, split: Split, spec: &RobotSpec) -> Result<Self, SimError> {
        let simulator = Simulator::new(task, split, SimOptions::from_spec(spec)?)?;
        Ok(Self { simulator, success: false })
    }
}

impl Eyes for SimEyes {
    fn views(&self) -> &[ViewSpec] {
        &self.simulator.spec().views
    }

    fn task(&self) -> &str {
        self.simulator.task()
    }

    fn begin(&mut self, instance: usize, seed: u64) -> Result<Option<Vec<f32>>, EyesError> {
        self.simulator.reset_blind(instance, seed);
        self.success = false;
        Ok(Some(self.simulator.proprio()))
    }

    fn instance_name(&self, instance: usize) -> String {
        self.simulator.instance_name(instance)
    }

    fn num_instances(&self) -> usize {
        self.simulator.num_instances()
    }

    fn look(&mut self, proprio: &[f32]) -> Result<Vec<View>, EyesError> {
        let transition = self.simulator.step(proprio);
        self.success |= transition.success;
        Ok(transition.observation.views)
    }

    fn success(&self) -> Option<bool> {
        Some(self.success)
    }
}
