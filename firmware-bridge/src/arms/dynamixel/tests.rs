//! The motors over an emulated bus, with everything that can go wrong on it.

use std::time::{Duration, Instant};

use super::*;
use crate::emulate::dynamixel::Bus;
use crate::emulate::{Device, Emulator};

/// An arm of which nothing is asked faster than a busy machine can answer.
fn koch() -> ArmDescription {
    let mut arm = ArmDescription::find("koch").unwrap();
    arm.setpoint_hz = 5;
    arm
}

fn patient() -> Options {
    let [margin, watchdog] = [80, 2540].map(Duration::from_millis);
    Options { margin, watchdog, calibration: None }
}

fn emulator() -> Emulator<Bus> {
    let bus = Bus::new(&koch()).unwrap();
    Emulator::start(bus, crate::emulate::Options::default()).unwrap()
}

fn connected(emulator: &Emulator<Bus>) -> DynamixelMotors {
    let mut motors = DynamixelMotors::open(&koch(), emulator.path(), patient()).unwrap();
    motors.identify().unwrap();
    motors
}

/// Waits until the joints have come to rest.
fn settle(motors: &mut DynamixelMotors, goals: &[i32]) -> Sensed {
    let mut sensed = Sensed::new(6);
    for _ in 0..400 {
        motors.command(goals).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        motors.sense(&mut sensed).unwrap();
        if sensed.position == goals {
            break;
        }
    }
    sensed
}

#[test]
fn an_arm_is_identified_and_its_memory_is_written_once() {
    let emulator = emulator();
    emulator.with(|bus| bus.set_register(2, register::FIRMWARE, 45));
    let mut motors = DynamixelMotors::open(&koch(), emulator.path(), patient()).unwrap();
    let found = motors.identify().unwrap();
    assert_eq!((found[0].model.as_str(), found[1].firmware.as_str()), ("xl430-w250", "45"));
    assert_eq!(found[5], Identity { model: "xl330-m288".into(), firmware: "46".into() });
    let mode = |id| emulator.with(|bus| bus.register(id, register::OPERATING_MODE));
    assert_eq!((mode(1), mode(5), mode(6)), (Some(4), Some(4), Some(5)));
    assert!(motors.reads_fast());
    emulator.with(Bus::forget_written);
    motors.identify().unwrap();
    assert_eq!(emulator.with(|bus| bus.written().len()), 0);
    assert_eq!(motors.joints()[5], "gripper");
}

#[test]
fn what_is_not_as_described_is_refused_with_expected_and_found() {
    let emulator = emulator();
    emulator.with(|bus| bus.set_register(3, register::HOMING_OFFSET, -1024));
    let home = Calibrated { homing_offset: 0, range_min: 0, range_max: 4095 };
    let options = Options { calibration: Some(vec![home; 6]), ..patient() };
    let mut motors = DynamixelMotors::open(&koch(), emulator.path(), options.clone()).unwrap();
    let error = motors.identify().unwrap_err().to_string();
    let expected = "joint elbow_flex (id 3): homing offset is -1024, expected 0 by the calibration: calibrate anew";
    assert_eq!(error, expected);

    let busy = DynamixelMotors::open(&koch(), emulator.path(), options).unwrap_err().to_string();
    assert!(busy.ends_with("is in use by another program: stop that first"), "{busy}");
    drop(motors);

    let mut other = koch();
    other.joints[0].model = "xm430-w350".into();
    let mut motors = DynamixelMotors::open(&other, emulator.path(), patient()).unwrap();
    let error = motors.identify().unwrap_err().to_string();
    let expected =
        "joint shoulder_pan (id 1): model is xl430-w250 (1060), expected xm430-w350 (1020)";
    assert_eq!(error, expected);
    drop(motors);

    emulator.with(|bus| bus.set_register(1, register::RETURN_DELAY, 250));
    emulator.with(|bus| bus.set_register(1, register::TORQUE_ENABLE, 1));
    let mut motors = DynamixelMotors::open(&koch(), emulator.path(), patient()).unwrap();
    let error = motors.identify().unwrap_err().to_string();
    assert!(error.contains("while torque is on: switch it off"), "{error}");
}

