//! Layers that are not learned, and pictures on their way into them.

use burn::module::Module;
use burn::nn::LayerNormConfig;

use super::*;
use crate::planes::append_planes;

#[test]
fn layers_of_a_transformer_are_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(10);
        for _ in 0..12 {
            let mut pick = |most: usize| rng.random_range(0..most);
            let heads = 1 + pick(4);
            let (n, tokens, width) = (1 + pick(2), 1 + pick(120), heads * (1 + pick(70)));
            let name = format!("{isa}, [{n}, {tokens}, {width}], {heads} heads");
            let x = |width| {
                Tensor::<3>::random([n, tokens, width], Distribution::Normal(0.0, 2.0), &device)
            };
            let to = 1 + pick(100);
            let input = x(width);
            let layer = LinearConfig::new(width, to).init(&device);
            let expected = burn::tensor::activation::gelu(layer.forward(input.clone()));
            let found = fixed::linear(&layer, input.clone(), Activation::Gelu);
            assert_close(&found.into_data(), &expected.into_data(), &format!("linear, {name}"));
            let add = x(to);
            let expected = layer.forward(input.clone()) + add.clone();
            let found = fixed::linear_add(&layer, input.clone(), add);
            assert_close(&found.into_data(), &expected.into_data(), &format!("added, {name}"));
            let norm = LayerNormConfig::new(width).with_epsilon(1e-6).init(&device);
            let found = fixed::layer_norm(&norm, input.clone(), 1e-6);
            let expected = norm.forward(input);
            assert_close(&found.into_data(), &expected.into_data(), &format!("norm, {name}"));
            let qkv = x(3 * width);
            let found = fixed::attention(qkv.clone(), heads);
            // With automatic differentiation it is Burn's.
            let expected = fixed::attention(qkv.autodiff(), heads).inner();
            assert_close(&found.into_data(), &expected.into_data(), &format!("heads, {name}"));
        }
    });
}

#[test]
fn what_stands_for_gelu_on_gpus_has_its_values_and_gradients() {
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    let x = Tensor::<1>::random([4000], Distribution::Normal(0.0, 2.0), &device).require_grad();
    let with_gradient = |gelu: fn(Tensor<1>) -> Tensor<1>| {
        let y = gelu(x.clone());
        let gradients = y.clone().sum().backward();
        [y.inner().into_data(), x.grad(&gradients).unwrap().into_data()]
    };
    let found = with_gradient(fixed::gelu_by_erf);
    let expected = with_gradient(burn::tensor::activation::gelu);
    for ((found, expected), what) in found.iter().zip(&expected).zip(["values", "gradients"]) {
        assert_close(found, expected, what);
    }
}

#[test]
fn a_few_rows_through_a_linear_layer_are_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for round in 0..20 {
            let mut pick = |most: usize| 1 + rng.random_range(0..most);
            let [m, from, to] = [pick(10), pick(2000), pick(300)];
            let x = Tensor::<2>::random([m, from], Distribution::Uniform(-1.0, 1.0), &device);
            let x = if round % 2 == 0 { relu(x) } else { x };
            let layer = LinearConfig::new(from, to).init(&device);
            let (found, expected) = (linear(&layer, x.clone()), layer.forward(x));
            let name = format!("{isa}, [{m}, {from}] to {to}");
            assert_close(&found.into_data(), &expected.into_data(), &name);
        }
    });
}

#[test]
fn channels_of_length_one_are_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    for shape in [[2, 5, 3, 4], [1, 100, 7, 7]] {
        let x = random(shape, &device);
        let found = fixed::unit_norm(x.clone(), 1e-12);
        let expected = fixed::unit_norm(x.autodiff(), 1e-12).inner();
        assert_close(&found.into_data(), &expected.into_data(), &format!("{shape:?}"));
    }
}

#[test]
fn packed_layers_say_the_same_and_nothing_without_their_weights() {
    let device = Device::flex();
    let _alone = alone(&device);
    let conv = Conv2dConfig::new([3, 40], [3, 3]).init(&device);
    let layer = LinearConfig::new(30, 50).init(&device);
    let (x, rows) = (random([1, 3, 8, 8], &device), random([1, 1, 4, 30], &device).squeeze_dim(0));
    let say = |conv: &Conv2d, layer: &Linear| {
        let pixels = fixed::conv2d(conv, x.clone(), Activation::Relu);
        [pixels.into_data(), fixed::linear(layer, rows.clone(), Activation::Gelu).into_data()]
    };
    let expected = say(&conv, &layer);
    let ids = [conv.weight.id, layer.weight.id];
    let (conv, layer) = fixed::packed((conv, layer));
    assert_eq!(say(&conv, &layer), expected);
    assert_eq!(say(&conv.clone().freeze(), &layer.clone().freeze()), expected);
    assert_eq!([conv.weight.id, layer.weight.id], ids);
    assert!(conv.forward(x.clone()).is_nan().any().into_scalar::<bool>());
    assert!(layer.forward(rows.clone()).is_nan().any().into_scalar::<bool>());
}

