//! Draws everything that this crate can draw, from made-up data, into a folder.
//!
//! ```sh
//! cargo run -p engraft-viz --example figures -- /tmp/gallery
//! cargo run -p engraft-viz --features rerun --example figures -- /tmp/gallery # and recordings
//! ```
//!
//! With a viewer's address behind the folder, such as `127.0.0.1:9876`, the episode also plays
//! there as if it happened now.

use std::error::Error;
use std::f32::consts::TAU;
use std::path::PathBuf;

use engraft_core::{
    ActionChunk, AttentionMap, Dimension, Observation, Outcome, RgbImage, RobotSpec, Rollout,
    RolloutStep, View, ViewSpec,
};
use engraft_viz::{
    Bar, Block, Command, Curve, Report, Section, SheetOptions, Table, contact_sheet,
    rollout_curves, success_bars, training_curves, write_png,
};

const SIDE: usize = 96;
const STEPS: usize = 120;
const HORIZON: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::args().nth(1).ok_or("say where: gallery FOLDER")?);
    std::fs::create_dir_all(&out)?;
    let rollout = rollout();
    let (curves, bars) = (curves(), bars());

    let sheet = contact_sheet(&rollout, &SheetOptions::default());
    write_png(&sheet, &out.join("sheet.png"))?;
    let figures = [
        ("training", training_curves("Loss", &curves)),
        ("success", success_bars("Success by split", &bars)),
        ("actions", rollout_curves("Predicted and executed", &rollout)),
    ];
    for (name, svg) in &figures {
        std::fs::write(out.join(format!("{name}.svg")), svg)?;
    }
    std::fs::write(out.join("report.html"), report(&bars, figures, sheet).to_html())?;

    #[cfg(feature = "rerun")]
    {
        let steps = rollout.steps.iter().map(|s| (s.observation.clone(), s.action.clone()));
        let episodes = [("open the drawer".to_owned(), steps.collect())];
        engraft_viz::rollout_to_rrd(&rollout, &out.join("rollout.rrd"))?;
        engraft_viz::curves_to_rrd("gallery", &curves, &out.join("training.rrd"))?;
        engraft_viz::dataset_to_rrd("gallery", &rollout.spec, episodes, &out.join("data.rrd"))?;
        if let Some(address) = std::env::args().nth(2) {
            play(rollout, address)?;
        }
    }
    Ok(())
}

/// Streams the episode to a viewer at the control rate.
#[cfg(feature = "rerun")]
fn play(rollout: Rollout, address: String) -> Result<(), engraft_viz::RecordingError> {
    let about = engraft_viz::About { task: rollout.task, instance: rollout.instance, seed: 0 };
    let period = std::time::Duration::from_secs_f64(rollout.spec.period_secs());
    let sinks = [engraft_viz::Sink::Connect(address)];
    let mut recorder = engraft_viz::Recorder::start(rollout.spec, about, &sinks, 16)?;
    for step in rollout.steps {
        recorder.step(step);
        std::thread::sleep(period);
    }
    recorder.finish(rollout.outcome).map(drop)
}

/// A bright ball that rolls over a floor, seen by two cameras, and an arm that follows it.
fn rollout() -> Rollout {
    let joints = ["base", "shoulder", "elbow", "wrist", "gripper"];
    let dimension =
        |name: &&str| Dimension::new(*name, if *name == "gripper" { "1" } else { "rad" });
    let view = |name: &str| ViewSpec { name: name.into(), width: SIDE, height: SIDE, depth: false };
    let dimensions: Vec<_> = joints.iter().map(dimension).collect();
    let spec = RobotSpec {
        name: "gripper-arm".into(),
        control_hz: 10.0,
        views: vec![view("front"), view("wrist")],
        proprio: dimensions.clone(),
        actions: dimensions,
    };
    Rollout {
        spec,
        task: "open the drawer by its handle".into(),
        instance: "drawer-heldout-07".into(),
        seed: 3,
        outcome: Outcome::Success,
        steps: (0..STEPS).map(step).collect(),
    }
}

fn step(i: usize) -> RolloutStep {
    let ball = |view: usize| {
        let phase = i as f32 / STEPS as f32;
        let (x, y) = (0.15 + 0.7 * phase, 0.55 - 0.25 * (phase * TAU * 0.5).sin());
        if view == 0 { (x, y) } else { (1.0 - x, 0.3 + y / 2.0) }
    };
    let view = |v: usize| View { rgb: scene(ball(v), v), depth: None };
    let arrives = i.is_multiple_of(8);
    let attention = (0..2).flat_map(|view| {
        let taps = [("layer_2", 0.16), ("layer_4", 0.07)];
        taps.map(|(tap, spread)| attention(ball(view), view, tap, spread))
    });
    let chunk = (0..HORIZON).flat_map(|ahead| {
        let drift = 0.006 * ahead as f32 * (i as f32).sin();
        plan(i + ahead).map(|value| value + drift)
    });
    let action = plan(i);
    RolloutStep {
        time_secs: i as f64 / 10.0,
        observation: Observation { views: vec![view(0), view(1)], proprio: action.to_vec() },
        chunk: arrives.then(|| ActionChunk::new(HORIZON, 5, chunk.collect()).expect("16 by 5")),
        limited: if action[1] >= 0.8 { vec![1] } else { vec![] },
        action: action.to_vec(),
        attention: if arrives { attention.collect() } else { vec![] },
    }
}

