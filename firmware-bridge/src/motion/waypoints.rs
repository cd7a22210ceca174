//! A smooth path through a policy's actions, each of which is due at a tick of the control rate.
//!
//! Between waypoints the path is a cubic with a continuous velocity. Velocities at waypoints are
//! finite differences, limited so that the path never leaves the range between two neighbouring
//! waypoints; at the last waypoint the velocity is zero, so a path whose data ends comes to rest
//! there. New actions replace the future: position and velocity at that moment stay as they are.

use crate::motion::joint::Target;

/// How a dimension gets from one waypoint to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Channel {
    /// Along the cubic.
    Smooth,
    /// Between two positions and nowhere else: a gripper that is open or closed. It switches when
    /// a waypoint is due that is above `high` or below `low`, and holds what it has in between.
    Switch {
        /// Below this it goes to `below`.
        low: f64,
        /// Above this it goes to `above`.
        high: f64,
        /// Its position after a value below `low`.
        below: f64,
        /// Its position after a value above `high`.
        above: f64,
    },
}

impl Channel {
    /// A gripper whose actions run from 0, open, to 1, closed: it switches 0.1 beyond the middle.
    pub fn gripper(open: f64, closed: f64) -> Self {
        Self::Switch { low: 0.4, high: 0.6, below: open, above: closed }
    }
}

/// Why actions could not become waypoints. The path is then as it was.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The actions are no whole rows.
    #[error("actions of {expected} dimension(s) each, found {found} number(s) in all")]
    Shape {
        /// Dimensions of one action.
        expected: usize,
        /// How many numbers came.
        found: usize,
    },
    /// More actions than there is room for.
    #[error("room for {expected} waypoint(s), found {found}: build the path for longer chunks")]
    Room {
        /// How many fit.
        expected: usize,
        /// How many there would be.
        found: usize,
    },
    /// A number that is none.
    #[error(
        "action at tick {tick}, dimension {dimension}: expected a finite number, found {found}"
    )]
    NotFinite {
        /// When it was due.
        tick: u64,
        /// Which of its numbers.
        dimension: usize,
        /// What it was.
        found: f64,
    },
    /// The moment is none, or earlier than one that the path has already been told of.
    #[error("expected a time from {expected} s on, found {found} s")]
    Time {
        /// The earliest.
        expected: f64,
        /// What came.
        found: f64,
    },
}

/// Where to be when, in the units of the actions and in seconds.
#[derive(Debug, Clone)]
pub struct Path {
    channels: Vec<Channel>,
    period_secs: f64,
    capacity: usize,
    /// Times of the knots, rising; the first is where the path begins.
    times: Vec<f64>,
    /// Their positions, one row each.
    positions: Vec<f64>,
    /// Velocity at the first knot.
    velocities: Vec<f64>,
    /// The same as they came, for [`Channel::Switch`] to be decided anew.
    raw: Vec<f64>,
    scratch: Vec<Target>,
}

impl Path {
    /// An empty path with room for `capacity` waypoints that are due every `period_secs` seconds.
    ///
    /// # Panics
    ///
    /// When the period is not a positive number.
    pub fn new(channels: &[Channel], period_secs: f64, capacity: usize) -> Self {
        assert!(period_secs.is_finite() && period_secs > 0.0, "no period: {period_secs} s");
        let numbers = (capacity + 1) * channels.len();
        Self {
            channels: channels.to_vec(),
            period_secs,
            capacity,
            times: Vec::with_capacity(capacity + 1),
            positions: Vec::with_capacity(numbers),
            velocities: vec![0.0; channels.len()],
            raw: Vec::with_capacity(numbers),
            scratch: vec![Target::default(); channels.len()],
        }
    }

    /// When the action of a tick is due.
    pub fn due_secs(&self, tick: u64) -> f64 {
        tick as f64 * self.period_secs
    }

    /// Whether there is nothing to follow.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Due time of the last waypoint, after which the path rests.
    pub fn end_secs(&self) -> Option<f64> {
        self.times.last().copied()
    }

    /// Forgets every waypoint.
    pub fn clear(&mut self) {
        self.times.clear();
        self.positions.clear();
        self.raw.clear();
    }

