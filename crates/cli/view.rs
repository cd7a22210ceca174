//! `engraft view`: look at a dataset, a training run, a rollout, or an arm that runs.

#[cfg(feature = "viz")]
mod arm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use engraft_core::{Observation, Outcome, Rollout, RolloutStep};
use engraft_datasets::Dataset;
use engraft_train::{MetricsRow, read_metrics};
use engraft_viz::{Curve, SheetOptions, contact_sheet};

use crate::data::{check_episode, write_png};
use crate::mapping::MappingArgs;
use crate::progress::{note, say};
use crate::replay::is_log;

/// Look at a dataset, a training run, a rollout log, or an arm that runs.
///
/// Without --save and --png it starts the rerun viewer, which comes with `pip install rerun-sdk`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A dataset's folder or file, a run's folder, a rollout log that `engraft bridge --log` wrote,
    /// or the telemetry of a bridge that runs, such as tcp://127.0.0.1:5556.
    path: PathBuf,
    /// One episode, from 0; all if absent.
    #[arg(long)]
    episode: Option<usize>,
    /// Write a recording for the rerun viewer.
    #[arg(long, value_name = "FILE.rrd")]
    save: Option<PathBuf>,
    /// Write a contact sheet (of a run: its curves as .svg).
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Stream to a viewer that runs already, such as 127.0.0.1:9876.
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<String>,
    /// Go on showing a rollout log while it is being written; Ctrl-C ends it.
    #[arg(long, conflicts_with_all = ["episode", "png"])]
    follow: bool,
    /// End looking at a running arm after so long.
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["episode", "png", "follow"])]
    seconds: Option<f64>,
    #[command(flatten)]
    columns: MappingArgs,
}

