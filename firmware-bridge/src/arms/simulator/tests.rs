//! The motors of a simulator in a thread, and what goes wrong between the two.

use super::*;
use crate::testing::simulator::{Double, Manner, arm, description};

/// Long enough for a machine that does much else.
const PATIENT: SimulatorTimings = SimulatorTimings {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(2),
    settle: Duration::from_secs(5),
};

/// An arm that is connected to, torque on, and where it is.
struct Rig {
    simulator: Double,
    motors: SimulatorMotors,
    sensed: Sensed,
}

impl Rig {
    fn off(simulator: Double) -> Self {
        let mut motors = SimulatorMotors::new(&arm(), &simulator.endpoint()).unwrap();
        motors.timings = PATIENT;
        Self { simulator, motors, sensed: Sensed::new(3) }
    }

    fn on() -> Self {
        let mut rig = Self::off(Double::start());
        rig.motors.identify().unwrap();
        rig.motors.torque(true).unwrap();
        rig.sense().unwrap();
        rig
    }

    fn sense(&mut self) -> Result<(), MotorsError> {
        self.motors.sense(&mut self.sensed)
    }

    /// The error of the next reading with a simulator that answers like that.
    fn trouble(&mut self, manner: Manner) -> String {
        self.simulator.world().manner = manner;
        let error = self.sense().unwrap_err().to_string();
        self.simulator.world().manner = Manner::Well;
        error
    }
}

#[test]
fn it_says_what_it_is_and_goes_where_it_is_told() {
    let mut rig = Rig::off(Double::start());
    let identities = rig.motors.identify().unwrap();
    assert_eq!(identities.len(), 3);
    assert_eq!((&*identities[0].model, &*identities[2].firmware), ("bench", "a thread"));
    rig.sense().unwrap();
    assert_eq!(rig.sensed.position, [0, 0, -500_000]);
    let refused = rig.motors.command(&[0; 3]).unwrap_err().to_string();
    assert_eq!(refused, "the arm refuses: torque is off: switch it on before a set-point");

    rig.motors.torque(true).unwrap();
    let goals = [250_000, -123_456, -900_000];
    let began = Instant::now();
    while rig.sensed.position != goals {
        rig.motors.command(&goals).unwrap();
        rig.sense().unwrap();
        assert!(began.elapsed().as_secs() < 5, "{:?}", rig.sensed);
    }
    assert!(rig.motors.examine(0).unwrap().torque);
    // An answer to a set-point is the next reading: nothing else was asked.
    assert!(rig.simulator.world().commands > 3);
    rig.motors.torque(false).unwrap();
    assert!(!rig.simulator.world().torque && !rig.motors.examine(0).unwrap().torque);
}

#[test]
fn its_scales_turn_ticks_into_the_policy_s_numbers() {
    let scales = super::super::scales(&arm(), None).unwrap();
    assert!((scales[1].radians.value(-500_000) + 0.5).abs() < 1e-12);
    // The gripper's joint goes from 0, open, to -1 rad, closed, and its angle grows as it closes.
    assert!((scales[2].policy.value(0)).abs() < 1e-12);
    assert!((scales[2].policy.value(-1_000_000) - 1.0).abs() < 1e-12);
}

#[test]
fn another_arm_is_told_from_what_was_expected() {
    for (change, words) in [
        (
            (|found: &mut Description| found.joints.swap(0, 1)) as fn(&mut Description),
            "joint shoulder (id 1): its name in the simulator is elbow, expected shoulder",
        ),
        (
            |found| drop(found.joints.pop()),
            "the number of joints is 2 (shoulder, elbow), expected 3 (shoulder, elbow, gripper)",
        ),
        (|found| found.name = "kitchen".into(), "model is kitchen, expected bench"),
        (
            |found| found.joints[1].max_rad = 1.5,
            "joint elbow (id 2): the range is -2 to 1.5 rad, expected -1.9 to 1.9 rad or more",
        ),
        (
            |found| found.joints[2].min_rad = -0.5,
            "joint gripper (id 3): the range is -0.5 to 0 rad, expected -1 to 0 rad or more",
        ),
    ] {
        let mut found = description();
        change(&mut found);
        let mut rig = Rig::off(Double::at("tcp://127.0.0.1:*", found));
        let error = rig.motors.identify().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(matches!(rig.sense(), Err(MotorsError::HungUp { .. })), "it is not connected to");
    }
}

#[test]
fn a_goal_beyond_the_description_is_never_sent() {
    let mut rig = Rig::on();
    for (joint, goal) in [(0, 1_000_100), (1, -1_900_100), (2, 100), (0, i32::MAX), (2, i32::MIN)] {
        let mut goals = rig.sensed.position.clone();
        goals[joint] = goal;
        let error = rig.motors.command(&goals).unwrap_err().to_string();
        assert!(error.contains("not sent"), "{error}");
    }
    assert!(rig.motors.command(&[0; 2]).is_err());
    assert_eq!(rig.simulator.world().commands, 0);
}

