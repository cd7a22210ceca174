//! What h5py wrote as ALOHA lays it out, value by value. See `tests/golden/make_hdf5.py`.

use crate::hdf5::golden::{FILES, SIZE, golden, numbers, picture};
use crate::{ColumnRef, Mapping, open, open_as};

#[test]
fn episodes_are_read_in_the_order_of_their_numbers() {
    let dataset = open(golden("aloha")).unwrap();
    assert_eq!((dataset.num_episodes(), dataset.spec().control_hz), (3, 50.0));
    let names: Vec<&str> = dataset.spec().views.iter().map(|view| &*view.name).collect();
    assert_eq!(names, ["cam_high", "cam_low"]);
    for (index, (number, length)) in FILES.into_iter().enumerate() {
        let episode = dataset.episode(index).unwrap();
        assert_eq!(episode.num_steps(), length);
        for step in 0..length {
            let observation = episode.observation(step).unwrap();
            assert_eq!(observation.proprio, numbers(14, number, step, 0.125));
            let action = episode.actions(step..step + 1).unwrap();
            assert_eq!(action.values(), numbers(14, number, step, 0.0625));
            for (view, found) in observation.views.iter().enumerate() {
                assert_eq!(found.rgb, picture(number, step, view));
            }
        }
    }
}

#[test]
fn compressed_pictures_have_the_colours_that_were_recorded() {
    let dataset = open(golden("aloha_compressed")).unwrap();
    assert_eq!((dataset.spec().views[0].width, dataset.spec().views[0].height), SIZE);
    for (index, (number, length)) in FILES.into_iter().enumerate() {
        let episode = dataset.episode(index).unwrap();
        for step in 0..length {
            let view = episode.observation(step).unwrap().views.remove(0);
            let colour = [200 - 9 * step, 60 + 10 * number, 40];
            for pixel in view.rgb.pixels().chunks_exact(3) {
                let close = pixel.iter().zip(colour).all(|(&p, c)| usize::from(p).abs_diff(c) <= 3);
                assert!(close, "{pixel:?} for {colour:?}");
            }
        }
    }
}

#[test]
fn what_else_is_recorded_can_be_named() {
    let said = Mapping {
        proprio: vec!["observations/effort[13]".parse().unwrap()],
        action: vec![ColumnRef::whole("observations/qvel")],
        ..Mapping::default()
    };
    let episode = open_as(golden("aloha"), &said).unwrap().episode(2).unwrap();
    assert_eq!(episode.proprio(1).unwrap(), &numbers(14, 10, 1, 0.5)[13..]);
    assert_eq!(episode.actions(1..2).unwrap().values(), numbers(14, 10, 1, 0.25));
}

#[test]
fn an_episode_that_is_none_says_which_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, from) in [("episode_0", "aloha/episode_0.hdf5"), ("episode_1", "low_dim.hdf5")] {
        std::fs::copy(golden(from), folder.path().join(format!("{name}.hdf5"))).unwrap();
    }
    let error = open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("`action`: expected a dataset, found none"), "{error}");
    assert!(error.contains("episode_1.hdf5"), "{error}");
}
