//! Transactions: something is asked, and answered in time by whom it was asked, or not at all.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::{Answer, DynamixelMotors, SENSED_BYTES, SENSED_FROM};
use crate::codecs::dynamixel::{self as codec, Register, STATUS_BYTES, StatusError, instruction};
use crate::motors::{Damage, MotorsError};

/// Bytes that stuffing may add to an answer, at most one to three.
const fn stuffed(bytes: usize) -> usize {
    bytes + bytes / 3
}

impl DynamixelMotors {
    /// How long `bytes` are on the wire, in both directions together.
    fn wire(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 * 10.0 / f64::from(self.baud))
    }

    pub(super) fn skipped(&self) -> u64 {
        self.port.as_ref().map_or(0, super::Port::skipped)
    }

    /// Sends what is in `out`. A port that is gone is closed.
    pub(super) fn send(&mut self) -> Result<(), MotorsError> {
        let Some(port) = &mut self.port else { return Err(self.gone()) };
        let sent = port.send(&self.out);
        self.close_if_gone(sent)
    }

    fn gone(&self) -> MotorsError {
        MotorsError::HungUp { port: self.name.clone() }
    }

    fn close_if_gone<T>(&mut self, result: Result<T, MotorsError>) -> Result<T, MotorsError> {
        if matches!(result, Err(MotorsError::HungUp { .. })) {
            self.port = None;
        }
        result
    }

    fn advance(&mut self, until: Instant) -> Result<bool, MotorsError> {
        let Some(port) = &mut self.port else { return Err(self.gone()) };
        let advanced = port.advance(until);
        self.close_if_gone(advanced)
    }

    /// Asks the joints in `order` what is sensed every period, and marks those that answered.
    pub(super) fn gather(&mut self, fast: bool, budget: Instant) -> Result<(), MotorsError> {
        let began = Instant::now();
        self.out.clear();
        let ids = self.order.iter().map(|&at| self.joints[at].id);
        let asked = if fast {
            codec::fast_sync_read(&mut self.out, SENSED_FROM, SENSED_BYTES, ids)
        } else {
            codec::sync_read(&mut self.out, SENSED_FROM, SENSED_BYTES, ids)
        };
        asked.map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        let each = if fast {
            usize::from(SENSED_BYTES) + 4
        } else {
            stuffed(STATUS_BYTES + usize::from(SENSED_BYTES))
        };
        let bytes = self.out.len() + 8 + self.order.len() * each;
        let delays: Duration = self.order.iter().map(|&at| self.joints[at].return_delay).sum();
        let until = began + self.wire(bytes) + delays + self.options.margin;
        self.send()?;
        let mut left = self.order.len();
        while left > 0 && self.advance(until.min(budget))? {
            let Some(packet) = self.port.as_ref().and_then(super::Port::packet) else { break };
            if packet.instruction != instruction::STATUS {
                self.counters.echoes += 1;
                continue;
            }
            if fast {
                let Some(entries) = packet.fast(SENSED_BYTES.into()) else {
                    self.counters.strays += 1;
                    continue;
                };
                for (&at, entry) in self.order.iter().zip(entries) {
                    let joint = &mut self.joints[at];
                    let Ok(found) = entry.data.try_into() else { break };
                    if entry.id != joint.id || StatusError(entry.error).number() != 0 {
                        break; // somebody answers in the place of another: none behind counts
                    }
                    (joint.found, joint.error, joint.answer) = (found, entry.error, Answer::Good);
                }
                break;
            }
            let status = packet.status();
            let by = status.and_then(|status| {
                let at = *self.order.iter().find(|&&at| self.joints[at].id == status.id)?;
                let found = status.data.try_into().ok()?;
                (StatusError(status.error).number() == 0).then_some((at, status.error, found))
            });
            let Some((at, error, found)) = by else {
                self.counters.strays += 1;
                continue;
            };
            let joint = &mut self.joints[at];
            if joint.answer != Answer::Missing {
                self.counters.strays += 1;
                left += usize::from(joint.answer == Answer::Good);
                joint.answer = Answer::Doubled;
                continue;
            }
            (joint.found, joint.error, joint.answer) = (found, error, Answer::Good);
            left -= 1;
        }
        Ok(())
    }

    /// Why a joint could not be read.
    pub(super) fn missing(&self, at: usize, waited: Duration, noise: bool) -> MotorsError {
        let joint = &self.joints[at];
        let (name, id) = (joint.name.clone(), joint.id);
        if let Some(double) = self.joints.iter().find(|joint| joint.answer == Answer::Doubled) {
            let detail = Damage::Doubled { id: double.id };
            return MotorsError::Damaged { joint: name, id, detail };
        }
        if noise {
            let detail =
                "expected an answer, found damaged bytes twice: check the cable and the baud rate";
            return MotorsError::Damaged { joint: name, id, detail: detail.into() };
        }
        MotorsError::Silent { joint: name, id, waited }
    }

    /// Sends what is in `out` to one joint and waits for its answer of `length` bytes, twice at
    /// most; what it answers is then in `block`.
    fn ask(&mut self, at: usize, length: usize, asked: &'static str) -> Result<(), MotorsError> {
        let began = Instant::now();
        let skipped = self.skipped();
        let (id, delay) = (self.joints[at].id, self.joints[at].return_delay);
        let mut other = None;
        for attempt in 0..2 {
            if attempt > 0 {
                self.counters.retries += 1;
            }
            let bytes = self.out.len() + stuffed(STATUS_BYTES + length);
            let until = Instant::now() + self.wire(bytes) + delay + self.options.margin;
            self.send()?;
            while self.advance(until)? {
                let Some(packet) = self.port.as_ref().and_then(super::Port::packet) else { break };
                let Some(status) = packet.status() else {
                    self.counters.echoes += 1;
                    continue;
                };
                let error = StatusError(status.error);
                if status.id != id || (error.number() == 0 && status.data.len() != length) {
                    other = Some((status.id, status.data.len()));
                    self.counters.strays += 1;
                    continue;
                }
                if error.number() != 0 {
                    let name = &self.joints[at].name;
                    let detail = format!("joint {name} (id {id}) to {asked}: {error}");
                    return Err(MotorsError::Refused { detail: detail.into() });
                }
                self.block.clear();
                self.block.extend_from_slice(status.data);
                return Ok(());
            }
        }
        let Some((found, bytes)) = other else {
            return Err(self.missing(at, began.elapsed(), self.skipped() > skipped));
        };
        let detail = Damage::Other { id, asked, expected: length, found, bytes };
        Err(MotorsError::Damaged { joint: self.joints[at].name.clone(), id, detail })
    }

    pub(super) fn ping(&mut self, at: usize) -> Result<(), MotorsError> {
        self.out.clear();
        let asked = codec::ping(&mut self.out, self.joints[at].id);
        asked.map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        self.ask(at, 3, "ping")
    }

    /// Reads registers of one joint into `block`.
    pub(super) fn read(&mut self, at: usize, address: u16, length: u16) -> Result<(), MotorsError> {
        self.out.clear();
        let asked = codec::read(&mut self.out, self.joints[at].id, address, length);
        asked.map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        self.ask(at, length.into(), "read")
    }

    pub(super) fn read_register(
        &mut self,
        at: usize,
        register: Register,
    ) -> Result<i64, MotorsError> {
        self.read(at, register.address, register.width)?;
        Ok(register.within(&self.block, register.address).unwrap_or(0))
    }

    /// Writes a register of one joint; it must confirm.
    pub(super) fn write(
        &mut self,
        at: usize,
        register: Register,
        value: i64,
    ) -> Result<(), MotorsError> {
        self.out.clear();
        let bytes = register.bytes(value).and_then(|bytes| {
            let data = bytes.get(..register.width.into()).unwrap_or_default();
            codec::write(&mut self.out, self.joints[at].id, register.address, data)
        });
        bytes.map_err(|error| MotorsError::Refused { detail: error.to_string().into() })?;
        self.ask(at, 0, register.name)
    }

    /// Writes a register unless the joint has the value already, and reads it back.
    pub(super) fn ensure(
        &mut self,
        at: usize,
        register: Register,
        value: i64,
    ) -> Result<(), MotorsError> {
        if self.read_register(at, register)? == value {
            return Ok(());
        }
        self.write(at, register, value)?;
        let found = self.read_register(at, register)?;
        if found == value { Ok(()) } else { Err(self.differs(at, register.name, &value, &found)) }
    }

    pub(super) fn differs(
        &self,
        at: usize,
        field: &'static str,
        expected: &dyn Display,
        found: &dyn Display,
    ) -> MotorsError {
        let joint = &self.joints[at];
        MotorsError::Identity {
            joint: joint.name.clone(),
            id: joint.id,
            field,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