/// What there is to see.
enum Subject {
    Dataset(Box<dyn Dataset>),
    Run(Vec<Curve>),
    Rollouts(Vec<Rollout>),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.follow {
        recording::follow(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(endpoint) = args.path.to_str().filter(|path| path.starts_with("tcp://")) {
        recording::watch(endpoint, args)?;
        if let Some(path) = &args.save {
            say(format_args!("wrote {}", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let subject = open(&args.path, &args.columns)?;
    let mut written = Vec::new();
    if let Some(path) = &args.png {
        picture(&subject, args.episode, path)?;
        written.push(path);
    }
    if args.save.is_some() || args.connect.is_some() || args.png.is_none() {
        recording::show(&subject, args)?;
        written.extend(&args.save);
    }
    for path in written {
        say(format_args!("wrote {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path, columns: &MappingArgs) -> anyhow::Result<Subject> {
    if is_log(path) {
        let log = engraft_wire::read_log(path)?;
        if !log.whole {
            note("the log ends in the middle of a record; what came before it is shown");
        }
        return Ok(Subject::Rollouts(log.rollouts));
    }
    if path.join("metrics.jsonl").is_file() {
        return Ok(Subject::Run(curves(&run_name(path), &read_metrics(path)?)));
    }
    if path.exists() {
        return Ok(Subject::Dataset(columns.open(path)?));
    }
    bail!("expected a dataset, a run or a rollout log, found nothing (path: {})", path.display())
}

fn run_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Losses over a run: of each step averaged over a hundredth of the run, and of each validation.
pub(crate) fn curves(run: &str, rows: &[MetricsRow]) -> Vec<Curve> {
    let steps: Vec<[f64; 2]> =
        rows.iter().filter_map(|row| Some([row.step as f64, row.loss?])).collect();
    let mean = |part: &[[f64; 2]]| {
        let count = part.len() as f64;
        [part[part.len() - 1][0], part.iter().map(|point| point[1]).sum::<f64>() / count]
    };
    let train = steps.chunks(steps.len().div_ceil(100).max(1)).map(mean).collect();
    let val = rows.iter().filter_map(|row| Some([row.step as f64, row.val_loss?])).collect();
    let curves = [Curve::new(run, "train loss", train), Curve::new(run, "validation loss", val)];
    curves.into_iter().filter(|curve| !curve.points.is_empty()).collect()
}

/// An episode of a dataset as a rollout, so that one contact sheet serves both.
fn demonstration(dataset: &dyn Dataset, index: usize) -> anyhow::Result<Rollout> {
    let mut steps = Vec::new();
    for (step, (observation, action)) in
        demonstration_steps(dataset, index)?.into_iter().enumerate()
    {
        steps.push(RolloutStep {
            time_secs: step as f64 * dataset.spec().period_secs(),
            observation,
            chunk: None,
            action,
            limited: Vec::new(),
            attention: Vec::new(),
        });
    }
    Ok(Rollout {
        spec: dataset.spec().clone(),
        task: dataset.task(index).to_owned(),
        instance: format!("episode {index}"),
        seed: 0,
        outcome: Outcome::Unknown,
        steps,
    })
}

fn demonstration_steps(
    dataset: &dyn Dataset,
    index: usize,
) -> anyhow::Result<Vec<(Observation, Vec<f32>)>> {
    let episode = dataset.episode(index)?;
    let step = |step| {
        let action = episode.actions(step..step + 1)?.action(0).to_vec();
        Ok((episode.observation(step)?, action))
    };
    (0..episode.num_steps()).map(step).collect()
}

fn picture(subject: &Subject, episode: Option<usize>, path: &Path) -> anyhow::Result<()> {
    let options = SheetOptions::default();
    let index = episode.unwrap_or(0);
    match subject {
        Subject::Dataset(dataset) => {
            check_episode(&**dataset, index)?;
            write_png(&contact_sheet(&demonstration(&**dataset, index)?, &options), path)
        }
        Subject::Rollouts(rollouts) => {
            write_png(&contact_sheet(chosen(rollouts, index)?, &options), path)
        }
        Subject::Run(curves) => {
            let figure = engraft_viz::training_curves("Losses", curves);
            std::fs::write(path, figure).with_context(|| format!("cannot write {}", path.display()))
        }
    }
}

fn chosen(rollouts: &[Rollout], index: usize) -> anyhow::Result<&Rollout> {
    let count = rollouts.len();
    rollouts
        .get(index)
        .with_context(|| format!("there is no episode {index}: the log holds {count}"))
}

/// Writes one rollout as a recording.
pub(crate) fn save_rollout(rollout: &Rollout, path: &Path) -> anyhow::Result<()> {
    recording::save(rollout, path)
}

#[cfg(not(feature = "viz"))]
mod recording {
    use std::path::Path;

    fn not_built() -> anyhow::Result<()> {
        anyhow::bail!(
            "this engraft was built without recordings; build it with `--features viz`, \
             or write a picture with --png FILE"
        )
    }

    pub(super) fn show(_: &super::Subject, _: &super::Args) -> anyhow::Result<()> {
        not_built()
    }

    pub(super) fn follow(_: &super::Args) -> anyhow::Result<()> {
        not_built()
    }

    pub(super) fn watch(_: &str, _: &super::Args) -> anyhow::Result<()> {
        not_built()
    }

    pub(super) fn save(_: &super::Rollout, _: &Path) -> anyhow::Result<()> {
        not_built()
    }
}

#[cfg(feature = "viz")]
mod recording {
    use std::path::Path;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use engraft_core::{Outcome, Rollout};
    use engraft_viz::{About, DatasetRecording, RolloutRecording, Sink, TrainingRecording};

    use super::{Args, Subject, chosen, demonstration_steps, run_name};
    use crate::data::check_episode;
    use crate::progress::{Bar, interrupt_flag};

    /// Time between two looks at a log that is being written.
    const LOOK_EVERY: Duration = Duration::from_millis(200);

    fn sinks(args: &Args) -> Vec<Sink> {
        let mut sinks: Vec<Sink> = args.save.iter().cloned().map(Sink::File).collect();
        sinks.extend(args.connect.iter().cloned().map(Sink::Connect));
        if sinks.is_empty() {
            sinks.push(Sink::Viewer);
        }
        sinks
    }

    /// Shows an arm that runs.
    pub(super) fn watch(endpoint: &str, args: &Args) -> anyhow::Result<()> {
        super::arm::watch(endpoint, &sinks(args), args.seconds)
    }

    /// Shows what a log holds and what is added to it, until a signal comes.
    pub(super) fn follow(args: &Args) -> anyhow::Result<()> {
        let (stop, sinks) = (interrupt_flag()?, sinks(args));
        let (mut index, mut next, mut current) = (0, 0, None);
        loop {
            let last_look = stop.load(Ordering::SeqCst);
            let rollouts = engraft_wire::read_log(&args.path)?.rollouts;
            while let Some(rollout) = rollouts.get(index) {
                let recording = match &mut current {
                    Some(recording) => recording,
                    None => current.insert(open(rollout, &sinks)?),
                };
                for step in rollout.steps.get(next..).unwrap_or_default() {
                    recording.step(next, step)?;
                    next += 1;
                }
                if rollout.outcome == Outcome::Unknown && index + 1 == rollouts.len() {
                    break; // it goes on
                }
                if let Some(recording) = current.take() {
                    recording.finish(rollout.outcome)?;
                }
                (index, next) = (index + 1, 0);
            }
            if last_look {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn save(rollout: &Rollout, path: &Path) -> anyhow::Result<()> {
        show_rollout(rollout, &[Sink::File(path.to_owned())])
    }

    pub(super) fn show(subject: &Subject, args: &Args) -> anyhow::Result<()> {
        let sinks = sinks(args);
        match subject {
            Subject::Dataset(dataset) => {
                let episodes = match args.episode {
                    Some(index) => {
                        check_episode(&**dataset, index)?;
                        vec![index]
                    }
                    None => (0..dataset.num_episodes()).collect(),
                };
                let name = run_name(&args.path);
                let mut recording = DatasetRecording::open(&name, dataset.spec().clone(), &sinks)?;
                let mut bar = Bar::new("recording episodes", episodes.len() as u64);
                for (done, &index) in episodes.iter().enumerate() {
                    recording.episode(index, dataset.task(index))?;
                    for (observation, action) in demonstration_steps(&**dataset, index)? {
                        recording.step(&observation, &action)?;
                    }
                    bar.set(done as u64 + 1, "");
                }
                bar.finish("done");
                recording.finish()?;
            }
            Subject::Rollouts(rollouts) => {
                let index = args.episode.unwrap_or(0);
                show_rollout(chosen(rollouts, index)?, &sinks)?;
            }
            Subject::Run(curves) => {
                let mut recording = TrainingRecording::open(&run_name(&args.path), &sinks)?;
                for curve in curves {
                    recording.curve(curve)?;
                }
                recording.finish()?;
            }
        }
        Ok(())
    }

    fn open(rollout: &Rollout, sinks: &[Sink]) -> anyhow::Result<RolloutRecording> {
        let about = About {
            task: rollout.task.clone(),
            instance: rollout.instance.clone(),
            seed: rollout.seed,
        };
        Ok(RolloutRecording::open(rollout.spec.clone(), about, sinks)?)
    }

    fn show_rollout(rollout: &Rollout, sinks: &[Sink]) -> anyhow::Result<()> {
        let mut recording = open(rollout, sinks)?;
        for (index, step) in rollout.steps.iter().enumerate() {
            recording.step(index, step)?;
        }
        recording.finish(rollout.outcome)?;
        Ok(())
    }
}
