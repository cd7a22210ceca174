//! The thread that talks to the policy server, so that the control thread never waits for it.
//!
//! Questions go in through a slot that holds the newest one; answers come out through a bounded
//! channel. The thread says hello, keeps the connection alive with pings, and begins anew when
//! the server is gone.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_core::Observation;
use engraft_wire::{
    ClientKeys, ClientSocket, ErrorCode, Hello, Incoming, Infer, Refusal, Reply, Request, Response,
    Session, SocketError, Waker, Welcome,
};

/// A question to the policy.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The running episode.
    pub episode: u32,
    /// The tick of the newest observation.
    pub tick: u64,
    /// When it was sensed.
    pub t_obs: Duration,
    /// Whether to ask where the policy looks.
    pub attention: bool,
    /// The frame stack, oldest first.
    pub frames: Vec<Arc<Observation>>,
}

/// What comes of it.
#[derive(Debug, Clone)]
pub enum LinkEvent {
    /// A server answered the handshake.
    Welcome(Box<Welcome>),
    /// A server refused this robot, with expected and found.
    Refused(String),
    /// A chunk.
    Reply {
        /// As it came.
        reply: Box<Reply>,
        /// From question to answer, on this machine's clock.
        round_trip: Duration,
    },
    /// The newest question has no answer.
    Failed(Refusal),
    /// The server is gone; it is looked for until it is back.
    Lost(String),
}

/// How patient the link is.
#[derive(Debug, Clone, Copy)]
pub struct LinkConfig {
    /// For an answer to a handshake.
    pub hello: Duration,
    /// Silence after which a ping goes out.
    pub ping: Duration,
    /// Silence after which the server counts as lost.
    pub lost: Duration,
    /// Between two attempts to connect.
    pub retry: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(2),
            ping: Duration::from_millis(500),
            lost: Duration::from_secs(3),
            retry: Duration::from_millis(250),
        }
    }
}

/// Why there can be no link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The endpoint cannot be used.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The thread cannot be started.
    #[error("cannot start the thread that talks to the policy server")]
    Thread(#[source] io::Error),
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Option<Ask>>,
    stop: AtomicBool,
}

/// A running conversation with a policy server.
pub struct Link {
    shared: Arc<Shared>,
    waker: Waker,
    events: Receiver<LinkEvent>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Starts talking to the server at `endpoint`, which need not be there yet.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed or no thread can be started.
    pub fn open(
        endpoint: &str,
        keys: Option<ClientKeys>,
        hello: Hello,
        config: LinkConfig,
    ) -> Result<Self, LinkError> {
        let socket = ClientSocket::connect(endpoint, keys)?;
        let waker = socket.waker()?;
        let shared = Arc::new(Shared::default());
        let (sender, events) = sync_channel(64);
        let talk = Talk { socket, shared: shared.clone(), events: sender, hello, config, seq: 0 };
        let thread = thread::Builder::new().name("policy-link".into()).spawn(move || talk.run());
        let thread = Some(thread.map_err(LinkError::Thread)?);
        Ok(Self { shared, waker, events, thread })
    }

    /// Hands a question over; one that is still waiting is forgotten. Never waits for the server.
    pub fn ask(&self, ask: Ask) {
        // The lock is held for one move, on both sides.
        *self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(ask);
        self.waker.wake();
    }

    /// What came, if anything did.
    pub fn poll(&self) -> Option<LinkEvent> {
        self.events.try_recv().ok()
    }

    /// What comes within `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<LinkEvent> {
        self.events.recv_timeout(timeout).ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has nothing left to stop here
        }
    }
}

/// Why a conversation ended.
enum End {
    Stopped,
    Refused(String),
    Lost(String),
    /// Another model answers than the one of the handshake.
    Changed,
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        use std::error::Error as _;
        let cause = error.source().map_or(String::new(), |source| format!(": {source}"));
        Self::Lost(format!("{error}{cause}"))
    }
}

/// The thread's side.
struct Talk {
    socket: ClientSocket,
    shared: Arc<Shared>,
    events: SyncSender<LinkEvent>,
    hello: Hello,
    config: LinkConfig,
    seq: u64,
}

