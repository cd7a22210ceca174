//! One servo: its control table, and what it refuses.

use std::time::Duration;

use crate::codecs::dynamixel::{
    ACCELERATION_UNIT, HardwareError, Model, Register, VELOCITY_UNIT, register,
};
use crate::emulate::PlantJoint;

/// Why an instruction is refused, as the error byte has it.
pub(super) mod error {
    pub(crate) const RESULT: u8 = 1;
    pub(crate) const INSTRUCTION: u8 = 2;
    pub(crate) const RANGE: u8 = 4;
    pub(crate) const LENGTH: u8 = 5;
    pub(crate) const LIMIT: u8 = 6;
    pub(crate) const ACCESS: u8 = 7;
}

/// Bytes of the control table that are emulated: up to the temperature.
const TABLE: usize = 147;
/// Farthest goal in extended position mode.
const FAR: i64 = 1_048_575;
/// Change of velocity without a profile, in ticks per second squared.
const ABRUPT: f64 = 200_000.0;
/// How far from its goal a joint pushes with all it has, in ticks.
const FULL_LOAD_TICKS: f64 = 200.0;

const VELOCITY: i64 = 1;
const POSITION: i64 = 3;
const EXTENDED: i64 = 4;
const CURRENT_POSITION: i64 = 5;

#[derive(Debug)]
pub(super) struct Servo {
    pub(super) id: u8,
    pub(super) model: &'static Model,
    /// When the last instruction came that concerns it.
    pub(super) heard: Duration,
    table: Vec<u8>,
    kept: Option<(u16, Vec<u8>)>,
    /// Torque was switched off by a hardware error, and stays off until a reboot.
    shut_down: bool,
}

impl Servo {
    pub(super) fn new(id: u8, model: &'static Model, baud: u32, joint: &mut PlantJoint) -> Self {
        let mut servo = Self {
            id,
            model,
            heard: Duration::ZERO,
            table: vec![0; TABLE],
            kept: None,
            shut_down: false,
        };
        let small = model.name.starts_with("xl330"); // 5 V, where the others take 12
        let baud = match baud {
            9_600 => 0,
            57_600 => 1,
            115_200 => 2,
            2_000_000 => 4,
            3_000_000 => 5,
            4_000_000 => 6,
            _ => 3,
        };
        for (register, value) in [
            (register::MODEL_NUMBER, i64::from(model.number)),
            (register::FIRMWARE, 46),
            (register::ID, i64::from(id)),
            (register::BAUD_RATE, baud),
            (register::RETURN_DELAY, 250),
            (register::OPERATING_MODE, POSITION),
            (register::SECONDARY_ID, 255),
            (register::PROTOCOL, 2),
            (register::MOVING_THRESHOLD, 10),
            (register::TEMPERATURE_LIMIT, 72),
            (register::MAX_VOLTAGE, if small { 70 } else { 160 }),
            (register::MIN_VOLTAGE, if small { 35 } else { 60 }),
            (register::PWM_LIMIT, 885),
            (register::CURRENT_LIMIT, i64::from(model.current_limit)),
            (register::VELOCITY_LIMIT, i64::from(model.velocity_limit)),
            (register::MAX_POSITION, 4095),
            (register::SHUTDOWN, 52),
            (register::PRESENT_VOLTAGE, if small { 50 } else { 120 }),
            (register::PRESENT_TEMPERATURE, 30),
        ] {
            servo.set(register, value);
        }
        servo.reboot(joint);
        servo
    }

    pub(super) fn get(&self, register: Register) -> i64 {
        register.within(&self.table, 0).unwrap_or(0)
    }

    pub(super) fn set(&mut self, register: Register, value: i64) {
        let at = usize::from(register.address);
        let bytes = value.to_le_bytes();
        for (to, from) in self.table.iter_mut().skip(at).zip(&bytes[..register.width.into()]) {
            *to = *from;
        }
    }

    pub(super) fn return_delay(&self) -> Duration {
        Duration::from_micros(2 * self.get(register::RETURN_DELAY).unsigned_abs())
    }

    /// Whether its firmware knows the fast sync read.
    pub(super) fn fast(&self) -> bool {
        self.get(register::FIRMWARE) >= i64::from(self.model.fast_since)
    }

