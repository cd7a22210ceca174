//! Hands that go where actions say.

use std::f64::consts::FRAC_PI_2;

use super::*;
use crate::arms;

/// An arm that comes along, with a hand of this kind, at 20 actions a second.
fn hand(name: &str, action: HandAction, turn: Turn) -> (ArmDescription, Hand, Vec<JointScales>) {
    let mut arm = ArmDescription::find(name).unwrap();
    arm.hand = Some(HandDescription {
        action,
        turn,
        frame: Frame::Base,
        names: Vec::new(),
        leash_m: leash_m(),
        leash_rad: leash_rad(),
    });
    let hand = Hand::of(&arm, 0.05).unwrap().unwrap();
    let scales = arms::scales(&arm, None).unwrap();
    (arm, hand, scales)
}

/// An xArm that can move its hand in every direction.
const BENT: [f64; 7] = [0.1, -0.3, 0.0, 0.9, 0.0, 1.2, 0.0];

#[test]
fn a_hand_is_where_every_action_of_a_plan_says() {
    let (_, mut hand, scales) = hand("xarm7", HandAction::Pose, Turn::AxisAngle);
    let home = hand.pose(&BENT);
    // A circle of 4 cm, a turn in 40 actions.
    let actions: Vec<Vec<f32>> = (1..=40)
        .map(|number| {
            let angle = f64::from(number) / 40.0 * 4.0 * FRAC_PI_2;
            let turn = home.rotation.scaled_axis();
            let [x, y, z] = [home.translation.x, home.translation.y, home.translation.z];
            let all = [x, y + 0.04 * angle.sin(), z + 0.04 * (angle.cos() - 1.0)];
            all.into_iter().chain(turn.iter().copied()).map(|value| value as f32).collect()
        })
        .collect();
    let waypoints = hand.waypoints(&BENT, actions.iter().map(Vec::as_slice), &scales).unwrap();
    assert_eq!(waypoints.len(), 40 * 7);
    for (angles, action) in waypoints.chunks(7).zip(&actions) {
        let pose = hand.pose(angles);
        let off = (0..3).map(|i| (pose.translation.vector[i] - f64::from(action[i])).abs());
        assert!(off.fold(0.0, f64::max) < 2e-3, "{pose} is not {action:?}");
        assert!(pose.rotation.angle_to(&home.rotation) < 0.02);
    }
    let near = waypoints[39 * 7..].iter().zip(BENT).map(|(a, b)| (a - b).abs());
    assert!(near.fold(0.0, f64::max) < 0.1, "it comes back to where it was");
}

#[test]
fn deltas_add_up_and_a_gripper_keeps_its_own_number() {
    let (arm, mut hand, scales) = hand("so101", HandAction::Delta, Turn::AxisAngle);
    let joints: Vec<_> = arm.joints.iter().map(|joint| Dimension::new(&joint.name, "1")).collect();
    let dimensions = hand.dimensions(&joints);
    let names: Vec<_> = dimensions.iter().map(|one| format!("{} {}", one.name, one.unit)).collect();
    let expected = [
        "hand_x m",
        "hand_y m",
        "hand_z m",
        "hand_rx rad",
        "hand_ry rad",
        "hand_rz rad",
        "gripper 1",
    ];
    assert_eq!(names, expected);
    let told = [0.0, -0.6, 0.6, 0.5, 0.0, -0.5];
    let before = hand.pose(&told);
    let up = [0.0, 0.0, 0.004, 0.0, 0.0, 0.0, 0.25];
    let waypoints = hand.waypoints(&told, std::iter::repeat_n(&up[..], 10), &scales).unwrap();
    let last = &waypoints[9 * 6..];
    let moved = hand.pose(last).translation.vector - before.translation.vector;
    assert!((moved.z - 0.04).abs() < 3e-3 && moved.xy().norm() < 3e-3, "{moved}");
    let open = scales[5].radians.convert(last[5], scales[5].policy);
    assert!((open - 0.25).abs() < 1e-6);
}

#[test]
fn what_the_arm_did_is_said_in_the_words_of_its_policy() {
    for action in [HandAction::Pose, HandAction::Delta] {
        for turn in [Turn::AxisAngle, Turn::Rot6d] {
            let (_, mut hand, scales) = hand("xarm7", action, turn);
            let mut to = BENT;
            to[0] += 0.05;
            to[4] -= 0.04;
            let said = hand.action(&BENT, &to, &scales);
            assert_eq!(said.len(), 3 + turn.dim());
            let back = hand.waypoints(&BENT, [&said[..]].into_iter(), &scales).unwrap();
            let (found, expected) = (hand.pose(&back), hand.pose(&to));
            let off = (found.translation.vector - expected.translation.vector).norm();
            assert!(off < 1e-3 && found.rotation.angle_to(&expected.rotation) < 0.01, "{off}");
        }
    }
}

#[test]
fn what_no_hand_can_do_is_refused_with_the_action() {
    let (mut arm, mut hand, scales) = hand("xarm7", HandAction::Pose, Turn::AxisAngle);
    let far = [2.0, 0.0, 0.3, 0.0, 0.0, 0.0];
    let error = hand.waypoints(&BENT, [&far[..]].into_iter(), &scales).unwrap_err();
    assert!(matches!(error, HandError::OutOfReach { number: 0, .. }), "{error}");
    let none = [f32::NAN; 6];
    let error = hand.waypoints(&BENT, [&none[..]].into_iter(), &scales).unwrap_err();
    assert!(error.to_string().starts_with("number 0 of a pose"), "{error}");

    arm.hand.as_mut().unwrap().names = vec!["x".into()];
    let error = Hand::of(&arm, 0.05).unwrap_err().to_string();
    assert_eq!(error, "[hand] names: expected 6, found 1");
    let mut koch = ArmDescription::find("koch").unwrap();
    koch.hand = arm.hand;
    assert!(matches!(Hand::of(&koch, 0.05), Err(HandError::NoChain { .. })));
}
