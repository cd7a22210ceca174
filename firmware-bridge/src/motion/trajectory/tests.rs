//! A whole arm: targets, leash, and set-points that pass the gate.

use super::*;

const LIMITS: MotionLimits =
    MotionLimits { min: -2.0, max: 2.0, velocity: 2.5, acceleration: 15.0, jerk: 150.0 };
const PERIOD: f64 = 0.005;

fn arm() -> Trajectory {
    let mut trajectory = Trajectory::new(&[(LIMITS, 0.25), (LIMITS, 0.25)], PERIOD);
    trajectory.reset(&[0.0, 1.0]).unwrap();
    trajectory
}

fn at(position: f64) -> Target {
    Target { position, velocity: 0.0 }
}

fn positions(trajectory: &Trajectory) -> Vec<f64> {
    trajectory.states().map(|state| state.position).collect()
}

#[test]
fn after_a_reset_the_set_point_is_what_was_measured_at_rest() {
    let mut trajectory = arm();
    assert_eq!(positions(&trajectory), [0.0, 1.0]);
    assert!(trajectory.is_at_rest());
    let error = trajectory.reset(&[f64::NAN, 0.0]).unwrap_err().to_string();
    assert_eq!(error, "joint 0: expected a finite measured position, found NaN");
    assert_eq!(positions(&trajectory), [0.0, 1.0]);
    assert!(trajectory.reset(&[0.0]).is_err());
}

#[test]
fn a_target_that_is_no_number_stops_the_arm_and_is_named() {
    let mut trajectory = arm();
    for _ in 0..20 {
        let here = positions(&trajectory);
        trajectory.step(Aim::Follow(&[at(1.0), at(1.0)]), &here).unwrap();
    }
    for broken in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let here = positions(&trajectory);
        let targets = [at(1.0), Target { position: 0.0, velocity: broken }];
        let error = trajectory.step(Aim::Follow(&targets), &here).unwrap_err();
        let what = "target velocity";
        if broken.is_nan() {
            assert!(matches!(error, TrajectoryError::NotFinite { joint: 1, .. }));
        } else {
            assert_eq!(error, TrajectoryError::NotFinite { joint: 1, what, found: broken });
        }
    }
    for _ in 0..60 {
        let here = positions(&trajectory);
        assert!(trajectory.step(Aim::Follow(&[at(f64::NAN), at(1.0)]), &here).is_err());
    }
    assert!(trajectory.is_at_rest(), "it came to rest meanwhile");
}

#[test]
fn a_stuck_arm_is_led_by_the_leash_and_reported_after_300_milliseconds() {
    let mut trajectory = arm();
    let mut reported = None;
    for tick in 0..400 {
        let stepped = trajectory.step(Aim::Follow(&[at(1.5), at(1.0)]), &[0.0, 1.0]);
        assert!(trajectory.state(0).unwrap().position <= 0.25, "never beyond the leash");
        if let (Err(error), None) = (stepped, &reported) {
            reported = Some((tick, error.to_string()));
        }
    }
    let (tick, error) = reported.unwrap();
    assert!((60..150).contains(&tick), "after {tick} periods");
    assert!(error.starts_with("joint 0 is 0.2"), "{error}");
    assert!(error.contains("for 0.30 s, expected less than 0.250 rad"), "{error}");
}

#[test]
fn a_set_point_that_ran_ahead_comes_back_smoothly() {
    let mut trajectory = arm();
    for _ in 0..100 {
        let here = positions(&trajectory);
        trajectory.step(Aim::Follow(&[at(1.5), at(1.0)]), &here).unwrap();
    }
    let before = trajectory.state(0).unwrap();
    assert!(before.position > 0.5);
    // Now the arm is said to be where it began.
    let mut last = before;
    for _ in 0..100 {
        let _ = trajectory.step(Aim::Follow(&[at(1.5), at(1.0)]), &[0.0, 1.0]);
        let state = trajectory.state(0).unwrap();
        assert!((state.acceleration - last.acceleration).abs() <= 150.0 * PERIOD + 1e-9);
        last = state;
    }
    for _ in 0..200 {
        let _ = trajectory.step(Aim::Follow(&[at(1.5), at(1.0)]), &[0.0, 1.0]);
    }
    assert!((trajectory.state(0).unwrap().position - 0.25).abs() < 1e-6, "at the leash's end");
}

#[test]
fn an_arm_that_follows_is_never_reported() {
    let mut trajectory = arm();
    let mut measured = [0.0, 1.0];
    for tick in 0..2000 {
        let to = if tick / 400 % 2 == 0 { 1.9 } else { -1.9 };
        trajectory.step(Aim::Follow(&[at(to), at(to)]), &measured).unwrap();
        for (measured, set) in measured.iter_mut().zip(positions(&trajectory)) {
            *measured += (set - *measured) * 0.1; // some 45 ms behind
        }
    }
}

#[test]
fn a_hold_from_full_speed_takes_267_milliseconds() {
    let mut trajectory = arm();
    for _ in 0..80 {
        let here = positions(&trajectory);
        trajectory.step(Aim::Follow(&[at(2.0), at(1.0)]), &here).unwrap();
    }
    let mut fastest = trajectory.state(0).unwrap().velocity;
    let mut periods = 0;
    while !trajectory.is_at_rest() {
        let here = positions(&trajectory);
        trajectory.step(Aim::Hold, &here).unwrap();
        fastest = fastest.max(trajectory.state(0).unwrap().velocity);
        periods += 1;
    }
    // v / a + a / j = 2.5 / 15 + 15 / 150 s.
    assert!(periods <= 54, "{periods} periods");
    assert!(fastest <= 2.5);
}

#[test]
fn set_points_become_ticks_or_nothing() {
    let trajectory = arm();
    let scale = Scale::radians(4096.0, 2048, false);
    let mut goals = [0; 2];
    assert!(trajectory.ticks(&[scale; 2], &mut goals));
    assert_eq!(goals, [2048, 2700]);
    assert!(!trajectory.ticks(&[scale; 1], &mut goals));
    let far = Scale::through((0, 0.0), (1_000_000, 1e-6));
    assert!(!trajectory.ticks(&[scale, far], &mut goals), "1e12 is no 32-bit number");
}
