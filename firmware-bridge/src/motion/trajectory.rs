//! An arm's set-points: after a moving target, within every limit, never far ahead of the arm.
//!
//! Every joint goes its own way, since a moving target leaves no time to wait for each other.
//! A leash ties the set-point to what is measured: a target further off than the leash counts as
//! one at its end, so a set-point that ran ahead comes back smoothly, and an arm that is stuck is
//! never pushed harder than the leash allows. When the leash has been taut for longer than
//! [`FOLLOWING_SECS`], the arm does not follow, and every further step says so.

use crate::motion::joint::{Author, Joint, MotionLimits, State, Target};
use crate::units::Scale;

/// How long the leash may be taut.
pub const FOLLOWING_SECS: f64 = 0.3;
/// The leash is taut from this part of its length on: a set-point approaches its end ever slower.
const TAUT: f64 = 0.95;

/// What the arm is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim<'a> {
    /// Come to rest as quickly as the limits allow, and stay.
    Hold,
    /// Be where these targets are, one per joint, at the end of this period.
    Follow(&'a [Target]),
}

/// What is wrong. The set-points have moved on by one period nonetheless, within all limits: where
/// a target or a measurement is of no use, the whole arm comes to rest.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrajectoryError {
    /// Too few or too many numbers.
    #[error("expected {expected} {what}(s), found {found}")]
    Count {
        /// What there is too little or too much of.
        what: &'static str,
        /// Joints of the arm.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// A number that is none.
    #[error("joint {joint}: expected a finite {what}, found {found}")]
    NotFinite {
        /// Its index.
        joint: usize,
        /// Which number of it.
        what: &'static str,
        /// What it is.
        found: f64,
    },
    /// The arm does not follow.
    #[error(
        "joint {joint} is {found:.3} rad from its set-point for {taut_secs:.2} s, expected less \
         than {leash:.3} rad: is something in its way, or is it overloaded?"
    )]
    Following {
        /// Its index.
        joint: usize,
        /// How far off it is, in radians.
        found: f64,
        /// How far off it may be, in radians.
        leash: f64,
        /// For how long it has been.
        taut_secs: f64,
    },
}

#[derive(Debug)]
struct Leashed {
    joint: Joint,
    leash: f64,
    /// Periods for which the leash has been taut; those for which it has not count down.
    taut: u32,
}

/// The set-points of one arm.
#[derive(Debug)]
pub struct Trajectory {
    joints: Vec<Leashed>,
    period_secs: f64,
    patience: u32,
    braked: u64,
    unsolved: u64,
}

impl Trajectory {
    /// An arm at rest at zero; [`Trajectory::reset`] says where it is. For each joint its limits
    /// and its leash, in radians.
    ///
    /// # Panics
    ///
    /// When a limit, a leash or the period is not a positive number.
    pub fn new(joints: &[(MotionLimits, f64)], period_secs: f64) -> Self {
        let joints = joints.iter().map(|&(limits, leash)| {
            assert!(leash.is_finite() && leash > 0.0, "no leash: {leash} rad");
            Leashed { joint: Joint::new(limits, period_secs, 0.0), leash, taut: 0 }
        });
        Self {
            joints: joints.collect(),
            period_secs,
            patience: (FOLLOWING_SECS / period_secs).round() as u32,
            braked: 0,
            unsolved: 0,
        }
    }

    /// Puts the set-point where the arm is measured to be, at rest.
    ///
    /// # Errors
    ///
    /// When there are not as many numbers as joints or one is not finite; nothing changes then.
    pub fn reset(&mut self, measured_rad: &[f64]) -> Result<(), TrajectoryError> {
        self.check_measured(measured_rad)?;
        for (leashed, &position) in self.joints.iter_mut().zip(measured_rad) {
            leashed.joint.reset(position);
            leashed.taut = 0;
        }
        Ok(())
    }

