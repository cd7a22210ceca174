//! Augmentation and the optimizer beside PyTorch's, pair by pair in one run.
//!
//! ```text
//! cargo run --release -p engraft-train --example peers -- PYTHON
//! ```
//!
//! PYTHON has torch and torchvision; `peers.py` beside this file is run with it. Prints the median
//! time of each and the median of the ratios of the pairs.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Tensor};
use engraft_core::{Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};
use engraft_policies::{Contract, Policy, PolicyConfig};
use engraft_train::{AugmentConfig, OptimizerConfig, OptimizerKind, clip, ema_update};
use rayon::prelude::*;

/// The command's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pairs of runs of each case.
const PAIRS: usize = 15;

/// Pictures of a batch, and their sides.
const BATCH: usize = 32;
const SIDE: usize = 224;

/// PyTorch, which runs a case when told its name and answers the seconds.
struct Torch {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Torch {
    fn start(python: &str, shapes: &str) -> Result<Self, Box<dyn Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/peers.py");
        let mut command = Command::new(python);
        let threads = rayon::current_num_threads().to_string();
        command.arg(script).args([threads.as_str(), shapes]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, input, output })
    }

    fn millis(&mut self, case: &str) -> Result<f64, Box<dyn Error>> {
        writeln!(self.input, "{case}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let secs: f64 = line.trim().parse().map_err(|_| format!("{case}: not a time: {line:?}"))?;
        Ok(secs * 1e3)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Alternates `ours` with the case of PyTorch's and prints how they compare.
fn compare(
    torch: &mut Torch,
    case: &str,
    mut ours: impl FnMut() -> f64,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..3 {
        ours();
        torch.millis(case)?;
    }
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push((ours(), torch.millis(case)?));
    }
    let ratio = median(pairs.iter().map(|(ours, theirs)| ours / theirs).collect());
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    println!("{case:<34} {:>9.2} {:>9.2} {ratio:>7.2}", median(ours), median(theirs));
    Ok(())
}

fn pictures() -> Vec<[Observation; 1]> {
    let picture = |seed: usize| {
        let pixels = (0..SIDE * SIDE * 3).map(|i| ((i * 7919 + i / 251 + seed * 31) % 256) as u8);
        let rgb = RgbImage::new(SIDE, SIDE, pixels.collect()).expect("a whole picture");
        [Observation { views: vec![View { rgb, depth: None }], proprio: Vec::new() }]
    };
    (0..BATCH).map(picture).collect()
}

/// Milliseconds to augment a batch.
fn augment(config: &AugmentConfig, samples: &mut [[Observation; 1]], pass: u64) -> f64 {
    let began = Instant::now();
    samples.par_iter_mut().enumerate().for_each(|(i, frames)| {
        if let Some(draw) = config.draw(1, pass, i) {
            draw.apply(frames);
        }
    });
    began.elapsed().as_secs_f64() * 1e3
}

/// The cases of augmentation: PyTorch's name, and ours as a recipe writes it.
const AUGMENTATIONS: &[(&str, &str)] = &[
    ("shift, pad and slice, u8", "shift_pixels = 4"),
    ("shift, grid_sample, f32", "shift_pixels = 4"),
    ("crop, u8", "crop = { area = [0.6, 1.0], aspect = [0.75, 1.333] }"),
    ("brightness, u8", "brightness = [0.7, 1.3]"),
    (
        "colour without hue, u8",
        "brightness = [0.7, 1.3]\ncontrast = [0.7, 1.3]\nsaturation = [0.7, 1.3]",
    ),
    (
        "colour without hue, f32",
        "brightness = [0.7, 1.3]\ncontrast = [0.7, 1.3]\nsaturation = [0.7, 1.3]",
    ),
    (
        "colour, u8",
        "brightness = [0.7, 1.3]\ncontrast = [0.7, 1.3]\nsaturation = [0.7, 1.3]\nhue = [-0.1, 0.1]",
    ),
    (
        "colour, f32",
        "brightness = [0.7, 1.3]\ncontrast = [0.7, 1.3]\nsaturation = [0.7, 1.3]\nhue = [-0.1, 0.1]",
    ),
];

fn policy(device: &Device) -> Result<Policy, Box<dyn Error>> {
    let view = ViewSpec { name: "front".into(), width: SIDE, height: SIDE, depth: false };
    let joints = || (0..7).map(|i| Dimension::new(format!("joint_{i}"), "rad")).collect();
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![view],
        proprio: joints(),
        actions: joints(),
    };
    let contract = Contract {
        spec,
        num_frames: 2,
        horizon: 8,
        use_proprio: true,
        use_depth: false,
        relative_actions: false,
    };
    let config: PolicyConfig = toml::from_str("kind = \"lfs\"\nchannels = 64")?;
    Ok(config.init(&contract, 1, device)?.materialize())
}

/// A gradient for every parameter, and the parameters' shapes.
#[derive(Default)]
struct Gradients {
    grads: GradientsParams,
    shapes: Vec<String>,
}

impl ModuleVisitor for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.val().dims();
        self.shapes.push(shape.map(|side| side.to_string()).join("x"));
        let values = Distribution::Normal(0.0, 1e-3);
        self.grads.register(param.id, Tensor::<D>::random(shape, values, &Device::flex()));
    }
}

fn gradients(policy: &Policy) -> Gradients {
    let mut gradients = Gradients::default();
    policy.visit(&mut gradients);
    gradients
}

fn main() -> Result<(), Box<dyn Error>> {
    let python = std::env::args().nth(1).ok_or("name a python that has torch and torchvision")?;
    let mut policy = policy(&Device::flex().autodiff())?;
    let shapes = gradients(&policy).shapes.join(",");
    let mut torch = Torch::start(&python, &shapes)?;
    let threads = rayon::current_num_threads();
    println!("{BATCH} pictures of {SIDE} x {SIDE}, {threads} threads");
    println!("{:<34} {:>9} {:>9} {:>7}", "", "ours ms", "torch ms", "ratio");
    for (case, recipe) in AUGMENTATIONS {
        let config: AugmentConfig = toml::from_str(&format!("probability = 1.0\n{recipe}"))?;
        let (mut samples, mut pass) = (pictures(), 0);
        compare(&mut torch, case, || {
            pass += 1;
            augment(&config, &mut samples, pass)
        })?;
    }

    println!("a policy of {} parameters", policy.num_params());
    let config = OptimizerConfig {
        kind: OptimizerKind::AdamW,
        learning_rate: 1e-3,
        weight_decay: 0.01,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
    };
    let burns = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init();
    let cases: [(&str, ModuleOptimizer); 3] = [
        ("clip and AdamW, foreach", config.init()),
        ("clip and AdamW, fused", config.init()),
        ("AdamW alone as Burn has it, fused", burns),
    ];
    for (case, mut optimizer) in cases {
        let clips = case.starts_with("clip");
        compare(&mut torch, case, || {
            let mut grads = gradients(&policy).grads;
            let began = Instant::now();
            if clips {
                clip(&policy, &mut grads, 0.1, None);
            }
            // The learner holds the model while the step goes on.
            policy = optimizer.step(1e-3, policy.clone(), grads);
            began.elapsed().as_secs_f64() * 1e3
        })?;
    }
    let mut average = policy.valid();
    compare(&mut torch, "moving average", || {
        let began = Instant::now();
        average = ema_update(average.clone(), &policy, 0.99);
        began.elapsed().as_secs_f64() * 1e3
    })?;
    drop(torch.input);
    torch.child.wait()?;
    Ok(())
}
