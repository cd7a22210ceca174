//! Hostile targets and lying measurements, and a checker that trusts none of what it checks.
//!
//! [`run`] drives path, trajectory, rounding and gate of the shipped arms, and of arms with limits
//! made up at random, and recomputes every limit from what was emitted. The same seed gives the
//! same run.

use crate::description::ArmDescription;
use crate::motion::gate::{Gate, GateJoint};
use crate::motion::joint::{MotionLimits, Target};
use crate::motion::trajectory::{Aim, Trajectory, TrajectoryError};
use crate::motion::waypoints::{Channel, Path};
use crate::units::Scale;

mod checker;
mod script;

use checker::Checker;
pub use script::Dice;
use script::{Encoder, Mood, no_number};

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Set-points that were emitted and checked, each of one joint.
    pub joint_ticks: u64,
    /// Arms that were tried.
    pub arms: u64,
    /// Times that the arm was put where it was measured.
    pub resets: u64,
    /// Chunks and targets that were refused for a number that is none.
    pub refused: u64,
    /// Periods in which an arm was said not to follow.
    pub following: u64,
    /// Set-points of the brake, since the way to the target could not have been stopped.
    pub braked: u64,
    /// Set-points of the brake, since the solver found no way.
    pub unsolved: u64,
    /// Periods from the order to stop until rest, the most.
    pub slowest_stop: u64,
}

/// A limit that was broken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("seed {seed}, arm {arm}, period {tick}: {what}")]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// Which arm of the run.
    pub arm: u64,
    /// Which period of the arm.
    pub tick: u64,
    /// What was broken.
    pub what: String,
    /// What led to it: the last periods, oldest first.
    pub log: Vec<String>,
}

struct Arm {
    limits: Vec<(MotionLimits, f64)>,
    scales: Vec<Scale>,
    period: f64,
    path: Path,
    policy_period: f64,
    trajectory: Trajectory,
    gate: Gate,
    checkers: Vec<Checker>,
    plant: Vec<f64>,
    measured: Vec<f64>,
    targets: Vec<Target>,
    goals: Vec<i32>,
    chunk: Vec<f64>,
    mood: Mood,
    encoder: Encoder,
    direct: bool,
    holding: u64,
}

const ACTIONS: usize = 12;

/// Emits and checks `joint_ticks` set-points or a few more.
///
/// # Errors
///
/// The first limit that is broken, with what led to it.
pub fn run(seed: u64, joint_ticks: u64) -> Result<Report, Box<Failure>> {
    let mut dice = Dice::new(seed);
    let mut report = Report::default();
    while report.joint_ticks < joint_ticks {
        let number = report.arms;
        report.arms += 1;
        let mut arm = Arm::new(&mut dice);
        let mut log = std::collections::VecDeque::with_capacity(40);
        let left = (joint_ticks - report.joint_ticks) / arm.limits.len() as u64 + 1;
        for tick in 0..4_000.min(left) {
            let outcome = arm.tick(tick, &mut dice, &mut report);
            if log.len() == 40 {
                log.pop_front();
            }
            log.push_back((
                tick,
                arm.mood,
                arm.encoder,
                arm.targets[0],
                arm.measured[0],
                arm.goals[0],
            ));
            if let Err(what) = outcome {
                let log = log.iter().map(|entry| format!("{entry:?}")).collect();
                return Err(Box::new(Failure { seed, arm: number, tick, what, log }));
            }
        }
        let (braked, unsolved) = arm.trajectory.braked_and_unsolved();
        report.braked += braked;
        report.unsolved += unsolved;
    }
    Ok(report)
}

