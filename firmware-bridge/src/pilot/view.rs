//! What others may look at.

use engraft_wire::operator::MAX_JOINTS;

use super::{Input, Pilot, PilotCounters, Trouble};
use crate::machine::State;
use crate::motors::Sensed;
use crate::units::Scale;

impl Pilot {
    /// Where the machine is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether torque is known to be on.
    pub fn torque(&self) -> bool {
        self.torque
    }

    /// The running episode.
    pub fn episode(&self) -> u32 {
        self.episode
    }

    /// Where the joints are, in radians.
    pub fn measured_rad(&self) -> &[f64] {
        &self.measured
    }

    /// How fast they move, in radians per second.
    pub fn velocity_rad_s(&self) -> &[f64] {
        &self.velocity
    }

    /// Where they are sent to, in radians.
    pub fn goals_rad(&self) -> impl Iterator<Item = f64> {
        self.trajectory.states().map(|state| state.position)
    }

    /// Scales of the joints, from ticks to radians.
    pub fn scales(&self) -> &[Scale] {
        &self.scales
    }

    /// What happened so far.
    pub fn counters(&self) -> PilotCounters {
        self.counters
    }

    /// What went wrong last.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The input that a reading makes.
    pub fn reading(sensed: &Sensed) -> Input {
        let (mut position, mut velocity) = ([0; MAX_JOINTS], [0; MAX_JOINTS]);
        for (all, some) in [(&mut position, &sensed.position), (&mut velocity, &sensed.velocity)] {
            for (all, some) in all.iter_mut().zip(some) {
                *all = *some;
            }
        }
        Input::Sensed { position, velocity }
    }
}
