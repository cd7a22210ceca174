//! Prints every value of a small dataset as JSON, for the judges.
//!
//! `cargo run -p engraft-datasets --example dump -- DIR`

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;

use engraft_core::Observation;
use engraft_datasets::open;
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

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: dump DIR")?;
    let dataset = open(dir)?;
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
