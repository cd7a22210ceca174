//! What is done once: who is there, and torque on and off.

use std::time::Duration;

use super::{Answer, Calibrated, DynamixelMotors, Joint};
use crate::codecs::dynamixel::{ACCELERATION_UNIT, Model, TICKS_PER_TURN, VELOCITY_UNIT, register};
use crate::description::JointDescription;
use crate::motors::{Identity, MotorsError};
use crate::units::Unit;

/// Extended position, in which the servo's own limits count for nothing.
const EXTENDED: i64 = 4;
/// Position with a bound on current, for a hand that holds something.
const CURRENT_POSITION: i64 = 5;
/// The longest that a servo from the factory waits before it answers.
const FACTORY_DELAY: Duration = Duration::from_micros(508);
/// Most that a profile register takes.
const MAX_PROFILE: f64 = 32_767.0;

impl Joint {
    pub(super) fn new(
        description: &JointDescription,
        calibrated: Option<Calibrated>,
    ) -> Result<Self, MotorsError> {
        let Some(model) = Model::named(&description.model) else {
            let known: Vec<_> = Model::ALL.iter().map(|model| model.name).collect();
            return Err(MotorsError::Identity {
                joint: description.name.as_str().into(),
                id: description.id,
                field: "model in the description",
                expected: format!("one of {}", known.join(", ")),
                found: description.model.clone(),
            });
        };
        let hand = description.unit == Unit::Gripper && model.current_unit_a.is_some();
        let ticks = TICKS_PER_TURN / std::f64::consts::TAU;
        let units =
            |rad: f64, unit: f64| (rad * ticks / unit).ceil().clamp(1.0, MAX_PROFILE) as i64;
        Ok(Self {
            name: description.name.as_str().into(),
            id: description.id,
            model,
            calibrated,
            mode: if hand { CURRENT_POSITION } else { EXTENDED },
            profile_velocity: units(description.max_velocity, VELOCITY_UNIT),
            profile_acceleration: units(description.max_acceleration, ACCELERATION_UNIT),
            torque_limit: description.torque_limit,
            full_load: model.current_unit_a.map_or(1000, |_| i64::from(model.current_limit)),
            fast: false,
            return_delay: FACTORY_DELAY,
            configured: false,
            lost: false,
            answer: Answer::Missing,
            error: 0,
            found: Default::default(),
        })
    }
}

impl DynamixelMotors {
    pub(super) fn identify_joint(&mut self, at: usize) -> Result<Identity, MotorsError> {
        self.ping(at)?;
        let &[low, high, firmware] = self.block.as_slice() else {
            return Err(self.differs(at, "answer to a ping", &"3 bytes", &self.block.len()));
        };
        let expected = self.joints[at].model;
        let number = u16::from_le_bytes([low, high]);
        if number != expected.number {
            let name = Model::numbered(number).map_or("unknown", |model| model.name);
            let [expected, found] = [(expected.name, expected.number), (name, number)]
                .map(|(name, number)| format!("{name} ({number})"));
            return Err(self.differs(at, "model", &expected, &found));
        }
        self.joints[at].fast = firmware >= expected.fast_since;
        let hardware = self.read_register(at, register::HARDWARE_ERROR)?;
        if hardware != 0 {
            return Err(self.joints[at].alarm(hardware as u8));
        }
        self.ensure(at, register::STATUS_RETURN_LEVEL, 2)?;
        let drive = self.read_register(at, register::DRIVE_MODE)?;
        // Inverted is a matter of ticks; profiles in time bound no velocity, and torque that goes
        // on with a goal is not asked for.
        if drive & 0b1100 != 0 {
            let expected = "0 or 1, which has profiles in velocity and torque on request";
            return Err(self.differs(at, "drive mode", &expected, &drive));
        }
        if let Some(calibrated) = self.joints[at].calibrated {
            for (register, expected) in [
                (register::HOMING_OFFSET, calibrated.homing_offset),
                (register::MIN_POSITION, calibrated.range_min),
                (register::MAX_POSITION, calibrated.range_max),
            ] {
                let found = self.read_register(at, register)?;
                if found != i64::from(expected) {
                    let expected = format!("{expected} by the calibration: calibrate anew");
                    return Err(self.differs(at, register.name, &expected, &found));
                }
            }
        }
        self.settle(at, register::RETURN_DELAY, 0)?;
        self.joints[at].return_delay = Duration::ZERO;
        self.settle(at, register::OPERATING_MODE, self.joints[at].mode)?;
        Ok(Identity { model: expected.name.into(), firmware: firmware.to_string() })
    }

    /// As `ensure` for a register that wears out and is closed while torque is on.
    pub(super) fn settle(
        &mut self,
        at: usize,
        register: crate::codecs::dynamixel::Register,
        value: i64,
    ) -> Result<(), MotorsError> {
        let found = self.read_register(at, register)?;
        if found != value && self.read_register(at, register::TORQUE_ENABLE)? == 1 {
            let expected =
                format!("{value}, which cannot be set while torque is on: switch it off");
            return Err(self.differs(at, register.name, &expected, &found));
        }
        self.ensure(at, register, value)
    }

    pub(super) fn torque_on(&mut self) -> Result<(), MotorsError> {
        self.torque = false;
        for at in 0..self.joints.len() {
            let hardware = self.read_register(at, register::HARDWARE_ERROR)?;
            if hardware != 0 {
                return Err(self.joints[at].alarm(hardware as u8));
            }
            // This, too, is how goals become writable again after a watchdog has tripped.
            self.write(at, register::BUS_WATCHDOG, 0)?;
        }
        for at in 0..self.joints.len() {
            let joint = &self.joints[at];
            let (limit, mode) = (joint.torque_limit, joint.mode);
            let profile = (joint.profile_velocity, joint.profile_acceleration);
            self.ensure(at, register::PROFILE_VELOCITY, profile.0)?;
            self.ensure(at, register::PROFILE_ACCELERATION, profile.1)?;
            let pwm = self.read_register(at, register::PWM_LIMIT)?;
            self.ensure(at, register::GOAL_PWM, (pwm as f64 * limit) as i64)?;
            if mode == CURRENT_POSITION {
                let current = self.read_register(at, register::CURRENT_LIMIT)?;
                self.ensure(at, register::GOAL_CURRENT, (current as f64 * limit) as i64)?;
            }
            // A servo goes to the goal of last time when torque goes on: here is where it is.
            let present = self.read_register(at, register::PRESENT_POSITION)?;
            self.ensure(at, register::GOAL_POSITION, present)?;
            self.ensure(at, register::TORQUE_ENABLE, 1)?;
            (self.joints[at].configured, self.joints[at].lost) = (true, false);
        }
        let units = (self.options.watchdog.as_millis() / 20).clamp(1, 127) as i64;
        for at in 0..self.joints.len() {
            self.ensure(at, register::BUS_WATCHDOG, units)?;
        }
        self.torque = true;
        Ok(())
    }

    /// Switches off what can be reached; the first that did not confirm is the error.
    pub(super) fn torque_off(&mut self) -> Result<(), MotorsError> {
        self.torque = false;
        let mut result = Ok(());
        for at in 0..self.joints.len() {
            let off = self
                .write(at, register::BUS_WATCHDOG, 0)
                .and_then(|()| self.ensure(at, register::TORQUE_ENABLE, 0));
            if off.is_ok() {
                self.joints[at].lost = false;
            }
            result = result.and(off);
        }
        result
    }
}
