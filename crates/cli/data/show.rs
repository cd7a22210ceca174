//! `engraft data show`: one step of one episode.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use engraft_core::{Observation, RgbImage};
use serde_json::json;

use super::{check_episode, write_png};
use crate::mapping::MappingArgs;
use crate::progress::{note, say};

/// One step of one episode.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The dataset's folder or file.
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
    #[command(flatten)]
    columns: MappingArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let dataset = args.columns.open(&args.dir)?;
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
