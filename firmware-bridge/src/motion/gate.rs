//! The last gate before the motors: whole numbers, code of its own, and no opinion.
//!
//! It lets set-points pass or refuses them; it never changes one. It knows nothing of how they
//! came about, so that a mistake there is found here. Allowances are those of rounding alone: a
//! position rounded to the nearest tick is off by half a tick, so a step between two is off by one
//! tick, and a change between two steps, which counts the middle position twice, by two.

use nalgebra::Isometry3;

use crate::description::Workspace;
use crate::kinematics::chain::{Chain, MAX_FRAMES};
use crate::motion::joint::MotionLimits;
use crate::units::Scale;

/// How far the first set-point after arming may be from where the joint was measured, in ticks.
pub const ARMING_TICKS: i32 = 1;
/// Slack of the bounds, in ticks, for the rounding of 64-bit floats before they become ticks.
const SLACK_TICKS: f64 = 1e-6;

/// What one joint may do, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateJoint {
    /// Smallest goal.
    pub min: i32,
    /// Largest goal.
    pub max: i32,
    /// Largest difference between two goals in a row.
    pub max_step: i32,
    /// Largest difference between two steps in a row.
    pub max_change: i32,
}

/// Which rule a set-point broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Not below the smallest position.
    Min,
    /// Not above the largest position.
    Max,
    /// No step larger than the velocity allows.
    Step,
    /// No change of step larger than the acceleration allows.
    Change,
    /// The first set-point is where the arm is.
    First,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Min => "the smallest position",
            Self::Max => "the largest position",
            Self::Step => "the largest step",
            Self::Change => "the largest change of step",
            Self::First => "the distance of the first set-point from the arm",
        })
    }
}

/// Why set-points may not pass. All are whole ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// There was no [`Gate::arm`] before.
    #[error("set-points came before the gate was told where the arm is")]
    NotArmed,
    /// Not one set-point per joint.
    #[error("expected {expected} set-point(s), found {found}")]
    Count {
        /// Joints of the arm.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// A set-point out of bounds.
    #[error("joint {joint}: {rule} is {limit} tick(s), found {found}")]
    Joint {
        /// Its index.
        joint: usize,
        /// What it broke.
        rule: Rule,
        /// The bound.
        limit: i64,
        /// What came.
        found: i64,
    },
}

/// The gate of one arm.
#[derive(Debug, Clone)]
pub struct Gate {
    joints: Vec<GateJoint>,
    last: Vec<i32>,
    steps: Vec<i64>,
    state: Armed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    /// The next set-point is the first.
    First,
    Yes,
}

impl GateJoint {
    /// What a joint may do per period, from its limits. `None` when these make no sense in ticks.
    pub fn new(limits: &MotionLimits, scale: Scale, period_secs: f64) -> Option<Self> {
        let tick = scale.difference(1.0).abs();
        let at = [limits.min, limits.max].map(|value| {
            scale.ticks(value).map(|nearest| {
                let past = (value - scale.value(nearest)) / scale.difference(1.0);
                (nearest, past)
            })
        });
        let [Some(a), Some(b)] = at else { return None };
        let (low, high) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        // Half-way between two ticks, float rounding may take the one that is further out.
        let min = low.0 - i32::from(low.1 <= SLACK_TICKS - 0.5);
        let max = high.0 + i32::from(high.1 >= 0.5 - SLACK_TICKS);
        let whole = |ticks: f64| {
            let whole = (ticks + SLACK_TICKS).floor();
            (whole.is_finite() && whole < f64::from(i32::MAX)).then_some(whole as i32)
        };
        Some(Self {
            min,
            max,
            max_step: whole(limits.velocity * period_secs / tick + 1.0)?,
            max_change: whole(limits.acceleration * period_secs * period_secs / tick + 2.0)?,
        })
    }
}

impl Gate {
    /// A gate that is shut until it is told where the arm is.
    pub fn new(joints: Vec<GateJoint>) -> Self {
        let count = joints.len();
        Self { joints, last: vec![0; count], steps: vec![0; count], state: Armed::No }
    }

    /// Says where the arm was measured to be, at rest. The next set-points must be there.
    ///
    /// # Errors
    ///
    /// When there are not as many numbers as joints; the gate is then shut.
    pub fn arm(&mut self, measured: &[i32]) -> Result<(), Violation> {
        self.state = Armed::No;
        self.count(measured)?;
        self.last.copy_from_slice(measured);
        self.steps.fill(0);
        self.state = Armed::First;
        Ok(())
    }

    /// Whether the next set-points are the first, which must be where the arm is.
    pub fn awaits_first(&self) -> bool {
        self.state == Armed::First
    }

