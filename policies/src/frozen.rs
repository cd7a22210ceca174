//! The control: a head on one frozen feature, nothing learned between.
//!
//! Source: the baselines in the public code of SpawnNet (Lin et al. 2023, arXiv:2307.03567),
//! which are [`FrozenConfig::dino`], [`FrozenConfig::mvp`] and [`FrozenConfig::r3m`]. Differs in:
//! the backbone's own batch normalization stays frozen while training, where the reference's
//! drifts; the keys of a class token are in the order of their heads.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::Tensor;
use engraft_backbones::{Architecture, Facet, Features, Precision, Tap};
use serde::{Deserialize, Serialize};

use crate::backbone::{BackboneConfig, FrozenStream};
use crate::head::{Head, HeadConfig};
use crate::layers::{Init, append, interleave, unit_norm};
use crate::spawnnet::mean_of;
use crate::{Contract, Images, PolicyError, PolicyInput};

/// Which feature a [`Frozen`] reads and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenConfig {
    /// The pretrained stream. It has one tap; without one it is the last of the usual three.
    pub backbone: BackboneConfig,
    /// How a map of features becomes one.
    pub pool: Pool,
    /// What is done to the feature.
    #[serde(default)]
    pub scaling: Scaling,
    /// Where proprio stands among the features.
    #[serde(default)]
    pub proprio: ProprioPlace,
    /// The action head.
    #[serde(default)]
    pub head: HeadConfig,
}

/// How a map of features becomes one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The class token.
    Cls,
    /// The mean over all places.
    Mean,
}

/// What is done to a feature before the head reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// Nothing.
    #[default]
    None,
    /// It is divided by its length.
    UnitLength,
    /// A batch normalization, which is learned.
    BatchNorm,
}

/// Where proprio stands among the features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProprioPlace {
    /// All frames once, at the end.
    #[default]
    End,
    /// After the feature of every picture, as the reference's DINO and MVP have it.
    PerPicture,
    /// All frames at the end, repeated for every view, as the reference's R3M has it.
    PerViewAtEnd,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Frozen {
    pub(crate) backbone: FrozenStream,
    batch_norm: Option<BatchNorm>,
    pub(crate) head: Head,
    #[module(skip)]
    pool: Pool,
    #[module(skip)]
    scaling: Scaling,
    #[module(skip)]
    proprio: ProprioPlace,
    use_proprio: bool,
}

impl FrozenConfig {
    /// The reference's DINO baseline: the keys of the class token in the tenth block.
    pub fn dino(weights: Option<String>) -> Self {
        Self::cls(Architecture::DinoVits8, Tap::new(Facet::Key, 9), weights)
    }

    /// The reference's MVP baseline: the class token after the last block.
    pub fn mvp(weights: Option<String>) -> Self {
        Self::cls(Architecture::MaeVitb16, Tap::new(Facet::Token, 11), weights)
    }

    /// The reference's R3M baseline: the pooled features of a ResNet-50.
    pub fn r3m(weights: Option<String>) -> Self {
        Self {
            scaling: Scaling::BatchNorm,
            proprio: ProprioPlace::PerViewAtEnd,
            ..Self::pooled(Architecture::Resnet50, weights)
        }
    }

    /// The pooled last features of any backbone.
    pub fn pooled(architecture: Architecture, weights: Option<String>) -> Self {
        let taps = architecture.default_taps()[2..].to_vec();
        Self {
            backbone: BackboneConfig {
                architecture,
                weights,
                taps,
                size: None,
                fine_tune: false,
                precision: Precision::Single,
            },
            pool: Pool::Mean,
            scaling: Scaling::None,
            proprio: ProprioPlace::End,
            head: HeadConfig::default(),
        }
    }

    fn cls(architecture: Architecture, tap: Tap, weights: Option<String>) -> Self {
        let mut config = Self::pooled(architecture, weights);
        config.backbone.taps = vec![tap];
        (config.pool, config.scaling) = (Pool::Cls, Scaling::UnitLength);
        config.proprio = ProprioPlace::PerPicture;
        config
    }

