//! Frozen features, computed once and kept on disk.
//!
//! A file holds one record per picture, in half precision: tap after tap, a map and, where the
//! network has one, a class token. It is read at positions, so that what the page cache holds is
//! memory and nothing is mapped. Its name is a hash of the dataset's fingerprint, of the backbone's
//! config and of what the network makes of a fixed picture, which stands for its weights, its taps
//! and its preprocessing together.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use engraft_core::{View, hex};
use engraft_datasets::Episode;
use engraft_policies::{Features, Images, Policy, PolicyConfig};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::TrainError;
use crate::frames::Frames;

/// Pictures that go through the backbone at once while the file is made.
const PICTURES_AT_ONCE: usize = 32;

/// Where frozen features may be kept, and how much of them.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    /// The folder; files of different data and backbones lie beside each other.
    pub dir: PathBuf,
    /// Bytes that a file may have; larger ones are not written and the features computed each time.
    pub budget_bytes: u64,
}

/// Size of one tap's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    channels: usize,
    height: usize,
    width: usize,
    cls: bool,
}

/// What lies beside the file; it is written last, so a file without it is not finished.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    num_pictures: u64,
    taps: Vec<Shape>,
}

/// Features of every picture of a dataset.
pub(crate) struct FeatureStore {
    file: File,
    path: PathBuf,
    header: Header,
    num_views: usize,
    /// Steps before each episode.
    starts: Vec<usize>,
}

impl Shape {
    fn of(features: &Features) -> Self {
        let [_, channels, height, width] = features.map.dims();
        Self { channels, height, width, cls: features.cls.is_some() }
    }

    /// Numbers of a map and, where there is one, of its class token.
    fn columns(self) -> impl Iterator<Item = usize> {
        let map = self.channels * self.height * self.width;
        [Some(map), self.cls.then_some(self.channels)].into_iter().flatten()
    }
}

impl Header {
    fn record_len(&self) -> usize {
        self.taps.iter().flat_map(|shape| shape.columns()).sum()
    }

    fn num_bytes(&self) -> u64 {
        self.num_pictures * self.record_len() as u64 * 2
    }
}

impl FeatureStore {
    /// Opens the features of `frames`, or makes them.
    ///
    /// `None` where the policy has nothing frozen or the file would go past the budget; `note`
    /// hears about sizes before anything is written, and may be asked whether to stop.
    pub(crate) fn prepare(
        policy: &Policy,
        config: &PolicyConfig,
        frames: &Frames,
        cache: &FeatureCache,
        device: &Device,
        note: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let dataset = frames.dataset();
        let num_views = dataset.spec().num_views();
        let Some((header, probe)) = probe(policy, frames, device) else { return Ok(None) };
        let num_bytes = header.num_bytes();
        let size = format!(
            "frozen features of {} pictures: {} in half precision",
            header.num_pictures,
            megabytes(num_bytes)
        );
        let path = cache.dir.join(format!("{}.features", name(config, frames, &probe)?));
        let starts = (0..dataset.num_episodes())
            .scan(0, |next, episode| {
                let start = *next;
                *next += dataset.episode_len(episode);
                Some(start)
            })
            .collect();
        if is_complete(&path, &header) {
            note(&format!("{size}, read from {}", cache.dir.display()));
        } else if num_bytes > cache.budget_bytes {
            let budget = megabytes(cache.budget_bytes);
            note(&format!("{size}, more than the budget of {budget}: computed at every step"));
            return Ok(None);
        } else {
            note(&format!("{size}, written to {}", cache.dir.display()));
            if !make(policy, frames, &header, &path, device, note)? {
                return Ok(None);
            }
        }
        let file = File::open(&path).map_err(TrainError::file("open", &path))?;
        Ok(Some(Self { file, path, header, num_views, starts }))
    }

    /// Features of the pictures of `steps`, `(episode, step)` each, all views of one after another.
    pub(crate) fn read(
        &self,
        steps: &[(usize, usize)],
        device: &Device,
    ) -> Result<Vec<Features>, TrainError> {
        let (record, views) = (self.header.record_len(), self.num_views);
        let num_pictures = steps.len() * views;
        let columns = self.header.taps.iter().flat_map(|shape| shape.columns());
        let mut columns: Vec<Vec<f32>> = columns.map(|len| vec![0.0; num_pictures * len]).collect();
        // The parts of each picture's record, which lie in as many tensors.
        let mut rows: Vec<Vec<&mut [f32]>> = (0..num_pictures).map(|_| Vec::new()).collect();
        for column in &mut columns {
            let len = column.len() / num_pictures.max(1);
            for (row, part) in rows.iter_mut().zip(column.chunks_mut(len.max(1))) {
                row.push(part);
            }
        }
        let read = |bytes: &mut Vec<u8>, (i, row): (usize, Vec<&mut [f32]>)| -> io::Result<()> {
            let (episode, step) = steps[i / views];
            let at = (self.starts[episode] + step) * views + i % views;
            bytes.resize(record * 2, 0);
            self.file.read_exact_at(bytes, (at * record * 2) as u64)?;
            let mut rest = &bytes[..];
            for part in row {
                let (halves, after) = rest.split_at(part.len() * 2);
                to_single(halves, part);
                rest = after;
            }
            Ok(())
        };
        rows.into_par_iter()
            .enumerate()
            .try_for_each_init(Vec::new, read)
            .map_err(TrainError::file("read", &self.path))?;
        let mut columns = columns.into_iter();
        let mut column = || columns.next().expect("a column for each map and each class token");
        let tap = |shape: &Shape| {
            let dims = [num_pictures, shape.height, shape.width, shape.channels];
            let map = Tensor::<4>::from_data(TensorData::new(column(), dims), device);
            let map = map.permute([0, 3, 1, 2]);
            let dims = [num_pictures, shape.channels];
            let mut cls = || Tensor::from_data(TensorData::new(column(), dims), device);
            Features { map, cls: shape.cls.then(&mut cls) }
        };
        Ok(self.header.taps.iter().map(tap).collect())
    }

