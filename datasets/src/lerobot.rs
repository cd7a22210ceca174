//! LeRobot v3.0 and v2.x, with pictures embedded in parquet.
//!
//! Source: the `lerobot` package, whose datasets open here and which opens ours. Differs in: the
//! totals of `meta/info.json` are never believed, units and bounds are kept in a file of our own
//! (`meta/engraft.json`), depth is a column of 16-bit PNG in millimetres
//! (`observation.depth.<view>`), and a recording that is killed keeps every finished episode.

mod columns;
mod episode;
mod features;
#[cfg(test)]
mod golden;
mod inspect;
mod json;
mod meta;
mod numbers;
mod recorded;
mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod writer;
mod writer_meta;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engraft_core::{RobotSpec, hex};
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::{Dataset, DatasetError, DatasetInfo, Episode};
use episode::{LerobotEpisode, read_episode};
use features::{Columns, Info};
use meta::EpisodeEntry;

pub use writer::LerobotWriter;

/// Bytes of compressed episodes that are kept in memory unless told otherwise.
const CACHE_BYTES: usize = 1 << 30;

/// A version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// One set of statistics for the whole dataset; read, not written.
    V20,
    /// One file per episode, metadata as lines of JSON.
    V21,
    /// Many episodes per file, metadata as parquet.
    V30,
}

impl Version {
    /// As `codebase_version` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V20 => "v2.0",
            Self::V21 => "v2.1",
            Self::V30 => "v3.0",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::V20, Self::V21, Self::V30].into_iter().find(|version| version.as_str() == text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A LeRobot dataset in a folder.
pub struct LerobotDataset {
    root: PathBuf,
    info: Info,
    columns: Arc<Columns>,
    tasks: Vec<(i64, String)>,
    episodes: Vec<EpisodeEntry>,
    cache: Cache<LerobotEpisode>,
}

impl LerobotDataset {
    /// Opens the dataset in folder `dir`; reads metadata only.
    ///
    /// # Errors
    ///
    /// When metadata is missing or damaged, when a camera's pictures are in a video, and when the
    /// features cannot be a robot's.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DatasetError> {
        let root = dir.as_ref().to_owned();
        if !root.join(features::INFO_PATH).is_file() {
            return Err(DatasetError::UnknownFormat { path: root });
        }
        let info = Info::read(&root)?;
        let columns = Arc::new(Columns::find(&root, &info)?);
        let tasks = meta::read_tasks(&root, info.version)?;
        let episodes = meta::read_episodes(&root, &info)?;
        Ok(Self { root, info, columns, tasks, episodes, cache: Cache::new(CACHE_BYTES) })
    }

    /// The same, keeping at most `num_bytes` of compressed episodes in memory.
    ///
    /// Episodes that are in use are not counted once the cache has let go of them.
    pub fn with_cache_bytes(self, num_bytes: usize) -> Self {
        Self { cache: Cache::new(num_bytes), ..self }
    }

    /// The version of the format.
    pub fn version(&self) -> Version {
        self.info.version
    }

    fn entry(&self, episode: usize) -> Result<&EpisodeEntry, DatasetError> {
        let num_episodes = self.episodes.len();
        self.episodes.get(episode).ok_or(DatasetError::NoEpisode { episode, num_episodes })
    }

    /// The data files, each once, in order.
    fn data_files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self.episodes.iter().map(|entry| &*entry.file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

impl Dataset for LerobotDataset {
    fn spec(&self) -> &RobotSpec {
        &self.columns.spec
    }

    fn num_episodes(&self) -> usize {
        self.episodes.len()
    }

    fn episode_len(&self, episode: usize) -> usize {
        self.episodes[episode].num_steps
    }

    fn task(&self, episode: usize) -> &str {
        &self.episodes[episode].task
    }

    fn episode(&self, episode: usize) -> Result<Arc<dyn Episode>, DatasetError> {
        let entry = self.entry(episode)?;
        let load = || read_episode(&self.root, &self.columns, entry);
        let found: Arc<dyn Episode> = self.cache.get(episode, load)?;
        Ok(found)
    }

    fn info(&self) -> Result<DatasetInfo, DatasetError> {
        Ok(self.inspect())
    }

    fn fingerprint(&self) -> Result<String, DatasetError> {
        let mut hash = Sha256::new();
        hash.update(self.spec().fingerprint());
        for entry in &self.episodes {
            hash.update(entry.index.to_le_bytes());
            hash.update((entry.num_steps as u64).to_le_bytes());
            hash.update((entry.task.len() as u64).to_le_bytes());
            hash.update(&entry.task);
        }
        for file in self.data_files() {
            hash.update(tables::footer(&self.root.join(file))?);
        }
        Ok(hex(&hash.finalize()))
    }
}

impl fmt::Debug for LerobotDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, episodes) = (self.info.version, self.episodes.len());
        write!(f, "LerobotDataset({version}, {episodes} episodes, {:?})", self.root)
    }
}

/// Bytes of a file, zero where there is none.
fn file_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
