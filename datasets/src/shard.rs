//! Demonstrations decoded once, into one file of raw numbers and pixels.
//!
//! What costs an epoch most is decoding: a shard pays for it once. Its file holds the numbers of
//! every step, then the pixels of every step, each at a place that follows from arithmetic alone.
//! It is read at positions, so that what the page cache holds is memory, nothing is mapped, and a
//! file that shrinks under a reader is an error and not a fault. Its name is the fingerprint of
//! the demonstrations, their mapping included.

use std::fmt;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engraft_core::{ActionChunk, DepthImage, Observation, RgbImage, RobotSpec, View};
use rayon::prelude::*;

use crate::cache::Cache;
use crate::numbers::Numbers;
use crate::{Dataset, DatasetError, DatasetInfo, Episode, Mapping, PictureError};

/// Bytes of numbers that are kept in memory.
const CACHE_BYTES: usize = 256 << 20;

/// Demonstrations that were decoded once, read from one file of raw numbers and pixels.
pub struct Shard {
    dataset: Arc<dyn Dataset>,
    spec: Arc<RobotSpec>,
    file: Arc<File>,
    path: PathBuf,
    places: Places,
    cache: Cache<ShardEpisode>,
}

/// Where things stand in the file.
#[derive(Debug, Clone)]
struct Places {
    /// Steps before each episode, and of all episodes at the end.
    starts: Vec<usize>,
    /// Bytes of one step's numbers.
    numbers: usize,
    /// Bytes of one step's pixels.
    pixels: usize,
}

impl Places {
    fn of(dataset: &dyn Dataset) -> Self {
        let mut starts = vec![0];
        for episode in 0..dataset.num_episodes() {
            starts.push(starts[episode] + dataset.episode_len(episode));
        }
        let spec = dataset.spec();
        let numbers = (spec.proprio_dim() + spec.action_dim()) * size_of::<f32>();
        Self { starts, numbers, pixels: pixel_bytes(spec) }
    }

