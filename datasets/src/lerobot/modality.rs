//! `meta/modality.json`: how GR00T cuts LeRobot's vectors into parts and names its cameras.

use std::path::Path;

use engraft_core::Dimension;
use serde::Deserialize;

use super::features::{ACTION, IMAGES, STATE};
use super::json::Ordered;
use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::files::read_text;
use crate::mapping::{ColumnRef, ViewRef};

/// Where it lies.
const MODALITY_PATH: &str = "meta/modality.json";

/// What the file says, as far as we use it.
#[derive(Debug, Clone)]
pub(super) struct Modality {
    pub(super) proprio: Vec<ColumnRef>,
    pub(super) action: Vec<ColumnRef>,
    pub(super) view: Vec<ViewRef>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default = "none")]
    state: Ordered<Slice>,
    #[serde(default = "none")]
    action: Ordered<Slice>,
    #[serde(default = "none")]
    video: Ordered<Video>,
}

/// Part of a vector.
#[derive(Deserialize)]
struct Slice {
    start: usize,
    end: usize,
    original_key: Option<String>,
}

#[derive(Deserialize)]
struct Video {
    original_key: Option<String>,
}

fn none<V>() -> Ordered<V> {
    Ordered(Vec::new())
}

impl Modality {
    /// Reads the file where there is one, and names the numbers of `columns` that have no names.
    pub(super) fn read(root: &Path, columns: &mut [Column]) -> Result<Option<Self>, DatasetError> {
        let path = root.join(MODALITY_PATH);
        if !path.is_file() {
            return Ok(None);
        }
        let file: File =
            serde_json::from_str(&read_text(&path)?).map_err(DatasetError::json(&path))?;
        let proprio = parts(&file.state, STATE, columns, &path)?;
        let action = parts(&file.action, ACTION, columns, &path)?;
        let video = |(name, video): &(String, Video)| {
            let key = video.original_key.clone().unwrap_or_else(|| format!("{IMAGES}{name}"));
            find(columns, &key, name, &path)?;
            Ok(ViewRef::new(&**name, key))
        };
        let view = file.video.0.iter().map(video).collect::<Result<_, DatasetError>>()?;
        Ok(Some(Self { proprio, action, view }))
    }
}

fn find(columns: &[Column], key: &str, part: &str, path: &Path) -> Result<usize, DatasetError> {
    columns.iter().position(|column| column.name == key).ok_or_else(|| {
        let expected = "a feature of `meta/info.json`";
        DatasetError::content(part, expected, format!("original_key {key}"), path)
    })
}

/// The parts of a vector, in the order of the file.
fn parts(
    slices: &Ordered<Slice>,
    default: &str,
    columns: &mut [Column],
    path: &Path,
) -> Result<Vec<ColumnRef>, DatasetError> {
    let mut refs = Vec::new();
    let mut names: Vec<(usize, Vec<(usize, String)>)> = Vec::new();
    for (name, slice) in &slices.0 {
        let key = slice.original_key.as_deref().unwrap_or(default);
        let at = find(columns, key, name, path)?;
        let width = columns[at].width();
        if columns[at].kind != Kind::Numbers || slice.start >= slice.end || slice.end > width {
            let expected = format!("a part of the {width} numbers of {key}");
            let found = format!("{} to {}", slice.start, slice.end);
            return Err(DatasetError::content(name, expected, found, path));
        }
        let len = slice.end - slice.start;
        let one = |i: usize| if len == 1 { name.clone() } else { format!("{name}_{i}") };
        let named = (0..len).map(|i| (slice.start + i, one(i)));
        match names.iter_mut().find(|(column, _)| *column == at) {
            Some((_, all)) => all.extend(named),
            None => names.push((at, named.collect())),
        }
        refs.push(ColumnRef { column: key.into(), range: Some((slice.start, slice.end)) });
    }
    for (at, named) in names {
        let column = &mut columns[at];
        if !column.dimensions.is_empty() {
            continue;
        }
        column.dimensions = column.named_dimensions();
        for (i, name) in named {
            column.dimensions[i] = Dimension::new(name, "");
        }
    }
    Ok(whole(refs, columns))
}

/// The same as one reference, where the parts are a whole column in its own order.
fn whole(refs: Vec<ColumnRef>, columns: &[Column]) -> Vec<ColumnRef> {
    let Some(first) = refs.first() else { return refs };
    let mut next = 0;
    for part in &refs {
        match part.range {
            Some((from, to)) if part.column == first.column && from == next => next = to,
            _ => return refs,
        }
    }
    let column = columns.iter().find(|column| column.name == first.column);
    if column.is_some_and(|column| column.width() == next) {
        return vec![ColumnRef::whole(&*first.column)];
    }
    refs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Modality, Vec<Column>), DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("meta")).unwrap();
        std::fs::write(folder.path().join(MODALITY_PATH), json).unwrap();
        let picture = Kind::Rgb { width: 4, height: 4 };
        let mut columns = vec![
            Column::new(STATE, "float32", [4], Kind::Numbers),
            Column::new(ACTION, "float32", [3], Kind::Numbers),
            Column::new("observation.images.ego_view", "video", [4, 4, 3], picture),
        ];
        let modality = Modality::read(folder.path(), &mut columns)?;
        Ok((modality.unwrap(), columns))
    }

    #[test]
    fn parts_name_the_numbers_and_cameras_get_their_short_names() {
        let (modality, columns) = read(
            r#"{"state": {"arm": {"start": 0, "end": 3}, "gripper": {"start": 3, "end": 4}},
                "action": {"gripper": {"start": 2, "end": 3}, "arm": {"start": 0, "end": 2}},
                "video": {"ego": {"original_key": "observation.images.ego_view"}},
                "annotation": {"human.task_description": {}}}"#,
        )
        .unwrap();
        assert_eq!(modality.proprio, [ColumnRef::whole(STATE)]);
        let action: Vec<String> = modality.action.iter().map(ToString::to_string).collect();
        assert_eq!(action, ["action[2]", "action[0:2]"]);
        let names: Vec<&str> = columns[0].dimensions.iter().map(|d| &*d.name).collect();
        assert_eq!(names, ["arm_0", "arm_1", "arm_2", "gripper"]);
        assert_eq!(modality.view, [ViewRef::new("ego", "observation.images.ego_view")]);
    }

    #[test]
    fn a_part_past_the_end_or_of_nothing_is_an_error() {
        for (json, expected) in [
            (
                r#"{"state": {"arm": {"start": 0, "end": 9}}}"#,
                "`arm`: expected a part of the 4 numbers of observation.state, found 0 to 9",
            ),
            (
                r#"{"video": {"ego": {}}}"#,
                "`ego`: expected a feature of `meta/info.json`, found original_key \
                 observation.images.ego",
            ),
        ] {
            let error = read(json).map(drop).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
