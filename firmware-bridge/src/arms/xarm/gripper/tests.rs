//! The gripper of an emulated xArm, through the motors and through the pilot.

mod piloted;

use std::thread;

use super::*;
use crate::arms::xarm::{XarmMotors, XarmTimings};
use crate::arms::{scales, xarm};
use crate::description::ArmDescription;
use crate::emulate::xarm::{Controller, ControllerOptions, Gripper as Emulated};
use crate::motors::{Motors, Sensed};

/// Bounds for a machine that does much else.
const PATIENT: XarmTimings = XarmTimings {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(2),
    report_age: Duration::from_secs(2),
    settle: Duration::from_secs(10),
    gripper_age: Duration::from_secs(3),
};
const SOON: Duration = Duration::from_secs(10);
/// The gripper's place among the joints.
const HAND: usize = 7;

fn arm() -> ArmDescription {
    ArmDescription::find("xarm7-gripper").unwrap()
}

struct Rig {
    controller: Controller,
    motors: XarmMotors,
    sensed: Sensed,
}

impl Rig {
    fn off() -> Self {
        let controller = Controller::start(&arm(), ControllerOptions::default()).unwrap();
        let mut motors = XarmMotors::at(&arm(), controller.control(), controller.report()).unwrap();
        motors.timings = PATIENT;
        Self { controller, motors, sensed: Sensed::new(8) }
    }

    /// Torque on, its gripper at some pulses.
    fn on(pulses: i32) -> Self {
        let mut rig = Self::off();
        rig.hand(|hand| *hand = Emulated::at(f64::from(pulses)));
        rig.motors.identify().unwrap();
        rig.motors.torque(true).unwrap();
        rig.sense().unwrap();
        rig
    }

    fn hand<T>(&self, look: impl FnOnce(&mut Emulated) -> T) -> T {
        self.controller.with(|cabinet| look(cabinet.gripper()))
    }

    fn sense(&mut self) -> Result<(), MotorsError> {
        self.motors.sense(&mut self.sensed)
    }

    /// Senses, and commands the gripper alone.
    fn send(&mut self, pulses: i32) -> Result<(), MotorsError> {
        self.sense()?;
        let mut goals = self.sensed.position.clone();
        goals[HAND] = gripper::ticks(pulses);
        self.motors.command(&goals)
    }

