//! Golden frames of an xArm, every truncation, and frames that are damaged.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn encoded(request: Request) -> String {
    hex(request.encode(0x0102, Protocol::Plain).unwrap().as_bytes())
}

const ANGLES: [f32; 7] = [0.1, -0.2, 0.3, 1.5, 0.0, 0.0, 0.25];

fn servo(joints_rad: [f32; 7]) -> Request {
    Request::ServoJoints { joints_rad, speed: 0.0, acceleration: 0.0, secs: 0.0 }
}

/// One of each kind.
fn every_request() -> Vec<Request> {
    let (speed, acceleration, secs) = (0.5, 2.0, 0.0);
    let velocity = [100.0, 0.0, -50.0, 0.1, 0.0, 0.0];
    vec![
        Request::Version,
        Request::Serial,
        Request::MotionEnable { axis: 8, on: true },
        Request::SetState(Order::Stop),
        Request::State,
        Request::Waiting,
        Request::Faults,
        Request::ClearError,
        Request::ClearWarning,
        Request::SetMode { mode: Mode::Servo, detection: None },
        Request::SetMode { mode: Mode::Servo, detection: Some(0) },
        Request::MoveJoints { joints_rad: ANGLES, speed, acceleration, secs },
        servo(ANGLES),
        Request::ServoPose {
            pose: [300.0, 0.0, 200.0, 3.1, 0.0, 0.0],
            speed,
            acceleration,
            tool: 1.0,
        },
        Request::PoseJerk(10_000.0),
        Request::PoseAcceleration(5000.0),
        Request::JointJerk(28_000.0),
        Request::JointAcceleration(20.0),
        Request::CollisionSensitivity(3),
        Request::Pose,
        Request::Joints,
        Request::JointStates { kinds: 3 },
        Request::ReducedHandSpeed(250.0),
        Request::ReducedJointSpeed(1.0),
        Request::SetReduced(true),
        Request::Fence([500, -500, 400, -400, 600, 0]),
        Request::Reduced,
        Request::ReducedJoints([1.0; 14]),
        Request::FenceOn(true),
        Request::CollisionRebound(false),
        Request::SelfCollision(true),
        Request::Simulation(true),
        Request::JointVelocity { joints_rad: [0.5; 7], together: true, secs: Some(0.2) },
        Request::JointVelocity { joints_rad: [0.5; 7], together: false, secs: None },
        Request::HandVelocity { velocity, tool: false, secs: Some(0.2) },
        gripper::enable(true),
        gripper::go(-10),
        gripper::POSITION,
        Request::HandRegister { host: 9, address: 0x0A0B },
    ]
}

#[test] // what xarm-python-sdk 1.18.4 sends
fn requests_are_the_bytes_of_the_vendors_sdk() {
    let servo_mode = |detection| Request::SetMode { mode: Mode::Servo, detection };
    let mut joints_rad = [0.0; 7];
    (joints_rad[0], joints_rad[6]) = (0.5, -0.5);
    for (request, golden) in [
        (Request::Version, "01020002000101"),
        (Request::MotionEnable { axis: 8, on: true }, "0102000200030b0801"),
        (Request::SetState(Order::Stop), "0102000200020c04"),
        (servo_mode(None), "0102000200021301"),
        (servo_mode(Some(0)), "010200020003130100"),
        (Request::JointStates { kinds: 3 }, "0102000200022a03"),
        (Request::CollisionSensitivity(3), "0102000200022503"),
        (Request::JointAcceleration(20.0), "010200020005220000a041"),
        (gripper::enable(true), "01020002000b7c0908100100000102 0001"),
        (gripper::go(-10), "01020002000d7c0908100700000204fffffff6"),
        (gripper::POSITION, "0102000200087c09080307020002"),
        (gripper::mode(0), "01020002000b7c0908100101000102 0000"),
        (gripper::speed(5000), "01020002000b7c0908100303000102 1388"),
        (gripper::clear_error(), "01020002000b7c0908100109000102 0001"),
        (gripper::ERROR, "0102000200087c090803000f0001"),
        (gripper::VERSION[1], "0102000200087c09080308020001"),
        (
            servo(ANGLES),
            "0102000200291dcdcccc3dcdcc4cbe9a99993e0000c03f0000000000000000\
             0000803e000000000000000000000000",
        ),
        (
            Request::JointVelocity { joints_rad, together: true, secs: Some(0.2) },
            "010200020022510000003f0000000000000000000000000000000000000000\
             000000bf01cdcc4c3e",
        ),
        (
            Request::Fence([500, -500, 400, -400, 600, 0]),
            "01020002001934f40100000cfeffff9001000070feffff5802000000000000",
        ),
    ] {
        assert_eq!(encoded(request), golden.replace(' ', ""), "{request:?}");
    }
}

