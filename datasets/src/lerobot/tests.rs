//! Round trips, damage, and datasets that lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int64Array, ListArray, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Schema};
use engraft_core::{DepthImage, Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};

use super::*;
use crate::{Dataset, PastEnd, open, sample};

const DATA_V3: &str = "data/chunk-000/file-000.parquet";

fn spec() -> RobotSpec {
    let view = |name: &str, depth| ViewSpec { name: name.into(), width: 6, height: 4, depth };
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![view("wrist", true), view("front", false)],
        proprio: vec![Dimension::new("elbow", "rad"), Dimension::new("gripper", "1")],
        actions: vec![Dimension::new("elbow", "rad").within(-1.0, 1.0)],
    }
}

fn step(episode: usize, at: usize) -> (Observation, Vec<f32>) {
    let value = episode as f32 + at as f32 / 16.0;
    let rgb = |view: usize| {
        let pixels = (0..72).map(|i| (i * 3 + at * 7 + episode * 11 + view * 13) as u8).collect();
        RgbImage::new(6, 4, pixels).unwrap()
    };
    let depth = DepthImage::new(6, 4, vec![0.5 + at as f32; 24]).unwrap();
    let views = vec![View { rgb: rgb(0), depth: Some(depth) }, View { rgb: rgb(1), depth: None }];
    (Observation { views, proprio: vec![value, -value] }, vec![value * 2.0])
}

fn steps(episode: usize) -> impl Iterator<Item = (Observation, Vec<f32>)> {
    (0..3 + episode % 2).map(move |at| step(episode, at))
}

fn written(version: Version, num_episodes: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let mut writer = LerobotWriter::create(&dir, &spec(), version).unwrap();
    for episode in 0..num_episodes {
        writer.add_episode(["pull", "push"][episode % 2], steps(episode)).unwrap();
    }
    writer.finish().unwrap();
    (folder, dir)
}

fn assert_holds(dir: &Path, num_episodes: usize) {
    let dataset = open(dir).unwrap();
    assert_eq!(dataset.spec(), &spec());
    assert_eq!(dataset.num_episodes(), num_episodes);
    for index in 0..num_episodes {
        let episode = dataset.episode(index).unwrap();
        assert_eq!(episode.task(), ["pull", "push"][index % 2]);
        assert_eq!(episode.num_steps(), steps(index).count());
        assert_eq!(dataset.episode_len(index), episode.num_steps());
        for (at, (observation, action)) in steps(index).enumerate() {
            assert_eq!(episode.observation(at).unwrap(), observation);
            assert_eq!(episode.actions(at..at + 1).unwrap().values(), action);
        }
    }
    assert_eq!(dataset.check(), Vec::<String>::new());
}

#[test]
fn both_versions_give_back_what_was_written() {
    for version in [Version::V21, Version::V30] {
        let (_folder, dir) = written(version, 3);
        assert_holds(&dir, 3);
        let info = open(&dir).unwrap().info().unwrap();
        assert_eq!(info.warnings, Vec::<String>::new());
        assert_eq!((info.num_steps, info.tasks.len(), info.episode_steps.max), (10, 2, 4));
        assert_eq!(info.format, format!("LeRobot {version}"));
    }
}

#[test]
fn both_versions_hold_the_same_samples() {
    let [(_a, v2), (_b, v3)] = [Version::V21, Version::V30].map(|version| written(version, 2));
    let cut = |dir| sample(&*open(dir).unwrap().episode(1).unwrap(), 3, 2, 2, PastEnd::Repeat);
    assert_eq!(cut(v2).unwrap(), cut(v3).unwrap());
}

#[test]
fn a_recording_goes_on_where_it_was_killed() {
    for version in [Version::V21, Version::V30] {
        let (_whole, whole) = written(version, 3);
        let (_part, part) = written(version, 2);
        // Killed after the data and before the metadata, with a file half-written.
        let orphan = match version {
            Version::V30 => "data/chunk-000/file-002.parquet",
            _ => "data/chunk-000/episode_000002.parquet",
        };
        fs::copy(whole.join(orphan), part.join(orphan)).unwrap();
        fs::write(part.join("meta/info.json.tmp"), b"{").unwrap();
        assert_holds(&part, 2);
        let warnings = open(&part).unwrap().info().unwrap().warnings;
        assert_eq!(warnings, [format!("{orphan} belongs to no episode")]);
        if version == Version::V30 {
            fs::write(part.join("meta/stats.json"), b"{}").unwrap();
        }

        let mut writer = LerobotWriter::append(&part).unwrap();
        assert_eq!(writer.add_episode("pull", steps(2)).unwrap(), 2);
        assert_holds(&part, 3);
        assert_eq!(open(&part).unwrap().info().unwrap().warnings, Vec::<String>::new());
        let same = |file: &str| {
            assert_eq!(fs::read(part.join(file)).unwrap(), fs::read(whole.join(file)).unwrap());
        };
        same("meta/info.json");
        same(orphan);
        same(if version == Version::V30 { "meta/stats.json" } else { "meta/episodes_stats.jsonl" });
        let prints = [&part, &whole].map(|dir| open(dir).unwrap().fingerprint().unwrap());
        assert_eq!(prints[0], prints[1]);
    }
}

