//! Episodes played on a bridge with an emulated arm.

use std::f64::consts::TAU;

use engraft_core::{Dimension, Observation, Outcome, RobotSpec, RolloutStep};
use engraft_wire::LogWriter;

use super::*;
use crate::cli::testing::Follower;
use crate::testing::patiently;

/// An episode at 20 Hz in which every joint swings, the gripper in its own unit.
fn swing(joints: &[JointStatus], steps: usize) -> Rollout {
    let dimension = |joint: &JointStatus| {
        Dimension::new(&joint.name, if joint.name == "gripper" { "1" } else { "rad" })
    };
    let dimensions: Vec<_> = joints.iter().map(dimension).collect();
    let spec = RobotSpec {
        name: "so101".into(),
        control_hz: 20.0,
        views: Vec::new(),
        proprio: dimensions.clone(),
        actions: dimensions,
    };
    let step = |number: usize| {
        let time_secs = 3.0 + number as f64 * 0.05;
        let wave = (number as f64 * 0.05 / 2.0 * TAU).sin() as f32;
        let mut action = vec![0.2 * wave; joints.len()];
        action[5] = 0.5 + 0.1 * wave;
        RolloutStep {
            time_secs,
            observation: Observation { views: Vec::new(), proprio: action.clone() },
            chunk: None,
            action,
            limited: Vec::new(),
            attention: Vec::new(),
        }
    };
    Rollout {
        spec,
        task: "swing".into(),
        instance: "one".into(),
        seed: 0,
        outcome: Outcome::Unknown,
        steps: (0..steps).map(step).collect(),
    }
}

fn joints() -> Vec<JointStatus> {
    let names = ["a", "b", "c", "d", "e", "gripper"];
    let joint = |name: &str| JointStatus {
        name: name.into(),
        bounds_rad: [-1.0, 3.0],
        ..JointStatus::default()
    };
    names.map(joint).into()
}

#[test]
fn actions_become_angles_on_straight_lines() {
    let course = Course::new(&swing(&joints(), 3), &joints()).unwrap();
    assert!((course.secs() - 0.1).abs() < 1e-9);
    assert_eq!(course.at(-1.0), course.poses[0]);
    assert_eq!(course.at(9.0), course.poses[2]);
    assert!((course.at(0.0)[5] - 1.0).abs() < 1e-6, "half shut is half-way between the bounds");
    let half = course.at(0.025)[0];
    assert!((half - course.poses[1][0] / 2.0).abs() < 1e-9, "{half}");
}

#[test]
fn an_episode_of_another_arm_or_unit_is_refused_by_name() {
    let good = swing(&joints(), 3);
    let fail = |change: &dyn Fn(&mut Rollout)| {
        let mut rollout = good.clone();
        change(&mut rollout);
        Course::new(&rollout, &joints()).unwrap_err().to_string()
    };
    let error = fail(&|rollout| rollout.spec.actions[1].name = "x".into());
    let expected =
        "the bridge's joints are a, b, c, d, e, gripper, the recording's a, x, c, d, e, gripper";
    assert_eq!(error, expected);
    let error = fail(&|rollout| rollout.spec.actions[1].unit = "deg".into());
    assert!(error.starts_with("b: expected actions in `rad`, or in `rad`, found `deg`"), "{error}");
    let error = fail(&|rollout| rollout.spec.actions[1].unit = String::new());
    assert!(error.starts_with("b: nobody wrote down what unit"), "{error}");
    let error = fail(&|rollout| rollout.steps[2].action[0] = f32::NAN);
    assert_eq!(error, "step 2 of the episode has an action that is none");
    let error = fail(&|rollout| rollout.steps[2].action[1] = 57.3);
    assert!(error.starts_with("step 2 sends b to 57.30 rad, far outside -1.00 to 3.00"), "{error}");
    let error = fail(&|rollout| rollout.steps[2].time_secs = 3.0);
    assert_eq!(error, "step 2 of the episode is not after the last");
    assert_eq!(fail(&|rollout| rollout.steps.clear()), "the episode has no steps");
}

