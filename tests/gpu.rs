//! What a GPU comes to, beside the CPU.
//!
//! Built with `--features cuda` or `--features wgpu` alone. `tests/gpu/wgpu.sh` runs it on Mesa's
//! software driver, where there is no GPU.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use engraft_backbones::{Architecture, Backbone, Tap};
use engraft_core::{
    DepthImage, Dimension, Observation, RgbImage, RobotSpec, Stats, View, ViewSpec,
};
use engraft_policies::{Contract, Policy, PolicyConfig, PolicyInput, Transform};
use serde_json::Value;

use crate::support::{Lab, RECIPE};

/// Most that a tensor may be off, as a share of its length.
const TOLERANCE: f64 = 1e-3;

#[cfg(feature = "cuda")]
const NAME: &str = "cuda";
#[cfg(not(feature = "cuda"))]
const NAME: &str = "wgpu";

#[cfg(feature = "cuda")]
fn gpu() -> Device {
    Device::cuda(0)
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Device {
    Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// How far `found` is from `expected`, as a share of the latter's length.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let off: f64 = found.iter().zip(expected).map(|(&a, &b)| square(a - b)).sum();
    let length: f64 = expected.iter().map(|&x| square(x)).sum();
    if length == 0.0 { off.sqrt() } else { (off / length).sqrt() }
}

/// The farthest of several comparisons.
#[derive(Default)]
struct Worst(f64);

impl Worst {
    fn compare(&mut self, what: &str, found: &[f32], expected: &[f32]) {
        let off = difference(found, expected);
        // A NaN is no less.
        assert!(off <= TOLERANCE, "{what} is off by {off:e} of its length");
        self.0 = self.0.max(off);
    }
}

/// Every gradient, by the parameter's place in the module.
struct Gradients {
    grads: GradientsParams,
    found: Vec<(ParamId, Vec<f32>)>,
}

impl ModuleVisitor for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.found.push((param.id, values(grad)));
        }
    }
}

fn gradients<M: Module>(loss: &Tensor<1>, module: &M) -> Vec<(ParamId, Vec<f32>)> {
    let grads = GradientsParams::from_grads(loss.backward(), module);
    let mut gradients = Gradients { grads, found: Vec::new() };
    module.visit(&mut gradients);
    gradients.found
}

fn compare_gradients(
    worst: &mut Worst,
    found: &[(ParamId, Vec<f32>)],
    expected: &[(ParamId, Vec<f32>)],
) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.0, expected.0);
        worst.compare(&format!("gradient {i} of {}", expected.1.len()), &found.1, &expected.1);
    }
}

fn picture(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let len = shape.iter().product();
    let value = |i: usize| ((i * 7919 + i / 251) % 256) as f32;
    Tensor::from_data(TensorData::new((0..len).map(value).collect(), shape), device)
}

/// The taps of `backbone` on a picture, and its gradients.
fn taps(
    backbone: &Backbone,
    taps: &[Tap],
    device: &Device,
) -> (Vec<Vec<f32>>, Vec<(ParamId, Vec<f32>)>) {
    let features = backbone.features(picture([2, 3, 64, 48], device), taps);
    let mut loss = Tensor::<1>::zeros([1], device);
    let mut found = Vec::new();
    for features in features {
        loss = loss + features.map.clone().square().mean();
        found.push(values(features.map));
        if let Some(cls) = features.cls {
            loss = loss + cls.clone().square().mean();
            found.push(values(cls));
        }
    }
    (found, gradients(&loss, backbone))
}

fn compare_backbones(prefixes: &[&str]) {
    let (cpu, gpu) = (Device::flex().autodiff(), gpu().autodiff());
    let chosen = |one: &Architecture| prefixes.iter().any(|text| one.name().starts_with(text));
    for architecture in Architecture::ALL.into_iter().filter(chosen) {
        cpu.seed(1);
        let here = architecture.init(&cpu).materialize();
        let there = here.clone().fork(&gpu);
        let chosen = architecture.taps();
        let (expected, expected_grads) = taps(&here, &chosen, &cpu);
        let (found, found_grads) = taps(&there, &chosen, &gpu);
        let (mut forward, mut backward) = (Worst::default(), Worst::default());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            forward.compare(&format!("{architecture}, tap {i}"), found, expected);
        }
        compare_gradients(&mut backward, &found_grads, &expected_grads);
        // Without automatic differentiation the CPU fuses what the GPU does not.
        let plain = picture([1, 3, 64, 48], &gpu.clone().inner());
        let found = there.valid().frozen_features(plain, &chosen[..1]).remove(0).map;
        let plain = picture([1, 3, 64, 48], &cpu.clone().inner());
        let expected = here.valid().frozen_features(plain, &chosen[..1]).remove(0).map;
        forward.compare(&format!("{architecture}, frozen"), &values(found), &values(expected));
        println!(
            "{architecture}: {} taps within {:.1e}, {} gradients within {:.1e}",
            chosen.len(),
            forward.0,
            expected_grads.len(),
            backward.0
        );
    }
}

