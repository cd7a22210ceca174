//! An arm inside a simulator that somebody else runs: `MuJoCo`, Isaac, Drake, over a socket.
//!
//! What both sides say is in [`engraft_wire::simulator`]. A set-point goes out without waiting, and
//! its answer, which the next period looks at, says how the arm is: one round trip for both, and no
//! wait where the simulator answers within a period. At most two requests are unanswered at any
//! time, so a simulator that was held up has little of before to catch up with.
//!
//! After [`identify`](Motors::identify) nothing is allocated here in a period but what ZeroMQ wants:
//! the frame of each request, the row of frames of each answer, and its own memory for both.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engraft_wire::simulator::{Answer, Description, Joints, Request, State};
use engraft_wire::{SimulatorSocket, SocketError, is_loopback};

use super::MICRORADIANS_PER_TURN;
use crate::description::ArmDescription;
use crate::motors::{Damage, Health, Identity, Motors, MotorsError, Sensed, refused};
use crate::units::{Scale, microradians};

/// How long each wait may last.
#[derive(Debug, Clone, Copy)]
pub struct SimulatorTimings {
    /// For a connection, and for what a simulator says about itself.
    pub connect: Duration,
    /// For the answer to what is asked in every period.
    pub answer: Duration,
    /// For torque.
    pub settle: Duration,
}

impl Default for SimulatorTimings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            // Less than what counts as a gap of the control loop; five of them in a row are a fault.
            answer: Duration::from_millis(30),
            settle: Duration::from_secs(1),
        }
    }
}

/// Requests that may be unanswered.
const MAX_UNANSWERED: u64 = 2;
/// How far a bound of the description may lie outside the simulator's, in radians: both are
/// written as decimals.
const SLACK_RAD: f64 = 1e-5;

/// A simulated arm's motors. One tick is a microradian, or a micrometre where a joint slides.
pub struct SimulatorMotors {
    endpoint: String,
    joints: Vec<String>,
    ids: Vec<u8>,
    models: Vec<String>,
    /// In the simulator's radians, as the description has them.
    bounds_rad: Vec<(f64, f64)>,
    /// How long each wait may last.
    pub timings: SimulatorTimings,
    link: Option<Link>,
    torque: bool,
}

struct Link {
    socket: SimulatorSocket,
    /// The newest request that was answered.
    answered: u64,
    /// Whether the last wait was in vain.
    late: bool,
}

impl Link {
    /// The answer to the newest request, if it comes within `patience`.
    fn hear(&mut self, patience: Duration) -> Result<Option<Answer>, SocketError> {
        let sent = self.socket.sent();
        let heard = self.socket.receive(patience);
        match &heard {
            // A number that was never given is no answer to anything.
            Ok(Some((seq, _))) if *seq <= sent => self.answered = self.answered.max(*seq),
            // It says nothing of which request it answers.
            Err(_) => self.answered = sent,
            _ => {}
        }
        self.late = self.answered < sent;
        Ok(heard?.filter(|(seq, _)| *seq == sent).map(|(_, answer)| answer))
    }

    /// Requests that wait for an answer.
    fn unanswered(&self) -> u64 {
        self.socket.sent() - self.answered
    }
}

impl std::fmt::Debug for SimulatorMotors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatorMotors")
            .field("endpoint", &self.endpoint)
            .field("torque", &self.torque)
            .finish_non_exhaustive()
    }
}

/// The simulator at an address, as far as it can be connected to at all.
fn connect(endpoint: &str) -> Result<SimulatorSocket, MotorsError> {
    SimulatorSocket::connect(endpoint).map_err(|error| port(endpoint, &error))
}

fn port(endpoint: &str, error: &SocketError) -> MotorsError {
    MotorsError::Port {
        port: endpoint.to_owned(),
        detail: "expected a simulator's address, such as tcp://127.0.0.1:5570".into(),
        source: io::Error::other(error.to_string()),
    }
}

/// What a simulator says it is.
fn describe(socket: &mut SimulatorSocket, patience: Duration) -> Result<Description, MotorsError> {
    let endpoint = socket.endpoint().to_owned();
    match socket.ask(&Request::Describe, patience) {
        Ok(Answer::Description(description)) => Ok(*description),
        Ok(Answer::Error { detail }) => {
            refused(format!("{endpoint} does not describe itself: {detail}"))
        }
        Ok(_) => refused(format!("{endpoint} answers `describe` with something else")),
        Err(SocketError::Wire(error)) => refused(format!("{endpoint} is no simulator: {error}")),
        Err(error) => Err(MotorsError::Port {
            port: endpoint,
            detail: "expected a simulator there: start one, such as `engraft-mujoco`".into(),
            source: io::Error::other(error.to_string()),
        }),
    }
}

