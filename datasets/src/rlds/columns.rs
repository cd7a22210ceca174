//! The columns of a dataset: as it describes them, or as its first record shows them.

use std::fs::File;
use std::io::Cursor;

use image::ImageReader;

use super::example::{Bytes, Feature, ListKind, features};
use super::features::{Leaf, LeafKind};
use super::shards::{Shard, failed};
use super::tfrecord;
use crate::DatasetError;
use crate::column::{Column, Kind};

/// Values of a step of which there is one, so that they tell how many steps there are.
const SINGLE: [&str; 5] =
    ["steps/is_first", "steps/is_last", "steps/is_terminal", "steps/reward", "steps/discount"];

/// Larger pictures are damage.
const MAX_SIDE: usize = 1 << 14;

/// The columns that `leaves` describe; where they leave something open, and where there are
/// none, the first record of `shards` tells.
pub(super) fn columns(shards: &[Shard], leaves: &[Leaf]) -> Result<Vec<Column>, DatasetError> {
    let open = |leaf: &Leaf| leaf.kind == LeafKind::Picture && leaf.shape.contains(&None);
    let mut first = None;
    if leaves.is_empty() || leaves.iter().any(open) {
        first = first_record(shards)?;
    }
    if !leaves.is_empty() {
        return Ok(leaves.iter().map(|leaf| described(leaf, first.as_ref())).collect());
    }
    let Some(First { record, all, shard }) = first else { return Ok(Vec::new()) };
    let count = count_steps(&all, &[], &mut &record[..]).map_err(|e| failed(shard, 0, &e))?;
    let steps = all.iter().filter(|feature| feature.name.starts_with("steps/"));
    let found = steps.map(|feature| shown(feature, &record, count));
    let mut columns: Vec<Column> =
        found.collect::<Result<_, String>>().map_err(|error| failed(shard, 0, &error))?;
    columns.sort_by(|a, b| a.name.cmp(&b.name)); // a map has no order of its own
    Ok(columns)
}

/// The first record that there is.
struct First<'a> {
    record: Vec<u8>,
    all: Vec<Feature>,
    shard: &'a Shard,
}

fn first_record(shards: &[Shard]) -> Result<Option<First<'_>>, DatasetError> {
    let Some(shard) = shards.iter().find(|shard| !shard.places.is_empty()) else {
        return Ok(None);
    };
    let file = File::open(&shard.path).map_err(DatasetError::read(&shard.path))?;
    let read = || -> Result<First<'_>, String> {
        let record = tfrecord::read(&file, shard.places[0])?;
        let all = features(&mut &record[..], record.len() as u64)?;
        Ok(First { record, all, shard })
    };
    read().map(Some).map_err(|error| failed(shard, 0, &error))
}

fn described(leaf: &Leaf, first: Option<&First<'_>>) -> Column {
    let shape: Option<Vec<usize>> = leaf.shape.iter().copied().collect();
    let kind = match (leaf.kind, &shape) {
        (LeafKind::Numbers, Some(_)) if is_index(&leaf.key) => Kind::Index,
        (LeafKind::Numbers, Some(_)) => Kind::Numbers,
        (LeafKind::Picture, shape) => {
            let known = match shape.as_deref() {
                Some([height, width, _]) => Some((*width, *height)),
                _ => first.and_then(|first| {
                    let feature = first.all.iter().rfind(|feature| feature.name == leaf.key)?;
                    first_size(feature, &first.record)
                }),
            };
            picture(known, leaf.dtype == "uint16" || leaf.dtype == "float32")
        }
        _ => Kind::Other,
    };
    let shape = leaf.shape.iter().map(|side| side.unwrap_or(0)).collect::<Vec<usize>>();
    let shape = match kind {
        Kind::Rgb { width, height } => vec![height, width, 3],
        Kind::Depth { width, height } => vec![height, width, 1],
        _ => shape,
    };
    Column::new(&*leaf.key, &*leaf.dtype, shape, kind)
}

/// A column as a record shows it.
fn shown(feature: &Feature, record: &[u8], count: usize) -> Result<Column, String> {
    let mut bytes = record;
    let (dtype, width) = match feature.kind {
        Some(ListKind::Floats) => ("float32", feature.num_floats(&mut bytes)?),
        Some(ListKind::Integers) => ("int64", feature.num_integers(&mut bytes)?),
        Some(ListKind::Bytes) => {
            let kind = picture(first_size(feature, record), false);
            return Ok(match kind {
                Kind::Rgb { width, height } => {
                    Column::new(&*feature.name, "uint8", [height, width, 3], kind)
                }
                _ => Column::new(&*feature.name, "string", [], Kind::Other),
            });
        }
        None => return Ok(Column::new(&*feature.name, "unknown", [], Kind::Other)),
    };
    let each = width as usize / count;
    let kind = match width as usize % count {
        0 if is_index(&feature.name) => Kind::Index,
        0 => Kind::Numbers,
        _ => Kind::Other,
    };
    let shape = if each == 1 { Vec::new() } else { vec![each] };
    Ok(Column::new(&*feature.name, dtype, shape, kind))
}

fn picture(size: Option<(usize, usize)>, depth: bool) -> Kind {
    match size {
        Some((width, height)) if width.max(height) > MAX_SIDE => Kind::Other,
        Some((width, height)) if depth => Kind::Depth { width, height },
        Some((width, height)) => Kind::Rgb { width, height },
        None => Kind::Other,
    }
}

/// Width and height of the first of a list of pictures, if they are pictures.
fn first_size(feature: &Feature, record: &[u8]) -> Option<(usize, usize)> {
    let first = feature.first(&mut &record[..], record.len() as u64).ok()??;
    let reader = ImageReader::new(Cursor::new(first)).with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some((width as usize, height as usize))
}

fn is_index(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    ["is_first", "is_last", "is_terminal", "timestamp"].contains(&name)
}

/// How many steps an episode has, by whichever of its values tells it at the least cost.
pub(super) fn count_steps(
    all: &[Feature],
    columns: &[Column],
    bytes: &mut impl Bytes,
) -> Result<usize, String> {
    let find = |name: &str| all.iter().rfind(|feature| feature.name == name);
    let single = SINGLE.into_iter().filter_map(|name| Some((find(name)?, 1)));
    let known = columns.iter().filter(|column| column.kind == Kind::Numbers);
    let known = known.filter_map(|column| Some((find(&column.name)?, column.width())));
    for (feature, width) in single.chain(known) {
        let count = match feature.kind {
            Some(ListKind::Floats) => feature.num_floats(bytes)?,
            Some(ListKind::Integers) => feature.num_integers(bytes)?,
            _ => continue,
        };
        let count = usize::try_from(count).map_err(|error| error.to_string())?;
        if width == 0 || count == 0 || !count.is_multiple_of(width) {
            let name = &feature.name;
            return Err(format!("{name}: expected {width} numbers for each step, found {count}"));
        }
        return Ok(count / width);
    }
    let lists = all.iter().filter(|feature| feature.kind == Some(ListKind::Bytes));
    for feature in lists.filter(|feature| feature.name.starts_with("steps/")) {
        let count = feature.elements(bytes, usize::MAX)?.len();
        if count > 0 {
            return Ok(count);
        }
    }
    Err("expected steps, found none (a feature `steps/...`, as RLDS has them)".into())
}
