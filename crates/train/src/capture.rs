//! Burn's learner hands out what it holds only to checkpointers; these pass it on.

use std::sync::mpsc::{Receiver, Sender, channel};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{Learner, LearningCheckpointer};

use crate::TrainError;
use crate::learner::Imitation;
use crate::state::Records;

/// Takes what Burn's learner would write, so that it can be written all at once.
pub(crate) struct Capture {
    model: Receiver<ModuleRecord>,
    optimizer: Receiver<OptimizerRecord>,
    scheduler: Receiver<LrSchedulerRecord>,
}

/// The checkpointers that feed a [`Capture`].
pub(crate) type Slots = (Slot<ModuleRecord>, Slot<OptimizerRecord>, Slot<LrSchedulerRecord>);

/// A checkpointer that hands its record on.
pub(crate) struct Slot<R>(Sender<R>);

impl Capture {
    pub(crate) fn new() -> (Self, Slots) {
        let (model, optimizer, scheduler) = (channel(), channel(), channel());
        let capture = Self { model: model.1, optimizer: optimizer.1, scheduler: scheduler.1 };
        (capture, (Slot(model.0), Slot(optimizer.0), Slot(scheduler.0)))
    }

    /// The state of `learner`.
    pub(crate) fn records(
        &self,
        learner: &Learner<Imitation>,
        checkpointer: Option<&mut LearningCheckpointer<Imitation>>,
        store: &EventStoreClient,
    ) -> Result<Records, TrainError> {
        let missing = || TrainError::Learner { message: "the learner gave no state".into() };
        let checkpointer = checkpointer.ok_or_else(missing)?;
        checkpointer.checkpoint(learner, 0, store);
        Ok(Records {
            model: self.model.recv().map_err(|_| missing())?,
            optimizer: self.optimizer.recv().map_err(|_| missing())?,
            scheduler: self.scheduler.recv().map_err(|_| missing())?,
        })
    }
}

impl<R: Checkpoint> Checkpointer<R> for Slot<R> {
    fn save(&self, _epoch: usize, record: R) -> Result<(), CheckpointerError> {
        self.0.send(record).map_err(|_| CheckpointerError::Unknown("the run has ended".into()))
    }

    fn delete(&self, _epoch: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, _epoch: usize) -> Result<R, CheckpointerError> {
        Err(CheckpointerError::Unknown("a run restores its own state".into()))
    }
}

/// Saves whenever the loop asks for it.
pub(crate) struct WhenAsked;

impl CheckpointingStrategy for WhenAsked {
    fn checkpointing(&mut self, _: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
