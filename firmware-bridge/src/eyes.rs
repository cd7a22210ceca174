//! What sees for the arm: cameras, whatever they are.

mod sim;

use engraft_core::{View, ViewSpec};

pub use sim::SimEyes;

/// Why nothing can be seen. An arm whose policy is blind comes to rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EyesError {}

/// Cameras around an arm, and whoever can tell whether the task is done.
pub trait Eyes {
    /// The cameras, in order.
    fn views(&self) -> &[ViewSpec];

    /// The task in words.
    fn task(&self) -> &str;

    /// Prepares an episode; where the arm should stand when it begins, in the policy's units, if
    /// that matters.
    ///
    /// # Errors
    ///
    /// When nothing can be seen.
    fn begin(&mut self, instance: usize, seed: u64) -> Result<Option<Vec<f32>>, EyesError>;

    /// An instance's name.
    fn instance_name(&self, instance: usize) -> String;

    /// How many instances there are.
    fn num_instances(&self) -> usize;

    /// What is seen now, with the arm where `proprio` says, one control period after the last
    /// look.
    ///
    /// # Errors
    ///
    /// When a camera says nothing, or nothing new.
    fn look(&mut self, proprio: &[f32]) -> Result<Vec<View>, EyesError>;

    /// Whether the task is done, where somebody can tell.
    fn success(&self) -> Option<bool>;
}
