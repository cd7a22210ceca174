//! A policy server that is whatever it is told to be: right, late, silent, lying, hostile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_core::{ActionChunk, Environment};
use engraft_sim::{SimOptions, Simulator, Split, Task};
use engraft_wire::{
    Access, Contract, ErrorCode, Incoming, Infer, Model, Peer, Refusal, Reply, Request, Response,
    ServerSocket, Session, Timings, Welcome, decode_request, encode_response,
};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Actions of a chunk.
const HORIZON: usize = 8;
/// How far a joint goes in one action, in the policy's units.
const STEP: f32 = 0.06;

/// Answers to one question of a server that means harm.
const FLOOD: usize = 100;

/// What the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Each joint on its way to somewhere within its bounds.
    Good,
    /// The same, by up to 800 ms too late.
    Late,
    /// It hears and says nothing.
    Silent,
    /// Some number is none.
    NotFinite,
    /// Numbers far outside, and jumping.
    Absurd,
    /// The same answer again and again.
    Repeats,
    /// A chunk of another shape.
    OtherShape,
    /// Of another episode, session or tick.
    OtherTime,
    /// Another model answers.
    Swapped,
    /// Frames of anything.
    Garbage,
    /// The beginning of an answer.
    Truncated,
    /// More bytes than a frame may have.
    Oversize,
    /// An error instead of an answer.
    Refuses,
    /// It ends the conversation.
    Goodbye,
}

impl Mood {
    pub(crate) const ALL: [Self; 14] = [
        Self::Good,
        Self::Late,
        Self::Silent,
        Self::NotFinite,
        Self::Absurd,
        Self::Repeats,
        Self::OtherShape,
        Self::OtherTime,
        Self::Swapped,
        Self::Garbage,
        Self::Truncated,
        Self::Oversize,
        Self::Refuses,
        Self::Goodbye,
    ];
}

/// What a policy for the emulated arm was trained for.
pub(crate) fn contract() -> Contract {
    let options = SimOptions { image_size: 32, ..SimOptions::default() };
    let simulator = Simulator::new(Task::Drawer, Split::Heldout, options).unwrap();
    let spec = Environment::spec(&simulator).clone();
    Contract { spec, num_frames: 1, horizon: HORIZON }
}

/// Where the arm stands when an episode begins, in radians; the hand is not among them.
pub(crate) fn start_rad() -> Vec<f64> {
    let options = SimOptions { image_size: 32, ..SimOptions::default() };
    let mut simulator = Simulator::new(Task::Drawer, Split::Heldout, options).unwrap();
    simulator.reset_blind(0, 0);
    let mut start: Vec<_> = simulator.proprio().into_iter().map(f64::from).collect();
    start.pop();
    start
}

#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    stop: AtomicBool,
    asked: AtomicU64,
}

