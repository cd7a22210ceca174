//! Writing v3.0 and v2.1, one whole episode at a time.

use std::fs;
use std::path::{Path, PathBuf};

use engraft_core::{Observation, RobotSpec};

use super::features::{CAPTURES, Feature, INFO_PATH, ROBOT_PATH, RobotFile, default_data_path};
use super::json::Ordered;
use super::meta::{episode_files, expand};
use super::numbers::FeatureStats;
use super::recorded::{Recorder, Refusal};
use super::recording::{EPISODE_BYTES, RecordingOptions, captures};
use super::schema::{self, Place, Rows};
use super::writer_meta::{
    CHUNKS_SIZE, EpisodeRow, Totals, append_lines, read_stats, repair_lines, start_lines,
    write_episodes, write_info, write_stats, write_tasks,
};
use super::{LerobotSource, Version, tables};
use crate::demonstrations::Demonstrations;
use crate::files::replace_bytes;
use crate::modality::{MODALITY_PATH, modality};
use crate::{Dataset, DatasetError, Mapping};

/// Episodes per file of metadata, which is rewritten with each of them.
const EPISODES_PER_FILE: usize = 100;

/// Writes a LeRobot dataset, one whole episode at a time.
///
/// An episode is on disk, and synced, when [`add_episode`](Self::add_episode) returns: first its
/// data, then the metadata that names it, then the totals. Whoever is killed in between loses the
/// episode at hand and no other, and [`append`](Self::append) carries on from there.
#[derive(Debug)]
pub struct LerobotWriter {
    root: PathBuf,
    pub(super) spec: RobotSpec,
    version: Version,
    pub(super) options: RecordingOptions,
    /// Bytes of pictures that one episode may hold in memory.
    pub(super) episode_bytes: usize,
    features: Ordered<Feature>,
    tasks: Vec<String>,
    num_episodes: usize,
    num_steps: usize,
    /// The next data file, counted through all chunks.
    next_file: usize,
    /// The file of episodes that is being filled, counted through all chunks, and its rows.
    episodes_file: usize,
    rows: Vec<EpisodeRow>,
    stats: Vec<FeatureStats>,
}

impl LerobotWriter {
    /// Starts a dataset in folder `dir`, which is new or empty.
    ///
    /// # Errors
    ///
    /// When the folder holds something, when the robot cannot be written in this version, or when
    /// the folder cannot be written.
    pub fn create(
        dir: impl AsRef<Path>,
        spec: &RobotSpec,
        version: Version,
    ) -> Result<Self, DatasetError> {
        Self::create_with(dir, spec, version, RecordingOptions::default())
    }