#[test]
fn mobile_backbones_and_their_gradients_are_the_cpus() {
    compare_backbones(&["efficientnet", "mobilenet"]);
}

#[test]
fn resnets_and_their_gradients_are_the_cpus() {
    compare_backbones(&["resnet"]);
}

#[test]
fn transformers_and_their_gradients_are_the_cpus() {
    compare_backbones(&["dino", "mae"]);
}

/// Two views with depth, two frames, chunks of four.
fn contract() -> Contract {
    let view = |name: &str| ViewSpec { name: name.into(), width: 64, height: 48, depth: true };
    let spec = RobotSpec {
        name: "test".into(),
        control_hz: 10.0,
        views: vec![view("front"), view("wrist")],
        proprio: vec![Dimension::new("elbow", "rad")],
        actions: vec![Dimension::new("elbow", "rad"), Dimension::new("gripper", "1")],
    };
    Contract {
        spec,
        num_frames: 2,
        horizon: 4,
        use_proprio: true,
        use_depth: true,
        relative_actions: false,
    }
}

fn observation(seed: usize) -> Observation {
    let view = |number: usize| {
        let value = |i: usize| ((i * (7 + seed) + 31 * number + 11 * seed) % 251) as u8;
        let metres = (0..64 * 48).map(|i| f32::from(value(i)) / 100.0).collect();
        View {
            rgb: RgbImage::new(64, 48, (0..3 * 64 * 48).map(value).collect()).unwrap(),
            depth: Some(DepthImage::new(64, 48, metres).unwrap()),
        }
    };
    Observation { views: vec![view(0), view(1)], proprio: vec![(seed as f32).sin()] }
}

fn input(device: &Device) -> PolicyInput {
    let transform = Transform::new(contract(), Stats::identity(1), Stats::identity(2)).unwrap();
    let stacks = [0, 1, 2].map(|b| [observation(10 * b), observation(10 * b + 1)]);
    let stacks = stacks.each_ref().map(<[Observation; 2]>::as_slice);
    transform.input(&stacks, device).unwrap()
}

/// Kinds of policies, small, in every way of using what the kernels do.
const POLICIES: &[&str] = &[
    "kind = 'lfs'\nchannels = 8",
    "kind = 'hansen'\nprojection = 8\n\
     layers = [{ channels = 8, kernel = 3, stride = 2 }, { channels = 8, kernel = 3, stride = 1 }]",
    "kind = 'spawn-net'\nchannels = 8\nadapter_channels = 8\n\
     backbone = { architecture = 'mobilenet-v2' }",
    "kind = 'spawn-net'\nchannels = 8\nadapter_channels = 8\ntokens = 'cls'\n\
     backbone = { architecture = 'dino-vits16', size = 64 }",
    "kind = 'spawn-net'\nchannels = 8\nadapter_channels = 8\nfusion = 'last'\n\
     backbone = { architecture = 'resnet18', fine_tune = true }",
    "kind = 'frozen'\npool = 'mean'\nscaling = 'unit-length'\n\
     backbone = { architecture = 'mobilenet-v2', taps = ['stage_2'] }",
    "kind = 'frozen'\npool = 'mean'\nscaling = 'batch-norm'\n\
     backbone = { architecture = 'resnet18', taps = ['layer_1'] }",
];

/// Actions, and the gradients of their squares.
fn actions(policy: &Policy, device: &Device) -> (Vec<f32>, Vec<(ParamId, Vec<f32>)>) {
    let actions = policy.forward(input(device));
    let loss = actions.clone().square().mean();
    (values(actions), gradients(&loss, policy))
}

