//! Replay buffers of `diffusion_policy`: zarr v2, in a folder or as `.zarr.zip`.
//!
//! Source: `ReplayBuffer` of `diffusion_policy`, and zarr's specification, version 2. Arrays below
//! `data` share their first axis, which is time; `meta/episode_ends` says where episodes end.
//! Differs in: a chunk that is not there is an error, pictures may also have their channels first,
//! and `data/timestamp`, where there is one, says the rate.

mod array;
mod blosc;
mod codec;
mod dtype;
mod frames;
#[cfg(test)]
mod golden;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::mapping::{self, ColumnRef, Mapping};
use crate::source::{About, EpisodeEntry, Source, Track};
use array::{Array, Elements};
use frames::{ArrayFrames, Layout};
use store::Store;

const DATA: &str = "data";
const ENDS: &str = "meta/episode_ends";

/// Steps whose times are enough to know the rate.
const TIMED_STEPS: usize = 1000;

/// Whether `path` holds a zarr dataset, of whichever version.
pub(crate) fn is_zarr(path: &Path) -> bool {
    if path.is_dir() {
        let marked = |name| path.join(name).is_file();
        marked(".zgroup") || marked("zarr.json") || path.join(ENDS).is_dir()
    } else {
        path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip")) && path.is_file()
    }
}

/// A replay buffer.
pub(crate) struct ZarrSource {
    store: Arc<Store>,
    about: About,
    arrays: Vec<(Arc<Array>, Option<Layout>)>,
    starts: Vec<usize>,
    episodes: Vec<EpisodeEntry>,
    num_rows: usize,
}

impl ZarrSource {
    /// Opens the dataset at `path`; reads metadata, the ends of episodes and some times.
    ///
    /// # Errors
    ///
    /// When metadata is missing or damaged, and when a `mask` is asked for: there are none.
    pub(crate) fn open(path: &Path, mask: Option<&str>) -> Result<Self, DatasetError> {
        if path.join("zarr.json").is_file() {
            let expected = "zarr v2 (write it again with zarr_format=2)";
            return Err(DatasetError::content("zarr_format", expected, "3", path));
        }
        if let Some(mask) = mask {
            let expected = "none, as a replay buffer has no lists of episodes";
            return Err(DatasetError::content("mask", expected, mask, path));
        }
        let store = Arc::new(Store::open(path)?);
        let ends = episode_ends(&store)?;
        let num_rows = ends.last().copied().unwrap_or(0);
        let (mut arrays, mut columns) = (Vec::new(), Vec::new());
        for key in store.arrays(DATA)? {
            let array = Array::open(&store, &key)?;
            let rows = array.shape.first().copied();
            if rows.is_some_and(|rows| rows < num_rows) {
                let expected = format!("{num_rows} steps, as {ENDS} says");
                let found = format!("{:?}", array.shape);
                return Err(DatasetError::content(&key, expected, found, &array.path()));
            }
            let layout = Layout::of(&array);
            columns.push(column(&array, layout));
            arrays.push((Arc::new(array), layout));
        }
        let starts: Vec<usize> = [0].into_iter().chain(ends.iter().copied()).collect();
        let entry = |(at, span): (usize, &[usize])| EpisodeEntry {
            name: format!("episode {at}"),
            path: path.to_owned(),
            num_steps: span[1] - span[0],
            task: String::new(),
        };
        let episodes = starts.windows(2).enumerate().map(entry).collect();
        let about = About {
            format: "zarr v2 replay buffer".into(),
            path: path.to_owned(),
            robot: None,
            fps: fps(&arrays, &starts),
            columns,
            tasks: Vec::new(),
        };
        Ok(Self { store, about, arrays, starts, episodes, num_rows })
    }
}

/// Where each episode ends, as rows of the arrays.
fn episode_ends(store: &Arc<Store>) -> Result<Vec<usize>, DatasetError> {
    let array = Array::open(store, ENDS)?;
    let path = array.path();
    let wrong =
        |expected: &str, found: String| Err(DatasetError::content(ENDS, expected, found, &path));
    let &[count] = &array.shape[..] else {
        return wrong("one axis", format!("{:?}", array.shape));
    };
    let bytes = array.rows(0..count)?;
    let Some(ends) = array.numbers()?.integers(&bytes) else {
        return wrong("whole numbers", array.dtype_name.clone());
    };
    let mut last = 0;
    for &end in &ends {
        if end <= last {
            return wrong("rising above zero", format!("{end} after {last}"));
        }
        last = end;
    }
    Ok(ends.into_iter().map(|end| end as usize).collect())
}

