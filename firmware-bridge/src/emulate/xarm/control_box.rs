//! What a control box does with requests, and how its arm moves: states, modes, errors, gripper.

use std::f64::consts::PI;
use std::time::Duration;

use super::gripper::Gripper;
use crate::codecs::xarm::{
    Fault, Frame, JOINTS, Mode, Order, Protocol, Reply, Report, Request, RequestError, StateBits,
    angle_rad, gripper,
};
use crate::description::ArmDescription;
use crate::emulate::{Plant, PlantJoint};

/// Fastest joint, in microradians a second: half a turn.
const MAX_VELOCITY: f64 = PI * 1e6;
/// Largest change of velocity, in microradians a second squared.
const MAX_ACCELERATION: f64 = 2e7;
/// The controller looks for a new set-point this often.
const PERIOD: Duration = Duration::from_millis(4);
/// The plant's own step.
const STEP: Duration = Duration::from_millis(1);
/// A joint that is kept this far from where it was told to be has met something; per step of the
/// sensitivity less, in microradians.
const COLLISION: f64 = 60_000.0;
/// How far a joint may be beyond its limits, in microradians: a tenth of a degree.
const MARGIN: f64 = 1745.0;
/// A control box and its arm. Positions of the plant are microradians.
#[derive(Debug, Clone)]
pub struct ControlBox {
    plant: Plant,
    limits: Vec<(f64, f64)>,
    /// What it says it is: see [`crate::codecs::xarm::Version`].
    pub version: String,
    now: Duration,
    enabled: bool,
    mode: Mode,
    /// 0 run, 3 paused, 4 stopped, 5 changed and not started since.
    state: u8,
    fault: Fault,
    warning: u8,
    stop_pressed: bool,
    sensitivity: u8,
    /// The set-point that the next period takes up.
    pending: Option<[f64; JOINTS]>,
    next_period: Duration,
    /// Velocities of mode 4, and when they end.
    velocity: Option<([f64; JOINTS], Option<Duration>)>,
    gripper: Gripper,
    /// Set-points that were taken up.
    pub taken: u64,
    /// Set-points that came too soon after another and were lost.
    pub lost: u64,
    /// Set-points that were refused.
    pub refused: u64,
}

impl ControlBox {
    /// A box that was just switched on, its arm as described and in the middle of what is
    /// described, at most at zero.
    pub fn new(arm: &ArmDescription) -> Self {
        let own = |model: &str| model.starts_with("xarm") && model != gripper::MODEL;
        let joints = arm.joints.iter().filter(|joint| own(&joint.model)).take(JOINTS);
        let limits: Vec<_> = joints
            .map(|joint| (joint.min_rad * 1e6 - MARGIN, joint.max_rad * 1e6 + MARGIN))
            .collect();
        let start = |&(min, max): &(f64, f64)| 0.0_f64.clamp(min, max);
        let plant: Vec<_> = limits
            .iter()
            .map(|limits| PlantJoint::new(start(limits), MAX_VELOCITY, MAX_ACCELERATION))
            .collect();
        let axes = limits.len();
        Self {
            plant: Plant::new(plant),
            limits,
            version: format!("{axes},{axes},XI130501A2B3,AC130301A2B3,v1.13.104"),
            now: Duration::ZERO,
            enabled: false,
            mode: Mode::Position,
            state: 4,
            fault: Fault(0),
            warning: 0,
            stop_pressed: false,
            sensitivity: 3,
            pending: None,
            next_period: PERIOD,
            velocity: None,
            gripper: Gripper::default(),
            taken: 0,
            lost: 0,
            refused: 0,
        }
    }

    /// The joints.
    pub fn plant(&mut self) -> &mut Plant {
        &mut self.plant
    }

    /// The error that waits.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Whether the motors are on.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// The gripper in the hand.
    pub fn gripper(&mut self) -> &mut Gripper {
        &mut self.gripper
    }

    /// Presses or releases the emergency stop. Released, its error stays until it is cleared.
    pub fn press_stop(&mut self, pressed: bool) {
        self.stop_pressed = pressed;
        if pressed {
            self.fail(Fault::EMERGENCY_STOP);
        }
    }

    /// An error: everything stops, what waited is forgotten, and nothing moves until the error is
    /// cleared, the motors enabled, a mode set and the state set to run.
    pub fn fail(&mut self, fault: Fault) {
        self.fault = fault;
        self.enabled = false;
        self.halt(4);
    }

    fn halt(&mut self, state: u8) {
        (self.state, self.pending, self.velocity) = (state, None, None);
        for joint in &mut self.plant.joints {
            // To rest as fast as it can, and not back.
            let way = joint.velocity * joint.velocity.abs() / (2.0 * joint.max_acceleration);
            joint.goal = joint.position + way;
            joint.max_velocity = MAX_VELOCITY;
            joint.torque = self.enabled;
        }
    }

