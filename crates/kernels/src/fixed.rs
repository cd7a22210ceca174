//! Layers that are not learned, each with what follows it in one pass.
//!
//! On a `flex` tensor without automatic differentiation these run kernels of this crate; with it,
//! and on every other backend, they are Burn's own operations one after another, which have
//! gradients.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::backend::Dispatch;
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2d;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::activation::{gelu, relu};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::flex::Spec;
use crate::fused::Fused;
use crate::{Activation, bias, is_cpu, is_plain_flex, spec, winograd};

/// `activation(conv.forward(x))`.
///
/// # Shapes
///
/// As for [`conv2d`](crate::conv2d).
pub fn conv2d(conv: &Conv2d, x: Tensor<4>, activation: Activation) -> Tensor<4> {
    let Some(spec) = spec(conv, &x).filter(|_| is_plain_flex(&x)) else {
        return activate(conv.forward(x), activation);
    };
    let spec = Spec { activation, ..spec };
    let [outputs, per_group, ..] = conv.weight.dims();
    let depthwise = conv.groups > 1 && per_group == 1 && outputs == x.dims()[1];
    if conv.groups > 1 && !depthwise {
        return activate(conv.forward(x), activation);
    }
    let bias = bias(conv, &x.device()).into_dispatch();
    let (x, weight) = (x.into_dispatch(), conv.weight.val().into_dispatch());
    Tensor::from_dispatch(if depthwise {
        Dispatch::depthwise_then(x, weight, bias, spec)
    } else {
        Dispatch::conv_then(x, weight, bias, spec)
    })
}

/// `activation(conv.forward(x) + add)`.
///
/// # Shapes
///
/// As for [`conv2d`](crate::conv2d); `add` has the output's.
pub fn conv2d_add(
    conv: &Conv2d,
    x: Tensor<4>,
    add: Tensor<4>,
    activation: Activation,
) -> Tensor<4> {
    match spec(conv, &x).filter(|_| is_plain_flex(&x) && conv.groups == 1) {
        Some(spec) => {
            let spec = Spec { activation, ..spec };
            let bias = bias(conv, &x.device()).into_dispatch();
            let (x, weight) = (x.into_dispatch(), conv.weight.val().into_dispatch());
            let add = add.into_dispatch();
            Tensor::from_dispatch(Dispatch::conv_add_then(x, weight, bias, add, spec))
        }
        None => activate(conv.forward(x) + add, activation),
    }
}

/// `activation(linear.forward(x))`.
///
/// # Shapes
///
/// - `x`: `[batch, rows, from]`
/// - output: `[batch, rows, to]`
pub fn linear(linear: &Linear, x: Tensor<3>, activation: Activation) -> Tensor<3> {
    let [n, rows, from] = x.dims();
    match &linear.bias {
        Some(bias) if is_plain_flex(&x) => {
            let x = x.reshape([n * rows, from]).into_dispatch();
            let (weight, bias) = (linear.weight.val().into_dispatch(), bias.val().into_dispatch());
            let y = Tensor::<2>::from_dispatch(Dispatch::linear_then(x, weight, bias, activation));
            let [_, to] = y.dims();
            y.reshape([n, rows, to])
        }
        _ => activate(linear.forward(x), activation),
    }
}

/// `linear.forward(x) + add`.
///
/// # Shapes
///
/// - `x`: `[batch, rows, from]`
/// - `add`, output: `[batch, rows, to]`
pub fn linear_add(linear: &Linear, x: Tensor<3>, add: Tensor<3>) -> Tensor<3> {
    let ([n, rows, from], [_, _, to]) = (x.dims(), add.dims());
    match &linear.bias {
        Some(bias) if is_plain_flex(&x) => {
            let x = x.reshape([n * rows, from]).into_dispatch();
            let (weight, bias) = (linear.weight.val().into_dispatch(), bias.val().into_dispatch());
            let add = add.reshape([n * rows, to]).into_dispatch();
            let y = Tensor::<2>::from_dispatch(Dispatch::linear_add(x, weight, bias, add));
            y.reshape([n, rows, to])
        }
        _ => linear.forward(x) + add,
    }
}

