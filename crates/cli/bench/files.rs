//! Training from files: demonstrations of the simulator on disk, and runs over them.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use burn::tensor::Device;
use engraft_datasets::{Dataset, LerobotWriter, PastEnd, RecordingOptions, sample};
use engraft_sim::{Noise, SimOptions, SimView, Split, Task};
use engraft_train::{AugmentConfig, FeatureCache, Options, Recipe, Summary};
use serde_json::{Value, json};

use super::Settings;
use super::cases::{Case, HORIZON};
use super::ours::{self, Ready};
use crate::data::Format;
use crate::record::{self, Plan};

/// Where a benchmark keeps its files; they go when it ends.
pub(crate) struct Scratch {
    dir: PathBuf,
    runs: Cell<usize>,
}

impl Scratch {
    /// A folder of this process's own.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("engraft-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot make a folder (path: {})", dir.display()))?;
        Ok(Self { dir, runs: Cell::new(0) })
    }

    /// A path that no earlier one was.
    fn run(&self) -> PathBuf {
        self.runs.set(self.runs.get() + 1);
        self.dir.join(format!("run-{}", self.runs.get()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Demonstrations with pictures of `side` pixels, recorded when they are first asked for.
fn demonstrations(side: usize, settings: &Settings) -> anyhow::Result<Arc<dyn Dataset>> {
    let dir = settings.scratch.dir.join(format!("data-{side}"));
    if !dir.exists() {
        let episodes = match (settings.quick, side) {
            (true, _) => 1,
            (false, ..=96) => 8,
            (false, _) => 2,
        };
        let views = vec![SimView::Front];
        let options = SimOptions { image_size: side, views, ..SimOptions::default() };
        let (task, split, noise) = (Task::Drawer, Split::Train, Noise::default());
        let plan = Plan { task, split, options, noise, episodes, seed: 1 };
        let (spec, version) = (record::spec(&plan)?, Format::V30.into());
        let mut writer =
            LerobotWriter::create_with(&dir, &spec, version, RecordingOptions::default())?;
        record::record(&plan, &mut writer)?;
        writer.finish()?;
    }
    Ok(Arc::from(engraft_datasets::open(&dir)?))
}

/// Optimizer steps of one sample of the training case.
fn train_steps(settings: &Settings) -> u64 {
    if settings.quick { 3 } else { 40 }
}

/// One run; its folder is left behind for [`Scratch`] to clear.
fn run(
    recipe: &Recipe,
    dataset: &Arc<dyn Dataset>,
    features: Option<FeatureCache>,
    out: &Path,
    device: &Device,
) -> anyhow::Result<Summary> {
    let options = Options { features, ..Options::default() };
    let summary = engraft_train::train(recipe, Arc::clone(dataset), out, device, options)?;
    std::fs::remove_dir_all(out)
        .with_context(|| format!("cannot clear a run (path: {})", out.display()))?;
    Ok(summary)
}

/// Steps on augmented pictures, read and decoded: seconds per picture in the loop.
pub(crate) fn train(
    case: &Case,
    settings: &Settings,
    device: &Device,
) -> anyhow::Result<Ready<'static>> {
    let dataset = demonstrations(case.side, settings)?;
    let augment = AugmentConfig { shift_pixels: 4, ..AugmentConfig::NOTHING };
    let steps = train_steps(settings);
    let recipe = Recipe {
        steps,
        epoch_steps: steps,
        use_depth: false,
        augment: Some(augment),
        ..ours::recipe_of(case)?
    };
    let (scratch, device) = (Rc::clone(&settings.scratch), device.clone());
    let go = move || run(&recipe, &dataset, None, &scratch.run(), &device);
    let first = go()?;
    Ok(Ready {
        sample: Box::new(move |_| Ok(1.0 / go()?.images_per_sec)),
        shape: vec![],
        params: Some(first.num_learned_params),
    })
}

/// The training case as the Python side reads it, with the frames written out for it.
pub(crate) fn train_json(case: &Case, settings: &Settings) -> anyhow::Result<Value> {
    let dataset = demonstrations(case.side, settings)?;
    let folder = settings.scratch.dir.join(format!("frames-{}", case.side));
    if !folder.exists() {
        write_frames(&*dataset, &folder)?;
    }
    let mut json = case.to_json();
    json["folder"] = json!(folder);
    json["steps"] = json!(train_steps(settings));
    Ok(json)
}

/// Every sample decoded: `pictures.npy`, `proprio.npy` and `actions.npy`.
fn write_frames(dataset: &dyn Dataset, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make a folder (path: {})", folder.display()))?;
    let (mut pictures, mut proprio, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0;
    for index in 0..dataset.num_episodes() {
        let episode = dataset.episode(index)?;
        for step in 0..dataset.episode_len(index) {
            let sample = sample(&*episode, step, 1, HORIZON, PastEnd::Repeat)?;
            let frame = sample.frames.first().context("a frame stack has a frame")?;
            let view = frame.views.first().context("the simulator has a camera")?;
            pictures.extend_from_slice(view.rgb.pixels());
            proprio.extend(frame.proprio.iter().flat_map(|value| value.to_le_bytes()));
            actions.extend(sample.actions.values().iter().flat_map(|value| value.to_le_bytes()));
            count += 1;
        }
    }
    let spec = dataset.spec();
    let view = spec.views.first().context("the simulator has a camera")?;
    let actions_shape = format!("({count}, {HORIZON}, {})", spec.action_dim());
    let arrays = [
        ("pictures.npy", "|u1", format!("({count}, {}, {}, 3)", view.height, view.width), pictures),
        ("proprio.npy", "<f4", format!("({count}, {})", spec.proprio_dim()), proprio),
        ("actions.npy", "<f4", actions_shape, actions),
    ];
    for (name, dtype, shape, bytes) in arrays {
        let path = folder.join(name);
        std::fs::write(&path, npy(dtype, &shape, &bytes))
            .with_context(|| format!("cannot write (path: {})", path.display()))?;
    }
    Ok(())
}

/// A file of NumPy's, version 1.0.
fn npy(dtype: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length are 10 bytes; values begin at a multiple of 64, after a newline.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    let len = (header.len() + padding + 1) as u16;
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(len.to_le_bytes());
    file.extend(header.bytes());
    file.extend(std::iter::repeat_n(b' ', padding));
    file.push(b'\n');
    file.extend_from_slice(bytes);
    file
}

/// One pass over the demonstrations, with frozen features from a file or computed at every step:
/// seconds in the loop. The first run, which makes the file, is not among the samples.
pub(crate) fn epoch(
    case: &Case,
    cached: bool,
    settings: &Settings,
    device: &Device,
) -> anyhow::Result<Ready<'static>> {
    let dataset = demonstrations(case.side, settings)?;
    let samples: usize =
        (0..dataset.num_episodes()).map(|episode| dataset.episode_len(episode)).sum();
    let steps = samples.div_ceil(case.batch) as u64;
    let recipe = Recipe { steps, epoch_steps: steps, use_depth: false, ..ours::recipe_of(case)? };
    let (scratch, device) = (Rc::clone(&settings.scratch), device.clone());
    let features = cached.then(|| {
        let dir = scratch.dir.join("features");
        FeatureCache { dir, budget_bytes: 8 << 30 }
    });
    let go = move || run(&recipe, &dataset, features.clone(), &scratch.run(), &device);
    let params = if cached { Some(go()?.num_learned_params) } else { None };
    Ok(Ready { sample: Box::new(move |_| Ok(go()?.elapsed_secs)), shape: vec![], params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_begins_at_a_multiple_of_64() {
        let file = npy("<f4", "(1, 2)", &[0; 8]);
        let len = usize::from(u16::from_le_bytes([file[8], file[9]]));
        assert_eq!((10 + len) % 64, 0);
        assert_eq!(file.len(), 10 + len + 8);
        assert_eq!(file[10 + len - 1], b'\n');
        assert!(file.starts_with(b"\x93NUMPY\x01\x00"));
    }
}
