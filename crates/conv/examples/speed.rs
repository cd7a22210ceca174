//! Our convolution beside Burn's own, pair by pair in one run: `cargo run --release -p engraft-conv --example speed`.
//!
//! Prints the median time of forward and backward of each layer and the ratio of the two.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::time::Instant;

use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Distribution, Tensor};

/// Pairs of runs of each layer.
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
    ("SpawnNet stage 0, 224", 8, 128, 128, 3, 1, 1, 28),
];

fn millis(conv: &Conv2d, x: &Tensor<4>, own: bool) -> f64 {
    let began = Instant::now();
    let x = x.clone().require_grad();
    let y = if own { engraft_conv::conv2d(conv, x) } else { conv.forward(x) };
    let grads = (y.clone() * y).sum().backward();
    // Ask for a number, so that nothing is left undone.
    let grad = conv.weight.val().grad(&grads).map(|grad| grad.sum().into_scalar::<f32>());
    assert!(grad.is_some(), "the weight has a gradient");
    began.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let device = Device::flex().autodiff();
    println!("{:<24} {:>10} {:>10} {:>8}", "forward and backward", "ours ms", "Burn ms", "ratio");
    for &(name, batch, from, to, kernel, stride, padding, size) in LAYERS {
        let conv = Conv2dConfig::new([from, to], [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .init(&device);
        let x = Tensor::random([batch, from, size, size], Distribution::Default, &device);
        millis(&conv, &x, true);
        millis(&conv, &x, false);
        let pairs = (0..PAIRS).map(|_| (millis(&conv, &x, true), millis(&conv, &x, false)));
        let (ours, burns): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let ratio = median(ours.iter().zip(&burns).map(|(ours, burns)| ours / burns).collect());
        println!("{name:<24} {:>10.2} {:>10.2} {ratio:>8.2}", median(ours), median(burns));
    }
}
