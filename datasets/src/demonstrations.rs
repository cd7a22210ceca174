//! Columns of any format as a dataset: numbers gathered and checked, pictures decoded on demand.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engraft_core::{ActionChunk, Dimension, Observation, RobotSpec, View, hex};
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::column::{Column, Kind};
use crate::info::guess_unit;
use crate::layout::{Layout, Part};
use crate::mapping::Mapping;
use crate::numbers::Numbers;
use crate::source::{EpisodeEntry, Frames, Source, Track};
use crate::{
    Dataset, DatasetError, DatasetInfo, Episode, EpisodeSteps, FeatureInfo, Finding, PictureError,
    Role,
};

/// Bytes of episodes that are kept in memory, pictures as they are stored.
const CACHE_BYTES: usize = 1 << 30;

/// A [`Source`] read through a [`Layout`].
pub(crate) struct Demonstrations<S> {
    source: S,
    layout: Arc<Layout>,
    cache: Cache<LoadedEpisode>,
}

impl<S: Source> Demonstrations<S> {
    /// Reads `source` as `said`, and as guessed where that says nothing.
    pub(crate) fn new(source: S, said: &Mapping) -> Result<Self, DatasetError> {
        let layout = Arc::new(Layout::find(source.about(), said, source.guess())?);
        Ok(Self { source, layout, cache: Cache::new(CACHE_BYTES) })
    }

    /// The format behind.
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    fn entry(&self, episode: usize) -> Result<&EpisodeEntry, DatasetError> {
        let num_episodes = self.source.episodes().len();
        let entry = self.source.episodes().get(episode);
        entry.ok_or(DatasetError::NoEpisode { episode, num_episodes })
    }

    /// The column behind a track.
    fn column(&self, track: usize) -> &Column {
        &self.source.about().columns[self.layout.wanted[track]]
    }

    fn load(&self, index: usize) -> Result<(LoadedEpisode, usize), DatasetError> {
        let entry = self.entry(index)?;
        let tracks = self.source.load(index, &self.layout.wanted)?;
        let mut values_of: Vec<&[f32]> = Vec::with_capacity(tracks.len());
        for (at, track) in tracks.iter().enumerate() {
            let column = self.column(at);
            let (found, values) = match track {
                Track::Numbers(values) => (values.len() / column.width().max(1), &values[..]),
                Track::Pictures(frames) => (frames.len(), &[][..]),
            };
            if found != entry.num_steps {
                let what = format!("`{}` of {}", column.name, entry.name);
                let (expected, found) = (entry.num_steps.to_string(), found.to_string());
                return Err(DatasetError::content(what, expected, found, &entry.path));
            }
            values_of.push(values);
        }
        let gather = |parts: &[Part]| -> Result<Vec<f32>, DatasetError> {
            let dim: usize = parts.iter().map(|part| part.to - part.from).sum();
            let mut all = Vec::with_capacity(dim * entry.num_steps);
            for step in 0..entry.num_steps {
                for part in parts {
                    let first = step * part.width;
                    let values = &values_of[part.track][first + part.from..first + part.to];
                    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                        return Err(DatasetError::NotFinite {
                            feature: self.column(part.track).name.clone(),
                            episode: index,
                            step,
                            dimension: part.from + at,
                            path: entry.path.clone(),
                        });
                    }
                    all.extend_from_slice(values);
                }
            }
            Ok(all)
        };
        let (proprio, actions) = (gather(&self.layout.proprio)?, gather(&self.layout.actions)?);
        let frames: Vec<Option<Arc<dyn Frames>>> = tracks
            .into_iter()
            .map(|track| match track {
                Track::Pictures(frames) => Some(Arc::from(frames)),
                Track::Numbers(_) => None,
            })
            .collect();
        let camera = |track: usize| {
            let name = self.column(track).name.clone();
            frames[track].clone().map(|frames| Camera { name, frames })
        };
        let mut views = Vec::new();
        for &(rgb, depth) in &self.layout.views {
            let expect = |track: usize| {
                let name = &self.column(track).name;
                camera(track)
                    .ok_or_else(|| DatasetError::content(name, "pictures", "numbers", &entry.path))
            };
            views.push((expect(rgb)?, depth.map(expect).transpose()?));
        }
        let numbers = Numbers::new(self.spec(), entry.num_steps, proprio, actions);
        let mut num_bytes = numbers.num_bytes();
        num_bytes += frames.iter().flatten().map(|frames| frames.num_bytes()).sum::<usize>();
        let layout = Arc::clone(&self.layout);
        let task = self.task_of(entry).to_owned();
        let path = entry.path.clone();
        let episode = LoadedEpisode { index, path, task, layout, numbers, views };
        Ok((episode, num_bytes))
    }

    fn task_of<'a>(&'a self, entry: &'a EpisodeEntry) -> &'a str {
        self.layout.mapping.task.as_deref().unwrap_or(&entry.task)
    }

    fn feature(&self, at: usize, column: &Column) -> FeatureInfo {
        let layout = &self.layout;
        let track = layout.wanted.iter().position(|&wanted| wanted == at);
        let takes = |parts: &[Part]| parts.iter().any(|part| Some(part.track) == track);
        let shows = |pick: fn(&(usize, Option<usize>)) -> Option<usize>| {
            track.is_some() && layout.views.iter().any(|view| pick(view) == track)
        };
        let role = if takes(&layout.actions) {
            Role::Action
        } else if takes(&layout.proprio) {
            Role::Proprio
        } else if shows(|view| Some(view.0)) {
            Role::View
        } else if shows(|view| view.1) {
            Role::Depth
        } else if column.kind == Kind::Index {
            Role::Index
        } else {
            Role::Other
        };
        let mut dimensions = match role {
            Role::Action | Role::Proprio => column.named_dimensions(),
            _ => Vec::new(),
        };
        for dimension in dimensions.iter_mut().filter(|dimension| dimension.unit.is_empty()) {
            dimension.unit = guess_unit(&dimension.name).into();
        }
        let (name, dtype, shape) =
            (column.name.clone(), column.dtype.clone(), column.shape.clone());
        FeatureInfo { name, role, dtype, shape, dimensions }
    }

    /// What a policy needs and the dataset leaves open.
    fn open_questions(&self) -> Vec<String> {
        let spec = self.spec();
        let mut warnings = Vec::new();
        let unknown = |all: &[Dimension]| all.iter().any(|dimension| dimension.unit.is_empty());
        if unknown(&spec.proprio) || unknown(&spec.actions) {
            warnings.push("units are not known: nothing in the dataset says them".into());
        }
        if spec.proprio.is_empty() {
            warnings.push("no proprio: name its columns with --proprio".into());
        }
        if spec.views.is_empty() {
            warnings.push("no pictures".into());
        }
        if self.num_episodes() == 0 {
            warnings.push("no episodes".into());
        }
        warnings
    }
}

