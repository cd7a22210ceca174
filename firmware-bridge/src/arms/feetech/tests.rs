//! Emulated servos on a pseudo-terminal: well, silent, lying, late, damaged, unplugged.

use std::thread::sleep;

use super::*;
use crate::emulate::feetech::Bus;
use crate::emulate::{Device, Emulator, Options};

fn arm(setpoint_hz: u32) -> ArmDescription {
    let mut arm = ArmDescription::find("so101").unwrap();
    arm.setpoint_hz = setpoint_hz;
    arm
}

/// Servos at 1000, 1001 and so on, and motors that may take long to answer on a busy machine.
fn bench(setpoint_hz: u32) -> (Emulator<Bus>, FeetechMotors) {
    let arm = arm(setpoint_hz);
    let emulator = Emulator::start(Bus::new(&arm), Options::default()).unwrap();
    place(&emulator, 1000);
    let motors = FeetechMotors::new(&arm, emulator.path());
    (emulator, motors)
}

fn place(emulator: &Emulator<Bus>, first: u16) {
    emulator.with(|bus| {
        for (joint, at) in bus.plant().joints.iter_mut().zip(first..) {
            joint.position = at.into();
        }
    });
}

fn ready(setpoint_hz: u32) -> (Emulator<Bus>, FeetechMotors, Sensed) {
    let (emulator, mut motors) = bench(setpoint_hz);
    motors.identify().unwrap();
    (emulator, motors, Sensed::new(6))
}

#[test]
fn servos_are_set_up_once_and_their_eeprom_is_spared() {
    let (emulator, mut motors) = bench(10);
    emulator.with(|bus| {
        bus.servo(3).unwrap().set(reg::RESPONSE_LEVEL, &[0]);
        bus.servo(4).unwrap().set(reg::PHASE, &[28]);
    });
    let identities = motors.identify().unwrap();
    assert_eq!(identities.len(), 6);
    assert_eq!(identities[0], Identity { model: "sts3215".into(), firmware: "3.10".into() });
    let worn = emulator.with(|bus| {
        for id in 1..=6 {
            assert_eq!(bus.registers(id, reg::RETURN_DELAY, 2), [0, 1]);
            assert_eq!(bus.registers(id, reg::PHASE, 1), [12]);
            assert_eq!(bus.registers(id, reg::P, 3), [16, 32, 0]);
            assert_eq!(bus.registers(id, reg::LOCK, 1), [1]);
            assert_eq!(bus.num_writes(id, reg::LOCK), 2);
        }
        [1, 3, 4].map(|id| bus.servo(id).unwrap().eeprom_writes())
    });
    assert_eq!(worn, [2, 3, 3]);
    emulator.with(Bus::forget_writes);
    motors.identify().unwrap();
    assert_eq!(emulator.with(|bus| bus.writes().count()), 0, "all was right already");
}

#[test]
fn what_is_not_the_described_arm_is_refused() {
    let (emulator, mut motors) = bench(10);
    let mut refused = |id: u8, address: u8, bytes: &[u8], expected: &str| {
        let before = emulator.with(|bus| bus.registers(id, address, bytes.len() as u8));
        emulator.with(|bus| bus.servo(id).unwrap().set(address, bytes));
        let error = motors.identify().unwrap_err().to_string();
        assert_eq!(error, expected);
        emulator.with(|bus| bus.servo(id).unwrap().set(address, &before));
    };
    let text = "joint elbow_flex (id 3): model number is 2825, expected 777";
    refused(3, reg::MODEL, &[9, 11], text);
    let text = "joint wrist_flex (id 4): firmware is 3.9, expected 3.10";
    refused(4, reg::FIRMWARE, &[3, 9], text);

    let joint = |id| JointCalibration {
        id,
        drive_mode: 0,
        homing_offset: if id == 2 { -5 } else { 0 },
        range_min: 0,
        range_max: 4095,
    };
    let names = motors.joints().to_vec();
    drop(motors);
    let calibration = Calibration { joints: names.into_iter().zip((1..).map(joint)).collect() };
    let mut motors =
        FeetechMotors::new(&arm(10), emulator.path()).calibrated(&arm(10), &calibration).unwrap();
    let text = "joint shoulder_lift (id 2): homing offset is 0, expected -5";
    assert_eq!(motors.identify().unwrap_err().to_string(), text);
    emulator.with(|bus| bus.servo(2).unwrap().set(reg::HOMING_OFFSET, &[5, 8]));
    motors.identify().unwrap();
}

