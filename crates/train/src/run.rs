//! A training run: set up, resumed, and handed to Burn's learner.
//!
//! The run's folder:
//!
//! | path | holds |
//! | --- | --- |
//! | `best/`, `last/` | checkpoints: lowest validation loss, and newest |
//! | `recipe.toml` | what the run follows |
//! | `metrics.jsonl` | a row per step and per validation |
//! | `state/` | what `resume` continues from, bit for bit |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use burn::lr_scheduler::LrScheduler;
use burn::module::Module;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::LearningRateMetric;
use burn::train::renderer::MetricsRenderer;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use engraft_datasets::Dataset;
use engraft_policies::{Policy, Provenance};
use serde::{Deserialize, Serialize};

use crate::batch::Data;
use crate::capture::{Capture, WhenAsked};
use crate::features::{FeatureCache, FeatureStore};
use crate::learner::{Gauge, Imitation};
use crate::loader::{Cursor, Failure, Loader};
use crate::pictures::PictureCache;
use crate::progress::{Metrics, Silent};
use crate::saver::Saver;
use crate::schedule::{Scheduler, Total};
use crate::session::{Session, Steps};
use crate::state::{self, Standing};
use crate::{Progress, Recipe, TrainError};

/// How a run is carried out; nothing in here changes what it comes to, a time limit aside.
pub struct Options {
    /// Continue the run in the folder. Without it a folder that holds one is refused.
    pub resume: bool,
    /// Set from outside to stop after the step that is under way, with everything saved.
    pub interrupt: Arc<AtomicBool>,
    /// Hears what the run says; under the dashboard, what it says before its first step.
    pub progress: Box<dyn FnMut(&Progress) + Send>,
    /// Time between two lines of progress.
    pub report_every: Duration,
    /// Show Burn's dashboard, which takes the terminal over.
    pub dashboard: bool,
    /// Where frozen features are kept, and how much of them; `None` computes them at every step.
    pub features: Option<FeatureCache>,
    /// Devices that share each step with the first one. A batch is cut into as many parts, and
    /// the gradients add up to those of the whole, up to rounding: batch norms that are learned
    /// aside, which see one part. A run can be continued on others.
    pub more_devices: Vec<Device>,
    /// Where decoded pictures are kept.
    pub pictures: PictureCache,
    /// Train for this long instead of the recipe's steps, preparations included. The schedule
    /// then follows the share of the time that is used, so that the rate reaches its end on any
    /// machine. Such a run is repeatable by its number of steps, not bit for bit.
    pub time_limit: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            resume: false,
            interrupt: Arc::default(),
            progress: Box::new(|_| ()),
            report_every: Duration::from_secs(5),
            dashboard: false,
            features: None,
            more_devices: Vec::new(),
            pictures: PictureCache::default(),
            time_limit: None,
        }
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All steps were done.
    Finished,
    /// Its time was up.
    TimeUp,
    /// It was asked to stop, and can be continued.
    Interrupted,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Why it ended.
    pub ending: Ending,
    /// Optimizer steps done.
    pub step: u64,
    /// Mean loss of the last epoch.
    pub train_loss: f64,
    /// The last validation loss.
    pub val_loss: Option<f64>,
    /// The best validation loss, and its step.
    pub best: Option<(f64, u64)>,
    /// Seconds in the loop.
    pub elapsed_secs: f64,
    /// Pictures per second in the loop, this call's part of the run.
    pub images_per_sec: f64,
    /// Share of this time that was spent waiting for data.
    pub waiting: f64,
    /// Parameters that were learned.
    pub num_learned_params: usize,
    /// The checkpoint to use: the best one, or the last where nothing was held back.
    pub checkpoint: PathBuf,
}

/// The folder of the checkpoint that stands for the run in `dir`: `dir` itself if it is a
/// checkpoint, else the best one, else the last.
pub fn checkpoint_dir(dir: &Path) -> PathBuf {
    let candidates = [dir.to_owned(), dir.join("best"), dir.join("last")];
    let found = candidates.iter().find(|dir| dir.join("config.json").is_file());
    found.unwrap_or(&candidates[0]).clone()
}

