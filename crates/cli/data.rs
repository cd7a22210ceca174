//! `engraft data`: look at demonstrations, mend them, and turn them into other formats.

mod convert;
mod doctor;
mod episodes;
mod inspect;
mod merge;
mod show;
mod stats;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use engraft_core::RgbImage;
use engraft_datasets::Dataset;

use crate::view;

pub(crate) use merge::Format;

/// Look at a dataset of demonstrations, mend it, or turn it into another format.
#[derive(Subcommand)]
pub(crate) enum Args {
    Inspect(inspect::Args),
    Show(show::Args),
    Stats(stats::Args),
    Doctor(doctor::Args),
    Convert(convert::Args),
    Merge(merge::MergeArgs),
    Split(merge::SplitArgs),
    View(view::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Inspect(args) => inspect::run(args),
        Args::Show(args) => show::run(args),
        Args::Stats(args) => stats::run(args),
        Args::Doctor(args) => doctor::run(args),
        Args::Convert(args) => convert::run(args),
        Args::Merge(args) => merge::run_merge(args),
        Args::Split(args) => merge::run_split(args),
        Args::View(args) => view::run(args),
    }
}

/// Checks an episode's number against what there is.
pub(crate) fn check_episode(dataset: &dyn Dataset, episode: usize) -> anyhow::Result<()> {
    let count = dataset.num_episodes();
    if episode >= count {
        bail!("there is no episode {episode}: expected 0 to {}", count.saturating_sub(1));
    }
    Ok(())
}

/// Writes a picture, and names the file where it cannot.
pub(crate) fn write_png(image: &RgbImage, path: &Path) -> anyhow::Result<()> {
    engraft_viz::write_png(image, path).with_context(|| format!("cannot write {}", path.display()))
}