    /// Whether it would move if told to.
    fn ready(&self) -> bool {
        self.enabled && self.fault.0 == 0 && !matches!(self.state, 4 | 5)
    }

    /// Lets time pass until `now`, counted from when it was switched on.
    pub fn advance(&mut self, now: Duration) {
        while self.now + STEP <= now {
            self.now += STEP;
            self.step();
        }
    }

    fn step(&mut self) {
        if self.now >= self.next_period {
            self.next_period = self.now + PERIOD;
            if let Some(point) = self.pending.take() {
                self.taken += 1;
                for (joint, goal) in self.plant.joints.iter_mut().zip(point) {
                    joint.goal = goal;
                }
            }
        }
        if let Some((velocities, until)) = self.velocity {
            if until.is_some_and(|until| self.now >= until) {
                self.halt(self.state);
            } else {
                self.run_at(velocities);
            }
        }
        self.plant.advance(self.now);
        self.collide();
        self.gripper.step(STEP);
    }

    fn run_at(&mut self, velocities: [f64; JOINTS]) {
        let limits = self.limits.iter();
        let mut beyond = false;
        for ((joint, velocity), (min, max)) in
            self.plant.joints.iter_mut().zip(velocities).zip(limits)
        {
            joint.max_velocity = velocity.abs().max(1.0);
            joint.goal = joint.position + velocity;
            beyond |= velocity != 0.0 && !(*min..=*max).contains(&joint.position);
        }
        if beyond {
            self.fail(Fault::JOINT_LIMIT);
        }
    }

    fn collide(&mut self) {
        let threshold = COLLISION - 10_000.0 * f64::from(self.sensitivity);
        let met = self.plant.joints.iter().any(|joint| {
            joint.torque
                && joint.wall == Some(joint.position)
                && (joint.goal - joint.position).abs() > threshold
        });
        if met && self.sensitivity > 0 && self.fault.0 == 0 {
            self.fail(Fault::COLLISION);
        }
    }

    /// What a report says now.
    pub fn report(&self) -> Report {
        let mut report = Report { mode: self.mode as u8, state: self.said(), ..Report::default() };
        let joints = report.joints_rad.iter_mut().zip(&mut report.torques_nm);
        for ((angle, torque), joint) in joints.zip(&self.plant.joints) {
            *angle = (joint.measured() * 1e-6) as f32;
            *torque = (joint.load(100_000.0) * 50.0) as f32;
        }
        report
    }

    /// The state as it is told.
    fn said(&self) -> u8 {
        let moves = self.plant.joints.iter().any(|joint| joint.velocity.abs() > 100.0);
        match self.state {
            0 if moves => 1,
            0 => 2,
            state => state,
        }
    }

    /// Takes a request and gives the bytes of the reply.
    pub fn answer(&mut self, frame: Frame<'_>) -> Vec<u8> {
        let mut data = Vec::new();
        let taken = match Request::decode(frame.function, frame.rest) {
            Ok(request) => self.take(request, &mut data),
            Err(error) => {
                let known = !matches!(error, RequestError::Unknown { .. });
                self.warning = if known { 12 } else { 13 };
                false
            }
        };
        let mut state = 0;
        for (set, bit) in [
            (self.fault.0 != 0, StateBits::ERROR),
            (self.warning != 0, StateBits::WARNING),
            (!self.ready(), StateBits::NOT_READY),
            (!taken, StateBits::INVALID),
        ] {
            state |= if set { bit } else { 0 };
        }
        let (transaction, protocol) = (frame.transaction, frame.protocol);
        let (function, state) = (frame.function, StateBits(state));
        Reply { transaction, protocol, function, state, data: &data }.encode()
    }

