//! What the tests of several verbs share: a bridge with an emulated arm, and a policy's server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use engraft_core::ActionChunk;
use engraft_wire::operator::{BridgeStatus, Verb};
use engraft_wire::{
    Access, Contract, Incoming, Infer, Model, Reply, Request as Asked, Response, ServerSocket,
    Session, Timings, Welcome, decode_request,
};

use super::arm::{ArmArgs, Bridge, BridgeArgs};
use super::operate::{Endpoint, connect, insist};
use super::run::Args;
use crate::control::Request;
use crate::description::ArmDescription;
use crate::emulate::feetech::Bus;
use crate::emulate::{Emulator, Options};
use crate::pilot::PilotConfig;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(10);

/// An SO-101 that a busy machine can keep up with, as a file in `folder`.
pub(super) fn slow_so101(folder: &Path) -> (ArmDescription, PathBuf) {
    let mut arm = ArmDescription::find("so101").unwrap();
    arm.setpoint_hz = 50;
    let path = folder.join("so101.toml");
    std::fs::write(&path, toml::to_string(&arm).unwrap()).unwrap();
    (arm, path)
}

/// A bridge whose emulated arm has torque.
pub(super) struct Follower {
    bridge: Bridge,
    _emulator: Emulator<Bus>,
    _folder: tempfile::TempDir,
}

impl Follower {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (arm, path) = slow_so101(folder.path());
        let emulator = Emulator::start(Bus::new(&arm), Options::default()).unwrap();
        let real =
            ArmArgs { port: Some(emulator.path().display().to_string()), ..ArmArgs::default() };
        let args = BridgeArgs {
            control: "tcp://127.0.0.1:*".into(),
            telemetry: "tcp://127.0.0.1:*".into(),
            insecure_plaintext: false,
            journal: None,
            no_realtime: true,
        };
        let path = path.display().to_string();
        // A machine that tests everything else meanwhile is away for longer than an arm's.
        let config = PilotConfig { gap: Duration::from_millis(400), ..PilotConfig::default() };
        let bridge = Bridge::start(&path, &real, &args, config).unwrap();
        let follower = Self { bridge, _emulator: emulator, _folder: folder };
        follower.wait_for(|status| status.state == "Idle");
        follower.bridge.controls.ask(Request::Torque(true), SOON).unwrap();
        follower.wait_for(|status| status.state == "Ready");
        follower
    }

    pub(super) fn endpoint(&self) -> String {
        self.bridge.control_endpoint.clone()
    }

    pub(super) fn status(&self) -> BridgeStatus {
        self.bridge.board.status()
    }

    pub(super) fn wait_for(&self, what: impl Fn(&BridgeStatus) -> bool) {
        let began = Instant::now();
        while !what(&self.status()) {
            assert!(began.elapsed() < SOON, "still {:?}", self.status());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Somebody else stops the arm.
    pub(super) fn stop_arm(&self) {
        let mut socket = connect(&Endpoint { control: self.endpoint() }).unwrap();
        insist(&mut socket, &Verb::Stop).unwrap();
    }

    pub(super) fn stop(self) {
        self.bridge.stop().unwrap();
    }
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Arguments of `run`, as they are typed.
pub(super) fn run_args(text: &str) -> Args {
    Command::parse_from(std::iter::once("bridge").chain(text.split_whitespace())).args
}

/// A policy's server on a port of its own, until it is dropped.
pub(super) struct PolicyServer {
    pub(super) endpoint: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PolicyServer {
    /// A server whose policy has this contract, and gives `answer` to what it is asked.
    pub(super) fn start(
        contract: Contract,
        answer: impl FnMut(&Infer) -> ActionChunk + Send + 'static,
    ) -> Self {
        let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
        let (endpoint, stop) = (socket.endpoint().to_owned(), Arc::new(AtomicBool::new(false)));
        let flag = stop.clone();
        let thread = Some(thread::spawn(move || serve(&socket, contract, answer, &flag)));
        Self { endpoint, stop, thread }
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(
    socket: &ServerSocket,
    contract: Contract,
    mut answer: impl FnMut(&Infer) -> ActionChunk,
    stop: &AtomicBool,
) {
    let welcome = Welcome {
        session: Session([5; 16]),
        model: Model { name: "stand-in".into(), hash: "0123456789".into() },
        fingerprint: contract.spec.fingerprint(),
        contract,
        max_bytes: 1 << 20,
    };
    while !stop.load(Ordering::Relaxed) {
        let event = socket.receive(Duration::from_millis(5)).unwrap();
        let Incoming::Message((peer, frames)) = event else { continue };
        let response = match decode_request(&frames.unwrap()).unwrap() {
            Asked::Hello(_) => Response::Welcome(welcome.clone()),
            Asked::Ping { seq } => Response::Pong { seq },
            Asked::Infer(infer) => Response::Reply(Reply {
                session: infer.session,
                seq: infer.seq,
                episode: infer.episode,
                first_tick: infer.tick,
                t_obs_nanos: infer.t_obs_nanos,
                model_hash: welcome.model.hash.clone(),
                timings: Timings::default(),
                chunk: answer(&infer),
                attention: Vec::new(),
            }),
            _ => continue,
        };
        socket.send(&peer, &response).unwrap();
    }
}
