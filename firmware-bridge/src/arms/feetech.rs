//! Feetech servos on a serial port.
//!
//! A period costs one sync read of position, velocity and load, and one sync write of the goals.
//! An answer counts only if its id was asked, its length is the one asked for and its sum is
//! right. After an answer failed to come the next question asks for another length, so that one
//! that comes late cannot pass for one that is new. The bus has an eight-bit sum and no numbers on
//! its packets: what is damaged in two places at once may pass, and has to be implausible to be
//! noticed.

mod exchange;
mod home;
mod port;
mod setup;
#[cfg(test)]
mod tests;
mod torque;

use std::f64::consts::TAU;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exchange::{Exchange, Rest, Slot, State};
use port::Port;

use crate::calibration::{Calibration, CalibrationError, JointCalibration};
use crate::codecs::feetech::{self, decode_signed, encode_signed, register as reg, word};
use crate::description::{ArmDescription, JointDescription};
use crate::motors::{Alarm, Damage, Health, Identity, Motors, MotorsError, Sensed};

/// Bytes of position, velocity and load.
const BLOCK: usize = 6;

/// Bytes from torque to current, all of one servo that is looked at now and then.
const HEALTH: usize = (reg::PRESENT_CURRENT + 2 - reg::TORQUE) as usize;

/// Part of a period that sensing may take, in hundredths; commanding has the rest.
const SENSING_PERCENT: u32 = 80;

/// How long an answer may be late when no period waits for it.
const PATIENCE: Duration = Duration::from_millis(20);

/// How often a question is asked when no period waits for it.
const TRIES: usize = 4;

/// So many different lengths of a question come before the first is used again.
const LENGTHS: usize = 8;

/// After so many answers none of before can still come.
const SETTLED: u32 = 100;

/// A servo's own caps, in parts of the description's: they must not make it lag behind set-points
/// that keep to the description.
const HEADROOM: f64 = 1.25;

/// What a servo was told at torque on, which it forgets when its power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caps {
    acceleration: u8,
    velocity: u16,
    torque: u16,
}

/// The servos of an arm.
#[derive(Debug)]
pub struct FeetechMotors {
    path: PathBuf,
    baud: u32,
    period: Duration,
    names: Vec<String>,
    /// The same, for errors to hold.
    shared_names: Vec<Arc<str>>,
    joints: Vec<JointDescription>,
    calibration: Option<Vec<JointCalibration>>,
    line: Option<Exchange>,
    slots: Vec<Slot>,
    caps: Vec<Caps>,
    /// Ticks per second of each servo's unit of speed.
    speed_unit: Vec<i32>,
    /// Position limits that each servo has.
    limits: Vec<(u16, u16)>,
    torque: bool,
    /// The joint that was found to have restarted: it gets no goals until torque is switched anew.
    restarted: Option<usize>,
    /// Bytes more than needed that are asked for, to tell late answers apart.
    surplus: usize,
    /// Questions answered since one was not.
    answered: u32,
}

impl FeetechMotors {
    /// The servos of `arm` on the port at `path`, which [`Motors::identify`] opens.
    pub fn new(arm: &ArmDescription, path: impl Into<PathBuf>) -> Self {
        let joints = arm.joints.clone();
        let count = joints.len();
        Self {
            path: path.into(),
            baud: arm.baud.unwrap_or(1_000_000),
            period: Duration::from_secs_f64(arm.period_secs()),
            names: joints.iter().map(|joint| joint.name.clone()).collect(),
            shared_names: joints.iter().map(|joint| joint.name.as_str().into()).collect(),
            slots: joints.iter().map(|joint| Slot::new(joint.id)).collect(),
            joints,
            calibration: None,
            line: None,
            caps: vec![Caps { acceleration: 0, velocity: 0, torque: 0 }; count],
            speed_unit: vec![1; count],
            limits: vec![(0, 4095); count],
            torque: false,
            restarted: None,
            surplus: 0,
            answered: 0,
        }
    }

    /// The same, which refuses to work with servos that are not calibrated as `calibration` says.
    ///
    /// # Errors
    ///
    /// When it is of another arm.
    pub fn calibrated(
        mut self,
        arm: &ArmDescription,
        calibration: &Calibration,
    ) -> Result<Self, CalibrationError> {
        self.calibration = Some(calibration.of(arm)?);
        Ok(self)
    }

    fn line(&mut self) -> Result<&mut Exchange, MotorsError> {
        Self::open(&mut self.line)
    }

