//! The emulated control box, asked as its clients ask it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::codecs::xarm::{
    Fault, Frames, Mode, Order, Protocol, Reply, Request, StateBits, Version, angle_rad, gripper,
};
use crate::description::ArmDescription;

/// A box without sockets, and a clock that is turned by hand.
struct Bench {
    cabinet: ControlBox,
    millis: u64,
}

impl Bench {
    fn new() -> Self {
        let arm = ArmDescription::find("xarm7").unwrap();
        Self { cabinet: ControlBox::new(&arm), millis: 0 }
    }

    fn ready(mode: Mode) -> Self {
        let mut bench = Self::new();
        bench.prepare(mode);
        bench
    }

    fn prepare(&mut self, mode: Mode) {
        for request in [
            Request::MotionEnable { axis: 8, on: true },
            Request::SetMode { mode, detection: None },
            Request::SetState(Order::Run),
        ] {
            self.ask(request);
        }
    }

    fn wait(&mut self, millis: u64) {
        self.millis += millis;
        self.cabinet.advance(Duration::from_millis(self.millis));
    }

    /// State and data of the reply.
    fn ask(&mut self, request: Request) -> (u8, Vec<u8>) {
        let (mut frames, mut replies) = (Frames::requests(), Frames::replies());
        frames.feed(request.encode(1, Protocol::Plain).unwrap().as_bytes());
        replies.feed(&self.cabinet.answer(frames.take().unwrap().unwrap()));
        let reply = Reply::read(replies.take().unwrap().unwrap()).unwrap();
        (reply.state.0, reply.data.to_vec())
    }

    fn servo(&mut self, joint: usize, ticks: i32) -> u8 {
        let mut joints_rad = [0.0; 7];
        joints_rad[joint] = angle_rad(ticks);
        let (speed, acceleration, secs) = (0.0, 0.0, 0.0);
        self.ask(Request::ServoJoints { joints_rad, speed, acceleration, secs }).0
    }

    fn velocity(&mut self, speed: f32, secs: Option<f32>) -> u8 {
        let mut joints_rad = [0.0; 7];
        joints_rad[0] = speed;
        self.ask(Request::JointVelocity { joints_rad, together: true, secs }).0
    }

    fn place(&mut self) -> f64 {
        self.cabinet.plant().joints[0].position
    }
}

#[test]
fn it_moves_only_enabled_in_the_mode_and_running() {
    let mut bench = Bench::new();
    assert_eq!(bench.servo(0, 1000), StateBits::NOT_READY | StateBits::INVALID);
    bench.ask(Request::MotionEnable { axis: 8, on: true });
    assert_eq!(
        bench.ask(Request::SetMode { mode: Mode::Servo, detection: None }).0,
        StateBits::NOT_READY
    );
    assert_eq!(bench.servo(0, 1000), StateBits::NOT_READY);
    assert_eq!(bench.ask(Request::State).1, [5]);
    assert_eq!(bench.ask(Request::SetState(Order::Run)).0, 0);
    assert_eq!(bench.ask(Request::State).1, [2]);
    assert_eq!(bench.servo(0, 1000), 0);
    bench.wait(200);
    assert!((bench.place() - 1000.0).abs() < 1.0);
    // In position mode a set-point is refused.
    bench.prepare(Mode::Position);
    assert_eq!(bench.servo(0, 2000), StateBits::INVALID);
}

#[test]
fn it_runs_to_the_last_set_point_as_fast_as_it_can() {
    let mut bench = Bench::ready(Mode::Servo);
    bench.servo(0, 3_000_000);
    bench.wait(400);
    let velocity = bench.cabinet.plant().joints[0].velocity;
    assert!(
        (velocity - std::f64::consts::PI * 1e6).abs() < 1.0,
        "180 degrees a second: {velocity}"
    );
    assert_eq!(bench.ask(Request::State).1, [1]);
    bench.wait(2000);
    assert!((bench.place() - 3_000_000.0).abs() < 1.0);
}

