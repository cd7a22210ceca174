//! Whole messages of every kind: what the corpus was written from (`--write-corpus`).

use engraft_core::{
    ActionChunk, AttentionMap, DepthImage, Dimension, Observation, Outcome, RgbImage, RobotSpec,
    Rollout, RolloutStep, View, ViewSpec,
};
use engraft_wire::simulator::{self, Answer, Description, JointRange, Joints, Sight, State};
use engraft_wire::{
    Contract, ErrorCode, Hello, Infer, Keys, LogWriter, Model, Percentiles, Refusal, Reply,
    Request, Response, Session, Status, Timings, Token, Welcome, encode_request, encode_response,
};
use rmpv::Value;

use crate::pieces::join;

/// Messages with the names of their files.
pub(crate) type Named = Vec<(&'static str, Vec<u8>)>;

/// A robot with one view, a joint and, but for `small`, depth.
pub(crate) fn spec(small: bool) -> RobotSpec {
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 3, height: 2, depth: !small }],
        proprio: ["a", "b"].map(|name| Dimension::new(name, "rad")).to_vec(),
        actions: vec![Dimension::new("a", "rad").within(-1.0, 1.0)],
    }
}

/// What the servers of the other dialects expect: one frame of a view and two numbers; two of two
/// views, and the numbers in two parts; and two numbers alone.
pub(crate) fn keys() -> [Keys; 3] {
    let contract = |num_frames| Contract { spec: spec(true), num_frames, horizon: 2 };
    let parts = vec![("arm".into(), 0..1), ("hand".into(), 1..2)];
    let views = vec!["front".into(), "wrist".into()];
    let one = Keys::of(&contract(1));
    let two = Keys { views, state: parts, ..Keys::of(&contract(2)) };
    let blind = Keys { views: Vec::new(), ..one.clone() };
    [one, two, blind]
}

fn observation(shade: u8, views: usize) -> Observation {
    let depth = DepthImage::new(3, 2, vec![f32::from(shade); 6]).expect("six values");
    let view = View { rgb: RgbImage::filled(3, 2, [shade, 1, 2]), depth: Some(depth) };
    Observation { views: vec![view; views], proprio: vec![0.25, -1.0] }
}

fn maps() -> Vec<AttentionMap> {
    let weights = vec![0.25; 4];
    let map = AttentionMap { view: 0, tap: "stage_4".into(), width: 2, height: 2, weights };
    vec![map.clone(), map]
}

/// Requests of the native dialect.
pub(crate) fn requests() -> Named {
    let session = Session([7; 16]);
    let infer = |stack| Request::Infer(Infer::bare(session, 3, stack));
    let token = Some(Token::new("open sesame, please"));
    let dot = View { rgb: RgbImage::filled(1, 1, [7; 3]), depth: None };
    let dots = Observation { views: vec![dot; 30], proprio: Vec::new() };
    let all = [
        (
            "hello",
            Request::Hello(Hello { client: "bridge".into(), spec: Some(spec(false)), token }),
        ),
        ("hello-bare", Request::Hello(Hello { client: "judge".into(), spec: None, token: None })),
        ("infer", infer(vec![observation(8, 1), observation(9, 1)])),
        ("infer-views", infer(vec![observation(8, 2)])),
        // What is the most objects for the fewest bytes.
        ("infer-dots", infer(vec![dots; 256])),
        ("infer-blind", infer(vec![observation(8, 0); 3])),
        ("ping", Request::Ping { seq: u64::MAX }),
        ("status", Request::Status),
        ("reload", Request::Reload { session }),
        ("goodbye", Request::Goodbye { session }),
    ];
    all.map(|(name, request)| (name, join(&encode_request(&request).expect("a whole request"))))
        .to_vec()
}

