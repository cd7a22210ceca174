//! `meta/info.json`, and the robot that its features describe.

use std::path::Path;

use engraft_core::{Dimension, RobotSpec, ViewSpec};
use serde::{Deserialize, Serialize};

use super::Version;
use super::json::{Names, Ordered};
use crate::DatasetError;
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
/// More joints than any robot has; what lies above is damage.
const MAX_WIDTH: usize = 4096;
/// What every dataset has beside its own features.
pub(super) const INDICES: [(&str, &str); 5] = [
    ("timestamp", "float32"),
    ("frame_index", "int64"),
    ("episode_index", "int64"),
    ("index", "int64"),
    ("task_index", "int64"),
];

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
            features: raw.features,
            totals: [raw.total_episodes, raw.total_frames, raw.total_tasks],
        })
    }
}

/// Which columns hold what the robot's spec announces.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub(super) spec: RobotSpec,
    /// One per view: its picture's column, and its depth's.
    pub(super) views: Vec<(String, Option<String>)>,
    /// Whether units and bounds come from `meta/engraft.json`.
    pub(super) has_units: bool,
}

impl Columns {
    /// Reads the robot off the features, and its units off `meta/engraft.json` where there is one.
    pub(super) fn find(root: &Path, info: &Info) -> Result<Self, DatasetError> {
        let path = root.join(INFO_PATH);
        let mut spec = RobotSpec {
            name: info.robot_type.clone().unwrap_or_else(|| "unknown".into()),
            control_hz: info.fps,
            views: Vec::new(),
            proprio: dimensions(info, STATE, "state", &path)?.unwrap_or_default(),
            actions: dimensions(info, ACTION, "action", &path)?
                .ok_or_else(|| DatasetError::content(ACTION, "a feature", "none", &path))?,
        };
        for (key, feature) in &info.features.0 {
            let Some(name) = view_name(key) else { continue };
            if feature.dtype == "video" {
                return Err(DatasetError::Video { column: key.clone(), path });
            }
            let (height, width) = picture_size(key, feature, &path)?;
            let depth = info.features.get(&format!("{DEPTH}{name}"));
            let depth = depth.is_some_and(|depth| depth.dtype == "image");
            spec.views.push(ViewSpec { name: name.into(), width, height, depth });
        }
        let robot_path = root.join(ROBOT_PATH);
        let has_units = robot_path.is_file();
        if has_units {
            spec = with_units(&spec, &robot_path)?;
        }
        let column = |view: &ViewSpec| {
            let named = format!("{IMAGES}{}", view.name);
            let rgb = if info.features.get(&named).is_some() { named } else { IMAGE.into() };
            (rgb, view.depth.then(|| format!("{DEPTH}{}", view.name)))
        };
        let views = spec.views.iter().map(column).collect();
        Ok(Self { spec, views, has_units })
    }
}

/// The camera whose pictures column `key` holds.
pub(super) fn view_name(key: &str) -> Option<&str> {
    if key == IMAGE { Some("image") } else { key.strip_prefix(IMAGES) }
}

/// Names of the vector `key`; `None` where there is no such feature.
fn dimensions(
    info: &Info,
    key: &str,
    fallback: &str,
    path: &Path,
) -> Result<Option<Vec<Dimension>>, DatasetError> {
    let Some(feature) = info.features.get(key) else { return Ok(None) };
    let width = match *feature.shape {
        [] => 1,
        [width] => width,
        _ => {
            let found = format!("shape {:?}", feature.shape);
            return Err(DatasetError::content(key, "a vector", found, path));
        }
    };
    if !(1..=MAX_WIDTH).contains(&width) {
        let expected = format!("1 to {MAX_WIDTH} numbers");
        return Err(DatasetError::content(key, expected, width.to_string(), path));
    }
    let mut names = feature.names.flatten();
    if names.len() != width {
        names = (0..width).map(|i| format!("{fallback}_{i}")).collect();
    }
    Ok(Some(names.into_iter().map(|name| Dimension::new(name, "")).collect()))
}

/// Height and width of a picture, whichever axis its channels are.
fn picture_size(key: &str, feature: &Feature, path: &Path) -> Result<(usize, usize), DatasetError> {
    let wrong = |expected: &str| {
        let found = format!("{} of shape {:?}", feature.dtype, feature.shape);
        Err(DatasetError::content(key, expected, found, path))
    };
    if feature.dtype != "image" {
        return wrong("dtype `image`");
    }
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

/// The robot of `meta/engraft.json`, which must be the one that the features describe.
fn with_units(found: &RobotSpec, path: &Path) -> Result<RobotSpec, DatasetError> {
    let file: RobotFile =
        serde_json::from_str(&read_text(path)?).map_err(DatasetError::json(path))?;
    if file.format != 1 {
        return Err(DatasetError::content("format", "1", file.format.to_string(), path));
    }
    // Only what both sides know is compared; the order of views is ours to say.
    let comparable = |spec: &RobotSpec| {
        let bare = |all: &[Dimension]| {
            all.iter().map(|dimension| Dimension::new(&*dimension.name, "")).collect()
        };
        let mut views = spec.views.clone();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        let (proprio, actions) = (bare(&spec.proprio), bare(&spec.actions));
        RobotSpec { views, proprio, actions, ..spec.clone() }
    };
    comparable(&file.robot).check(&comparable(found)).map_err(|mismatch| {
        let expected = "the robot of `meta/info.json`";
        DatasetError::content("robot", expected, mismatch.to_string(), path)
    })?;
    Ok(file.robot)
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
