//! The simulator: resets, steps and pictures, behind [`Environment`].

use engraft_core::{
    DepthImage, Dimension, Environment, Observation, RgbImage, RobotSpec, Transition, View,
    ViewSpec,
};
use nalgebra::{Isometry3, Point3, Translation3, UnitQuaternion, Vector3};
use serde::{Deserialize, Serialize};

use crate::cabinet::Cabinet;
use crate::draw::Draw;
use crate::expert;
use crate::instances::{Instance, num_instances};
use crate::kinematics::{Arm, Joints, NUM_JOINTS};
use crate::physics::Physics;
use crate::render::{Camera, Frame, Renderer};
use crate::scene::Scene;
use crate::{SimError, Split, Task};

/// Width of an action and of proprio: six joints and the gripper.
pub const ACTION_DIM: usize = NUM_JOINTS + 1;

const CONTROL_HZ: f64 = 10.0;
const MAX_STEPS: usize = 70;

/// A camera of the simulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SimView {
    /// Over the arm's shoulder.
    Front,
    /// On the hand, looking past the fingers.
    Wrist,
}

impl SimView {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Wrist => "wrist",
        }
    }
}

/// What a simulator shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimOptions {
    /// Side of every picture in pixels.
    pub image_size: usize,
    /// The cameras, in order.
    pub views: Vec<SimView>,
    /// Whether they measure depth.
    pub depth: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self { image_size: 96, views: vec![SimView::Front], depth: false }
    }
}

/// The true state, which no camera shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimState {
    /// How far the drawer (metres) or the door (radians) is open.
    pub opening: f64,
    /// How far it has to be.
    pub success_opening: f64,
    /// Whether both fingers hold the handle.
    pub holds: bool,
    /// Place between the fingers, in the base frame.
    pub tcp_m: [f64; 3],
    /// Place where the handle is to be taken, in the base frame.
    pub handle_m: [f64; 3],
    /// Joint angles.
    pub joints_rad: Joints,
    /// The gripper, from 0 (open) to 1 (closed).
    pub gripper: f64,
    /// Steps played since the reset.
    pub step: usize,
}

/// An arm before cabinets. The same task, split, instance, seed and actions always give the same
/// observations, bit for bit.
pub struct Simulator {
    task: Task,
    options: SimOptions,
    spec: RobotSpec,
    arm: Arm,
    instances: Vec<Instance>,
    renderer: Renderer,
    episode: Episode,
}

/// What a reset makes.
struct Episode {
    instance: usize,
    physics: Physics,
    scene: Scene,
    front: Camera,
    step: usize,
    success: bool,
}

impl Simulator {
    /// A simulator of one task's instances of one split, reset to the first with seed 0.
    ///
    /// # Errors
    ///
    /// When the options ask for pictures that cannot be.
    pub fn new(task: Task, split: Split, options: SimOptions) -> Result<Self, SimError> {
        let size = options.image_size;
        if !(16..=1024).contains(&size) {
            return Err(SimError::ImageSize { found: size });
        }
        let names: Vec<_> = options.views.iter().map(|view| view.name()).collect();
        let twice = (1..names.len()).any(|i| names[..i].contains(&names[i]));
        if names.is_empty() || twice {
            return Err(SimError::Views { found: names.join(", ") });
        }
        let arm = Arm::embedded()?;
        let instances: Vec<_> = (0..num_instances(task, split))
            .map(|index| Instance::new(task, split, index))
            .collect();
        let episode = Episode::begin(&arm, &instances[0], 0);
        let spec = robot_spec(&arm, &options);
        let renderer = Renderer::new(size, size);
        Ok(Self { task, options, spec, arm, instances, renderer, episode })
    }

    /// What the scripted expert does now: joint targets in radians, then the gripper's.
    pub fn expert_action(&self) -> Vec<f32> {
        let success_opening = self.instance().success_opening();
        let (joints, gripper) = expert::act(&self.arm, &self.episode.physics, success_opening);
        joints.iter().chain([&gripper]).map(|value| *value as f32).collect()
    }

    /// The task.
    pub fn kind(&self) -> Task {
        self.task
    }

