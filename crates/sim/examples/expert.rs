//! Plays the expert over many resets of every instance and says how often it succeeds.
//!
//! Run:  cargo run -p engraft-sim --example expert -- 50
#![allow(clippy::print_stdout)] // an example speaks

use std::error::Error;

use engraft_core::Environment;
use engraft_sim::{Noise, SimOptions, Simulator, Split, Task, play_episode};

fn main() -> Result<(), Box<dyn Error>> {
    let seeds: u64 = std::env::args().nth(1).map_or(Ok(20), |count| count.parse())?;
    for task in Task::ALL {
        for split in Split::ALL {
            let mut simulator = Simulator::new(task, split, SimOptions::default())?;
            for (name, noise) in [("clean", Noise::none()), ("noisy", Noise::default())] {
                let (mut total, mut steps, mut worst) = (0, 0, (u64::MAX, String::new()));
                let (mut longest, mut missed) = (0, Vec::new());
                for instance in 0..simulator.num_instances() {
                    let mut successes = 0;
                    for seed in 0..seeds {
                        let (length, success) =
                            play_episode(&mut simulator, instance, seed, &noise);
                        successes += u64::from(success);
                        steps += length;
                        longest = longest.max(length);
                        if !success {
                            missed.push((instance, seed));
                        }
                    }
                    total += successes;
                    if successes < worst.0 {
                        worst = (successes, simulator.instance_name(instance));
                    }
                }
                let episodes = simulator.num_instances() as u64 * seeds;
                println!(
                    "{task} {split} {name}: {total} of {episodes}, worst {} of {seeds} ({}), \
                     {:.1} steps each, at most {longest}, missed (instance, seed) {:?}",
                    worst.0,
                    worst.1,
                    steps as f64 / episodes as f64,
                    &missed[..missed.len().min(8)],
                );
            }
        }
    }
    Ok(())
}
