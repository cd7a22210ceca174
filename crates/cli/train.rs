//! `engraft train`: a recipe and demonstrations become a run.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use burn::tensor::Device;
use clap::ValueEnum;
use engraft_datasets::Dataset;
use engraft_policies::{Checkpoint, Precision};
use engraft_train::{Ending, FeatureCache, Options, PictureCache, Recipe, checkpoint_dir, train};

use crate::device::{self, DeviceName};
use crate::mapping::{MappingArgs, open_dataset};
use crate::progress::{interrupt_flag, note, say};

/// Train a policy on demonstrations, as a recipe says.
///
/// Ctrl-C saves and stops; `--resume` continues bit for bit. What is learned lies in OUT/best and
/// OUT/last, numbers in OUT/metrics.jsonl.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The recipe, such as policies/recipes/lfs-drawer.toml.
    recipe: PathBuf,
    /// The demonstrations; the recipe's `dataset` if absent.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The run's folder.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Continue the run in OUT.
    #[arg(long)]
    resume: bool,
    /// Optimizer steps, instead of the recipe's.
    #[arg(long)]
    steps: Option<u64>,
    /// Train for this many minutes instead of the recipe's steps.
    #[arg(long, conflicts_with = "steps")]
    minutes: Option<f64>,
    /// Most megabytes of frozen features to keep on disk; 0 computes them at every step.
    #[arg(long, value_name = "MB", default_value_t = 4000)]
    feature_budget: u64,
    /// Where frozen features are kept; OUT/features if absent.
    #[arg(long, value_name = "DIR")]
    feature_dir: Option<PathBuf>,
    /// Where decoded pictures are kept: in memory, all of them in a file, or nowhere.
    #[arg(long, value_enum, default_value = "ram")]
    cache: Cache,
    /// Most megabytes of decoded pictures in memory.
    #[arg(long, value_name = "MB", default_value_t = 2000)]
    cache_mb: u64,
    /// Where --cache disk keeps its file; OUT/pictures if absent. Runs may share it.
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Plain lines also in a terminal, instead of the dashboard.
    #[arg(long)]
    plain: bool,
    /// Where to compute: cpu, wgpu[:INDEX] or cuda[:INDEX].
    #[arg(long, default_value_t)]
    device: DeviceName,
    /// Devices that share each step, such as cuda:0,cuda:1. A batch keeps its size and is cut
    /// into as many parts; the first device also validates.
    #[arg(long, value_name = "DEVICE,..", value_delimiter = ',', conflicts_with = "device")]
    devices: Vec<DeviceName>,
    #[command(flatten)]
    columns: MappingArgs,
}

/// Where decoded pictures are kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cache {
    Ram,
    Disk,
    None,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    engraft_kernels::keep_freed_memory();
    let mut recipe = Recipe::open(&args.recipe)?;
    recipe.steps = args.steps.unwrap_or(recipe.steps);
    let data = args
        .data
        .clone()
        .or_else(|| recipe.dataset.clone())
        .ok_or_else(|| anyhow!("the recipe names no dataset; name one with --data DIR"))?;
    recipe.dataset = Some(data.clone());
    recipe.data = args.columns.mapping().or(recipe.data);
    let dataset: Arc<dyn Dataset> = Arc::from(open_dataset(&data, &recipe.data)?);
    let features = (args.feature_budget > 0).then(|| FeatureCache {
        dir: args.feature_dir.clone().unwrap_or_else(|| args.out.join("features")),
        budget_bytes: args.feature_budget * 1_000_000,
    });
    let pictures = match args.cache {
        Cache::Ram => PictureCache::Memory { budget_bytes: args.cache_mb * 1_000_000 },
        Cache::Disk => {
            let dir = args.cache_dir.clone().unwrap_or_else(|| args.out.join("pictures"));
            PictureCache::Disk { dir }
        }
        Cache::None => PictureCache::None,
    };
    let names = if args.devices.is_empty() { vec![args.device] } else { args.devices.clone() };
    let mut devices = device::open_all(&names)?;
    let device = devices.remove(0);
    let options = Options {
        more_devices: devices,
        pictures,
        resume: args.resume,
        interrupt: interrupt_flag()?,
        progress: Box::new(|progress| note(progress)),
        dashboard: !args.plain && std::io::stdout().is_terminal(),
        features,
        time_limit: args.minutes.map(minutes).transpose()?,
        ..Options::default()
    };
    let summary = train(&recipe, dataset, &args.out, &device, options)?;
    let loss = match summary.best {
        Some((loss, step)) => format!("best validation loss {loss:.4} at step {step}"),
        None => format!("train loss {:.4}", summary.train_loss),
    };
    say(format_args!(
        "{}: {} steps in {:.0} s on {}, {loss}",
        args.out.display(),
        summary.step,
        summary.elapsed_secs,
        device::list(&names)
    ))?;
    note(format_args!(
        "{:.0} images/s, {:.1} % of the time waiting for data",
        summary.images_per_sec,
        100.0 * summary.waiting
    ));
    let out = args.out.display();
    if summary.ending == Ending::Interrupted {
        note(format_args!(
            "stopped; continue with: engraft train {} --data {} --out {out} --resume",
            args.recipe.display(),
            data.display()
        ));
        return Ok(ExitCode::from(1));
    }
    note(format_args!("next: engraft eval {out} --data {}", data.display()));
    note(format_args!("  or, for a robot: engraft serve {out}"));
    Ok(ExitCode::SUCCESS)
}

/// A number of minutes as a duration.
pub(crate) fn minutes(minutes: f64) -> anyhow::Result<Duration> {
    if !(minutes.is_finite() && minutes > 0.0) {
        bail!("--minutes needs a number above 0, found {minutes}");
    }
    Ok(Duration::from_secs_f64(minutes * 60.0))
}

/// Opens a run to predict with: the folder of a checkpoint, or that of a training run, of which it
/// takes the best.
pub(crate) fn open_run(dir: &Path, device: &Device) -> anyhow::Result<Checkpoint> {
    open_run_in(dir, device, None)
}

/// [`open_run`], with frozen features computed in this precision rather than in the run's own.
pub(crate) fn open_run_in(
    dir: &Path,
    device: &Device,
    frozen: Option<Precision>,
) -> anyhow::Result<Checkpoint> {
    if !dir.is_dir() {
        bail!("no run there; train one with `engraft train` (path: {})", dir.display());
    }
    let run = Checkpoint::open_in(&checkpoint_dir(dir), device, frozen);
    Ok(run.context("cannot open the run")?.to_predict())
}

/// What to say of a run whose frozen features are computed otherwise than it was trained.
pub(crate) fn otherwise_than_trained(run: &Checkpoint) -> Option<String> {
    let trained = run.policy_config.backbone()?.precision;
    let found = run.policy.backbone()?.network().precision();
    let told = format!("frozen features in {found} precision, the run was trained on {trained}");
    (found != trained).then_some(told)
}
