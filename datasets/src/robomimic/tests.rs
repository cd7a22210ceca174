//! What h5py wrote as robomimic lays it out, value by value. See `tests/golden/make_hdf5.py`.

use engraft_core::ViewSpec;

use crate::hdf5::golden::{SIZE, depth, golden, numbers, picture};
use crate::{ColumnRef, Dataset, Mapping, Role, ViewRef, open, open_as};

/// Number and length of each demonstration, by number.
const LENGTHS: [(usize, usize); 4] = [(0, 4), (1, 3), (3, 5), (10, 2)];

fn check(dataset: &dyn Dataset, demos: &[(usize, usize)], has_pictures: bool) {
    assert_eq!(dataset.num_episodes(), demos.len());
    for (index, &(number, length)) in demos.iter().enumerate() {
        let episode = dataset.episode(index).unwrap();
        assert_eq!((episode.num_steps(), episode.task()), (length, "Lift"));
        for step in 0..length {
            let observation = episode.observation(step).unwrap();
            let parts = [(3, 0.125), (4, 0.25), (2, 0.5)];
            let proprio = parts.map(|(width, scale)| numbers(width, number, step, scale));
            assert_eq!(observation.proprio, proprio.concat());
            let action = episode.actions(step..step + 1).unwrap();
            assert_eq!(action.values(), numbers(7, number, step, 0.0625));
            assert_eq!(observation.views.len(), if has_pictures { 2 } else { 0 });
            for (view, found) in observation.views.iter().enumerate() {
                assert_eq!(found.rgb, picture(number, step, view));
                let metres = (view == 0).then(|| depth(number, step, 0));
                assert_eq!(found.depth, metres);
            }
        }
    }
}

#[test]
fn every_layout_that_h5py_writes_holds_the_same_values() {
    for name in ["image.hdf5", "latest.hdf5"] {
        let dataset = open(golden(name)).unwrap();
        let view = |name: &str, depth| ViewSpec {
            name: name.into(),
            width: SIZE.0,
            height: SIZE.1,
            depth,
        };
        let spec = dataset.spec();
        assert_eq!(spec.views, [view("agentview", true), view("robot0_eye_in_hand", false)]);
        assert_eq!((spec.control_hz, &*spec.name), (20.0, "Panda"));
        check(&*dataset, &LENGTHS, true);
    }
    check(&*open(golden("low_dim.hdf5")).unwrap(), &LENGTHS, false);
}

#[test]
fn what_the_file_says_wrong_and_what_not_every_demonstration_has_are_warnings() {
    let info = open(golden("image.hdf5")).unwrap().info().unwrap();
    let warnings = info.warnings.join("\n");
    assert!(warnings.contains("demo_3: num_samples = 6, the data has 5"), "{warnings}");
    assert!(warnings.contains("`obs/sometimes` is left out: it is not in demo_10"), "{warnings}");
    assert!(!warnings.contains("total"), "{warnings}");
    let role = |name: &str| info.features.iter().find(|f| f.name == name).map(|f| f.role);
    assert_eq!(role("obs/agentview_depth"), Some(Role::Depth));
    assert_eq!(role("obs/robot0_eef_pos"), Some(Role::Proprio));
    assert_eq!(role("obs/object"), Some(Role::Other));
    assert_eq!(role("obs/sometimes"), None);
    assert_eq!(role("next_obs/object"), None);
}

#[test]
fn a_mask_picks_demonstrations_by_name() {
    let masked = |mask: &str| {
        let said = Mapping { mask: Some(mask.into()), ..Mapping::default() };
        open_as(golden("low_dim.hdf5"), &said)
    };
    check(&*masked("train").unwrap(), &[LENGTHS[0], LENGTHS[2]], false);
    check(&*masked("valid").unwrap(), &[LENGTHS[3]], false);
    let error = masked("trian").err().unwrap().to_string();
    assert!(error.contains("`mask`: expected one of the masks train, valid, wrong, found trian"));
    let error = masked("wrong").err().unwrap().to_string();
    assert!(error.contains("`mask/wrong`: expected the name of a demonstration"), "{error}");
    assert!(error.contains("found demo_7"), "{error}");
}

#[test]
fn any_column_can_be_named() {
    let said = Mapping {
        proprio: vec![ColumnRef::whole("obs/object"), "states[2:4]".parse().unwrap()],
        action: vec![ColumnRef::whole("action_dict/abs_pos"), ColumnRef::whole("rewards")],
        view: vec![ViewRef::new("hand", "obs/robot0_eye_in_hand_image")],
        ..Mapping::default()
    };
    let dataset = open_as(golden("image.hdf5"), &said).unwrap();
    let episode = dataset.episode(2).unwrap();
    let proprio = [&numbers(10, 3, 4, 1.0)[..], &numbers(9, 3, 4, 2.0)[2..4]].concat();
    assert_eq!(episode.proprio(4).unwrap(), proprio);
    let action = [&numbers(3, 3, 4, 0.5)[..], &[4.0]].concat();
    assert_eq!(episode.actions(4..5).unwrap().values(), action);
    assert_eq!(episode.observation(4).unwrap().views[0].rgb, picture(3, 4, 1));
}

#[test]
fn a_folder_with_one_file_opens_as_that_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("low_dim.hdf5"), folder.path().join("demo.hdf5")).unwrap();
    let dataset = open(folder.path()).unwrap();
    check(&*dataset, &LENGTHS, false);
    let same = open(golden("low_dim.hdf5")).unwrap();
    assert_eq!(dataset.fingerprint().unwrap(), same.fingerprint().unwrap());
    let other = open(golden("image.hdf5")).unwrap();
    assert_ne!(dataset.fingerprint().unwrap(), other.fingerprint().unwrap());
}
