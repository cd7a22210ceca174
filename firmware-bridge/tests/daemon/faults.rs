//! A hostile server, deaf listeners and policies that do not fit, against a running daemon.
//!
//! Each test carries the number of its row in the README's table of faults.

use std::thread;
use std::time::{Duration, Instant};

use engraft_wire::operator::Verb;
use engraft_wire::{Contract, Subscriber};
use firmware_bridge::codecs::feetech::register as reg;
use firmware_bridge::emulate::Device;

use rustix::process::Signal;

use super::audit::Audit;
use super::policy::{Mood, Policy, contract};
use super::rig::Arm;
use super::{alone, patiently};

/// A machine that does other things too keeps up with this many set-points a second.
const SETPOINT_HZ: u32 = 50;
/// More memory than this an attack may not cost, in bytes.
const GROWTH: u64 = 32 << 20;

/// What the policy needs besides.
fn with_policy(policy: &Policy) -> [&str; 7] {
    ["--eyes", "sim", "--torque-on", "--max-steps", "10000", "--policy", &policy.endpoint]
}

fn is_still(arm: &Arm) -> bool {
    arm.emulator.with(|bus| bus.plant().joints.iter().all(|joint| joint.velocity.abs() < 8.0))
}

/// Until a policy has driven the arm for some chunks, and does.
fn await_motion(arm: &Arm, policy: &Policy) {
    let began = Instant::now();
    while policy.asked() < 5 || is_still(arm) {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not move");
        thread::sleep(Duration::from_millis(5));
    }
}

fn audited(arm: &Arm) {
    let mut audit = Audit::new(&arm.description);
    let looked = arm.emulator.with(|bus| {
        let now = bus.now();
        audit.look(bus, now)
    });
    assert_eq!(looked, Ok(()));
    assert!(audit.checked.goals > 100, "{:?}", audit.checked);
}

#[test]
fn fault_05_a_server_that_turns_hostile_brings_the_arm_to_rest_and_costs_no_memory() {
    let _alone = alone();
    patiently(|| {
        for mood in [Mood::Garbage, Mood::Truncated, Mood::Oversize] {
            let folder = tempfile::tempdir().unwrap();
            let arm = Arm::new(folder.path(), SETPOINT_HZ);
            let policy = Policy::start(contract(), Mood::Good, 5);
            let mut daemon = arm.daemon(&with_policy(&policy));
            await_motion(&arm, &policy);
            let before = daemon.resident_bytes();
            policy.set(mood);
            let (turned, mut most) = (Instant::now(), before);
            let mut moved = turned;
            // Two seconds of patience after the last action; then it ends by itself.
            while !daemon.is_finished() {
                assert!(turned.elapsed() < Duration::from_secs(20), "it goes on with {mood:?}");
                most = most.max(daemon.resident_bytes());
                if !is_still(&arm) {
                    moved = Instant::now();
                }
                thread::sleep(Duration::from_millis(2));
            }
            let ended = turned.elapsed();
            let error = daemon.ended().unwrap_err();
            assert!(error.starts_with("stopped by a fault: "), "{mood:?}: {error}");
            assert!(is_still(&arm));
            audited(&arm);
            let grown = most.saturating_sub(before);
            assert!(before > 0 && grown < GROWTH, "{mood:?}: {grown} bytes more than {before}");
            let [rests, ended] =
                [moved.duration_since(turned), ended].map(|time| time.as_secs_f64());
            let kib = grown >> 10;
            println!(
                "fault 05, {mood:?}: rests {rests:.1} s after, ends {ended:.1} s, {kib} KiB more"
            );
        }
    });
}

/// Lateness of a daemon's periods with `listeners` that never read, in microseconds: median, p99,
/// p99.9 and the worst of three seconds.
fn lateness_micros(listeners: usize) -> [u64; 4] {
    let folder = tempfile::tempdir().unwrap();
    let arm = Arm::new(folder.path(), 200);
    let daemon = arm.daemon(&["--no-policy"]);
    let deaf: Vec<_> =
        (0..listeners).map(|_| Subscriber::connect(&daemon.telemetry).unwrap()).collect();
    let mut operator = daemon.operator();
    operator.wait_for(|status| status.state == "Idle");
    operator.ask(&Verb::Torque { on: true });
    let ticks = operator.wait_for(|status| status.torque).ticks;
    let status = operator.wait_for(|status| status.ticks > ticks + 600);
    drop(deaf);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), Ok(()));
    status.lateness_micros
}

#[test]
fn fault_07_fifty_listeners_that_never_read_make_no_period_late() {
    let _alone = alone();
    patiently(|| {
        // The best of three, since other programs make periods late as well.
        let best =
            |listeners| (0..3).map(|_| lateness_micros(listeners)).min_by_key(|late| late[2]);
        let (without, with) = (best(0).unwrap(), best(50).unwrap());
        println!(
            "fault 07: lateness in us (p50, p99, p99.9, worst): {without:?}, with fifty {with:?}"
        );
        // Two periods of slack for a machine that is not a robot's.
        assert!(with[2] <= without[2] + 10_000, "{without:?} {with:?}");
    });
}

#[test]
fn fault_11_a_policy_for_another_robot_is_refused_before_there_is_torque() {
    let _alone = alone();
    patiently(|| {
        let folder = tempfile::tempdir().unwrap();
        let arm = Arm::new(folder.path(), SETPOINT_HZ);
        let refused = |change: fn(&mut Contract), expected: &str| {
            let mut other = contract();
            change(&mut other);
            let policy = Policy::start(other, Mood::Good, 11);
            let error = arm.daemon(&with_policy(&policy)).ended().unwrap_err();
            let all = error.contains("expected ") && error.contains("found ");
            assert!(all && error.contains(expected), "{error}");
            println!("fault 11: {error}");
            assert_eq!(policy.asked(), 0);
        };
        refused(|other| other.spec.actions[1].unit = "deg".into(), "shoulder_pitch [deg]");
        refused(|other| other.spec.actions.swap(0, 2), "expected elbow_pitch");
        refused(|other| drop(other.spec.actions.pop()), "wrist_roll [rad], found shoulder_yaw");
        let written = |address| move |id| arm.emulator.with(|bus| bus.num_writes(id, address));
        assert_eq!((1..=7).map(written(reg::TORQUE)).sum::<u64>(), 0, "no torque");
    });
}

#[test]
fn fault_14_another_model_in_mid_episode_is_a_fault_at_its_first_answer() {
    let _alone = alone();
    patiently(|| {
        let folder = tempfile::tempdir().unwrap();
        let arm = Arm::new(folder.path(), SETPOINT_HZ);
        let policy = Policy::start(contract(), Mood::Good, 14);
        let daemon = arm.daemon(&with_policy(&policy));
        await_motion(&arm, &policy);
        let asked = policy.asked();
        policy.set(Mood::Swapped);
        let swapped = Instant::now();
        let error = daemon.ended().unwrap_err();
        assert!(
            error.starts_with("stopped by a fault: the policy does not fit this robot"),
            "{error}"
        );
        assert!(error.contains("another model"), "{error}");
        // One answer was on its way.
        assert!(policy.asked() <= asked + 2, "{} questions after", policy.asked() - asked);
        assert!(is_still(&arm));
        audited(&arm);
        println!(
            "fault 14: ended {:.1} s after the swap: {error}",
            swapped.elapsed().as_secs_f64()
        );
    });
}