/// Responses of the native dialect.
pub(crate) fn responses() -> Named {
    let model = Model { name: "lfs".into(), hash: "ab".repeat(32) };
    let contract = Contract { spec: spec(false), num_frames: 2, horizon: 2 };
    let stage = "infer".into();
    let latency = vec![Percentiles { stage, p50: 4, p95: 6, p99: 70_000, p999: 80_000 }];
    let session = Session([1; 16]);
    let reloaded = model.clone();
    let all = [
        (
            "welcome",
            Response::Welcome(Welcome {
                session,
                model: model.clone(),
                contract,
                fingerprint: spec(false).fingerprint(),
                max_bytes: 1 << 24,
            }),
        ),
        (
            "reply",
            Response::Reply(Reply {
                session,
                seq: 4,
                episode: 1,
                first_tick: 9,
                t_obs_nanos: 300,
                model_hash: model.hash.clone(),
                timings: Timings { decode: 1, queue: 2, preprocess: 3, infer: 70_000, encode: 5 },
                chunk: ActionChunk::new(2, 1, vec![0.5, -0.5]).expect("two values"),
                attention: maps(),
            }),
        ),
        (
            "error",
            Response::Error(Refusal {
                code: ErrorCode::Stale,
                detail: "a newer one came".into(),
                seq: Some(2),
            }),
        ),
        ("pong", Response::Pong { seq: 1 }),
        (
            "status",
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
        ),
        ("reloaded", Response::Reloaded(reloaded)),
        ("goodbye", Response::Goodbye),
    ];
    all.map(|(name, response)| (name, join(&encode_response(&response).expect("a whole response"))))
        .to_vec()
}

fn joints(values: &[f64]) -> Joints {
    Joints::new(values).expect("a few finite numbers")
}

/// What a bridge asks of a simulator.
pub(crate) fn simulator_requests() -> Named {
    let all = [
        ("describe", simulator::Request::Describe),
        ("sense", simulator::Request::Sense),
        ("command", simulator::Request::Command { goal_rad: joints(&[0.5, -1.0]) }),
        ("torque", simulator::Request::Torque { on: true }),
        ("reset", simulator::Request::Reset { instance: 2, seed: 9 }),
        ("look", simulator::Request::Look),
    ];
    let encode = |request| simulator::encode_request(7, &request).expect("a whole request");
    all.map(|(name, request)| (name, encode(request))).to_vec()
}

/// What a simulator answers.
pub(crate) fn simulator_answers() -> Named {
    let joint = |name: &str| JointRange { name: name.into(), min_rad: -1.5, max_rad: 1.5 };
    let description = Description {
        name: "bench".into(),
        version: "mujoco 4.0.0".into(),
        task: "open the drawer".into(),
        joints: vec![joint("shoulder"), joint("elbow")],
        views: spec(false).views,
        instances: vec!["left".into(), "right".into()],
        step_secs: 0.002,
        watchdog_secs: 0.25,
        eyes_port: Some(5571),
    };
    let bare = State {
        position_rad: joints(&[0.5, -1.0]),
        velocity_rad_s: joints(&[0.0, 0.25]),
        ..State::default()
    };
    let state = State { time_secs: 1.5, effort: Some(joints(&[0.0, 1.0])), torque: true, ..bare };
    let seen = |success, views| {
        Answer::Sight(Box::new(Sight {
            time_secs: 2.0,
            success,
            observation: observation(8, views),
        }))
    };
    let all = [
        ("description", Answer::Description(Box::new(description))),
        ("state", Answer::State(state)),
        ("state-bare", Answer::State(bare)),
        ("placed", Answer::Placed { start_rad: Some(joints(&[0.0, 0.5])) }),
        ("placed-anywhere", Answer::Placed { start_rad: None }),
        ("sight", seen(Some(false), 1)),
        ("sight-blind", seen(None, 0)),
        ("error", Answer::Error { detail: "torque is off".into() }),
    ];
    all.map(|(name, answer)| {
        (name, join(&simulator::encode_answer(7, &answer).expect("a whole answer")))
    })
    .to_vec()
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("a vector takes everything");
    bytes
}

