//! The control thread: senses, lets the [pilot](crate::pilot) decide, commands. Nothing else.
//!
//! It owns the motors and the clock. Requests reach it, and what happened leaves it, through
//! bounded channels that it never waits for. While an arm is connected it neither allocates nor
//! frees, nor locks, nor writes a log, whatever the state and whatever goes wrong on the bus; only
//! to look for an arm and to switch torque, when nothing moves, it takes what memory it needs.
//! Words are made by whoever reads them. Nobody waits *in* a channel of its: that would make it
//! take a lock to wake them. An emergency stop is one flag that it reads in every period.

mod controls;
#[cfg(test)]
mod faults;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engraft_wire::operator::MAX_JOINTS;

use crate::machine::{Cause, Event, State};
use crate::motors::{Motors, MotorsError, Sensed};
use crate::pace::Pace;
use crate::pilot::{Input, Output, Pilot};

pub use controls::{Controls, Sentinel};
pub use traffic::{Answered, Happening, Heading, Moment, Record, Refusal, Request};

use controls::{Asked, Flags};

/// Requests that may wait for the next period.
const MAX_REQUESTS: usize = 32;
/// Requests that one period takes.
const REQUESTS_PER_PERIOD: usize = 8;
/// What happened and was not yet looked at: some seconds of it.
const MAX_HAPPENINGS: usize = 8192;
/// How often each joint is examined, in seconds.
const EXAMINE_SECS: f64 = 0.5;
/// Readings that may be tried around the moment when torque goes on.
const READINGS: usize = 3;
/// How often an arm that is away is looked for.
const LOOK_FOR: Duration = Duration::from_millis(500);

/// How the control thread runs.
#[derive(Debug, Clone, Copy)]
pub struct ControlOptions {
    /// Set-points per second.
    pub setpoint_hz: u32,
    /// Whether real-time scheduling and locked memory are asked for.
    pub realtime: bool,
}

/// What the system granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Whether the thread has a real-time priority.
    pub priority: bool,
    /// Whether its memory is locked.
    pub memory: bool,
}

