//! The state machine: what happens and when goes in, what the arm may do comes out.
//!
//! No clock and no I/O: time is an argument, so a log replays exactly. `STATES.md` is generated
//! from this file, and a test holds the two together.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why the arm holds, or may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// No chunk has come since the start.
    Starting,
    /// The chunk is played out and no other has come.
    Underrun,
    /// The newest chunk was made from too old an observation.
    Stale,
    /// The loop itself was late, as after a suspended machine.
    Gap,
    /// Whoever holds the lease has been silent.
    Lease,
    /// The policy was not trained for this robot, or is not the one that it began with.
    Mismatch,
    /// The arm does not answer or reports a failure.
    Arm,
    /// The arm's port is gone.
    HungUp,
    /// A joint reports that something is wrong with it.
    Alarm,
    /// A joint restarted by itself and has forgotten its limits.
    Restarted,
    /// A joint does not follow its set-points.
    Following,
    /// A set-point broke a limit on its last check: a defect of ours.
    Gate,
    /// The arm did not come to rest in time.
    Unstoppable,
}

impl Cause {
    /// Every cause there is.
    pub const ALL: [Self; 13] = [
        Self::Starting,
        Self::Underrun,
        Self::Stale,
        Self::Gap,
        Self::Lease,
        Self::Mismatch,
        Self::Arm,
        Self::HungUp,
        Self::Alarm,
        Self::Restarted,
        Self::Following,
        Self::Gate,
        Self::Unstoppable,
    ];
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "no first chunk came",
            Self::Underrun => "the chunk ran out and no other came",
            Self::Stale => "the newest chunk is too old",
            Self::Gap => "the control loop was interrupted",
            Self::Lease => "whoever moves the arm has been silent",
            Self::Mismatch => "the policy does not fit this robot",
            Self::Arm => "the arm failed",
            Self::HungUp => "the arm's port hung up",
            Self::Alarm => "a joint reports an alarm",
            Self::Restarted => "a joint restarted by itself",
            Self::Following => "a joint does not follow",
            Self::Gate => "a set-point broke a limit on its last check",
            Self::Unstoppable => "the arm did not come to rest",
        })
    }
}

/// Where the bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No arm. Nothing is sent.
    Disconnected,
    /// An arm whose torque is off, or whose torque nobody vouches for. Nothing is sent.
    Idle,
    /// Torque is on and the arm stands still.
    Ready,
    /// Somebody who may move the arm holds the lease, such as a policy that fits; the arm stands
    /// still until it is started.
    Armed,
    /// Chunks are played.
    Running {
        /// When the observation behind the newest chunk was sensed.
        observed: Duration,
    },
    /// The arm comes to rest and waits for a chunk.
    Hold {
        /// Since when.
        since: Duration,
        /// Why.
        cause: Cause,
    },
    /// The arm comes to rest because it was told to.
    Stopping {
        /// Since when.
        since: Duration,
        /// Whether the lease is still held.
        leased: bool,
    },
    /// Something is wrong. Latched: only an operator's reset leads out.
    Fault(Cause),
    /// Software emergency stop. Latched: only an operator's reset leads out.
    Estop,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An arm answered, and is what its description says.
    Connected,
    /// An operator switched torque on, and every joint confirmed.
    TorqueOn,
    /// An operator switched torque off.
    TorqueOff,
    /// Somebody who may move the arm took the lease: a policy that fits, or an operator's tool.
    Leased,
    /// Whoever holds the lease has been silent for a moment.
    LeaseStale,
    /// Whoever held the lease gave it back, or has been silent for too long.
    LeaseLost,
    /// A policy server answered, and its policy does not fit.
    Mismatch,
    /// The policy server is gone.
    Lost,
    /// An operator, or the next episode, starts.
    Start,
    /// A chunk was accepted.
    Chunk {
        /// When the observation behind it was sensed.
        observed: Duration,
    },
    /// There is no action for this period.
    Underrun,
    /// A period passed.
    Tick,
    /// The loop missed several periods.
    Gap,
    /// Something is wrong with the arm, or with what is about to be sent to it.
    Failed(Cause),
    /// An operator, or the end of an episode, stops.
    Stop,
    /// The arm stands still.
    AtRest,
    /// An operator wants everything to stop.
    Estop,
    /// An operator acknowledges a fault or an emergency stop.
    Reset,
}

/// What the arm may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// Nothing is sent.
    Nothing,
    /// It comes to rest within its limits and stays there.
    Rest,
    /// It plays the queue, within its limits.
    Play,
}

