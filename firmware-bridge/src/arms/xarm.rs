//! xArm 5, 6 and 7 through their control box.
//!
//! Set-points go out without waiting for the answer to the one before, and every answer's state is
//! looked at: the box reports an error in each. One that comes less than 4 ms after another waits
//! for the next call, and of those that wait only the last is sent. Where the joints are comes from the box's own
//! stream. An error is never cleared here without being asked to. The vendor's gripper may be the
//! last joint.

mod gripper;
mod link;
#[cfg(test)]
mod tests;
mod torque;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codecs::xarm::{
    CONTROL_PORT, Fault, JOINTS, MAX_SETPOINT_HZ, Protocol, REPORT_PORT, Reply, ReplyError,
    Request, StateBits, Version, angle_rad, gripper::MODEL as GRIPPER, ticks,
};
use crate::description::ArmDescription;
use crate::motors::{Alarm, Health, Identity, Motors, MotorsError, Sensed, refused};
use gripper::Gripper;
use link::{ControlLink, ReportLink};

/// How long each wait may last.
#[derive(Debug, Clone, Copy)]
pub struct XarmTimings {
    /// For a connection, and for what the box says about itself.
    pub connect: Duration,
    /// For the answer to a set-point.
    pub answer: Duration,
    /// How old a report may be; they come every 10 ms.
    pub report_age: Duration,
    /// For motors to be enabled, which releases brakes, and for the arm to stand.
    pub settle: Duration,
    /// How long ago the gripper may have answered; it is asked every 50 ms.
    pub gripper_age: Duration,
}

impl Default for XarmTimings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            answer: Duration::from_millis(100),
            report_age: Duration::from_millis(50),
            settle: Duration::from_secs(5),
            gripper_age: Duration::from_millis(500),
        }
    }
}

/// Silence after which the box is asked something, since a client that says nothing is hung up on.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// An xArm's motors. One tick is a microradian.
pub struct XarmMotors {
    joints: Vec<String>,
    /// The same, for errors to hold.
    shared_names: Vec<Arc<str>>,
    ids: Vec<u8>,
    /// Joints of the arm itself.
    axes: usize,
    /// The joint after them, if the description has it.
    gripper: Option<Gripper>,
    model: String,
    /// In microradians, as the description has them.
    limits: Vec<(i32, i32)>,
    control: SocketAddr,
    control_name: Arc<str>,
    report: SocketAddr,
    /// How long each wait may last.
    pub timings: XarmTimings,
    links: Option<(ControlLink, ReportLink)>,
    version: Option<Version>,
    torque: bool,
    /// Between two set-points.
    period: Duration,
    /// Before this no set-point may go out.
    next: Instant,
    /// A set-point that came before that, and when.
    early: Option<(Request, Instant)>,
}

impl std::fmt::Debug for XarmMotors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XarmMotors")
            .field("control", &self.control)
            .field("version", &self.version)
            .field("torque", &self.torque)
            .finish_non_exhaustive()
    }
}

fn set_point(goals: impl Iterator<Item = i32>) -> Request {
    let mut joints_rad = [0.0; JOINTS];
    for (angle, goal) in joints_rad.iter_mut().zip(goals) {
        *angle = angle_rad(goal);
    }
    Request::ServoJoints { joints_rad, speed: 0.0, acceleration: 0.0, secs: 0.0 }
}

/// Where a box that takes requests at `control` streams its reports: at the vendor's own port, or,
/// where the other is not the vendor's either, at the next.
pub fn report_address(control: SocketAddr) -> SocketAddr {
    let port = match control.port() {
        CONTROL_PORT => REPORT_PORT,
        other => other.saturating_add(1),
    };
    SocketAddr::new(control.ip(), port)
}

