//! A bus of Dynamixel X servos, from their side.
//!
//! Each servo has the control table of its model, refuses what a real one refuses, and stops by
//! itself when its bus watchdog trips. Two points on which servos of different firmware are told
//! to differ are taken the harsher way: a watchdog counts only instructions that concern its own
//! servo, and behind a silent servo nobody answers a sync read.

mod servo;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Device, Faults, Plant, PlantJoint, Reply};
use crate::codecs::dynamixel::{
    self as codec, BROADCAST, Decoder, Model, Packet, Register, STATUS_BYTES, instruction, register,
};
use crate::description::{ArmDescription, DescriptionError};
use servo::{Servo, error};

/// A write to registers, as a servo saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// When, since the emulator's start.
    pub at: Duration,
    /// Whose registers.
    pub id: u8,
    /// The first of them.
    pub address: u16,
    /// What was written.
    pub data: Vec<u8>,
    /// Why it was refused; 0 when it was not.
    pub error: u8,
}

/// Servos on one bus.
#[derive(Debug)]
pub struct Bus {
    servos: Vec<Servo>,
    plant: Plant,
    decoder: Decoder,
    written: Vec<Written>,
    reboots: usize,
    now: Duration,
}

impl Bus {
    /// The servos of an arm, in the middle of their turn, torque off, as the factory has them but
    /// for id and baud rate.
    ///
    /// # Errors
    ///
    /// When a joint's model is not known.
    pub fn new(arm: &ArmDescription) -> Result<Self, DescriptionError> {
        let known = |name: &str, joint: &str| {
            Model::named(name).ok_or_else(|| {
                let known: Vec<_> = Model::ALL.iter().map(|model| model.name).collect();
                DescriptionError::Value {
                    arm: arm.name.clone(),
                    place: format!("joint {joint}"),
                    detail: format!("expected a model of {}, found {name}", known.join(", ")),
                }
            })
        };
        let mut joints = Vec::with_capacity(arm.joints.len());
        let mut servos = Vec::with_capacity(arm.joints.len());
        for joint in &arm.joints {
            let mut plant = PlantJoint::new(2048.0, 1.0, 1.0);
            let model = known(&joint.model, &joint.name)?;
            servos.push(Servo::new(joint.id, model, arm.baud.unwrap_or(1_000_000), &mut plant));
            joints.push(plant);
        }
        let plant = Plant::new(joints);
        let (decoder, written) = (Decoder::default(), Vec::new());
        Ok(Self { servos, plant, decoder, written, reboots: 0, now: Duration::ZERO })
    }

    /// What a servo has in a register; present values are those of the last read or write.
    pub fn register(&self, id: u8, register: Register) -> Option<i64> {
        self.servos.iter().find(|servo| servo.id == id).map(|servo| servo.get(register))
    }

    /// Puts a value into a register without asking whether it may be there: firmware, voltage,
    /// temperature, a calibration of before. Values that do not fit are cut off.
    pub fn set_register(&mut self, id: u8, register: Register, value: i64) {
        if let Some((servo, joint)) = self.servo(id) {
            servo.set(register, value);
            servo.follow(joint);
        }
    }

    /// Latches hardware errors of a servo, as [`HardwareError`](codec::HardwareError) has them.
    /// Those in its shutdown mask switch torque off.
    pub fn hardware_error(&mut self, id: u8, bits: u8) {
        if let Some((servo, joint)) = self.servo(id) {
            servo.fail(bits, joint);
        }
    }

    /// Takes the power of a servo away for a moment: what was in RAM is lost, and so is how often
    /// it had turned.
    pub fn restart(&mut self, id: u8) {
        if let Some((servo, joint)) = self.servo(id) {
            servo.reboot(joint);
        }
    }

    /// Every write that reached a servo, refused or not, in order.
    pub fn written(&self) -> &[Written] {
        &self.written
    }

    /// Forgets them.
    pub fn forget_written(&mut self) {
        self.written.clear();
    }

    /// How often a servo was told to reboot.
    pub fn reboots(&self) -> usize {
        self.reboots
    }

    fn servo(&mut self, id: u8) -> Option<(&mut Servo, &mut PlantJoint)> {
        self.servos.iter_mut().zip(&mut self.plant.joints).find(|(servo, _)| servo.id == id)
    }

