//! The command on a GPU: training, evaluation, one answer, a server, and what it keeps.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use engraft_client::{Config, Policy};
use engraft_core::{Observation, RgbImage, View};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::Value;

use super::{NAME, Worst};
use crate::support::{Lab, RECIPE};

/// Most that what the command says may be off, as a share of its length.
const BAR: f64 = 1e-3;

/// Pixels along a side of what the simulator's camera sees.
const SIDE: usize = 48;

/// Numbers of proprio that its arm has.
const JOINTS: usize = 7;

/// A SpawnNet on a network that is cut short.
const SPAWN: &str = "
kind = 'spawn-net'
channels = 8
adapter_channels = 8
backbone = { architecture = 'mobilenet-v2', taps = ['stage_2', 'stage_3', 'stage_4'] }
";

/// The losses of a run's steps.
fn losses(lab: &Lab, run: &str) -> Vec<f32> {
    let text = fs::read_to_string(lab.path().join(run).join("metrics.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.filter_map(|row| row["loss"].as_f64()).map(|loss| loss as f32).collect()
}

/// Trains in `run-cpu`, in `run-gpu` and, on both at once, in `run-both`, and compares losses.
fn train_everywhere(lab: &Lab, policy: &str) {
    lab.record(3);
    let (common, _) = RECIPE.split_once("[policy]").unwrap();
    let common = common.replace("epoch_steps = 20", "epoch_steps = 4");
    lab.write("recipe.toml", &format!("{common}[policy]{policy}"));
    let train = "train recipe.toml --data data --plain --steps 8 --out";
    lab.succeed(&format!("{train} run-cpu"));
    let said = lab.succeed(&format!("{train} run-gpu --device {NAME}"));
    assert!(said.contains(&format!(" s on {NAME}")), "{said}");
    // The step's parts meet on the first device.
    lab.succeed(&format!("{train} run-both --devices cpu,{NAME}:0"));
    let mut worst = Worst::within(BAR);
    let expected = losses(lab, "run-cpu");
    worst.compare("losses", &losses(lab, "run-gpu"), &expected);
    worst.compare("losses of both", &losses(lab, "run-both"), &expected);
    println!("losses of {} steps within {:.1e}", expected.len(), worst.found);
}

/// Compares what `eval` says of the demonstrations, and plays an episode in the simulator.
fn evaluate(lab: &Lab) {
    let [found, expected] = [NAME, "cpu"].map(|device| {
        let said = lab.succeed(&format!("eval run-gpu --data data --json --device {device}"));
        let said: Value = serde_json::from_str(&said).unwrap();
        said["relative_mse"].as_f64().unwrap() as f32
    });
    let mut worst = Worst::within(BAR);
    worst.compare("evaluation", &[found], &[expected]);
    println!("evaluation within {:.1e}", worst.found);
    let closed = format!("eval run-gpu --sim drawer --episodes 1 --json --device {NAME}");
    let closed: Value = serde_json::from_str(&lab.succeed(&closed)).unwrap();
    assert_eq!(closed["episodes"].as_array().unwrap().len(), 1, "{closed}");
}

fn picture(seed: usize) -> Vec<u8> {
    (0..3 * SIDE * SIDE).map(|i| (i * (5 + 2 * seed) % 251) as u8).collect()
}

fn proprio(seed: usize, dimension: usize) -> f32 {
    (0.3 * seed as f32 + dimension as f32).sin() / 2.0
}

/// What `predict` says on `device`.
fn predicted(lab: &Lab, device: &str) -> Vec<f32> {
    let said = lab.succeed(&format!(
        "predict run-gpu --observation observation.safetensors --json --device {device}"
    ));
    let said: Value = serde_json::from_str(&said).unwrap();
    let rows = said["actions"].as_array().unwrap().iter();
    rows.flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap() as f32).collect()
}

/// Writes an observation of two frames that `predict` reads.
fn write_observation(lab: &Lab) {
    let pixels: Vec<u8> = [0, 1].into_iter().flat_map(picture).collect();
    let proprio = [0, 1].into_iter().flat_map(|frame| (0..JOINTS).map(move |i| proprio(frame, i)));
    let proprio: Vec<u8> = proprio.flat_map(f32::to_le_bytes).collect();
    let rgb = TensorView::new(Dtype::U8, vec![2, 1, 3, SIDE, SIDE], &pixels).unwrap();
    let proprio = TensorView::new(Dtype::F32, vec![2, JOINTS], &proprio).unwrap();
    let path = lab.path().join("observation.safetensors");
    serialize_to_file([("rgb", rgb), ("proprio", proprio)], None, &path).unwrap();
}

fn compare_predictions(lab: &Lab) {
    write_observation(lab);
    let mut worst = Worst::within(BAR);
    worst.compare("prediction", &predicted(lab, NAME), &predicted(lab, "cpu"));
    println!("prediction within {:.1e}", worst.found);
}

/// A server in a process of its own, which ends with this.
struct Served {
    process: Child,
    endpoint: String,
}

impl Served {
    fn start(lab: &Lab, device: &str) -> Self {
        let words = format!("serve run-gpu --bind tcp://127.0.0.1:* --device {device}");
        let mut process = lab
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(lab.path().join("serve.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoint = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        let log = fs::read_to_string(lab.path().join("serve.log")).unwrap();
        assert!(endpoint.starts_with("tcp://127.0.0.1:"), "{line:?}, {log}");
        Self { process, endpoint }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Actions and attention that a client gets from a server on `device`, over three control ticks.
fn served(lab: &Lab, device: &str) -> [Vec<f32>; 2] {
    let server = Served::start(lab, device);
    let timeout = Duration::from_mins(2);
    let mut client = Policy::connect(Config { timeout, ..Config::at(&server.endpoint) }).unwrap();
    let [mut actions, mut attention] = [Vec::new(), Vec::new()];
    for tick in 0..3 {
        let rgb = RgbImage::new(SIDE, SIDE, picture(tick)).unwrap();
        let proprio = (0..JOINTS).map(|i| proprio(tick, i)).collect();
        let views = vec![View { rgb, depth: None }];
        let reply = client.infer(Observation { views, proprio }, true).unwrap();
        actions.extend_from_slice(reply.chunk.values());
        attention.extend(reply.attention.into_iter().flat_map(|map| map.weights));
    }
    [actions, attention]
}

fn compare_answers(lab: &Lab) {
    let [found, looked] = served(lab, NAME);
    let [expected, looked_here] = served(lab, "cpu");
    let mut worst = Worst::within(BAR);
    worst.compare("answers", &found, &expected);
    worst.compare("attention", &looked, &looked_here);
    println!("{} numbers of answers within {:.1e}", found.len(), worst.found);
}

#[test]
fn a_run_from_scratch_is_the_cpus_and_is_evaluated_and_served_there() {
    let lab = Lab::new();
    let (_, policy) = RECIPE.split_once("[policy]").unwrap();
    train_everywhere(&lab, policy);
    evaluate(&lab);
    compare_predictions(&lab);
    compare_answers(&lab);
}

#[test]
fn a_run_on_frozen_features_is_the_cpus_and_is_evaluated_and_served_there() {
    let lab = Lab::new();
    train_everywhere(&lab, SPAWN);
    evaluate(&lab);
    compare_predictions(&lab);
    compare_answers(&lab);
}

/// How many things were tuned in a run whose log of it is in `path`.
fn tuned(path: &std::path::Path) -> usize {
    let log = fs::read_to_string(path).unwrap();
    log.lines().filter(|line| line.starts_with("Fastest result")).count()
}

#[test]
fn what_was_tuned_is_kept_in_the_cache_and_nowhere_else() {
    let lab = Lab::new();
    lab.record(2);
    lab.write("recipe.toml", RECIPE);
    lab.succeed("train recipe.toml --data data --out run-gpu --plain --steps 1");
    write_observation(&lab);
    // As in a checkout of a program in Rust, where CubeCL would keep it in `target`.
    lab.write("Cargo.toml", "");
    let names = || {
        let names = fs::read_dir(lab.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, elsewhere) = (names(), tempfile::TempDir::new().unwrap());
    let counts = ["first.log", "second.log"].map(|name| {
        let log = elsewhere.path().join(name);
        let words = "predict run-gpu --observation observation.safetensors --device";
        let output = lab
            .command(&format!("{words} {NAME}"))
            .env("ENGRAFT_CACHE", elsewhere.path().join("cache"))
            .env("CUBECL_DEBUG_LOG", &log)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        tuned(&log)
    });
    assert!(counts[0] > 0 && counts[1] == 0, "{counts:?} things were tuned");
    assert!(elsewhere.path().join("cache/gpu/default.db").exists());
    assert_eq!(names(), before, "nothing is written where the command runs");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_says_which_are() {
    let lab = Lab::new();
    lab.record(1);
    lab.write("recipe.toml", RECIPE);
    let output = lab.run(&format!("train recipe.toml --data data --out run --device {NAME}:99"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    // The lines before are the driver's own.
    let last = error.lines().last().unwrap_or_default();
    let expected = format!("engraft: no device {NAME}:99: this machine has {NAME}:0 ");
    assert!(last.starts_with(&expected), "{error}");
    assert!(!lab.path().join("run").exists());
}

#[test]
#[cfg(all(target_os = "linux", not(feature = "cuda")))]
fn a_machine_without_a_driver_is_told_what_a_gpu_needs() {
    let lab = Lab::new();
    lab.record(1);
    lab.write("recipe.toml", RECIPE);
    let nowhere = ["VK_ICD_FILENAMES", "VK_DRIVER_FILES", "__EGL_VENDOR_LIBRARY_FILENAMES"];
    let output = lab
        .command(&format!("train recipe.toml --data data --out run --device {NAME}"))
        .envs(nowhere.map(|name| (name, "/nonexistent")))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    let last = error.lines().last().unwrap_or_default();
    assert!(last.starts_with("engraft: no device wgpu: it needs a driver for Vulkan"), "{error}");
}
