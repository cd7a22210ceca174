//! What decides every set-point: plans and readings in, whole ticks out. Pure.
//!
//! Time is an argument, nothing is read or written, and after [`Pilot::new`] nothing is allocated,
//! so a recorded journal plays to the identical set-points, bit for bit. In order, each period:
//! the [machine](crate::machine) says whether the arm may move, the [path](crate::motion::waypoints)
//! where to, the [trajectory](crate::motion::trajectory) how within the limits, and the
//! [gate](crate::motion::gate), which trusts none of them, whether it may be sent.

use std::time::Duration;

use engraft_wire::operator::MAX_JOINTS;
use serde::{Deserialize, Serialize};
mod traffic;
mod view;

pub use traffic::{Input, Output, PilotCounters, PilotError, Trouble};

use crate::description::{ArmDescription, Workspace};
use crate::kinematics::chain::Chain;
use crate::machine::{Cause, Event, Motion, Patience, State};
use crate::motion::gate::{Gate, GateJoint, check_workspace};
use crate::motion::joint::{MotionLimits, Target};
use crate::motion::trajectory::{Aim, Trajectory, TrajectoryError};
use crate::motion::waypoints::{Channel, Path};
use crate::plan::{Expected, MAX_WAYPOINTS, Plan, PlanError};
use crate::units::Scale;

/// What the pilot goes by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PilotConfig {
    /// How long things may take.
    pub patience: Patience,
    /// Silence of whoever has the lease after which the arm holds.
    pub lease_stale: Duration,
    /// Silence after which the lease is lost.
    pub lease_lost: Duration,
    /// A pause of the control loop after which the arm holds where it is measured to be.
    pub gap: Duration,
    /// Readings in a row that may fail; the next one is a fault.
    pub misses: u32,
    /// Seconds between two waypoints of a plan.
    pub plan_period_secs: f64,
}

impl Default for PilotConfig {
    fn default() -> Self {
        Self {
            patience: Patience {
                chunk_age: Duration::from_secs(2),
                hold: Duration::from_secs(2),
                first_chunk: Duration::from_secs(10),
                stop: Duration::from_secs(2),
            },
            lease_stale: Duration::from_millis(300),
            lease_lost: Duration::from_secs(2),
            gap: Duration::from_millis(50),
            misses: 4,
            plan_period_secs: 0.05,
        }
    }
}

/// Part of a joint's range, at either end, that set-points stay out of.
const MARGIN_RAD: f64 = 0.002;
/// A joint this far outside counts as at its bound: loaded joints give way by a tick or two.
const SLACK_RAD: f64 = 0.01;
/// A set-point this close to the end of its path, and this slow, has arrived.
const ARRIVED_RAD: f64 = 1e-3;
const ARRIVED_RAD_S: f64 = 0.01;
/// A reading that implies more than this many times the fastest velocity is not believed.
const IMPLAUSIBLE: f64 = 2.0;

/// The arm's joints as the pilot knows them, then everything that moves them.
#[derive(Debug)]
pub struct Pilot {
    config: PilotConfig,
    scales: Vec<Scale>,
    limits: Vec<MotionLimits>,
    leashes: Vec<f64>,
    period_secs: f64,
    workspace: Option<(Chain, Workspace)>,
    state: State,
    torque: bool,
    /// Whether nothing was sent in the last period.
    silent: bool,
    measured: Vec<f64>,
    velocity: Vec<f64>,
    sensed_at: Option<Duration>,
    misses: u32,
    heard: Duration,
    episode: u32,
    newest: Option<u64>,
    last: bool,
    path: Path,
    targets: Vec<Target>,
    trajectory: Trajectory,
    gate: Gate,
    goals: Vec<i32>,
    ticked: Option<Duration>,
    counters: PilotCounters,
    trouble: Option<Trouble>,
}

