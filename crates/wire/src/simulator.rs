//! What a bridge and a simulator say to each other, so that a simulator is an arm like any other.
//!
//! A simulator is a program that somebody wrote around `MuJoCo`, Isaac, Drake or anything else that
//! moves joints. It listens on two ZeroMQ `REP` sockets: one for the arm, at an address that the
//! bridge is given (`tcp://127.0.0.1:5570`), and one for the cameras, at another port of the same
//! machine that it names in `eyes_port`. So a picture that takes long to draw never makes a
//! set-point late. A simulator without cameras leaves the second out.
//!
//! A message is a row of frames, as in the [native dialect](crate::native):
//!
//! ```text
//! [empty] [header: one msgpack map] [array 0] [array 1] ...
//! ```
//!
//! `REP` takes the empty frame off a request and puts it before an answer by itself. Every header
//! has `v` (this version, [`VERSION`]), `t` (the kind of message) and `seq`, a number that a
//! simulator sends back as it came: an answer that comes late is known by it. Fields that a reader
//! does not know are ignored; another version is refused. Every request has one answer.
//!
//! | request | socket | fields | is answered with |
//! | --- | --- | --- | --- |
//! | `describe` | both | | `description` |
//! | `sense` | arm | | `state` |
//! | `command` | arm | `goal_rad`: where each joint shall go, in the order of the description | `state`, after the goals were taken |
//! | `torque` | arm | `on` | `state`; the goal of every joint is then where the joint is |
//! | `reset` | eyes | `instance`, from 0, and `seed` | `placed` |
//! | `look` | eyes | | `sight` |
//!
//! | answer | fields |
//! | --- | --- |
//! | `description` | `name` and `version` (text), `task` (in words), `joints` [{`name`, `min_rad`, `max_rad`}], `views` [{`name`, `width`, `height`, `depth`}], `instances` (names), `step_secs`, `watchdog_secs`, `eyes_port` (may be left out) |
//! | `state` | `time_secs` (of the simulated clock), `position_rad`, `velocity_rad_s`, `effort` (parts of each joint's most, signed; may be left out), `torque` (whether it is on) |
//! | `placed` | `start_rad`: where the arm should begin; may be left out |
//! | `sight` | `time_secs`, `success` (may be left out where nobody can tell), `arrays`: a frame stack of one, which is `rgb.V` u1 [1, height, width, 3] and `depth.V` f4 [1, height, width] of view number V, from 0, and `proprio` f4 [1, joints], where the joints were in the picture |
//! | `error` | `detail`: why it was not done, in one line |
//!
//! A joint that slides has metres where others have radians. What a simulator must do beyond this:
//!
//! - Its clock runs as fast as the wall's while nobody asks for anything.
//! - Without torque it takes no `command`; joints stay where they are, as if a brake held them.
//! - Once it has torque and `watchdog_secs` pass without a `command`, it makes the place where
//!   each joint is its goal: a bridge that died moves nothing.
//! - `reset` places everything but the arm. The bridge moves the arm itself, within its limits.
//! - A bridge that connects anew finds torque as it was; a simulator that starts anew has none.
//!
//! Bounds: those of the native dialect, and [`MAX_JOINTS`]. Nothing is encrypted: a simulator
//! listens on its own machine, unless its network is one's own.

mod codec;
mod joints;
mod socket;
#[cfg(test)]
mod tests;

use engraft_core::{Observation, ViewSpec};
use serde::{Deserialize, Serialize};

pub use codec::{decode_answer, decode_request, encode_answer, encode_request};
pub use joints::Joints;
pub use socket::{Call, Caller, SimulatorDesk, SimulatorSocket};

use crate::error::WireError;
use crate::native::{MAX_FRAMES, MAX_RESPONSE_BYTES, at_most};
use crate::operator::MAX_JOINTS;
use joints::finite;

/// The version of this dialect.
pub const VERSION: u64 = 1;

/// What a bridge asks of a simulator.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// To say what it is.
    Describe,
    /// How the arm is.
    Sense,
    /// To move every joint towards its goal.
    Command {
        /// In radians, within the ranges of the description.
        goal_rad: Joints,
    },
    /// To give the arm torque, with every goal where the joint is, or to take it.
    Torque {
        /// Which of both.
        on: bool,
    },
    /// To place everything but the arm.
    Reset {
        /// Which instance of the task, from 0.
        instance: u64,
        /// What differs between two episodes of an instance follows from it.
        seed: u64,
    },
    /// What the cameras see.
    Look,
}

