//! Bytes to messages and back, and everything that is not a message.

use std::fs;

use engraft_core::{
    ActionChunk, AttentionMap, DepthImage, Dimension, Observation, Outcome, RgbImage, RobotSpec,
    Rollout, RolloutStep, View, ViewSpec,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::log::{LogWriter, read_log};
use crate::message::*;
use crate::native::*;

fn spec() -> RobotSpec {
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 4, height: 3, depth: true }],
        proprio: vec![Dimension::new("elbow", "rad")],
        actions: vec![Dimension::new("elbow", "rad").within(-1.0, 1.0)],
    }
}

fn observation(shade: u8) -> Observation {
    let depth = DepthImage::new(4, 3, vec![f32::from(shade) / 8.0; 12]).unwrap();
    let rgb = RgbImage::filled(4, 3, [shade, 1, 2]);
    Observation { views: vec![View { rgb, depth: Some(depth) }], proprio: vec![0.25] }
}

fn maps() -> Vec<AttentionMap> {
    let weights = vec![0.25; 4];
    vec![AttentionMap { view: 0, tap: "stage_4".into(), width: 2, height: 2, weights }]
}

fn requests() -> Vec<Request> {
    let session = Session([7; 16]);
    vec![
        Request::Hello(Hello { client: "bridge".into(), spec: Some(spec()), token: None }),
        Request::Hello(Hello { client: "judge".into(), spec: None, token: None }),
        Request::Infer(Infer {
            session,
            seq: u64::MAX,
            episode: 3,
            tick: 1 << 40,
            t_obs_nanos: 5,
            deadline_millis: 40,
            attention: true,
            stack: vec![observation(8), observation(9)],
        }),
        Request::Ping { seq: 1 },
        Request::Status,
        Request::Goodbye { session },
    ]
}

fn responses() -> Vec<Response> {
    let model = Model { name: "lfs".into(), hash: "ab".repeat(32) };
    let contract = Contract { spec: spec(), num_frames: 2, horizon: 2 };
    let latency =
        vec![Percentiles { stage: "infer".into(), p50: 4, p95: 6, p99: 70_000, p999: 80_000 }];
    vec![
        Response::Welcome(Welcome {
            session: Session([1; 16]),
            model: model.clone(),
            contract,
            fingerprint: spec().fingerprint(),
            max_bytes: MAX_RESPONSE_BYTES as u64,
        }),
        Response::Reply(Reply {
            session: Session([1; 16]),
            seq: 4,
            episode: 1,
            first_tick: 9,
            t_obs_nanos: 300,
            model_hash: model.hash.clone(),
            timings: Timings { decode: 1, queue: 2, preprocess: 3, infer: 70_000, encode: 5 },
            chunk: ActionChunk::new(2, 1, vec![0.5, -0.5]).unwrap(),
            attention: maps(),
        }),
        Response::Error(Refusal {
            code: ErrorCode::Stale,
            detail: "a newer one came".into(),
            seq: Some(2),
        }),
        Response::Pong { seq: 1 },
        Response::Status(Status {
            model,
            uptime_millis: 1,
            clients: 2,
            waiting: 3,
            busy: true,
            received: 4,
            replied: 5,
            stale: 6,
            refused: 7,
            late: 2,
            latency,
        }),
        Response::Goodbye,
    ]
}

#[test]
fn every_message_comes_back_as_it_was() {
    for request in requests() {
        assert_eq!(decode_request(&encode_request(&request).unwrap()).unwrap(), request);
    }
    for response in responses() {
        assert_eq!(decode_response(&encode_response(&response).unwrap()).unwrap(), response);
    }
}

/// Decodes both ways; whether either understood.
fn understood(frames: &[Vec<u8>]) -> bool {
    let request = decode_request(frames).is_ok();
    decode_response(frames).is_ok() || request
}

fn encoded() -> Vec<Frames> {
    let requests = requests().into_iter().map(|request| encode_request(&request).unwrap());
    let responses = responses().into_iter().map(|response| encode_response(&response).unwrap());
    requests.chain(responses).collect()
}

#[test]
fn every_truncation_is_an_error_not_a_panic() {
    for frames in encoded() {
        for cut in 0..frames.len() {
            assert!(!understood(&frames[..cut]), "{cut} of {} frames decoded", frames.len());
            for len in 0..frames[cut].len() {
                let mut torn = frames.clone();
                torn[cut].truncate(len);
                assert!(!understood(&torn), "{len} bytes of frame {cut} decoded");
            }
        }
        let mut longer = frames.clone();
        longer.push(vec![0; 4]);
        let counted = frames.len() > 1;
        assert!(!counted || !understood(&longer), "an extra frame went unnoticed");
    }
}