    /// Moves the set-points on by one period.
    ///
    /// # Errors
    ///
    /// See [`TrajectoryError`]: the set-points are good in any case.
    pub fn step(&mut self, aim: Aim<'_>, measured_rad: &[f64]) -> Result<(), TrajectoryError> {
        let checked = self.check_measured(measured_rad).and_then(|()| self.check_aim(aim));
        let targets = match (&checked, aim) {
            (Ok(()), Aim::Follow(targets)) => targets,
            _ => &[],
        };
        for (i, leashed) in self.joints.iter_mut().enumerate() {
            match (targets.get(i), measured_rad.get(i)) {
                (Some(&target), Some(&measured)) => match leashed.follow(target, measured) {
                    Author::Solver => {}
                    Author::Brake => self.braked += 1,
                    Author::Unsolved => self.unsolved += 1,
                },
                _ => drop(leashed.joint.stop()),
            }
        }
        checked?;
        let mut error = Ok(());
        for (i, (leashed, &measured)) in self.joints.iter_mut().zip(measured_rad).enumerate() {
            let found = (leashed.joint.state().position - measured).abs();
            if found < TAUT * leashed.leash {
                leashed.taut = leashed.taut.saturating_sub(1);
                continue;
            }
            leashed.taut = leashed.taut.saturating_add(1);
            if leashed.taut > self.patience && error.is_ok() {
                let taut_secs = f64::from(leashed.taut) * self.period_secs;
                let leash = leashed.leash;
                error = Err(TrajectoryError::Following { joint: i, found, leash, taut_secs });
            }
        }
        error
    }

    /// Where a joint's set-point is and how it moves; `None` for a joint that there is not.
    pub fn state(&self, joint: usize) -> Option<State> {
        self.joints.get(joint).map(|leashed| leashed.joint.state())
    }

    /// The state of every joint.
    pub fn states(&self) -> impl ExactSizeIterator<Item = State> {
        self.joints.iter().map(|leashed| leashed.joint.state())
    }

    /// Whether every joint rests.
    pub fn is_at_rest(&self) -> bool {
        self.states().all(|state| state.velocity == 0.0 && state.acceleration == 0.0)
    }

    /// The set-points in ticks, rounded to the nearest. False when one is no 32-bit number, or
    /// there are not as many scales and goals as joints.
    #[must_use]
    pub fn ticks(&self, scales: &[Scale], goals: &mut [i32]) -> bool {
        let counts = [scales.len(), goals.len()];
        counts == [self.joints.len(); 2]
            && self.states().zip(scales).zip(goals).all(|((state, scale), goal)| {
                scale.ticks(state.position).map(|ticks| *goal = ticks).is_some()
            })
    }

    /// How often a joint braked since the way to its target could not have been stopped within
    /// its limits, and how often since no way was found.
    pub fn braked_and_unsolved(&self) -> (u64, u64) {
        (self.braked, self.unsolved)
    }

    fn check_measured(&self, measured_rad: &[f64]) -> Result<(), TrajectoryError> {
        let (expected, found) = (self.joints.len(), measured_rad.len());
        if expected != found {
            return Err(TrajectoryError::Count { what: "measured position", expected, found });
        }
        finite("measured position", measured_rad.iter().copied())
    }

    fn check_aim(&self, aim: Aim<'_>) -> Result<(), TrajectoryError> {
        let Aim::Follow(targets) = aim else { return Ok(()) };
        let (expected, found) = (self.joints.len(), targets.len());
        if expected != found {
            return Err(TrajectoryError::Count { what: "target", expected, found });
        }
        finite("target position", targets.iter().map(|target| target.position))?;
        finite("target velocity", targets.iter().map(|target| target.velocity))
    }
}

impl Leashed {
    fn follow(&mut self, target: Target, measured: f64) -> Author {
        let (min, max) = (measured - self.leash, measured + self.leash);
        let held = target.position < min || target.position > max;
        let position = target.position.max(min).min(max);
        let velocity = if held { 0.0 } else { target.velocity };
        self.joint.follow(Target { position, velocity })
    }
}

fn finite(what: &'static str, numbers: impl Iterator<Item = f64>) -> Result<(), TrajectoryError> {
    match numbers.enumerate().find(|(_, number)| !number.is_finite()) {
        None => Ok(()),
        Some((joint, found)) => Err(TrajectoryError::NotFinite { joint, what, found }),
    }
}

#[cfg(test)]
mod tests;
