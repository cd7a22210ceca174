//! What a servo answers, and the traps that it sets.

use super::*;
use crate::codecs::feetech::register as reg;

struct Bench {
    bus: Bus,
    faults: Faults,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        let bus = Bus::new(&ArmDescription::find("so101").unwrap());
        Self { bus, faults: Faults::default(), now: Duration::ZERO }
    }

    /// What is answered, each as id, alarms and data.
    fn ask(
        &mut self,
        build: impl FnOnce(&mut Vec<u8>) -> Result<(), feetech::PacketError>,
    ) -> Vec<(u8, u8, Vec<u8>)> {
        let (mut bytes, mut replies) = (Vec::new(), Vec::new());
        build(&mut bytes).unwrap();
        self.bus.receive(&bytes, &self.faults, &mut replies);
        let answers = replies.iter().map(|reply| {
            let mut decoder = Decoder::new();
            decoder.push(&reply.bytes);
            let Packet { id, code, data } = decoder.next().unwrap();
            (id, code, data.to_vec())
        });
        answers.collect()
    }

    fn write(&mut self, id: u8, address: u8, bytes: &[u8]) {
        self.ask(|out| feetech::write(out, id, address, bytes));
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.bus.advance(self.now);
    }

    fn position(&mut self, id: u8) -> u16 {
        feetech::word(&self.bus.registers(id, reg::PRESENT_POSITION, 2), 0).unwrap()
    }
}

fn row(id: u8, data: &[u8]) -> (u8, u8, Vec<u8>) {
    (id, 0, data.to_vec())
}

#[test]
fn every_instruction_is_answered_as_by_a_servo() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(|out| feetech::ping(out, 2)), [row(2, &[])]);
    assert_eq!(bench.ask(|out| feetech::ping(out, 9)), []);
    assert_eq!(bench.ask(|out| feetech::ping(out, BROADCAST)).len(), 6);
    assert_eq!(bench.ask(|out| feetech::read(out, 1, reg::MODEL, 2)), [row(1, &[9, 3])]);
    assert_eq!(bench.ask(|out| feetech::read(out, BROADCAST, reg::MODEL, 2)), []);
    assert_eq!(
        bench.ask(|out| feetech::sync_read(out, reg::PRESENT_POSITION, 2, [3, 9, 1])),
        [row(3, &[0, 8]), row(1, &[0, 8])]
    );
    assert_eq!(bench.ask(|out| feetech::write(out, 1, 42, &[1, 8])), [row(1, &[])]);
    assert_eq!(bench.ask(|out| feetech::write(out, BROADCAST, 42, &[2, 8])), []);
    let rows = [(1, [3, 8]), (6, [4, 8])];
    assert_eq!(bench.ask(|out| feetech::sync_write(out, 42, 2, rows)), []);
    assert_eq!(bench.bus.registers(1, 42, 2), [3, 8]);
    assert_eq!(bench.bus.registers(2, 42, 2), [2, 8]);

    assert_eq!(bench.ask(|out| feetech::reg_write(out, 1, 42, &[9, 8])), [row(1, &[])]);
    assert_eq!(bench.bus.registers(1, 42, 2), [3, 8], "put off");
    assert_eq!(bench.bus.registers(1, reg::REG_WRITE, 1), [1]);
    assert_eq!(bench.ask(|out| feetech::action(out, BROADCAST)), []);
    assert_eq!(bench.bus.registers(1, 42, 2), [9, 8]);

    let written: Vec<_> = bench.bus.writes().filter(|write| write.id == 1).collect();
    assert_eq!(written.len(), 4);
    let Written { address, ref bytes, position, torque, .. } = *written[3];
    assert_eq!((address, &bytes[..], position, torque), (42, &[9, 8][..], 2048, false));
    assert_eq!(bench.bus.num_writes(1, 42), 4);
    bench.bus.forget_writes();
    assert_eq!(bench.bus.num_writes(1, 42), 0);

    bench.write(1, reg::RESPONSE_LEVEL, &[0]);
    assert_eq!(bench.ask(|out| feetech::write(out, 1, 42, &[1, 8])), [], "asked to be quiet");
    assert_eq!(bench.ask(|out| feetech::ping(out, 1)), [row(1, &[])]);
}

#[test]
fn silent_and_lying_servos_are_as_the_faults_say() {
    let mut bench = Bench::new();
    bench.faults.silent = vec![2];
    bench.faults.impostor = Some((3, 4));
    let answers = bench.ask(|out| feetech::sync_read(out, reg::ID, 1, 1..=4));
    assert_eq!(answers, [row(1, &[1]), row(4, &[3]), row(4, &[4])]);
}

