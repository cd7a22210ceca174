//! `engraft data`: look at demonstrations before training on them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use engraft_core::{Observation, RgbImage};
use engraft_datasets::{Dataset, DatasetInfo, Role};
use serde_json::json;

use crate::progress::{note, say};

/// Look at a dataset of demonstrations.
#[derive(Subcommand)]
pub(crate) enum Args {
    /// What a dataset holds, and where it disagrees with itself.
    Inspect(InspectArgs),
    /// One step of one episode.
    Show(ShowArgs),
}

#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// The dataset's folder.
    dir: PathBuf,
    /// Read every episode and decode every picture; exit 1 if anything is wrong.
    #[arg(long)]
    check: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(crate) struct ShowArgs {
    /// The dataset's folder.
    dir: PathBuf,
    /// The episode, from 0.
    #[arg(long, default_value_t = 0)]
    episode: usize,
    /// The step, from 0.
    #[arg(long, default_value_t = 0)]
    step: usize,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Write the views side by side to this file.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match args {
        Args::Inspect(args) => inspect(args),
        Args::Show(args) => show(args),
    }
}

fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let dataset = engraft_datasets::open(&args.dir)?;
    let info = dataset.info()?;
    let problems = if args.check { dataset.check() } else { Vec::new() };
    if args.json {
        let mut value = serde_json::to_value(&info)?;
        if args.check {
            value["problems"] = json!(problems);
        }
        say(serde_json::to_string_pretty(&value)?)?;
    } else {
        describe(&info)?;
        for problem in &problems {
            say(format_args!("problem   {problem}"))?;
        }
        if args.check && problems.is_empty() {
            say("checked   every episode reads and every picture decodes")?;
        }
    }
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}

fn describe(info: &DatasetInfo) -> anyhow::Result<()> {
    say(format_args!("format    {}", info.format))?;
    say(format_args!("robot     {}", info.robot))?;
    let steps = &info.episode_steps;
    say(format_args!(
        "episodes  {} of {} to {} steps, {} steps in all",
        info.num_episodes, steps.min, steps.max, info.num_steps
    ))?;
    let megabytes = info.num_bytes as f64 / 1e6;
    say(format_args!(
        "time      {:.0} s at {} Hz, {megabytes:.1} MB",
        info.duration_secs, info.fps
    ))?;
    for task in &info.tasks {
        say(format_args!("task      {task}"))?;
    }
    for feature in &info.features {
        let role = match feature.role {
            Role::View => "view",
            Role::Depth => "depth",
            Role::Proprio => "proprio",
            Role::Action => "action",
            Role::Index => "index",
            Role::Other => "not read",
        };
        say(format_args!(
            "feature   {:<28} {:<8} {:<14} {role}",
            feature.name,
            feature.dtype,
            format!("{:?}", feature.shape)
        ))?;
        for (index, dimension) in feature.dimensions.iter().enumerate() {
            let range = match (dimension.min, dimension.max) {
                (Some(min), Some(max)) => format!("{min} to {max}"),
                _ => String::new(),
            };
            let unit = if dimension.unit.is_empty() { "?" } else { &dimension.unit };
            say(format_args!("{:>12}  {:<26} [{unit}] {range}", index, dimension.name))?;
        }
    }
    for warning in &info.warnings {
        say(format_args!("warning   {warning}"))?;
    }
    Ok(())
}

/// Checks an episode's number against what there is.
pub(crate) fn check_episode(dataset: &dyn Dataset, episode: usize) -> anyhow::Result<()> {
    let count = dataset.num_episodes();
    if episode >= count {
        bail!("there is no episode {episode}: expected 0 to {}", count.saturating_sub(1));
    }
    Ok(())
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let dataset = engraft_datasets::open(&args.dir)?;
    check_episode(&*dataset, args.episode)?;
    let episode = dataset.episode(args.episode)?;
    if args.step >= episode.num_steps() {
        bail!(
            "episode {} has no step {}: expected 0 to {}",
            args.episode,
            args.step,
            episode.num_steps().saturating_sub(1)
        );
    }
    let observation = episode.observation(args.step)?;
    let actions = episode.actions(args.step..args.step + 1)?;
    let spec = dataset.spec();
    if args.json {
        let views = spec.views.iter().zip(&observation.views).map(|(spec, view)| {
            let pixels = view.rgb.pixels();
            let mean = pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / pixels.len() as f64;
            json!({"name": spec.name, "width": view.rgb.width(), "height": view.rgb.height(), "mean": mean})
        });
        let value = json!({
            "episode": args.episode,
            "step": args.step,
            "num_steps": episode.num_steps(),
            "task": episode.task(),
            "proprio": observation.proprio,
            "action": actions.action(0),
            "views": views.collect::<Vec<_>>(),
        });
        say(serde_json::to_string_pretty(&value)?)?;
    } else {
        say(format_args!(
            "episode {} of {}, step {} of {}: {}",
            args.episode,
            dataset.num_episodes(),
            args.step,
            episode.num_steps(),
            episode.task()
        ))?;
        let rows = [
            ("proprio", &spec.proprio, observation.proprio.as_slice()),
            ("action", &spec.actions, actions.action(0)),
        ];
        for (kind, dimensions, values) in rows {
            for (dimension, value) in dimensions.iter().zip(values) {
                say(format_args!(
                    "{kind:<8} {:<24} {value:>9.4} {}",
                    dimension.name, dimension.unit
                ))?;
            }
        }
    }
    if let Some(path) = &args.png {
        write_png(&side_by_side(&observation), path)?;
        note(format_args!("wrote {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a picture, and names the file where it cannot.
pub(crate) fn write_png(image: &RgbImage, path: &Path) -> anyhow::Result<()> {
    engraft_viz::write_png(image, path).with_context(|| format!("cannot write {}", path.display()))
}

/// All views in a row, as high as the first.
fn side_by_side(observation: &Observation) -> RgbImage {
    let height = observation.views.first().map_or(1, |view| view.rgb.height());
    let views: Vec<RgbImage> = observation
        .views
        .iter()
        .map(|view| {
            let width = (view.rgb.width() * height).div_ceil(view.rgb.height());
            view.rgb.resize(width, height)
        })
        .collect();
    let width = views.iter().map(RgbImage::width).sum::<usize>().max(1);
    let mut row = RgbImage::filled(width, height, [0; 3]);
    let mut left = 0;
    for view in &views {
        let bytes = view.width() * 3;
        for (y, line) in view.pixels().chunks_exact(bytes).enumerate() {
            let start = (y * width + left) * 3;
            row.pixels_mut()[start..start + bytes].copy_from_slice(line);
        }
        left += view.width();
    }
    row
}
