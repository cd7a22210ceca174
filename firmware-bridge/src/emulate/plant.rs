//! The joints behind an emulator: each runs to its goal with bounded speed and acceleration, as a
//! servo's own controller makes it do.

use std::time::Duration;

/// The step of the integration, in seconds.
const STEP_SECS: f64 = 0.001;

/// One joint, in ticks and seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct PlantJoint {
    /// Where it is.
    pub position: f64,
    /// How fast it moves.
    pub velocity: f64,
    /// Where it is told to be.
    pub goal: f64,
    /// Fastest.
    pub max_velocity: f64,
    /// Largest change of velocity.
    pub max_acceleration: f64,
    /// Whether torque is on; without it the joint comes to rest where it is.
    pub torque: bool,
    /// An obstacle: it gets no further than this, from either side.
    pub wall: Option<f64>,
    /// Whether its encoder still says what it said at this moment.
    pub stuck_encoder: Option<f64>,
}

/// All joints of an emulated arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Plant {
    /// The joints, in the order of the arm's description.
    pub joints: Vec<PlantJoint>,
    now: Duration,
}

impl PlantJoint {
    /// A joint at rest at `position`, torque off.
    pub fn new(position: f64, max_velocity: f64, max_acceleration: f64) -> Self {
        Self {
            position,
            velocity: 0.0,
            goal: position,
            max_velocity,
            max_acceleration,
            torque: false,
            wall: None,
            stuck_encoder: None,
        }
    }

    /// What its encoder says.
    pub fn measured(&self) -> f64 {
        self.stuck_encoder.unwrap_or(self.position)
    }

    /// How hard it pushes, as a part of its most, from -1 to 1: in proportion to how far it is
    /// kept from its goal.
    pub fn load(&self, ticks_at_most: f64) -> f64 {
        if self.torque {
            ((self.goal - self.position) / ticks_at_most).clamp(-1.0, 1.0)
        } else {
            0.0
        }
    }

    fn step(&mut self, secs: f64) {
        let distance = self.goal - self.position;
        let wanted = if self.torque {
            // As fast as still lets it stop at the goal, and no overshoot within one step.
            let braking = (2.0 * self.max_acceleration * distance.abs()).sqrt();
            braking.min(self.max_velocity).min(distance.abs() / secs).copysign(distance)
        } else {
            0.0
        };
        let change = self.max_acceleration * secs;
        self.velocity = wanted.clamp(self.velocity - change, self.velocity + change);
        let next = self.position + self.velocity * secs;
        let crossed = self.wall.is_some_and(|wall| {
            (self.position <= wall && next > wall) || (self.position >= wall && next < wall)
        });
        if crossed {
            self.position = self.wall.unwrap_or(next);
            self.velocity = 0.0;
        } else {
            self.position = next;
        }
    }
}

impl Plant {
    /// An arm of these joints.
    pub fn new(joints: Vec<PlantJoint>) -> Self {
        Self { joints, now: Duration::ZERO }
    }

    /// Lets the joints move until `now`, a time since the emulator began.
    pub fn advance(&mut self, now: Duration) {
        let steps = (now.saturating_sub(self.now).as_secs_f64() / STEP_SECS) as u64;
        // After a long silence everything stands where it was going to anyway.
        for _ in 0..steps.min(10_000) {
            for joint in &mut self.joints {
                joint.step(STEP_SECS);
            }
        }
        self.now += Duration::from_secs_f64(STEP_SECS) * u32::try_from(steps).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(joint: PlantJoint, millis: u64) -> PlantJoint {
        let mut plant = Plant::new(vec![joint]);
        plant.advance(Duration::from_millis(millis));
        plant.joints.remove(0)
    }

    #[test]
    fn it_reaches_its_goal_and_stays_there() {
        let mut joint = PlantJoint::new(0.0, 1000.0, 10_000.0);
        joint.goal = 500.0;
        assert_eq!(run(joint.clone(), 100).position, 0.0, "without torque it does not move");
        joint.torque = true;
        let half = run(joint.clone(), 300);
        assert!(half.position > 100.0 && half.velocity <= 1000.0, "{half:?}");
        let there = run(joint, 2000);
        assert!((there.position - 500.0).abs() < 1.0 && there.velocity.abs() < 20.0, "{there:?}");
    }

    #[test]
    fn a_wall_holds_it_and_it_pushes() {
        let mut joint = PlantJoint::new(0.0, 1000.0, 10_000.0);
        (joint.goal, joint.torque, joint.wall) = (500.0, true, Some(200.0));
        let held = run(joint, 2000);
        assert_eq!(held.position, 200.0);
        assert!(held.load(400.0) > 0.7);
    }
}
