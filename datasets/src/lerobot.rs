//! LeRobot v3.0 and v2.x, with pictures embedded in parquet or in videos.
//!
//! Source: the `lerobot` package, whose datasets open here and which opens ours. Differs in: the
//! totals of `meta/info.json` are never believed, units and bounds are kept in a file of our own
//! (`meta/engraft.json`), depth is a column of 16-bit PNG in millimetres
//! (`observation.depth.<view>`), and a recording that is killed keeps every finished episode.

mod columns;
mod episode;
mod examine;
mod examine_stats;
#[cfg(test)]
mod examine_tests;
mod examine_video;
mod features;
#[cfg(test)]
mod golden;
mod inspect;
mod json;
mod meta;
mod modality;
mod numbers;
mod recorded;
mod recording;
#[cfg(test)]
mod recording_tests;
mod salvage;
mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod videos;
mod writer;
mod writer_meta;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engraft_core::RobotSpec;
use sha2::{Digest, Sha256};

use crate::column::{Column, Kind};
use crate::files::file_len;
use crate::mapping::{self, Mapping, ViewRef};
use crate::source::{About, EpisodeEntry, Source, Track};
use crate::video::VideoCache;
use crate::{DatasetError, Finding};
use features::Info;
use meta::{EpisodeMeta, VideoPlace};
use modality::Modality;
use videos::VideoFrames;

pub(crate) use features::INDICES;
pub(crate) use recorded::check_step;
pub use recording::{Recorded, Recording, RecordingOptions};
pub use salvage::{Salvaged, salvage};
pub use writer::LerobotWriter;

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

    /// The version of that name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::V20, Self::V21, Self::V30].into_iter().find(|version| version.as_str() == text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether folder `dir` holds a LeRobot dataset.
pub(crate) fn is_lerobot(dir: &Path) -> bool {
    dir.join(features::INFO_PATH).is_file()
}

/// A LeRobot dataset in a folder.
pub(crate) struct LerobotSource {
    root: PathBuf,
    info: Info,
    about: About,
    /// The robot of our own file beside the format's.
    robot: Option<RobotSpec>,
    modality: Option<Modality>,
    tasks: Vec<(i64, String)>,
    metas: Vec<EpisodeMeta>,
    episodes: Vec<EpisodeEntry>,
    /// The column that says when a step was.
    time: Column,
    videos: Arc<VideoCache>,
}

impl LerobotSource {
    /// Opens the dataset in folder `dir`; reads metadata only.
    ///
    /// # Errors
    ///
    /// When metadata is missing or damaged.
    pub(crate) fn open(dir: &Path) -> Result<Self, DatasetError> {
        let root = dir.to_owned();
        if !is_lerobot(&root) {
            return Err(DatasetError::UnknownFormat { path: root });
        }
        let info = Info::read(&root)?;
        let tasks = meta::read_tasks(&root, info.version)?;
        let metas = meta::read_episodes(&root, &info)?;
        Self::new(&root, info, tasks, metas)
    }

    /// The dataset in folder `root`, whose episodes are `metas`.
    fn new(
        root: &Path,
        info: Info,
        tasks: Vec<(i64, String)>,
        metas: Vec<EpisodeMeta>,
    ) -> Result<Self, DatasetError> {
        let root = root.to_owned();
        let mut described = features::columns(&root, &info)?;
        let modality = Modality::read(&root, &mut described.columns)?;
        let about = About {
            format: format!("LeRobot {}", info.version),
            path: root.clone(),
            robot: described.robot.as_ref().map(|r| r.name.clone()).or(info.robot_type.clone()),
            fps: Some(info.fps),
            columns: described.columns,
            tasks: tasks.iter().map(|(_, task)| task.clone()).collect(),
        };
        let entry = |meta: &EpisodeMeta| EpisodeEntry {
            name: format!("episode {}", meta.index),
            path: root.join(&meta.file),
            num_steps: meta.num_steps,
            task: meta.task.clone(),
        };
        let episodes = metas.iter().map(entry).collect();
        Ok(Self {
            root,
            info,
            about,
            robot: described.robot,
            modality,
            tasks,
            metas,
            episodes,
            time: Column::new("timestamp", "float32", [1], Kind::Numbers),
            videos: Arc::default(),
        })
    }

