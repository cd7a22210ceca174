//! What is looked at, and put right, when servos are connected to.

use std::time::Instant;

use super::{Exchange, FeetechMotors, PATIENCE, State, TRIES};
use crate::codecs::feetech::{self, decode_signed, encode_signed, register as reg, word};
use crate::motors::{Identity, MotorsError};

/// Bytes of the part of the table that outlives a power failure.
const EEPROM: usize = reg::RAM as usize;

/// Ticks beyond its limits at which a joint may be that rests against its end: under two degrees.
const SLACK: u32 = 20;

impl FeetechMotors {
    pub(super) fn set_up(&mut self) -> Result<Vec<Identity>, MotorsError> {
        self.find_echo()?;
        let mut identities = Vec::with_capacity(self.joints.len());
        for joint in 0..self.joints.len() {
            // Not a ping: the echo of one looks like an answer to it.
            self.read(joint, reg::ID, 1)?;
            self.check_alarms()?;
            let table = self.read(joint, 0, EEPROM)?;
            let identity = self.check(joint, &table)?;
            self.check_firmware(joint, &identity, &identities)?;
            self.correct(joint, &table)?;
            identities.push(identity);
        }
        Ok(identities)
    }

    /// The first joint that says anything shows whether the adapter repeats what we say.
    fn find_echo(&mut self) -> Result<(), MotorsError> {
        let id = self.joints.first().map_or(1, |joint| joint.id);
        self.line()?.find_echo(|out| feetech::read(out, id, reg::MODEL, 2), PATIENCE)
    }

    /// Registers of one joint, asked for until they come.
    pub(super) fn read(
        &mut self,
        joint: usize,
        address: u8,
        length: usize,
    ) -> Result<Vec<u8>, MotorsError> {
        let began = Instant::now();
        let mut rest = super::Rest::default();
        for _ in 0..TRIES {
            self.await_answers(Some(joint));
            let end = Instant::now() + 2 * PATIENCE;
            rest = self.ask(address, length, PATIENCE, end)?;
            if let Some(slot) = self.slots.get(joint)
                && slot.state == State::Answered
            {
                return Ok(slot.data().to_vec());
            }
        }
        Err(self.missing(rest, began.elapsed()))
    }

    /// Whether what answers is what the description and the calibration say.
    fn check(&mut self, joint: usize, table: &[u8]) -> Result<Identity, MotorsError> {
        let Some(described) = self.joints.get(joint) else { return Ok(nobody()) };
        let byte = |address: u8| table.get(usize::from(address)).copied().unwrap_or_default();
        let word = |address: u8| word(table, address.into()).unwrap_or_default();
        let model = described.model.clone();
        let Some(number) = reg::model_number(&model) else {
            let name = &described.name;
            let detail =
                format!("joint {name}: model {model} is none of sts3215, sts3250 and sm8512bl");
            return Err(MotorsError::Refused { detail: detail.into() });
        };
        let offset = decode_signed(word(reg::HOMING_OFFSET), 11);
        let (min, max) = (word(reg::MIN_POSITION), word(reg::MAX_POSITION));
        let differs = |field, expected: i32, found: i32| {
            let (joint, id) = self.who(joint);
            let (expected, found) = (expected.to_string(), found.to_string());
            Err(MotorsError::Identity { joint, id, field, expected, found })
        };
        let found = word(reg::MODEL);
        if found != number {
            return differs("model number", number.into(), found.into());
        }
        if let Some(calibrated) = self.calibration.as_ref().and_then(|all| all.get(joint)) {
            for (field, expected, found) in [
                ("homing offset", calibrated.homing_offset, offset),
                ("smallest position", calibrated.range_min, min.into()),
                ("largest position", calibrated.range_max, max.into()),
            ] {
                if expected != found {
                    return differs(field, expected, found);
                }
            }
        }
        let steps = byte(reg::PHASE) & reg::PHASE_STEP_SPEED != 0;
        super::put(&mut self.speed_unit, joint, if steps { 1 } else { 50 });
        super::put(&mut self.limits, joint, (min, max));
        let firmware = format!("{}.{}", byte(reg::FIRMWARE), byte(reg::FIRMWARE + 1));
        Ok(Identity { model, firmware })
    }

