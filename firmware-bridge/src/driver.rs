//! A policy at the wheel: looks, asks, and hands what it wants over as plans.
//!
//! It runs at the policy's rate on a thread of its own. It holds the lease like any operator, and
//! nothing that it says reaches the arm but through the pilot.

mod error;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engraft_core::{Dimension, Observation, Outcome, RobotSpec};

use crate::control::{Controls, Moment, Request};
use crate::controller::{ControlConfig, Controller, Outputs};
use crate::description::ArmDescription;
use crate::eyes::Eyes;
use crate::hand::Hand;
use crate::hub::Board;
use crate::limits::from_spec;
use crate::link::{Link, LinkEvent};
use crate::machine::{Event, State};
use crate::operator::{Leases, resample};
use crate::pilot::Input;
use crate::plan::{MAX_WAYPOINTS, Plan};
use crate::recorder::{self, Recorder};
use crate::session::EpisodeReport;
use crate::units::JointScales;

pub use error::DriverError;

/// How long the control thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The way to where an episode begins takes this part of each joint's fastest velocity.
const GENTLY: f64 = 0.3;
/// Seconds between two waypoints on that way.
const LEG_SECS: f64 = 0.1;

/// What the arm senses and accepts, in the policy's words.
pub fn robot_spec(
    arm: &ArmDescription,
    scales: &[JointScales],
    control_hz: f32,
    eyes: &dyn Eyes,
    hand: Option<&Hand>,
) -> RobotSpec {
    let dimensions = arm.joints.iter().zip(scales).map(|(joint, scales)| {
        let at = |angle| scales.radians.convert(angle, scales.policy) as f32;
        let [a, b] = [at(joint.min_rad), at(joint.max_rad)];
        Dimension::new(&joint.name, joint.unit.name()).within(a.min(b), a.max(b))
    });
    let dimensions: Vec<_> = dimensions.collect();
    RobotSpec {
        name: arm.name.clone(),
        control_hz,
        views: eyes.views().to_vec(),
        actions: hand.map_or_else(|| dimensions.clone(), |hand| hand.dimensions(&dimensions)),
        proprio: dimensions,
    }
}

/// Angles in radians as the policy has them.
fn in_units(scales: &[JointScales], angles_rad: &[f64]) -> Vec<f32> {
    let joints = scales.iter().zip(angles_rad);
    joints.map(|(scales, &angle)| scales.radians.convert(angle, scales.policy) as f32).collect()
}

/// What a driver needs of the bridge.
pub struct Wheel<'a> {
    /// The way to the control thread.
    pub controls: Controls,
    /// What it says.
    pub board: Board,
    /// Who may move the arm.
    pub leases: Leases,
    /// Seconds between two waypoints of a plan: the policy's period.
    pub plan_period_secs: f64,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
}

/// A policy at the wheel.
pub struct Driver<'a> {
    arm: &'a ArmDescription,
    scales: Vec<JointScales>,
    spec: RobotSpec,
    wheel: Wheel<'a>,
    link: Link,
    controller: Controller,
    eyes: Box<dyn Eyes>,
    /// What its actions are of, if not of the joints.
    pub hand: Option<Hand>,
    /// Where the joints were told to be a period ago, in radians.
    told_rad: Vec<f64>,
    /// Where it is written down.
    pub recorder: Option<Recorder>,
    plans: u64,
}

impl<'a> Driver<'a> {
    /// A driver for an arm that is described by `spec`, as [`robot_spec`] makes it.
    ///
    /// # Errors
    ///
    /// When the spec's bounds make no sense.
    pub fn new(
        arm: &'a ArmDescription,
        scales: Vec<JointScales>,
        spec: RobotSpec,
        wheel: Wheel<'a>,
        link: Link,
        eyes: Box<dyn Eyes>,
        config: ControlConfig,
    ) -> Result<Self, DriverError> {
        let controller = Controller::new(spec.clone(), from_spec(&spec), config)?;
        Ok(Self {
            arm,
            scales,
            spec,
            wheel,
            link,
            controller,
            eyes,
            hand: None,
            told_rad: Vec::new(),
            recorder: None,
            plans: 0,
        })
    }

