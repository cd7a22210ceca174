//! A server with a predictor of a few lines behind it, and clients before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_core::{ActionChunk, Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};
use engraft_wire::{
    ClientSocket, Contract, ErrorCode, Hello, Incoming, Infer, Model, Refusal, Request, Response,
    Session, SocketError, Status, Token,
};

use crate::{PredictError, Prediction, Predictor, ServeError, Server, ServerConfig};

const SOON: Duration = Duration::from_secs(20);

fn spec(size: usize) -> RobotSpec {
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: size, height: size, depth: false }],
        proprio: vec![Dimension::new("elbow", "rad")],
        actions: vec![Dimension::new("elbow", "rad").within(-1.0, 1.0)],
    }
}

fn observation(size: usize, angle: f32) -> Observation {
    let view = View { rgb: RgbImage::filled(size, size, [7; 3]), depth: None };
    Observation { views: vec![view], proprio: vec![angle] }
}

/// Sleeps, then gives back the newest angle and one more; 13 and 17 bring it down.
struct Echo {
    size: usize,
    sleep: Duration,
}

impl Predictor for Echo {
    fn contract(&self) -> Contract {
        Contract { spec: spec(self.size), num_frames: 2, horizon: 2 }
    }

    fn model(&self) -> Model {
        Model { name: "echo".into(), hash: "e".repeat(64) }
    }

    fn predict(&mut self, stack: &[Observation], _: bool) -> Result<Prediction, PredictError> {
        thread::sleep(self.sleep);
        let angle = stack[1].proprio[0];
        assert!(angle != 13.0, "an unlucky number");
        if angle == 17.0 {
            return Err(PredictError("no such angle".into()));
        }
        let next = if angle == 19.0 { f32::NAN } else { angle + 1.0 };
        let chunk = ActionChunk::new(2, 1, vec![angle, next]).unwrap();
        Ok(Prediction { chunk, attention: Vec::new(), preprocess: Duration::ZERO })
    }
}

struct Running {
    endpoint: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Status>>,
}

impl Running {
    fn start(size: usize, sleep_millis: u64, max_clients: usize) -> Self {
        let config = ServerConfig { max_clients, ..ServerConfig::at("tcp://127.0.0.1:*") };
        let echo = Echo { size, sleep: Duration::from_millis(sleep_millis) };
        let server = Server::bind(config, echo).unwrap();
        let (endpoint, stop) = (server.endpoint().to_owned(), Arc::new(AtomicBool::new(false)));
        let flag = stop.clone();
        let thread = Some(thread::spawn(move || server.run(&flag).unwrap()));
        Self { endpoint, stop, thread }
    }

    fn client(&self) -> (ClientSocket, Session) {
        let socket = ClientSocket::connect(&self.endpoint, None).unwrap();
        let hello = Request::Hello(Hello { client: "test".into(), spec: None, token: None });
        let Response::Welcome(welcome) = socket.ask(&hello, SOON).unwrap() else { panic!() };
        assert_eq!(welcome.fingerprint, welcome.contract.spec.fingerprint());
        assert_eq!(welcome.max_bytes, 2 << 20);
        (socket, welcome.session)
    }

    fn finish(&mut self) -> Status {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.finish();
        }
    }
}

fn infer(session: Session, seq: u64, stack: Vec<Observation>) -> Request {
    by(0, session, seq, stack)
}

/// A request with a deadline.
fn by(deadline_millis: u32, session: Session, seq: u64, stack: Vec<Observation>) -> Request {
    let (episode, tick, t_obs_nanos) = (4, 100 + seq, 1000 + seq);
    let attention = false;
    Request::Infer(Infer {
        session,
        seq,
        episode,
        tick,
        t_obs_nanos,
        deadline_millis,
        attention,
        stack,
    })
}

fn stack(angle: f32) -> Vec<Observation> {
    vec![observation(4, 0.0), observation(4, angle)]
}