/// `norm.forward(x)`, with `epsilon` as it was configured.
///
/// # Shapes
///
/// - `x`, output: `[batch, rows, width]`
pub fn layer_norm(norm: &LayerNorm, x: Tensor<3>, epsilon: f32) -> Tensor<3> {
    match &norm.beta {
        Some(beta) if is_plain_flex(&x) => {
            let (scale, shift) = (norm.gamma.val().into_dispatch(), beta.val().into_dispatch());
            Tensor::from_dispatch(Dispatch::norm_rows(x.into_dispatch(), scale, shift, epsilon))
        }
        _ => norm.forward(x),
    }
}

/// The values of every head mixed by the scaled products of its queries and keys.
///
/// # Shapes
///
/// - `qkv`: `[batch, tokens, 3 * width]`: queries, keys and values, heads side by side in each
/// - output: `[batch, tokens, width]`
pub fn attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    if is_plain_flex(&qkv) {
        return Tensor::from_dispatch(Dispatch::mix_heads(qkv.into_dispatch(), heads));
    }
    let [n, tokens, wide] = qkv.dims();
    let width = wide / 3;
    let by_head = |part: usize| {
        let part = qkv.clone().slice([0..n, 0..tokens, part * width..(part + 1) * width]);
        part.reshape([n, tokens, heads, width / heads]).swap_dims(1, 2)
    };
    let options = AttentionModuleOptions::default(); // scaled by 1 / sqrt(width / heads)
    let mixed =
        burn::tensor::module::attention(by_head(0), by_head(1), by_head(2), None, None, options);
    mixed.swap_dims(1, 2).reshape([n, tokens, width])
}

/// The channels of every pixel, `offset` added, divided by their Euclidean length.
///
/// # Shapes
///
/// - `x`, output: `[batch, channels, height, width]`
pub fn unit_norm(x: Tensor<4>, offset: f32) -> Tensor<4> {
    if is_plain_flex(&x) {
        return Tensor::from_dispatch(Dispatch::unit_channels(x.into_dispatch(), offset));
    }
    let x = x.add_scalar(offset);
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}

/// How pixels become what a network reads: `(colour - shift) * scale` for each channel, and depth
/// kept within `depth`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Taken from red, green and blue.
    pub shift: [f32; 3],
    /// What the rest is multiplied by.
    pub scale: [f32; 3],
    /// Lowest and highest depth.
    pub depth: [f32; 2],
}

/// Pictures as a network reads them. They are constants: no gradient flows into a picture.
///
/// # Shapes
///
/// - `rgb`: `[batch, 3, height, width]`
/// - `depth`: `[batch, 1, height, width]`
/// - output: `[batch, 3, height, width]`, or 4 channels with depth the last
pub fn scale_pictures(rgb: Tensor<4>, depth: Option<Tensor<4>>, scaling: Scaling) -> Tensor<4> {
    if rgb.is_autodiff() {
        let depth = depth.map(|depth| if depth.is_autodiff() { depth.inner() } else { depth });
        return scale_pictures(rgb.inner(), depth, scaling).autodiff();
    }
    if is_plain_flex(&rgb) && depth.as_ref().is_none_or(is_plain_flex) {
        let rgb = rgb.into_dispatch();
        return Tensor::from_dispatch(match depth {
            Some(depth) => Dispatch::scale_pictures(rgb, depth.into_dispatch(), scaling),
            None => Dispatch::scale_colour(rgb, scaling),
        });
    }
    let device = rgb.device();
    let per_channel = |values: [f32; 3]| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device)
    };
    let colour = (rgb - per_channel(scaling.shift)) * per_channel(scaling.scale);
    match depth {
        Some(depth) => {
            let [low, high] = scaling.depth;
            Tensor::cat(vec![colour, depth.clamp(low, high)], 1)
        }
        None => colour,
    }
}