    /// Whether it was valid.
    fn take(&mut self, request: Request, data: &mut Vec<u8>) -> bool {
        match request {
            Request::Version => data.extend(padded(&self.version)),
            Request::Serial => data.extend(padded("XI130501A2B3\0AC130301A2B3")),
            Request::MotionEnable { on, .. } => return self.enable(on),
            Request::SetState(order) => self.order(order),
            Request::State => data.push(self.said()),
            Request::Waiting => data.extend([0, 0]),
            Request::Faults => data.extend([self.fault.0, self.warning]),
            Request::ClearError => {
                self.fault = if self.stop_pressed { Fault::EMERGENCY_STOP } else { Fault(0) };
            }
            Request::ClearWarning => self.warning = 0,
            Request::SetMode { mode, .. } => {
                self.mode = mode;
                self.halt(5);
            }
            Request::ServoJoints { joints_rad, .. } => return self.set_point(joints_rad),
            Request::MoveJoints { joints_rad, speed, .. } => return self.go(joints_rad, speed),
            Request::JointVelocity { joints_rad, secs, .. } => return self.speed(joints_rad, secs),
            Request::CollisionSensitivity(level) if level > 5 => return false,
            Request::CollisionSensitivity(level) => self.sensitivity = level,
            Request::Pose => data.extend([0; 24]),
            Request::Joints => self.joint_states(1, data),
            Request::JointStates { kinds } => self.joint_states(kinds & 0x0F, data),
            Request::Reduced => data.extend([0; 21]),
            Request::Rs485 { host: 9, id: gripper::ID, access } if !self.gripper.unplugged => {
                return self.gripper.answer(access, data);
            }
            // The bus runs at 2 Mbit/s, number 11.
            Request::HandRegister { host: 9, address: 0x0A0B } => data.extend([0, 0, 0, 11]),
            Request::HandRegister { .. } => data.extend([0; 4]),
            // There is nothing else on the hand's bus.
            Request::Rs485 { .. } => {
                self.fail(Fault(19));
                return false;
            }
            _ => {} // a setting without effect on what is emulated
        }
        true
    }

    fn enable(&mut self, on: bool) -> bool {
        if on && self.fault.0 != 0 {
            return false;
        }
        if on != self.enabled {
            self.enabled = on;
            self.halt(self.state);
        }
        true
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Run if self.enabled && self.fault.0 == 0 => self.state = 0,
            Order::Run => {}
            Order::Pause => self.halt(3),
            Order::Stop | Order::Decelerate => self.halt(4),
        }
    }

    /// Where a command wants the joints to be, if it may want anything.
    fn wanted(&mut self, mode: Mode, joints_rad: [f32; JOINTS]) -> Option<[f64; JOINTS]> {
        if !self.ready() || self.mode != mode {
            self.refused += 1;
            return None;
        }
        let point = joints_rad.map(|angle| f64::from(angle) * 1e6);
        let inside = |(angle, (min, max)): (&f64, &(f64, f64))| (*min..=*max).contains(angle);
        if !point.iter().zip(&self.limits).all(inside) {
            self.fail(Fault::JOINT_LIMIT);
            return None;
        }
        Some(point)
    }

    fn set_point(&mut self, joints_rad: [f32; JOINTS]) -> bool {
        if let Some(point) = self.wanted(Mode::Servo, joints_rad) {
            self.lost += u64::from(self.pending.replace(point).is_some());
            return true;
        }
        self.mode == Mode::Servo
    }

    fn go(&mut self, joints_rad: [f32; JOINTS], speed: f32) -> bool {
        let Some(point) = self.wanted(Mode::Position, joints_rad) else {
            return self.mode == Mode::Position;
        };
        let speed = f64::from(speed) * 1e6;
        if !(1.0..=MAX_VELOCITY).contains(&speed) {
            self.fail(Fault::SPEED);
            return true;
        }
        for (joint, goal) in self.plant.joints.iter_mut().zip(point) {
            (joint.goal, joint.max_velocity) = (goal, speed);
        }
        true
    }

    fn speed(&mut self, joints_rad: [f32; JOINTS], secs: Option<f32>) -> bool {
        if !self.ready() || self.mode != Mode::JointVelocity {
            self.refused += 1;
            return self.mode == Mode::JointVelocity;
        }
        let velocities = joints_rad.map(|velocity| f64::from(velocity) * 1e6);
        if !velocities.iter().all(|velocity| velocity.abs() <= MAX_VELOCITY) {
            self.fail(Fault::SPEED);
            return true;
        }
        let secs = secs.filter(|secs| *secs > 0.0 && *secs < 1e6);
        self.velocity =
            Some((velocities, secs.map(|secs| self.now + Duration::from_secs_f32(secs))));
        true
    }

    fn joint_states(&self, kinds: u8, data: &mut Vec<u8>) {
        let joint = |i: usize| self.plant.joints.get(i);
        for kind in 0..kinds.min(3) {
            for i in 0..JOINTS {
                let value = joint(i).map_or(0.0, |joint| match kind {
                    0 => angle_rad(joint.measured() as i32),
                    1 => (joint.velocity * 1e-6) as f32,
                    _ => (joint.load(100_000.0) * 50.0) as f32,
                });
                data.extend(value.to_le_bytes());
            }
        }
    }
}

/// As the box pads its texts.
fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(40, 0);
    bytes
}

/// How long a client that keeps the rules of protocol 3 may say nothing.
pub(super) fn patience(protocol: Protocol, keep_alive: Duration) -> Option<Duration> {
    (protocol == Protocol::KeptAlive).then_some(keep_alive)
}