/// Trains the policy of `recipe` on `dataset` and leaves everything in `out`.
///
/// # Errors
///
/// When the recipe and the data do not fit each other, something cannot be read or written, or
/// the loss is no longer a number.
pub fn train(
    recipe: &Recipe,
    dataset: Arc<dyn Dataset>,
    out: &Path,
    device: &Device,
    mut options: Options,
) -> Result<Summary, TrainError> {
    let began = Instant::now();
    recipe.check()?;
    let fingerprint = dataset.fingerprint()?;
    let resumed = begin(recipe, &fingerprint, out, options.resume)?;
    let (plain, autodiff) = (device.clone().inner(), device.clone().inner().autodiff());
    let devices = devices(recipe, &autodiff, &mut options);
    let (dataset, image_budget) = prepare_pictures(dataset, &mut options)?;
    let mut data = Data::new(recipe, dataset, image_budget)?;
    // A backbone without weights draws its own from the device, and only when they are asked for.
    let policy = recipe.policy.init(data.transform.contract(), recipe.seed, &autodiff)?;
    let policy = policy.materialize();
    let num_learned_params = policy.num_learned_params();
    (options.progress)(&Progress::Note(format!(
        "{} episodes, {} samples to learn from, {} to judge with; {num_learned_params} parameters \
         to learn",
        data.frames.dataset().num_episodes(),
        data.train.len(),
        data.val.len(),
    )));
    let total = Total::new(recipe.steps as f64);
    let (mut model, mut optimizer) =
        (Imitation::new(policy, recipe, &devices), recipe.optimizer.init());
    let mut scheduler =
        Scheduler::new(recipe.schedule.clone(), recipe.optimizer.learning_rate, &total);
    let standing = if let Some((dir, standing)) = resumed {
        let (loaded, moments, schedule) = state::load(&dir, model, optimizer)?;
        (model, optimizer) = (loaded, moments);
        scheduler.load_record(schedule.record("0"));
        standing
    } else {
        Standing::new(fingerprint.clone())
    };
    model.set_step(standing.step);
    prepare_features(recipe, &model.policy, &mut data, &plain, &mut options)?;
    let data = Arc::new(data);

    let steps = if options.time_limit.is_some() { u64::MAX >> 16 } else { recipe.steps };
    let (cursor, failure) = (Cursor::default(), Failure::default());
    let row = Recipe { steps, ..recipe.clone() };
    let train_loader = Loader::train(&data, &row, &cursor, &failure, &devices);
    let val_loader = Loader::val(&data, recipe, &failure, &plain);
    let saver = Saver {
        out: out.into(),
        policy_config: recipe.policy.clone(),
        transform: data.transform.clone(),
        provenance: provenance(recipe, fingerprint, &data),
        metrics: Metrics::open(out, standing.step)?,
    };
    let interrupter = Interrupter::new();
    let (capture, slots) = Capture::new();
    let session = Session {
        recipe: recipe.clone(),
        steps,
        began,
        time_limit: options.time_limit,
        total,
        cursor,
        failure,
        interrupt: Arc::clone(&options.interrupt),
        interrupter: interrupter.clone(),
        // The dashboard has the terminal to itself.
        progress: if options.dashboard { Box::new(|_| ()) } else { options.progress },
        report_every: options.report_every,
        validates: !data.val.is_empty(),
        standing,
        saver,
        capture,
    };
    let renderer: Box<dyn MetricsRenderer> = if options.dashboard {
        Box::new(TuiMetricsRendererWrapper::new(interrupter.clone(), None))
    } else {
        Box::new(Silent)
    };
    let steps = Arc::new(Steps::new(session));
    let (model_slot, optimizer_slot, scheduler_slot) = slots;
    let num_epochs = recipe.steps.div_ceil(recipe.epoch_steps) as usize;
    let learner = Learner::new(model, optimizer, scheduler);
    let strategy = Arc::clone(&steps);
    let result = SupervisedTraining::new(out, Arc::new(train_loader), Arc::new(val_loader))
        .metric_train_numeric(Gauge::loss())
        .metric_valid_numeric(Gauge::loss())
        .metric_train_numeric(Gauge::images_per_sec())
        .metric_train_numeric(Gauge::waiting())
        .metric_train_numeric(LearningRateMetric::new())
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .with_custom_checkpointers(model_slot, optimizer_slot, scheduler_slot)
        .with_checkpointing_strategy(WhenAsked)
        .with_training_strategy(TrainingStrategy::Custom(strategy))
        .with_interrupter(interrupter)
        .num_epochs(num_epochs)
        .renderer(renderer)
        .launch(learner);
    if let Some(error) = result.error {
        return Err(TrainError::Learner { message: error.to_string() });
    }
    let mut summary = steps.finish()?;
    summary.num_learned_params = num_learned_params;
    Ok(summary)
}

