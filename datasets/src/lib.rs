//! Demonstrations at rest: one file per format, one trait for all.
//!
//! [`open`] tells the format from the folder and reads metadata only. An [`Episode`] is read
//! from disk once, when it is first asked for; its pictures stay compressed and are decoded one
//! by one. Everything is in physical units and in the words of `engraft_core`.
//!
//! ```
//! # use engraft_core::{Observation, RgbImage, RobotSpec, View, ViewSpec, Dimension};
//! use engraft_datasets::{LerobotWriter, PastEnd, Version, open, sample};
//!
//! # let folder = tempfile::tempdir().expect("a folder");
//! # let dir = folder.path().join("demonstrations");
//! # let spec = RobotSpec {
//! #     name: "arm".into(),
//! #     control_hz: 10.0,
//! #     views: vec![ViewSpec { name: "front".into(), width: 4, height: 4, depth: false }],
//! #     proprio: vec![Dimension::new("elbow", "rad")],
//! #     actions: vec![Dimension::new("elbow", "rad")],
//! # };
//! # let view = View { rgb: RgbImage::filled(4, 4, [9, 8, 7]), depth: None };
//! # let observation = Observation { views: vec![view], proprio: vec![0.5] };
//! let mut writer = LerobotWriter::create(&dir, &spec, Version::V30)?;
//! writer.add_episode("open the drawer", [(observation, vec![0.6])])?;
//!
//! let dataset = open(&dir)?;
//! let episode = dataset.episode(0)?;
//! let example = sample(&*episode, 0, 2, 4, PastEnd::Repeat)?;
//! assert_eq!(example.actions.values(), [0.6; 4]);
//! assert_eq!(example.mask, [true, false, false, false]);
//! # Ok::<(), engraft_datasets::DatasetError>(())
//! ```

mod aloha;
mod cache;
mod column;
mod convert;
#[cfg(test)]
mod convert_tests;
mod demonstrations;
mod describe;
mod doctor;
mod error;
mod files;
mod hdf5;
mod info;
mod layout;
mod lerobot;
mod mapping;
mod merge;
mod modality;
mod numbers;
mod parallel;
mod picture;
mod repair;
mod rlds;
mod robomimic;
mod robomimic_writer;
mod shard;
mod source;
mod spawnnet;
mod split;
mod stats;
#[cfg(test)]
mod testing;
mod video;
mod window;
mod zarr;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use engraft_core::{ActionChunk, Observation, RobotSpec};

use demonstrations::Demonstrations;

pub use convert::{Converted, DatasetWriter, Step, convert, verify};
pub use describe::{Description, DimensionStats, describe};
pub use doctor::{Diagnosis, Examination, Finding, Severity, examine};
pub use error::{DatasetError, PictureError};
pub use info::{DatasetInfo, EpisodeSteps, FeatureInfo, Role};
pub use lerobot::{
    LerobotWriter, Recorded, Recording, RecordingOptions, Salvaged, Version, salvage,
};
pub use mapping::{ColumnRef, Mapping, ParseRefError, ViewRef};
pub use merge::{SplitPart, merge, split_by_fractions, split_off};
pub use modality::modality;
pub use repair::{Repaired, repair};
pub use robomimic_writer::RobomimicWriter;
pub use shard::{Shard, decoded_bytes};
pub use split::{Split, split};
pub use stats::{DatasetStats, relative_stats, stats};
pub use video::{Codec, Video, VideoCache};
pub use window::{PastEnd, Window, for_each_window, sample, target};

/// One recorded demonstration. Steps are read on demand, by any number of threads at once.
pub trait Episode: Send + Sync {
    /// How many steps there are.
    fn num_steps(&self) -> usize;

    /// What was asked of the demonstrator.
    fn task(&self) -> &str;

    /// What was sensed at `step`.
    ///
    /// # Errors
    ///
    /// When there is no such step or a picture cannot be decoded.
    fn observation(&self, step: usize) -> Result<Observation, DatasetError>;

    /// Proprio at `step`, without decoding a picture.
    ///
    /// # Errors
    ///
    /// When there is no such step.
    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError>;

    /// The actions of `steps`, which lie inside the episode; [`target`] pads past its end.
    ///
    /// # Errors
    ///
    /// When `steps` leaves the episode.
    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError>;
}

/// Demonstrations of one robot. Opening reads metadata only.
pub trait Dataset: Send + Sync {
    /// The robot that was recorded.
    fn spec(&self) -> &RobotSpec;