impl Arm {
    fn new(dice: &mut Dice) -> Self {
        let shipped = ["so101", "koch", "xarm7"];
        let kind = dice.below(4) as usize;
        let mut period = 0.005;
        let mut limits = Vec::new();
        if let Some(arm) = shipped.get(kind).and_then(|name| ArmDescription::find(name).ok()) {
            period = arm.period_secs();
            let margin = if dice.one_in(2) { 0.0 } else { 0.02 };
            limits.extend(arm.joints.iter().map(|j| (MotionLimits::of(j, margin), j.leash_rad)));
        } else {
            period *= dice.between(0.2, 4.0);
            for _ in 0..=dice.below(7) {
                let min = dice.between(-6.0, 3.0);
                let velocity = 10_f64.powf(dice.between(-1.0, 1.0));
                let acceleration = velocity * 10_f64.powf(dice.between(0.0, 1.5));
                let limits_of_one = MotionLimits {
                    min,
                    max: min + 10_f64.powf(dice.between(-1.5, 1.0)),
                    velocity,
                    acceleration,
                    jerk: acceleration * 10_f64.powf(dice.between(0.3, 1.8)),
                };
                limits.push((limits_of_one, dice.between(0.02, 0.5)));
            }
        }
        let mut scale = || match kind {
            2 => Scale::through((0, 0.0), (1_000_000, 1.0)),
            _ => Scale::radians(4096.0, dice.below(4096) as i32, dice.one_in(2)),
        };
        let scales: Vec<_> = limits.iter().map(|_| scale()).collect();
        let policy_period = period * (1 + dice.below(10)) as f64;
        let count = limits.len();
        let mut channels = vec![Channel::Smooth; count];
        if let (true, Some((last, _))) = (dice.one_in(2), limits.last()) {
            channels[count - 1] = Channel::gripper(last.min, last.max);
        }
        let joints = limits.iter().zip(&scales);
        let gate = joints.filter_map(|((limits, _), &scale)| GateJoint::new(limits, scale, period));
        let plant: Vec<_> = limits.iter().map(|(l, _)| dice.between(l.min, l.max)).collect();
        let checkers = limits.iter().zip(&scales).map(|((l, _), &s)| Checker::new(*l, s, period));
        let mut arm = Self {
            path: Path::new(&channels, policy_period, 3 * ACTIONS),
            trajectory: Trajectory::new(&limits, period),
            gate: Gate::new(gate.collect()),
            checkers: checkers.collect(),
            measured: plant.clone(),
            targets: vec![Target::default(); count],
            goals: vec![0; count],
            chunk: Vec::with_capacity(ACTIONS * count),
            mood: Mood::Stuck,
            encoder: Encoder::Honest,
            direct: false,
            holding: 0,
            limits,
            scales,
            period,
            policy_period,
            plant,
        };
        let _ = arm.reset(0.0);
        arm
    }

    /// Where the arm really is becomes the set-point, as when it is armed.
    fn reset(&mut self, now: f64) -> Result<(), String> {
        let words = |error: &dyn std::error::Error| format!("a reset is refused: {error}");
        let true_ticks = self.plant.iter().zip(&self.scales).map(|(&p, s)| s.ticks(p));
        let ticks: Option<Vec<_>> = true_ticks.collect();
        let ticks = ticks.ok_or("the plant ran away")?;
        for (((place, scale), &tick), (limits, _)) in
            self.plant.iter_mut().zip(&self.scales).zip(&ticks).zip(&self.limits)
        {
            *place = scale.value(tick).clamp(limits.min, limits.max);
        }
        self.measured.copy_from_slice(&self.plant);
        self.trajectory.reset(&self.plant).map_err(|error| words(&error))?;
        self.gate.arm(&ticks).map_err(|error| words(&error))?;
        self.path.start(now, &self.plant).map_err(|error| words(&error))?;
        self.checkers.iter_mut().for_each(Checker::reset);
        self.holding = 0;
        self.emit()
    }

    fn tick(&mut self, tick: u64, dice: &mut Dice, report: &mut Report) -> Result<(), String> {
        let now = tick as f64 * self.period;
        if dice.one_in(150) {
            self.mood = Mood::any(dice);
            self.direct = dice.one_in(3);
        }
        if dice.one_in(400) {
            self.encoder = Encoder::any(dice);
        }
        if dice.one_in(5000) {
            report.resets += 1;
            report.joint_ticks += self.limits.len() as u64;
            return self.reset(now);
        }
        self.sense(dice);
        self.think(now, tick, dice, report);
        let aim = match self.mood {
            Mood::Hold => Aim::Hold,
            _ => Aim::Follow(&self.targets),
        };
        match self.trajectory.step(aim, &self.measured) {
            Ok(()) => {}
            Err(TrajectoryError::NotFinite { .. }) => report.refused += 1,
            Err(TrajectoryError::Following { .. }) => report.following += 1,
            Err(error) => return Err(error.to_string()),
        }
        self.holding = if self.mood == Mood::Hold { self.holding + 1 } else { 0 };
        if self.mood == Mood::Hold && !self.trajectory.is_at_rest() {
            report.slowest_stop = report.slowest_stop.max(self.holding);
            let longest = |(l, _): &(MotionLimits, f64)| {
                l.velocity / l.acceleration + 3.0 * l.acceleration / l.jerk
            };
            let secs = self.limits.iter().map(longest).fold(0.0, f64::max);
            if self.holding as f64 > secs / self.period + 2.0 {
                return Err(format!("no rest after {} periods of holding", self.holding));
            }
        }
        report.joint_ticks += self.limits.len() as u64;
        self.emit()
    }

