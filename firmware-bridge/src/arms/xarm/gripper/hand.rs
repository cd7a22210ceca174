//! The thread that talks to the gripper: round after round, the newest goal and where it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::{NONE, Order, Shared, Task, alarm};
use crate::arms::xarm::link::ControlLink;
use crate::codecs::xarm::{Access, Reply, ReplyError, Request, gripper};
use crate::description::JointDescription;
use crate::motors::{Damage, MotorsError};

/// From the beginning of a round to the next: no more goals than that go out.
const ROUND: Duration = Duration::from_millis(50);
/// Rounds from one look at its error to the next.
const ERROR_EVERY: u32 = 4;
/// For a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// For one answer.
const ANSWER: Duration = Duration::from_millis(300);
/// Between two attempts at connecting.
const RETRY: Duration = Duration::from_millis(500);
/// Errors from here on are none of the gripper's: the vendor's own client passes them over.
const NO_ERROR: u16 = 128;

pub(super) struct Hand {
    joint: Arc<str>,
    id: u8,
    control: SocketAddr,
    shared: Arc<Shared>,
    link: Option<ControlLink>,
    tried: Option<Instant>,
    /// The goal that it has, as far as is known.
    sent: i32,
    /// Whether it was switched on by this connection, and has had no error since.
    held: bool,
    rounds: u32,
}

impl Hand {
    pub(super) fn new(joint: &JointDescription, control: SocketAddr, shared: Arc<Shared>) -> Self {
        let (joint, id) = (joint.name.as_str(), joint.id);
        let (link, tried) = (None, None);
        Self {
            joint: joint.into(),
            id,
            control,
            shared,
            link,
            tried,
            sent: NONE,
            held: false,
            rounds: 0,
        }
    }

