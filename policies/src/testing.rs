//! A robot, observations and a loss for tests.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor};
use engraft_core::{
    ActionChunk, DepthImage, Dimension, Observation, RgbImage, RobotSpec, Stats, View, ViewSpec,
};

use crate::{Checkpoint, Contract, Policy, PolicyConfig, PolicyInput, Provenance, Transform};

/// Two views, three proprio dimensions, two action dimensions, chunks of four.
pub(crate) fn contract(num_frames: usize, height: usize, width: usize) -> Contract {
    let view = |name: &str| ViewSpec { name: name.into(), width, height, depth: true };
    let spec = RobotSpec {
        name: "test".into(),
        control_hz: 10.0,
        views: vec![view("front"), view("wrist")],
        proprio: ["shoulder", "elbow", "wrist"].map(|name| Dimension::new(name, "rad")).into(),
        actions: vec![Dimension::new("elbow", "rad"), Dimension::new("gripper", "1")],
    };
    Contract {
        spec,
        num_frames,
        horizon: 4,
        use_proprio: true,
        use_depth: true,
        relative_actions: false,
    }
}

/// The transform of [`contract`], with statistics that change something.
pub(crate) fn transform(contract: &Contract) -> Transform {
    let proprio = Stats { mean: vec![1.0, 0.0, 0.0], ..Stats::identity(3) };
    let action = Stats { std: vec![0.5, 1.0], ..Stats::identity(2) };
    Transform::new(contract.clone(), proprio, action).unwrap()
}

/// An observation that is a function of `seed`.
pub(crate) fn observation(contract: &Contract, seed: usize) -> Observation {
    let [height, width] = contract.picture();
    let view = |number: usize| {
        let value = |i: usize| ((i * (7 + seed) + 31 * number + 11 * seed) % 251) as u8;
        let rgb = RgbImage::new(width, height, (0..width * height * 3).map(value).collect());
        let metres = (0..width * height).map(|i| f32::from(value(i)) / 100.0).collect();
        let depth = DepthImage::new(width, height, metres).unwrap();
        View { rgb: rgb.unwrap(), depth: Some(depth) }
    };
    let views = (0..contract.spec.num_views()).map(view).collect();
    let proprio = (0..contract.spec.proprio_dim()).map(|i| ((i + seed) as f32).sin()).collect();
    Observation { views, proprio }
}

/// Frame stacks of `batch` different samples.
pub(crate) fn stacks(contract: &Contract, batch: usize) -> Vec<Vec<Observation>> {
    let stack = |b: usize| {
        (0..contract.num_frames).map(|frame| observation(contract, 10 * b + frame)).collect()
    };
    (0..batch).map(stack).collect()
}

/// What a policy sees of [`stacks`].
pub(crate) fn input(contract: &Contract, batch: usize, device: &Device) -> PolicyInput {
    let stacks = stacks(contract, batch);
    let stacks: Vec<&[Observation]> = stacks.iter().map(Vec::as_slice).collect();
    transform(contract).input(&stacks, device).unwrap()
}

/// The values of a tensor.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Saves a policy, opens it, and compares what the two predict, bit for bit.
pub(crate) fn assert_saved_equals_loaded(config: &PolicyConfig, contract: &Contract) {
    let (device, folder) = (Device::flex(), tempfile::tempdir().unwrap());
    let (policy, ..) = memorize(config, contract, 2);
    let run =
        Checkpoint::new(config.clone(), transform(contract), policy.valid(), Provenance::default());
    let dir = folder.path().join("run");
    run.save(&dir).unwrap();
    let opened = Checkpoint::open(&dir, &device).unwrap();
    assert_eq!(opened.policy_config, run.policy_config);
    assert_eq!(opened.contract, run.contract);
    assert_eq!(opened.policy.num_learned_params(), run.policy.num_learned_params());
    let stacks = stacks(contract, 2);
    let stacks: Vec<_> = stacks.iter().map(Vec::as_slice).collect();
    let before = run.predict_detailed(&stacks).unwrap();
    assert_eq!(before, opened.predict_detailed(&stacks).unwrap());
    let chunks: Vec<_> = before.into_iter().map(|prediction| prediction.chunk).collect();
    assert_eq!(chunks, opened.predict(&stacks).unwrap());
}

/// Trains on one batch of three samples; gives the policy, the first and the last loss.
pub(crate) fn memorize(
    config: &PolicyConfig,
    contract: &Contract,
    steps: usize,
) -> (Policy, f32, f32) {
    let device = Device::flex().autodiff();
    let mut policy = config.init(contract, 3, &device).unwrap();
    let input = input(contract, 3, &device);
    let chunk = |b: usize| {
        let values = (0..8).map(|i| ((3 * b + i) as f32).sin()).collect();
        ActionChunk::new(4, 2, values).unwrap()
    };
    let (chunks, now) = ([0, 1, 2].map(chunk), observation(contract, 0));
    let targets: Vec<_> = chunks.iter().map(|chunk| (chunk, &now)).collect();
    let targets = transform(contract).targets(&targets, &device).unwrap();
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let (mut first, mut last) = (f32::NAN, f32::NAN);
    for step in 0..steps {
        let loss = (policy.forward(input.clone()) - targets.clone()).square().mean();
        last = loss.clone().into_scalar();
        if step == 0 {
            first = last;
        }
        let grads = GradientsParams::from_grads(loss.backward(), &policy);
        policy = optimizer.step(2e-3, policy, grads);
    }
    (policy, first, last)
}