#[test]
fn random_mutations_are_errors_or_messages_never_panics() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let messages = encoded();
    for _ in 0..60_000 {
        let mut frames = messages[random.random_range(0..messages.len())].clone();
        for _ in 0..random.random_range(1..6) {
            let frame = random.random_range(0..frames.len());
            if frames[frame].is_empty() {
                continue;
            }
            let at = random.random_range(0..frames[frame].len());
            match random.random_range(0..4) {
                0 => frames[frame][at] = random.random(),
                1 => frames[frame][at] ^= 1 << random.random_range(0..8),
                2 => frames[frame].insert(at, random.random()),
                _ => drop(frames[frame].remove(at)),
            }
        }
        understood(&frames);
    }
    for _ in 0..60_000 {
        let len = random.random_range(0..64);
        understood(&[(0..len).map(|_| random.random()).collect()]);
    }
}

#[test]
fn lies_about_sizes_are_refused_before_anything_is_reserved() {
    // An array of 2^32 - 1 entries, a map likewise, a string of 4 GiB, nesting 10 000 deep.
    for header in [
        vec![0xdd, 0xff, 0xff, 0xff, 0xff],
        vec![0xdf, 0xff, 0xff, 0xff, 0xff],
        vec![0xdb, 0xff, 0xff, 0xff, 0xff],
        vec![0x91; 10_000],
        vec![0x81; 10_000],
    ] {
        assert!(!understood(&[header]));
    }
    let Some(Request::Infer(infer)) = requests().into_iter().nth(2) else { panic!("no infer") };
    let mut frames = encode_request(&Request::Infer(infer)).unwrap();
    frames.extend(vec![Vec::new(); MAX_FRAMES]);
    let error = decode_request(&frames).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let error = decode_request(&[vec![0; MAX_HEADER_BYTES + 1]]).unwrap_err();
    assert_eq!(error.to_string(), "bytes of a header: at most 65536 are taken, found 65537");
}

#[test]
fn an_empty_axis_does_not_let_another_be_anything() {
    // {"v": 1, "t": "infer", "session": .., "seq": 1, "arrays": [{k: proprio, d: f4, s: [n, 0]}]}
    let stack_of = |frames: u32| {
        let mut header = b"\x85\xa1v\x01\xa1t\xa5infer\xa7session\xc4\x10".to_vec();
        header.extend([0; 16]);
        header.extend(b"\xa3seq\x01\xa6arrays\x91\x83\xa1k\xa7proprio\xa1d\xa2f4\xa1s\x92\xce");
        header.extend(frames.to_be_bytes());
        header.push(0);
        decode_request(&[header, Vec::new()])
    };
    assert!(stack_of(2).is_ok());
    for frames in [0, 257, 1 << 24, u32::MAX] {
        assert_eq!(stack_of(frames).unwrap_err().code(), ErrorCode::BadShape);
    }
}

#[test]
fn nesting_is_taken_to_the_limit_and_no_deeper() {
    let nested = |depth: usize| {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xa1); // a string, which costs the reader the most
        bytes.push(b'x');
        value(&bytes).map(drop)
    };
    assert!(nested(MAX_DEPTH).is_ok());
    assert!(nested(MAX_DEPTH + 1).is_err());
}

#[test]
fn another_version_is_refused_by_name() {
    // {"v": 2, "t": "ping"}
    let header = b"\x82\xa1v\x02\xa1t\xa4ping".to_vec();
    let error = decode_request(&[header]).unwrap_err();
    assert_eq!(error.to_string(), "protocol version 2 is not spoken here, expected 1");
    assert_eq!(error.code(), ErrorCode::BadVersion);
}

#[test]
fn what_a_reader_does_not_know_is_ignored() {
    // {"v": 1, "t": "ping", "seq": 5, "new": nil}
    let header = b"\x84\xa1v\x01\xa1t\xa4ping\xa3seq\x05\xa3new\xc0".to_vec();
    assert_eq!(decode_request(&[header]).unwrap(), Request::Ping { seq: 5 });
}

#[test]
fn a_stack_of_unlike_pictures_is_refused() {
    let Some(Request::Infer(mut infer)) = requests().into_iter().nth(2) else { panic!() };
    infer.stack[1].views[0].rgb = RgbImage::filled(5, 3, [0; 3]);
    let error = encode_request(&Request::Infer(infer)).unwrap_err();
    let expected = "array `rgb.0` has shape [3, 5], expected [3, 4] as in the first frame";
    assert_eq!(error.to_string(), expected);
}