#[test]
fn a_refused_episode_leaves_the_dataset_as_it_was() {
    let (_folder, dir) = written(Version::V30, 1);
    let mut writer = LerobotWriter::append(&dir).unwrap();
    let refused = |writer: &mut LerobotWriter, change: fn(&mut Observation, &mut Vec<f32>)| {
        let (mut observation, mut action) = step(0, 0);
        change(&mut observation, &mut action);
        let steps = [step(0, 0), (observation, action)];
        writer.add_episode("pull", steps).unwrap_err().to_string()
    };
    let found = [
        refused(&mut writer, |_, action| action[0] = f32::NAN),
        refused(&mut writer, |observation, _| observation.proprio.truncate(1)),
        refused(&mut writer, |observation, _| {
            observation.views.pop();
        }),
        refused(&mut writer, |observation, _| {
            observation.views[1].rgb = RgbImage::filled(4, 6, [0; 3]);
        }),
        refused(&mut writer, |observation, _| observation.views[0].depth = None),
        writer.add_episode("pull", []).unwrap_err().to_string(),
    ];
    assert_eq!(
        found,
        [
            "step 1 of the new episode: expected finite action, found NaN in dimension 0",
            "step 1 of the new episode: expected proprio of 2 numbers, found 1",
            "step 1 of the new episode: expected 2 view(s), found 1",
            "step 1 of the new episode: expected front of 6 x 4, found front of 4 x 6",
            "step 1 of the new episode: expected depth of wrist of 6 x 4, found none",
            "step 0 of the new episode: expected a step, found the end of the episode",
        ]
    );
    assert_holds(&dir, 1);
    assert!(matches!(
        LerobotWriter::create(&dir, &spec(), Version::V30),
        Err(DatasetError::Exists { .. })
    ));
}

#[test]
fn many_episodes_fill_more_than_one_file_of_metadata() {
    let (_folder, dir) = written(Version::V30, 102);
    assert!(dir.join("meta/episodes/chunk-000/file-001.parquet").is_file());
    let dataset = open(&dir).unwrap();
    assert_eq!((dataset.num_episodes(), dataset.num_steps()), (102, 51 * 7));
    assert_eq!(dataset.task(101), "push");
    let mut writer = LerobotWriter::append(&dir).unwrap();
    writer.add_episode("push", steps(0)).unwrap();
    assert!(dir.join("meta/episodes/chunk-000/file-002.parquet").is_file());
    assert_eq!(open(&dir).unwrap().num_episodes(), 103);
}

#[test]
fn totals_that_lie_are_told_and_not_believed() {
    let (_folder, dir) = written(Version::V30, 2);
    let path = dir.join("meta/info.json");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("\"total_episodes\": 2", "\"total_episodes\": 50");
    fs::write(&path, text.replace("\"total_frames\": 7", "\"total_frames\": 3")).unwrap();
    assert_holds(&dir, 2);
    assert_eq!(
        open(&dir).unwrap().info().unwrap().warnings,
        [
            "info.json says total_episodes = 50, the data has 2",
            "info.json says total_frames = 3, the data has 7",
        ]
    );
}

