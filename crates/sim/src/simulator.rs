//! The simulator: resets, steps and pictures, behind [`Environment`].

use engraft_core::{DepthImage, Environment, Observation, RgbImage, RobotSpec, Transition, View};
use nalgebra::{Isometry3, Point3, Vector3};
use serde::{Deserialize, Serialize};

use crate::episode::Episode;
use crate::expert;
use crate::instances::{Instance, num_instances};
use crate::kinematics::{Arm, Joints, NUM_JOINTS};
use crate::options::{SimOptions, SimView};
use crate::render::{Camera, Frame, Renderer};
use crate::{SimError, Split, Task};

/// Width of an action and of proprio: six joints and the gripper.
pub const ACTION_DIM: usize = NUM_JOINTS + 1;

const MAX_STEPS: usize = 70;

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

impl Simulator {
    /// A simulator of one task's instances of one split, reset to the first with seed 0.
    ///
    /// # Errors
    ///
    /// When the options ask for pictures that cannot be.
    pub fn new(task: Task, split: Split, options: SimOptions) -> Result<Self, SimError> {
        options.check()?;
        let size = options.image_size;
        let arm = Arm::embedded()?;
        let instances: Vec<_> = (0..num_instances(task, split))
            .map(|index| Instance::new(task, split, index))
            .collect();
        let episode = Episode::begin(&arm, &instances[0], 0);
        let spec = options.robot_spec(&arm);
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

    /// The largest speed of every action dimension: rad/s, and strokes per second for the gripper.
    pub fn velocity_limits(&self) -> Vec<f32> {
        let gripper = self.arm.gripper_speed_hz();
        let joints = self.arm.joints().iter().map(|joint| joint.velocity_rad_s);
        joints.chain([gripper]).map(|limit| limit as f32).collect()
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

    /// Plays one action without taking a picture, and says whether the episode has succeeded.
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
                    hand * Point3::new(0.05, 0.0, 0.085),
                    hand * Point3::new(0.165, 0.0, 0.0),
                    &(hand * up),
                    1.2,
                )
            }
        }
    }
}

