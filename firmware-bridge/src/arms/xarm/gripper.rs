//! The vendor's gripper as an arm's last joint.
//!
//! Its bus takes longer for one answer than a period lasts. So it has a connection and a [thread of
//! its own](hand), and the control thread only leaves a goal and picks up a reading, both atomics.
//! The newest goal wins.
//!
//! What the gripper holds it goes on holding. It squeezes because its goal lies beyond what is
//! between its fingers, and a goal where it is would let that slip. Set-points that begin anew, after
//! a reset or an interruption, begin just there: such a goal is not passed on.

mod hand;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::codecs::xarm::{gripper, gripper_fault};
use crate::description::JointDescription;
use crate::motors::{Alarm, Health, Identity, MotorsError};
use hand::Hand;

/// A goal this close to where it is, in pulses, is one to stay there.
const STILL: i32 = 3;
/// No goal was ever sent.
const NONE: i32 = i32::MIN;
/// What is said to be its place changes by this many times its fastest at most: readings come in
/// steps of several periods, and this takes the steps out.
const CATCH_UP: f64 = 1.5;
/// Orders that may wait for the thread; each is waited for, so there is one.
const MAX_ORDERS: usize = 2;

/// What the two threads share.
#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Where it is to be, in pulses.
    goal: AtomicI32,
    /// Where it was at its last answer, in pulses.
    place: AtomicI32,
    /// When that came, in microseconds since `began`.
    heard_micros: AtomicU64,
    /// Its error.
    fault: AtomicU16,
    /// Its firmware, a byte for each number; 0 while it is not known.
    version: AtomicU32,
}

/// What the control thread waits for, while the arm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Connect, and see what it is and where.
    Look,
    /// Switch it on where it is.
    Enable,
    /// Come to rest where it is.
    Stay,
    /// Clear its error, if it has one.
    Clear,
}

#[derive(Debug)]
struct Order {
    task: Task,
    answer: SyncSender<Result<(), MotorsError>>,
}

/// The gripper, as the control thread knows it. Its thread ends after this is dropped.
#[derive(Debug)]
pub(super) struct Gripper {
    joint: Arc<str>,
    id: u8,
    shared: Arc<Shared>,
    orders: SyncSender<Order>,
    /// Where it is said to be, in microradians.
    shown: i32,
    /// How far that may change in a period.
    most: i32,
    periods_per_sec: i32,
    looked: Instant,
    /// Before this its silence does not count: nobody listened.
    since: Instant,
    /// The error that was told last.
    told: u16,
}

impl Gripper {
    /// The gripper behind the box at `control`. Its thread connects when it is first asked for
    /// something.
    pub(super) fn new(
        joint: &JointDescription,
        control: SocketAddr,
        setpoint_hz: u32,
    ) -> Result<Self, MotorsError> {
        let refused = |detail: String| Err(MotorsError::Refused { detail: detail.into() });
        let widest = gripper::ticks(*gripper::PULSES.start());
        if joint.min_rad < 0.0 || joint.max_rad * 1e6 > f64::from(widest) {
            return refused(format!(
                "joint {}: an xArm's gripper goes from 0 rad, open, to {:.2} rad, the description says {} to {}",
                joint.name,
                f64::from(widest) * 1e-6,
                joint.min_rad,
                joint.max_rad
            ));
        }
        let shared = Arc::new(Shared {
            began: Instant::now(),
            goal: AtomicI32::new(NONE),
            place: AtomicI32::new(*gripper::PULSES.end()),
            heard_micros: AtomicU64::new(0),
            fault: AtomicU16::new(0),
            version: AtomicU32::new(0),
        });
        let (orders, told) = sync_channel(MAX_ORDERS);
        let hand = Hand::new(joint, control, shared.clone());
        let thread = thread::Builder::new().name("gripper".into());
        if let Err(error) = thread.spawn(move || hand.run(&told)) {
            return refused(format!("the gripper's thread does not start: {error}"));
        }
        let now = Instant::now();
        Ok(Self {
            joint: joint.name.as_str().into(),
            id: joint.id,
            shared,
            orders,
            shown: 0,
            most: (joint.max_velocity * 1e6 * CATCH_UP / f64::from(setpoint_hz)).ceil() as i32,
            periods_per_sec: i32::try_from(setpoint_hz).unwrap_or(i32::MAX),
            looked: now,
            since: now,
            told: 0,
        })
    }

