//! Arms: one file per way to move one.

pub mod dynamixel;
pub mod feetech;
mod sim;
pub mod xarm;

use std::sync::Arc;

use engraft_core::{Observation, RobotSpec};

pub use sim::SimArm;

use crate::limits::DimensionLimits;

/// Why an arm failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArmError {
    /// It does not have what an episode asks for.
    #[error("instance {found} does not exist, there are {num_instances}")]
    Instance {
        /// How many there are.
        num_instances: usize,
        /// What was asked for.
        found: usize,
    },
    /// It was not prepared for an episode.
    #[error("the arm senses nothing before an episode begins")]
    NotBegun,
    /// It does not take such an action.
    #[error("an action has {expected} dimension(s), found {found}")]
    Action {
        /// What it takes.
        expected: usize,
        /// What came.
        found: usize,
    },
}

/// Something that senses and moves.
pub trait Arm {
    /// What it senses and accepts.
    fn spec(&self) -> &RobotSpec;

    /// The task in words.
    fn task(&self) -> &str;

    /// What each action dimension may do at most.
    fn limits(&self) -> Vec<DimensionLimits>;

    /// Instances of the task, for `instance_name` and `begin`.
    fn num_instances(&self) -> usize;

    /// An instance's name.
    fn instance_name(&self, instance: usize) -> String;

    /// Periods after which an episode is over.
    fn max_steps(&self) -> usize;

    /// Prepares an episode.
    ///
    /// # Errors
    ///
    /// When there is no such instance or the arm fails.
    fn begin(&mut self, instance: usize, seed: u64) -> Result<(), ArmError>;

    /// What is sensed now.
    ///
    /// # Errors
    ///
    /// When the arm fails.
    fn sense(&mut self) -> Result<Arc<Observation>, ArmError>;

    /// Sends one set-point.
    ///
    /// # Errors
    ///
    /// When the arm fails.
    fn apply(&mut self, action: &[f32]) -> Result<(), ArmError>;

    /// Whether the task is achieved, where somebody can tell.
    fn success(&self) -> Option<bool>;
}
