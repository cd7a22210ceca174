//! Chains whose places are known by hand.

use super::*;

const SO101: &str = include_str!("../../../arms/so101.urdf");
const XARM7: &str = include_str!("../../../arms/xarm7.urdf");

/// A turntable at 0.5 m, a rail along its x, a tool 0.1 m further.
const RAIL: &str = r#"<robot name="r"><link name="base"/><link name="table"/><link name="sled"/>
    <link name="tip"/><link name="other"/>
    <joint name="turn" type="continuous"><parent link="base"/><child link="table"/>
    <origin xyz="0 0 0.5"/><axis xyz="0 0 2"/></joint>
    <joint name="slide" type="prismatic"><parent link="table"/><child link="sled"/>
    <axis xyz="1 0 0"/><limit lower="0" upper="1" velocity="1" effort="1"/></joint>
    <joint name="tool" type="fixed"><parent link="sled"/><child link="tip"/>
    <origin xyz="0.1 0 0"/></joint>
    <joint name="aside" type="fixed"><parent link="base"/><child link="other"/></joint></robot>"#;

#[test]
fn joints_turn_slide_or_stay() {
    let chain = Chain::parse(RAIL, "tip").unwrap();
    let names: Vec<_> = chain.joints().iter().map(|joint| joint.name.as_str()).collect();
    assert_eq!(names, ["turn", "slide"]);
    let tip = chain.pose(&[std::f64::consts::FRAC_PI_2, 0.4]).translation;
    assert!((tip.vector - Vector3::new(0.0, 0.5, 0.5)).norm() < 1e-12);
    let mut room = [Isometry3::identity(); MAX_FRAMES];
    let frames = chain.frames(&[0.0, 0.4], &mut room);
    let xs: Vec<_> = frames.iter().map(|frame| frame.translation.x).collect();
    assert_eq!(xs, [0.0, 0.0, 0.4, 0.5]);
    let links: Vec<_> = (0..5).map(|i| chain.link(i)).collect();
    assert_eq!(links, [Some("base"), Some("table"), Some("sled"), Some("tip"), None]);
    assert_eq!((chain.joints()[0].min, chain.joints()[1].max), (f64::NEG_INFINITY, 1.0));
    assert_eq!(chain.first_moving(), 2);
}

#[test]
fn the_jacobian_is_the_difference_quotient_of_the_pose() {
    for (urdf, tip) in [(RAIL, "tip"), (SO101, "tip"), (XARM7, "tip")] {
        let chain = Chain::parse(urdf, tip).unwrap();
        let q: Vec<_> = (0..chain.num_joints()).map(|i| 0.3 + 0.2 * i as f64).collect();
        let (pose, jacobian) = chain.jacobian(&q);
        assert_eq!(pose, chain.pose(&q));
        for joint in 0..chain.num_joints() {
            let [before, after] = [-1e-6, 1e-6].map(|shift| {
                let mut q = q.clone();
                q[joint] += shift;
                chain.pose(&q)
            });
            let moved = crate::kinematics::reach::twist_between(&before, &after) / 2e-6;
            assert!((moved - jacobian.column(joint)).norm() < 1e-8, "joint {joint}: {moved}");
        }
        assert!(jacobian.columns_range(chain.num_joints()..).iter().all(|x| *x == 0.0));
    }
}

#[test]
fn an_xarm7_at_zero_is_206_millimetres_out_and_120_5_up() {
    let tip = Chain::parse(XARM7, "tip").unwrap().pose(&[0.0; 7]);
    // 52.5 + 77.5 + 76 out; 267 + 293 - 342.5 - 97 up; the flange looks down.
    assert!((tip.translation.vector - Vector3::new(0.206, 0.0, 0.1205)).norm() < 1e-12);
    assert!((tip * Vector3::z() + Vector3::z()).norm() < 1e-12);
}

#[test]
fn an_so101_at_zero_reaches_forward() {
    let tip = Chain::parse(SO101, "tip").unwrap().pose(&[0.0; 5]).translation;
    // Base to shoulder, upper arm up, lower arm and hand forward.
    let x = 0.038_835_3 + 0.030_399_2 + 0.028 + 0.1349 + 0.0611 + 0.098_127_4;
    let z = 0.0624 + 0.0542 + 0.112_57 + 0.0052;
    assert!((tip.x - x).abs() < 1e-3 && (tip.z - z).abs() < 0.01, "{tip}: {x} {z}");
    assert!(tip.y.abs() < 1e-3, "{tip}");
}

#[test]
fn a_description_of_another_arm_is_refused_with_both_names() {
    assert!(Chain::of(&ArmDescription::find("koch").unwrap()).unwrap().is_none());
    let mut arm = ArmDescription::find("so101").unwrap();
    assert_eq!(Chain::of(&arm).unwrap().unwrap().num_joints(), 5, "its own comes along");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("arm.urdf");
    std::fs::write(&path, SO101).unwrap();
    (arm.urdf, arm.tip) = (Some(path.clone()), Some("tip".into()));
    assert_eq!(Chain::of(&arm).unwrap().unwrap().num_joints(), 5);
    std::fs::write(&path, XARM7).unwrap();
    let error = Chain::of(&arm).unwrap_err().to_string();
    assert!(error.contains("joint1") && error.contains("shoulder_pan"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = Chain::of(&arm).unwrap_err().to_string();
    assert!(error.contains("arm.urdf"), "{error}");
}

#[test]
fn what_is_no_chain_is_refused_in_words() {
    let refused = |text: &str, tip| Chain::parse(text, tip).unwrap_err().to_string();
    assert!(refused("<robot", "tip").starts_with("the URDF is of no use"));
    assert!(refused(RAIL, "hand").contains("known are base, table, sled, tip, other"));
    assert!(refused(RAIL, "other").contains("expected 1 to 8 moving joints"));
    let planar = RAIL.replace("prismatic", "planar");
    assert!(refused(&planar, "tip").contains("joint slide of the URDF: expected revolute"));
    let backwards = RAIL.replace("lower=\"0\" upper=\"1\"", "lower=\"1\" upper=\"0\"");
    assert!(refused(&backwards, "tip").contains("expected a range of positions, found 1 to 0"));
    let no_axis = RAIL.replace("0 0 2", "0 0 0");
    assert!(refused(&no_axis, "tip").contains("expected an axis"));
    let no_number = RAIL.replace("0 0 0.5", "0 0 NaN");
    assert!(refused(&no_number, "tip").contains("expected a finite origin"));
    let circle = RAIL.replace(
        "<parent link=\"base\"/><child link=\"table\"/>",
        "<parent link=\"tip\"/><child link=\"table\"/>",
    );
    assert!(refused(&circle, "tip").contains("expected 1 to 23 joints"));
}