fn picture(width: usize, height: usize, rgb: Vec<u8>) -> RgbImage {
    RgbImage::new(width, height, rgb).expect("a frame has its own size")
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

    fn advance(&mut self, action: &[f32]) -> bool {
        self.step_blind(action)
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::Translation3;

    use super::*;

    fn simulator(task: Task, options: SimOptions) -> Simulator {
        Simulator::new(task, Split::Train, options).unwrap()
    }

    fn small() -> SimOptions {
        SimOptions { image_size: 32, ..SimOptions::default() }
    }

    #[test]
    fn the_same_seed_and_actions_give_the_same_observations_bit_for_bit() {
        let options =
            SimOptions { depth: true, views: vec![SimView::Front, SimView::Wrist], ..small() };
        let play = |simulator: &mut Simulator| {
            let mut seen = vec![simulator.reset(3, 11)];
            for _ in 0..30 {
                let action = simulator.expert_action();
                seen.push(simulator.step(&action).observation);
            }
            seen
        };
        let mut first = simulator(Task::Door, options.clone());
        let once = play(&mut first);
        assert!(once == play(&mut first), "a reset leaves something behind");
        assert!(once == play(&mut simulator(Task::Door, options)), "two simulators differ");
    }

    #[test]
    fn a_simulator_can_move_to_another_thread() {
        let mut simulator = simulator(Task::Drawer, small());
        let proprio = std::thread::spawn(move || simulator.reset(0, 1).proprio).join().unwrap();
        assert_eq!(proprio.len(), ACTION_DIM);
    }

    #[test]
    fn another_seed_or_instance_is_another_episode() {
        let mut simulator = simulator(Task::Drawer, small());
        let first = simulator.reset(0, 1);
        assert_ne!(first.proprio, simulator.reset(0, 2).proprio);
        assert_ne!(first.views[0].rgb, simulator.reset(1, 1).views[0].rgb);
        assert_eq!(first, simulator.reset(0, 1));
    }

    #[test]
    fn the_arm_is_seen_to_move() {
        let mut simulator = simulator(Task::Drawer, small());
        let before = simulator.reset(0, 1);
        let action = simulator.expert_action();
        let after = simulator.step(&action).observation;
        assert_ne!(before.views[0].rgb, after.views[0].rgb);
        let moved = |i: usize| (before.proprio[i] - after.proprio[i]).abs();
        assert!((0..NUM_JOINTS).any(|i| moved(i) > 0.005));
    }

    #[test]
    fn an_action_out_of_reach_is_followed_at_the_joints_own_speed() {
        let mut simulator = simulator(Task::Drawer, small());
        let before = simulator.reset(0, 1).proprio;
        simulator.step_blind(&[f32::MAX, f32::NAN, 9.0, -9.0, f32::INFINITY, 0.0, 2.0]);
        let after = simulator.proprio();
        // A tenth of a second at 1.6 rad/s; what is no finite number holds its joint.
        let moved: Vec<_> = after.iter().zip(&before).map(|(b, a)| b - a).collect();
        assert!((moved[0] - 0.16).abs() < 1e-6, "{moved:?}");
        assert_eq!(moved[1], 0.0);
        assert!((moved[2] - 0.16).abs() < 1e-6 && (moved[3] + 0.16).abs() < 1e-6, "{moved:?}");
        assert_eq!(moved[4], 0.0);
        assert!((moved[6] - 0.2).abs() < 1e-6, "{moved:?}");
    }

    #[test]
    fn a_short_action_holds_the_joints_it_leaves_out() {
        let mut simulator = simulator(Task::Drawer, small());
        let before = simulator.reset(0, 1).proprio;
        simulator.step_blind(&[]);
        for (a, b) in before.iter().zip(simulator.proprio()) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn nothing_opens_by_itself_or_by_an_open_hand() {
        let mut simulator = simulator(Task::Drawer, small());
        simulator.reset(0, 1);
        for _ in 0..60 {
            let mut action = simulator.expert_action();
            action[NUM_JOINTS] = 0.0;
            simulator.step_blind(&action);
        }
        assert!(simulator.opening().abs() < 0.005, "open by {}", simulator.opening());
        assert!(!simulator.success());
    }

    #[test]
    fn opening_the_gripper_lets_go() {
        let mut simulator = simulator(Task::Drawer, small());
        simulator.reset(0, 1);
        while !simulator.state_summary().holds {
            let action = simulator.expert_action();
            simulator.step_blind(&action);
        }
        let gripper = simulator.state_summary().gripper;
        assert!(gripper > 0.5 && gripper < 0.95, "holds a handle of no thickness: {gripper}");
        let mut action = simulator.proprio();
        action[NUM_JOINTS] = 0.0;
        simulator.step_blind(&action);
        assert!(!simulator.state_summary().holds);
    }

    #[test]
    fn the_hand_is_stopped_by_the_panel() {
        let mut simulator = simulator(Task::Drawer, small());
        simulator.reset(0, 1);
        let mut reach: f64 = 0.0;
        for _ in 0..40 {
            let pose = simulator.arm.pose(simulator.episode.physics.joints(), 1.0);
            // Forward and up, past the handle, with the fingers shut.
            let ahead = Translation3::new(0.03, 0.0, 0.0) * pose.tcp;
            let (joints, _) = simulator.arm.reach(&ahead, simulator.episode.physics.joints());
            let action: Vec<_> = joints.iter().chain([&1.0]).map(|v| *v as f32).collect();
            simulator.step_blind(&action);
            reach = reach.max(simulator.state_summary().tcp_m[0]);
        }
        let panel = simulator.episode.physics.cabinet().panel_pose(0.0).translation.x;
        assert!(reach + 0.025 < panel + 0.012, "tips at {}, panel at {panel}", reach + 0.025);
    }

    #[test]
    fn depth_is_metres_to_what_the_pixel_shows() {
        let options = SimOptions { depth: true, ..small() };
        let mut simulator = simulator(Task::Drawer, options);
        let seen = simulator.reset(0, 1);
        let depth = seen.views[0].depth.as_ref().unwrap();
        let middle = depth.metres()[16 * 32 + 16];
        assert!(middle > 0.5 && middle < 1.1, "{middle}");
        assert!(depth.metres().iter().all(|m| *m > 0.05 && *m <= crate::render::FAR_M));
    }
}
