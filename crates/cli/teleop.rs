//! `engraft teleop-record`: what a person shows with a leader arm, as a LeRobot dataset.

use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use engraft_core::Outcome;
use firmware_bridge::cli::{Recorded, TeleopSession, teleop_record};
use firmware_bridge::recorder::Record;

use crate::progress::{note, say};
use crate::record::{Dataset, DatasetArgs};

/// Drive the arm of a running bridge with a leader arm, and record both as a LeRobot dataset.
///
/// An episode is safe on disk as soon as it is said to be kept.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    session: TeleopSession,
    #[command(flatten)]
    dataset: DatasetArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dataset = Dataset::new(&args.dataset)?;
    let keep = |records: &Receiver<Record>| Ok(keep(records, dataset)?);
    let Recorded { episodes, furthest_rad, .. } = teleop_record(&args.session, keep)?;
    say(format_args!(
        "{}: {episodes} episode(s); the follower was {furthest_rad:.3} rad from the leader's \
         course at most",
        args.dataset.out.display()
    ))?;
    if episodes > 0 {
        note(format_args!("next: engraft data doctor {}", args.dataset.out.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn keep(records: &Receiver<Record>, mut dataset: Dataset) -> anyhow::Result<()> {
    while let Ok(record) = records.recv() {
        let Record::Begin(rollout) = record else { continue };
        let mut episode = dataset.writer(&rollout.spec)?.begin(&rollout.task);
        let outcome = loop {
            match records.recv() {
                Ok(Record::Step(moment)) => {
                    episode.push(&moment.observation, &moment.action, moment.time_secs)?;
                }
                Ok(Record::End(outcome)) => break outcome,
                _ => break Outcome::Stopped,
            }
        };
        if outcome == Outcome::Stopped || episode.num_steps() == 0 {
            continue;
        }
        let recorded = episode.finish()?;
        // The terminal may be in raw mode, where a line's end does not go back to its beginning.
        note(format_args!("episode {}: {} steps on disk\r", recorded.episode, recorded.num_steps));
        recorded.warning.iter().for_each(|warning| note(format_args!("{warning}\r")));
    }
    dataset.finish()?;
    Ok(())
}
