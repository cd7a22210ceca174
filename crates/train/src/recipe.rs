//! A recipe: everything that decides what a training run comes to, in one TOML file.

use std::path::{Path, PathBuf};

use burn::optim::{AdamConfig, AdamWConfig, ModuleOptimizer, decay::WeightDecayConfig};
use engraft_datasets::Mapping;
use engraft_kernels::AdamStep;
use engraft_policies::PolicyConfig;
use serde::{Deserialize, Serialize};

use crate::adam::{Adam, AdamW};
use crate::{AugmentConfig, ScheduleConfig};

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read recipe (path: {path:?})")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not a recipe.
    #[error("recipe is not valid: {message} (path: {path:?})")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        message: String,
    },
    /// A value makes no sense.
    #[error("`{field}` needs {expected}, found {found}")]
    Value {
        /// The field, as a path.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// What the target is where a chunk reaches past the end of its episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PastEndTarget {
    /// Nothing: these steps have no weight in the loss.
    Mask,
    /// The last action again, with full weight.
    Repeat,
    /// Zero in physical units, with full weight, as the `SpawnNet` reference does.
    Zero,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The mean squared error of the normalised actions.
    Mse,
    /// Their mean absolute error.
    L1,
}

/// Which optimizer, and its full learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The method.
    pub kind: OptimizerKind,
    /// The rate that the schedule scales.
    pub learning_rate: f64,
    /// Weight decay: into the gradient for `adam`, beside it for `adamw`.
    #[serde(default)]
    pub weight_decay: f32,
    /// Decay of both moments.
    #[serde(default = "betas")]
    pub betas: [f32; 2],
    /// Added to the root of the second moment.
    #[serde(default = "epsilon")]
    pub epsilon: f32,
}

fn betas() -> [f32; 2] {
    [0.9, 0.999]
}

fn epsilon() -> f32 {
    1e-8
}

/// The methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
}

/// Clipping by the joint norm of all gradients in question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// The largest norm that is left as it is.
    pub norm: f32,
    /// Whose gradients are measured and scaled.
    pub of: Clipped,
}

/// Whose gradients are clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipped {
    /// Every parameter's.
    All,
    /// The action head's alone, as the `SpawnNet` reference does.
    Head,
}

/// A moving average of the weights, which is then what is validated and saved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmaConfig {
    /// The share of the average that each step keeps, once the run is past its beginning.
    pub decay: f32,
}

/// Everything that decides what a training run comes to, the data aside.
///
/// What changes a result has no silent default; an absent table (`clip`, `ema`, `augment`) means
/// that nothing of the kind is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seed of the weights, the split, the order of the data and the augmentation.
    pub seed: u64,
    /// The dataset's folder, where the command line names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// Observations in a frame stack.
    pub num_frames: usize,
    /// Actions in a chunk.
    pub horizon: usize,
    /// Whether the policy gets joint angles.
    pub use_proprio: bool,
    /// Whether the policy gets depth.
    pub use_depth: bool,
    /// Whether actions are predicted relative to the joint of the same name.
    pub relative_actions: bool,
    /// What is learned past the end of an episode.
    pub past_end: PastEndTarget,
    /// What is minimised.
    pub loss: Loss,
    /// Share of the episodes that are held back to validate on.
    pub val_fraction: f32,
    /// Samples of these that are looked at, evenly spread; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_samples: Option<usize>,
    /// Optimizer steps of the run.
    pub steps: u64,
    /// Steps after which the run validates and saves.
    pub epoch_steps: u64,
    /// Samples that go through the network at once.
    pub batch_size: usize,
    /// Batches that make up one optimizer step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Which columns of the dataset are what; what is left out is guessed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub data: Mapping,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Gradient clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClipConfig>,
    /// Average of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
    /// Augmentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// The policy.
    pub policy: PolicyConfig,
}

fn one() -> usize {
    1
}

