//! A policy, and a server that says what each test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engraft_core::{
    ActionChunk, Dimension, Merge, Observation, RgbImage, RobotSpec, View, ViewSpec,
};
use engraft_wire::{
    Access, Contract, ErrorCode, Incoming, Infer, Model, Refusal, Reply, Request, Response,
    ServerSocket, Session, Timings, Welcome, decode_request,
};

use crate::{ClientError, Config, Policy};

fn observation(angle: f32) -> Observation {
    let view = View { rgb: RgbImage::filled(4, 4, [7; 3]), depth: None };
    Observation { views: vec![view], proprio: vec![angle] }
}

fn welcome(session: u8, hash: &str) -> Response {
    let dimension = || vec![Dimension::new("elbow", "rad")];
    let spec = RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 4, height: 4, depth: false }],
        proprio: dimension(),
        actions: dimension(),
    };
    let fingerprint = spec.fingerprint();
    Response::Welcome(Welcome {
        session: Session([session; 16]),
        model: Model { name: "policy".into(), hash: hash.into() },
        contract: Contract { spec, num_frames: 2, horizon: 3 },
        fingerprint,
        max_bytes: 1 << 20,
    })
}

/// Three actions: the newest angle, and one and two more.
fn reply(infer: &Infer, hash: &str) -> Response {
    let angle = infer.stack[1].proprio[0];
    Response::Reply(Reply {
        session: infer.session,
        seq: infer.seq,
        episode: infer.episode,
        first_tick: infer.tick,
        t_obs_nanos: infer.t_obs_nanos,
        model_hash: hash.into(),
        timings: Timings::default(),
        chunk: ActionChunk::new(3, 1, vec![angle, angle + 1.0, angle + 2.0]).unwrap(),
        attention: Vec::new(),
    })
}

/// A server that answers each request with what `answer` makes of it, if anything.
struct Fake {
    endpoint: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Request>>>,
}

impl Fake {
    fn start(mut answer: impl FnMut(&Request) -> Vec<Response> + Send + 'static) -> Self {
        let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
        let (endpoint, stop) = (socket.endpoint().to_owned(), Arc::new(AtomicBool::new(false)));
        let flag = stop.clone();
        let thread = thread::spawn(move || {
            let mut heard = Vec::new();
            while !flag.load(Ordering::Relaxed) {
                let incoming = socket.receive(Duration::from_millis(5)).unwrap();
                let Incoming::Message((peer, frames)) = incoming else { continue };
                let request = decode_request(&frames.unwrap()).unwrap();
                for response in answer(&request) {
                    socket.send(&peer, &response).unwrap();
                }
                heard.push(request);
            }
            heard
        });
        Self { endpoint, stop, thread: Some(thread) }
    }

