//! Products in bytes beside those in single precision, pair by pair in one run:
//! `cargo run --release -p engraft-kernels --example int8`.
//!
//! Prints the fastest of each, the ratio, and the rate of the bytes.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::hint::black_box;
use std::time::Instant;

use burn::nn::LinearConfig;
use burn::tensor::{Device, Distribution, Tensor};
use engraft_kernels::{Activation, Precision};

/// Pairs of runs of each case.
const PAIRS: usize = 40;

/// Name, rows, columns in and out, activation.
const LAYERS: &[(&str, usize, usize, usize, Activation)] = &[
    ("ViT-S queries, keys, values", 197, 384, 1152, Activation::None),
    ("ViT-S after attention", 197, 384, 384, Activation::None),
    ("ViT-S wide", 197, 384, 1536, Activation::Gelu),
    ("ViT-S wide without GELU", 197, 384, 1536, Activation::None),
    ("ViT-S narrow", 197, 1536, 384, Activation::None),
    ("ViT-B wide", 197, 768, 3072, Activation::Gelu),
    ("ViT-B narrow", 197, 3072, 768, Activation::None),
    ("EfficientNet at 112, narrow", 12544, 32, 16, Activation::None),
    ("EfficientNet at 112, wide", 12544, 16, 96, Activation::Relu6),
    ("EfficientNet at 56, narrow", 3136, 96, 24, Activation::None),
    ("EfficientNet at 56, wide", 3136, 24, 144, Activation::Relu6),
    ("EfficientNet at 28, narrow", 784, 240, 40, Activation::None),
    ("EfficientNet at 28, wide", 784, 40, 240, Activation::Relu6),
    ("EfficientNet at 14, narrow", 196, 480, 80, Activation::None),
    ("EfficientNet at 14, wide", 196, 80, 480, Activation::Relu6),
    ("EfficientNet at 7, narrow", 49, 1152, 192, Activation::None),
    ("EfficientNet at 7, wide", 49, 192, 1152, Activation::Relu6),
    ("ResNet at 56", 3136, 256, 64, Activation::Relu),
    ("ResNet at 14", 196, 1024, 256, Activation::Relu),
];

fn main() {
    let device = Device::flex();
    for &(name, rows, from, to, activation) in LAYERS {
        let layer = LinearConfig::new(from, to).init(&device);
        let x = Tensor::<3>::random([1, rows, from], Distribution::Normal(0.0, 1.0), &device);
        let millis = |precision: Precision| {
            let began = Instant::now();
            black_box(precision.linear(&layer, x.clone(), activation));
            began.elapsed().as_secs_f64() * 1e3
        };
        let (mut single, mut int8) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..PAIRS {
            single = single.min(millis(Precision::Single));
            int8 = int8.min(millis(Precision::Int8));
        }
        let rate = 2.0 * (rows * from * to) as f64 / (int8 * 1e6);
        let ratio = int8 / single;
        println!(
            "{name:<30} {single:8.3} ms single {int8:8.3} ms int8 {ratio:6.2} {rate:8.0} Gop/s"
        );
    }
}
