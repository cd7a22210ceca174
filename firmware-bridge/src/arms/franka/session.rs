//! One connection to a control box, on a thread of its own.
//!
//! Most calls of `franka-rs` wait, and some have no end while the box says nothing. They are made
//! on this thread, and whoever asks it for something waits no longer than it wants to. It reads
//! what the box says in each millisecond, and in a motion it answers.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use franka::{
    ControllerMode, FciVersion, FrankaError, MAX_CUTOFF_FREQUENCY, RealtimeConfig, Robot,
    RobotMode, RobotOptions, RobotState,
};

use super::follower::{Follower, JOINTS, SetPoint, limits};
use super::motion::Motion;
use super::words::{Place, obstacle};
use crate::motion::joint::MotionLimits;
use crate::motors::MotorsError;

/// How often a thread that is to end is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The arm behind the box, as the description has it.
#[derive(Debug, Clone)]
pub(super) struct Plant {
    pub place: Place,
    pub limits: [MotionLimits; JOINTS],
    pub period_secs: f64,
}

/// What the box says in each millisecond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub position_rad: [f64; JOINTS],
    pub velocity_rad_s: [f64; JOINTS],
    pub torque_nm: [f64; JOINTS],
    pub mode: RobotMode,
    /// The first joint that touches something.
    pub collided: Option<usize>,
    /// When it came.
    pub at: Instant,
}

impl Reading {
    fn of(state: &RobotState) -> Self {
        let mut touching = state.joint_collision.iter().zip(&state.joint_contact);
        Self {
            position_rad: state.q,
            velocity_rad_s: state.dq,
            torque_nm: state.tau_J,
            mode: state.robot_mode,
            collided: touching.position(|(collision, contact)| collision + contact > 0.0),
            at: Instant::now(),
        }
    }
}

/// What a box says when it is connected to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hello {
    pub version: FciVersion,
    /// The same as the box says it.
    pub interface: u16,
}

/// What the thread is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Begins a motion: holds the arm where it is, until set-points lead it elsewhere.
    Begin,
    /// Ends it, at rest; the box then holds the arm.
    End,
    /// Clears an error whose cause is gone.
    Recover,
}

pub(super) type Answer<T> = SyncSender<Result<T, MotorsError>>;
pub(super) type Asked = Receiver<(Ask, Answer<()>)>;