impl XarmMotors {
    /// The arm whose control box has this name or address, at the vendor's ports. Connects
    /// nothing yet.
    ///
    /// # Errors
    ///
    /// When the name is no address, or the description has no arm of five to seven joints.
    pub fn new(arm: &ArmDescription, host: &str) -> Result<Self, MotorsError> {
        let resolve = |port| {
            let found = (host, port).to_socket_addrs().and_then(|mut found| {
                found.next().ok_or_else(|| std::io::ErrorKind::AddrNotAvailable.into())
            });
            found.map_err(|source| MotorsError::Port {
                port: host.into(),
                detail: "expected the control box's address, such as 192.168.1.203".into(),
                source,
            })
        };
        Self::at(arm, resolve(CONTROL_PORT)?, resolve(REPORT_PORT)?)
    }

    /// The same at any ports.
    ///
    /// # Errors
    ///
    /// When the description has no arm of five to seven joints.
    pub fn at(
        arm: &ArmDescription,
        control: SocketAddr,
        report: SocketAddr,
    ) -> Result<Self, MotorsError> {
        let last = arm.joints.last().filter(|joint| joint.model == GRIPPER);
        let count = arm.joints.len() - usize::from(last.is_some());
        let model = format!("xarm{count}");
        if !(5..=JOINTS).contains(&count) {
            return refused(format!(
                "an xArm has 5 to 7 joints, the description of {} has {count}",
                arm.name
            ));
        }
        if let Some(joint) = arm.joints.iter().take(count).find(|joint| joint.model != model) {
            return Err(MotorsError::Identity {
                joint: joint.name.as_str().into(),
                id: joint.id,
                field: "model in the description",
                expected: model,
                found: joint.model.clone(),
            });
        }
        let bound = |angle: f64| (angle * 1e6) as i32;
        Ok(Self {
            joints: arm.joints.iter().map(|joint| joint.name.clone()).collect(),
            shared_names: arm.joints.iter().map(|joint| joint.name.as_str().into()).collect(),
            ids: arm.joints.iter().map(|joint| joint.id).collect(),
            axes: count,
            gripper: last.map(|joint| Gripper::new(joint, control, arm.setpoint_hz)).transpose()?,
            model,
            limits: arm
                .joints
                .iter()
                .map(|joint| (bound(joint.min_rad), bound(joint.max_rad)))
                .collect(),
            control,
            control_name: control.to_string().into(),
            report,
            timings: XarmTimings::default(),
            links: None,
            version: None,
            torque: false,
            period: Duration::from_secs_f64(arm.period_secs()),
            next: Instant::now(),
            early: None,
        })
    }

    /// What the box said it is, once it was connected to.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// Which rules are kept with the box; `None` while there is no connection.
    pub fn protocol(&self) -> Option<Protocol> {
        self.links.as_ref().map(|(control, _)| control.protocol)
    }

    /// The error and the warning that wait.
    ///
    /// # Errors
    ///
    /// When the box does not say.
    pub fn fault(&mut self) -> Result<(Fault, u8), MotorsError> {
        let answer = self.timings.answer;
        let (_, [fault, warning]) = self.ask(&Request::Faults, answer, |reply| reply.bytes())?;
        Ok((Fault(fault), warning))
    }

    /// Clears the error and the warning, whose causes must be gone. Torque stays off.
    ///
    /// # Errors
    ///
    /// When the error is still there.
    pub fn clear_errors(&mut self) -> Result<(), MotorsError> {
        let answer = self.timings.answer;
        self.torque = false;
        for request in [Request::ClearError, Request::ClearWarning] {
            self.tell(&request, answer)?;
        }
        match self.fault()?.0 {
            Fault(0) => Ok(()),
            fault => self.fail(fault),
        }
    }

    fn who(&self, joint: usize) -> Arc<str> {
        self.shared_names.get(joint).cloned().unwrap_or_else(|| "".into())
    }

    fn links(&mut self) -> Result<&mut (ControlLink, ReportLink), MotorsError> {
        let hung_up = || MotorsError::HungUp { port: self.control_name.clone() };
        self.links.as_mut().ok_or_else(hung_up)
    }

