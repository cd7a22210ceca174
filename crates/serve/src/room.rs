//! The waiting room between the socket and the model: the latest request of each client.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engraft_wire::{Infer, Peer};

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
}

#[derive(Default)]
struct Inside {
    waiting: VecDeque<Job>,
    next_model: Option<Box<dyn Predictor>>,
    busy: bool,
    closed: bool,
}

/// Nobody may enter any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Room {
    inside: Mutex<Inside>,
    bell: Condvar,
}

impl Room {
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
        drop(inside);
        self.bell.notify_one();
        Ok(replaced)
    }

    /// Forgets what a client that left was waiting for.
    pub(crate) fn leave(&self, peer: &Peer) {
        self.lock().waiting.retain(|job| !job.asker.is(peer));
    }

    /// Has the model thread go on with another model, before any request that waits.
    pub(crate) fn swap(&self, model: Box<dyn Predictor>) {
        self.lock().next_model = Some(model);
        self.bell.notify_one();
    }

    /// Up to `most` requests that have waited longest, or another model; waits for either. `None`
    /// once closed and empty.
    pub(crate) fn next(&self, most: usize) -> Option<Work> {
        let mut inside = self.lock();
        inside.busy = false;
        loop {
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
            inside = self.bell.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody enters any more; what waits is still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_all();
    }

    /// How many wait, and whether one is being served.
    pub(crate) fn occupancy(&self) -> (usize, bool) {
        let inside = self.lock();
        (inside.waiting.len(), inside.busy)
    }
}
