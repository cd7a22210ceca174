//! Demonstrations: the expert's label at every step, with noise on what is done.

use engraft_core::{Environment, Observation};
use nalgebra::{Vector3, Vector6};

use crate::Simulator;
use crate::draw::Draw;
use crate::kinematics::{Joints, NUM_JOINTS};

/// How much the executed actions differ from the labels.
///
/// The labels stay the expert's own, so that what was disturbed is shown to be set right.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// Deviation added to every joint target at every step.
    pub joint_rad: f64,
    /// Chance at each step that the hand begins to be pushed aside.
    pub push_chance: f64,
    /// How far a push moves the hand in one step; one lasts 2 to 6 steps.
    pub push_m: f64,
    /// Chance at each step that the gripper begins to do the opposite for 2 or 3 steps.
    pub gripper_chance: f64,
}

impl Noise {
    /// None: what is done is the label.
    pub fn none() -> Self {
        Self { joint_rad: 0.0, push_chance: 0.0, push_m: 0.0, gripper_chance: 0.0 }
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self { joint_rad: 0.006, push_chance: 0.06, push_m: 0.018, gripper_chance: 0.015 }
    }
}

/// One episode of the expert.
#[derive(Debug, Clone, PartialEq)]
pub struct Demonstration {
    /// What was sensed, and what the expert would do then, at each step.
    pub steps: Vec<(Observation, Vec<f32>)>,
    /// Whether the task was achieved.
    pub success: bool,
}

/// Steps recorded after the task is achieved, so that the end is shown too.
const STEPS_AFTER: usize = 3;

/// Lets the expert play one episode; the same arguments always record the same.
///
/// # Panics
///
/// When there is no such instance.
pub fn record_episode(
    simulator: &mut Simulator,
    instance: usize,
    seed: u64,
    noise: &Noise,
) -> Demonstration {
    let mut observation = simulator.reset(instance, seed);
    let mut disturbance = Disturbance::new(noise, instance, seed);
    let (mut steps, mut after, mut success) = (Vec::new(), 0, false);
    while steps.len() < simulator.max_steps() && after < STEPS_AFTER {
        let label = simulator.expert_action();
        let executed = disturbance.apply(simulator, &label);
        let transition = simulator.step(&executed);
        steps.push((std::mem::replace(&mut observation, transition.observation), label));
        success = transition.success;
        after += usize::from(success);
    }
    Demonstration { steps, success }
}

/// Plays the episode that [`record_episode`] would record, without pictures: how many steps it
/// has, and whether the task was achieved.
///
/// # Panics
///
/// When there is no such instance.
pub fn play_episode(
    simulator: &mut Simulator,
    instance: usize,
    seed: u64,
    noise: &Noise,
) -> (usize, bool) {
    simulator.reset_blind(instance, seed);
    let mut disturbance = Disturbance::new(noise, instance, seed);
    let (mut steps, mut after) = (0, 0);
    while steps < simulator.max_steps() && after < STEPS_AFTER {
        let label = simulator.expert_action();
        let executed = disturbance.apply(simulator, &label);
        after += usize::from(simulator.step_blind(&executed));
        steps += 1;
    }
    (steps, simulator.success())
}

/// Noise with a memory of what it is at.
pub(crate) struct Disturbance {
    noise: Noise,
    draw: Draw,
    push: (usize, Vector3<f64>),
    gripper_steps: usize,
}

impl Disturbance {
    pub(crate) fn new(noise: &Noise, instance: usize, seed: u64) -> Self {
        Self {
            noise: noise.clone(),
            draw: Draw::new([0x0153, 1, instance as u64, seed]),
            push: (0, Vector3::zeros()),
            gripper_steps: 0,
        }
    }

    /// What is done in place of the label.
    pub(crate) fn apply(&mut self, simulator: &Simulator, label: &[f32]) -> Vec<f32> {
        let (noise, draw) = (&self.noise, &mut self.draw);
        if self.push.0 == 0 && draw.chance(noise.push_chance) {
            let aside = Vector3::new(draw.within(-1.0, 0.4), draw.about(1.0), draw.about(1.0));
            let steps = 2 + (draw.within(0.0, 5.0) as usize);
            self.push = (steps, aside.normalize() * noise.push_m * draw.within(0.5, 1.0));
        }
        if self.gripper_steps == 0 && draw.chance(noise.gripper_chance) {
            self.gripper_steps = 2 + usize::from(draw.chance(0.5));
        }
        let mut joints: Joints = std::array::from_fn(|i| f64::from(label[i]));
        if self.push.0 > 0 {
            self.push.0 -= 1;
            let pose = simulator.arm().pose(&joints, 0.0);
            let way = self.push.1;
            let twist = Vector6::new(way.x, way.y, way.z, 0.0, 0.0, 0.0);
            for (joint, step) in joints.iter_mut().zip(simulator.arm().joint_step(&pose, &twist)) {
                *joint += step;
            }
        }
        for joint in &mut joints {
            *joint += noise.joint_rad * draw.bell();
        }
        simulator.arm().clamp(&mut joints);
        let mut executed: Vec<_> = joints.iter().map(|value| *value as f32).collect();
        let gripper = label[NUM_JOINTS];
        executed.push(if self.gripper_steps > 0 { 1.0 - gripper } else { gripper });
        self.gripper_steps = self.gripper_steps.saturating_sub(1);
        executed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SimOptions, Split, Task};

    fn simulator(task: Task, split: Split) -> Simulator {
        let options = SimOptions { image_size: 32, ..SimOptions::default() };
        Simulator::new(task, split, options).unwrap()
    }

    #[test]
    fn the_expert_opens_every_instance() {
        for task in Task::ALL {
            for split in Split::ALL {
                let mut simulator = simulator(task, split);
                for instance in 0..simulator.num_instances() {
                    let (steps, success) =
                        play_episode(&mut simulator, instance, 5, &Noise::none());
                    assert!(success, "{}", simulator.instance_name(instance));
                    assert!(steps < 45, "{} took {steps}", simulator.instance_name(instance));
                }
            }
        }
    }

    #[test]
    fn the_expert_recovers_from_noise() {
        let mut simulator = simulator(Task::Drawer, Split::Train);
        let noise = Noise::default();
        let successes = (0..60u64)
            .filter(|seed| play_episode(&mut simulator, (*seed % 21) as usize, *seed, &noise).1)
            .count();
        assert!(successes >= 58, "{successes} of 60");
    }

    #[test]
    fn labels_are_what_the_expert_would_do_not_what_was_done() {
        let mut simulator = simulator(Task::Drawer, Split::Train);
        let shown = record_episode(&mut simulator, 0, 4, &Noise::default());
        assert!(shown.success);
        simulator.reset_blind(0, 4);
        assert_eq!(shown.steps[0].1, simulator.expert_action());
        // The next proprio follows the noisy action, not the label.
        let (label, next) = (&shown.steps[0].1, &shown.steps[1].0.proprio);
        assert!((0..NUM_JOINTS).any(|i| (label[i] - next[i]).abs() > 1e-3));
    }

    #[test]
    fn playing_and_recording_are_the_same_episode() {
        let mut simulator = simulator(Task::Door, Split::Heldout);
        let noise = Noise::default();
        let shown = record_episode(&mut simulator, 2, 9, &noise);
        let played = play_episode(&mut simulator, 2, 9, &noise);
        assert_eq!((shown.steps.len(), shown.success), played);
    }
}
