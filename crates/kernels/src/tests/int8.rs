//! Products in bytes: the same whole numbers as plain sums, the same bits in every way to make
//! them, and as near to single precision as bytes allow.

use std::cell::RefCell;

use burn::tensor::s;

use super::*;
use crate::bytes::Way;
use crate::conv::Ending;
use crate::int8::{product, quantize_rows, words};
use crate::panels::Panels;
use crate::threads::written;

/// Values of which every row has a size of its own; some rows have no negative ones.
fn rows(rng: &mut ChaCha8Rng, m: usize, k: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(m * k);
    for row in 0..m {
        let size = 10.0_f32.powi(rng.random_range(-3..4));
        let least = if row % 3 == 0 { 0.0 } else { -size };
        values.extend((0..k).map(|_| rng.random_range(least..size)));
    }
    values
}

/// `[k, n]` in bytes.
fn packed_words(weights: &[f32], k: usize, n: usize) -> Panels {
    let rows: Vec<_> = (0..k).map(|row| row * n).collect();
    words(weights, &rows, n, 1)
}

fn run(way: Way, x: &[f32], k: usize, weights: &Panels, ending: Ending) -> Vec<f32> {
    let n = weights.n();
    // SAFETY: the kernel writes every row, and the ways asked for are there.
    unsafe { written(x.len() / k * n, |y| product(way, x, k, weights, ending, y, n)) }
}

/// The bytes of rows, and each row's scale and byte for zero.
fn quantized(x: &[f32], k: usize) -> (Vec<u8>, Vec<[f32; 2]>) {
    let (mut bytes, mut scales) = (vec![0; x.len()], vec![[0.0; 2]; x.len() / k]);
    // SAFETY: none beyond the instruction set, which is looked up.
    unsafe { quantize_rows(x, k, &mut bytes, k, &mut scales) };
    (bytes, scales)
}

/// The bytes of a column of weights and what they are multiplied by, without the kernel's help.
fn column(weights: &[f32], n: usize, column: usize) -> (Vec<i64>, f32) {
    let values = || weights[column..].iter().step_by(n);
    let scale = values().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
    // Nothing but zeros is zero: `as` makes that of what is no number.
    (values().map(|value| (value / scale).round_ties_even() as i64).collect(), scale)
}

#[test]
fn sums_are_those_of_whole_numbers_in_every_way() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for round in 0..40 {
        let mut pick = |most: usize| 1 + rng.random_range(0..most);
        let [m, k, n] = [pick(60), pick(400), pick(100)];
        let x = rows(&mut rng, m, k);
        let weights: Vec<f32> = (0..k * n).map(|_| rng.random_range(-2.0..2.0)).collect();
        let (bytes, scales) = quantized(&x, k);
        let packed = packed_words(&weights, k, n);
        for way in Way::there() {
            let found = run(way, &x, k, &packed, Ending::NOTHING);
            for j in 0..n {
                let (column, weight_scale) = column(&weights, n, j);
                for i in 0..m {
                    let [scale, zero] = scales[i];
                    let products = bytes[i * k..][..k].iter().zip(&column);
                    let sum: i64 =
                        products.map(|(&byte, w)| (i64::from(byte) - zero as i64) * w).sum();
                    let expected = sum as f32 * (weight_scale * scale);
                    let found = found[i * n + j];
                    assert_eq!(found, expected, "{way:?}, round {round}, [{m}, {k}, {n}], {i} {j}");
                }
            }
        }
    }
}