#[test]
fn of_more_than_250_set_points_a_second_the_last_counts() {
    let mut bench = Bench::ready(Mode::Servo);
    for i in 0..100 {
        bench.servo(0, i * 10);
        bench.wait(2);
    }
    let (taken, lost) = (bench.cabinet.taken, bench.cabinet.lost);
    assert!((49..=51).contains(&taken) && (49..=51).contains(&lost), "{taken} taken, {lost} lost");
}

#[test]
fn beyond_a_limit_is_an_error_that_only_the_whole_procedure_gets_out_of() {
    let mut bench = Bench::ready(Mode::Servo);
    bench.servo(0, 500_000);
    bench.wait(40);
    let state = bench.servo(1, 2_094_395);
    assert_eq!(state & StateBits::ERROR, StateBits::ERROR);
    assert_eq!(bench.ask(Request::Faults).1, [23, 0]);
    assert_eq!(bench.ask(Request::State).1, [4]);
    bench.wait(1000);
    assert!(bench.place() < 200_000.0, "what waited is forgotten: {}", bench.place());
    // Enabling without clearing fails, clearing alone is not enough.
    let (state, _) = bench.ask(Request::MotionEnable { axis: 8, on: true });
    assert_eq!(state & StateBits::INVALID, StateBits::INVALID);
    assert_eq!(bench.ask(Request::ClearError).0, StateBits::NOT_READY);
    assert_eq!(bench.servo(0, 0), StateBits::NOT_READY);
    bench.ask(Request::SetState(Order::Run));
    assert_eq!(bench.servo(0, 0), StateBits::NOT_READY);
    bench.prepare(Mode::Servo);
    assert_eq!(bench.servo(0, 0), 0);
}

#[test]
fn a_velocity_ends_after_its_duration_the_only_deadman() {
    let mut bench = Bench::ready(Mode::JointVelocity);
    assert_eq!(bench.velocity(0.5, Some(0.2)), 0);
    bench.wait(150);
    assert_eq!(bench.ask(Request::State).1, [1]);
    bench.wait(850);
    let there = bench.place();
    assert!((90_000.0..125_000.0).contains(&there), "0.2 s at 0.5 rad/s: {there}");
    assert_eq!(bench.ask(Request::State).1, [2]);
    // Without one it goes on, until the joint's limit.
    bench.velocity(1.0, None);
    bench.wait(1000);
    assert!(bench.place() > 1_000_000.0);
    bench.wait(10_000);
    assert_eq!(bench.cabinet.fault(), Fault::JOINT_LIMIT);
}

#[test]
fn too_fast_is_an_error() {
    let mut bench = Bench::ready(Mode::Position);
    let (joints_rad, acceleration, secs) = ([0.1; 7], 1.0, 0.0);
    let go = |speed| Request::MoveJoints { joints_rad, speed, acceleration, secs };
    assert_eq!(bench.ask(go(0.5)).0, 0);
    bench.wait(1000);
    assert!((bench.place() - 100_000.0).abs() < 1.0);
    assert_eq!(bench.ask(go(4.0)).0 & StateBits::ERROR, StateBits::ERROR);
    assert_eq!(bench.cabinet.fault(), Fault::SPEED);
}

#[test]
fn a_wall_is_a_collision_as_soon_as_the_sensitivity_says() {
    for (sensitivity, expected) in [(5, Fault::COLLISION), (0, Fault(0))] {
        let mut bench = Bench::ready(Mode::Servo);
        bench.ask(Request::CollisionSensitivity(sensitivity));
        bench.cabinet.plant().joints[0].wall = Some(50_000.0);
        bench.servo(0, 200_000);
        bench.wait(500);
        assert_eq!(bench.cabinet.fault(), expected);
    }
}

#[test]
fn an_emergency_stop_stays_while_it_is_pressed() {
    let mut bench = Bench::ready(Mode::Servo);
    bench.cabinet.press_stop(true);
    bench.ask(Request::ClearError);
    assert_eq!(bench.ask(Request::Faults).1, [2, 0]);
    bench.cabinet.press_stop(false);
    bench.ask(Request::ClearError);
    assert_eq!(bench.ask(Request::Faults).1, [0, 0]);
    bench.prepare(Mode::Servo);
    assert_eq!(bench.servo(0, 0), 0);
}