impl SimulatorMotors {
    /// The arm that a simulator at `endpoint` moves. Connects nothing yet.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed, or the description's bounds cannot be written in ticks.
    pub fn new(arm: &ArmDescription, endpoint: &str) -> Result<Self, MotorsError> {
        is_loopback(endpoint).map_err(|error| port(endpoint, &error))?;
        let mut bounds_rad = Vec::with_capacity(arm.joints.len());
        for joint in &arm.joints {
            let zero = joint.zero_ticks.unwrap_or_default();
            let scale = Scale::radians(MICRORADIANS_PER_TURN, zero, joint.inverted);
            let [Some(a), Some(b)] = [joint.min_rad, joint.max_rad].map(|bound| scale.ticks(bound))
            else {
                return refused(format!(
                    "joint {}: {} to {} rad is more than 32-bit microradians hold",
                    joint.name, joint.min_rad, joint.max_rad
                ));
            };
            bounds_rad.push((f64::from(a.min(b)) / 1e6, f64::from(a.max(b)) / 1e6));
        }
        Ok(Self {
            endpoint: endpoint.to_owned(),
            joints: arm.joints.iter().map(|joint| joint.name.clone()).collect(),
            ids: arm.joints.iter().map(|joint| joint.id).collect(),
            models: arm.joints.iter().map(|joint| joint.model.clone()).collect(),
            bounds_rad,
            timings: SimulatorTimings::default(),
            link: None,
            torque: false,
        })
    }

    fn hung_up(&mut self) -> MotorsError {
        (self.link, self.torque) = (None, false);
        MotorsError::HungUp { port: self.endpoint.as_str().into() }
    }

    /// All joints are behind one socket.
    fn all(&self) -> Arc<str> {
        format!("1 and all others in {}", self.endpoint).into()
    }

    fn silent(&self, waited: Duration) -> MotorsError {
        MotorsError::Silent { joint: self.all(), id: 0, waited }
    }

    fn damaged(&self, detail: String) -> MotorsError {
        MotorsError::Damaged { joint: self.all(), id: 0, detail: Damage::Words(detail.into()) }
    }

    /// An error of a socket as one of ours.
    fn fail(&mut self, error: &SocketError, waited: Duration) -> MotorsError {
        match error {
            SocketError::Timeout { .. } if self.is_gone() => self.hung_up(),
            SocketError::Timeout { .. } => self.silent(waited),
            SocketError::Wire(error) => self.damaged(error.to_string()),
            error => {
                let failed = port(&self.endpoint, error);
                (self.link, self.torque) = (None, false);
                failed
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.link.as_ref().is_none_or(|link| !link.socket.is_connected().unwrap_or(false))
    }

    /// Whether what a simulator says it is fits the description: names and order, and ranges that
    /// hold those of the description.
    fn compare(&self, found: &Description) -> Result<(), MotorsError> {
        let differs = |i: usize, field: &'static str, expected: String, found: String| {
            let joint = self.joints.get(i).map_or("", String::as_str).into();
            let id = self.ids.get(i).copied().unwrap_or_default();
            Err(MotorsError::Identity { joint, id, field, expected, found })
        };
        let names = |all: &[String]| format!("{} ({})", all.len(), all.join(", "));
        if found.joints.len() != self.joints.len() {
            let found: Vec<_> = found.joints.iter().map(|joint| joint.name.clone()).collect();
            return differs(0, "the number of joints", names(&self.joints), names(&found));
        }
        let expected = self.joints.iter().zip(&self.models).zip(&self.bounds_rad);
        for (i, (((name, model), &(min, max)), joint)) in expected.zip(&found.joints).enumerate() {
            if *name != joint.name {
                return differs(i, "its name in the simulator", name.clone(), joint.name.clone());
            }
            if *model != found.name {
                return differs(i, "model", model.clone(), found.name.clone());
            }
            if min < joint.min_rad - SLACK_RAD || max > joint.max_rad + SLACK_RAD {
                let range = |min: f64, max: f64| format!("{min} to {max} rad");
                let expected = format!("{} or more", range(min, max));
                return differs(i, "the range", expected, range(joint.min_rad, joint.max_rad));
            }
        }
        Ok(())
    }

    /// Asks and waits for how the arm is.
    fn ask(&mut self, request: &Request, patience: Duration) -> Result<State, MotorsError> {
        let Some(link) = &mut self.link else { return Err(self.hung_up()) };
        let answer = link.socket.ask(request, patience);
        link.answered = link.socket.sent();
        match answer {
            Ok(answer) => self.state(answer),
            Err(error) => Err(self.fail(&error, patience)),
        }
    }

    fn state(&mut self, answer: Answer) -> Result<State, MotorsError> {
        match answer {
            Answer::State(state) => match state.check(self.joints.len()) {
                Ok(()) => Ok(state),
                Err(error) => Err(self.damaged(error.to_string())),
            },
            Answer::Error { detail } => refused(detail),
            _ => Err(self.damaged("expected how the arm is, found another answer".into())),
        }
    }

    /// The answer to the newest request, which is `sense` where none is under way.
    fn newest(&mut self) -> Result<State, MotorsError> {
        let (patience, began) = (self.timings.answer, Instant::now());
        if self.is_gone() {
            return Err(self.hung_up());
        }
        let Some(link) = &mut self.link else { return Err(self.hung_up()) };
        if link.unanswered() == 0 || (link.late && link.unanswered() < MAX_UNANSWERED) {
            match link.socket.send(&Request::Sense) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(self.hung_up()),
                Err(error) => return Err(self.fail(&error, began.elapsed())),
            }
        }
        loop {
            let Some(link) = &mut self.link else { return Err(self.hung_up()) };
            match link.hear(patience.saturating_sub(began.elapsed())) {
                Ok(Some(answer)) => return self.state(answer),
                Ok(None) if self.is_gone() => return Err(self.hung_up()),
                Ok(None) if began.elapsed() >= patience => {
                    return Err(self.silent(began.elapsed()));
                }
                Ok(None) => {}
                Err(error) => return Err(self.fail(&error, began.elapsed())),
            }
        }
    }

