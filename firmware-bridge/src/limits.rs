//! The last word before the arm moves: finite, then position, velocity and acceleration. Pure.
//!
//! A set-point never leaves its bounds, never moves faster than its velocity and never changes
//! velocity faster than its acceleration, whatever is asked for. To keep all three at once, a
//! dimension brakes early enough to stand still at what it is sent to, so it does not overshoot
//! either.

use engraft_core::RobotSpec;
use serde::Serialize;

/// What a number of an action means, which decides what holding still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// Where to be: holding repeats the last one.
    Position,
    /// How fast or how far to go: holding is zero.
    Rate,
}

/// What one dimension of an action may do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DimensionLimits {
    /// What its number means.
    pub meaning: Meaning,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Largest change per second; infinite for none.
    pub max_velocity: f32,
    /// Largest change of velocity per second; infinite for none.
    pub max_acceleration: f32,
    /// How far a position's set-point may run ahead of what is measured, as it does before an
    /// obstacle; infinite for any distance.
    pub leash: f32,
}

/// Why limits make no sense.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum LimitsError {
    /// The bounds are no range.
    #[error("limits of dimension {dimension}: bounds {min} to {max} are no range")]
    Bounds {
        /// Its index.
        dimension: usize,
        /// Lower.
        min: f32,
        /// Upper.
        max: f32,
    },
    /// A rate is not positive, or a distance negative.
    #[error("limits of dimension {dimension}: {field} cannot be {found}")]
    Rate {
        /// Its index.
        dimension: usize,
        /// Which one.
        field: &'static str,
        /// What it is.
        found: f32,
    },
    /// An arm gives another number of limits than its actions have dimensions.
    #[error("an action has {expected} dimension(s), but there are limits for {found}")]
    Count {
        /// Dimensions.
        expected: usize,
        /// Limits.
        found: usize,
    },
}

/// Which limit changed a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The number was not finite: the dimension comes to rest.
    NotFinite,
    /// It lay outside the bounds.
    Position,
    /// It was too far away for one period.
    Velocity,
    /// It needed too sudden a change of velocity, or braking had to begin.
    Acceleration,
}

/// One dimension between two periods.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motion {
    /// The set-point.
    pub position: f64,
    /// Its change per second over the last period.
    pub velocity: f64,
}

impl DimensionLimits {
    /// Limits with bounds alone.
    pub fn bounded(meaning: Meaning, min: f32, max: f32) -> Self {
        let [max_velocity, max_acceleration, leash] = [f32::INFINITY; 3];
        Self { meaning, min, max, max_velocity, max_acceleration, leash }
    }

    fn check(&self, dimension: usize) -> Result<(), LimitsError> {
        let Self { min, max, .. } = *self;
        // Written so that a NaN fails.
        if !(min.is_finite() && max.is_finite() && min < max) {
            return Err(LimitsError::Bounds { dimension, min, max });
        }
        for (field, found) in
            [("max_velocity", self.max_velocity), ("max_acceleration", self.max_acceleration)]
        {
            if found.is_nan() || found <= 0.0 {
                return Err(LimitsError::Rate { dimension, field, found });
            }
        }
        let (field, found) = ("leash", self.leash);
        if found.is_nan() || found < 0.0 {
            return Err(LimitsError::Rate { dimension, field, found });
        }
        Ok(())
    }

    /// Where the dimension may be one period from now, on its way to `target`.
    ///
    /// `now` must keep the limits itself, as what this function returns does.
    pub fn step(&self, now: Motion, target: f32, period_secs: f64) -> (Motion, Option<Reason>) {
        let (min, max) = (f64::from(self.min), f64::from(self.max));
        let rest = match self.meaning {
            Meaning::Position => now.position,
            Meaning::Rate => 0.0,
        };
        // Before any comparison: a NaN compares as nothing, and `clamp` would let it through.
        let (wanted, mut reason) = if target.is_finite() {
            (f64::from(target), None)
        } else {
            (rest, Some(Reason::NotFinite))
        };
        let bounded = wanted.clamp(min, max);
        if bounded != wanted {
            reason = reason.or(Some(Reason::Position));
        }
        let (max_velocity, max_acceleration) =
            (f64::from(self.max_velocity), f64::from(self.max_acceleration));
        let distance = bounded - now.position;
        let mut velocity = distance / period_secs;
        if velocity.abs() > max_velocity {
            velocity = max_velocity.copysign(velocity);
            reason = reason.or(Some(Reason::Velocity));
        }
        if max_acceleration.is_finite() {
            let change = max_acceleration * period_secs;
            let braking = braking_velocity(distance.abs(), change, period_secs);
            let gentle = velocity
                .clamp(-braking, braking)
                .clamp(now.velocity - change, now.velocity + change);
            if (gentle - velocity).abs() > 1e-9 * (1.0 + velocity.abs()) {
                reason = reason.or(Some(Reason::Acceleration));
            }
            velocity = gentle;
        }
        let position = (now.position + velocity * period_secs).clamp(min, max);
        (Motion { position, velocity }, reason)
    }
}

