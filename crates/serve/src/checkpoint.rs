//! A trained policy as a predictor.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use engraft_core::Observation;
use engraft_policies::{Checkpoint, Features, PolicyInput, Seen};
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
        one(self.predict_many(&[stack], attention)?)
    }

    fn predict_many(
        &mut self,
        stacks: &[&[Observation]],
        attention: bool,
    ) -> Result<Vec<Prediction>, PredictError> {
        predict_many(self, stacks, attention, |_| None)
    }
}

/// A trained policy that remembers what its frozen stream made of the pictures it saw lately.
///
/// A request carries its whole frame stack, and most of it was in the request before. What is
/// remembered changes no bit of an answer; see [`Seen`].
#[derive(Debug)]
pub struct Remembering {
    checkpoint: Checkpoint,
    seen: Seen,
}

impl Remembering {
    /// Remembers up to `budget_bytes` of pictures and their features.
    pub fn new(checkpoint: Checkpoint, budget_bytes: usize) -> Self {
        Self { checkpoint, seen: Seen::new(budget_bytes) }
    }
}

impl Predictor for Remembering {
    fn contract(&self) -> Contract {
        Predictor::contract(&self.checkpoint)
    }

    fn model(&self) -> Model {
        self.checkpoint.model()
    }

    fn predict(
        &mut self,
        stack: &[Observation],
        attention: bool,
    ) -> Result<Prediction, PredictError> {
        one(self.predict_many(&[stack], attention)?)
    }

    fn predict_many(
        &mut self,
        stacks: &[&[Observation]],
        attention: bool,
    ) -> Result<Vec<Prediction>, PredictError> {
        let Self { checkpoint, seen } = self;
        predict_many(checkpoint, stacks, attention, |input| {
            seen.features(&checkpoint.policy, stacks, input)
        })
    }
}

fn one(mut all: Vec<Prediction>) -> Result<Prediction, PredictError> {
    all.pop().ok_or_else(|| PredictError("the policy gave no chunk".into()))
}

/// `features` gives those of the frozen stream, where they are known or it is to say.
fn predict_many(
    checkpoint: &Checkpoint,
    stacks: &[&[Observation]],
    attention: bool,
    features: impl FnOnce(&PolicyInput) -> Option<Vec<Features>>,
) -> Result<Vec<Prediction>, PredictError> {
    let began = Instant::now();
    let mut input = checkpoint.transform.input(stacks, &checkpoint.device()).map_err(told)?;
    let preprocess = began.elapsed();
    input.features = features(&input);
    if attention {
        let all = checkpoint.predict_from(input, stacks).map_err(told)?.into_iter();
        let one = |engraft_policies::Prediction { chunk, attention }| Prediction {
            chunk,
            attention,
            preprocess,
        };
        return Ok(all.map(one).collect());
    }
    let newest: Vec<_> = stacks.iter().filter_map(|stack| stack.last()).collect();
    let output = checkpoint.policy.forward(input);
    let chunks = checkpoint.transform.actions(output, &newest).map_err(told)?;
    let one = |chunk| Prediction { chunk, attention: Vec::new(), preprocess };
    Ok(chunks.into_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use engraft_core::{Dimension, RgbImage, RobotSpec, Stats, View, ViewSpec};
    use engraft_policies::hansen::ConvLayer;
    use engraft_policies::{
        BackboneConfig, FrozenConfig, HansenConfig, PolicyConfig, Provenance, SpawnNetConfig,
        Transform,
    };

    fn checkpoint(config: PolicyConfig, side: usize) -> Checkpoint {
        let view = ViewSpec { name: "front".into(), width: side, height: side, depth: false };
        let spec = RobotSpec {
            name: "arm".into(),
            control_hz: 10.0,
            views: vec![view],
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
        let policy = config.init(&contract, 1, &Device::flex()).unwrap();
        let stats = || Stats::identity(1);
        let transform = Transform::new(contract, stats(), stats()).unwrap();
        Checkpoint::new(config, transform, policy, Provenance::default())
    }

    fn frame(side: usize, seed: usize) -> Observation {
        let pixels = (0..side * side * 3).map(|i| (i * (seed + 3) % 251) as u8).collect();
        let rgb = RgbImage::new(side, side, pixels).unwrap();
        Observation { views: vec![View { rgb, depth: None }], proprio: vec![0.25] }
    }

    #[test]
    fn a_checkpoint_predicts_behind_the_trait_what_it_predicts_itself() {
        let layer = ConvLayer { channels: 4, kernel: 3, stride: 2 };
        let config = HansenConfig { layers: vec![layer; 2], ..HansenConfig::small() };
        let mut checkpoint = checkpoint(PolicyConfig::Hansen(config), 16);
        let stack = vec![frame(16, 0); 2];
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

    #[test]
    fn a_policy_that_remembers_answers_bit_for_bit_what_one_that_does_not_does() {
        let backbone = BackboneConfig { taps: Vec::new(), ..FrozenConfig::r3m(None).backbone };
        let config =
            SpawnNetConfig { channels: 8, adapter_channels: 8, ..SpawnNetConfig::new(backbone) };
        let [mut remembers, mut forgets] = [64 << 20, 0].map(|budget_bytes| {
            let checkpoint = checkpoint(PolicyConfig::SpawnNet(config.clone()), 32);
            Remembering::new(checkpoint, budget_bytes)
        });
        for newest in [1, 2, 3, 3, 1] {
            let stack = [frame(32, newest - 1), frame(32, newest)];
            for attention in [false, true] {
                let [one, other] = [&mut remembers, &mut forgets]
                    .map(|predictor| predictor.predict(&stack, attention).unwrap());
                assert_eq!((&one.chunk, &one.attention), (&other.chunk, &other.attention));
            }
        }
        assert_eq!(remembers.seen.counts(), (20, 4));
    }
}