/// What a simulator answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// What it is.
    Description(Box<Description>),
    /// How the arm is.
    State(State),
    /// Everything is in its place.
    Placed {
        /// Where the arm should begin, where that matters.
        start_rad: Option<Joints>,
    },
    /// What the cameras see.
    Sight(Box<Sight>),
    /// It was not done.
    Error {
        /// Why, in one line.
        detail: String,
    },
}

/// One joint of a simulated arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointRange {
    /// Its name.
    pub name: String,
    /// Smallest angle that it takes, in radians, or place in metres.
    pub min_rad: f64,
    /// Largest.
    pub max_rad: f64,
}

/// What a simulator is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Which robot it simulates: what the bridge's description calls its joints' `model`.
    pub name: String,
    /// What simulates it, and which release of that.
    pub version: String,
    /// The task in words.
    #[serde(default)]
    pub task: String,
    /// The arm's joints, from the base outwards.
    pub joints: Vec<JointRange>,
    /// The cameras, in order.
    #[serde(default)]
    pub views: Vec<ViewSpec>,
    /// Names of the task's instances.
    #[serde(default)]
    pub instances: Vec<String>,
    /// Seconds of one step of its physics.
    pub step_secs: f64,
    /// Seconds without a command after which it holds by itself.
    pub watchdog_secs: f64,
    /// The port of the cameras' socket, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eyes_port: Option<u16>,
}

/// How a simulated arm is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Seconds on the simulated clock.
    pub time_secs: f64,
    /// Where each joint is.
    pub position_rad: Joints,
    /// How fast it moves.
    pub velocity_rad_s: Joints,
    /// How hard it pushes, as a part of its most, signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Joints>,
    /// Whether the arm has torque.
    pub torque: bool,
}

/// What a simulator's cameras see.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// Seconds on the simulated clock.
    pub time_secs: f64,
    /// Whether the task is done, where somebody can tell.
    pub success: Option<bool>,
    /// The pictures, and where the joints were in them, in radians.
    pub observation: Observation,
}

impl Description {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), WireError> {
        at_most("joints of an arm", MAX_JOINTS, self.joints.len())?;
        let wrong = |detail: String| Err(WireError::Header { detail });
        if self.joints.is_empty() {
            return wrong("expected at least one joint, found none".into());
        }
        for JointRange { name, min_rad, max_rad } in &self.joints {
            if !(min_rad.is_finite() && max_rad.is_finite() && min_rad < max_rad) {
                return wrong(format!("joint `{name}`: {min_rad} to {max_rad} is no range"));
            }
        }
        for (name, secs) in [("step_secs", self.step_secs), ("watchdog_secs", self.watchdog_secs)] {
            if !(secs.is_finite() && secs > 0.0) {
                return wrong(format!("expected {name} above 0, found {secs}"));
            }
        }
        // Each view may be two arrays beside the header and the joints.
        at_most("views of a simulator", (MAX_FRAMES - 2) / 2, self.views.len())?;
        let pixels = self.views.iter().map(|view| {
            view.width.saturating_mul(view.height).saturating_mul(if view.depth { 7 } else { 3 })
        });
        let bytes = pixels.fold(0, usize::saturating_add);
        at_most("bytes of a simulator's pictures", MAX_RESPONSE_BYTES, bytes)
    }
}

impl State {
    /// Checks that it is of an arm with so many joints.
    ///
    /// # Errors
    ///
    /// When it has another number of anything.
    pub fn check(&self, joints: usize) -> Result<(), WireError> {
        let all = [
            ("position_rad", Some(self.position_rad)),
            ("velocity_rad_s", Some(self.velocity_rad_s)),
            ("effort", self.effort),
        ];
        for (field, numbers) in all {
            if let Some(found) = numbers.map(|numbers| numbers.as_slice().len())
                && found != joints
            {
                let detail = format!("{field}: expected {joints} number(s), found {found}");
                return Err(WireError::Header { detail });
            }
        }
        finite("time_secs", self.time_secs)
    }
}
