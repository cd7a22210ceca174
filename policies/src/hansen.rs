//! Learning from scratch: a shallow ConvNet.
//!
//! Source: Hansen et al., "On Pre-Training for Visuo-Motor Control: Revisiting a
//! Learning-from-Scratch Baseline", arXiv:2212.05749. Built from descriptions of the networks.
//! Differs in: chunked actions; depth, where the robot measures it, is further input channels.
//!
//! The frames of a view are stacked on the channels and run through one encoder that the views
//! share. The paper trains it with randomly shifted pictures, which is the trainer's part.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use engraft_kernels::fixed::Scaling;
use engraft_kernels::{conv2d, conv2d_after_relu, linear};
use serde::{Deserialize, Serialize};

use crate::head::{Head, HeadConfig};
use crate::layers::{Init, append};
use crate::{Contract, PolicyError, PolicyInput};

/// Layers of a [`Hansen`]. The default is [`HansenConfig::small`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HansenConfig {
    /// The convolutions, first to last, without padding.
    #[serde(default = "small_layers")]
    pub layers: Vec<ConvLayer>,
    /// Whether a ReLU follows the last convolution too.
    #[serde(default)]
    pub last_relu: bool,
    /// Normalizes the features of a view and narrows them to this width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// The action head.
    #[serde(default)]
    pub head: HeadConfig,
}

/// One convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvLayer {
    /// Output channels.
    pub channels: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Pixels between two of its places.
    pub stride: usize,
}

fn layers(channels: usize, shapes: &[(usize, usize)]) -> Vec<ConvLayer> {
    shapes.iter().map(|&(kernel, stride)| ConvLayer { channels, kernel, stride }).collect()
}

fn small_layers() -> Vec<ConvLayer> {
    layers(32, &[(3, 2), (3, 2), (3, 2), (3, 1), (3, 1)])
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Hansen {
    convnet: Vec<Conv2d>,
    ln: Option<LayerNorm>,
    projector: Option<Linear>,
    pub(crate) head: Head,
    last_relu: bool,
    use_depth: bool,
    use_proprio: bool,
}

impl Default for HansenConfig {
    fn default() -> Self {
        Self::small()
    }
}

impl HansenConfig {
    /// The network for pictures of 84 to 96 pixels: five convolutions, of which three halve.
    pub fn small() -> Self {
        let head = HeadConfig::default();
        Self { layers: small_layers(), last_relu: false, projection: None, head }
    }

    /// The network for pictures of 224 pixels: six convolutions that halve, and a projection.
    pub fn large() -> Self {
        Self {
            layers: layers(32, &[(7, 2), (5, 2), (3, 2), (3, 2), (3, 2), (3, 2)]),
            last_relu: true,
            projection: Some(128),
            head: HeadConfig::default(),
        }
    }

    /// Channels, height and width of the features of one view.
    fn features(&self, [mut height, mut width]: [usize; 2]) -> Option<[usize; 3]> {
        let mut channels = 0;
        for layer in &self.layers {
            if layer.kernel > height.min(width) {
                return None;
            }
            [height, width] = [height, width].map(|side| (side - layer.kernel) / layer.stride + 1);
            channels = layer.channels;
        }
        Some([channels, height, width])
    }

    pub(crate) fn init(&self, contract: &Contract, init: &mut Init) -> Result<Hansen, PolicyError> {
        if self.layers.is_empty() {
            return Err(PolicyError::Zero { field: "the number of layers" });
        }
        if self.layers.iter().any(|l| l.channels == 0 || l.kernel == 0 || l.stride == 0) {
            return Err(PolicyError::Zero { field: "each number of a layer" });
        }
        let [height, width] = contract.picture();
        let Some([channels, h, w]) = self.features([height, width]) else {
            // What the layers take, from the last one back.
            let needed =
                self.layers.iter().rev().fold(1, |side, l| (side - 1) * l.stride + l.kernel);
            return Err(PolicyError::PictureTooSmall { needed, width, height });
        };
        let per_frame = if contract.use_depth { 4 } else { 3 };
        let mut from = per_frame * contract.num_frames;
        let mut convnet = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            convnet.push(init.conv2d([from, layer.channels], layer.kernel, layer.stride, 0));
            from = layer.channels;
        }
        let features = channels * h * w;
        let ln = self.projection.map(|_| LayerNormConfig::new(features).init(init.device()));
        let projector = self.projection.map(|to| init.linear(features, to));
        let inputs = contract.spec.num_views() * self.projection.unwrap_or(features)
            + contract.num_frames * contract.spec.proprio_dim();
        let head = self.head.init(init, inputs, contract)?;
        let (use_depth, use_proprio) = (contract.use_depth, contract.use_proprio);
        Ok(Hansen {
            convnet,
            ln,
            projector,
            head,
            last_relu: self.last_relu,
            use_depth,
            use_proprio,
        })
    }
}

