//! What goes to the control thread and what comes from it.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use engraft_wire::operator::MAX_JOINTS;
use serde::{Deserialize, Serialize};

use crate::description::ArmDescription;
use crate::machine::State;
use crate::motors::{Health, Identity, MotorsError};
use crate::pilot::{Input, Output, PilotConfig, PilotCounters, Trouble};
use crate::units::Scale;

/// What the control thread is asked for.
#[derive(Debug)]
pub enum Request {
    /// An input for the pilot.
    Input(Input),
    /// Torque on or off.
    Torque(bool),
}

/// Why the control thread did not do what it was asked for. Whoever asked puts it into words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The state machine makes nothing of it.
    #[error("nothing follows from that in {}", .0.name())]
    Ignored(State),
    /// The pilot does not take it.
    #[error(transparent)]
    Trouble(Trouble),
    /// There is no arm.
    #[error("the arm is not connected: look at `firmware-bridge doctor`")]
    NotConnected,
    /// Torque is not for this state.
    #[error("{}", no_torque(*.state, *.torque))]
    NoTorque {
        /// The state.
        state: State,
        /// Whether torque is on already.
        torque: bool,
    },
    /// Torque stays on while the arm moves.
    #[error("the arm moves: stop it first")]
    Moving,
    /// The motors did not do it, in words.
    #[error("{0}")]
    Motors(String),
}

fn no_torque(state: State, torque: bool) -> String {
    match state {
        State::Fault(cause) => format!("a fault is latched ({cause}): reset it first"),
        State::Estop => "the emergency stop is latched: reset it first".into(),
        state if torque => format!("torque is on already ({})", state.name()),
        state => format!("not in {}", state.name()),
    }
}

/// How a journal begins: all that makes a pilot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heading {
    /// The arm.
    pub arm: ArmDescription,
    /// Scales of its joints, to radians.
    pub scales: Vec<Scale>,
    /// What the pilot went by.
    pub config: PilotConfig,
}

/// One step of the pilot, as a journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub now: Duration,
    /// What went in.
    pub input: Input,
    /// What came out.
    pub output: Option<Output>,
}

/// How things are after a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// When the period began.
    pub now: Duration,
    /// How late that was.
    pub late: Duration,
    /// Where the machine is.
    pub state: State,
    /// Whether torque is on.
    pub torque: bool,
    /// The running episode.
    pub episode: u32,
    /// Where the joints are, in radians.
    pub position_rad: [f64; MAX_JOINTS],
    /// How fast they move, in radians per second.
    pub velocity_rad_s: [f64; MAX_JOINTS],
    /// Where they are sent to, in radians.
    pub goal_rad: [f64; MAX_JOINTS],
    /// How hard they push, in thousandths.
    pub load_permille: [i16; MAX_JOINTS],
    /// What happened so far.
    pub counters: PilotCounters,
}

/// What the control thread tells.
#[derive(Debug)]
pub enum Happening {
    /// A period is over.
    Moment(Moment),
    /// A step of the pilot.
    Record(Record),
    /// An arm answered, and this is what it is made of.
    Connected(Vec<Identity>),
    /// A joint was examined.
    Examined {
        /// Its index.
        joint: usize,
        /// What it says.
        health: Health,
    },
    /// Something went wrong.
    Trouble(MotorsError),
    /// Somebody was answered.
    Answered(Answered),
}

/// What somebody was answered with, to be let go.
#[derive(Debug)]
pub struct Answered(
    #[expect(dead_code, reason = "kept to be dropped elsewhere")]
    pub(super)  SyncSender<Result<State, Refusal>>,
);