    /// The bit of the error byte that a latched hardware error sets.
    pub(super) fn alert(&self) -> u8 {
        if self.get(register::HARDWARE_ERROR) == 0 { 0 } else { 0x80 }
    }

    pub(super) fn keep(&mut self, address: u16, data: &[u8]) {
        self.kept = Some((address, data.into()));
        self.set(register::REGISTERED, 1);
    }

    pub(super) fn take_kept(&mut self) -> Option<(u16, Vec<u8>)> {
        self.set(register::REGISTERED, 0);
        self.kept.take()
    }

    /// RAM as after power-on. The encoder knows no more than one turn.
    pub(super) fn reboot(&mut self, joint: &mut PlantJoint) {
        for byte in self.table.iter_mut().take(144).skip(register::EEPROM_END.into()) {
            *byte = 0;
        }
        (self.kept, self.shut_down) = (None, false);
        joint.torque = false;
        joint.position = joint.position.rem_euclid(4096.0);
        joint.goal = joint.position;
        for (register, value) in [
            (register::STATUS_RETURN_LEVEL, 2),
            (register::POSITION_P, 800),
            (register::GOAL_PWM, self.get(register::PWM_LIMIT)),
            (register::GOAL_CURRENT, self.get(register::CURRENT_LIMIT)),
            (register::GOAL_VELOCITY, self.get(register::VELOCITY_LIMIT)),
            (register::GOAL_POSITION, self.present(joint)),
        ] {
            self.set(register, value);
        }
        self.follow(joint);
    }

    /// Latches hardware errors; those in the mask end in a shutdown.
    pub(super) fn fail(&mut self, bits: u8, joint: &mut PlantJoint) {
        self.set(register::HARDWARE_ERROR, self.get(register::HARDWARE_ERROR) | i64::from(bits));
        if self.get(register::SHUTDOWN) & i64::from(bits) != 0 {
            self.set(register::TORQUE_ENABLE, 0);
            (self.shut_down, joint.torque) = (true, false);
        }
    }

    /// Looks at voltage and temperature.
    pub(super) fn protect(&mut self, joint: &mut PlantJoint) {
        let volts = self.get(register::PRESENT_VOLTAGE);
        let allowed = self.get(register::MIN_VOLTAGE)..=self.get(register::MAX_VOLTAGE);
        if !allowed.contains(&volts) {
            self.fail(HardwareError::VOLTAGE, joint);
        }
        if self.get(register::PRESENT_TEMPERATURE) > self.get(register::TEMPERATURE_LIMIT) {
            self.fail(HardwareError::OVERHEATING, joint);
        }
    }

    /// When its watchdog trips unless something comes.
    pub(super) fn watchdog_due(&self) -> Option<Duration> {
        let units = self.get(register::BUS_WATCHDOG);
        let counts = units > 0 && self.get(register::TORQUE_ENABLE) == 1;
        counts.then(|| self.heard + Duration::from_millis(20) * units as u32)
    }

    /// The watchdog trips: the joint brakes as hard as it can, and stays there.
    pub(super) fn trip(&mut self, joint: &mut PlantJoint) {
        self.set(register::BUS_WATCHDOG, -1);
        joint.max_acceleration = ABRUPT;
        let way = joint.velocity * joint.velocity / (2.0 * ABRUPT);
        joint.goal = joint.position + way.copysign(joint.velocity);
    }

    fn tripped(&self) -> bool {
        self.get(register::BUS_WATCHDOG) < 0
    }

    fn present(&self, joint: &PlantJoint) -> i64 {
        joint.measured().round() as i64 + self.get(register::HOMING_OFFSET)
    }

    /// Takes over what the registers say of profile and torque.
    pub(super) fn follow(&self, joint: &mut PlantJoint) {
        let limited = |value: i64, unit: f64, most: f64| {
            if value > 0 { (value as f64 * unit).min(most) } else { most }
        };
        let fastest = self.get(register::VELOCITY_LIMIT) as f64 * VELOCITY_UNIT;
        let velocity = self.get(register::PROFILE_VELOCITY);
        let acceleration = self.get(register::PROFILE_ACCELERATION);
        joint.max_velocity = limited(velocity, VELOCITY_UNIT, fastest);
        joint.max_acceleration = limited(acceleration, ACCELERATION_UNIT, ABRUPT);
        joint.torque = self.get(register::TORQUE_ENABLE) == 1;
    }

