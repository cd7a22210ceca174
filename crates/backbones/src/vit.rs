//! Vision transformers as DINO, MAE, MVP and timm write them.
//!
//! Source: Dosovitskiy et al. 2020, arXiv:2010.11929; DINO: Caron et al. 2021, arXiv:2104.14294.
//! Pre-norm blocks, exact GELU, LayerNorm with epsilon 1e-6, one class token in front. The
//! final norm is loaded with the rest, and no tap looks through it.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use engraft_kernels::Activation::{Gelu, None as Nothing};
use engraft_kernels::fixed::{attention, conv2d, layer_norm};
use engraft_kernels::{Precision, is_cpu};

use crate::tap::Collector;
use crate::{Architecture, Facet, Features, Preprocessing, Tap};

/// The sizes of a [`Vit`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct VitConfig {
    /// Side of a patch in pixels.
    pub(crate) patch: usize,
    pub(crate) width: usize,
    pub(crate) depth: usize,
    pub(crate) heads: usize,
    /// Patches along a side of the pictures it was trained on.
    pub(crate) side: usize,
}

/// A vision transformer. Its tensors have the names that DINO and timm give them.
#[derive(Module, Debug)]
pub struct Vit {
    cls_token: Param<Tensor<3>>,
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    #[module(skip)]
    architecture: Architecture,
    #[module(skip)]
    preprocessing: Preprocessing,
    #[module(skip)]
    precision: Precision,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Conv2d,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl VitConfig {
    /// ViT-S for pictures of 224 pixels.
    pub(crate) const fn small(patch: usize) -> Self {
        Self { patch, width: 384, depth: 12, heads: 6, side: 224 / patch }
    }

    /// ViT-B for pictures of 224 pixels.
    pub(crate) const fn base(patch: usize) -> Self {
        Self { patch, width: 768, depth: 12, heads: 12, side: 224 / patch }
    }

    fn block(&self, device: &Device) -> Block {
        let norm = || LayerNormConfig::new(self.width).with_epsilon(NORM_EPSILON).init(device);
        let linear = |from, to| {
            let config = LinearConfig::new(from, to).with_initializer(WEIGHTS);
            let mut linear = config.init(device);
            linear.bias = Some(Initializer::Zeros.init([to], device));
            linear
        };
        let hidden = 4 * self.width;
        Block {
            norm1: norm(),
            attn: Attention {
                qkv: linear(self.width, 3 * self.width),
                proj: linear(self.width, self.width),
                heads: self.heads,
            },
            norm2: norm(),
            mlp: Mlp { fc1: linear(self.width, hidden), fc2: linear(hidden, self.width) },
        }
    }
}

const NORM_EPSILON: f64 = 1e-6;
const WEIGHTS: Initializer = Initializer::Normal { mean: 0.0, std: 0.02 };

impl Vit {
    pub(crate) fn init(architecture: Architecture, config: &VitConfig, device: &Device) -> Self {
        let VitConfig { patch, width, side, .. } = *config;
        let proj = Conv2dConfig::new([3, width], [patch, patch]).with_stride([patch, patch]);
        Self {
            cls_token: WEIGHTS.init([1, 1, width], device),
            pos_embed: WEIGHTS.init([1, side * side + 1, width], device),
            patch_embed: PatchEmbed { proj: proj.init(device) },
            blocks: (0..config.depth).map(|_| config.block(device)).collect(),
            norm: LayerNormConfig::new(width).with_epsilon(NORM_EPSILON).init(device),
            architecture,
            preprocessing: architecture.preprocessing(),
            precision: Precision::default(),
        }
    }

    pub(crate) fn architecture(&self) -> Architecture {
        self.architecture
    }

