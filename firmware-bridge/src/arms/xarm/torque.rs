//! Torque on where the arm is, and off when it stands.

use std::thread;
use std::time::{Duration, Instant};

use super::{XarmMotors, refused, set_point};
use crate::codecs::xarm::{JOINTS, Mode, Order, Request, StateBits, ticks};
use crate::motors::MotorsError;

/// An arm stands when no joint moves further than this between two looks, in microradians.
const STANDING: u32 = 200;
/// Between two such looks.
const LOOK: Duration = Duration::from_millis(20);

impl XarmMotors {
    fn step(&mut self, request: &Request, what: &str) -> Result<StateBits, MotorsError> {
        let settle = self.timings.settle;
        let state = self.tell(request, settle)?;
        if state.error() {
            self.check(state)?;
        }
        if state.invalid() {
            return refused(format!("{what}: the controller says that {}", state.words()));
        }
        Ok(state)
    }

    pub(super) fn torque_on(&mut self) -> Result<(), MotorsError> {
        let (fault, _) = self.fault()?;
        if fault.0 != 0 {
            return self.fail(fault);
        }
        let settle = self.timings.settle;
        // Where it is: nothing moves should the arm then refuse.
        self.gripper.as_mut().map_or(Ok(()), |gripper| gripper.torque(true, settle))?;
        let firmware = self.version.as_ref().map(|version| version.firmware);
        let detection = firmware.is_some_and(|firmware| firmware >= (1, 10, 0)).then_some(0);
        self.step(&Request::MotionEnable { axis: 8, on: true }, "enabling the motors")?;
        self.step(&Request::SetMode { mode: Mode::Servo, detection }, "the mode of set-points")?;
        let state = self.step(&Request::SetState(Order::Run), "starting")?;
        if !state.ready() {
            return refused(format!("starting: the controller says that {}", state.words()));
        }
        let age = self.timings.report_age;
        let reports = &mut self.links()?.1;
        reports.next(age)?;
        let present = reports.latest(age)?.0.joints_rad.map(ticks);
        if let Some(i) = present.iter().position(Option::is_none) {
            return refused(format!(
                "the report of joint {} is not finite: restart the box",
                i + 1
            ));
        }
        let hold = set_point(present.into_iter().flatten());
        let state = self.step(&hold, "the first set-point, where the arm is")?;
        if !state.ready() {
            return refused(format!(
                "the first set-point: the controller says that {}",
                state.words()
            ));
        }
        // The stream may still tell of before.
        let deadline = Instant::now() + self.timings.connect;
        while !self.links()?.1.latest(age)?.0.ready() {
            if Instant::now() >= deadline {
                return refused(
                    "the controller's reports say that it is stopped: switch torque on again",
                );
            }
            self.links()?.1.next(age)?;
        }
        // Whatever was sent before has been answered by now.
        self.links()?.0.forget();
        (self.torque, self.early) = (true, None);
        Ok(())
    }

    /// Stops, waits until the arm stands, and only then lets go of the motors.
    pub(super) fn torque_off(&mut self) -> Result<(), MotorsError> {
        let (answer, settle) = (self.timings.answer, self.timings.settle);
        (self.torque, self.early) = (false, None);
        self.tell(&Request::SetState(Order::Stop), answer)?;
        if let Some(gripper) = &mut self.gripper {
            // One that is silent shows in the readings, and is no reason to keep the arm's torque.
            let _ = gripper.torque(false, settle);
        }
        let deadline = Instant::now() + settle;
        let (mut before, mut still) = ([i32::MAX; JOINTS], 0);
        while still < 2 {
            let (_, angles) =
                self.ask(&Request::Joints, answer, |reply| reply.floats::<JOINTS>(0))?;
            let now = angles.map(|angle| ticks(angle).unwrap_or(i32::MAX));
            let stands = now.iter().zip(&before).all(|(a, b)| a.abs_diff(*b) < STANDING);
            (before, still) = (now, if stands { still + 1 } else { 0 });
            if Instant::now() >= deadline {
                return refused(format!(
                    "the arm does not stand {settle:?} after a stop: its motors stay on"
                ));
            }
            thread::sleep(LOOK);
        }
        let off = Request::MotionEnable { axis: 8, on: false };
        let state = self.tell(&off, settle)?;
        if state.invalid() {
            refused("the controller does not switch its motors off")
        } else {
            Ok(())
        }
    }
}
