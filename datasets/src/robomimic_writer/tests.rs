//! What we write is what we read. h5py judges it in `tests/judges/hdf5_light.py`.

use std::fs;

use engraft_core::{DepthImage, Dimension, RgbImage, View, ViewSpec};

use super::*;
use crate::{Mapping, open, open_as};

fn spec() -> RobotSpec {
    let view = |name: &str, depth| ViewSpec { name: name.into(), width: 5, height: 4, depth };
    RobotSpec {
        name: "arm".into(),
        control_hz: 12.5,
        views: vec![view("wrist", false), view("front_rgb", true)],
        proprio: vec![Dimension::new("elbow", "rad"), Dimension::new("gripper", "1")],
        actions: vec![Dimension::new("elbow", "rad").within(-1.0, 1.0)],
    }
}

fn step(episode: usize, step: usize) -> (Observation, Vec<f32>) {
    let pixels = |view: usize| (0..60).map(|i| (i * 3 + step * 7 + episode + view) as u8).collect();
    let rgb = |view| RgbImage::new(5, 4, pixels(view)).unwrap();
    let metres = (0..20).map(|i| (i + step) as f32 * 0.3).collect();
    let depth = DepthImage::new(5, 4, metres).unwrap();
    let views = vec![View { rgb: rgb(0), depth: None }, View { rgb: rgb(1), depth: Some(depth) }];
    let at = (100 * episode + step) as f32;
    (Observation { views, proprio: vec![at, -at] }, vec![at / 3.0])
}

#[test]
fn what_is_written_is_read_again_with_the_same_robot() {
    let folder = tempfile::tempdir().unwrap();
    for gzip in [None, Some(4)] {
        let path = folder.path().join(format!("{gzip:?}.hdf5"));
        let mut writer = RobomimicWriter::create(&path, &spec()).unwrap();
        writer = if let Some(level) = gzip { writer.with_gzip(level) } else { writer };
        for episode in 0..40 {
            // More rows than a node of the tree has room for, and more than a level of nodes.
            let length = if episode == 7 { 4200 } else { 1 + episode };
            let steps = (0..length).map(|at| step(episode, at));
            writer.add_episode(&format!("task {}", episode % 3), steps).unwrap();
        }
        writer.add_mask("valid", &[11, 2]).unwrap();
        assert!(!path.exists());
        writer.finish().unwrap();
        let dataset = open(&path).unwrap();
        assert_eq!((dataset.spec(), dataset.num_episodes()), (&spec(), 40));
        assert_eq!(dataset.info().unwrap().warnings, Vec::<String>::new());
        for episode in [0, 7, 10, 39] {
            let read = dataset.episode(episode).unwrap();
            assert_eq!(read.task(), format!("task {}", episode % 3));
            for at in (0..read.num_steps()).step_by(97) {
                let (observation, action) = step(episode, at);
                assert_eq!(read.observation(at).unwrap(), observation);
                assert_eq!(read.actions(at..at + 1).unwrap().values(), action);
            }
        }
        let said = Mapping { mask: Some("valid".into()), ..Mapping::default() };
        let valid = open_as(&path, &said).unwrap();
        assert_eq!((valid.episode_len(0), valid.episode_len(1)), (3, 12));
    }
}

#[test]
fn thousands_of_episodes_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.hdf5");
    let small = RobotSpec { views: vec![], ..spec() };
    let mut writer = RobomimicWriter::create(&path, &small).unwrap();
    for episode in 0..3000 {
        let (observation, action) = step(episode, 0);
        let observation = Observation { views: vec![], ..observation };
        writer.add_episode("", [(observation, action)]).unwrap();
    }
    writer.finish().unwrap();
    let dataset = open(&path).unwrap();
    assert_eq!(dataset.num_episodes(), 3000);
    for episode in (0..3000).step_by(7) {
        let read = dataset.episode(episode).unwrap();
        assert_eq!(read.proprio(0).unwrap()[0], 100.0 * episode as f32);
    }
}

#[test]
fn a_step_that_does_not_fit_leaves_the_episodes_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.hdf5");
    let mut writer = RobomimicWriter::create(&path, &spec()).unwrap();
    writer.add_episode("a", [step(0, 0), step(0, 1)]).unwrap();
    let wrong = |change: fn(&mut (Observation, Vec<f32>))| {
        let mut step = step(1, 1);
        change(&mut step);
        step
    };
    for bad in [
        wrong(|step| step.1.push(0.0)),
        wrong(|step| step.0.proprio[1] = f32::NAN),
        wrong(|step| step.0.views.truncate(1)),
        wrong(|step| step.0.views[1].depth = None),
        wrong(|step| step.0.views[0].rgb = RgbImage::filled(4, 5, [0; 3])),
    ] {
        let error = writer.add_episode("b", [step(1, 0), bad]).unwrap_err();
        assert!(error.to_string().starts_with("step 1 of the new episode"), "{error}");
    }
    assert!(writer.add_episode("c", []).is_err());
    assert!(writer.add_mask("train", &[1]).is_err() && writer.add_mask("a/b", &[0]).is_err());
    writer.finish().unwrap();
    let dataset = open(&path).unwrap();
    assert_eq!((dataset.num_episodes(), dataset.num_steps()), (1, 2));
    assert!(matches!(RobomimicWriter::create(&path, &spec()), Err(DatasetError::Exists { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_was_not_finished_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = RobomimicWriter::create(folder.path().join("a.hdf5"), &spec()).unwrap();
    writer.add_episode("a", [step(0, 0)]).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