    /// Sets off for the goal register. Current and PWM modes keep their goals and move nothing.
    fn set_off(&self, joint: &mut PlantJoint) {
        match self.get(register::OPERATING_MODE) {
            VELOCITY => {
                let velocity = self.get(register::GOAL_VELOCITY) as f64 * VELOCITY_UNIT;
                joint.max_velocity = velocity.abs();
                joint.goal =
                    if velocity == 0.0 { joint.position } else { 1e12_f64.copysign(velocity) };
            }
            POSITION | EXTENDED | CURRENT_POSITION => {
                let goal = self.get(register::GOAL_POSITION) - self.get(register::HOMING_OFFSET);
                joint.goal = goal as f64;
            }
            _ => joint.goal = joint.position,
        }
    }

    /// Brings what is measured up to date.
    fn measure(&mut self, joint: &PlantJoint, now: Duration) {
        let share = |part: i64, most: i64| (part as f64 / most.max(1) as f64).abs().min(1.0);
        let mut load = joint.load(FULL_LOAD_TICKS);
        if self.get(register::OPERATING_MODE) == CURRENT_POSITION {
            let most = self.get(register::CURRENT_LIMIT);
            let share = share(self.get(register::GOAL_CURRENT), most);
            load = load.clamp(-share, share);
        }
        let most = match self.model.current_unit_a {
            Some(_) => f64::from(self.model.current_limit),
            None => 1000.0,
        };
        let moving = joint.velocity.abs() > VELOCITY_UNIT;
        for (register, value) in [
            (register::REALTIME_TICK, (now.as_millis() % 32_768) as i64),
            (register::MOVING, i64::from(moving)),
            (register::PRESENT_PWM, (load * 885.0) as i64),
            (register::PRESENT_CURRENT, (load * most) as i64),
            (register::PRESENT_VELOCITY, (joint.velocity / VELOCITY_UNIT).round() as i64),
            (register::PRESENT_POSITION, self.present(joint)),
        ] {
            self.set(register, value);
        }
    }

    /// Error number and registers; on an error, zeros.
    pub(super) fn read(
        &mut self,
        address: u16,
        length: u16,
        joint: &PlantJoint,
        now: Duration,
    ) -> (u8, Vec<u8>) {
        self.measure(joint, now);
        let (from, length) = (usize::from(address), usize::from(length));
        if length == 0 {
            return (error::LENGTH, Vec::new());
        }
        match self.table.get(from..from + length) {
            Some(registers) => (0, registers.into()),
            None => (error::ACCESS, Vec::new()),
        }
    }

    /// The error number; nothing is written unless it is 0.
    pub(super) fn write(&mut self, address: u16, data: &[u8], joint: &mut PlantJoint) -> u8 {
        let mut at = address;
        let mut rest = data;
        if data.is_empty() {
            return error::LENGTH;
        }
        while !rest.is_empty() {
            let Some(register) = register::ALL.iter().find(|register| register.address == at)
            else {
                let inside =
                    register::ALL.iter().any(|r| (r.address..r.address + r.width).contains(&at));
                return if inside { error::LENGTH } else { error::ACCESS };
            };
            let Some((bytes, next)) = rest.split_at_checked(register.width.into()) else {
                return error::LENGTH;
            };
            let refused =
                register.within(bytes, at).map_or(error::LENGTH, |v| self.refuse(*register, v));
            if refused != 0 {
                return refused;
            }
            (at, rest) = (at + register.width, next);
        }
        let from = usize::from(address);
        let Some(registers) = self.table.get_mut(from..from + data.len()) else {
            return error::ACCESS;
        };
        registers.copy_from_slice(data);
        let touched = |r: Register| (address..at).contains(&r.address);
        let tripped = self.tripped();
        if touched(register::OPERATING_MODE) && self.get(register::OPERATING_MODE) == POSITION {
            joint.position = joint.position.rem_euclid(4096.0);
        }
        if touched(register::ID) {
            self.id = self.get(register::ID) as u8;
        }
        if tripped {
            joint.torque = self.get(register::TORQUE_ENABLE) == 1; // and the brakes stay on
            return 0;
        }
        let starts = touched(register::TORQUE_ENABLE) && !joint.torque;
        self.follow(joint);
        let goal = touched(register::GOAL_POSITION) || touched(register::GOAL_VELOCITY);
        if joint.torque && (starts || goal) {
            self.set_off(joint); // without a new goal this is the old one
        }
        0
    }

