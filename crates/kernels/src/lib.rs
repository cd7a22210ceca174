//! What the CPU spends its time on, written for it: convolutions, products, attention, norms.
//!
//! Each function takes a module or tensors of Burn's and returns a tensor. On the `flex` backend
//! it runs a kernel of this crate: channels last, weights packed, sums kept in registers, all cores
//! where they are worth waking, with AVX-512, AVX2 or plain Rust as the processor has it
//! (`ENGRAFT_ISA=avx2` or `portable` asks for less). On every other backend, and where a module
//! asks for something that has no kernel, it does the same with Burn's own operations.
//! `examples/speed.rs` prints how the two compare.
//!
//! The functions at the top have gradients; those in [`fixed`] have none on `flex` and fuse what
//! follows them. [`Precision`] has those again, in single precision or with products in bytes.
//!
//! ```
//! use burn::nn::conv::Conv2dConfig;
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::flex();
//! let conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
//! let x = Tensor::<4>::ones([1, 3, 6, 6], &device);
//! assert_eq!(engraft_kernels::conv2d(&conv, x).dims(), [1, 8, 4, 4]);
//! ```
//!
//! # Unsafe code
//!
//! This crate alone has any. Three things need it: vector instructions behind a check of the
//! processor (`lanes.rs`, `bytes.rs`, `planes.rs`), tiles that read and write through pointers (`tile.rs`,
//! `int8.rs`, `winograd.rs` and what calls them), and tasks that write disjoint parts of one output
//! (`threads.rs`, `workers.rs`). Each block says why its bounds hold; the tests compare every kernel
//! with Burn's own over random shapes, with each instruction set that the processor has.

mod adamw;
mod attention;
mod bytes;
mod conv;
mod depthwise;
mod few;
pub mod fixed;
mod flex;
mod fused;
mod int8;
mod interpolate;
mod lanes;
mod learned;
mod math;
mod memory;
mod norm;
mod panels;
mod picture;
mod planes;
mod pool;
mod precision;
mod product;
mod threads;
mod tile;
mod unfused;
mod winograd;
mod workers;

use burn::backend::Dispatch;
use burn::nn::conv::Conv2d;
use burn::nn::{Linear, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor};

pub use adamw::{AdamStep, AdamTensors, adam, is_one_pass, moving_average, scaled, sum_of_squares};
use flex::{Padding, Spec};
use fused::Fused;
use learned::Learned;
pub use math::Activation;
pub use memory::{keep_freed_memory, use_small_pages};
pub use precision::Precision;

/// `conv.forward(x)`.
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height, width]`
/// - output: `[batch, channels_out, height_out, width_out]`
pub fn conv2d(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    convolve(conv, x, false)
}

/// `conv.forward(relu(x))`.
///
/// # Shapes
///
/// As for [`conv2d`].
pub fn conv2d_after_relu(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    convolve(conv, x, true)
}

/// `relu(conv.forward(x))`.
///
/// # Shapes
///
/// As for [`conv2d`].
pub fn conv2d_then_relu(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    match spec(conv, &x) {
        Some(spec) if conv.groups == 1 => {
            run(conv, x, Spec { activation: Activation::Relu, ..spec })
        }
        _ => relu(conv.forward(x)),
    }
}

fn convolve(conv: &Conv2d, x: Tensor<4>, with_relu: bool) -> Tensor<4> {
    match spec(conv, &x) {
        Some(spec) if conv.groups == 1 => run(conv, x, Spec { relu: with_relu, ..spec }),
        _ => conv.forward(if with_relu { relu(x) } else { x }),
    }
}

fn run(conv: &Conv2d, x: Tensor<4>, spec: Spec) -> Tensor<4> {
    let bias = bias(conv, &x.device()).into_dispatch();
    let (x, weight) = (x.into_dispatch(), conv.weight.val().into_dispatch());
    Tensor::from_dispatch(Dispatch::tiled_conv(x, weight, bias, spec))
}

/// `linear.forward(x)`, which for a few rows without gradients is read through once.
///
/// # Shapes
///
/// - `x`: `[batch, from]`
/// - output: `[batch, to]`
pub fn linear(linear: &Linear, x: Tensor<2>) -> Tensor<2> {
    let ([rows, _], [from, to]) = (x.dims(), linear.weight.dims());
    let few = rows <= few::MOST_ROWS && from > 0 && to > 0;
    match &linear.bias {
        Some(bias) if few && is_plain_flex(&x) => {
            let (weight, bias) = (linear.weight.val().into_dispatch(), bias.val().into_dispatch());
            Tensor::from_dispatch(Dispatch::few_rows(x.into_dispatch(), weight, bias))
        }
        _ => linear.forward(x),
    }
}

/// A linear layer over the channels of each pixel.
///
/// # Shapes
///
/// - `x`: `[batch, from, height, width]`
/// - output: `[batch, to, height, width]`
pub fn linear_over_pixels(linear: &Linear, x: Tensor<4>) -> Tensor<4> {
    let ([from, to], [n, _, height, width]) = (linear.weight.dims(), x.dims());
    match &linear.bias {
        Some(bias) if is_flex(&x) => {
            let weight = linear.weight.val().transpose().reshape([to, from, 1, 1]);
            let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
            let bias = bias.val().into_dispatch();
            Tensor::from_dispatch(Dispatch::tiled_conv(x, weight, bias, Spec::ONE_PIXEL))
        }
        _ => {
            let pixels = x.permute([0, 2, 3, 1]).reshape([n, height * width, from]);
            let y = linear.forward(pixels).reshape([n, height, width, to]);
            y.permute([0, 3, 1, 2])
        }
    }
}

/// `x + second.forward(relu(first.forward(relu(x))))`.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: the same
///
/// # Panics
///
/// When a convolution changes the shape.
pub fn residual_block(first: &Conv2d, second: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let specs = [first, second].map(|conv| spec(conv, &x));
    match specs {
        [Some(spec), Some(other)] if spec == other && first.groups == 1 && second.groups == 1 => {
            let bias = [first, second].map(|conv| bias(conv, &x.device()).into_dispatch());
            let weight = [first, second].map(|conv| conv.weight.val().into_dispatch());
            let ([first_bias, second_bias], [first, second]) = (bias, weight);
            let spec = Spec { relu: true, ..spec };
            let x = x.into_dispatch();
            let y = Dispatch::residual_block(x, first, first_bias, second, second_bias, spec);
            Tensor::from_dispatch(y)
        }
        _ => {
            let y = conv2d_after_relu(first, x.clone());
            x + conv2d_after_relu(second, y)
        }
    }
}

/// The largest value under a square window, the border never among them.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, height_out, width_out]`
pub fn max_pool2d(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    if is_flex(&x) && kernel <= 16 && 2 * padding <= kernel {
        let spec = Spec {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 4],
            ..Spec::ONE_PIXEL
        };
        return Tensor::from_dispatch(Dispatch::largest(x.into_dispatch(), spec));
    }
    let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]);
    burn::tensor::module::max_pool2d(x, options.with_padding([padding; 2]))
}