impl Pilot {
    /// A pilot for an arm whose joints have these scales, from ticks to radians. With a chain, the
    /// description's workspace is kept too.
    ///
    /// # Errors
    ///
    /// When the arm has too many joints or limits that make no sense.
    pub fn new(
        arm: &ArmDescription,
        scales: &[Scale],
        chain: Option<Chain>,
        config: PilotConfig,
    ) -> Result<Self, PilotError> {
        let joints = arm.joints.len();
        if joints == 0 || joints > MAX_JOINTS || scales.len() != joints {
            return Err(PilotError::Joints { found: joints });
        }
        let limits: Vec<_> =
            arm.joints.iter().map(|joint| MotionLimits::of(joint, MARGIN_RAD)).collect();
        let leashes: Vec<_> = arm.joints.iter().map(|joint| joint.leash_rad).collect();
        let period_secs = arm.period_secs();
        let mut gates = Vec::with_capacity(joints);
        for ((joint, limits), &scale) in arm.joints.iter().zip(&limits).zip(scales) {
            let gate = limits.make_sense().then(|| GateJoint::new(limits, scale, period_secs));
            let senseless = || PilotError::Limits { joint: joint.name.clone() };
            gates.push(gate.flatten().ok_or_else(senseless)?);
        }
        let leashed: Vec<_> = limits.iter().copied().zip(leashes.iter().copied()).collect();
        let channels = vec![Channel::Smooth; joints];
        Ok(Self {
            scales: scales.to_vec(),
            leashes,
            period_secs,
            workspace: chain.zip(arm.workspace),
            state: State::Disconnected,
            torque: false,
            silent: true,
            measured: vec![0.0; joints],
            velocity: vec![0.0; joints],
            sensed_at: None,
            misses: 0,
            heard: Duration::ZERO,
            episode: 0,
            newest: None,
            last: false,
            path: Path::new(&channels, config.plan_period_secs, 2 * MAX_WAYPOINTS),
            targets: vec![Target::default(); joints],
            trajectory: Trajectory::new(&leashed, period_secs),
            gate: Gate::new(gates),
            goals: vec![0; joints],
            ticked: None,
            counters: PilotCounters::default(),
            trouble: None,
            limits,
            config,
        })
    }

    /// Takes an input; what is to be sent, where the input is a tick.
    pub fn step(&mut self, input: &Input, now: Duration) -> Option<Output> {
        match input {
            Input::Event(event) => self.on(*event, now),
            Input::Heartbeat => self.heard = now,
            Input::Episode(episode) => {
                self.episode = *episode;
                self.newest = None;
            }
            Input::Sensed { position, velocity } => self.sensed(position, velocity, now),
            Input::Missed => self.missed(now),
            Input::Plan(plan) => {
                if let Err(trouble) = self.plan(plan, now) {
                    self.counters.refused += 1;
                    self.trouble = Some(trouble);
                } else {
                    self.counters.plans += 1;
                }
            }
            Input::Tick => return Some(self.tick(now)),
        }
        None
    }

    fn on(&mut self, event: Event, now: Duration) {
        let before = self.state;
        // A joint that stands where it may not must not be given torque: its first set-point
        // would be out of bounds, and no way in keeps every limit.
        if (event, before) == (Event::TorqueOn, State::Idle)
            && let Err(trouble) = self.anchor()
        {
            self.trouble = Some(trouble);
            return;
        }
        let (state, commands) = before.step(event, now, &self.config.patience);
        self.state = state;
        if commands.clear_queue {
            self.path.clear();
        }
        match event {
            Event::TorqueOn if state == State::Ready => (self.torque, self.silent) = (true, false),
            // Said only after the motors did it, which they do at rest alone.
            Event::TorqueOff => self.torque = false,
            Event::Leased | Event::Start => self.heard = now,
            // Nobody vouches for torque from here on, whatever the motors have.
            Event::Reset if state == State::Disconnected => self.torque = false,
            Event::Connected if state == State::Idle => {
                self.misses = 0;
                self.sensed_at = None;
            }
            _ => {}
        }
    }

    /// Set-points begin where the joints are.
    fn anchor(&mut self) -> Result<(), Trouble> {
        self.may_have_torque()?;
        let mut start = [0.0; MAX_JOINTS];
        for (start, (limits, measured)) in
            start.iter_mut().zip(self.limits.iter().zip(&self.measured))
        {
            *start = measured.clamp(limits.min, limits.max);
        }
        self.trajectory.reset(start.get(..self.limits.len()).unwrap_or_default())?;
        if !self.trajectory.ticks(&self.scales, &mut self.goals) {
            return Err(Trouble::Ticks);
        }
        self.gate.arm(&self.goals)?;
        self.path.clear();
        Ok(())
    }

    /// Whether every joint was just read, and stands where a set-point may be.
    ///
    /// # Errors
    ///
    /// The first that does not.
    pub fn may_have_torque(&self) -> Result<(), Trouble> {
        if self.misses > 0 || self.sensed_at.is_none() {
            return Err(Trouble::Unread { misses: self.misses });
        }
        for (joint, (limits, &found)) in self.limits.iter().zip(&self.measured).enumerate() {
            let (min, max) = (limits.min, limits.max);
            if !(min - SLACK_RAD..=max + SLACK_RAD).contains(&found) {
                return Err(Trouble::Outside { joint, found, min, max });
            }
        }
        Ok(())
    }

