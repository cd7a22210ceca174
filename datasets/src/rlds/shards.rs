//! The files of a dataset, which split each belongs to, and where its episodes lie.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::columns::count_steps;
use super::example::{Feature, InFile, features};
use super::features::AnnouncedSplit;
use super::tfrecord::{self, Place};
use crate::DatasetError;
use crate::column::Column;

/// What the name of a file of records has in it.
const MARK: &str = ".tfrecord";

/// Longer instructions are damage.
const MAX_TASK: u64 = 1 << 16;

/// Where it is said what was asked of the demonstrator; the first that says something counts.
const TASKS: [&str; 6] = [
    "steps/language_instruction",
    "steps/language_instruction_2",
    "steps/language_instruction_3",
    "steps/observation/natural_language_instruction",
    "language_instruction",
    "episode_metadata/language_instruction",
];

/// A file of records.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) split: String,
    /// How many there are in its split, if its name says so.
    pub(super) of: Option<usize>,
    pub(super) num_bytes: u64,
    pub(super) places: Vec<Place>,
}

/// One episode, as opening it tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// Its place in the file.
    pub(super) index: usize,
    pub(super) place: Place,
    pub(super) num_steps: usize,
    pub(super) task: String,
}

/// Whether `name` is that of a file of records.
pub(super) fn is_shard(name: &str) -> bool {
    name.contains(MARK) && Path::new(name).extension().is_none_or(|ending| ending != "json")
}

/// The file names in a folder, sorted; none where it cannot be read.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The files of records in `folder`, by split and number, with the places of their records.
///
/// Splits stand in the order in which they are announced, others after them by name; `train`
/// comes first where nothing is announced.
pub(super) fn find(
    folder: &Path,
    announced: &[AnnouncedSplit],
) -> Result<Vec<Shard>, DatasetError> {
    let mut shards: Vec<Shard> = names(folder)
        .iter()
        .filter(|name| is_shard(name))
        .map(|name| {
            let (stem, rest) = name.split_once(MARK).unwrap_or((name, ""));
            let split = stem.rsplit_once('-').map_or("train", |(_, split)| split);
            let of = rest.rsplit_once("-of-").and_then(|(_, of)| of.parse().ok());
            let path = folder.join(name);
            Shard { path, split: split.to_owned(), of, num_bytes: 0, places: Vec::new() }
        })
        .collect();
    let rank = |split: &str| {
        let rank = announced.iter().position(|found| found.name == split);
        (rank.unwrap_or(announced.len()), split != "train", split.to_owned())
    };
    shards.sort_by_key(|shard| rank(&shard.split)); // stable: names of shards are in order
    let found: Vec<Result<Shard, DatasetError>> = shards
        .into_par_iter()
        .map(|mut shard| {
            let file = File::open(&shard.path).map_err(DatasetError::read(&shard.path))?;
            let metadata = file.metadata().map_err(DatasetError::read(&shard.path))?;
            shard.num_bytes = metadata.len();
            shard.places = tfrecord::places(&file, &shard.path)?;
            Ok(shard)
        })
        .collect();
    found.into_iter().collect() // the first that is wrong, whichever was read first
}

/// What each shard's records hold, without their pictures.
pub(super) fn scan(shards: &[Shard], columns: &[Column]) -> Result<Vec<Vec<Record>>, DatasetError> {
    let scan = |shard: &Shard| {
        let file = File::open(&shard.path).map_err(DatasetError::read(&shard.path))?;
        let records = shard.places.iter().enumerate().map(|(index, &place)| {
            record(&file, index, place, columns).map_err(|error| failed(shard, index, &error))
        });
        records.collect::<Result<Vec<Record>, DatasetError>>()
    };
    let found: Vec<Result<Vec<Record>, DatasetError>> = shards.par_iter().map(scan).collect();
    found.into_iter().collect()
}

/// An error in record `index` of a shard.
pub(super) fn failed(shard: &Shard, index: usize, error: &str) -> DatasetError {
    DatasetError::file("TFRecord", &shard.path)(format!("record {index}: {error}"))
}

fn record(file: &File, index: usize, place: Place, columns: &[Column]) -> Result<Record, String> {
    let mut bytes = InFile::new(file, place.at, place.len);
    let all = features(&mut bytes, place.len)?;
    let num_steps = count_steps(&all, columns, &mut bytes)?;
    let task = task(&all, &mut bytes)?;
    Ok(Record { index, place, num_steps, task })
}

fn task(all: &[Feature], bytes: &mut InFile<'_>) -> Result<String, String> {
    for name in TASKS {
        let Some(feature) = all.iter().rfind(|feature| feature.name == name) else { continue };
        if let Some(text) = feature.first(bytes, MAX_TASK)?.filter(|text| !text.is_empty()) {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(String::new())
}