#[test]
fn an_episode_shorter_than_its_metadata_is_an_error() {
    let (_folder, dir) = written(Version::V21, 2);
    let path = dir.join("meta/episodes.jsonl");
    let text = fs::read_to_string(&path).unwrap().replace("\"length\":4", "\"length\":9");
    fs::write(&path, text).unwrap();
    let dataset = open(&dir).unwrap();
    let error = dataset.episode(1).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("`rows of episode 1`: expected 9, found 4 (path:"), "{error}");
    let warnings = dataset.info().unwrap().warnings.join("\n");
    assert!(warnings.contains("episode_000001.parquet has 4 rows, its episodes 9 steps"));
    assert_eq!(dataset.check().len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    for (version, files) in [
        (Version::V21, vec!["meta/tasks.jsonl", "meta/episodes.jsonl"]),
        (Version::V30, vec!["meta/tasks.parquet", "meta/episodes"]),
    ] {
        for file in files {
            let (_folder, dir) = written(version, 1);
            fs::rename(dir.join(file), dir.join("gone")).unwrap();
            let error = open(&dir).map(drop).unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
        }
    }
    let (_folder, dir) = written(Version::V30, 1);
    fs::remove_file(dir.join(DATA_V3)).unwrap();
    let error = open(&dir).unwrap().episode(0).map(drop).unwrap_err().to_string();
    assert!(error.contains(DATA_V3), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path()), Err(DatasetError::UnknownFormat { .. })));
}

#[test]
fn every_truncation_is_an_error_not_a_panic() {
    for file in [DATA_V3, "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"] {
        let (_folder, dir) = written(Version::V30, 1);
        let bytes = fs::read(dir.join(file)).unwrap();
        for len in (0..bytes.len()).step_by(97) {
            fs::write(dir.join(file), &bytes[..len]).unwrap();
            let read = open(&dir).and_then(|dataset| dataset.episode(0).map(drop));
            assert!(read.is_err(), "{len} bytes of {file} were read");
        }
    }
}

#[test]
fn garbage_is_an_error_not_a_panic() {
    for file in [DATA_V3, "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"] {
        let (_folder, dir) = written(Version::V30, 1);
        let bytes = fs::read(dir.join(file)).unwrap();
        for at in (0..bytes.len()).step_by(53) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(dir.join(file), &damaged).unwrap();
            // Some bytes carry no meaning, and a changed number still is a number.
            if let Ok(dataset) = open(&dir) {
                let _ = (dataset.info(), dataset.fingerprint(), dataset.check());
            }
        }
    }
    let (_folder, dir) = written(Version::V30, 1);
    for text in ["", "{", "[]", "{}", r#"{"fps": 0, "features": {}}"#, r#"{"fps": "x"}"#] {
        fs::write(dir.join("meta/info.json"), text).unwrap();
        assert!(open(&dir).is_err(), "{text}");
    }
}

/// Replaces text in `info.json` and opens the dataset.
fn with_info(change: impl Fn(String) -> String) -> Result<Box<dyn Dataset>, DatasetError> {
    let (_folder, dir) = written(Version::V30, 1);
    let path = dir.join("meta/info.json");
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    fs::remove_file(dir.join("meta/engraft.json")).unwrap();
    open(&dir)
}