fn refusal(response: Response) -> Refusal {
    match response {
        Response::Error(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_request_is_answered_with_its_echoes_and_timings() {
    let server = Running::start(4, 2, 4);
    let (client, session) = server.client();
    let Response::Reply(reply) = client.ask(&infer(session, 1, stack(0.5)), SOON).unwrap() else {
        panic!("no reply")
    };
    assert_eq!((reply.seq, reply.episode, reply.first_tick, reply.t_obs_nanos), (1, 4, 101, 1001));
    assert_eq!(reply.chunk.values(), [0.5, 1.5]);
    assert!(reply.timings.infer >= 2_000, "{:?}", reply.timings);
}

#[test]
fn it_answers_while_it_infers() {
    let server = Running::start(4, 700, 4);
    let (client, session) = server.client();
    client.send(&infer(session, 1, stack(0.5)), SOON).unwrap();
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    assert_eq!(client.ask(&Request::Ping { seq: 9 }, SOON).unwrap(), Response::Pong { seq: 9 });
    let Response::Status(status) = client.ask(&Request::Status, SOON).unwrap() else { panic!() };
    server.client();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(status.busy && status.replied == 0);
    let Incoming::Message(Response::Reply(_)) = client.receive(SOON).unwrap() else { panic!() };
}

/// Answers when it may.
struct Gated(std::sync::mpsc::Receiver<()>);

impl Predictor for Gated {
    fn contract(&self) -> Contract {
        Contract { spec: spec(4), num_frames: 2, horizon: 2 }
    }

    fn model(&self) -> Model {
        Model { name: "gated".into(), hash: String::new() }
    }

    fn predict(&mut self, _: &[Observation], _: bool) -> Result<Prediction, PredictError> {
        self.0.recv_timeout(SOON).map_err(|error| PredictError(error.to_string()))?;
        let chunk = ActionChunk::new(2, 1, vec![0.0; 2]).unwrap();
        Ok(Prediction { chunk, attention: Vec::new(), preprocess: Duration::ZERO })
    }
}

#[test]
fn what_comes_together_with_a_request_is_answered_before_it() {
    let (give, given) = std::sync::mpsc::channel();
    let server = Server::bind(ServerConfig::at("tcp://127.0.0.1:*"), Gated(given)).unwrap();
    let (endpoint, stop) = (server.endpoint().to_owned(), Arc::new(AtomicBool::new(false)));
    let flag = stop.clone();
    let thread = Some(thread::spawn(move || server.run(&flag).unwrap()));
    let mut server = Running { endpoint, stop, thread };
    let (client, session) = server.client();
    let (other, _) = server.client();
    for seq in 1..=200 {
        client.send(&infer(session, seq, stack(0.5)), SOON).unwrap();
        for one in [&other, &client] {
            assert_eq!(one.ask(&Request::Ping { seq }, SOON).unwrap(), Response::Pong { seq });
        }
        give.send(()).unwrap();
        let Incoming::Message(Response::Reply(reply)) = client.receive(SOON).unwrap() else {
            panic!("no reply")
        };
        assert_eq!(reply.seq, seq);
    }
    assert_eq!(server.finish().replied, 200);
}

#[test]
fn the_latest_observation_wins_and_the_older_ones_are_stale() {
    let mut server = Running::start(4, 300, 4);
    let (client, session) = server.client();
    let (other, of_other) = server.client();
    client.send(&infer(session, 1, stack(1.0)), SOON).unwrap();
    thread::sleep(Duration::from_millis(100));
    for seq in [2, 3, 4] {
        client.send(&infer(session, seq, stack(seq as f32)), SOON).unwrap();
    }
    other.send(&infer(of_other, 1, stack(0.5)), SOON).unwrap();
    let mut answers = Vec::new();
    for _ in 0..4 {
        let Incoming::Message(response) = client.receive(SOON).unwrap() else { panic!() };
        answers.push(match response {
            Response::Error(Refusal { code: ErrorCode::Stale, seq, .. }) => (seq, false),
            Response::Reply(reply) => (Some(reply.seq), true),
            other => panic!("{other:?}"),
        });
    }
    // The first was already with the model; 2 and 3 were overtaken.
    assert_eq!(answers, [(Some(2), false), (Some(3), false), (Some(1), true), (Some(4), true)]);
    // Another client's observation is not overtaken by this one's.
    let Incoming::Message(Response::Reply(_)) = other.receive(SOON).unwrap() else { panic!() };
    // What is older than what was asked is stale, what was asked is a replay.
    let late = refusal(client.ask(&infer(session, 3, stack(0.0)), SOON).unwrap());
    assert_eq!((late.code, late.seq), (ErrorCode::Stale, Some(3)));
    let again = refusal(client.ask(&infer(session, 4, stack(0.0)), SOON).unwrap());
    assert_eq!(again.code, ErrorCode::Replay);
    let status = server.finish();
    assert_eq!((status.replied, status.stale, status.refused), (3, 3, 1));
}

#[test]
fn a_robot_that_does_not_fit_is_refused_with_expected_and_found() {
    let server = Running::start(4, 0, 4);
    let client = ClientSocket::connect(&server.endpoint, None).unwrap();
    let mut found = spec(4);
    found.actions[0].unit = "deg".into();
    let hello = Request::Hello(Hello { client: "test".into(), spec: Some(found), token: None });
    let refused = refusal(client.ask(&hello, SOON).unwrap());
    assert_eq!(refused.code, ErrorCode::ContractMismatch);
    let expected = "robot mismatch in actions: expected elbow [rad], found elbow [deg]";
    assert_eq!(refused.detail, expected);
    let hello = Request::Hello(Hello { client: "test".into(), spec: Some(spec(4)), token: None });
    assert!(matches!(client.ask(&hello, SOON).unwrap(), Response::Welcome(_)));
}

#[test]
fn what_is_not_as_agreed_is_refused_with_expected_and_found() {
    let server = Running::start(4, 0, 4);
    let (client, session) = server.client();
    let mut seq = 0;
    let mut ask = |stack| {
        seq += 1;
        let refused = refusal(client.ask(&infer(session, seq, stack), SOON).unwrap());
        assert_eq!(refused.seq, Some(seq));
        (refused.code, refused.detail)
    };
    let (code, detail) = ask(vec![observation(8, 0.0), observation(8, 0.0)]);
    assert_eq!(code, ErrorCode::BadShape);
    assert_eq!(detail, "width and height of view `front`: expected [4, 4], found [8, 8]");
    let (_, detail) = ask(vec![observation(4, 0.0)]);
    assert_eq!(detail, "frames: expected 2, found 1");
    let (code, detail) = ask(stack(f32::NAN));
    assert_eq!(code, ErrorCode::Nonfinite);
    assert_eq!(detail, "proprio `elbow` of frame 1 is NaN");
    // A policy that errs, panics or gives no numbers does not bring the server down.
    assert_eq!(ask(stack(17.0)), (ErrorCode::Internal, "no such angle".into()));
    assert_eq!(ask(stack(13.0)), (ErrorCode::Internal, "the policy panicked".into()));
    assert_eq!(ask(stack(19.0)).0, ErrorCode::Nonfinite);
    let reply = client.ask(&infer(session, 99, stack(0.5)), SOON).unwrap();
    assert!(matches!(reply, Response::Reply(_)));
}

#[test]
fn an_unknown_session_is_told_to_say_hello() {
    let server = Running::start(4, 0, 1);
    let stranger = ClientSocket::connect(&server.endpoint, None).unwrap();
    let refused = refusal(stranger.ask(&infer(Session([0; 16]), 1, stack(0.0)), SOON).unwrap());
    assert_eq!(refused.code, ErrorCode::NoSession);
    let (client, session) = server.client();
    let hello = Request::Hello(Hello { client: "late".into(), spec: None, token: None });
    let refused = refusal(stranger.ask(&hello, SOON).unwrap());
    assert_eq!(
        (refused.code, refused.detail),
        (ErrorCode::Busy, "1 clients are served already".into())
    );
    assert_eq!(client.ask(&Request::Goodbye { session }, SOON).unwrap(), Response::Goodbye);
    assert!(matches!(stranger.ask(&hello, SOON).unwrap(), Response::Welcome(_)));
}

#[test]
fn what_is_larger_than_the_contract_needs_disturbs_only_who_sent_it() {
    let mut server = Running::start(4, 0, 4);
    let (client, session) = server.client();
    // Our own client knows better than to send it.
    let error = client.send(&infer(session, 1, vec![observation(1024, 0.0)]), SOON).unwrap_err();
    let SocketError::Wire(error) = error else { panic!("{error}") };
    assert_eq!(error.code(), ErrorCode::TooLarge);
    let context = zmq::Context::new();
    let connect = || {
        let stranger = context.socket(zmq::DEALER).unwrap();
        stranger.set_linger(0).unwrap();
        stranger.set_rcvtimeo(20_000).unwrap();
        stranger.connect(&server.endpoint).unwrap();
        stranger
    };
    let large = connect();
    large.send_multipart([vec![], vec![0x80], vec![0; (2 << 20) + 1]], 0).unwrap();
    assert!(matches!(client.ask(&infer(session, 2, stack(0.5)), SOON), Ok(Response::Reply(_))));
    // Two frames that are too large together are told so.
    let large = connect();
    large.send_multipart([vec![], vec![0x80; 1 << 20], vec![0; (1 << 20) + 1]], 0).unwrap();
    let told = large.recv_multipart(0).unwrap();
    let text = String::from_utf8_lossy(&told[1]);
    assert!(text.contains("at most 2097152 are taken, found 2097153"), "{text}");
    assert!(matches!(client.ask(&infer(session, 3, stack(0.5)), SOON), Ok(Response::Reply(_))));
    assert_eq!(server.finish().refused, 1);
}

#[test]
fn a_stop_answers_what_waits_and_says_goodbye() {
    let mut server = Running::start(4, 200, 4);
    let (client, session) = server.client();
    client.send(&infer(session, 1, stack(0.5)), SOON).unwrap();
    thread::sleep(Duration::from_millis(50));
    client.send(&infer(session, 2, stack(0.5)), SOON).unwrap();
    thread::sleep(Duration::from_millis(20));
    server.stop.store(true, Ordering::Relaxed);
    for expected in ["reply", "reply", "goodbye"] {
        let Incoming::Message(response) = client.receive(SOON).unwrap() else { panic!() };
        let found = match response {
            Response::Reply(_) => "reply",
            Response::Goodbye => "goodbye",
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected);
    }
    assert_eq!(server.finish().replied, 2);
}

#[test]
#[ignore = "measures; run it alone with --nocapture"]
fn overhead_of_a_request() {
    let server = Running::start(96, 0, 4);
    let (client, session) = server.client();
    let stack = vec![observation(96, 0.0), observation(96, 0.5)];
    let mut micros = Vec::new();
    for seq in 1..=4000 {
        let request = infer(session, seq, stack.clone());
        let began = Instant::now();
        let response = client.ask(&request, SOON).unwrap();
        micros.push(began.elapsed().as_micros());
        assert!(matches!(response, Response::Reply(_)));
    }
    let micros = &mut micros[500..];
    micros.sort_unstable();
    let at = |part: usize| micros[(micros.len() - 1) * part / 1000];
    println!(
        "round trip, 2 x 96 x 96 x 3: p50 {} us, p99 {} us, p99.9 {} us",
        at(500),
        at(990),
        at(999)
    );
    let Response::Status(status) = client.ask(&Request::Status, SOON).unwrap() else { panic!() };
    println!("{:?}", status.latency);
}

#[test]
fn a_request_whose_deadline_passed_is_not_worked_on() {
    let server = Running::start(4, 300, 4);
    let (one, first) = server.client();
    let (other, second) = server.client();
    one.send(&infer(first, 1, stack(0.5)), SOON).unwrap();
    thread::sleep(Duration::from_millis(20)); // the model is at work by now
    let refused = refusal(other.ask(&by(5, second, 1, stack(0.5)), SOON).unwrap());
    assert_eq!((refused.code, refused.seq), (ErrorCode::Deadline, Some(1)));
    assert!(refused.detail.contains("5ms"), "{}", refused.detail);
    let Response::Reply(_) = other.ask(&by(10_000, second, 2, stack(0.5)), SOON).unwrap() else {
        panic!()
    };
}

/// Promises two actions and gives one.
struct Broken;
impl Predictor for Broken {
    fn contract(&self) -> Contract {
        Contract { spec: spec(4), num_frames: 1, horizon: 2 }
    }

    fn model(&self) -> Model {
        Model { name: "broken".into(), hash: String::new() }
    }

    fn predict(&mut self, _: &[Observation], _: bool) -> Result<Prediction, PredictError> {
        let chunk = ActionChunk::new(1, 1, vec![0.0]).unwrap();
        Ok(Prediction { chunk, attention: Vec::new(), preprocess: Duration::ZERO })
    }
}

#[test]
fn a_warm_up_comes_first_and_finds_a_policy_that_breaks_its_promise() {
    let bind = |echo: Echo, warm_up| {
        let config = ServerConfig { warm_up, ..ServerConfig::at("tcp://127.0.0.1:*") };
        Server::bind(config, echo)
    };
    let server = bind(Echo { size: 4, sleep: Duration::from_millis(2) }, 3).unwrap();
    let took = server.warm_up();
    assert!(took.len() == 3 && took.is_sorted() && took[0] >= Duration::from_millis(2));
    let config = ServerConfig { warm_up: 1, ..ServerConfig::at("tcp://127.0.0.1:*") };
    let error = Server::bind(config, Broken).err().unwrap();
    let ServeError::WarmUp(cause) = error else { panic!("{error}") };
    assert!(cause.to_string().contains("promised [2, 1]"), "{cause}");
}

#[test]
fn without_the_token_nobody_is_welcome() {
    let token = Token::new("a word that is long enough");
    let config =
        ServerConfig { token: Some(token.clone()), ..ServerConfig::at("tcp://127.0.0.1:*") };
    let server = Server::bind(config, Echo { size: 4, sleep: Duration::ZERO }).unwrap();
    let (endpoint, stop) = (server.endpoint().to_owned(), AtomicBool::new(false));
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(&stop).unwrap());
        let client = ClientSocket::connect(&endpoint, None).unwrap();
        let hello = |token| Request::Hello(Hello { client: "test".into(), spec: None, token });
        for wrong in [None, Some(Token::new("a word"))] {
            let refused = refusal(client.ask(&hello(wrong), SOON).unwrap());
            assert_eq!(refused.code, ErrorCode::Unauthorized);
        }
        assert!(matches!(client.ask(&hello(Some(token)), SOON).unwrap(), Response::Welcome(_)));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(running.join().unwrap().refused, 2);
    });
}

#[test]
fn no_message_ends_the_server_however_long_its_names() {
    let server = Running::start(4, 0, 4);
    let endpoint = &server.endpoint;
    let (honest, session) = server.client();
    let context = zmq::Context::new();
    let attacker = context.socket(zmq::DEALER).unwrap();
    attacker.set_linger(0).unwrap();
    attacker.set_rcvtimeo(20_000).unwrap();
    attacker.connect(endpoint).unwrap();
    // The longest kind that fits a header, once in each dialect.
    for head in [&b"\x82\xa1v\x01\xa1t"[..], &b"\x82\xa4data\x80\xa8endpoint"[..]] {
        let name = vec![b'x'; 65_500];
        let mut header = head.to_vec();
        header.push(0xda);
        header.extend_from_slice(&(name.len() as u16).to_be_bytes());
        header.extend_from_slice(&name);
        attacker.send_multipart([Vec::new(), header], 0).unwrap();
        let answer = attacker.recv_multipart(0).unwrap();
        assert!(answer.iter().map(Vec::len).sum::<usize>() < 8192, "the refusal is short");
    }
    let answer = honest.ask(&infer(session, 1, stack(0.5)), SOON).unwrap();
    assert!(matches!(answer, Response::Reply(_)));
}