fn compare_policies(kind: &str) {
    let (cpu, gpu) = (Device::flex().autodiff(), gpu().autodiff());
    for text in POLICIES.iter().filter(|text| text.contains(kind)) {
        let config: PolicyConfig = toml::from_str(text).unwrap();
        let here = config.init(&contract(), 1, &cpu).unwrap().materialize();
        let there = here.clone().fork(&gpu);
        let (expected, expected_grads) = actions(&here, &cpu);
        let (found, found_grads) = actions(&there, &gpu);
        let (mut forward, mut backward) = (Worst::default(), Worst::default());
        forward.compare(text, &found, &expected);
        compare_gradients(&mut backward, &found_grads, &expected_grads);
        let served = there.valid().forward(input(&gpu.clone().inner()));
        let expected = here.valid().forward(input(&cpu.clone().inner()));
        forward.compare("as served", &values(served), &values(expected));
        let looked = there.valid().attention(input(&gpu.clone().inner()));
        let expected = here.valid().attention(input(&cpu.clone().inner()));
        if let (Some(looked), Some(expected)) = (looked, expected) {
            forward.compare("attention", &values(looked.maps), &values(expected.maps));
        }
        println!(
            "{}: actions within {:.1e}, {} gradients within {:.1e}",
            text.replace('\n', ", "),
            forward.0,
            expected_grads.len(),
            backward.0
        );
    }
}

#[test]
fn policies_from_scratch_and_their_gradients_are_the_cpus() {
    compare_policies("kind = 'lfs'");
    compare_policies("kind = 'hansen'");
}

#[test]
fn spawn_nets_and_their_gradients_are_the_cpus() {
    compare_policies("kind = 'spawn-net'");
}

#[test]
fn frozen_features_and_their_gradients_are_the_cpus() {
    compare_policies("kind = 'frozen'");
}

/// The losses of a run's steps.
fn losses(lab: &Lab, run: &str) -> Vec<f32> {
    let text = std::fs::read_to_string(lab.path().join(run).join("metrics.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter_map(|row| row["loss"].as_f64()).map(|loss| loss as f32).collect()
}

/// A SpawnNet with what a run may ask for besides.
const SPAWN: &str = "
kind = 'spawn-net'
channels = 8
adapter_channels = 8
backbone = { architecture = 'mobilenet-v2' }
";

#[test]
fn a_run_is_the_cpus_and_what_it_learned_is_evaluated_there() {
    let lab = Lab::new();
    lab.record(3);
    let (common, _) = RECIPE.split_once("[policy]").unwrap();
    let common = common.replace("epoch_steps = 20", "epoch_steps = 4");
    lab.write("hansen.toml", &RECIPE.replace("epoch_steps = 20", "epoch_steps = 4"));
    lab.write("spawn.toml", &format!("{common}[policy]{SPAWN}"));
    for kind in ["hansen", "spawn"] {
        let train = format!("train {kind}.toml --data data --plain --steps 8 --out");
        lab.succeed(&format!("{train} {kind}-cpu"));
        let expected = losses(&lab, &format!("{kind}-cpu"));
        let said = lab.succeed(&format!("{train} {kind}-gpu --device {NAME}"));
        assert!(said.contains(&format!(" s on {NAME}")), "{said}");
        let mut worst = Worst::default();
        worst.compare("losses", &losses(&lab, &format!("{kind}-gpu")), &expected);
        // Both at once: the step's parts meet on the first device.
        lab.succeed(&format!("{train} {kind}-both --devices cpu,{NAME}:0"));
        worst.compare("losses of both", &losses(&lab, &format!("{kind}-both")), &expected);
        println!("{kind}: losses of {} steps within {:.1e}", expected.len(), worst.0);

        let error = |device: &str| {
            let said = format!("eval {kind}-gpu --data data --json --device {device}");
            let said: Value = serde_json::from_str(&lab.succeed(&said)).unwrap();
            said["relative_mse"].as_f64().unwrap() as f32
        };
        worst.compare("evaluation", &[error(NAME)], &[error("cpu")]);
        let closed = format!("eval {kind}-gpu --sim drawer --episodes 1 --json --device {NAME}");
        lab.succeed(&closed);
    }
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_says_how_many_there_are() {
    let lab = Lab::new();
    lab.record(1);
    lab.write("recipe.toml", RECIPE);
    let output = lab.run(&format!("train recipe.toml --data data --out run --device {NAME}:99"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    // The lines before are the driver's own.
    let last = error.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("engraft: no device {NAME}:99: expected 0 to ")), "{error}");
    assert!(!lab.path().join("run").exists());
}
