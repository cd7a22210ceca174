//! Torque on without a jump, and off.

use std::time::Instant;

use super::{BLOCK, Caps, FeetechMotors, HEADROOM, PATIENCE, TRIES, ticks};
use crate::codecs::feetech::{self, decode_signed, register as reg, word};
use crate::motors::MotorsError;

/// Bytes from acceleration to torque limit.
const CAPS: usize = (reg::TORQUE_LIMIT + 2 - reg::ACCELERATION) as usize;

impl FeetechMotors {
    /// Every goal is where the joint is, with the caps of the description, before any torque.
    pub(super) fn torque_on(&mut self) -> Result<(), MotorsError> {
        self.read_all(reg::PRESENT_POSITION, BLOCK)?;
        self.check_alarms()?;
        let mut rows = Vec::with_capacity(self.joints.len());
        for joint in 0..self.joints.len() {
            let caps = self.wanted(joint);
            let data = self.slots.get(joint).map(super::Slot::data).unwrap_or_default();
            let position = decode_signed(word(data, 0).unwrap_or_default(), 15);
            let goal = self.goal_here(joint, position)?.to_le_bytes();
            let (velocity, torque) = (caps.velocity.to_le_bytes(), caps.torque.to_le_bytes());
            let row: [u8; CAPS] = [
                caps.acceleration,
                goal[0],
                goal[1],
                0,
                0,
                velocity[0],
                velocity[1],
                torque[0],
                torque[1],
            ];
            super::put(&mut self.caps, joint, caps);
            rows.push(row);
        }
        self.write_all(reg::ACCELERATION, &rows)?;
        self.write_all(reg::TORQUE, &vec![[1]; self.joints.len()])?;
        (self.torque, self.restarted) = (true, None);
        Ok(())
    }

    pub(super) fn torque_off(&mut self) -> Result<(), MotorsError> {
        self.write_all(reg::TORQUE, &vec![[0]; self.joints.len()])?;
        self.torque = false;
        Ok(())
    }

    /// Registers of all joints into their slots, asked for until they come.
    fn read_all(&mut self, address: u8, length: usize) -> Result<(), MotorsError> {
        let began = Instant::now();
        self.await_answers(None);
        let mut rest = super::Rest::default();
        for _ in 0..TRIES {
            self.await_again();
            rest = self.ask(address, length, PATIENCE, Instant::now() + 2 * PATIENCE)?;
            if !self.line()?.late {
                return Ok(());
            }
        }
        Err(self.missing(rest, began.elapsed()))
    }

    /// Writes a row to each joint and reads it back: nobody confirms a sync write.
    fn write_all<const N: usize>(
        &mut self,
        address: u8,
        rows: &[[u8; N]],
    ) -> Result<(), MotorsError> {
        let mut wrong = 0;
        for _ in 0..TRIES {
            let Self { line, joints, .. } = self;
            let each = joints.iter().zip(rows).map(|(joint, row)| (joint.id, row));
            let build = |out: &mut Vec<u8>| feetech::sync_write(out, address, N as u8, each);
            Self::open(line)?.tell(build, PATIENCE)?;
            self.read_all(address, N)?;
            let differs = |(slot, row): (&super::Slot, &[u8; N])| slot.data() != row;
            match self.slots.iter().zip(rows).position(differs) {
                None => return Ok(()),
                Some(joint) => wrong = joint,
            }
        }
        let (joint, id) = self.who(wrong);
        let data = self.slots.get(wrong).map(super::Slot::data).unwrap_or_default();
        let expected = rows.get(wrong).map(<[u8; N]>::as_slice).unwrap_or_default();
        let detail = format!("registers from {address} on stay {data:?}, expected {expected:?}");
        Err(MotorsError::Damaged { joint, id, detail: detail.into() })
    }

    /// The caps of the description, in the servo's units.
    fn wanted(&self, joint: usize) -> Caps {
        let Some(described) = self.joints.get(joint) else {
            return Caps { acceleration: 0, velocity: 0, torque: 0 };
        };
        let unit = f64::from(self.speed_unit.get(joint).copied().unwrap_or(1));
        let velocity = (ticks(described.max_velocity) * HEADROOM / unit).ceil();
        let acceleration = (ticks(described.max_acceleration) * HEADROOM / 100.0).ceil();
        Caps {
            // 0 would mean no cap at all.
            acceleration: acceleration.clamp(1.0, 254.0) as u8,
            velocity: velocity.clamp(1.0, 32_766.0) as u16,
            torque: (described.torque_limit * 1000.0).round().clamp(1.0, 1000.0) as u16,
        }
    }
}
