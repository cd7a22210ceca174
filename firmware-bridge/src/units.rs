//! Ticks, radians and what a policy was trained in: three scales of one joint, all linear.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// What the numbers of a policy mean for one joint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Radians from the middle of the joint's calibrated range.
    #[default]
    Rad,
    /// `LeRobot`'s degrees: 360 to 4095 ticks, from the middle of the calibrated range.
    LerobotDeg,
    /// `LeRobot`'s -100 to 100 over the calibrated range.
    #[serde(rename = "lerobot_m100")]
    LerobotM100,
    /// `LeRobot`'s 0 to 100 over the calibrated range.
    #[serde(rename = "lerobot_0_100")]
    Lerobot0To100,
    /// A gripper from 0, open, to 1, closed.
    Gripper,
    /// Ticks as they are.
    Raw,
}

impl Unit {
    /// The unit as a robot's contract names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rad => "rad",
            Self::LerobotDeg => "deg",
            Self::LerobotM100 | Self::Lerobot0To100 => "%",
            Self::Gripper => "1",
            Self::Raw => "ticks",
        }
    }
}

/// A straight line: `value = offset + slope * ticks`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    offset: f64,
    slope: f64,
}

impl Scale {
    /// The line through two points, each ticks and a value.
    ///
    /// # Panics
    ///
    /// When both have the same ticks or the same value.
    pub fn through(a: (i32, f64), b: (i32, f64)) -> Self {
        let slope = (b.1 - a.1) / f64::from(b.0 - a.0);
        assert!(slope.is_finite() && slope != 0.0, "no line goes through {a:?} and {b:?}");
        Self { offset: a.1 - slope * f64::from(a.0), slope }
    }

    /// Radians of a joint with `ticks_per_turn` whose angle is zero at `zero`.
    pub fn radians(ticks_per_turn: f64, zero: i32, inverted: bool) -> Self {
        let slope = TAU / ticks_per_turn * if inverted { -1.0 } else { 1.0 };
        Self { offset: -slope * f64::from(zero), slope }
    }

    /// The scale, of the same joint, on which the values `a.0` and `b.0` of this one are `a.1` and
    /// `b.1`.
    ///
    /// # Panics
    ///
    /// When both have the same value on either scale.
    pub fn onto(self, a: (f64, f64), b: (f64, f64)) -> Self {
        let ratio = (b.1 - a.1) / (b.0 - a.0);
        assert!(ratio.is_finite() && ratio != 0.0, "no line goes through {a:?} and {b:?}");
        Self { offset: a.1 + ratio * (self.offset - a.0), slope: ratio * self.slope }
    }

    /// What `ticks` are worth.
    pub fn value(self, ticks: i32) -> f64 {
        self.offset + self.slope * f64::from(ticks)
    }

    /// What a difference, or a velocity, of `ticks` is worth.
    pub fn difference(self, ticks: f64) -> f64 {
        self.slope * ticks
    }

    /// The ticks nearest to a value. `None` for what is not finite or no 32-bit number: neither
    /// may become a position by being rounded.
    pub fn ticks(self, value: f64) -> Option<i32> {
        let ticks = ((value - self.offset) / self.slope).round();
        let fits = ticks.is_finite() && ticks.abs() < f64::from(i32::MAX);
        fits.then_some(ticks as i32)
    }

    /// The same value on another scale of the same joint.
    pub fn convert(self, value: f64, to: Self) -> f64 {
        to.offset + to.slope * ((value - self.offset) / self.slope)
    }
}

/// An angle in microradians, which are the ticks of arms whose protocol takes angles. `None` for
/// what is not finite or no 32-bit number.
pub fn microradians(angle_rad: f64) -> Option<i32> {
    let ticks = (angle_rad * 1e6).round();
    (ticks.is_finite() && ticks.abs() < f64::from(i32::MAX)).then_some(ticks as i32)
}

/// One joint's scales, from ticks.
#[derive(Debug, Clone, Copy)]
pub struct JointScales {
    /// To radians.
    pub radians: Scale,
    /// To what the policy speaks.
    pub policy: Scale,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radians_and_ticks_are_each_others_inverse() {
        let scale = Scale::radians(4096.0, 2048, true);
        assert_eq!(scale.value(2048), 0.0);
        assert!((scale.value(1024) - TAU / 4.0).abs() < 1e-12, "inverted: fewer ticks, more angle");
        for ticks in [-5000, 0, 1, 2047, 2048, 4095, 70_000] {
            assert_eq!(scale.ticks(scale.value(ticks)), Some(ticks));
        }
    }

    #[test]
    fn what_is_not_finite_is_no_position() {
        let scale = Scale::radians(4096.0, 2048, false);
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30] {
            assert_eq!(scale.ticks(value), None);
        }
    }

    #[test]
    fn a_value_goes_from_one_scale_to_another() {
        let radians = Scale::radians(4096.0, 2048, false);
        let percent = Scale::through((1000, -100.0), (3000, 100.0));
        let onto = radians.onto((0.0, 10.0), (1.0, 30.0));
        assert!((radians.convert(0.5, onto) - 20.0).abs() < 1e-9);
        assert!((radians.convert(radians.value(2500), percent) - 50.0).abs() < 1e-9);
    }
}