fn object(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

fn sides(shape: &[usize]) -> Value {
    Value::Array(shape.iter().map(|&side| Value::from(side as u64)).collect())
}

/// A `.npy` file, its header padded as NumPy does.
fn npy_file(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header.push('\n');
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &len[..], header.as_bytes(), data].concat()
}

/// A `.npy` file as a value of a message.
pub(crate) fn npy_value(file: Vec<u8>) -> Value {
    object(&[("__ndarray_class__", true.into()), ("as_npy", Value::Binary(file))])
}

/// An array as msgpack-numpy writes it.
fn numpy(dtype: &str, shape: &[usize], data: Vec<u8>) -> Value {
    let key = |name: &str| Value::Binary(name.into());
    Value::Map(vec![
        (key("nd"), true.into()),
        (key("type"), dtype.into()),
        (key("kind"), Value::Binary(Vec::new())),
        (key("shape"), sides(shape)),
        (key("data"), Value::Binary(data)),
    ])
}

/// An array as openpi-client writes it.
fn openpi_array(dtype: &str, shape: &[usize], data: Vec<u8>) -> Value {
    let key = |name: &str| Value::Binary(name.into());
    Value::Map(vec![
        (key("__ndarray__"), true.into()),
        (key("data"), Value::Binary(data)),
        (key("dtype"), dtype.into()),
        (key("shape"), sides(shape)),
    ])
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Calls of every generation of GR00T's client, in every envelope.
pub(crate) fn groot() -> Named {
    let state = || floats(&[0.5, -1.0]);
    let call = |endpoint: &str| bytes(&object(&[("endpoint", endpoint.into())]));
    let act = |data: Value| bytes(&object(&[("endpoint", "get_action".into()), ("data", data)]));
    let old = object(&[
        ("video.front", npy_value(npy_file("'|u1'", "False", "(1, 2, 3, 3)", &[9; 18]))),
        ("state.state", npy_value(npy_file("'<f4'", "False", "(1, 2)", &state()))),
    ]);
    let inner = object(&[
        ("video", object(&[("front", numpy("|u1", &[1, 1, 2, 3, 3], vec![9; 18]))])),
        ("state", object(&[("state", numpy("<f4", &[1, 1, 2], state()))])),
        ("language", object(&[("task", Value::Array(vec![Value::Array(vec!["go".into()])]))])),
    ]);
    let new = object(&[("observation", inner), ("options", Value::Nil)]);
    let wide: Vec<u8> = [0.5_f64, -1.0].iter().flat_map(|value| value.to_be_bytes()).collect();
    let simulated = object(&[(
        "observation",
        object(&[
            ("video.front", openpi_array("|u1", &[1, 1, 3, 2, 3], vec![9; 18])),
            ("state.state", openpi_array(">f8", &[1, 1, 2], wide)),
        ]),
    )]);
    let pictures = || numpy("|u1", &[2, 2, 3, 3], vec![9; 36]);
    let part = || npy_value(npy_file("'<i4'", "True", "(2, 1)", &[1, 0, 0, 0, 2, 0, 0, 0]));
    let double = object(&[(
        "observation",
        object(&[
            ("video", object(&[("front", pictures()), ("wrist", pictures())])),
            ("state", object(&[("arm", part()), ("hand", part())])),
        ]),
    )]);
    let token = object(&[("endpoint", "ping".into()), ("api_token", "open sesame".into())]);
    vec![
        ("ping", bytes(&token)),
        ("kill", call("kill")),
        ("modality", call("get_modality_config")),
        ("reset", call("reset")),
        ("act-flat", bytes(&object(&[("data", old)]))),
        ("act-nested", act(new)),
        ("act-simulated", act(simulated)),
        ("act-frames", act(double)),
    ]
}

/// Observations of openpi's client.
pub(crate) fn openpi() -> Named {
    let rows = || openpi_array("|u1", &[2, 3, 3], vec![9; 18]);
    let planes = || openpi_array("|u1", &[3, 2, 3], vec![9; 18]);
    let state = || openpi_array("<f4", &[2], floats(&[0.5, -1.0]));
    let half = openpi_array("<f2", &[1, 2], vec![0, 0x38, 0, 0xbc]);
    let flat = object(&[("observation/front", rows()), ("observation/state", state())]);
    let images = object(&[("images", object(&[("front", planes())])), ("state", half)]);
    let inner = object(&[("front", rows()), ("state", state())]);
    let nested = object(&[("observation", inner), ("prompt", "go".into())]);
    vec![("flat", bytes(&flat)), ("images", bytes(&images)), ("nested", bytes(&nested))]
}

/// `.npy` files.
pub(crate) fn npy() -> Named {
    let four = floats(&[0.5, -1.0]);
    vec![
        ("f4", npy_file("'<f4'", "False", "(2,)", &four)),
        ("f4-rows", npy_file("'<f4'", "False", "(1, 2)", &four)),
        ("f4-fortran", npy_file("'<f4'", "True", "(1, 2)", &four)),
        ("f8-big", npy_file("'>f8'", "False", "(1, 1, 2)", &[1; 16])),
        ("u1", npy_file("'|u1'", "False", "(2,)", &[1, 2])),
    ]
}

/// Any msgpack values.
pub(crate) fn msgpack() -> Named {
    let all = Value::Array(vec![
        Value::Nil,
        true.into(),
        (-1).into(),
        u64::MAX.into(),
        i64::MIN.into(),
        Value::F32(1.0),
        Value::F64(1.0),
        "x".repeat(300).into(),
        Value::Binary(vec![1; 300]),
        Value::Ext(1, vec![0; 3]),
        Value::Ext(1, vec![0; 16]),
        Value::Map(vec![(1.into(), 2.into()); 20]),
    ]);
    let nested = (0..15).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    let many = Value::Array(vec![Value::Nil; 300]);
    vec![("kinds", bytes(&all)), ("nested", bytes(&nested)), ("many", bytes(&many))]
}

/// Rollout logs.
pub(crate) fn logs() -> Named {
    let step = |i: u8| RolloutStep {
        time_secs: f64::from(i) / 10.0,
        observation: observation(i, 1),
        chunk: (i == 0)
            .then(|| ActionChunk::new(2, 1, vec![0.5, f32::INFINITY]).expect("two values")),
        action: vec![0.5],
        limited: vec![0; usize::from(i)],
        attention: if i == 1 { maps() } else { Vec::new() },
    };
    let write = |episodes: &[u8]| {
        let mut bytes = Vec::new();
        let mut log = LogWriter::new(&mut bytes).expect("a vector takes everything");
        for &steps in episodes {
            let rollout = Rollout {
                spec: spec(false),
                task: "open the drawer".into(),
                instance: "drawer-3".into(),
                seed: 5,
                outcome: Outcome::Unknown,
                steps: Vec::new(),
            };
            log.begin(&rollout).expect("a vector takes everything");
            (0..steps).for_each(|i| log.step(&step(i)).expect("a vector takes everything"));
            log.end(Outcome::Success).expect("a vector takes everything");
        }
        bytes
    };
    vec![("one", write(&[2])), ("two", write(&[1, 1])), ("none", write(&[]))]
}

/// GR00T's `modality.json`.
pub(crate) fn modality() -> Named {
    let text = r#"{
  "state": {"arm": {"start": 0, "end": 1}, "hand": {"start": 1, "end": 2, "original_key": "s"}},
  "action": {"all": {"start": 0, "end": 1}},
  "video": {"front": {"original_key": "observation.images.front"}}
}"#;
    vec![("parts", text.into())]
}
