//! RLDS, as Open X-Embodiment and `BridgeData` V2 have it: episodes as TFDS writes them.
//!
//! Source: `tensorflow_datasets`, whose records are `tf.train.Example`, one for each episode.
//! Differs in: `features.json` may be missing, its totals are never believed, and every split is
//! read unless `mask` names one.

mod columns;
mod depth;
mod example;
mod features;
#[cfg(test)]
mod golden;
mod shards;
#[cfg(test)]
mod tests;
mod tfrecord;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::mapping::{self, ColumnRef, Mapping, ViewRef};
use crate::source::{About, Encoded, EpisodeEntry, Frames, Source, Track};
use depth::FloatDepth;
use example::{Feature, ListKind};
use features::AnnouncedSplit;
use shards::{Record, Shard};

/// What a robot senses of itself, where no `state` has it all.
const PROPRIO: [&str; 7] = [
    "joint_position",
    "joint_positions",
    "joint_pos",
    "base_pose_tool_reached",
    "gripper_position",
    "gripper_closed",
    "cartesian_position",
];

/// The usual order of an action that is in parts; others stand after these, by name.
const ACTION: [&str; 4] =
    ["world_vector", "rotation_delta", "open_gripper", "gripper_closedness_action"];

/// Whether `dir` holds an RLDS dataset, or one version of one.
pub(crate) fn is_rlds(dir: &Path) -> bool {
    dir.is_dir() && !roots(dir).is_empty()
}

/// The folders at `dir` and one below that hold records; `dir` alone if it does.
fn roots(dir: &Path) -> Vec<PathBuf> {
    let holds = |dir: &Path| {
        let kept = |name: &String| shards::is_shard(name) || name.contains(".array_record");
        shards::names(dir).iter().any(kept)
    };
    if holds(dir) {
        return vec![dir.to_owned()];
    }
    let below = shards::names(dir).into_iter().map(|name| dir.join(name));
    below.filter(|path| path.is_dir() && holds(path)).collect()
}

/// A dataset of one version.
pub(crate) struct RldsSource {
    about: About,
    announced: Vec<AnnouncedSplit>,
    shards: Vec<Shard>,
    /// The shard of each episode.
    records: Vec<(usize, Record)>,
    episodes: Vec<EpisodeEntry>,
}

impl RldsSource {
    /// Opens the dataset in folder `dir`, or its split `mask`; reads no pictures.
    ///
    /// # Errors
    ///
    /// When there is no such split, and when records are damaged as far as they are looked at.
    pub(crate) fn open(dir: &Path, mask: Option<&str>) -> Result<Self, DatasetError> {
        let roots = roots(dir);
        let [root] = &roots[..] else {
            let names = roots.iter().filter_map(|root| root.file_name()?.to_str());
            let found = names.collect::<Vec<_>>().join(", ");
            return Err(DatasetError::content("version", "one (open its folder)", found, dir));
        };
        let announced = features::splits(root)?;
        let mut shards = shards::find(root, &announced)?;
        if shards.is_empty() {
            let expected = "TFRecord files (prepare the dataset with file_format='tfrecord')";
            return Err(DatasetError::content("records", expected, "ArrayRecord", root));
        }
        if let Some(mask) = mask {
            let names: BTreeSet<String> = shards.iter().map(|shard| shard.split.clone()).collect();
            shards.retain(|shard| shard.split == mask);
            if shards.is_empty() {
                let names: Vec<String> = names.into_iter().collect();
                let expected = format!("one of the splits {}", names.join(", "));
                return Err(DatasetError::content("mask", expected, mask, root));
            }
        }
        let columns = columns::columns(&shards, &features::leaves(root)?)?;
        let mut records = Vec::new();
        for (at, found) in shards::scan(&shards, &columns)?.into_iter().enumerate() {
            records.extend(found.into_iter().map(|record| (at, record)));
        }
        let entry = |(shard, record): &(usize, Record)| EpisodeEntry {
            name: format!("record {}", record.index),
            path: shards[*shard].path.clone(),
            num_steps: record.num_steps,
            task: record.task.clone(),
        };
        let episodes: Vec<EpisodeEntry> = records.iter().map(entry).collect();
        let tasks: BTreeSet<&str> = episodes.iter().map(|entry| &*entry.task).collect();
        let tasks = tasks.into_iter().filter(|task| !task.is_empty()).map(str::to_owned).collect();
        let about = About {
            format: "RLDS".into(),
            path: root.clone(),
            robot: None,
            fps: None,
            columns,
            tasks,
        };
        Ok(Self { about, announced, shards, records, episodes })
    }

