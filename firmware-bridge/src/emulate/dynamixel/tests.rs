//! Each rule of the control table, and the watchdog to the millisecond, without a clock.

use super::*;
use crate::codecs::dynamixel::{CodecError, HardwareError, StatusError};

const PING: u8 = instruction::PING;

/// Six servos and what is between them and a host, without a port or a clock.
struct Bench {
    bus: Bus,
    faults: Faults,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        let bus = Bus::new(&ArmDescription::find("koch").unwrap()).unwrap();
        Self { bus, faults: Faults::default(), now: Duration::ZERO }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.bus.advance(self.now);
    }

    /// Every status `(id, error, data)` that comes for one packet.
    fn ask(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Vec<(u8, u8, Vec<u8>)> {
        let mut out = Vec::new();
        encode(&mut out).unwrap();
        let mut replies = Vec::new();
        self.bus.receive(&out, &self.faults, &mut replies);
        let mut decoder = Decoder::default();
        for reply in replies {
            decoder.feed(&reply.bytes);
        }
        let mut found = Vec::new();
        while let Some(packet) = decoder.next() {
            found.extend(
                packet.status().map(|status| (status.id, status.error, status.data.into())),
            );
        }
        found
    }

    fn read(&mut self, id: u8, register: Register) -> i64 {
        let answers = self.ask(|out| codec::read(out, id, register.address, register.width));
        let [(found, _, data)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(*found, id);
        register.within(data, register.address).unwrap()
    }

    /// The error number.
    fn write(&mut self, id: u8, register: Register, value: i64) -> u8 {
        let bytes = register.bytes(value).unwrap();
        let data = &bytes[..register.width.into()];
        let answers = self.ask(|out| codec::write(out, id, register.address, data));
        let [(found, error, _)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(*found, id);
        StatusError(*error).number()
    }
}

#[test]
fn everybody_answers_a_broadcast_ping_with_model_and_firmware() {
    let mut bench = Bench::new();
    let answers = bench.ask(|out| codec::ping(out, BROADCAST));
    let models: Vec<_> = answers.iter().map(|(id, _, data)| (*id, data[0], data[1])).collect();
    let [[a, b], [c, d]] = [1060_u16, 1200].map(u16::to_le_bytes);
    assert_eq!(models, [(1, a, b), (2, a, b), (3, c, d), (4, c, d), (5, c, d), (6, c, d)]);
    assert_eq!(bench.ask(|out| codec::ping(out, 9)), []);
    bench.faults.silent = vec![2];
    assert_eq!(bench.ask(|out| codec::ping(out, BROADCAST)).len(), 5);
    bench.faults.impostor = Some((3, 4));
    assert_eq!(bench.ask(|out| codec::ping(out, 3))[0].0, 4);
}

#[test]
fn what_a_servo_refuses_has_a_number() {
    let mut bench = Bench::new();
    for (register, value, number) in [
        (register::MODEL_NUMBER, 1, 7),
        (register::PRESENT_POSITION, 1, 7),
        (register::OPERATING_MODE, 2, 4),
        (register::OPERATING_MODE, 5, 4), // an XL430 measures no current
        (register::GOAL_CURRENT, 5, 7),
        (register::GOAL_POSITION, 4096, 6),
        (register::GOAL_POSITION, -1, 6),
        (register::GOAL_VELOCITY, 266, 6),
        (register::BUS_WATCHDOG, -1, 4),
        (register::HOMING_OFFSET, 1_044_480, 4),
        (register::OPERATING_MODE, 4, 0),
        (register::GOAL_POSITION, -5000, 0), // limits count for nothing in extended position
        (register::GOAL_POSITION, 1_048_576, 4),
        (register::TORQUE_ENABLE, 1, 0),
        (register::RETURN_DELAY, 0, 7), // memory is closed while torque is on
        (register::TORQUE_ENABLE, 0, 0),
        (register::RETURN_DELAY, 0, 0),
    ] {
        assert_eq!(bench.write(1, register, value), number, "{} {value}", register.name);
    }
    assert_eq!(bench.read(1, register::RETURN_DELAY), 0);
    let error = |answers: Vec<(u8, u8, Vec<u8>)>| answers[0].1;
    assert_eq!(error(bench.ask(|out| codec::write(out, 1, 116, &[0; 3]))), 5, "half a register");
    assert_eq!(error(bench.ask(|out| codec::write(out, 1, 117, &[0; 3]))), 5);
    assert_eq!(error(bench.ask(|out| codec::write(out, 1, 71, &[0]))), 7, "nothing is there");
    assert_eq!(error(bench.ask(|out| codec::read(out, 1, 146, 2))), 7);
    assert_eq!(error(bench.ask(|out| codec::action(out, 1))), 1, "nothing to carry out");
    assert_eq!(bench.bus.written().len(), 20);
}

#[test]
fn torque_moves_a_joint_to_the_goal_of_last_time() {
    let mut bench = Bench::new();
    bench.write(2, register::OPERATING_MODE, 4);
    bench.write(2, register::HOMING_OFFSET, -500);
    bench.write(2, register::TORQUE_ENABLE, 1);
    bench.write(2, register::GOAL_POSITION, 2000);
    bench.wait(3000);
    assert_eq!(bench.read(2, register::PRESENT_POSITION), 2000);
    assert_eq!(bench.bus.plant().joints[1].position.round(), 2500.0, "present = actual + offset");
    bench.write(2, register::TORQUE_ENABLE, 0);
    bench.bus.plant().joints[1].position = 1500.0; // somebody moves it by hand
    assert_eq!(bench.read(2, register::PRESENT_POSITION), 1000);
    bench.write(2, register::TORQUE_ENABLE, 1);
    bench.wait(3000);
    assert_eq!(bench.read(2, register::PRESENT_POSITION), 2000);
}

#[test]
fn the_profile_bounds_velocity_and_acceleration() {
    let mut bench = Bench::new();
    bench.write(1, register::TORQUE_ENABLE, 1);
    bench.write(1, register::PROFILE_VELOCITY, 50); // 781.7 ticks/s
    bench.write(1, register::PROFILE_ACCELERATION, 10); // 2441 ticks/s²
    bench.write(1, register::GOAL_POSITION, 4000);
    bench.wait(100);
    let velocity = bench.bus.plant().joints[0].velocity;
    assert!((235.0..=245.0).contains(&velocity), "{velocity}");
    bench.wait(900);
    assert_eq!(bench.read(1, register::PRESENT_VELOCITY), 50);
}

#[test]
fn the_watchdog_stops_a_joint_in_time_and_closes_its_goals() {
    for units in [1_i64, 5, 127] {
        let mut bench = Bench::new();
        bench.write(3, register::OPERATING_MODE, 4);
        bench.write(3, register::PROFILE_VELOCITY, 100);
        bench.write(3, register::BUS_WATCHDOG, units);
        bench.wait(5000);
        assert_eq!(bench.read(3, register::BUS_WATCHDOG), units, "torque is off: nothing to stop");
        bench.write(3, register::TORQUE_ENABLE, 1);
        bench.write(3, register::GOAL_POSITION, 900_000);
        // Words to others do not count.
        let due = 20 * units as u64;
        bench.wait(due - 5);
        bench.ask(|out| codec::ping(out, 4));
        let before = bench.bus.register(3, register::BUS_WATCHDOG);
        bench.wait(10);
        let after = bench.bus.register(3, register::BUS_WATCHDOG);
        assert_eq!((before, after), (Some(units), Some(-1)), "{units}");
        bench.wait(100);
        let joint = bench.bus.plant().joints[2].clone();
        assert!(joint.velocity.abs() < 1.0 && joint.torque, "{joint:?}");

        assert_eq!(bench.write(3, register::GOAL_POSITION, 0), 4);
        assert_eq!(bench.write(3, register::BUS_WATCHDOG, 5), 4);
        assert_eq!(bench.write(3, register::BUS_WATCHDOG, 0), 0);
        bench.wait(100);
        assert_eq!(bench.bus.plant().joints[2].position, joint.position, "it stays");
        assert_eq!(bench.write(3, register::GOAL_POSITION, 0), 0);
        bench.wait(100);
        assert!(bench.bus.plant().joints[2].velocity < -1000.0);
    }
}

#[test]
fn a_hardware_error_in_the_mask_takes_torque_away_until_a_reboot() {
    let mut bench = Bench::new();
    bench.write(4, register::TORQUE_ENABLE, 1);
    bench.bus.hardware_error(4, HardwareError::VOLTAGE); // not in the mask
    assert_eq!(bench.read(4, register::TORQUE_ENABLE), 1);
    bench.bus.hardware_error(4, HardwareError::OVERLOAD);
    assert_eq!(bench.ask(|out| codec::ping(out, 4))[0].1, 0x80);
    assert_eq!(bench.read(4, register::TORQUE_ENABLE), 0);
    assert_eq!(bench.read(4, register::HARDWARE_ERROR), 0x21);
    assert_eq!(bench.write(4, register::TORQUE_ENABLE, 1), 1);
    bench.ask(|out| codec::reboot(out, 4));
    assert_eq!(bench.read(4, register::HARDWARE_ERROR), 0);
    assert_eq!(bench.write(4, register::TORQUE_ENABLE, 1), 0);
    bench.bus.set_register(5, register::PRESENT_TEMPERATURE, 90);
    bench.wait(10);
    assert_eq!(bench.read(5, register::HARDWARE_ERROR), 4);
}

#[test]
fn a_restart_forgets_ram_and_turns() {
    let mut bench = Bench::new();
    bench.write(1, register::OPERATING_MODE, 4);
    bench.write(1, register::PROFILE_VELOCITY, 100);
    bench.write(1, register::TORQUE_ENABLE, 1);
    bench.write(1, register::GOAL_POSITION, 5000);
    bench.wait(5000);
    assert_eq!(bench.read(1, register::PRESENT_POSITION), 5000);
    bench.bus.restart(1);
    assert_eq!(bench.read(1, register::TORQUE_ENABLE), 0);
    assert_eq!(bench.read(1, register::PROFILE_VELOCITY), 0);
    assert_eq!(bench.read(1, register::OPERATING_MODE), 4, "memory stays");
    assert_eq!(bench.read(1, register::PRESENT_POSITION), 904);
}

#[test]
fn a_servo_answers_as_much_as_its_level_says() {
    let mut bench = Bench::new();
    bench.write(1, register::STATUS_RETURN_LEVEL, 1);
    assert_eq!(bench.ask(|out| codec::write(out, 1, 65, &[1])), []);
    assert_eq!(bench.read(1, register::LED), 1);
    assert_eq!(bench.ask(|out| codec::write(out, 1, 68, &[0])), []);
    assert_eq!(bench.ask(|out| codec::read(out, 1, 65, 1)), []);
    let mut out = Vec::new();
    codec::ping(&mut out, 1).unwrap();
    let mut replies = Vec::new();
    bench.bus.receive(&out, &Faults::default(), &mut replies);
    assert_eq!(replies[0].after, Duration::from_micros(500), "and waits before it does");
    assert_eq!(out[7], PING);
}

#[test]
fn many_are_read_and_written_at_once() {
    let mut bench = Bench::new();
    let goals: [(u8, &[u8]); 2] = [(1, &[0, 1, 0, 0]), (6, &[0, 2, 0, 0])];
    assert_eq!(bench.ask(|out| codec::sync_write(out, 116, 4, goals)), []);
    let found = bench.ask(|out| codec::sync_read(out, 116, 4, [6, 1]));
    assert_eq!(found, [(6, 0, vec![0, 2, 0, 0]), (1, 0, vec![0, 1, 0, 0])]);
    let data: [(u8, u16, &[u8]); 2] = [(2, 65, &[1]), (3, 104, &[9, 0, 0, 0])];
    bench.ask(|out| codec::bulk_write(out, data));
    let found = bench.ask(|out| codec::bulk_read(out, [(2, 65, 1), (3, 104, 4)]));
    assert_eq!(found, [(2, 0, vec![1]), (3, 0, vec![9, 0, 0, 0])]);
    bench.ask(|out| codec::reg_write(out, 4, 65, &[1]));
    assert_eq!(bench.read(4, register::LED), 0);
    bench.ask(|out| codec::action(out, BROADCAST));
    assert_eq!(bench.read(4, register::LED), 1);
    bench.faults.silent = vec![2];
    let found = bench.ask(|out| codec::sync_read(out, 65, 1, [1, 2, 3]));
    assert_eq!(found.len(), 1, "behind a silent one nobody answers");
}

#[test]
fn a_damaged_instruction_writes_nothing() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let mut bench = Bench::new();
    let goals: Vec<(u8, [u8; 4])> = (1..=6).map(|id| (id, [id, 4, 0, 0])).collect();
    let mut out = Vec::new();
    codec::sync_write(&mut out, 116, 4, goals.iter().map(|(id, goal)| (*id, &goal[..]))).unwrap();
    let mut whole = 0;
    for _ in 0..50_000 {
        let mut damaged = out.clone();
        for byte in &mut damaged {
            if rng.random_bool(1e-3) {
                *byte ^= 1 << rng.random_range(0..8_u32);
            }
        }
        whole += usize::from(damaged == out);
        bench.bus.receive(&damaged, &Faults::default(), &mut Vec::new());
        if damaged != out {
            bench.bus.receive(&[0; 64], &Faults::default(), &mut Vec::new());
        }
    }
    assert!((45_000..49_900).contains(&whole), "{whole}");
    assert_eq!(bench.bus.written().len(), 6 * whole);
    let right = |written: &Written| {
        let goal = [written.id, 4, 0, 0];
        written.address == 116 && written.data == goal && written.error == 0
    };
    assert!(bench.bus.written().iter().all(right));
}
