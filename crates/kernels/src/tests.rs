//! Every kernel against Burn's own operation, over random shapes, with each instruction set.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::nn::LinearConfig;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{Distribution, Int, TensorData, Tolerance};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::lanes::Isa;

mod int8;
mod layers;

/// Relative to the larger of the value and the tensor's scale: sums of many terms in another
/// order. Where little is left of terms of either sign, and it is all, it counts as 0.1.
fn assert_close(found: &TensorData, expected: &TensorData, what: &str) {
    assert_close_beside(found, expected, 0.1, what);
}

/// The same, where the terms of a sum are larger than the sum: at least `least` counts as the scale.
fn assert_close_beside(found: &TensorData, expected: &TensorData, least: f32, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let [found, expected] = [found, expected].map(|data| data.try_to_vec::<f32>().unwrap());
    let scale = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let apart = (found - expected).abs();
        assert!(apart <= 1e-5 * scale.max(least), "{what}, value {i}: {found} for {expected}");
    }
}

fn random(shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

/// A loss that weighs every output differently.
fn loss(y: &Tensor<4>) -> Tensor<1> {
    let [n, c, h, w] = y.dims();
    let weights = Tensor::<1, Int>::arange(0..(n * c * h * w) as i64, &y.device());
    (y.clone() * (weights.float() * 0.37).sin().reshape([n, c, h, w])).sum()
}

/// Held by each test: the instruction set and Burn's random numbers belong to one at a time, and
/// the numbers begin anew.
pub(crate) fn alone(device: &Device) -> MutexGuard<'static, ()> {
    static TEST: Mutex<()> = Mutex::new(());
    let alone = TEST.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(7);
    alone
}

/// Runs `check` with every instruction set that the processor has, the widest last, which stays.
fn with_each_isa(check: impl Fn(&str)) {
    let mut there: Vec<_> = Isa::there().collect();
    there.reverse();
    for isa in there {
        isa.choose();
        check(&format!("{isa:?}"));
    }
}

/// A convolution whose shape is drawn from `rng`, and a picture for it.
struct Case {
    conv: Conv2d,
    shape: [usize; 4],
    channels_last: bool,
    name: String,
}

impl Case {
    fn draw(rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let channels = [1, 2, 3, 4, 9, 16, 17, 33, 48, 64];
        let mut pick = |most: usize| rng.random_range(0..most);
        let (mut from, mut to) = (channels[pick(10)], channels[pick(10)]);
        let mut kernel = [1 + pick(5), 1 + pick(5)];
        let mut stride = [1 + pick(3), 1 + pick(3)];
        // Half of them are what there is a way with fewer products for.
        if pick(2) == 0 {
            [from, to] = [channels[7 + pick(3)], channels[6 + pick(4)]];
            (kernel, stride) = ([3, 3], [1, 1]);
        }
        let pads = [pick(3), pick(3), pick(3), pick(3)];
        let size = [kernel[0] + pick(30), kernel[1] + pick(30)];
        let (n, channels_last) = (1 + pick(3), pick(2) == 0);
        let [top, left, bottom, right] = pads;
        let conv = Conv2dConfig::new([from, to], kernel)
            .with_stride(stride)
            .with_padding(PaddingConfig2d::Explicit(top, left, bottom, right))
            .with_bias(pick(4) > 0)
            .init(device);
        let shape = [n, from, size[0], size[1]];
        let name = format!(
            "{shape:?} to {to}, kernel {kernel:?}, stride {stride:?}, padding {pads:?}, {}",
            if channels_last { "channels last" } else { "channels first" }
        );
        Self { conv, shape, channels_last, name }
    }

    fn picture(&self, device: &Device) -> Tensor<4> {
        let [n, c, h, w] = self.shape;
        if self.channels_last {
            random([n, h, w, c], device).permute([0, 3, 1, 2])
        } else {
            random(self.shape, device)
        }
    }
}

