//! Each defect planted in a sound dataset, and found where it was planted.

use std::path::PathBuf;

use engraft_core::{Dimension, Observation, RgbImage, RobotSpec, View, ViewSpec};

use super::*;
use crate::{LerobotWriter, Step, Version, open};

const STEPS: usize = 40;
const EPISODES: usize = 6;

fn spec() -> RobotSpec {
    let view = |name: &str| ViewSpec { name: name.into(), width: 32, height: 24, depth: false };
    let joints = || {
        let named = [("shoulder", "rad"), ("elbow", "rad"), ("gripper", "1")];
        named.map(|(name, unit)| Dimension::new(name, unit)).to_vec()
    };
    RobotSpec {
        name: "arm".into(),
        control_hz: 10.0,
        views: vec![view("front"), view("wrist")],
        proprio: joints(),
        actions: joints(),
    }
}

/// Where the arm is.
fn place(episode: usize, at: usize) -> Vec<f32> {
    let (e, t) = (episode as f32, at as f32);
    let gripper = if at > 25 + episode { 1.0 } else { 0.0 };
    vec![0.8 * (0.21 * t + 0.7 * e).sin(), 0.5 * (0.13 * t + 0.4 * e).cos() + 0.1, gripper]
}

fn picture(view: usize, episode: usize, at: usize) -> RgbImage {
    let mut picture = RgbImage::filled(32, 24, [0; 3]);
    for (i, pixel) in picture.pixels_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % 32, i / 32);
        let lit = (x / 4 + y / 4 + at).is_multiple_of(11);
        let base = [[170 - y, 90 + x, 30 + x], [40 + y, 60 + 2 * y, 190 - x]][view];
        let value = |base: usize| (base + 2 * episode + if lit { 20 } else { 0 }) as u8;
        pixel.copy_from_slice(&base.map(value));
    }
    picture
}

fn step(episode: usize, at: usize) -> Step {
    let view = |view| View { rgb: picture(view, episode, at), depth: None };
    let views = vec![view(0), view(1)];
    (Observation { views, proprio: place(episode, at) }, place(episode, at + 1))
}

struct Planted {
    _folder: tempfile::TempDir,
    dir: PathBuf,
}

/// A dataset whose steps `plant` changes; it gives the task of each episode.
fn planted(plant: impl Fn(usize, &mut Vec<Step>) -> &'static str) -> Planted {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("set");
    let mut writer = LerobotWriter::create(&dir, &spec(), Version::V30).unwrap();
    for episode in 0..EPISODES {
        let mut steps: Vec<Step> = (0..STEPS).map(|at| step(episode, at)).collect();
        let task = plant(episode, &mut steps);
        writer.add_episode(task, steps).unwrap();
    }
    Planted { _folder: folder, dir }
}

/// Check, episode and step of every error and warning.
fn troubles(
    set: &Planted,
    options: &Examination,
) -> Vec<(&'static str, Option<usize>, Option<usize>)> {
    let mut last = (0, 0);
    let diagnosis = examine(&*open(&set.dir).unwrap(), options, &mut |done, of| last = (done, of));
    assert_eq!(last, (2 * EPISODES as u64, 2 * EPISODES as u64));
    let bad = diagnosis.findings.into_iter().filter(|found| found.severity != Severity::Note);
    bad.map(|found| (found.check, found.episode, found.step)).collect()
}

fn notes(set: &Planted) -> Vec<(&'static str, Option<usize>)> {
    let found = examine(&*open(&set.dir).unwrap(), &Examination::default(), &mut |_, _| {});
    assert!(found.is_healthy(), "{:?}", found.findings);
    found.findings.into_iter().map(|found| (found.check, found.episode)).collect()
}

fn found(
    plant: impl Fn(usize, &mut Vec<Step>) -> &'static str,
) -> Vec<(&'static str, Option<usize>, Option<usize>)> {
    troubles(&planted(plant), &Examination::default())
}

#[test]
fn a_sound_dataset_is_left_alone() {
    let set = planted(|_, _| "open the drawer");
    let dataset = open(&set.dir).unwrap();
    for every_picture in [false, true] {
        let options = Examination { every_picture, ..Examination::default() };
        let diagnosis = examine(&*dataset, &options, &mut |_, _| {});
        assert_eq!(diagnosis.findings, []);
        let seen = if every_picture { STEPS } else { STEPS / 5 };
        assert_eq!(diagnosis.num_steps_seen, EPISODES * seen);
        assert_eq!((diagnosis.num_episodes, diagnosis.num_steps), (EPISODES, EPISODES * STEPS));
    }
}

