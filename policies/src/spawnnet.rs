//! SpawnNet: frozen features fused into a learned stream at three depths.
//!
//! Source: Lin et al., "SpawnNet: Learning Generalizable Visuomotor Skills from Pre-trained
//! Networks", arXiv:2307.03567, and the behaviour of its public code, which the numbers in the
//! tests come from. A picture and its depth run through a small ConvNet; at each of three stages
//! an adapter narrows the features of one tap, resizes them to the stage and lays them beside the
//! stream.
//!
//! Differs in:
//! - any picture that the stem takes will do; the reference has 224 x 224 only. Attention maps
//!   have the size of the first stage (28 x 28 at 224);
//! - [`Tokens::Cls`] on a network without a class token tiles the mean of the map, where the
//!   reference tiles its top-left corner;
//! - a misspelt channel mask is an error, where the reference ignores it;
//! - fusing the last two stages and adapters of another kernel are not offered: in the reference
//!   the first cannot run and the second does not do what it says;
//! - [`fine_tune`](crate::BackboneConfig::fine_tune) does; the reference's switch does not.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use engraft_backbones::Features;
use engraft_kernels::fixed::Scaling;
use engraft_kernels::{conv2d_then_relu, join, linear_over_pixels, resize};
use serde::{Deserialize, Serialize};

use crate::backbone::{BackboneConfig, FrozenStream};
use crate::head::{Head, HeadConfig};
use crate::layers::{ConvStream, Init, NUM_STAGES, interleave, unit_pixels};
use crate::{AttentionTensors, Contract, Images, PolicyError, PolicyInput};

/// Depth beyond this is read as this.
const MAX_DEPTH_M: f32 = 2.0;

/// What the softmax of an attention map is divided by.
const TEMPERATURE: f32 = 0.1;

/// Sizes and ablations of a [`SpawnNet`]. The defaults are those of the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpawnNetConfig {
    /// The pretrained stream.
    pub backbone: BackboneConfig,
    /// Channels of the learned stream.
    #[serde(default = "published_width")]
    pub channels: usize,
    /// Channels that an adapter hands over.
    #[serde(default = "published_width")]
    pub adapter_channels: usize,
    /// What the learned stream sees. The backbone always sees colour.
    #[serde(default)]
    pub channel_mask: ChannelMask,
    /// Where features are fused.
    #[serde(default)]
    pub fusion: Fusion,
    /// Which features are fused.
    #[serde(default)]
    pub tokens: Tokens,
    /// The action head.
    #[serde(default)]
    pub head: HeadConfig,
}

fn published_width() -> usize {
    64
}

/// What the learned stream sees; its stem has four input channels whatever it sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelMask {
    /// Colour, and depth where the robot measures it.
    #[default]
    All,
    /// Colour; depth reads as zero.
    RgbOnly,
    /// Depth; colour reads as zero.
    DepthOnly,
    /// Nothing: the stream is a constant, and all there is comes from the backbone.
    NoRgbd,
}

/// At which stages features are fused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fusion {
    /// One tap at each of the three stages.
    #[default]
    All,
    /// The last tap at the last stage.
    Last,
}

/// Which features of a tap are fused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// The feature of each place.
    #[default]
    Dense,
    /// The class token at every place.
    Cls,
}

/// See the [module](self).
#[derive(Module, Debug)]
pub struct SpawnNet {
    pub(crate) backbone: FrozenStream,
    pub(crate) conv: ConvStream,
    pub(crate) adapters: Vec<Conv2d>,
    pub(crate) linears: Vec<Linear>,
    pub(crate) head: Head,
    #[module(skip)]
    channel_mask: ChannelMask,
    #[module(skip)]
    tokens: Tokens,
    use_depth: bool,
    use_proprio: bool,
}

impl SpawnNetConfig {
    /// A SpawnNet as published on `backbone`.
    pub fn new(backbone: BackboneConfig) -> Self {
        Self {
            backbone,
            channels: published_width(),
            adapter_channels: published_width(),
            channel_mask: ChannelMask::default(),
            fusion: Fusion::default(),
            tokens: Tokens::default(),
            head: HeadConfig::default(),
        }
    }

