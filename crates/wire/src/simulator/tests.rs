//! A simulator's messages to bytes and back, and everything that is none of them.

use std::thread;
use std::time::Duration;

use engraft_core::{DepthImage, RgbImage, View};
use rmpv::Value;

use super::*;
use crate::endpoint::SocketError;

const SOON: Duration = Duration::from_secs(5);

fn joints(values: &[f64]) -> Joints {
    Joints::new(values).unwrap()
}

fn state() -> State {
    State {
        time_secs: 1.25,
        position_rad: joints(&[0.1, -0.2]),
        velocity_rad_s: joints(&[1.0 / 3.0, f64::MIN_POSITIVE]),
        effort: None,
        torque: true,
    }
}

fn description() -> Description {
    let joint = |name: &str| JointRange { name: name.into(), min_rad: -1.5, max_rad: 1.5 };
    Description {
        name: "bench".into(),
        version: "mujoco 4.0.0".into(),
        task: "open the drawer".into(),
        joints: vec![joint("shoulder"), joint("elbow")],
        views: vec![ViewSpec { name: "front".into(), width: 3, height: 2, depth: true }],
        instances: vec!["left".into(), "right".into()],
        step_secs: 0.002,
        watchdog_secs: 0.25,
        eyes_port: Some(5571),
    }
}

fn sight() -> Sight {
    let depth = DepthImage::new(3, 2, vec![0.5; 6]).unwrap();
    let view = View { rgb: RgbImage::filled(3, 2, [9, 8, 7]), depth: Some(depth) };
    let observation = Observation { views: vec![view], proprio: vec![0.1, -0.2] };
    Sight { time_secs: 2.0, success: Some(false), observation }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Describe,
        Request::Sense,
        Request::Command { goal_rad: joints(&[0.5; MAX_JOINTS]) },
        Request::Torque { on: true },
        Request::Reset { instance: 3, seed: u64::MAX },
        Request::Look,
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Description(Box::new(description())),
        Answer::State(state()),
        Answer::State(State { effort: Some(joints(&[0.0, -1.0])), ..state() }),
        Answer::Placed { start_rad: None },
        Answer::Placed { start_rad: Some(joints(&[0.0, 0.25])) },
        Answer::Sight(Box::new(sight())),
        Answer::Error { detail: "torque is off".into() },
    ]
}

/// A header as any program might write it.
fn header(fields: &[(&str, Value)]) -> Vec<u8> {
    let map = fields.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
    crate::msgpack::bytes(&Value::Map(map))
}

#[test]
fn everything_comes_back_as_it_went() {
    for (seq, request) in (u64::MAX - 10..).zip(requests()) {
        let frame = encode_request(seq, &request).unwrap();
        assert_eq!(decode_request(&frame).unwrap(), (seq, request));
    }
    for (seq, answer) in (1..).zip(answers()) {
        let frames = encode_answer(seq, &answer).unwrap();
        assert_eq!(decode_answer(&frames).unwrap(), (seq, answer));
    }
}

#[test]
fn every_truncation_is_an_error_not_a_panic() {
    for request in requests() {
        let frame = encode_request(1, &request).unwrap();
        for len in 0..frame.len() {
            assert!(decode_request(&frame[..len]).is_err(), "{len} bytes of {request:?} decoded");
        }
    }
    for answer in answers() {
        let frames = encode_answer(1, &answer).unwrap();
        for cut in 0..frames.len() {
            assert!(decode_answer(&frames[..cut]).is_err(), "{cut} frames of {answer:?} decoded");
            for len in 0..frames[cut].len() {
                let mut torn = frames.clone();
                torn[cut].truncate(len);
                assert!(decode_answer(&torn).is_err(), "{len} bytes of {answer:?} decoded");
            }
        }
    }
}