#[test]
fn an_episode_of_lerobot_s_is_in_the_units_that_the_arm_is_described_with() {
    let mut joints = joints();
    for joint in &mut joints {
        joint.unit = "%".into();
        joint.value_of_rad = [-50.0, 50.0]; // -100 at -1 rad, 100 at 3
    }
    let mut rollout = swing(&joints, 2);
    for dimension in &mut rollout.spec.actions {
        dimension.name.push_str(".pos");
        dimension.unit = String::new();
    }
    for step in &mut rollout.steps {
        step.action = vec![25.0; 6];
    }
    let course = Course::new(&rollout, &joints).unwrap();
    assert_eq!(course.poses[0], [1.5; 6]);
}

#[test]
fn an_episode_is_played_on_a_bridge_and_the_arm_follows() {
    patiently(|| {
        let follower = Follower::start();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swing.log");
        let mut log = LogWriter::create(&path).unwrap();
        let rollout = swing(&follower.status().joints, 61);
        log.begin(&rollout).unwrap();
        rollout.steps.iter().for_each(|step| log.step(step).unwrap());
        log.end(Outcome::Success).unwrap();
        let endpoint = Endpoint { control: follower.endpoint() };
        let args = PlayArgs { episode: 0, speed: 1.0, endpoint };
        let play = |args: &PlayArgs, stop: &AtomicBool| play_until(&rollout, args, stop);

        let stop = AtomicBool::new(false);
        let (course, furthest) = play(&args, &stop).unwrap().unwrap();
        assert_eq!(course.poses.len(), 61);
        // 0.63 rad/s at most, and a servo is some periods of 20 ms behind its set-point.
        assert!(furthest.off_rad > 0.001 && furthest.off_rad < 0.12, "{furthest:?}");
        follower.wait_for(|status| status.state == "Ready" && status.holder.is_none());
        let status = follower.status();
        for (joint, angle) in status.joints.iter().zip(course.at(9.0)) {
            assert!((joint.goal_rad - angle).abs() < 0.01, "{joint:?}");
        }
        let before = status.plans;
        let slow = PlayArgs { speed: 0.5, ..args.clone() };
        let (_, slowly) = play(&slow, &stop).unwrap().unwrap();
        assert!(slowly.off_rad < furthest.off_rad, "{slowly:?} is as far off as {furthest:?}");
        assert!(follower.status().plans > before + 40, "plans are handed over piece by piece");

        let missing = ReplayArgs { log: path, play: PlayArgs { episode: 1, ..args.clone() } };
        let error = replay(&missing).unwrap_err().to_string();
        assert!(error.ends_with("has 1 episode(s), counted from 0: found --episode 1"), "{error}");
        stop.store(true, Ordering::Relaxed);
        assert!(play(&args, &stop).unwrap().is_none());
        follower.stop();
    });
}

#[test]
fn a_stop_ends_it_with_an_error_and_the_arm_stands() {
    patiently(|| {
        let follower = Follower::start();
        let rollout = swing(&follower.status().joints, 200);
        let endpoint = Endpoint { control: follower.endpoint() };
        let args = PlayArgs { episode: 0, speed: 1.0, endpoint };
        let error = std::thread::scope(|scope| {
            let played = scope.spawn(|| play_until(&rollout, &args, &AtomicBool::new(false)));
            follower.wait_for(|status| status.state == "Running" && status.plans > 10);
            follower.stop_arm();
            played.join().unwrap().unwrap_err().to_string()
        });
        assert!(error.starts_with("stopped in ") && error.ends_with("was it told to?"), "{error}");
        follower.wait_for(|status| status.state == "Ready");
        let plans = follower.status().plans;
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(follower.status().plans, plans, "it stays stopped");
        follower.stop();
    });
}
