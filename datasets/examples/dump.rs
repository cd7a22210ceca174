//! Prints every value of a small dataset as JSON, for the judges.
//!
//! `cargo run -p engraft-datasets --example dump -- PATH [--fps 20] [--mask valid] [--task TEXT]
//! [--proprio COLUMN] [--action COLUMN] [--view NAME=COLUMN] [--depth NAME=COLUMN]`

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

fn mapping(flags: impl Iterator<Item = String>) -> Result<Mapping, Box<dyn Error>> {
    let mut said = Mapping::default();
    let mut flags = flags;
    while let Some(flag) = flags.next() {
        let value = flags.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match &*flag {
            "--fps" => said.fps = Some(value.parse()?),
            "--mask" => said.mask = Some(value),
            "--task" => said.task = Some(value),
            "--proprio" => said.proprio.push(value.parse()?),
            "--action" => said.action.push(value.parse()?),
            "--view" => said.view.push(value.parse()?),
            "--depth" => said.depth.push(value.parse()?),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    Ok(said)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: dump PATH [--fps RATE] [--mask NAME] ...")?;
    let dataset = open_as(path, &mapping(arguments)?)?;
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
