//! Batches made ahead, on a thread of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError as BurnDatasetError;
use burn::tensor::Device;

use crate::batch::{Batch, Data};
use crate::order::Order;
use crate::{Recipe, TrainError};

/// Bytes of batches that wait to be used: at least one batch, at most [`MOST_AHEAD`].
const AHEAD_BYTES: usize = 256 << 20;

/// Most batches that wait to be used.
const MOST_AHEAD: usize = 8;

/// Where the next epoch's batches come from.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// The row of samples to learn from, a slice of it per epoch.
    Train { seed: u64, epoch_steps: u64, steps: u64, accumulate: u64 },
    /// All samples to judge with.
    Val,
}

/// Burn's data loader over [`Data`]; an iteration is one epoch from [`Cursor`] on.
#[derive(Clone)]
pub(crate) struct Loader {
    data: Arc<Data>,
    row: Row,
    batch_size: usize,
    /// Each takes a part of every batch.
    devices: Vec<Device>,
    cursor: Cursor,
    failure: Failure,
}

/// Why a batch could not be made. Burn's error would hide it, so it is kept beside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<TrainError>>>);

impl Failure {
    fn set(&self, error: TrainError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The last failure, which is then forgotten.
    pub(crate) fn take(&self) -> Option<TrainError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What Burn hears where the reason lies in [`Failure`].
#[derive(Debug, thiserror::Error)]
#[error("a batch could not be made")]
struct NoBatch;

/// The optimizer step that the next epoch begins with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor(Arc<AtomicU64>);

impl Cursor {
    pub(crate) fn set(&self, step: u64) {
        self.0.store(step, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Loader {
    /// Batches to learn from, each in parts for these devices.
    pub(crate) fn train(
        data: &Arc<Data>,
        recipe: &Recipe,
        cursor: &Cursor,
        failure: &Failure,
        devices: &[Device],
    ) -> Self {
        let row = Row::Train {
            seed: recipe.seed,
            epoch_steps: recipe.epoch_steps,
            steps: recipe.steps,
            accumulate: recipe.accumulate as u64,
        };
        Self {
            data: Arc::clone(data),
            row,
            batch_size: recipe.batch_size,
            devices: devices.to_vec(),
            cursor: cursor.clone(),
            failure: failure.clone(),
        }
    }

    /// Batches to judge with.
    pub(crate) fn val(
        data: &Arc<Data>,
        recipe: &Recipe,
        failure: &Failure,
        device: &Device,
    ) -> Self {
        Self {
            data: Arc::clone(data),
            row: Row::Val,
            batch_size: recipe.batch_size,
            devices: vec![device.clone()],
            cursor: Cursor::default(),
            failure: failure.clone(),
        }
    }

    /// Batches of the coming epoch.
    fn batches(&self) -> std::ops::Range<u64> {
        match self.row {
            Row::Train { epoch_steps, steps, accumulate, .. } => {
                let from = self.cursor.get();
                let to = ((from / epoch_steps + 1) * epoch_steps).min(steps).max(from);
                from * accumulate..to * accumulate
            }
            Row::Val => 0..self.data.val.len().div_ceil(self.batch_size) as u64,
        }
    }

    /// A maker of the batches of the row, by index.
    fn maker(&self) -> impl FnMut(u64) -> Result<Vec<Batch>, TrainError> + Send + use<> {
        let Self { data, row, batch_size, devices, .. } = self.clone();
        let size = batch_size as u64;
        let mut order = match row {
            Row::Train { seed, .. } => Some(Order::new(seed, data.train.len())),
            Row::Val => None,
        };
        move |batch| {
            if let Some(order) = &mut order {
                let places = order.places(batch * size..(batch + 1) * size);
                data.train_parts(&places, &devices)
            } else {
                let from = batch as usize * batch_size;
                let to = (from + batch_size).min(data.val.len());
                Ok(vec![data.plain_batch(&data.val[from..to], &devices[0])?])
            }
        }
    }
}

/// The batches of one epoch, made ahead.
struct Ahead {
    receiver: Option<Receiver<Result<Vec<Batch>, TrainError>>>,
    thread: Option<JoinHandle<()>>,
    failure: Failure,
    done: u64,
    total: u64,
}

impl Ahead {
    /// Starts to make the batches of the coming epoch.
    fn start(loader: &Loader) -> Self {
        let (batches, mut make) = (loader.batches(), loader.maker());
        let total = batches.end - batches.start;
        let batch_bytes = loader.data.sample_bytes(&loader.devices[0]) * loader.batch_size;
        let ahead = (AHEAD_BYTES / batch_bytes.max(1)).clamp(1, MOST_AHEAD);
        let (sender, receiver) = sync_channel(ahead);
        let work = move || {
            for batch in batches {
                let made = make(batch);
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("train-data".into()).spawn(work);
        let thread = Some(thread.expect("the system can start a thread"));
        let failure = loader.failure.clone();
        Self { receiver: Some(receiver), thread, failure, done: 0, total }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and it ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Iterator for Ahead {
    type Item = Result<Vec<Batch>, BurnDatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.receiver.as_ref()?.recv().ok()?;
        self.done += 1;
        Some(batch.map_err(|error| {
            self.failure.set(error);
            BurnDatasetError::new(NoBatch)
        }))
    }
}

impl DataLoaderIterator<Vec<Batch>> for Ahead {
    fn progress(&self) -> Progress {
        Progress::new(self.done as usize, self.total as usize, Some("batches".into()))
    }
}

impl DataLoader<Vec<Batch>> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Vec<Batch>> + 'a> {
        Box::new(Ahead::start(self))
    }

    fn num_items(&self) -> usize {
        let batches = self.batches();
        (batches.end - batches.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Vec<Batch>>> {
        Arc::new(Self { devices: vec![device.clone()], ..self.clone() })
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<Vec<Batch>>> {
        // Only Burn's strategies for several devices slice a loader; ours cuts each batch.
        Arc::new(self.clone())
    }
}
