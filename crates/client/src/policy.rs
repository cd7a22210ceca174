//! A policy behind a server, as if it were here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use engraft_core::{ChunkQueue, Merge, Observation, RobotSpec};
use engraft_wire::{
    ClientKeys, ClientSocket, Contract, ErrorCode, Hello, Incoming, Infer, Model, Refusal, Reply,
    Request, Response, SocketError, Status, Token, Welcome,
};

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// As `tcp://127.0.0.1:5555`.
    pub endpoint: String,
    /// The keys of a server with CURVE.
    pub keys: Option<ClientKeys>,
    /// The word of a server that asks for one.
    pub token: Option<Token>,
    /// This client's name, for the server's log.
    pub name: String,
    /// The robot that will be driven, for the server to refuse one that its policy does not fit.
    pub spec: Option<RobotSpec>,
    /// What becomes of chunks that overlap.
    pub merge: Merge,
    /// Actions of a chunk that are played before the next is asked for; all of them if absent.
    pub executed: Option<usize>,
    /// For each answer.
    pub timeout: Duration,
}

impl Config {
    /// The defaults at an endpoint.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            keys: None,
            token: None,
            name: "rust".into(),
            spec: None,
            merge: Merge::default(),
            executed: None,
            timeout: Duration::from_secs(2),
        }
    }
}

/// Why there is no action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers, or not what is understood.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The server says no.
    #[error("the policy server refuses: {}: {}", .0.code.name(), .0.detail)]
    Refused(Refusal),
    /// The server answers something else than it was asked.
    #[error("expected {expected} from the policy server, found another answer")]
    Answer {
        /// What was waited for.
        expected: &'static str,
    },
    /// A chunk has nothing for the tick that it was asked for.
    #[error("the chunk begins at tick {found}, expected one with an action for tick {expected}")]
    Tick {
        /// The current tick.
        expected: u64,
        /// The chunk's first.
        found: u64,
    },
}

/// See the [crate](crate).
pub struct Policy {
    socket: ClientSocket,
    config: Config,
    welcome: Welcome,
    seq: u64,
    episode: u32,
    /// Control ticks since the episode began.
    tick: u64,
    /// The tick of the newest chunk.
    asked: Option<u64>,
    frames: VecDeque<Observation>,
    queue: ChunkQueue,
}

impl Policy {
    /// Connects, and learns what the policy expects.
    ///
    /// # Errors
    ///
    /// When nobody answers in time, or the server refuses this robot, token or version.
    pub fn connect(config: Config) -> Result<Self, ClientError> {
        let socket = ClientSocket::connect(&config.endpoint, config.keys.clone())?;
        let welcome = greet(&socket, &config)?;
        let queue = ChunkQueue::new(config.merge);
        Ok(Self {
            socket,
            config,
            welcome,
            seq: 0,
            episode: 0,
            tick: 0,
            asked: None,
            frames: VecDeque::new(),
            queue,
        })
    }

    /// What the policy was trained for.
    pub fn contract(&self) -> &Contract {
        &self.welcome.contract
    }

    /// Which policy answers. A server may change it; then this is the new one after the next answer.
    pub fn model(&self) -> &Model {
        &self.welcome.model
    }

    /// Begins an episode: nothing that was seen or planned before counts.
    pub fn reset(&mut self) {
        self.episode += 1;
        self.tick = 0;
        self.asked = None;
        self.frames.clear();
        self.queue.clear();
    }

    /// The action of this control tick, in physical units.
    ///
    /// The server is asked when its last chunk is played out, or as many actions of it as
    /// [`Config::executed`] says.
    ///
    /// # Errors
    ///
    /// When there is none: nobody answers in time, or the server refuses. The tick counts, so that
    /// the next call is for the next.
    pub fn act(&mut self, observation: Observation) -> Result<Vec<f32>, ClientError> {
        self.see(observation);
        let tick = self.tick;
        self.tick += 1;
        let played = self.asked.map_or(u64::MAX, |asked| tick - asked);
        let due = self.config.executed.is_some_and(|most| played >= most.max(1) as u64);
        let mut found = tick;
        if due || self.queue.action(tick).is_none() {
            let reply = self.ask(tick, false)?;
            self.asked = Some(tick);
            self.queue.push(tick, reply.first_tick, &reply.chunk);
            found = reply.first_tick;
        }
        let action = self.queue.action(tick).map(<[f32]>::to_vec);
        action.ok_or(ClientError::Tick { expected: tick, found })
    }

    /// A whole chunk, with what the server says about it; counts as a control tick.
    ///
    /// # Errors
    ///
    /// As [`act`](Self::act).
    pub fn infer(
        &mut self,
        observation: Observation,
        attention: bool,
    ) -> Result<Reply, ClientError> {
        self.see(observation);
        let tick = self.tick;
        self.tick += 1;
        self.ask(tick, attention)
    }

