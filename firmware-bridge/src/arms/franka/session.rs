//! One connection to a control box, on a thread of its own.
//!
//! Most calls of `franka-rs` wait, and some have no end while the box says nothing. They are made
//! on this thread, and whoever asks it for something waits no longer than it wants to. While the
//! arm moves, `franka-rs` has a third thread, which answers the box once in a millisecond; it
//! would hold the last target for ever, so this one stops it when set-points stay away.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use franka::{
    Backend, FciVersion, FrankaError, JointTargetControl, JointTargetControlOptions, OtgLimits,
    RealtimeConfig, Robot, RobotMode, RobotOptions, RobotState, Settle,
};

use super::aim::{JOINTS, generator};
use super::words::{Place, obstacle};
use crate::motion::joint::MotionLimits;
use crate::motors::MotorsError;

/// Silence of whoever moves the arm after which its motion is stopped.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// A motion ends when it has been at its target for so long.
const SETTLE: Settle = Settle { tolerance: 1e-3, cycles: 50 };
/// How far from its start a motion may lead, in radians: our own limits are narrower.
const FAR: f64 = 10.0;

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
    /// What moves may do between two set-points.
    pub limits: [OtgLimits; JOINTS],
}

/// What the thread is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Begins to hold the arm where it is, to be moved by targets.
    Begin,
    /// Brings it to rest at the last target and lets the box hold it.
    End,
    /// Clears an error whose cause is gone.
    Recover,
}

type Answer<T> = SyncSender<Result<T, MotorsError>>;

struct Moving {
    control: JointTargetControl,
    commanded: Instant,
}

