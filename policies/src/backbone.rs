//! The pretrained stream of a policy: a backbone, and which of its layers are read.

use std::sync::Mutex;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use engraft_backbones::{Architecture, Backbone, Features, Precision, Tap, TapShape, load_named};
use engraft_kernels::{is_cpu, resize};
use serde::{Deserialize, Serialize};

use crate::layers::Init;
use crate::{Contract, Images, PolicyError};

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
    /// How precisely a frozen backbone computes: what a policy is trained on is what it should be
    /// served.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_default(precision: &Precision) -> bool {
    *precision == Precision::default()
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
        self.check_precision(init.device())?;
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
        let network = settle(network, self.fine_tune).with_precision(self.precision);
        Ok(FrozenStream { network, taps, size: self.size, fine_tune: self.fine_tune })
    }

    /// Whether the precision can be had.
    fn check_precision(&self, device: &Device) -> Result<(), PolicyError> {
        if self.precision == Precision::Single {
            Ok(())
        } else if self.fine_tune {
            Err(PolicyError::Int8FineTuned)
        } else if !self.architecture.has_int8() {
            Err(PolicyError::Int8Architecture { architecture: self.architecture })
        } else if is_cpu(device) {
            Ok(())
        } else {
            Err(PolicyError::Int8Device)
        }
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
    pub(crate) fn frozen(
        &self,
        images: &Images,
        prepare: impl Fn(Features) -> Features,
    ) -> Option<Vec<Features>> {
        (!self.fine_tune).then(|| {
            let inputs = self.inputs(&images.clone().inner());
            let features = self.network.frozen_features_of_inputs(inputs, &self.taps);
            features.into_iter().map(prepare).collect()
        })
    }

    /// What `prepare` makes of the features of pictures: what it made earlier where the backbone
    /// is frozen and there is something, and with gradients where it is fine-tuned.
    pub(crate) fn features(
        &self,
        images: &Images,
        earlier: Option<Vec<Features>>,
        prepare: impl Fn(Features) -> Features,
    ) -> Vec<Features> {
        if self.fine_tune {
            let inputs = self.inputs(images);
            let features = self.network.features_of_inputs(inputs, &self.taps);
            return features.into_iter().map(prepare).collect();
        }
        let autodiff = images.device().is_autodiff();
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

    /// Pictures as the network reads them: `[pictures, 3, height, width]`.
    fn inputs(&self, images: &Images) -> Tensor<4> {
        let preprocessing = self.network.preprocessing();
        match self.size {
            Some(side) => preprocessing.normalize(resize(images.numbers(), [side, side])),
            None => images.scaled(None, preprocessing.scaling([0.0, 0.0])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_saved_equals_loaded, contract, input, transform, values};
    use crate::{Checkpoint, FrozenConfig, HansenConfig, PolicyConfig, Provenance};

    fn config(precision: Precision) -> PolicyConfig {
        let mut config = FrozenConfig::pooled(Architecture::MobilenetV2, None);
        config.backbone.precision = precision;
        PolicyConfig::Frozen(config)
    }

    fn refused(config: &PolicyConfig) -> String {
        config.init(&contract(1, 32, 32), 1, &Device::flex()).unwrap_err().to_string()
    }

    #[test]
    fn a_recipe_names_the_precision_and_one_that_does_not_has_single() {
        let read = |text: &str| serde_json::from_str::<BackboneConfig>(text);
        let plain = read(r#"{"architecture":"mobilenet-v2"}"#).unwrap();
        assert_eq!(plain.precision, Precision::Single);
        assert!(!serde_json::to_string(&plain).unwrap().contains("precision"));
        let int8 = read(r#"{"architecture":"mobilenet-v2","precision":"int8"}"#).unwrap();
        assert_eq!(int8.precision, Precision::Int8);
        assert_eq!(read(&serde_json::to_string(&int8).unwrap()).unwrap(), int8);
        let error = read(r#"{"architecture":"mobilenet-v2","precision":"int4"}"#).unwrap_err();
        assert!(error.to_string().contains("`single` or `int8`"), "{error}");
    }

    #[test]
    fn int8_is_refused_where_it_cannot_be() {
        let mut tuned = FrozenConfig::pooled(Architecture::MobilenetV2, None);
        (tuned.backbone.fine_tune, tuned.backbone.precision) = (true, Precision::Int8);
        let error = refused(&PolicyConfig::Frozen(tuned));
        assert!(error.contains("found `fine_tune = true`"), "{error}");
        let mut plain = FrozenConfig::pooled(Architecture::Resnet18, None);
        plain.backbone.precision = Precision::Int8;
        let error = refused(&PolicyConfig::Frozen(plain));
        assert!(error.contains("which resnet18 has not"), "{error}");
        let hansen = PolicyConfig::Hansen(HansenConfig::small());
        let error = hansen.with_precision(Precision::Int8).unwrap_err().to_string();
        assert_eq!(error, "a hansen policy has no backbone whose precision could be another");
    }

    #[test]
    fn a_run_in_int8_is_saved_and_predicts_in_it_unless_asked_otherwise() {
        let (contract, device) = (contract(1, 64, 64), Device::flex());
        let [single, int8] = Precision::ALL.map(config);
        assert_saved_equals_loaded(&int8, &contract);
        let policy = int8.init(&contract, 1, &device).unwrap();
        let run =
            Checkpoint::new(int8.clone(), transform(&contract), policy, Provenance::default());
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("run");
        run.save(&dir).unwrap();
        let act = |run: &Checkpoint| values(run.policy.forward(input(&contract, 2, &device)));
        let open = |precision| Checkpoint::open_in(&dir, &device, precision).unwrap();
        let asked = open(Some(Precision::Single));
        assert_eq!(asked.policy_config, int8, "what the run says of itself");
        let network = asked.policy.backbone().unwrap().network();
        assert_eq!(network.precision(), Precision::Single);
        let expected = single.init(&contract, 1, &device).unwrap();
        let expected = values(expected.forward(input(&contract, 2, &device)));
        assert_eq!(act(&asked), expected);
        let opened = open(None);
        assert_ne!(act(&opened), expected);
        assert_eq!(act(&opened), act(&run));
        assert_eq!(act(&open(None).to_predict()), act(&run), "packed");
        assert_eq!(act(&asked.to_predict()), expected, "packed");
    }
}