    fn sensed(&mut self, position: &[i32], velocity: &[i32], now: Duration) {
        let since = self.sensed_at.map_or(f64::INFINITY, |before| {
            now.saturating_sub(before).as_secs_f64().max(self.period_secs)
        });
        let joints = self.scales.iter().zip(&self.limits).zip(&self.measured).zip(position);
        let plausible = joints.into_iter().all(|(((scale, limits), before), &ticks)| {
            let quantum = scale.difference(2.0).abs();
            let most = IMPLAUSIBLE * limits.velocity * since + quantum;
            (scale.value(ticks) - before).abs() <= most
        });
        if !plausible {
            return self.missed(now);
        }
        for (i, scale) in self.scales.iter().enumerate() {
            if let (Some(measured), Some(&ticks)) = (self.measured.get_mut(i), position.get(i)) {
                *measured = scale.value(ticks);
            }
            if let (Some(measured), Some(&ticks)) = (self.velocity.get_mut(i), velocity.get(i)) {
                *measured = scale.difference(f64::from(ticks));
            }
        }
        self.sensed_at = Some(now);
        self.misses = 0;
    }

    fn missed(&mut self, now: Duration) {
        self.misses = self.misses.saturating_add(1);
        self.counters.misses += 1;
        if self.misses > self.config.misses {
            self.on(Event::Failed(Cause::Arm), now);
        }
    }

    fn plan(&mut self, plan: &Plan, now: Duration) -> Result<(), Trouble> {
        let joints = self.scales.len();
        let now_secs = now.as_secs_f64();
        let expected = Expected {
            joints,
            episode: self.episode,
            newest: self.newest,
            tick: (now_secs / self.config.plan_period_secs) as u64,
            now,
            max_age: self.config.patience.chunk_age,
        };
        expected.check(plan)?;
        if let Some((chain, workspace)) = &self.workspace {
            for waypoint in plan.waypoints_rad.chunks_exact(joints) {
                check_workspace(chain, workspace, waypoint)?;
            }
        }
        if !self.state.is_moving() {
            return Ok(()); // nothing is played, and nothing is wrong with it
        }
        if self.path.is_empty() {
            self.resume(plan, now_secs)?;
        }
        self.path.splice(now_secs, plan.first_tick, &plan.waypoints_rad)?;
        self.newest = Some(plan.number);
        self.last = plan.last;
        // A plan that has an end is not made anew on the way: it counts as old only after that.
        let end = Duration::try_from_secs_f64(self.path.end_secs().unwrap_or_default());
        let observed = if plan.last { end.unwrap_or(now).max(now) } else { plan.observed };
        self.on(Event::Chunk { observed }, now);
        Ok(())
    }

    /// A path begins at the set-point. After a hold it may not lead far from there at once.
    fn resume(&mut self, plan: &Plan, now_secs: f64) -> Result<(), Trouble> {
        for (i, state) in self.trajectory.states().enumerate() {
            if let Some(target) = self.targets.get_mut(i) {
                target.position = state.position;
            }
        }
        let starting = matches!(self.state, State::Hold { cause: Cause::Starting, .. });
        let joints = self.scales.len();
        let due = |row: usize| self.path.due_secs(plan.first_tick + row as u64);
        let rows = plan.waypoints_rad.chunks_exact(joints).enumerate();
        let first = rows.into_iter().find(|(row, _)| due(*row) > now_secs);
        if let (Some((_, waypoint)), false) = (first, starting) {
            let known = waypoint.iter().zip(&self.targets).zip(&self.leashes);
            for (joint, ((angle, target), &limit)) in known.enumerate() {
                let found = (angle - target.position).abs();
                if found > limit {
                    return Err(PlanError::Far { joint, found, limit }.into());
                }
            }
        }
        let mut start = [0.0; MAX_JOINTS];
        for (start, target) in start.iter_mut().zip(&self.targets) {
            *start = target.position;
        }
        self.path.start(now_secs, start.get(..joints).unwrap_or_default())?;
        Ok(())
    }

