//! Recordings with their true times, finished and broken off.

use std::fs;
use std::path::{Path, PathBuf};

use engraft_core::{Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};

use super::recording::captures;
use super::{LerobotSource, Version};
use crate::{Examination, LerobotWriter, RecordingOptions, Step, examine, open};

const TIMES: RecordingOptions = RecordingOptions { capture_times: true };

fn spec() -> RobotSpec {
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 8, height: 6, depth: false }],
        proprio: vec![Dimension::new("lift", "m")],
        actions: vec![Dimension::new("lift", "m")],
    }
}

fn step(at: usize) -> Step {
    let pixels = (0..144).map(|i| (i + 5 * at) as u8).collect();
    let view = View { rgb: RgbImage::new(8, 6, pixels).unwrap(), depth: None };
    (Observation { views: vec![view], proprio: vec![at as f32] }, vec![at as f32 + 1.0])
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .flat_map(|path| {
            if path.is_dir() { files(&path) } else { vec![(path.clone(), fs::read(path).unwrap())] }
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_recording_keeps_true_times_beside_nominal_ones() {
    for version in [Version::V21, Version::V30] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("set");
        let mut writer = LerobotWriter::create_with(&dir, &spec(), version, TIMES).unwrap();
        let mut episode = writer.begin("lift");
        let times = [100.0, 100.1, 100.2, 100.5, 100.6];
        for (at, secs) in times.into_iter().enumerate() {
            let (observation, action) = step(at);
            episode.push(&observation, &action, secs).unwrap();
        }
        assert_eq!(episode.num_steps(), 5);
        let recorded = episode.finish().unwrap();
        assert_eq!((recorded.episode, recorded.num_steps, recorded.dropped_frames), (0, 5, 2));
        assert!((recorded.effective_hz.unwrap() - 4.0 / 0.6).abs() < 1e-9);
        let warning = recorded.warning.unwrap();
        assert!(warning.starts_with("episode 0 ran at 6.67 steps per second, the dataset says 10"));

        // Another session carries on, and a recording on time says nothing.
        let mut writer = LerobotWriter::append(&dir).unwrap();
        let mut episode = writer.begin("lift");
        for at in 0..4 {
            let (observation, action) = step(at);
            episode.push(&observation, &action, 0.101 * at as f64).unwrap();
        }
        let recorded = episode.finish().unwrap();
        assert_eq!((recorded.episode, recorded.dropped_frames), (1, 0));
        assert_eq!(recorded.warning, None);

        let source = LerobotSource::open(&dir).unwrap();
        let kept = captures(&source, 0).unwrap();
        let expected = [(0.0, 0), (0.1, 0), (0.2, 0), (0.5, 2), (0.6, 0)];
        for ((secs, dropped), (expected_secs, expected_dropped)) in kept.into_iter().zip(expected) {
            assert!((secs - expected_secs).abs() < 1e-6 && dropped == expected_dropped);
        }
        let dataset = open(&dir).unwrap();
        assert_eq!(dataset.spec(), &spec());
        assert_eq!((dataset.num_episodes(), dataset.check()), (2, vec![]));
        let left = crate::convert::left_behind(&*dataset).unwrap();
        assert_eq!(left, ["capture_time", "dropped_frames"]);
        let diagnosis = examine(&*dataset, &Examination::default(), &mut |_, _| {});
        assert!(diagnosis.is_healthy(), "{:?}", diagnosis.findings);
        let info = fs::read_to_string(dir.join("meta/info.json")).unwrap();
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["features"]["capture_time"]["dtype"], "float64");
        assert_eq!(info["features"]["dropped_frames"]["shape"], serde_json::json!([1]));
    }
}

#[test]
fn lost_statistics_are_counted_again_with_the_times() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let mut writer = LerobotWriter::create_with(&dir, &spec(), Version::V30, TIMES).unwrap();
    let mut episode = writer.begin("lift");
    for (at, secs) in [0.0, 0.25, 0.5].into_iter().enumerate() {
        let (observation, action) = step(at);
        episode.push(&observation, &action, secs).unwrap();
    }
    episode.finish().unwrap();
    let path = dir.join("meta/stats.json");
    let before = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    LerobotWriter::append(&dir).unwrap().finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn an_episode_that_is_not_finished_leaves_no_trace() {
    for options in [TIMES, RecordingOptions::default()] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("set");
        let mut writer = LerobotWriter::create_with(&dir, &spec(), Version::V30, options).unwrap();
        let before = files(&dir);
        let mut episode = writer.begin("lift");
        let (observation, action) = step(0);
        episode.push(&observation, &action, 0.0).unwrap();
        drop(episode);
        assert_eq!(
            writer.begin("lift").finish().unwrap_err().to_string(),
            "step 0 of the new episode: expected a step, found the end of the episode"
        );
        assert_eq!(files(&dir), before);
    }
}

#[test]
fn a_refused_step_is_not_in_the_episode() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let mut writer = LerobotWriter::create_with(&dir, &spec(), Version::V30, TIMES).unwrap();
    writer.episode_bytes = 400;
    let mut episode = writer.begin("lift");
    let (observation, action) = step(0);
    episode.push(&observation, &action, 5.0).unwrap();
    let refused = |episode: &mut super::Recording<'_>, action: &[f32], secs: f64| {
        episode.push(&observation, action, secs).unwrap_err().to_string()
    };
    assert_eq!(
        [
            refused(&mut episode, &action, 5.0),
            refused(&mut episode, &action, f64::NAN),
            refused(&mut episode, &[], 5.1),
        ],
        [
            "step 1 of the new episode: expected a time after 5 s, found 5 s",
            "step 1 of the new episode: expected a finite time, found NaN",
            "step 1 of the new episode: expected action of 1 numbers, found 0",
        ]
    );
    let full = (1..9).find_map(|at| episode.push(&observation, &action, 5.0 + f64::from(at)).err());
    let full = full.unwrap().to_string();
    assert!(full.contains("expected at most 400 bytes of pictures in an episode"), "{full}");
    let count = episode.num_steps();
    let recorded = episode.finish().unwrap();
    assert_eq!(recorded.num_steps, count);
    assert_eq!(open(&dir).unwrap().episode(0).unwrap().num_steps(), count);
    let error = writer.add_episode("lift", [step(0)]).unwrap_err().to_string();
    assert!(error.contains("the time of each step, as `begin` takes it"), "{error}");
}

#[test]
fn a_rate_that_is_a_little_too_low_adds_up_to_dropped_frames() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let mut writer = LerobotWriter::create(&dir, &spec(), Version::V30).unwrap();
    let mut episode = writer.begin("lift");
    for at in 0..11 {
        let (observation, action) = step(at);
        episode.push(&observation, &action, 0.14 * at as f64).unwrap();
    }
    let recorded = episode.finish().unwrap();
    assert_eq!((recorded.num_steps, recorded.dropped_frames), (11, 4));
    assert!((recorded.effective_hz.unwrap() - 1.0 / 0.14).abs() < 1e-9);
    assert!(recorded.warning.is_some());
    assert!(!fs::read_to_string(dir.join("meta/info.json")).unwrap().contains("capture_time"));
}

#[test]
fn gr00t_finds_its_file_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let writer = LerobotWriter::create(&dir, &spec(), Version::V21).unwrap();
    assert!(!dir.join("meta/modality.json").exists());
    writer.with_modality().unwrap();
    let text = fs::read_to_string(dir.join("meta/modality.json")).unwrap();
    let modality: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(modality["video"]["front"]["original_key"], "observation.images.front");
}
