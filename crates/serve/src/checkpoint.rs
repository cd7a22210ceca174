//! A trained policy as a predictor.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use engraft_core::Observation;
use engraft_policies::Checkpoint;
use engraft_wire::{Contract, Model};

use crate::predictor::{PredictError, Prediction, Predictor};

/// The error and what caused it, in one line.
fn told(error: impl Error) -> PredictError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}"); // a string takes everything
        cause = error.source();
    }
    PredictError(text)
}

impl Predictor for Checkpoint {
    fn contract(&self) -> Contract {
        let contract = &self.contract;
        Contract {
            spec: contract.spec.clone(),
            num_frames: contract.num_frames,
            horizon: contract.horizon,
        }
    }

    fn model(&self) -> Model {
        Model {
            name: self.policy_config.kind().to_owned(),
            hash: self.hash().unwrap_or("unsaved").to_owned(),
        }
    }

    fn predict(
        &mut self,
        stack: &[Observation],
        attention: bool,
    ) -> Result<Prediction, PredictError> {
        let none = || PredictError("the policy gave no chunk".into());
        let began = Instant::now();
        if attention {
            let mut all = self.predict_detailed(&[stack]).map_err(told)?;
            let engraft_policies::Prediction { chunk, attention } = all.pop().ok_or_else(none)?;
            return Ok(Prediction { chunk, attention, preprocess: std::time::Duration::ZERO });
        }
        let input = self.transform.input(&[stack], &self.device()).map_err(told)?;
        let preprocess = began.elapsed();
        let newest = stack.last().ok_or_else(none)?;
        let output = self.policy.forward(input);
        let mut chunks = self.transform.actions(output, &[newest]).map_err(told)?;
        let chunk = chunks.pop().ok_or_else(none)?;
        Ok(Prediction { chunk, attention: Vec::new(), preprocess })
    }
}