    pub(crate) fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    pub(crate) fn with_preprocessing(self, preprocessing: Preprocessing) -> Self {
        Self { preprocessing, ..self }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`, normalized
    pub(crate) fn features(&self, inputs: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        let mut collector = Collector::new(taps);
        let (patches, grid) = self.patch_embed.forward(inputs);
        let [n, _, width] = patches.dims();
        let cls = self.cls_token.val().expand([n, 1, width]);
        let tokens = Tensor::cat(vec![cls, patches], 1); // [n, 1 + rows * columns, width]
        let mut x = tokens + self.positions(grid);
        for (block_idx, block) in self.blocks.iter().enumerate() {
            if collector.is_full() {
                break;
            }
            let Some(next) = block.forward(x, block_idx, grid, self.precision, &mut collector)
            else {
                break;
            };
            x = next;
            collector.offer(Facet::Token, block_idx, || grid.features(x.clone()));
        }
        collector.finish()
    }

    /// The position embeddings for a grid of patches, `[1, 1 + rows * columns, width]`.
    ///
    /// A grid of another shape than the trained one is resampled as DINO does: bicubic, with
    /// a tenth of a patch added to the size that the scale is computed from.
    fn positions(&self, grid: Grid) -> Tensor<3> {
        let embed = self.pos_embed.val();
        let [_, tokens, width] = embed.dims();
        let side = (tokens - 1).isqrt();
        if (grid.rows, grid.columns) == (side, side) {
            return embed;
        }
        let device = embed.device();
        let cls = embed.clone().slice([0..1, 0..1, 0..width]);
        let patches = embed.slice([0..1, 1..tokens, 0..width]).reshape([side, side * width]);
        let over_rows = bicubic(side, grid.rows, &device).matmul(patches); // [rows, side * width]
        let over_columns = bicubic(side, grid.columns, &device).unsqueeze::<3>(); // [1, columns, side]
        let resampled = over_columns
            .expand([grid.rows, grid.columns, side])
            .matmul(over_rows.reshape([grid.rows, side, width])); // [rows, columns, width]
        let resampled = resampled.reshape([1, grid.rows * grid.columns, width]);
        Tensor::cat(vec![cls, resampled], 1)
    }
}

/// Weights `[to, from]` that resample a line of `from` values to `to` values, bicubic with
/// a = -0.75, no antialiasing, borders repeated, at the scale `(to + 0.1) / from`.
fn bicubic(from: usize, to: usize, device: &Device) -> Tensor<2> {
    const A: f64 = -0.75;
    let near = |d: f64| ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0; // d in 0..1
    let far = |d: f64| ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A; // d in 1..2
    let mut weights = vec![0.0_f32; to * from];
    for (row, line) in weights.chunks_exact_mut(from).enumerate() {
        let at = (row as f64 + 0.5) * from as f64 / (to as f64 + 0.1) - 0.5;
        let (first, fraction) = (at.floor() as isize - 1, at - at.floor());
        let taps = [far(1.0 + fraction), near(fraction), near(1.0 - fraction), far(2.0 - fraction)];
        for (offset, weight) in (0..).zip(taps) {
            let column = (first + offset).clamp(0, from as isize - 1);
            line[column as usize] += weight as f32;
        }
    }
    Tensor::from_data(TensorData::new(weights, [to, from]), device)
}

/// How many patches a picture has.
#[derive(Debug, Clone, Copy)]
struct Grid {
    rows: usize,
    columns: usize,
}

impl Grid {
    /// Splits `[n, 1 + rows * columns, channels]` into the class token and a map.
    fn features(self, tokens: Tensor<3>) -> Features {
        let [n, t, channels] = tokens.dims();
        let cls = tokens.clone().slice([0..n, 0..1, 0..channels]).reshape([n, channels]);
        let patches = tokens.slice([0..n, 1..t, 0..channels]);
        let map = patches.reshape([n, self.rows, self.columns, channels]).permute([0, 3, 1, 2]);
        Features { map, cls: Some(cls) }
    }
}

fn norm(norm: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
    layer_norm(norm, x, NORM_EPSILON as f32)
}

impl PatchEmbed {
    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`; what is left of the last whole patch is not looked at
    /// - output: `[n, rows * columns, width]`
    fn forward(&self, inputs: Tensor<4>) -> (Tensor<3>, Grid) {
        if !is_cpu(&inputs.device()) {
            return self.forward_unfolded(inputs);
        }
        let maps = conv2d(&self.proj, inputs, Nothing); // [n, width, rows, columns]
        let [n, width, rows, columns] = maps.dims();
        let tokens = maps.permute([0, 2, 3, 1]).reshape([n, rows * columns, width]);
        (tokens, Grid { rows, columns })
    }

    /// The same as one product. Burn 0.22.1's convolution on GPUs gets its weight's gradient
    /// wrong behind a class token: it takes the tokens' gradient, a slice, for a whole tensor.
    fn forward_unfolded(&self, inputs: Tensor<4>) -> (Tensor<3>, Grid) {
        let weight = self.proj.weight.val();
        let [width, channels, patch, _] = weight.dims();
        let [n, _, height, across] = inputs.dims();
        let grid = Grid { rows: height / patch, columns: across / patch };
        let Grid { rows, columns } = grid;
        let patches = inputs
            .slice([0..n, 0..channels, 0..rows * patch, 0..columns * patch])
            .reshape([n, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5]) // [n, rows, columns, channels, patch, patch]
            .reshape([n * rows * columns, channels * patch * patch]);
        let weight = weight.reshape([width, channels * patch * patch]).swap_dims(0, 1);
        let tokens = patches.matmul(weight).reshape([n, rows * columns, width]);
        let tokens = match &self.proj.bias {
            Some(bias) => tokens + bias.val().reshape([1, 1, width]),
            None => tokens,
        };
        (tokens, grid)
    }
}

impl Block {
    /// # Shapes
    ///
    /// - `x`: `[n, tokens, width]`
    /// - output: the same, or `None` when everything asked for was found on the way
    fn forward(
        &self,
        x: Tensor<3>,
        block_idx: usize,
        grid: Grid,
        precision: Precision,
        collector: &mut Collector<'_>,
    ) -> Option<Tensor<3>> {
        let [n, tokens, width] = x.dims();
        // [n, tokens, 3 * width]
        let qkv = precision.linear(&self.attn.qkv, norm(&self.norm1, x.clone()), Nothing);
        let part =
            |index: usize| qkv.clone().slice([0..n, 0..tokens, index * width..(index + 1) * width]);
        for (index, facet) in [Facet::Query, Facet::Key, Facet::Value].into_iter().enumerate() {
            collector.offer(facet, block_idx, || grid.features(part(index)));
        }
        let heads = self.attn.heads;
        let by_head =
            |index| part(index).reshape([n, tokens, heads, width / heads]).swap_dims(1, 2);
        collector.offer(Facet::Attn, block_idx, || {
            // [n, heads, 1, tokens]: how the class token looks at every token
            let query = by_head(0).slice([0..n, 0..heads, 0..1, 0..width / heads]);
            let scale = ((width / heads) as f64).sqrt();
            let scores = query.matmul(by_head(1).swap_dims(2, 3)).div_scalar(scale);
            let weights = softmax(scores, 3).reshape([n, heads, tokens]);
            // Sliced before anything is swapped: Burn 0.22.1 fuses the other way round to wrong
            // gradients on GPUs.
            let cls = weights.clone().slice([0..n, 0..heads, 0..1]).reshape([n, heads]);
            let map = weights.slice([0..n, 0..heads, 1..tokens]);
            Features { map: map.reshape([n, heads, grid.rows, grid.columns]), cls: Some(cls) }
        });
        if collector.is_full() {
            return None;
        }
        let x = precision.linear_add(&self.attn.proj, attention(qkv, heads), x);
        // [n, tokens, 4 * width]
        let hidden = precision.linear(&self.mlp.fc1, norm(&self.norm2, x.clone()), Gelu);
        Some(precision.linear_add(&self.mlp.fc2, hidden, x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Vit {
        let config = VitConfig { patch: 4, width: 8, depth: 2, heads: 2, side: 4 };
        Vit::init(Architecture::DinoVits16, &config, &Device::flex())
    }

    #[test]
    fn resampling_to_a_larger_grid_keeps_a_constant() {
        let weights = bicubic(4, 7, &Device::flex());
        let sums = weights.sum_dim(1).into_data().try_to_vec::<f32>().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums:?}");
    }

    #[test]
    fn the_trained_grid_is_not_resampled() {
        let vit = tiny();
        let same = vit.positions(Grid { rows: 4, columns: 4 });
        assert_eq!(same.into_data(), vit.pos_embed.val().into_data());
        assert_eq!(vit.positions(Grid { rows: 2, columns: 9 }).dims(), [1, 19, 8]);
    }

    #[test]
    fn patches_unfolded_are_the_convolutions() {
        let inputs =
            Tensor::random([2, 3, 11, 14], burn::tensor::Distribution::Default, &Device::flex());
        let embed = tiny().patch_embed;
        let (expected, _) = embed.forward(inputs.clone());
        let (found, grid) = embed.forward_unfolded(inputs);
        assert_eq!((found.dims(), grid.rows, grid.columns), ([2, 6, 8], 2, 3));
        let worst = (found - expected).abs().max().into_scalar::<f32>();
        assert!(worst < 1e-5, "{worst}");
    }

    #[test]
    fn attention_of_the_class_token_sums_to_one_over_all_tokens() {
        let taps = [Tap::new(Facet::Attn, 1), Tap::new(Facet::Key, 0), Tap::new(Facet::Token, 1)];
        let inputs =
            Tensor::random([1, 3, 12, 20], burn::tensor::Distribution::Default, &Device::flex());
        let found = tiny().features(inputs, &taps);
        assert_eq!(found[0].map.dims(), [1, 2, 3, 5]);
        assert_eq!(found[1].map.dims(), [1, 8, 3, 5]);
        let patches = found[0].map.clone().reshape([2, 15]).sum_dim(1).reshape([2]);
        let cls = found[0].cls.clone().unwrap().reshape([2]);
        let sums = (patches + cls).into_data().try_to_vec::<f32>().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    }
}