/// Small pictures and large ones go different ways, which read the weights in different forms.
#[test]
fn packed_convolutions_take_pictures_of_any_size_in_any_order() {
    let device = Device::flex();
    let _alone = alone(&device);
    let conv = Conv2dConfig::new([40, 48], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init(&device);
    let small = random([2, 40, 1, 2], &device);
    let large = random([2, 40, 9, 8], &device).permute([0, 1, 3, 2]);
    for order in [[&small, &large, &small], [&large, &small, &large]] {
        for packed in [fixed::packed(conv.clone()), fixed::packed_conv2d(conv.clone())] {
            for x in order {
                let found = fixed::conv2d(&packed, x.clone(), Activation::None);
                let expected = conv.forward(x.clone());
                assert_close(&found.into_data(), &expected.into_data(), &format!("{:?}", x.dims()));
            }
        }
    }
}

#[test]
fn scaled_pictures_are_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    let scaling =
        fixed::Scaling { shift: [0.1, -0.2, 0.3], scale: [2.0, 0.5, 0.0], depth: [-0.5, 0.5] };
    for [n, height, width] in [[2, 5, 7], [1, 70, 80]] {
        let (rgb, depth) =
            (random([n, 3, height, width], &device), random([n, 1, height, width], &device));
        let found = fixed::scale_pictures(rgb.clone(), Some(depth.clone()), scaling);
        let part = |x: &Tensor<4>, channel: usize| x.clone().narrow(1, channel, 1);
        let colours = (0..3).map(|i| (part(&rgb, i) - scaling.shift[i]) * scaling.scale[i]);
        let expected = Tensor::cat(colours.chain([depth.clamp(-0.5, 0.5)]).collect(), 1);
        assert_close(&found.into_data(), &expected.clone().into_data(), "with depth");
        let found = fixed::scale_pictures(rgb.autodiff(), None, scaling);
        assert_close(&found.into_data(), &expected.narrow(1, 0, 3).into_data(), "colour");
    }
}

#[test]
fn each_channel_of_a_picture_gets_a_plane() {
    let _alone = alone(&Device::flex());
    with_each_isa(|isa| {
        for len in [0, 1, 15, 16, 17, 48, 65] {
            let pixels: Vec<u8> = (0..3 * len).map(|i| (i * 89 % 256) as u8).collect();
            let mut planes = vec![-1.0];
            append_planes(&pixels, &mut planes);
            let channel = |c: usize| pixels.iter().skip(c).step_by(3).map(|&x| f32::from(x));
            let expected: Vec<f32> = [-1.0].into_iter().chain((0..3).flat_map(channel)).collect();
            assert_eq!(planes, expected, "{isa}, {len} pixels");
        }
    });
}

#[test]
fn pictures_in_bytes_are_those_in_numbers() {
    let device = Device::flex();
    let _alone = alone(&device);
    let scaling = fixed::Scaling { shift: [110.0; 3], scale: [0.1, 0.2, 0.3], depth: [0.5, 2.0] };
    let place = |x: usize| (x * 89 + x / 251) % 256;
    with_each_isa(|isa| {
        for [n, height, width] in [[1, 1, 1], [2, 3, 5], [1, 70, 80], [3, 64, 9]] {
            let len = n * height * width;
            let bytes: Vec<u8> = (0..3 * len).map(|i| place(i) as u8).collect();
            let bytes = TensorData::new(bytes, [n, height, width, 3]);
            let bytes = Tensor::<4, Int>::from_data(bytes, (&device, DType::U8));
            let mut metres: Vec<f32> = (0..len).map(|i| place(i) as f32 / 100.0).collect();
            metres[len / 2] = f32::NAN;
            let depth = TensorData::new(metres, [n, 1, height, width]);
            let depth = Tensor::<4>::from_data(depth, &device);
            let numbers = bytes.clone().permute([0, 3, 1, 2]).float();
            let what = format!("{isa}, {:?}", [n, height, width]);
            let bits = |x: Tensor<4>| -> Vec<u32> {
                x.into_data().iter::<f32>().map(f32::to_bits).collect()
            };
            assert_eq!(bits(fixed::planes(bytes.clone())), bits(numbers.clone()), "{what}");
            for depth in [None, Some(depth)] {
                let found = fixed::scale_bytes(bytes.clone(), depth.clone(), scaling);
                let expected = fixed::scale_pictures(numbers.clone(), depth, scaling);
                assert_eq!(bits(found), bits(expected), "{what}");
            }
            let learned = fixed::scale_bytes(bytes.autodiff(), None, scaling);
            assert!(learned.is_autodiff() && learned.dims() == [n, 3, height, width], "{what}");
        }
    });
}