impl Talk {
    fn run(mut self) {
        let mut connected = true;
        loop {
            let end = match self.greet() {
                Ok((session, hash)) => {
                    connected = true;
                    let end = self.converse(session, &hash);
                    if matches!(end, End::Stopped) {
                        let goodbye = Request::Goodbye { session };
                        let _ = self.socket.send(&goodbye, Duration::ZERO); // good manners only
                    }
                    end
                }
                Err(end) => end,
            };
            match end {
                End::Stopped => return,
                End::Refused(detail) => self.tell(LinkEvent::Refused(detail)),
                // Said once, not at every attempt to get it back.
                End::Lost(detail) if connected => {
                    connected = false;
                    self.tell(LinkEvent::Lost(detail));
                }
                End::Lost(_) => {}
                // A handshake tells which; nothing is lost.
                End::Changed => continue,
            }
            self.pause(self.config.retry);
            if self.stopped() || self.socket.reconnect().is_err() {
                return;
            }
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    fn pause(&self, time: Duration) {
        let began = Instant::now();
        while !self.stopped() && began.elapsed() < time {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A control thread that does not listen loses news rather than blocking this thread.
    fn tell(&self, event: LinkEvent) {
        let _ = self.events.try_send(event);
    }

    fn greet(&mut self) -> Result<(Session, String), End> {
        let began = Instant::now();
        let left = |limit: Duration| limit.saturating_sub(began.elapsed());
        let hello = Request::Hello(self.hello.clone());
        // In short pieces, so that a stop is heard while nobody is there.
        while let Err(error) = self.socket.send(&hello, Duration::from_millis(100)) {
            if self.stopped() {
                return Err(End::Stopped);
            }
            if left(self.config.hello).is_zero() {
                return Err(error.into());
            }
        }
        while !left(self.config.hello).is_zero() {
            match self.socket.receive(left(self.config.hello))? {
                Incoming::Message(Response::Welcome(welcome)) => {
                    // What was asked before is of another conversation.
                    self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let (session, hash) = (welcome.session, welcome.model.hash.clone());
                    self.tell(LinkEvent::Welcome(Box::new(welcome)));
                    return Ok((session, hash));
                }
                Incoming::Message(Response::Error(refusal)) => {
                    let told = format!("{}: {}", refusal.code.name(), refusal.detail);
                    return Err(match refusal.code {
                        ErrorCode::ContractMismatch => End::Refused(refusal.detail),
                        _ => End::Lost(told),
                    });
                }
                _ if self.stopped() => return Err(End::Stopped),
                _ => {}
            }
        }
        Err(End::Lost("the server does not answer the handshake".into()))
    }

    fn converse(&mut self, session: Session, hash: &str) -> End {
        match self.talk(session, hash) {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    fn talk(&mut self, session: Session, hash: &str) -> Result<std::convert::Infallible, End> {
        let [mut heard, mut pinged, mut asked] = [Instant::now(); 3];
        loop {
            if self.stopped() {
                return Err(End::Stopped);
            }
            let ask = self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(ask) = ask {
                self.seq += 1;
                asked = Instant::now();
                let infer = infer(session, self.seq, &ask);
                self.socket.send(&Request::Infer(infer), Duration::from_millis(100))?;
            }
            if heard.elapsed() > self.config.lost {
                let silence = self.config.lost;
                return Err(End::Lost(format!("the server was silent for {silence:?}")));
            }
            if heard.elapsed() > self.config.ping && pinged.elapsed() > self.config.ping {
                pinged = Instant::now();
                self.socket.send(&Request::Ping { seq: self.seq }, Duration::from_millis(100))?;
            }
            let Incoming::Message(response) = self.socket.receive(self.config.ping / 2)? else {
                continue;
            };
            heard = Instant::now();
            match response {
                Response::Reply(reply) => {
                    let round_trip = asked.elapsed();
                    if reply.model_hash != hash {
                        // The server read its run anew: what it says now is for the controller.
                        return Err(End::Changed);
                    }
                    self.tell(LinkEvent::Reply { reply: Box::new(reply), round_trip });
                }
                Response::Error(refusal) if refusal.code == ErrorCode::NoSession => {
                    return Err(End::Lost("the server does not know this session".into()));
                }
                // What a newer question replaced is no news.
                Response::Error(refusal) if refusal.seq.is_none_or(|seq| seq == self.seq) => {
                    self.tell(LinkEvent::Failed(refusal));
                }
                Response::Goodbye => return Err(End::Lost("the server said goodbye".into())),
                _ => {}
            }
        }
    }
}

fn infer(session: Session, seq: u64, ask: &Ask) -> Infer {
    Infer {
        session,
        seq,
        episode: ask.episode,
        tick: ask.tick,
        t_obs_nanos: u64::try_from(ask.t_obs.as_nanos()).unwrap_or(u64::MAX),
        // Whether an answer comes too late is for the controller to say.
        deadline_millis: 0,
        attention: ask.attention,
        stack: ask.frames.iter().map(|frame| Observation::clone(frame)).collect(),
    }
}

#[cfg(test)]
mod tests;