    /// What it was asked.
    fn heard(mut self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn honest(request: &Request) -> Vec<Response> {
    match request {
        Request::Hello(_) => vec![welcome(1, "a")],
        Request::Infer(infer) => vec![reply(infer, "a")],
        Request::Ping { seq } => vec![Response::Pong { seq: *seq }],
        _ => Vec::new(),
    }
}

fn infers(heard: &[Request]) -> Vec<&Infer> {
    let mut all = Vec::new();
    for request in heard {
        if let Request::Infer(infer) = request {
            all.push(infer);
        }
    }
    all
}

#[test]
fn a_chunk_is_played_out_and_the_next_asked_for_with_what_was_seen() {
    let server = Fake::start(honest);
    let mut policy = Policy::connect(Config::at(&server.endpoint)).unwrap();
    let mut act = |angle| policy.act(observation(angle)).unwrap()[0];
    assert_eq!([0.0, 10.0, 20.0, 30.0, 40.0].map(&mut act), [0.0, 1.0, 2.0, 30.0, 31.0]);
    policy.reset();
    assert_eq!(policy.act(observation(7.0)).unwrap(), [7.0]);
    assert!(policy.ping().unwrap() < Duration::from_secs(2));
    drop(policy);
    thread::sleep(Duration::from_millis(200));
    let heard = server.heard();
    let told: Vec<_> = infers(&heard)
        .iter()
        .map(|infer| {
            let angles: Vec<_> = infer.stack.iter().map(|seen| seen.proprio[0]).collect();
            (infer.seq, infer.episode, infer.tick, angles)
        })
        .collect();
    let expected =
        [(1, 0, 0, vec![0.0, 0.0]), (2, 0, 3, vec![20.0, 30.0]), (3, 1, 0, vec![7.0, 7.0])];
    assert_eq!(told, expected);
    assert!(matches!(heard.last(), Some(Request::Goodbye { session: Session([1, ..]) })));
}

#[test]
fn chunks_that_overlap_are_merged_as_told() {
    let server = Fake::start(honest);
    let merge = Merge::Weighted { new: 0.5 };
    let config = Config { merge, executed: Some(1), ..Config::at(&server.endpoint) };
    let mut policy = Policy::connect(config).unwrap();
    let mut act = |angle| policy.act(observation(angle)).unwrap()[0];
    // The second tick has 1 of the first chunk and 5 of the second; the third 4 and then 10.
    assert_eq!([0.0, 5.0, 10.0].map(&mut act), [0.0, 3.0, 7.0]);
    assert_eq!(infers(&server.heard()).len(), 3);
}

#[test]
fn a_server_that_began_anew_is_greeted_again_and_another_model_is_seen() {
    let mut known = false;
    let server = Fake::start(move |request| match request {
        Request::Hello(_) if known => vec![welcome(2, "b")],
        Request::Infer(infer) if infer.session == Session([1; 16]) => {
            known = true;
            let (code, detail) = (ErrorCode::NoSession, "say hello".into());
            vec![Response::Error(Refusal { code, detail, seq: Some(infer.seq) })]
        }
        Request::Infer(infer) => vec![reply(infer, "b")],
        other => honest(other),
    });
    let mut policy = Policy::connect(Config::at(&server.endpoint)).unwrap();
    assert_eq!(policy.model().hash, "a");
    assert_eq!(policy.act(observation(1.0)).unwrap(), [1.0]);
    assert_eq!(policy.model().hash, "b");
    let seqs: Vec<_> = infers(&server.heard()).iter().map(|infer| infer.seq).collect();
    assert_eq!(seqs, [1, 2]);
}

#[test]
fn a_refusal_and_silence_are_errors_and_a_late_answer_is_forgotten() {
    let mut held: Option<Response> = None;
    let server = Fake::start(move |request| match request {
        Request::Infer(infer) if infer.seq == 1 => {
            held = Some(reply(infer, "a"));
            Vec::new()
        }
        // The first answer comes just before the second one's.
        Request::Infer(infer) if infer.seq == 2 => {
            held.take().into_iter().chain([reply(infer, "a")]).collect()
        }
        Request::Infer(infer) => {
            let (code, detail) = (ErrorCode::BadShape, "frames: expected 2, found 1".into());
            vec![Response::Error(Refusal { code, detail, seq: Some(infer.seq) })]
        }
        other => honest(other),
    });
    let timeout = Duration::from_millis(300);
    let config = Config { timeout, executed: Some(1), ..Config::at(&server.endpoint) };
    let mut policy = Policy::connect(config).unwrap();
    let error = policy.act(observation(1.0)).unwrap_err();
    assert!(error.to_string().contains("no answer from `tcp://127.0.0.1:"), "{error}");
    assert_eq!(policy.act(observation(2.0)).unwrap(), [2.0]);
    let error = policy.act(observation(3.0)).unwrap_err();
    assert!(matches!(&error, ClientError::Refused(refusal) if refusal.code == ErrorCode::BadShape));
    assert!(error.to_string().contains("BAD_SHAPE: frames: expected 2"), "{error}");
    drop(server.heard());
    let nobody = Config { timeout: Duration::from_millis(50), ..Config::at("tcp://127.0.0.1:9") };
    assert!(Policy::connect(nobody).is_err());
}
