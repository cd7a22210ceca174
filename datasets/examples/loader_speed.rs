//! How fast windows of a dataset are read: frames per second, and the most memory it took.
//!
//! `cargo run --release -p engraft-datasets --example loader_speed -- DIR [random|sequential]
//! [WINDOWS] [THREADS] [SHARD_DIR]`; a window is a stack of 4 frames of every view.
//! `tests/bench/loader_speed.py` runs it beside the lerobot package's loader.

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use engraft_datasets::{Dataset, DatasetError, PastEnd, Shard, open, sample};
use rayon::prelude::*;
use serde_json::json;

const NUM_FRAMES: usize = 4;

/// Windows that are read at once, as a batch of training is.
const BATCH: usize = 8;

/// The most memory this process had, in megabytes.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.unwrap_or(0.0) / 1e3
}

/// Places of windows: evenly scattered by a multiplicative walk, or one after the other.
fn places(dataset: &dyn Dataset, mode: &str, count: usize) -> Vec<(usize, usize)> {
    let all: Vec<(usize, usize)> = (0..dataset.num_episodes())
        .flat_map(|episode| (0..dataset.episode_len(episode)).map(move |step| (episode, step)))
        .collect();
    let at = |i: usize| match mode {
        "random" => i.wrapping_mul(2_654_435_761) % all.len(),
        _ => i % all.len(),
    };
    (0..count).map(|i| all[at(i)]).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| arguments.get(at).map(String::as_str);
    let dir = word(0).ok_or("usage: loader_speed DIR [random|sequential] [WINDOWS] [THREADS]")?;
    let mode = word(1).unwrap_or("random");
    let count: usize = word(2).unwrap_or("1000").parse()?;
    let threads: usize = word(3).unwrap_or("2").parse()?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let start = Instant::now();
    let mut dataset: Arc<dyn Dataset> = Arc::from(open(dir)?);
    let open_secs = start.elapsed().as_secs_f64();
    let start = Instant::now();
    if let Some(shards) = word(4) {
        let shard = Shard::prepare(dataset, Path::new(shards), &mut |_, _| true)?;
        dataset = Arc::new(shard.ok_or("nobody stops it")?);
    }
    let shard_secs = start.elapsed().as_secs_f64();

    let places = places(&*dataset, mode, count);
    let start = Instant::now();
    let mut sum = 0_u64;
    for batch in places.chunks(BATCH) {
        let cut = |&(episode, step): &(usize, usize)| -> Result<u64, DatasetError> {
            let episode = dataset.episode(episode)?;
            let window = sample(&*episode, step, NUM_FRAMES, 1, PastEnd::Repeat)?;
            let views = window.frames.iter().flat_map(|frame| &frame.views);
            Ok(views.map(|view| u64::from(view.rgb.pixels()[0])).sum())
        };
        let found: Vec<u64> = batch.par_iter().map(cut).collect::<Result<_, _>>()?;
        sum += found.iter().sum::<u64>();
    }
    let secs = start.elapsed().as_secs_f64();
    let frames = count * NUM_FRAMES * dataset.spec().num_views();
    println!(
        "{}",
        json!({
            "frames_per_sec": frames as f64 / secs,
            "secs": secs,
            "open_secs": open_secs,
            "shard_secs": shard_secs,
            "peak_megabytes": peak_megabytes(),
            "checksum": sum,
        })
    );
    Ok(())
}
