//! What a server asks for a chunk.

use std::time::Duration;

use engraft_core::{ActionChunk, AttentionMap, Observation};
use engraft_wire::{Contract, Model};

/// What comes of one frame stack.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The actions, in physical units.
    pub chunk: ActionChunk,
    /// Where the policy looked, when asked for and known.
    pub attention: Vec<AttentionMap>,
    /// How long it took to turn observations into what the network takes, where that is known;
    /// the rest counts as the network's time.
    pub preprocess: Duration,
}

/// Why there is no chunk.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PredictError(pub String);

/// Something that turns frame stacks into chunks; a policy, or a stand-in for one.
pub trait Predictor: Send + 'static {
    /// What it takes and gives.
    fn contract(&self) -> Contract;

    /// What it is called.
    fn model(&self) -> Model;

    /// Predicts a chunk from a stack that keeps the contract, oldest observation first.
    ///
    /// # Errors
    ///
    /// When it cannot; a panic is caught and counts as one.
    fn predict(
        &mut self,
        stack: &[Observation],
        attention: bool,
    ) -> Result<Prediction, PredictError>;

    /// Predicts a chunk from each of several stacks, for policies that are quicker together.
    ///
    /// # Errors
    ///
    /// As [`predict`](Self::predict), for all of them.
    fn predict_many(
        &mut self,
        stacks: &[&[Observation]],
        attention: bool,
    ) -> Result<Vec<Prediction>, PredictError> {
        stacks.iter().map(|stack| self.predict(stack, attention)).collect()
    }
}
