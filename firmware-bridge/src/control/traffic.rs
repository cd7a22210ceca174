//! What goes to the control thread and what comes from it.

use std::time::Duration;

use engraft_wire::operator::MAX_JOINTS;
use serde::{Deserialize, Serialize};

use crate::description::ArmDescription;
use crate::machine::State;
use crate::motors::{Health, Identity};
use crate::pilot::{Input, Output, PilotConfig, PilotCounters};
use crate::units::Scale;

/// What the control thread is asked for.
#[derive(Debug)]
pub enum Request {
    /// An input for the pilot.
    Input(Input),
    /// Torque on or off.
    Torque(bool),
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
    /// Something went wrong, in words.
    Trouble(String),
}
