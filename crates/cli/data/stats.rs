//! `engraft data stats`: what the numbers look like, dimension by dimension.

use std::path::PathBuf;
use std::process::ExitCode;

use engraft_datasets::{DimensionStats, describe};

use super::episodes::{Episodes, chosen};
use crate::mapping::MappingArgs;
use crate::progress::{Bar, say};

/// Mean, deviation, bounds and quantiles of proprio and actions.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The dataset's folder or file.
    dir: PathBuf,
    /// Only these episodes, such as 0-9,12.
    #[arg(long, value_name = "LIST")]
    episodes: Option<Episodes>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: MappingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dataset = args.columns.open(&args.dir)?;
    let episodes = chosen(args.episodes.as_ref(), &*dataset)?;
    let mut bar = Bar::new("reading", 1);
    let found = describe(&*dataset, &episodes, &mut |done, total| bar.reach(done, total))?;
    bar.clear();
    if args.json {
        say(serde_json::to_string_pretty(&found)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{} episodes, {} steps", found.num_episodes, found.num_steps))?;
    let names = ["mean", "std", "min", "q01", "q50", "q99", "max"];
    let head = names.iter().fold(String::new(), |line, name| format!("{line} {name:>10}"));
    for (kind, dimensions) in [("proprio", &found.proprio), ("action", &found.actions)] {
        if !dimensions.is_empty() {
            say(format_args!("{kind:<32}{head}"))?;
        }
        for (index, dimension) in dimensions.iter().enumerate() {
            say(row(index, dimension))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(index: usize, dimension: &DimensionStats) -> String {
    let unit = if dimension.unit.is_empty() { "?" } else { &dimension.unit };
    let name = format!("{index:>3} {} [{unit}]", dimension.name);
    let d = dimension;
    let quantiles = [d.min, d.q01, d.q50, d.q99, d.max].map(f64::from);
    let values = [d.mean, d.std].into_iter().chain(quantiles);
    values.fold(format!("{name:<32}"), |line, value| format!("{line} {value:>10.4}"))
}
