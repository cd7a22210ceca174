//! A simulator whose joints go where they are told, in threads, with everything that may go wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_core::{Observation, RgbImage, View, ViewSpec};
use engraft_wire::SimulatorDesk;
use engraft_wire::simulator::{
    Answer, Description, JointRange, Joints, Request, Sight, State, encode_answer,
};

use crate::control::raise_priority;
use crate::description::ArmDescription;

/// The arm that it moves: two joints and a gripper whose angles grow as its unit falls.
pub(crate) fn arm() -> ArmDescription {
    toml::from_str(include_str!("simulator.toml")).unwrap()
}

/// How a simulator may answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As it should.
    #[default]
    Well,
    /// Not at all.
    Silent,
    /// With a position that is no number.
    NotANumber,
    /// With a joint too few.
    Short,
    /// With far more than a message may have.
    Oversize,
    /// With a position beyond what ticks hold.
    Wound,
    /// With an error.
    Refusing,
    /// To a request that was never made.
    Misnumbered,
}

/// What happens inside.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) description: Description,
    pub(crate) position_rad: Vec<f64>,
    pub(crate) goal_rad: Vec<f64>,
    pub(crate) torque: bool,
    /// How it answers what the arm is asked.
    pub(crate) manner: Manner,
    /// How it answers what the cameras are asked.
    pub(crate) eyes: Manner,
    /// Commands that came.
    pub(crate) commands: usize,
    /// Instances and seeds that were asked for.
    pub(crate) resets: Vec<(u64, u64)>,
    /// How long a picture takes.
    pub(crate) look: Duration,
    /// Where joint 0 must be for the task to be done.
    pub(crate) done_rad: f64,
    moved: Instant,
    began: Instant,
}

/// Joints approach their goals at this speed.
const SPEED_RAD_S: f64 = 8.0;

impl World {
    fn new(description: Description) -> Self {
        let middle = |joint: &JointRange| f64::midpoint(joint.min_rad, joint.max_rad);
        let position_rad: Vec<_> = description.joints.iter().map(middle).collect();
        Self {
            goal_rad: position_rad.clone(),
            position_rad,
            description,
            torque: false,
            manner: Manner::Well,
            eyes: Manner::Well,
            commands: 0,
            resets: Vec::new(),
            look: Duration::ZERO,
            done_rad: 0.3,
            moved: Instant::now(),
            began: Instant::now(),
        }
    }

    fn advance(&mut self) {
        let most = self.moved.elapsed().as_secs_f64() * SPEED_RAD_S;
        self.moved = Instant::now();
        for (position, goal) in self.position_rad.iter_mut().zip(&self.goal_rad) {
            *position += (goal - *position).clamp(-most, most);
        }
    }