/// [`scale_pictures`] of bytes, as a camera gives them.
///
/// # Shapes
///
/// - `bytes`: `[batch, height, width, 3]`
/// - `depth`: `[batch, 1, height, width]`
/// - output: `[batch, 3, height, width]`, or 4 channels with depth the last
pub fn scale_bytes(bytes: Tensor<4, Int>, depth: Option<Tensor<4>>, scaling: Scaling) -> Tensor<4> {
    if bytes.is_autodiff() {
        return scale_bytes(bytes.inner(), depth.map(Tensor::inner), scaling).autodiff();
    }
    if !is_flex_bytes(&bytes) || !depth.as_ref().is_none_or(is_plain_flex) {
        return scale_pictures(planes(bytes), depth, scaling);
    }
    let bytes = bytes.into_dispatch();
    Tensor::from_dispatch(match depth {
        Some(depth) => Dispatch::scale_bytes(bytes, depth.into_dispatch(), scaling),
        None => Dispatch::scale_colour_of_bytes(bytes, scaling),
    })
}

/// Bytes as numbers from 0 to 255.
///
/// # Shapes
///
/// - `bytes`: `[batch, height, width, 3]`
/// - output: `[batch, 3, height, width]`
pub fn planes(bytes: Tensor<4, Int>) -> Tensor<4> {
    if bytes.is_autodiff() {
        return planes(bytes.inner()).autodiff();
    }
    if is_flex_bytes(&bytes) {
        return Tensor::from_dispatch(Dispatch::planes(bytes.into_dispatch()));
    }
    bytes.permute([0, 3, 1, 2]).float()
}

/// A module whose weights are not to be learned or saved any more, held once: packed as the
/// functions here read them, and nowhere else.
///
/// Weights of linear layers and of convolutions without groups move; on any device but a `flex` one
/// without automatic differentiation none do. A tensor of their shape that is not a number stays in
/// their place, so that nothing else can be computed from it unnoticed.
pub fn packed<M: Module>(module: M) -> M {
    module.map(&mut Packer { transformed: false })
}

/// The same for one convolution. Its stride is known here, so that weights which are multiplied
/// transformed are held transformed from the beginning, not from the first picture on.
pub fn packed_conv2d(conv: Conv2d) -> Conv2d {
    let [outputs, channels, ..] = conv.weight.dims();
    let can = conv.kernel_size == [3, 3] && conv.stride == [1, 1] && conv.groups == 1;
    conv.map(&mut Packer { transformed: can && winograd::suits_large(channels, outputs) })
}

struct Packer {
    /// Whether weights are held as convolutions of fewer products multiply them.
    transformed: bool,
}

impl ModuleMapper for Packer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weight = param.val();
        // One input channel is a kernel for each channel, which is small and read otherwise.
        let moves = D == 2 || D == 4 && weight.dims()[1] > 1;
        if !moves || !is_plain_flex(&weight) {
            return param;
        }
        let one = Tensor::<D>::full([1; D], f32::NAN, &weight.device());
        let stand_in = one.expand(weight.dims());
        let (weight, stand_in) = (weight.into_dispatch(), stand_in.into_dispatch());
        let packed = Dispatch::pack_away(weight, stand_in, self.transformed);
        Param::initialized(param.id, Tensor::from_dispatch(packed).set_require_grad(false))
    }
}

fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Gelu if is_cpu(&x.device()) => gelu(x),
        Activation::Gelu => gelu_by_erf(x),
    }
}

/// GELU of operations whose gradients are exact. Burn's own has one of an approximation by tanh on
/// every backend but `flex`, which is off by a thousandth.
pub(crate) fn gelu_by_erf<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let below = x.clone().mul_scalar(FRAC_1_SQRT_2).erf().add_scalar(1.0);
    x.mul(below).mul_scalar(0.5)
}

fn is_flex_bytes(x: &Tensor<4, Int>) -> bool {
    x.dtype() == DType::U8 && is_cpu(&x.device())
}
