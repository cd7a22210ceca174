//! The waiting room between the socket and the model: the latest request of each client.
//!
//! It also knows whether the model's thread is at work or listens at the door itself: then no other
//! thread has to be woken for a request.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engraft_wire::{Infer, Peer, Waker};

use crate::model::Outcome;
use crate::predictor::Predictor;

/// Who asks, and so where the answer goes.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A client of the socket.
    Socket(Peer),
    /// The thread of a client of openpi, which asks for nothing else meanwhile.
    Web(SyncSender<Outcome>),
}

impl Asker {
    fn is(&self, peer: &Peer) -> bool {
        matches!(self, Self::Socket(found) if found == peer)
    }
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) asker: Asker,
    pub(crate) infer: Infer,
    pub(crate) decode_micros: u32,
    /// When it was decoded.
    pub(crate) since: Instant,
}

/// What the model thread has to do.
pub(crate) enum Work {
    /// Answers to give together.
    Jobs(Vec<Job>),
    /// Another model to go on with.
    Swap(Box<dyn Predictor>),
    /// Nothing yet: it may listen at the door.
    Rest,
}

/// Where the model's thread is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// At work.
    #[default]
    Work,
    /// At the door, awake.
    Door,
    /// At the door, until someone comes or it is woken.
    Asleep,
}

#[derive(Default)]
struct Inside {
    waiting: VecDeque<Job>,
    next_model: Option<Box<dyn Predictor>>,
    place: Place,
    busy: bool,
    closed: bool,
    /// Of the model's thread, and of the server's.
    wakers: Option<[Waker; 2]>,
}

impl Inside {
    /// Has the model's thread see what is new.
    fn wake_model(&self) {
        if self.place == Place::Asleep
            && let Some([model, _]) = &self.wakers
        {
            model.wake();
        }
    }
}

/// Nobody may enter any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Room {
    inside: Mutex<Inside>,
}

impl Room {
    /// An empty one that wakes the model's thread and the server's.
    pub(crate) fn new(model: Waker, server: Waker) -> Self {
        let wakers = Some([model, server]);
        Self { inside: Mutex::new(Inside { wakers, ..Inside::default() }) }
    }

    /// Held for a move in or out, never for work.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request wait; the one of the same client that it replaces, in whose place it stands.
    pub(crate) fn enter(&self, job: Job) -> Result<Option<Job>, Closed> {
        let mut inside = self.lock();
        if inside.closed {
            return Err(Closed);
        }
        let before = match &job.asker {
            Asker::Socket(peer) => inside.waiting.iter_mut().find(|waiting| waiting.asker.is(peer)),
            Asker::Web(_) => None,
        };
        let replaced = if let Some(before) = before {
            Some(std::mem::replace(before, job))
        } else {
            inside.waiting.push_back(job);
            None
        };
        inside.wake_model();
        Ok(replaced)
    }

    /// Forgets what a client that left was waiting for.
    pub(crate) fn leave(&self, peer: &Peer) {
        self.lock().waiting.retain(|job| !job.asker.is(peer));
    }

    /// Has the model thread go on with another model, before any request that waits.
    pub(crate) fn swap(&self, model: Box<dyn Predictor>) {
        let mut inside = self.lock();
        inside.next_model = Some(model);
        inside.wake_model();
    }

    /// Up to `most` requests that have waited longest, or another model. `None` once closed and
    /// empty.
    pub(crate) fn next(&self, most: usize) -> Option<Work> {
        let mut inside = self.lock();
        (inside.place, inside.busy) = (Place::Work, false);
        if let Some(model) = inside.next_model.take() {
            return Some(Work::Swap(model));
        }
        if !inside.waiting.is_empty() {
            inside.busy = true;
            let count = most.clamp(1, inside.waiting.len());
            return Some(Work::Jobs(inside.waiting.drain(..count).collect()));
        }
        if inside.closed {
            return None;
        }
        inside.place = Place::Door;
        Some(Work::Rest)
    }

    /// Whether the model's thread may wait at the door: not if something came meanwhile. From then
    /// on what comes in by another way wakes it, until it is [awake](Self::awake).
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut inside = self.lock();
        let nothing = inside.waiting.is_empty() && inside.next_model.is_none() && !inside.closed;
        if nothing {
            inside.place = Place::Asleep;
        }
        nothing
    }

    /// The model's thread waits no more.
    pub(crate) fn awake(&self) {
        self.lock().place = Place::Door;
    }

    /// Whether the model's thread listens at the door.
    pub(crate) fn is_model_at_door(&self) -> bool {
        self.lock().place != Place::Work
    }

    /// Has the server's thread see what is new.
    pub(crate) fn wake_server(&self) {
        if let Some([_, server]) = &self.lock().wakers {
            server.wake();
        }
    }

    /// Nobody enters any more; what waits is still served.
    pub(crate) fn close(&self) {
        let mut inside = self.lock();
        inside.closed = true;
        inside.wake_model();
    }

    /// How many wait, and whether one is being served.
    pub(crate) fn occupancy(&self) -> (usize, bool) {
        let inside = self.lock();
        (inside.waiting.len(), inside.busy)
    }
}
