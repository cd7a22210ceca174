//! Homing offsets and ranges, as a calibration sets them.

use super::DynamixelMotors;
use crate::codecs::dynamixel::register;
use crate::motors::{Calibrate, HALF_TURN, MotorsError};

/// Ticks of a turn.
const TURN: i64 = 4096;

impl Calibrate for DynamixelMotors {
    fn home(&mut self, joint: usize) -> Result<i32, MotorsError> {
        self.check_joint(joint)?;
        let position = self.read_register(joint, register::PRESENT_POSITION)?;
        let encoder = position - self.read_register(joint, register::HOMING_OFFSET)?;
        // It counts turns until its power fails, and an offset that holds some would be wrong then.
        if !(0..TURN).contains(&encoder) {
            let detail = format!(
                "joint {} has turned past its end since power-on, to {encoder} ticks: switch its \
                 power off and on",
                self.who(joint)
            );
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        let offset = i64::from(HALF_TURN) - encoder;
        self.settle(joint, register::HOMING_OFFSET, offset)?;
        Ok(offset as i32)
    }

    fn set_range(&mut self, joint: usize, min: i32, max: i32) -> Result<(), MotorsError> {
        self.check_joint(joint)?;
        if !(0 <= min && min < max && max < TURN as i32) {
            let detail = format!(
                "joint {} takes a range within 0 to 4095, found {min} to {max}: calibrate it anew",
                self.who(joint)
            );
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        self.settle(joint, register::MIN_POSITION, min.into())?;
        self.settle(joint, register::MAX_POSITION, max.into())
    }
}

impl DynamixelMotors {
    fn check_joint(&self, joint: usize) -> Result<(), MotorsError> {
        if joint < self.joints.len() {
            return Ok(());
        }
        let detail = format!("expected a joint below {}, found {joint}", self.joints.len());
        Err(MotorsError::Refused { detail: detail.into() })
    }

    fn who(&self, joint: usize) -> String {
        let found = self.joints.get(joint);
        found.map_or_else(String::new, |joint| format!("{} (id {})", joint.name, joint.id))
    }
}
