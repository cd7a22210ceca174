//! What h5py wrote as SpawnNet lays it out, value by value. See `tests/golden/make_hdf5.py`.

use super::*;
use crate::hdf5::golden::{FILES, depth, golden, numbers, picture};
use crate::{open, open_as};

fn rate() -> Mapping {
    Mapping { fps: Some(10.0), ..Mapping::default() }
}

#[test]
fn the_first_trajectory_of_each_file_is_read_view_by_view() {
    let dataset = open_as(golden("spawnnet"), &rate()).unwrap();
    let names: Vec<&str> = dataset.spec().views.iter().map(|view| &*view.name).collect();
    assert_eq!(names, ["view_0", "view_1"]);
    assert!(dataset.spec().views.iter().all(|view| view.depth));
    for (index, (number, length)) in FILES.into_iter().enumerate() {
        let episode = dataset.episode(index).unwrap();
        assert_eq!(episode.num_steps(), length);
        for step in 0..length {
            let observation = episode.observation(step).unwrap();
            assert_eq!(observation.proprio, numbers(7, number, step, 0.125));
            let action = episode.actions(step..step + 1).unwrap();
            assert_eq!(action.values(), numbers(8, number, step, 0.0625));
            for (view, found) in observation.views.iter().enumerate() {
                assert_eq!(found.rgb, picture(number, step, view));
                assert_eq!(found.depth.as_ref(), Some(&depth(number, step, view)));
            }
        }
    }
}

#[test]
fn without_a_rate_the_user_is_asked_for_it() {
    let error = open(golden("spawnnet")).err().unwrap().to_string();
    assert!(error.contains("--fps"), "{error}");
}

#[test]
fn a_pickled_value_is_refused_with_its_place() {
    let error = open_as(golden("pickled"), &rate()).err().unwrap();
    assert!(matches!(error, DatasetError::Pickled { .. }), "{error:?}");
    let error = error.to_string();
    assert!(error.contains("dict_str_traj_9/dict_str_actions"), "{error}");
    assert!(error.contains("traj_2.h5"), "{error}");
}

#[test]
fn keys_are_stripped_of_their_types_and_ordered_by_their_numbers() {
    for (key, name) in
        [("dict_str_obs", "obs"), ("int__3", "3"), ("list_int_0", "0"), ("obs", "obs")]
    {
        assert_eq!(plain(key), name);
    }
    let mut names = ["b2", "a10", "a9x", "a9", "a", "a010b", "a10b"];
    names.sort_by(|a, b| natural(a, b));
    assert_eq!(names, ["a", "a9", "a9x", "a10", "a010b", "a10b", "b2"]);
}