    /// Begins anew at rest: where the arm is, or where its set-point is.
    ///
    /// # Errors
    ///
    /// When the time or a position is not finite, or there are not as many as channels.
    pub fn start(&mut self, now_secs: f64, positions: &[f64]) -> Result<(), PathError> {
        if !now_secs.is_finite() {
            return Err(PathError::Time { expected: 0.0, found: now_secs });
        }
        self.check(0, positions)?;
        if positions.len() != self.channels.len() {
            let (expected, found) = (self.channels.len(), positions.len());
            return Err(PathError::Shape { expected, found });
        }
        self.clear();
        self.times.push(now_secs);
        self.positions.extend_from_slice(positions);
        self.raw.extend_from_slice(positions);
        self.velocities.fill(0.0);
        Ok(())
    }

    /// Replaces everything due from `first_tick` on by `actions`, row after row, one tick apart.
    /// Actions that are due by now are dropped. Nothing jumps at `now_secs`. A path that was never
    /// started begins at its first action.
    ///
    /// # Errors
    ///
    /// When the actions are no whole rows, too many, or not finite; the path is then as it was.
    pub fn splice(
        &mut self,
        now_secs: f64,
        first_tick: u64,
        actions: &[f64],
    ) -> Result<(), PathError> {
        let width = self.channels.len();
        if width == 0 || !actions.len().is_multiple_of(width) {
            return Err(PathError::Shape { expected: width, found: actions.len() });
        }
        self.check(first_tick, actions)?;
        let earliest = self.times.first().copied().unwrap_or(f64::NEG_INFINITY);
        if !now_secs.is_finite() || now_secs < earliest {
            return Err(PathError::Time { expected: earliest, found: now_secs });
        }
        let due = |row: usize| self.due_secs(first_tick.saturating_add(row as u64));
        let rows = actions.len() / width;
        let late = (0..rows).take_while(|&row| due(row) <= now_secs).count();
        if late == rows {
            return Ok(());
        }
        // What is kept of the old: what is due after now and before the first new waypoint.
        let old = self.times.partition_point(|&time| time <= now_secs);
        let replaced = due(0).max(now_secs);
        let kept = self.times[old..].partition_point(|&time| time < replaced);
        let found = kept + rows - late;
        if found > self.capacity {
            return Err(PathError::Room { expected: self.capacity, found });
        }
        if self.is_empty() {
            self.begin(now_secs, &actions[late * width..(late + 1) * width]);
        } else {
            self.anchor(now_secs, old);
        }
        self.times.truncate(1 + kept);
        self.positions.truncate((1 + kept) * width);
        self.raw.truncate((1 + kept) * width);
        for (row, action) in actions.chunks_exact(width).enumerate().skip(late) {
            self.times.push(self.due_secs(first_tick.saturating_add(row as u64)));
            self.raw.extend_from_slice(action);
            self.positions.extend_from_slice(action);
        }
        self.decide();
        Ok(())
    }

    /// The first knot of a path that was never started: where its first action is.
    fn begin(&mut self, now_secs: f64, action: &[f64]) {
        self.times.push(now_secs);
        self.raw.extend_from_slice(action);
        let positions = self.channels.iter().zip(action).map(|(channel, &value)| match *channel {
            Channel::Smooth => value,
            Channel::Switch { high, below, above, .. } => {
                if value > high {
                    above
                } else {
                    below
                }
            }
        });
        self.positions.extend(positions);
        self.velocities.fill(0.0);
    }

    /// Moves the first knot to where the path is now, in place of the `past` knots up to now.
    fn anchor(&mut self, now_secs: f64, past: usize) {
        let width = self.channels.len();
        let mut now = std::mem::take(&mut self.scratch);
        self.sample(now_secs, &mut now);
        let gone = past.saturating_sub(1);
        self.times.drain(..gone);
        self.positions.drain(..gone * width);
        self.raw.drain(..gone * width);
        if let Some(time) = self.times.first_mut() {
            *time = now_secs;
        }
        for ((position, velocity), now) in
            self.positions.iter_mut().zip(&mut self.velocities).zip(&now)
        {
            (*position, *velocity) = (now.position, now.velocity);
        }
        self.scratch = now;
    }

