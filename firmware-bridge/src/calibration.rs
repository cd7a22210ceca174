//! LeRobot's calibration files: where each joint's range lies in ticks.
//!
//! [`JointCalibration::scale`] and [`JointCalibration::radians`] are the straight lines that the
//! bridge works with. [`JointCalibration::encode`] and [`JointCalibration::decode`] are what
//! LeRobot itself computes, to the last bit: it bounds percentages to the range, and where a line
//! rounds to the nearest tick it cuts off towards zero, up to one tick apart. Its degrees are 360
//! to 4095 ticks, one less than a turn has, and know nothing of `drive_mode`.

mod file;
#[cfg(test)]
mod tests;

use std::f64::consts::TAU;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::description::{ArmDescription, JointDescription};
use crate::units::{Scale, Unit};

/// Ticks of a turn, as the servos count.
const TICKS_PER_TURN: f64 = 4096.0;

/// Ticks of 360 degrees, as LeRobot counts.
const LEROBOT_TICKS: f64 = 4095.0;

/// More than any servo counts, over all its turns.
const MAX_TICKS: i32 = 1 << 21;

/// One joint of a calibration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointCalibration {
    /// Its id on the bus.
    pub id: u8,
    /// Whether it turns the other way: not 0.
    pub drive_mode: i32,
    /// Ticks that the servo takes off its own position.
    pub homing_offset: i32,
    /// One end of its range, in ticks.
    pub range_min: i32,
    /// The other, which is larger.
    pub range_max: i32,
}

/// A calibration file: the joints in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calibration {
    /// Each with its name.
    pub joints: Vec<(String, JointCalibration)>,
}

/// Why a calibration is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// It cannot be read.
    #[error("cannot read the calibration (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the calibration (path: {path:?})")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no JSON of this kind.
    #[error("the calibration is malformed (path: {path:?})")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        #[source]
        source: serde_json::Error,
    },
    /// A value makes no sense.
    #[error("calibration of joint {joint}: {detail}")]
    Value {
        /// The joint.
        joint: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// It is not of this arm.
    #[error("the calibration has no joint {joint} (id {id}): it has {found}")]
    Missing {
        /// The arm's joint.
        joint: String,
        /// Its id.
        id: u8,
        /// The joints that there are.
        found: String,
    },
}

impl Calibration {
    /// The calibration of each joint of `arm`, in the arm's order.
    ///
    /// # Errors
    ///
    /// When one is missing or has another id.
    pub fn of(&self, arm: &ArmDescription) -> Result<Vec<JointCalibration>, CalibrationError> {
        let joints = arm.joints.iter().map(|joint| {
            let Some((_, found)) = self.joints.iter().find(|(name, _)| *name == joint.name) else {
                let names: Vec<_> = self.joints.iter().map(|(name, _)| name.as_str()).collect();
                let (joint, id, found) = (joint.name.clone(), joint.id, names.join(", "));
                return Err(CalibrationError::Missing { joint, id, found });
            };
            if found.id != joint.id {
                let detail = format!("its id is {}, expected {}", found.id, joint.id);
                return Err(CalibrationError::Value { joint: joint.name.clone(), detail });
            }
            Ok(*found)
        });
        joints.collect()
    }

    fn check(&self) -> Result<(), CalibrationError> {
        for (i, (name, joint)) in self.joints.iter().enumerate() {
            let wrong = |detail| CalibrationError::Value { joint: name.clone(), detail };
            if joint.range_min >= joint.range_max {
                let (min, max) = (joint.range_min, joint.range_max);
                return Err(wrong(format!("{min} to {max} is no range: calibrate it anew")));
            }
            for ticks in [joint.homing_offset, joint.range_min, joint.range_max] {
                if !(-MAX_TICKS..=MAX_TICKS).contains(&ticks) {
                    return Err(wrong(format!("{ticks} ticks are more than any servo has")));
                }
            }
            let twice = |(other, earlier): &&(String, JointCalibration)| {
                other == name || earlier.id == joint.id
            };
            if let Some((other, _)) = self.joints.iter().take(i).find(twice) {
                let id = joint.id;
                return Err(wrong(format!("joint {other} has the same name or id (id {id})")));
            }
        }
        Ok(())
    }
}