/// What follows from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commands {
    /// What the arm may do from now on.
    pub motion: Motion,
    /// Whether buffered actions are thrown away.
    pub clear_queue: bool,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// From observation to the last action made from it.
    pub chunk_age: Duration,
    /// In [`State::Hold`] before it becomes a fault.
    pub hold: Duration,
    /// The same, for the first chunk of an episode: a server may have to warm up.
    pub first_chunk: Duration,
    /// To come to rest when stopping.
    pub stop: Duration,
}

impl State {
    /// What the arm may do in this state.
    pub fn motion(self) -> Motion {
        match self {
            // Goals are never written blindly into a joint that has forgotten its limits.
            Self::Disconnected
            | Self::Idle
            | Self::Fault(Cause::HungUp | Cause::Restarted | Cause::Gate) => Motion::Nothing,
            Self::Running { .. } => Motion::Play,
            _ => Motion::Rest,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "Disconnected",
            Self::Idle => "Idle",
            Self::Ready => "Ready",
            Self::Armed => "Armed",
            Self::Running { .. } => "Running",
            Self::Hold { .. } => "Hold",
            Self::Stopping { .. } => "Stopping",
            Self::Fault(_) => "Fault",
            Self::Estop => "Estop",
        }
    }

    /// Whether the arm is on its way, or waits to go on by itself.
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Running { .. } | Self::Hold { .. })
    }

    /// Whether only an operator's reset leads out.
    pub fn is_latched(self) -> bool {
        matches!(self, Self::Fault(_) | Self::Estop)
    }

    /// The state after `event` at `now`, and what follows from it.
    pub fn step(self, event: Event, now: Duration, patience: &Patience) -> (Self, Commands) {
        let next = self.next(event, now, patience);
        let entered = next.name() != self.name();
        // Whatever interrupts a motion also forgets what was to come of it.
        let clear_queue = entered && !matches!(next, Self::Running { .. });
        (next, Commands { motion: next.motion(), clear_queue })
    }

    #[allow(clippy::match_same_arms)] // A table: one row after the other, by state.
    fn next(self, event: Event, now: Duration, patience: &Patience) -> Self {
        let hold = |cause| Self::Hold { since: now, cause };
        let passed = |since: Duration| now.saturating_sub(since);
        match (self, event) {
            // From everywhere, and latched.
            (_, Event::Estop) => Self::Estop,
            // Whatever it was, the arm is looked at anew.
            (Self::Fault(_) | Self::Estop, Event::Reset) => Self::Disconnected,
            (Self::Fault(_) | Self::Estop, _) => self,
            (Self::Disconnected, Event::Connected) => Self::Idle,
            (Self::Disconnected, _) => self,
            (_, Event::Failed(cause)) => Self::Fault(cause),
            (Self::Idle, Event::TorqueOn) => Self::Ready,
            (Self::Idle, _) => self,
            (_, Event::Mismatch) => Self::Fault(Cause::Mismatch),

            (Self::Ready | Self::Armed, Event::TorqueOff) => Self::Idle,
            (Self::Ready, Event::Leased) => Self::Armed,
            (Self::Armed, Event::LeaseLost | Event::Lost) => Self::Ready,
            (Self::Armed, Event::Start) => hold(Cause::Starting),

            (Self::Running { .. }, Event::Underrun) => hold(Cause::Underrun),
            (Self::Running { .. }, Event::Gap) => hold(Cause::Gap),
            (Self::Running { .. }, Event::LeaseStale) => hold(Cause::Lease),
            (Self::Running { observed }, Event::Tick) if passed(observed) > patience.chunk_age => {
                hold(Cause::Stale)
            }

            (Self::Running { .. } | Self::Hold { .. }, Event::Chunk { observed }) => {
                Self::Running { observed }
            }
            (Self::Hold { since, cause: Cause::Starting }, Event::Tick)
                if passed(since) > patience.first_chunk =>
            {
                Self::Fault(Cause::Starting)
            }
            (Self::Hold { since, cause }, Event::Tick)
                if cause != Cause::Starting && passed(since) > patience.hold =>
            {
                Self::Fault(cause)
            }

            (Self::Running { .. } | Self::Hold { .. }, Event::Stop) => {
                Self::Stopping { since: now, leased: true }
            }
            (Self::Running { .. } | Self::Hold { .. }, Event::LeaseLost) => {
                Self::Stopping { since: now, leased: false }
            }
            (Self::Stopping { since, .. }, Event::LeaseLost) => {
                Self::Stopping { since, leased: false }
            }
            (Self::Stopping { leased, .. }, Event::AtRest) => {
                if leased {
                    Self::Armed
                } else {
                    Self::Ready
                }
            }
            (Self::Stopping { since, .. }, Event::Tick) if passed(since) > patience.stop => {
                Self::Fault(Cause::Unstoppable)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests;