fn rollout(outcome: Outcome) -> Rollout {
    let step = |i: u8| RolloutStep {
        time_secs: f64::from(i) / 10.0,
        observation: observation(i),
        chunk: (i == 0).then(|| ActionChunk::new(2, 1, vec![0.5, f32::INFINITY]).unwrap()),
        action: vec![0.5],
        limited: vec![0; usize::from(i)],
        attention: if i == 1 { maps() } else { Vec::new() },
    };
    let (task, instance) = ("open the drawer".into(), "drawer-3".into());
    Rollout { spec: spec(), task, instance, seed: 5, outcome, steps: (0..3).map(step).collect() }
}

fn write(rollouts: &[Rollout]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut log = LogWriter::new(&mut bytes).unwrap();
    for rollout in rollouts {
        log.begin(rollout).unwrap();
        for step in &rollout.steps {
            log.step(step).unwrap();
        }
        log.end(rollout.outcome).unwrap();
    }
    bytes
}

#[test]
fn a_log_gives_back_its_episodes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let rollouts = vec![rollout(Outcome::Success), rollout(Outcome::Failure)];
    fs::write(&path, write(&rollouts)).unwrap();
    let recording = read_log(&path).unwrap();
    assert!(recording.whole);
    assert_eq!(recording.rollouts, rollouts);
    let error = LogWriter::create(&path).unwrap_err().to_string();
    assert!(error.starts_with("cannot create rollout log"), "{error}");
}

#[test]
fn a_log_cut_at_any_byte_is_readable_up_to_the_last_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let whole = rollout(Outcome::Success);
    let bytes = write(std::slice::from_ref(&whole));
    let (mut steps, mut boundaries) = (0, 0);
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let recording = read_log(&path).unwrap();
        boundaries += usize::from(recording.whole);
        let found = recording.rollouts.first().map_or(0, |rollout| rollout.steps.len());
        assert!(found >= steps, "{len} bytes hold fewer steps than {} did", len - 1);
        steps = found;
        if let Some(rollout) = recording.rollouts.first() {
            assert_eq!(rollout.steps, whole.steps[..found]);
            assert_eq!(rollout.outcome, Outcome::Unknown);
        }
    }
    // After the magic, after `begin`, after each of three steps; the end itself is not reached.
    assert_eq!((steps, boundaries), (3, 5));
}

#[test]
fn a_flipped_bit_ends_the_log_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let mut bytes = write(&[rollout(Outcome::Success)]);
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let recording = read_log(&path).unwrap();
    assert!(!recording.whole && recording.rollouts[0].steps.len() < 3);
    fs::write(&path, "something else").unwrap();
    assert!(read_log(&path).unwrap_err().to_string().starts_with("this is no rollout log"));
}

#[test]
fn a_refusal_is_told_however_long_what_it_refuses_is() {
    let long = "x".repeat(MAX_HEADER_BYTES - 16);
    // {"v": 1, "t": "xxx..."}: the longest kind that a header can name.
    let mut header = b"\x82\xa1v\x01\xa1t\xda".to_vec();
    header.extend((long.len() as u16).to_be_bytes());
    header.extend(long.bytes());
    let error = decode_request(&[header]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadFrame);
    assert!(error.to_string().len() < 300 && error.to_string().ends_with("...`"), "{error}");
    // An array of so many axes that their digits are longer than a header.
    let mut header = b"\x85\xa1v\x01\xa1t\xa5infer\xa7session\xc4\x10".to_vec();
    header.extend([0; 16]);
    header.extend(b"\xa3seq\x01\xa6arrays\x91\x83\xa1k\xa7proprio\xa1d\xa2f4\xa1s\xdc\x1f\0");
    header.extend([0x7f; 0x1f00]);
    let error = decode_request(&[header, Vec::new()]).unwrap_err().to_string();
    assert!(error.contains("and 7920 more does not have 0 byte(s)"), "{error}");
    // Words of any other origin, cut where a character begins.
    let refusal = |detail: &str| {
        let detail = detail.to_owned();
        let refusal = Refusal { code: ErrorCode::ContractMismatch, detail, seq: None };
        let frames = encode_response(&Response::Error(refusal)).unwrap();
        let Response::Error(refusal) = decode_response(&frames).unwrap() else { panic!() };
        refusal.detail
    };
    let told = refusal(&"é".repeat(100_000));
    assert!((4093..=MAX_DETAIL_BYTES).contains(&told.len()) && told.ends_with("é..."), "{told}");
    assert_eq!(refusal(&told), told);
}

#[test]
fn a_header_of_very_many_values_is_not_built() {
    let header = |count: u16| {
        let mut bytes = vec![0xdc];
        bytes.extend(count.to_be_bytes());
        bytes.extend(vec![0xc0; usize::from(count)]);
        value(&bytes).map(drop)
    };
    assert!(header(MAX_VALUES as u16 - 1).is_ok());
    let error = header(MAX_VALUES as u16).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
}
