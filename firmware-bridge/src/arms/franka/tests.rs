//! What needs no control box: words, aim, and a box that says nothing.
//!
//! `tests/judges/franka.py` drives the real bridge against a simulator of a whole arm.

use std::net::TcpListener;
use std::time::Instant;

use franka::otg::MultiOtg;
use franka::rate_limiting::{
    JOINT_POSITION_LIMITS, MAX_JOINT_ACCELERATION, MAX_JOINT_JERK,
    compute_lower_limits_joint_velocity, compute_upper_limits_joint_velocity,
};
use franka::robot::target_control::JOINT_LIMIT_INSET;
use franka::{ControlException, ERROR_NAMES, Errors, FrankaError, MoveStatus, RobotMode};

use super::aim::{generator, stop_secs};
use super::session::{PATIENCE, is_abandoned};
use super::words::{help, obstacle};
use super::*;
use crate::arms::{check_built_in, open, scales};
use crate::motion::joint::Target;
use crate::motion::trajectory::{Aim as Wanted, Trajectory};

fn arm() -> ArmDescription {
    ArmDescription::find("fr3").unwrap()
}

fn place() -> Place {
    FrankaMotors::new(&arm(), "robot").unwrap().place
}

fn limits() -> [MotionLimits; JOINTS] {
    FrankaMotors::new(&arm(), "robot").unwrap().limits
}

fn flagged(name: &str, status: MoveStatus) -> FrankaError {
    let mut flags = Errors::default();
    flags.0[Errors::index_of(name).unwrap()] = true;
    let mut exception = ControlException::new("libfranka: Move command aborted: by reflex!");
    (exception.move_status, exception.last_motion_errors) = (Some(status), flags);
    FrankaError::Control(exception)
}

#[test]
fn the_arm_is_built_in_and_counts_microradians_from_the_makers_zero() {
    check_built_in(&arm()).unwrap();
    let motors = open(&arm(), "robot", None).unwrap();
    assert_eq!(motors.joints().len(), JOINTS);
    let scales = scales(&arm(), None).unwrap();
    assert!((scales[3].radians.value(-1_500_000) + 1.5).abs() < 1e-9);
    assert_eq!((ticks(-1.5), ticks(f64::NAN), ticks(3000.0)), (Some(-1_500_000), None, None));
}

#[test]
fn its_limits_lie_inside_libfrankas() {
    let (lower, upper) = JOINT_POSITION_LIMITS;
    let quickest = generator(&limits(), FciVersion::V10);
    for (i, limits) in limits().iter().enumerate() {
        assert!(limits.min > lower[i] + JOINT_LIMIT_INSET, "joint {i}");
        assert!(limits.max < upper[i] - JOINT_LIMIT_INSET, "joint {i}");
        let quickest = quickest[i];
        assert!(quickest.max_acceleration <= 0.9 * MAX_JOINT_ACCELERATION[i], "joint {i}");
        assert!(quickest.max_jerk <= 0.9 * MAX_JOINT_JERK[i], "joint {i}");
        assert!(quickest.max_velocity > limits.velocity, "joint {i}");
        assert!(quickest.max_acceleration > limits.acceleration, "joint {i}");
    }
}

#[test]
fn braking_for_a_bound_keeps_the_velocity_that_is_allowed_there() {
    for (i, limits) in limits().iter().enumerate() {
        for hundredth in 0..200 {
            let way = f64::from(hundredth) * 0.01;
            let velocity = (2.0 * limits.acceleration * way).sqrt().min(limits.velocity);
            let mut at = [0.0; JOINTS];
            at[i] = limits.max - way;
            let most = compute_upper_limits_joint_velocity(&at)[i];
            assert!(velocity < most, "joint {i}, {way} rad before its end: {velocity}, {most}");
            at[i] = limits.min + way;
            let most = -compute_lower_limits_joint_velocity(&at)[i];
            assert!(velocity < most, "joint {i}, {way} rad before its start: {velocity}, {most}");
        }
    }
}

