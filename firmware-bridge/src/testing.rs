//! What the tests of this crate share: a one-joint robot, a policy that fits it, a camera.

pub(crate) mod simulator;

use std::panic::{AssertUnwindSafe, catch_unwind};

use engraft_core::{
    ActionChunk, Dimension, Environment, Observation, RgbImage, RobotSpec, Transition, View,
    ViewSpec,
};
use engraft_wire::{Contract, Model, Reply, Session, Timings, Welcome};

use crate::emulate::CameraEmulator;

/// Runs a test of arms that move in real time, and again if it fails, twice at most: a machine that
/// builds and tests other things leaves one without a processor for so long, now and then, that
/// what the bridge says of it is true. What fails three times has failed.
pub(crate) fn patiently(test: impl Fn()) {
    for _ in 0..2 {
        if catch_unwind(AssertUnwindSafe(&test)).is_ok() {
            return;
        }
    }
    test();
}

/// A camera on a port of its own.
pub(crate) fn camera(width: u32, height: u32) -> CameraEmulator {
    CameraEmulator::start(([127, 0, 0, 1], 0).into(), width, height).unwrap()
}

/// One camera, one joint, ten times a second.
pub(crate) fn spec() -> RobotSpec {
    RobotSpec {
        name: "joint".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 4, height: 4, depth: false }],
        proprio: vec![Dimension::new("elbow", "rad")],
        actions: vec![Dimension::new("elbow", "rad").within(-1.0, 1.0)],
    }
}

/// What the joint senses at an angle.
pub(crate) fn observation(angle_rad: f32) -> Observation {
    let view = View { rgb: RgbImage::filled(4, 4, [1, 2, 3]), depth: None };
    Observation { views: vec![view], proprio: vec![angle_rad] }
}

/// Two frames in, four actions out.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        session: Session([3; 16]),
        model: Model { name: "fake".into(), hash: "cafe".into() },
        contract: Contract { spec: spec(), num_frames: 2, horizon: 4 },
        fingerprint: spec().fingerprint(),
        max_bytes: 1 << 20,
    }
}

/// A chunk for `tick` of episode 0, sensed when that tick was due.
pub(crate) fn reply(welcome: &Welcome, tick: u64, values: &[f32]) -> Reply {
    Reply {
        session: welcome.session,
        seq: tick + 1,
        episode: 0,
        first_tick: tick,
        t_obs_nanos: (tick + 1) * 100_000_000,
        model_hash: welcome.model.hash.clone(),
        timings: Timings::default(),
        chunk: ActionChunk::new(values.len(), 1, values.to_vec()).unwrap(),
        attention: Vec::new(),
    }
}

/// The joint goes where it is told; the task is to be at 0.5 or more.
#[derive(Debug)]
pub(crate) struct Joint {
    spec: RobotSpec,
    angle_rad: f32,
    pub(crate) actions: Vec<f32>,
}

impl Joint {
    pub(crate) fn new() -> Self {
        Self { spec: spec(), angle_rad: 0.0, actions: Vec::new() }
    }
}

impl Environment for Joint {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn task(&self) -> &'static str {
        "raise the elbow"
    }

    fn num_instances(&self) -> usize {
        3
    }

    fn instance_name(&self, instance: usize) -> String {
        format!("joint-{instance}")
    }

    fn max_steps(&self) -> usize {
        60
    }

    fn reset(&mut self, _instance: usize, _seed: u64) -> Observation {
        self.angle_rad = 0.0;
        observation(0.0)
    }

    fn step(&mut self, action: &[f32]) -> Transition {
        self.angle_rad = action[0];
        self.actions.push(action[0]);
        Transition { observation: observation(self.angle_rad), success: self.angle_rad >= 0.5 }
    }
}