#[test]
fn the_largest_bytes_do_not_overflow() {
    let (m, k, n) = (3, crate::int8::MOST_INPUTS, 5);
    let x = vec![1.0; m * k];
    let weights: Vec<f32> = (0..k * n).map(|i| if i % n % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let packed = packed_words(&weights, k, n);
    for way in Way::there() {
        for (i, &y) in run(way, &x, k, &packed, Ending::NOTHING).iter().enumerate() {
            let expected = if i % n % 2 == 0 { k as f32 } else { -(k as f32) };
            assert!((y - expected).abs() <= 1e-5 * k as f32, "{way:?}: {y} for {expected}");
        }
    }
}

#[test]
fn a_value_is_at_most_half_a_step_away_and_zero_not_at_all() {
    let device = Device::flex();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for k in [1, 3, 15, 16, 17, 64, 333] {
            let mut x = rows(&mut rng, 9, k);
            x[k / 2] = 0.0;
            let (bytes, scales) = quantized(&x, k);
            let rows = x.chunks_exact(k).zip(bytes.chunks_exact(k)).zip(scales);
            for ((x, bytes), [scale, zero]) in rows {
                for (&byte, &x) in bytes.iter().zip(x) {
                    let back = scale * (f32::from(byte) - zero);
                    assert!((back - x).abs() <= 0.501 * scale, "{isa}: {back} for {x}, {scale}");
                    assert!(x != 0.0 || back == 0.0, "{isa}: {back} for zero");
                }
            }
        }
    });
}

