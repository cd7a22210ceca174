//! Homing offsets and ranges, as a calibration sets them.

use super::FeetechMotors;
use crate::codecs::feetech::{decode_signed, encode_signed, register as reg, word};
use crate::motors::{Calibrate, HALF_TURN, MotorsError};

/// The farthest offset that eleven bits hold.
const FARTHEST: i32 = 2047;
/// Ticks of a turn.
const TURN: i32 = 4096;

impl Calibrate for FeetechMotors {
    fn home(&mut self, joint: usize) -> Result<i32, MotorsError> {
        self.check_joint(joint)?;
        let old = self.read_word(joint, reg::HOMING_OFFSET)?;
        let position = decode_signed(self.read_word(joint, reg::PRESENT_POSITION)?, 15);
        let encoder = (position + decode_signed(old, 11)).rem_euclid(TURN);
        let offset = (encoder - HALF_TURN).clamp(-FARTHEST, FARTHEST);
        let word = encode_signed(offset, 11).unwrap_or_default(); // within eleven bits
        self.keep(joint, reg::HOMING_OFFSET, &word.to_le_bytes())?;
        Ok(offset)
    }

    fn set_range(&mut self, joint: usize, min: i32, max: i32) -> Result<(), MotorsError> {
        self.check_joint(joint)?;
        let words = [min, max].map(|ticks| u16::try_from(ticks).ok().filter(|&t| t < 4096));
        let [Some(low), Some(high)] = words else {
            return Err(self.no_range(joint, min, max));
        };
        if low >= high {
            return Err(self.no_range(joint, min, max));
        }
        let ([a, b], [c, d]) = (low.to_le_bytes(), high.to_le_bytes());
        self.keep(joint, reg::MIN_POSITION, &[a, b, c, d])?;
        super::put(&mut self.limits, joint, (low, high));
        Ok(())
    }
}

impl FeetechMotors {
    fn check_joint(&self, joint: usize) -> Result<(), MotorsError> {
        if joint < self.joints.len() {
            return Ok(());
        }
        let detail = format!("there is no joint {joint}, there are {}", self.joints.len());
        Err(MotorsError::Refused { detail: detail.into() })
    }

    fn no_range(&self, joint: usize, min: i32, max: i32) -> MotorsError {
        let (name, id) = self.who(joint);
        let detail = format!(
            "joint {name} (id {id}) takes a range within 0 to 4095, found {min} to {max}: \
             calibrate it anew"
        );
        MotorsError::Refused { detail: detail.into() }
    }

    fn read_word(&mut self, joint: usize, address: u8) -> Result<u16, MotorsError> {
        let bytes = self.read(joint, address, 2)?;
        Ok(word(&bytes, 0).unwrap_or_default())
    }

    /// Writes registers of the EEPROM unless they are so already.
    fn keep(&mut self, joint: usize, address: u8, bytes: &[u8]) -> Result<(), MotorsError> {
        if self.read(joint, address, bytes.len())? == bytes {
            return Ok(());
        }
        if self.read(joint, reg::TORQUE, 1)? != [0] {
            let (name, id) = self.who(joint);
            let detail = format!(
                "joint {name} (id {id}) is to be calibrated, but its torque is on: switch it off"
            );
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        self.write(joint, reg::LOCK, &[0])?;
        let written = self.write(joint, address, bytes);
        // Whatever happened, it must not stay open.
        self.write(joint, reg::LOCK, &[1]).and(written)
    }
}
