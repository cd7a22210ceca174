//! A policy that says where the hand is to be: its actions become angles of the joints here.
//!
//! The angles go the way of any plan: the trajectory, the leash and the gate know nothing of hands.

use engraft_core::Dimension;
use nalgebra::Isometry3;
use serde::{Deserialize, Serialize};

use crate::description::{ArmDescription, JointDescription};
use crate::kinematics::chain::{Chain, ChainError};
use crate::kinematics::reach::{Reach, ReachError, ReachOptions};
use crate::kinematics::space::{ActionError, ActionSpace, Frame, PoseLeash, Turn};
use crate::units::JointScales;

/// Steps of the inverse kinematics for a second of motion.
const STEPS_HZ: f64 = 200.0;
/// Nearer than this the hand is where it should be, in metres and radians.
const THERE: (f64, f64) = (5e-4, 5e-3);

/// What a policy's actions say about the hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandAction {
    /// Where it is to be, in the base frame.
    Pose,
    /// How it is to move.
    Delta,
}

/// A hand, as an arm's description has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandDescription {
    /// What an action says about it.
    pub action: HandAction,
    /// How its turn is written.
    pub turn: Turn,
    /// Whose axes a delta is along.
    #[serde(default)]
    pub frame: Frame,
    /// What the demonstrations call the numbers, if not `hand_x`, `hand_y` and so on.
    #[serde(default)]
    pub names: Vec<String>,
    /// How far a pose may lie from what the arm reaches in time, in metres; a plan that goes
    /// further is not taken.
    #[serde(default = "leash_m")]
    pub leash_m: f64,
    /// The same for its turn, in radians.
    #[serde(default = "leash_rad")]
    pub leash_rad: f64,
}

fn leash_m() -> f64 {
    0.1
}

fn leash_rad() -> f64 {
    0.8
}

/// Why an action of the hand is none of the arm's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandError {
    /// The description says nothing about where the hand is.
    #[error("arm {arm} has a [hand] and no `urdf` and `tip` that say where it is")]
    NoChain {
        /// The arm.
        arm: String,
    },
    /// Its URDF is of no use.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// There are more or fewer names than numbers.
    #[error("[hand] names: expected {expected}, found {found}")]
    Names {
        /// Numbers of an action.
        expected: usize,
        /// Names.
        found: usize,
    },
    /// The action is no pose.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// The inverse kinematics cannot begin.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The hand cannot be there in time, or at all.
    #[error(
        "action {number} of the plan: the hand would be {off_m:.3} m and {off_rad:.2} rad off, which \
         is out of reach in that time"
    )]
    OutOfReach {
        /// Which action, from 0.
        number: usize,
        /// How far, in metres.
        off_m: f64,
        /// How far, in radians.
        off_rad: f64,
    },
}

impl HandDescription {
    fn space(&self) -> ActionSpace {
        match self.action {
            HandAction::Pose => ActionSpace::PoseAbs(self.turn),
            HandAction::Delta => ActionSpace::PoseDelta(self.turn, self.frame),
        }
    }
}

/// What moves the joints so that the hand goes where it should.
#[derive(Debug, Clone)]
pub struct Hand {
    space: ActionSpace,
    leash: PoseLeash,
    /// The arm cannot turn its hand freely, so that only its place is held against the leash.
    place_alone: bool,
    reach: Reach,
    names: Vec<String>,
    steps: usize,
}

impl Hand {
    /// The hand of a described arm, if its policies speak of one, with a plan's period between two
    /// actions.
    ///
    /// # Errors
    ///
    /// When the description does not say where it is, or names its numbers wrongly.
    pub fn of(arm: &ArmDescription, plan_period_secs: f64) -> Result<Option<Self>, HandError> {
        let Some(hand) = &arm.hand else { return Ok(None) };
        let chain = Chain::of(arm)?.ok_or_else(|| HandError::NoChain { arm: arm.name.clone() })?;
        let space = hand.space();
        let names = if hand.names.is_empty() { named(hand.turn) } else { hand.names.clone() };
        let (expected, found) = (space.dim(), names.len());
        if expected != found {
            return Err(HandError::Names { expected, found });
        }
        let place_alone = chain.num_joints() < 6;
        let options =
            if place_alone { ReachOptions::five_joints() } else { ReachOptions::default() };
        let middle = |joint: &JointDescription| f64::midpoint(joint.min_rad, joint.max_rad);
        let posture: Vec<_> = arm.joints.iter().take(chain.num_joints()).map(middle).collect();
        // Nothing draws it to its middle: where it is, is as good.
        let options = ReachOptions { posture_gain: 0.0, ..options };
        let leash = PoseLeash { distance_m: hand.leash_m, angle_rad: hand.leash_rad };
        let reach = Reach::new(chain, options, &posture)?;
        let steps = (plan_period_secs * STEPS_HZ).ceil().max(1.0) as usize;
        Ok(Some(Self { space, leash, place_alone, reach, names, steps }))
    }

