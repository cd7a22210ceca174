//! What a policy is worth: on recorded episodes, and in an environment.

mod closed_loop;
mod lane;
mod open_loop;

pub use closed_loop::{
    ClosedLoop, ClosedLoopReport, EpisodeRow, InstanceRow, Lane, closed_loop, episode_plan,
};
pub use open_loop::{DimensionError, OpenLoop, OpenLoopReport, open_loop};

/// Why an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The data cannot be read.
    #[error("cannot read the demonstrations")]
    Dataset(#[from] engraft_datasets::DatasetError),
    /// The policy cannot answer.
    #[error("the policy cannot predict")]
    Predict(#[from] engraft_policies::PredictError),
    /// The robot is not the one that the policy was trained for.
    #[error(transparent)]
    Spec(#[from] engraft_core::SpecError),
    /// What was asked makes no sense.
    #[error("`{option}` needs {expected}, found {found}")]
    Option {
        /// The option.
        option: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl EvalError {
    fn option(option: &'static str, expected: impl Into<String>, found: &dyn ToString) -> Self {
        Self::Option { option, expected: expected.into(), found: found.to_string() }
    }
}
