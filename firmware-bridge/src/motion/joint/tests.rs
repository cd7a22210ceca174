//! One joint: its way to a target, and its way to rest.

use super::*;

const LIMITS: MotionLimits =
    MotionLimits { min: -2.0, max: 2.0, velocity: 2.5, acceleration: 15.0, jerk: 150.0 };
const PERIOD: f64 = 0.005;

/// Positions until the joint rests, at most ten seconds of them.
fn run(joint: &mut Joint, target: Target) -> Vec<State> {
    let mut states = vec![joint.state()];
    for _ in 0..2000 {
        joint.follow(target);
        states.push(joint.state());
    }
    states
}

#[test]
fn a_stop_from_two_radians_a_second_takes_as_long_as_its_three_phases() {
    let start = State { position: 0.0, velocity: 2.0, acceleration: 0.0 };
    let stop = Stop::from(start, &LIMITS);
    // 0.1 s to build up 15 rad/s2, 1/30 s of it, 0.1 s to let go.
    assert!((stop.duration_secs() - (0.1 + 1.0 / 30.0 + 0.1)).abs() < 1e-12);
    let end = stop.after(1.0);
    assert_eq!((end.velocity, end.acceleration), (0.0, 0.0));
    assert!((end.position - 2.0 * stop.duration_secs() / 2.0).abs() < 1e-12, "a symmetric ramp");
    assert_eq!(stop.extremes(), (0.0, end.position));
}

#[test]
fn a_stop_knows_how_far_it_swings_the_other_way_first() {
    let start = State { position: 1.0, velocity: -0.5, acceleration: 14.0 };
    let stop = Stop::from(start, &LIMITS);
    let sampled = (0..10_000).map(|i| stop.after(f64::from(i) * 1e-4).position);
    let (low, high) = sampled.fold((1.0_f64, 1.0_f64), |(l, h), p| (l.min(p), h.max(p)));
    let (min, max) = stop.extremes();
    assert!((min - low).abs() < 1e-6 && (max - high).abs() < 1e-6, "{min} {max} {low} {high}");
    assert!(min < 0.99, "it goes on downwards at first");
}

#[test]
fn a_step_is_reached_exactly_and_within_every_limit() {
    let mut joint = Joint::new(LIMITS, PERIOD, -1.0);
    let states = run(&mut joint, Target { position: 1.5, velocity: 0.0 });
    let last = states.last().unwrap();
    assert!((last.position - 1.5).abs() < 1e-9 && last.velocity.abs() < 1e-9, "{last:?}");
    let fastest = states.iter().fold(0.0_f64, |most, state| most.max(state.velocity));
    assert!((2.49..=2.5).contains(&fastest), "it uses the velocity it has: {fastest}");
    for pair in states.windows(2) {
        assert!(pair[1].acceleration.abs() <= 15.0);
        let jerk = (pair[1].acceleration - pair[0].acceleration) / PERIOD;
        assert!(jerk.abs() <= 150.0 * (1.0 + 1e-9), "{jerk}");
    }
}

#[test]
fn a_limit_is_approached_and_never_passed() {
    let mut joint = Joint::new(LIMITS, PERIOD, 0.0);
    let states = run(&mut joint, Target { position: 1e30, velocity: 1e30 });
    assert!(states.iter().all(|state| state.position <= 2.0));
    assert!((states.last().unwrap().position - 2.0).abs() < 1e-9);
}

#[test]
fn a_steady_target_is_met_and_then_kept_without_lag() {
    let mut joint = Joint::new(LIMITS, PERIOD, 0.0);
    for tick in 1..=300 {
        let position = -1.5 + 1.5 * f64::from(tick) * PERIOD;
        joint.follow(Target { position, velocity: 1.5 });
        if tick > 220 {
            let off = (joint.state().position - position).abs();
            assert!(off < 1e-6, "period {tick}: {off} off");
        }
    }
}

#[test]
fn a_wave_is_followed_to_four_milliradians() {
    let mut joint = Joint::new(LIMITS, PERIOD, 0.0);
    let mut worst = 0.0_f64;
    for tick in 1..=2000 {
        let turn = f64::from(tick) * PERIOD * std::f64::consts::PI;
        let position = 0.5 * turn.sin();
        joint.follow(Target { position, velocity: 0.5 * std::f64::consts::PI * turn.cos() });
        if tick > 400 {
            worst = worst.max((joint.state().position - position).abs());
        }
    }
    assert!(worst < 4e-3, "{worst} rad off");
}

#[test]
fn a_stop_while_moving_ends_where_its_formula_says() {
    let mut joint = Joint::new(LIMITS, PERIOD, -1.0);
    for _ in 0..60 {
        joint.follow(Target { position: 1.0, velocity: 0.0 });
    }
    let stop = Stop::from(joint.state(), &LIMITS);
    let periods = (stop.duration_secs() / PERIOD).ceil() as usize;
    for _ in 0..periods {
        joint.stop();
    }
    let state = joint.state();
    assert_eq!((state.velocity, state.acceleration), (0.0, 0.0));
    assert!((state.position - stop.after(1.0).position).abs() < 1e-9);
}

#[test]
fn a_joint_found_beyond_its_limit_comes_back_and_goes_no_further() {
    let mut joint = Joint::new(LIMITS, PERIOD, 2.1);
    let states = run(&mut joint, Target { position: 5.0, velocity: 1.0 });
    assert!(states.iter().all(|state| state.position <= 2.1));
    assert!((states.last().unwrap().position - 2.0).abs() < 1e-9);
}
