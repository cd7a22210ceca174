//! Paths through waypoints, and waypoints that replace others.

use super::*;

const SMOOTH: &[Channel] = &[Channel::Smooth];

/// A path at rest at zero, with waypoints every 0.1 s from tick 1 on.
fn path(waypoints: &[f64]) -> Path {
    let mut path = Path::new(SMOOTH, 0.1, 16);
    path.start(0.0, &[0.0]).unwrap();
    path.splice(0.0, 1, waypoints).unwrap();
    path
}

fn at(path: &Path, secs: f64) -> (f64, f64) {
    path.at(0, secs).map(|target| (target.position, target.velocity)).unwrap()
}

#[test]
fn waypoints_are_met_when_they_are_due() {
    let path = path(&[1.0, 3.0, 2.0]);
    for (tick, expected) in [(0, 0.0), (1, 1.0), (2, 3.0), (3, 2.0)] {
        assert!((at(&path, path.due_secs(tick)).0 - expected).abs() < 1e-12);
    }
    assert!((path.end_secs().unwrap() - 0.3).abs() < 1e-12);
}

#[test]
fn velocity_has_no_jumps_and_ends_at_zero() {
    let path = path(&[1.0, 3.0, 3.5, 2.0]);
    let mut last = at(&path, 0.0);
    for i in 1..6000 {
        let now = at(&path, f64::from(i) * 1e-4);
        assert!((now.1 - last.1).abs() < 0.5, "a jump at {i}: {last:?} {now:?}");
        assert!((now.0 - last.0 - 1e-4 * f64::midpoint(now.1, last.1)).abs() < 1e-6);
        last = now;
    }
    assert_eq!(last, (2.0, 0.0), "it holds the last waypoint");
}

#[test]
fn a_path_stays_between_neighbouring_waypoints() {
    let waypoints = [1.0, 1.1, 5.0, 5.0, -3.0, -3.01, 0.0, 0.5];
    let path = path(&waypoints);
    let mut ends = vec![0.0];
    ends.extend(waypoints);
    for (i, pair) in ends.windows(2).enumerate() {
        let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        for part in 0..=100 {
            let position = at(&path, (i as f64 + f64::from(part) / 100.0) * 0.1).0;
            assert!((low - 1e-12..=high + 1e-12).contains(&position), "{position} in {pair:?}");
        }
    }
}

#[test]
fn new_waypoints_replace_the_future_and_nothing_jumps() {
    let mut path = path(&[1.0, 2.0, 3.0, 4.0]);
    let before = at(&path, 0.17);
    // Due at 0.1 s and 0.2 s: the first is late, the second replaces what was there.
    path.splice(0.17, 1, &[-1.0, -2.0]).unwrap();
    let after = at(&path, 0.17);
    assert!((before.0 - after.0).abs() < 1e-12 && (before.1 - after.1).abs() < 1e-12);
    assert!((at(&path, 0.2).0 + 2.0).abs() < 1e-12);
    assert_eq!(at(&path, 0.9), (-2.0, 0.0), "nothing is left of the old future");
}

#[test]
fn waypoints_before_the_new_ones_stay() {
    let mut path = path(&[1.0, 2.0, 3.0, 4.0]);
    path.splice(0.05, 4, &[7.0, 8.0]).unwrap();
    for (secs, expected) in [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0), (0.4, 7.0), (0.5, 8.0)] {
        assert!((at(&path, secs).0 - expected).abs() < 1e-12, "at {secs}");
    }
}

#[test]
fn a_chunk_that_is_late_altogether_changes_nothing() {
    let mut path = path(&[1.0, 2.0, 3.0]);
    let before = at(&path, 0.25);
    path.splice(0.25, 0, &[9.0, 9.0, 9.0]).unwrap();
    path.splice(0.25, 5, &[]).unwrap();
    assert_eq!(at(&path, 0.25), before);
}

#[test]
fn bad_chunks_are_refused_and_leave_the_path_alone() {
    let mut path = path(&[1.0, 2.0]);
    let error = path.splice(0.0, 1, &[1.0, f64::NAN]).unwrap_err().to_string();
    assert_eq!(error, "action at tick 2, dimension 0: expected a finite number, found NaN");
    assert!(matches!(path.splice(0.0, 1, &[0.0; 17]), Err(PathError::Room { .. })));
    assert!(matches!(path.splice(f64::NAN, 1, &[0.0]), Err(PathError::Time { .. })));
    assert!(matches!(path.splice(-1.0, 1, &[0.0]), Err(PathError::Time { .. })));
    assert!(matches!(path.start(0.0, &[]), Err(PathError::Shape { .. })));
    assert!((at(&path, 0.2).0 - 2.0).abs() < 1e-12);
    let mut two = Path::new(&[Channel::Smooth; 2], 0.1, 4);
    assert!(matches!(two.splice(0.0, 1, &[1.0]), Err(PathError::Shape { .. })));
}

#[test]
fn an_empty_path_is_nowhere() {
    let mut path = Path::new(SMOOTH, 0.1, 4);
    assert_eq!(path.at(0, 0.0), None);
    assert!(!path.sample(0.0, &mut [Target::default()]));
    path.splice(0.0, 2, &[5.0]).unwrap();
    assert_eq!(at(&path, 0.1), (5.0, 0.0), "a path never started begins at its first action");
    assert_eq!(path.at(1, 0.0), None);
    assert_eq!(path.at(0, f64::NAN), None);
    path.clear();
    assert!(path.is_empty());
}

#[test]
fn a_gripper_switches_beyond_the_hysteresis_only_and_when_due() {
    let mut path = Path::new(&[Channel::gripper(-1.0, 0.5)], 0.1, 16);
    path.start(0.0, &[-1.0]).unwrap();
    path.splice(0.0, 1, &[0.55, 0.7, 0.45, 0.55, 0.3, 0.5]).unwrap();
    let positions: Vec<_> = (0..=6).map(|tick| at(&path, 0.1 * f64::from(tick) + 0.05)).collect();
    let expected = [-1.0, -1.0, 0.5, 0.5, 0.5, -1.0, -1.0];
    assert_eq!(positions, expected.map(|position| (position, 0.0)));
    // A new chunk between the thresholds keeps what the gripper has.
    path.splice(0.25, 3, &[0.5, 0.5]).unwrap();
    assert_eq!(at(&path, 0.4), (0.5, 0.0));
}