#[test]
fn what_no_arm_has_is_refused_with_what_was_found() {
    let numbers = |all: &[f64]| Value::Array(all.iter().map(|&value| value.into()).collect());
    let state = |position: Value, velocity: Value| {
        let common = [("v", 1.into()), ("t", "state".into()), ("seq", 1.into())];
        let fields = [
            ("time_secs", 0.5.into()),
            ("position_rad", position),
            ("velocity_rad_s", velocity),
            ("torque", false.into()),
        ];
        decode_answer(&[header(&[common.as_slice(), &fields].concat())])
    };
    assert!(state(numbers(&[0.5, 1.0]), numbers(&[0.0, 0.0])).is_ok());
    assert!(state(Value::Array(vec![1.into(), 0.into()]), numbers(&[0.0, 0.0])).is_ok(), "whole");
    for (position, velocity, words) in [
        (numbers(&[f64::NAN, 0.0]), numbers(&[0.0, 0.0]), "expected a finite number, found NaN"),
        (numbers(&[0.0, 0.0]), numbers(&[f64::INFINITY, 0.0]), "found inf"),
        (numbers(&[0.0; 2]), numbers(&[0.0; 3]), "velocity_rad_s: expected 2 number(s), found 3"),
        (numbers(&[0.0; 9]), numbers(&[0.0; 9]), "at most 8 are taken, found 9"),
        ("far".into(), numbers(&[0.0]), "at most 8 finite numbers"),
    ] {
        let error = state(position, velocity).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut wrong = description();
    wrong.joints[1].min_rad = 2.0;
    let error = wrong.check().unwrap_err().to_string();
    assert!(error.contains("joint `elbow`: 2 to 1.5 is no range"), "{error}");
    for change in [
        |all: &mut Description| all.joints.clear(),
        |all: &mut Description| all.watchdog_secs = 0.0,
        |all: &mut Description| all.step_secs = f64::NAN,
        |all: &mut Description| all.views[0].width = usize::MAX,
        |all: &mut Description| all.views = vec![all.views[0].clone(); 16],
    ] {
        let mut wrong = description();
        change(&mut wrong);
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
}

#[test]
fn another_version_another_kind_and_what_is_no_map_are_told_apart() {
    let frame = header(&[("v", 2.into()), ("t", "sense".into()), ("seq", 1.into())]);
    let version = WireError::Version { expected: VERSION, found: 2 };
    assert_eq!(decode_request(&frame).unwrap_err(), version);
    let frame = header(&[("v", 1.into()), ("t", "jump".into()), ("seq", 1.into())]);
    assert!(matches!(decode_request(&frame), Err(WireError::Kind { .. })));
    assert!(matches!(decode_answer(&[frame]), Err(WireError::Kind { .. })));
    let row = crate::msgpack::bytes(&Value::Array(vec![1.into(), "sense".into(), 1.into()]));
    assert!(decode_request(&row).is_err());
    let frame = header(&[("v", 1.into()), ("t", "command".into()), ("seq", 1.into())]);
    let error = decode_request(&frame).unwrap_err().to_string();
    assert!(error.contains("`goal_rad` is missing"), "{error}");
    // What a reader does not know is no harm.
    let more = [("v", 1.into()), ("t", "sense".into()), ("seq", 7.into()), ("mood", "good".into())];
    assert_eq!(decode_request(&header(&more)).unwrap(), (7, Request::Sense));
}

#[test]
fn an_answer_to_what_was_asked_before_is_dropped() {
    let desk = SimulatorDesk::bind("tcp://127.0.0.1:*", false).unwrap();
    let mut bridge = SimulatorSocket::connect(desk.endpoint()).unwrap();
    let simulator = thread::spawn(move || {
        let mut late = None;
        for time in 1..=3 {
            let (caller, request) = desk.receive(SOON).unwrap().unwrap();
            assert_eq!(request.unwrap(), Request::Sense);
            let state = State { time_secs: f64::from(time), ..state() };
            if time == 1 {
                late = Some((caller, state));
                continue;
            }
            if let Some((caller, state)) = late.take() {
                desk.answer(&caller, &Answer::State(state)).unwrap();
            }
            desk.answer(&caller, &Answer::State(state)).unwrap();
        }
        desk
    });
    let error = bridge.ask(&Request::Sense, Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, SocketError::Timeout { .. }), "{error}");
    for time in [2.0, 3.0] {
        let answer = bridge.ask(&Request::Sense, SOON).unwrap();
        assert_eq!(answer, Answer::State(State { time_secs: time, ..state() }));
    }
    assert!(bridge.is_connected().unwrap());
    drop(simulator.join().unwrap());
    let began = std::time::Instant::now();
    while bridge.is_connected().unwrap() {
        assert!(began.elapsed() < SOON, "a simulator that is gone is still there");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(bridge.send(&Request::Sense).unwrap(), None);
}
