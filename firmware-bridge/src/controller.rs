//! One control period at a time: what was sensed and what the policy said go in, a set-point and
//! perhaps a question come out. No clock, no socket, no thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use engraft_core::{ActionChunk, AttentionMap, ChunkQueue, Merge, Observation, RobotSpec};
use engraft_wire::Welcome;

use crate::accept::Expected;
use crate::limits::{DimensionLimits, Limiter, LimitsError, Reason, measured_dimensions};
use crate::link::{Ask, LinkEvent};
use crate::machine::{Cause, Event, Motion, Patience, State};

/// What the controller goes by.
#[derive(Debug, Clone, Copy)]
pub struct ControlConfig {
    /// How long things may take.
    pub patience: Patience,
    /// A new chunk is asked for when no more than this part of the playing one is left.
    pub ask_below: f64,
    /// What is played where chunks overlap.
    pub merge: Merge,
    /// After this long without an answer a question counts as lost and is asked again.
    pub answer_timeout: Duration,
    /// Whether to ask where the policy looks.
    pub attention: bool,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            patience: Patience {
                chunk_age: Duration::from_secs(2),
                hold: Duration::from_secs(2),
                first_chunk: Duration::from_secs(10),
                stop: Duration::from_secs(2),
            },
            ask_below: 0.5,
            merge: Merge::default(),
            answer_timeout: Duration::from_secs(2),
            attention: false,
        }
    }
}

/// What happened, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Chunks that were played.
    pub chunks: u64,
    /// Chunks that were refused.
    pub rejected: u64,
    /// Questions that the server could not answer.
    pub errors: u64,
    /// Periods in which the arm held for want of an action.
    pub held: u64,
    /// Periods in which a limit changed the set-point.
    pub limited: u64,
    /// Times the server was lost.
    pub lost: u64,
    /// Dimensions that a limit changed, each with how often.
    pub limited_dimensions: BTreeMap<usize, u64>,
}

/// What came of one period.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The set-point, unless nothing may be sent.
    pub action: Vec<f32>,
    /// The dimensions that a limit changed.
    pub limited: Vec<(usize, Reason)>,
    /// What is left of the chunk that was taken in this period: its first action is for now.
    pub chunk: Option<ActionChunk>,
    /// Where the policy looked when it made that chunk.
    pub attention: Vec<AttentionMap>,
}

/// The bridge without its threads.
pub struct Controller {
    config: ControlConfig,
    spec: RobotSpec,
    /// For each action dimension, the proprio dimension that measures it.
    measured: Vec<Option<usize>>,
    /// What they say now.
    now_at: Vec<Option<f32>>,
    state: State,
    queue: ChunkQueue,
    limiter: Limiter,
    frames: VecDeque<Arc<Observation>>,
    welcome: Option<Welcome>,
    /// Whether the server that agreed is still there.
    connected: bool,
    /// The model that the episode began with.
    model_hash: Option<String>,
    episode: u32,
    tick: u64,
    newest: Option<u64>,
    asked: Option<(u64, Duration)>,
    counters: Counters,
    round_trips: Vec<u32>,
    last_trouble: Option<String>,
}

