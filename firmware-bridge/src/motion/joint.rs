//! One joint's next set-point: after a moving target, and always able to stop within its limits.
//!
//! Two authors propose where the joint is one period from now. `rsruckig` proposes the
//! time-optimal way to the target, solved in the target's own frame, so that a target of steady
//! velocity is met and not chased. [`Stop`] proposes to come to rest as quickly as possible; it is
//! a closed formula. The first is taken when a stop begun there stays within the position,
//! velocity and acceleration limits. Otherwise the second is: it was found to stay within them
//! one period ago, and is continued. So whatever the solver says, the joint can always stop.

use rsruckig::prelude::{InputParameter, Ruckig, RuckigResult, ThrowErrorHandler};
use rsruckig::trajectory::Trajectory as Profile;

use crate::description::JointDescription;

/// What a joint may do, in radians and seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MotionLimits {
    /// Smallest position.
    pub min: f64,
    /// Largest position.
    pub max: f64,
    /// Fastest, either way.
    pub velocity: f64,
    /// Largest change of velocity per second.
    pub acceleration: f64,
    /// Largest change of acceleration per second.
    pub jerk: f64,
}

impl MotionLimits {
    /// Limits of a described joint, its range narrowed by `margin_rad` at either end.
    pub fn of(joint: &JointDescription, margin_rad: f64) -> Self {
        Self {
            min: joint.min_rad + margin_rad,
            max: joint.max_rad - margin_rad,
            velocity: joint.max_velocity,
            acceleration: joint.max_acceleration,
            jerk: joint.max_jerk,
        }
    }

    /// Whether they are finite, positive and in order.
    pub fn make_sense(&self) -> bool {
        let rates = [self.velocity, self.acceleration, self.jerk];
        let finite = self.min.is_finite() && self.max.is_finite();
        finite && self.min < self.max && rates.iter().all(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// Where to be, and how fast to be moving there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Target {
    /// In radians.
    pub position: f64,
    /// In radians per second.
    pub velocity: f64,
}

/// Where a joint is, how fast it moves and how that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct State {
    /// In radians.
    pub position: f64,
    /// In radians per second.
    pub velocity: f64,
    /// In radians per second squared.
    pub acceleration: f64,
}

impl State {
    /// At rest.
    pub fn at_rest(position: f64) -> Self {
        Self { position, ..Self::default() }
    }

    /// After some seconds of constant jerk.
    pub fn after(self, jerk: f64, secs: f64) -> Self {
        let Self { position: p, velocity: v, acceleration: a } = self;
        Self {
            position: p + secs * (v + secs * (a / 2.0 + secs * jerk / 6.0)),
            velocity: v + secs * (a + secs * jerk / 2.0),
            acceleration: a + secs * jerk,
        }
    }

    fn is_finite(self) -> bool {
        self.position.is_finite() && self.velocity.is_finite() && self.acceleration.is_finite()
    }
}

/// The quickest way to rest: acceleration against the motion builds up, lasts and dies away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    start: State,
    /// Of the first phase; the second has none and the third its opposite.
    jerk: f64,
    secs: [f64; 3],
    /// Velocity when the acceleration has died away first: the fastest it gets on the way.
    swing: f64,
}

impl Stop {
    /// From a state, within limits of acceleration and jerk.
    pub fn from(start: State, limits: &MotionLimits) -> Self {
        let State { velocity, acceleration, .. } = start;
        let swing = velocity + acceleration * acceleration.abs() / (2.0 * limits.jerk);
        // Mirrored, so that the motion to be stopped is upwards.
        let sign = if swing < 0.0 { -1.0 } else { 1.0 };
        let (v, a) = (sign * velocity, sign * acceleration);
        let peak = (limits.jerk * v + a * a / 2.0).max(0.0).sqrt();
        let most = limits.acceleration.max(-a);
        let (peak, lasts) = if peak > most {
            (most, (v + a * a / (2.0 * limits.jerk) - most * most / limits.jerk) / most)
        } else {
            (peak, 0.0)
        };
        let secs = [(a + peak) / limits.jerk, lasts, peak / limits.jerk].map(|secs| secs.max(0.0));
        Self { start, jerk: -sign * limits.jerk, secs, swing }
    }

    /// Seconds until it rests.
    pub fn duration_secs(&self) -> f64 {
        self.secs.iter().sum()
    }

    /// The state some seconds on.
    pub fn after(&self, secs: f64) -> State {
        let (mut state, mut left) = (self.start, secs);
        for (phase, jerk) in self.secs.into_iter().zip([self.jerk, 0.0, -self.jerk]) {
            state = state.after(jerk, phase.min(left));
            if left < phase {
                return state;
            }
            left -= phase;
        }
        State::at_rest(state.position)
    }

    /// Smallest and largest position from now until it rests.
    pub fn extremes(&self) -> (f64, f64) {
        let (start, end) = (self.start.position, self.after(f64::INFINITY).position);
        let (mut min, mut max) = (start.min(end), start.max(end));
        let sign = -self.jerk.signum();
        let (v, a) = (sign * self.start.velocity, sign * self.start.acceleration);
        if v < 0.0 {
            // It still moves the other way and turns round within the first phase.
            let jerk = self.jerk.abs();
            let turns = (a - (a * a + 2.0 * jerk * v).max(0.0).sqrt()) / jerk;
            let turn = self.start.after(self.jerk, turns.max(0.0)).position;
            (min, max) = (min.min(turn), max.max(turn));
        }
        (min, max)
    }

