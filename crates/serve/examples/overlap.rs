//! What remembering pictures is worth: answers to overlapping frame stacks, with and without.
//!
//! ```text
//! cargo run --release -p engraft-serve --example overlap -- [FRAMES] [VIEWS]
//! ```
//!
//! A SpawnNet on a ViT-S/16 without weights sees stacks of FRAMES frames (4 if absent) of VIEWS views
//! (1) of 224 x 224 pixels, each one frame on from the one before. Each stack is answered three ways in
//! turn; prints the percentiles of each way.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::error::Error;
use std::time::Instant;

use burn::tensor::Device;
use engraft_core::{Dimension, Observation, RgbImage, RobotSpec, Stats, View, ViewSpec};
use engraft_policies::{Checkpoint, Contract, PolicyConfig, Provenance, Transform};
use engraft_serve::{Predictor, Remembering};

/// The command's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDE: usize = 224;

/// Stacks answered, the first few apart.
const STACKS: usize = 40;
const WARM_UP: usize = 5;

fn checkpoint(frames: usize, views: usize) -> Result<Checkpoint, Box<dyn Error>> {
    let view = |i| ViewSpec { name: format!("view_{i}"), width: SIDE, height: SIDE, depth: false };
    let joints = || (0..7).map(|i| Dimension::new(format!("joint_{i}"), "rad")).collect();
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: (0..views).map(view).collect(),
        proprio: joints(),
        actions: joints(),
    };
    let contract = Contract {
        spec,
        num_frames: frames,
        horizon: 8,
        use_proprio: true,
        use_depth: false,
        relative_actions: false,
    };
    let config: PolicyConfig =
        toml::from_str("kind = \"spawn-net\"\n[backbone]\narchitecture = \"dino-vits16\"\n")?;
    let policy = config.init(&contract, 1, &Device::flex())?;
    let transform = Transform::new(contract, Stats::identity(7), Stats::identity(7))?;
    Ok(Checkpoint::new(config, transform, policy, Provenance::default()))
}

fn frame(views: usize, seed: usize) -> Observation {
    let view = |number: usize| {
        let value = |i: usize| ((i * 7919 + i / 251 + seed * 31 + number * 17) % 256) as u8;
        let pixels = (0..SIDE * SIDE * 3).map(value).collect();
        let rgb = RgbImage::new(SIDE, SIDE, pixels).expect("a whole picture");
        View { rgb, depth: None }
    };
    Observation { views: (0..views).map(view).collect(), proprio: vec![0.0; 7] }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let (frames, views) = (arguments.next().unwrap_or(Ok(4))?, arguments.next().unwrap_or(Ok(1))?);
    let mut ways: Vec<(&str, Box<dyn Predictor>)> = vec![
        ("all frames at once", Box::new(checkpoint(frames, views)?)),
        ("one by one", Box::new(Remembering::new(checkpoint(frames, views)?, 0))),
        ("remembering", Box::new(Remembering::new(checkpoint(frames, views)?, 256 << 20))),
    ];
    let mut took = vec![Vec::new(); ways.len()];
    let (mut alike, mut alike_at_once) = (0, 0);
    for turn in 0..STACKS {
        let stack: Vec<_> = (turn..turn + frames).map(|seed| frame(views, seed)).collect();
        let mut chunks = Vec::new();
        for ((_, predictor), took) in ways.iter_mut().zip(&mut took) {
            let began = Instant::now();
            chunks.push(predictor.predict(&stack, false)?.chunk);
            if turn >= WARM_UP {
                took.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        alike += usize::from(chunks[1] == chunks[2]);
        alike_at_once += usize::from(chunks[0] == chunks[2]);
    }
    println!("stacks of {frames} frames of {views} views of {SIDE} x {SIDE}");
    for ((name, _), mut took) in ways.into_iter().zip(took) {
        took.sort_by(f64::total_cmp);
        let [p50, p90] = [50, 90].map(|percent| took[(took.len() - 1) * percent / 100]);
        println!("{name:<20} p50 {p50:>7.1} ms, p90 {p90:>7.1} ms");
    }
    println!("remembering equals one by one bit for bit in {alike} of {STACKS} answers");
    println!("remembering equals all at once bit for bit in {alike_at_once} of {STACKS} answers");
    Ok(())
}