    /// How the server fares.
    ///
    /// # Errors
    ///
    /// When it does not answer in time.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.exchange(&Request::Status, |answer| matches!(answer, Response::Status(_)))? {
            Response::Status(status) => Ok(status),
            _ => Err(ClientError::Answer { expected: "a status" }),
        }
    }

    /// How long the server takes to say that it lives.
    ///
    /// # Errors
    ///
    /// When it does not answer in time.
    pub fn ping(&mut self) -> Result<Duration, ClientError> {
        self.seq += 1;
        let (seq, began) = (self.seq, Instant::now());
        let pong = |answer: &Response| matches!(answer, Response::Pong { seq: of } if *of == seq);
        self.exchange(&Request::Ping { seq }, pong)?;
        Ok(began.elapsed())
    }

    /// Has the server read its run anew, and waits up to `patience` until it answers from it.
    ///
    /// # Errors
    ///
    /// When it may not, cannot, or does not in time; the model before then goes on.
    pub fn reload(&mut self, patience: Duration) -> Result<&Model, ClientError> {
        let timeout = std::mem::replace(&mut self.config.timeout, patience);
        let request = Request::Reload { session: self.welcome.session };
        let answer = self.exchange(&request, |answer| matches!(answer, Response::Reloaded(_)));
        self.config.timeout = timeout;
        let Response::Reloaded(model) = answer? else {
            return Err(ClientError::Answer { expected: "another model" });
        };
        self.welcome.model = model;
        Ok(&self.welcome.model)
    }

    /// Keeps what a request needs of the past; the first observation stands for what was before it.
    fn see(&mut self, observation: Observation) {
        let most = self.welcome.contract.num_frames.max(1);
        if self.frames.is_empty() {
            self.frames.extend(std::iter::repeat_n(observation, most));
            return;
        }
        self.frames.push_back(observation);
        while self.frames.len() > most {
            self.frames.pop_front();
        }
    }

    fn ask(&mut self, tick: u64, attention: bool) -> Result<Reply, ClientError> {
        for again in [true, false] {
            self.seq += 1;
            let (session, seq) = (self.welcome.session, self.seq);
            let stack = self.frames.iter().cloned().collect();
            let bare = Infer::bare(session, seq, stack);
            let infer = Infer { episode: self.episode, tick, attention, ..bare };
            let mine =
                |answer: &Response| matches!(answer, Response::Reply(reply) if reply.seq == seq);
            match self.exchange(&Request::Infer(infer), mine) {
                Ok(Response::Reply(reply)) => {
                    if reply.model_hash != self.welcome.model.hash {
                        self.welcome = greet(&self.socket, &self.config)?;
                    }
                    return Ok(reply);
                }
                // The server began anew meanwhile, or gave the place away.
                Err(ClientError::Refused(refusal))
                    if again && refusal.code == ErrorCode::NoSession =>
                {
                    self.welcome = greet(&self.socket, &self.config)?;
                }
                other => {
                    return Err(other.err().unwrap_or(ClientError::Answer { expected: "a chunk" }));
                }
            }
        }
        Err(ClientError::Answer { expected: "a chunk" })
    }

    /// Sends a request and waits for the answer that is its own.
    fn exchange(
        &self,
        request: &Request,
        is_own: impl Fn(&Response) -> bool,
    ) -> Result<Response, ClientError> {
        exchange(&self.socket, &self.config, request, self.seq, is_own)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let goodbye = Request::Goodbye { session: self.welcome.session };
        let _ = self.socket.send(&goodbye, Duration::ZERO); // good manners only
    }
}

fn greet(socket: &ClientSocket, config: &Config) -> Result<Welcome, ClientError> {
    let Config { name, spec, token, .. } = config.clone();
    let hello = Request::Hello(Hello { client: name, spec, token });
    match exchange(socket, config, &hello, 0, |answer| matches!(answer, Response::Welcome(_)))? {
        Response::Welcome(welcome) => Ok(welcome),
        _ => Err(ClientError::Answer { expected: "a welcome" }),
    }
}

/// Sends a request and waits for its answer; what comes late for another is forgotten.
fn exchange(
    socket: &ClientSocket,
    config: &Config,
    request: &Request,
    seq: u64,
    is_own: impl Fn(&Response) -> bool,
) -> Result<Response, ClientError> {
    let began = Instant::now();
    socket.send(request, config.timeout)?;
    loop {
        let left = config.timeout.saturating_sub(began.elapsed());
        match socket.receive(left)? {
            Incoming::Message(Response::Error(refusal))
                if refusal.seq.is_none_or(|of| of == seq) =>
            {
                return Err(ClientError::Refused(refusal));
            }
            Incoming::Message(answer) if is_own(&answer) => return Ok(answer),
            _ if left.is_zero() => return Err(socket.timeout(config.timeout).into()),
            _ => {}
        }
    }
}
