//! `engraft data merge` and `engraft data split`: many datasets as one, and one as many.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use engraft_datasets::{Dataset, SplitPart, Version, merge, split_by_fractions, split_off};

use super::episodes::Episodes;
use crate::mapping::MappingArgs;
use crate::progress::{Bar, note, say};

/// Put datasets of one robot together, whatever their formats, as one LeRobot dataset.
#[derive(clap::Args)]
pub(crate) struct MergeArgs {
    /// The datasets, in the order in which their episodes shall stand.
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// The folder to write; it must be new or empty.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Version of the LeRobot format.
    #[arg(long, value_enum, default_value = "v3.0")]
    format: Format,
    #[command(flatten)]
    columns: MappingArgs,
}

/// Deal the episodes of a dataset out to several LeRobot datasets.
#[derive(clap::Args)]
pub(crate) struct SplitArgs {
    /// The dataset's folder or file.
    dir: PathBuf,
    /// A new folder and what goes there: OUT=80% drawn at random, or OUT=0-9,12; repeat it.
    #[arg(long, value_name = "OUT=WHAT", required = true)]
    part: Vec<Part>,
    /// Where the draw begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Version of the LeRobot format.
    #[arg(long, value_enum, default_value = "v3.0")]
    format: Format,
    #[command(flatten)]
    columns: MappingArgs,
}

/// A version of the LeRobot format, as its users write it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    #[value(name = "v2.1")]
    V21,
    #[value(name = "v3.0")]
    V30,
}

impl From<Format> for Version {
    fn from(format: Format) -> Self {
        match format {
            Format::V21 => Self::V21,
            Format::V30 => Self::V30,
        }
    }
}

/// A folder, and what goes there.
#[derive(Debug, Clone)]
struct Part {
    out: PathBuf,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Percent(f64),
    Episodes(Episodes),
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || anyhow!("expected OUT=80% or OUT=0-9,12, found `{text}`");
        let (out, what) =
            text.rsplit_once('=').filter(|(out, _)| !out.is_empty()).ok_or_else(wrong)?;
        let what = match what.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if !(percent > 0.0 && percent <= 100.0) {
                    return Err(wrong());
                }
                What::Percent(percent)
            }
            None => What::Episodes(what.parse().map_err(|_| wrong())?),
        };
        Ok(Self { out: out.into(), what })
    }
}

pub(crate) fn run_merge(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let opened = args.dirs.iter().map(|dir| args.columns.open(dir));
    let opened = opened.collect::<anyhow::Result<Vec<_>>>()?;
    let datasets: Vec<&dyn Dataset> = opened.iter().map(|dataset| &**dataset).collect();
    let mut bar = Bar::new("merging", 1);
    let progress = &mut |done, total| bar.reach(done, total);
    let merged = merge(&datasets, &args.out, args.format.into(), progress)?;
    bar.clear();
    let out = args.out.display();
    say(format_args!(
        "{out}: {} episodes, {} steps, read again and the same",
        merged.num_episodes, merged.num_steps
    ))?;
    if !merged.left_behind.is_empty() {
        note(format_args!("left behind: {}", merged.left_behind.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run_split(args: &SplitArgs) -> anyhow::Result<ExitCode> {
    let dataset = args.columns.open(&args.dir)?;
    let parts = parts(args, &*dataset)?;
    let mut bar = Bar::new("splitting", 1);
    let progress = &mut |done, total| bar.reach(done, total);
    let written = split_off(&*dataset, &parts, args.format.into(), progress)?;
    bar.clear();
    for (part, written) in parts.iter().zip(written) {
        say(format_args!(
            "{}: {} episodes, {} steps, read again and the same",
            part.out.display(),
            written.num_episodes,
            written.num_steps
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parts(args: &SplitArgs, dataset: &dyn Dataset) -> anyhow::Result<Vec<SplitPart>> {
    let mut percents = Vec::new();
    let mut parts = Vec::new();
    for Part { out, what } in &args.part {
        match what {
            What::Percent(percent) => percents.push(*percent),
            What::Episodes(list) => {
                parts.push(SplitPart { out: out.clone(), episodes: list.of(dataset)? });
            }
        }
    }
    if percents.is_empty() {
        return Ok(parts);
    }
    if !parts.is_empty() {
        bail!("expected either a share or a list for every --part, found both");
    }
    let sum: f64 = percents.iter().sum();
    if sum > 100.0 + 1e-9 {
        bail!("expected shares of at most 100 % in all, found {sum} %");
    }
    // What is left over goes nowhere.
    percents.push((100.0 - sum).max(0.0));
    let drawn = split_by_fractions(dataset.num_episodes(), &percents, args.seed);
    let named = args.part.iter().zip(drawn);
    Ok(named.map(|(part, episodes)| SplitPart { out: part.out.clone(), episodes }).collect())
}
