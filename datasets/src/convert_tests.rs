//! Copies that are the same, and copies that are not.

use std::path::{Path, PathBuf};

use engraft_core::{DepthImage, Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};

use crate::{
    Dataset, LerobotWriter, SplitPart, Step, Version, convert, merge, open, split_off, verify,
};

fn spec(unit: &str) -> RobotSpec {
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![ViewSpec { name: "front".into(), width: 8, height: 6, depth: true }],
        proprio: vec![Dimension::new("lift", "m")],
        actions: vec![Dimension::new("lift", unit)],
    }
}

fn step(episode: usize, at: usize) -> Step {
    let pixels = (0..144).map(|i| (i + 5 * at + 3 * episode) as u8).collect();
    let depth = DepthImage::new(8, 6, vec![0.25 + at as f32 / 64.0; 48]).unwrap();
    let view = View { rgb: RgbImage::new(8, 6, pixels).unwrap(), depth: Some(depth) };
    let lift = episode as f32 + 0.1 * at as f32;
    (Observation { views: vec![view], proprio: vec![lift] }, vec![lift + 0.1])
}

fn written(dir: &Path, unit: &str, episodes: &[usize]) -> Box<dyn Dataset> {
    let mut writer = LerobotWriter::create(dir, &spec(unit), Version::V30).unwrap();
    for &episode in episodes {
        let steps = (0..40 + episode).map(|at| step(episode, at));
        writer.add_episode(["lift", "lower"][episode % 2], steps).unwrap();
    }
    open(dir).unwrap()
}

fn quiet() -> impl FnMut(u64, u64) {
    |_, _| {}
}

#[test]
fn a_copy_in_another_version_is_the_same_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let from = written(&folder.path().join("from"), "m", &[0, 1, 2]);
    let dir = folder.path().join("to");
    let mut writer = LerobotWriter::create(&dir, from.spec(), Version::V21).unwrap();
    let mut told = Vec::new();
    let converted =
        convert(&*from, &mut writer, &[2, 0], &mut |done, of| told.push((done, of))).unwrap();
    assert_eq!((converted.num_episodes, converted.num_steps), (2, 82));
    assert_eq!(told, (1..=82).map(|done| (done, 82)).collect::<Vec<_>>());
    let to = open(&dir).unwrap();
    assert_eq!(verify(&*from, &*to, &[2, 0], 0, &mut quiet()), Vec::<String>::new());
    assert_eq!(to.info().unwrap().warnings, Vec::<String>::new());
    // Held against other episodes, every one of them is told.
    let differences = verify(&*from, &*to, &[0, 2], 0, &mut quiet());
    assert_eq!(
        differences,
        [
            "episode 0, copied from 0: expected 40 steps, found 42",
            "episode 1, copied from 2: expected 42 steps, found 40",
        ]
    );
    assert_eq!(
        verify(&*from, &*to, &[1], 0, &mut quiet()),
        [
            "episodes: expected 1, found 2",
            "episode 0, copied from 1: task: expected \"lower\", found \"lift\"",
        ]
    );
    assert!(convert(&*from, &mut writer, &[3], &mut quiet()).is_err());
}

#[test]
fn one_number_or_one_pixel_is_enough_to_differ() {
    let folder = tempfile::tempdir().unwrap();
    let from = written(&folder.path().join("from"), "m", &[0]);
    let changed = |name: &str, change: fn(&mut Step)| {
        let dir = folder.path().join(name);
        let mut writer = LerobotWriter::create(&dir, from.spec(), Version::V30).unwrap();
        let steps = (0..40).map(|at| {
            let mut step = step(0, at);
            if at == 33 {
                change(&mut step);
            }
            step
        });
        writer.add_episode("lift", steps).unwrap();
        open(&dir).unwrap()
    };
    let action = changed("action", |(_, action)| action[0] = 3.5);
    let expected =
        "episode 0, copied from 0: step 33: action, dimension 0: expected 3.3999999, found 3.5";
    let found = verify(&*from, &*action, &[0], 0, &mut quiet());
    assert!(found.len() == 1 && found[0].starts_with(&expected[..60]), "{found:?}");
    let pixel = changed("pixel", |(seen, _)| seen.views[0].rgb.pixels_mut()[7] += 2);
    assert_eq!(
        verify(&*from, &*pixel, &[0], 1, &mut quiet()),
        ["episode 0, copied from 0: step 33: view 0: pixels differ by up to 2, allowed 1"]
    );
    assert_eq!(verify(&*from, &*pixel, &[0], 2, &mut quiet()), Vec::<String>::new());
    let depth = changed("depth", |(seen, _)| {
        seen.views[0].depth = Some(DepthImage::new(8, 6, vec![2.0; 48]).unwrap());
    });
    let found = verify(&*from, &*depth, &[0], 0, &mut quiet());
    assert!(found.len() == 1 && found[0].ends_with("found 2 m"), "{found:?}");
}

#[test]
fn datasets_of_one_robot_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let a = written(&folder.path().join("a"), "m", &[0, 1]);
    let b = written(&folder.path().join("b"), "m", &[2]);
    let out = folder.path().join("out");
    let mut last = (0, 0);
    let merged = merge(&[&*a, &*b], &out, Version::V30, &mut |done, of| last = (done, of));
    let merged = merged.unwrap();
    assert_eq!((merged.num_episodes, merged.num_steps, last), (3, 123, (246, 246)));
    let whole = open(&out).unwrap();
    let tasks: Vec<&str> = (0..3).map(|episode| whole.task(episode)).collect();
    assert_eq!(tasks, ["lift", "lower", "lift"]);
    assert_eq!(whole.info().unwrap().tasks, ["lift", "lower"]);
    let other = written(&folder.path().join("other"), "mm", &[0]);
    let refused = merge(&[&*a, &*other], &folder.path().join("no"), Version::V30, &mut quiet());
    let error = refused.unwrap_err().to_string();
    let expected = "`robot: actions`: expected lift [m], found lift [mm] (path: ";
    assert!(error.starts_with(expected) && error.contains("other"), "{error}");
    assert!(!folder.path().join("no").exists());
    assert!(merge(&[], &folder.path().join("no"), Version::V30, &mut quiet()).is_err());
}

#[test]
fn a_dataset_becomes_several() {
    let folder = tempfile::tempdir().unwrap();
    let from = written(&folder.path().join("from"), "m", &[0, 1, 2]);
    let part = |name: &str, episodes: &[usize]| {
        let out: PathBuf = folder.path().join(name);
        SplitPart { out, episodes: episodes.to_vec() }
    };
    let parts = [part("train", &[2, 0]), part("val", &[1])];
    let converted = split_off(&*from, &parts, Version::V21, &mut quiet()).unwrap();
    assert_eq!(converted.iter().map(|one| one.num_episodes).collect::<Vec<_>>(), [2, 1]);
    let val = open(&parts[1].out).unwrap();
    assert_eq!((val.num_episodes(), val.num_steps(), val.task(0)), (1, 41, "lower"));
    let twice = [part("a", &[0, 1]), part("b", &[1])];
    let error = split_off(&*from, &twice, Version::V21, &mut quiet()).unwrap_err().to_string();
    assert!(error.starts_with("`parts`: expected each episode once, found episode 1 twice"));
    assert!(!folder.path().join("a").exists());
}
