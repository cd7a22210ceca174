//! The server's thread: it listens at the door while the model works.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engraft_wire::{Contract, Keys, Model, ServerSocket, Status, Watch};
use tracing::info;

use crate::config::{ServeError, ServerConfig};
use crate::door::Door;
use crate::front::{Front, hold};
use crate::model::{warm_up, work};
use crate::predictor::Predictor;
use crate::reload::{self, Reloading};
use crate::room::Room;
use crate::stats::Stats;
use crate::web::{Desk, Web};

/// How often a stop is looked for when nothing comes in.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How long the model's thread may take to see what is at the door before the other one does.
const GRACE: Duration = Duration::from_millis(1);
/// How long what was sent last may take to leave.
const LINGER: Duration = Duration::from_millis(500);
/// How long clients have to read it: a connection that closes takes with it what is unread.
const FAREWELL: Duration = Duration::from_millis(100);

/// A policy server that listens and is not yet running.
pub struct Server {
    front: Arc<Mutex<Front>>,
    room: Arc<Room>,
    watch: Watch,
    /// Has the model's thread begin.
    begin: Sender<()>,
    thread: JoinHandle<Result<(), ServeError>>,
    endpoint: String,
    contract: Arc<Contract>,
    keys: Arc<Keys>,
    stats: Arc<Stats>,
    killed: Arc<AtomicBool>,
    warm_up: Vec<Duration>,
}

impl Server {
    /// Listens, and gives the predictor its thread.
    ///
    /// # Errors
    ///
    /// When the endpoint is malformed, taken, or exposed without leave; when the policy fails at
    /// its warm-up.
    pub fn bind(config: ServerConfig, predictor: impl Predictor) -> Result<Self, ServeError> {
        let mut predictor: Box<dyn Predictor> = Box::new(predictor);
        let contract = Arc::new(predictor.contract());
        let max_bytes = contract.max_request_bytes();
        let socket = ServerSocket::bind(&config.endpoint, &config.access, max_bytes)?;
        let stats = Arc::new(Stats::new(Arc::new(predictor.model()), config.slo));
        let warm_up = warm_up(&mut *predictor, &contract, config.warm_up);
        let warm_up = warm_up.map_err(ServeError::WarmUp)?;
        let (watch, of_model) = (socket.watch()?, socket.watch()?);
        let room = Arc::new(Room::new(of_model.waker()?, watch.waker()?));
        let keys = Arc::new(config.keys.clone().unwrap_or_else(|| Keys::of(&contract)));
        let desk = || Desk {
            contract: contract.clone(),
            keys: Keys::clone(&keys),
            token: config.token.clone(),
            room: room.clone(),
            stats: stats.clone(),
            max_clients: config.max_clients,
        };
        let web = config.openpi.as_deref();
        let web = web.map(|address| Web::listen(address, &config.access, desk()));
        let web = web.transpose()?;
        let (endpoint, batch) = (socket.endpoint().to_owned(), config.batch);
        let (killed, (sender, events)) = (Arc::new(AtomicBool::new(false)), channel());
        let front = Arc::new(Mutex::new(Front {
            socket,
            config,
            fingerprint: contract.spec.fingerprint(),
            contract: contract.clone(),
            keys: keys.clone(),
            clients: HashMap::new(),
            room: room.clone(),
            sender: sender.clone(),
            events,
            reloading: Reloading::No,
            starter: reload::start,
            loader: None,
            stats: stats.clone(),
            web,
            open: true,
            killed: killed.clone(),
        }));
        let (begin, may_begin) = channel();
        let (inner, promised) = (room.clone(), contract.clone());
        let door = Door { front: front.clone(), room: room.clone(), sender, watch: of_model };
        let thread = thread::Builder::new()
            .name("model".into())
            .spawn(move || {
                // A server that never runs is answered for by nobody.
                if may_begin.recv().is_err() {
                    return Ok(());
                }
                let answer = |job, outcome| door.answer(job, outcome);
                let swapped = |model| door.swapped(model);
                let rest = || door.rest();
                let ended = work(predictor, &promised, &inner, batch, answer, swapped, rest);
                inner.wake_server();
                ended
            })
            .map_err(ServeError::Thread)?;
        Ok(Self {
            front,
            room,
            watch,
            begin,
            thread,
            endpoint,
            contract,
            keys,
            stats,
            killed,
            warm_up,
        })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it listens for clients of openpi, if it does.
    pub fn openpi(&self) -> Option<SocketAddr> {
        self.front().web.as_ref().map(Web::address)
    }

    /// What the answers of the warm-up took, the quickest first.
    pub fn warm_up(&self) -> &[Duration] {
        &self.warm_up
    }

    /// What it serves.
    pub fn model(&self) -> Arc<Model> {
        self.stats.model()
    }

    /// What clients of other stacks call what it sees and does.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What it was trained for.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    pub(crate) fn front(&self) -> MutexGuard<'_, Front> {
        hold(&self.front)
    }

    /// Serves on this thread until `stop` is set; then answers what waits, tells its clients, and
    /// says how it fared.
    ///
    /// # Errors
    ///
    /// When the socket fails or the model thread is gone.
    pub fn run(self, stop: &AtomicBool) -> Result<Status, ServeError> {
        // A thread that is gone is found below.
        let _ = self.begin.send(());
        let mut more = false;
        while !stop.load(Ordering::Relaxed) && !self.killed.load(Ordering::Relaxed) {
            more = self.turn(more)?;
            if self.thread.is_finished() {
                let ended = self.thread.join().unwrap_or(Ok(()));
                return Err(ended.err().unwrap_or(ServeError::ModelGone));
            }
        }
        info!("stopping: what waits is answered");
        let drain = {
            let mut front = self.front();
            front.open = false;
            front.config.drain
        };
        self.room.close();
        let began = Instant::now();
        while began.elapsed() < drain && !self.thread.is_finished() {
            more = self.turn(more)?;
        }
        let mut front = self.front();
        front.hear()?;
        front.say_goodbye()?;
        let web = front.web.take();
        let (status, alone) = (front.status(), front.clients.is_empty());
        drop(front);
        if let Some(web) = web {
            web.close(LINGER);
        }
        if !alone {
            thread::sleep(FAREWELL);
        }
        // A model that is still at work has the front, which is closed with it.
        if let Some(front) = Arc::into_inner(self.front) {
            let front = front.into_inner().unwrap_or_else(PoisonError::into_inner);
            front.socket.close(LINGER);
        }
        Ok(status)
    }

    /// One turn of this thread, which deals with messages while the model's works; whether it may
    /// have left some.
    ///
    /// Both threads listen at the door, so that neither has to wake the other. This one gives way
    /// to the model's.
    fn turn(&self, more: bool) -> Result<bool, ServeError> {
        if (more || !self.room.is_model_at_door()) && self.front().turn()? {
            return Ok(true);
        }
        let woken = self.watch.wait(TICK)?;
        if woken || !self.room.is_model_at_door() {
            return Ok(woken);
        }
        Ok(self.watch.rest(GRACE)?)
    }
}