fn plan(i: usize) -> [f32; 5] {
    let t = i as f32 / STEPS as f32;
    let close = ((t - 0.55) * 40.0).clamp(-8.0, 8.0);
    [
        -0.6 + 1.2 * t,
        (0.9 * (t * TAU * 0.5).sin()).min(0.8),
        1.2 - 0.8 * t * t,
        0.1 * (t * TAU * 3.0).sin(),
        1.0 / (1.0 + (-close).exp()),
    ]
}

fn scene((x, y): (f32, f32), view: usize) -> RgbImage {
    let side = SIDE as f32;
    let pixels = (0..SIDE * SIDE).flat_map(|at| {
        let (px, py) = ((at % SIDE) as f32 / side, (at / SIDE) as f32 / side);
        let far = ((px - x).powi(2) + (py - y).powi(2)).sqrt();
        let shade = ((px - x).powi(2) + ((py - y - 0.12) * 2.0).powi(2)).sqrt();
        if far < 0.1 {
            let light = 1.0 - ((px - x + 0.04).powi(2) + (py - y + 0.04).powi(2)).sqrt() * 5.0;
            return [230.0, 90.0, 60.0].map(|c| (c * light.max(0.3)) as u8);
        }
        let tile = ((px * 8.0) as usize + (py * 8.0) as usize + view).is_multiple_of(2);
        let floor = if tile { 205.0 } else { 180.0 } - 60.0 * (1.0 - py);
        let floor = if shade < 0.12 { floor * 0.6 } else { floor };
        [floor, floor * 0.97, floor * 0.9].map(|c| c as u8)
    });
    RgbImage::new(SIDE, SIDE, pixels.collect()).expect("96 by 96")
}

fn attention((x, y): (f32, f32), view: usize, tap: &str, spread: f32) -> AttentionMap {
    let weights = (0..28 * 28).map(|at| {
        let (px, py) = ((at % 28) as f32 / 28.0, (at / 28) as f32 / 28.0);
        (-((px - x).powi(2) + (py - y).powi(2)) / (2.0 * spread * spread)).exp()
    });
    let weights = weights.collect();
    AttentionMap { view, tap: tap.into(), width: 28, height: 28, weights }
}

fn curves() -> Vec<Curve> {
    let curve = |run: &str, name: &str, rate: f64, floor: f64, every: u32| {
        let noise = |i: u32| 1.0 + 0.25 * f64::from(i * 7919 % 101) / 101.0;
        let value = |i: u32| (0.6 * (-f64::from(i) / rate).exp() + floor) * noise(i);
        let points = (0..2000).step_by(every as usize).map(|i| [f64::from(i), value(i)]);
        Curve::new(run, name, points.collect())
    };
    vec![
        curve("lfs", "train loss", 180.0, 0.004, 5),
        curve("lfs", "val loss", 240.0, 0.02, 100),
        curve("spawnnet", "train loss", 260.0, 0.007, 5),
        curve("spawnnet", "val loss", 300.0, 0.012, 100),
    ]
}

fn bars() -> Vec<Bar> {
    let bar = |group: &str, label: &str, successes| Bar {
        group: group.into(),
        label: label.into(),
        successes,
        trials: 42,
    };
    vec![
        bar("train", "lfs", 35),
        bar("train", "spawnnet", 38),
        bar("held-out", "lfs", 14),
        bar("held-out", "spawnnet", 24),
    ]
}

fn report(bars: &[Bar], figures: [(&str, String); 3], sheet: RgbImage) -> Report {
    let row = |bar: &Bar| {
        let [low, high] = engraft_core::wilson(bar.successes as usize, bar.trials as usize)
            .map(|rate| rate * 100.0);
        let rate = format!("{:.0} %", bar.rate() * 100.0);
        let interval = format!("{low:.0} \u{2013} {high:.0} %");
        let count = format!("{} / {}", bar.successes, bar.trials);
        vec![bar.label.clone(), bar.group.clone(), rate, interval, count]
    };
    let columns = ["policy", "split", "success", "95 % interval", "episodes"];
    let table =
        Table { columns: columns.map(String::from).to_vec(), rows: bars.iter().map(row).collect() };
    let [training, success, actions] = figures.map(|(_, svg)| svg);
    let figure = |svg, caption: &str| Block::Figure { svg, caption: caption.into() };
    let fact = |what: &str, value: &str| (what.to_owned(), value.to_owned());
    Report {
        title: "From demonstrations to a moving arm".into(),
        lead: "SpawnNet opens 57 % of the drawers that it has never seen.".into(),
        facts: vec![
            fact("demonstrations", "84"),
            fact("success on training drawers", "90 %"),
            fact("success on held-out drawers", "57 %"),
            fact("time", "14 min 10 s"),
        ],
        sections: vec![
            Section::new(
                "How often it succeeds",
                vec![
                    Block::Table(table),
                    figure(success, "Whiskers are 95 % Wilson intervals over the episodes."),
                ],
            ),
            Section::new(
                "How it learned",
                vec![figure(training, "Mean squared error of normalized actions.")],
            ),
            Section::new(
                "One episode",
                vec![
                    Block::Picture {
                        image: sheet,
                        caption: "An episode on a held-out drawer, and where the policy looked."
                            .into(),
                    },
                    figure(actions, "Each thin line is one chunk, from the step it arrived."),
                ],
            ),
            Section::new(
                "What to try next",
                vec![Block::Commands(vec![
                    Command::new("Scrub through the episode", "engraft view out/rollout.rrd"),
                    Command::new(
                        "Train for longer",
                        "engraft train policies/recipes/drawer-lfs-long.toml --out runs/long",
                    ),
                ])],
            ),
        ],
        footer: "engraft 0.1.0".into(),
    }
}