    /// Asks and waits. A connection that failed is closed, since what it says next may belong to
    /// another request.
    fn ask<T>(
        &mut self,
        request: &Request,
        patience: Duration,
        read: impl Fn(Reply<'_>) -> Result<T, ReplyError>,
    ) -> Result<(StateBits, T), MotorsError> {
        let answer = self.links()?.0.ask(request, patience, read);
        self.closing(answer)
    }

    /// Sends the latest set-point, if one waits and its time has come.
    fn send_early(&mut self) -> Result<(), MotorsError> {
        let now = Instant::now();
        let Some((request, since)) = self.early.filter(|_| now >= self.next) else { return Ok(()) };
        self.early = None;
        // What waited longer was forgotten by whoever wanted it.
        if !self.torque || now - since > self.timings.answer {
            return Ok(());
        }
        self.next = now + Duration::from_secs_f64(1.0 / MAX_SETPOINT_HZ);
        let sent = self.links()?.0.send(&request);
        self.closing(sent)
    }

    /// The last joint, after all others are known.
    fn sense_gripper(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let Some(gripper) = &mut self.gripper else { return Ok(()) };
        let (position, velocity) = gripper.sense(self.timings.gripper_age)?;
        let mut places = sensed.position.iter_mut().zip(&mut sensed.velocity);
        if let Some((place, speed)) = places.nth(self.axes) {
            (*place, *speed) = (position, velocity);
        }
        if self.torque { gripper.fresh_fault() } else { Ok(()) }
    }

    /// Asks for what has no answer but a state.
    fn tell(&mut self, request: &Request, patience: Duration) -> Result<StateBits, MotorsError> {
        self.ask(request, patience, |_| Ok(())).map(|(state, ())| state)
    }

    fn closing<T>(&mut self, result: Result<T, MotorsError>) -> Result<T, MotorsError> {
        if result.as_ref().is_err_and(|error| !matches!(error, MotorsError::Refused { .. })) {
            (self.links, self.torque) = (None, false);
        }
        result
    }

    /// An error of the box as one of ours.
    fn fail<T>(&mut self, fault: Fault) -> Result<T, MotorsError> {
        self.torque = false;
        let blamed =
            fault.joint().and_then(|i| Some((self.shared_names.get(i)?, self.ids.get(i)?)));
        match blamed {
            Some((joint, &id)) => {
                Err(MotorsError::Alarm { joint: joint.clone(), id, detail: Alarm::Xarm(fault) })
            }
            None => Err(MotorsError::Controller { fault }),
        }
    }

    /// What to make of a state: it tells that something is wrong, the box is asked what.
    fn check(&mut self, state: StateBits) -> Result<(), MotorsError> {
        if !state.error() && !state.invalid() && (state.ready() || !self.torque) {
            return Ok(());
        }
        self.torque = false;
        match self.fault()?.0 {
            Fault(0) => Err(MotorsError::Stopped { state }),
            fault => self.fail(fault),
        }
    }
}

impl Motors for XarmMotors {
    fn joints(&self) -> &[String] {
        &self.joints
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        let connect = self.timings.connect;
        (self.links, self.torque) = (None, false);
        let control = ControlLink::connect(self.control, connect)?;
        let report = ReportLink::connect(self.report, connect)?;
        self.links = Some((control, report));
        let (_, version) =
            self.ask(&Request::Version, connect, |reply| Version::parse(reply.data))?;
        if usize::from(version.axes) != self.axes {
            self.links = None;
            return Err(MotorsError::Identity {
                joint: self.who(0),
                id: self.ids.first().copied().unwrap_or_default(),
                field: "model",
                expected: self.model.clone(),
                found: format!("xarm{}", version.axes),
            });
        }
        let links = self.links()?;
        links.0.protocol = version.protocol();
        let first = links.1.next(connect);
        self.closing(first)?;
        let (fault, _) = self.fault()?;
        let mut firmware = version.firmware_words();
        if fault.0 != 0 {
            firmware = format!("{firmware}, {fault}");
        }
        self.version = Some(version);
        let mut identities = vec![Identity { model: self.model.clone(), firmware }; self.axes];
        if let Some(gripper) = &mut self.gripper {
            identities.push(gripper.identify(self.timings.settle)?);
        }
        Ok(identities)
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let XarmTimings { answer, report_age, .. } = self.timings;
        let (control, report) = self.links()?;
        let mut looked = control.look(answer);
        if looked.is_ok() && control.sent.elapsed() > KEEP_ALIVE {
            looked = control.send(&Request::State).map(|()| StateBits::default());
        }
        let (latest, velocity) = report.latest(report_age)?;
        let (angles, velocity, ready) = (latest.joints_rad, *velocity, latest.ready());
        let places = sensed.position.iter_mut().zip(&mut sensed.velocity).take(self.axes);
        let mut broken = None;
        for (i, ((place, speed), (angle, velocity))) in
            places.zip(angles.into_iter().zip(velocity)).enumerate()
        {
            match ticks(angle) {
                Some(position) => (*place, *speed) = (position, velocity),
                None => broken = broken.or(Some(i)),
            }
        }
        let state = self.closing(looked)?;
        if let Some(i) = broken {
            return Err(MotorsError::Damaged {
                joint: self.who(i),
                id: self.ids.get(i).copied().unwrap_or_default(),
                detail:
                    "expected an angle in the report, found what is not finite: restart the box"
                        .into(),
            });
        }
        if self.torque && !ready {
            return self.check(StateBits(state.0 | StateBits::NOT_READY));
        }
        if self.torque {
            self.check(state)?;
        }
        // The set-point of this cycle comes instead, unless there is none any more.
        if self.early.is_some_and(|(_, since)| since.elapsed() > self.period.mul_f32(1.5)) {
            self.send_early()?;
        }
        self.sense_gripper(sensed)
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        let answer = self.timings.answer;
        if !self.torque {
            self.links()?;
            return refused("torque is off: switch it on before a set-point");
        }
        if goals.len() != self.joints.len() {
            return refused(format!(
                "expected {} goal(s), found {}",
                self.joints.len(),
                goals.len()
            ));
        }
        for ((goal, (min, max)), joint) in goals.iter().zip(&self.limits).zip(&self.joints) {
            if !(min..=max).contains(&goal) {
                return refused(format!(
                    "joint {joint}: expected a goal of {min} to {max} microradians, found {goal}: not sent"
                ));
            }
        }
        let looked = self.links()?.0.look(answer);
        let state = self.closing(looked)?;
        self.check(state)?;
        // More than 250 a second are lost, and it could be the last of them that is.
        let joints = goals.iter().take(self.axes).copied();
        self.early = Some((set_point(joints), Instant::now()));
        if let (Some(gripper), Some(&goal)) = (&self.gripper, goals.get(self.axes)) {
            gripper.command(goal);
        }
        self.send_early()
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        if on { self.torque_on() } else { self.torque_off() }
    }

    fn examine(&mut self, joint: usize) -> Result<Health, MotorsError> {
        if let Some(gripper) = self.gripper.as_ref().filter(|_| joint == self.axes) {
            return gripper.examine(self.torque);
        }
        let answer = self.timings.answer;
        let (state, _) = self.ask(&Request::State, answer, |reply| reply.bytes::<1>())?;
        self.check(state)?;
        Ok(Health { torque: self.torque && state.ready(), ..Health::default() })
    }

    fn acknowledge(&mut self) -> Result<(), MotorsError> {
        if self.links.is_none() {
            return Ok(()); // whoever connects anew is told what waits there
        }
        let (cleared, settle) = (self.clear_errors(), self.timings.settle);
        self.gripper.as_mut().map_or(Ok(()), |gripper| gripper.acknowledge(settle))?;
        cleared
    }

    fn when_abandoned(&self) -> &'static str {
        "it runs to the last set-point at up to 180 degrees a second and holds there with torque on: \
         nothing trips, press its emergency stop"
    }
}
