//! Defects of the files themselves, each planted and found where it was planted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float32Array, Int64Array, RecordBatch};
use arrow_schema::{Field, Schema};
use engraft_core::{Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};

use super::{Version, tables};
use crate::{
    Diagnosis, Examination, LerobotWriter, Severity, Step, examine, open, repair, salvage, verify,
};

const LENGTHS: [usize; 4] = [12, 9, 14, 10];

fn spec() -> RobotSpec {
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 8, height: 6, depth: false }],
        proprio: vec![Dimension::new("lift", "m"), Dimension::new("turn", "rad")],
        actions: vec![Dimension::new("speed", "m/s")],
    }
}

fn step(episode: usize, at: usize) -> Step {
    let (e, t) = (episode as f32, at as f32);
    let pixels = (0..144).map(|i| (i + 5 * at + 3 * episode) as u8).collect();
    let view = View { rgb: RgbImage::new(8, 6, pixels).unwrap(), depth: None };
    let proprio = vec![0.1 * t + 0.01 * e, (0.3 * t + e).sin()];
    (Observation { views: vec![view], proprio }, vec![(0.4 * t + e).cos()])
}

struct Set {
    _folder: tempfile::TempDir,
    dir: PathBuf,
}

fn written(version: Version) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let mut writer = LerobotWriter::create(&dir, &spec(), version).unwrap();
    for (episode, length) in LENGTHS.into_iter().enumerate() {
        let steps = (0..length).map(|at| step(episode, at));
        writer.add_episode(["lift", "lower"][episode % 2], steps).unwrap();
    }
    Set { _folder: folder, dir }
}

fn data(dir: &Path, version: Version, episode: usize) -> PathBuf {
    dir.join(match version {
        Version::V30 => format!("data/chunk-000/file-{episode:03}.parquet"),
        _ => format!("data/chunk-000/episode_{episode:06}.parquet"),
    })
}

/// Changes one column of a small table in place.
fn change(path: &Path, name: &str, with: impl Fn(&ArrayRef) -> ArrayRef) {
    let batches = tables::read_columns(path, |_| true).unwrap();
    let [batch] = &batches[..] else { panic!("one batch") };
    let fields: Vec<Field> =
        batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let columns = fields.iter().zip(batch.columns()).map(|(field, column)| {
        if field.name() == name { with(column) } else { Arc::clone(column) }
    });
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.collect());
    tables::write(path, &batch.unwrap(), &[], None).unwrap();
}

fn whole(path: &Path, name: &str, with: impl Fn(usize, i64) -> i64) {
    change(path, name, |column| {
        let values = column.as_primitive::<Int64Type>().values().iter().enumerate();
        Arc::new(Int64Array::from_iter_values(values.map(|(at, &value)| with(at, value))))
    });
}

fn diagnose(dir: &Path) -> Diagnosis {
    let options = Examination { every_picture: true, ..Examination::default() };
    examine(&*open(dir).unwrap(), &options, &mut |_, _| {})
}

type Place = (&'static str, Option<usize>, Option<usize>);

/// Check, episode and step of every error and warning.
fn troubles(dir: &Path) -> Vec<Place> {
    let findings = diagnose(dir).findings.into_iter();
    let bad = findings.filter(|found| found.severity != Severity::Note);
    bad.map(|found| (found.check, found.episode, found.step)).collect()
}

/// What is found once `plant` has been at the dataset; a repaired copy is healthy.
fn planted(version: Version, plant: impl Fn(&Path)) -> Vec<Place> {
    let set = written(version);
    plant(&set.dir);
    let found = troubles(&set.dir);
    let dataset = open(&set.dir).unwrap();
    let out = set.dir.with_file_name("repaired");
    let repaired = repair(&*dataset, &diagnose(&set.dir), &out, &mut |_, _| {}).unwrap();
    assert_eq!(repaired.version, version.as_str());
    assert_eq!(troubles(&out), []);
    let kept = |episode: &usize| !repaired.dropped.iter().any(|gone| gone.episode == *episode);
    let kept: Vec<usize> = (0..dataset.num_episodes()).filter(kept).collect();
    let same = verify(&*dataset, &*open(&out).unwrap(), &kept, 0, &mut |_, _| {});
    assert_eq!(same, Vec::<String>::new());
    found
}

const BOTH: [Version; 2] = [Version::V21, Version::V30];

#[test]
fn what_we_write_is_healthy() {
    for version in BOTH {
        let set = written(version);
        assert_eq!(diagnose(&set.dir).findings, [], "{version}");
    }
}

#[test]
fn totals_that_lie_are_found() {
    let found = planted(Version::V30, |dir| {
        let path = dir.join("meta/info.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"total_frames\": 45", "\"total_frames\": 44")).unwrap();
    });
    assert_eq!(found, [("wrong-totals", None, None)]);
}