#[test]
fn torque_goes_on_towards_the_goal_of_last_time() {
    let mut bench = Bench::new();
    bench.write(1, reg::GOAL_POSITION, &[0, 4]);
    bench.wait(500);
    assert_eq!(bench.position(1), 2048, "no torque, no motion");
    bench.write(1, reg::TORQUE, &[1]);
    bench.wait(100);
    assert_eq!(bench.bus.registers(1, reg::MOVING, 1), [1]);
    bench.wait(1900);
    assert_eq!(bench.position(1), 1024);
    bench.bus.plant().joints[0].wall = Some(900.0);
    bench.write(1, reg::GOAL_POSITION, &[0, 0]);
    bench.wait(2000);
    assert_eq!(bench.position(1), 900);
    let load = feetech::word(&bench.bus.registers(1, reg::PRESENT_LOAD, 2), 0).unwrap();
    assert_eq!(feetech::decode_signed(load, 10), -1000);
    bench.write(1, reg::TORQUE_LIMIT, &[244, 1]);
    let load = feetech::word(&bench.bus.registers(1, reg::PRESENT_LOAD, 2), 0).unwrap();
    assert_eq!(feetech::decode_signed(load, 10), -500);
}

#[test]
fn speed_is_in_the_unit_of_the_phase() {
    for (phase, ticks) in [(12_u8, 2_u16), (8, 100)] {
        let mut bench = Bench::new();
        bench.bus.servo(1).unwrap().set(reg::PHASE, &[phase]);
        bench.write(1, reg::GOAL_POSITION, &[0, 0, 0, 0, 2, 0]); // 2 units of speed
        bench.write(1, reg::TORQUE, &[1]);
        bench.wait(1100);
        let moved = 2048 - bench.position(1);
        assert!(moved.abs_diff(ticks + ticks / 10) <= 2, "{moved} ticks with phase {phase}");
        let velocity = feetech::word(&bench.bus.registers(1, reg::PRESENT_VELOCITY, 2), 0);
        assert_eq!(velocity.map(|word| feetech::decode_signed(word, 15)), Some(-2));
    }
}

#[test]
fn limits_offset_and_turns_are_kept() {
    let mut bench = Bench::new();
    bench.bus.servo(1).unwrap().set(reg::MIN_POSITION, &[0xD0, 7, 0x34, 8]); // 2000 to 2100
    bench.write(1, reg::GOAL_POSITION, &[0, 0]);
    bench.write(1, reg::TORQUE, &[1]);
    bench.wait(1000);
    assert_eq!(bench.position(1), 2000);

    let servo = bench.bus.servo(2).unwrap();
    servo.set(reg::HOMING_OFFSET, &[0x64, 8]); // -100
    assert_eq!(bench.position(2), 2148, "present = actual - offset");
    bench.bus.plant().joints[1].position = 4000.0;
    assert_eq!(bench.position(2), 4, "4100 is beyond the turn");
    bench.bus.servo(2).unwrap().set(reg::PHASE, &[28]);
    assert_eq!(bench.position(2), 4100, "and is counted in multi-turn mode");
    bench.bus.servo(2).unwrap().set(reg::PHASE, &[12]);
    bench.write(2, reg::TORQUE, &[128]);
    assert_eq!(bench.position(2), 2048, "here is the middle now");
}

#[test]
fn a_power_failure_leaves_only_what_is_in_the_eeprom() {
    let mut bench = Bench::new();
    bench.write(1, reg::P, &[16]);
    assert_eq!(bench.bus.registers(1, reg::P, 1), [16]);
    bench.bus.restart(1);
    assert_eq!(bench.bus.registers(1, reg::P, 1), [32], "the lock was on");
    bench.write(1, reg::LOCK, &[0]);
    bench.write(1, reg::P, &[16]);
    bench.write(1, reg::GOAL_POSITION, &[0, 8]);
    bench.write(1, reg::TORQUE, &[1]);
    bench.bus.restart(1);
    assert_eq!(bench.bus.registers(1, reg::P, 1), [16]);
    assert_eq!(bench.bus.registers(1, reg::TORQUE, 3), [0, 0, 0]);
    assert_eq!(bench.bus.registers(1, reg::TORQUE_LIMIT, 2), [0xE8, 3]);
    assert!(!bench.bus.plant().joints[0].torque);
    assert_eq!(bench.bus.servo(1).unwrap().eeprom_writes(), 1);
}

#[test]
fn alarms_come_with_every_answer() {
    let mut bench = Bench::new();
    let servo = bench.bus.servo(4).unwrap();
    (servo.alarms, servo.temperature_c, servo.voltage_decivolt) = (1 << 5, 90, 30);
    assert_eq!(bench.ask(|out| feetech::ping(out, 4)), [(4, 0b10_0101, vec![])]);
    let read = bench.ask(|out| feetech::read(out, 4, reg::PRESENT_VOLTAGE, 4));
    assert_eq!(read, [(4, 0b10_0101, vec![30, 90, 0, 0b10_0101])]);
}
