//! The embedded simulator: a gripper arm before drawers and doors.
//!
//! Deterministic to the bit, without a GPU, a download or another language. An [`Instance`] is one
//! cabinet in one room, a function of its index; a reset moves the cabinet, the arm, the camera
//! and the light a little, as a function of its seed. A scripted expert opens them all.
//!
//! ```
//! use engraft_core::Environment;
//! use engraft_sim::{SimOptions, Simulator, Split, Task};
//!
//! let mut simulator = Simulator::new(Task::Drawer, Split::Train, SimOptions::default())?;
//! let observation = simulator.reset(0, 7);
//! assert_eq!(observation.views[0].rgb.width(), 96);
//! let action = simulator.expert_action();
//! assert!(!simulator.step(&action).success);
//! # Ok::<(), engraft_sim::SimError>(())
//! ```

mod cabinet;
mod camera;
mod draw;
mod episode;
mod expert;
mod handle;
mod instances;
pub mod kinematics;
pub mod mesh;
mod options;
mod physics;
mod rapier;
mod record;
pub mod render;
mod scene;
mod shade;
mod shadow;
mod simulator;
mod span;
pub mod texture;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use cabinet::Cabinet;
pub use handle::{Handle, HandleKind, Piece};
pub use instances::{CameraPlan, Instance, LightPlan, num_instances};
pub use options::{SimOptions, SimView};
pub use record::{Demonstration, Noise, play_episode, record_episode};
pub use shade::{Ground, Light};
pub use simulator::{ACTION_DIM, SimState, Simulator};

/// Why a simulator could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The arm's description cannot be used.
    #[error("cannot read the arm: {reason}")]
    Urdf {
        /// What is wrong with it.
        reason: String,
    },
    /// A picture would be too small or too large.
    #[error("expected an image size from 16 to 1024, found {found}")]
    ImageSize {
        /// The size asked for.
        found: usize,
    },
    /// No camera, or one twice.
    #[error("expected each view at most once and at least one, found {found}")]
    Views {
        /// The views asked for.
        found: String,
    },
    /// A word that names nothing here.
    #[error("expected {expected}, found `{found}`")]
    Unknown {
        /// The words there are.
        expected: &'static str,
        /// The word found.
        found: String,
    },
}

/// What is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A drawer, by 9 centimetres.
    Drawer,
    /// A door, by 0.35 radians.
    Door,
}

/// Which instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The 21 to learn from.
    Train,
    /// Those whose handles and looks training never shows.
    Heldout,
}

impl Task {
    /// Both tasks.
    pub const ALL: [Self; 2] = [Self::Drawer, Self::Door];

    /// Its name, as it is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drawer => "drawer",
            Self::Door => "door",
        }
    }

    /// What is to be done, in words.
    pub fn instruction(self) -> &'static str {
        match self {
            Self::Drawer => "open the drawer",
            Self::Door => "open the door",
        }
    }
}

impl Split {
    /// Both splits.
    pub const ALL: [Self; 2] = [Self::Train, Self::Heldout];

    /// Its name, as it is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Heldout => "heldout",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Task {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let found = || SimError::Unknown { expected: "drawer or door", found: text.to_owned() };
        Self::ALL.into_iter().find(|task| task.name() == text).ok_or_else(found)
    }
}

impl FromStr for Split {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let found = || SimError::Unknown { expected: "train or heldout", found: text.to_owned() };
        Self::ALL.into_iter().find(|split| split.name() == text).ok_or_else(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_errors_that_list_them() {
        for task in Task::ALL {
            assert_eq!(task.to_string().parse::<Task>().unwrap(), task);
        }
        for split in Split::ALL {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
        }
        let error = "window".parse::<Task>().unwrap_err();
        assert_eq!(error.to_string(), "expected drawer or door, found `window`");
    }
}
