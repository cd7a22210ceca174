//! One dimension at a time, and 120 000 periods of whatever a policy might send.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn joint() -> DimensionLimits {
    let bounds = DimensionLimits::bounded(Meaning::Position, -1.0, 1.0);
    DimensionLimits { max_velocity: 2.0, max_acceleration: 10.0, ..bounds }
}

fn at(position: f64) -> Motion {
    Motion { position, velocity: 0.0 }
}

#[test]
fn what_is_not_finite_holds_the_joint() {
    for target in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (next, reason) = joint().step(at(0.5), target, 0.1);
        assert_eq!((next, reason), (at(0.5), Some(Reason::NotFinite)));
    }
}

#[test]
fn what_is_not_finite_stops_a_rate() {
    let limits = DimensionLimits::bounded(Meaning::Rate, -1.0, 1.0);
    let (next, reason) = limits.step(at(0.5), f32::NAN, 0.1);
    assert_eq!((next.position, reason), (0.0, Some(Reason::NotFinite)));
}

#[test]
fn each_limit_says_that_it_was_the_one() {
    let mut limits = DimensionLimits::bounded(Meaning::Position, -1.0, 1.0);
    assert_eq!(limits.step(at(0.0), 0.25, 0.5), (Motion { position: 0.25, velocity: 0.5 }, None));
    let (next, reason) = limits.step(at(0.0), 3.0, 0.5);
    assert_eq!((next.position, reason), (1.0, Some(Reason::Position)));
    limits.max_velocity = 1.0;
    let (next, reason) = limits.step(at(0.0), 1.0, 0.5);
    assert_eq!((next.position, reason), (0.5, Some(Reason::Velocity)));
    limits.max_acceleration = 1.0;
    let (next, reason) = limits.step(at(0.0), 0.5, 0.5);
    assert_eq!((next.position, reason), (0.25, Some(Reason::Acceleration)));
}

#[test]
fn a_target_is_reached_without_overshoot_and_then_kept() {
    let mut motion = at(-1.0);
    for _ in 0..200 {
        (motion, _) = joint().step(motion, 0.7, 0.01);
        assert!(motion.position <= f64::from(0.7_f32) + 1e-9);
    }
    assert!((motion.position - 0.7).abs() < 1e-6 && motion.velocity.abs() < 1e-6);
}

#[test]
fn braking_distance_is_the_sum_of_what_is_left_to_go() {
    // 0.3 + 0.2 + 0.1 over periods of one second: 0.6.
    assert!((braking_velocity(0.6, 0.1, 1.0) - 0.3).abs() < 1e-12);
    assert_eq!(braking_velocity(0.0, 0.1, 1.0), 0.0);
}

/// Numbers that a broken or hostile policy might send.
fn hostile(random: &mut impl Rng) -> f32 {
    match random.random_range(0..10) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        3 => f32::from_bits(random.random()),
        4 => f32::MIN_POSITIVE / 4.0,
        5 => [1e30, -1e30, -0.0][random.random_range(0..3)],
        6 => {
            if random.random() {
                1.0
            } else {
                -1.0
            }
        }
        _ => random.random_range(-1.5..1.5),
    }
}

#[test]
fn no_sequence_of_targets_breaks_a_limit() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut checked = 0;
    for _ in 0..400 {
        let min = random.random_range(-3.0..0.0_f32);
        let limits = DimensionLimits {
            meaning: if random.random() { Meaning::Position } else { Meaning::Rate },
            min,
            max: random.random_range(0.01..3.0_f32),
            max_velocity: random.random_range(0.05..20.0),
            max_acceleration: random.random_range(0.05..200.0),
            leash: f32::INFINITY,
        };
        let period = random.random_range(0.002..0.2_f64);
        let mut limiter = Limiter::new(vec![limits], period).unwrap();
        limiter.reset(&[Some(hostile(&mut random))]);
        let (mut action, mut limited) = (Vec::new(), Vec::new());
        let mut last = limiter.motions[0];
        let constant: f32 = hostile(&mut random);
        let stuck = random.random_range(0..3) == 0;
        for _ in 0..300 {
            let target = if stuck { constant } else { hostile(&mut random) };
            limiter.step(Some(&[target]), &mut action, &mut limited);
            let now = limiter.motions[0];
            let moved = (now.position - last.position) / period;
            assert!(action[0].is_finite() && (limits.min..=limits.max).contains(&action[0]));
            assert!(moved.abs() <= f64::from(limits.max_velocity) * (1.0 + 1e-6) + 1e-9);
            let change = (now.velocity - last.velocity).abs() / period;
            assert!(change <= f64::from(limits.max_acceleration) * (1.0 + 1e-6) + 1e-6);
            // What it says of its velocity is what it does: no clamp hides a jump.
            assert!((moved - now.velocity).abs() < 1e-6, "{moved} {now:?} {limits:?}");
            assert!(target.is_finite() || limited == [(0, Reason::NotFinite)]);
            last = now;
            checked += 1;
        }
    }
    assert!(checked >= 100_000);
}

#[test]
fn everything_comes_to_rest_when_nothing_is_asked() {
    let limits = vec![joint(), DimensionLimits { meaning: Meaning::Rate, ..joint() }];
    let mut limiter = Limiter::new(limits, 0.02).unwrap();
    let (mut action, mut limited) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        limiter.step(Some(&[1.0, 1.0]), &mut action, &mut limited);
    }
    assert!(!limiter.at_rest());
    for _ in 0..100 {
        limiter.step(None, &mut action, &mut limited);
        assert!(limited.is_empty());
    }
    assert!(limiter.at_rest());
}

#[test]
fn limits_that_make_no_sense_are_refused_by_dimension() {
    let swapped = DimensionLimits { min: 1.0, max: -1.0, ..joint() };
    let error = Limiter::new(vec![joint(), swapped], 0.1).unwrap_err();
    assert_eq!(error.to_string(), "limits of dimension 1: bounds 1 to -1 are no range");
    let still = DimensionLimits { max_velocity: f32::NAN, ..joint() };
    assert!(matches!(Limiter::new(vec![still], 0.1), Err(LimitsError::Rate { .. })));
}

#[test]
fn a_set_point_does_not_run_away_from_an_arm_that_is_held_up() {
    let limits = DimensionLimits { leash: 0.1, max_acceleration: f32::INFINITY, ..joint() };
    let mut limiter = Limiter::new(vec![limits], 0.1).unwrap();
    limiter.reset(&[Some(0.0)]);
    let (mut action, mut limited) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        limiter.follow(&[Some(0.0)]);
        limiter.step(Some(&[1.0]), &mut action, &mut limited);
        assert!(action[0] <= 0.1 + 0.2 + 1e-6, "the leash and one period's way: {action:?}");
    }
    // What was not measured is no reason to move, and what was holds within the bounds.
    let before = limiter.motions[0].position;
    for measured in [None, Some(f32::NAN)] {
        limiter.follow(&[measured]);
        assert_eq!(limiter.motions[0].position, before);
    }
    limiter.follow(&[Some(50.0)]);
    assert_eq!(limiter.motions[0].position, 1.0);
}