#[test]
fn what_makes_no_sense_is_a_warning() {
    let mut bench = Bench::new();
    for (function, warning) in [(23, 12), (250, 13)] {
        let bytes = [0, 1, 0, 2, 0, 2, function, 9];
        let mut frames = Frames::requests();
        frames.feed(&bytes);
        let reply = bench.cabinet.answer(frames.take().unwrap().unwrap());
        assert_eq!(reply[7], StateBits::WARNING | StateBits::NOT_READY | StateBits::INVALID);
        assert_eq!(bench.ask(Request::Faults).1, [0, warning]);
    }
    assert_eq!(bench.ask(Request::ClearWarning).0, StateBits::NOT_READY);
}

#[test]
fn it_says_what_it_is_and_where_it_is() {
    let mut bench = Bench::ready(Mode::Servo);
    let version = Version::parse(&bench.ask(Request::Version).1).unwrap();
    assert_eq!((version.axes, version.firmware), (7, (1, 13, 104)));
    bench.servo(0, 123_456);
    bench.wait(1000);
    let report = bench.cabinet.report();
    assert_eq!((report.mode, report.state, report.joints_rad[0]), (1, 2, 0.123_456));
    assert_eq!(bench.ask(Request::JointStates { kinds: 3 }).1.len(), 84);
    assert_eq!(bench.ask(Request::Joints).1[..4], 0.123_456_f32.to_le_bytes());
}

#[test]
fn the_gripper_answers_as_a_modbus_device() {
    let mut bench = Bench::new();
    bench.ask(gripper::enable(true));
    bench.ask(gripper::speed(1000));
    assert_eq!(bench.ask(gripper::go(350)).1, [9, 8, 16, 7, 0, 0, 2]);
    bench.wait(250);
    assert_eq!(bench.ask(gripper::POSITION).1, [9, 8, 3, 4, 0, 0, 2, 88]);
    bench.wait(1000);
    assert_eq!(bench.cabinet.gripper().pulses(), 350);
    bench.ask(gripper::go(900));
    assert_eq!(bench.ask(gripper::ERROR).1, [9, 8, 3, 2, 0, 14]);
}

#[test]
fn the_gripper_stops_at_what_it_catches_fails_and_comes_unplugged() {
    let mut bench = Bench::new();
    bench.cabinet.gripper().object = Some(400);
    bench.ask(gripper::speed(5000));
    bench.ask(gripper::go(0));
    bench.wait(500);
    assert_eq!(bench.cabinet.gripper().pulses(), 850, "it is not switched on");
    bench.ask(gripper::enable(true));
    bench.wait(500);
    assert_eq!(bench.cabinet.gripper().pulses(), 400);
    assert_eq!(bench.ask(gripper::ERROR).1, [9, 8, 3, 2, 0, 0]);
    // An error lets go, and what cleared it does not switch it on.
    bench.cabinet.gripper().fail(11);
    bench.cabinet.gripper().object = None;
    bench.ask(gripper::enable(true));
    assert_eq!(bench.ask(gripper::ERROR).1, [9, 8, 3, 2, 0, 11]);
    bench.ask(gripper::clear_error());
    bench.wait(500);
    assert_eq!(bench.cabinet.gripper().pulses(), 400);
    bench.ask(gripper::enable(true));
    bench.wait(500);
    assert_eq!(bench.cabinet.gripper().pulses(), 0);
    // With its plug out nobody answers, and the box says so.
    bench.cabinet.gripper().unplugged = true;
    let (state, data) = bench.ask(gripper::POSITION);
    assert!(StateBits(state).invalid() && data.is_empty(), "{state} {data:?}");
    assert_eq!(bench.cabinet.fault(), Fault(19));
}

