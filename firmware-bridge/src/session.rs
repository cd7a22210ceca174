//! Episodes on an arm: the control thread's loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engraft_core::Outcome;
use serde::Serialize;

use crate::arms::{Arm, ArmError};
use crate::because;
use crate::controller::{Controller, Outputs};
use crate::limits::LimitsError;
use crate::link::{Link, LinkError};
use crate::machine::{Cause, Event, State};
use crate::pace::Pace;
use crate::recorder::{Moment, Recorder, RecorderError};

/// Periods that the loop may be late before it counts as interrupted.
const GAP_PERIODS: u32 = 3;
/// Periods that an arm may take to come to rest after an episode.
const REST_PERIODS: usize = 50;

/// Why the bridge cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// No policy server answered.
    #[error("no policy server at {endpoint} within {waited:?}{}", because(.trouble.as_ref()))]
    NoServer {
        /// Where it was looked for.
        endpoint: String,
        /// For how long.
        waited: Duration,
        /// What was heard last.
        trouble: Option<String>,
    },
    /// A fault that only a person may clear.
    #[error("stopped by a fault: {cause}{}", because(.trouble.as_ref()))]
    Fault {
        /// What it is.
        cause: Cause,
        /// What the policy server said last.
        trouble: Option<String>,
    },
    /// A stop was asked for before there was anything to stop.
    #[error("stopped before the first episode")]
    Stopped,
    /// The arm failed.
    #[error(transparent)]
    Arm(#[from] ArmError),
    /// The limits make no sense.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// There can be no link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The log cannot be written.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
}

/// How an episode went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpisodeReport {
    /// Its number.
    pub episode: u32,
    /// Index of the instance.
    pub instance: usize,
    /// The instance's name.
    pub instance_name: String,
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Periods played.
    pub steps: usize,
}

/// An arm, a policy server, and what goes on between them.
pub struct Session<'a, A> {
    /// The arm.
    pub arm: A,
    /// What decides.
    pub controller: Controller,
    /// The way to the policy.
    pub link: Link,
    /// The rhythm.
    pub pace: Pace,
    /// Where it is written down.
    pub recorder: Option<Recorder>,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
    /// How long a lockstep waits for one answer.
    pub answer_timeout: Duration,
    /// Called after every period with the tick and the state.
    pub watch: Box<dyn FnMut(u64, State) + 'a>,
}