    /// The same, with what is recorded beside observations and actions as `options` say.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with(
        dir: impl AsRef<Path>,
        spec: &RobotSpec,
        version: Version,
        options: RecordingOptions,
    ) -> Result<Self, DatasetError> {
        let root = dir.as_ref().to_owned();
        if fs::read_dir(&root).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(DatasetError::Exists { path: root });
        }
        check_spec(spec, version, &root)?;
        let writer = Self::new(root, spec.clone(), version, options);
        let robot = RobotFile { format: 1, robot: spec.clone() };
        let robot = serde_json::to_vec_pretty(&robot).expect("a spec is plain data");
        replace_bytes(&writer.root.join(ROBOT_PATH), &robot)?;
        if version == Version::V30 {
            let folder = writer.root.join("meta/episodes");
            fs::create_dir_all(&folder).map_err(DatasetError::write(&folder))?;
        } else {
            start_lines(&writer.root)?;
        }
        write_tasks(&writer.root, version, &[])?;
        writer.finish_info()?;
        Ok(writer)
    }

    /// The robot that is recorded.
    pub fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    /// Carries on with the dataset in folder `dir`, which may have been left by a crash.
    ///
    /// # Errors
    ///
    /// When there is no dataset, or when it is not laid out as this writer does it: other
    /// features, other places, or episodes and tasks that are not numbered from zero on.
    pub fn append(dir: impl AsRef<Path>) -> Result<Self, DatasetError> {
        let root = dir.as_ref().to_owned();
        let dataset = Demonstrations::new(LerobotSource::open(&root)?, &Mapping::default())?;
        let source = dataset.source();
        let version = source.info.version;
        check_spec(dataset.spec(), version, &root)?;
        let capture_times = source.info.features.get(CAPTURES[0].0).is_some();
        let options = RecordingOptions { capture_times };
        let mut writer = Self::new(root, dataset.spec().clone(), version, options);
        writer.check_layout(source)?;
        writer.tasks = source.tasks.iter().map(|(_, task)| task.clone()).collect();
        if version == Version::V30 {
            let last = source.metas.iter().map(|entry| entry.place).max();
            writer.next_file = last.map_or(0, |(chunk, file)| chunk * CHUNKS_SIZE + file + 1);
            writer.episodes_file = after_last(&episode_files(&writer.root)?);
            let names = writer.feature_names();
            match read_stats(&writer.root, &names, dataset.num_steps()) {
                Some(stats) => writer.stats = stats,
                None => writer.recount(&dataset)?,
            }
        } else {
            repair_lines(&writer.root, dataset.num_episodes())?;
        }
        writer.num_episodes = dataset.num_episodes();
        writer.num_steps = dataset.num_steps();
        writer.finish_info()?;
        Ok(writer)
    }

    fn new(root: PathBuf, spec: RobotSpec, version: Version, options: RecordingOptions) -> Self {
        Self {
            root,
            features: schema::features(&spec, options.capture_times),
            options,
            episode_bytes: EPISODE_BYTES,
            spec,
            version,
            tasks: Vec::new(),
            num_episodes: 0,
            num_steps: 0,
            next_file: 0,
            episodes_file: 0,
            rows: Vec::new(),
            stats: Vec::new(),
        }
    }

    /// Episodes written so far.
    pub fn num_episodes(&self) -> usize {
        self.num_episodes
    }

    /// Steps written so far.
    pub fn num_steps(&self) -> usize {
        self.num_steps
    }

    /// Writes an episode and returns its index; when this returns, the episode is safe.
    ///
    /// # Errors
    ///
    /// When there is no step, when a step does not fit the robot or is not finite, or when the
    /// dataset keeps capture times, which only [`begin`](Self::begin) is told: the dataset then is
    /// as it was. When a file cannot be written: it then holds the whole episode or nothing of it.
    pub fn add_episode(
        &mut self,
        task: &str,
        steps: impl IntoIterator<Item = (Observation, Vec<f32>)>,
    ) -> Result<usize, DatasetError> {
        self.add_fallible(task, &mut steps.into_iter().map(Ok))
    }

    /// Writes the episode that `recorder` holds; when this returns, the episode is safe.
    pub(super) fn keep(&mut self, task: &str, recorder: Recorder) -> Result<usize, DatasetError> {
        let known = self.tasks.iter().position(|known| known == task);
        let place = Place {
            episode: self.num_episodes,
            first_index: self.num_steps,
            task: known.unwrap_or(self.tasks.len()),
        };
        let (rows, stats) = recorder.finish(&self.spec, &place)?;
        self.write_data(&rows, &place)?;
        if known.is_none() {
            self.tasks.push(task.to_owned());
            write_tasks(&self.root, self.version, &self.tasks).inspect_err(|_| {
                self.tasks.pop();
            })?;
        }
        let row = EpisodeRow {
            episode: place.episode,
            task: task.to_owned(),
            num_steps: rows.num_steps,
            first_index: place.first_index,
            file: self.next_file,
            stats,
        };
        self.commit(row)?;
        self.num_episodes += 1;
        self.num_steps += rows.num_steps;
        self.next_file += 1;
        self.finish_info()?;
        Ok(place.episode)
    }

    /// Writes `meta/modality.json`, which GR00T reads beside the dataset.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn with_modality(self) -> Result<Self, DatasetError> {
        let json = serde_json::to_vec_pretty(&modality(&self.spec)).expect("plain JSON");
        replace_bytes(&self.root.join(MODALITY_PATH), &json)?;
        Ok(self)
    }

    /// Ends the recording. Nothing is pending; the code of the caller says that it is complete.
    ///
    /// # Errors
    ///
    /// When the totals cannot be written.
    pub fn finish(self) -> Result<(), DatasetError> {
        self.finish_info()
    }

    fn feature_names(&self) -> Vec<String> {
        self.features.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// A step that was refused, as an error.
    pub(super) fn refused(&self, step: usize, refusal: Refusal) -> DatasetError {
        match refusal {
            Refusal::Misfit(error) => error,
            Refusal::Picture(feature, source) => DatasetError::Picture {
                feature,
                episode: self.num_episodes,
                step,
                path: self.root.clone(),
                source: Box::new(source),
            },
        }
    }

    fn write_data(&self, rows: &Rows, place: &Place) -> Result<(), DatasetError> {
        let fields = [
            ("chunk_index", self.next_file / CHUNKS_SIZE),
            ("file_index", self.next_file % CHUNKS_SIZE),
            ("episode_chunk", place.episode / CHUNKS_SIZE),
            ("episode_index", place.episode),
        ];
        let relative = expand(default_data_path(self.version), &fields).expect("our own template");
        let path = self.root.join(relative);
        let batch = schema::batch(&self.spec, rows, place).map_err(DatasetError::parquet(&path))?;
        let pictures = self.features.0.iter().filter(|(_, feature)| feature.dtype == "image");
        let packed: Vec<(&str, &str)> = pictures.map(|(name, _)| (&**name, "bytes")).collect();
        let note = ("huggingface", schema::hugging_face(&self.features));
        tables::write(&path, &batch, &packed, Some(note))
    }

    /// Writes the metadata that makes an episode part of the dataset.
    fn commit(&mut self, row: EpisodeRow) -> Result<(), DatasetError> {
        let names = self.feature_names();
        if self.version != Version::V30 {
            return append_lines(&self.root, &row, &names);
        }
        if self.rows.len() == EPISODES_PER_FILE {
            self.rows.clear();
            self.episodes_file += 1;
        }
        merge(&mut self.stats, &row.stats);
        self.rows.push(row);
        write_episodes(&self.root, self.episodes_file, &names, &self.rows).inspect_err(|_| {
            self.rows.pop();
        })
    }

    /// Writes what is derived from the episodes: statistics and totals.
    pub(super) fn finish_info(&self) -> Result<(), DatasetError> {
        if self.version == Version::V30 && self.num_episodes > 0 {
            write_stats(&self.root, &self.feature_names(), &self.stats)?;
        }
        let totals = Totals {
            version: self.version,
            robot: &self.spec.name,
            fps: self.spec.control_hz,
            num_episodes: self.num_episodes,
            num_steps: self.num_steps,
            num_tasks: self.tasks.len(),
            features: &self.features,
        };
        write_info(&self.root, &totals)
    }

    /// Takes the statistics from the data, where those on disk are not of all episodes.
    fn recount(&mut self, dataset: &Demonstrations<LerobotSource>) -> Result<(), DatasetError> {
        let mut first_index = 0;
        for index in 0..dataset.num_episodes() {
            let episode = dataset.episode(index)?;
            let tasks = &dataset.source().tasks;
            let task = tasks.iter().position(|(_, task)| task == episode.task());
            let place = Place { episode: index, first_index, task: task.unwrap_or(0) };
            let mut recorder = Recorder::new(&self.spec, self.options.capture_times);
            for step in 0..episode.num_steps() {
                let action = episode.actions(step..step + 1)?.values().to_vec();
                self.push_to(&mut recorder, &episode.observation(step)?, &action)?;
            }
            if self.options.capture_times {
                for (secs, dropped) in captures(dataset.source(), index)? {
                    recorder.captured(secs, dropped);
                }
            }
            let (_, stats) = recorder.finish(&self.spec, &place)?;
            merge(&mut self.stats, &stats);
            first_index += episode.num_steps();
        }
        Ok(())
    }

    /// Checks that the dataset is laid out as this writer does it.
    fn check_layout(&self, source: &LerobotSource) -> Result<(), DatasetError> {
        let path = self.root.join(INFO_PATH);
        let same = |what: &str, expected: String, found: String| {
            if expected == found {
                Ok(())
            } else {
                Err(DatasetError::content(what, expected, found, &path))
            }
        };
        let names = |features: &Ordered<Feature>| {
            let mut names: Vec<&str> = features.0.iter().map(|(name, _)| &**name).collect();
            names.sort_unstable();
            names.join(", ")
        };
        let info = &source.info;
        same("features", names(&self.features), names(&info.features))?;
        same("data_path", default_data_path(self.version).into(), info.data_path.clone())?;
        same("chunks_size", CHUNKS_SIZE.to_string(), info.chunks_size.to_string())?;
        for (at, entry) in source.metas.iter().enumerate() {
            same("episode_index", at.to_string(), entry.index.to_string())?;
        }
        for (at, (index, _)) in source.tasks.iter().enumerate() {
            same("task_index", at.to_string(), index.to_string())?;
        }
        Ok(())
    }
}