/// A picture of which `before` makes no value as near to zero as rounding: sums in another order
/// would open the gate of the [`relu`] behind it for one and close it for the other. Sums of nothing,
/// over padding alone, are zero in any order.
fn beside_the_gate(
    draw: impl Fn() -> Tensor<4>,
    before: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    loop {
        let x = draw();
        let sums = before(x.clone()).abs();
        let nothing = sums.clone().equal_elem(0.0);
        let nearest = sums.mask_fill(nothing, 1.0).min().into_scalar::<f32>();
        if nearest > 1e-6 {
            return x;
        }
    }
}

#[test]
fn convolutions_and_their_gradients_are_burns() {
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for round in 0..100 {
            let case = Case::draw(&mut rng, &device);
            let draw = || case.picture(&device);
            let plain = |x: Tensor<4>| case.conv.forward(x);
            let x = if round % 3 == 2 { beside_the_gate(draw, plain) } else { draw() };
            let run = |own: bool| {
                // Detached, so that both runs start from the same leaf.
                let x = x.clone().detach().require_grad();
                let y = match (round % 3, own) {
                    (0, true) => conv2d(&case.conv, x.clone()),
                    (0, false) => plain(x.clone()),
                    (1, true) => conv2d_after_relu(&case.conv, x.clone()),
                    (1, false) => plain(relu(x.clone())),
                    (_, true) => conv2d_then_relu(&case.conv, x.clone()),
                    (_, false) => relu(plain(x.clone())),
                };
                let grads = loss(&y).backward();
                let bias = case.conv.bias.as_ref().and_then(|bias| bias.val().grad(&grads));
                (
                    y.into_data(),
                    x.grad(&grads).unwrap().into_data(),
                    case.conv.weight.val().grad(&grads).unwrap().into_data(),
                    bias.map(Tensor::into_data),
                )
            };
            let (ours, burns) = (run(true), run(false));
            let name = format!("{isa}, {}", case.name);
            assert_close(&ours.0, &burns.0, &name);
            assert_close(&ours.1, &burns.1, &format!("gradient of the input, {name}"));
            // Terms of both signs, up to 1, one per pixel of the output.
            let [n, _, height, width] = burns.0.shape().dims();
            let least = ((n * height * width) as f32).sqrt();
            let what = format!("gradient of the weight, {name}");
            assert_close_beside(&ours.2, &burns.2, least, &what);
            if let (Some(found), Some(expected)) = (&ours.3, &burns.3) {
                let what = format!("gradient of the bias, {name}");
                assert_close_beside(found, expected, least, &what);
            }
        }
    });
}

#[test]
fn convolutions_that_end_in_something_are_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    let activations = [Activation::None, Activation::Relu, Activation::Relu6, Activation::Gelu];
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        for round in 0..100 {
            let case = Case::draw(&mut rng, &device);
            let x = case.picture(&device);
            let activation = activations[round % 4];
            let y = case.conv.forward(x.clone());
            let name = format!("{isa}, {activation:?}, {}", case.name);
            let expected = fixed_activation(y.clone() * 4.0, activation);
            let conv = scaled(&case.conv, 4.0);
            let found = fixed::conv2d(&conv, x.clone(), activation);
            assert_close(&found.into_data(), &expected.into_data(), &name);
            let add = random(y.dims(), &device);
            let expected = fixed_activation(y * 4.0 + add.clone(), activation);
            let found = fixed::conv2d_add(&conv, x, add, activation);
            assert_close(&found.into_data(), &expected.into_data(), &format!("added to, {name}"));
        }
    });
}

#[test]
fn fewer_products_are_taken_where_that_is_faster() {
    let suits = |kernel: [usize; 2], stride: [usize; 2], output: [usize; 2], channels: usize| {
        let window = conv::Window { kernel, stride, origin: [0, 0], output };
        [None, Some(1)].map(|pictures| winograd::suits(&window, channels, channels, pictures))
    };
    assert_eq!(suits([3, 3], [1, 1], [56, 56], 64), [true, true]);
    // Weights that change are transformed for a single small picture.
    assert_eq!(suits([3, 3], [1, 1], [7, 7], 512), [true, false]);
    // A tile of which most is thrown away, and channels that cost more to transform than to sum.
    assert_eq!(suits([3, 3], [1, 1], [1, 1], 512), [false, false]);
    assert_eq!(suits([3, 3], [1, 1], [56, 56], 16), [false, false]);
    assert_eq!(suits([3, 3], [2, 2], [56, 56], 64), [false, false]);
    assert_eq!(suits([3, 1], [1, 1], [56, 56], 64), [false, false]);
}