    fn open(line: &mut Option<Exchange>) -> Result<&mut Exchange, MotorsError> {
        let detail = "the servos were not identified yet".into();
        line.as_mut().ok_or(MotorsError::Refused { detail })
    }

    /// Asks all joints whose slots are awaited for `length` bytes from `address` on.
    fn ask(
        &mut self,
        address: u8,
        length: usize,
        patience: Duration,
        end: Instant,
    ) -> Result<Rest, MotorsError> {
        let Self { line, slots, .. } = self;
        let line = Self::open(line)?;
        let awaited = |slot: &&Slot| slot.state == State::Awaited;
        let ids: [u8; 256] = {
            let mut ids = [0; 256];
            let each = slots.iter().filter(awaited).map(|slot| slot.id);
            ids.iter_mut().zip(each).for_each(|(place, id)| *place = id);
            ids
        };
        let count = slots.iter().filter(awaited).count();
        let ids = ids.get(..count).unwrap_or_default();
        let build = |out: &mut Vec<u8>| match ids {
            [id] => feetech::read(out, *id, address, length as u8),
            ids => feetech::sync_read(out, address, length as u8, ids.iter().copied()),
        };
        line.ask(build, slots, length, patience, end)
    }

    /// Asks the joints in question, and those that did not answer once more; another length the
    /// second time, and the next time after a failure.
    fn ask_twice(
        &mut self,
        address: u8,
        length: usize,
        patience: Duration,
        end: Instant,
    ) -> Result<(), MotorsError> {
        let began = Instant::now();
        let mut rest = Rest::default();
        for _ in 0..2 {
            self.await_again();
            rest = self.ask(address, length + self.surplus, patience, end)?;
            if !self.line()?.late {
                self.answered = self.answered.saturating_add(1);
                if self.answered >= SETTLED {
                    self.surplus = 0;
                }
                return Ok(());
            }
            self.surplus = (self.surplus + 1) % LENGTHS;
            self.answered = 0;
            if Instant::now() >= end {
                break;
            }
        }
        Err(self.missing(rest, began.elapsed()))
    }

    /// Why the first joint that has not answered has not.
    fn missing(&self, rest: Rest, waited: Duration) -> MotorsError {
        let first = |state| self.slots.iter().position(|slot| slot.state == state);
        let twice = first(State::Twice);
        let (joint, id) = self.who(twice.or(first(State::Awaited)).unwrap_or_default());
        let detail = match rest {
            _ if twice.is_some() => {
                "it answers twice: give the other servo with this id another".into()
            }
            Rest { stranger: Some(found), .. } => Damage::Stranger { expected: id, found },
            Rest { bytes: 1.., .. } => {
                "its answer is damaged: check the cable, and that no other has this id".into()
            }
            Rest { .. } => return MotorsError::Silent { joint, id, waited },
        };
        MotorsError::Damaged { joint, id, detail }
    }

    fn who(&self, joint: usize) -> (Arc<str>, u8) {
        let found = self.shared_names.get(joint).zip(self.joints.get(joint));
        found.map_or_else(|| ("".into(), 0), |(name, joint)| (name.clone(), joint.id))
    }

    /// Awaits answers of all joints, or of one.
    fn await_answers(&mut self, of: Option<usize>) {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            let asked = of.is_none_or(|joint| joint == i);
            slot.state = if asked { State::Awaited } else { State::Idle };
        }
    }

    /// Awaits those again that answered twice: no one knows which answer was theirs.
    fn await_again(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.state == State::Twice) {
            slot.state = State::Awaited;
        }
    }

    /// The first alarm among the answers that came.
    fn check_alarms(&self) -> Result<(), MotorsError> {
        for (i, slot) in self.slots.iter().enumerate() {
            if slot.state == State::Answered && slot.alarms & feetech::ALARMS != 0 {
                let (joint, id) = self.who(i);
                let detail = Alarm::Feetech(slot.alarms);
                return Err(MotorsError::Alarm { joint, id, detail });
            }
        }
        Ok(())
    }

    /// How long sensing may take, and how long an answer may be late.
    fn budget(&self) -> (Duration, Duration) {
        let budget = self.period * SENSING_PERCENT / 100;
        (budget, budget / 2)
    }
}

