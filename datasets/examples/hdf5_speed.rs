//! Times reading rows of a robomimic file, for `tests/bench/hdf5_speed.py`.
//!
//! `cargo run --release -p engraft-datasets --example hdf5_speed -- FILE ROUNDS` reads lines of
//! `EPISODE STEP` from its input, and at each the frames of 4 steps in every view. It prints the
//! seconds that opening took, that the best of ROUNDS took, and the sum of the pixels in the middle.

#![allow(clippy::print_stdout)] // printing is what it is for

use std::error::Error;
use std::io::{Read, stdin};
use std::sync::Arc;
use std::time::Instant;

use engraft_datasets::{Dataset, Episode, open};

/// The command's allocator: it keeps the memory of the last picture for the next one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FRAMES: usize = 4;

fn read(dataset: &dyn Dataset, places: &[(usize, usize)]) -> Result<u64, Box<dyn Error>> {
    let mut episodes: Vec<Option<Arc<dyn Episode>>> = vec![None; dataset.num_episodes()];
    let mut sum = 0;
    for &(index, step) in places {
        if episodes[index].is_none() {
            episodes[index] = Some(dataset.episode(index)?);
        }
        let episode = episodes[index].as_ref().ok_or("no episode")?;
        for step in step..step + FRAMES {
            for view in episode.observation(step)?.views {
                let pixels = view.rgb.pixels();
                sum += u64::from(pixels[pixels.len() / 2]);
            }
        }
    }
    Ok(sum)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, rounds] = &arguments[..] else { return Err("usage: hdf5_speed FILE ROUNDS".into()) };
    let mut text = String::new();
    stdin().read_to_string(&mut text)?;
    let place = |line: &str| {
        let (episode, step) = line.split_once(' ')?;
        Some((episode.parse().ok()?, step.parse().ok()?))
    };
    let places: Vec<(usize, usize)> =
        text.lines().map(place).collect::<Option<_>>().ok_or("expected lines of EPISODE STEP")?;
    let start = Instant::now();
    let dataset = open(path)?;
    let opening = start.elapsed().as_secs_f64();
    let (mut best, mut sum) = (f64::INFINITY, 0);
    for _ in 0..rounds.parse::<usize>()? {
        let start = Instant::now();
        sum = read(&*dataset, &places)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{opening} {best} {sum}");
    Ok(())
}