    /// Bytes of one picture's features as tensors.
    pub(crate) fn picture_bytes(&self) -> usize {
        self.header.record_len() * size_of::<f32>()
    }
}

/// Numbers in half precision, as bytes, in single precision.
fn to_single(bytes: &[u8], values: &mut [f32]) {
    let mut halves = [f16::ZERO; 512];
    for (values, bytes) in values.chunks_mut(halves.len()).zip(bytes.chunks(2 * halves.len())) {
        let (pairs, _) = bytes.as_chunks::<2>();
        for (half, &pair) in halves.iter_mut().zip(pairs) {
            *half = f16::from_le_bytes(pair);
        }
        halves[..values.len()].convert_to_f32_slice(values);
    }
}

/// The header that the file will have, and the features of a fixed picture.
fn probe(policy: &Policy, frames: &Frames, device: &Device) -> Option<(Header, Vec<f32>)> {
    let dataset = frames.dataset();
    let view = dataset.spec().views.first()?;
    let (height, width) = (view.height, view.width);
    // Every value of a byte at unlike places, so that no weight is blind to it.
    let picture: Vec<f32> =
        (0..3 * height * width).map(|i| ((i * 7919 + i / 251) % 256) as f32).collect();
    let picture = Tensor::<4>::from_data(TensorData::new(picture, [1, 3, height, width]), device);
    let features = policy.frozen_features(&picture.into())?;
    let num_pictures = (dataset.num_steps() * dataset.spec().num_views()) as u64;
    let header = Header { num_pictures, taps: features.iter().map(Shape::of).collect() };
    Some((header, records(features, 1)))
}

/// The records of `num_pictures` pictures, one after another.
fn records(features: Vec<Features>, num_pictures: usize) -> Vec<f32> {
    let columns: Vec<Vec<f32>> = features
        .into_iter()
        .flat_map(|Features { map, cls }| {
            // Channels last, as the networks here read them.
            [Some(map.permute([0, 2, 3, 1]).into_data()), cls.map(Tensor::into_data)]
        })
        .flatten()
        .map(|data| data.iter::<f32>().collect())
        .collect();
    let mut records = Vec::with_capacity(columns.iter().map(Vec::len).sum());
    for picture in 0..num_pictures {
        for column in &columns {
            let len = column.len() / num_pictures;
            records.extend_from_slice(&column[picture * len..(picture + 1) * len]);
        }
    }
    records
}

/// The file's name: a hash of all that decides what it holds.
fn name(config: &PolicyConfig, frames: &Frames, probe: &[f32]) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    hash.update(b"engraft features 2");
    hash.update(frames.dataset().fingerprint()?);
    hash.update(serde_json::to_vec(&config.backbone()).expect("a config is plain data"));
    for value in probe {
        hash.update(value.to_le_bytes());
    }
    Ok(hex(&hash.finalize()[..12]))
}

fn header_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn is_complete(path: &Path, header: &Header) -> bool {
    let found = std::fs::read(header_path(path)).ok();
    let found = found.and_then(|bytes| serde_json::from_slice::<Header>(&bytes).ok());
    let len = std::fs::metadata(path).map(|file| file.len());
    found.as_ref() == Some(header) && len.is_ok_and(|len| len == header.num_bytes())
}