#[test]
fn the_port_is_for_one_process() {
    let (emulator, _motors, _) = ready(10);
    let error = FeetechMotors::new(&arm(10), emulator.path()).identify().unwrap_err().to_string();
    assert!(error.ends_with("another process has it: end that one"), "{error}");
}

#[test]
fn joints_are_sensed_and_commanded_in_the_units_of_their_phase() {
    let (emulator, mut motors) = bench(10);
    emulator.with(|bus| bus.servo(2).unwrap().set(reg::PHASE, &[8]));
    motors.identify().unwrap();
    let mut sensed = Sensed::new(6);
    motors.sense(&mut sensed).unwrap();
    assert_eq!(sensed.position, [1000, 1001, 1002, 1003, 1004, 1005]);
    motors.torque(true).unwrap();
    emulator.with(|bus| {
        // 2.5 rad/s with headroom are 2038 ticks/s, or 41 units of 50.
        assert_eq!(bus.registers(1, reg::GOAL_VELOCITY, 2), 2038_u16.to_le_bytes());
        assert_eq!(bus.registers(2, reg::GOAL_VELOCITY, 2), [41, 0]);
        assert_eq!(bus.registers(1, reg::ACCELERATION, 1), [123]);
        assert_eq!(bus.registers(6, reg::TORQUE_LIMIT, 2), 500_u16.to_le_bytes());
    });
    motors.command(&[1000, 3000, 1002, 1003, 1004, 1005]).unwrap();
    sleep(Duration::from_millis(600));
    motors.sense(&mut sensed).unwrap();
    let (at, speed) = (sensed.position[1], sensed.velocity[1]);
    assert!((1100..3000).contains(&at), "{at}");
    assert!((1500..=2100).contains(&speed), "{speed} ticks per second");
    assert!(sensed.load_permille[1] > 0);
    assert_eq!(sensed.position[0], 1000);

    for goal in [-1, 4096, i32::MIN] {
        let error = motors.command(&[0, 0, 0, 0, 0, goal]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("goal {goal} is not in 0 to 4095")), "{error}");
    }
    assert!(motors.command(&[0; 5]).is_err());
}

#[test]
fn torque_goes_on_without_a_jump() {
    let (emulator, mut motors, _) = ready(10);
    emulator.with(|bus| {
        for id in 1..=6 {
            bus.servo(id).unwrap().set(reg::GOAL_POSITION, &[0, 12]);
        }
    });
    motors.torque(true).unwrap();
    sleep(Duration::from_millis(100));
    emulator.with(|bus| {
        for (joint, at) in bus.plant().joints.iter().zip(1000_u16..) {
            assert!(joint.torque);
            assert_eq!(joint.position, f64::from(at));
        }
        let writes: Vec<_> = bus.writes().filter(|write| write.address >= reg::RAM).collect();
        let first_torque = writes.iter().position(|write| write.address == reg::TORQUE).unwrap();
        let goals = writes.iter().take(first_torque);
        assert_eq!(goals.filter(|write| write.address == reg::ACCELERATION).count(), 6);
    });
    assert!(motors.examine(0).unwrap().torque);
    motors.torque(false).unwrap();
    assert!(!motors.examine(0).unwrap().torque);

    emulator.with(|bus| bus.servo(5).unwrap().set(reg::MIN_POSITION, &[0, 5]));
    motors.identify().unwrap();
    let error = motors.torque(true).unwrap_err().to_string();
    assert!(error.contains("wrist_roll is at 1004, outside of its limits 1280 to 4095"), "{error}");
    assert!(emulator.with(|bus| bus.plant().joints.iter().all(|joint| !joint.torque)));
}