    fn state(&self) -> State {
        let still = vec![0.0; self.position_rad.len()];
        State {
            time_secs: self.began.elapsed().as_secs_f64(),
            position_rad: Joints::new(&self.position_rad).unwrap(),
            velocity_rad_s: Joints::new(&still).unwrap(),
            effort: None,
            torque: self.torque,
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        self.advance();
        match request {
            Request::Describe => return Answer::Description(Box::new(self.description.clone())),
            Request::Command { .. } if !self.torque => {
                return Answer::Error { detail: "torque is off".into() };
            }
            Request::Command { goal_rad } => {
                self.commands += 1;
                self.goal_rad = goal_rad.as_slice().to_vec();
            }
            Request::Torque { on } => {
                self.torque = on;
                self.goal_rad.clone_from(&self.position_rad);
            }
            Request::Reset { instance, seed } => {
                self.resets.push((instance, seed));
                let start = vec![0.0, 0.1, -0.5];
                return Answer::Placed { start_rad: Some(Joints::new(&start).unwrap()) };
            }
            Request::Look => {
                let view = |spec: &ViewSpec| View {
                    rgb: RgbImage::filled(spec.width, spec.height, [7, 8, 9]),
                    depth: None,
                };
                let observation = Observation {
                    views: self.description.views.iter().map(view).collect(),
                    proprio: self.position_rad.iter().map(|&angle| angle as f32).collect(),
                };
                let success = Some(self.position_rad[0] > self.done_rad);
                let time_secs = self.began.elapsed().as_secs_f64();
                return Answer::Sight(Box::new(Sight { time_secs, success, observation }));
            }
            _ => {}
        }
        Answer::State(self.state())
    }

    /// What is sent, which need not be what should be.
    fn frames(&mut self, manner: Manner, seq: u64, request: Request) -> Option<Vec<Vec<u8>>> {
        let answer = self.answer(request);
        let mut state = self.state();
        let answer = match (manner, request) {
            (Manner::Silent, _) => return None,
            (_, Request::Describe) | (Manner::Well, _) => answer,
            (Manner::Oversize, _) => return Some(vec![vec![0xc0; 17 << 20]]),
            (Manner::NotANumber, _) => {
                let mut frames = encode_answer(seq, &Answer::State(state)).unwrap();
                let place = self.position_rad[0].to_be_bytes();
                let at = frames[0].windows(8).position(|bytes| bytes == place).unwrap();
                frames[0][at..at + 8].copy_from_slice(&f64::NAN.to_be_bytes());
                return Some(frames);
            }
            (Manner::Short, _) => {
                state.position_rad = Joints::new(&self.position_rad[1..]).unwrap();
                state.velocity_rad_s = state.position_rad;
                Answer::State(state)
            }
            (Manner::Wound, _) => {
                state.position_rad = Joints::new(&[1e4, 0.0, 0.0]).unwrap();
                Answer::State(state)
            }
            (Manner::Misnumbered, _) => return Some(encode_answer(u64::MAX, &answer).unwrap()),
            (Manner::Refusing, _) => Answer::Error { detail: "the world has ended".into() },
        };
        Some(encode_answer(seq, &answer).unwrap())
    }
}

/// A running simulator. Dropping it kills it.
pub(crate) struct Double {
    endpoint: String,
    world: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What the simulator of [`arm`] says it is, but for its cameras' port.
pub(crate) fn description() -> Description {
    let joint =
        |name: &str, min_rad: f64, max_rad: f64| JointRange { name: name.into(), min_rad, max_rad };
    Description {
        name: "bench".into(),
        version: "a thread".into(),
        task: "raise the shoulder".into(),
        joints: vec![
            joint("shoulder", -1.0, 1.0),
            joint("elbow", -2.0, 2.0),
            joint("gripper", -1.0, 0.0),
        ],
        views: vec![ViewSpec { name: "front".into(), width: 32, height: 24, depth: false }],
        instances: vec!["left".into(), "right".into()],
        step_secs: 0.002,
        watchdog_secs: 0.25,
        eyes_port: None,
    }
}

impl Double {
    pub(crate) fn start() -> Self {
        Self::at("tcp://127.0.0.1:*", description())
    }

    /// One that listens there and says that it is that.
    pub(crate) fn at(endpoint: &str, mut description: Description) -> Self {
        let eyes = SimulatorDesk::bind("tcp://127.0.0.1:*", false).unwrap();
        let port = eyes.endpoint().rsplit(':').next().unwrap();
        description.eyes_port = Some(port.parse().unwrap());
        let world = Arc::new(Mutex::new(World::new(description)));
        let stop = Arc::new(AtomicBool::new(false));
        let (bound, listening) = mpsc::channel();
        let arm = {
            let (world, stop, endpoint) = (world.clone(), stop.clone(), endpoint.to_owned());
            thread::spawn(move || {
                // On a machine that tests everything else meanwhile it would often be too late.
                // ZeroMQ's own thread, which begins here, goes as early.
                let _ = raise_priority();
                let desk = bind(&endpoint);
                bound.send(desk.endpoint().to_owned()).unwrap();
                serve(&desk, &world, &stop, true);
            })
        };
        let eyes = {
            let (world, stop) = (world.clone(), stop.clone());
            thread::spawn(move || serve(&eyes, &world, &stop, false))
        };
        let (endpoint, threads) = (listening.recv().unwrap(), [arm, eyes]);
        Self { endpoint, world, stop, threads: threads.into() }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A port that was in use a moment ago is free after another one.
fn bind(endpoint: &str) -> SimulatorDesk {
    let began = Instant::now();
    loop {
        match SimulatorDesk::bind(endpoint, false) {
            Ok(desk) => return desk,
            Err(error) => assert!(began.elapsed().as_secs() < 5, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn serve(desk: &SimulatorDesk, world: &Mutex<World>, stop: &AtomicBool, is_arm: bool) {
    while !stop.load(Ordering::Relaxed) {
        let asked = desk.receive(Duration::from_millis(5)).unwrap();
        let Some((caller, request)) = asked else {
            world.lock().unwrap().advance();
            continue;
        };
        let look = if is_arm { Duration::ZERO } else { world.lock().unwrap().look };
        thread::sleep(look);
        let frames = {
            let mut world = world.lock().unwrap();
            let manner = if is_arm { world.manner } else { world.eyes };
            world.frames(manner, caller.seq(), request.unwrap())
        };
        if let Some(frames) = frames {
            desk.answer_frames(&caller, frames).unwrap();
        }
    }
}
