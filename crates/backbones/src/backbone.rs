//! A network with weights.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::inverted::InvertedResidualNet;
use crate::resnet::Resnet;
use crate::vit::Vit;
use crate::{Architecture, Features, NamedTensors, Precision, Preprocessing, Tap, WeightsError};

/// A vision network of any kind.
// A policy holds one backbone, so the size of the largest variant costs nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Backbone {
    /// EfficientNet-Lite and `MobileNetV2`.
    Inverted(InvertedResidualNet),
    /// The `ResNets`.
    Resnet(Resnet),
    /// The vision transformers.
    Vit(Vit),
}

impl Backbone {
    /// Reads a `.pth`, `.pt`, `.ckpt` or `.safetensors` file into a network.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or when it does not hold exactly this architecture: a
    /// tensor that is missing, left over or of the wrong shape is named.
    pub fn load(
        architecture: Architecture,
        path: &Path,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        Self::from_tensors(architecture, NamedTensors::read(path)?, device)
    }

    /// Fills a network with tensors that are named as the reference names them (or as this
    /// crate saves them). The common prefix of a wrapper (`module.`, `vit.`) is taken off.
    ///
    /// # Errors
    ///
    /// When the tensors are not exactly this architecture.
    pub fn from_tensors(
        architecture: Architecture,
        tensors: NamedTensors,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let tensors = crate::layout::translate(architecture, tensors, device)?;
        let mut backbone = architecture.init(device);
        tensors.load_into(&mut backbone, architecture.name())?;
        Ok(backbone)
    }

    /// Which network this is.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Inverted(net) => net.architecture(),
            Self::Resnet(net) => net.architecture(),
            Self::Vit(net) => net.architecture(),
        }
    }

    /// What happens to pixels before the first layer.
    pub fn preprocessing(&self) -> Preprocessing {
        match self {
            Self::Inverted(net) => net.preprocessing(),
            Self::Resnet(net) => net.preprocessing(),
            Self::Vit(net) => net.preprocessing(),
        }
    }

    /// Uses another preprocessing than the architecture's own: what the weights were trained
    /// with.
    pub fn with_preprocessing(self, preprocessing: Preprocessing) -> Self {
        match self {
            Self::Inverted(net) => Self::Inverted(net.with_preprocessing(preprocessing)),
            Self::Resnet(net) => Self::Resnet(net.with_preprocessing(preprocessing)),
            Self::Vit(net) => Self::Vit(net.with_preprocessing(preprocessing)),
        }
    }

    /// How precisely it computes features.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Inverted(net) => net.precision(),
            Self::Resnet(net) => net.precision(),
            Self::Vit(net) => net.precision(),
        }
    }

    /// Computes features in another precision, which shows where [`Architecture::has_int8`] and on
    /// the CPU without automatic differentiation.
    pub fn with_precision(self, precision: Precision) -> Self {
        match self {
            Self::Inverted(net) => Self::Inverted(net.with_precision(precision)),
            Self::Resnet(net) => Self::Resnet(net.with_precision(precision)),
            Self::Vit(net) => Self::Vit(net.with_precision(precision)),
        }
    }

    /// The same network, to compute features with in its precision and nothing else: weights are in
    /// memory once, as the CPU's kernels read them (see [`Precision::packed`]).
    pub fn packed(self) -> Self {
        self.precision().packed(self)
    }

    /// The features at `taps`, in their order. Layers after the last tap are not run.
    ///
    /// On a device with automatic differentiation this builds a graph as far as the weights
    /// require gradients, so it is what fine-tuning calls; a frozen stream calls
    /// [`frozen_features`](Self::frozen_features).
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, 3, height, width]`, RGB, 0 to 255
    /// - output: one [`Features`] per tap, of [`tap_shape`](Architecture::tap_shape)
    ///
    /// # Panics
    ///
    /// When the architecture has no such tap or the picture is too small:
    /// [`tap_shape`](Architecture::tap_shape) says so beforehand.
    pub fn features(&self, images: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        self.features_of_inputs(self.preprocessing().normalize(images), taps)
    }

    /// Like [`features`](Self::features), but never part of a graph: the weights get no
    /// gradient and nothing is kept for a backward pass, whatever the device.
    pub fn frozen_features(&self, images: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        self.frozen_features_of_inputs(self.preprocessing().normalize(images), taps)
    }

    /// The same of images that are preprocessed already.
    ///
    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`, as [`Preprocessing`] makes them
    pub fn frozen_features_of_inputs(&self, inputs: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        if !inputs.is_autodiff() && !self.is_autodiff() {
            return self.features_of_inputs(inputs, taps);
        }
        // Detached: the caller may mix them with tensors that are tracked.
        self.valid().features_of_inputs(inputs.inner(), taps)
    }

    fn is_autodiff(&self) -> bool {
        self.devices().iter().any(Device::is_autodiff)
    }

    /// [`features`](Self::features) of images that are preprocessed already.
    ///
    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`, as [`Preprocessing`] makes them
    pub fn features_of_inputs(&self, inputs: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        match self {
            Self::Inverted(net) => net.features(inputs, taps),
            Self::Resnet(net) => net.features(inputs, taps),
            Self::Vit(net) => net.features(inputs, taps),
        }
    }

    /// The scores of the 1000 classes of `ImageNet`, before the softmax, where the weights came
    /// with a classifier (EfficientNet-Lite0).
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, 3, height, width]`, RGB, 0 to 255
    /// - output: `[n, 1000]`
    pub fn classify(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        match self {
            Self::Inverted(net) => net.classify(self.preprocessing().normalize(images)),
            Self::Resnet(_) | Self::Vit(_) => None,
        }
    }
}