#[test]
fn what_lerobot_wrote_is_healthy() {
    for name in ["lerobot_v30", "lerobot_v21"] {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let options = Examination { every_picture: true, ..Examination::default() };
        let diagnosis = examine(&*open(dir.join(name)).unwrap(), &options, &mut |_, _| {});
        assert!(diagnosis.is_healthy(), "{name}: {:#?}", diagnosis.findings);
    }
}

#[test]
fn a_dimension_that_never_moves_is_named() {
    let all = found(|_, steps| {
        for (observation, _) in steps.iter_mut() {
            observation.proprio[1] = 0.25;
        }
        "open"
    });
    assert_eq!(all, [("constant-dimension", None, None)]);
    let one = planted(|episode, steps| {
        if episode == 3 {
            for (_, action) in steps.iter_mut() {
                action[1] = 0.25;
            }
        }
        "open"
    });
    assert_eq!(notes(&one), [("constant-dimension", Some(3))]);
}

#[test]
fn a_frozen_camera_is_found_to_the_step() {
    let plant = |episode: usize, steps: &mut Vec<Step>| {
        if episode == 4 {
            let frozen = steps[7].0.views[1].rgb.clone();
            steps[7..22].iter_mut().for_each(|(observation, _)| {
                observation.views[1].rgb = frozen.clone();
            });
        }
        "open"
    };
    assert_eq!(found(plant), [("frozen-camera", Some(4), Some(7))]);
    // For as long as it is allowed, nothing is said.
    let patient = Examination { frozen_secs: 2.0, ..Examination::default() };
    assert_eq!(troubles(&planted(plant), &patient), []);
}

#[test]
fn a_still_camera_before_a_still_arm_is_right() {
    let set = planted(|episode, steps| {
        if episode == 4 {
            let (still, hold) = (steps[0].0.clone(), place(4, 0));
            for (observation, action) in &mut steps[..15] {
                *observation = still.clone();
                action.clone_from(&hold);
            }
        }
        "open"
    });
    assert_eq!(notes(&set), [("stationary", Some(4))]);
}

#[test]
fn red_and_blue_that_are_swapped_are_found() {
    let all = found(|episode, steps| {
        if episode == 2 {
            for (observation, _) in steps {
                for view in &mut observation.views {
                    view.rgb.pixels_mut().chunks_exact_mut(3).for_each(|rgb| rgb.swap(0, 2));
                }
            }
        }
        "open"
    });
    assert_eq!(all, [("swapped-channels", Some(2), None), ("swapped-channels", Some(2), None)]);
}

#[test]
fn another_light_is_no_swap() {
    let all = found(|episode, steps| {
        if episode == 2 {
            for (observation, _) in steps {
                let pixels = observation.views.iter_mut().flat_map(|view| view.rgb.pixels_mut());
                pixels.for_each(|value| *value = (f32::from(*value) * 0.5) as u8);
            }
        }
        "open"
    });
    assert_eq!(all, []);
}

#[test]
fn cameras_that_are_swapped_are_found() {
    let all = found(|episode, steps| {
        if episode == 5 {
            for (observation, _) in steps.iter_mut() {
                observation.views.swap(0, 1);
            }
        }
        "open"
    });
    assert_eq!(all, [("swapped-cameras", Some(5), None)]);
}

#[test]
fn a_gripper_that_goes_the_other_way_is_found() {
    let everywhere = found(|_, steps| {
        for (_, action) in steps.iter_mut() {
            action[2] = 1.0 - action[2];
        }
        "open"
    });
    assert_eq!(everywhere, [("gripper-sign", None, None)]);
    let in_one = found(|episode, steps| {
        if episode == 1 {
            for (_, action) in steps.iter_mut() {
                action[2] = 1.0 - action[2];
            }
        }
        "open"
    });
    assert_eq!(in_one, [("gripper-sign", Some(1), None)]);
    let with_its_action = found(|episode, steps| {
        if episode == 1 {
            for (observation, action) in steps {
                action[2] = 1.0 - action[2];
                observation.proprio[2] = 1.0 - observation.proprio[2];
            }
        }
        "open"
    });
    assert_eq!(with_its_action, [("gripper-sign", Some(1), None)]);
    let negated = found(|episode, steps| {
        if episode == 1 {
            for (observation, action) in steps {
                action[2] = -action[2];
                observation.proprio[2] = -observation.proprio[2];
            }
        }
        "open"
    });
    assert_eq!(negated, [("gripper-sign", Some(1), None)]);
}

