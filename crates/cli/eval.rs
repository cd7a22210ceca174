//! `engraft eval`: what a run is worth, on recorded episodes or in the simulator.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engraft_core::Rollout;
use engraft_policies::{Checkpoint, Precision};
use engraft_sim::{SimOptions, Simulator, Split, Task};
use engraft_train::eval::{
    ClosedLoop, ClosedLoopReport, EpisodeRow, Lane, OpenLoop, OpenLoopReport, closed_loop,
    open_loop,
};

use engraft_viz::{SheetOptions, contact_sheet};

use crate::data::write_png;
use crate::device::DeviceName;
use crate::mapping::MappingArgs;
use crate::progress::{Bar, note, say};
use crate::train::{open_run_in, otherwise_than_trained};
use crate::view::save_rollout;
use crate::word::word;

/// Evaluate a run on recorded episodes (--data) or in the embedded simulator (--sim).
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["data", "sim"])))]
pub(crate) struct Args {
    /// The run.
    run: PathBuf,
    /// Open loop: predict what the demonstrators did.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Closed loop: act in the simulator; drawer or door.
    #[arg(long, value_name = "TASK")]
    sim: Option<Task>,
    /// The instances: train or heldout.
    #[arg(long, default_value = "heldout")]
    split: Split,
    /// Episodes, dealt out over the instances in turn.
    #[arg(long, default_value_t = 42)]
    episodes: usize,
    /// Seed of each instance's first episode. Two runs with the same seed meet the same episodes.
    #[arg(long, default_value_t = 1000)]
    seed: u64,
    /// Actions played of each chunk; half of them if absent.
    #[arg(long)]
    executed: Option<usize>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Of the first episode in the simulator, write a recording for the rerun viewer.
    #[arg(long, value_name = "FILE.rrd", conflicts_with = "data")]
    save: Option<PathBuf>,
    /// Of the first episode in the simulator, write a contact sheet.
    #[arg(long, value_name = "FILE.png", conflicts_with = "data")]
    png: Option<PathBuf>,
    /// Where to compute: cpu, wgpu[:INDEX] or cuda[:INDEX].
    #[arg(long, default_value_t)]
    device: DeviceName,
    /// Compute frozen features in this precision, single or int8, whatever the run was trained on.
    #[arg(long, value_name = "PRECISION", value_parser = word::<Precision>)]
    frozen: Option<Precision>,
    #[command(flatten)]
    columns: MappingArgs,
}

/// Episodes to play in the simulator.
pub(crate) struct Trial<'a> {
    pub(crate) title: &'a str,
    pub(crate) task: Task,
    pub(crate) split: Split,
    pub(crate) episodes: usize,
    pub(crate) seed: u64,
    pub(crate) executed: Option<usize>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let run = open_run_in(&args.run, &args.device.open()?, args.frozen)?;
    otherwise_than_trained(&run).into_iter().for_each(note);
    if let Some(task) = args.sim {
        let (split, episodes, seed, executed) =
            (args.split, args.episodes, args.seed, args.executed);
        let title = format!("{task} ({split})");
        let trial = Trial { title: &title, task, split, episodes, seed, executed };
        let mut first: Option<Rollout> = None;
        let mut keep = |rollout| {
            first.get_or_insert(rollout);
        };
        let kept = args.save.is_some() || args.png.is_some();
        let report = play(&run, &trial, kept.then_some(&mut keep))?;
        if let Some(rollout) = first {
            picture(args, &rollout)?;
        }
        if args.json {
            say(serde_json::to_string_pretty(&report)?)?;
        } else {
            describe_closed(&report)?;
        }
    } else if let Some(data) = &args.data {
        let report = compare(&run, data, &args.columns)?;
        if args.json {
            say(serde_json::to_string_pretty(&report)?)?;
        } else {
            describe_open(&report)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn picture(args: &Args, rollout: &Rollout) -> anyhow::Result<()> {
    if let Some(path) = &args.png {
        write_png(&contact_sheet(rollout, &SheetOptions::default()), path)?;
        note(format_args!("wrote {}", path.display()));
    }
    if let Some(path) = &args.save {
        save_rollout(rollout, path)?;
        note(format_args!("wrote {}", path.display()));
    }
    Ok(())
}

/// Plays a trial on all cores, with a bar.
pub(crate) fn play(
    run: &Checkpoint,
    trial: &Trial<'_>,
    mut on_rollout: Option<&mut dyn FnMut(Rollout)>,
) -> anyhow::Result<ClosedLoopReport> {
    let options = SimOptions::from_spec(&run.contract.spec)?;
    // More lanes than cores: a forward pass of several pictures costs less than one of each.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut lanes = Vec::new();
    for _ in 0..(4 * cores).min(trial.episodes) {
        lanes.push(Box::new(Simulator::new(trial.task, trial.split, options.clone())?) as Lane);
    }
    let mut bar = Bar::new(format!("playing {}", trial.title), trial.episodes as u64);
    let mut successes = 0;
    let records = on_rollout.is_some();
    let mut hear = |rollout| {
        if let Some(hear) = &mut on_rollout {
            hear(rollout);
        }
    };
    let mut progress = |row: &EpisodeRow, ended: usize| {
        successes += usize::from(row.success);
        bar.set(ended as u64, &format!("{successes} succeeded"));
    };
    let report = closed_loop(
        run,
        &mut lanes,
        &mut ClosedLoop {
            instances: None,
            episodes: trial.episodes,
            seed: trial.seed,
            executed: trial.executed.or(Some(run.contract.horizon.div_ceil(2))),
            attention: records,
            progress: &mut progress,
            on_rollout: records.then_some(&mut hear),
        },
    )?;
    bar.finish(&report.success.to_string());
    Ok(report)
}

fn describe_closed(report: &ClosedLoopReport) -> anyhow::Result<()> {
    let width = report.instances.iter().map(|row| row.instance.len()).max().unwrap_or(0);
    for row in report.instances.iter().filter(|row| row.success.episodes > 0) {
        let of = format!("{} of {}", row.success.successes, row.success.episodes);
        say(format_args!("{:<width$}  {of:>8}", row.instance))?;
    }
    say(format_args!("{:<width$}  {}", "all", report.success))?;
    if let Some(steps) = report.mean_success_steps {
        say(format_args!("{:<width$}  {steps:.1} steps when it succeeds", ""))?;
    }
    Ok(())
}

fn compare(run: &Checkpoint, data: &Path, columns: &MappingArgs) -> anyhow::Result<OpenLoopReport> {
    let dataset = columns.open(data)?;
    Ok(open_loop(run, &*dataset, &OpenLoop::default())?)
}

fn describe_open(report: &OpenLoopReport) -> anyhow::Result<()> {
    say(format_args!("{} episodes, {} steps", report.num_episodes, report.num_samples))?;
    say(format_args!("{:<24} {:>10} {:>10}", "mean absolute error", "policy", "mean"))?;
    for dimension in &report.dimensions {
        let name = format!("{} [{}]", dimension.name, dimension.unit);
        say(format_args!("{name:<24} {:>10.4} {:>10.4}", dimension.mae, dimension.mean_mae))?;
    }
    let steps: Vec<_> = report.steps.iter().map(|share| format!("{share:.3}")).collect();
    say(format_args!("squared error by step, as a share of the mean's: {}", steps.join(" ")))?;
    say(format_args!(
        "over all: {:.3} (0 is perfect, 1 is no better than the mean)",
        report.relative_mse
    ))
}