    fn tick(&mut self, now: Duration) -> Output {
        self.counters.ticks += 1;
        let before = self.ticked.replace(now);
        if before.is_some_and(|before| now.saturating_sub(before) > self.config.gap) && self.torque
        {
            self.gap(now);
        }
        if self.state.is_moving() {
            let silence = now.saturating_sub(self.heard);
            if silence > self.config.lease_lost {
                self.on(Event::LeaseLost, now);
            } else if silence > self.config.lease_stale {
                self.on(Event::LeaseStale, now);
            }
        }
        self.on(Event::Tick, now);
        let now_secs = now.as_secs_f64();
        if matches!(self.state, State::Running { .. })
            && self.path.end_secs().is_none_or(|end| end < now_secs)
        {
            if !self.last {
                self.on(Event::Underrun, now);
            } else if self.has_arrived(now_secs) {
                self.on(Event::Stop, now);
            }
        }
        let goals = if self.torque { self.set_points(now) } else { None };
        self.silent = goals.is_none();
        Output { state: self.state, goals }
    }

    /// Whether the set-points have reached the end of the path, as good as at rest.
    fn has_arrived(&mut self, now_secs: f64) -> bool {
        let known = self.path.sample(now_secs, &mut self.targets);
        known
            && self.trajectory.states().zip(&self.targets).zip(&self.limits).all(|(all, limits)| {
                let (state, target) = all;
                // What lies outside is approached as far as the limits go.
                let off = (state.position - target.position.clamp(limits.min, limits.max)).abs();
                off < ARRIVED_RAD && state.velocity.abs() < ARRIVED_RAD_S
            })
    }

    /// The loop was away: the arm holds where it is now, since nobody knows what it did. Where it
    /// was read before does not say that, so nothing is sent until it is read anew.
    fn gap(&mut self, now: Duration) {
        self.on(Event::Gap, now);
        self.silent = true;
        if !self.is_read(now) {
            return;
        }
        if let Err(trouble) = self.anchor() {
            self.trouble = Some(trouble);
            self.on(Event::Failed(Cause::Gate), now);
        } else {
            self.silent = false;
        }
    }

    /// Whether it is known where the joints are now.
    fn is_read(&self, now: Duration) -> bool {
        self.sensed_at.is_some_and(|at| now.saturating_sub(at) <= self.config.gap)
    }

    fn set_points(&mut self, now: Duration) -> Option<[i32; MAX_JOINTS]> {
        let motion = self.state.motion();
        if motion == Motion::Nothing {
            return None;
        }
        // Where nothing was sent for a period, set-points begin anew where the arm is.
        if self.silent && (!self.is_read(now) || self.anchor().is_err()) {
            return None;
        }
        // The trajectory takes a target for the end of the period that now begins.
        let end_secs = now.as_secs_f64() + self.period_secs;
        // Torque, a start and a plan may all have come in this period; it begins at rest even so.
        let play = motion == Motion::Play
            && !self.gate.awaits_first()
            && self.path.sample(end_secs, &mut self.targets);
        let aim = if play { Aim::Follow(&self.targets) } else { Aim::Hold };
        let limited = self.trajectory.braked_and_unsolved();
        match self.trajectory.step(aim, &self.measured) {
            Err(trouble @ TrajectoryError::Following { .. }) if !self.state.is_latched() => {
                self.trouble = Some(trouble.into());
                self.on(Event::Failed(Cause::Following), now);
            }
            // What is latched pushes against nothing, and leads nobody back who gave way.
            Err(TrajectoryError::Following { .. }) if self.trajectory.is_at_rest() => return None,
            _ => {}
        }
        self.counters.limited += u64::from(limited != self.trajectory.braked_and_unsolved());
        if let Err(trouble) = self.pass() {
            self.trouble = Some(trouble);
            self.on(Event::Failed(Cause::Gate), now);
            return None;
        }
        if motion == Motion::Rest && self.trajectory.is_at_rest() {
            self.on(Event::AtRest, now);
        }
        let mut goals = [0; MAX_JOINTS];
        for (sent, goal) in goals.iter_mut().zip(&self.goals) {
            *sent = *goal;
        }
        Some(goals)
    }

    /// Rounds the set-points and shows them to the gate.
    fn pass(&mut self) -> Result<(), Trouble> {
        if !self.trajectory.ticks(&self.scales, &mut self.goals) {
            return Err(Trouble::Ticks);
        }
        self.gate.check(&self.goals)?;
        if let Some((chain, workspace)) = &self.workspace
            && self.state.motion() == Motion::Play
        {
            let mut angles = [0.0; MAX_JOINTS];
            for (angle, state) in angles.iter_mut().zip(self.trajectory.states()) {
                *angle = state.position;
            }
            check_workspace(chain, workspace, angles.get(..self.goals.len()).unwrap_or_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;