    /// Where to be at a moment, and how fast, one entry per channel. False, and nothing written,
    /// when the path is empty or the moment is no number; before its beginning and after its end
    /// the path rests.
    pub fn sample(&self, at_secs: f64, out: &mut [Target]) -> bool {
        if self.is_empty() || at_secs.is_nan() {
            return false;
        }
        let after = self.times.partition_point(|&time| time <= at_secs);
        for (channel, out) in out.iter_mut().enumerate().take(self.channels.len()) {
            *out = self.evaluate(channel, after, at_secs);
        }
        true
    }

    /// Where one channel is to be at a moment, and how fast; [`Path::sample`] for all at once.
    pub fn at(&self, channel: usize, at_secs: f64) -> Option<Target> {
        if self.is_empty() || at_secs.is_nan() || channel >= self.channels.len() {
            return None;
        }
        let after = self.times.partition_point(|&time| time <= at_secs);
        Some(self.evaluate(channel, after, at_secs))
    }

    fn check(&self, first_tick: u64, numbers: &[f64]) -> Result<(), PathError> {
        let width = self.channels.len().max(1);
        match numbers.iter().position(|number| !number.is_finite()) {
            None => Ok(()),
            Some(i) => Err(PathError::NotFinite {
                tick: first_tick.saturating_add((i / width) as u64),
                dimension: i % width,
                found: numbers[i],
            }),
        }
    }

    /// Turns what came into positions, where a channel has only two.
    fn decide(&mut self) {
        let width = self.channels.len();
        for (c, channel) in self.channels.iter().enumerate() {
            let Channel::Switch { low, high, below, above } = *channel else { continue };
            let mut held = self.positions.get(c).copied().unwrap_or(below);
            for row in 1..self.times.len() {
                let wanted = self.raw[row * width + c];
                if wanted > high {
                    held = above;
                } else if wanted < low {
                    held = below;
                }
                self.positions[row * width + c] = held;
            }
        }
    }

    /// `after` is the number of knots due at or before the moment.
    fn evaluate(&self, channel: usize, after: usize, at_secs: f64) -> Target {
        let rest = |knot: usize| Target { position: self.position(knot, channel), velocity: 0.0 };
        if after == 0 {
            return rest(0);
        }
        let from = after - 1;
        if after == self.times.len() || matches!(self.channels[channel], Channel::Switch { .. }) {
            return rest(from);
        }
        let (start, end) = (self.position(from, channel), self.position(after, channel));
        let span = self.times[after] - self.times[from];
        let (leaves, arrives) = (self.tangent(from, channel), self.tangent(after, channel));
        let s = (at_secs - self.times[from]) / span;
        let (s2, s3) = (s * s, s * s * s);
        let position = start
            + (end - start) * (3.0 * s2 - 2.0 * s3)
            + span * (leaves * (s3 - 2.0 * s2 + s) + arrives * (s3 - s2));
        let velocity = (end - start) / span * 6.0 * (s - s2)
            + leaves * (3.0 * s2 - 4.0 * s + 1.0)
            + arrives * (3.0 * s2 - 2.0 * s);
        Target { position, velocity }
    }

    fn position(&self, knot: usize, channel: usize) -> f64 {
        self.positions[knot * self.channels.len() + channel]
    }

    /// Velocity at a knot: the slope of the parabola through its neighbours, at most three times
    /// either neighbouring slope, and zero where the direction changes. Within these bounds a cubic
    /// stays between its ends.
    fn tangent(&self, knot: usize, channel: usize) -> f64 {
        if knot == 0 {
            return self.velocities[channel];
        }
        if knot + 1 >= self.times.len() {
            return 0.0;
        }
        let slope = |from: usize| {
            let rise = self.position(from + 1, channel) - self.position(from, channel);
            let span = self.times[from + 1] - self.times[from];
            (rise / span, span)
        };
        let ((before, span_before), (behind, span_behind)) = (slope(knot - 1), slope(knot));
        if before * behind <= 0.0 {
            return 0.0;
        }
        let parabola = (before * span_behind + behind * span_before) / (span_before + span_behind);
        parabola.abs().min(3.0 * before.abs().min(behind.abs())).copysign(before)
    }
}

#[cfg(test)]
mod tests;