    fn emit(&mut self) -> Result<(), String> {
        if !self.trajectory.ticks(&self.scales, &mut self.goals) {
            return Err("a set-point is no number of ticks".into());
        }
        for ((checker, state), &goal) in
            self.checkers.iter_mut().zip(self.trajectory.states()).zip(&self.goals)
        {
            checker.check(state.position, goal)?;
        }
        self.gate.check(&self.goals).map_err(|violation| format!("the gate says: {violation}"))
    }

    /// The plant lags behind its goals; what is said of it is another matter.
    fn sense(&mut self, dice: &mut Dice) {
        for (i, plant) in self.plant.iter_mut().enumerate() {
            let goal = self.scales[i].value(self.goals[i]);
            *plant += (goal - *plant) * 0.2;
            let leash = self.limits[i].1;
            self.measured[i] = match self.encoder {
                Encoder::Frozen if self.measured[i].is_finite() => self.measured[i],
                Encoder::Honest | Encoder::Frozen => *plant,
                Encoder::Offset { leashes } => *plant + leashes * leash,
                Encoder::Noise { leashes } => *plant + dice.between(-leashes, leashes) * leash,
                Encoder::NoNumbers => *plant + no_number(dice),
            };
        }
    }

    /// New targets, through the path or past it.
    fn think(&mut self, now: f64, tick: u64, dice: &mut Dice, report: &mut Report) {
        if self.mood == Mood::Hold {
            let places: Vec<_> = self.trajectory.states().map(|state| state.position).collect();
            let _ = self.path.start(now, &places);
            return;
        }
        if self.direct {
            for i in 0..self.targets.len() {
                let position = self.number(i, tick, now, dice);
                let velocity = match self.mood {
                    Mood::Stuck => 0.0,
                    Mood::NoNumbers => no_number(dice),
                    Mood::Huge => 1e30 * dice.between(-1.0, 1.0),
                    _ => dice.between(-3.0, 3.0) * self.limits[i].0.velocity,
                };
                self.targets[i] = Target { position, velocity };
            }
            return;
        }
        if dice.one_in(1 + (8.0 * self.policy_period / self.period) as u64) {
            let ahead = (now / self.policy_period) as u64;
            let first = (ahead + dice.below(6)).saturating_sub(3);
            self.chunk.clear();
            for row in 0..=dice.below(ACTIONS as u64 - 1) {
                for joint in 0..self.limits.len() {
                    let due = (first + row) as f64 * self.policy_period;
                    let number = self.number(joint, first + row, due, dice);
                    self.chunk.push(number);
                }
            }
            report.refused += u64::from(self.path.splice(now, first, &self.chunk).is_err());
        }
        self.path.sample(now + self.period, &mut self.targets);
    }

    /// One number of the policy's.
    fn number(&self, joint: usize, tick: u64, secs: f64, dice: &mut Dice) -> f64 {
        let MotionLimits { min, max, .. } = self.limits[joint].0;
        let middle = f64::midpoint(min, max);
        match self.mood {
            Mood::Steps => [min, middle, max, dice.between(min, max)][dice.below(4) as usize],
            Mood::Nyquist => {
                if tick.is_multiple_of(2) {
                    min
                } else {
                    max
                }
            }
            Mood::Wave { hz } => {
                middle + (max - min) * 0.5 * (secs * hz * std::f64::consts::TAU).sin()
            }
            Mood::Stuck | Mood::Hold => middle,
            Mood::BeyondLimits => middle + dice.between(-3.0, 3.0) * (max - min),
            Mood::Tiny => f64::from_bits(dice.below(1 << 40)),
            Mood::Huge => {
                10_f64.powf(dice.between(0.0, 30.0)) * if dice.one_in(2) { 1.0 } else { -1.0 }
            }
            Mood::NoNumbers => {
                if dice.one_in(3) {
                    no_number(dice)
                } else {
                    middle
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_broken_in_200_000_hostile_set_points() {
        let report = run(1, 200_000).unwrap_or_else(|failure| {
            panic!("{failure}\n{}", failure.log.join("\n"));
        });
        assert!(report.joint_ticks >= 200_000);
        assert!(report.refused > 100 && report.following > 100 && report.resets > 0, "{report:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        assert_eq!(run(7, 20_000), run(7, 20_000));
        assert_ne!(run(7, 20_000), run(8, 20_000));
    }
}