    fn num_joints(&self) -> usize {
        self.reach.chain().num_joints()
    }

    /// The dimensions of an action: the hand's, then the arm's other joints, such as a gripper.
    pub fn dimensions(&self, joints: &[Dimension]) -> Vec<Dimension> {
        let unit = |i: usize| match i {
            0..3 => "m",
            _ if self.names.len() == 9 => "1",
            _ => "rad",
        };
        let hand = self.names.iter().enumerate().map(|(i, name)| Dimension::new(name, unit(i)));
        hand.chain(joints.iter().skip(self.num_joints()).cloned()).collect()
    }

    /// Angles of all joints for each action in turn, in radians, from where they are told to be now.
    ///
    /// # Errors
    ///
    /// When an action is none, or leads where the hand cannot be.
    pub fn waypoints<'a>(
        &mut self,
        told_rad: &[f64],
        actions: impl Iterator<Item = &'a [f32]>,
        scales: &[JointScales],
    ) -> Result<Vec<f64>, HandError> {
        let joints = self.num_joints();
        self.reach.reset(told_rad.get(..joints).unwrap_or_default())?;
        let mut pose = self.pose(told_rad);
        let mut waypoints_rad = Vec::new();
        for (number, action) in actions.enumerate() {
            let dim = self.space.dim();
            let hand: Vec<f64> = action.iter().take(dim).map(|&value| f64::from(value)).collect();
            pose = self.space.apply(&pose, &hand)?;
            let mut off = self.reach.step(&pose)?;
            for _ in 1..self.steps {
                if off.position_m < THERE.0 && (self.place_alone || off.angle_rad < THERE.1) {
                    break;
                }
                off = self.reach.step(&pose)?;
            }
            let turned = !self.place_alone && off.angle_rad > self.leash.angle_rad;
            if off.position_m > self.leash.distance_m || turned {
                let (off_m, off_rad) = (off.position_m, off.angle_rad);
                return Err(HandError::OutOfReach { number, off_m, off_rad });
            }
            waypoints_rad.extend_from_slice(self.reach.solution());
            let others =
                action.get(dim..).unwrap_or_default().iter().zip(scales.iter().skip(joints));
            waypoints_rad.extend(
                others.map(|(&value, scales)| {
                    scales.policy.convert(f64::from(value), scales.radians)
                }),
            );
        }
        Ok(waypoints_rad)
    }

    /// The action that leads the arm from one pose of its joints to another.
    pub fn action(&self, from_rad: &[f64], to_rad: &[f64], scales: &[JointScales]) -> Vec<f32> {
        let hand = self.space.between(&self.pose(from_rad), &self.pose(to_rad));
        let others = scales.iter().zip(to_rad).skip(self.num_joints());
        let others = others.map(|(scales, &angle)| scales.radians.convert(angle, scales.policy));
        hand.into_iter().chain(others).map(|value| value as f32).collect()
    }

    fn pose(&self, angles_rad: &[f64]) -> Isometry3<f64> {
        self.reach.chain().pose(angles_rad.get(..self.num_joints()).unwrap_or_default())
    }
}

/// What the numbers are called where nobody says otherwise.
fn named(turn: Turn) -> Vec<String> {
    let turns: &[&str] = match turn {
        Turn::AxisAngle => &["rx", "ry", "rz"],
        Turn::Rot6d => &["r1", "r2", "r3", "r4", "r5", "r6"],
    };
    ["x", "y", "z"].iter().chain(turns).map(|name| format!("hand_{name}")).collect()
}

#[cfg(test)]
mod tests;
