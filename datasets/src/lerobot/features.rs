//! `meta/info.json`, and the robot that its features describe.

use std::path::Path;

use engraft_core::{Dimension, RobotSpec, ViewSpec};
use serde::{Deserialize, Serialize};

use super::Version;
use super::json::{Names, Ordered};
use crate::DatasetError;
use crate::column::{Column, Kind};
use crate::files::read_text;

/// Where everything starts.
pub(super) const INFO_PATH: &str = "meta/info.json";
/// What LeRobot has no place for: units and bounds.
pub(super) const ROBOT_PATH: &str = "meta/engraft.json";
/// Proprio.
pub(super) const STATE: &str = "observation.state";
/// What the demonstrator did.
pub(super) const ACTION: &str = "action";
/// Pictures: this and the camera's name.
pub(super) const IMAGES: &str = "observation.images.";
/// The picture of a robot with one camera, in some datasets.
pub(super) const IMAGE: &str = "observation.image";
/// Depth: this and the camera's name.
pub(super) const DEPTH: &str = "observation.depth.";
/// What every dataset has beside its own features.
pub(crate) const INDICES: [(&str, &str); 5] = [
    ("timestamp", "float32"),
    ("frame_index", "int64"),
    ("episode_index", "int64"),
    ("index", "int64"),
    ("task_index", "int64"),
];

/// What our recorder keeps beside them, where it was asked to.
pub(super) const CAPTURES: [(&str, &str); 2] =
    [("capture_time", "float64"), ("dropped_frames", "int64")];

/// A column of the data, as `info.json` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Feature {
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    #[serde(default)]
    pub(super) names: Names,
    /// What else is said of it: depth maps are announced here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) info: Option<serde_json::Value>,
}

/// `meta/info.json`, as far as we read it.
#[derive(Debug, Clone)]
pub(super) struct Info {
    pub(super) version: Version,
    pub(super) robot_type: Option<String>,
    pub(super) fps: f32,
    pub(super) chunks_size: usize,
    pub(super) data_path: String,
    pub(super) video_path: String,
    pub(super) features: Ordered<Feature>,
    /// Episodes, frames, tasks: what is claimed, to be compared and never used.
    pub(super) totals: [Option<u64>; 3],
}

#[derive(Deserialize)]
struct RawInfo {
    codebase_version: Option<String>,
    robot_type: Option<String>,
    fps: f32,
    #[serde(default = "default_chunks_size")]
    chunks_size: usize,
    data_path: Option<String>,
    video_path: Option<String>,
    features: Ordered<Feature>,
    total_episodes: Option<u64>,
    total_frames: Option<u64>,
    total_tasks: Option<u64>,
}

/// `meta/engraft.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RobotFile {
    pub(super) format: u32,
    pub(super) robot: RobotSpec,
}

fn default_chunks_size() -> usize {
    1000
}