#[test]
fn every_request_is_read_as_what_was_sent_and_no_part_of_it_is() {
    for request in every_request() {
        let encoded = request.encode(7, Protocol::KeptAlive).unwrap();
        let bytes = encoded.as_bytes();
        for len in 0..bytes.len() {
            let mut frames = Frames::requests();
            assert_eq!(frames.feed(&bytes[..len]), len);
            assert_eq!(frames.take(), Ok(None), "{len} bytes of {request:?}");
        }
        let mut frames = Frames::requests();
        for byte in bytes {
            frames.feed(&[*byte]);
        }
        let frame = frames.take().unwrap().unwrap();
        assert_eq!((frame.transaction, frame.protocol), (7, Protocol::KeptAlive));
        assert_eq!(Request::decode(frame.function, frame.rest), Ok(request));
        // A frame that is whole and too short inside is told from what may be left out.
        for len in 0..frame.rest.len() {
            let short = Request::decode(frame.function, &frame.rest[..len]);
            assert_ne!(short, Ok(request), "{len} of {}", frame.rest.len());
        }
    }
}

#[test]
fn what_is_not_finite_or_out_of_range_is_never_sent() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, 6.4] {
        for joint in 0..JOINTS {
            let mut joints_rad = ANGLES;
            joints_rad[joint] = wrong;
            let (speed, acceleration, secs) = (0.0, 0.0, 0.0);
            let velocity = Request::JointVelocity { joints_rad, together: true, secs: None };
            let planned = Request::MoveJoints { joints_rad, speed, acceleration, secs };
            for request in [servo(joints_rad), planned, velocity] {
                let error = request.encode(1, Protocol::Plain).unwrap_err();
                assert!(matches!(error, RequestError::Range { index, .. } if index == joint));
                assert!(error.to_string().ends_with("not sent"), "{error}");
            }
        }
    }
    assert!(Request::JointAcceleration(f32::NAN).encode(1, Protocol::Plain).is_err());
    assert!(Request::JointJerk(-1.0).encode(1, Protocol::Plain).is_err());
}

#[test]
fn a_tick_is_a_microradian_and_survives_the_wire() {
    for value in [-6_283_185, -3_141_593, -1, 0, 1, 191_986, 2_094_395, 6_283_185] {
        assert_eq!(ticks(angle_rad(value)), Some(value));
    }
    for angle in [f32::NAN, f32::INFINITY, 3000.0] {
        assert_eq!(ticks(angle), None);
    }
}

#[test]
fn a_reply_carries_its_state_and_its_numbers() {
    let data: Vec<u8> = ANGLES.iter().flat_map(|angle| angle.to_le_bytes()).collect();
    let state = StateBits(StateBits::WARNING | StateBits::NOT_READY);
    let (transaction, protocol, function) = (9, Protocol::Plain, function::JOINTS);
    let sent = Reply { transaction, protocol, function, state, data: &data };
    let mut frames = Frames::replies();
    frames.feed(&sent.encode());
    let reply = Reply::read(frames.take().unwrap().unwrap()).unwrap();
    assert_eq!(reply, sent);
    assert_eq!(reply.floats(0), Ok(ANGLES));
    assert_eq!(reply.floats(2), Ok([0.3, 1.5]));
    let short = reply.floats::<7>(7).unwrap_err();
    assert_eq!(short, ReplyError::Short { function: 42, expected: 56, found: 28 });
    assert!(state.warning() && !state.ready() && !state.error() && !state.invalid());
    assert_eq!(StateBits(0x48).words(), "the request makes no sense to it or failed");
    assert_eq!(StateBits(0x50).words(), "an error is waiting to be cleared");

    let nan = Reply { data: &f32::NAN.to_le_bytes(), ..sent };
    assert_eq!(nan.floats::<1>(0), Err(ReplyError::NotFinite { function: 42, index: 0 }));
}

#[test]
fn an_answer_of_the_gripper_is_told_from_another_device_s() {
    fn reply(data: &[u8]) -> Reply<'_> {
        let (protocol, function) = (Protocol::Plain, function::RS485);
        Reply { transaction: 9, protocol, function, state: StateBits(0), data }
    }
    let position = reply(&[9, 8, 3, 4, 0, 0, 2, 88]);
    assert_eq!(gripper::registers(&position), Ok(600_i32.to_be_bytes()));
    assert_eq!(gripper::confirmed(&reply(&[9, 8, 16, 7, 0, 0, 2]), 0x0700), Ok(()));
    for wrong in [[9, 1, 3, 4, 0, 0, 2, 88], [8, 8, 3, 4, 0, 0, 2, 88], [9, 8, 3, 2, 0, 0, 2, 88]] {
        let error = gripper::registers::<4>(&reply(&wrong)).unwrap_err();
        assert!(matches!(error, ReplyError::Device { .. }), "{error}");
    }
    for len in 0..8 {
        let short = gripper::registers::<4>(&reply(&position.data[..len]));
        assert!(matches!(short, Err(ReplyError::Short { .. })), "{len} bytes");
    }
    let other = gripper::confirmed(&reply(&[9, 8, 16, 1, 0, 0, 1]), 0x0700);
    assert!(matches!(other, Err(ReplyError::Device { .. })), "{other:?}");
}