/// A running control thread. Dropping it brings the arm to rest first.
#[derive(Debug)]
pub struct Control {
    controls: Controls,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the thread. What happens comes out of the receiver, which must be emptied: what
    /// finds no room is dropped.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        motors: Box<dyn Motors>,
        pilot: Pilot,
        options: ControlOptions,
    ) -> io::Result<(Self, Receiver<Happening>)> {
        let (control_loop, controls, happenings) = ControlLoop::new(motors, pilot, options);
        let thread = thread::Builder::new().name("control".into());
        let thread = Some(thread.spawn(move || control_loop.run())?);
        Ok((Self { controls, thread }, happenings))
    }

    /// A way to ask.
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Brings the arm to rest and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.controls.shut_down();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has nothing left to stop here
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks for real-time scheduling of this thread; whether it was granted.
pub fn raise_priority() -> bool {
    use thread_priority::{
        RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let level = 50_u8.try_into().map(ThreadPriority::Crossplatform);
    level.is_ok_and(|level| set_thread_priority_and_policy(thread_native_id(), level, fifo).is_ok())
}

/// Asks for real-time scheduling of this thread and for the process's memory to stay in place.
pub fn grant() -> Granted {
    let all = rustix::mm::MlockAllFlags::CURRENT | rustix::mm::MlockAllFlags::FUTURE;
    Granted { priority: raise_priority(), memory: rustix::mm::mlockall(all).is_ok() }
}

/// What the control thread runs, for who has a thread of their own for it.
pub struct ControlLoop {
    cycle: Cycle,
    asked: Receiver<Asked>,
    realtime: bool,
}

impl ControlLoop {
    /// A loop that begins with [`run`](Self::run), a way to ask it, and what happens in it, which
    /// must be looked at: what finds no room is dropped.
    pub fn new(
        motors: Box<dyn Motors>,
        pilot: Pilot,
        options: ControlOptions,
    ) -> (Self, Controls, Receiver<Happening>) {
        let (requests, asked) = sync_channel(MAX_REQUESTS);
        let (tell, happenings) = sync_channel(MAX_HAPPENINGS);
        let controls = Controls::new(requests);
        let epoch = controls.epoch;
        let period = Duration::from_secs(1) / options.setpoint_hz.max(1);
        let joints = motors.joints().len();
        let every = f64::from(options.setpoint_hz) * EXAMINE_SECS / joints.max(1) as f64;
        let cycle = Cycle {
            motors,
            pilot,
            pace: Pace::RealTime { epoch, next: Duration::ZERO, period },
            tell,
            sensed: Sensed::new(joints),
            connected: false,
            looked: None,
            examined: 0,
            examine_every: (every as u64).max(1),
            ticks: 0,
            flags: controls.flags.clone(),
        };
        (Self { cycle, asked, realtime: options.realtime }, controls, happenings)
    }

    /// Runs until it is told to end, and the arm rests.
    pub fn run(self) {
        let _sentinel = Sentinel(self.cycle.flags.clone());
        if self.realtime {
            let _ = grant(); // asked for before, and reported there
        }
        self.cycle.run(&self.asked);
    }
}

struct Cycle {
    motors: Box<dyn Motors>,
    pilot: Pilot,
    pace: Pace,
    tell: SyncSender<Happening>,
    sensed: Sensed,
    connected: bool,
    looked: Option<Duration>,
    examined: usize,
    examine_every: u64,
    ticks: u64,
    flags: Arc<Flags>,
}

impl Cycle {
    fn run(mut self, asked: &Receiver<Asked>) {
        let mut stopping = false;
        loop {
            let late = self.pace.wait();
            let now = self.pace.now();
            if self.flags.estop.swap(false, Ordering::AcqRel) {
                self.step(Input::Event(Event::Estop), now);
            }
            if self.flags.stop.load(Ordering::Acquire) && !stopping {
                stopping = true;
                self.step(Input::Event(Event::Stop), now);
            }
            for _ in 0..REQUESTS_PER_PERIOD {
                match asked.try_recv() {
                    Ok(asked) => self.answer(asked, now),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if self.pilot.state() == State::Disconnected {
                self.look_for(now);
            }
            if self.connected {
                self.sense(now);
            }
            // What was sensed may have taken its time.
            let output = self.step(Input::Tick, self.pace.now());
            self.command(output, now);
            self.examine(now);
            self.moment(now, late);
            // Done once nothing moves: neither on its way nor on its way to rest.
            let state = self.pilot.state();
            if stopping && !state.is_moving() && !matches!(state, State::Stopping { .. }) {
                return;
            }
        }
    }

    fn step(&mut self, input: Input, now: Duration) -> Option<Output> {
        let output = self.pilot.step(&input, now);
        // Where there is no room, a journal has a hole; the arm does not wait for it.
        let _ = self.tell.try_send(Happening::Record(Record { now, input, output }));
        output
    }

    fn answer(&mut self, asked: Asked, now: Duration) {
        let Asked { request, answer } = asked;
        let before = (self.pilot.state(), self.pilot.counters().refused);
        let done = match request {
            Request::Torque(on) => self.torque(on, now),
            Request::Input(input) => {
                let event = if let Input::Event(event) = &input { Some(*event) } else { None };
                if event == Some(Event::Reset)
                    && self.connected
                    && let Err(error) = self.motors.acknowledge()
                {
                    let _ = self.tell.try_send(Happening::Trouble(error));
                }
                self.step(input, now);
                let after = (self.pilot.state(), self.pilot.counters().refused);
                let ignored = event.is_some() && before == after;
                if ignored || after.1 > before.1 {
                    let why = self.pilot.trouble().filter(|_| !ignored);
                    Err(why.map_or(Refusal::Ignored(after.0), |why| Refusal::Trouble(why.clone())))
                } else {
                    Ok(())
                }
            }
        };
        if let Some(answer) = answer {
            // Whoever asked may have given up. The last one to let a channel go frees it, which
            // is not for this thread to do.
            let _ = answer.try_send(done.map(|()| self.pilot.state()));
            let _ = self.tell.try_send(Happening::Answered(Answered(answer)));
        }
    }

    fn torque(&mut self, on: bool, now: Duration) -> Result<(), Refusal> {
        let state = self.pilot.state();
        if !self.connected {
            return Err(Refusal::NotConnected);
        }
        if on && state != State::Idle {
            return Err(Refusal::NoTorque { state, torque: self.pilot.torque() });
        }
        if !on && (state.is_moving() || matches!(state, State::Stopping { .. })) {
            return Err(Refusal::Moving);
        }
        if on {
            self.read_anew()?;
        }
        self.motors.torque(on).map_err(|error| {
            let words = error.to_string();
            self.fail(error, now);
            Refusal::Motors(words)
        })?;
        // Where the joints are now: torque may have moved them by a tick. The arm stands, so the
        // time that this took makes no period late.
        self.pace.restart();
        if !on {
            self.step(Input::Event(Event::TorqueOff), self.pace.now());
            return Ok(());
        }
        let read = self.read_anew();
        self.step(Input::Event(Event::TorqueOn), self.pace.now());
        if self.pilot.torque() {
            return Ok(());
        }
        // Set-points that began where the joints were before would lead them back there.
        let _ = self.motors.torque(false);
        read.and(Err(Refusal::Ignored(self.pilot.state())))
    }

    /// Reads where the joints are now, and whether they may have torque there.
    fn read_anew(&mut self) -> Result<(), Refusal> {
        let mut read = Ok(());
        for _ in 0..READINGS {
            self.sense(self.pace.now());
            read = self.pilot.may_have_torque();
            if read.is_ok() {
                break;
            }
        }
        read.map_err(Refusal::Trouble)
    }

    fn look_for(&mut self, now: Duration) {
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LOOK_FOR) {
            return;
        }
        self.looked = Some(now);
        self.connected = false;
        match self.motors.identify() {
            Ok(identities) => {
                self.connected = true;
                let _ = self.tell.try_send(Happening::Connected(identities));
                self.step(Input::Event(Event::Connected), self.pace.now());
            }
            Err(error) => {
                let _ = self.tell.try_send(Happening::Trouble(error));
            }
        }
        // That took as long as it took, and is no gap of a moving arm.
        self.pace.restart();
    }

    fn sense(&mut self, now: Duration) {
        // A reading is as old as its question: if this process is suspended in between, the answer
        // lies there and tells of before.
        let asked = self.pace.now();
        match self.motors.sense(&mut self.sensed) {
            Ok(()) => {
                let reading = Pilot::reading(&self.sensed);
                self.step(reading, asked);
            }
            Err(error) => self.fail(error, now),
        }
    }

    fn command(&mut self, output: Option<Output>, now: Duration) {
        let goals = output.and_then(|output| output.goals);
        if let (Some(goals), true) = (goals, self.connected) {
            let goals = goals.get(..self.sensed.position.len()).unwrap_or_default();
            if let Err(error) = self.motors.command(goals) {
                self.fail(error, now);
            }
        }
    }

    fn examine(&mut self, now: Duration) {
        self.ticks += 1;
        let joints = self.sensed.position.len();
        if !self.connected || joints == 0 || !self.ticks.is_multiple_of(self.examine_every) {
            return;
        }
        let joint = self.examined % joints;
        self.examined = joint + 1;
        match self.motors.examine(joint) {
            Ok(health) => {
                let _ = self.tell.try_send(Happening::Examined { joint, health });
            }
            // A silent joint shows in the next readings, which know how often is too often.
            Err(MotorsError::Silent { .. } | MotorsError::Damaged { .. }) => {}
            Err(error) => self.fail(error, now),
        }
    }

    /// What an error of the motors is for the pilot.
    fn fail(&mut self, error: MotorsError, now: Duration) {
        let known = self.pilot.state().is_latched();
        let input = match &error {
            MotorsError::Silent { .. } | MotorsError::Damaged { .. } => Input::Missed,
            MotorsError::HungUp { .. } | MotorsError::Port { .. } => {
                self.connected = false;
                Input::Event(Event::Failed(Cause::HungUp))
            }
            MotorsError::Alarm { .. } => Input::Event(Event::Failed(Cause::Alarm)),
            MotorsError::Restarted { .. } => Input::Event(Event::Failed(Cause::Restarted)),
            _ => Input::Event(Event::Failed(Cause::Arm)),
        };
        self.step(input, now);
        if !known {
            let _ = self.tell.try_send(Happening::Trouble(error));
        }
    }

    fn moment(&self, now: Duration, late: Duration) {
        let pilot = &self.pilot;
        let fill = |values: &mut dyn Iterator<Item = f64>| {
            let mut all = [0.0; MAX_JOINTS];
            all.iter_mut().zip(values).for_each(|(all, value)| *all = value);
            all
        };
        let mut load_permille = [0; MAX_JOINTS];
        for (all, load) in load_permille.iter_mut().zip(&self.sensed.load_permille) {
            *all = *load;
        }
        let moment = Moment {
            now,
            late,
            state: pilot.state(),
            torque: pilot.torque(),
            episode: pilot.episode(),
            position_rad: fill(&mut pilot.measured_rad().iter().copied()),
            velocity_rad_s: fill(&mut pilot.velocity_rad_s().iter().copied()),
            goal_rad: fill(&mut pilot.goals_rad()),
            load_permille,
            counters: pilot.counters(),
        };
        let _ = self.tell.try_send(Happening::Moment(moment));
    }
}
