//! One servo's control table, and what it makes of its joint.

use std::time::Duration;

use crate::codecs::feetech::{decode_signed, encode_signed, register as reg, word};
use crate::emulate::PlantJoint;

/// Addresses there are; those beyond the table read as zero and keep nothing.
const ADDRESSES: usize = 256;

/// Ticks away from its goal at which a joint pushes as hard as it can.
const TICKS_AT_MOST: f64 = 400.0;

/// Current at full load, in units of 6.5 mA: 2.7 A.
const CURRENT_AT_MOST: f64 = 415.0;

/// What a servo has when it comes from the factory: address and byte.
const FACTORY: &[(u8, u8)] = &[
    (reg::FIRMWARE, 3),
    (reg::FIRMWARE + 1, 10),
    (reg::BAUD, 0),
    (reg::RETURN_DELAY, 250),
    (reg::RESPONSE_LEVEL, 1),
    (reg::MAX_POSITION, 0xFF),
    (reg::MAX_POSITION + 1, 0x0F),
    (reg::MAX_TEMPERATURE, 70),
    (reg::MAX_VOLTAGE, 140),
    (reg::MIN_VOLTAGE, 40),
    (reg::MAX_TORQUE, 0xE8),
    (reg::MAX_TORQUE + 1, 0x03),
    (reg::PHASE, 12),
    (reg::UNLOADING, 0b10_1100),
    (20, 0b10_1111),
    (reg::P, 32),
    (reg::D, 32),
    (24, 16),
    (26, 1),
    (27, 1),
    (reg::PROTECTION_CURRENT, 0xF4),
    (reg::PROTECTION_CURRENT + 1, 0x01),
    (30, 1),
    (reg::PROTECTIVE_TORQUE, 20),
    (reg::PROTECTION_TIME, 200),
    (reg::OVERLOAD_TORQUE, 80),
    (37, 10),
    (38, 200),
    (39, 10),
];

/// One servo.
#[derive(Debug, Clone)]
pub struct Servo {
    /// Alarms that it reports besides those that its voltage and temperature give it, as in an
    /// answer's alarm byte.
    pub alarms: u8,
    /// Its supply, in tenths of a volt.
    pub voltage_decivolt: u8,
    /// Its temperature, in degrees.
    pub temperature_c: u8,
    table: [u8; ADDRESSES],
    /// What is left after a power failure.
    eeprom: [u8; ADDRESSES],
    put_off: Option<(u8, Vec<u8>)>,
    worn: u64,
}

impl Servo {
    /// Its fastest, in ticks per second, at 12 V.
    pub(super) const MAX_VELOCITY: f64 = 3400.0;

    /// Its largest change of velocity, in ticks per second squared.
    pub(super) const MAX_ACCELERATION: f64 = 60_000.0;

    pub(super) fn new(id: u8, model: &str) -> Self {
        let mut eeprom = [0; ADDRESSES];
        for &(address, byte) in FACTORY {
            eeprom[usize::from(address)] = byte;
        }
        let model = reg::model_number(model).unwrap_or(777).to_le_bytes();
        eeprom[usize::from(reg::MODEL)..][..2].copy_from_slice(&model);
        eeprom[usize::from(reg::ID)] = id;
        let mut servo = Self {
            alarms: 0,
            voltage_decivolt: 74,
            temperature_c: 30,
            table: eeprom,
            eeprom,
            put_off: None,
            worn: 0,
        };
        servo.restart();
        servo
    }

    /// Its id, which can be changed like any register.
    pub fn id(&self) -> u8 {
        self.byte(reg::ID)
    }

    /// How many bytes were written into its EEPROM so far.
    pub fn eeprom_writes(&self) -> u64 {
        self.worn
    }

    /// Puts bytes into its table and EEPROM as whoever built the arm did, past lock and audit.
    pub fn set(&mut self, address: u8, bytes: &[u8]) {
        for (address, &byte) in (usize::from(address)..reg::TABLE).zip(bytes) {
            self.table[address] = byte;
            if address < usize::from(reg::RAM) {
                self.eeprom[address] = byte;
            }
        }
    }

    pub(super) fn restart(&mut self) {
        self.table = self.eeprom;
        self.put_off = None;
        self.table[usize::from(reg::LOCK)] = 1;
        self.set_word(reg::TORQUE_LIMIT, self.word(reg::MAX_TORQUE));
    }

    pub(super) fn confirms(&self) -> bool {
        self.byte(reg::RESPONSE_LEVEL) != 0
    }

    pub(super) fn return_delay(&self) -> Duration {
        Duration::from_micros(2) * u32::from(self.byte(reg::RETURN_DELAY))
    }

    /// What it says with every answer.
    pub(super) fn alarms(&self) -> u8 {
        let (low, high) = (self.byte(reg::MIN_VOLTAGE), self.byte(reg::MAX_VOLTAGE));
        let voltage = u8::from(!(low..=high).contains(&self.voltage_decivolt));
        let temperature = u8::from(self.temperature_c > self.byte(reg::MAX_TEMPERATURE));
        self.alarms | voltage | temperature << 2
    }

    pub(super) fn read(&self, address: u8, length: u8) -> &[u8] {
        let first = usize::from(address);
        let end = (first + usize::from(length)).min(ADDRESSES);
        self.table.get(first..end).unwrap_or_default()
    }

    pub(super) fn put_off(&mut self, address: u8, bytes: &[u8]) {
        self.put_off = Some((address, bytes.into()));
        self.table[usize::from(reg::REG_WRITE)] = 1;
    }

    pub(super) fn take_put_off(&mut self) -> Option<(u8, Vec<u8>)> {
        self.table[usize::from(reg::REG_WRITE)] = 0;
        self.put_off.take()
    }