fn scaled(conv: &Conv2d, factor: f32) -> Conv2d {
    let mut conv = conv.clone();
    conv.weight = conv.weight.map(|weight| weight * factor);
    conv.bias = conv.bias.map(|bias| bias.map(|bias| bias * factor));
    conv
}

fn fixed_activation(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Gelu => burn::tensor::activation::gelu(x),
    }
}

#[test]
fn depthwise_convolutions_and_padding_to_the_same_size_are_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for _ in 0..40 {
            let mut pick = |most: usize| rng.random_range(0..most);
            let channels = [1, 3, 8, 16, 24, 40, 96][pick(7)];
            let groups = if pick(3) == 0 { 1 } else { channels };
            let (kernel, stride) = ([1, 3, 5][pick(3)], 1 + pick(2));
            let shape = [1 + pick(2), channels, 1 + pick(40), 1 + pick(40)];
            let conv = Conv2dConfig::new([channels; 2], [kernel; 2])
                .with_stride([stride; 2])
                .with_groups(groups)
                .with_padding(PaddingConfig2d::Same)
                .init(&device);
            let x = random(shape, &device);
            let name =
                format!("{isa}, {shape:?}, kernel {kernel}, stride {stride}, {groups} groups");
            let expected = relu(conv.forward(x.clone()));
            let found = fixed::conv2d(&conv, x, Activation::Relu);
            assert_close(&found.into_data(), &expected.into_data(), &name);
        }
    });
}

#[test]
fn a_residual_block_and_its_gradients_are_burns() {
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        for (channels, height, width) in [(3, 5, 6), (64, 14, 14), (48, 12, 11), (128, 7, 7)] {
            let conv = || {
                Conv2dConfig::new([channels; 2], [3, 3])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init(&device)
            };
            let (first, second) = (conv(), conv());
            let draw = || random([2, channels, height, width], &device);
            let x = beside_the_gate(draw, |x| first.forward(relu(x)));
            let run = |own: bool| {
                let x = x.clone().detach().require_grad();
                let y = if own {
                    residual_block(&first, &second, x.clone())
                } else {
                    x.clone() + second.forward(relu(first.forward(relu(x.clone()))))
                };
                let grads = loss(&y).backward();
                let mut found = vec![y.into_data(), x.grad(&grads).unwrap().into_data()];
                for conv in [&first, &second] {
                    found.push(conv.weight.val().grad(&grads).unwrap().into_data());
                    let bias = conv.bias.as_ref().unwrap().val();
                    found.push(bias.grad(&grads).unwrap().into_data());
                }
                found
            };
            for (i, (ours, burns)) in run(true).iter().zip(&run(false)).enumerate() {
                assert_close(ours, burns, &format!("{isa}, {channels} channels, part {i}"));
            }
        }
    });
}

#[test]
fn pooling_resizing_and_joining_and_their_gradients_are_burns() {
    type Run = fn(Tensor<4>, bool) -> Tensor<4>;
    let pool: Run = |x, own| {
        if own {
            return max_pool2d(x, 3, 2, 1);
        }
        let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
        burn::tensor::module::max_pool2d(x, options)
    };
    let halve: Run = |x, own| resized(x, [5, 4], own);
    let double: Run = |x, own| resized(x, [21, 30], own);
    let joined: Run = |x, own| {
        let other = x.clone().mul_scalar(2.0);
        let other = other.slice([0..2, 0..3]);
        if own { join(x, other) } else { Tensor::cat(vec![x, other], 1) }
    };
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    let all = [(pool, "pool"), (halve, "halve"), (double, "double"), (joined, "join")];
    with_each_isa(|isa| {
        for ((run, name), shape) in
            all.iter().flat_map(|one| [(one, [2, 5, 11, 9]), (one, [2, 70, 10, 8])])
        {
            let x = random(shape, &device);
            let [ours, burns] = [true, false].map(|own| {
                let forward = run(x.clone().inner(), own);
                let x = x.clone().detach().require_grad();
                let y = run(x.clone(), own);
                let grads = loss(&y).backward();
                [forward.into_data(), y.into_data(), x.grad(&grads).unwrap().into_data()]
            });
            let name = format!("{name} of {shape:?}, {isa}");
            assert_close(&ours[0], &burns[0], &format!("{name}, without gradients"));
            assert_close(&ours[1], &burns[1], &name);
            assert_close(&ours[2], &burns[2], &format!("gradient of {name}"));
        }
    });
}