impl<S: Source> Dataset for Demonstrations<S> {
    fn spec(&self) -> &RobotSpec {
        &self.layout.spec
    }

    fn mapping(&self) -> Mapping {
        self.layout.mapping.clone()
    }

    fn num_episodes(&self) -> usize {
        self.source.episodes().len()
    }

    fn episode_len(&self, episode: usize) -> usize {
        self.source.episodes()[episode].num_steps
    }

    fn task(&self, episode: usize) -> &str {
        self.task_of(&self.source.episodes()[episode])
    }

    fn episode(&self, episode: usize) -> Result<Arc<dyn Episode>, DatasetError> {
        let found: Arc<dyn Episode> = self.cache.get(episode, || self.load(episode))?;
        Ok(found)
    }

    fn info(&self) -> Result<DatasetInfo, DatasetError> {
        let about = self.source.about();
        let lengths = self.source.episodes().iter().map(|entry| entry.num_steps);
        let (num_steps, fps) = (self.num_steps(), self.spec().control_hz);
        let mut warnings = self.source.warnings();
        warnings.extend(self.open_questions());
        let columns = about.columns.iter().enumerate();
        Ok(DatasetInfo {
            format: about.format.clone(),
            path: about.path.clone(),
            robot: self.spec().name.clone(),
            fps,
            num_episodes: self.num_episodes(),
            num_steps,
            duration_secs: num_steps as f64 / f64::from(fps),
            episode_steps: EpisodeSteps::of(lengths),
            num_bytes: self.source.num_bytes(),
            tasks: about.tasks.clone(),
            features: columns.map(|(at, column)| self.feature(at, column)).collect(),
            mapping: self.mapping(),
            warnings,
        })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.source.about().path)
    }

    fn examine_format(&self, progress: &mut dyn FnMut(u64, u64)) -> Vec<Finding> {
        let mut findings = self.source.examine(progress);
        let open = self.open_questions().into_iter();
        findings.extend(open.map(|message| Finding::note("open-question", message)));
        findings
    }

    fn fingerprint(&self) -> Result<String, DatasetError> {
        let mut hash = Sha256::new();
        hash.update(self.spec().fingerprint());
        let mapping = serde_json::to_vec(&self.mapping()).expect("a mapping is plain data");
        hash.update(mapping);
        for entry in self.source.episodes() {
            hash.update((entry.num_steps as u64).to_le_bytes());
            hash.update((entry.task.len() as u64).to_le_bytes());
            hash.update(&entry.task);
        }
        self.source.fingerprint(&mut hash)?;
        Ok(hex(&hash.finalize()))
    }
}

impl<S: Source> fmt::Debug for Demonstrations<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = self.source.about();
        write!(f, "{}, {} episodes, {:?}", about.format, self.num_episodes(), about.path)
    }
}

/// One episode in memory: numbers as they are, pictures as they are stored.
struct LoadedEpisode {
    index: usize,
    path: PathBuf,
    task: String,
    layout: Arc<Layout>,
    numbers: Numbers,
    views: Vec<(Camera, Option<Camera>)>,
}

/// The pictures of one column.
#[derive(Clone)]
struct Camera {
    name: String,
    frames: Arc<dyn Frames>,
}

impl LoadedEpisode {
    fn failed(&self, camera: &Camera, step: usize, source: PictureError) -> DatasetError {
        DatasetError::Picture {
            feature: camera.name.clone(),
            episode: self.index,
            step,
            path: self.path.clone(),
            source: Box::new(source),
        }
    }
}

impl Episode for LoadedEpisode {
    fn num_steps(&self) -> usize {
        self.numbers.num_steps()
    }

    fn task(&self) -> &str {
        &self.task
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        let proprio = self.proprio(step)?.to_vec();
        let size = self.layout.mapping.size;
        let views = self.views.iter().map(|(rgb, depth)| {
            let picture = rgb.frames.rgb(step).map_err(|error| self.failed(rgb, step, error))?;
            let metres = match depth {
                Some(depth) => {
                    let found = depth.frames.depth(step);
                    Some(found.map_err(|error| self.failed(depth, step, error))?)
                }
                None => None,
            };
            Ok(match size {
                Some((width, height)) => View {
                    rgb: picture.resize(width, height),
                    depth: metres.map(|metres| metres.resize(width, height)),
                },
                None => View { rgb: picture, depth: metres },
            })
        });
        Ok(Observation { views: views.collect::<Result<_, DatasetError>>()?, proprio })
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        self.numbers.proprio(step)
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        self.numbers.actions(steps)
    }
}