#[test]
fn times_that_are_off_are_found_at_the_worst_step() {
    for version in BOTH {
        let found = planted(version, |dir| {
            change(&data(dir, version, 2), "timestamp", |column| {
                let times = column.as_primitive::<Float32Type>().values().iter().enumerate();
                let off = |at: usize| [0.0, 0.003, 0.0, 0.02].get(at).copied().unwrap_or(0.0);
                Arc::new(Float32Array::from_iter_values(times.map(|(at, time)| time + off(at))))
            });
        });
        assert_eq!(found, [("wrong-timestamp", Some(2), Some(3))]);
    }
    // What single precision rounds is not off.
    let found = planted(Version::V30, |dir| {
        change(&data(dir, Version::V30, 2), "timestamp", |column| {
            let times = column.as_primitive::<Float32Type>().values().iter();
            Arc::new(Float32Array::from_iter_values(times.map(|time| time + 5e-5)))
        });
    });
    assert_eq!(found, []);
}

#[test]
fn counters_that_slip_are_found_where_they_slip() {
    for version in BOTH {
        let frame = planted(version, |dir| {
            whole(&data(dir, version, 1), "frame_index", |at, value| value + i64::from(at >= 4));
        });
        assert_eq!(frame, [("wrong-frame-index", Some(1), Some(4))]);
        let inside = planted(version, |dir| {
            whole(&data(dir, version, 1), "index", |at, value| value + i64::from(at == 4));
        });
        assert_eq!(inside, [("wrong-index", Some(1), Some(4))]);
        let shifted = planted(version, |dir| {
            for episode in 2..4 {
                whole(&data(dir, version, episode), "index", |_, value| value + 7);
            }
        });
        assert_eq!(shifted, [("wrong-index", Some(2), Some(0))]);
        let task = planted(version, |dir| {
            whole(
                &data(dir, version, 3),
                "task_index",
                |at, value| if at == 5 { 9 } else { value },
            );
        });
        assert_eq!(task, [("unknown-task", Some(3), Some(5))]);
    }
}