#[test]
fn torque_goes_on_where_the_arm_is_and_the_arm_follows_its_goals() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    // The goals of last time are elsewhere.
    emulator.with(|bus| (1..=6).for_each(|id| bus.set_register(id, register::GOAL_POSITION, 100)));
    motors.torque(true).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let positions = |emulator: &Emulator<Bus>| {
        emulator
            .with(|bus| bus.plant().joints.iter().map(|joint| joint.position).collect::<Vec<_>>())
    };
    assert_eq!(positions(&emulator), [2048.0; 6], "it stays where it was");
    let watchdogs = emulator.with(|bus| [1, 6].map(|id| bus.register(id, register::BUS_WATCHDOG)));
    assert_eq!(watchdogs, [Some(127); 2]);
    let current = emulator.with(|bus| bus.register(6, register::GOAL_CURRENT));
    assert_eq!(current, Some(875), "half of the gripper's current, as described");

    let goals = [2100, 2000, -3000 + 4096, 2048, 2060, 1990];
    let sensed = settle(&mut motors, &goals);
    assert_eq!(sensed.position, goals);
    let health = motors.examine(2).unwrap();
    assert_eq!((health.torque, health.goal), (true, Some(1096)));
    assert!((health.voltage_v.unwrap() - 5.0).abs() < 0.01 && health.current_a.is_some());
    assert_eq!(motors.examine(0).unwrap().current_a, None, "an XL430 measures none");

    let error = motors.command(&[0, 0, 0, 0, 0, 2_000_000]).unwrap_err().to_string();
    assert!(error.contains("joint gripper (id 6) takes goals from -1048575"), "{error}");
    motors.torque(false).unwrap();
    assert!(!motors.examine(0).unwrap().torque);
    assert_eq!(emulator.with(|bus| bus.register(1, register::BUS_WATCHDOG)), Some(0));
}

#[test]
fn old_firmware_is_read_with_plain_sync_reads() {
    let emulator = emulator();
    emulator.with(|bus| bus.set_register(4, register::FIRMWARE, 45)); // an XL330 needs 46
    let mut motors = connected(&emulator);
    assert!(!motors.reads_fast());
    let mut sensed = Sensed::new(6);
    motors.sense(&mut sensed).unwrap();
    assert_eq!((sensed.position, motors.counters().retries), (vec![2048; 6], 0));
}

#[test]
fn bit_flips_write_no_wrong_register_and_every_cycle_ends_in_time() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    motors.torque(true).unwrap();
    emulator.with(Bus::forget_written);
    emulator.faults(|faults| (faults.flip, faults.lose, faults.insert) = (1e-3, 2e-4, 2e-4));
    motors.options.margin = Duration::from_millis(10);
    let mut sensed = Sensed::new(6);
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    for cycle in 0..300 {
        let began = Instant::now();
        failed += u32::from(motors.sense(&mut sensed).is_err());
        assert_eq!(sensed.position[0].abs_diff(2048) / 20, 0, "no false position is told");
        motors.command(&[2048 + cycle % 8; 6]).unwrap();
        slowest = slowest.max(began.elapsed());
    }
    assert!(failed < 30, "{failed} of 300 cycles without an answer");
    assert!(motors.counters().retries > 0, "nothing went wrong: no test");
    assert!(slowest < Duration::from_millis(400), "{slowest:?}, of 400 ms that two periods are");
    let wrong = |bus: &mut Bus| {
        let goal = |data: &[u8]| (2048..2056).any(|goal: i32| data == goal.to_le_bytes());
        let right = |w: &&crate::emulate::dynamixel::Written| w.address == 116 && goal(&w.data);
        (bus.written().len(), bus.written().iter().filter(|w| !right(w)).count())
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while emulator.with(wrong).0 < 1800 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(emulator.with(wrong), (1800, 0));
}

