//! `engraft replay`: an episode of a dataset, on an arm.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use engraft_core::{Observation, Outcome, Rollout, RolloutStep};
use engraft_wire::read_log;
use firmware_bridge::cli::{PlayArgs, play_rollout};

use crate::mapping::MappingArgs;

/// Play the actions of a recorded episode on the arm of a running bridge, within every limit.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A dataset's folder or file, of any format, or a rollout log.
    path: PathBuf,
    #[command(flatten)]
    play: PlayArgs,
    #[command(flatten)]
    columns: MappingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let episode = args.play.episode;
    let rollout = if is_log(&args.path) {
        let mut rollouts = read_log(&args.path)?.rollouts;
        if episode >= rollouts.len() {
            bail!("there is no episode {episode}: expected one of {}", rollouts.len());
        }
        rollouts.swap_remove(episode)
    } else {
        actions(args)?
    };
    play_rollout(&rollout, &args.play)
}

/// Whether `path` is a rollout log; a dataset in one file is told from one by its ending.
pub(crate) fn is_log(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    path.is_file() && !matches!(&*ending, "hdf5" | "h5" | "zip")
}

/// The actions of an episode at their nominal times, and nothing else of it.
fn actions(args: &Args) -> anyhow::Result<Rollout> {
    let dataset = args.columns.open(&args.path)?;
    let (index, count) = (args.play.episode, dataset.num_episodes());
    if index >= count {
        bail!("there is no episode {index}: expected 0 to {}", count.saturating_sub(1));
    }
    let episode = dataset.episode(index)?;
    let spec = dataset.spec().clone();
    let chunk = episode.actions(0..episode.num_steps())?;
    let step = |number: usize| RolloutStep {
        time_secs: number as f64 * spec.period_secs(),
        observation: Observation { views: Vec::new(), proprio: Vec::new() },
        chunk: None,
        action: chunk.action(number).to_vec(),
        limited: Vec::new(),
        attention: Vec::new(),
    };
    Ok(Rollout {
        task: episode.task().to_owned(),
        instance: format!("episode {index}"),
        seed: 0,
        outcome: Outcome::Unknown,
        steps: (0..episode.num_steps()).map(step).collect(),
        spec,
    })
}
