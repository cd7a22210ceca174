//! Writes pictures of every instance and of an expert's episode, and says how fast frames come.
//!
//! Run:  cargo run -p engraft-sim --example gallery -- /tmp/gallery
#![allow(clippy::print_stdout)] // an example speaks

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use engraft_core::{Environment, RgbImage};
use engraft_sim::{Noise, SimOptions, SimView, Simulator, Split, Task, record_episode};

/// Pictures of one size side by side, `columns` to a row.
fn sheet(pictures: &[RgbImage], columns: usize) -> RgbImage {
    let (w, h) = (pictures[0].width(), pictures[0].height());
    let rows = pictures.len().div_ceil(columns);
    let (width, height) = (columns * (w + 2), rows * (h + 2));
    let mut sheet = RgbImage::filled(width, height, [255; 3]);
    for (i, picture) in pictures.iter().enumerate() {
        let (x, y) = (i % columns * (w + 2), i / columns * (h + 2));
        for (row, line) in picture.pixels().chunks_exact(w * 3).enumerate() {
            let at = ((y + row) * width + x) * 3;
            sheet.pixels_mut()[at..at + w * 3].copy_from_slice(line);
        }
    }
    sheet
}

fn save(picture: &RgbImage, path: &Path) -> Result<(), Box<dyn Error>> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    image::save_buffer(path, picture.pixels(), width, height, image::ColorType::Rgb8)?;
    println!("{}", path.display());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "/tmp/gallery".into());
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    for task in Task::ALL {
        for split in Split::ALL {
            let mut simulator = Simulator::new(task, split, SimOptions::default())?;
            let mut pictures = Vec::new();
            for instance in 0..simulator.num_instances() {
                simulator.reset_blind(instance, 1);
                pictures.push(simulator.render(SimView::Front, 192, 192));
            }
            save(&sheet(&pictures, 7), &folder.join(format!("{task}-{split}.png")))?;
        }
        let options =
            SimOptions { views: vec![SimView::Front, SimView::Wrist], ..SimOptions::default() };
        let mut simulator = Simulator::new(task, Split::Train, options)?;
        for (name, noise) in [("clean", Noise::none()), ("noisy", Noise::default())] {
            let episode = record_episode(&mut simulator, 0, 3, &noise);
            let view = |v: usize| {
                episode.steps.iter().step_by(3).map(move |(seen, _)| seen.views[v].rgb.clone())
            };
            let pictures: Vec<_> = view(0).chain(view(1)).collect();
            let film = sheet(&pictures, 12);
            save(&film, &folder.join(format!("{task}-{name}.png")))?;
            println!("{} steps, success {}", episode.steps.len(), episode.success);
        }
        for size in [64, 96, 224] {
            let options = SimOptions { image_size: size, ..SimOptions::default() };
            let mut simulator = Simulator::new(task, Split::Train, options)?;
            let (begun, frames) = (Instant::now(), 100);
            for _ in 0..frames {
                simulator.observe();
            }
            println!(
                "{size} x {size}: {:.0} frames/s",
                f64::from(frames) / begun.elapsed().as_secs_f64()
            );
        }
        let mut simulator = Simulator::new(task, Split::Train, SimOptions::default())?;
        let (begun, steps) = (Instant::now(), 50);
        for _ in 0..steps {
            let action = simulator.expert_action();
            simulator.step_blind(&action);
        }
        println!(
            "without pictures: {:.0} steps/s",
            f64::from(steps) / begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
