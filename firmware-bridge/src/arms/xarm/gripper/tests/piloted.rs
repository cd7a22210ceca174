//! What a policy's plan does to the gripper: the control thread, the pilot, and an object.

use std::sync::mpsc::Receiver;

use super::*;
use crate::codecs::xarm::Fault;
use crate::control::{Control, ControlOptions, Controls, Happening, Request};
use crate::machine::{Cause, Event, State};
use crate::pilot::{Input, Pilot, PilotConfig};
use crate::plan::Plan;

/// An arm under control, and what it said last.
struct Piloted {
    controller: Controller,
    controls: Controls,
    happenings: Receiver<Happening>,
    state: State,
    gripper_rad: f64,
    troubles: Vec<String>,
    plans: u64,
    _control: Control,
}

impl Piloted {
    /// Running, its gripper open and something of 400 pulses between its fingers.
    fn started(leash_rad: f64) -> Self {
        let mut arm = arm();
        arm.joints[HAND].leash_rad = leash_rad;
        let controller = Controller::start(&arm, ControllerOptions::default()).unwrap();
        controller.with(|cabinet| cabinet.gripper().object = Some(400));
        let mut motors = XarmMotors::at(&arm, controller.control(), controller.report()).unwrap();
        motors.timings = PATIENT;
        let scales: Vec<_> = scales(&arm, None).unwrap().iter().map(|all| all.radians).collect();
        // As patient with a busy machine as the motors are; the leash is as it always is.
        let mut config = PilotConfig { misses: 200, gap: SOON, ..PilotConfig::default() };
        (config.lease_stale, config.lease_lost) = (SOON, SOON);
        config.patience.chunk_age = Duration::from_mins(1);
        let pilot = Pilot::new(&arm, &scales, None, config).unwrap();
        let options = ControlOptions { setpoint_hz: arm.setpoint_hz, realtime: false };
        let (control, happenings) = Control::start(Box::new(motors), pilot, options).unwrap();
        let (controls, state) = (control.controls(), State::Disconnected);
        let (gripper_rad, troubles, plans) = (0.0, Vec::new(), 0);
        let mut piloted = Self {
            controller,
            controls,
            happenings,
            state,
            gripper_rad,
            troubles,
            plans,
            _control: control,
        };
        piloted.wait("connected", |now| now.state == State::Idle);
        assert_eq!(piloted.controls.ask(Request::Torque(true), SOON), Ok(State::Ready));
        piloted.event(Event::Leased);
        piloted.event(Event::Start);
        piloted
    }

    fn event(&self, event: Event) {
        self.controls.ask(Request::Input(Input::Event(event)), SOON).unwrap();
    }

    /// A plan that leaves the arm where it is, and its gripper at some angle for six seconds.
    fn grip(&mut self, angle_rad: f64) {
        let mut row = [0.0; HAND + 1];
        row[HAND] = angle_rad;
        let now = self.controls.now();
        self.plans += 1;
        let plan = Plan {
            episode: 0,
            number: self.plans,
            observed: now.saturating_sub(Duration::from_millis(200)),
            first_tick: (now.as_secs_f64() / 0.05) as u64 + 1,
            waypoints_rad: row.repeat(120),
            last: false,
        };
        let state = self.controls.ask(Request::Input(Input::Plan(Box::new(plan))), SOON);
        assert!(matches!(state, Ok(State::Running { .. })), "{state:?}");
    }

    /// Takes what happened, for a while at most, until something holds.
    fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < SOON, "not {what}: {:?} {:?}", self.state, self.troubles);
            match self.happenings.recv_timeout(SOON).unwrap() {
                Happening::Moment(moment) => {
                    (self.state, self.gripper_rad) = (moment.state, moment.position_rad[HAND]);
                }
                Happening::Trouble(trouble) => self.troubles.push(trouble.to_string()),
                _ => {}
            }
        }
    }

    fn hand(&self) -> (i32, i32, bool) {
        self.controller.with(|cabinet| {
            let hand = cabinet.gripper();
            (hand.pulses(), hand.goal(), hand.enabled())
        })
    }

    /// Something happens to the gripper for this long.
    fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.wait("over", |_| Instant::now() >= end);
    }
}

