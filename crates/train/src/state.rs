//! What a run needs to go on where it stopped, bit for bit.
//!
//! `state/step-00000250/` holds the weights, the optimizer's moments and the schedule in full
//! precision. A folder gets this name when it is complete, and the ones before it go only then: a
//! run that is killed while it writes goes on from the state before.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::learner::Imitation;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Optimizer steps done.
    pub(crate) step: u64,
    /// Seconds spent in the loop.
    pub(crate) elapsed_secs: f64,
    /// The best validation loss and its step.
    pub(crate) best: Option<(f64, u64)>,
    /// The last validation loss.
    pub(crate) val_loss: Option<f64>,
    /// Sum and number of the losses of the epoch so far.
    pub(crate) epoch_loss: (f64, u64),
    /// The dataset's fingerprint.
    pub(crate) dataset: String,
}

impl Standing {
    /// Before the first step.
    pub(crate) fn new(dataset: String) -> Self {
        let (best, val_loss, epoch_loss) = (None, None, (0.0, 0));
        Self { step: 0, elapsed_secs: 0.0, best, val_loss, epoch_loss, dataset }
    }

    /// Mean loss of the epoch so far.
    pub(crate) fn mean_loss(&self) -> f64 {
        self.epoch_loss.0 / self.epoch_loss.1.max(1) as f64
    }
}

/// What Burn's learner hands out to be saved.
pub(crate) struct Records {
    pub(crate) model: ModuleRecord,
    pub(crate) optimizer: OptimizerRecord,
    pub(crate) scheduler: LrSchedulerRecord,
}

const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const SCHEDULER: &str = "scheduler.bpk";
const STANDING: &str = "standing.json";

/// The folder of the states of the run in `out`.
fn states(out: &Path) -> PathBuf {
    out.join("state")
}

/// The newest complete state of the run in `out`.
pub(crate) fn newest(out: &Path) -> Result<Option<(u64, PathBuf)>, TrainError> {
    let dir = states(out);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TrainError::file("read the folder", &dir)(error)),
    };
    let step = |name: &str| name.strip_prefix("step-")?.parse::<u64>().ok();
    let named = entries
        .flatten()
        .filter_map(|entry| step(entry.file_name().to_str()?).map(|step| (step, entry.path())));
    Ok(named.max())
}

/// Writes a state and removes the ones before it.
pub(crate) fn save(out: &Path, standing: &Standing, records: Records) -> Result<(), TrainError> {
    let dir = states(out);
    fs::create_dir_all(&dir).map_err(TrainError::file("make the folder", &dir))?;
    let partial = tempfile::Builder::new()
        .prefix(".partial-")
        .tempdir_in(&dir)
        .map_err(TrainError::file("write in", &dir))?;
    let at = |name: &str| partial.path().join(name);
    let content = |path: PathBuf| {
        move |error: burn::store::RecordError| TrainError::Content {
            message: format!("cannot write the state: {error}"),
            path,
        }
    };
    records.model.save(at(MODEL)).map_err(content(at(MODEL)))?;
    records.optimizer.save(at(OPTIMIZER)).map_err(content(at(OPTIMIZER)))?;
    records.scheduler.save(at(SCHEDULER)).map_err(content(at(SCHEDULER)))?;
    let text = serde_json::to_vec_pretty(standing).expect("a standing is plain data");
    fs::write(at(STANDING), text).map_err(TrainError::file("write", &at(STANDING)))?;
    for name in [MODEL, OPTIMIZER, SCHEDULER, STANDING] {
        let path = at(name);
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(TrainError::file("write", &path))?;
    }
    let name = format!("step-{:08}", standing.step);
    let done = dir.join(&name);
    if done.exists() {
        fs::remove_dir_all(&done).map_err(TrainError::file("replace", &done))?;
    }
    let written = partial.keep();
    fs::rename(&written, &done).map_err(TrainError::file("write", &done))?;
    let folder = File::open(&dir).and_then(|folder| folder.sync_all());
    folder.map_err(TrainError::file("write in", &dir))?;
    for entry in fs::read_dir(&dir).map_err(TrainError::file("read the folder", &dir))?.flatten() {
        // What stays behind is only room on the disk.
        if entry.file_name().to_str() != Some(name.as_str()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Reads where the run in `dir` stands.
pub(crate) fn standing(dir: &Path) -> Result<Standing, TrainError> {
    let path = dir.join(STANDING);
    let bytes = fs::read(&path).map_err(TrainError::file("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|error| TrainError::Content {
        message: format!("not the state of a run: {error}"),
        path,
    })
}

/// Puts a state into a model and an optimizer; the schedule's comes back.
pub(crate) fn load(
    dir: &Path,
    model: Imitation,
    optimizer: ModuleOptimizer,
) -> Result<(Imitation, ModuleOptimizer, LrSchedulerRecord), TrainError> {
    let content = |name: &str| {
        let path = dir.join(name);
        move |error: burn::store::RecordError| TrainError::Content {
            message: format!("cannot read the state: {error}"),
            path,
        }
    };
    let record = ModuleRecord::load(dir.join(MODEL)).map_err(content(MODEL))?;
    let model = model.try_load_record(record).map_err(content(MODEL))?;
    let optimizer = optimizer.load(dir.join(OPTIMIZER)).map_err(content(OPTIMIZER))?;
    let scheduler = LrSchedulerRecord::load(dir.join(SCHEDULER)).map_err(content(SCHEDULER))?;
    Ok((model, optimizer, scheduler))
}
