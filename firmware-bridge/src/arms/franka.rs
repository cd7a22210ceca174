//! Franka's arms, FR3 and Panda, through their control box. The feature `franka` builds this in.
//!
//! The box wants an answer in every millisecond and stops an arm after 20 that did not come. A
//! thread of its own gives them through [`franka-rs`](franka), which keeps libfranka's limits; it
//! follows the set-points of the bridge, so a bridge that is late for some periods moves the arm
//! late, and not roughly.
//!
//! In a period nothing is allocated here, nor by `franka-rs` in its millisecond. The hand is not
//! among the joints: its protocol takes no set-points, but motions with an end.

mod follower;
mod motion;
mod session;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use franka::FciVersion;
use franka::realtime::has_realtime_kernel;
use franka::robot::target_control::RATED_TORQUES;

use crate::description::ArmDescription;
use crate::motion::joint::MotionLimits;
use crate::motors::{Health, Identity, Motors, MotorsError, Sensed, refused};
use crate::units::microradians;
use follower::JOINTS;
use session::{Ask, Plant, Session};
use words::Place;

/// How long each wait may last.
#[derive(Debug, Clone, Copy)]
pub struct FrankaTimings {
    /// For a connection, with which a model of some kilobytes is fetched.
    pub connect: Duration,
    /// How old a reading may be; they come every millisecond.
    pub reading_age: Duration,
    /// For a motion to begin, and for an error to be cleared.
    pub begin: Duration,
    /// For the arm to stand.
    pub settle: Duration,
}

impl Default for FrankaTimings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            reading_age: Duration::from_millis(200),
            begin: Duration::from_secs(3),
            settle: Duration::from_secs(6),
        }
    }
}

/// A Franka's motors. One tick is a microradian.
pub struct FrankaMotors {
    joints: Vec<String>,
    plant: Plant,
    model: String,
    /// How long each wait may last.
    pub timings: FrankaTimings,
    session: Option<Session>,
    torque: bool,
}

impl std::fmt::Debug for FrankaMotors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrankaMotors")
            .field("place", &self.plant.place)
            .field("torque", &self.torque)
            .finish_non_exhaustive()
    }
}

fn all_ticks(angles: [f64; JOINTS]) -> Option<[i32; JOINTS]> {
    let ticks = angles.map(microradians);
    ticks.iter().all(Option::is_some).then(|| ticks.map(Option::unwrap_or_default))
}

/// The model of an arm that speaks this version.
fn model(version: FciVersion) -> &'static str {
    match version {
        FciVersion::V10 => "fr3",
        FciVersion::V5 => "panda",
    }
}

impl FrankaMotors {
    /// The arm whose control box has this name or address, perhaps with a port. Connects nothing
    /// yet.
    ///
    /// # Errors
    ///
    /// When the description has no arm of seven joints.
    pub fn new(arm: &ArmDescription, host: &str) -> Result<Self, MotorsError> {
        let limits: Vec<_> = arm.joints.iter().map(|joint| MotionLimits::of(joint, 0.0)).collect();
        let Ok(limits) = <[MotionLimits; JOINTS]>::try_from(limits) else {
            return refused(format!(
                "a Franka has {JOINTS} joints, the description of {} has {}",
                arm.name,
                arm.joints.len()
            ));
        };
        let joints: Vec<_> = arm.joints.iter().map(|joint| joint.name.clone()).collect();
        let ids = arm.joints.iter().map(|joint| joint.id);
        let place = Place { host: host.into(), joints: joints.iter().cloned().zip(ids).collect() };
        let model = arm.joints.first().map(|joint| joint.model.clone()).unwrap_or_default();
        if let Some(joint) = arm.joints.iter().find(|joint| joint.model != model) {
            return Err(MotorsError::Identity {
                joint: joint.name.as_str().into(),
                id: joint.id,
                field: "model in the description",
                expected: model,
                found: joint.model.clone(),
            });
        }
        Ok(Self {
            joints,
            plant: Plant { place, limits, period_secs: arm.period_secs() },
            model,
            timings: FrankaTimings::default(),
            session: None,
            torque: false,
        })
    }

    fn session(&self) -> Result<&Session, MotorsError> {
        self.session.as_ref().ok_or_else(|| self.plant.place.hung_up())
    }

