//! Policies: frame stacks in, action chunks out. One file per policy.
//!
//! A [`PolicyConfig`] says which policy, a [`Contract`] for which robot; together they make a
//! [`Policy`]. A [`Transform`] turns observations into its input and its output into actions, and
//! a [`Checkpoint`] is all of them at rest in one folder.
//!
//! | kind | file | what is learned |
//! | --- | --- | --- |
//! | `spawn-net` | [`spawnnet`] | a conv stream into which frozen features are fused at three depths |
//! | `lfs` | [`lfs`] | an IMPALA-style network, from scratch |
//! | `hansen` | [`hansen`] | a shallow ConvNet, from scratch |
//! | `frozen` | [`frozen`] | a head on one frozen feature: the control |

mod backbone;
pub mod checkpoint;
mod contract;
pub mod frozen;
pub mod hansen;
pub mod head;
mod images;
pub mod import;
mod layers;
pub mod lfs;
pub mod predict;
mod seen;
pub mod spawnnet;
pub mod transform;

#[cfg(test)]
mod testing;

use burn::module::{Module, ParamId, list_param_ids};
use burn::tensor::{Device, Tensor};
use engraft_backbones::Backbone;
pub use engraft_backbones::{Features, Precision, Tap};
use serde::{Deserialize, Serialize};

pub use backbone::{BackboneConfig, FrozenStream};
pub use checkpoint::{Checkpoint, CheckpointError, Provenance};
pub use contract::{Contract, PolicyError};
pub use frozen::{Frozen, FrozenConfig};
pub use hansen::{Hansen, HansenConfig};
pub use head::{Head, HeadConfig};
pub use images::Images;
pub use import::{ImportError, ImportOptions, import_spawnnet};
pub use lfs::{Lfs, LfsConfig};
pub use predict::{PredictError, Prediction, predict_file};
pub use seen::Seen;
pub use spawnnet::{ChannelMask, Fusion, SpawnNet, SpawnNetConfig, Tokens};
pub use transform::{Transform, TransformError};

/// Which policy, and its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PolicyConfig {
    /// Frozen features fused into a learned stream.
    SpawnNet(SpawnNetConfig),
    /// The IMPALA-style network, from scratch.
    Lfs(LfsConfig),
    /// A shallow ConvNet, from scratch.
    Hansen(HansenConfig),
    /// A head on one frozen feature.
    Frozen(FrozenConfig),
}

/// A policy of any kind. A new kind is a compile error at each `match`, not a hunt.
#[derive(Module, Debug)]
pub enum Policy {
    /// Frozen features fused into a learned stream.
    SpawnNet(SpawnNet),
    /// The IMPALA-style network, from scratch.
    Lfs(Lfs),
    /// A shallow ConvNet, from scratch.
    Hansen(Hansen),
    /// A head on one frozen feature.
    Frozen(Frozen),
}

/// What a policy sees.
#[derive(Debug, Clone)]
pub struct PolicyInput {
    /// Pictures of `batch * frames * views`, the views of a frame one after another.
    pub rgb: Images,
    /// Depth in metres: `[batch, frames, views, 1, height, width]`. A policy that uses depth
    /// reads a missing one as zeros.
    pub depth: Option<Tensor<6>>,
    /// Normalized proprio: `[batch, frames, proprio_dim]`.
    pub proprio: Tensor<3>,
    /// What [`Policy::frozen_features`] made of the pictures earlier, one entry per tap, each of
    /// `batch * frames * views` pictures. `None` computes them here.
    pub features: Option<Vec<Features>>,
}

impl PolicyInput {
    /// Batch, frames, views, height and width.
    pub fn dims(&self) -> [usize; 5] {
        let ([batch, frames, _], [height, width]) = (self.proprio.dims(), self.rgb.size());
        [batch, frames, self.rgb.count() / (batch * frames).max(1), height, width]
    }
}

/// Where a policy looked.
#[derive(Debug, Clone)]
pub struct AttentionTensors {
    /// `[batch, frames, views, taps, height, width]`; each map sums to one.
    pub maps: Tensor<6>,
    /// The tap of each map.
    pub taps: Vec<Tap>,
}

impl PolicyConfig {
    /// Builds the policy on `device`, with weights drawn from `seed`.
    ///
    /// A backbone with named weights is read from the cache, and frozen unless its config says
    /// otherwise.
    ///
    /// # Errors
    ///
    /// When the config and the contract do not fit each other, or weights cannot be read.
    pub fn init(
        &self,
        contract: &Contract,
        seed: u64,
        device: &Device,
    ) -> Result<Policy, PolicyError> {
        self.build(contract, seed, device, true)
    }

    /// The same without reading a backbone's weights, for a policy whose weights a file replaces.
    pub(crate) fn build(
        &self,
        contract: &Contract,
        seed: u64,
        device: &Device,
        pretrained: bool,
    ) -> Result<Policy, PolicyError> {
        contract.validate()?;
        let mut init = layers::Init::new(seed, device);
        Ok(match self {
            Self::SpawnNet(config) => {
                Policy::SpawnNet(config.init(contract, &mut init, pretrained)?)
            }
            Self::Lfs(config) => Policy::Lfs(config.init(contract, &mut init)?),
            Self::Hansen(config) => Policy::Hansen(config.init(contract, &mut init)?),
            Self::Frozen(config) => Policy::Frozen(config.init(contract, &mut init, pretrained)?),
        })
    }