impl<A: Arm> Session<'_, A> {
    /// Waits for a server whose policy fits; before every episode, since servers come and go.
    ///
    /// # Errors
    ///
    /// When none answers in time, its policy does not fit, or a stop is asked for.
    pub fn connect(&mut self, endpoint: &str, timeout: Duration) -> Result<(), BridgeError> {
        let began = Instant::now();
        // What came since the last episode.
        while let Some(heard) = self.link.poll() {
            self.controller.hear(heard, self.pace.now(), &mut Outputs::default());
        }
        while self.controller.state() == State::Ready {
            if self.stopped() {
                return Err(BridgeError::Stopped);
            }
            let waited = began.elapsed();
            if waited > timeout {
                let trouble = self.controller.last_trouble().map(str::to_owned);
                return Err(BridgeError::NoServer {
                    endpoint: endpoint.to_owned(),
                    waited,
                    trouble,
                });
            }
            if let Some(heard) = self.link.wait(Duration::from_millis(50)) {
                self.controller.hear(heard, self.pace.now(), &mut Outputs::default());
            }
        }
        self.check()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether it may go on.
    ///
    /// # Errors
    ///
    /// Once the controller is in fault.
    pub fn check(&self) -> Result<(), BridgeError> {
        match self.controller.fault() {
            Some((cause, trouble)) => {
                Err(BridgeError::Fault { cause, trouble: trouble.map(str::to_owned) })
            }
            None => Ok(()),
        }
    }

    /// Plays one episode. A fault ends it as stopped and is an error at the next one.
    ///
    /// # Errors
    ///
    /// When the arm fails, or no policy fits.
    pub fn episode(
        &mut self,
        episode: u32,
        instance: usize,
        seed: u64,
    ) -> Result<EpisodeReport, BridgeError> {
        self.arm.begin(instance, seed)?;
        let instance_name = self.arm.instance_name(instance);
        let first = self.arm.sense()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(self.arm.spec(), self.arm.task(), &instance_name, seed);
        }
        self.pace.restart();
        self.controller.start(episode, &first, self.pace.now());
        let began = self.pace.now();
        let (mut outcome, mut steps) = (Outcome::Failure, 0);
        for tick in 0..self.arm.max_steps() as u64 {
            let late = self.pace.wait();
            if late > self.period() * GAP_PERIODS {
                self.controller.on(Event::Gap, self.pace.now());
            }
            if self.stopped() {
                self.controller.on(Event::Stop, self.pace.now());
            }
            let played = self.period_of(tick, began);
            (self.watch)(tick, self.controller.state());
            if let Err(error) = played {
                self.controller.on(Event::Failed(Cause::Arm), self.pace.now());
                self.end(Outcome::Stopped);
                return Err(error.into());
            }
            steps += 1;
            if self.arm.success() == Some(true) {
                outcome = Outcome::Success;
                break;
            }
            if !self.controller.state().is_moving() {
                outcome = Outcome::Stopped;
                break;
            }
        }
        if self.arm.success().is_none() && outcome == Outcome::Failure {
            outcome = Outcome::Unknown;
        }
        self.come_to_rest()?;
        self.end(outcome);
        Ok(EpisodeReport { episode, instance, instance_name, seed, outcome, steps })
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(recorder) = &mut self.recorder {
            recorder.end(outcome);
        }
    }

    fn period(&self) -> Duration {
        Duration::from_secs_f64(self.arm.spec().period_secs())
    }

    /// Sense, ask, limit, move.
    fn period_of(&mut self, tick: u64, began: Duration) -> Result<(), ArmError> {
        let mut outputs = Outputs::default();
        self.controller.set_tick(tick);
        while let Some(heard) = self.link.poll() {
            self.controller.hear(heard, self.pace.now(), &mut outputs);
        }
        let observation = self.arm.sense()?;
        let now = self.pace.now();
        if let Some(ask) = self.controller.sense(observation.clone(), now) {
            self.link.ask(ask);
        }
        if self.pace.is_lockstep() {
            self.await_answer(&mut outputs);
        }
        let now = self.pace.now();
        if !self.controller.act(now, &mut outputs) {
            return Ok(());
        }
        self.arm.apply(&outputs.action)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.step(Moment {
                time_secs: now.saturating_sub(began).as_secs_f64(),
                observation,
                chunk: outputs.chunk,
                action: outputs.action,
                limited: outputs.limited.iter().map(|(dimension, _)| *dimension).collect(),
                attention: outputs.attention,
            });
        }
        Ok(())
    }

    /// Waits for the answer to a question, or, while the server is away, for it to come back.
    fn await_answer(&mut self, outputs: &mut Outputs) {
        let began = Instant::now();
        let period = self.period();
        loop {
            let away = !self.controller.is_connected();
            let limit = if away { period } else { self.answer_timeout };
            let waited = began.elapsed();
            if self.stopped() || !(away || self.controller.is_waiting()) {
                return;
            }
            if waited >= limit {
                // The period itself passes anyway.
                self.pace.pass(waited.saturating_sub(period));
                return;
            }
            let left = limit.saturating_sub(waited).min(Duration::from_millis(50));
            if let Some(heard) = self.link.wait(left) {
                self.controller.hear(heard, self.pace.now(), outputs);
            }
        }
    }

    /// Lets the arm come to rest, so that the next episode begins with one that stands still.
    fn come_to_rest(&mut self) -> Result<(), ArmError> {
        self.controller.on(Event::Stop, self.pace.now());
        let mut outputs = Outputs::default();
        for _ in 0..REST_PERIODS {
            if !matches!(self.controller.state(), State::Stopping { .. }) {
                break;
            }
            self.pace.wait();
            if self.controller.act(self.pace.now(), &mut outputs) {
                self.arm.apply(&outputs.action)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
