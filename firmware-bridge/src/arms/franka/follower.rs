//! A command in every millisecond, after set-points that come less often and when they come.
//!
//! Between two set-points the way leads straight from one to the other, on a clock that follows
//! theirs slowly: a set-point that is a little late makes the arm late by less. One that is very
//! late is not waited for; the arm then comes to rest. Each joint goes with limits of velocity,
//! acceleration and jerk of its own, from which it can always stop.

use std::time::Duration;

use franka::{FciVersion, JointTargetControlOptions};

use crate::motion::joint::{Joint, MotionLimits, State, Target};

/// Joints of the arm.
pub(super) const JOINTS: usize = 7;
/// Seconds between two commands.
const CYCLE_SECS: f64 = 1e-3;
/// How far a way is continued beyond a set-point, in seconds.
const COAST_SECS: f64 = 0.008;
/// Part of a difference between the clocks that is made up for in a cycle.
const FOLLOWING: f64 = 0.02;
/// A larger difference is made up for at once, in seconds.
const ELSEWHERE_SECS: f64 = 0.02;
/// A command is what the box took it for when both differ by less; it tells in single precision.
const SAME_RAD: f64 = 5e-6;

/// Part of the arm's own limits that a command may come to.
const PART: f64 = 0.9;
/// How much faster than set-points a command may be, to catch up with them.
const FASTER: f64 = 1.25;
/// How much harder it may brake: one that is behind must not run past them.
const HARDER: f64 = 1.5;
/// The same for the jerk. Far more would answer each microradian of rounding with a jolt.
const JERKIER: f64 = 3.0;

/// What commands may do to follow set-points within `joints`.
pub(super) fn limits(
    joints: &[MotionLimits; JOINTS],
    version: FciVersion,
) -> [MotionLimits; JOINTS] {
    let most = JointTargetControlOptions::scaled_limits(version, PART);
    std::array::from_fn(|i| MotionLimits {
        velocity: (FASTER * joints[i].velocity).min(most[i].max_velocity),
        acceleration: (HARDER * joints[i].acceleration).min(most[i].max_acceleration),
        jerk: (JERKIER * joints[i].jerk).min(most[i].max_jerk),
        ..joints[i]
    })
}

/// Where the arm is to be at the end of a period, and how fast it moves there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct SetPoint {
    pub position_rad: [f64; JOINTS],
    pub velocity_rad_s: [f64; JOINTS],
    /// How many there were before.
    pub number: u64,
}

impl SetPoint {
    /// The set-point after this one.
    pub(super) fn next(
        &self,
        position_rad: [f64; JOINTS],
        limits: &[MotionLimits; JOINTS],
        period_secs: f64,
    ) -> Self {
        let velocity_rad_s = std::array::from_fn(|i| {
            let velocity = (position_rad[i] - self.position_rad[i]) / period_secs;
            // Faster than it may, it did not move: set-points began anew.
            let may = velocity.abs() <= FASTER * limits[i].velocity;
            if may { velocity } else { 0.0 }
        });
        Self { position_rad, velocity_rad_s, number: self.number + 1 }
    }
}

/// What the box says of the command that it goes by, in radians and seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Echo {
    pub position: [f64; JOINTS],
    pub velocity: [f64; JOINTS],
    pub acceleration: [f64; JOINTS],
}

/// The commands of one motion. None of its functions allocates but the first.
#[derive(Debug)]
pub(super) struct Follower {
    joints: [Joint; JOINTS],
    period_secs: f64,
    /// The last set-point that was followed.
    number: Option<u64>,
    /// How long ago that was due.
    age_secs: f64,
}

impl Follower {
    /// At rest somewhere, for set-points that come once in a period.
    pub(super) fn new(limits: &[MotionLimits; JOINTS], period_secs: f64) -> Self {
        let joints = limits.map(|limits| Joint::new(limits, CYCLE_SECS, limits.min));
        Self { joints, period_secs, number: None, age_secs: 0.0 }
    }

    /// At rest where the box holds the arm.
    pub(super) fn rest_at(&mut self, position_rad: [f64; JOINTS]) {
        for (joint, position) in self.joints.iter_mut().zip(position_rad) {
            joint.reset(position);
        }
        self.number = None;
    }

    /// Where the box lost commands it went on by itself, and the arm is where it says.
    pub(super) fn agree(&mut self, echo: &Echo) {
        let same = |(joint, position): (&Joint, &f64)| {
            (joint.state().position - position).abs() < SAME_RAD
        };
        if self.joints.iter().zip(&echo.position).all(same) {
            return;
        }
        for (i, joint) in self.joints.iter_mut().enumerate() {
            joint.resume(State {
                position: echo.position[i],
                velocity: echo.velocity[i],
                acceleration: echo.acceleration[i],
            });
        }
    }

    /// The next command, after a set-point that came so long ago.
    pub(super) fn follow(&mut self, set_point: &SetPoint, since: Duration) -> [f64; JOINTS] {
        // It is due at the end of its period.
        let age_secs = since.as_secs_f64() - self.period_secs;
        let passed = match self.number.replace(set_point.number) {
            Some(number) => (set_point.number - number) as f64 * self.period_secs,
            None => f64::INFINITY,
        };
        self.age_secs += CYCLE_SECS - passed;
        let off = age_secs - self.age_secs;
        self.age_secs =
            if off.abs() < ELSEWHERE_SECS { self.age_secs + FOLLOWING * off } else { age_secs };
        if self.age_secs > COAST_SECS {
            return self.stop();
        }
        // The command is for the end of this cycle.
        let secs = self.age_secs + CYCLE_SECS;
        for (i, joint) in self.joints.iter_mut().enumerate() {
            let velocity = set_point.velocity_rad_s[i];
            let position = set_point.position_rad[i] + velocity * secs;
            joint.follow(Target { position, velocity });
        }
        self.position_rad()
    }

    /// The next command on the quickest way to rest.
    pub(super) fn stop(&mut self) -> [f64; JOINTS] {
        for joint in &mut self.joints {
            joint.stop();
        }
        self.position_rad()
    }

    /// Whether every joint rests.
    pub(super) fn is_at_rest(&self) -> bool {
        let mut states = self.states();
        states.all(|state| state.velocity == 0.0 && state.acceleration == 0.0)
    }

    /// Where each joint is sent, and how that moves.
    pub(super) fn states(&self) -> impl Iterator<Item = State> {
        self.joints.iter().map(Joint::state)
    }

    fn position_rad(&self) -> [f64; JOINTS] {
        self.joints.each_ref().map(|joint| joint.state().position)
    }
}