    fn write(&mut self, id: u8, address: u16, data: &[u8]) -> u8 {
        let now = self.now;
        let Some((servo, joint)) = self.servo(id) else { return 0 };
        let error = servo.write(address, data, joint);
        servo.heard = now;
        self.written.push(Written { at: now, id, address, data: data.into(), error });
        error
    }

    /// What a servo answers to a read, and its error byte.
    fn read(&mut self, id: u8, address: u16, length: u16) -> Option<(u8, Vec<u8>)> {
        let now = self.now;
        let (servo, joint) = self.servo(id)?;
        servo.heard = now;
        if servo.get(register::STATUS_RETURN_LEVEL) < 1 {
            return None;
        }
        let (error, data) = servo.read(address, length, joint, now);
        Some((servo.alert() | error, data))
    }

    fn answer(&self, id: u8, error: u8, data: &[u8], faults: &Faults, replies: &mut Vec<Reply>) {
        let Some(servo) = self.servos.iter().find(|servo| servo.id == id) else { return };
        let after = servo.return_delay();
        let named = match faults.impostor {
            Some((asked, answering)) if asked == id => answering,
            _ => id,
        };
        let mut bytes = Vec::with_capacity(data.len() + STATUS_BYTES);
        if codec::status(&mut bytes, named, error, data).is_ok() {
            replies.push(Reply { after, bytes });
        }
    }

