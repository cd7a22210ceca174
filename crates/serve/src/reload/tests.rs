//! A server whose model changes under its clients.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engraft_core::{ActionChunk, Dimension, Observation, RobotSpec};
use engraft_wire::{ClientSocket, Hello, Incoming, Infer, Model, Request, Session};

use super::*;
use crate::{Prediction, Server, ServerConfig};

const SOON: Duration = Duration::from_secs(20);

/// Answers its own number.
struct Numbered {
    number: usize,
    dimension: &'static str,
}

impl Predictor for Numbered {
    fn contract(&self) -> Contract {
        let spec = RobotSpec {
            name: "arm".into(),
            control_hz: 10.0,
            views: Vec::new(),
            proprio: vec![Dimension::new("elbow", "rad")],
            actions: vec![Dimension::new(self.dimension, "rad")],
        };
        Contract { spec, num_frames: 1, horizon: 1 }
    }

    fn model(&self) -> Model {
        Model { name: "numbered".into(), hash: self.number.to_string() }
    }

    fn predict(&mut self, _: &[Observation], _: bool) -> Result<Prediction, PredictError> {
        thread::sleep(Duration::from_millis(1));
        let chunk = ActionChunk::new(1, 1, vec![self.number as f32]).unwrap();
        Ok(Prediction { chunk, attention: Vec::new(), preprocess: Duration::ZERO })
    }
}

fn server() -> Server {
    let config = ServerConfig { warm_up: 2, ..ServerConfig::at("tcp://127.0.0.1:*") };
    Server::bind(config, Numbered { number: 0, dimension: "elbow" }).unwrap()
}

/// Runs a server for as long as `client` talks to it.
fn with<T>(server: Server, client: impl FnOnce(&str) -> T) -> T {
    let (endpoint, stop) = (server.endpoint().to_owned(), AtomicBool::new(false));
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(&stop).unwrap());
        let talked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client(&endpoint)));
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap();
        talked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn greet(endpoint: &str) -> (ClientSocket, Session, String) {
    let client = ClientSocket::connect(endpoint, None).unwrap();
    let hello = Request::Hello(Hello { client: "test".into(), spec: None, token: None });
    let Response::Welcome(welcome) = client.ask(&hello, SOON).unwrap() else { panic!() };
    (client, welcome.session, welcome.model.hash)
}

fn infer(session: Session, seq: u64) -> Request {
    let observation = Observation { views: Vec::new(), proprio: vec![0.0] };
    Request::Infer(Infer::bare(session, seq, vec![observation]))
}

fn reload(client: &ClientSocket, session: Session) -> Response {
    client.ask(&Request::Reload { session }, SOON).unwrap()
}

#[test]
fn no_request_is_lost_while_models_change_and_each_reply_names_its_own() {
    let read = AtomicUsize::new(0);
    let server = server().reload_with(move || {
        thread::sleep(Duration::from_millis(20)); // a run takes its time to read
        let number = read.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Box::new(Numbered { number, dimension: "elbow" }))
    });
    let (asked, seen) = with(server, |endpoint| {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (client, session, _) = greet(endpoint);
                let (mut asked, mut seen) = (0, Vec::new());
                while !done.load(Ordering::Relaxed) {
                    asked += 1;
                    let Response::Reply(reply) = client.ask(&infer(session, asked), SOON).unwrap()
                    else {
                        panic!("request {asked} has no chunk")
                    };
                    assert_eq!(reply.chunk.values()[0].to_string(), reply.model_hash);
                    if seen.last() != Some(&reply.model_hash) {
                        seen.push(reply.model_hash);
                    }
                }
                (asked, seen)
            });
            let (client, session, before) = greet(endpoint);
            assert_eq!(before, "0");
            for number in 1..=5 {
                let Response::Reloaded(model) = reload(&client, session) else { panic!() };
                assert_eq!(model.hash, number.to_string());
            }
            assert_eq!(greet(endpoint).2, "5", "who comes later is told of the new one");
            done.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        })
    });
    assert!(asked >= 10, "{asked} requests");
    assert!(seen.len() >= 4 && seen.is_sorted(), "{seen:?}");
}

#[test]
fn what_does_not_fit_or_cannot_be_read_leaves_the_model_as_it_is() {
    let mut times = 0;
    let server = server().reload_with(move || {
        times += 1;
        match times {
            1 => Err(PredictError("cannot read the run".into())),
            2 => Ok(Box::new(Numbered { number: 2, dimension: "wrist" })),
            _ => Ok(Box::new(Numbered { number: 3, dimension: "elbow" })),
        }
    });
    with(server, |endpoint| {
        let (client, session, _) = greet(endpoint);
        let stranger = reload(&client, Session([9; 16]));
        assert!(
            matches!(stranger, Response::Error(refusal) if refusal.code == ErrorCode::NoSession)
        );
        for expected in ["cannot read the run", "expected elbow [rad], found wrist [rad]"] {
            let Response::Error(refusal) = reload(&client, session) else { panic!() };
            assert!(refusal.detail.contains(expected), "{}", refusal.detail);
        }
        let Response::Reply(reply) = client.ask(&infer(session, 1), SOON).unwrap() else {
            panic!()
        };
        assert_eq!(reply.model_hash, "0");
        assert!(matches!(reload(&client, session), Response::Reloaded(model) if model.hash == "3"));
    });
}

#[test]
fn a_reload_is_refused_where_it_is_not_allowed_or_under_way() {
    with(server(), |endpoint| {
        let (client, session, _) = greet(endpoint);
        let Response::Error(refusal) = reload(&client, session) else { panic!() };
        assert!(refusal.detail.contains("--allow-reload"), "{}", refusal.detail);
    });
    let slow = server().reload_with(|| {
        thread::sleep(Duration::from_millis(500));
        Ok(Box::new(Numbered { number: 1, dimension: "elbow" }))
    });
    with(slow, |endpoint| {
        let (client, session, _) = greet(endpoint);
        client.send(&Request::Reload { session }, SOON).unwrap();
        let began = Instant::now();
        let Response::Error(refusal) = reload(&client, session) else { panic!() };
        assert_eq!(refusal.code, ErrorCode::Busy);
        assert!(began.elapsed() < Duration::from_millis(400), "it answers while it reads");
        let Incoming::Message(Response::Reloaded(_)) = client.receive(SOON).unwrap() else {
            panic!("the first is answered all the same")
        };
    });
}

#[test]
fn without_a_thread_to_read_it_the_model_before_goes_on_and_it_may_be_tried_again() {
    static FULL: AtomicBool = AtomicBool::new(true);
    let server = server().reload_with(|| Ok(Box::new(Numbered { number: 1, dimension: "elbow" })));
    server.front().starter = |work| {
        if FULL.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        start(work)
    };
    with(server, |endpoint| {
        let (client, session, _) = greet(endpoint);
        for seq in 1..=2 {
            let Response::Error(refusal) = reload(&client, session) else { panic!() };
            assert_eq!(refusal.code, ErrorCode::Internal);
            assert!(refusal.detail.starts_with("cannot start"), "{}", refusal.detail);
            let answer = client.ask(&infer(session, seq), SOON).unwrap();
            assert!(matches!(answer, Response::Reply(reply) if reply.model_hash == "0"));
        }
        FULL.store(false, Ordering::Relaxed);
        assert!(matches!(reload(&client, session), Response::Reloaded(model) if model.hash == "1"));
    });
}