#[test]
fn a_silent_servo_is_named_and_the_others_are_read() {
    let (emulator, mut motors, mut sensed) = ready(20);
    emulator.faults(|faults| faults.silent = vec![3]);
    let error = motors.sense(&mut sensed).unwrap_err();
    assert!(matches!(error, MotorsError::Silent { id: 3, .. }), "{error}");
    assert_eq!(sensed.position, [1000, 1001, 0, 1003, 1004, 1005]);
    assert!(matches!(motors.examine(2), Err(MotorsError::Silent { id: 3, .. })));
    let error = motors.identify().unwrap_err();
    assert!(matches!(error, MotorsError::Silent { id: 3, .. }), "{error}");
    assert!(matches!(motors.command(&[0; 6]), Err(MotorsError::Refused { .. })));
}

#[test]
fn a_servo_that_answers_as_another_misleads_nobody() {
    for (asked, answering) in [(1, 2), (2, 1), (2, 3), (6, 5), (6, 1), (4, 77)] {
        let (emulator, mut motors, mut sensed) = ready(50);
        emulator.faults(|faults| faults.impostor = Some((asked, answering)));
        let error = motors.sense(&mut sensed).unwrap_err();
        assert!(matches!(error, MotorsError::Damaged { .. }), "{error}");
        for (i, at) in (1000..1006).enumerate() {
            assert!([0, at].contains(&sensed.position[i]), "{asked} as {answering}: {sensed:?}");
        }
        assert_eq!(sensed.position[usize::from(asked) - 1], 0);
    }
}

#[test]
fn an_adapter_may_repeat_what_is_said() {
    let (emulator, mut motors) = bench(10);
    emulator.faults(|faults| (faults.echo, faults.stale) = (true, vec![0xFF, 0xFF, 1, 8]));
    motors.identify().unwrap();
    assert!(motors.line().unwrap().echo);
    let mut sensed = Sensed::new(6);
    for first in 1000..1050 {
        motors.command(&[1000, 1001, 1002, 1003, 1004, 1005]).unwrap();
        place(&emulator, first);
        motors.sense(&mut sensed).unwrap();
        assert_eq!(sensed.position[5], i32::from(first) + 5);
    }
}

#[test]
fn bytes_of_before_and_late_answers_are_no_news() {
    let (emulator, mut motors, mut sensed) = ready(100);
    let mut old = Vec::new();
    for id in 1..=6 {
        feetech::status(&mut old, id, 0, &[0, 4, 0, 0]).unwrap(); // another question's
    }
    let (mut read, mut missed) = (0, 0);
    for i in 0..200_u16 {
        place(&emulator, 1000 + i * 10);
        // Every tenth answer comes after the question was given up.
        let delay = Duration::from_millis(if i % 10 == 9 { 12 } else { 0 });
        emulator.faults(|faults| {
            faults.delay = delay;
            faults.stale = if i % 3 == 0 { old.clone() } else { Vec::new() };
        });
        let before = sensed.clone();
        let result = motors.sense(&mut sensed);
        for (joint, at) in (1000 + i32::from(i) * 10..).take(6).enumerate() {
            let found = sensed.position[joint];
            let fresh = found == at || result.is_err() && found == before.position[joint];
            assert!(fresh, "joint {joint} of period {i} is {found}, expected {at}: {result:?}");
        }
        if result.is_ok() { read += 1 } else { missed += 1 }
    }
    assert!(read >= 100 && missed >= 10, "{read} periods read, {missed} missed");
}

