//! The vendor's gripper on the hand's bus, as the control box hands its requests on.

use std::time::Duration;

use crate::codecs::xarm::{Access, gripper};

/// Goals that it keeps, for tests to look at.
const KEPT: usize = 4096;

/// A gripper. Switched off it keeps its goal, and runs there as soon as it is switched on.
#[derive(Debug, Clone)]
pub struct Gripper {
    /// Where it is in pulses, with part of one.
    pub position: f64,
    /// What lies between its fingers, and keeps it from closing any further, in pulses.
    pub object: Option<i32>,
    /// Whether its plug is out.
    pub unplugged: bool,
    /// How far it has moved in all, in pulses.
    pub travelled: f64,
    /// Every goal that it was sent, oldest first.
    pub goals: Vec<i32>,
    goal: i32,
    enabled: bool,
    mode: u16,
    /// Taken for pulses a second, since the vendor does not say what it is.
    speed: u16,
    /// It is no faster than this, in pulses a second, whatever it was told.
    fastest: u16,
    error: u16,
}

impl Default for Gripper {
    /// Open and off.
    fn default() -> Self {
        let open = *gripper::PULSES.end();
        Self {
            position: f64::from(open),
            object: None,
            unplugged: false,
            travelled: 0.0,
            goals: Vec::new(),
            goal: open,
            enabled: false,
            mode: 0,
            speed: 1500,
            fastest: gripper::MAX_SPEED,
            error: 0,
        }
    }
}

impl Gripper {
    /// One that stands somewhere, off, as after a power failure.
    pub fn at(position: f64) -> Self {
        Self { position, goal: position.round() as i32, ..Self::default() }
    }

    /// Where it is, in pulses.
    pub fn pulses(&self) -> i32 {
        self.position.round() as i32
    }

    /// Where it is sent to, in pulses.
    pub fn goal(&self) -> i32 {
        self.goal
    }

    /// Leaves a goal from an earlier time.
    pub fn leave_goal(&mut self, goal: i32) {
        self.goal = goal;
    }

    /// Keeps it from being any faster, in pulses a second.
    pub fn limit_speed(&mut self, fastest: u16) {
        self.fastest = fastest;
    }

    /// Whether its motor is on.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// An error: it lets go and does nothing until the error is cleared and it is switched on.
    pub fn fail(&mut self, error: u16) {
        (self.error, self.enabled) = (error, false);
    }

    /// Lets a little time pass.
    pub(super) fn step(&mut self, passed: Duration) {
        if !self.enabled || self.mode != 0 {
            return;
        }
        let most = f64::from(self.speed.min(self.fastest)) * passed.as_secs_f64();
        let mut next = self.position + (f64::from(self.goal) - self.position).clamp(-most, most);
        if let Some(object) = self.object.map(f64::from) {
            // What it holds stops it; what it had passed already does not push it open.
            next = next.max(object.min(self.position));
        }
        self.travelled += (next - self.position).abs();
        self.position = next;
    }

    /// Takes an access and adds what it answers; whether it makes sense.
    pub(super) fn answer(&mut self, access: Access, data: &mut Vec<u8>) -> bool {
        let [high, low] = access.address().to_be_bytes();
        let count = match access {
            Access::Read { address, count } => {
                let word = |value: u16| value.to_be_bytes().to_vec();
                let registers = match (address, count) {
                    (0x0702, 2) => self.pulses().to_be_bytes().to_vec(),
                    (0x000F, 1) => word(self.error),
                    (0x0100, 1) => word(u16::from(self.enabled)),
                    // Version 3.4.3, the first with a status.
                    (0x0801 | 0x0803, 1) => word(3),
                    (0x0802, 1) => word(4),
                    (0x0000, 1) => word(self.status()),
                    _ => return false,
                };
                data.extend([9, 8, 3, registers.len() as u8]);
                data.extend(registers);
                return true;
            }
            Access::Write { address, value } => {
                match address {
                    0x0100 => self.enabled = value != 0 && self.error == 0,
                    0x0101 => self.mode = value,
                    0x0303 => self.speed = value,
                    0x0109 => self.error = 0,
                    _ => return false,
                }
                1
            }
            Access::WriteLong { address: 0x0700, value } => {
                self.take(value);
                2
            }
            Access::WriteLong { .. } => return false,
        };
        data.extend([9, 8, 16, high, low, 0, count]);
        true
    }

    fn take(&mut self, goal: i32) {
        if !gripper::PULSES.contains(&goal) {
            return self.fail(14);
        }
        self.goal = goal;
        if self.goals.len() < KEPT {
            self.goals.push(goal);
        }
    }

    /// 0 at rest, 1 on its way, 2 with something between its fingers.
    fn status(&self) -> u16 {
        match self.object {
            _ if self.pulses() == self.goal || !self.enabled => 0,
            Some(object) if self.position <= f64::from(object) => 2,
            _ => 1,
        }
    }
}
