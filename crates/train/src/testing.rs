//! A toy robot for tests: it shows where it should go, and the demonstrator goes there.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn::tensor::Device;
use engraft_core::{
    ActionChunk, DepthImage, Dimension, Environment, Observation, RgbImage, RobotSpec, Transition,
    View, ViewSpec,
};
use engraft_datasets::{Dataset, DatasetError, DatasetInfo, Episode};
use engraft_policies::{Policy, PolicyConfig};
use rand_chacha::rand_core::Rng;

use crate::order::{Purpose, generator};
use crate::{BackboneSees, Options, Progress, Recipe, contract};

/// Pixels a side.
const SIZE: usize = 32;

/// Episodes of the lengths given.
pub(crate) struct Toy {
    spec: RobotSpec,
    lengths: Vec<usize>,
}

struct ToyEpisode {
    index: usize,
    proprio: Vec<[f32; 1]>,
}

/// How far a bright bar stands to the right, -1 to 1, at a step of an episode.
fn place(episode: usize, step: usize) -> f32 {
    let draw = generator(episode as u64, Purpose::Order, [99, step as u64]).next_u32();
    draw as f32 / u32::MAX as f32 * 2.0 - 1.0
}

/// A picture of a bar at `place`, with its depth.
fn view(place: f32) -> View {
    let bar = (f32::midpoint(place, 1.0) * (SIZE - 1) as f32).round() as usize;
    let column = |x: usize| x.abs_diff(bar) <= 2;
    let pixels = (0..SIZE * SIZE)
        .flat_map(|i| if column(i % SIZE) { [250, 240, 30] } else { [20, 40, (i / SIZE) as u8] });
    let metres = (0..SIZE * SIZE).map(|i| if column(i % SIZE) { 0.5 } else { 1.5 });
    View {
        rgb: RgbImage::new(SIZE, SIZE, pixels.collect()).unwrap(),
        depth: Some(DepthImage::new(SIZE, SIZE, metres.collect()).unwrap()),
    }
}

fn spec() -> RobotSpec {
    let view = ViewSpec { name: "front".into(), width: SIZE, height: SIZE, depth: true };
    RobotSpec {
        name: "toy".into(),
        control_hz: 10.0,
        views: vec![view],
        proprio: vec![Dimension::new("slider", "m")],
        actions: vec![Dimension::new("slider", "m"), Dimension::new("gripper", "1")],
    }
}

impl Toy {
    pub(crate) fn new(lengths: &[usize]) -> Self {
        Self { spec: spec(), lengths: lengths.to_vec() }
    }
}

impl Dataset for Toy {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn num_episodes(&self) -> usize {
        self.lengths.len()
    }

    fn episode_len(&self, episode: usize) -> usize {
        self.lengths[episode]
    }

    fn task(&self, _: usize) -> &'static str {
        "go there"
    }

    fn episode(&self, episode: usize) -> Result<Arc<dyn Episode>, DatasetError> {
        let steps = 0..self.lengths[episode];
        let proprio = steps.map(|step| [place(episode + 1000, step)]).collect();
        Ok(Arc::new(ToyEpisode { index: episode, proprio }))
    }

    fn info(&self) -> Result<DatasetInfo, DatasetError> {
        unreachable!("no test inspects a toy")
    }

    fn fingerprint(&self) -> Result<String, DatasetError> {
        Ok(format!("toy {:?}", self.lengths))
    }
}

impl Episode for ToyEpisode {
    fn num_steps(&self) -> usize {
        self.proprio.len()
    }

    fn task(&self) -> &'static str {
        "go there"
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        let proprio = self.proprio(step)?.to_vec();
        Ok(Observation { views: vec![view(place(self.index, step))], proprio })
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        let num_steps = self.num_steps();
        let proprio = self.proprio.get(step).ok_or(DatasetError::NoStep { step, num_steps })?;
        Ok(proprio)
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        let first = steps.start;
        let action = |step| [place(self.index, first), if step == first { 1.0 } else { 0.0 }];
        let values: Vec<f32> = steps.clone().flat_map(action).collect();
        Ok(ActionChunk::new(steps.len(), 2, values).unwrap())
    }
}