#[test]
fn an_episode_that_stands_twice_is_found() {
    let all = found(|episode, steps| {
        if episode == 4 {
            *steps = (0..STEPS).map(|at| step(1, at)).collect();
        }
        "open"
    });
    assert_eq!(all, [("duplicate-episode", Some(4), None)]);
    let actions_alone = planted(|episode, steps| {
        if episode == 4 {
            steps.iter_mut().enumerate().for_each(|(at, (_, action))| *action = place(1, at + 1));
        }
        "open"
    });
    assert_eq!(notes(&actions_alone), [("same-actions", Some(4))]);
}

#[test]
fn an_episode_in_other_units_is_found() {
    for (factor, joint) in [(180.0 / std::f32::consts::PI, 0), (1000.0, 1), (0.001, 1)] {
        let all = found(|episode, steps| {
            if episode == 3 {
                for (_, action) in steps.iter_mut() {
                    action[joint] *= factor;
                }
            }
            "open"
        });
        assert_eq!(all, [("unit-change", Some(3), None)], "{factor}");
    }
    // Three times as much is a large movement and no other unit.
    let all = found(|episode, steps| {
        if episode == 3 {
            for (_, action) in steps.iter_mut() {
                action[0] *= 3.0;
            }
        }
        "open"
    });
    assert_eq!(all, []);
}

#[test]
fn an_angle_that_wraps_is_found_to_the_step() {
    let all = found(|episode, steps| {
        for (at, (_, action)) in steps.iter_mut().enumerate() {
            let angle = if episode == 2 { 2.9 + 0.02 * at as f32 } else { 0.02 * at as f32 };
            let turn = std::f32::consts::TAU;
            action[0] = if angle > turn / 2.0 { angle - turn } else { angle };
        }
        "open"
    });
    assert_eq!(all, [("angle-wrap", Some(2), Some(13))]);
}

#[test]
fn a_value_far_outside_and_a_leap_are_found_to_the_step() {
    let outside = found(|episode, steps| {
        if episode == 5 {
            steps[17].1[0] = 90.0;
        }
        "open"
    });
    assert_eq!(outside, [("outlier", Some(5), Some(17))]);
    let leap = found(|episode, steps| {
        if episode == 5 {
            steps[17].0.proprio[0] = 2.5;
        }
        "open"
    });
    assert!(matches!(leap[..], [("leap", Some(5), Some(17 | 18))]), "{leap:?}");
}

#[test]
fn lengths_and_tasks_that_stick_out_are_told() {
    let short = found(|episode, steps| {
        if episode == 0 {
            steps.truncate(2);
        }
        "open"
    });
    assert_eq!(short, [("short-episode", Some(0), None)]);
    let long = planted(|episode, steps| {
        if episode != 2 {
            steps.truncate(6);
        }
        "open"
    });
    let notes_of_long = notes(&long);
    // The others end before the gripper closes.
    let told = notes_of_long.iter().filter(|(check, _)| *check != "constant-dimension");
    assert_eq!(told.collect::<Vec<_>>(), [&("long-episode", Some(2))]);
    let some = found(|episode, _| if episode == 3 { "" } else { "open" });
    assert_eq!(some, [("empty-task", Some(3), None)]);
    assert_eq!(notes(&planted(|_, _| "")), [("empty-task", None)]);
    let spelled = planted(|episode, _| if episode == 3 { "Open drawer." } else { "open drawer" });
    assert_eq!(notes(&spelled), [("similar-tasks", None)]);
}

#[test]
fn actions_that_are_what_was_sensed_are_no_actions() {
    let all = found(|_, steps| {
        for (observation, action) in steps {
            action.clone_from(&observation.proprio);
        }
        "open"
    });
    assert_eq!(all, [("action-is-proprio", None, None)]);
    let one = found(|episode, steps| {
        if episode == 1 {
            for (observation, action) in steps {
                action.clone_from(&observation.proprio);
            }
        }
        "open"
    });
    assert_eq!(one, [("action-is-proprio", Some(1), None)]);
}

#[test]
fn many_findings_of_a_kind_are_counted() {
    let make = |episode| Finding::warning("leap", "far").in_episode(episode);
    let mut findings: Vec<Finding> = (0..70).rev().map(make).collect();
    findings.push(Finding::note("empty-task", "none"));
    findings.push(Finding::error(NOT_FINITE, "NaN").in_episode(9));
    let ordered = in_order(findings);
    assert_eq!(ordered.len(), 53);
    assert_eq!(
        (ordered[0].check, ordered[1].episode, ordered[50].episode),
        (NOT_FINITE, Some(0), Some(49))
    );
    assert_eq!(ordered[51].message, "20 more findings of this kind");
    assert_eq!(ordered[52].severity, Severity::Note);
}
