//! A trained policy as a predictor.

use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

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
        let mut all = self.predict_many(&[stack], attention)?;
        all.pop().ok_or_else(|| PredictError("the policy gave no chunk".into()))
    }

    fn predict_many(
        &mut self,
        stacks: &[&[Observation]],
        attention: bool,
    ) -> Result<Vec<Prediction>, PredictError> {
        let began = Instant::now();
        if attention {
            // One call does both here, so all of it counts as the network's time.
            let all = self.predict_detailed(stacks).map_err(told)?.into_iter();
            let one = |engraft_policies::Prediction { chunk, attention }| Prediction {
                chunk,
                attention,
                preprocess: Duration::ZERO,
            };
            return Ok(all.map(one).collect());
        }
        let input = self.transform.input(stacks, &self.device()).map_err(told)?;
        let preprocess = began.elapsed();
        let newest: Vec<_> = stacks.iter().filter_map(|stack| stack.last()).collect();
        let output = self.policy.forward(input);
        let chunks = self.transform.actions(output, &newest).map_err(told)?;
        let one = |chunk| Prediction { chunk, attention: Vec::new(), preprocess };
        Ok(chunks.into_iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use engraft_core::{Dimension, RgbImage, RobotSpec, Stats, View, ViewSpec};
    use engraft_policies::hansen::ConvLayer;
    use engraft_policies::{HansenConfig, PolicyConfig, Provenance, Transform};

    #[test]
    fn a_checkpoint_predicts_behind_the_trait_what_it_predicts_itself() {
        let spec = RobotSpec {
            name: "arm".into(),
            control_hz: 10.0,
            views: vec![ViewSpec { name: "front".into(), width: 16, height: 16, depth: false }],
            proprio: vec![Dimension::new("elbow", "rad")],
            actions: vec![Dimension::new("elbow", "rad")],
        };
        let contract = engraft_policies::Contract {
            spec,
            num_frames: 2,
            horizon: 3,
            use_proprio: true,
            use_depth: false,
            relative_actions: true,
        };
        let layer = ConvLayer { channels: 4, kernel: 3, stride: 2 };
        let config = HansenConfig { layers: vec![layer; 2], ..HansenConfig::small() };
        let config = PolicyConfig::Hansen(config);
        let policy = config.init(&contract, 1, &Device::flex()).unwrap();
        let stats = || Stats::identity(1);
        let transform = Transform::new(contract, stats(), stats()).unwrap();
        let mut checkpoint = Checkpoint::new(config, transform, policy, Provenance::default());

        let view = View { rgb: RgbImage::filled(16, 16, [9, 8, 7]), depth: None };
        let stack = vec![Observation { views: vec![view], proprio: vec![0.25] }; 2];
        let expected = checkpoint.predict(&[&stack]).unwrap();
        for attention in [false, true] {
            let found = Predictor::predict(&mut checkpoint, &stack, attention).unwrap();
            assert_eq!(found.chunk, expected[0]);
            assert!(found.attention.is_empty(), "this policy does not say where it looks");
        }
        let contract = Predictor::contract(&checkpoint);
        assert_eq!((contract.num_frames, contract.horizon), (2, 3));
        let error = Predictor::predict(&mut checkpoint, &stack[..1], false).unwrap_err();
        assert!(error.to_string().contains("frames in a stack"), "{error}");
    }
}
