//! What the thread of the model does beside its work: it answers, and listens where it has nothing to
//! do.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use engraft_wire::{Model, Watch};

use crate::config::ServeError;
use crate::front::{Event, Front, hold};
use crate::model::Outcome;
use crate::room::{Asker, Job, Room};
use crate::server::TICK;

/// See the [module](self).
pub(crate) struct Door {
    pub(crate) front: Arc<Mutex<Front>>,
    pub(crate) room: Arc<Room>,
    pub(crate) sender: Sender<Event>,
    pub(crate) watch: Watch,
}

impl Door {
    /// Says what became of a job.
    pub(crate) fn answer(&self, job: Job, outcome: Outcome) -> Result<(), ServeError> {
        let Job { asker, infer, .. } = job;
        match asker {
            Asker::Socket(peer) => self.tell(Event::Answer { peer, infer, outcome }),
            Asker::Web(asker) => {
                // A client that is gone wants no answer.
                let _ = asker.send(outcome);
                Ok(())
            }
        }
    }

    /// Says that another model answers from now on.
    pub(crate) fn swapped(&self, model: Arc<Model>) -> Result<(), ServeError> {
        self.tell(Event::Swapped(model))
    }

    /// Deals with a message, or waits for one.
    pub(crate) fn rest(&self) -> Result<(), ServeError> {
        let mut front = hold(&self.front);
        if front.turn()? {
            // It may be work; the other thread may not have heard of what else there is.
            return front.leave();
        }
        drop(front);
        if self.room.fall_asleep() {
            self.watch.wait(TICK)?;
            self.room.awake();
        }
        Ok(())
    }

    /// Has the front deal with an event: here, or on the server's thread where that is at it.
    fn tell(&self, event: Event) -> Result<(), ServeError> {
        // The other end is in the front, which is there.
        let _ = self.sender.send(event);
        let mut front = match self.front.try_lock() {
            Ok(front) => front,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => {
                self.room.wake_server();
                return Ok(());
            }
        };
        front.hear()?;
        front.leave()
    }
}
