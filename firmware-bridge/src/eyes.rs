//! What sees for the arm: cameras, whatever they are.

use engraft_core::{Environment, RobotSpec, View, ViewSpec};
use engraft_sim::{SimError, SimOptions, Simulator, Split, Task};

/// Cameras around an arm, and whoever can tell whether the task is done.
pub trait Eyes {
    /// The cameras, in order.
    fn views(&self) -> &[ViewSpec];

    /// The task in words.
    fn task(&self) -> &str;

    /// Prepares an episode; where the arm should stand when it begins, in the policy's units, if
    /// that matters.
    fn begin(&mut self, instance: usize, seed: u64) -> Option<Vec<f32>>;

    /// An instance's name.
    fn instance_name(&self, instance: usize) -> String;

    /// How many instances there are.
    fn num_instances(&self) -> usize;

    /// What is seen now, with the arm where `proprio` says, one control period after the last
    /// look.
    fn look(&mut self, proprio: &[f32]) -> Vec<View>;

    /// Whether the task is done, where somebody can tell.
    fn success(&self) -> Option<bool>;
}

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

    fn begin(&mut self, instance: usize, seed: u64) -> Option<Vec<f32>> {
        self.simulator.reset_blind(instance, seed);
        self.success = false;
        Some(self.simulator.proprio())
    }

    fn instance_name(&self, instance: usize) -> String {
        self.simulator.instance_name(instance)
    }

    fn num_instances(&self) -> usize {
        self.simulator.num_instances()
    }

    fn look(&mut self, proprio: &[f32]) -> Vec<View> {
        let transition = self.simulator.step(proprio);
        self.success |= transition.success;
        transition.observation.views
    }

    fn success(&self) -> Option<bool> {
        Some(self.success)
    }
}