impl JointCalibration {
    /// Ticks to radians. Zero is the middle of the range unless the description says where it is;
    /// a gripper has its largest angle where it is closed, at the end of the range that
    /// `inverted` and `drive_mode` make the last.
    pub fn radians(&self, joint: &JointDescription) -> Scale {
        let inverted = self.inverted(joint);
        if let Some(zero) = joint.zero_ticks {
            return Scale::radians(TICKS_PER_TURN, zero, inverted);
        }
        let per_tick = TAU / TICKS_PER_TURN;
        let span = self.width() * per_tick;
        let (first, last) = if joint.unit == Unit::Gripper {
            (joint.max_rad - span, joint.max_rad)
        } else {
            (-span / 2.0, span / 2.0)
        };
        self.over_range(first, last, inverted)
    }

    /// Ticks to what the policy's numbers mean.
    pub fn scale(&self, joint: &JointDescription) -> Scale {
        let inverted = self.drive_mode != 0;
        match joint.unit {
            Unit::Rad => self.radians(joint),
            Unit::LerobotDeg => {
                let half = self.width() * 180.0 / LEROBOT_TICKS;
                self.over_range(-half, half, false)
            }
            Unit::LerobotM100 => self.over_range(-100.0, 100.0, inverted),
            Unit::Lerobot0To100 => self.over_range(0.0, 100.0, inverted),
            Unit::Gripper => self.over_range(0.0, 1.0, self.inverted(joint)),
            Unit::Raw => Scale::through((0, 0.0), (1, 1.0)),
        }
    }

    /// What LeRobot makes of ticks. `None` for a unit that it does not have.
    pub fn decode(&self, unit: Unit, ticks: i32) -> Option<f64> {
        let (min, max) = (f64::from(self.range_min), f64::from(self.range_max));
        let part = (f64::from(ticks).max(min).min(max) - min) / (max - min);
        let inverted = self.drive_mode != 0;
        Some(match unit {
            Unit::LerobotDeg => {
                (f64::from(ticks) - f64::midpoint(min, max)) * 360.0 / LEROBOT_TICKS
            }
            Unit::LerobotM100 => {
                let value = part * 200.0 - 100.0;
                if inverted { -value } else { value }
            }
            Unit::Lerobot0To100 => {
                let value = part * 100.0;
                if inverted { 100.0 - value } else { value }
            }
            Unit::Raw => f64::from(ticks),
            Unit::Rad | Unit::Gripper => return None,
        })
    }

    /// The ticks that LeRobot makes of a value, cut off towards zero. `None` for a unit that it
    /// does not have, and for a value that is not finite or no 32-bit number of ticks.
    pub fn encode(&self, unit: Unit, value: f64) -> Option<i32> {
        if !value.is_finite() {
            return None;
        }
        let (min, max) = (f64::from(self.range_min), f64::from(self.range_max));
        let inverted = self.drive_mode != 0;
        let ticks = match unit {
            Unit::LerobotDeg => value * LEROBOT_TICKS / 360.0 + f64::midpoint(min, max),
            Unit::LerobotM100 => {
                let value = if inverted { -value } else { value };
                (value.clamp(-100.0, 100.0) + 100.0) / 200.0 * (max - min) + min
            }
            Unit::Lerobot0To100 => {
                let value = if inverted { 100.0 - value } else { value };
                value.clamp(0.0, 100.0) / 100.0 * (max - min) + min
            }
            Unit::Raw => value,
            Unit::Rad | Unit::Gripper => return None,
        };
        (ticks.abs() < f64::from(i32::MAX)).then_some(ticks as i32)
    }

    fn width(&self) -> f64 {
        f64::from(self.range_max) - f64::from(self.range_min)
    }

    fn inverted(&self, joint: &JointDescription) -> bool {
        joint.inverted != (self.drive_mode != 0)
    }

    /// The line from `first` at one end of the range to `last` at the other; the wrong way round
    /// when inverted. A range without width, which no file can have, counts as one tick.
    fn over_range(&self, first: f64, last: f64, inverted: bool) -> Scale {
        let (first, last) = if inverted { (last, first) } else { (first, last) };
        let max = self.range_max.max(self.range_min.saturating_add(1));
        Scale::through((self.range_min, first), (max, last))
    }
}
