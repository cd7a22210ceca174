//! What a dataset says of itself: `features.json` and `dataset_info.json`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::DatasetError;
use crate::files::read_text;

/// One value of a step, as `features.json` describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    /// Its key in a record: `steps/observation/state`.
    pub(super) key: String,
    pub(super) dtype: String,
    /// Its shape in one step; a side that varies is none.
    pub(super) shape: Vec<Option<usize>>,
    pub(super) kind: LeafKind,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeafKind {
    Numbers,
    Picture,
    Text,
    Other,
}

/// A split, as `dataset_info.json` announces it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AnnouncedSplit {
    pub(super) name: String,
    pub(super) num_records: Option<u64>,
}

/// The values of a step; empty where there is no description or an older one.
pub(super) fn leaves(folder: &Path) -> Result<Vec<Leaf>, DatasetError> {
    let mut leaves = Vec::new();
    if let Some(root) = read_json(&folder.join("features.json"))?
        && let Some(steps) = children(&root).and_then(|all| all.get("steps"))
    {
        // The steps are a sequence of dictionaries; their values are ours.
        let step = steps.pointer("/sequence/feature").unwrap_or(steps);
        collect(step, "steps", &mut leaves);
    }
    Ok(leaves)
}

/// The splits, in the order in which they are announced.
pub(super) fn splits(folder: &Path) -> Result<Vec<AnnouncedSplit>, DatasetError> {
    let info = read_json(&folder.join("dataset_info.json"))?.unwrap_or_default();
    let splits = info["splits"].as_array().into_iter().flatten();
    let split = |split: &Value| {
        let lengths = split["shardLengths"].as_array();
        let num_records = lengths.and_then(|lengths| {
            lengths.iter().try_fold(0_u64, |all, length| all.checked_add(number(length)?))
        });
        Some(AnnouncedSplit { name: split["name"].as_str()?.to_owned(), num_records })
    };
    Ok(splits.filter_map(split).collect())
}

fn read_json(path: &Path) -> Result<Option<Value>, DatasetError> {
    if !path.is_file() {
        return Ok(None);
    }
    serde_json::from_str(&read_text(path)?).map(Some).map_err(DatasetError::json(path))
}

/// The entries of a dictionary of features.
fn children(node: &Value) -> Option<&Map<String, Value>> {
    node.pointer("/featuresDict/features")?.as_object()
}

/// Adds what lies below `key`. JSON itself cannot nest deeper than `serde_json` allows.
fn collect(node: &Value, key: &str, leaves: &mut Vec<Leaf>) {
    if let Some(all) = children(node) {
        for (name, child) in all {
            collect(child, &format!("{key}/{name}"), leaves);
        }
        return;
    }
    let described = [("tensor", LeafKind::Numbers), ("image", LeafKind::Picture)];
    let found = described.into_iter().find_map(|(name, kind)| Some((node.get(name)?, kind)));
    let (dtype, shape, kind) = match found {
        Some((inner, kind)) => {
            let dtype = inner["dtype"].as_str().unwrap_or("uint8");
            let packed = inner["encoding"].as_str().is_some_and(|encoding| encoding != "none");
            let kind = match (kind, dtype) {
                (LeafKind::Numbers, "string") => LeafKind::Text,
                (LeafKind::Numbers, _) if packed => LeafKind::Other,
                (kind, _) => kind,
            };
            (dtype, shape(inner), kind)
        }
        None if node.get("text").is_some() => ("string", Vec::new(), LeafKind::Text),
        None if node.get("classLabel").is_some() => ("int64", Vec::new(), LeafKind::Numbers),
        None => ("unknown", Vec::new(), LeafKind::Other),
    };
    leaves.push(Leaf { key: key.to_owned(), dtype: dtype.to_owned(), shape, kind });
}

/// `{"dimensions": ["7"]}`, and `{}` for a single number.
fn shape(inner: &Value) -> Vec<Option<usize>> {
    let sides = inner.pointer("/shape/dimensions").and_then(Value::as_array);
    let side = |side: &Value| usize::try_from(number(side)?).ok().filter(|&side| side > 0);
    sides.into_iter().flatten().map(side).collect()
}

/// A number that may be written as text, as protocol buffers do.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_flattened_to_the_keys_of_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"featuresDict": {"features": {
            "episode_metadata": {"featuresDict": {"features": {"id": {"text": {}}}}},
            "steps": {"sequence": {"feature": {"featuresDict": {"features": {
                "action": {"tensor": {"shape": {"dimensions": ["7"]}, "dtype": "float32",
                                      "encoding": "none"}},
                "is_first": {"tensor": {"shape": {}, "dtype": "bool"}},
                "code": {"tensor": {"shape": {"dimensions": [2]}, "encoding": "zlib"}},
                "words": {"text": {}},
                "observation": {"featuresDict": {"features": {"image": {"image": {
                    "shape": {"dimensions": ["-1", "4", 3]}, "dtype": "uint8"}}}}}
            }}}}}
        }}}"#;
        std::fs::write(folder.path().join("features.json"), text).unwrap();
        let leaves = leaves(folder.path()).unwrap();
        let found: Vec<_> = leaves.iter().map(|leaf| (&*leaf.key, leaf.kind)).collect();
        let expected = [
            ("steps/action", LeafKind::Numbers),
            ("steps/code", LeafKind::Other),
            ("steps/is_first", LeafKind::Numbers),
            ("steps/observation/image", LeafKind::Picture),
            ("steps/words", LeafKind::Text),
        ];
        assert_eq!(found, expected);
        assert_eq!(leaves[0].shape, [Some(7)]);
        assert_eq!(leaves[3].shape, [None, Some(4), Some(3)]);
    }

    #[test]
    fn splits_keep_their_order_and_count() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(splits(folder.path()).unwrap(), []);
        let text = r#"{"splits": [{"name": "val", "shardLengths": ["2", 3]}, {"name": "train"}]}"#;
        std::fs::write(folder.path().join("dataset_info.json"), text).unwrap();
        let split = |name: &str, num_records| AnnouncedSplit { name: name.into(), num_records };
        assert_eq!(splits(folder.path()).unwrap(), [split("val", Some(5)), split("train", None)]);
    }
}