/// A client of the control port, asked for the state over the protocol.
fn client(controller: &Controller) -> TcpStream {
    let stream = TcpStream::connect(controller.control()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn state(stream: &mut TcpStream, protocol: Protocol) -> Option<u8> {
    stream.write_all(Request::State.encode(1, protocol).unwrap().as_bytes()).ok()?;
    let mut reply = [0; 9];
    stream.read_exact(&mut reply).ok()?;
    Some(reply[8])
}

#[test]
fn several_clients_are_answered_and_the_silent_one_of_protocol_3_is_hung_up_on() {
    let arm = ArmDescription::find("xarm7").unwrap();
    let keep_alive = Duration::from_millis(100);
    let options = ControllerOptions { keep_alive, ..ControllerOptions::default() };
    let controller = Controller::start(&arm, options).unwrap();
    let (mut plain, mut kept) = (client(&controller), client(&controller));
    assert_eq!(state(&mut plain, Protocol::Plain), Some(4));
    assert_eq!(state(&mut kept, Protocol::KeptAlive), Some(4));
    let began = Instant::now();
    assert_eq!(kept.read(&mut [0]).unwrap_or(0), 0, "it was hung up on");
    assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
    assert_eq!(state(&mut plain, Protocol::Plain), Some(4));
}

#[test]
fn bytes_that_are_no_frame_end_the_connection_and_nothing_else() {
    let arm = ArmDescription::find("xarm7").unwrap();
    let controller = Controller::start(&arm, ControllerOptions::default()).unwrap();
    let (mut good, mut bad) = (client(&controller), client(&controller));
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(bad.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(state(&mut good, Protocol::Plain), Some(4));
}

#[test]
fn reports_come_a_hundred_times_a_second_and_stop_when_asked() {
    let arm = ArmDescription::find("xarm7").unwrap();
    let controller = Controller::start(&arm, ControllerOptions::default()).unwrap();
    let mut stream = TcpStream::connect(controller.report()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut report = [0; 87];
    stream.read_exact(&mut report).unwrap();
    let began = Instant::now();
    for _ in 0..50 {
        stream.read_exact(&mut report).unwrap();
        assert_eq!(report[..5], [0, 0, 0, 87, 4]);
    }
    let millis = began.elapsed().as_millis();
    assert!((400..1500).contains(&millis), "50 reports in {millis} ms");
    controller.faults(|faults| faults.no_reports = true);
    thread::sleep(Duration::from_millis(50));
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    while stream.read_exact(&mut report).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "they still come");
    }
}

/// Whatever is asked in whatever order, nothing moves that is not enabled and running, and no
/// joint gets beyond its limits by more than it takes to stop.
#[test]
fn ten_thousand_random_requests_never_move_what_may_not_move() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut bench = Bench::new();
    let (min, max) = (-6.26e6 - 300_000.0, 6.26e6 + 300_000.0);
    let mut moved = 0;
    for count in 0..10_000 {
        match rng.random_range(0..14) {
            0 => drop(bench.ask(Request::MotionEnable { axis: 8, on: rng.random_bool(0.8) })),
            1 => drop(bench.ask(Request::SetState(Order::Run))),
            2 => drop(bench.ask(Request::SetState(Order::Stop))),
            3 => drop(bench.ask(Request::ClearError)),
            4 => bench.cabinet.press_stop(rng.random_bool(0.3)),
            5 => bench.prepare(Mode::JointVelocity),
            6 => drop(bench.velocity(rng.random_range(-3.0..3.0), None)),
            7 => bench.prepare(Mode::Servo),
            _ => drop(bench.servo(0, rng.random_range(-6_283_000..6_283_000))),
        }
        let ready = bench.cabinet.enabled() && bench.cabinet.fault().0 == 0;
        let runs = ready && matches!(bench.ask(Request::State).1[..], [1..=2]);
        bench.wait(rng.random_range(1..250));
        let joint = bench.cabinet.plant().joints[0].clone();
        assert!((min..=max).contains(&joint.position), "request {count}: {joint:?}");
        if !runs {
            bench.wait(400); // to rest from the fastest takes 160 ms
            let rest = bench.place();
            bench.wait(100);
            assert!((bench.place() - rest).abs() < 50.0, "request {count}: {joint:?}");
        }
        moved += u32::from(joint.velocity.abs() > 1e5);
    }
    assert!(moved > 300, "it moved at {moved} moments only");
}