    /// Takes what may be written. With the lock on, the EEPROM's part is forgotten without power.
    pub(super) fn write(&mut self, address: u8, bytes: &[u8]) {
        let unlocked = self.byte(reg::LOCK) == 0;
        for (address, &byte) in (usize::from(address)..reg::TABLE).zip(bytes) {
            if !writable(address) {
                continue;
            }
            if address == usize::from(reg::TORQUE) && byte == 128 {
                self.make_here_the_middle();
                continue;
            }
            self.table[address] = byte;
            if address < usize::from(reg::RAM) && unlocked {
                self.eeprom[address] = byte;
                self.worn += 1;
            }
        }
    }

    fn make_here_the_middle(&mut self) {
        let shift = self.signed(reg::PRESENT_POSITION) - 2048;
        let offset = (self.signed(reg::HOMING_OFFSET) + shift + 2048).rem_euclid(4096) - 2048;
        let offset = encode_signed(offset.max(-2047), 11).unwrap_or_default();
        self.set(reg::HOMING_OFFSET, &offset.to_le_bytes());
        self.worn += 2;
    }

    /// Fills in what it measures.
    pub(super) fn measure(&mut self, joint: &PlantJoint) {
        let limit = f64::from(self.word(reg::TORQUE_LIMIT).min(1000));
        let load = (joint.load(TICKS_AT_MOST) * 1000.0).clamp(-limit, limit);
        let current = load.abs() / 1000.0 * CURRENT_AT_MOST;
        for (address, value) in [
            (reg::PRESENT_POSITION, self.position(joint)),
            (reg::PRESENT_VELOCITY, (joint.velocity / self.speed_unit()).round() as i32),
            (reg::PRESENT_LOAD, load.round() as i32),
            (reg::PRESENT_CURRENT, current.round() as i32),
        ] {
            let bit = reg::sign_bit(address).unwrap_or(15);
            let most = (1 << bit) - 1;
            let word = encode_signed(value.clamp(-most, most), bit).unwrap_or_default();
            self.set_word(address, word);
        }
        self.table[usize::from(reg::PRESENT_VOLTAGE)] = self.voltage_decivolt;
        self.table[usize::from(reg::PRESENT_TEMPERATURE)] = self.temperature_c;
        self.table[usize::from(reg::STATUS)] = self.alarms();
        self.table[usize::from(reg::MOVING)] = u8::from(joint.velocity.abs() > 5.0);
    }

    /// Where it last measured its joint to be, in ticks.
    pub(super) fn present_position(&self) -> i32 {
        self.signed(reg::PRESENT_POSITION)
    }

    /// Where it says it is, in ticks: within a turn, unless it counts turns.
    fn position(&self, joint: &PlantJoint) -> i32 {
        let position = joint.measured().round() as i32 - self.signed(reg::HOMING_OFFSET);
        let turns = self.byte(reg::PHASE) & reg::PHASE_MULTI_TURN != 0;
        if turns { position } else { position.rem_euclid(4096) }
    }

    /// Moves its joint as the registers say, of which `length` from `address` on were written.
    pub(super) fn act(&mut self, joint: &mut PlantJoint, address: usize, length: usize) {
        let touched = |register: u8| (address..address + length).contains(&register.into());
        let unloaded = self.alarms() & self.byte(reg::UNLOADING) != 0;
        let was_on = joint.torque;
        joint.torque = self.byte(reg::TORQUE) == 1
            && self.byte(reg::MODE) == 0
            && self.word(reg::TORQUE_LIMIT) > 0
            && !unloaded;
        let speed = f64::from(self.signed(reg::GOAL_VELOCITY).abs()) * self.speed_unit();
        joint.max_velocity = within(speed, Self::MAX_VELOCITY);
        let change = f64::from(self.byte(reg::ACCELERATION)) * 100.0;
        joint.max_acceleration = within(change, Self::MAX_ACCELERATION);
        let goal_written = touched(reg::GOAL_POSITION) || touched(reg::GOAL_POSITION + 1);
        if joint.torque && (goal_written || !was_on) {
            let (low, high) = (self.word(reg::MIN_POSITION), self.word(reg::MAX_POSITION));
            let goal = self.signed(reg::GOAL_POSITION);
            let bounded = low < high; // both zero: it may turn without end
            let goal = if bounded { goal.clamp(low.into(), high.into()) } else { goal };
            // It turns the way that the numbers say, never across the end of the turn.
            joint.goal = joint.position + f64::from(goal - self.position(joint));
        }
    }

    /// Ticks per second of a unit of speed.
    fn speed_unit(&self) -> f64 {
        if self.byte(reg::PHASE) & reg::PHASE_STEP_SPEED == 0 { 50.0 } else { 1.0 }
    }

    fn byte(&self, address: u8) -> u8 {
        self.table[usize::from(address)]
    }

    fn word(&self, address: u8) -> u16 {
        word(&self.table, address.into()).unwrap_or_default()
    }

    fn set_word(&mut self, address: u8, word: u16) {
        self.table[usize::from(address)..][..2].copy_from_slice(&word.to_le_bytes());
    }

    fn signed(&self, address: u8) -> i32 {
        decode_signed(self.word(address), reg::sign_bit(address).unwrap_or(15))
    }
}

fn writable(address: usize) -> bool {
    let measured = usize::from(reg::PRESENT_POSITION)..80;
    address >= usize::from(reg::ID) && !measured.contains(&address)
}

/// A limit that a register sets: 0 sets none.
fn within(asked: f64, most: f64) -> f64 {
    if asked == 0.0 { most } else { asked.min(most) }
}