/// The fastest that one may move this period and still stop within `distance`, when velocity
/// falls by at most `change` each period.
///
/// At `v = y * change` the way to rest is `v + (v - change) + ...` periods, which for
/// `n = floor(y)` comes to `(n + 1) * y - n * (n + 1) / 2` in units of `change * period`; this is
/// its inverse.
fn braking_velocity(distance: f64, change: f64, period_secs: f64) -> f64 {
    let units = distance / (change * period_secs);
    let n = f64::midpoint((8.0 * units + 1.0).sqrt(), -1.0).floor();
    change * (units + n * (n + 1.0) / 2.0) / (n + 1.0)
}

/// The limits of a whole arm, with where each dimension is.
#[derive(Debug, Clone)]
pub struct Limiter {
    limits: Vec<DimensionLimits>,
    motions: Vec<Motion>,
    period_secs: f64,
}

impl Limiter {
    /// Limits for actions that follow each other every `period_secs`, all at rest in the middle
    /// of their bounds until [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// When a limit makes no sense.
    pub fn new(limits: Vec<DimensionLimits>, period_secs: f64) -> Result<Self, LimitsError> {
        for (dimension, limits) in limits.iter().enumerate() {
            limits.check(dimension)?;
        }
        let mut limiter = Self { motions: Vec::with_capacity(limits.len()), limits, period_secs };
        limiter.reset(&[]);
        Ok(limiter)
    }

    /// Dimensions.
    pub fn dim(&self) -> usize {
        self.limits.len()
    }

    /// At rest where the arm was measured to be.
    ///
    /// A dimension without a finite measurement rests in the middle of its bounds when it is a
    /// position, and at zero when it is a rate.
    pub fn reset(&mut self, measured: &[Option<f32>]) {
        self.motions.clear();
        for (dimension, limits) in self.limits.iter().enumerate() {
            let measured = measured.get(dimension).copied().flatten();
            let rest = match (limits.meaning, measured.filter(|value| value.is_finite())) {
                (Meaning::Position, Some(value)) => value,
                (Meaning::Position, None) => f32::midpoint(limits.min, limits.max),
                (Meaning::Rate, _) => 0.0,
            };
            let position = f64::from(rest.clamp(limits.min, limits.max));
            self.motions.push(Motion { position, velocity: 0.0 });
        }
    }

    /// Pulls back each position that has run further ahead of what is measured than its leash.
    ///
    /// Done before every step, it keeps an arm that was held up from jumping once it is free.
    pub fn follow(&mut self, measured: &[Option<f32>]) {
        for ((limits, motion), measured) in self.limits.iter().zip(&mut self.motions).zip(measured)
        {
            let Some(measured) = measured.filter(|value| value.is_finite()) else { continue };
            if limits.meaning == Meaning::Position {
                let (measured, leash) = (f64::from(measured), f64::from(limits.leash));
                let (min, max) = (f64::from(limits.min), f64::from(limits.max));
                let pulled = motion.position.clamp(measured - leash, measured + leash);
                motion.position = pulled.clamp(min, max);
            }
        }
    }

    /// Writes the next set-point on the way to `target` into `action`, and the dimensions that a
    /// limit changed, each with the limit, into `limited`. Without a target everything comes to
    /// rest. A target of another width is not finite in what it lacks.
    pub fn step(
        &mut self,
        target: Option<&[f32]>,
        action: &mut Vec<f32>,
        limited: &mut Vec<(usize, Reason)>,
    ) {
        action.clear();
        limited.clear();
        for (i, (limits, motion)) in self.limits.iter().zip(&mut self.motions).enumerate() {
            let wanted = target.map(|target| target.get(i).copied().unwrap_or(f32::NAN));
            let (next, reason) = limits.step(*motion, wanted.unwrap_or(f32::NAN), self.period_secs);
            *motion = next;
            action.push(next.position as f32);
            if let (Some(reason), true) = (reason, wanted.is_some()) {
                limited.push((i, reason));
            }
        }
    }

    /// Whether every dimension stands still.
    pub fn at_rest(&self) -> bool {
        self.limits.iter().zip(&self.motions).all(|(limits, motion)| {
            let still = motion.velocity.abs() < 1e-9;
            still && (limits.meaning == Meaning::Position || motion.position.abs() < 1e-9)
        })
    }

    /// The limits of each dimension.
    pub fn limits(&self) -> &[DimensionLimits] {
        &self.limits
    }
}

/// What each action dimension of a robot means, and the bounds that its spec gives.
///
/// A dimension that proprio measures under the same name and unit is a position; any other is a
/// rate. A bound that is missing is one million, which keeps numbers finite and no more.
pub fn from_spec(spec: &RobotSpec) -> Vec<DimensionLimits> {
    let measured = measured_dimensions(spec);
    let limits = spec.actions.iter().zip(measured).map(|(dimension, measured)| {
        let meaning = if measured.is_some() { Meaning::Position } else { Meaning::Rate };
        let [min, max] = [dimension.min.unwrap_or(-1e6), dimension.max.unwrap_or(1e6)];
        DimensionLimits::bounded(meaning, min, max)
    });
    limits.collect()
}

/// For each action dimension, the index of the proprio dimension with its name and unit.
pub fn measured_dimensions(spec: &RobotSpec) -> Vec<Option<usize>> {
    let find = |action: &engraft_core::Dimension| {
        spec.proprio.iter().position(|own| own.name == action.name && own.unit == action.unit)
    };
    spec.actions.iter().map(find).collect()
}

#[cfg(test)]
mod tests;