    fn check_firmware(
        &self,
        joint: usize,
        identity: &Identity,
        others: &[Identity],
    ) -> Result<(), MotorsError> {
        let Some(first) = others.first() else { return Ok(()) };
        if first.firmware == identity.firmware {
            return Ok(());
        }
        let (joint, id) = self.who(joint);
        let (expected, found) = (first.firmware.clone(), identity.firmware.clone());
        Err(MotorsError::Identity { joint, id, field: "firmware", expected, found })
    }

    /// Writes those registers of the EEPROM that are not as they should be: it wears out.
    fn correct(&mut self, joint: usize, table: &[u8]) -> Result<(), MotorsError> {
        let byte = |address: u8| table.get(usize::from(address)).copied().unwrap_or_default();
        let single_turn = byte(reg::PHASE) & !reg::PHASE_MULTI_TURN;
        let wrong: Vec<_> = [
            (reg::RETURN_DELAY, 0),
            (reg::RESPONSE_LEVEL, 1),
            (reg::PHASE, single_turn),
            (reg::P, 16),
            (reg::I, 0),
            (reg::D, 32),
            (reg::MODE, 0),
        ]
        .into_iter()
        .filter(|(address, right)| byte(*address) != *right)
        .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        if self.read(joint, reg::TORQUE, 1)? != [0] {
            let (joint, id) = self.who(joint);
            let detail = format!(
                "joint {joint} (id {id}) has to be set up, but its torque is on: hold the arm and \
                 switch its power off and on"
            );
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        self.write(joint, reg::LOCK, &[0])?;
        let written =
            wrong.iter().try_for_each(|&(address, right)| self.write(joint, address, &[right]));
        // Whatever happened, it must not stay open.
        self.write(joint, reg::LOCK, &[1]).and(written)
    }

    /// Writes registers and reads them back, since not every servo confirms.
    pub(super) fn write(
        &mut self,
        joint: usize,
        address: u8,
        bytes: &[u8],
    ) -> Result<(), MotorsError> {
        let (name, id) = self.who(joint);
        let mut found = Vec::new();
        for _ in 0..TRIES {
            self.await_answers(Some(joint));
            let Self { line, slots, .. } = self;
            let line: &mut Exchange = Self::open(line)?;
            let build = |out: &mut Vec<u8>| feetech::write(out, id, address, bytes);
            line.ask(build, slots, 0, PATIENCE / 4, Instant::now() + PATIENCE)?;
            found = self.read(joint, address, bytes.len())?;
            if found == bytes {
                return Ok(());
            }
        }
        let detail = match (found.as_slice(), bytes) {
            ([found], [value]) => format!("register {address} stays {found}, expected {value}"),
            _ => format!("registers from {address} on stay {found:?}, expected {bytes:?}"),
        };
        Err(MotorsError::Damaged { joint: name, id, detail: detail.into() })
    }

    /// The goal that means staying where a joint is, if it may stay there.
    pub(super) fn goal_here(&self, joint: usize, position: i32) -> Result<u16, MotorsError> {
        let (min, max) = self.limits.get(joint).copied().unwrap_or((0, 4095));
        let bounded = min < max;
        let (low, high) = (i32::from(min), i32::from(max));
        let goal = if bounded { position.clamp(low, high) } else { position };
        match encode_signed(goal, 15) {
            Some(word) if goal.abs_diff(position) <= SLACK => Ok(word),
            _ => {
                let (name, _) = self.who(joint);
                let detail = format!(
                    "joint {name} is at {position}, outside of its limits {min} to {max}, and would \
                     jump: move it inside by hand"
                );
                Err(MotorsError::Refused { detail: detail.into() })
            }
        }
    }
}

fn nobody() -> Identity {
    Identity { model: String::new(), firmware: String::new() }
}
