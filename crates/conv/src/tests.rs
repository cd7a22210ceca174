//! Agreement with Burn's own convolution, over many shapes.

use burn::tensor::{Distribution, TensorData, Tolerance};

use super::*;
use burn::nn::conv::Conv2dConfig;

/// Channels in and out, kernel, stride, padding (top, left, bottom, right), height and width.
type Case = (usize, usize, [usize; 2], [usize; 2], Padding, [usize; 2]);

const CASES: &[Case] = &[
    (3, 8, [4, 4], [4, 4], [0; 4], [32, 32]),
    (4, 6, [3, 3], [1, 1], [1; 4], [9, 7]),
    (5, 3, [1, 1], [1, 1], [0; 4], [6, 5]),
    (2, 4, [1, 1], [2, 2], [0; 4], [7, 6]),
    (3, 2, [3, 3], [2, 2], [0, 0, 1, 1], [8, 10]),
    (2, 3, [7, 5], [2, 1], [3, 2, 3, 2], [15, 9]),
    (1, 1, [3, 1], [3, 2], [2, 0, 0, 1], [5, 4]),
    (64, 33, [3, 3], [1, 1], [1; 4], [40, 41]), // several tiles, none of them whole rows
];

fn run(case: &Case, own: bool, x: TensorData, conv: &Conv2d, device: &Device) -> [TensorData; 4] {
    let x = Tensor::<4>::from_data(x, device).require_grad();
    let y = if own { conv2d(conv, x.clone()) } else { conv.forward(x.clone()) };
    // A loss that weighs every output differently.
    let [n, c, h, w] = y.dims();
    let weights = Tensor::<1, burn::tensor::Int>::arange(0..(n * c * h * w) as i64, device);
    let weights = (weights.float() * 0.37).sin().reshape([n, c, h, w]);
    let grads = (y.clone() * weights).sum().backward();
    let grad = |found: Option<Tensor<4>>| found.unwrap_or_else(|| panic!("{case:?}")).into_data();
    let bias = conv.bias.as_ref().and_then(|bias| bias.val().grad(&grads));
    [
        y.into_data(),
        grad(x.grad(&grads)),
        grad(conv.weight.val().grad(&grads)),
        bias.unwrap_or_else(|| panic!("{case:?}")).into_data(),
    ]
}

#[test]
fn output_and_gradients_equal_burns_own_for_every_shape() {
    let device = Device::flex().autodiff();
    device.seed(7);
    for case in CASES {
        let &(from, to, kernel, stride, [top, left, bottom, right], [h, w]) = case;
        let config = Conv2dConfig::new([from, to], kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig2d::Explicit(top, left, bottom, right));
        let conv = config.init(&device);
        let x = Tensor::<4>::random([3, from, h, w], Distribution::Uniform(-1.0, 1.0), &device);
        let x = x.into_data();
        let ours = run(case, true, x.clone(), &conv, &device);
        let burns = run(case, false, x, &conv, &device);
        for (ours, burns) in ours.iter().zip(&burns) {
            ours.assert_approx_eq::<f32>(burns, Tolerance::rel_abs(1e-4, 1e-4));
        }
    }
}

#[test]
fn without_gradients_it_is_the_same_number() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([2, 3], [3, 3]).with_bias(false).init(&device);
    let x = Tensor::<4>::random([2, 2, 6, 5], Distribution::Default, &device);
    let (ours, burns) = (conv2d(&conv, x.clone()), conv.forward(x));
    ours.into_data().assert_approx_eq::<f32>(&burns.into_data(), Tolerance::absolute(1e-5));
}

#[test]
fn the_gradient_is_the_same_every_time() {
    let device = Device::flex().autodiff();
    let conv = Conv2dConfig::new([4, 5], [3, 3]).init(&device);
    let case = (4, 5, [3, 3], [1, 1], [0; 4], [12, 12]);
    let x = Tensor::<4>::random([9, 4, 12, 12], Distribution::Default, &device).into_data();
    let first = run(&case, true, x.clone(), &conv, &device);
    for _ in 0..5 {
        assert_eq!(run(&case, true, x.clone(), &conv, &device), first);
    }
}

#[test]
fn groups_and_dilation_are_left_to_burn() {
    let device = Device::flex();
    let conv = Conv2dConfig::new([4, 4], [3, 3]).with_groups(4).init(&device);
    let x = Tensor::<4>::random([1, 4, 8, 8], Distribution::Default, &device);
    let (ours, burns) = (conv2d(&conv, x.clone()), conv.forward(x));
    ours.into_data().assert_eq(&burns.into_data(), true);
}