    /// Shuts the gate.
    pub fn disarm(&mut self) {
        self.state = Armed::No;
    }

    /// Says whether set-points may be sent. Those that may not leave the gate as it was.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&mut self, goals: &[i32]) -> Result<(), Violation> {
        self.count(goals)?;
        let first = match self.state {
            Armed::No => return Err(Violation::NotArmed),
            Armed::First => true,
            Armed::Yes => false,
        };
        let known = self.joints.iter().zip(&self.last).zip(&self.steps);
        for (joint, (&goal, ((limits, &last), &last_step))) in goals.iter().zip(known).enumerate() {
            let step = i64::from(goal) - i64::from(last);
            let change = step - last_step;
            let refuse = |rule, limit: i32, found| {
                Err(Violation::Joint { joint, rule, limit: i64::from(limit), found })
            };
            if goal < limits.min {
                return refuse(Rule::Min, limits.min, i64::from(goal));
            }
            if goal > limits.max {
                return refuse(Rule::Max, limits.max, i64::from(goal));
            }
            if first {
                if step.abs() > i64::from(ARMING_TICKS) {
                    return refuse(Rule::First, ARMING_TICKS, step);
                }
                continue;
            }
            if step.abs() > i64::from(limits.max_step) {
                return refuse(Rule::Step, limits.max_step, step);
            }
            if change.abs() > i64::from(limits.max_change) {
                return refuse(Rule::Change, limits.max_change, change);
            }
        }
        for ((last, step), &goal) in self.last.iter_mut().zip(&mut self.steps).zip(goals) {
            // The arm is at rest when it is armed, wherever in its tick.
            *step = if first { 0 } else { i64::from(goal) - i64::from(*last) };
            *last = goal;
        }
        self.state = Armed::Yes;
        Ok(())
    }

    fn count(&self, found: &[i32]) -> Result<(), Violation> {
        let (expected, found) = (self.joints.len(), found.len());
        if expected == found { Ok(()) } else { Err(Violation::Count { expected, found }) }
    }
}

/// Why the arm may not be where joint positions put it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceViolation {
    /// A joint position is no number.
    #[error("joint {joint}: expected a finite position, found {found}")]
    NotFinite {
        /// Its index.
        joint: usize,
        /// What it is.
        found: f64,
    },
    /// Not one position per joint.
    #[error("expected at least {expected} joint position(s), found {found}")]
    Count {
        /// Joints of the chain.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// The tip would leave the box.
    #[error("the tip's {axis} would be {found:.4} m, expected {min:.4} to {max:.4} m")]
    Box {
        /// `x`, `y` or `z`.
        axis: char,
        /// Smallest, in metres.
        min: f64,
        /// Largest, in metres.
        max: f64,
        /// What it would be, in metres.
        found: f64,
    },
    /// A link would come too low.
    #[error("link {link} would be {found:.4} m high, expected at least {expected:.4} m")]
    Low {
        /// Its index in the chain, the base being 0.
        link: usize,
        /// The smallest height, in metres.
        expected: f64,
        /// Its own, in metres.
        found: f64,
    },
}

/// Says whether joint positions keep the tip in its box and every link frame beyond the first
/// joint above its smallest height. Frames are points: a link's own thickness is the user's to add
/// to the height. Further positions, as of a gripper, are ignored.
///
/// # Errors
///
/// The first rule that is broken.
pub fn check_workspace(
    chain: &Chain,
    workspace: &Workspace,
    positions: &[f64],
) -> Result<(), WorkspaceViolation> {
    let (expected, found) = (chain.num_joints(), positions.len());
    if found < expected {
        return Err(WorkspaceViolation::Count { expected, found });
    }
    let positions = &positions[..expected];
    if let Some((joint, &found)) = positions.iter().enumerate().find(|(_, q)| !q.is_finite()) {
        return Err(WorkspaceViolation::NotFinite { joint, found });
    }
    let mut frames = [Isometry3::identity(); MAX_FRAMES];
    let frames = chain.frames(positions, &mut frames);
    let Some(tip) = frames.last() else { return Ok(()) };
    for (i, axis) in ['x', 'y', 'z'].into_iter().enumerate() {
        let (min, max, found) = (workspace.min_m[i], workspace.max_m[i], tip.translation.vector[i]);
        if !(min..=max).contains(&found) {
            return Err(WorkspaceViolation::Box { axis, min, max, found });
        }
    }
    let expected = workspace.min_height_m;
    for (link, frame) in frames.iter().enumerate().skip(chain.first_moving()) {
        let found = frame.translation.z;
        if found.is_nan() || found < expected {
            return Err(WorkspaceViolation::Low { link, expected, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