#[test]
fn a_policy_closes_it_on_something_and_nothing_that_follows_drops_that() {
    let mut arm = Piloted::started(super::arm().joints[HAND].leash_rad);
    arm.grip(0.86);
    // As far shut as the pilot's margin leaves it.
    let holds = (400, -8, true);
    arm.wait("squeezing", |arm| arm.hand() == holds);
    arm.grip(0.86);
    // Far longer than any other joint may stay behind its set-point.
    arm.pass(Duration::from_secs(2));
    assert!(matches!(arm.state, State::Running { .. }), "{:?} {:?}", arm.state, arm.troubles);
    assert!((arm.gripper_rad - 0.45).abs() < 0.002, "{}", arm.gripper_rad);

    arm.controls.estop();
    arm.wait("stopped", |arm| arm.state == State::Estop);
    arm.pass(Duration::from_millis(300));
    assert_eq!(arm.hand(), holds);
    arm.event(Event::Reset);
    arm.wait("looked at anew", |arm| arm.state == State::Idle);
    assert_eq!(arm.hand(), holds);
    assert_eq!(arm.controls.ask(Request::Torque(true), SOON), Ok(State::Ready));
    arm.pass(Duration::from_millis(300));
    assert_eq!(arm.hand(), holds, "set-points that begin anew do not open it");
    assert_eq!(arm.controls.ask(Request::Torque(false), SOON), Ok(State::Idle));
    arm.pass(Duration::from_millis(300));
    assert_eq!(arm.hand(), holds);
}

#[test]
fn an_error_of_the_arm_leaves_it_what_it_holds() {
    let mut arm = Piloted::started(1.0);
    arm.grip(0.86);
    let holds = (400, -8, true);
    arm.wait("squeezing", |arm| arm.hand() == holds);
    arm.controller.with(|cabinet| cabinet.fail(Fault::COLLISION));
    arm.wait("at fault", |arm| arm.state == State::Fault(Cause::Arm));
    arm.pass(Duration::from_millis(300));
    assert_eq!(arm.hand(), holds);
    arm.event(Event::Reset);
    arm.wait("looked at anew", |arm| arm.state == State::Idle);
    assert_eq!(arm.controls.ask(Request::Torque(true), SOON), Ok(State::Ready));
    arm.pass(Duration::from_millis(300));
    assert_eq!(arm.hand(), holds);
}

#[test]
fn a_leash_that_is_shorter_than_its_way_would_end_that_as_a_fault() {
    let mut arm = Piloted::started(0.15);
    arm.grip(0.86);
    arm.wait("at fault", |arm| arm.state == State::Fault(Cause::Following));
    // Even then it is not opened.
    arm.pass(Duration::from_millis(300));
    assert!(arm.hand().1 < 400 && arm.hand().2, "{:?}", arm.hand());
}

#[test]
fn its_error_stops_the_arm_and_says_why() {
    let mut arm = Piloted::started(1.0);
    arm.grip(0.3);
    arm.wait("under way", |arm| arm.gripper_rad > 0.1);
    arm.controller.with(|cabinet| cabinet.gripper().fail(23));
    arm.wait("at fault", |arm| arm.state == State::Fault(Cause::Alarm));
    arm.wait("told", |arm| !arm.troubles.is_empty());
    let expected = "joint gripper (id 8) reports gripper error 23: it follows its set-point too \
                    slowly: is it blocked?; reset it, then switch torque on again";
    assert_eq!(arm.troubles, [expected]);
    arm.event(Event::Reset);
    arm.wait("well again", |arm| arm.state == State::Idle);
    assert_eq!(arm.controls.ask(Request::Torque(true), SOON), Ok(State::Ready));
    assert!(arm.hand().2);
}