    /// Which columns are what, guesses included.
    fn mapping(&self) -> Mapping {
        Mapping::default()
    }

    /// How many episodes there are.
    fn num_episodes(&self) -> usize;

    /// How many steps an episode has, without reading it.
    ///
    /// # Panics
    ///
    /// When there is no such episode.
    fn episode_len(&self, episode: usize) -> usize;

    /// What was asked of the demonstrator, without reading the episode.
    ///
    /// # Panics
    ///
    /// When there is no such episode.
    fn task(&self, episode: usize) -> &str;

    /// One episode, read from disk unless it still is in memory.
    ///
    /// # Errors
    ///
    /// When there is no such episode, when its data cannot be read or disagrees with the
    /// metadata, and when an action or proprio is not finite.
    fn episode(&self, episode: usize) -> Result<Arc<dyn Episode>, DatasetError>;

    /// What the dataset says about itself, and where its data disagrees.
    ///
    /// # Errors
    ///
    /// When metadata cannot be read; what else is wrong is a warning.
    fn info(&self) -> Result<DatasetInfo, DatasetError>;

    /// SHA-256, in hex, of the robot, the episodes and the index of every data file.
    ///
    /// Two datasets with the same fingerprint hold the same demonstrations, wherever they lie.
    ///
    /// # Errors
    ///
    /// When a data file cannot be read.
    fn fingerprint(&self) -> Result<String, DatasetError>;

    /// The folder or file, where there is one.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Where the files of the format disagree with each other, with the data, or with what other
    /// programs expect of them; reads every row and no picture.
    ///
    /// `progress` is told how many files of all are done.
    fn examine_format(&self, _progress: &mut dyn FnMut(u64, u64)) -> Vec<Finding> {
        Vec::new()
    }

    /// How many steps there are in all.
    fn num_steps(&self) -> usize {
        (0..self.num_episodes()).map(|episode| self.episode_len(episode)).sum()
    }

    /// Reads every episode and decodes every picture; says what is wrong, one line each.
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for index in 0..self.num_episodes() {
            let episode = match self.episode(index) {
                Ok(episode) => episode,
                Err(error) => {
                    problems.push(chain(&error));
                    continue;
                }
            };
            let failed = (0..episode.num_steps()).find_map(|step| episode.observation(step).err());
            problems.extend(failed.map(|error| chain(&error)));
        }
        problems
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Opens the demonstrations at `path`, a folder or a file, whichever format they have.
///
/// # Errors
///
/// When they are of no known format, their metadata cannot be read, or it cannot be guessed
/// which columns are what.
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn Dataset>, DatasetError> {
    open_as(path, &Mapping::default())
}

/// The same, with columns as `mapping` says and guessed where it says nothing.
///
/// # Errors
///
/// As [`open`], and when a column that `mapping` names is not there.
pub fn open_as(
    path: impl AsRef<Path>,
    mapping: &Mapping,
) -> Result<Box<dyn Dataset>, DatasetError> {
    let path = path.as_ref();
    if lerobot::is_lerobot(path) {
        let source = lerobot::LerobotSource::open(path)?;
        return Ok(Box::new(Demonstrations::new(source, mapping)?));
    }
    if robomimic::is_robomimic(path) {
        let source = robomimic::RobomimicSource::open(path, mapping)?;
        return Ok(Box::new(Demonstrations::new(source, mapping)?));
    }
    if aloha::is_aloha(path) {
        let source = aloha::AlohaSource::open(path, mapping)?;
        return Ok(Box::new(Demonstrations::new(source, mapping)?));
    }
    if let Some(file) = robomimic::only_file(path) {
        return open_as(file, mapping);
    }
    if spawnnet::is_spawnnet(path) {
        let source = spawnnet::SpawnNetSource::open(path)?;
        return Ok(Box::new(Demonstrations::new(source, mapping)?));
    }
    if zarr::is_zarr(path) {
        let source = zarr::ZarrSource::open(path, mapping.mask.as_deref())?;
        return Ok(Box::new(Demonstrations::new(source, mapping)?));
    }
    if rlds::is_rlds(path) {
        let source = rlds::RldsSource::open(path, mapping.mask.as_deref())?;
        return Ok(Box::new(Demonstrations::new(source, mapping)?));
    }
    Err(DatasetError::UnknownFormat { path: path.to_owned() })
}