/// Bilinear, corners not aligned, nothing averaged when it shrinks: PyTorch's `Upsample`.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: `[batch, channels, size[0], size[1]]`
pub fn resize(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if [height, width] == size {
        return x;
    }
    if is_flex(&x) {
        return Tensor::from_dispatch(Dispatch::bilinear(x.into_dispatch(), size));
    }
    if x.is_autodiff() {
        return interpolate::by_products(x, size);
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
    burn::tensor::module::interpolate(x, options.with_output_size(size))
}

/// The channels of `a`, then those of `b`.
///
/// # Shapes
///
/// - `a`, `b`: `[batch, channels_a or channels_b, height, width]`
/// - output: `[batch, channels_a + channels_b, height, width]`
pub fn join(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let ([n, _, height, width], [m, _, other_height, other_width]) = (a.dims(), b.dims());
    if is_flex(&a) && is_flex(&b) && [n, height, width] == [m, other_height, other_width] {
        return Tensor::from_dispatch(Dispatch::join(a.into_dispatch(), b.into_dispatch()));
    }
    Tensor::cat(vec![a, b], 1)
}

/// How a convolution moves, where there is a kernel for it.
fn spec(conv: &Conv2d, x: &Tensor<4>) -> Option<Spec> {
    let [_, _, height, width] = x.dims();
    let [kernel, stride] = [conv.kernel_size, conv.stride];
    let padding: Padding = match conv.padding {
        PaddingConfig2d::Valid => [0; 4],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [top, left, bottom, right],
        PaddingConfig2d::Same => {
            let pads = |size: usize, axis: usize| {
                let needed =
                    (size.div_ceil(stride[axis]).saturating_sub(1)) * stride[axis] + kernel[axis];
                let missing = needed.saturating_sub(size);
                [missing / 2, missing - missing / 2]
            };
            let ([top, bottom], [left, right]) = (pads(height, 0), pads(width, 1));
            [top, left, bottom, right]
        }
    };
    let [top, left, bottom, right] = padding;
    let fits = height + top + bottom >= kernel[0] && width + left + right >= kernel[1];
    let plain = conv.dilation == [1, 1] && x.dtype() == DType::F32;
    (plain && fits && is_flex(x)).then_some(Spec {
        kernel,
        stride,
        padding,
        keep: !x.is_autodiff(),
        ..Spec::ONE_PIXEL
    })
}

fn bias(conv: &Conv2d, device: &Device) -> Tensor<1> {
    match &conv.bias {
        Some(bias) => bias.val(),
        None => Tensor::zeros([conv.weight.dims()[0]], device),
    }
}

/// Whether tensors of `device` run on this crate's kernels.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex() || *device == Device::flex().autodiff()
}

fn is_flex<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is_cpu(&x.device())
}

/// Whether `flex` runs it without automatic differentiation.
fn is_plain_flex<const D: usize>(x: &Tensor<D>) -> bool {
    is_flex(x) && !x.is_autodiff()
}

#[cfg(test)]
mod tests;