fn column(array: &Array, layout: Option<Layout>) -> Column {
    let name = array.key.strip_prefix("data/").unwrap_or(&array.key);
    let shape = array.shape.get(1..).unwrap_or_default();
    let kind = match (array.elements(), layout) {
        _ if array.shape.is_empty() => Kind::Other,
        (_, Some(layout)) => layout.kind(),
        (Elements::Numbers(_), None) if name == "timestamp" => Kind::Index,
        // Whoever asks for pickled objects is told what they are.
        (Elements::Numbers(_) | Elements::Pickled, None) => Kind::Numbers,
        (Elements::Other, None) => Kind::Other,
    };
    Column::new(name, &*array.dtype_name, shape, kind)
}

/// The rate that the times of the first steps show, where there are times.
fn fps(arrays: &[(Arc<Array>, Option<Layout>)], starts: &[usize]) -> Option<f32> {
    let (times, _) = arrays.iter().find(|(array, _)| array.key == "data/timestamp")?;
    let steps = TIMED_STEPS.min(*starts.last()?);
    if times.shape.len() != 1 {
        return None;
    }
    let bytes = times.rows(0..steps).ok()?;
    let times = times.numbers().ok()?.doubles(&bytes);
    let inside = (1..times.len()).filter(|at| starts.binary_search(at).is_err());
    let mut periods: Vec<f64> = inside.map(|at| times[at] - times[at - 1]).collect();
    periods.sort_unstable_by(f64::total_cmp);
    let fps = 1.0 / periods.get(periods.len() / 2)?;
    let rounded = (fps * 100.0).round() / 100.0; // clocks jitter by less than is told apart here
    (rounded.is_finite() && rounded > 0.0).then_some(rounded as f32)
}

impl Source for ZarrSource {
    fn about(&self) -> &About {
        &self.about
    }

    fn episodes(&self) -> &[EpisodeEntry] {
        &self.episodes
    }

    fn guess(&self) -> Mapping {
        let mut guess = mapping::guess(&self.about.columns);
        if guess.proprio.is_empty() {
            let numbers = self.about.columns.iter().filter(|column| column.kind == Kind::Numbers);
            let sensed = numbers.filter(|column| is_proprio(&column.name));
            guess.proprio = sensed.map(|column| ColumnRef::whole(&*column.name)).collect();
        }
        guess
    }

    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError> {
        let (start, end) = (self.starts[episode], self.starts[episode + 1]);
        let track = |&at: &usize| {
            let (array, layout) = &self.arrays[at];
            Ok(if let Some(layout) = layout {
                let frames = ArrayFrames::new(array, *layout, start, end - start)?;
                Track::Pictures(Box::new(frames))
            } else {
                let dtype = array.numbers()?;
                Track::Numbers(dtype.floats(&array.rows(start..end)?).collect())
            })
        };
        wanted.iter().map(track).collect()
    }

    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for entry in self.store.entries()? {
            hash.update(entry.key);
            hash.update(entry.num_bytes.to_le_bytes());
            hash.update(entry.crc.to_le_bytes());
        }
        for &start in &self.starts {
            hash.update((start as u64).to_le_bytes());
        }
        Ok(())
    }

    fn num_bytes(&self) -> u64 {
        let entries = self.store.entries().unwrap_or_default();
        entries.iter().map(|entry| entry.num_bytes).sum()
    }

    fn warnings(&self) -> Vec<String> {
        let longer = self.arrays.iter().filter_map(|(array, _)| {
            let rows = *array.shape.first()?;
            let (key, used) = (&array.key, self.num_rows);
            (rows > used).then(|| format!("{key} has {rows} steps, {ENDS} uses {used}"))
        });
        longer.collect()
    }
}

/// Whether a column of that name is what a robot senses of itself, by the usual names of
/// recordings: `robot_eef_pose`, `robot0_gripper_width`, but no speeds and no marks of a start.
fn is_proprio(name: &str) -> bool {
    let beginnings = ["robot", "gripper"];
    let endings = ["_vel", "_start_pose", "_end_pose"];
    beginnings.iter().any(|beginning| name.starts_with(beginning))
        && !endings.iter().any(|ending| name.ends_with(ending))
}