    pub(crate) fn init(
        &self,
        contract: &Contract,
        init: &mut Init,
        pretrained: bool,
    ) -> Result<Frozen, PolicyError> {
        let mut taps = self.backbone.taps();
        if self.backbone.taps.is_empty() {
            taps = taps.split_off(taps.len() - 1);
        }
        let [tap] = taps[..] else {
            return Err(PolicyError::TapCount { expected: "1", found: taps.len() });
        };
        let shape = self.backbone.tap_shape(&tap, contract)?;
        if self.pool == Pool::Cls && !shape.has_cls {
            return Err(PolicyError::NoClassToken { tap });
        }
        let (pictures, views) = (contract.num_pictures(), contract.spec.num_views());
        let state = contract.spec.proprio_dim();
        let proprio = match self.proprio {
            ProprioPlace::End => contract.num_frames * state,
            ProprioPlace::PerPicture | ProprioPlace::PerViewAtEnd => {
                contract.num_frames * views * state
            }
        };
        let batch_norm = (self.scaling == Scaling::BatchNorm)
            .then(|| BatchNormConfig::new(shape.channels).init(init.device()));
        let head = self.head.init(init, pictures * shape.channels + proprio, contract)?;
        let backbone = self.backbone.init(taps, init, pretrained)?;
        Ok(Frozen {
            backbone,
            batch_norm,
            head,
            pool: self.pool,
            scaling: self.scaling,
            proprio: self.proprio,
            use_proprio: contract.use_proprio,
        })
    }
}

impl Frozen {
    /// Predicts one normalized chunk per sample.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, horizon, action_dim]`
    pub fn forward(&self, input: PolicyInput) -> Tensor<3> {
        let [batch, frames, views, ..] = input.dims();
        let prepare = |features| self.prepare(features);
        let features = self.backbone.features(&input.rgb, input.features, prepare);
        let x = features.into_iter().next().expect("a frozen policy has one tap").map;
        let x = x.flatten::<2>(1, 3); // [pictures, channels]
        let x = match (self.scaling, &self.batch_norm) {
            (Scaling::UnitLength, _) => unit_norm(x, 1),
            (Scaling::BatchNorm, Some(norm)) => norm.forward(x),
            _ => x,
        };
        let [pictures, channels] = x.dims();
        let proprio = input.proprio;
        let proprio = if self.use_proprio { proprio } else { proprio.zeros_like() };
        let [_, _, state] = proprio.dims();
        let per_view = |proprio: Tensor<3>| {
            let every = proprio.unsqueeze_dim::<4>(2).expand([batch, frames, views, state]);
            every.reshape([batch, frames * views, state])
        };
        let x = match self.proprio {
            ProprioPlace::PerPicture => {
                let x = x.reshape([batch, pictures / batch, channels]);
                interleave(x, if state == 0 { proprio } else { per_view(proprio) })
            }
            place => {
                let x = x.reshape([batch, pictures / batch * channels]);
                let repeat = place == ProprioPlace::PerViewAtEnd && state > 0;
                append(x, if repeat { per_view(proprio) } else { proprio })
            }
        };
        self.head.forward(x)
    }

    /// See [`Policy::frozen_features`](crate::Policy::frozen_features).
    pub(crate) fn frozen_features(&self, images: &Images) -> Option<Vec<Features>> {
        self.backbone.frozen(images, |features| self.prepare(features))
    }

    /// The one feature that is read, at a single place: `[pictures, channels, 1, 1]`.
    fn prepare(&self, features: Features) -> Features {
        let feature = match (self.pool, features.cls) {
            (Pool::Cls, Some(cls)) => cls,
            _ => mean_of(features.map),
        };
        Features { map: feature.unsqueeze_dims(&[2, 3]), cls: None }
    }
}

#[cfg(test)]
mod tests {
    use burn::optim::GradientsParams;
    use burn::tensor::Device;
    use engraft_core::Dimension;

    use super::*;
    use crate::testing::{self, assert_saved_equals_loaded, contract, memorize, values};
    use crate::{Policy, PolicyConfig};

    fn small(scaling: Scaling, fine_tune: bool) -> PolicyConfig {
        let mut config = FrozenConfig::pooled(Architecture::Resnet18, None);
        config.backbone.taps = vec!["layer_2".parse().unwrap()];
        config.backbone.fine_tune = fine_tune;
        config.scaling = scaling;
        config.head = HeadConfig { hidden: vec![32], bounds: None };
        PolicyConfig::Frozen(config)
    }

    /// Width of what the head reads, for the reference's arm and for its simulator.
    fn published(config: &FrozenConfig) -> [usize; 2] {
        [(4, 2, 7), (1, 3, 49)].map(|(frames, views, state)| {
            let mut contract = contract(frames, 224, 224);
            contract.spec.proprio = vec![Dimension::new("state", ""); state];
            let view = contract.spec.views[0].clone();
            contract.spec.views.resize(views, view);
            let mut init = Init::new(1, &Device::flex());
            let policy = config.init(&contract, &mut init, false).unwrap();
            policy.head.trunk()[0].weight.lazy_shape()[0]
        })
    }

