//! Convolution on the CPU, forward and both gradients, as an operation of Burn's.
//!
//! [`conv2d`] runs a [`Conv2d`] module. On the `flex` backend it lowers pictures tile by tile into
//! matrices that fit the cache and multiplies those; everywhere else, and for grouped or dilated
//! convolutions, it is the module's own `forward`. `flex` 0.22 lowers the gradient of the weights
//! to one thin product per input channel, which takes up most of a training step; here it is one
//! product per tile. `examples/speed.rs` prints how the two compare.
//!
//! ```
//! use burn::nn::conv::Conv2dConfig;
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::flex();
//! let conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
//! let x = Tensor::<4>::ones([1, 3, 6, 6], &device);
//! assert_eq!(engraft_conv::conv2d(&conv, x).dims(), [1, 8, 4, 4]);
//! ```

mod adamw;
mod lower;
mod op;

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::{DType, Device, Tensor};

pub use adamw::{AdamStep, AdamTensors, adam, is_one_pass, moving_average, scaled, sum_of_squares};
use lower::Padding;

/// `conv.forward(x)`, faster where it can be.
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height, width]`
/// - output: `[batch, channels_out, height_out, width_out]`
pub fn conv2d(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let plain = conv.groups == 1 && conv.dilation == [1, 1];
    match padding(&conv.padding) {
        Some(padding) if plain && x.dtype() == DType::F32 && is_flex(&x.device()) => {
            let weight = conv.weight.val();
            let bias = match &conv.bias {
                Some(bias) => bias.val(),
                None => Tensor::zeros([weight.dims()[0]], &x.device()),
            };
            op::conv2d(x, weight, bias, conv.stride, padding)
        }
        _ => conv.forward(x),
    }
}

fn padding(config: &PaddingConfig2d) -> Option<Padding> {
    match *config {
        PaddingConfig2d::Valid => Some([0; 4]),
        PaddingConfig2d::Explicit(top, left, bottom, right) => Some([top, left, bottom, right]),
        PaddingConfig2d::Same => None,
    }
}

fn is_flex(device: &Device) -> bool {
    *device == Device::flex() || *device == Device::flex().autodiff()
}

#[cfg(test)]
mod tests;