    /// What the simulator shows.
    pub fn options(&self) -> &SimOptions {
        &self.options
    }

    /// The instance of the running episode.
    pub fn instance(&self) -> &Instance {
        &self.instances[self.episode.instance]
    }

    /// Every instance.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// The arm: its joints with their limits in angle and speed.
    pub fn arm(&self) -> &Arm {
        &self.arm
    }

    /// How far the drawer (metres) or the door (radians) is open.
    pub fn opening(&self) -> f64 {
        self.episode.physics.opening()
    }

    /// Whether the episode has succeeded so far.
    pub fn success(&self) -> bool {
        self.episode.success
    }

    /// The true state.
    pub fn state_summary(&self) -> SimState {
        let physics = &self.episode.physics;
        let tcp = self.arm.pose(physics.joints(), physics.gripper()).tcp;
        let handle = physics.cabinet().grasp(physics.opening());
        SimState {
            opening: physics.opening(),
            success_opening: self.instance().success_opening(),
            holds: physics.holds(),
            tcp_m: tcp.translation.vector.into(),
            handle_m: handle.translation.vector.into(),
            joints_rad: *physics.joints(),
            gripper: physics.gripper(),
            step: self.episode.step,
        }
    }

    /// What is measured: joint angles and gripper.
    pub fn proprio(&self) -> Vec<f32> {
        let physics = &self.episode.physics;
        let gripper = physics.gripper();
        physics.joints().iter().chain([&gripper]).map(|value| *value as f32).collect()
    }

    /// What is sensed now.
    pub fn observe(&mut self) -> Observation {
        let size = self.options.image_size;
        let cameras: Vec<_> = self.options.views.iter().map(|view| self.camera(*view)).collect();
        self.episode.place(&self.arm);
        self.renderer.cast_shadows(self.episode.scene.world());
        let views = (cameras.iter())
            .map(|camera| {
                let Frame { rgb, depth_m } = self.renderer.draw(self.episode.scene.world(), camera);
                let depth = self.options.depth.then(|| {
                    DepthImage::new(size, size, depth_m).expect("a frame has its own size")
                });
                View { rgb: picture(size, size, rgb), depth }
            })
            .collect();
        Observation { views, proprio: self.proprio() }
    }

    /// A picture of the running episode at another size, from one of the cameras.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    pub fn render(&mut self, view: SimView, width: usize, height: usize) -> RgbImage {
        let camera = self.camera(view);
        self.episode.place(&self.arm);
        let mut renderer = Renderer::new(width, height);
        renderer.cast_shadows(self.episode.scene.world());
        picture(width, height, renderer.draw(self.episode.scene.world(), &camera).rgb)
    }

    /// Moves only the arm's proprio and the cabinet, without pictures: for those who need none.
    pub fn step_blind(&mut self, action: &[f32]) -> bool {
        let current = self.proprio();
        let value = |i: usize| f64::from(action.get(i).copied().unwrap_or(current[i]));
        let targets: Joints = std::array::from_fn(value);
        self.episode.physics.advance(&self.arm, &targets, value(NUM_JOINTS));
        self.episode.step += 1;
        self.episode.success |= self.opening() >= self.instance().success_opening();
        self.episode.success
    }

    /// Begins an episode without taking a picture.
    ///
    /// # Panics
    ///
    /// When there is no such instance.
    pub fn reset_blind(&mut self, instance: usize, seed: u64) {
        self.episode = Episode::begin(&self.arm, &self.instances[instance], seed);
    }

    fn camera(&self, view: SimView) -> Camera {
        match view {
            SimView::Front => self.episode.front.clone(),
            SimView::Wrist => {
                let physics = &self.episode.physics;
                let pose = self.arm.pose(physics.joints(), physics.gripper());
                let hand: Isometry3<f32> = pose.links[NUM_JOINTS].cast();
                let up = match self.task {
                    Task::Drawer => Vector3::y(),
                    Task::Door => Vector3::z(),
                };
                Camera::look_at(
                    hand * Point3::new(0.0, 0.0, 0.075),
                    hand * Point3::new(0.16, 0.0, 0.0),
                    &(hand * up),
                    1.2,
                )
            }
        }
    }
}

