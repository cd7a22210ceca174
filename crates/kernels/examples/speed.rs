//! Our kernels beside Burn's own, pair by pair in one run:
//! `cargo run --release -p engraft-kernels --example speed`.
//!
//! Prints the median time of each, the ratio, and the rate of ours, for a convolution that of its
//! multiplications as they are written down. With an argument only lines that begin with it.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::hint::black_box;
use std::time::Instant;

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LinearConfig, PaddingConfig2d};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Tensor};
use engraft_kernels::{Activation, conv2d, fixed};

/// Pairs of runs of each case.
const PAIRS: usize = 9;

/// Name, batch, channels in and out, kernel, stride, padding, height and width.
type Layer = (&'static str, usize, usize, usize, usize, usize, usize, usize);

const LAYERS: &[Layer] = &[
    ("Hansen 1", 64, 3, 32, 3, 2, 0, 96),
    ("Hansen 2", 64, 32, 32, 3, 2, 0, 47),
    ("Hansen 3", 64, 32, 32, 3, 2, 0, 23),
    ("SpawnNet stem, 96", 32, 4, 16, 4, 4, 0, 96),
    ("SpawnNet stage 0, 96", 32, 48, 48, 3, 1, 1, 12),
    ("SpawnNet stem, 224", 8, 4, 64, 4, 4, 0, 224),
    ("LfS convolution, 224", 8, 128, 128, 3, 1, 1, 56),
    ("SpawnNet stage 0, 224", 8, 128, 128, 3, 1, 1, 28),
    ("SpawnNet stage 1, 224", 8, 128, 128, 3, 1, 1, 14),
    ("SpawnNet stage 2, 224", 8, 128, 128, 3, 1, 1, 7),
    ("ResNet layer 3", 8, 256, 256, 3, 1, 1, 14),
    ("ResNet layer 4, batch 8", 8, 512, 512, 3, 1, 1, 7),
    ("adapter", 8, 384, 64, 1, 1, 0, 28),
    ("ResNet layer 4", 1, 512, 512, 3, 1, 1, 7),
];

fn train(conv: &Conv2d, x: &Tensor<4>, own: bool) {
    let x = x.clone().require_grad();
    let y = if own { conv2d(conv, x) } else { conv.forward(x) };
    let grads = y.sum().backward();
    black_box(conv.weight.val().grad(&grads));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a line; `run` does the work once, with our kernel or without.
fn compare(name: &str, products: usize, run: impl Fn(bool)) {
    if !name.starts_with(&std::env::args().nth(1).unwrap_or_default()) {
        return;
    }
    let millis = |own: bool| {
        let began = Instant::now();
        run(own);
        began.elapsed().as_secs_f64() * 1e3
    };
    millis(true);
    millis(false);
    let pairs = (0..PAIRS).map(|_| (millis(true), millis(false)));
    let (ours, burns): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let ratio = median(ours.iter().zip(&burns).map(|(ours, burns)| ours / burns).collect());
    let (ours, burns) = (median(ours), median(burns));
    let rate = 2.0 * products as f64 / ours / 1e6;
    println!("{name:<34} {ours:>10.3} {burns:>10.3} {ratio:>8.2} {rate:>8.0}");
}

fn main() {
    let device = Device::flex();
    println!("{:<34} {:>10} {:>10} {:>8} {:>8}", "", "ours ms", "Burn ms", "ratio", "GFLOP/s");
    for &(name, n, from, to, kernel, stride, padding, size) in LAYERS {
        let config = Conv2dConfig::new([from, to], [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding));
        let out = (size + 2 * padding - kernel) / stride + 1;
        let products = n * out * out * to * from * kernel * kernel;
        let x = Tensor::random([n, from, size, size], Distribution::Default, &device);
        let last = x.clone().permute([0, 2, 3, 1]).mul_scalar(1.0).permute([0, 3, 1, 2]);
        let conv = config.init(&device);
        compare(&format!("{name}, forward"), products, |own| {
            black_box(match own {
                true => fixed::conv2d(&conv, last.clone(), Activation::None),
                false => conv.forward(x.clone()),
            });
        });
        let conv = config.init(&device.clone().autodiff());
        let (x, last) = (x.autodiff(), last.autodiff());
        compare(&format!("{name}, with gradients"), 3 * products, |own| {
            train(&conv, if own { &last } else { &x }, own);
        });
    }
    for (name, n, rows) in [("S/16", 1, 197), ("S/16", 8, 197), ("S/8", 1, 785)] {
        let x = Tensor::<3>::random([n, rows, 384], Distribution::Default, &device);
        let linear = LinearConfig::new(384, 1536).init(&device);
        compare(&format!("ViT-{name}, linear, GELU, batch {n}"), n * rows * 384 * 1536, |own| {
            black_box(match own {
                true => fixed::linear(&linear, x.clone(), Activation::Gelu),
                false => gelu(linear.forward(x.clone())),
            });
        });
        let qkv = Tensor::<3>::random([n, rows, 1152], Distribution::Default, &device);
        let tracked = qkv.clone().autodiff(); // which runs Burn's own
        compare(&format!("ViT-{name}, attention, batch {n}"), 2 * n * rows * rows * 384, |own| {
            black_box(fixed::attention(if own { qkv.clone() } else { tracked.clone() }, 6));
        });
    }
}