    pub(crate) fn init(
        &self,
        contract: &Contract,
        init: &mut Init,
        pretrained: bool,
    ) -> Result<SpawnNet, PolicyError> {
        for (field, width) in
            [("channels", self.channels), ("adapter_channels", self.adapter_channels)]
        {
            if width == 0 {
                return Err(PolicyError::Zero { field });
            }
        }
        let mut taps = self.backbone.taps();
        match (self.fusion, taps.len()) {
            (Fusion::All, NUM_STAGES) => {}
            (Fusion::Last, 1..) => taps = taps.split_off(taps.len() - 1),
            (fusion, found) => {
                let expected = if fusion == Fusion::All { "3" } else { "at least 1" };
                return Err(PolicyError::TapCount { expected, found });
            }
        }
        let sizes = stage_sizes(contract)?;
        let fused = self.channels + self.adapter_channels;
        let residual = match self.fusion {
            Fusion::All => [fused; NUM_STAGES],
            Fusion::Last => [self.channels, self.channels, fused],
        };
        let conv = ConvStream::new(init, 4, self.channels, residual);
        let mut adapters = Vec::with_capacity(taps.len());
        for tap in &taps {
            let shape = self.backbone.tap_shape(tap, contract)?;
            adapters.push(init.conv2d([shape.channels, self.adapter_channels], 1, 1, 0));
        }
        let num_linears = if self.fusion == Fusion::All { NUM_STAGES - 1 } else { 0 };
        let linears = (0..num_linears).map(|_| init.linear(fused, self.channels)).collect();
        let [height, width] = sizes[NUM_STAGES - 1];
        let per_frame =
            contract.spec.num_views() * height * width * fused + contract.spec.proprio_dim();
        let head = self.head.init(init, contract.num_frames * per_frame, contract)?;
        let backbone = self.backbone.init(taps, init, pretrained)?;
        Ok(SpawnNet {
            backbone,
            conv,
            adapters,
            linears,
            head,
            channel_mask: self.channel_mask,
            tokens: self.tokens,
            use_depth: contract.use_depth,
            use_proprio: contract.use_proprio,
        })
    }
}

/// Height and width of each stage for the pictures of `contract`.
pub(crate) fn stage_sizes(contract: &Contract) -> Result<[[usize; 2]; NUM_STAGES], PolicyError> {
    let [height, width] = contract.picture();
    ConvStream::sizes([height, width]).ok_or(PolicyError::PictureTooSmall {
        needed: 4,
        width,
        height,
    })
}

/// What the network made of a batch.
struct Encoded {
    /// `[batch, inputs of the head]`
    features: Tensor<2>,
    /// What each adapter made of its tap, before it was resized.
    adapted: Vec<Tensor<4>>,
    /// Height and width of the first stage.
    size: [usize; 2],
}

impl SpawnNet {
    /// Predicts one normalized chunk per sample.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, horizon, action_dim]`
    pub fn forward(&self, input: PolicyInput) -> Tensor<3> {
        self.head.forward(self.encode(input).features)
    }

    /// [`forward`](Self::forward), and how strongly each place of a tap stands out.
    pub fn forward_with_attention(&self, input: PolicyInput) -> (Tensor<3>, AttentionTensors) {
        let [batch, frames, views, ..] = input.dims();
        let encoded = self.encode(input);
        let (size, num_taps) = (encoded.size, encoded.adapted.len());
        let maps = encoded.adapted.into_iter().map(|x| attention(x.detach(), size)).collect();
        let maps = Tensor::stack::<4>(maps, 1) // [pictures, taps, height, width]
            .reshape([batch, frames, views, num_taps, size[0], size[1]]);
        let attention = AttentionTensors { maps, taps: self.backbone.taps().to_vec() };
        (self.head.forward(encoded.features), attention)
    }

    /// See [`Policy::frozen_features`](crate::Policy::frozen_features).
    pub(crate) fn frozen_features(&self, images: &Images) -> Option<Vec<Features>> {
        self.backbone.frozen(images, |features| self.prepare(features))
    }