/// Where the data files of a version lie unless the dataset says otherwise.
pub(super) fn default_data_path(version: Version) -> &'static str {
    match version {
        Version::V20 | Version::V21 => {
            "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        }
        Version::V30 => "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    }
}

/// The same for videos.
fn default_video_path(version: Version) -> &'static str {
    match version {
        Version::V20 | Version::V21 => {
            "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        }
        Version::V30 => "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
}

impl Info {
    /// Reads `meta/info.json` under `root`.
    pub(super) fn read(root: &Path) -> Result<Self, DatasetError> {
        let path = root.join(INFO_PATH);
        let raw: RawInfo =
            serde_json::from_str(&read_text(&path)?).map_err(DatasetError::json(&path))?;
        let wrong = |what: &str, expected: &str, found: String| {
            Err(DatasetError::content(what, expected, found, &path))
        };
        let version = match &raw.codebase_version {
            Some(text) => Version::parse(text),
            // Before there was such a field, and since there are folders of episodes.
            None if root.join("meta/episodes").is_dir() => Some(Version::V30),
            None if root.join("meta/episodes_stats.jsonl").is_file() => Some(Version::V21),
            None => Some(Version::V20),
        };
        let Some(version) = version else {
            let found = raw.codebase_version.unwrap_or_default();
            return wrong("codebase_version", "v2.0, v2.1 or v3.0", found);
        };
        if !(raw.fps.is_finite() && raw.fps > 0.0) {
            return wrong("fps", "a number above zero", raw.fps.to_string());
        }
        if raw.chunks_size == 0 {
            return wrong("chunks_size", "a number above zero", "0".into());
        }
        Ok(Self {
            version,
            robot_type: raw.robot_type,
            fps: raw.fps,
            chunks_size: raw.chunks_size,
            data_path: raw.data_path.unwrap_or_else(|| default_data_path(version).into()),
            video_path: raw.video_path.unwrap_or_else(|| default_video_path(version).into()),
            features: raw.features,
            totals: [raw.total_episodes, raw.total_frames, raw.total_tasks],
        })
    }
}

impl Info {
    /// The features that are videos, in order.
    pub(super) fn video_keys(&self) -> impl Iterator<Item = &str> {
        let videos = self.features.0.iter().filter(|(_, feature)| feature.dtype == "video");
        videos.map(|(key, _)| &**key)
    }
}

/// The columns that the features announce, units and bounds from `meta/engraft.json` included.
pub(super) fn columns(root: &Path, info: &Info) -> Result<Described, DatasetError> {
    let path = root.join(INFO_PATH);
    let mut columns = Vec::with_capacity(info.features.0.len());
    for (key, feature) in &info.features.0 {
        let kind = kind(key, feature, &path)?;
        let mut column = Column::new(&**key, &*feature.dtype, &*feature.shape, kind);
        let names = feature.names.flatten();
        if kind == Kind::Numbers && names.len() == column.width() {
            column.dimensions = names.into_iter().map(|name| Dimension::new(name, "")).collect();
        }
        columns.push(column);
    }
    let robot_path = root.join(ROBOT_PATH);
    let mut described = Described { columns, robot: None };
    if robot_path.is_file() {
        described.take_units(info, &robot_path)?;
    }
    Ok(described)
}

/// The columns, and what our own file says of the robot, where there is one.
pub(super) struct Described {
    pub(super) columns: Vec<Column>,
    pub(super) robot: Option<RobotSpec>,
}

impl Described {
    /// Units and bounds of `meta/engraft.json`, whose robot must be the one of the features.
    fn take_units(&mut self, info: &Info, path: &Path) -> Result<(), DatasetError> {
        let file: RobotFile =
            serde_json::from_str(&read_text(path)?).map_err(DatasetError::json(path))?;
        if file.format != 1 {
            return Err(DatasetError::content("format", "1", file.format.to_string(), path));
        }
        let wanted = &file.robot;
        let found = self.robot(info, wanted);
        wanted.check(&found).map_err(|mismatch| {
            let expected = "the robot of `meta/info.json`";
            DatasetError::content("robot", expected, mismatch.to_string(), path)
        })?;
        for (key, dimensions) in [(STATE, &wanted.proprio), (ACTION, &wanted.actions)] {
            if let Some(column) = self.columns.iter_mut().find(|column| column.name == key) {
                column.dimensions.clone_from(dimensions);
            }
        }
        self.robot = Some(file.robot);
        Ok(())
    }

    /// The robot that the features describe, as far as they can: in the order of `wanted`'s views,
    /// and with its units.
    fn robot(&self, info: &Info, wanted: &RobotSpec) -> RobotSpec {
        let dimensions = |key: &str, wanted: &[Dimension]| -> Vec<Dimension> {
            let column = self.columns.iter().find(|column| column.name == key);
            let names = column.map(Column::named_dimensions).unwrap_or_default().into_iter();
            let unit = |at: usize| wanted.get(at).map_or(String::new(), |one| one.unit.clone());
            names.enumerate().map(|(at, one)| Dimension { unit: unit(at), ..one }).collect()
        };
        let pictures = self.columns.iter().filter_map(|column| match column.kind {
            Kind::Rgb { width, height } => Some((view_name(&column.name)?, width, height)),
            _ => None,
        });
        let mut views: Vec<ViewSpec> = pictures
            .map(|(name, width, height)| {
                let key = format!("{DEPTH}{name}");
                let depth = self
                    .columns
                    .iter()
                    .any(|column| column.name == key && matches!(column.kind, Kind::Depth { .. }));
                ViewSpec { name: name.into(), width, height, depth }
            })
            .collect();
        let place = |view: &ViewSpec| wanted.views.iter().position(|other| other.name == view.name);
        views.sort_by_key(|view| place(view).unwrap_or(usize::MAX));
        RobotSpec {
            name: wanted.name.clone(),
            control_hz: info.fps,
            views,
            proprio: dimensions(STATE, &wanted.proprio),
            actions: dimensions(ACTION, &wanted.actions),
        }
    }
}

/// What can be read out of a feature.
fn kind(key: &str, feature: &Feature, path: &Path) -> Result<Kind, DatasetError> {
    let numeric = ["float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"];
    let unsigned = ["uint8", "uint16", "uint32", "uint64"];
    Ok(match &*feature.dtype {
        _ if INDICES.iter().chain(&CAPTURES).any(|(name, _)| *name == key) => Kind::Index,
        "image" | "video" => {
            let (height, width) = picture_size(key, feature, path)?;
            let flag = |name: &str| {
                let info = feature.info.as_ref();
                info.and_then(|info| info.get(name)).and_then(serde_json::Value::as_bool)
            };
            let is_depth = key.starts_with(DEPTH)
                || flag("is_depth_map").or(flag("video.is_depth_map")) == Some(true);
            match (is_depth, &*feature.dtype) {
                (false, _) => Kind::Rgb { width, height },
                (true, "image") => Kind::Depth { width, height },
                // Depth in a video is 12-bit grey on a logarithmic scale, which no decoder here has.
                (true, _) => Kind::Other,
            }
        }
        dtype if numeric.contains(&dtype) || unsigned.contains(&dtype) => Kind::Numbers,
        _ => Kind::Other,
    })
}

/// The camera whose pictures column `key` holds.
pub(super) fn view_name(key: &str) -> Option<&str> {
    if key == IMAGE { Some("image") } else { key.strip_prefix(IMAGES) }
}

/// Height and width of a picture, whichever axis its channels are.
fn picture_size(key: &str, feature: &Feature, path: &Path) -> Result<(usize, usize), DatasetError> {
    let wrong = |expected: &str| {
        let found = format!("{} of shape {:?}", feature.dtype, feature.shape);
        Err(DatasetError::content(key, expected, found, path))
    };
    let &[first, middle, last] = &*feature.shape else {
        return wrong("height, width and channels");
    };
    let names = feature.names.flatten();
    let is_channels = |at: usize| {
        names.get(at).is_some_and(|name| matches!(&**name, "channel" | "channels" | "c"))
    };
    let plausible = |channels: usize| matches!(channels, 1 | 3 | 4);
    let (height, width) = if is_channels(2) && plausible(last) {
        (first, middle)
    } else if is_channels(0) && plausible(first) {
        (middle, last)
    } else if plausible(last) {
        (first, middle)
    } else if plausible(first) {
        (middle, last)
    } else {
        return wrong("1, 3 or 4 channels on the first or the last axis");
    };
    if height == 0 || width == 0 {
        return wrong("at least one pixel");
    }
    Ok((height, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(shape: &[usize], names: &str) -> Option<(usize, usize)> {
        let names = serde_json::from_str(names).unwrap();
        let feature = Feature { dtype: "image".into(), shape: shape.to_vec(), names, info: None };
        picture_size("observation.image", &feature, Path::new("info.json")).ok()
    }

    #[test]
    fn both_orders_of_axes_and_both_spellings_are_understood() {
        let last = r#"["height", "width", "channel"]"#;
        let first = r#"["channels", "height", "width"]"#;
        assert_eq!(size(&[48, 64, 3], last), Some((48, 64)));
        assert_eq!(size(&[3, 48, 64], first), Some((48, 64)));
        assert_eq!(size(&[3, 48, 3], first), Some((48, 3)));
        assert_eq!(size(&[3, 48, 64], "null"), Some((48, 64)));
        assert_eq!(size(&[48, 64, 3], "null"), Some((48, 64)));
        // Names that contradict the shape lose.
        assert_eq!(size(&[3, 48, 64], last), Some((48, 64)));
        assert_eq!(size(&[48, 64, 2], "null"), None);
        assert_eq!(size(&[48, 64], "null"), None);
    }

    #[test]
    fn a_column_of_pictures_names_its_camera() {
        assert_eq!(view_name("observation.images.front"), Some("front"));
        assert_eq!(view_name("observation.image"), Some("image"));
        assert_eq!(view_name("observation.state"), None);
    }
}