impl Episode {
    fn begin(arm: &Arm, instance: &Instance, seed: u64) -> Self {
        let words = [instance.task as u64, instance.split as u64, instance.index as u64, seed];
        let mut draw = Draw::new(words);
        let shift = [draw.about(0.02), draw.about(0.04), draw.about(0.03)];
        let cabinet = Cabinet::new(instance, shift);
        let start = start_pose(instance.task, &mut draw);
        let roll = match instance.task {
            Task::Drawer => std::f64::consts::FRAC_PI_2,
            Task::Door => 0.0,
        };
        let (joints, _) = arm.reach(&start, &[0.0, -0.5, 0.7, -0.2, 0.0, roll]);
        let handle = instance.handle.pieces();
        let friction = instance.friction;
        let eye = instance.camera.eye_m.map(|x| (x + draw.about(0.008)) as f32);
        let target = instance.camera.target_m.map(|x| (x + draw.about(0.006)) as f32);
        let fov = instance.camera.fov_rad as f32;
        let front = Camera::look_at(eye.into(), target.into(), &Vector3::z(), fov);
        let light = [draw.about(0.1), draw.about(0.15), draw.about(0.1)];
        let brightness = draw.within(0.93, 1.07) as f32;
        let scene = Scene::new(arm, instance, &cabinet, light, brightness);
        let physics = Physics::new(arm, cabinet, &handle, friction, joints, 1.0 / CONTROL_HZ);
        Self { instance: instance.index, physics, scene, front, step: 0, success: false }
    }

    fn place(&mut self, arm: &Arm) {
        let pose = arm.pose(self.physics.joints(), self.physics.gripper());
        let panel = self.physics.cabinet().panel_pose(self.physics.opening());
        self.scene.place(&pose, &panel);
    }
}

/// Where the hand is when an episode begins.
fn start_pose(task: Task, draw: &mut Draw) -> Isometry3<f64> {
    let place = [0.46 + draw.about(0.03), draw.about(0.05), 0.44 + draw.about(0.04)];
    let tilt = Vector3::new(draw.about(0.06), draw.about(0.08), draw.about(0.10));
    let roll = match task {
        Task::Drawer => std::f64::consts::FRAC_PI_2,
        Task::Door => 0.0,
    };
    Isometry3::from_parts(
        Translation3::from(Vector3::from(place)),
        UnitQuaternion::from_scaled_axis(tilt)
            * UnitQuaternion::from_axis_angle(&Vector3::x_axis(), roll),
    )
}

fn picture(width: usize, height: usize, rgb: Vec<u8>) -> RgbImage {
    RgbImage::new(width, height, rgb).expect("a frame has its own size")
}

fn robot_spec(arm: &Arm, options: &SimOptions) -> RobotSpec {
    let size = options.image_size;
    let views = (options.views.iter())
        .map(|view| ViewSpec {
            name: view.name().to_owned(),
            width: size,
            height: size,
            depth: options.depth,
        })
        .collect();
    let mut dimensions: Vec<_> = (arm.joints().iter())
        .map(|joint| {
            Dimension::new(&joint.name, "rad")
                .within(joint.lower_rad as f32, joint.upper_rad as f32)
        })
        .collect();
    dimensions.push(Dimension::new("gripper", "1").within(0.0, 1.0));
    RobotSpec {
        name: "engraft-arm".to_owned(),
        control_hz: CONTROL_HZ as f32,
        views,
        proprio: dimensions.clone(),
        actions: dimensions,
    }
}

impl Environment for Simulator {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn task(&self) -> &str {
        self.task.instruction()
    }

    fn num_instances(&self) -> usize {
        self.instances.len()
    }

    fn instance_name(&self, instance: usize) -> String {
        self.instances[instance].name()
    }

    fn max_steps(&self) -> usize {
        MAX_STEPS
    }

    fn reset(&mut self, instance: usize, seed: u64) -> Observation {
        self.reset_blind(instance, seed);
        self.observe()
    }

    fn step(&mut self, action: &[f32]) -> Transition {
        let success = self.step_blind(action);
        Transition { observation: self.observe(), success }
    }
}
