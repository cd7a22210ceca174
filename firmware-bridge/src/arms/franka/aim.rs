//! Where the control box's client has to be sent so that the arm is where the set-point is.
//!
//! `franka-rs` takes one target at a time and plans to stand still there, anew in every
//! millisecond. Sent to a set-point that moves, it would stay behind by the way that it takes to
//! stop. So it is sent ahead by that way: to where it would stand if this set-point were the last.
//! If it is the last, that is where the arm comes to rest.

use franka::{FciVersion, JointTargetControlOptions, OtgLimits};

use crate::motion::joint::MotionLimits;

/// Joints of the arm.
pub(super) const JOINTS: usize = 7;

/// Set-points in, targets out. Neither allocates.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    /// What the generator may do.
    limits: [OtgLimits; JOINTS],
    /// Smallest and largest target.
    range: [(f64, f64); JOINTS],
    period_secs: f64,
    before: Option<[f64; JOINTS]>,
}

impl Aim {
    /// For set-points that come once in a period.
    pub(super) fn new(
        limits: [OtgLimits; JOINTS],
        range: [(f64, f64); JOINTS],
        period_secs: f64,
    ) -> Self {
        Self { limits, range, period_secs, before: None }
    }

    /// Set-points begin anew.
    pub(super) fn restart(&mut self) {
        self.before = None;
    }

    /// The target for the set-point of this period.
    pub(super) fn target(&mut self, set_point: [f64; JOINTS]) -> [f64; JOINTS] {
        let before = self.before.replace(set_point).unwrap_or(set_point);
        let velocity: [f64; JOINTS] = std::array::from_fn(|i| {
            let velocity = (set_point[i] - before[i]) / self.period_secs;
            // Faster than it can move, it did not: set-points began anew.
            if velocity.abs() <= self.limits[i].max_velocity { velocity } else { 0.0 }
        });
        // The generator lets all joints arrive together, so the slowest to stop counts for all.
        let stop_secs = velocity.iter().zip(&self.limits).map(|(v, limits)| stop_secs(*v, limits));
        let stop_secs = stop_secs.fold(0.0, f64::max);
        std::array::from_fn(|i| {
            let (min, max) = self.range[i];
            (set_point[i] + velocity[i] * stop_secs / 2.0).clamp(min, max)
        })
    }
}

/// Seconds to a standstill from a steady velocity.
pub(super) fn stop_secs(velocity: f64, limits: &OtgLimits) -> f64 {
    let OtgLimits { max_acceleration: acceleration, max_jerk: jerk, .. } = *limits;
    let velocity = velocity.abs();
    if velocity * jerk >= acceleration * acceleration {
        velocity / acceleration + acceleration / jerk
    } else {
        2.0 * (velocity / jerk).sqrt()
    }
}

/// Part of the arm's own limits that the generator may come to.
const PART: f64 = 0.9;

/// What the generator may do to follow set-points within `joints`: it has to be quicker than they
/// are, and gentler than the arm allows.
pub(super) fn generator(
    joints: &[MotionLimits; JOINTS],
    version: FciVersion,
) -> [OtgLimits; JOINTS] {
    let most = JointTargetControlOptions::scaled_limits(version, PART);
    std::array::from_fn(|i| OtgLimits {
        max_velocity: (1.2 * joints[i].velocity).min(most[i].max_velocity),
        max_acceleration: (2.0 * joints[i].acceleration).min(most[i].max_acceleration),
        max_jerk: (10.0 * joints[i].jerk).min(most[i].max_jerk),
    })
}