/// What the threads share. Each lock is held for as long as it takes to copy what is in it.
struct Shared {
    place: Place,
    reading: Mutex<Option<Reading>>,
    moving: Mutex<Option<Moving>>,
    /// Why the motion, or the connection, ended.
    trouble: Mutex<Option<MotorsError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a motion is to be stopped, since nobody sent a target for so long.
pub(super) fn is_abandoned(silence: Duration) -> bool {
    silence > PATIENCE
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
    pub(super) fn open(
        place: Place,
        joints: [MotionLimits; JOINTS],
        settle: Duration,
    ) -> Result<Self, MotorsError> {
        let (greet, greeting) = sync_channel(1);
        let (asks, asked) = sync_channel(1);
        let port = place.host.clone();
        let shared = Arc::new(Shared {
            place,
            reading: Mutex::new(None),
            moving: Mutex::new(None),
            trouble: Mutex::new(None),
        });
        let ours = shared.clone();
        let spawned = thread::Builder::new()
            .name("franka".into())
            .spawn(move || ours.serve(&joints, &greet, &asked));
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
            Err(RecvTimeoutError::Timeout) => Err(self.shared.place.silent(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(self.shared.place.hung_up()),
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
        reading.filter(|_| age <= patience).ok_or_else(|| self.shared.place.silent(age))
    }

    /// Sends the arm to a target.
    ///
    /// # Errors
    ///
    /// When it does not move, or cannot go there.
    pub(super) fn command(&self, target_rad: [f64; JOINTS]) -> Result<(), MotorsError> {
        self.check()?;
        match lock(&self.shared.moving).as_mut() {
            Some(moving) => {
                moving.commanded = Instant::now();
                match moving.control.set_joints(target_rad) {
                    Ok(()) => Ok(()),
                    // Our thread finds out why it ended, and the next reading says so.
                    Err(FrankaError::InvalidOperation(_)) => Ok(()),
                    Err(error) => Err(self.shared.place.explain(&error, None)),
                }
            }
            None => Err(MotorsError::Refused {
                detail: "its motion ended: reset the fault and switch torque on again".into(),
            }),
        }
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
            return Err(self.shared.place.silent(Duration::ZERO)); // it still waits for the box
        }
        match answered.recv_timeout(patience) {
            Ok(done) => done,
            Err(RecvTimeoutError::Timeout) => Err(self.shared.place.silent(patience)),
            Err(RecvTimeoutError::Disconnected) => {
                self.check()?;
                Err(self.shared.place.hung_up())
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
            None if self.thread.is_finished() => Err(self.shared.place.hung_up()),
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
    /// The thread: connects, and does what it is asked for until nobody can ask any more.
    fn serve(
        self: Arc<Self>,
        joints: &[MotionLimits; JOINTS],
        greet: &Answer<Hello>,
        asked: &Receiver<(Ask, Answer<()>)>,
    ) {
        // Its own demands on priority and kernel are for a real arm; what there is of both is said
        // where the arm is identified.
        let options = RobotOptions::new(RealtimeConfig::Ignore);
        let robot = match Robot::with_options(&self.place.host, options) {
            Ok(robot) => Arc::new(robot),
            Err(error) => {
                let _ = greet.try_send(Err(self.place.unreachable(&error)));
                return;
            }
        };
        let version = robot.fci_version();
        let limits = generator(joints, version);
        if let Err(error) = self.rest(&robot, || true) {
            let _ = greet.try_send(Err(self.place.unreachable(&error)));
            return;
        }
        let _ = greet.try_send(Ok(Hello { version, interface: robot.server_version(), limits }));
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
                *lock(&self.trouble) = Some(self.place.explain(&error, None));
                return;
            }
            let Some((ask, answer)) = ask else { return };
            let done = match ask {
                Ask::Begin => self.begin(&robot, limits),
                Ask::End => Ok(()),
                Ask::Recover => self.recover(&robot),
            };
            let begun = ask == Ask::Begin && done.is_ok();
            let _ = answer.try_send(done); // whoever asked may have given up
            if begun {
                self.watch(asked);
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

    /// Never waits: in a motion it is called once in a millisecond.
    fn hear(&self, state: &RobotState) {
        if let Ok(mut reading) = self.reading.try_lock() {
            *reading = Some(Reading::of(state));
        }
    }

    fn begin(
        self: &Arc<Self>,
        robot: &Arc<Robot>,
        limits: [OtgLimits; JOINTS],
    ) -> Result<(), MotorsError> {
        let mode = (*lock(&self.reading)).map_or(RobotMode::Other, |reading| reading.mode);
        if let Some(obstacle) = obstacle(mode) {
            return Err(MotorsError::Refused { detail: obstacle.into() });
        }
        let ours = self.clone();
        let options = JointTargetControlOptions::default()
            .with_backend(Backend::RobotController)
            .with_limits(limits)
            .with_max_deviation(FAR)
            .with_settle(SETTLE)
            .with_observer(move |state, _| ours.hear(state));
        let control = robot.start_joint_target_control(options);
        let control = control.map_err(|error| self.place.explain(&error, self.collided()))?;
        *lock(&self.trouble) = None;
        *lock(&self.moving) = Some(Moving { control, commanded: Instant::now() });
        Ok(())
    }

    /// Waits for the end of a motion, or ends it when nobody wants it any more.
    fn watch(&self, asked: &Receiver<(Ask, Answer<()>)>) {
        loop {
            match asked.recv_timeout(LOOK) {
                Ok((Ask::End, answer)) => {
                    let _ = answer.try_send(self.end());
                    return;
                }
                Ok((Ask::Begin | Ask::Recover, answer)) => {
                    let _ = answer.try_send(Ok(())); // it moves: nothing is to be done
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.end(); // nobody is left who could be told
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let silence = match &*lock(&self.moving) {
                Some(moving) if moving.control.is_running() => moving.commanded.elapsed(),
                _ => Duration::MAX,
            };
            if is_abandoned(silence) {
                let ended = self.end().err().unwrap_or_else(|| MotorsError::Refused {
                    detail: format!(
                        "no set-point came for {silence:?}, its motion was stopped: is the machine \
                         overloaded?"
                    ),
                });
                *lock(&self.trouble) = Some(ended);
                return;
            }
        }
    }

    /// Ends a motion: at rest at its last target where it still runs, or says why it does not.
    fn end(&self) -> Result<(), MotorsError> {
        let Some(Moving { control, .. }) = lock(&self.moving).take() else { return Ok(()) };
        control.stop().map_err(|error| self.place.explain(&error, self.collided()))
    }

    fn recover(&self, robot: &Robot) -> Result<(), MotorsError> {
        let mode = (*lock(&self.reading)).map(|reading| reading.mode);
        if mode != Some(RobotMode::Reflex) {
            return Ok(());
        }
        let recovered = robot.automatic_error_recovery();
        recovered.map_err(|error| self.place.explain(&error, self.collided()))
    }

    fn collided(&self) -> Option<usize> {
        (*lock(&self.reading)).and_then(|reading| reading.collided)
    }
}