#[test]
fn resizing_by_products_is_burns() {
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    for size in [[5, 4], [21, 30], [11, 3], [1, 1]] {
        let x = random([2, 3, 11, 9], &device);
        let both = [true, false].map(|own| {
            let x = x.clone().detach().require_grad();
            let y = match own {
                true => interpolate::by_products(x.clone(), size),
                false => resized(x.clone(), size, false),
            };
            let grads = loss(&y).backward();
            [y.into_data(), x.grad(&grads).unwrap().into_data()]
        });
        assert_close(&both[0][0], &both[1][0], &format!("to {size:?}"));
        assert_close(&both[0][1], &both[1][1], &format!("gradient of {size:?}"));
    }
}

fn resized(x: Tensor<4>, size: [usize; 2], own: bool) -> Tensor<4> {
    if own {
        return resize(x, size);
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size(size);
    burn::tensor::module::interpolate(x, options)
}

#[test]
fn the_gradient_is_the_same_every_time() {
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    let conv = Conv2dConfig::new([40, 50], [3, 3]).init(&device);
    let x = random([9, 40, 22, 22], &device);
    let gradient = || {
        let grads = loss(&conv2d(&conv, x.clone())).backward();
        conv.weight.val().grad(&grads).unwrap().into_data()
    };
    let first = gradient();
    for _ in 0..5 {
        assert_eq!(gradient(), first);
    }
}

#[test]
fn packed_weights_follow_the_weights() {
    let device = Device::flex();
    let _alone = alone(&device);
    let mut conv = Conv2dConfig::new([3, 4], [3, 3]).init(&device);
    let x = random([1, 3, 8, 8], &device);
    for _ in 0..3 {
        let found = conv2d(&conv, x.clone()).into_data();
        assert_close(&found, &conv.forward(x.clone()).into_data(), "after a change");
        assert_eq!(found, conv2d(&conv, x.clone()).into_data());
        conv.weight = conv.weight.map(|weight| weight * 0.5 + 0.1);
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let device = Device::flex();
    let _alone = alone(&device);
    let conv = Conv2dConfig::new([1, 1], [1, 1]).init(&device);
    let x = Tensor::<4>::from_data(TensorData::new(vec![f32::NAN, -1.0], [1, 1, 1, 2]), &device);
    for y in [
        conv2d_after_relu(&conv, x.clone()),
        fixed::conv2d(&conv, x.clone(), Activation::Relu6),
        fixed::conv2d(&conv, x.clone(), Activation::Gelu),
        max_pool2d(x, 1, 1, 0),
    ] {
        let y = y.into_data().try_to_vec::<f32>().unwrap();
        assert!(y[0].is_nan() && !y[1].is_nan(), "{y:?}");
    }
}

#[test]
fn groups_and_dilation_are_left_to_burn() {
    let device = Device::flex();
    let _alone = alone(&device);
    let config = Conv2dConfig::new([4, 4], [3, 3]);
    for conv in [config.clone().with_groups(2), config.with_dilation([2, 2])] {
        let conv = conv.init(&device);
        let x = random([1, 4, 8, 8], &device);
        let expected = conv.forward(x.clone()).into_data();
        conv2d(&conv, x.clone()).into_data().assert_eq(&expected, true);
        let found = fixed::conv2d(&conv, x, Activation::None).into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::default());
    }
}