#[test]
fn every_way_gives_the_same_bits_whatever_follows() {
    let device = Device::flex();
    let _alone = alone(&device);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for activation in [Activation::None, Activation::Relu, Activation::Relu6, Activation::Gelu] {
        for (m, k, n) in [(2, 384, 40), (197, 61, 33), (29, 512, 96), (5, 4, 7), (30, 16, 16)] {
            let mut x = rows(&mut rng, m, k);
            x[..k].fill(0.0);
            let mut draw = |len: usize| -> Vec<f32> {
                (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
            };
            let (weights, bias, add) = (draw(k * n), draw(n), draw(m * n));
            let packed = packed_words(&weights, k, n);
            for add in [None, Some(add.as_slice())] {
                let ending = Ending { bias: Some(&bias), gate: None, add, activation };
                let bits = RefCell::new(Vec::new());
                with_each_isa(|isa| {
                    for way in Way::there() {
                        let y = run(way, &x, k, &packed, ending);
                        let y: Vec<_> = y.into_iter().map(f32::to_bits).collect();
                        bits.borrow_mut().push((format!("{isa}, {way:?}"), y));
                    }
                });
                let bits = bits.into_inner();
                for (name, found) in &bits {
                    assert_eq!(found, &bits[0].1, "{name}, {activation:?}, [{m}, {k}, {n}]");
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (m, k, n) = (90, 640, 70);
    let x = rows(&mut rng, m, k);
    let weights: Vec<f32> = (0..k * n).map(|_| rng.random_range(-1.0..1.0)).collect();
    let packed = packed_words(&weights, k, n);
    let all = run(Way::best(), &x, k, &packed, Ending::NOTHING);
    for (x, y) in x.chunks_exact(k).zip(all.chunks_exact(n)) {
        assert_eq!(run(Way::best(), x, k, &packed, Ending::NOTHING), y);
    }
}

#[test]
fn layers_in_bytes_are_nearly_burns() {
    let device = Device::flex();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for round in 0..20 {
            let mut pick = |most: usize| 1 + rng.random_range(0..most);
            let [n, tokens, from, to] = [pick(2), pick(40), 8 + pick(300), pick(100)];
            let name = format!("{isa}, {round}: [{n}, {tokens}, {from}] to {to}");
            let x = |width| {
                Tensor::<3>::random([n, tokens, width], Distribution::Normal(0.0, 1.0), &device)
            };
            let (input, add) = (x(from), x(to));
            let layer = LinearConfig::new(from, to).init(&device);
            // Half a step of either for each of `from` products, if all erred the same way.
            let steps = |most: f32, sum: f32| most / 254.0 * sum + 1e-4;
            let most = 2.0 * input.clone().abs().max().into_scalar::<f32>();
            let sum = layer.weight.val().abs().sum_dim(0).max().into_scalar::<f32>();
            let largest = layer.weight.val().abs().max().into_scalar::<f32>();
            let inputs = input.clone().abs().sum_dim(2).max().into_scalar::<f32>();
            let bound = 0.51 * steps(most, sum) + 0.51 * steps(2.0 * largest, inputs) * 1.01;
            let near = |found: Tensor<3>, expected: Tensor<3>, what: &str| {
                let apart = (found - expected).abs().max().into_scalar::<f32>();
                assert!(apart <= bound, "{what}, {name}: {apart} apart, {bound} at most");
                assert!(apart > 0.0, "{what}, {name}: computed in single precision");
            };
            let int8 = Precision::Int8;
            let expected = burn::tensor::activation::gelu(layer.forward(input.clone()));
            near(int8.linear(&layer, input.clone(), Activation::Gelu), expected, "linear");
            let expected = layer.forward(input.clone()) + add.clone();
            near(int8.linear_add(&layer, input.clone(), add), expected, "added");
            let same = Precision::Single.linear(&layer, input.clone(), Activation::None);
            assert_close(&same.into_data(), &layer.forward(input).into_data(), &name);
        }
    });
}

#[test]
fn a_convolution_of_one_pixel_is_a_linear_layer_in_bytes_and_others_stay() {
    let device = Device::flex();
    let _alone = alone(&device);
    let (x, add) = (random([2, 64, 5, 7], &device), random([2, 80, 5, 7], &device));
    let conv = Conv2dConfig::new([64, 80], [1, 1]).init(&device);
    let mut layer = LinearConfig::new(64, 80).init(&device);
    let weight = conv.weight.val().reshape([80, 64]).transpose();
    layer.weight = burn::module::Param::from_tensor(weight);
    layer.bias = conv.bias.clone();
    let tokens = |x: Tensor<4>, width| x.permute([0, 2, 3, 1]).reshape([2, 35, width]);
    let int8 = Precision::Int8;
    let expected = int8.linear(&layer, tokens(x.clone(), 64), Activation::Relu6);
    let found = int8.conv2d(&conv, x.clone(), Activation::Relu6);
    assert_eq!(tokens(found.clone(), 80).into_data(), expected.into_data());
    let with_stride = Conv2d { stride: [2, 3], ..conv.clone() };
    let expected = found.slice([s![..], s![..], s![..;2], s![..;3]]);
    let found = int8.conv2d(&with_stride, x.clone(), Activation::Relu6);
    assert_eq!(found.into_data(), expected.into_data());
    let expected = int8.linear_add(&layer, tokens(x.clone(), 64), tokens(add.clone(), 80));
    let found = int8.conv2d_add(&conv, x.clone(), add, Activation::None);
    assert_eq!(tokens(found, 80).into_data(), expected.into_data());
    for config in [
        Conv2dConfig::new([64, 80], [3, 3]),
        Conv2dConfig::new([64, 64], [1, 1]).with_groups(64),
        Conv2dConfig::new([64, 16], [1, 1]),
    ] {
        let conv = config.init(&device);
        let found = int8.conv2d(&conv, x.clone(), Activation::None);
        let expected = fixed::conv2d(&conv, x.clone(), Activation::None);
        assert_eq!(found.into_data(), expected.into_data(), "{config:?}");
    }
}

#[test]
fn a_row_that_is_no_number_or_nothing_keeps_that_to_itself() {
    let device = Device::flex();
    let _alone = alone(&device);
    with_each_isa(|isa| {
        let layer = LinearConfig::new(20, 9).init(&device);
        let x = Tensor::<3>::random([1, 6, 20], Distribution::Normal(0.0, 1.0), &device);
        let int8 = Precision::Int8;
        let plain = int8.linear(&layer, x.clone(), Activation::None).into_data();
        let mut values = x.into_data().try_to_vec::<f32>().unwrap();
        values[3] = f32::NAN;
        values[20 + 19] = f32::INFINITY;
        values[2 * 20] = f32::NEG_INFINITY;
        values[3 * 20..4 * 20].fill(0.0);
        values[4 * 20..5 * 20].fill(f32::MIN_POSITIVE);
        let x = Tensor::<3>::from_data(TensorData::new(values, [1, 6, 20]), &device);
        for activation in [Activation::None, Activation::Gelu, Activation::Relu6] {
            let y = int8.linear(&layer, x.clone(), activation).into_data();
            let y = y.try_to_vec::<f32>().unwrap();
            assert!(y[..27].iter().all(|y| y.is_nan()), "{isa}, {activation:?}: {y:?}");
            assert!(y[27..].iter().all(|y| y.is_finite()), "{isa}, {activation:?}: {y:?}");
            if activation == Activation::None {
                let bias = layer.bias.as_ref().unwrap().val().into_data();
                let bias = bias.try_to_vec::<f32>().unwrap();
                assert_eq!((&y[27..36], &y[36..45]), (&bias[..], &bias[..]), "{isa}");
                assert_eq!(y[45..], plain.try_to_vec::<f32>().unwrap()[45..], "{isa}");
            }
        }
    });
}

#[test]
fn a_column_of_weights_that_is_no_number_keeps_that_to_itself() {
    let device = Device::flex();
    let _alone = alone(&device);
    let mut layer = LinearConfig::new(6, 4).init(&device);
    let mut values = layer.weight.val().into_data().try_to_vec::<f32>().unwrap();
    (values[1], values[4 + 2]) = (f32::NAN, f32::INFINITY);
    (0..6).for_each(|row| values[4 * row + 3] = 0.0);
    let weight = Tensor::from_data(TensorData::new(values, [6, 4]), &device);
    layer.weight = burn::module::Param::from_tensor(weight);
    let y = Precision::Int8.linear(&layer, Tensor::ones([1, 1, 6], &device), Activation::None);
    let y = y.into_data().try_to_vec::<f32>().unwrap();
    let last = layer.bias.as_ref().unwrap().val().into_data().try_to_vec::<f32>().unwrap()[3];
    assert!(y[0].is_finite() && y[1].is_nan() && y[2].is_nan() && y[3] == last, "{y:?}");
}

#[test]
fn layers_packed_in_bytes_say_the_same_and_nothing_in_single_precision() {
    let device = Device::flex();
    let _alone = alone(&device);
    let int8 = Precision::Int8;
    let layer = LinearConfig::new(30, 70).init(&device);
    let x = Tensor::<3>::random([2, 5, 30], Distribution::Default, &device);
    let expected = int8.linear(&layer, x.clone(), Activation::Gelu).into_data();
    let packed = int8.packed(layer);
    assert_eq!(int8.linear(&packed, x.clone(), Activation::Gelu).into_data(), expected);
    let plain = packed.weight.val().into_data().try_to_vec::<f32>().unwrap();
    assert!(plain.iter().all(|value| value.is_nan()));

    let convs = [
        Conv2dConfig::new([70, 90], [1, 1]),
        Conv2dConfig::new([70, 9], [1, 1]),
        Conv2dConfig::new([70, 9], [3, 3]),
        Conv2dConfig::new([70, 70], [3, 3]).with_groups(70),
    ];
    let x = random([1, 70, 6, 6], &device);
    for config in convs {
        let conv = config.init(&device);
        let expected = int8.conv2d(&conv, x.clone(), Activation::Relu).into_data();
        let packed = int8.packed(conv);
        assert_eq!(int8.conv2d(&packed, x.clone(), Activation::Relu).into_data(), expected);
    }
}

#[test]
fn what_is_learned_stays_in_single_precision() {
    let device = Device::flex().autodiff();
    let _alone = alone(&device);
    let layer = LinearConfig::new(8, 3).init(&device);
    let x = Tensor::<3>::random([1, 4, 8], Distribution::Default, &device);
    let y = Precision::Int8.linear(&layer, x.clone(), Activation::None);
    assert_eq!(y.clone().inner().into_data(), layer.forward(x).inner().into_data());
    assert!(layer.weight.val().grad(&y.sum().backward()).is_some());
}
