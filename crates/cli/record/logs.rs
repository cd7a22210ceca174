//! Rollouts, of policies or of people, as demonstrations.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use engraft_core::{Outcome, Rollout};
use engraft_wire::read_log;

use super::Dataset;
use crate::progress::{Bar, note, say};

/// How an episode ended, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    Success,
    Failure,
    /// Nobody can tell, as of teleoperation.
    Unknown,
    /// Broken off, or not to be kept.
    Stopped,
}

impl Kept {
    fn is(self, outcome: Outcome) -> bool {
        match self {
            Self::Success => outcome == Outcome::Success,
            Self::Failure => outcome == Outcome::Failure,
            Self::Unknown => outcome == Outcome::Unknown,
            Self::Stopped => outcome == Outcome::Stopped,
        }
    }
}

/// Writes the episodes of `logs` that ended in one of these ways.
pub(super) fn record(
    logs: &[PathBuf],
    keep: &[Kept],
    mut dataset: Dataset,
) -> anyhow::Result<ExitCode> {
    let (mut episodes, mut steps, mut left_out) = (0, 0, 0);
    for path in logs {
        let log = read_log(path)?;
        if !log.whole {
            note(format_args!("{} ends in the middle of a record", path.display()));
        }
        let mut bar = Bar::new(format!("{}", path.display()), log.rollouts.len() as u64);
        for (number, rollout) in log.rollouts.iter().enumerate() {
            if keep.iter().any(|kept| kept.is(rollout.outcome)) && !rollout.steps.is_empty() {
                let place = || format!("episode {number} of {}", path.display());
                steps += write(rollout, &mut dataset).with_context(place)?;
                episodes += 1;
            } else {
                left_out += 1;
            }
            bar.set(number as u64 + 1, &format!("{steps} steps"));
        }
        bar.clear();
    }
    if episodes == 0 {
        bail!("no episode of {} log(s) ended in a way that --keep names", logs.len());
    }
    let out = dataset.finish()?;
    say(format_args!("{out}: {episodes} episodes, {steps} steps ({left_out} left out)"))?;
    note(format_args!("next: engraft data inspect {out}"));
    Ok(ExitCode::SUCCESS)
}

fn write(rollout: &Rollout, dataset: &mut Dataset) -> anyhow::Result<usize> {
    let writer = dataset.writer(&rollout.spec)?;
    let mut episode = writer.begin(&rollout.task);
    for step in &rollout.steps {
        ensure!(
            step.observation.views.len() == rollout.spec.views.len(),
            "a step has no pictures: it cannot be a demonstration"
        );
        episode.push(&step.observation, &step.action, step.time_secs)?;
    }
    let recorded = episode.finish()?;
    recorded.warning.iter().for_each(note);
    Ok(recorded.num_steps)
}
