//! engraft's own side of a case, made ready to be repeated.

use std::time::Instant;

use anyhow::{Context, ensure};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use engraft_backbones::{Architecture, Features, Tap};
use engraft_core::{
    DepthImage, Dimension, Observation, RgbImage, RobotSpec, Stats, View, ViewSpec,
};
use engraft_policies::{
    BackboneConfig, Checkpoint, Contract, HansenConfig, LfsConfig, Policy, PolicyConfig,
    PolicyInput, Provenance, SpawnNetConfig, Transform,
};
use engraft_train::{Recipe, Stepper};

use super::cases::{ACTION_DIM, Case, HORIZON, Kind, Mode, PROPRIO_DIM};
use super::{augment, files, memory};

/// One side of a case: repeats the work some times and gives what one time took.
pub(crate) type Sampler<'a> = Box<dyn FnMut(usize) -> anyhow::Result<f64> + 'a>;

/// A side that is ready, and what shows that it does the same work as the other.
pub(crate) struct Ready<'a> {
    pub(crate) sample: Sampler<'a>,
    /// Of what comes out.
    pub(crate) shape: Vec<usize>,
    /// Parameters learned, or of the frozen network; none where there is no network.
    pub(crate) params: Option<usize>,
}

impl<'a> Ready<'a> {
    /// Runs `run` once for the shape of what it gives.
    fn timed(
        params: usize,
        mut run: impl FnMut() -> anyhow::Result<Vec<usize>> + 'a,
    ) -> anyhow::Result<Self> {
        let shape = run()?;
        Ok(Self { sample: repeat(move || run().map(drop)), shape, params: Some(params) })
    }
}

/// Seconds of one of several runs.
pub(crate) fn repeat<'a>(mut run: impl FnMut() -> anyhow::Result<()> + 'a) -> Sampler<'a> {
    Box::new(move |repeat| {
        let start = Instant::now();
        for _ in 0..repeat {
            run()?;
        }
        Ok(start.elapsed().as_secs_f64() / repeat as f64)
    })
}

/// engraft's side of a case.
pub(crate) fn prepare(
    case: &Case,
    settings: &super::Settings,
    device: &Device,
) -> anyhow::Result<Ready<'static>> {
    match &case.kind {
        Kind::Backbone(tap) => backbone(case, tap, device),
        Kind::Policy(Mode::Forward) => forward(case, device),
        Kind::Policy(Mode::Gradient) => gradient(case, device),
        Kind::Policy(Mode::Step) => step(case, device),
        Kind::Observation => observation(case, device),
        Kind::Augment(augmentation) => augment::prepare(case, *augmentation, device),
        Kind::Train => files::train(case, settings, device),
        Kind::Epoch => files::epoch(case, true, settings, device),
        Kind::Memory(_) => memory::prepare(case, settings),
    }
}

fn backbone(case: &Case, tap: &str, device: &Device) -> anyhow::Result<Ready<'static>> {
    let (network, precision) = case.network();
    let architecture: Architecture = network.parse()?;
    let taps: Vec<Tap> = vec![architecture.tap(tap)?];
    let network = architecture.init(device).freeze().with_precision(precision);
    let images = random([case.batch, 3, case.side, case.side], 255.0, device);
    let (params, device) = (network.num_params(), device.clone());
    Ready::timed(params, move || {
        let features = network.frozen_features(images.clone(), &taps);
        device.sync()?;
        Ok(features.first().context("a tap gives features")?.map.dims().to_vec())
    })
}

/// Uniform from 0 to `most`.
fn random<const D: usize>(shape: [usize; D], most: f64, device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(0.0, most), device)
}

/// One camera with depth, one frame, chunks of [`HORIZON`].
pub(crate) fn contract(side: usize) -> Contract {
    let names = |word: &str, count: usize| {
        (0..count).map(|i| Dimension::new(format!("{word}_{i}"), "rad")).collect()
    };
    let spec = RobotSpec {
        name: "bench".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: side, height: side, depth: true }],
        proprio: names("joint", PROPRIO_DIM),
        actions: names("target", ACTION_DIM),
    };
    Contract {
        spec,
        num_frames: 1,
        horizon: HORIZON,
        use_proprio: true,
        use_depth: true,
        relative_actions: false,
    }
}

/// The config of a case's policy.
pub(crate) fn config(case: &Case) -> anyhow::Result<PolicyConfig> {
    let (network, precision) = case.network();
    let vit = |architecture| BackboneConfig {
        architecture,
        weights: None,
        taps: vec![],
        size: None,
        fine_tune: false,
        precision,
    };
    Ok(match network {
        "lfs" => PolicyConfig::Lfs(LfsConfig::default()),
        "hansen" if case.side > 96 => PolicyConfig::Hansen(HansenConfig::large()),
        "hansen" => PolicyConfig::Hansen(HansenConfig::small()),
        "spawnnet" => PolicyConfig::SpawnNet(SpawnNetConfig::new(vit(Architecture::DinoVits8))),
        "spawnnet-vits16" => {
            PolicyConfig::SpawnNet(SpawnNetConfig::new(vit(Architecture::DinoVits16)))
        }
        other => anyhow::bail!("no policy of the benchmark is called {other:?}"),
    })
}

fn policy(case: &Case, device: &Device) -> anyhow::Result<Policy> {
    Ok(config(case)?.init(&contract(case.side), 1, device)?)
}