    fn encode(&self, input: PolicyInput) -> Encoded {
        let [batch, frames, views, height, width] = input.dims();
        let pictures = batch * frames * views;
        let depth = input.depth.map(|depth| depth.reshape([pictures, 1, height, width]));
        let prepare = |features| self.prepare(features);
        let features = self.backbone.features(&input.rgb, input.features, prepare);
        let mut features = features.into_iter();
        let mut adapters = self.adapters.iter();
        let (mut adapted, mut size) = (Vec::with_capacity(self.adapters.len()), [0, 0]);

        let mut x = self.conv.stem(self.stream_input(&input.rgb, depth));
        for stage in 0..NUM_STAGES {
            x = self.conv.halve(stage, x); // [pictures, channels, ceil(h / 2), ceil(w / 2)]
            let [_, _, h, w] = x.dims();
            if stage == 0 {
                size = [h, w];
            }
            // With fewer taps than stages, they belong to the last ones.
            if stage + self.adapters.len() >= NUM_STAGES
                && let (Some(features), Some(adapter)) = (features.next(), adapters.next())
            {
                let narrow = conv2d_then_relu(adapter, features.map);
                x = join(x, resize(narrow.clone(), [h, w]));
                adapted.push(narrow);
            }
            x = self.conv.refine(stage, x);
            if let Some(linear) = self.linears.get(stage) {
                x = linear_over_pixels(linear, x); // back to [pictures, channels, h, w]
            }
        }
        let [_, c, h, w] = x.dims();
        let x = x.permute([0, 2, 3, 1]).reshape([batch, frames, views * h * w * c]);
        let proprio = if self.use_proprio { input.proprio } else { input.proprio.zeros_like() };
        Encoded { features: interleave(x, proprio), adapted, size }
    }

    /// Colour as the backbone's was normalized, and depth in metres: `[pictures, 4, h, w]`.
    fn stream_input(&self, images: &Images, depth: Option<Tensor<4>>) -> Tensor<4> {
        let (pictures, [height, width], device) = (images.count(), images.size(), images.device());
        let mut scaling = self.backbone.network().preprocessing().scaling([0.0, MAX_DEPTH_M]);
        if matches!(self.channel_mask, ChannelMask::DepthOnly | ChannelMask::NoRgbd) {
            scaling = Scaling { shift: [0.0; 3], scale: [0.0; 3], ..scaling };
        }
        let sees_depth = matches!(self.channel_mask, ChannelMask::All | ChannelMask::DepthOnly);
        let depth = depth.filter(|_| sees_depth && self.use_depth);
        let depth = depth.unwrap_or_else(|| Tensor::zeros([pictures, 1, height, width], &device));
        images.scaled(Some(depth), scaling)
    }

    /// What an adapter sees: features of length one, at every place or at a single one that
    /// stands for all.
    fn prepare(&self, features: Features) -> Features {
        let map = match self.tokens {
            Tokens::Dense => features.map,
            Tokens::Cls => {
                let cls = features.cls.unwrap_or_else(|| mean_of(features.map));
                cls.unsqueeze_dims(&[2, 3])
            }
        };
        Features { map: unit_pixels(map), cls: None }
    }
}

/// The mean of a map over its places: `[n, channels]`.
pub(crate) fn mean_of(map: Tensor<4>) -> Tensor<2> {
    let [pictures, channels, height, width] = map.dims();
    map.reshape([pictures, channels, height * width]).mean_dim(2).reshape([pictures, channels])
}

/// A softmax over the places of a map, by the length of the feature at each.
fn attention(x: Tensor<4>, size: [usize; 2]) -> Tensor<3> {
    let [pictures, ..] = x.dims();
    let lengths = resize(x, size).square().sum_dim(1).sqrt();
    let lengths = lengths.reshape([pictures, size[0] * size[1]]).div_scalar(TEMPERATURE);
    softmax(lengths, 1).reshape([pictures, size[0], size[1]])
}

#[cfg(test)]
mod tests;
