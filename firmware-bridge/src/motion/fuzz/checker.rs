//! Limits recomputed from what was emitted, with nothing in common with the code that keeps them.

use crate::motion::joint::MotionLimits;
use crate::units::Scale;

/// Differences of one joint's positions since it was put somewhere at rest.
#[derive(Debug, Clone)]
pub(super) struct Checker {
    /// Smallest and largest position.
    range: (f64, f64),
    /// Largest first, second and third difference.
    most: [f64; 3],
    /// What a tick is worth.
    tick: f64,
    scale: Scale,
    /// The last four positions, newest first: before rounding, and after.
    exact: [f64; 4],
    rounded: [i64; 4],
    fresh: bool,
}

impl Checker {
    pub(super) fn new(limits: MotionLimits, scale: Scale, period_secs: f64) -> Self {
        let rates = [limits.velocity, limits.acceleration, limits.jerk];
        let mut most = [0.0; 3];
        for (i, (most, rate)) in most.iter_mut().zip(rates).enumerate() {
            *most = rate * period_secs.powi(i as i32 + 1);
        }
        Self {
            range: (limits.min, limits.max),
            most,
            tick: (scale.value(1) - scale.value(0)).abs(),
            scale,
            exact: [0.0; 4],
            rounded: [0; 4],
            fresh: true,
        }
    }

    /// The next position is the first.
    pub(super) fn reset(&mut self) {
        self.fresh = true;
    }

    /// Takes one position, before and after rounding.
    pub(super) fn check(&mut self, exact: f64, rounded: i32) -> Result<(), String> {
        if !exact.is_finite() {
            return Err(format!("a set-point of {exact}"));
        }
        if self.fresh {
            self.fresh = false;
            (self.exact, self.rounded) = ([exact; 4], [i64::from(rounded); 4]);
        } else {
            self.exact.rotate_right(1);
            self.rounded.rotate_right(1);
            (self.exact[0], self.rounded[0]) = (exact, i64::from(rounded));
        }
        let (low, high) = self.range;
        if exact < low - 1e-12 || exact > high + 1e-12 {
            return Err(format!("a set-point of {exact}, limits are {low} to {high}"));
        }
        let emitted = self.scale.value(rounded);
        if emitted < low - 0.5001 * self.tick || emitted > high + 0.5001 * self.tick {
            return Err(format!("{rounded} ticks are {emitted}, limits are {low} to {high}"));
        }
        let [a, b, c, d] = self.exact;
        let exact = [a - b, a - 2.0 * b + c, a - 3.0 * b + 3.0 * c - d];
        let [a, b, c, d] = self.rounded;
        let whole = [a - b, a - 2 * b + c, a - 3 * b + 3 * c - d];
        // Each rounding is off by half a tick at most, and enters 2, 4 and 8 times.
        for (i, roundings) in [1.0, 2.0, 4.0].into_iter().enumerate() {
            let (most, order) = (self.most[i], i + 1);
            if exact[i].abs() > most * (1.0 + 1e-9) + 1e-13 {
                return Err(format!("difference {order} is {:e}, at most {most:e}", exact[i]));
            }
            let found = whole[i] as f64 * self.tick;
            if found.abs() > most + (roundings + 1e-6) * self.tick {
                return Err(format!("difference {order} in ticks is {found:e}, at most {most:e}"));
            }
        }
        Ok(())
    }
}
