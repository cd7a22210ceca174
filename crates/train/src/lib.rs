//! Imitation: from demonstrations to a policy, and what the policy is worth.
//!
//! A [`Recipe`] says what to train and how; [`train`] does it and leaves a folder with checkpoints,
//! numbers and all it takes to continue bit for bit; [`eval`] measures a checkpoint on recorded
//! episodes and in an environment.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use burn::tensor::Device;
//! use engraft_train::{Options, Recipe, train};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let recipe = Recipe::open(Path::new("policies/recipes/lfs-smoke.toml"))?;
//! let dataset = Arc::from(engraft_datasets::open("demonstrations")?);
//! let options = Options { progress: Box::new(|line| eprintln!("{line}")), ..Options::default() };
//! let summary = train(&recipe, dataset, Path::new("run"), &Device::default(), options)?;
//! println!("{} steps, validation loss {:?}", summary.step, summary.val_loss);
//! # Ok(())
//! # }
//! ```
//!
//! The order of the data and every augmentation are functions of the seed and of the place in the
//! run, so that a run that was interrupted, or killed, continues as if nothing had happened.

mod adam;
mod augment;
mod batch;
mod capture;
mod error;
pub mod eval;
mod features;
mod frames;
mod helpers;
mod jitter;
mod learner;
mod loader;
mod optimize;
mod order;
mod pictures;
mod progress;
mod recipe;
mod run;
mod saver;
mod schedule;
mod session;
mod state;
mod stepper;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use augment::{AugmentConfig, BackboneSees, CropConfig, Draw};
pub use batch::{contract, measure};
pub use error::TrainError;
pub use features::FeatureCache;
pub use optimize::{clip, ema_update};
pub use order::{Order, Place, permutation};
pub use pictures::PictureCache;
pub use progress::{MetricsRow, Progress, read_metrics};
pub use recipe::{
    ClipConfig, Clipped, EmaConfig, Loss, OptimizerConfig, OptimizerKind, PastEndTarget, Recipe,
    RecipeError,
};
pub use run::{Ending, Options, Summary, checkpoint_dir, train};
pub use schedule::ScheduleConfig;
pub use stepper::Stepper;