fn is_default(mapping: &Mapping) -> bool {
    *mapping == Mapping::default()
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, a key is unknown or missing, or a value makes no sense.
    pub fn open(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Read { path: path.into(), source })?;
        let recipe: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].lines().count().max(1));
            let place = line.map_or(String::new(), |line| format!(" in line {line}"));
            let message = format!("{}{place}", error.message().replace('\n', " "));
            RecipeError::Parse { path: path.into(), message }
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as a file holds it.
    ///
    /// # Errors
    ///
    /// When a number does not fit into TOML, such as a seed past `i64::MAX`.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string_pretty(self).map_err(|error| RecipeError::Value {
            field: "recipe".into(),
            expected: "values that TOML can hold".into(),
            found: error.to_string(),
        })
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    ///
    /// The first field that makes no sense, by name.
    pub fn check(&self) -> Result<(), RecipeError> {
        let positive = [
            ("num_frames", self.num_frames as u64),
            ("horizon", self.horizon as u64),
            ("steps", self.steps),
            ("epoch_steps", self.epoch_steps),
            ("batch_size", self.batch_size as u64),
            ("accumulate", self.accumulate as u64),
        ];
        let bad = |field: &str, expected: &str, found: String| {
            Err(RecipeError::Value { field: field.into(), expected: expected.into(), found })
        };
        for (field, value) in positive {
            if value == 0 {
                return bad(field, "a number above zero", value.to_string());
            }
        }
        if !(0.0..1.0).contains(&self.val_fraction) {
            return bad("val_fraction", "a share from 0 up to 1", self.val_fraction.to_string());
        }
        let rate = self.optimizer.learning_rate;
        if !(rate.is_finite() && rate >= 0.0) {
            return bad("optimizer.learning_rate", "a number not below zero", rate.to_string());
        }
        if let Some(beta) = self.optimizer.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            return bad("optimizer.betas", "numbers from 0 up to 1", beta.to_string());
        }
        if let Some(clip) = self.clip
            && !(clip.norm.is_finite() && clip.norm > 0.0)
        {
            return bad("clip.norm", "a number above zero", clip.norm.to_string());
        }
        if let Some(ema) = self.ema
            && !(0.0..1.0).contains(&ema.decay)
        {
            return bad("ema.decay", "a share from 0 up to 1", ema.decay.to_string());
        }
        self.augment.as_ref().map_or(Ok(()), AugmentConfig::check)
    }

    /// Samples that one optimizer step learns from.
    pub fn samples_per_step(&self) -> usize {
        self.batch_size * self.accumulate
    }
}

impl OptimizerConfig {
    /// A fresh optimizer.
    pub fn init(&self) -> ModuleOptimizer {
        let &Self { kind, weight_decay, betas, epsilon, .. } = self;
        let decoupled = kind == OptimizerKind::AdamW;
        let step = AdamStep { decoupled, weight_decay, rate: 0.0, betas, epsilon, time: 0 };
        let [beta_1, beta_2] = betas;
        match kind {
            OptimizerKind::Adam => {
                let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay));
                let burns = AdamConfig::new()
                    .with_beta_1(beta_1)
                    .with_beta_2(beta_2)
                    .with_epsilon(epsilon)
                    .with_weight_decay(decay)
                    .build();
                ModuleOptimizer::from(Adam { burns, step })
            }
            OptimizerKind::AdamW => {
                let burns = AdamWConfig::new()
                    .with_beta_1(beta_1)
                    .with_beta_2(beta_2)
                    .with_epsilon(epsilon)
                    .with_weight_decay(weight_decay)
                    .build();
                ModuleOptimizer::from(AdamW { burns, step })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn every_recipe_in_the_repository_is_one_and_its_header_says_how_to_run_it() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/recipes");
        let mut count = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            Recipe::open(&path).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("# Run:"), "no command to run (path: {path:?})");
            count += 1;
        }
        assert!(count >= 3);
    }

    #[test]
    fn a_recipe_survives_being_written() {
        for recipe in [testing::recipe(), testing::frozen_recipe()] {
            let text = recipe.to_toml().unwrap();
            assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe);
        }
    }

    #[test]
    fn a_misspelt_key_and_a_senseless_value_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        let text = testing::recipe().to_toml().unwrap();
        let open = |text: String| {
            std::fs::write(&path, text).unwrap();
            Recipe::open(&path).unwrap_err().to_string()
        };
        let misspelt = open(text.replace("horizon = 2", "horizont = 2"));
        assert!(misspelt.contains("unknown field `horizont`"), "{misspelt}");
        let missing = open(text.replace("horizon = 2\n", ""));
        assert!(missing.contains("missing field `horizon`"), "{missing}");
        let inner = open(text.replace("warmup = 3", "warm_up = 3"));
        assert!(inner.contains("warm_up"), "{inner}");
        let zero = open(text.replace("batch_size = 4", "batch_size = 0"));
        assert_eq!(zero, "`batch_size` needs a number above zero, found 0");
    }
}
