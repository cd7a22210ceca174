//! Targets within reach, at its edge and beyond.

use super::*;

const SO101: &str = include_str!("../../../arms/so101.urdf");
const XARM7: &str = include_str!("../../../arms/xarm7.urdf");

const HOME: [f64; 7] = [0.2, -0.4, 0.1, 1.2, 0.3, 1.4, -0.2];

fn xarm7() -> Reach {
    let chain = Chain::parse(XARM7, "tip").unwrap();
    let mut reach = Reach::new(chain, ReachOptions::default(), &HOME).unwrap();
    reach.reset(&HOME).unwrap();
    reach
}

fn so101(posture: &[f64]) -> Reach {
    let chain = Chain::parse(SO101, "tip").unwrap();
    let mut reach = Reach::new(chain, ReachOptions::five_joints(), posture).unwrap();
    reach.reset(posture).unwrap();
    reach
}

fn follow(reach: &mut Reach, target: &Isometry3<f64>, ticks: usize) -> Reached {
    let mut reached = reach.step(target).unwrap();
    for _ in 1..ticks {
        reached = reach.step(target).unwrap();
    }
    reached
}

#[test]
fn a_pose_of_other_joints_is_found_to_a_micrometre() {
    let mut reach = xarm7();
    let target = reach.chain().pose(&[0.6, -0.2, -0.2, 1.5, 0.0, 1.1, 0.3]);
    let reached = follow(&mut reach, &target, 300);
    assert!(reached.position_m < 1e-6 && reached.angle_rad < 1e-5, "{reached:?}");
}

#[test]
fn an_arm_of_five_joints_reaches_positions_and_turns_as_it_can() {
    let posture = [0.1, -0.3, 0.4, 0.5, 0.1];
    let mut reach = so101(&posture);
    let possible = reach.chain().pose(&[0.4, 0.1, 0.2, 0.7, -0.4]);
    let reached = follow(&mut reach, &possible, 300);
    assert!(reached.position_m < 1e-5 && reached.angle_rad < 1e-3, "{reached:?}");
    // Turned aside by 0.5 rad about the vertical, which would need a sixth joint.
    let turn = nalgebra::UnitQuaternion::from_axis_angle(&Vector3::z_axis(), 0.5);
    let aside = Isometry3::from_parts(possible.translation, turn * possible.rotation);
    let reached = follow(&mut reach, &aside, 600);
    assert!(reached.position_m < 5e-3, "{reached:?}");
}

#[test]
fn no_joint_goes_further_than_its_step_or_its_limits() {
    let mut reach = xarm7();
    let mut before = reach.solution().to_vec();
    let far = Isometry3::translation(3.0, -2.0, 4.0);
    for _ in 0..1000 {
        reach.step(&far).unwrap();
        for ((now, before), joint) in
            reach.solution().iter().zip(&before).zip(reach.chain().joints())
        {
            assert!((now - before).abs() <= 0.02 + 1e-12);
            assert!((joint.min..=joint.max).contains(now));
        }
        before = reach.solution().to_vec();
    }
}

#[test]
fn an_arm_stops_before_it_is_stretched_out_and_comes_back_freely() {
    let mut reach = xarm7();
    let tip = reach.chain().pose(reach.solution());
    let mut far = tip;
    far.translation.vector *= 4.0;
    let reached = follow(&mut reach, &far, 2000);
    assert!(reached.condition > 17.0 && reached.slowed_to < 0.2, "{reached:?}");
    assert!(reached.condition < 33.0, "it went past the singular pose: {reached:?}");
    let reached = follow(&mut reach, &tip, 1000);
    assert!(reached.position_m < 1e-4, "{reached:?}");
}

#[test]
fn joints_that_the_task_leaves_free_come_near_the_posture() {
    let mut reach = xarm7();
    let start = [0.2, -0.4, 0.9, 1.2, 0.3, 1.4, -0.2];
    reach.reset(&start).unwrap();
    let target = reach.chain().pose(&start);
    let off = |q: &[f64]| q.iter().zip(HOME).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let before = off(reach.solution());
    let reached = follow(&mut reach, &target, 1000);
    assert!(reached.position_m < 1e-3, "{reached:?}");
    assert!(off(reach.solution()) < 0.9 * before, "{} of {before}", off(reach.solution()));
}

#[test]
fn what_is_no_number_is_refused() {
    let mut reach = xarm7();
    let nowhere = Isometry3::translation(f64::NAN, 0.0, 0.0);
    assert!(matches!(reach.step(&nowhere), Err(ReachError::NotFinite { .. })));
    assert_eq!(reach.solution(), HOME);
    assert!(reach.reset(&[0.0; 3]).is_err());
    assert!(reach.reset(&[f64::INFINITY; 7]).is_err());
}
