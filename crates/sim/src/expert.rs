//! The scripted expert: a smooth function of the true state, without memory.
//!
//! Apart from the handle it flies to a place before it, in line with it, and only then forward;
//! close to it the gripper closes; as soon as both fingers hold, it pulls. Whatever disturbs it,
//! the same rule brings it back: a hand beside the handle first backs out, and a gripper that
//! closed on nothing opens again.

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};

use crate::kinematics::{Arm, Joints};
use crate::physics::Physics;

/// Farthest that the hand is sent in one period.
const REACH_STEP_M: f64 = 0.016;
const PULL_STEP_M: f64 = 0.014;
const TURN_STEP_RAD: f64 = 0.06;
/// How far before the handle the hand waits until it is in line.
const STANDOFF_M: f64 = 0.09;

/// What the expert does: joint targets and the gripper's.
pub(crate) fn act(arm: &Arm, physics: &Physics, success_opening: f64) -> (Joints, f64) {
    let cabinet = physics.cabinet();
    let opening = physics.opening();
    let hand = arm.pose(physics.joints(), physics.gripper()).tcp;
    let grasp = cabinet.grasp(opening);
    // The hand as the handle sees it: x from behind to through, y and z aside.
    let place = (grasp.inverse() * hand).translation.vector;
    let aside = place.y.hypot(place.z);
    let (target, gripper) = if physics.holds() {
        let left = 1.4 * success_opening - opening;
        let step = (PULL_STEP_M / cabinet.lever()).min(left.max(0.0));
        // Drift back to the middle of the handle while pulling.
        let centred = grasp * Translation3::new(place.x * 0.9, place.y * 0.9, place.z * 0.9);
        (cabinet.carry(&centred, step), 1.0)
    } else {
        let fits = aside < 0.016 && place.x > -0.024 && place.x < 0.022;
        let shut = physics.gripper() > 0.25;
        let wanted_x = if shut && !fits {
            -STANDOFF_M
        } else {
            0.004 - STANDOFF_M * smooth((aside - 0.008) / 0.035)
        };
        let way = Vector3::new(wanted_x - place.x, -place.y, -place.z);
        let distance = way.norm();
        let step = (0.5 * distance + 0.002).min(REACH_STEP_M).min(distance);
        let next = place + way * (step / distance.max(1e-9));
        let gripper = if fits { smooth((place.x + 0.022) / 0.012) } else { 0.0 };
        (grasp * Translation3::from(next), gripper)
    };
    let turned = turn_towards(&hand.rotation, &grasp.rotation);
    let target = Isometry3::from_parts(target.translation, turned);
    (arm.reach(&target, physics.joints()).0, gripper)
}

/// At most one step of the turn from one attitude to another.
fn turn_towards(from: &UnitQuaternion<f64>, to: &UnitQuaternion<f64>) -> UnitQuaternion<f64> {
    let turn = (to * from.inverse()).scaled_axis();
    let angle = turn.norm();
    let step = (0.5 * angle).min(TURN_STEP_RAD);
    UnitQuaternion::from_scaled_axis(turn * (step / angle.max(1e-9))) * from
}

/// From 0 to 1 without corners.
fn smooth(t: f64) -> f64 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