    /// Goes on until nobody has orders any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        // Nothing is connected before somebody wants it.
        let Ok(first) = orders.recv() else { return };
        self.follow(&first);
        let mut next = Instant::now();
        loop {
            match orders.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(order) => self.follow(&order),
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + ROUND;
                    // What fails here shows in how long ago it answered.
                    let _ = self.round();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn follow(&mut self, order: &Order) {
        let done = match order.task {
            Task::Look => self.look(),
            Task::Enable => self.enable(),
            Task::Stay => self.stay(),
            Task::Clear => self.clear(),
        };
        // Whoever asked may have given up.
        let _ = order.answer.try_send(done);
    }

    fn round(&mut self) -> Result<(), MotorsError> {
        let early = |tried: Instant| tried.elapsed() < RETRY;
        if self.link.is_none() && self.tried.is_some_and(early) {
            return Ok(());
        }
        let goal = self.shared.goal.load(Ordering::Acquire);
        if goal != NONE && goal != self.sent {
            self.go(goal)?;
        }
        self.find()?;
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(ERROR_EVERY) {
            self.look_for_error()?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), MotorsError> {
        let mut version = [0; 4];
        for (number, request) in version.iter_mut().skip(1).zip(gripper::VERSION) {
            [_, *number] = self.read(&request)?;
        }
        self.shared.version.store(u32::from_be_bytes(version), Ordering::Release);
        self.look_for_error()?;
        self.find().map(drop)
    }

    /// Switches it on where it is, whatever goal it has from before. One that was switched on
    /// here keeps its goal: it may be squeezing something.
    fn enable(&mut self) -> Result<(), MotorsError> {
        self.no_error()?;
        let place = self.find()?;
        if self.held {
            return self.write(&gripper::enable(true));
        }
        for request in [gripper::mode(0), gripper::speed(gripper::MAX_SPEED)] {
            self.write(&request)?;
        }
        // The goal comes first, and once more for a gripper that takes none while it is off.
        self.go(place)?;
        self.write(&gripper::enable(true))?;
        self.go(place)?;
        self.shared.goal.store(place, Ordering::Release);
        self.held = true;
        self.no_error()
    }

    /// Comes to rest, and gives way no pulse in the direction that it came from.
    fn stay(&mut self) -> Result<(), MotorsError> {
        if self.sent == NONE {
            return Ok(());
        }
        let before = self.find()?;
        thread::sleep(ROUND);
        let place = self.find()?;
        let moved = place - before;
        if moved.abs() <= 1 {
            // It is where it should be, or squeezes something.
            self.shared.goal.store(self.sent, Ordering::Release);
            return Ok(());
        }
        // Where it gets to while this is on its way, and no further than it was sent.
        let (least, most) = (self.sent.min(place), self.sent.max(place));
        let goal = (place + moved).clamp(least, most);
        self.shared.goal.store(goal, Ordering::Release);
        self.go(goal)
    }

    fn clear(&mut self) -> Result<(), MotorsError> {
        if self.look_for_error()? == 0 {
            return Ok(());
        }
        self.write(&gripper::clear_error())?;
        self.no_error()
    }

    fn no_error(&mut self) -> Result<(), MotorsError> {
        match self.look_for_error()? {
            0 => Ok(()),
            code => Err(alarm(&self.joint, self.id, code)),
        }
    }

    fn look_for_error(&mut self) -> Result<u16, MotorsError> {
        let code = u16::from_be_bytes(self.read(&gripper::ERROR)?);
        let code = if code < NO_ERROR { code } else { 0 };
        // It is off now, and whatever goal it had is worth nothing.
        self.held &= code == 0;
        self.shared.fault.store(code, Ordering::Release);
        Ok(code)
    }

    /// Where it is, in pulses.
    fn find(&mut self) -> Result<i32, MotorsError> {
        let place = i32::from_be_bytes(self.read(&gripper::POSITION)?);
        self.shared.place.store(place, Ordering::Release);
        let micros = u64::try_from(self.shared.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.heard_micros.store(micros, Ordering::Release);
        Ok(place)
    }

    fn go(&mut self, goal: i32) -> Result<(), MotorsError> {
        self.write(&gripper::go(goal))?;
        self.sent = goal;
        Ok(())
    }

    fn read<const N: usize>(&mut self, request: &Request) -> Result<[u8; N], MotorsError> {
        self.ask(request, |reply| gripper::registers(&reply))
    }

    fn write(&mut self, request: &Request) -> Result<(), MotorsError> {
        let Request::Rs485 {
            access: Access::Write { address, .. } | Access::WriteLong { address, .. },
            ..
        } = *request
        else {
            return Ok(()); // nothing else is written
        };
        self.ask(request, |reply| gripper::confirmed(&reply, address))
    }

    /// Asks and waits. A connection that failed is closed, since what it says next may belong to
    /// another request.
    fn ask<T>(
        &mut self,
        request: &Request,
        read: impl Fn(Reply<'_>) -> Result<T, ReplyError>,
    ) -> Result<T, MotorsError> {
        let link = if let Some(link) = &mut self.link {
            link
        } else {
            self.tried = Some(Instant::now());
            self.link.insert(ControlLink::connect(self.control, CONNECT)?)
        };
        let answer = link.ask(request, ANSWER, |reply| {
            if reply.state.invalid() { Ok(None) } else { read(reply).map(Some) }
        });
        match answer {
            Ok((_, Some(value))) => Ok(value),
            Ok((_, None)) => {
                self.held = false;
                Err(self.damaged(
                    "the box gets no answer from it: is it plugged in, at 2 Mbit/s?".into(),
                ))
            }
            Err(error) => {
                (self.link, self.held) = (None, false);
                // A goal that found no way must not be followed when there is one again.
                self.shared.goal.store(self.sent, Ordering::Release);
                Err(match error {
                    MotorsError::Silent { waited, .. } => {
                        MotorsError::Silent { joint: self.joint.clone(), id: self.id, waited }
                    }
                    MotorsError::Damaged { detail, .. } => self.damaged(detail),
                    error => error,
                })
            }
        }
    }

    fn damaged(&self, detail: Damage) -> MotorsError {
        MotorsError::Damaged { joint: self.joint.clone(), id: self.id, detail }
    }
}
