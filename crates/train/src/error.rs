//! Why a training run or an evaluation could not be done.

use std::path::{Path, PathBuf};

use engraft_datasets::DatasetError;
use engraft_policies::{CheckpointError, PolicyError, TransformError};

use crate::RecipeError;

/// Why a training run or an evaluation could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe cannot be followed.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data cannot be read.
    #[error("cannot read the demonstrations")]
    Dataset(#[from] DatasetError),
    /// The policy cannot be made.
    #[error("cannot make the policy")]
    Policy(#[from] PolicyError),
    /// An observation does not fit the policy.
    #[error("the data do not fit the policy")]
    Transform(#[from] TransformError),
    /// A checkpoint cannot be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is nothing to learn from.
    #[error("the dataset has no step to {purpose}")]
    Empty {
        /// What the steps were wanted for.
        purpose: &'static str,
    },
    /// A file of the run cannot be read or written.
    #[error("cannot {verb} (path: {path:?})")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the run does not hold what it should.
    #[error("{message} (path: {path:?})")]
    Content {
        /// What is wrong with it.
        message: String,
        /// The file or folder.
        path: PathBuf,
    },
    /// The folder already holds a run.
    #[error(
        "the folder already holds a run at step {step}: continue it or choose another (path: {path:?})"
    )]
    Exists {
        /// The step it has come to.
        step: u64,
        /// The folder.
        path: PathBuf,
    },
    /// There is no run to continue.
    #[error("no run to continue (path: {path:?})")]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The run was begun with something else.
    #[error("the run was begun with another {what}: expected {expected}, found {found}")]
    Resume {
        /// What differs.
        what: &'static str,
        /// What the run was begun with.
        expected: String,
        /// What is there now.
        found: String,
    },
    /// The loss or a gradient is no longer a number.
    #[error(
        "the {what} is not finite at step {step}: lower the learning rate or clip the gradients"
    )]
    Diverged {
        /// The loss or the gradient.
        what: &'static str,
        /// The step.
        step: u64,
    },
    /// Burn's learner stopped.
    #[error("training stopped: {message}")]
    Learner {
        /// What it says.
        message: String,
    },
}

impl TrainError {
    /// For `map_err` on what a file operation returns.
    pub(crate) fn file(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }
}
