//! What computing frozen features in int8 changes: every tap of a run's backbone, and the actions that
//! the same weights come to, on demonstrations.
//!
//! ```text
//! cargo run --release -p engraft-train --example precision -- RUN DATA [SAMPLES]
//! ```
//!
//! `RUN` is a checkpoint, such as `runs/spawnnet/last`. Errors are of a tap's features on all pictures,
//! relative to their length; cosines are of each pixel's channels, their mean and the least. Actions are
//! compared as shares of the range that each dimension has in the demonstrations.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use engraft_core::Observation;
use engraft_datasets::PastEnd;
use engraft_policies::{Checkpoint, Images, Precision};

/// Pictures that go through the backbone at once.
const AT_ONCE: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (run, data, samples) = match arguments.as_slice() {
        [run, data] => (run, data, 64),
        [run, data, samples] => (run, data, samples.parse()?),
        _ => return Err("expected RUN DATA [SAMPLES]".into()),
    };
    let device = Device::flex();
    let [single, int8] = Precision::ALL
        .map(|precision| Checkpoint::open_in(Path::new(run), &device, Some(precision)));
    let (single, int8) = (single?, int8?);
    let dataset = engraft_datasets::open(Path::new(data))?;
    let contract = &single.contract;
    let mut stacks: Vec<Vec<Observation>> = Vec::new();
    let mut ranges = vec![[f32::INFINITY, f32::NEG_INFINITY]; contract.spec.action_dim()];
    let steps = |at| (0..dataset.episode_len(at)).map(move |step| (at, step));
    let places: Vec<_> = (0..dataset.num_episodes()).flat_map(steps).collect();
    for index in 0..samples.min(places.len()) {
        let (at, step) = places[index * places.len() / samples];
        let episode = dataset.episode(at)?;
        let (frames, horizon) = (contract.num_frames, contract.horizon);
        let sample = engraft_datasets::sample(&*episode, step, frames, horizon, PastEnd::Repeat)?;
        for action in sample.actions.actions() {
            for (range, &value) in ranges.iter_mut().zip(action) {
                *range = [range[0].min(value), range[1].max(value)];
            }
        }
        stacks.push(sample.frames);
    }
    taps(&single, &int8, &stacks, &device);
    actions(&single, &int8, &stacks, &ranges)
}

/// Sums over all pictures that a tap's row is made of.
#[derive(Default)]
struct Apart {
    error: f64,
    length: f64,
    cosines: f64,
    pixels: f64,
    least: f64,
}

fn taps(single: &Checkpoint, int8: &Checkpoint, stacks: &[Vec<Observation>], device: &Device) {
    let [single, int8] =
        [single, int8].map(|run| run.policy.backbone().expect("it opened in int8").network());
    let all = single.architecture().taps();
    let mut rows: Vec<Apart> =
        all.iter().map(|_| Apart { least: 1.0, ..Apart::default() }).collect();
    let views: Vec<_> = stacks.iter().flatten().flat_map(|frame| &frame.views).collect();
    for views in views.chunks(AT_ONCE) {
        let size = [views[0].rgb.height(), views[0].rgb.width()];
        let images = Images::new(views.iter().map(|view| &view.rgb), size, device).numbers();
        let [expected, found] =
            [single, int8].map(|network| network.frozen_features(images.clone(), &all));
        for ((row, expected), found) in rows.iter_mut().zip(expected).zip(found) {
            let (a, b) = (expected.map, found.map);
            let sum = |x: Tensor<4>| x.sum().into_scalar::<f32>();
            row.error += f64::from(sum((b.clone() - a.clone()).square()));
            row.length += f64::from(sum(a.clone().square()));
            let lengths = (a.clone().square().sum_dim(1) * b.clone().square().sum_dim(1)).sqrt();
            let cosines = (a * b).sum_dim(1) / lengths.add_scalar(1e-20);
            row.pixels += cosines.dims().iter().product::<usize>() as f64;
            row.cosines += f64::from(sum(cosines.clone()));
            row.least = row.least.min(f64::from(cosines.min().into_scalar::<f32>()));
        }
    }
    println!("{:<10} {:>10} {:>12} {:>12}", "tap", "error", "cosine", "least");
    for (tap, row) in all.iter().zip(rows) {
        let (error, cosine) = ((row.error / row.length).sqrt(), row.cosines / row.pixels);
        println!("{tap:<10} {:>8.2} % {cosine:>12.5} {:>12.5}", 100.0 * error, row.least);
    }
}

fn actions(
    single: &Checkpoint,
    int8: &Checkpoint,
    stacks: &[Vec<Observation>],
    ranges: &[[f32; 2]],
) -> Result<(), Box<dyn Error>> {
    let dims = ranges.len();
    let (mut sums, mut most, mut count) = (vec![0.0; dims], vec![0.0_f64; dims], 0.0);
    for stack in stacks {
        let [expected, found] = [single, int8].map(|run| run.predict(&[stack]));
        let (expected, found) = (expected?.remove(0), found?.remove(0));
        for (expected, found) in expected.actions().zip(found.actions()) {
            for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
                let range = f64::from(ranges[i][1] - ranges[i][0]).max(1e-9);
                let apart = f64::from((expected - found).abs()) / range;
                sums[i] += apart;
                most[i] = most[i].max(apart);
            }
            count += 1.0;
        }
    }
    println!("\n{:<24} {:>10} {:>10}", "action", "mean", "most");
    for (i, action) in single.contract.spec.actions.iter().enumerate() {
        let (mean, most) = (100.0 * sums[i] / count, 100.0 * most[i]);
        println!("{:<24} {mean:>8.3} % {most:>8.3} %", action.name);
    }
    Ok(())
}