    /// Why a value may not be written to a register now; 0 when it may.
    fn refuse(&self, register: Register, value: i64) -> u8 {
        use crate::codecs::dynamixel::register as r;
        let eeprom = register.address < r::EEPROM_END;
        if eeprom && self.get(r::TORQUE_ENABLE) == 1 {
            return error::ACCESS;
        }
        let no_current = self.model.current_unit_a.is_none();
        let own = |limit: Register| self.get(limit);
        let mode = own(r::OPERATING_MODE);
        let goals = [r::GOAL_PWM, r::GOAL_CURRENT, r::GOAL_VELOCITY, r::GOAL_POSITION];
        if self.tripped()
            && (goals.contains(&register) || (register == r::BUS_WATCHDOG && value != 0))
        {
            return error::RANGE;
        }
        let (range, refusal) = match register {
            r::CURRENT_LIMIT | r::GOAL_CURRENT if no_current => return error::ACCESS,
            r::OPERATING_MODE => {
                let known: &[i64] = if no_current { &[1, 3, 4, 16] } else { &[0, 1, 3, 4, 5, 16] };
                return if known.contains(&value) { 0 } else { error::RANGE };
            }
            r::TORQUE_ENABLE if self.shut_down && value == 1 => return error::RESULT,
            r::ID | r::SECONDARY_ID => (0..=255, error::RANGE),
            r::BAUD_RATE => (0..=7, error::RANGE),
            r::RETURN_DELAY => (0..=254, error::RANGE),
            r::DRIVE_MODE => (0..=13, error::RANGE),
            r::HOMING_OFFSET => (-1_044_479..=1_044_479, error::RANGE),
            r::TEMPERATURE_LIMIT => (0..=100, error::RANGE),
            r::MOVING_THRESHOLD => (0..=1023, error::RANGE),
            r::MIN_VOLTAGE | r::MAX_VOLTAGE => (31..=160, error::RANGE),
            r::PWM_LIMIT => (0..=885, error::RANGE),
            r::CURRENT_LIMIT => (0..=i64::from(self.model.current_limit), error::RANGE),
            r::VELOCITY_LIMIT => (0..=2047, error::RANGE),
            r::MIN_POSITION | r::MAX_POSITION => (0..=4095, error::RANGE),
            r::SHUTDOWN => (0..=63, error::RANGE),
            r::TORQUE_ENABLE | r::LED => (0..=1, error::RANGE),
            r::STATUS_RETURN_LEVEL => (0..=2, error::RANGE),
            r::BUS_WATCHDOG => (0..=127, error::RANGE),
            r::GOAL_PWM => (-own(r::PWM_LIMIT)..=own(r::PWM_LIMIT), error::LIMIT),
            r::GOAL_CURRENT => (-own(r::CURRENT_LIMIT)..=own(r::CURRENT_LIMIT), error::LIMIT),
            r::GOAL_VELOCITY => (-own(r::VELOCITY_LIMIT)..=own(r::VELOCITY_LIMIT), error::LIMIT),
            r::PROFILE_ACCELERATION | r::PROFILE_VELOCITY => (0..=32_767, error::RANGE),
            r::GOAL_POSITION if mode == POSITION => {
                (own(r::MIN_POSITION)..=own(r::MAX_POSITION), error::LIMIT)
            }
            r::GOAL_POSITION => (-FAR..=FAR, error::RANGE),
            r::VELOCITY_I
            | r::VELOCITY_P
            | r::POSITION_D
            | r::POSITION_I
            | r::POSITION_P
            | r::FEEDFORWARD_1
            | r::FEEDFORWARD_2 => (0..=16_383, error::RANGE),
            _ => return error::ACCESS,
        };
        if range.contains(&value) { 0 } else { refusal }
    }
}
