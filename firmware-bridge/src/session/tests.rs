//! Episodes with real threads and sockets, against a server of a few lines.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use engraft_core::ActionChunk;
use engraft_wire::{
    Access, Hello, Incoming, Reply, Request, Response, ServerSocket, decode_request, read_log,
};

use super::*;
use crate::arms::SimArm;
use crate::controller::ControlConfig;
use crate::limits::from_spec;
use crate::link::LinkConfig;
use crate::testing::{self, Joint};

/// Raises the elbow by a tenth of a radian per action; falls silent after some answers.
struct Server {
    endpoint: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answers: usize) -> Self {
        let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
        let endpoint = socket.endpoint().to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = thread::spawn(move || {
            let mut left = answers;
            while !flag.load(Ordering::Relaxed) && left > 0 {
                let event = socket.receive(Duration::from_millis(5)).unwrap();
                let Incoming::Message((peer, frames)) = event else { continue };
                let response = match decode_request(&frames.unwrap()).unwrap() {
                    Request::Hello(_) => Response::Welcome(testing::welcome()),
                    Request::Ping { seq } => Response::Pong { seq },
                    Request::Infer(infer) => {
                        left -= 1;
                        let angle = infer.stack[1].proprio[0];
                        let values = (1..5).map(|i| angle + 0.1 * i as f32).collect();
                        let chunk = ActionChunk::new(4, 1, values).unwrap();
                        let reply = testing::reply(&testing::welcome(), infer.tick, &[0.0; 4]);
                        let (seq, t_obs_nanos) = (infer.seq, infer.t_obs_nanos);
                        let episode = infer.episode;
                        Response::Reply(Reply { seq, t_obs_nanos, episode, chunk, ..reply })
                    }
                    _ => continue,
                };
                socket.send(&peer, &response).unwrap();
            }
            thread::sleep(Duration::from_millis(300)); // the last answer is still read
            drop(socket);
        });
        Self { endpoint, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn session<'a>(server: &Server, pace: Pace, stop: &'a AtomicBool) -> Session<'a, SimArm<Joint>> {
    let mut config = ControlConfig::default();
    config.patience.hold = Duration::from_millis(600);
    let hello = Hello { client: "test".into(), spec: Some(testing::spec()), token: None };
    let quick = LinkConfig {
        hello: Duration::from_millis(500),
        ping: Duration::from_millis(50),
        lost: Duration::from_millis(300),
        retry: Duration::from_millis(20),
    };
    let limits = from_spec(&testing::spec());
    Session {
        arm: SimArm::new(Joint::new()),
        controller: Controller::new(testing::spec(), limits, config).unwrap(),
        link: Link::open(&server.endpoint, None, hello, quick).unwrap(),
        pace,
        recorder: None,
        stop,
        answer_timeout: Duration::from_secs(1),
        watch: Box::new(|_, _| {}),
    }
}

const PERIOD: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(20);

#[test]
fn in_lockstep_an_episode_is_the_same_every_time_and_its_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.log");
    let server = Server::start(usize::MAX);
    let stop = AtomicBool::new(false);
    let mut session = session(&server, Pace::lockstep(PERIOD), &stop);
    session.recorder = Some(Recorder::create(&path, true).unwrap());
    session.connect(&server.endpoint, SOON).unwrap();
    for episode in 0..2 {
        let report = session.episode(episode, 1, 5).unwrap();
        assert_eq!((report.outcome, report.steps), (Outcome::Success, 5));
        assert_eq!(report.instance_name, "joint-1");
    }
    let actions = session.arm.environment().actions.clone();
    let (first, second) = actions.split_at(actions.len() / 2);
    assert_eq!(first, second);
    assert_eq!(session.recorder.take().unwrap().finish().unwrap(), 0);
    let recording = read_log(&path).unwrap();
    assert!(recording.whole);
    assert_eq!(recording.rollouts.len(), 2);
    let rollout = &recording.rollouts[0];
    assert_eq!((rollout.outcome, rollout.steps.len()), (Outcome::Success, 5));
    // Asked at the start and whenever half of the four actions were played.
    let chunks: Vec<_> = rollout.steps.iter().map(|step| step.chunk.is_some()).collect();
    assert_eq!(chunks, [true, false, true, false, true]);
    let step = &rollout.steps[2];
    assert_eq!(step.chunk.as_ref().unwrap().action(0), step.action);
}

#[test]
fn a_server_that_dies_in_mid_episode_leaves_the_arm_standing_and_is_a_fault() {
    for pace in [Pace::lockstep(PERIOD), Pace::real_time(PERIOD)] {
        let server = Server::start(1);
        let stop = AtomicBool::new(false);
        let mut session = session(&server, pace, &stop);
        session.connect(&server.endpoint, SOON).unwrap();
        let report = session.episode(0, 0, 0).unwrap();
        assert_eq!(report.outcome, Outcome::Stopped);
        assert!(matches!(session.check(), Err(BridgeError::Fault { cause: Cause::Underrun, .. })));
        let actions = &session.arm.environment().actions;
        let last = *actions.last().unwrap();
        assert!(last <= 0.4 + 1e-6, "no further than the chunk said: {actions:?}");
        let still = actions.iter().rev().take_while(|&&action| action == last).count();
        assert!(still >= 3, "{actions:?}");
    }
}

#[test]
fn a_stop_ends_the_episode_with_the_arm_at_rest() {
    let server = Server::start(usize::MAX);
    let stop = AtomicBool::new(false);
    let mut session = session(&server, Pace::lockstep(PERIOD), &stop);
    session.watch = Box::new(|tick, _| stop.store(tick >= 1, Ordering::Relaxed));
    session.connect(&server.endpoint, SOON).unwrap();
    let report = session.episode(0, 0, 0).unwrap();
    assert_eq!((report.outcome, report.steps), (Outcome::Stopped, 3));
    assert_eq!(session.controller.state(), State::Armed);
}

#[test]
fn nobody_there_is_an_error_that_says_where_and_for_how_long() {
    let server = Server::start(0);
    let stop = AtomicBool::new(false);
    let mut session = session(&server, Pace::lockstep(PERIOD), &stop);
    let error = session.connect("tcp://nowhere", Duration::from_millis(100)).unwrap_err();
    assert!(error.to_string().starts_with("no policy server at tcp://nowhere within"), "{error}");
}

#[test]
fn an_instance_that_does_not_exist_is_an_error() {
    let server = Server::start(usize::MAX);
    let stop = AtomicBool::new(false);
    let mut session = session(&server, Pace::lockstep(PERIOD), &stop);
    session.connect(&server.endpoint, SOON).unwrap();
    let error = session.episode(0, 3, 0).unwrap_err();
    assert_eq!(error.to_string(), "instance 3 does not exist, there are 3");
}
