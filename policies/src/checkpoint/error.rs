//! What can go wrong with a run.

use std::path::PathBuf;

use engraft_backbones::WeightsError;

use super::FORMAT;
use crate::{PolicyError, TransformError};

/// Why a folder could not become a checkpoint, or the other way round.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// No such folder, or not a run.
    #[error("not a run, it has no file `{missing}` (path: {path:?})")]
    NotARun {
        /// The file missing.
        missing: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// Written by a version that this one does not know.
    #[error("the run has format {found}, this engraft reads {FORMAT} (path: {path:?})")]
    Format {
        /// The format found.
        found: u32,
        /// The folder.
        path: PathBuf,
    },
    /// A file's bytes are not those that were written.
    #[error(
        "`{file}` was changed or damaged: expected sha256 {expected}, found {found} (path: {path:?})"
    )]
    Hash {
        /// The file.
        file: &'static str,
        /// Its hash when it was written.
        expected: String,
        /// Its hash now.
        found: String,
        /// The folder.
        path: PathBuf,
    },
    /// Not the JSON of this file.
    #[error("cannot read `{file}`: {message} (path: {path:?})")]
    Json {
        /// The file.
        file: &'static str,
        /// What is wrong, and where.
        message: String,
        /// The folder.
        path: PathBuf,
    },
    /// Something else lies where the run should go.
    #[error("refusing to replace a folder that is not a run (path: {path:?})")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The weights are not those of the config.
    #[error("the weights do not fit the config (path: {path:?})")]
    Weights {
        /// Which tensors.
        source: WeightsError,
        /// The folder.
        path: PathBuf,
    },
    /// The weights could not be written.
    #[error("cannot write the weights: {message} (path: {path:?})")]
    WriteWeights {
        /// Why.
        message: String,
        /// The file.
        path: PathBuf,
    },
    /// The config makes no policy.
    #[error("the run's config makes no policy")]
    Policy(#[from] PolicyError),
    /// The statistics do not fit the contract.
    #[error("the run's statistics do not fit its robot")]
    Transform(#[from] TransformError),
    /// The file system said no.
    #[error("cannot {action} (path: {path:?})")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
