//! The pretrained stream of a policy: a backbone, and which of its layers are read.

use std::sync::Mutex;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use engraft_backbones::{Architecture, Backbone, Features, Tap, TapShape, load_named};
use engraft_kernels::resize;
use serde::{Deserialize, Serialize};

use crate::layers::Init;
use crate::{Contract, PolicyError};

/// Which backbone, which of its layers, and whether they stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// The network.
    pub architecture: Architecture,
    /// Name of its weights in the manifest (`engraft weights list`). Without it the network keeps
    /// random weights: the control that tells what pretraining is worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The layers read; none means the three of the paper or their like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taps: Vec<Tap>,
    /// Resizes the picture to this many pixels a side for the backbone alone (bilinear). Without
    /// it the backbone sees the picture as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Whether training changes the backbone. Statistics of batch normalization are those of
    /// pretraining either way.
    #[serde(default)]
    pub fine_tune: bool,
}

/// A backbone, and which of its layers are read.
#[derive(Module, Debug)]
pub struct FrozenStream {
    network: Backbone,
    #[module(skip)]
    taps: Vec<Tap>,
    size: Option<usize>,
    fine_tune: bool,
}

impl BackboneConfig {
    /// The layers read.
    pub fn taps(&self) -> Vec<Tap> {
        if self.taps.is_empty() {
            self.architecture.default_taps().to_vec()
        } else {
            self.taps.clone()
        }
    }

    /// Size of the features of `tap` for the pictures of `contract`.
    pub(crate) fn tap_shape(
        &self,
        tap: &Tap,
        contract: &Contract,
    ) -> Result<TapShape, PolicyError> {
        let [height, width] = self.size.map_or(contract.picture(), |side| [side, side]);
        Ok(self.architecture.tap_shape(tap, height, width)?)
    }

    pub(crate) fn init(
        &self,
        taps: Vec<Tap>,
        init: &mut Init,
        pretrained: bool,
    ) -> Result<FrozenStream, PolicyError> {
        let network = match &self.weights {
            _ if !pretrained => self.architecture.init(init.device()),
            Some(name) => load_named(name, init.device())?,
            None => random(self.architecture, init),
        };
        if network.architecture() != self.architecture {
            return Err(PolicyError::Architecture {
                weights: self.weights.clone().unwrap_or_default(),
                expected: self.architecture,
                found: network.architecture(),
            });
        }
        let network = settle(network, self.fine_tune);
        Ok(FrozenStream { network, taps, size: self.size, fine_tune: self.fine_tune })
    }
}

/// A network whose random weights are a function of the seed alone. It draws from the device's
/// generator, and lazily: so the draw is made here, and by one thread at a time.
fn random(architecture: Architecture, init: &mut Init) -> Backbone {
    static DRAWING: Mutex<()> = Mutex::new(());
    struct Draw;
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            drop(param.val());
        }
    }
    let seed = init.next_seed();
    let _alone = DRAWING.lock();
    init.device().seed(seed);
    let network = architecture.init(init.device());
    network.visit(&mut Draw);
    network
}

/// Freezing also switches off whatever behaves differently in training; fine-tuning then brings
/// back the gradients and nothing else.
fn settle(network: Backbone, fine_tune: bool) -> Backbone {
    let network = network.freeze();
    if fine_tune { network.set_require_grad(true) } else { network }
}

impl FrozenStream {
    /// Whether training changes the backbone.
    pub fn fine_tune(&self) -> bool {
        self.fine_tune
    }

    /// The layers read.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// The network.
    pub fn network(&self) -> &Backbone {
        &self.network
    }

    /// The same stream with other weights, or another preprocessing.
    pub(crate) fn map_network(mut self, change: impl FnOnce(Backbone) -> Backbone) -> Self {
        self.network = settle(change(self.network), self.fine_tune);
        self
    }

    /// What `prepare` makes of the features of pictures, without gradients; `None` where the
    /// backbone is fine-tuned.
    ///
    /// # Shapes
    ///
    /// - `images`: `[pictures, 3, height, width]`, 0 to 255
    pub(crate) fn frozen(
        &self,
        images: Tensor<4>,
        prepare: impl Fn(Features) -> Features,
    ) -> Option<Vec<Features>> {
        (!self.fine_tune).then(|| {
            let features = self.network.frozen_features(self.fit(images.inner()), &self.taps);
            features.into_iter().map(prepare).collect()
        })
    }

    /// What `prepare` makes of the features of pictures: what it made earlier where the backbone
    /// is frozen and there is something, and with gradients where it is fine-tuned.
    pub(crate) fn features(
        &self,
        images: Tensor<4>,
        earlier: Option<Vec<Features>>,
        prepare: impl Fn(Features) -> Features,
    ) -> Vec<Features> {
        if self.fine_tune {
            let features = self.network.features(self.fit(images), &self.taps);
            return features.into_iter().map(prepare).collect();
        }
        let autodiff = images.is_autodiff();
        let features = earlier.or_else(|| self.frozen(images, prepare)).unwrap_or_default();
        if !autodiff {
            return features;
        }
        let join = |features: Features| Features {
            map: features.map.autodiff(),
            cls: features.cls.map(Tensor::autodiff),
        };
        features.into_iter().map(join).collect()
    }

    fn fit(&self, images: Tensor<4>) -> Tensor<4> {
        match self.size {
            Some(side) => resize(images, [side, side]),
            None => images,
        }
    }
}