impl Controller {
    /// A controller for a robot.
    ///
    /// # Errors
    ///
    /// When the limits make no sense or are not one for each action dimension.
    pub fn new(
        spec: RobotSpec,
        limits: Vec<DimensionLimits>,
        config: ControlConfig,
    ) -> Result<Self, LimitsError> {
        let (expected, found) = (spec.action_dim(), limits.len());
        if expected != found {
            return Err(LimitsError::Count { expected, found });
        }
        Ok(Self {
            config,
            measured: measured_dimensions(&spec),
            now_at: vec![None; expected],
            limiter: Limiter::new(limits, spec.period_secs())?,
            spec,
            // An arm that needs neither connection nor torque stands ready.
            state: State::Ready,
            queue: ChunkQueue::new(config.merge),
            frames: VecDeque::new(),
            welcome: None,
            connected: false,
            model_hash: None,
            episode: 0,
            tick: 0,
            newest: None,
            asked: None,
            counters: Counters::default(),
            round_trips: Vec::new(),
            last_trouble: None,
        })
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// From question to answer, in microseconds, each time.
    pub fn round_trips(&self) -> &[u32] {
        &self.round_trips
    }

    /// Whether the policy server is there.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The policy server's last refusal, or why a chunk of it was not taken.
    pub fn last_trouble(&self) -> Option<&str> {
        self.last_trouble.as_deref()
    }

    /// The policy that was agreed on.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// Takes an event of the state machine.
    pub fn on(&mut self, event: Event, now: Duration) {
        let (state, commands) = self.state.step(event, now, &self.config.patience);
        self.state = state;
        if commands.clear_queue {
            self.queue.clear();
        }
    }

    /// Begins an episode with the arm standing where `observation` says.
    pub fn start(&mut self, episode: u32, observation: &Observation, now: Duration) {
        self.episode = episode;
        self.tick = 0;
        self.newest = None;
        self.asked = None;
        self.queue.clear();
        self.frames.clear();
        self.model_hash = self.welcome.as_ref().map(|welcome| welcome.model.hash.clone());
        self.measure(&observation.proprio);
        self.limiter.reset(&self.now_at);
        self.on(Event::Start, now);
    }

    fn measure(&mut self, proprio: &[f32]) {
        for (now_at, index) in self.now_at.iter_mut().zip(&self.measured) {
            *now_at = index.and_then(|index| proprio.get(index).copied());
        }
    }

    /// Takes what the policy server said. Whether it was a chunk that is now played.
    pub fn hear(&mut self, heard: LinkEvent, now: Duration, outputs: &mut Outputs) -> bool {
        match heard {
            LinkEvent::Welcome(welcome) => self.greet(*welcome, now),
            LinkEvent::Refused(detail) => {
                self.last_trouble = Some(detail);
                self.on(Event::Mismatch, now);
            }
            LinkEvent::Lost(detail) => {
                self.counters.lost += 1;
                self.connected = false;
                self.asked = None;
                self.last_trouble = Some(detail);
                self.on(Event::Lost, now);
            }
            LinkEvent::Failed(refusal) => {
                self.counters.errors += 1;
                self.asked = None;
                self.last_trouble = Some(format!("{}: {}", refusal.code.name(), refusal.detail));
            }
            LinkEvent::Reply { reply, round_trip } => {
                self.round_trips.push(u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX));
                return self.reply(*reply, now, outputs);
            }
        }
        false
    }

    /// Agrees with a server, or finds that it does not fit.
    fn greet(&mut self, welcome: Welcome, now: Duration) {
        let fits = welcome.contract.spec.check(&self.spec);
        let same = self.model_hash.as_ref().is_none_or(|hash| *hash == welcome.model.hash);
        let moving = self.state.is_moving();
        if let Err(error) = fits {
            self.last_trouble = Some(error.to_string());
            self.on(Event::Mismatch, now);
        } else if moving && !same {
            self.last_trouble = Some("the server came back with another model".into());
            self.on(Event::Mismatch, now);
        } else {
            self.asked = None;
            self.connected = true;
            self.welcome = Some(welcome);
            self.on(Event::Leased, now);
        }
    }

    fn reply(&mut self, reply: engraft_wire::Reply, now: Duration, outputs: &mut Outputs) -> bool {
        if self.asked.is_some_and(|(tick, _)| tick <= reply.first_tick) {
            self.asked = None;
        }
        let Some(welcome) = &self.welcome else { return false };
        // Between episodes nothing is played, and what still comes is no trouble either.
        if !self.state.is_moving() {
            return false;
        }
        let expected = Expected {
            welcome,
            episode: self.episode,
            tick: self.tick,
            newest: self.newest,
            now,
            max_age: self.config.patience.chunk_age,
        };
        if let Err(rejection) = expected.check(&reply) {
            self.counters.rejected += 1;
            self.last_trouble = Some(rejection.to_string());
            return false;
        }
        self.newest = Some(reply.first_tick);
        self.counters.chunks += 1;
        outputs.chunk = rest(&reply.chunk, (self.tick - reply.first_tick) as usize);
        outputs.attention = reply.attention;
        self.on(Event::Chunk { observed: Duration::from_nanos(reply.t_obs_nanos) }, now);
        self.queue.push(self.tick, reply.first_tick, &reply.chunk)
    }

