//! How fast a run is, and how much of its time it waits for data.
//!
//! ```text
//! cargo run --release -p engraft-train --example epoch -- DATASET RECIPE STEPS [FEATURES]
//! ```
//!
//! Follows RECIPE on DATASET for STEPS steps, which are one epoch, and throws the run away. With
//! FEATURES, a folder, frozen features are kept there; the time to make them is told apart.

#![allow(clippy::print_stdout)] // Its output is the point.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use engraft_train::{FeatureCache, Options, Recipe, train};

/// The command's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dataset, recipe, steps, rest @ ..] = &arguments[..] else {
        return Err("expected DATASET RECIPE STEPS [FEATURES]".into());
    };
    let steps: u64 = steps.parse()?;
    let recipe = Recipe { steps, epoch_steps: steps, ..Recipe::open(Path::new(recipe))? };
    let recipe = Recipe { val_fraction: 0.0, ..recipe };
    let dataset = Arc::from(engraft_datasets::open(dataset)?);
    let features =
        rest.first().map(|dir| FeatureCache { dir: PathBuf::from(dir), budget_bytes: 16 << 30 });
    let options =
        Options { features, progress: Box::new(|line| println!("{line}")), ..Options::default() };
    let out = tempfile::tempdir()?;
    let began = Instant::now();
    let run = train(&recipe, dataset, &out.path().join("run"), &Device::flex(), options)?;
    let all = began.elapsed().as_secs_f64();
    let millis = 1e3 * run.elapsed_secs / steps as f64;
    println!(
        "{steps} steps of {}: {millis:.1} ms a step, {:.2} % of it waiting for data; {:.1} s before",
        recipe.batch_size,
        100.0 * run.waiting,
        all - run.elapsed_secs,
    );
    Ok(())
}
