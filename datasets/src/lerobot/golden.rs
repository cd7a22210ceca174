//! What the lerobot package itself wrote. Both datasets, and the formulas, come from
//! `tests/golden/make_lerobot.py` (lerobot 0.4.4 for v3.0, 0.3.3 for v2.1).

use std::path::{Path, PathBuf};

use engraft_core::{Dimension, RgbImage, ViewSpec};

use super::{Version, numbers::FeatureStats};
use crate::{Examination, LerobotWriter, Severity, examine, open, stats};

const LENGTHS: [usize; 3] = [5, 8, 3];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

fn picture(episode: usize, step: usize, view: usize) -> RgbImage {
    let (width, height) = [(16, 12), (10, 8)][view];
    let value = |y: usize, x: usize, c: usize| {
        (7 * x + 13 * y + 50 * c + 3 * step + 11 * episode + 29 * view) % 256
    };
    let pixels = (0..height * width * 3).map(|i| value(i / 3 / width, i / 3 % width, i % 3) as u8);
    RgbImage::new(width, height, pixels.collect()).unwrap()
}

#[test]
fn what_lerobot_writes_is_read_value_by_value() {
    for (name, version) in [("lerobot_v30", Version::V30), ("lerobot_v21", Version::V21)] {
        let dataset = open(golden(name)).unwrap();
        assert_eq!(dataset.info().unwrap().format, format!("LeRobot {version}"));
        let spec = dataset.spec();
        let view =
            |name: &str, width, height| ViewSpec { name: name.into(), width, height, depth: false };
        assert_eq!(spec.views, [view("front", 16, 12), view("wrist", 10, 8)]);
        assert_eq!(spec.actions, ["shoulder", "elbow"].map(|name| Dimension::new(name, "")));
        assert_eq!((spec.control_hz, &*spec.name), (10.0, "sample_arm"));
        for (index, length) in LENGTHS.into_iter().enumerate() {
            let episode = dataset.episode(index).unwrap();
            assert_eq!(episode.num_steps(), length);
            assert_eq!(episode.task(), ["open the drawer", "schließe die \"Tür\""][index % 2]);
            for step in 0..length {
                let at = (index * 100 + step) as f32;
                let observation = episode.observation(step).unwrap();
                assert_eq!(observation.proprio, [0.0, 1.0, 2.0].map(|i| at * 0.125 + i));
                let action = episode.actions(step..step + 1).unwrap();
                assert_eq!(action.values(), [0.0, 1.0].map(|i| at * 0.0625 - i));
                for (view, found) in observation.views.iter().enumerate() {
                    assert_eq!(found.rgb, picture(index, step, view));
                }
            }
        }
        let warnings = dataset.info().unwrap().warnings;
        assert_eq!(warnings, ["units are not known: nothing in the dataset says them"]);
    }
}

#[test]
fn our_statistics_are_those_of_lerobot() {
    let dataset = open(golden("lerobot_v30")).unwrap();
    let ours = stats(&*dataset, &[0, 1, 2]).unwrap();
    let text = std::fs::read_to_string(golden("lerobot_v30").join("meta/stats.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(FeatureStats::from_json(&all["action"]).is_some());
    for (ours, name) in [(ours.proprio, "observation.state"), (ours.actions, "action")] {
        assert_eq!(ours.count, 16);
        for (values, part) in
            [(ours.mean, "mean"), (ours.std, "std"), (ours.min, "min"), (ours.max, "max")]
        {
            for (i, value) in values.into_iter().enumerate() {
                let theirs = all[name][part][i].as_f64().unwrap();
                let close = (f64::from(value) - theirs).abs() <= 1e-5 * theirs.abs().max(1.0);
                assert!(close, "{name}/{part}: {value} for {theirs}");
            }
        }
    }
}

#[test]
fn a_recording_of_lerobot_is_carried_on() {
    for name in ["lerobot_v30", "lerobot_v21"] {
        let folder = copy(name);
        let dataset = open(folder.path()).unwrap();
        let source = dataset.episode(1).unwrap();
        let steps = (0..2).map(|at| {
            let action = source.actions(at..at + 1).unwrap().values().to_vec();
            (source.observation(at).unwrap(), action)
        });
        let mut writer = LerobotWriter::append(folder.path()).unwrap();
        assert_eq!(writer.add_episode("open the drawer", steps).unwrap(), 3);
        let dataset = open(folder.path()).unwrap();
        assert_eq!((dataset.num_episodes(), dataset.num_steps()), (4, 18));
        let copy = dataset.episode(3).unwrap().observation(1).unwrap();
        assert_eq!(copy, source.observation(1).unwrap());
    }
}

/// What lerobot decoded of a camera: all frames one below the other.
fn expected(name: &str, view: &str, height: usize) -> Vec<RgbImage> {
    let path = golden(name).join(format!("expected_{view}.png"));
    let stacked = image::open(path).unwrap().into_rgb8();
    let width = stacked.width() as usize;
    let frames = stacked.as_raw().chunks_exact(width * height * 3);
    frames.map(|pixels| RgbImage::new(width, height, pixels.to_vec()).unwrap()).collect()
}

#[test]
fn videos_that_lerobot_wrote_are_read_frame_by_frame() {
    for name in ["lerobot_video_v30", "lerobot_video_v21"] {
        let dataset = open(golden(name)).unwrap();
        let heights = [48, 64];
        let all = [expected(name, "front", heights[0]), expected(name, "wrist", heights[1])];
        let mut index = 0;
        for (episode_index, length) in LENGTHS.into_iter().enumerate() {
            let episode = dataset.episode(episode_index).unwrap();
            assert_eq!(episode.num_steps(), length);
            for step in 0..length {
                let observation = episode.observation(step).unwrap();
                assert_eq!(observation.proprio, [episode_index as f32, step as f32]);
                for (view, expected) in observation.views.iter().zip(&all) {
                    let expected = &expected[index];
                    let pairs = view.rgb.pixels().iter().zip(expected.pixels());
                    let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                    // Neighbouring frames differ by 40 and more.
                    assert!(worst <= 2, "{name}, frame {index}: {worst} off");
                }
                index += 1;
            }
        }
        assert_eq!(all.map(|frames| frames.len()), [index, index]);
        assert_eq!(dataset.check(), Vec::<String>::new());
    }
}

#[test]
fn the_doctor_finds_videos_sound_until_one_is_cut_short() {
    for name in ["lerobot_video_v30", "lerobot_video_v21"] {
        let folder = copy(name);
        let look = |every_picture| {
            let options = Examination { every_picture, ..Examination::default() };
            let found = examine(&*open(folder.path()).unwrap(), &options, &mut |_, _| {});
            let bad = found.findings.into_iter().filter(|one| one.severity != Severity::Note);
            bad.map(|one| (one.check, one.episode)).collect::<Vec<_>>()
        };
        assert_eq!(look(true), []);
        let video = files(folder.path()).into_iter().find(|path| {
            path.to_string_lossy().contains("wrist") && path.extension().unwrap() == "mp4"
        });
        let video = std::fs::File::options().write(true).open(video.unwrap()).unwrap();
        video.set_len(video.metadata().unwrap().len() / 2).unwrap();
        let found = look(false);
        assert!(found.contains(&("unreadable-video", None)), "{found:?}");
        assert!(found.iter().any(|(check, _)| *check == "unreadable-episode"), "{found:?}");
    }
}

/// A golden dataset in a folder of its own.
fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = golden(name);
    for file in files(&from) {
        let to = folder.path().join(file.strip_prefix(&from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