    /// What talks to the policy, for its counters.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// How many instances there are to play.
    pub fn num_instances(&self) -> usize {
        self.eyes.num_instances()
    }

    /// Waits for a server whose policy fits.
    ///
    /// # Errors
    ///
    /// When none answers in time, its policy does not fit, or a stop is asked for.
    pub fn connect(&mut self, endpoint: &str, timeout: Duration) -> Result<(), DriverError> {
        let began = Instant::now();
        loop {
            let now = self.wheel.controls.now();
            while let Some(heard) = self.link.poll() {
                self.controller.hear(heard, now, &mut Outputs::default());
            }
            if let Some((cause, trouble)) = self.controller.fault() {
                let trouble = trouble.map_or_else(|| cause.to_string(), str::to_owned);
                return Err(DriverError::Mismatch(trouble));
            }
            if self.controller.is_connected() {
                return Ok(());
            }
            if self.stopped() {
                return Err(DriverError::Stopped);
            }
            let waited = began.elapsed();
            if waited > timeout {
                let trouble = self.controller.last_trouble().map(str::to_owned);
                return Err(DriverError::NoServer { endpoint: endpoint.into(), waited, trouble });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Plays one episode of at most `max_steps` periods.
    ///
    /// # Errors
    ///
    /// When the bridge refuses, or a fault stops the arm.
    pub fn episode(
        &mut self,
        episode: u32,
        instance: usize,
        seed: u64,
        max_steps: usize,
    ) -> Result<EpisodeReport, DriverError> {
        let holder = self.controller.welcome().map(|welcome| welcome.model.name.clone());
        let holder = format!("policy {}", holder.unwrap_or_default());
        let lease = self.wheel.leases.take(&holder, false);
        let lease = lease.map_err(|detail| DriverError::Refused { asked: "lease", detail })?;
        let played = self.prepare(instance, seed).and_then(|()| {
            let (outcome, steps) = self.play(episode, instance, seed, max_steps)?;
            let instance_name = self.eyes.instance_name(instance);
            Ok(EpisodeReport { episode, instance, instance_name, seed, outcome, steps })
        });
        let _ = self.wheel.leases.release(lease); // a fault may have taken it already
        played
    }

    fn stopped(&self) -> bool {
        self.wheel.stop.load(Ordering::Relaxed) || self.wheel.controls.is_shutting_down()
    }

    fn moment(&self) -> Result<Moment, DriverError> {
        let detail =
            || DriverError::Refused { asked: "episode", detail: "the arm is not connected".into() };
        self.wheel.board.moment().ok_or_else(detail)
    }

    fn event(&self, asked: &'static str, event: Event) -> Result<State, DriverError> {
        let done = self.wheel.controls.ask(Request::Input(Input::Event(event)), PATIENCE);
        done.map_err(|detail| DriverError::Refused { asked, detail })
    }

    fn check(&self) -> Result<(), DriverError> {
        let status = self.wheel.board.status();
        match self.moment()?.state {
            State::Fault(cause) => {
                Err(DriverError::Fault { cause: cause.to_string(), trouble: status.trouble })
            }
            State::Estop => {
                Err(DriverError::Fault { cause: "emergency stop".into(), trouble: None })
            }
            _ => Ok(()),
        }
    }

    fn proprio(&self, moment: &Moment) -> Vec<f32> {
        in_units(&self.scales, &moment.position_rad)
    }

    /// Brings the arm to where the episode begins, gently and within every limit.
    fn prepare(&mut self, instance: usize, seed: u64) -> Result<(), DriverError> {
        let Some(start) = self.eyes.begin(instance, seed)? else { return Ok(()) };
        let to: Vec<f64> = self
            .scales
            .iter()
            .zip(&self.arm.joints)
            .zip(&start)
            .map(|((scales, joint), &value)| {
                let angle = scales.policy.convert(f64::from(value), scales.radians);
                angle.clamp(joint.min_rad, joint.max_rad)
            })
            .collect();
        let moment = self.moment()?;
        let from = moment.goal_rad.get(..to.len()).unwrap_or_default();
        let slowest = self
            .arm
            .joints
            .iter()
            .zip(&to)
            .zip(from)
            .map(|((joint, to), from)| (to - from).abs() / (joint.max_velocity * GENTLY));
        let secs = slowest.fold(0.0, f64::max);
        if secs < 0.01 {
            return Ok(());
        }
        let most = (MAX_WAYPOINTS as f64) * self.wheel.plan_period_secs;
        let period = secs.min(most).max(LEG_SECS);
        let waypoints_rad = resample(from, &[to], period, self.wheel.plan_period_secs);
        let episode = u32::MAX;
        self.wheel.controls.tell(Input::Episode(episode));
        self.event("start", Event::Start)?;
        let first_tick = self.tick() + 1;
        self.hand_over(episode, self.wheel.controls.now(), first_tick, waypoints_rad, true)?;
        loop {
            thread::sleep(Duration::from_millis(20));
            self.wheel.controls.tell(Input::Heartbeat);
            self.check()?;
            let state = self.moment()?.state;
            if state == State::Armed {
                return Ok(());
            }
            if self.stopped() {
                let _ = self.event("stop", Event::Stop); // it may stand already
                return Err(DriverError::Stopped);
            }
            if state == State::Ready {
                let detail = "the lease was lost on the way to the start".into();
                return Err(DriverError::Refused { asked: "start", detail });
            }
        }
    }

    /// The tick of plans that it is now.
    fn tick(&self) -> u64 {
        (self.wheel.controls.now().as_secs_f64() / self.wheel.plan_period_secs) as u64
    }

    fn hand_over(
        &mut self,
        episode: u32,
        observed: Duration,
        first_tick: u64,
        waypoints_rad: Vec<f64>,
        last: bool,
    ) -> Result<State, DriverError> {
        self.plans += 1;
        let plan = Plan { episode, number: self.plans, observed, first_tick, waypoints_rad, last };
        let done = self.wheel.controls.ask(Request::Input(Input::Plan(Box::new(plan))), PATIENCE);
        done.map_err(|detail| DriverError::Refused { asked: "plan", detail })
    }

    fn play(
        &mut self,
        episode: u32,
        instance: usize,
        seed: u64,
        max_steps: usize,
    ) -> Result<(Outcome, usize), DriverError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(&self.spec, self.eyes.task(), &self.eyes.instance_name(instance), seed);
        }
        let first = Observation { views: Vec::new(), proprio: self.proprio(&self.moment()?) };
        self.wheel.controls.tell(Input::Episode(episode));
        self.event("start", Event::Start)?;
        let base = self.tick() + 1;
        let told_rad = self.moment()?.goal_rad;
        self.told_rad = told_rad.get(..self.scales.len()).unwrap_or_default().to_vec();
        self.controller.start(episode, &first, self.wheel.controls.now());
        let (mut outcome, mut steps) = (Outcome::Unknown, 0);
        let mut played = Ok(());
        for step in 0..max_steps as u64 {
            self.sleep_until(base + step);
            self.wheel.controls.tell(Input::Heartbeat);
            let moving = self.moment().is_ok_and(|moment| moment.state.is_moving());
            played = if moving { self.period(episode, base, step) } else { Ok(()) };
            if self.stopped() || !moving || played.is_err() {
                outcome = Outcome::Stopped;
                break;
            }
            steps += 1;
            if self.eyes.success() == Some(true) {
                outcome = Outcome::Success;
                break;
            }
        }
        if self.eyes.success() == Some(false) && outcome == Outcome::Unknown {
            outcome = Outcome::Failure;
        }
        // Whatever happened, the arm comes to rest and the recording has an end.
        let _ = self.event("stop", Event::Stop); // it may stand already
        self.controller.on(Event::Stop, self.wheel.controls.now());
        self.controller.on(Event::AtRest, self.wheel.controls.now());
        if let Some(recorder) = &mut self.recorder {
            recorder.end(outcome);
        }
        self.check()?;
        played?;
        Ok((outcome, steps))
    }

    fn sleep_until(&self, tick: u64) {
        let due = Duration::from_secs_f64(tick as f64 * self.wheel.plan_period_secs);
        thread::sleep(due.saturating_sub(self.wheel.controls.now()));
    }

    /// Look, ask, hear, and hand over what is wanted.
    fn period(&mut self, episode: u32, base: u64, step: u64) -> Result<(), DriverError> {
        let moment = self.moment()?;
        let now = self.wheel.controls.now();
        let proprio = self.proprio(&moment);
        let views = self.eyes.look(&proprio)?;
        let observation = Arc::new(Observation { views, proprio });
        self.controller.set_tick(step);
        let mut outputs = Outputs::default();
        let mut taken = self.listen(&mut outputs);
        if let Some(ask) = self.controller.sense(observation.clone(), now) {
            self.link.ask(ask);
        }
        // An answer that comes within this period is played in the next one already.
        let due = Duration::from_secs_f64((base + step + 1) as f64 * self.wheel.plan_period_secs);
        let early = Duration::from_millis(5);
        while self.controller.is_waiting() {
            let left = due.saturating_sub(self.wheel.controls.now()).saturating_sub(early);
            if left.is_zero() {
                break;
            }
            if let Some(heard) = self.link.wait(left.min(Duration::from_millis(20))) {
                taken |= self.hear(heard, &mut outputs);
            }
        }
        let told_rad = moment.goal_rad.get(..self.scales.len()).unwrap_or_default();
        if taken {
            // An action is where to be at the end of its period.
            let observed = self.controller.observed().unwrap_or(now);
            let waypoints = self.waypoints(told_rad);
            let done = waypoints.and_then(|waypoints_rad| {
                self.hand_over(episode, observed, base + step + 1, waypoints_rad, false)
            });
            if let Err(error) = done {
                // The pilot goes on with what it has; what it says is there to be read.
                self.wheel.board.set_trouble(error.to_string());
            }
        }
        if let Some(recorder) = &mut self.recorder {
            let action = match &self.hand {
                Some(hand) => hand.action(&self.told_rad, told_rad, &self.scales),
                None => in_units(&self.scales, told_rad),
            };
            recorder.step(recorder::Moment {
                time_secs: step as f64 * self.wheel.plan_period_secs,
                observation,
                chunk: outputs.chunk,
                action,
                limited: Vec::new(),
                attention: outputs.attention,
            });
        }
        self.told_rad = told_rad.to_vec();
        Ok(())
    }

    /// What the policy wants, as angles of all joints, action after action.
    fn waypoints(&mut self, told_rad: &[f64]) -> Result<Vec<f64>, DriverError> {
        let wanted = self.controller.wanted().take(MAX_WAYPOINTS);
        if let Some(hand) = &mut self.hand {
            return Ok(hand.waypoints(told_rad, wanted, &self.scales)?);
        }
        let scales = &self.scales;
        let angles = wanted.flat_map(|action| {
            action
                .iter()
                .zip(scales)
                .map(|(&value, scales)| scales.policy.convert(f64::from(value), scales.radians))
        });
        Ok(angles.collect())
    }

    fn listen(&mut self, outputs: &mut Outputs) -> bool {
        let mut taken = false;
        while let Some(heard) = self.link.poll() {
            taken |= self.hear(heard, outputs);
        }
        taken
    }

    fn hear(&mut self, heard: LinkEvent, outputs: &mut Outputs) -> bool {
        let now = self.wheel.controls.now();
        let mismatched = self.controller.fault().is_some();
        let taken = self.controller.hear(heard, now, outputs);
        if self.controller.fault().is_some() && !mismatched {
            if let Some(trouble) = self.controller.last_trouble() {
                self.wheel.board.set_trouble(trouble.to_owned());
            }
            self.wheel.controls.tell(Input::Event(Event::Mismatch));
        }
        taken
    }
}