    /// After most errors there is no torque any more.
    fn failing<T>(&mut self, result: Result<T, MotorsError>) -> Result<T, MotorsError> {
        if matches!(&result, Err(error) if !matches!(error, MotorsError::Silent { .. })) {
            self.torque = false;
        }
        result
    }
}

impl Motors for FrankaMotors {
    fn joints(&self) -> &[String] {
        &self.joints
    }

    fn identify(&mut self) -> Result<Vec<Identity>, MotorsError> {
        self.torque = false;
        if self.session.as_mut().is_some_and(|session| !session.close()) {
            return Err(self.plant.place.silent(self.timings.settle)); // the box takes one client alone
        }
        let timings = self.timings;
        let opened = Session::open(self.plant.clone(), timings.settle)?;
        let session = self.session.insert(opened);
        let hello = session.greet(timings.connect)?;
        let found = model(hello.version);
        if found != self.model {
            return Err(MotorsError::Identity {
                joint: self.joints.first().map_or("", String::as_str).into(),
                id: self.plant.place.joints.first().map(|(_, id)| *id).unwrap_or_default(),
                field: "model",
                expected: self.model.clone(),
                found: found.into(),
            });
        }
        let kernel = if has_realtime_kernel() { "" } else { ", this kernel is not PREEMPT_RT" };
        let firmware = format!("FCI {}{kernel}", hello.interface);
        Ok(vec![Identity { model: self.model.clone(), firmware }; JOINTS])
    }

    fn sense(&mut self, sensed: &mut Sensed) -> Result<(), MotorsError> {
        let reading = self.session()?.reading(self.timings.reading_age);
        let reading = self.failing(reading)?;
        let [position, velocity] = [reading.position_rad, reading.velocity_rad_s].map(all_ticks);
        let (Some(position), Some(velocity)) = (position, velocity) else {
            let found = (reading.position_rad, reading.velocity_rad_s);
            let detail = format!("expected angles and velocities, found {found:?}");
            return Err(self.plant.place.damaged(detail));
        };
        sensed.position.iter_mut().zip(position).for_each(|(to, from)| *to = from);
        sensed.velocity.iter_mut().zip(velocity).for_each(|(to, from)| *to = from);
        let loads = reading.torque_nm.iter().zip(RATED_TORQUES);
        for (to, (torque, rated)) in sensed.load_permille.iter_mut().zip(loads) {
            *to = (torque / rated * 1000.0) as i16;
        }
        Ok(())
    }

    fn command(&mut self, goals: &[i32]) -> Result<(), MotorsError> {
        if !self.torque {
            self.session()?;
            return refused("torque is off: switch it on before a set-point");
        }
        let Ok(goals) = <[i32; JOINTS]>::try_from(goals) else {
            return refused(format!("expected {JOINTS} goals, found {}", goals.len()));
        };
        let set_point = goals.map(|goal| f64::from(goal) * 1e-6);
        for ((angle, limits), joint) in set_point.iter().zip(&self.plant.limits).zip(&self.joints) {
            if !(limits.min..=limits.max).contains(angle) {
                return refused(format!(
                    "joint {joint}: expected a goal of {} to {} rad, found {angle}: not sent",
                    limits.min, limits.max
                ));
            }
        }
        let sent = self.session()?.command(set_point);
        self.failing(sent)
    }

    fn torque(&mut self, on: bool) -> Result<(), MotorsError> {
        let (ask, patience) =
            if on { (Ask::Begin, self.timings.begin) } else { (Ask::End, self.timings.settle) };
        self.torque = false;
        self.session()?.ask(ask, patience)?;
        self.torque = on;
        Ok(())
    }

    fn examine(&mut self, _joint: usize) -> Result<Health, MotorsError> {
        let reading = self.session()?.reading(self.timings.reading_age);
        let reading = self.failing(reading)?;
        let torque = self.torque && reading.mode == franka::RobotMode::Move;
        Ok(Health { torque, ..Health::default() })
    }

    fn acknowledge(&mut self) -> Result<(), MotorsError> {
        match &self.session {
            Some(session) => session.ask(Ask::Recover, self.timings.begin),
            None => Ok(()), // whoever connects anew is told what waits there
        }
    }

    fn when_abandoned(&self) -> &'static str {
        "its control box stops it as soon as the connection closes, or after 20 ms without a packet \
         in which it goes on as it was, and holds it: `firmware-bridge reset` leads out of the error"
    }
}
