//! Layers with PyTorch's default weights, drawn from a seed.
//!
//! Burn draws from a generator that the whole process shares; a run that must repeat exactly
//! cannot depend on who else drew. Here each parameter has a generator of its own, and its draw
//! waits until the value is needed, so that weights which a file replaces are never made.

use burn::module::{Module, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use engraft_kernels::fixed::{self, packed_conv2d};
use engraft_kernels::{conv2d, max_pool2d, residual_block};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What is added before a feature vector is divided by its norm, so that an all-zero vector
/// becomes a uniform one. Any other vector of single precision swallows it.
const NORM_OFFSET: f32 = 1e-12;

/// Makes layers one after another; the same seed and order give the same weights.
pub(crate) struct Init {
    seeds: ChaCha8Rng,
    device: Device,
}

impl Init {
    pub(crate) fn new(seed: u64, device: &Device) -> Self {
        Self { seeds: ChaCha8Rng::seed_from_u64(seed), device: device.clone() }
    }

    /// A seed for something that draws for itself.
    pub(crate) fn next_seed(&mut self) -> u64 {
        self.seeds.next_u64()
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Values between `-bound` and `bound`.
    fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        let (id, seed) = (ParamId::from(self.seeds.next_u64()), self.seeds.next_u64());
        let draw = move |device: &Device, require_grad: bool| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let unit = |rng: &mut ChaCha8Rng| f64::from(rng.next_u32()) / f64::from(u32::MAX);
            let values: Vec<f32> = (0..shape.iter().product::<usize>())
                .map(|_| (bound * (2.0 * unit(&mut rng) - 1.0)) as f32)
                .collect();
            let tensor = Tensor::from_data(TensorData::new(values, shape), device);
            if require_grad { tensor.require_grad() } else { tensor }
        };
        Param::uninitialized(id, draw, self.device.clone(), true, shape.into())
    }

    /// A convolution with a square kernel.
    pub(crate) fn conv2d(
        &mut self,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Conv2d {
        let bound = 1.0 / ((channels[0] * kernel * kernel) as f64).sqrt();
        let mut conv = Conv2dConfig::new(channels, [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .init(&self.device);
        conv.weight = self.uniform([channels[1], channels[0], kernel, kernel], bound);
        conv.bias = Some(self.uniform([channels[1]], bound));
        conv
    }

    /// A linear layer.
    pub(crate) fn linear(&mut self, from: usize, to: usize) -> Linear {
        self.scaled_linear(from, to, 1.0, 1.0)
    }

    /// A linear layer whose weight and bias are drawn from a narrower range.
    pub(crate) fn scaled_linear(
        &mut self,
        from: usize,
        to: usize,
        weight: f64,
        bias: f64,
    ) -> Linear {
        let bound = 1.0 / (from as f64).sqrt();
        let mut linear = LinearConfig::new(from, to).init(&self.device);
        linear.weight = self.uniform([from, to], weight * bound);
        linear.bias = Some(self.uniform([to], bias * bound));
        linear
    }
}

/// Two 3 x 3 convolutions beside a straight path, each after its own ReLU.
#[derive(Module, Debug)]
pub(crate) struct ResidualBlock {
    first: Conv2d,
    second: Conv2d,
}

impl ResidualBlock {
    pub(crate) fn new(init: &mut Init, channels: usize) -> Self {
        let mut conv = || init.conv2d([channels, channels], 3, 1, 1);
        Self { first: conv(), second: conv() }
    }

    fn packed(self) -> Self {
        Self { first: packed_conv2d(self.first), second: packed_conv2d(self.second) }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        residual_block(&self.first, &self.second, x)
    }
}

/// The learned stream that SpawnNet and the IMPALA-style network share: a stem, and three stages
/// that each halve height and width.
#[derive(Module, Debug)]
pub(crate) struct ConvStream {
    stem: Conv2d,
    feat_convs: Vec<Conv2d>,
    resnet1: Vec<ResidualBlock>,
    resnet2: Vec<ResidualBlock>,
}

/// Stages of a [`ConvStream`].
pub(crate) const NUM_STAGES: usize = 3;

impl ConvStream {
    /// `residual` gives the width of each stage's residual blocks, which see the stream after
    /// whatever is concatenated to it.
    pub(crate) fn new(
        init: &mut Init,
        inputs: usize,
        channels: usize,
        residual: [usize; NUM_STAGES],
    ) -> Self {
        let stem = init.conv2d([inputs, channels], 4, 4, 0);
        let feat_convs =
            (0..NUM_STAGES).map(|_| init.conv2d([channels, channels], 3, 1, 1)).collect();
        let mut blocks = || residual.iter().map(|&width| ResidualBlock::new(init, width)).collect();
        let (resnet1, resnet2) = (blocks(), blocks());
        Self { stem, feat_convs, resnet1, resnet2 }
    }

    /// The same stream, its weights held as the CPU's kernels read them and nowhere else.
    pub(crate) fn packed(self) -> Self {
        let blocks =
            |blocks: Vec<ResidualBlock>| blocks.into_iter().map(ResidualBlock::packed).collect();
        Self {
            stem: packed_conv2d(self.stem),
            feat_convs: self.feat_convs.into_iter().map(packed_conv2d).collect(),
            resnet1: blocks(self.resnet1),
            resnet2: blocks(self.resnet2),
        }
    }

    pub(crate) fn stem(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(&self.stem, x)
    }

    /// Convolution and pooling of a stage: `[n, c, h, w]` to `[n, c, ceil(h / 2), ceil(w / 2)]`.
    pub(crate) fn halve(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        max_pool2d(conv2d(&self.feat_convs[stage], x), 3, 2, 1)
    }

    /// The residual blocks of a stage.
    pub(crate) fn refine(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        self.resnet2[stage].forward(self.resnet1[stage].forward(x))
    }

    /// Height and width after each stage, `None` where the picture is smaller than the stem.
    pub(crate) fn sizes([height, width]: [usize; 2]) -> Option<[[usize; 2]; NUM_STAGES]> {
        if height < 4 || width < 4 {
            return None;
        }
        let mut size = [height / 4, width / 4];
        Some([(); NUM_STAGES].map(|()| {
            size = size.map(|side| side.div_ceil(2));
            size
        }))
    }
}

/// Divides by the Euclidean norm along `dim`.
pub(crate) fn unit_norm<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let x = x.add_scalar(NORM_OFFSET);
    let norm = x.clone().square().sum_dim(dim).sqrt();
    x / norm
}

/// The channels of every pixel, divided by their Euclidean norm.
pub(crate) fn unit_pixels(x: Tensor<4>) -> Tensor<4> {
    fixed::unit_norm(x, NORM_OFFSET)
}

/// Frames of proprio appended to frames of features, frame by frame.
///
/// # Shapes
///
/// - `features`: `[batch, frames, width]`
/// - `proprio`: `[batch, frames, proprio_dim]`
/// - output: `[batch, frames * (width + proprio_dim)]`
pub(crate) fn interleave(features: Tensor<3>, proprio: Tensor<3>) -> Tensor<2> {
    let [batch, frames, width] = features.dims();
    let [_, _, proprio_dim] = proprio.dims();
    let joined = if proprio_dim == 0 { features } else { Tensor::cat(vec![features, proprio], 2) };
    joined.reshape([batch, frames * (width + proprio_dim)])
}

/// All frames of proprio appended after all features.
///
/// # Shapes
///
/// - `features`: `[batch, width]`
/// - `proprio`: `[batch, frames, proprio_dim]`
/// - output: `[batch, width + frames * proprio_dim]`
pub(crate) fn append(features: Tensor<2>, proprio: Tensor<3>) -> Tensor<2> {
    let [batch, frames, proprio_dim] = proprio.dims();
    if proprio_dim == 0 {
        return features;
    }
    Tensor::cat(vec![features, proprio.reshape([batch, frames * proprio_dim])], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    #[test]
    fn the_same_seed_gives_the_same_weights_within_pytorchs_bounds() {
        let draw = |seed| {
            let conv = Init::new(seed, &Device::flex()).conv2d([4, 8], 3, 1, 1);
            values(conv.weight.val())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let largest = draw(1).into_iter().fold(0.0_f32, |max, w| max.max(w.abs()));
        assert!((0.15..=1.0 / 6.0).contains(&largest), "{largest}");
    }

    #[test]
    fn an_all_zero_vector_becomes_a_uniform_one() {
        let x = Tensor::<2>::zeros([1, 4], &Device::flex());
        let y = values(unit_norm(x, 1));
        assert!(y.iter().all(|v| (v - 0.5).abs() < 1e-5), "{y:?}");
    }

    #[test]
    fn stages_halve_upwards() {
        assert_eq!(ConvStream::sizes([224, 224]), Some([[28, 28], [14, 14], [7, 7]]));
        assert_eq!(ConvStream::sizes([96, 84]), Some([[12, 11], [6, 6], [3, 3]]));
        assert_eq!(ConvStream::sizes([3, 84]), None);
    }
}
