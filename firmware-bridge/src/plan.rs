//! What the arm is to do next: waypoints on absolute ticks, from a policy or from an operator.

use std::time::Duration;

use engraft_wire::operator::MAX_JOINTS;
use serde::{Deserialize, Serialize};

/// Waypoints that a plan may have.
pub const MAX_WAYPOINTS: usize = 128;

/// Waypoints, one tick apart.
///
/// Ticks count from the zero of the bridge's clock at the rate of the plans. A plan replaces
/// whatever was to come from its first tick on, so a late, doubled or reordered one does no harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The episode it belongs to.
    pub episode: u32,
    /// Its number in the episode; one that is no higher than that of the last is not taken.
    pub number: u64,
    /// When that was sensed from which it was made.
    pub observed: Duration,
    /// When the first waypoint is due.
    pub first_tick: u64,
    /// Angles in radians, `[waypoints, joints]`, row after row.
    pub waypoints_rad: Vec<f64>,
    /// Whether the arm stops at the last one; otherwise more is to come.
    pub last: bool,
}

/// Why a plan is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It is of another episode.
    #[error("the plan is of episode {found}, expected {expected}")]
    Episode {
        /// The running one.
        expected: u32,
        /// The plan's.
        found: u32,
    },
    /// One at least as new came before.
    #[error("plan {found} comes after plan {newest}")]
    Old {
        /// The newest that was taken.
        newest: u64,
        /// Its own.
        found: u64,
    },
    /// It has another shape than the arm.
    #[error("the plan has {found} number(s), expected 1 to {MAX_WAYPOINTS} rows of {joints}")]
    Shape {
        /// Joints of the arm.
        joints: usize,
        /// Its numbers.
        found: usize,
    },
    /// A number is not finite.
    #[error("waypoint {waypoint} of the plan is not finite in joint {joint}")]
    NotFinite {
        /// The first such waypoint.
        waypoint: usize,
        /// The first such joint of it.
        joint: usize,
    },
    /// It was made from what is too old, or claims to be from the future.
    #[error("what the plan was made from is {age:?} old, at most {limit:?} is taken")]
    Age {
        /// Its age; zero when it claims to be from the future.
        age: Duration,
        /// The limit.
        limit: Duration,
    },
    /// All of it is due before now, or none of it for a long time.
    #[error("the plan is for ticks {first} to {end}, and it is tick {now}")]
    Time {
        /// Its first.
        first: u64,
        /// The one after its last.
        end: u64,
        /// Now.
        now: u64,
    },
    /// After a hold the arm goes on only with a plan that begins where it stands.
    #[error(
        "after a hold joint {joint} would go on {found:.3} rad from where it stands, at most \
         {limit:.3}: start the episode anew"
    )]
    Far {
        /// The joint.
        joint: usize,
        /// How far it is.
        found: f64,
        /// How far it may be.
        limit: f64,
    },
}

/// What a plan is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Joints of the arm.
    pub joints: usize,
    /// The running episode.
    pub episode: u32,
    /// The number of the newest plan that was taken.
    pub newest: Option<u64>,
    /// The current tick.
    pub tick: u64,
    /// Now.
    pub now: Duration,
    /// Oldest that an observation may be.
    pub max_age: Duration,
}

impl Expected {
    /// Whether `plan` may be taken.
    ///
    /// # Errors
    ///
    /// The first reason why not.
    pub fn check(&self, plan: &Plan) -> Result<(), PlanError> {
        let Self { joints, episode, newest, tick, now, max_age } = *self;
        if plan.episode != episode {
            return Err(PlanError::Episode { expected: episode, found: plan.episode });
        }
        if let Some(newest) = newest.filter(|&newest| plan.number <= newest) {
            return Err(PlanError::Old { newest, found: plan.number });
        }
        let found = plan.waypoints_rad.len();
        let rows = found / joints.clamp(1, MAX_JOINTS);
        if !(1..=MAX_WAYPOINTS).contains(&rows) || found != rows * joints {
            return Err(PlanError::Shape { joints, found });
        }
        if let Some(at) = plan.waypoints_rad.iter().position(|angle| !angle.is_finite()) {
            return Err(PlanError::NotFinite { waypoint: at / joints, joint: at % joints });
        }
        let age = now.checked_sub(plan.observed);
        if age.is_none_or(|age| age > max_age) {
            return Err(PlanError::Age { age: age.unwrap_or_default(), limit: max_age });
        }
        let (first, end) = (plan.first_tick, plan.first_tick.saturating_add(rows as u64));
        let far = first > tick.saturating_add(MAX_WAYPOINTS as u64);
        if end <= tick || far {
            return Err(PlanError::Time { first, end, now: tick });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plan_that_is_right_in_everything_is_taken() {
        let expected = Expected {
            joints: 2,
            episode: 3,
            newest: Some(7),
            tick: 100,
            now: Duration::from_secs(10),
            max_age: Duration::from_millis(500),
        };
        let good = Plan {
            episode: 3,
            number: 8,
            observed: Duration::from_millis(9_600),
            first_tick: 99,
            waypoints_rad: vec![0.1; 8],
            last: false,
        };
        assert_eq!(expected.check(&good), Ok(()));
        let broken: [&dyn Fn(&mut Plan); 11] = [
            &|plan| plan.episode = 4,
            &|plan| plan.number = 7,
            &|plan| plan.waypoints_rad.clear(),
            &|plan| plan.waypoints_rad.truncate(7),
            &|plan| plan.waypoints_rad = vec![0.0; 2 * (MAX_WAYPOINTS + 1)],
            &|plan| plan.waypoints_rad[5] = f64::NAN,
            &|plan| plan.waypoints_rad[0] = f64::INFINITY,
            &|plan| plan.observed = Duration::from_millis(9_499),
            &|plan| plan.observed = Duration::from_millis(10_001),
            &|plan| plan.first_tick = 96,
            &|plan| plan.first_tick = u64::MAX,
        ];
        for (i, damage) in broken.iter().enumerate() {
            let mut plan = good.clone();
            damage(&mut plan);
            assert!(expected.check(&plan).is_err(), "{i} was taken");
        }
    }
}