    #[test]
    fn widths_are_those_of_the_reference() {
        assert_eq!(published(&FrozenConfig::dino(None)), [3128, 1299]);
        assert_eq!(published(&FrozenConfig::r3m(None)), [16_440, 6_291]);
        assert_eq!(published(&FrozenConfig::mvp(None)), [(768 + 7) * 8, (768 + 49) * 3]);
    }

    #[test]
    fn shapes_hold_for_every_scaling_and_every_place_of_proprio() {
        let device = Device::flex();
        let contract = contract(2, 32, 40);
        let places = [ProprioPlace::End, ProprioPlace::PerPicture, ProprioPlace::PerViewAtEnd];
        let scalings = [Scaling::None, Scaling::UnitLength, Scaling::BatchNorm];
        for (proprio, scaling) in places.into_iter().zip(scalings) {
            let PolicyConfig::Frozen(config) = small(scaling, false) else { return };
            let config = PolicyConfig::Frozen(FrozenConfig { proprio, ..config });
            let policy = config.init(&contract, 1, &device).unwrap();
            let input = testing::input(&contract, 3, &device);
            let features = policy.frozen_features(&input.rgb);
            let earlier = PolicyInput { features, ..input.clone() };
            let (now, earlier) = (policy.forward(input), policy.forward(earlier));
            assert_eq!(now.dims(), [3, 4, 2]);
            assert_eq!(values(now), values(earlier));
        }
    }

    #[test]
    fn a_class_token_is_asked_only_of_a_network_that_has_one() {
        let mut config = FrozenConfig::pooled(Architecture::Resnet18, None);
        config.pool = Pool::Cls;
        let error = PolicyConfig::Frozen(config).init(&contract(1, 32, 32), 1, &Device::flex());
        let message = error.unwrap_err().to_string();
        assert_eq!(message, "tap `layer_4` has no class token, pool its map instead");
    }

    /// Parameters of the backbone that one step gives a gradient, and whether the features of a
    /// picture are other ones after three steps.
    fn what_learning_does(fine_tune: bool) -> (usize, bool) {
        let (contract, device) = (contract(1, 32, 32), Device::flex().autodiff());
        let config = small(Scaling::BatchNorm, fine_tune);
        let policy = config.init(&contract, 3, &device).unwrap();
        let input = testing::input(&contract, 2, &device);
        let grads = policy.forward(input.clone()).square().mean().backward();
        let network = policy.backbone().unwrap().network();
        let reached = GradientsParams::from_grads(grads, network).len();

        let (trained, ..) = memorize(&config, &contract, 3);
        let features = |policy: &Policy| {
            let images = input.rgb.clone().inner().numbers();
            let stream = policy.backbone().unwrap();
            let features = stream.network().frozen_features(images, stream.taps());
            values(features[0].map.clone())
        };
        (reached, features(&policy) != features(&trained))
    }

    #[test]
    fn a_frozen_backbone_stays_and_a_fine_tuned_one_learns() {
        assert_eq!(what_learning_does(false), (0, false));
        let (reached, changed) = what_learning_does(true);
        assert!(reached > 5 && changed, "{reached} {changed}");
    }

    #[test]
    fn a_fine_tuned_backbone_is_not_precomputed() {
        let contract = contract(1, 32, 32);
        let frozen = small(Scaling::None, false).init(&contract, 1, &Device::flex()).unwrap();
        let tuned = small(Scaling::None, true).init(&contract, 1, &Device::flex()).unwrap();
        assert!(
            tuned
                .frozen_features(&Tensor::<4>::zeros([1, 3, 32, 32], &Device::flex()).into())
                .is_none()
        );
        let backbone = frozen.backbone().unwrap().network().num_params();
        assert_eq!(tuned.num_learned_params() - frozen.num_learned_params(), backbone);
    }

    #[test]
    fn one_batch_is_memorized() {
        let config = small(Scaling::BatchNorm, false);
        let (_, first, last) = memorize(&config, &contract(1, 32, 32), 60);
        assert!(last < 0.05 * first, "{first} to {last}");
    }

    #[test]
    fn saved_equals_loaded_whether_frozen_or_fine_tuned() {
        assert_saved_equals_loaded(&small(Scaling::BatchNorm, false), &contract(2, 32, 40));
        assert_saved_equals_loaded(&small(Scaling::UnitLength, true), &contract(1, 32, 32));
    }
}