/// The running server.
pub(crate) struct Policy {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Policy {
    pub(crate) fn start(contract: Contract, mood: Mood, seed: u64) -> Self {
        let socket = ServerSocket::bind("tcp://127.0.0.1:*", &Access::Loopback, 1 << 20).unwrap();
        let endpoint = socket.endpoint().to_owned();
        let shared = Shared {
            mood: Mutex::new(mood),
            stop: AtomicBool::new(false),
            asked: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let mut server = Server::new(socket, shared.clone(), contract, seed);
        let thread = Some(thread::spawn(move || server.serve()));
        Self { endpoint, shared, thread }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

struct Server {
    socket: ServerSocket,
    shared: Arc<Shared>,
    welcome: Welcome,
    random: ChaCha8Rng,
    to: Vec<f32>,
    kept: Option<Reply>,
    /// Answers that are due later.
    late: Vec<(Instant, Peer, Response)>,
}

impl Server {
    fn new(socket: ServerSocket, shared: Arc<Shared>, contract: Contract, seed: u64) -> Self {
        let welcome = Welcome {
            session: Session([7; 16]),
            model: Model { name: "stub".into(), hash: "0123456789".into() },
            fingerprint: contract.spec.fingerprint(),
            contract,
            max_bytes: 1 << 24,
        };
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { socket, shared, welcome, random, to: Vec::new(), kept: None, late: Vec::new() }
    }

    fn serve(&mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            for (due, peer, response) in std::mem::take(&mut self.late) {
                if due <= now {
                    self.send(&peer, &response);
                } else {
                    self.late.push((due, peer, response));
                }
            }
            let incoming = self.socket.receive(Duration::from_millis(5)).unwrap();
            let Incoming::Message((peer, frames)) = incoming else { continue };
            let request = decode_request(&frames.unwrap()).unwrap();
            let mood = *self.shared.mood.lock().unwrap();
            match request {
                // A silent server is one that went silent: it said hello before.
                Request::Hello(_) => {
                    let mut welcome = self.welcome.clone();
                    if mood == Mood::Swapped {
                        welcome.model.hash = "9876543210".into();
                    }
                    self.send(&peer, &Response::Welcome(welcome));
                }
                Request::Ping { seq } if mood != Mood::Silent => {
                    self.send(&peer, &Response::Pong { seq });
                }
                Request::Infer(infer) => {
                    self.shared.asked.fetch_add(1, Ordering::Relaxed);
                    self.answer(mood, peer, &infer);
                }
                _ => {}
            }
        }
    }

    fn send(&self, peer: &Peer, response: &Response) {
        self.socket.send(peer, response).unwrap();
    }

    fn answer(&mut self, mood: Mood, peer: Peer, infer: &Infer) {
        let mut reply = self.reply(infer);
        let (horizon, dim) = (reply.chunk.horizon(), reply.chunk.action_dim());
        let mut values = reply.chunk.values().to_vec();
        let at = self.random.random_range(0..values.len());
        match mood {
            Mood::Good => {}
            Mood::Late => {
                let late = Duration::from_millis(self.random.random_range(0..800));
                self.late.push((Instant::now() + late, peer, Response::Reply(reply)));
                return;
            }
            Mood::Silent => return,
            Mood::NotFinite => {
                let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, 1e-42];
                values[at] = *odd.choose(&mut self.random).unwrap();
            }
            Mood::Absurd => {
                for value in &mut values {
                    *value = self.random.random_range(-30.0..30.0);
                }
            }
            Mood::Repeats => {
                let kept = self.kept.get_or_insert(reply).clone();
                return self.send(&peer, &Response::Reply(kept));
            }
            Mood::OtherShape => {
                let rows = self.random.random_range(1..2 * horizon);
                let dim = self.random.random_range(1..2 * dim);
                values.resize(rows * dim, 0.3);
                reply.chunk = ActionChunk::new(rows, dim, values).unwrap();
                return self.send(&peer, &Response::Reply(reply));
            }
            Mood::OtherTime => {
                let random = &mut self.random;
                match random.random_range(0..4) {
                    0 => reply.episode = random.random(),
                    1 => reply.session = Session(random.random()),
                    2 => reply.first_tick = random.random_range(0..2 * reply.first_tick + 100),
                    _ => reply.t_obs_nanos = random.random(),
                }
            }
            Mood::Swapped => reply.model_hash = "9876543210".into(),
            Mood::Garbage => {
                let random = &mut self.random;
                for _ in 0..FLOOD {
                    let frames = (0..random.random_range(1..6)).map(|_| {
                        (0..random.random_range(0..300)).map(|_| random.random()).collect()
                    });
                    self.socket.send_frames(&peer, frames.collect()).unwrap();
                }
                return;
            }
            Mood::Truncated => {
                let whole = encode_response(&Response::Reply(reply)).unwrap();
                for _ in 0..FLOOD {
                    let mut frames = whole.clone();
                    let frame = self.random.random_range(0..frames.len());
                    let length = self.random.random_range(0..frames[frame].len());
                    frames[frame].truncate(length);
                    if self.random.random_bool(0.3) {
                        frames.truncate(frame + 1);
                    }
                    self.socket.send_frames(&peer, frames).unwrap();
                }
                return;
            }
            Mood::Oversize => {
                self.socket.send_frames(&peer, vec![vec![0x82; 100 << 20]]).unwrap();
                return;
            }
            Mood::Refuses => {
                let (code, detail) = (ErrorCode::Internal, "no weights".into());
                let refusal = Refusal { code, detail, seq: Some(infer.seq) };
                return self.send(&peer, &Response::Error(refusal));
            }
            Mood::Goodbye => return self.send(&peer, &Response::Goodbye),
        }
        if !matches!(mood, Mood::Good | Mood::OtherTime | Mood::Swapped) {
            reply.chunk = ActionChunk::new(horizon, dim, values).unwrap();
        }
        self.send(&peer, &Response::Reply(reply));
    }

    /// From where the arm is towards somewhere else, and there to another place.
    fn reply(&mut self, infer: &Infer) -> Reply {
        let from = infer.stack.last().unwrap().proprio.clone();
        let random = &mut self.random;
        let there = |(from, to): (&f32, &f32)| (from - to).abs() < 0.1;
        if self.to.is_empty() || from.iter().zip(&self.to).all(there) || random.random_bool(0.1) {
            let bounds = self.welcome.contract.spec.actions.iter();
            let somewhere = bounds.map(|action| {
                let (min, max) = (action.min.unwrap_or(-1.0), action.max.unwrap_or(1.0));
                random.random_range(min..=max)
            });
            self.to = somewhere.collect();
        }
        let mut values = Vec::new();
        let mut now = from;
        for _ in 0..HORIZON {
            for (now, to) in now.iter_mut().zip(&self.to) {
                *now += (to - *now).clamp(-STEP, STEP);
            }
            values.extend(&now);
        }
        Reply {
            session: infer.session,
            seq: infer.seq,
            episode: infer.episode,
            first_tick: infer.tick,
            t_obs_nanos: infer.t_obs_nanos,
            model_hash: self.welcome.model.hash.clone(),
            timings: Timings::default(),
            chunk: ActionChunk::new(HORIZON, now.len(), values).unwrap(),
            attention: Vec::new(),
        }
    }
}