    /// Sends it there again and again until something holds.
    fn until(&mut self, pulses: i32, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < SOON, "{what}: {:?}", self.hand(|hand| hand.clone()));
            self.send(pulses).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The error that sensing ends in.
    fn trouble(&mut self) -> MotorsError {
        let began = Instant::now();
        loop {
            if let Err(error) = self.sense() {
                return error;
            }
            assert!(began.elapsed() < SOON, "no error");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nothing moves it any more.
    fn until_still(&self) {
        let (mut before, began) = (i32::MAX, Instant::now());
        while self.hand(|hand| hand.pulses()) != before {
            assert!(began.elapsed() < SOON);
            before = self.hand(|hand| hand.pulses());
            rounds(2);
        }
    }
}

/// Time in which the thread looks around this often, and more.
fn rounds(rounds: u32) {
    thread::sleep(Duration::from_millis(100) * rounds);
}

#[test]
fn pulses_and_ticks_are_each_others_inverse() {
    for pulses in gripper::PULSES {
        assert_eq!(gripper::pulses(gripper::ticks(pulses)), pulses);
    }
    assert_eq!((gripper::ticks(850), gripper::ticks(0)), (0, 850_000));
    assert_eq!(gripper::pulses(499), 850);
    // What the policy calls open and shut.
    let scales = scales(&arm(), None).unwrap();
    let policy = scales[HAND].policy;
    assert_eq!(policy.ticks(0.0).map(gripper::pulses), Some(850));
    assert_eq!(policy.ticks(1.0).map(gripper::pulses), Some(-10));
    assert_eq!(policy.ticks(0.5).map(gripper::pulses), Some(420));
}

#[test]
fn it_is_the_last_joint_and_goes_where_it_is_told() {
    let mut rig = Rig::off();
    let identities = rig.motors.identify().unwrap();
    assert_eq!(identities.len(), 8);
    assert_eq!((&*identities[7].model, &*identities[7].firmware), ("xarm-gripper", "v3.4.3"));
    assert_eq!(rig.motors.joints()[HAND], "gripper");
    rig.motors.torque(true).unwrap();
    rig.until(300, "it is there", |rig| rig.sensed.position[HAND] == gripper::ticks(300));
    assert_eq!(rig.hand(|hand| hand.pulses()), 300);
    assert!(rig.motors.examine(HAND).unwrap().torque);
    let error = rig.send(-11).unwrap_err().to_string();
    assert!(error.contains("joint gripper: expected a goal of 0 to 860000"), "{error}");
}

#[test]
fn torque_goes_on_where_it_is_whatever_it_was_told_before() {
    let mut rig = Rig::off();
    rig.hand(|hand| {
        *hand = Emulated::at(420.0);
        hand.leave_goal(0);
    });
    rig.motors.identify().unwrap();
    rig.motors.torque(true).unwrap();
    rounds(3);
    rig.hand(|hand| {
        assert!(hand.enabled());
        assert_eq!((hand.pulses(), hand.goal()), (420, 420));
        assert!(hand.travelled < 1.0, "it moved by {}, there and back", hand.travelled);
        assert!(hand.goals.iter().all(|goal| *goal == 420), "{:?}", hand.goals);
    });
}

#[test]
fn the_newest_goal_wins_and_at_most_some_twenty_a_second_go_out() {
    let mut rig = Rig::on(850);
    let (before, began) = (rig.hand(|hand| hand.goals.len()), Instant::now());
    for step in 0..200 {
        rig.send(800 - step * 2).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    rig.until(402, "the last goal arrives", |rig| rig.hand(|hand| hand.goal()) == 402);
    let most = began.elapsed().as_millis() as usize / 50 + 2;
    let sent = rig.hand(|hand| hand.goals[before..].to_vec());
    assert!((5..=most).contains(&sent.len()), "{} of {most} at most", sent.len());
    assert!(sent.is_sorted_by(|a, b| a > b), "an older goal came after a newer one: {sent:?}");
    // One that does not change is not sent again.
    rig.until(402, "it is there", |rig| rig.hand(|hand| hand.pulses()) == 402);
    let sent = rig.hand(|hand| hand.goals.len());
    for _ in 0..50 {
        rig.send(402).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rig.hand(|hand| hand.goals.len()), sent);
}

#[test]
fn its_readings_come_in_steps_that_the_joint_does_not() {
    let mut rig = Rig::on(850);
    let most = (arm().joints[HAND].max_velocity * 1.5e6 / 200.0).ceil() as u32;
    let (mut before, began) = (rig.sensed.position[HAND], Instant::now());
    while rig.sensed.position[HAND] < gripper::ticks(100) {
        assert!(began.elapsed() < SOON);
        rig.send(100).unwrap();
        let now = rig.sensed.position[HAND];
        assert!(now.abs_diff(before) <= most, "{before} to {now} in a period");
        assert!(now >= before, "it does not open on the way");
        before = now;
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_slow_or_mute_gripper_never_holds_the_control_thread_up() {
    let mut rig = Rig::on(850);
    rig.motors.timings.gripper_age = Duration::from_mins(1);
    rig.controller.faults(|faults| faults.mute_hand = true);
    let began = Instant::now();
    for step in 0..100 {
        rig.send(800 - step).unwrap();
    }
    // Had each waited for one answer that does not come, that were 30 s.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_gripper_that_says_nothing_is_silent_after_its_bound_and_is_found_again() {
    let mut rig = Rig::on(500);
    rig.motors.timings.gripper_age = Duration::from_millis(500);
    rig.controller.faults(|faults| faults.mute_hand = true);
    let began = Instant::now();
    let error = rig.trouble();
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    let MotorsError::Silent { joint, id, .. } = &error else { panic!("{error}") };
    assert_eq!((&**joint, *id), ("gripper", 8));
    // The arm's own joints were read all the same, and hold.
    let goals = rig.sensed.position.clone();
    rig.motors.command(&goals).unwrap();
    let error = rig.motors.identify().unwrap_err();
    assert!(matches!(error, MotorsError::Silent { .. }), "{error}");
    rig.controller.faults(|faults| faults.mute_hand = false);
    rig.motors.timings = PATIENT;
    rig.motors.identify().unwrap();
    rig.motors.torque(true).unwrap();
    rig.until(450, "it goes on", |rig| rig.hand(|hand| hand.pulses()) == 450);
}

#[test]
fn a_pause_of_the_control_thread_is_no_silence_of_the_gripper() {
    let mut rig = Rig::on(500);
    rig.motors.timings.gripper_age = Duration::from_millis(200);
    rig.controller.faults(|faults| faults.mute_hand = true);
    thread::sleep(Duration::from_millis(600));
    rig.sense().unwrap();
    // But from now on it is.
    assert!(matches!(rig.trouble(), MotorsError::Silent { .. }));
}

#[test]
fn a_gripper_that_is_not_plugged_in_is_told_before_anything_moves() {
    let mut rig = Rig::off();
    rig.hand(|hand| hand.unplugged = true);
    let error = rig.motors.identify().unwrap_err().to_string();
    assert_eq!(
        error,
        "joint gripper (id 8): the box gets no answer from it: is it plugged in, at 2 Mbit/s?"
    );
    assert!(!rig.controller.with(|cabinet| cabinet.enabled()));
}

#[test]
fn its_error_is_an_alarm_in_words_told_once_and_cleared_when_asked() {
    let mut rig = Rig::on(500);
    rig.hand(|hand| hand.fail(11));
    let error = rig.trouble();
    let MotorsError::Alarm { joint, id, detail } = &error else { panic!("{error}") };
    assert_eq!((&**joint, *id), ("gripper", 8));
    assert_eq!(
        detail.to_string(),
        "gripper error 11: its current is too high; reset it, then switch torque on again"
    );
    rig.sense().unwrap();
    assert!(matches!(rig.motors.examine(HAND), Err(MotorsError::Alarm { .. })));
    rig.motors.examine(0).unwrap();
    assert!(rig.motors.torque(true).is_err(), "nobody cleared it");
    let firmware = &rig.motors.identify().unwrap()[HAND].firmware;
    assert_eq!(firmware, "v3.4.3, gripper error 11: its current is too high");
    rig.motors.acknowledge().unwrap();
    rig.motors.examine(HAND).unwrap();
    rig.motors.torque(true).unwrap();
    rig.until(450, "it goes on", |rig| rig.hand(|hand| hand.pulses()) == 450);
}

#[test]
fn torque_off_leaves_it_on_and_stops_it_without_giving_way() {
    let mut rig = Rig::on(850);
    rig.hand(|hand| hand.limit_speed(250)); // the whole way takes it 3.4 s
    rig.until(0, "it is under way", |rig| rig.hand(|hand| hand.pulses()) < 800);
    let before = rig.hand(|hand| hand.pulses());
    rig.motors.torque(false).unwrap();
    let goal = rig.hand(|hand| hand.goal());
    assert!(goal > 0 && goal <= before, "at {before}, then sent to {goal}");
    rig.until_still();
    rig.hand(|hand| {
        assert!(hand.enabled());
        assert_eq!((hand.pulses(), hand.goal()), (goal, goal));
    });
}

#[test]
fn what_it_holds_it_holds_through_torque_off_and_on() {
    let mut rig = Rig::on(850);
    rig.hand(|hand| hand.object = Some(400));
    rig.until(0, "it squeezes", |rig| rig.hand(|hand| (hand.pulses(), hand.goal()) == (400, 0)));
    rounds(2);
    rig.motors.torque(false).unwrap();
    rig.motors.identify().unwrap();
    rig.motors.torque(true).unwrap();
    rig.until(400, "readings come", |rig| rig.sensed.position[HAND] == gripper::ticks(400));
    for _ in 0..40 {
        let place = rig.hand(|hand| hand.pulses());
        rig.send(place).unwrap(); // set-points begin where it is
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rig.hand(|hand| (hand.pulses(), hand.goal(), hand.enabled())), (400, 0, true));
    rig.until(700, "it opens when told to", |rig| rig.hand(|hand| hand.pulses()) == 700);
}

#[test]
fn a_hang_up_of_its_connection_alone_is_mended_by_itself() {
    let mut rig = Rig::on(850);
    rig.controller.hang_up();
    // The arm's own connections are gone too, which is told at once; the gripper's comes back.
    assert!(matches!(rig.trouble(), MotorsError::HungUp { .. } | MotorsError::Port { .. }));
    rounds(8);
    rig.motors.identify().unwrap();
    rig.motors.torque(true).unwrap();
    rig.until(600, "it goes on", |rig| rig.hand(|hand| hand.pulses()) == 600);
}

#[test]
fn a_description_that_asks_for_more_than_it_can_is_refused() {
    let control = xarm::report_address(([127, 0, 0, 1], 1).into());
    let mut wide = arm();
    wide.joints[HAND].max_rad = 0.87;
    let error = XarmMotors::at(&wide, control, control).unwrap_err().to_string();
    assert!(error.contains("to 0.86 rad, the description says 0 to 0.87"), "{error}");
    let mut first = arm();
    first.joints.rotate_right(1);
    assert!(XarmMotors::at(&first, control, control).is_err(), "it is the last joint or none");
}
