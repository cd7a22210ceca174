//! What goes into the pilot, what comes out, and what may be wrong with either.

use engraft_wire::operator::MAX_JOINTS;
use serde::{Deserialize, Serialize};

use crate::machine::{Event, State};
use crate::motion::gate::{Violation, WorkspaceViolation};
use crate::motion::trajectory::TrajectoryError;
use crate::motion::waypoints::PathError;
use crate::plan::{Plan, PlanError};

/// What goes into the pilot, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// Something for the state machine.
    Event(Event),
    /// Whoever has the lease is there.
    Heartbeat,
    /// A new episode: plans of others are not taken any more.
    Episode(u32),
    /// Where the joints are, and how fast they move, in ticks.
    Sensed {
        /// Positions.
        position: [i32; MAX_JOINTS],
        /// Velocities.
        velocity: [i32; MAX_JOINTS],
    },
    /// A reading failed.
    Missed,
    /// Waypoints.
    Plan(Box<Plan>),
    /// A period begins: a set-point is due.
    Tick,
}

/// What comes of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where the machine is.
    pub state: State,
    /// The set-points in ticks, if any may be sent.
    pub goals: Option<[i32; MAX_JOINTS]>,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// A plan was not taken.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its waypoints make no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The arm does not follow, or a number is none.
    #[error(transparent)]
    Trajectory(#[from] TrajectoryError),
    /// A set-point broke a limit.
    #[error(transparent)]
    Gate(#[from] Violation),
    /// The arm would leave its workspace.
    #[error(transparent)]
    Workspace(#[from] WorkspaceViolation),
    /// A set-point is no whole number of ticks.
    #[error("a set-point is no whole number of ticks")]
    Ticks,
    /// Nobody knows where the joints are.
    #[error("the joints could not be read ({misses} reading(s) failed): try again")]
    Unread {
        /// Readings in a row that failed.
        misses: u32,
    },
    /// A joint is where it may not be.
    #[error(
        "joint {joint} is at {found:.3} rad, outside {min:.3} to {max:.3}: move it inside by hand \
         while torque is off"
    )]
    Outside {
        /// Its index.
        joint: usize,
        /// Where it is.
        found: f64,
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
}

/// Why there can be no pilot for an arm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PilotError {
    /// More joints than there is room for.
    #[error("an arm has 1 to {MAX_JOINTS} joints, found {found}")]
    Joints {
        /// How many it has.
        found: usize,
    },
    /// A joint's limits make no sense on its scale.
    #[error("joint {joint}: its limits make no sense in ticks")]
    Limits {
        /// Its name.
        joint: String,
    },
}

/// What happened, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PilotCounters {
    /// Set-points that were due.
    pub ticks: u64,
    /// Readings that failed or made no sense.
    pub misses: u64,
    /// Plans that were taken.
    pub plans: u64,
    /// Plans that were refused.
    pub refused: u64,
    /// Set-points that a limit changed.
    pub limited: u64,
}