/// Set-points of our own trajectory, chased by the generator of `franka-rs`.
#[test]
fn the_generator_is_where_the_set_points_are() {
    let (limits, period) = (limits(), arm().period_secs());
    let start = limits.map(|limits| f64::midpoint(limits.min, limits.max));
    let leashed = limits.map(|limits| (limits, 10.0));
    let mut trajectory = Trajectory::new(&leashed, period);
    trajectory.reset(&start).unwrap();
    let quickest = generator(&limits, FciVersion::V10);
    let mut aim = Aim::new(quickest, limits.map(|limits| (limits.min, limits.max)), period);
    let mut chaser = MultiOtg::with_limits(start, quickest, true).unwrap();
    let (mut furthest, mut beyond, mut chatter) = ([0.0_f64; JOINTS], 0.0_f64, 0.0_f64);
    for tick in 0..1500 {
        // To one end at full speed, and halfway back, each joint another way.
        let part = if tick < 900 { [1.0, 0.9, -1.0, 0.3, 0.05, -0.6, 1.0] } else { [0.5; JOINTS] };
        let targets: [Target; JOINTS] = std::array::from_fn(|i| Target {
            position: start[i] + part[i] * 0.95 * (limits[i].max - start[i]),
            velocity: 0.0,
        });
        trajectory.step(Wanted::Follow(&targets), &start).unwrap();
        let set_point: [f64; JOINTS] =
            std::array::from_fn(|i| trajectory.state(i).unwrap().position);
        chaser.set_target(aim.target(set_point)).unwrap();
        for _ in 0..(period * 1000.0) as usize {
            let before = chaser.axes().map(|axis| axis.acceleration());
            chaser.step(1e-3);
            for (i, axis) in chaser.axes().iter().enumerate() {
                chatter = chatter.max((axis.acceleration() - before[i]).abs());
            }
        }
        for (i, axis) in chaser.axes().iter().enumerate() {
            furthest[i] = furthest[i].max((axis.position() - set_point[i]).abs());
            beyond =
                beyond.max(limits[i].min - axis.position()).max(axis.position() - limits[i].max);
        }
    }
    eprintln!("{furthest:?} {beyond} {chatter}");
    assert!(furthest.iter().all(|furthest| *furthest < 0.03), "{furthest:?}");
    assert!(beyond <= 0.0, "{beyond} rad out of bounds");
    let end: Vec<_> = (0..JOINTS).map(|i| trajectory.state(i).unwrap().position).collect();
    for (axis, end) in chaser.axes().iter().zip(end) {
        assert!((axis.position() - end).abs() < 1e-5, "{} instead of {end}", axis.position());
    }
}

#[test]
fn an_arm_that_is_told_nothing_more_stops_where_it_was_sent() {
    let limits = generator(&limits(), FciVersion::V10);
    let mut aim = Aim::new(limits, [(-1.0, 1.0); JOINTS], 0.004);
    aim.target([0.0; JOINTS]);
    let target = aim.target([0.004, 0.0, 0.0, 0.0, 0.0, 0.0, 0.002]);
    // At 1 rad/s the first joint takes v / 2 times the time that it takes to stop.
    let ahead = 0.5 * stop_secs(1.0, &limits[0]);
    assert!((target[0] - 0.004 - ahead).abs() < 1e-9, "{target:?}");
    assert!((target[6] - 0.002 - 0.5 * ahead).abs() < 1e-9, "they stop together: {target:?}");
    assert_eq!(target[1], 0.0);
    // A step is no velocity, and nothing leads out of bounds.
    assert_eq!(aim.target([0.5; JOINTS])[0], 0.5);
    assert_eq!(aim.target([0.999, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])[0], 0.999);
    assert_eq!(aim.target([1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])[0], 1.0);
    aim.restart();
    assert_eq!(aim.target([0.998; JOINTS]), [0.998; JOINTS]);
}