#[test]
fn a_version_says_axes_and_firmware() {
    let version = Version::parse(b"7,7,XS1305,AC1303,v2.3.104\0\0\0").unwrap();
    assert_eq!((version.axes, version.kind, version.firmware), (7, 7, (2, 3, 104)));
    assert_eq!((&*version.arm_serial, &*version.box_serial), ("XS1305", "AC1303"));
    assert_eq!(version.firmware_words(), "v2.3.104");
    let protocol = |text: &[u8]| Version::parse(text).unwrap().protocol();
    assert_eq!(protocol(b"6,6,a,b,V1.8.5"), Protocol::Plain);
    assert_eq!(protocol(b"6,6,a,b,c,V1.8.6-beta"), Protocol::KeptAlive);
    for wrong in
        [&b""[..], b"v1.2.3", b"7,7,a,b,v1.2", b"7,x,a,b,v1.2.3", b"\xFF,\xFE", b"999,7,a,b,v1.2.3"]
    {
        assert!(matches!(Version::parse(wrong), Err(ReplyError::Version { .. })));
    }
}

#[test]
fn a_stream_out_of_step_is_told_and_never_believed_again() {
    let mut frames = Frames::replies();
    frames.feed(&[0, 1, 0, 9, 0, 2, 1, 0]);
    let error = FrameError::Protocol { found: 9 };
    assert_eq!(frames.take(), Err(error));
    frames.feed(&[0, 1, 0, 2, 0, 2, 1, 0]);
    assert_eq!(frames.take(), Err(error));
    frames.clear();
    frames.feed(&[0, 1, 0, 2, 0, 1, 1]);
    assert_eq!(frames.take(), Err(FrameError::Length { least: 2, found: 1 }));
    frames.clear();
    frames.feed(&[0, 1, 0, 2, 255, 255]);
    assert_eq!(frames.take(), Err(FrameError::Length { least: 2, found: 65_535 }));
}

#[test]
fn reports_come_whole_in_pieces_of_any_size() {
    let short = Report {
        mode: 1,
        state: 2,
        waiting: 300,
        joints_rad: ANGLES,
        pose: [1.0, 2.0, 3.0, 0.1, 0.2, 0.3],
        torques_nm: [4.0; 7],
        force: None,
    };
    let long = Report { force: Some([[5.0; 6], [6.0; 6]]), ..short };
    for (report, length) in [(short, REAL_REPORT), (long, FORCE_REPORT)] {
        let bytes = encode_report(&report);
        assert_eq!(bytes.len(), length);
        let mut reports = Reports::default();
        for len in 0..length {
            let mut part = Reports::default();
            part.feed(&bytes[..len]);
            assert_eq!(part.take(), Ok(None), "{len} bytes");
        }
        for piece in [&bytes[..], &bytes].concat().chunks(50) {
            reports.feed(piece);
        }
        assert_eq!(reports.take(), Ok(Some(report)));
        assert_eq!(reports.take(), Ok(Some(report)));
        assert_eq!(reports.take(), Ok(None));
        // Of another length than those before.
        reports.feed(&[0, 0, 0, 100]);
        assert!(matches!(reports.take(), Err(ReportError::Changed { found: 100, .. })));
        reports.clear();
        reports.feed(&[0, 0, 0, 86]);
        assert_eq!(reports.take(), Err(ReportError::Length { found: 86 }));
    }
    assert!(short.ready() && !Report { state: 4, ..short }.ready());
}

#[test]
fn errors_have_words_and_what_helps() {
    for code in 0..=u8::MAX {
        let fault = Fault(code);
        assert!(!fault.what().is_empty() && !fault.help().is_empty());
    }
    assert_eq!(Fault(13).joint(), Some(2));
    assert_eq!(Fault::COLLISION.joint(), None);
    assert_eq!(
        Fault::JOINT_LIMIT.to_string(),
        "controller error 23: a joint's angle is beyond its limit; \
         bring the joint back inside its limits in manual mode, then clear the error"
    );
    assert!(Fault::EMERGENCY_STOP.emergency() && !Fault::SPEED.emergency());
    assert_eq!(gripper_fault(11), "its current is too high");
}

#[test]
fn mutated_frames_end_in_an_error_and_never_in_a_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let seeds: Vec<Vec<u8>> = every_request()
        .iter()
        .map(|request| request.encode(1, Protocol::Plain).unwrap().as_bytes().to_vec())
        .chain([encode_report(&Report::default())])
        .collect();
    let (mut requests, mut replies) = (Frames::requests(), Frames::replies());
    let mut reports = Reports::default();
    for _ in 0..100_000 {
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.next_u32() as u8;
        }
        bytes.truncate(rng.random_range(0..=bytes.len()));
        requests.clear();
        requests.feed(&bytes);
        while let Ok(Some(frame)) = requests.take() {
            let _ = Request::decode(frame.function, frame.rest);
            let _ = Version::parse(frame.rest);
        }
        replies.clear();
        replies.feed(&bytes);
        while let Ok(Some(frame)) = replies.take() {
            let reply = Reply::read(frame).unwrap();
            let _ = (reply.floats::<7>(0), reply.bytes::<2>());
        }
        reports.clear();
        reports.feed(&bytes);
        while let Ok(Some(_)) = reports.take() {}
    }
}