impl Motors for FeetechMotors {
    fn joints(&self) -> &[String] {
        &self.names
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        self.line = None; // the port is ours alone, so the old one has to go first
        let port = Port::open(&self.path, self.baud)?;
        self.line = Some(Exchange::new(port));
        self.restarted = None;
        let identities = self.set_up();
        if identities.is_err() {
            self.line = None; // nothing moves servos that are not those described
        }
        identities
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let (budget, patience) = self.budget();
        self.await_answers(None);
        let end = Instant::now() + budget;
        let asked = self.ask_twice(reg::PRESENT_POSITION, BLOCK, patience, end);
        let units = self.slots.iter().zip(&self.speed_unit);
        for (i, (slot, unit)) in units.enumerate() {
            let words = [0, 2, 4].map(|at| word(slot.data(), at));
            if let ([Some(position), Some(velocity), Some(load)], State::Answered) =
                (words, slot.state)
            {
                put(&mut sensed.position, i, decode_signed(position, 15));
                put(&mut sensed.velocity, i, decode_signed(velocity, 15).saturating_mul(*unit));
                put(&mut sensed.load_permille, i, decode_signed(load, 10) as i16);
            }
        }
        asked?;
        self.check_alarms()
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        if let Some(joint) = self.restarted {
            let (joint, id) = self.who(joint);
            return Err(MotorsError::Restarted { joint, id });
        }
        if goals.len() != self.joints.len() {
            let (expected, found) = (self.joints.len(), goals.len());
            let detail = format!("expected a goal for each of {expected} joints, found {found}");
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        for (joint, goal) in self.joints.iter().zip(goals) {
            if !(0..4096).contains(goal) {
                let detail = format!("joint {}: goal {goal} is not in 0 to 4095", joint.name);
                return Err(MotorsError::Refused { detail: detail.into() });
            }
        }
        let (_, patience) = self.budget();
        let Self { line, joints, .. } = self;
        let rows = joints.iter().zip(goals).map(|(joint, goal)| {
            let goal = encode_signed(*goal, 15).unwrap_or_default(); // checked above
            (joint.id, goal.to_le_bytes())
        });
        let build = |out: &mut Vec<u8>| feetech::sync_write(out, reg::GOAL_POSITION, 2, rows);
        Self::open(line)?.tell(build, patience)
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        if on { self.torque_on() } else { self.torque_off() }
    }

    fn examine(&mut self, joint: usize) -> Result<Health, MotorsError> {
        if joint >= self.joints.len() {
            let detail = format!("there is no joint {joint}, there are {}", self.joints.len());
            return Err(MotorsError::Refused { detail: detail.into() });
        }
        let (budget, patience) = self.budget();
        self.await_answers(Some(joint));
        self.ask_twice(reg::TORQUE, HEALTH, patience, Instant::now() + budget)?;
        self.check_alarms()?;
        let Some(slot) = self.slots.get(joint) else { return Ok(Health::default()) };
        let at = |address: u8| usize::from(address - reg::TORQUE);
        let byte = |address| slot.data().get(at(address)).copied().unwrap_or_default();
        let word = |address| word(slot.data(), at(address)).unwrap_or_default();
        let torque = byte(reg::TORQUE) == 1;
        let found = Caps {
            acceleration: byte(reg::ACCELERATION),
            velocity: word(reg::GOAL_VELOCITY),
            torque: word(reg::TORQUE_LIMIT),
        };
        let health = Health {
            voltage_v: Some(f32::from(byte(reg::PRESENT_VOLTAGE)) / 10.0),
            temperature_c: Some(byte(reg::PRESENT_TEMPERATURE).into()),
            current_a: Some(decode_signed(word(reg::PRESENT_CURRENT), 15) as f32 * 0.0065),
            torque,
            goal: Some(decode_signed(word(reg::GOAL_POSITION), 15)),
        };
        if self.torque && !(torque && self.caps.get(joint) == Some(&found)) {
            self.restarted = Some(joint);
            let (joint, id) = self.who(joint);
            return Err(MotorsError::Restarted { joint, id });
        }
        Ok(health)
    }

    fn when_abandoned(&self) -> &'static str {
        "the arm holds its last goal for ever with torque on: switch its power off to free it"
    }
}

/// Sets what there is room for.
fn put<T>(values: &mut [T], i: usize, value: T) {
    if let Some(place) = values.get_mut(i) {
        *place = value;
    }
}

/// Ticks of an angle's size, in radians, a second or a second squared.
fn ticks(radians: f64) -> f64 {
    radians / TAU * feetech::TICKS_PER_TURN
}