    /// A simulator that lost its torque began anew, or somebody took it.
    fn check_torque(&mut self, state: &State) -> Result<(), MotorsError> {
        if !self.torque || state.torque {
            return Ok(());
        }
        self.torque = false;
        let id = self.ids.first().copied().unwrap_or_default();
        Err(MotorsError::Restarted { joint: self.all(), id })
    }
}

impl Motors for SimulatorMotors {
    fn joints(&self) -> &[String] {
        &self.joints
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        (self.link, self.torque) = (None, false);
        let mut socket = connect(&self.endpoint)?;
        let description = describe(&mut socket, self.timings.connect)?;
        self.compare(&description)?;
        self.link = Some(Link { answered: socket.sent(), late: false, socket });
        self.ask(&Request::Sense, self.timings.connect)?;
        let Description { name, version, .. } = description;
        Ok(vec![Identity { model: name, firmware: version }; self.joints.len()])
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let state = self.newest()?;
        self.check_torque(&state)?;
        let State { position_rad, velocity_rad_s, effort, .. } = state;
        let places = sensed.position.iter_mut().zip(&mut sensed.velocity);
        let angles = position_rad.as_slice().iter().zip(velocity_rad_s.as_slice());
        let mut broken = None;
        for (i, ((place, speed), (&angle, &velocity))) in places.zip(angles).enumerate() {
            match microradians(angle) {
                Some(position) => (*place, *speed) = (position, (velocity * 1e6) as i32),
                None => broken = broken.or(Some((i, angle))),
            }
        }
        let efforts = effort.unwrap_or_default();
        for (load, effort) in sensed.load_permille.iter_mut().zip(efforts.as_slice()) {
            *load = (effort.clamp(-1.0, 1.0) * 1000.0) as i16;
        }
        let Some((i, angle)) = broken else { return Ok(()) };
        Err(MotorsError::Damaged {
            joint: self.joints.get(i).map_or("", String::as_str).into(),
            id: self.ids.get(i).copied().unwrap_or_default(),
            detail: Damage::Words(
                format!("expected an angle, found {angle} rad: does it turn without end?").into(),
            ),
        })
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        if self.is_gone() {
            return Err(self.hung_up());
        }
        if !self.torque {
            return refused("torque is off: switch it on before a set-point");
        }
        if goals.len() != self.joints.len() {
            let (expected, found) = (self.joints.len(), goals.len());
            return refused(format!("expected {expected} goal(s), found {found}"));
        }
        let mut goal_rad = [0.0; engraft_wire::operator::MAX_JOINTS];
        let bounds = goals.iter().zip(&self.bounds_rad).zip(&self.joints);
        for (angle, ((&goal, &(min, max)), joint)) in goal_rad.iter_mut().zip(bounds) {
            *angle = f64::from(goal) / 1e6;
            if !(min - SLACK_RAD..=max + SLACK_RAD).contains(angle) {
                return refused(format!(
                    "joint {joint}: expected a goal of {min} to {max} rad, found {angle}: not sent"
                ));
            }
        }
        let goal_rad = Joints::new(goal_rad.get(..goals.len()).unwrap_or_default());
        let goal_rad = goal_rad.map_err(|error| self.damaged(error.to_string()))?;
        let Some(link) = &mut self.link else { return Err(self.hung_up()) };
        if link.unanswered() >= MAX_UNANSWERED {
            return Err(self.silent(self.timings.answer));
        }
        match link.socket.send(&Request::Command { goal_rad }) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.hung_up()),
            Err(error) => Err(self.fail(&error, Duration::ZERO)),
        }
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        self.torque = false;
        let state = self.ask(&Request::Torque { on }, self.timings.settle)?;
        if state.torque != on {
            let [wanted, is] = [on, state.torque].map(|on| if on { "on" } else { "off" });
            return refused(format!("torque shall be {wanted}, and the simulator says it is {is}"));
        }
        self.torque = on;
        Ok(())
    }

    fn examine(&mut self, _joint: usize) -> Result<Health, MotorsError> {
        if self.is_gone() {
            return Err(self.hung_up());
        }
        // Whether it still has torque shows in every reading.
        Ok(Health { torque: self.torque, ..Health::default() })
    }

    fn when_abandoned(&self) -> &'static str {
        "the simulator holds every joint where it is once its watchdog's time has passed; nothing \
         of it is real"
    }
}
