//! A bus of Feetech STS3215 servos, from their side.
//!
//! Each servo has its whole control table, and its traps: torque goes on towards the goal of last
//! time, a power failure takes everything above the lock away, and alarms come with every answer.
//! Only position mode moves.

mod servo;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use servo::Servo;

use super::{Device, Faults, Plant, PlantJoint, Reply};
use crate::codecs::feetech::{self, BROADCAST, Decoder, Instruction, Packet};
use crate::description::ArmDescription;

/// Writes that are remembered; of older ones only how many there were.
const REMEMBERED: usize = 65_536;

/// A write that a servo heard, whether or not it took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// When, since the emulator's start.
    pub at: Duration,
    /// The servo.
    pub id: u8,
    /// The first register.
    pub address: u8,
    /// What was written.
    pub bytes: Vec<u8>,
    /// Where its joint stood then, in ticks as it says itself.
    pub position: i32,
    /// Whether it had torque before.
    pub torque: bool,
}

/// Every write, for tests that no wrong one happened.
#[derive(Debug, Default)]
struct Audit {
    writes: VecDeque<Written>,
    counts: BTreeMap<(u8, u8), u64>,
}

impl Audit {
    fn note(&mut self, written: Written) {
        *self.counts.entry((written.id, written.address)).or_default() += 1;
        if self.writes.len() == REMEMBERED {
            self.writes.pop_front();
        }
        self.writes.push_back(written);
    }
}

/// The servos of one arm on one wire.
#[derive(Debug)]
pub struct Bus {
    servos: Vec<Servo>,
    plant: Plant,
    decoder: Decoder,
    audit: Audit,
    now: Duration,
}

impl Bus {
    /// Servos with the ids and models of `arm`, each at rest at its zero (2048 unless the
    /// description says otherwise), with what the factory puts into a servo. A model that is not
    /// known becomes an STS3215.
    pub fn new(arm: &ArmDescription) -> Self {
        let (servos, joints) = arm
            .joints
            .iter()
            .map(|joint| {
                let at = f64::from(joint.zero_ticks.unwrap_or(2048));
                let servo = Servo::new(joint.id, &joint.model);
                (servo, PlantJoint::new(at, Servo::MAX_VELOCITY, Servo::MAX_ACCELERATION))
            })
            .unzip();
        let audit = Audit::default();
        let (decoder, now) = (Decoder::new(), Duration::ZERO);
        Self { servos, plant: Plant::new(joints), decoder, audit, now }
    }

    /// The servo with an id.
    pub fn servo(&mut self, id: u8) -> Option<&mut Servo> {
        self.servos.iter_mut().find(|servo| servo.id() == id)
    }

    /// Bytes of a servo's table as it would answer them now; empty when there is no such servo.
    pub fn registers(&mut self, id: u8, address: u8, length: u8) -> Vec<u8> {
        let Some((servo, joint)) = self.pair(id) else { return Vec::new() };
        servo.measure(joint);
        servo.read(address, length).to_vec()
    }

    /// A servo's power fails for a moment: what is not in its EEPROM is as at power-on.
    pub fn restart(&mut self, id: u8) {
        if let Some((servo, joint)) = self.pair(id) {
            servo.restart();
            servo.act(joint, 0, feetech::register::TABLE);
        }
    }

    /// The writes that servos heard, oldest first: the last 65,536 of them.
    pub fn writes(&self) -> impl Iterator<Item = &Written> {
        self.audit.writes.iter()
    }

    /// How often a write to a servo began at `address`.
    pub fn num_writes(&self, id: u8, address: u8) -> u64 {
        self.audit.counts.get(&(id, address)).copied().unwrap_or_default()
    }

    /// How long it has run.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Forgets all writes so far.
    pub fn forget_writes(&mut self) {
        self.audit = Audit::default();
    }

    fn pair(&mut self, id: u8) -> Option<(&mut Servo, &mut PlantJoint)> {
        let at = self.servos.iter().position(|servo| servo.id() == id)?;
        Some((self.servos.get_mut(at)?, self.plant.joints.get_mut(at)?))
    }
}

impl Device for Bus {
    fn advance(&mut self, now: Duration) {
        self.plant.advance(now);
        self.now = now;
    }

    fn receive(&mut self, bytes: &[u8], faults: &Faults, replies: &mut Vec<Reply>) {
        self.decoder.push(bytes);
        let Self { servos, plant, decoder, audit, now } = self;
        let now = *now;
        while let Some(packet) = decoder.next() {
            let joints = &mut plant.joints;
            let mut wire = Wire { servos, joints, audit, now, faults, replies };
            wire.hear(packet);
        }
    }