/// What the threads share. Each lock is held for as long as it takes to copy what is in it.
pub(super) struct Shared {
    plant: Plant,
    reading: Mutex<Option<Reading>>,
    /// The latest of a motion, and when it came.
    set_point: Mutex<Option<(SetPoint, Instant)>>,
    /// Why a motion, or the connection, ended by itself.
    trouble: Mutex<Option<MotorsError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection, or an attempt at one. Dropping it brings the arm to rest first.
pub(super) struct Session {
    shared: Arc<Shared>,
    asks: Option<SyncSender<(Ask, Answer<()>)>>,
    greeting: Receiver<Result<Hello, MotorsError>>,
    thread: JoinHandle<()>,
    settle: Duration,
}

impl Session {
    /// Begins to connect. `settle` is how long it may take to come to rest at the end.
    ///
    /// # Errors
    ///
    /// When there can be no further thread.
    pub(super) fn open(plant: Plant, settle: Duration) -> Result<Self, MotorsError> {
        let (greet, greeting) = sync_channel(1);
        let (asks, asked) = sync_channel(1);
        let port = plant.place.host.clone();
        let shared = Arc::new(Shared::new(plant));
        let ours = shared.clone();
        let named = thread::Builder::new().name("franka".into());
        let spawned = named.spawn(move || ours.serve(&greet, &asked));
        let thread = spawned.map_err(|source| {
            let detail = "no thread for it: close other programs".into();
            MotorsError::Port { port, detail, source }
        })?;
        Ok(Self { shared, asks: Some(asks), greeting, thread, settle })
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub(super) fn greet(&self, patience: Duration) -> Result<Hello, MotorsError> {
        match self.greeting.recv_timeout(patience) {
            Ok(greeting) => greeting,
            Err(RecvTimeoutError::Timeout) => Err(self.shared.plant.place.silent(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(self.shared.plant.place.hung_up()),
        }
    }

    /// The latest reading.
    ///
    /// # Errors
    ///
    /// Once, why a motion or the connection ended. When the reading is older than `patience`.
    pub(super) fn reading(&self, patience: Duration) -> Result<Reading, MotorsError> {
        self.check()?;
        let reading = *lock(&self.shared.reading);
        let age = reading.map_or(patience, |reading| reading.at.elapsed());
        reading.filter(|_| age <= patience).ok_or_else(|| self.shared.plant.place.silent(age))
    }

    /// Where the arm is to be at the end of the period that begins now.
    ///
    /// # Errors
    ///
    /// Once, why a motion or the connection ended.
    pub(super) fn command(&self, position_rad: [f64; JOINTS]) -> Result<(), MotorsError> {
        self.check()?;
        let Plant { limits, period_secs, .. } = &self.shared.plant;
        let mut latest = lock(&self.shared.set_point);
        let before = match *latest {
            Some((before, _)) => before,
            None => SetPoint { position_rad, ..SetPoint::default() },
        };
        *latest = Some((before.next(position_rad, limits, *period_secs), Instant::now()));
        Ok(())
    }

    /// Asks for something, and waits for it.
    ///
    /// # Errors
    ///
    /// Why it was not done, or not in time.
    pub(super) fn ask(&self, ask: Ask, patience: Duration) -> Result<(), MotorsError> {
        let (answer, answered) = sync_channel(1);
        let asks = self.asks.as_ref();
        if asks.is_none_or(|asks| asks.try_send((ask, answer)).is_err()) {
            self.check()?;
            return Err(self.shared.plant.place.silent(Duration::ZERO)); // it still waits for the box
        }
        match answered.recv_timeout(patience) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => Err(self.shared.plant.place.silent(patience)),
            Err(RecvTimeoutError::Disconnected) => {
                self.check()?;
                Err(self.shared.plant.place.hung_up())
            }
        }
    }

    /// Brings the arm to rest and closes the connection; whether that was done in time.
    pub(super) fn close(&mut self) -> bool {
        self.asks = None;
        let deadline = Instant::now() + self.settle;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        self.thread.is_finished()
    }

    fn check(&self) -> Result<(), MotorsError> {
        match lock(&self.shared.trouble).take() {
            Some(trouble) => Err(trouble),
            None if self.thread.is_finished() => Err(self.shared.plant.place.hung_up()),
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Nothing heard and nothing wanted.
    pub(super) fn new(plant: Plant) -> Self {
        Self {
            plant,
            reading: Mutex::new(None),
            set_point: Mutex::new(None),
            trouble: Mutex::new(None),
        }
    }

    /// The thread: connects, and does what it is asked for until nobody can ask any more.
    fn serve(&self, greet: &Answer<Hello>, asked: &Asked) {
        let place = &self.plant.place;
        // Its own demands on priority and kernel are for a real arm; what there is of both is said
        // where the arm is identified. It takes the highest priority that it gets.
        let options = RobotOptions::new(RealtimeConfig::Ignore);
        let connected = Robot::with_options(&place.host, options);
        let robot = match connected.and_then(|robot| self.rest(&robot, || true).map(|()| robot)) {
            Ok(robot) => robot,
            Err(error) => {
                let _ = greet.try_send(Err(place.unreachable(&error)));
                return;
            }
        };
        let (version, interface) = (robot.fci_version(), robot.server_version());
        let _ = greet.try_send(Ok(Hello { version, interface }));
        loop {
            let mut ask = None;
            let heard = self.rest(&robot, || match asked.try_recv() {
                Ok(found) => {
                    ask = Some(found);
                    true
                }
                Err(TryRecvError::Disconnected) => true,
                Err(TryRecvError::Empty) => false,
            });
            if let Err(error) = heard {
                *lock(&self.trouble) = Some(place.explain(&error, None));
                return;
            }
            match ask {
                Some((Ask::Begin, answer)) => self.run(&robot, asked, answer),
                // Whoever asked may have given up.
                Some((Ask::Recover, answer)) => drop(answer.try_send(self.recover(&robot))),
                Some((Ask::End, answer)) => drop(answer.try_send(Ok(()))),
                None => return,
            }
        }
    }

    /// Takes readings until it is enough.
    fn rest(&self, robot: &Robot, mut enough: impl FnMut() -> bool) -> Result<(), FrankaError> {
        robot.read(|state| {
            self.hear(state);
            !enough()
        })
    }

    /// Keeps what the box says. Never waits: in a motion there is a millisecond for everything.
    pub(super) fn hear(&self, state: &RobotState) {
        if let Ok(mut reading) = self.reading.try_lock() {
            *reading = Some(Reading::of(state));
        }
    }

    /// Takes the latest set-point, and when it came, unless it is being written. Never waits.
    pub(super) fn take_latest(&self, set_point: &mut Option<(SetPoint, Instant)>) {
        if let Ok(latest) = self.set_point.try_lock() {
            *set_point = *latest;
        }
    }

    /// A whole motion.
    fn run(&self, robot: &Robot, asked: &Asked, begin: Answer<()>) {
        let mode = (*lock(&self.reading)).map_or(RobotMode::Other, |reading| reading.mode);
        if let Some(obstacle) = obstacle(mode) {
            let _ = begin.try_send(Err(MotorsError::Refused { detail: obstacle.into() }));
            return;
        }
        (*lock(&self.set_point), *lock(&self.trouble)) = (None, None);
        let limits = limits(&self.plant.limits, robot.fci_version());
        let follower = Follower::new(&limits, self.plant.period_secs);
        let mut motion = Motion::new(self, asked, follower, begin);
        let ended = robot.control_joint_positions(
            |state, _| motion.command(state),
            ControllerMode::JointImpedance,
            true,
            MAX_CUTOFF_FREQUENCY,
        );
        let ended = ended.map_err(|error| self.plant.place.explain(&error, self.collided()));
        *lock(&self.trouble) = motion.over(ended);
    }

    fn recover(&self, robot: &Robot) -> Result<(), MotorsError> {
        let mode = (*lock(&self.reading)).map(|reading| reading.mode);
        if mode != Some(RobotMode::Reflex) {
            return Ok(());
        }
        let recovered = robot.automatic_error_recovery();
        recovered.map_err(|error| self.plant.place.explain(&error, self.collided()))
    }

    fn collided(&self) -> Option<usize> {
        (*lock(&self.reading)).and_then(|reading| reading.collided)
    }
}