#[test]
fn what_it_says_is_not_believed_where_it_makes_no_sense() {
    let mut rig = Rig::on();
    let before = rig.sensed.clone();
    let error = rig.trouble(Manner::NotANumber);
    assert!(error.contains("expected a finite number, found NaN"), "{error}");
    let error = rig.trouble(Manner::Short);
    assert!(error.contains("position_rad: expected 3 number(s), found 2"), "{error}");
    let error = rig.trouble(Manner::Refusing);
    assert_eq!(error, "the arm refuses: the world has ended");
    assert_eq!(rig.sensed, before);
    let error = rig.trouble(Manner::Wound);
    assert!(error.starts_with("joint shoulder (id 1): expected an angle, found 10000"), "{error}");
    rig.sense().unwrap();
    rig.motors.timings.answer = Duration::from_millis(100);
    let error = rig.trouble(Manner::Misnumbered);
    assert!(error.contains("does not answer within"), "{error}");
    rig.sense().unwrap();
    // What is too large for a message ends the connection that it came over.
    rig.motors.timings.answer = Duration::from_millis(500);
    let error = rig.trouble(Manner::Oversize);
    assert!(error.ends_with("hung up") || error.contains("does not answer"), "{error}");
    rig.motors.timings = PATIENT;
    rig.motors.identify().unwrap();
    rig.sense().unwrap();
}

#[test]
fn fault_17_one_that_says_nothing_is_silent_in_time_and_not_written_to_for_ever() {
    let mut rig = Rig::on();
    let before = rig.simulator.world().commands;
    rig.simulator.world().manner = Manner::Silent;
    rig.motors.timings.answer = Duration::from_millis(20);
    let began = Instant::now();
    for _ in 0..10 {
        let error = rig.sense().unwrap_err();
        assert!(matches!(error, MotorsError::Silent { .. }), "{error}");
        let _ = rig.motors.command(&[0, 0, -500_000]); // at most two of these go out
    }
    // Ten waits of 20 ms, and room for a machine that does other things too.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(rig.simulator.world().commands <= before + 2);
    // Those two are never answered: a reset connects anew.
    rig.simulator.world().manner = Manner::Well;
    rig.motors.timings = PATIENT;
    rig.motors.identify().unwrap();
    rig.motors.torque(true).unwrap();
    rig.motors.command(&[0, 0, -500_000]).unwrap();
    rig.sense().unwrap();
}

#[test]
fn fault_18_one_that_went_away_is_missed_and_found_again() {
    let mut rig = Rig::on();
    let endpoint = rig.simulator.endpoint();
    rig.simulator = Double::start();
    let began = Instant::now();
    let error = loop {
        match rig.sense().and_then(|()| rig.motors.command(&[0, 0, -500_000])) {
            Ok(()) => assert!(began.elapsed().as_secs() < 5, "it is not missed"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), format!("{endpoint} hung up"));
    rig.motors.timings.connect = Duration::from_millis(100);
    let error = rig.motors.identify().unwrap_err().to_string();
    assert!(error.contains("start one, such as `engraft-mujoco`"), "{error}");

    rig.simulator = Double::at(&endpoint, description());
    rig.motors.timings = PATIENT;
    rig.motors.identify().unwrap();
    rig.sense().unwrap();
    assert!(!rig.motors.examine(0).unwrap().torque, "torque waits for an operator");
}

#[test]
fn fault_22_one_that_lost_its_torque_is_not_commanded_on() {
    let mut rig = Rig::on();
    rig.simulator.world().torque = false;
    let error = rig.sense().unwrap_err();
    assert!(matches!(error, MotorsError::Restarted { .. }), "{error}");
    assert!(rig.motors.command(&[0, 0, -500_000]).is_err());
}

#[test]
fn it_is_opened_by_its_description_and_is_not_to_be_calibrated() {
    let simulator = Double::start();
    let mut motors = super::super::open(&arm(), &simulator.endpoint(), None).unwrap();
    motors.identify().unwrap();
    assert_eq!(motors.joints(), ["shoulder", "elbow", "gripper"]);
    let error = super::super::open_to_calibrate(&arm(), &simulator.endpoint()).err().unwrap();
    assert!(error.to_string().contains("takes no calibration"), "{error}");
}

#[test]
fn an_address_that_is_none_is_refused_at_once() {
    for wrong in ["127.0.0.1:5570", "tcp://127.0.0.1", "udp://127.0.0.1:5570", "/dev/ttyACM0"] {
        let error = SimulatorMotors::new(&arm(), wrong).unwrap_err().to_string();
        assert!(error.contains("such as tcp://127.0.0.1:5570"), "{error}");
    }
    // Somebody else listens there.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", other.local_addr().unwrap());
    let mut motors = SimulatorMotors::new(&arm(), &address).unwrap();
    motors.timings.connect = Duration::from_millis(200);
    assert!(motors.identify().is_err());
}
