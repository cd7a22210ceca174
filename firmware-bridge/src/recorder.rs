//! Writes down what happens on a thread of its own, so that a slow disk never delays the arm.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use engraft_core::{
    ActionChunk, AttentionMap, Observation, Outcome, RobotSpec, Rollout, RolloutStep,
};
use engraft_wire::{LogError, LogWriter};

/// Periods that may wait for the disk.
const WAITING: usize = 256;

/// One control period, as it is recorded.
#[derive(Debug)]
pub struct Moment {
    /// Seconds since the episode began.
    pub time_secs: f64,
    /// What was sensed.
    pub observation: Arc<Observation>,
    /// The chunk that came.
    pub chunk: Option<ActionChunk>,
    /// What was sent to the arm.
    pub action: Vec<f32>,
    /// Dimensions that a limit changed.
    pub limited: Vec<usize>,
    /// Where the policy looked.
    pub attention: Vec<AttentionMap>,
}

/// What a recording is made of: a beginning, steps and an end for each episode.
#[derive(Debug)]
#[non_exhaustive]
pub enum Record {
    /// An episode begins; it has no steps yet.
    Begin(Box<Rollout>),
    /// A period.
    Step(Box<Moment>),
    /// An episode is over.
    End(Outcome),
}

/// Why what is to be kept could not be.
pub type KeepError = Box<dyn Error + Send + Sync>;

/// Why a recording failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What is recorded cannot be kept.
    #[error(transparent)]
    Keep(KeepError),
    /// The thread cannot be started.
    #[error("cannot start the thread that records")]
    Thread(#[source] io::Error),
    /// The thread ended by a fault of its own.
    #[error("the thread that records panicked")]
    Panicked,
}

/// A running recording.
#[derive(Debug)]
pub struct Recorder {
    sender: SyncSender<Record>,
    thread: JoinHandle<Result<(), KeepError>>,
    lossless: bool,
    dropped: u64,
}

impl Recorder {
    /// Makes the file and starts the thread. A lossless recorder waits for the disk; another one
    /// drops what the disk cannot take in time, and counts it.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or no thread can be started.
    pub fn create(path: &Path, lossless: bool) -> Result<Self, RecorderError> {
        let log = LogWriter::create(path)?;
        Self::start(move |records| Ok(write(log, records)?), lossless)
    }

    /// Starts a thread that runs `keep` on everything that is recorded, until there is no more.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(
        keep: impl FnOnce(&Receiver<Record>) -> Result<(), KeepError> + Send + 'static,
        lossless: bool,
    ) -> Result<Self, RecorderError> {
        let (sender, records) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("recorder".into());
        let thread = thread.spawn(move || keep(&records)).map_err(RecorderError::Thread)?;
        Ok(Self { sender, thread, lossless, dropped: 0 })
    }

    /// Whether the thread has ended already, because it could not keep something.
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    fn send(&mut self, record: Record, must: bool) {
        // A thread that ended has its error ready; `finish` asks for it.
        let lost = if must {
            self.sender.send(record).is_err()
        } else {
            match self.sender.try_send(record) {
                Err(TrySendError::Full(_)) => true,
                sent => sent.is_err(),
            }
        };
        self.dropped += u64::from(lost);
    }

    /// Begins an episode.
    pub fn begin(&mut self, spec: &RobotSpec, task: &str, instance: &str, seed: u64) {
        let rollout = Rollout {
            spec: spec.clone(),
            task: task.to_owned(),
            instance: instance.to_owned(),
            seed,
            outcome: Outcome::Unknown,
            steps: Vec::new(),
        };
        self.send(Record::Begin(Box::new(rollout)), true);
    }

    /// Records a period.
    pub fn step(&mut self, moment: Moment) {
        self.send(Record::Step(Box::new(moment)), self.lossless);
    }

    /// Ends an episode.
    pub fn end(&mut self, outcome: Outcome) {
        self.send(Record::End(outcome), true);
    }

    /// Waits until everything is on the disk; how many periods were dropped.
    ///
    /// # Errors
    ///
    /// When something could not be written.
    pub fn finish(self) -> Result<u64, RecorderError> {
        drop(self.sender);
        let kept = self.thread.join().map_err(|_| RecorderError::Panicked)?;
        kept.map_err(RecorderError::Keep)?;
        Ok(self.dropped)
    }
}

fn write(mut log: LogWriter<std::fs::File>, records: &Receiver<Record>) -> Result<(), LogError> {
    for record in records {
        match record {
            Record::Begin(rollout) => log.begin(&rollout)?,
            Record::Step(moment) => {
                let Moment { time_secs, observation, chunk, action, limited, attention } = *moment;
                let observation = Arc::unwrap_or_clone(observation);
                log.step(&RolloutStep {
                    time_secs,
                    observation,
                    chunk,
                    action,
                    limited,
                    attention,
                })?;
            }
            Record::End(outcome) => log.end(outcome)?,
        }
    }
    log.sync()
}