#[test]
fn a_video_that_no_episode_points_into_is_named() {
    let error = with_info(|text| text.replacen("\"image\"", "\"video\"", 1)).map(drop);
    let error = error.unwrap_err().to_string();
    let expected = "`videos/observation.images.wrist/chunk_index`: expected a column, found none";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn what_lies_outside_the_folder_is_not_read() {
    for wild in ["../secret/{chunk_index}", "/etc/{file_index}", "data/{other}"] {
        let error = with_info(|text| text.replace("data/chunk-{chunk_index:03d}", wild));
        let error = error.map(drop).unwrap_err().to_string();
        assert!(error.starts_with("`data_path`: expected a path inside"), "{error}");
    }
}

#[test]
fn another_version_is_refused() {
    let error = with_info(|text| text.replace("v3.0", "v4.1")).map(drop).unwrap_err().to_string();
    let expected = "`codebase_version`: expected v2.0, v2.1 or v3.0, found v4.1 (path:";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn without_our_file_units_are_empty_and_order_is_that_of_the_features() {
    let dataset = with_info(|text| text).unwrap();
    let found = dataset.spec();
    assert_eq!(found.views, spec().views);
    assert_eq!(found.proprio[1], Dimension::new("gripper", ""));
    assert_eq!(found.actions[0].max, None);
    assert_eq!(found.name, "arm");
    let warnings = dataset.info().unwrap().warnings;
    assert!(warnings.iter().any(|line| line.contains("units are not known")));
}

#[test]
fn our_file_of_another_robot_is_refused() {
    let (_folder, dir) = written(Version::V30, 1);
    let path = dir.join("meta/engraft.json");
    let text = fs::read_to_string(&path).unwrap().replace("gripper", "claw");
    fs::write(&path, text).unwrap();
    let error = open(&dir).map(drop).unwrap_err().to_string();
    assert!(error.contains("robot mismatch in proprio"), "{error}");
}

/// A data file as older and foreign tools lay it out: double precision, variable lists, two
/// episodes in one row group, plain bytes without a path.
fn foreign(actions: &[f64], episodes: &[i64]) -> RecordBatch {
    let count = episodes.len();
    let list = |values: Vec<f64>| -> ArrayRef {
        let lengths = OffsetBuffer::from_lengths(vec![values.len() / count; count]);
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        Arc::new(ListArray::new(item, lengths, Arc::new(Float64Array::from(values)), None))
    };
    let png = crate::picture::encode_rgb(&RgbImage::filled(6, 4, [1, 2, 3])).unwrap();
    let depth = DepthImage::new(6, 4, vec![1.0; 24]).unwrap();
    let depth = crate::picture::encode_depth(&depth).unwrap();
    let pictures =
        |bytes: &[u8]| -> ArrayRef { Arc::new(BinaryArray::from_iter_values(vec![bytes; count])) };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("observation.state", list((0..count * 2).map(|i| i as f64).collect())),
        ("action", list(actions.to_vec())),
        ("observation.images.wrist", pictures(&png)),
        ("observation.images.front", pictures(&png)),
        ("observation.depth.wrist", pictures(&depth)),
        ("episode_index", Arc::new(Int64Array::from(episodes.to_vec()))),
    ];
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn episodes_are_told_apart_in_one_row_group_of_another_layout() {
    let (_folder, dir) = written(Version::V30, 2);
    let mixed = foreign(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[0, 0, 0, 1, 1, 1, 1]);
    for file in [DATA_V3, "data/chunk-000/file-001.parquet"] {
        tables::write(&dir.join(file), &mixed, &[], None).unwrap();
    }
    let dataset = open(&dir).unwrap();
    let episode = dataset.episode(1).unwrap();
    assert_eq!(episode.actions(0..4).unwrap().values(), [3.0, 4.0, 5.0, 6.0]);
    assert_eq!(episode.proprio(3).unwrap(), [12.0, 13.0]);
    assert_eq!(episode.observation(2).unwrap().views[0].rgb.pixel(0, 0), [1, 2, 3]);
}

#[test]
fn an_action_that_is_no_number_is_told_with_its_place() {
    let (_folder, dir) = written(Version::V30, 1);
    let batch = foreign(&[0.0, f64::NAN, 2.0], &[0, 0, 0]);
    tables::write(&dir.join(DATA_V3), &batch, &[], None).unwrap();
    let dataset = open(&dir).unwrap();
    let error = dataset.episode(0).map(drop).unwrap_err().to_string();
    let expected = "`action` is not finite in step 1 of episode 0, dimension 0 (path:";
    assert!(error.starts_with(expected), "{error}");
    assert!(crate::stats(&*dataset, &[0]).is_err());
}

#[test]
fn a_column_of_another_width_or_none_is_an_error() {
    let (_folder, dir) = written(Version::V30, 1);
    let batch = foreign(&[0.0; 6], &[0, 0, 0]);
    tables::write(&dir.join(DATA_V3), &batch, &[], None).unwrap();
    let error = open(&dir).unwrap().episode(0).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("`action`: expected vectors of 1 numbers, found List"), "{error}");
    let batch = foreign(&[0.0; 3], &[0, 0, 0]).project(&[1, 2, 3, 4, 5]).unwrap();
    tables::write(&dir.join(DATA_V3), &batch, &[], None).unwrap();
    let error = open(&dir).unwrap().episode(0).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("`observation.state`: expected a column, found none"), "{error}");
}

#[test]
fn one_number_per_step_is_a_plain_column() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let spec = RobotSpec { views: vec![], proprio: vec![], ..spec() };
    let mut writer = LerobotWriter::create(&dir, &spec, Version::V30).unwrap();
    let bare = Observation { views: vec![], proprio: vec![] };
    writer.add_episode("", [(bare.clone(), vec![0.5]), (bare.clone(), vec![0.25])]).unwrap();
    let dataset = open(&dir).unwrap();
    let episode = dataset.episode(0).unwrap();
    assert_eq!(episode.observation(1).unwrap(), bare);
    assert_eq!(episode.actions(0..2).unwrap().values(), [0.5, 0.25]);
    assert_eq!(episode.actions(1..1).unwrap().horizon(), 0);
    assert!(episode.actions(1..3).is_err());
}