#[test]
fn a_damaged_wire_writes_nothing_wrong_and_reads_nothing_wrong() {
    let (emulator, mut motors, mut sensed) = ready(50);
    motors.torque(true).unwrap();
    emulator.with(Bus::forget_writes);
    emulator.faults(|faults| {
        (faults.flip, faults.lose, faults.insert) = (1e-3, 1e-3, 1e-3);
    });
    let goals = [1000, 1001, 1002, 1003, 1004, 1005];
    let mut read = 0;
    for _ in 0..500 {
        match motors.sense(&mut sensed) {
            Ok(()) => {
                assert_eq!(sensed.position, goals);
                read += 1;
            }
            Err(MotorsError::Damaged { .. } | MotorsError::Silent { .. }) => {}
            // An alarm byte that two flips made is as good as any other.
            Err(error) => panic!("{error}"),
        }
        motors.command(&goals).unwrap();
    }
    assert!(read > 450, "{read} of 500 read with one retry");
    let _ = motors.sense(&mut sensed); // an answer comes only when all before it was heard
    emulator.with(|bus| {
        for write in bus.writes() {
            assert_eq!((write.address, write.bytes.len()), (reg::GOAL_POSITION, 2), "{write:?}");
        }
        assert_eq!(bus.writes().count(), 6 * 500);
    });
}

#[test]
fn a_servo_that_restarted_gets_no_goals() {
    let (emulator, mut motors, mut sensed) = ready(10);
    motors.torque(true).unwrap();
    motors.examine(1).unwrap();
    emulator.with(|bus| bus.restart(2));
    motors.sense(&mut sensed).unwrap();
    let error = motors.examine(1).unwrap_err();
    assert!(matches!(error, MotorsError::Restarted { id: 2, .. }), "{error}");
    emulator.with(Bus::forget_writes);
    let error = motors.command(&[1000; 6]).unwrap_err();
    assert!(matches!(error, MotorsError::Restarted { id: 2, .. }), "{error}");
    assert_eq!(emulator.with(|bus| bus.writes().count()), 0);
    motors.torque(true).unwrap();
    motors.command(&[1000, 1001, 1002, 1003, 1004, 1005]).unwrap();
    assert_eq!(motors.examine(1).unwrap().goal, Some(1001));
    // Torque back on, but by somebody else: what it was told is lost all the same.
    emulator.with(|bus| {
        bus.restart(2);
        bus.servo(2).unwrap().set(reg::TORQUE, &[1]);
    });
    assert!(matches!(motors.examine(1), Err(MotorsError::Restarted { .. })));
}

#[test]
fn alarms_and_health_are_told() {
    let (emulator, mut motors, mut sensed) = ready(10);
    let health = motors.examine(5).unwrap();
    assert_eq!((health.voltage_v, health.temperature_c), (Some(7.4), Some(30.0)));
    assert_eq!((health.torque, health.current_a), (false, Some(0.0)));
    emulator.with(|bus| bus.servo(4).unwrap().alarms = 1 << 4);
    motors.sense(&mut sensed).unwrap();
    emulator.with(|bus| bus.servo(4).unwrap().temperature_c = 80);
    let error = motors.sense(&mut sensed).unwrap_err().to_string();
    let expected = "joint wrist_flex (id 4) reports too high a temperature: let it cool down";
    assert_eq!(error, expected);
    assert_eq!(sensed.position[3], 1003, "it is read all the same");
    assert_eq!(motors.examine(3).unwrap_err().to_string(), expected);
    motors.examine(0).unwrap();
    assert!(motors.examine(6).is_err());
}

#[test]
fn a_pulled_cable_is_noticed_at_once_and_can_be_plugged_in_again() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("arm");
    let options = Options { link: Some(link.clone()), ..Options::default() };
    let mut emulator = Emulator::start(Bus::new(&arm(10)), options).unwrap();
    let mut motors = FeetechMotors::new(&arm(10), &link);
    let mut sensed = Sensed::new(6);
    let error = motors.sense(&mut sensed).unwrap_err().to_string();
    assert_eq!(error, "the arm refuses: the servos were not identified yet");
    motors.identify().unwrap();
    emulator.hang_up();
    let began = Instant::now();
    let error = motors.sense(&mut sensed).unwrap_err();
    assert!(matches!(error, MotorsError::HungUp { .. }), "{error}");
    assert!(motors.command(&[0; 6]).is_err());
    assert!(began.elapsed() < Duration::from_millis(100));
    assert!(matches!(motors.identify(), Err(MotorsError::Port { .. })));
    emulator.plug_in().unwrap();
    motors.identify().unwrap();
    motors.sense(&mut sensed).unwrap();
    assert_eq!(sensed.position, [2048; 6]);
}