/// The devices of a step, `first` first, with automatic differentiation.
fn devices(recipe: &Recipe, first: &Device, options: &mut Options) -> Vec<Device> {
    let more = options.more_devices.iter().map(|device| device.clone().inner().autodiff());
    let devices: Vec<_> = std::iter::once(first.clone()).chain(more).collect();
    let idle = devices.len().saturating_sub(recipe.batch_size);
    if idle > 0 {
        (options.progress)(&Progress::Note(format!(
            "batches of {} samples leave {idle} of {} devices idle",
            recipe.batch_size,
            devices.len()
        )));
    }
    devices
}

fn provenance(recipe: &Recipe, fingerprint: String, data: &Data) -> Provenance {
    Provenance {
        dataset: recipe.dataset.as_ref().map(|dir| dir.display().to_string()),
        dataset_hash: Some(fingerprint),
        num_episodes: Some(data.num_train_episodes()),
        num_samples: Some(data.train.len()),
        seed: Some(recipe.seed),
        ..Provenance::default()
    }
}

/// Makes the folder of a fresh run, or finds where the one in it stands.
fn begin(
    recipe: &Recipe,
    fingerprint: &str,
    out: &Path,
    resume: bool,
) -> Result<Option<(PathBuf, Standing)>, TrainError> {
    let newest = state::newest(out)?;
    let path = out.join("recipe.toml");
    if !resume {
        if let Some((step, _)) = newest {
            return Err(TrainError::Exists { step, path: out.into() });
        }
        std::fs::create_dir_all(out).map_err(TrainError::file("make the folder", out))?;
        let text = recipe.to_toml()?;
        std::fs::write(&path, text).map_err(TrainError::file("write", &path))?;
        return Ok(None);
    }
    if !path.is_file() {
        return Err(TrainError::NoRun { path: out.into() });
    }
    let begun = Recipe { dataset: recipe.dataset.clone(), ..Recipe::open(&path)? };
    if begun != *recipe {
        let (expected, found) = first_difference(&begun.to_toml()?, &recipe.to_toml()?);
        return Err(TrainError::Resume { what: "recipe", expected, found });
    }
    // What a checkpoint left behind that was being written when the run was killed.
    for entry in std::fs::read_dir(out).map_err(TrainError::file("read the folder", out))?.flatten()
    {
        let name = entry.file_name();
        let halves = [".unfinished-run-", ".replaced-run-"];
        if halves.iter().any(|half| name.to_string_lossy().starts_with(half)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    // Killed before its first state: it begins again, in the same order.
    let Some((_, dir)) = newest else { return Ok(None) };
    let standing = state::standing(&dir)?;
    if standing.dataset != fingerprint {
        let (expected, found) = (standing.dataset, fingerprint.to_owned());
        return Err(TrainError::Resume { what: "dataset", expected, found });
    }
    Ok(Some((dir, standing)))
}

/// The first line in which two files differ.
fn first_difference(one: &str, other: &str) -> (String, String) {
    let (mut one, mut other) = (one.lines(), other.lines());
    loop {
        match (one.next(), other.next()) {
            (Some(a), Some(b)) if a == b => {}
            (a, b) => {
                let say = |line: Option<&str>| format!("`{}`", line.unwrap_or("end of file"));
                return (say(a), say(b));
            }
        }
    }
}

/// The dataset with its pictures decoded, where they are kept on disk, and how many bytes of them
/// are kept in memory.
fn prepare_pictures(
    dataset: Arc<dyn Dataset>,
    options: &mut Options,
) -> Result<(Arc<dyn Dataset>, u64), TrainError> {
    let progress = &mut options.progress;
    let mut note = |text: &str| progress(&Progress::Note(text.into()));
    options.pictures.prepare(dataset, &options.interrupt, &mut note)
}

fn prepare_features(
    recipe: &Recipe,
    policy: &Policy,
    data: &mut Data,
    plain: &Device,
    options: &mut Options,
) -> Result<(), TrainError> {
    let Some(cache) = &options.features else { return Ok(()) };
    if recipe.policy.backbone().is_none() {
        return Ok(());
    }
    if !data.backbone_sees_clean() {
        let note = "frozen features are computed at every step: augmentation comes before them";
        (options.progress)(&Progress::Note(note.into()));
        return Ok(());
    }
    let (progress, interrupt) = (&mut options.progress, &options.interrupt);
    let mut note = |text: &str| {
        progress(&Progress::Note(text.into()));
        !interrupt.load(std::sync::atomic::Ordering::Relaxed)
    };
    let policy = policy.valid();
    data.features =
        FeatureStore::prepare(&policy, &recipe.policy, &data.frames, cache, plain, &mut note)?;
    Ok(())
}
