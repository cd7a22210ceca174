//! Actions of the hand: absolute, relative, and on a leash.

use std::f64::consts::FRAC_PI_2;

use super::*;

fn near(found: &Isometry3<f64>, expected: &Isometry3<f64>) {
    let off = (found.translation.vector - expected.translation.vector).norm();
    assert!(off < 1e-12 && found.rotation.angle_to(&expected.rotation) < 1e-7, "{found}");
}

fn quarter() -> UnitQuaternion<f64> {
    UnitQuaternion::from_axis_angle(&Vector3::z_axis(), FRAC_PI_2)
}

#[test]
fn a_pose_is_where_the_action_says() {
    let expected = Isometry3::from_parts(Translation3::new(0.1, 0.2, 0.3), quarter());
    let space = ActionSpace::PoseAbs(Turn::AxisAngle);
    let now = Isometry3::translation(9.0, 9.0, 9.0);
    near(&space.apply(&now, &[0.1, 0.2, 0.3, 0.0, 0.0, FRAC_PI_2]).unwrap(), &expected);
    let space = ActionSpace::PoseAbs(Turn::Rot6d);
    // Columns (0, 1, 0) and (-1, 0, 0), the first twice too long and the second askew.
    let action = [0.1, 0.2, 0.3, 0.0, 2.0, 0.0, -1.0, 0.5, 0.0];
    near(&space.apply(&now, &action).unwrap(), &expected);
    assert_eq!((space.dim(), ActionSpace::PoseAbs(Turn::AxisAngle).dim()), (9, 6));
}

#[test]
fn a_delta_is_along_the_axes_it_says() {
    let now = Isometry3::from_parts(Translation3::new(1.0, 0.0, 0.0), quarter());
    let action = [0.1, 0.0, 0.0, FRAC_PI_2, 0.0, 0.0];
    let base = ActionSpace::PoseDelta(Turn::AxisAngle, Frame::Base).apply(&now, &action).unwrap();
    let about_x = UnitQuaternion::from_axis_angle(&Vector3::x_axis(), FRAC_PI_2);
    near(&base, &Isometry3::from_parts(Translation3::new(1.1, 0.0, 0.0), about_x * quarter()));
    let tool = ActionSpace::PoseDelta(Turn::AxisAngle, Frame::Tool).apply(&now, &action).unwrap();
    near(&tool, &Isometry3::from_parts(Translation3::new(1.0, 0.1, 0.0), quarter() * about_x));
}

#[test]
fn ten_thousand_deltas_add_up_and_stay_a_rotation() {
    let space = ActionSpace::PoseDelta(Turn::AxisAngle, Frame::Tool);
    let mut pose = Isometry3::identity();
    let turn = std::f64::consts::TAU / 100.0;
    for _ in 0..10_000 {
        pose = space.apply(&pose, &[0.0, 0.0, 1e-4, 0.0, 0.0, turn]).unwrap();
    }
    assert!((pose.translation.vector - Vector3::new(0.0, 0.0, 1.0)).norm() < 1e-9);
    assert!(pose.rotation.angle() < 1e-6 && (pose.rotation.norm() - 1.0).abs() < 1e-12);
}

#[test]
fn what_fixes_no_pose_is_refused() {
    let now = Isometry3::identity();
    let space = ActionSpace::PoseAbs(Turn::Rot6d);
    let parallel = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 2.0, 4.0, 6.0];
    assert!(matches!(space.apply(&now, &parallel), Err(ActionError::Degenerate { .. })));
    assert!(matches!(space.apply(&now, &[0.0; 9]), Err(ActionError::Degenerate { .. })));
    let tiny = [0.0, 0.0, 0.0, 1e-300, 0.0, 0.0, 0.0, 1e300, 0.0];
    assert!(space.apply(&now, &tiny).unwrap().rotation.angle() < 1e-12);
    assert_eq!(
        space.apply(&now, &[0.0; 6]).unwrap_err().to_string(),
        "a pose has 9 numbers here, found 6"
    );
    let error = ActionSpace::PoseAbs(Turn::AxisAngle)
        .apply(&now, &[0.0, 0.0, 0.0, 0.0, f64::NAN, 0.0])
        .unwrap_err();
    assert!(error.to_string().starts_with("number 4 of a pose: expected a finite one"), "{error}");
}

#[test]
fn a_leash_brings_the_commanded_pose_back() {
    let leash = PoseLeash { distance_m: 0.05, angle_rad: 0.2 };
    let measured = Isometry3::translation(0.3, 0.0, 0.2);
    let near_by = Isometry3::translation(0.33, 0.0, 0.2);
    assert_eq!(leash.hold(&near_by, &measured), (near_by, false));
    let far = Isometry3::from_parts(Translation3::new(0.5, 0.0, 0.2), quarter());
    let (held, taut) = leash.hold(&far, &measured);
    assert!(taut);
    let turn = UnitQuaternion::from_axis_angle(&Vector3::z_axis(), 0.2);
    near(&held, &Isometry3::from_parts(Translation3::new(0.35, 0.0, 0.2), turn));
}

#[test]
fn the_action_between_two_poses_leads_from_one_to_the_other() {
    let about = |x, y, z| UnitQuaternion::from_scaled_axis(Vector3::new(x, y, z));
    let from = Isometry3::from_parts(Translation3::new(0.3, -0.1, 0.2), about(0.4, -1.1, 0.3));
    let to = Isometry3::from_parts(Translation3::new(0.1, 0.2, 0.25), about(-0.2, 0.9, 1.4));
    for turn in [Turn::AxisAngle, Turn::Rot6d] {
        for space in [
            ActionSpace::PoseAbs(turn),
            ActionSpace::PoseDelta(turn, Frame::Base),
            ActionSpace::PoseDelta(turn, Frame::Tool),
        ] {
            let action = space.between(&from, &to);
            assert_eq!(action.len(), space.dim());
            near(&space.apply(&from, &action).unwrap(), &to);
        }
    }
}