#[test]
fn a_silent_servo_is_named_and_the_others_go_on() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    motors.torque(true).unwrap();
    motors.options.margin = Duration::from_millis(10);
    emulator.faults(|faults| faults.silent = vec![3]);
    let mut sensed = Sensed::new(6);
    for _ in 0..5 {
        let error = motors.sense(&mut sensed).unwrap_err();
        assert!(matches!(&error, MotorsError::Silent { id: 3, .. }), "{error}");
        motors.command(&[2050; 6]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let goals = emulator.with(|bus| [2, 3, 4].map(|id| bus.register(id, register::GOAL_POSITION)));
    assert_eq!(goals, [Some(2050), Some(2048), Some(2050)]);
    assert!((2048..=2050).contains(&sensed.position[1]), "those ahead of it were read");
    emulator.faults(|faults| faults.silent.clear());
    motors.sense(&mut sensed).unwrap();
}

#[test]
fn five_misses_take_no_more_than_fifty_milliseconds_at_200_hz() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    (motors.options.margin, motors.period) = (Duration::from_millis(3), Duration::from_millis(5));
    emulator.faults(|faults| faults.silent = vec![6]);
    let mut sensed = Sensed::new(6);
    // The best of a few, since the machine is not ours alone.
    let fastest = (0..8).map(|_| {
        let began = Instant::now();
        for _ in 0..5 {
            motors.sense(&mut sensed).unwrap_err();
        }
        began.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest <= Duration::from_millis(50), "{fastest:?}");
}

#[test]
fn a_cable_pulled_is_noticed_at_once_and_the_arm_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("arm");
    let options = crate::emulate::Options { link: Some(link.clone()), ..Default::default() };
    let mut emulator = Emulator::start(Bus::new(&koch()).unwrap(), options).unwrap();
    let mut motors = DynamixelMotors::open(&koch(), &link, patient()).unwrap();
    motors.identify().unwrap();
    emulator.hang_up();
    let mut sensed = Sensed::new(6);
    let began = Instant::now();
    let error = motors.sense(&mut sensed).unwrap_err();
    assert!(matches!(error, MotorsError::HungUp { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_millis(50), "no deadline is waited for");
    assert!(matches!(motors.command(&[0; 6]), Err(MotorsError::HungUp { .. })));
    assert!(motors.identify().is_err(), "nothing is there yet");
    emulator.plug_in().unwrap();
    motors.identify().unwrap();
    motors.sense(&mut sensed).unwrap();
}

#[test]
fn an_echo_is_stripped_and_what_was_left_over_is_flushed() {
    let emulator = emulator();
    emulator.faults(|faults| faults.echo = true);
    let mut motors = connected(&emulator);
    motors.torque(true).unwrap();
    let goals = [2040, 2041, 2042, 2043, 2044, 2045];
    assert_eq!(settle(&mut motors, &goals).position, goals);
    assert!(motors.counters().echoes > 0);

    // An answer of before, of the right id and length, whose position is wrong.
    let mut stale = Vec::new();
    codec::status(&mut stale, 2, 0, &[0; 10]).unwrap();
    codec::status(&mut stale, 2, 0, &[0; 4]).unwrap();
    stale.extend_from_slice(&[0xFF, 0xFF, 0xFD]);
    let mut sensed = Sensed::new(6);
    for _ in 0..10 {
        emulator.faults(|faults| faults.stale.clone_from(&stale));
        motors.sense(&mut sensed).unwrap();
        assert_eq!(sensed.position, goals);
        assert_eq!(motors.examine(1).unwrap().goal, Some(2041));
    }
}

#[test]
fn an_answer_in_the_place_of_another_is_nobodys() {
    for firmware in [45, 46] {
        let emulator = emulator();
        (3..=6).for_each(|id| {
            emulator.with(|bus| bus.set_register(id, register::FIRMWARE, firmware));
        });
        let mut motors = connected(&emulator);
        let mut sensed = Sensed::new(6);
        emulator.with(|bus| {
            for (joint, position) in bus.plant().joints.iter_mut().zip(1..) {
                joint.position = f64::from(position * 100);
            }
        });
        motors.options.margin = Duration::from_millis(10);
        for impostor in [(3, 4), (4, 3), (6, 1), (2, 9)] {
            sensed.position.fill(-1);
            emulator.faults(|faults| faults.impostor = Some(impostor));
            let error = motors.sense(&mut sensed).unwrap_err().to_string();
            assert!(error.contains("(id "), "{error}");
            let mut found = sensed.position.iter().zip(1..);
            assert!(found.all(|(&at, id)| at == -1 || at == id * 100), "{impostor:?}: {sensed:?}");
            let asked = usize::from(impostor.0) - 1;
            let error = motors.examine(asked).unwrap_err().to_string();
            assert!(error.contains("look for two servos of one id"), "{error}");
        }
        emulator.faults(|faults| faults.impostor = None);
        motors.sense(&mut sensed).unwrap();
        assert_eq!(sensed.position, [100, 200, 300, 400, 500, 600]);
    }
}

#[test]
fn a_late_answer_is_not_taken_for_another() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    motors.options.margin = Duration::from_millis(5);
    let mut sensed = Sensed::new(6);
    emulator.faults(|faults| faults.delay = Duration::from_millis(20));
    for at in 0..6 {
        let _ = motors.examine(at); // late, or missed
        let _ = motors.sense(&mut sensed);
        let right = |&at: &i32| at == 2048 || at == 0;
        assert!(sensed.position.iter().all(right), "{sensed:?}");
    }
    emulator.faults(|faults| faults.delay = Duration::ZERO);
    motors.options.margin = Duration::from_millis(80);
    std::thread::sleep(Duration::from_millis(100));
    for at in 0..6 {
        assert_eq!(motors.examine(at).unwrap().goal, Some(2048));
        motors.sense(&mut sensed).unwrap();
        assert_eq!(sensed.position, [2048; 6]);
    }
}

#[test]
fn hardware_errors_are_alarms_in_words() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    motors.torque(true).unwrap();
    emulator.with(|bus| bus.hardware_error(2, HardwareError::OVERLOAD));
    let mut sensed = Sensed::new(6);
    let words = "joint shoulder_lift (id 2) reports overload: remove the cause, then reboot it \
                 (a REBOOT instruction, or power off and on)";
    assert_eq!(motors.sense(&mut sensed).unwrap_err().to_string(), words);
    assert_eq!(sensed.position, [2048; 6], "everybody was read");
    assert_eq!(motors.examine(1).unwrap_err().to_string(), words);
    assert_eq!(motors.torque(true).unwrap_err().to_string(), words, "nothing reboots by itself");
    assert_eq!(motors.identify().unwrap_err().to_string(), words);
    emulator.with(|bus| bus.restart(2));
    emulator.with(|bus| bus.set_register(5, register::PRESENT_TEMPERATURE, 99));
    let error = motors.examine(4).unwrap_err().to_string();
    assert!(error.contains("(id 5) reports overheating"), "{error}");
}