    /// Whether it keeps the limits, or at least breaks none further than `other` does.
    fn no_worse_than(&self, other: &Self, limits: &MotionLimits) -> bool {
        let ((min, max), (other_min, other_max)) = (self.extremes(), other.extremes());
        let within = |found: f64, other: f64, limit: f64| found.abs() <= limit.max(other.abs());
        min >= limits.min.min(other_min)
            && max <= limits.max.max(other_max)
            && within(self.start.velocity, other.start.velocity, limits.velocity)
            && within(self.swing, other.swing, limits.velocity)
            && within(self.start.acceleration, other.start.acceleration, limits.acceleration)
    }
}

/// Who proposed a set-point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The solver: the way to the target.
    Solver,
    /// The formula, since the solver's way could not have been stopped within the limits.
    Brake,
    /// The formula, since the solver found no way.
    Unsolved,
}

/// One joint and its solver.
#[derive(Debug)]
pub struct Joint {
    limits: MotionLimits,
    period_secs: f64,
    state: State,
    solver: Ruckig<1, ThrowErrorHandler>,
    problem: InputParameter<1>,
    profile: Profile<1>,
}

/// The solver gets this much less than the limits, so that its rounding stays within them.
const SOLVER_SHARE: f64 = 1.0 - 1e-7;
/// A target may move at this part of the largest velocity, since it could not be caught otherwise.
const TARGET_SHARE: f64 = 0.95;

impl Joint {
    /// A joint at rest at a position, with a set-point every `period_secs` seconds.
    ///
    /// # Panics
    ///
    /// When the limits or the period make no sense.
    pub fn new(limits: MotionLimits, period_secs: f64, position: f64) -> Self {
        assert!(limits.make_sense(), "no limits of a motion: {limits:?}");
        assert!(period_secs.is_finite() && period_secs > 0.0, "no period: {period_secs} s");
        let mut problem = InputParameter::new(None);
        problem.max_acceleration[0] = limits.acceleration * SOLVER_SHARE;
        problem.max_jerk[0] = limits.jerk * SOLVER_SHARE;
        problem.min_velocity = Some(rsruckig::daov_stack![-limits.velocity]);
        Self {
            limits,
            period_secs,
            state: State::at_rest(position),
            solver: Ruckig::new(None, period_secs),
            problem,
            profile: Profile::new(None),
        }
    }

    /// What it may do.
    pub fn limits(&self) -> &MotionLimits {
        &self.limits
    }

    /// Where its set-point is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Puts the set-point somewhere, at rest.
    pub fn reset(&mut self, position: f64) {
        self.state = State::at_rest(position);
    }

    /// Puts the set-point into a state, as it may have been elsewhere.
    pub fn resume(&mut self, state: State) {
        self.state = state;
    }

    /// One period towards rest.
    pub fn stop(&mut self) -> State {
        self.state = Stop::from(self.state, &self.limits).after(self.period_secs);
        self.state
    }

    /// One period towards a target that is finite and has been described for the end of that
    /// period. A position out of the limits is approached as far as they go.
    pub fn follow(&mut self, target: Target) -> Author {
        let position = target.position.clamp(self.limits.min, self.limits.max);
        let fastest = self.limits.velocity * TARGET_SHARE;
        // Where the limits hold a target, it rests.
        let moves = position == target.position;
        let velocity = if moves { target.velocity.clamp(-fastest, fastest) } else { 0.0 };
        let (next, author) = match self.solve(Target { position, velocity }) {
            None => (None, Author::Unsolved),
            Some(next) => (Some(next), Author::Brake),
        };
        let stop = Stop::from(self.state, &self.limits);
        if let Some(next) = next
            && self.is_reached_by_the_limits(next)
            && Stop::from(next, &self.limits).no_worse_than(&stop, &self.limits)
        {
            self.state = next;
            return Author::Solver;
        }
        self.state = stop.after(self.period_secs);
        author
    }

    /// Whether one period within the limit of jerk leads from here to there.
    fn is_reached_by_the_limits(&self, next: State) -> bool {
        let secs = self.period_secs;
        let free = self.state.after(0.0, secs);
        let within = |found: f64, free: f64, most: f64| {
            let rounding = 1e-12 * (1.0 + free.abs());
            (found - free).abs() <= most + rounding
        };
        let jerk = self.limits.jerk;
        next.is_finite()
            && within(next.position, free.position, jerk * secs * secs * secs / 6.0)
            && within(next.velocity, free.velocity, jerk * secs * secs / 2.0)
            && within(next.acceleration, free.acceleration, jerk * secs)
    }

    /// The solver's state one period from now; `None` when it finds no way.
    fn solve(&mut self, target: Target) -> Option<State> {
        let secs = self.period_secs;
        let (now, moving) = (self.state, target.velocity);
        let most = self.limits.velocity * SOLVER_SHARE;
        let problem = &mut self.problem;
        // In the frame of the target, which has come one period further when it matters.
        problem.current_position[0] = now.position - (target.position - moving * secs);
        problem.current_velocity[0] = now.velocity - moving;
        problem.current_acceleration[0] = now.acceleration;
        problem.max_velocity[0] = most - moving;
        if let Some(min) = &mut problem.min_velocity {
            min[0] = -most - moving;
        }
        let solved = self.solver.calculate(problem, &mut self.profile);
        if !matches!(solved, Ok(RuckigResult::Working | RuckigResult::Finished)) {
            return None;
        }
        let mut next = State::default();
        self.profile.state_to_integrate_from(secs, &mut 0, |_, t, p, v, a, j| {
            let start = State { position: p, velocity: v, acceleration: a };
            next = start.after(j, t);
        });
        next.position += target.position;
        next.velocity += moving;
        Some(next)
    }
}

#[cfg(test)]
mod tests;