    /// The pretrained network that the policy rests on, if it does.
    pub fn backbone(&self) -> Option<&BackboneConfig> {
        match self {
            Self::SpawnNet(config) => Some(&config.backbone),
            Self::Frozen(config) => Some(&config.backbone),
            Self::Lfs(_) | Self::Hansen(_) => None,
        }
    }

    /// The same policy with its backbone computing in `precision`.
    ///
    /// # Errors
    ///
    /// When it has no backbone.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self, PolicyError> {
        match &mut self {
            Self::SpawnNet(config) => config.backbone.precision = precision,
            Self::Frozen(config) => config.backbone.precision = precision,
            Self::Lfs(_) | Self::Hansen(_) => {
                return Err(PolicyError::NoBackbone { kind: self.kind() });
            }
        }
        Ok(self)
    }

    /// The kind, as a config file writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SpawnNet(_) => "spawn-net",
            Self::Lfs(_) => "lfs",
            Self::Hansen(_) => "hansen",
            Self::Frozen(_) => "frozen",
        }
    }
}

impl Policy {
    /// Predicts one normalized chunk per sample.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, horizon, action_dim]`
    pub fn forward(&self, input: PolicyInput) -> Tensor<3> {
        match self {
            Self::SpawnNet(policy) => policy.forward(input),
            Self::Lfs(policy) => policy.forward(&input),
            Self::Hansen(policy) => policy.forward(&input),
            Self::Frozen(policy) => policy.forward(input),
        }
    }

    /// [`forward`](Self::forward), and where the policy looked if it has a way to say.
    pub fn forward_with_attention(
        &self,
        input: PolicyInput,
    ) -> (Tensor<3>, Option<AttentionTensors>) {
        match self {
            Self::SpawnNet(policy) => {
                let (actions, attention) = policy.forward_with_attention(input);
                (actions, Some(attention))
            }
            Self::Lfs(_) | Self::Hansen(_) | Self::Frozen(_) => (self.forward(input), None),
        }
    }

    /// Where the policy looks, if it has a way to say.
    pub fn attention(&self, input: PolicyInput) -> Option<AttentionTensors> {
        match self {
            Self::SpawnNet(policy) => Some(policy.forward_with_attention(input).1),
            Self::Lfs(_) | Self::Hansen(_) | Self::Frozen(_) => None,
        }
    }

    /// The frozen part of the work, without gradients: what [`PolicyInput::features`] takes and a
    /// cache may keep. Features are scaled and pooled as far as nothing is learned, and hold no
    /// class token. `None` where nothing is frozen, fine-tuning included.
    pub fn frozen_features(&self, images: &Images) -> Option<Vec<Features>> {
        match self {
            Self::SpawnNet(policy) => policy.frozen_features(images),
            Self::Frozen(policy) => policy.frozen_features(images),
            Self::Lfs(_) | Self::Hansen(_) => None,
        }
    }

    /// The action head.
    pub fn head(&self) -> &Head {
        match self {
            Self::SpawnNet(policy) => &policy.head,
            Self::Lfs(policy) => &policy.head,
            Self::Hansen(policy) => &policy.head,
            Self::Frozen(policy) => &policy.head,
        }
    }

    /// The pretrained stream, if there is one.
    pub fn backbone(&self) -> Option<&FrozenStream> {
        match self {
            Self::SpawnNet(policy) => Some(&policy.backbone),
            Self::Frozen(policy) => Some(&policy.backbone),
            Self::Lfs(_) | Self::Hansen(_) => None,
        }
    }

    /// The same policy on another pretrained network, or on the same one changed.
    pub(crate) fn map_network(self, change: impl FnOnce(Backbone) -> Backbone) -> Self {
        match self {
            Self::SpawnNet(mut policy) => {
                policy.backbone = policy.backbone.map_network(change);
                Self::SpawnNet(policy)
            }
            Self::Frozen(mut policy) => {
                policy.backbone = policy.backbone.map_network(change);
                Self::Frozen(policy)
            }
            other @ (Self::Lfs(_) | Self::Hansen(_)) => other,
        }
    }

    /// The same policy, to predict with and nothing else: weights that are read as they lie in no
    /// order but the kernels' are held in that alone (see [`fixed::packed`]).
    ///
    /// [`fixed::packed`]: engraft_kernels::fixed::packed
    pub(crate) fn packed(self) -> Self {
        match self.map_network(Backbone::packed) {
            Self::SpawnNet(mut policy) => {
                policy.conv = policy.conv.packed();
                Self::SpawnNet(policy)
            }
            Self::Lfs(mut policy) => {
                policy.conv = policy.conv.packed();
                Self::Lfs(policy)
            }
            other @ (Self::Hansen(_) | Self::Frozen(_)) => other,
        }
    }

    /// Parameters of the head's layers: what the paper's clipping is applied to.
    pub fn head_param_ids(&self) -> Vec<ParamId> {
        self.head().trunk().iter().flat_map(list_param_ids).collect()
    }

    /// Number of parameters that training changes; the head's bounds and what is frozen are not
    /// among them.
    pub fn num_learned_params(&self) -> usize {
        let frozen = self.backbone().filter(|stream| !stream.fine_tune());
        self.num_params() - frozen.map_or(0, Module::num_params) - self.head().num_constants()
    }
}
