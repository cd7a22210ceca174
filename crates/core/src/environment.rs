//! Something a policy can act in: the simulator, or a robot behind the same four verbs.

use crate::{Observation, RobotSpec};

/// What one action led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// What is sensed now.
    pub observation: Observation,
    /// Whether the task was achieved at this or an earlier step of the episode.
    pub success: bool,
}

/// A task in closed loop, in several instances, each resettable by seed.
pub trait Environment {
    /// What is sensed and accepted.
    fn spec(&self) -> &RobotSpec;

    /// The task in words.
    fn task(&self) -> &str;

    /// Number of instances; `reset` takes any index below it.
    fn num_instances(&self) -> usize;

    /// Name of an instance.
    fn instance_name(&self, instance: usize) -> String;

    /// Steps after which an episode ends without success.
    fn max_steps(&self) -> usize;

    /// Begins an episode: the same instance and seed always begin the same one.
    fn reset(&mut self, instance: usize, seed: u64) -> Observation;

    /// Plays one action in physical units for one control period.
    fn step(&mut self, action: &[f32]) -> Transition;

    /// [`step`](Self::step) where nobody looks: says only whether the task was achieved, so that
    /// a simulator need not draw.
    fn advance(&mut self, action: &[f32]) -> bool {
        self.step(action).success
    }
}