/// The toy in closed loop: it must be told to go where the bar is, three times running.
pub(crate) struct ToyWorld {
    spec: RobotSpec,
    seed: u64,
    step: usize,
    hits: usize,
    slider: f32,
}

impl ToyWorld {
    pub(crate) fn new() -> Self {
        Self { spec: spec(), seed: 0, step: 0, hits: 0, slider: 0.0 }
    }

    fn observe(&self) -> Observation {
        let views = vec![view(place(self.seed as usize, self.step))];
        Observation { views, proprio: vec![self.slider] }
    }
}

impl Environment for ToyWorld {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn task(&self) -> &'static str {
        "go there"
    }

    fn num_instances(&self) -> usize {
        2
    }

    fn instance_name(&self, instance: usize) -> String {
        format!("toy-{instance}")
    }

    fn max_steps(&self) -> usize {
        6
    }

    fn reset(&mut self, instance: usize, seed: u64) -> Observation {
        (self.seed, self.step, self.hits) = (seed * 7 + instance as u64, 0, 0);
        self.observe()
    }

    fn step(&mut self, action: &[f32]) -> Transition {
        let target = place(self.seed as usize, self.step);
        self.hits = if (action[0] - target).abs() < 0.3 { self.hits + 1 } else { 0 };
        self.slider = action[0];
        self.step += 1;
        Transition { observation: self.observe(), success: self.hits >= 3 }
    }
}

/// A recipe of a few seconds, with everything on that a resume could get wrong.
pub(crate) fn recipe() -> Recipe {
    toml::from_str(
        r#"
        seed = 5
        num_frames = 2
        horizon = 2
        use_proprio = true
        use_depth = true
        relative_actions = true
        past_end = "mask"
        loss = "mse"
        val_fraction = 0.25
        steps = 12
        epoch_steps = 4
        batch_size = 4

        [optimizer]
        kind = "adamw"
        learning_rate = 2e-3
        weight_decay = 0.01

        [schedule]
        kind = "cosine"
        warmup = 3
        warmup_share = 0.1
        final_share = 0.0

        [clip]
        norm = 0.5
        of = "all"

        [ema]
        decay = 0.9

        [augment]
        probability = 0.7
        shift_pixels = 2
        brightness = [0.7, 1.3]

        [policy]
        kind = "hansen"
        layers = [
            { channels = 8, kernel = 3, stride = 2 },
            { channels = 8, kernel = 3, stride = 2 },
        ]
        head = { hidden = [32] }
        "#,
    )
    .unwrap()
}

/// The same with a small frozen network and no augmentation.
pub(crate) fn frozen_recipe() -> Recipe {
    let policy = r#"
        kind = "frozen"
        pool = "mean"
        head = { hidden = [16] }
        [backbone]
        architecture = "mobilenet-v2"
        taps = ["stage_2"]
    "#;
    let policy: PolicyConfig = toml::from_str(policy).unwrap();
    Recipe { policy, augment: None, use_depth: false, ..recipe() }
}

/// The same with a small SpawnNet whose backbone sees pictures before they are augmented.
pub(crate) fn clean_recipe() -> Recipe {
    let policy = r#"
        kind = "spawn-net"
        channels = 8
        adapter_channels = 8
        backbone = { architecture = "mobilenet-v2" }
    "#;
    let policy = toml::from_str(policy).unwrap();
    let mut recipe = Recipe { policy, num_frames: 1, ..recipe() };
    recipe.augment.as_mut().unwrap().backbone_sees = BackboneSees::Clean;
    recipe
}

/// Options that interrupt the run once it says that it did `step` steps.
pub(crate) fn until(step: u64, resume: bool) -> Options {
    let interrupt = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupt);
    let progress = move |line: &Progress| {
        if let Progress::Steps { step: at, .. } = line
            && *at >= step
        {
            flag.store(true, Ordering::Relaxed);
        }
    };
    let report_every = Duration::ZERO;
    Options { resume, interrupt, progress: Box::new(progress), report_every, ..Options::default() }
}

/// The policy of a recipe.
pub(crate) fn policy(recipe: &Recipe, dataset: &dyn Dataset, device: &Device) -> Policy {
    recipe.policy.init(&contract(recipe, dataset), recipe.seed, device).unwrap()
}