    fn num_steps(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn num_bytes(&self) -> u64 {
        self.num_steps() as u64 * (self.numbers + self.pixels) as u64
    }

    /// Where the numbers of an episode begin.
    fn numbers_at(&self, episode: usize) -> u64 {
        (self.starts[episode] * self.numbers) as u64
    }

    /// Where the pixels of a step begin, counted through all episodes.
    fn pixels_at(&self, step: usize) -> u64 {
        self.num_steps() as u64 * self.numbers as u64 + step as u64 * self.pixels as u64
    }
}

/// Bytes of one step's decoded pictures.
fn pixel_bytes(spec: &RobotSpec) -> usize {
    let view = |view: &engraft_core::ViewSpec| {
        view.width * view.height * if view.depth { 3 + size_of::<f32>() } else { 3 }
    };
    spec.views.iter().map(view).sum()
}

/// Bytes that the pictures of `dataset` take once they are decoded.
pub fn decoded_bytes(dataset: &dyn Dataset) -> u64 {
    dataset.num_steps() as u64 * pixel_bytes(dataset.spec()) as u64
}

impl Shard {
    /// Opens the shard of `dataset` in folder `dir`, or makes it.
    ///
    /// `progress` hears how many of how many steps are decoded and says whether to go on; `None`
    /// where it says no, with nothing left behind.
    ///
    /// # Errors
    ///
    /// When an episode cannot be read or the file cannot be written.
    pub fn prepare(
        dataset: Arc<dyn Dataset>,
        dir: &Path,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Option<Self>, DatasetError> {
        let places = Places::of(&*dataset);
        let fingerprint = dataset.fingerprint()?;
        // Half of a SHA-256 tells datasets apart, and keeps names short.
        let name = fingerprint.get(..32).unwrap_or(&fingerprint);
        let path = dir.join(format!("{name}.pixels"));
        let whole = fs::metadata(&path).is_ok_and(|found| found.len() == places.num_bytes());
        if !whole && !make(&*dataset, &places, &path, progress)? {
            return Ok(None);
        }
        let file = Arc::new(File::open(&path).map_err(DatasetError::read(&path))?);
        let spec = Arc::new(dataset.spec().clone());
        Ok(Some(Self { dataset, spec, file, path, places, cache: Cache::new(CACHE_BYTES) }))
    }

    fn load(&self, index: usize) -> Result<(ShardEpisode, usize), DatasetError> {
        let num_episodes = self.num_episodes();
        if index >= num_episodes {
            return Err(DatasetError::NoEpisode { episode: index, num_episodes });
        }
        let (first, end) = (self.places.starts[index], self.places.starts[index + 1]);
        let mut bytes = vec![0; (end - first) * self.places.numbers];
        let read = self.file.read_exact_at(&mut bytes, self.places.numbers_at(index));
        read.map_err(DatasetError::read(&self.path))?;
        let split = (end - first) * self.spec.proprio_dim() * size_of::<f32>();
        let (proprio, actions) = (floats(&bytes[..split]), floats(&bytes[split..]));
        let episode = ShardEpisode {
            index,
            task: self.dataset.task(index).to_owned(),
            numbers: Numbers::new(&self.spec, end - first, proprio, actions),
            spec: Arc::clone(&self.spec),
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            pixels_at: self.places.pixels_at(first),
            step_bytes: self.places.pixels,
        };
        let num_bytes = bytes.len();
        Ok((episode, num_bytes))
    }
}

/// Decodes everything into `path`, on all cores; says whether it was let finish.
fn make(
    dataset: &dyn Dataset,
    places: &Places,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<bool, DatasetError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(DatasetError::write(parent))?;
    let staging = path.with_extension(format!("tmp-{}", std::process::id()));
    let file = File::create(&staging).map_err(DatasetError::write(&staging))?;
    let filled = fill(dataset, places, &file, &staging, progress);
    let finished = matches!(filled, Ok(true));
    if finished {
        file.sync_all().map_err(DatasetError::write(&staging))?;
        fs::rename(&staging, path).map_err(DatasetError::write(path))?;
    } else {
        // Whatever stopped it is told below; half a shard is of no use.
        let _ = fs::remove_file(&staging);
    }
    filled
}

fn fill(
    dataset: &dyn Dataset,
    places: &Places,
    file: &File,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<bool, DatasetError> {
    file.set_len(places.num_bytes()).map_err(DatasetError::write(path))?;
    let episodes: Vec<usize> = (0..dataset.num_episodes()).collect();
    let total = places.num_steps() as u64;
    if !progress(0, total) {
        return Ok(false);
    }
    for some in episodes.chunks(rayon::current_num_threads().max(1)) {
        some.par_iter().try_for_each(|&index| fill_episode(dataset, places, file, path, index))?;
        let done = places.starts[some[some.len() - 1] + 1] as u64;
        if !progress(done, total) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fill_episode(
    dataset: &dyn Dataset,
    places: &Places,
    file: &File,
    path: &Path,
    index: usize,
) -> Result<(), DatasetError> {
    let episode = dataset.episode(index)?;
    let num_steps = episode.num_steps();
    let mut numbers = Vec::with_capacity(num_steps * places.numbers);
    for step in 0..num_steps {
        numbers.extend(episode.proprio(step)?.iter().flat_map(|value| value.to_le_bytes()));
    }
    let actions = episode.actions(0..num_steps)?;
    numbers.extend(actions.values().iter().flat_map(|value| value.to_le_bytes()));
    let write =
        |bytes: &[u8], at: u64| file.write_all_at(bytes, at).map_err(DatasetError::write(path));
    write(&numbers, places.numbers_at(index))?;
    if places.pixels == 0 {
        return Ok(());
    }
    let mut pixels = Vec::with_capacity(places.pixels);
    for step in 0..num_steps {
        pixels.clear();
        for view in episode.observation(step)?.views {
            pixels.extend_from_slice(view.rgb.pixels());
            let metres = view.depth.iter().flat_map(DepthImage::metres);
            pixels.extend(metres.flat_map(|value| value.to_le_bytes()));
        }
        write(&pixels, places.pixels_at(places.starts[index] + step))?;
    }
    Ok(())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let four = |part: &[u8]| f32::from_le_bytes([part[0], part[1], part[2], part[3]]);
    bytes.chunks_exact(size_of::<f32>()).map(four).collect()
}

impl Dataset for Shard {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn mapping(&self) -> Mapping {
        self.dataset.mapping()
    }

    fn num_episodes(&self) -> usize {
        self.dataset.num_episodes()
    }

    fn episode_len(&self, episode: usize) -> usize {
        self.dataset.episode_len(episode)
    }

    fn task(&self, episode: usize) -> &str {
        self.dataset.task(episode)
    }

    fn episode(&self, episode: usize) -> Result<Arc<dyn Episode>, DatasetError> {
        let found: Arc<dyn Episode> = self.cache.get(episode, || self.load(episode))?;
        Ok(found)
    }

    fn info(&self) -> Result<DatasetInfo, DatasetError> {
        self.dataset.info()
    }

    fn fingerprint(&self) -> Result<String, DatasetError> {
        self.dataset.fingerprint()
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({:?}, {} bytes)", self.path, self.places.num_bytes())
    }
}

/// One episode: numbers in memory, pixels in the file.
struct ShardEpisode {
    index: usize,
    task: String,
    numbers: Numbers,
    spec: Arc<RobotSpec>,
    file: Arc<File>,
    path: PathBuf,
    /// Where the pixels of its first step begin.
    pixels_at: u64,
    /// Bytes of one step's pixels.
    step_bytes: usize,
}

impl Episode for ShardEpisode {
    fn num_steps(&self) -> usize {
        self.numbers.num_steps()
    }

    fn task(&self) -> &str {
        &self.task
    }

    fn observation(&self, step: usize) -> Result<Observation, DatasetError> {
        let proprio = self.proprio(step)?.to_vec();
        let mut at = self.pixels_at + step as u64 * self.step_bytes as u64;
        let mut read = |num_bytes: usize| -> Result<Vec<u8>, DatasetError> {
            let mut bytes = vec![0; num_bytes];
            self.file.read_exact_at(&mut bytes, at).map_err(|error| DatasetError::Picture {
                feature: "pixels".into(),
                episode: self.index,
                step,
                path: self.path.clone(),
                source: Box::new(PictureError::Pixels(error.into())),
            })?;
            at += num_bytes as u64;
            Ok(bytes)
        };
        let mut views = Vec::with_capacity(self.spec.num_views());
        for view in &self.spec.views {
            let (width, height) = (view.width, view.height);
            let rgb = RgbImage::new(width, height, read(width * height * 3)?);
            let rgb = rgb.expect("a record holds whole pictures");
            let depth = if view.depth {
                let metres = floats(&read(width * height * size_of::<f32>())?);
                let depth = DepthImage::new(width, height, metres);
                Some(depth.expect("a record holds whole pictures"))
            } else {
                None
            };
            views.push(View { rgb, depth });
        }
        Ok(Observation { views, proprio })
    }

    fn proprio(&self, step: usize) -> Result<&[f32], DatasetError> {
        self.numbers.proprio(step)
    }

    fn actions(&self, steps: Range<usize>) -> Result<ActionChunk, DatasetError> {
        self.numbers.actions(steps)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::testing::Pictures;

    fn prepare(dataset: &Arc<Pictures>, dir: &Path) -> Option<Shard> {
        let dataset = Arc::clone(dataset) as Arc<dyn Dataset>;
        Shard::prepare(dataset, dir, &mut |_, _| true).unwrap()
    }

    #[test]
    fn a_shard_holds_what_was_decoded_and_decodes_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Arc::new(Pictures::new(&[3, 1, 4]));
        let shard = prepare(&dataset, folder.path()).unwrap();
        let decoded = dataset.decoded();
        assert_eq!(decoded, 8);
        for (index, num_steps) in [3, 1, 4].into_iter().enumerate() {
            let (ours, theirs) = (shard.episode(index).unwrap(), dataset.episode(index).unwrap());
            assert_eq!((ours.num_steps(), ours.task()), (num_steps, theirs.task()));
            for step in 0..num_steps {
                assert_eq!(ours.observation(step).unwrap(), theirs.observation(step).unwrap());
            }
            assert_eq!(ours.actions(0..num_steps).unwrap(), theirs.actions(0..num_steps).unwrap());
            assert!(ours.observation(num_steps).is_err());
        }
        assert!(shard.episode(3).is_err());
        let before = dataset.decoded();
        let again = prepare(&dataset, folder.path()).unwrap();
        assert_eq!(again.episode(2).unwrap().proprio(1).unwrap(), [1.0]);
        assert_eq!(dataset.decoded(), before);
    }

    #[test]
    fn whoever_stops_leaves_nothing_behind_and_a_short_file_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Arc::new(Pictures::new(&[3, 3]));
        let calls = AtomicU64::new(0);
        let stopped =
            Shard::prepare(Arc::clone(&dataset) as Arc<dyn Dataset>, folder.path(), &mut |_, _| {
                calls.fetch_add(1, Ordering::Relaxed) == 0
            });
        assert!(stopped.unwrap().is_none());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let path = prepare(&dataset, folder.path()).unwrap().path;
        let len = fs::metadata(&path).unwrap().len();
        assert_eq!(len, 6 * (8 + 8 * 6 * 7));
        assert_eq!(decoded_bytes(&*dataset), 6 * 8 * 6 * 7);
        File::options().write(true).open(&path).unwrap().set_len(len - 1).unwrap();
        prepare(&dataset, folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), len);
    }
}
