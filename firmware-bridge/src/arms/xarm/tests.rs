//! The motors of an xArm on an emulated control box, and what goes wrong between the two.

use std::f64::consts::PI;
use std::thread;

use super::*;
use crate::emulate::xarm::{Controller, ControllerOptions};

/// Long enough for a machine that does much else; what is timed uses the defaults.
const PATIENT: XarmTimings = XarmTimings {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(2),
    report_age: Duration::from_secs(2),
    settle: Duration::from_secs(5),
    gripper_age: Duration::from_secs(2),
};

fn arm() -> ArmDescription {
    ArmDescription::find("xarm7").unwrap()
}

/// An arm that is connected to, torque on, and where it is.
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
        Self { controller, motors, sensed: Sensed::new(7) }
    }

    fn on() -> Self {
        let mut rig = Self::off();
        rig.motors.identify().unwrap();
        rig.motors.torque(true).unwrap();
        rig.sense().unwrap();
        rig
    }

    fn sense(&mut self) -> Result<(), MotorsError> {
        self.motors.sense(&mut self.sensed)
    }

    /// Senses and commands joint 0, `step` microradians further each time, until it fails.
    fn drive(&mut self, step: i32, most: Duration) -> Result<(), (MotorsError, Duration)> {
        let mut goals = self.sensed.position.clone();
        let began = Instant::now();
        while began.elapsed() < most {
            let period = Instant::now() + Duration::from_millis(5);
            goals[0] += step;
            self.sense()
                .and_then(|()| self.motors.command(&goals))
                .map_err(|error| (error, began.elapsed()))?;
            thread::sleep(period.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// The error that driving ends in, which must come within `most`.
    fn trouble(&mut self, most: Duration) -> MotorsError {
        let (error, after) = self.drive(2000, most * 2).unwrap_err();
        assert!(after < most, "{error} after {after:?}");
        error
    }
}

#[test]
fn it_says_what_it_is_and_goes_where_it_is_told() {
    let mut rig = Rig::off();
    let identities = rig.motors.identify().unwrap();
    assert_eq!(identities.len(), 7);
    assert_eq!((&*identities[0].model, &*identities[6].firmware), ("xarm7", "v1.13.104"));
    assert_eq!(rig.motors.protocol(), Some(Protocol::KeptAlive));
    rig.sense().unwrap();
    let refused = rig.motors.command(&[0; 7]).unwrap_err().to_string();
    assert_eq!(refused, "the arm refuses: torque is off: switch it on before a set-point");

    rig.motors.torque(true).unwrap();
    rig.drive(5000, Duration::from_millis(600)).unwrap();
    let goal = rig.controller.with(|cabinet| cabinet.plant().joints[0].goal);
    assert!(goal > 100_000.0, "{goal}");
    let began = Instant::now();
    while (f64::from(rig.sensed.position[0]) - goal).abs() > 50.0 && began.elapsed().as_secs() < 5 {
        rig.sense().unwrap();
    }
    assert!((f64::from(rig.sensed.position[0]) - goal).abs() <= 50.0);
    assert!(rig.motors.examine(0).unwrap().torque);
    rig.motors.torque(false).unwrap();
    assert!(!rig.controller.with(|cabinet| cabinet.enabled()));
}

#[test]
fn torque_goes_on_where_the_arm_is_and_off_when_it_stands() {
    let mut rig = Rig::on();
    let before = rig.sensed.position.clone();
    thread::sleep(Duration::from_millis(100));
    rig.sense().unwrap();
    assert_eq!(rig.sensed.position, before);
    // Off in full motion: a far goal makes it run at 180 degrees a second.
    let mut goals = before;
    goals[0] = 3_000_000;
    rig.motors.command(&goals).unwrap();
    thread::sleep(Duration::from_millis(300));
    let velocity = rig.controller.with(|cabinet| cabinet.plant().joints[0].velocity);
    assert!((velocity - PI * 1e6).abs() < 1e3, "{velocity}");
    rig.motors.torque(false).unwrap();
    let joint = rig.controller.with(|cabinet| cabinet.plant().joints[0].clone());
    assert!(joint.velocity.abs() < 20_000.0 && joint.position < 2_900_000.0, "{joint:?}");
}

#[test]
fn an_arm_of_another_kind_is_told_from_what_was_expected() {
    let mut rig = Rig::off();
    rig.controller.with(|cabinet| cabinet.version = "6,6,XI1300,AC1300,v1.8.4".into());
    let error = rig.motors.identify().unwrap_err().to_string();
    assert_eq!(error, "joint joint1 (id 1): model is xarm6, expected xarm7");
    rig.controller.with(|cabinet| cabinet.version = "7,7,XI1300,AC1300,v1.8.4".into());
    rig.motors.identify().unwrap();
    assert_eq!(rig.motors.protocol(), Some(Protocol::Plain));

    let mut other = arm();
    other.joints.truncate(6);
    let error = XarmMotors::new(&other, "127.0.0.1").unwrap_err().to_string();
    assert!(error.ends_with("is xarm7, expected xarm6"), "{error}");
    other.joints.truncate(3);
    assert!(XarmMotors::new(&other, "127.0.0.1").is_err());
}

#[test]
fn a_goal_beyond_the_description_is_never_sent() {
    let mut rig = Rig::on();
    for (joint, goal) in [(1, 2_100_000), (3, -200_000), (0, i32::MAX), (6, i32::MIN)] {
        let mut goals = rig.sensed.position.clone();
        goals[joint] = goal;
        let error = rig.motors.command(&goals).unwrap_err().to_string();
        assert!(error.contains("not sent"), "{error}");
    }
    assert!(rig.motors.command(&[0; 6]).is_err());
    assert_eq!(rig.controller.with(|cabinet| cabinet.fault()), Fault(0));
}

#[test]
fn never_more_than_250_set_points_a_second_go_out_and_the_last_one_does() {
    let mut rig = Rig::on();
    let (before, lost) = rig.controller.with(|cabinet| (cabinet.taken, cabinet.lost));
    let (mut goals, began) = (rig.sensed.position.clone(), Instant::now());
    for _ in 0..1000 {
        goals[0] += 10;
        rig.motors.command(&goals).unwrap();
    }
    thread::sleep(Duration::from_millis(10));
    rig.sense().unwrap();
    // And the one that holds the arm when torque goes on.
    let most = began.elapsed().as_millis() as u64 / 4 + 2;
    thread::sleep(Duration::from_millis(200));
    rig.controller.with(|cabinet| {
        let sent = cabinet.taken - before + cabinet.lost - lost;
        assert!((1..=most).contains(&sent), "{sent} of {most}");
        let goal = cabinet.plant().joints[0].goal;
        assert!((goal - f64::from(goals[0])).abs() < 1.0, "{goal} instead of {}", goals[0]);
    });
}

#[test]
fn a_black_hole_is_noticed_in_time() {
    let mut rig = Rig::on();
    rig.motors.timings = XarmTimings::default();
    rig.controller.faults(|faults| faults.black_hole = true);
    let error = rig.trouble(Duration::from_millis(500));
    assert!(matches!(error, MotorsError::Silent { .. }), "{error}");
    // The control connection alone says so too.
    let error = rig.motors.torque(false).unwrap_err();
    assert!(matches!(error, MotorsError::Silent { .. } | MotorsError::HungUp { .. }), "{error}");
    assert!(matches!(rig.motors.command(&[0; 7]), Err(MotorsError::HungUp { .. })));

    // Nothing moves again by itself, and everything does after connecting anew.
    rig.controller.faults(|faults| faults.black_hole = false);
    rig.motors.timings = PATIENT;
    rig.motors.identify().unwrap();
    assert!(rig.motors.command(&[0; 7]).is_err(), "torque was not switched on anew");
    rig.motors.torque(true).unwrap();
    rig.sense().unwrap();
    rig.drive(1000, Duration::from_millis(100)).unwrap();
}

#[test]
fn set_points_that_are_not_answered_are_noticed_without_reports() {
    let mut rig = Rig::on();
    rig.motors.timings.answer = Duration::from_millis(100);
    rig.controller.faults(|faults| faults.black_hole = true);
    let (goals, began) = (rig.sensed.position.clone(), Instant::now());
    let error = loop {
        if let Err(error) = rig.motors.command(&goals) {
            break error;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(matches!(error, MotorsError::Silent { .. }), "{error}");
}

#[test]
fn missing_reports_are_noticed_and_the_arm_can_still_be_stopped() {
    let mut rig = Rig::on();
    rig.motors.timings.report_age = Duration::from_millis(50);
    rig.controller.faults(|faults| faults.no_reports = true);
    let error = rig.trouble(Duration::from_millis(500));
    assert!(matches!(error, MotorsError::Silent { .. }), "{error}");
    rig.motors.torque(false).unwrap();
    assert!(!rig.controller.with(|cabinet| cabinet.enabled()));
}

#[test]
fn late_replies_do_not_hold_the_cycle_up_and_too_late_ones_are_an_error() {
    let mut rig = Rig::on();
    rig.controller.faults(|faults| faults.delay = Duration::from_millis(3));
    let (goals, began) = (rig.sensed.position.clone(), Instant::now());
    for _ in 0..50 {
        rig.motors.command(&goals).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    rig.motors.timings.answer = Duration::from_millis(100);
    rig.controller.faults(|faults| faults.delay = Duration::from_millis(300));
    let error = rig.trouble(Duration::from_millis(700));
    assert!(matches!(error, MotorsError::Silent { .. }), "{error}");
}

#[test]
fn cut_replies_are_an_error_and_never_taken_for_whole() {
    for cut in 0..8 {
        let mut rig = Rig::on();
        rig.motors.timings.answer = Duration::from_millis(100);
        rig.controller.faults(|faults| faults.cut = Some(cut));
        let error = rig.trouble(Duration::from_secs(1));
        let known = matches!(error, MotorsError::Damaged { .. } | MotorsError::Silent { .. });
        assert!(known, "{cut} bytes: {error}");
    }
}

#[test]
fn a_hang_up_is_noticed_at_once_and_connecting_anew_helps() {
    let mut rig = Rig::on();
    rig.controller.hang_up();
    let error = rig.trouble(Duration::from_millis(200));
    assert!(matches!(error, MotorsError::HungUp { .. } | MotorsError::Port { .. }), "{error}");
    rig.motors.identify().unwrap();
    rig.motors.torque(true).unwrap();
}

#[test]
fn a_restart_of_the_box_is_noticed_and_leaves_torque_off() {
    let mut rig = Rig::on();
    rig.controller.power_off();
    let error = rig.trouble(Duration::from_millis(300));
    assert!(matches!(error, MotorsError::HungUp { .. } | MotorsError::Port { .. }), "{error}");
    let error = rig.motors.identify().unwrap_err();
    assert!(matches!(error, MotorsError::Port { .. }), "{error}");
    rig.controller.power_on().unwrap();
    rig.motors.identify().unwrap();
    assert!(!rig.controller.with(|cabinet| cabinet.enabled()));
    rig.motors.torque(true).unwrap();
    rig.sense().unwrap();
    rig.drive(1000, Duration::from_millis(100)).unwrap();
}

#[test]
fn an_error_in_mid_motion_is_told_in_words_and_never_cleared_unasked() {
    let mut rig = Rig::on();
    rig.drive(2000, Duration::from_millis(100)).unwrap();
    rig.controller.with(|cabinet| cabinet.fail(Fault(13)));
    let error = rig.trouble(Duration::from_millis(300));
    let MotorsError::Alarm { joint, id, detail } = error else { panic!("{error}") };
    assert_eq!((&*joint, id), ("joint3", 3));
    assert!(
        detail.to_string().starts_with("controller error 13: servo motor 3 failed; "),
        "{detail}"
    );

    rig.sense().unwrap();
    let error = rig.motors.torque(true).unwrap_err();
    assert!(matches!(error, MotorsError::Alarm { .. }), "{error}");
    assert_eq!(rig.motors.identify().unwrap()[0].firmware.split(':').count(), 2);
    assert_eq!(rig.controller.with(|cabinet| cabinet.fault()), Fault(13));
    rig.motors.clear_errors().unwrap();
    rig.motors.torque(true).unwrap();
    rig.sense().unwrap();
    rig.drive(1000, Duration::from_millis(100)).unwrap();
}

#[test]
fn what_was_answered_before_torque_went_on_is_not_held_against_it() {
    let mut rig = Rig::on();
    rig.controller.faults(|faults| faults.delay = Duration::from_millis(20));
    let goals = rig.sensed.position.clone();
    for _ in 0..5 {
        rig.motors.command(&goals).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    rig.controller.with(|cabinet| cabinet.fail(Fault::COLLISION));
    rig.motors.clear_errors().unwrap();
    rig.motors.torque(true).unwrap();
    rig.controller.faults(|faults| faults.delay = Duration::ZERO);
    rig.drive(0, Duration::from_millis(100)).unwrap();
}

#[test]
fn an_emergency_stop_is_told_and_stays_until_it_is_released_and_cleared() {
    let mut rig = Rig::on();
    rig.controller.with(|cabinet| cabinet.press_stop(true));
    let error = rig.trouble(Duration::from_millis(300)).to_string();
    assert!(
        error.starts_with("the arm refuses: controller error 2: the emergency stop"),
        "{error}"
    );
    assert!(rig.motors.clear_errors().is_err(), "it is still pressed");
    rig.controller.with(|cabinet| cabinet.press_stop(false));
    assert!(rig.motors.torque(true).is_err(), "nobody cleared the error");
    rig.motors.clear_errors().unwrap();
    rig.motors.torque(true).unwrap();
}

#[test]
fn a_collision_stops_the_arm_and_is_told() {
    let mut rig = Rig::on();
    rig.controller.with(|cabinet| cabinet.plant().joints[0].wall = Some(60_000.0));
    let error = rig.trouble(Duration::from_secs(2)).to_string();
    assert!(error.starts_with("the arm refuses: controller error 31: "), "{error}");
    rig.sense().unwrap();
    assert!(rig.sensed.position[0] <= 60_000);
}

#[test]
fn a_stop_by_another_client_is_told() {
    let mut rig = Rig::on();
    let mut other = XarmMotors::at(&arm(), rig.controller.control(), rig.controller.report());
    let other = other.as_mut().unwrap();
    other.timings = PATIENT;
    other.identify().unwrap();
    other.torque(false).unwrap();
    let error = rig.trouble(Duration::from_millis(300)).to_string();
    assert!(error.contains("by another client?"), "{error}");
}

#[test]
fn abandoned_it_reaches_the_last_point_and_holds() {
    let mut rig = Rig::on();
    let mut goals = rig.sensed.position.clone();
    goals[0] = 400_000;
    rig.motors.command(&goals).unwrap();
    assert!(rig.motors.when_abandoned().contains("180 degrees"));
    thread::sleep(Duration::from_millis(50));
    drop(rig.motors);
    thread::sleep(Duration::from_millis(800));
    rig.controller.with(|cabinet| {
        assert!((cabinet.plant().joints[0].position - 400_000.0).abs() < 100.0);
        assert!(cabinet.enabled() && cabinet.fault() == Fault(0));
    });
}