fn input(case: &Case, policy: &Policy, device: &Device) -> anyhow::Result<PolicyInput> {
    let &Case { side, batch, .. } = case;
    let pictures = |channels, most| random([batch, 1, 1, channels, side, side], most, device);
    let mut input = PolicyInput {
        rgb: pictures(3, 255.0).into(),
        depth: Some(pictures(1, 2.0)),
        proprio: random([batch, 1, PROPRIO_DIM], 1.0, device),
        features: None,
    };
    if case.network == "spawnnet" {
        let plain = device.clone().inner();
        let stream = policy.backbone().context("SpawnNet has a backbone")?;
        let architecture = stream.network().architecture();
        let features = stream.taps().iter().map(|tap| {
            let shape = architecture.tap_shape(tap, side, side)?;
            // Channels last, as a backbone and the cache of features give them.
            let map = random([batch, shape.height, shape.width, shape.channels], 1.0, &plain);
            let norm = map.clone().square().sum_dim(3).sqrt();
            anyhow::Ok(Features { map: (map / norm).permute([0, 3, 1, 2]), cls: None })
        });
        input.features = Some(features.collect::<Result<_, _>>()?);
    }
    Ok(input)
}

fn targets(case: &Case, device: &Device) -> Tensor<3> {
    random([case.batch, HORIZON, ACTION_DIM], 1.0, device)
}

fn forward(case: &Case, device: &Device) -> anyhow::Result<Ready<'static>> {
    let policy = policy(case, device)?;
    let input = input(case, &policy, device)?;
    let (params, device) = (policy.num_learned_params(), device.clone());
    Ready::timed(params, move || {
        let output = policy.forward(input.clone());
        device.sync()?;
        Ok(output.dims().to_vec())
    })
}

fn gradient(case: &Case, device: &Device) -> anyhow::Result<Ready<'static>> {
    let autodiff = device.clone().autodiff();
    let policy = policy(case, &autodiff)?;
    let (input, targets) = (input(case, &policy, &autodiff)?, targets(case, &autodiff));
    let (params, device) = (policy.num_learned_params(), device.clone());
    Ready::timed(params, move || {
        let output = policy.forward(input.clone());
        let shape = output.dims().to_vec();
        let loss = (output - targets.clone()).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &policy);
        device.sync()?;
        ensure!(!grads.is_empty(), "the loss has no gradients");
        Ok(shape)
    })
}

/// What a step does besides the network; no average of the weights, which PyTorch has not either.
fn recipe(network: &PolicyConfig) -> anyhow::Result<Recipe> {
    let text = r#"
        seed = 1
        num_frames = 1
        horizon = 8
        use_proprio = true
        use_depth = true
        relative_actions = false
        past_end = "repeat"
        loss = "mse"
        val_fraction = 0.0
        steps = 1000000
        epoch_steps = 1000000
        batch_size = 32
        [optimizer]
        kind = "adamw"
        learning_rate = 1e-3
        weight_decay = 1e-4
        [schedule]
        kind = "constant"
        [clip]
        norm = 1.0
        of = "all"
        [policy]
        kind = "lfs"
    "#;
    Ok(Recipe { policy: network.clone(), ..toml::from_str(text)? })
}

/// The recipe of a case.
pub(crate) fn recipe_of(case: &Case) -> anyhow::Result<Recipe> {
    let recipe = recipe(&config(case)?)?;
    Ok(Recipe { batch_size: case.batch, ..recipe })
}

fn step(case: &Case, device: &Device) -> anyhow::Result<Ready<'static>> {
    let autodiff = device.clone().autodiff();
    let policy = policy(case, &autodiff)?;
    let (input, targets) = (input(case, &policy, &autodiff)?, targets(case, &autodiff));
    let params = policy.num_learned_params();
    let shape = targets.dims().to_vec();
    let mut stepper = Stepper::new(policy, &recipe_of(case)?)?;
    let device = device.clone();
    Ready::timed(params, move || {
        let loss = stepper.step(input.clone(), targets.clone());
        device.sync()?;
        ensure!(loss.is_finite(), "the loss is {loss}, expected a number");
        Ok(shape.clone())
    })
}

/// A picture of noise with its depth.
pub(crate) fn view(side: usize, with_depth: bool) -> anyhow::Result<View> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let rgb = RgbImage::new(side, side, (0..3 * side * side).map(|_| next()).collect())?;
    let metres = (0..side * side).map(|_| f32::from(next()) / 128.0).collect();
    let depth = with_depth.then(|| DepthImage::new(side, side, metres)).transpose()?;
    Ok(View { rgb, depth })
}

fn observation(case: &Case, device: &Device) -> anyhow::Result<Ready<'static>> {
    let contract = contract(case.side);
    let policy = policy(case, device)?;
    let params = policy.num_learned_params();
    let (proprio, actions) = (Stats::identity(PROPRIO_DIM), Stats::identity(ACTION_DIM));
    let transform = Transform::new(contract, proprio, actions)?;
    let config = config(case)?;
    let run = Checkpoint::new(config, transform, policy, Provenance::default()).to_predict();
    let views = vec![view(case.side, true)?];
    let observation = [Observation { views, proprio: vec![0.5; PROPRIO_DIM] }];
    Ready::timed(params, move || {
        let chunks = run.predict(&[&observation])?;
        let chunk = chunks.first().context("one stack gives one chunk")?;
        Ok(vec![chunks.len(), chunk.horizon(), chunk.action_dim()])
    })
}