impl Hansen {
    /// Predicts one normalized chunk per sample.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, horizon, action_dim]`
    pub fn forward(&self, input: &PolicyInput) -> Tensor<3> {
        let [batch, _, views, ..] = input.dims();
        let mut x = self.pictures(input);
        for (i, conv) in self.convnet.iter().enumerate() {
            // [batch * views, channels, h, w]
            x = if i == 0 { conv2d(conv, x) } else { conv2d_after_relu(conv, x) };
        }
        let [_, channels, h, w] = x.dims();
        let mut x = x.reshape([batch * views, channels * h * w]);
        if self.last_relu {
            x = relu(x);
        }
        if let (Some(ln), Some(projector)) = (&self.ln, &self.projector) {
            x = linear(projector, ln.forward(x));
        }
        let [_, width] = x.dims();
        let proprio = input.proprio.clone();
        let proprio = if self.use_proprio { proprio } else { proprio.zeros_like() };
        self.head.forward(append(x.reshape([batch, views * width]), proprio))
    }

    /// Colour from -0.5 to 0.5 and then depth in metres, the frames of a view one after another on
    /// the channels: `[batch * views, frames * (3 or 4), height, width]`.
    fn pictures(&self, input: &PolicyInput) -> Tensor<4> {
        let [batch, frames, views, height, width] = input.dims();
        let stack = |pictures: Tensor<6>, channels: usize| {
            let by_view = pictures.permute([0, 2, 1, 3, 4, 5]);
            by_view.reshape([batch * views, frames * channels, height, width])
        };
        let depth = self.use_depth.then(|| match &input.depth {
            Some(depth) => stack(depth.clone(), 1),
            None => Tensor::zeros([batch * views, frames, height, width], &input.rgb.device()),
        });
        if frames == 1 {
            let depth_range = [f32::NEG_INFINITY, f32::INFINITY];
            let scaling =
                Scaling { shift: [127.5; 3], scale: [1.0 / 255.0; 3], depth: depth_range };
            return input.rgb.scaled(depth, scaling);
        }
        let rgb = input.rgb.numbers().reshape([batch, frames, views, 3, height, width]);
        let rgb = stack(rgb, 3).div_scalar(255.0).sub_scalar(0.5);
        match depth {
            Some(depth) => Tensor::cat(vec![rgb, depth], 1),
            None => rgb,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::PolicyConfig;
    use crate::testing::{self, assert_saved_equals_loaded, contract, memorize};

    fn small(projection: Option<usize>) -> PolicyConfig {
        let head = HeadConfig { hidden: vec![32], bounds: None };
        let layers = layers(8, &[(3, 2), (3, 2), (3, 1)]);
        PolicyConfig::Hansen(HansenConfig { layers, last_relu: false, projection, head })
    }

    #[test]
    fn sizes_are_those_of_the_paper() {
        let published = |config: &HansenConfig, size| {
            let mut contract = contract(1, size, size);
            contract.use_depth = false;
            let policy = config.init(&contract, &mut Init::new(1, &Device::flex())).unwrap();
            let [channels, h, w] = config.features([size, size]).unwrap();
            (policy.convnet.num_params(), channels * h * w)
        };
        assert_eq!(published(&HansenConfig::small(), 84), (37_888, 800));
        assert_eq!(published(&HansenConfig::large(), 224), (67_360, 128));
    }

    #[test]
    fn shapes_hold_with_and_without_a_projection_and_depth() {
        for (projection, use_depth) in [(None, true), (Some(16), false)] {
            let mut contract = contract(3, 40, 56);
            contract.use_depth = use_depth;
            let policy = small(projection).init(&contract, 1, &Device::flex()).unwrap();
            let input = testing::input(&contract, 2, &Device::flex());
            assert_eq!(policy.forward(input).dims(), [2, 4, 2]);
        }
    }

    #[test]
    fn a_picture_that_the_layers_use_up_is_an_error_that_says_how_many_pixels_it_takes() {
        let error =
            HansenConfig::small().init(&contract(1, 84, 46), &mut Init::new(1, &Device::flex()));
        assert_eq!(
            error.unwrap_err().to_string(),
            "the network needs pictures of at least 47 pixels a side, found 46 x 84"
        );
        let enough = HansenConfig::small();
        assert!(enough.init(&contract(1, 47, 47), &mut Init::new(1, &Device::flex())).is_ok());
    }

    #[test]
    fn one_batch_is_memorized() {
        let (_, first, last) = memorize(&small(None), &contract(1, 24, 24), 80);
        assert!(last < 0.05 * first, "{first} to {last}");
    }

    #[test]
    fn saved_equals_loaded() {
        assert_saved_equals_loaded(&small(None), &contract(2, 24, 32));
        assert_saved_equals_loaded(&small(Some(16)), &contract(2, 24, 32));
    }
}