    /// Begins a control period. Ticks count them from the episode's zero and never go back.
    pub fn set_tick(&mut self, tick: u64) {
        self.tick = tick;
    }

    /// Takes what was sensed in this period; a question to ask, if one is due.
    pub fn sense(&mut self, observation: Arc<Observation>, now: Duration) -> Option<Ask> {
        let tick = self.tick;
        self.measure(&observation.proprio);
        let welcome = self.welcome.as_ref()?;
        let num_frames = welcome.contract.num_frames.max(1);
        if self.frames.is_empty() {
            self.frames.extend(std::iter::repeat_n(observation.clone(), num_frames - 1));
        }
        self.frames.push_back(observation);
        while self.frames.len() > num_frames {
            self.frames.pop_front();
        }
        if !self.state.is_moving() || !self.connected {
            return None;
        }
        let waiting = self
            .asked
            .is_some_and(|(_, when)| now.saturating_sub(when) < self.config.answer_timeout);
        let left = self.queue.remaining(tick) as f64 / welcome.contract.horizon.max(1) as f64;
        if waiting || left > self.config.ask_below {
            return None;
        }
        self.asked = Some((tick, now));
        let frames = self.frames.iter().cloned().collect();
        let (episode, attention) = (self.episode, self.config.attention);
        Some(Ask { episode, tick, t_obs: now, attention, frames })
    }

    /// What the policy wants from this period on, action after action, as far as it goes.
    pub fn wanted(&self) -> impl Iterator<Item = &[f32]> {
        (self.tick..).map_while(|tick| self.queue.action(tick))
    }

    /// When that was sensed from which the playing chunk was made.
    pub fn observed(&self) -> Option<Duration> {
        match self.state {
            State::Running { observed } => Some(observed),
            _ => None,
        }
    }

    /// Whether an answer is awaited.
    pub fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The set-point of this period, after every limit; whether one may be sent.
    pub fn act(&mut self, now: Duration, outputs: &mut Outputs) -> bool {
        self.on(Event::Tick, now);
        if matches!(self.state, State::Running { .. }) && self.queue.action(self.tick).is_none() {
            self.on(Event::Underrun, now);
        }
        if matches!(self.state, State::Hold { .. }) {
            self.counters.held += 1;
        }
        let target = match self.state.motion() {
            Motion::Nothing => return false,
            Motion::Rest => None,
            Motion::Play => {
                self.limiter.follow(&self.now_at);
                self.queue.action(self.tick)
            }
        };
        self.limiter.step(target, &mut outputs.action, &mut outputs.limited);
        if !outputs.limited.is_empty() {
            self.counters.limited += 1;
            for (dimension, _) in &outputs.limited {
                *self.counters.limited_dimensions.entry(*dimension).or_default() += 1;
            }
        }
        if self.state.motion() == Motion::Rest && self.limiter.at_rest() {
            self.on(Event::AtRest, now);
        }
        true
    }

    /// Why it may not go on, with the last trouble that the policy server made.
    pub fn fault(&self) -> Option<(Cause, Option<&str>)> {
        match self.state {
            State::Fault(cause) => Some((cause, self.last_trouble())),
            _ => None,
        }
    }
}

/// A chunk without its first actions.
fn rest(chunk: &ActionChunk, skip: usize) -> Option<ActionChunk> {
    let horizon = chunk.horizon().checked_sub(skip)?;
    let values = chunk.values().get(skip * chunk.action_dim()..)?;
    ActionChunk::new(horizon, chunk.action_dim(), values.to_vec()).ok()
}

#[cfg(test)]
mod tests;