    /// Reads one column of an episode out of its record.
    fn track(
        column: &Column,
        num_steps: usize,
        all: &[Feature],
        record: &[u8],
    ) -> Result<Track, String> {
        let name = &column.name;
        let feature = all.iter().rfind(|feature| feature.name == *name);
        let feature = feature.ok_or_else(|| format!("{name}: expected a list, found none"))?;
        if let Kind::Rgb { width, height } | Kind::Depth { width, height } = column.kind {
            if feature.kind != Some(ListKind::Bytes) {
                return Err(format!("{name}: expected pictures, found {:?}", feature.kind));
            }
            let elements = feature.elements(&mut &record[..], num_steps.saturating_add(1))?;
            let bytes = elements.iter().map(|span| &record[span.start as usize..span.end as usize]);
            let bytes: Vec<Vec<u8>> = bytes.map(<[u8]>::to_vec).collect();
            let frames: Box<dyn Frames> = if column.dtype == "float32" {
                Box::new(FloatDepth::new(bytes, width, height))
            } else {
                Box::new(Encoded::new(bytes, width, height))
            };
            return Ok(Track::Pictures(frames));
        }
        let numbers = feature.numbers(record)?;
        let width = column.width();
        if numbers.len() != num_steps.saturating_mul(width) {
            let found = numbers.len();
            return Err(format!("{name}: expected {num_steps} x {width} numbers, found {found}"));
        }
        Ok(Track::Numbers(numbers))
    }
}

impl Source for RldsSource {
    fn about(&self) -> &About {
        &self.about
    }

    fn episodes(&self) -> &[EpisodeEntry] {
        &self.episodes
    }

    fn guess(&self) -> Mapping {
        let columns = &self.about.columns;
        let numbers = || columns.iter().filter(|column| column.kind == Kind::Numbers);
        let named = |name: &str| numbers().find(|column| column.name == name);
        let refs = |columns: Vec<&Column>| -> Vec<ColumnRef> {
            columns.iter().map(|column| ColumnRef::whole(&*column.name)).collect()
        };
        let action = ["steps/action", "steps/actions"].into_iter().find_map(named);
        let action = action.map_or_else(
            || {
                let parts = numbers().filter(|column| column.name.starts_with("steps/action/"));
                let parts = parts.filter(|column| column.short_name() != "terminate_episode");
                let mut parts: Vec<&Column> = parts.collect();
                let rank =
                    |column: &&Column| ACTION.iter().position(|name| column.short_name() == *name);
                parts.sort_by_key(|column| rank(column).unwrap_or(ACTION.len()));
                parts
            },
            |whole| vec![whole],
        );
        let observed = |name: &str| named(&format!("steps/observation/{name}"));
        let state = ["state", "robot_state", "proprio"].into_iter().find_map(observed);
        let proprio = state.map_or_else(
            || PROPRIO.into_iter().filter_map(observed).collect(),
            |whole| vec![whole],
        );
        let views = |depth| {
            let name =
                |column: &Column| ViewRef::new(view_name(column.short_name()), &*column.name);
            mapping::pictures(columns, depth).map(name)
        };
        let view: Vec<ViewRef> = views(false).collect();
        Mapping {
            depth: mapping::depth_of(&view, views(true)),
            proprio: refs(proprio),
            action: refs(action),
            view,
            ..Mapping::default()
        }
    }

    fn load(&self, episode: usize, wanted: &[usize]) -> Result<Vec<Track>, DatasetError> {
        let (shard, record) = &self.records[episode];
        let shard = &self.shards[*shard];
        let file = File::open(&shard.path).map_err(DatasetError::read(&shard.path))?;
        let read = || -> Result<Vec<Track>, String> {
            let bytes = tfrecord::read(&file, record.place)?;
            let all = example::features(&mut &bytes[..], bytes.len() as u64)?;
            let columns = wanted.iter().map(|&at| &self.about.columns[at]);
            columns.map(|column| Self::track(column, record.num_steps, &all, &bytes)).collect()
        };
        read().map_err(|error| shards::failed(shard, record.index, &error))
    }

    fn fingerprint(&self, hash: &mut Sha256) -> Result<(), DatasetError> {
        for shard in &self.shards {
            let file = File::open(&shard.path).map_err(DatasetError::read(&shard.path))?;
            hash.update(shard.path.file_name().unwrap_or_default().as_encoded_bytes());
            for place in &shard.places {
                let mut crc = [0; 4];
                let read = file.read_exact_at(&mut crc, place.at + place.len);
                read.map_err(DatasetError::read(&shard.path))?;
                hash.update(place.len.to_le_bytes());
                hash.update(crc);
            }
        }
        Ok(())
    }

    fn num_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.num_bytes).sum()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let splits: BTreeSet<&str> = self.shards.iter().map(|shard| &*shard.split).collect();
        for split in splits {
            let shards = || self.shards.iter().filter(|shard| shard.split == split);
            let (found, of) = (shards().count(), shards().filter_map(|shard| shard.of).max());
            if let Some(of) = of.filter(|&of| of != found) {
                warnings.push(format!("split {split} has {found} of {of} files"));
            }
            let records: u64 = shards().map(|shard| shard.places.len() as u64).sum();
            let announced = self.announced.iter().find(|announced| announced.name == split);
            let announced = announced.and_then(|announced| announced.num_records);
            if let Some(announced) = announced.filter(|&announced| announced != records) {
                let line = format!("split {split} announces {announced} episodes, the data has ");
                warnings.push(line + &records.to_string());
            }
        }
        warnings
    }
}

/// A camera's name: `wrist` of `wrist_image`, `exterior_1_left` of `exterior_image_1_left`; where
/// no more than a number would be left, as of `image_0`, the whole.
fn view_name(column: &str) -> String {
    let name = mapping::view_name(column).replace("_image_", "_");
    if name.chars().any(char::is_alphabetic) { name } else { column.to_owned() }
}