/// Writes the file; `false` where `note` asked to stop.
fn make(
    policy: &Policy,
    frames: &Frames,
    header: &Header,
    path: &Path,
    device: &Device,
    note: &mut dyn FnMut(&str) -> bool,
) -> Result<bool, TrainError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(TrainError::file("make the folder", dir))?;
    let partial = tempfile::Builder::new()
        .prefix(".features-")
        .tempfile_in(dir)
        .map_err(TrainError::file("write in", dir))?;
    let dataset = frames.dataset();
    let views = dataset.spec().num_views();
    let steps: Vec<(usize, usize)> = (0..dataset.num_episodes())
        .flat_map(|episode| (0..dataset.episode_len(episode)).map(move |step| (episode, step)))
        .collect();
    let mut writer = BufWriter::new(partial);
    let mut told = std::time::Instant::now();
    for (done, batch) in steps.chunks((PICTURES_AT_ONCE / views.max(1)).max(1)).enumerate() {
        let observations = batch
            .par_iter()
            .map(|&(episode, step)| frames.episode(episode)?.observation(step))
            .collect::<Result<Vec<_>, _>>()?;
        let features = policy
            .frozen_features(&images(observations.iter().flat_map(|frame| &frame.views), device))
            .unwrap_or_default();
        let values: Vec<f16> =
            records(features, batch.len() * views).into_par_iter().map(f16::from_f32).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write_all(&bytes).map_err(TrainError::file("write", path))?;
        if told.elapsed().as_secs() >= 5 {
            told = std::time::Instant::now();
            let share = 100.0 * ((done + 1) * batch.len()) as f64 / steps.len() as f64;
            if !note(&format!("frozen features: {share:.0} %")) {
                return Ok(false);
            }
        }
    }
    let partial =
        writer.into_inner().map_err(|error| TrainError::file("write", path)(error.into_error()))?;
    partial.as_file().sync_all().map_err(TrainError::file("write", path))?;
    partial.persist(path).map_err(|error| TrainError::file("write", path)(error.error))?;
    let text = serde_json::to_vec(header).expect("a header is plain data");
    let beside = header_path(path);
    std::fs::write(&beside, text).map_err(TrainError::file("write", &beside))?;
    Ok(true)
}

/// Pictures of views.
///
/// # Panics
///
/// When they differ in size.
pub(crate) fn images<'a>(views: impl Iterator<Item = &'a View>, device: &Device) -> Images {
    let views: Vec<_> = views.collect();
    let size = views.first().map_or([0, 0], |view| [view.rgb.height(), view.rgb.width()]);
    Images::new(views.iter().map(|view| &view.rgb), size, device)
}

pub(crate) fn megabytes(num_bytes: u64) -> String {
    format!("{:.1} MB", num_bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engraft_policies::Precision;

    use super::*;
    use crate::Recipe;
    use crate::testing::{self, Toy, frozen_recipe, policy};

    #[test]
    fn what_is_read_back_is_what_the_network_says_in_half_precision() {
        let device = Device::flex();
        let recipe = frozen_recipe();
        let toy = Arc::new(Toy::new(&[3, 5]));
        let policy = policy(&recipe, &*toy, &device);
        let frames = Frames::new(toy, u64::MAX);
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache { dir: folder.path().into(), budget_bytes: 1 << 30 };
        let mut notes = Vec::new();
        let prepare = |notes: &mut Vec<String>, cache: &FeatureCache| {
            let mut note = |text: &str| {
                notes.push(text.to_owned());
                true
            };
            FeatureStore::prepare(&policy, &recipe.policy, &frames, cache, &device, &mut note)
                .unwrap()
        };
        let store = prepare(&mut notes, &cache).unwrap();
        let steps = [(1, 4), (0, 2), (1, 0)];
        let read = store.read(&steps, &device).unwrap();
        let observations: Vec<_> = steps
            .iter()
            .map(|&(episode, step)| frames.episode(episode).unwrap().observation(step).unwrap())
            .collect();
        let fresh = policy
            .frozen_features(&images(observations.iter().flat_map(|frame| &frame.views), &device))
            .unwrap();
        assert_eq!(read.len(), fresh.len());
        for (read, fresh) in read.iter().zip(&fresh) {
            let (read, fresh) = (read.map.to_data(), fresh.map.to_data());
            let scale = fresh.iter::<f32>().fold(0.0_f32, |max, value| max.max(value.abs()));
            for (read, fresh) in read.iter::<f32>().zip(fresh.iter::<f32>()) {
                assert!((read - fresh).abs() <= scale * 1e-3, "{read} {fresh}");
            }
        }
        drop(store);

        prepare(&mut notes, &cache).unwrap();
        assert!(notes.last().unwrap().contains("read from"), "{notes:?}");
        // In another precision they are other features.
        let int8 = recipe.policy.clone().with_precision(Precision::Int8).unwrap();
        let recipe = Recipe { policy: int8, ..frozen_recipe() };
        let policy = testing::policy(&recipe, frames.dataset(), &device);
        let note = &mut |text: &str| text.contains("written to");
        let store =
            FeatureStore::prepare(&policy, &recipe.policy, &frames, &cache, &device, note).unwrap();
        assert!(store.is_some());
        let files = || std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        assert_eq!(files().filter(|file| file.extension() == Some("json".as_ref())).count(), 2);
        let small = FeatureCache { budget_bytes: 10, dir: folder.path().join("other") };
        assert!(prepare(&mut notes, &small).is_none());
        assert!(notes.last().unwrap().contains("more than the budget"), "{notes:?}");
        assert!(!small.dir.exists());
    }
}