fn merge(all: &mut Vec<FeatureStats>, more: &[FeatureStats]) {
    if all.is_empty() {
        all.extend_from_slice(more);
    } else {
        all.iter_mut().zip(more).for_each(|(ours, theirs)| ours.merge(theirs));
    }
}

/// The number after the last of these files, counted through all chunks.
fn after_last(files: &[PathBuf]) -> usize {
    let number = |name: Option<&std::ffi::OsStr>| -> Option<usize> {
        name?.to_str()?.split(['-', '.']).nth(1)?.parse().ok()
    };
    let counted = files.iter().filter_map(|path| {
        let chunk = number(path.parent()?.file_name())?;
        Some(chunk * CHUNKS_SIZE + number(path.file_name())? + 1)
    });
    counted.max().unwrap_or(0)
}

/// Checks that a robot can be written.
fn check_spec(spec: &RobotSpec, version: Version, path: &Path) -> Result<(), DatasetError> {
    let wrong = |what: &str, expected: &str, found: String| {
        Err(DatasetError::content(what, expected, found, path))
    };
    if version == Version::V20 {
        return wrong("version", "v2.1 or v3.0 to write", version.to_string());
    }
    if spec.action_dim() == 0 {
        return wrong("actions", "at least one dimension", "none".into());
    }
    if !(spec.control_hz.is_finite() && spec.control_hz > 0.0) {
        return wrong("control_hz", "a rate above zero", spec.control_hz.to_string());
    }
    for (at, view) in spec.views.iter().enumerate() {
        let taken = spec.views[..at].iter().any(|other| other.name == view.name);
        if taken || view.name.is_empty() || view.name.contains('/') {
            return wrong("views", "names of their own, without a slash", view.name.clone());
        }
        if view.width == 0 || view.height == 0 {
            return wrong("views", "at least one pixel", format!("{} without", view.name));
        }
    }
    Ok(())
}