    /// The data files, each once, in order.
    fn data_files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self.metas.iter().map(|entry| &*entry.file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The video files, each once, in order.
    fn video_files(&self) -> Vec<&Path> {
        let videos = self.metas.iter().flat_map(|entry| &entry.videos);
        let mut files: Vec<&Path> = videos.map(|video| &*video.file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

impl Source for LerobotSource {
    fn about(&self) -> &About {
        &self.about
    }

    fn episodes(&self) -> &[EpisodeEntry] {
        &self.episodes
    }

    fn guess(&self) -> Mapping {
        let columns = &self.about.columns;
        let camera = |column: &Column| {
            let name = features::view_name(&column.name).unwrap_or_else(|| column.short_name());
            ViewRef::new(name, &*column.name)
        };
        let mut view: Vec<ViewRef> = mapping::pictures(columns, false).map(camera).collect();
        if let Some(robot) = &self.robot {
            mapping::sort_as(robot, &mut view);
        }
        let depths = mapping::pictures(columns, true).filter_map(|column| {
            let name = column.name.strip_prefix(features::DEPTH)?;
            Some(ViewRef::new(name, &*column.name))
        });
        let plain = Mapping {
            proprio: mapping::whole(columns, features::STATE),
            action: mapping::whole(columns, features::ACTION),
            depth: mapping::depth_of(&view, depths),
            view,
            ..Mapping::default()
        };
        match &self.modality {
            // Whoever has our own file has the robot in it; parts of another tool come after.
            Some(modality) if self.robot.is_none() => Mapping {
                proprio: modality.proprio.clone(),
                action: modality.action.clone(),
                view: modality.view.clone(),
                ..Mapping::default()
            }
            .or(plain),
            _ => plain,
        }
    }

    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError> {
        let meta = &self.metas[episode];
        let columns = || wanted.iter().map(|&at| &self.about.columns[at]);
        let video = |column: &Column| self.info.video_keys().position(|key| key == column.name);
        let mut in_rows: Vec<&Column> = columns().filter(|c| video(c).is_none()).collect();
        let time = in_rows.len();
        if time < wanted.len() {
            in_rows.push(&self.time);
        }
        let mut rows = episode::read_rows(&self.root, &in_rows, meta)?;
        let times = match rows.drain(time..).next() {
            Some(Track::Numbers(times)) => times,
            _ => Vec::new(),
        };
        let mut rows = rows.into_iter();
        let mut tracks = Vec::with_capacity(wanted.len());
        for column in columns() {
            let Some(at) = video(column) else {
                tracks.extend(rows.next());
                continue;
            };
            let VideoPlace { file, from_secs, .. } = &meta.videos[at];
            let times = times.iter().map(|&time| from_secs + f64::from(time)).collect();
            let path = self.root.join(file);
            let frames = VideoFrames::open(&self.videos, path, column, times, self.info.fps)?;
            tracks.push(Track::Pictures(Box::new(frames)));
        }
        Ok(tracks)
    }

    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for entry in &self.metas {
            hash.update(entry.index.to_le_bytes());
        }
        for file in self.data_files() {
            hash.update(tables::footer(&self.root.join(file))?);
        }
        for file in self.video_files() {
            hash.update(file_len(&self.root.join(file)).to_le_bytes());
        }
        Ok(())
    }

    fn num_bytes(&self) -> u64 {
        let files = self.data_files().into_iter().chain(self.video_files());
        files.map(|file| file_len(&self.root.join(file))).sum()
    }

    fn warnings(&self) -> Vec<String> {
        self.inspect()
    }

    fn examine(&self, progress: &mut dyn FnMut(u64, u64)) -> Vec<Finding> {
        self.findings(progress)
    }
}