    fn handle(&mut self, packet: Packet<'_>, faults: &Faults, replies: &mut Vec<Reply>) {
        let body = packet.body;
        match packet.instruction {
            instruction::SYNC_READ | instruction::FAST_SYNC_READ => {
                let &[a, b, c, d, ref ids @ ..] = body else { return };
                let (address, length) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                if packet.instruction == instruction::SYNC_READ {
                    let asked = ids.iter().map(|&id| (id, address, length));
                    self.read_many(asked, faults, replies);
                } else {
                    self.fast_read(ids, address, length, faults, replies);
                }
            }
            instruction::BULK_READ => {
                let (asked, _) = body.as_chunks::<5>();
                let asked = asked.iter().map(|&[id, a, b, c, d]| {
                    (id, u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
                });
                self.read_many(asked, faults, replies);
            }
            instruction::SYNC_WRITE => {
                let &[a, b, c, d, ref rest @ ..] = body else { return };
                let (address, length) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                for one in rest.chunks_exact(usize::from(length) + 1) {
                    if let Some((&id, data)) = one.split_first()
                        && !faults.silent.contains(&id)
                    {
                        self.write(id, address, data);
                    }
                }
            }
            instruction::BULK_WRITE => {
                let mut rest = body;
                while let &[id, a, b, c, d, ref more @ ..] = rest {
                    let length = usize::from(u16::from_le_bytes([c, d]));
                    let Some((data, next)) = more.split_at_checked(length) else { return };
                    if !faults.silent.contains(&id) {
                        self.write(id, u16::from_le_bytes([a, b]), data);
                    }
                    rest = next;
                }
            }
            instruction::STATUS => {} // somebody else's answer
            _ => {
                let ids: Vec<u8> = self.servos.iter().map(|servo| servo.id).collect();
                for id in ids {
                    let meant = packet.id == id || packet.id == BROADCAST;
                    if meant && !faults.silent.contains(&id) {
                        self.single(id, packet, faults, replies);
                    }
                }
            }
        }
    }

    /// An instruction to one servo, or to this one among all.
    fn single(&mut self, id: u8, packet: Packet<'_>, faults: &Faults, replies: &mut Vec<Reply>) {
        let (now, alone) = (self.now, packet.id != BROADCAST);
        let Some((servo, _)) = self.servo(id) else { return };
        servo.heard = now;
        let level = servo.get(register::STATUS_RETURN_LEVEL);
        let alert = servo.alert();
        let answered = alone && level >= 2;
        match (packet.instruction, packet.body) {
            (instruction::PING, []) => {
                let [low, high] = servo.model.number.to_le_bytes();
                let data = [low, high, servo.get(register::FIRMWARE) as u8];
                self.answer(id, alert, &data, faults, replies);
            }
            (instruction::READ, &[a, b, c, d]) if alone => {
                let (address, length) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                if let Some((error, data)) = self.read(id, address, length) {
                    self.answer(id, error, &data, faults, replies);
                }
            }
            (instruction::WRITE, &[a, b, ref data @ ..]) => {
                let error = alert | self.write(id, u16::from_le_bytes([a, b]), data);
                // A servo whose id was just written answers with the new one.
                let id =
                    if self.servo(id).is_some() { id } else { data.first().copied().unwrap_or(id) };
                if answered {
                    self.answer(id, error, &[], faults, replies);
                }
            }
            (instruction::REG_WRITE, &[a, b, ref data @ ..]) => {
                servo.keep(u16::from_le_bytes([a, b]), data);
                if answered {
                    self.answer(id, alert, &[], faults, replies);
                }
            }
            (instruction::ACTION, []) => {
                let kept = servo.take_kept();
                let error = match kept {
                    Some((address, data)) => self.write(id, address, &data),
                    None => error::RESULT,
                };
                if answered {
                    self.answer(id, alert | error, &[], faults, replies);
                }
            }
            (instruction::REBOOT, []) => {
                if answered {
                    self.answer(id, alert, &[], faults, replies);
                }
                self.reboots += 1;
                self.restart(id);
            }
            _ if answered => self.answer(id, alert | error::INSTRUCTION, &[], faults, replies),
            _ => {}
        }
    }

    fn read_many(
        &mut self,
        asked: impl Iterator<Item = (u8, u16, u16)>,
        faults: &Faults,
        replies: &mut Vec<Reply>,
    ) {
        let mut quiet = false;
        for (id, address, length) in asked {
            let heard = !faults.silent.contains(&id);
            let answer = if heard { self.read(id, address, length) } else { None };
            match answer {
                Some((error, data)) if !quiet => self.answer(id, error, &data, faults, replies),
                Some(_) => {}
                None => quiet = true,
            }
        }
    }

    fn fast_read(
        &mut self,
        ids: &[u8],
        address: u16,
        length: u16,
        faults: &Faults,
        replies: &mut Vec<Reply>,
    ) {
        let mut parts = Vec::with_capacity(ids.len());
        let mut after = Duration::ZERO;
        for (place, &id) in ids.iter().enumerate() {
            let known = |servo: &&Servo| servo.id == id && servo.fast();
            let able = self.servos.iter().find(known).map(Servo::return_delay);
            let heard = able.is_some() && !faults.silent.contains(&id);
            let answer = if heard { self.read(id, address, length) } else { None };
            // Of those behind a silent one nothing is heard, but they have heard this.
            if let Some((error, mut data)) = answer
                && parts.len() == place
            {
                data.resize(usize::from(length), 0);
                let named = match faults.impostor {
                    Some((asked, answering)) if asked == id => answering,
                    _ => id,
                };
                parts.push((error, named, data));
                after = after.max(able.unwrap_or_default());
            }
        }
        // The packet is as long as that of all would be, and ends early when one is silent.
        let there = parts.len();
        parts.resize_with(ids.len(), || (0, 0, vec![0; usize::from(length)]));
        let mut bytes = Vec::new();
        let all = parts.iter().map(|(error, id, data)| (*error, *id, data.as_slice()));
        if there > 0 && codec::fast_status(&mut bytes, all).is_ok() {
            bytes.truncate(8 + there * (usize::from(length) + 4));
            replies.push(Reply { after, bytes });
        }
    }
}

impl Device for Bus {
    fn advance(&mut self, now: Duration) {
        // A watchdog trips when it is due, however seldom somebody looks.
        while let Some((at, due)) = self
            .servos
            .iter()
            .enumerate()
            .filter_map(|(at, servo)| Some((at, servo.watchdog_due()?)))
            .filter(|&(_, due)| due <= now)
            .min_by_key(|&(_, due)| due)
        {
            self.plant.advance(due);
            if let (Some(servo), Some(joint)) =
                (self.servos.get_mut(at), self.plant.joints.get_mut(at))
            {
                servo.trip(joint);
            }
        }
        self.plant.advance(now);
        for (servo, joint) in self.servos.iter_mut().zip(&mut self.plant.joints) {
            servo.protect(joint);
        }
        self.now = now;
    }

    fn receive(&mut self, bytes: &[u8], faults: &Faults, replies: &mut Vec<Reply>) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.feed(bytes);
        while let Some(packet) = decoder.next() {
            self.handle(packet, faults, replies);
        }
        self.decoder = decoder;
    }

    fn plant(&mut self) -> &mut Plant {
        &mut self.plant
    }
}
