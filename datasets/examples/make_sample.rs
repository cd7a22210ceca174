//! Writes a small dataset whose every number follows from its place, for the judges.
//!
//! `cargo run -p engraft-datasets --example make_sample -- DIR v3.0|v2.1 [depth|times]`; with
//! `append` in the place of the version, adds an episode to the dataset that is there. With
//! `times`, steps are recorded one by one with the times at which they were captured, the third of
//! an episode half a second late.

use std::error::Error;
use std::f32::consts::PI;

use engraft_core::{DepthImage, Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};
use engraft_datasets::{LerobotWriter, RecordingOptions, Version};

const LENGTHS: [usize; 3] = [5, 8, 3];
const TASKS: [&str; 2] = ["open the drawer", "schließe die \"Tür\""];
const SIZES: [(usize, usize); 2] = [(16, 12), (10, 8)];

fn spec(depth: bool) -> RobotSpec {
    let view =
        |name: &str, (width, height), depth| ViewSpec { name: name.into(), width, height, depth };
    RobotSpec {
        name: "sample_arm".into(),
        control_hz: 10.0,
        views: vec![view("front", SIZES[0], depth), view("wrist", SIZES[1], false)],
        proprio: ["shoulder", "elbow", "gripper"].map(|name| Dimension::new(name, "rad")).into(),
        actions: vec![
            Dimension::new("shoulder", "rad").within(-PI, PI),
            Dimension::new("elbow", "rad").within(-PI, PI),
        ],
    }
}

fn picture(episode: usize, step: usize, view: usize) -> RgbImage {
    let (width, height) = SIZES[view];
    let value = |y: usize, x: usize, c: usize| {
        ((7 * x + 13 * y + 50 * c + 3 * step + 11 * episode + 29 * view) % 256) as u8
    };
    let pixels = (0..height * width * 3).map(|i| value(i / 3 / width, i / 3 % width, i % 3));
    RgbImage::new(width, height, pixels.collect()).expect("the formula gives whole pictures")
}

fn depth(step: usize) -> DepthImage {
    let (width, height) = SIZES[0];
    let metres = (0..height * width).map(|i| (400 + i + 7 * step) as f32 / 1000.0);
    DepthImage::new(width, height, metres.collect()).expect("the formula gives whole pictures")
}

fn step(episode: usize, step: usize, has_depth: bool) -> (Observation, Vec<f32>) {
    let at = (episode * 100 + step) as f32;
    let view = |view: usize| View {
        rgb: picture(episode, step, view),
        depth: (has_depth && view == 0).then(|| depth(step)),
    };
    let proprio = (0..3).map(|i| at * 0.125 + i as f32).collect();
    let action = (0..2).map(|i| at * 0.0625 - i as f32).collect();
    (Observation { views: vec![view(0), view(1)], proprio }, action)
}

fn add(
    writer: &mut LerobotWriter,
    length: usize,
    has_depth: bool,
    has_times: bool,
) -> Result<(), Box<dyn Error>> {
    let index = writer.num_episodes();
    let steps = (0..length).map(|at| step(index, at, has_depth));
    if !has_times {
        writer.add_episode(TASKS[index % 2], steps)?;
        return Ok(());
    }
    let mut episode = writer.begin(TASKS[index % 2]);
    for (at, (observation, action)) in steps.enumerate() {
        let late = if at < 2 { 0.0 } else { 0.5 };
        episode.push(&observation, &action, 1000.0 + at as f64 * 0.1 + late)?;
    }
    episode.finish()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.get(2).is_some_and(|found| found == word);
    let (has_depth, capture_times) = (has("depth"), has("times"));
    let (dir, version) = match &arguments[..] {
        [dir, mode, ..] if mode == "append" => {
            let mut writer = LerobotWriter::append(dir)?;
            add(&mut writer, 4, false, capture_times)?;
            return Ok(writer.finish()?);
        }
        [dir, version, ..] if version == "v3.0" => (dir, Version::V30),
        [dir, version, ..] if version == "v2.1" => (dir, Version::V21),
        _ => return Err("usage: make_sample DIR v3.0|v2.1|append [depth|times]".into()),
    };
    let options = RecordingOptions { capture_times };
    let mut writer = LerobotWriter::create_with(dir, &spec(has_depth), version, options)?;
    for length in LENGTHS {
        add(&mut writer, length, has_depth, capture_times)?;
    }
    writer.finish()?;
    Ok(())
}
