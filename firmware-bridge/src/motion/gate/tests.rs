//! What the gate lets pass, and what it does not.

use super::*;

const LIMITS: MotionLimits =
    MotionLimits { min: -1.0, max: 1.0, velocity: 2.0, acceleration: 20.0, jerk: 200.0 };

/// A thousand ticks a radian, a hundred periods a second: 20 ticks a step, 2 of change.
fn joint() -> GateJoint {
    GateJoint::new(&LIMITS, Scale::through((0, 0.0), (1000, 1.0)), 0.01).unwrap()
}

fn armed() -> Gate {
    let mut gate = Gate::new(vec![joint(), joint()]);
    gate.arm(&[0, 0]).unwrap();
    gate.check(&[0, 0]).unwrap();
    gate
}

fn broken(gate: &mut Gate, goals: [i32; 2]) -> (usize, Rule, i64, i64) {
    match gate.check(&goals) {
        Err(Violation::Joint { joint, rule, limit, found }) => (joint, rule, limit, found),
        other => panic!("{goals:?} gave {other:?}"),
    }
}

#[test]
fn bounds_are_the_limits_and_what_rounding_adds() {
    assert_eq!(joint(), GateJoint { min: -1000, max: 1000, max_step: 21, max_change: 4 });
    let inverted = Scale::through((500, 0.0), (-500, 1.0));
    let found = GateJoint::new(&LIMITS, inverted, 0.01).unwrap();
    assert_eq!((found.min, found.max), (-500, 1500), "more angle, fewer ticks");
    let nonsense = MotionLimits { max: f64::NAN, ..LIMITS };
    assert_eq!(GateJoint::new(&nonsense, inverted, 0.01), None);
}

#[test]
fn nothing_passes_before_the_gate_knows_where_the_arm_is() {
    let mut gate = Gate::new(vec![joint()]);
    assert_eq!(gate.check(&[0]), Err(Violation::NotArmed));
    gate.arm(&[300]).unwrap();
    let first = Violation::Joint { joint: 0, rule: Rule::First, limit: 1, found: 2 };
    assert_eq!(gate.check(&[302]), Err(first));
    gate.check(&[301]).unwrap();
    gate.disarm();
    assert_eq!(gate.check(&[301]), Err(Violation::NotArmed));
    assert!(gate.arm(&[1, 2]).is_err());
}

#[test]
fn each_rule_names_joint_limit_and_what_was_found() {
    let mut gate = armed();
    assert_eq!(broken(&mut gate, [0, 1001]), (1, Rule::Max, 1000, 1001));
    assert_eq!(broken(&mut gate, [-1001, 0]), (0, Rule::Min, -1000, -1001));
    assert_eq!(broken(&mut gate, [0, 22]), (1, Rule::Step, 21, 22));
    assert_eq!(broken(&mut gate, [-5, 0]), (0, Rule::Change, 4, -5));
    let error = gate.check(&[0, 22]).unwrap_err().to_string();
    assert_eq!(error, "joint 1: the largest step is 21 tick(s), found 22");
    gate.check(&[4, -4]).unwrap();
    gate.check(&[12, -12]).unwrap();
    assert_eq!(broken(&mut gate, [12, -12]), (0, Rule::Change, 4, -8), "it may not stop at once");
    assert!(gate.check(&[12]).is_err());
}

#[test]
fn the_extremes_of_32_bits_do_not_overflow() {
    let mut gate = Gate::new(vec![GateJoint { min: i32::MIN, max: i32::MAX, ..joint() }]);
    gate.arm(&[i32::MIN]).unwrap();
    gate.check(&[i32::MIN]).unwrap();
    assert!(gate.check(&[i32::MAX]).is_err());
}

#[test]
fn a_box_and_a_height_are_kept() {
    // A shoulder at 0.1 m that lifts an arm of 0.3 m.
    let urdf = r#"<robot name="r"><link name="base"/><link name="arm"/><link name="tip"/>
        <joint name="lift" type="revolute"><parent link="base"/><child link="arm"/>
        <origin xyz="0 0 0.1"/><axis xyz="0 -1 0"/>
        <limit lower="-2" upper="2" velocity="1" effort="1"/></joint>
        <joint name="end" type="fixed"><parent link="arm"/><child link="tip"/>
        <origin xyz="0.3 0 0"/></joint></robot>"#;
    let chain = Chain::parse(urdf, "tip").unwrap();
    let workspace =
        Workspace { min_m: [0.0, -1.0, -1.0], max_m: [1.0, 1.0, 0.35], min_height_m: 0.05 };
    check_workspace(&chain, &workspace, &[0.0]).unwrap();
    let error = check_workspace(&chain, &workspace, &[1.2]).unwrap_err().to_string();
    assert_eq!(error, "the tip's z would be 0.3796 m, expected -1.0000 to 0.3500 m");
    let error = check_workspace(&chain, &workspace, &[-0.2]).unwrap_err().to_string();
    assert_eq!(error, "link 2 would be 0.0404 m high, expected at least 0.0500 m");
    assert!(check_workspace(&chain, &workspace, &[f64::NAN]).is_err());
    assert!(check_workspace(&chain, &workspace, &[]).is_err());
}