#[test]
fn a_motion_is_stopped_when_set_points_stay_away_for_100_ms() {
    assert!(!is_abandoned(Duration::ZERO));
    assert!(!is_abandoned(PATIENCE));
    assert!(is_abandoned(Duration::from_millis(101)));
    assert!(is_abandoned(Duration::MAX));
}

#[test]
fn every_error_of_the_box_says_what_helps() {
    let error = flagged("communication_constraints_violation", MoveStatus::ReflexAborted);
    let text = place().explain(&error, None).to_string();
    assert!(text.starts_with("the arm refuses: communication_constraints_violation: "), "{text}");
    assert!(text.contains("PREEMPT_RT"), "{text}");
    let error = flagged("joint_reflex", MoveStatus::ReflexAborted);
    let text = place().explain(&error, Some(3)).to_string();
    assert!(
        text.starts_with("joint joint4 (id 4) reports joint_reflex: it hit something"),
        "{text}"
    );
    let error = flagged("joint_reflex", MoveStatus::EmergencyAborted);
    let text = place().explain(&error, None).to_string();
    assert!(text.contains("user stop was pressed: release it"), "{text}");
    for name in ERROR_NAMES {
        let error = flagged(name, MoveStatus::ReflexAborted);
        let text = place().explain(&error, None).to_string();
        assert!(text.contains(name) && text.contains(help(name)), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn a_lost_box_is_looked_for_and_a_refusal_is_told() {
    let lost = FrankaError::Network("libfranka: UDP receive: Timeout".into());
    assert!(matches!(place().explain(&lost, None), MotorsError::HungUp { .. }));
    let refused = FrankaError::Command(
        "libfranka: Automatic Error Recovery command rejected: manual error recovery required!"
            .into(),
    );
    let text = place().explain(&refused, None).to_string();
    assert!(text.ends_with("required: Desk leads through the recovery"), "{text}");
    let other = FrankaError::IncompatibleVersion { server_version: 7, library_version: 10 };
    let text = place().unreachable(&other).to_string();
    assert!(text.contains("is 7, expected 10 (FR3) or 5 (Panda)"), "{text}");
}

#[test]
fn an_arm_gets_torque_only_when_it_is_ready_for_it() {
    assert_eq!(obstacle(RobotMode::Idle), None);
    for mode in 0..=6 {
        let mode = RobotMode::from_u8(mode).unwrap();
        assert_eq!(obstacle(mode).is_none(), mode == RobotMode::Idle, "{mode}");
    }
}

#[test]
fn other_arms_are_refused_by_their_description() {
    let mut six = arm();
    six.joints.pop();
    let error = FrankaMotors::new(&six, "robot").unwrap_err().to_string();
    assert!(error.contains("a Franka has 7 joints, the description of fr3 has 6"), "{error}");
    let mut mixed = arm();
    mixed.joints[2].model = "panda".into();
    let error = FrankaMotors::new(&mixed, "robot").unwrap_err().to_string();
    assert!(error.contains("joint joint3 (id 3): model in the description is panda"), "{error}");
}

#[test]
fn a_box_that_says_nothing_is_waited_for_no_longer_than_it_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let mut motors = FrankaMotors::new(&arm(), &host).unwrap();
    let short = Duration::from_millis(200);
    motors.timings.connect = short;
    motors.timings.settle = short;
    let began = Instant::now();
    assert!(matches!(motors.identify(), Err(MotorsError::Silent { .. })));
    // The first attempt still waits, and there is never a second beside it.
    assert!(matches!(motors.identify(), Err(MotorsError::Silent { .. })));
    assert!(motors.sense(&mut Sensed::new(JOINTS)).is_err());
    assert!(motors.torque(true).is_err());
    assert!(motors.command(&[0; JOINTS]).is_err());
    // A second and a half is what it may take; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(listener);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !matches!(motors.identify(), Err(MotorsError::Port { .. })) {
        assert!(Instant::now() < deadline, "it is never looked for anew");
    }
}
