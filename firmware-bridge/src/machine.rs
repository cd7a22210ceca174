//! The state machine: what happens and when goes in, what the arm may do comes out.
//!
//! No clock and no I/O: time is an argument, so a log replays exactly. `STATES.md` is generated
//! from this file, and a test holds the two together.

use std::fmt;
use std::time::Duration;

/// Why the arm holds, or may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// The policy was not trained for this robot, or is not the one that it began with.
    Mismatch,
    /// The arm does not answer or reports a failure.
    Arm,
    /// The arm did not come to rest in time.
    Unstoppable,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "no first chunk came",
            Self::Underrun => "the chunk ran out and no other came",
            Self::Stale => "the newest chunk is too old",
            Self::Gap => "the control loop was interrupted",
            Self::Mismatch => "the policy does not fit this robot",
            Self::Arm => "the arm failed",
            Self::Unstoppable => "the arm did not come to rest",
        })
    }
}

/// Where the bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No policy that fits. Nothing is sent to the arm.
    Idle,
    /// A policy that fits; the arm stands still until an operator starts.
    Ready,
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
    },
    /// Something is wrong. Latched: only an operator's reset leads out.
    Fault(Cause),
    /// Software emergency stop. Latched: only an operator's reset leads out.
    Estop,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A policy server answered, and its policy fits.
    Welcome,
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
    /// The arm does not answer or reports a failure.
    ArmFailed,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            Self::Idle => Motion::Nothing,
            Self::Running { .. } => Motion::Play,
            _ => Motion::Rest,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Ready => "Ready",
            Self::Running { .. } => "Running",
            Self::Hold { .. } => "Hold",
            Self::Stopping { .. } => "Stopping",
            Self::Fault(_) => "Fault",
            Self::Estop => "Estop",
        }
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
            (Self::Fault(_) | Self::Estop, Event::Reset) => Self::Idle,
            (Self::Fault(_) | Self::Estop, _) => self,
            (_, Event::ArmFailed) => Self::Fault(Cause::Arm),
            (_, Event::Mismatch) => Self::Fault(Cause::Mismatch),

            (Self::Idle, Event::Welcome) => Self::Ready,
            (Self::Ready, Event::Lost) => Self::Idle,
            (Self::Ready, Event::Start) => hold(Cause::Starting),

            (Self::Running { .. }, Event::Underrun) => hold(Cause::Underrun),
            (Self::Running { .. }, Event::Gap) => hold(Cause::Gap),
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
                Self::Stopping { since: now }
            }
            (Self::Stopping { .. }, Event::AtRest) => Self::Ready,
            (Self::Stopping { since }, Event::Tick) if passed(since) > patience.stop => {
                Self::Fault(Cause::Unstoppable)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests;