#[test]
fn a_joint_that_restarted_is_noticed_and_gets_no_goals() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    motors.torque(true).unwrap();
    emulator.with(|bus| bus.restart(4));
    motors.examine(2).unwrap();
    let error = motors.examine(3).unwrap_err();
    assert!(matches!(error, MotorsError::Restarted { id: 4, .. }), "{error}");
    emulator.with(Bus::forget_written);
    motors.command(&[2100; 6]).unwrap();
    motors.sense(&mut Sensed::new(6)).unwrap();
    let ids = emulator.with(|bus| bus.written().iter().map(|w| w.id).collect::<Vec<_>>());
    assert_eq!(ids, [1, 2, 3, 5, 6]);
    motors.torque(true).unwrap();
    motors.examine(3).unwrap();
}

#[test]
fn left_alone_the_arm_stops_and_says_so() {
    let emulator = emulator();
    let mut motors = connected(&emulator);
    motors.options.watchdog = Duration::from_millis(100);
    motors.torque(true).unwrap();
    motors.command(&[4000; 6]).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    let tripped = emulator.with(|bus| [1, 6].map(|id| bus.register(id, register::BUS_WATCHDOG)));
    assert_eq!(tripped, [Some(-1); 2]);
    let there: Vec<_> =
        emulator.with(|bus| bus.plant().joints.iter().map(|j| j.position).collect());
    assert!(there.iter().all(|&at| at < 2600.0), "a tenth of a second at 2.5 rad/s: {there:?}");
    let error = motors.examine(0).unwrap_err().to_string();
    assert!(error.contains("its bus watchdog tripped and stopped it"), "{error}");
    motors.options.watchdog = Duration::from_millis(2540);
    motors.torque(true).unwrap();
    motors.examine(0).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let now: Vec<_> = emulator.with(|bus| bus.plant().joints.iter().map(|j| j.position).collect());
    assert!(now.iter().zip(&there).all(|(a, b)| (a - b).abs() <= 1.0), "{there:?} {now:?}");
}
