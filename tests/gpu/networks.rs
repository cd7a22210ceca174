//! Backbones and policies: what they give, and their gradients.

use std::cell::RefCell;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use engraft_backbones::{Architecture, Backbone, Tap};
use engraft_core::{
    DepthImage, Dimension, Observation, RgbImage, RobotSpec, Stats, View, ViewSpec,
};
use engraft_policies::{Contract, Policy, PolicyConfig, PolicyInput, Transform};

use super::{Worst, difference, gpu};

/// Most that a tensor may be off, as a share of its length. NVIDIA's tensor cores round what they
/// multiply to ten bits.
const BAR: f64 = if cfg!(feature = "cuda") { 1e-3 } else { 1e-4 };

/// Most that a gradient may be off where a rectifier lets it through on one device alone.
const BAR_AT_ZERO: f64 = 1e-2;

/// Pictures of a batch: three samples of two frames of two views.
const PICTURES: usize = 12;
const HEIGHT: usize = 32;
const WIDTH: usize = 48;

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
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

/// The farthest gradient, and which one it is.
fn farthest(found: &[(ParamId, Vec<f32>)], expected: &[(ParamId, Vec<f32>)]) -> (f64, String) {
    assert_eq!(found.len(), expected.len());
    let mut farthest = (0.0, String::new());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.0, expected.0);
        let off = difference(&found.1, &expected.1);
        let off = if off.is_nan() { f64::INFINITY } else { off };
        if off > farthest.0 {
            farthest = (off, format!("gradient {i}, of {} numbers", expected.1.len()));
        }
    }
    farthest
}

/// How far gradients are from the CPU's with the weights of one seed: `compare` says it for each.
///
/// A rectifier whose input is within rounding of zero lets a gradient through here and not there.
/// In a ResNet-18 that befalls one seed in ten, and gradients are then off by up to 1e-3: so several
/// seeds are tried, of which one must do.
fn gradients_within_bar(what: &str, compare: impl Fn(u64) -> (f64, String)) -> f64 {
    let mut said = Vec::new();
    for seed in 1..=3 {
        let (off, which) = compare(seed);
        if off <= BAR {
            return off;
        }
        println!("{what}, seed {seed}: {which}, is off by {off:e} of its length");
        assert!(off <= BAR_AT_ZERO, "{what}: more than a rectifier at zero explains");
        said.push(off);
    }
    panic!("{what}: gradients are off by {said:?} of their length with three seeds");
}

fn pictures(device: &Device) -> Tensor<4> {
    let shape = [PICTURES, 3, HEIGHT, WIDTH];
    let len = shape.iter().product();
    let value = |i: usize| ((i * 7919 + i / 251) % 256) as f32;
    Tensor::from_data(TensorData::new((0..len).map(value).collect(), shape), device)
}

/// The taps of `backbone` on pictures, and its gradients.
fn taps(
    backbone: &Backbone,
    taps: &[Tap],
    device: &Device,
) -> (Vec<Vec<f32>>, Vec<(ParamId, Vec<f32>)>) {
    let features = backbone.features(pictures(device), taps);
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

/// Blocks after the last tap are not run.
fn compare_backbone(architecture: Architecture, chosen: &[&str]) {
    let (cpu, gpu) = (Device::flex().autodiff(), gpu().autodiff());
    let chosen: Vec<Tap> = chosen.iter().map(|tap| architecture.tap(tap).unwrap()).collect();
    let forward = RefCell::new(Worst::within(BAR));
    let backward = gradients_within_bar(&architecture.to_string(), |seed| {
        let mut forward = forward.borrow_mut();
        cpu.seed(seed);
        let here = architecture.init(&cpu).materialize();
        let there = here.clone().fork(&gpu);
        let (expected, expected_grads) = taps(&here, &chosen, &cpu);
        let (found, found_grads) = taps(&there, &chosen, &gpu);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            forward.compare(&format!("{architecture}, map {i}"), found, expected);
        }
        // Without automatic differentiation the CPU fuses what the GPU does not.
        let frozen = |backbone: &Backbone, device: &Device| {
            let pictures = pictures(&device.clone().inner());
            values(backbone.valid().frozen_features(pictures, &chosen).remove(0).map)
        };
        forward.compare("as frozen", &frozen(&there, &gpu), &frozen(&here, &cpu));
        farthest(&found_grads, &expected_grads)
    });
    println!(
        "{architecture}: {} taps within {:.1e}, gradients within {backward:.1e}",
        chosen.len(),
        forward.into_inner().found,
    );
}

#[test]
fn mobile_backbones_and_their_gradients_are_the_cpus() {
    compare_backbone(Architecture::EfficientnetLite0, &["stage_1", "stage_3", "stage_5", "head"]);
    compare_backbone(Architecture::MobilenetV2, &["stage_2", "stage_3", "stage_4"]);
}

#[test]
fn resnets_and_their_gradients_are_the_cpus() {
    compare_backbone(Architecture::Resnet18, &["layer_1", "layer_2", "layer_3", "layer_4"]);
    compare_backbone(Architecture::Resnet50, &["layer_1", "layer_2"]);
}

#[test]
fn transformers_and_their_gradients_are_the_cpus() {
    let taps = ["token_0", "key_0", "query_1", "value_1", "attn_1", "token_1"];
    compare_backbone(Architecture::DinoVits8, &taps);
    compare_backbone(Architecture::MaeVitb16, &taps);
}

/// Two views with depth, two frames, chunks of four.
fn contract() -> Contract {
    let view =
        |name: &str| ViewSpec { name: name.into(), width: WIDTH, height: HEIGHT, depth: true };
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
        let metres = (0..WIDTH * HEIGHT).map(|i| f32::from(value(i)) / 100.0).collect();
        View {
            rgb: RgbImage::new(WIDTH, HEIGHT, (0..3 * WIDTH * HEIGHT).map(value).collect())
                .unwrap(),
            depth: Some(DepthImage::new(WIDTH, HEIGHT, metres).unwrap()),
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
     backbone = { architecture = 'mobilenet-v2', taps = ['stage_2', 'stage_3', 'stage_4'] }",
    "kind = 'spawn-net'\nchannels = 8\nadapter_channels = 8\ntokens = 'cls'\n\
     backbone = { architecture = 'dino-vits8', taps = ['key_0', 'token_0', 'token_1'], size = 40 }",
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
        let forward = RefCell::new(Worst::within(BAR));
        let backward = gradients_within_bar(text, |seed| {
            let mut forward = forward.borrow_mut();
            let here = config.init(&contract(), seed, &cpu).unwrap().materialize();
            let there = here.clone().fork(&gpu);
            let (expected, expected_grads) = actions(&here, &cpu);
            let (found, found_grads) = actions(&there, &gpu);
            forward.compare(text, &found, &expected);
            let served = there.valid().forward(input(&gpu.clone().inner()));
            let expected = here.valid().forward(input(&cpu.clone().inner()));
            forward.compare("as served", &values(served), &values(expected));
            let looked = there.valid().attention(input(&gpu.clone().inner()));
            let expected = here.valid().attention(input(&cpu.clone().inner()));
            assert_eq!(looked.is_some(), expected.is_some());
            if let (Some(looked), Some(expected)) = (looked, expected) {
                forward.compare("attention", &values(looked.maps), &values(expected.maps));
            }
            farthest(&found_grads, &expected_grads)
        });
        println!(
            "{}: actions within {:.1e}, gradients within {backward:.1e}",
            text.replace('\n', ", "),
            forward.into_inner().found,
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