    fn plant(&mut self) -> &mut Plant {
        &mut self.plant
    }
}

/// All that a packet can touch.
struct Wire<'a> {
    servos: &'a mut [Servo],
    joints: &'a mut [PlantJoint],
    audit: &'a mut Audit,
    now: Duration,
    faults: &'a Faults,
    replies: &'a mut Vec<Reply>,
}

impl Wire<'_> {
    fn hear(&mut self, packet: Packet<'_>) {
        let Packet { id, code, data } = packet;
        let Some(instruction) = Instruction::of(code) else { return };
        match (instruction, data) {
            (Instruction::Ping, []) => self.each(id, |wire, i| wire.answer(i, &[])),
            (Instruction::Read, &[address, length]) if id != BROADCAST => {
                self.each(id, |wire, i| wire.tell(i, address, length));
            }
            (Instruction::Write, &[address, ref bytes @ ..]) => self.each(id, |wire, i| {
                wire.write(i, address, bytes);
                wire.confirm(i, id);
            }),
            (Instruction::RegWrite, &[address, ref bytes @ ..]) => self.each(id, |wire, i| {
                if let Some(servo) = wire.servos.get_mut(i) {
                    servo.put_off(address, bytes);
                }
                wire.confirm(i, id);
            }),
            (Instruction::Action, []) => self.each(id, |wire, i| {
                let put_off = wire.servos.get_mut(i).and_then(Servo::take_put_off);
                if let Some((address, bytes)) = put_off {
                    wire.write(i, address, &bytes);
                }
                wire.confirm(i, id);
            }),
            (Instruction::SyncRead, &[address, length, ref ids @ ..]) if id == BROADCAST => {
                for &id in ids.iter().filter(|&&id| id != BROADCAST) {
                    self.each(id, |wire, i| wire.tell(i, address, length));
                }
            }
            (Instruction::SyncWrite, &[address, length, ref rows @ ..]) if id == BROADCAST => {
                for row in rows.chunks_exact(usize::from(length) + 1) {
                    if let Some((&id, bytes)) = row.split_first() {
                        self.each(id, |wire, i| wire.write(i, address, bytes));
                    }
                }
            }
            _ => {} // real ones say nothing to what they do not understand
        }
    }

    /// Does something for the servo with `id`, or for all.
    fn each(&mut self, id: u8, mut act: impl FnMut(&mut Self, usize)) {
        for i in 0..self.servos.len() {
            let meant = self.servos.get(i).is_some_and(|servo| servo.id() == id);
            if meant || id == BROADCAST {
                act(self, i);
            }
        }
    }

    fn write(&mut self, i: usize, address: u8, bytes: &[u8]) {
        if let (Some(servo), Some(joint)) = (self.servos.get_mut(i), self.joints.get_mut(i)) {
            servo.measure(joint);
            self.audit.note(Written {
                at: self.now,
                id: servo.id(),
                address,
                bytes: bytes.into(),
                position: servo.present_position(),
                torque: joint.torque,
            });
            servo.write(address, bytes);
            servo.act(joint, usize::from(address), bytes.len());
        }
    }

    /// Answers a write, unless it was for all or the servo answers only when asked.
    fn confirm(&mut self, i: usize, asked: u8) {
        if asked != BROADCAST && self.servos.get(i).is_some_and(Servo::confirms) {
            self.answer(i, &[]);
        }
    }

    fn tell(&mut self, i: usize, address: u8, length: u8) {
        if let (Some(servo), Some(joint)) = (self.servos.get_mut(i), self.joints.get_mut(i)) {
            servo.measure(joint);
            let data = servo.read(address, length).to_vec();
            self.answer(i, &data);
        }
    }

    fn answer(&mut self, i: usize, data: &[u8]) {
        let Some(servo) = self.servos.get(i) else { return };
        if self.faults.silent.contains(&servo.id()) {
            return;
        }
        let id = match self.faults.impostor {
            Some((asked, answering)) if asked == servo.id() => answering,
            _ => servo.id(),
        };
        let mut bytes = Vec::new();
        if feetech::status(&mut bytes, id, servo.alarms(), data).is_ok() {
            self.replies.push(Reply { after: servo.return_delay(), bytes });
        }
    }
}