    /// Has its thread do something, and waits for that.
    fn order(&self, task: Task, patience: Duration) -> Result<(), MotorsError> {
        let (answer, answered) = sync_channel(1);
        let sent = self.orders.try_send(Order { task, answer }).is_ok();
        match answered.recv_timeout(patience) {
            Ok(done) if sent => done,
            _ => Err(self.silent(patience)),
        }
    }

    fn silent(&self, waited: Duration) -> MotorsError {
        MotorsError::Silent { joint: self.joint.clone(), id: self.id, waited }
    }

    /// Connects, and sees what it is and where.
    pub(super) fn identify(&mut self, patience: Duration) -> Result<Identity, MotorsError> {
        self.order(Task::Look, patience)?;
        self.shown = gripper::ticks(self.shared.place.load(Ordering::Acquire));
        (self.looked, self.since) = (Instant::now(), Instant::now());
        let [_, major, minor, revision] = self.shared.version.load(Ordering::Acquire).to_be_bytes();
        let mut firmware = format!("v{major}.{minor}.{revision}");
        let code = self.shared.fault.load(Ordering::Acquire);
        if code != 0 {
            firmware = format!("{firmware}, {}", fault_words(code));
        }
        self.told = code;
        Ok(Identity { model: gripper::MODEL.into(), firmware })
    }

    /// Where it is and how fast it moves, in microradians. Never waits.
    pub(super) fn sense(&mut self, age: Duration) -> Result<(i32, i32), MotorsError> {
        let now = Instant::now();
        if now - self.looked > age / 2 {
            self.since = now;
        }
        self.looked = now;
        let heard = Duration::from_micros(self.shared.heard_micros.load(Ordering::Acquire));
        let waited = self.shared.began.elapsed().saturating_sub(heard).min(now - self.since);
        if waited > age {
            return Err(self.silent(waited));
        }
        let place = gripper::ticks(self.shared.place.load(Ordering::Acquire));
        let step = (place - self.shown).clamp(-self.most, self.most);
        self.shown += step;
        Ok((self.shown, step.saturating_mul(self.periods_per_sec)))
    }

    /// An error that it has had since the last look. Never waits.
    pub(super) fn fresh_fault(&mut self) -> Result<(), MotorsError> {
        let code = self.shared.fault.load(Ordering::Acquire);
        let known = std::mem::replace(&mut self.told, code) == code;
        if known { Ok(()) } else { self.fault() }
    }

    /// The error that it has.
    fn fault(&self) -> Result<(), MotorsError> {
        match self.shared.fault.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(alarm(&self.joint, self.id, code)),
        }
    }

    /// Leaves a goal in microradians. Never waits.
    pub(super) fn command(&self, goal: i32) {
        let goal = gripper::pulses(goal);
        let place = self.shared.place.load(Ordering::Acquire);
        let before = self.shared.goal.load(Ordering::Acquire);
        let squeezes = before != NONE && before < place - STILL;
        if !(squeezes && (goal - place).abs() <= STILL) {
            self.shared.goal.store(goal, Ordering::Release);
        }
    }

    /// Switches it on where it is, or lets it come to rest where it is. Off it never is: it would
    /// drop what it holds.
    pub(super) fn torque(&mut self, on: bool, patience: Duration) -> Result<(), MotorsError> {
        if on { self.order(Task::Enable, patience) } else { self.order(Task::Stay, patience) }
    }

    /// What it says besides where it is. Never waits.
    pub(super) fn examine(&self, torque: bool) -> Result<Health, MotorsError> {
        self.fault()?;
        Ok(Health { torque, ..Health::default() })
    }

    /// Clears its error, if it has one.
    pub(super) fn acknowledge(&mut self, patience: Duration) -> Result<(), MotorsError> {
        self.order(Task::Clear, patience)
    }
}

fn fault_words(code: u16) -> String {
    format!("gripper error {code}: {}", gripper_fault(code))
}

fn alarm(joint: &Arc<str>, id: u8, code: u16) -> MotorsError {
    MotorsError::Alarm { joint: joint.clone(), id, detail: Alarm::XarmGripper(code) }
}
