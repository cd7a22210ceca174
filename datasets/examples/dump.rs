//! Prints every value of a small dataset as JSON, for the judges.
//!
//! `cargo run -p engraft-datasets --example dump -- DIR [--fps RATE] [--mask NAME]
//! [--action COLUMN] [--proprio COLUMN] [--view NAME=COLUMN] [--depth NAME=COLUMN] ...`

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;

use engraft_core::Observation;
use engraft_datasets::{Mapping, open_as};
use serde_json::{Value, json};

fn pictures(observation: &Observation) -> Vec<Value> {
    let view = |view: &engraft_core::View| {
        json!({
            "shape": [view.rgb.height(), view.rgb.width(), 3],
            "rgb": view.rgb.pixels(),
            "depth": view.depth.as_ref().map(engraft_core::DepthImage::metres),
        })
    };
    observation.views.iter().map(view).collect()
}

/// What `--fps 10` and its like say, named as in [`Mapping`].
fn mapping(mut flags: impl Iterator<Item = String>) -> Result<Mapping, Box<dyn Error>> {
    let mut mapping = Mapping::default();
    while let Some(flag) = flags.next() {
        let value = flags.next().ok_or_else(|| format!("{flag}: expected a value"))?;
        match &*flag {
            "--fps" => mapping.fps = Some(value.parse()?),
            "--mask" => mapping.mask = Some(value),
            "--action" => mapping.action.push(value.parse()?),
            "--proprio" => mapping.proprio.push(value.parse()?),
            "--view" => mapping.view.push(value.parse()?),
            "--depth" => mapping.depth.push(value.parse()?),
            _ => return Err(format!("no such flag: {flag}").into()),
        }
    }
    Ok(mapping)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: dump DIR [--fps RATE] ...")?;
    let dataset = open_as(dir, &mapping(arguments)?)?;
    let mut episodes = Vec::new();
    for index in 0..dataset.num_episodes() {
        let episode = dataset.episode(index)?;
        let mut steps = Vec::new();
        for step in 0..episode.num_steps() {
            let observation = episode.observation(step)?;
            steps.push(json!({
                "views": pictures(&observation),
                "proprio": observation.proprio,
                "action": episode.actions(step..step + 1)?.values(),
            }));
        }
        episodes.push(json!({ "task": episode.task(), "steps": steps }));
    }
    let info = dataset.info()?;
    println!("{}", json!({ "spec": dataset.spec(), "info": info, "episodes": episodes }));
    Ok(())
}