#[test]
fn rows_of_another_episode_are_found_and_their_episode_is_dropped() {
    let found = planted(Version::V21, |dir| {
        whole(&data(dir, Version::V21, 1), "episode_index", |_, _| 3);
    });
    let expected = [
        ("wrong-episode-index", None, None),
        ("unreadable-episode", Some(1), None),
        ("wrong-length", Some(1), None),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_length_that_is_not_the_rows_is_found() {
    let found = planted(Version::V21, |dir| {
        let path = dir.join("meta/episodes.jsonl");
        let text = fs::read_to_string(&path).unwrap().replace("\"length\":9", "\"length\":8");
        fs::write(&path, text).unwrap();
    });
    let expected = [
        ("wrong-totals", None, None),
        ("unreadable-episode", Some(1), None),
        ("wrong-length", Some(1), None),
    ];
    let mut found = found;
    found.sort_unstable_by_key(|place| (place.1, place.0));
    assert_eq!(found, expected);
}

#[test]
fn a_range_that_is_not_the_rows_is_found() {
    let found = planted(Version::V30, |dir| {
        let path = dir.join("meta/episodes/chunk-000/file-000.parquet");
        whole(&path, "dataset_to_index", |at, value| value - i64::from(at == 3));
    });
    assert_eq!(found, [("wrong-range", Some(3), None)]);
}

#[test]
fn a_file_that_was_cut_off_is_named_with_its_episode() {
    for version in BOTH {
        let set = written(version);
        let path = data(&set.dir, version, 2);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let diagnosis = diagnose(&set.dir);
        let found = &diagnosis.findings[0];
        assert_eq!(found.check, "unreadable-file");
        let remedy = found.remedy.as_deref().unwrap();
        assert!(remedy.ends_with("cut off before the file was closed: episode 2 is lost in it"));
        let found = planted(version, |dir| {
            fs::write(data(dir, version, 2), &bytes[..bytes.len() / 2]).unwrap();
        });
        let expected = [("unreadable-file", None, None), ("unreadable-episode", Some(2), None)];
        assert_eq!(found, expected);
        let out = set.dir.with_file_name("repaired");
        let repaired = repair(&*open(&set.dir).unwrap(), &diagnosis, &out, &mut |_, _| {}).unwrap();
        assert_eq!((repaired.num_episodes, repaired.num_steps), (3, 31));
        assert_eq!(repaired.dropped.len(), 1);
        let reason = &repaired.dropped[0].reason;
        assert!(reason.starts_with("unreadable-episode: cannot process parquet"), "{reason}");
    }
}

#[test]
fn a_file_without_an_episode_is_found() {
    for version in BOTH {
        let found = planted(version, |dir| {
            fs::copy(data(dir, version, 1), data(dir, version, 7)).unwrap();
        });
        assert_eq!(found, [("stray-file", None, None)]);
    }
}

#[test]
fn statistics_that_are_not_those_of_the_rows_are_found() {
    let edit = |dir: &Path, file: &str, from: &str, to: &str| {
        let path = dir.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    let lines = planted(Version::V21, |dir| {
        edit(dir, "meta/episodes_stats.jsonl", "\"count\":[12]", "\"count\":[13]");
    });
    assert_eq!(lines, [("wrong-stats", Some(0), None)]);
    let whole = planted(Version::V30, |dir| {
        let path = dir.join("meta/stats.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut all: serde_json::Value = serde_json::from_str(&text).unwrap();
        all["action"]["std"] = serde_json::json!([0.9]);
        fs::write(&path, all.to_string()).unwrap();
    });
    assert_eq!(whole, [("wrong-stats", None, None)]);
    let gone = planted(Version::V30, |dir| {
        fs::remove_file(dir.join("meta/stats.json")).unwrap();
    });
    assert_eq!(gone, [("missing-stats", None, None)]);
    let one = planted(Version::V30, |dir| edit(dir, "meta/stats.json", "\"action\"", "\"other\""));
    assert_eq!(one, [("missing-stats", None, None)]);
    let set = written(Version::V30);
    let path = set.dir.join("meta/stats.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"q01\"", "\"q02\"")).unwrap();
    let notes = diagnose(&set.dir).findings;
    assert!(notes.iter().all(|found| found.check == "missing-quantiles") && notes.len() == 2);
}

#[test]
fn a_missing_column_and_wrong_names_are_found() {
    let set = written(Version::V30);
    let path = set.dir.join("meta/info.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut info: serde_json::Value = serde_json::from_str(&text).unwrap();
    info["features"]["next.reward"] =
        serde_json::json!({ "dtype": "float32", "shape": [1], "names": null });
    info["features"]["action"]["names"] = serde_json::json!(["speed", "turn"]);
    fs::write(&path, info.to_string()).unwrap();
    fs::remove_file(set.dir.join("meta/engraft.json")).unwrap();
    let expected =
        [("wrong-columns", None, None), ("missing-stats", None, None), ("wrong-names", None, None)];
    assert_eq!(troubles(&set.dir), expected);
    assert!(diagnose(&set.dir).findings.iter().any(|found| found.check == "open-question"));
}

#[test]
fn what_cannot_be_read_is_found_to_the_step() {
    let nan = planted(Version::V30, |dir| {
        change(&data(dir, Version::V30, 1), "action", |column| {
            let values = column.as_primitive::<Float32Type>().values().iter().enumerate();
            let value = |(at, &value)| if at == 6 { f32::NAN } else { value };
            Arc::new(Float32Array::from_iter_values(values.map(value)))
        });
    });
    assert_eq!(nan, [("not-finite", Some(1), Some(6))]);
    let picture = planted(Version::V30, |dir| {
        change(&data(dir, Version::V30, 1), "observation.images.front", |column| {
            let cells = column.as_struct();
            let bytes = cells.column_by_name("bytes").unwrap().as_binary::<i32>();
            let damaged = bytes.iter().enumerate();
            let damaged = damaged.map(|(at, png)| png.map(|p| if at == 4 { &p[..40] } else { p }));
            let bytes = damaged.collect::<arrow_array::BinaryArray>();
            let names = Arc::clone(cells.column_by_name("path").unwrap());
            let columns: Vec<ArrayRef> = vec![Arc::new(bytes), names];
            let (fields, ..) = cells.clone().into_parts();
            Arc::new(arrow_array::StructArray::try_new(fields, columns, None).unwrap())
        });
    });
    assert_eq!(picture, [("unreadable-picture", Some(1), Some(4))]);
    let set = written(Version::V30);
    change(&data(&set.dir, Version::V30, 1), "action", |column| {
        Arc::new(Float32Array::from(vec![f32::NAN; column.len()]))
    });
    let finding = diagnose(&set.dir).findings.swap_remove(0);
    assert_eq!(
        finding.message,
        "expected finite numbers, found NaN or infinity in `action`, dimension 0 (`speed`)"
    );
}

#[test]
fn an_episode_that_stands_twice_is_dropped_once() {
    let set = written(Version::V30);
    let mut writer = LerobotWriter::append(&set.dir).unwrap();
    writer.add_episode("lower", (0..LENGTHS[1]).map(|at| step(1, at))).unwrap();
    let diagnosis = diagnose(&set.dir);
    let out = set.dir.with_file_name("repaired");
    let repaired = repair(&*open(&set.dir).unwrap(), &diagnosis, &out, &mut |_, _| {}).unwrap();
    assert_eq!(repaired.dropped.len(), 1);
    assert_eq!(repaired.dropped[0].episode, 4);
    assert_eq!(
        repaired.dropped[0].reason,
        "duplicate-episode: expected a demonstration of its own, found episode 1 again"
    );
    assert_eq!(open(&out).unwrap().num_episodes(), 4);
}

#[test]
fn episodes_are_told_by_their_rows_where_their_list_was_cut_off() {
    for version in BOTH {
        let set = written(version);
        let (list, tasks) = match version {
            Version::V30 => ("meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"),
            _ => ("meta/episodes.jsonl", "meta/tasks.jsonl"),
        };
        assert!(salvage(&set.dir).unwrap().lost.is_empty());
        for file in [data(&set.dir, version, 3), set.dir.join(list)] {
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() - 7]).unwrap();
        }
        assert!(open(&set.dir).is_err());
        let salvaged = salvage(&set.dir).unwrap();
        assert_eq!(salvaged.lost.len(), 2, "{:?}", salvaged.lost);
        let dataset = salvaged.dataset;
        assert_eq!(dataset.num_episodes(), 3);
        assert_eq!(
            (dataset.task(0), dataset.task(1), dataset.episode_len(2)),
            ("lift", "lower", 14)
        );
        let options = Examination::default();
        let diagnosis = examine(&*dataset, &options, &mut |_, _| {});
        let out = set.dir.with_file_name("saved");
        let repaired = repair(&*dataset, &diagnosis, &out, &mut |_, _| {}).unwrap();
        assert_eq!((repaired.num_episodes, repaired.dropped.len()), (3, 0));
        assert_eq!(troubles(&out), []);
        fs::remove_file(set.dir.join(tasks)).unwrap();
        assert_eq!(salvage(&set.dir).unwrap().dataset.task(0), "");
    }
}
