//! What a whole run promises.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use engraft_policies::Checkpoint;

use crate::testing::{Toy, clean_recipe, frozen_recipe, recipe, until};
use crate::*;

fn toy() -> Arc<Toy> {
    Arc::new(Toy::new(&[6, 7, 8, 5]))
}

/// Every file of the run that another run of the same must equal byte for byte.
fn files(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let (step, state) = crate::state::newest(out).unwrap().unwrap();
    let mut files = BTreeMap::from([("step".to_owned(), step.to_le_bytes().to_vec())]);
    for name in ["best/model.safetensors", "last/model.safetensors", "last/stats.json"] {
        files.insert(name.into(), fs::read(out.join(name)).unwrap());
    }
    // Parameters have random identities, by which both files name and order them.
    let standing = crate::state::standing(&state).unwrap();
    files.insert("best".into(), format!("{:?}", standing.best).into_bytes());
    files.insert("loss".into(), format!("{:?}", standing.epoch_loss).into_bytes());
    let rows = read_metrics(out).unwrap().into_iter();
    let rows =
        rows.map(|row| (row.step, row.loss, row.learning_rate, row.gradient_norm, row.val_loss));
    files.insert("rows".into(), format!("{:?}", rows.collect::<Vec<_>>()).into_bytes());
    files
}

fn run(recipe: &Recipe, out: &Path, options: Options) -> Result<Summary, TrainError> {
    train(recipe, toy(), out, &Device::flex(), options)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn assert_same(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in one {
        assert!(other[name] == *bytes, "{name} differs");
    }
}

#[test]
fn a_run_interrupted_anywhere_ends_bit_for_bit_like_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let accumulating = Recipe { accumulate: 2, batch_size: 2, ..recipe() };
    let adam = Recipe { ema: None, clip: None, ..recipe() };
    for (i, recipe) in [recipe(), accumulating, adam].into_iter().enumerate() {
        let (whole, parts) = (out(&format!("whole-{i}")), out(&format!("parts-{i}")));
        let summary = run(&recipe, &whole, Options::default()).unwrap();
        assert_eq!((summary.ending, summary.step), (Ending::Finished, 12));
        // In the middle of an epoch, at the end of one, and again in the middle.
        let first = run(&recipe, &parts, until(3, false)).unwrap();
        assert_eq!((first.ending, first.step), (Ending::Interrupted, 3));
        assert_eq!(run(&recipe, &parts, until(8, true)).unwrap().step, 8);
        assert_eq!(run(&recipe, &parts, until(9, true)).unwrap().step, 9);
        let last = run(&recipe, &parts, Options { resume: true, ..Options::default() }).unwrap();
        assert_eq!((last.ending, last.best), (Ending::Finished, summary.best));
        assert_same(&files(&whole), &files(&parts));
    }
}

#[test]
fn equal_runs_are_equal_and_seeds_differ() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    for name in ["one", "two"] {
        run(&recipe(), &out(name), Options::default()).unwrap();
    }
    assert_same(&files(&out("one")), &files(&out("two")));
    let other = Recipe { seed: 6, ..recipe() };
    run(&other, &out("other"), Options::default()).unwrap();
    assert_ne!(files(&out("one")), files(&out("other")));
}

#[test]
fn work_that_is_split_over_threads_adds_up_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let policy = toml::from_str("kind = \"lfs\"\nchannels = 16").unwrap();
    let wide = Recipe { policy, batch_size: 24, num_frames: 1, steps: 8, ..recipe() };
    for name in ["one", "two"] {
        run(&wide, &out(name), Options::default()).unwrap();
    }
    assert_same(&files(&out("one")), &files(&out("two")));
    run(&wide, &out("parts"), until(5, false)).unwrap();
    run(&wide, &out("parts"), Options { resume: true, ..Options::default() }).unwrap();
    assert_same(&files(&out("one")), &files(&out("parts")));
}

#[test]
fn a_run_learns() {
    let folder = tempfile::tempdir().unwrap();
    let schedule =
        ScheduleConfig::Cosine { warmup: 10, warmup_share: 0.1, final_share: 0.0, every: 1 };
    let longer = Recipe { steps: 300, epoch_steps: 100, schedule, num_frames: 1, ..recipe() };
    let toy = Arc::new(Toy::new(&[40; 12]));
    let longer = Recipe { batch_size: 16, ..longer };
    train(&longer, toy, folder.path(), &Device::flex(), Options::default()).unwrap();
    let losses: Vec<_> =
        read_metrics(folder.path()).unwrap().iter().filter_map(|row| row.val_loss).collect();
    assert!(losses.len() == 3 && losses[2] < 0.2, "{losses:?}");
    let checkpoint = Checkpoint::open(&checkpoint_dir(folder.path()), &Device::flex()).unwrap();
    assert_eq!(checkpoint.provenance.num_samples, Some(9 * 40));
}

#[test]
fn features_from_disk_and_features_computed_learn_alike() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let recipe = frozen_recipe();
    let cache = FeatureCache { dir: out("features"), budget_bytes: 1 << 30 };
    let cached = Options { features: Some(cache), ..Options::default() };
    let cached = run(&recipe, &out("cached"), cached).unwrap();
    let computed = run(&recipe, &out("computed"), Options::default()).unwrap();
    let (cached, computed) = (cached.val_loss.unwrap(), computed.val_loss.unwrap());
    assert!((cached - computed).abs() < 1e-2 * computed, "{cached} {computed}");
}

#[test]
fn a_backbone_that_sees_clean_pictures_learns_alike_from_disk_and_computed() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let mut recipe = clean_recipe();
    let cache = FeatureCache { dir: out("features"), budget_bytes: 1 << 30 };
    let cached = Options { features: Some(cache.clone()), ..Options::default() };
    let cached = run(&recipe, &out("cached"), cached).unwrap().train_loss;
    let computed = run(&recipe, &out("computed"), Options::default()).unwrap().train_loss;
    assert!((cached - computed).abs() < 2e-2 * computed, "{cached} {computed}");
    // Continued twice from one state, and once more with a pause, it ends alike: the weights of a
    // backbone that has none are in the state.
    let options = |resume| Options { features: Some(cache.clone()), ..until(5, resume) };
    run(&recipe, &out("one"), options(false)).unwrap();
    copy(&out("one"), &out("two"));
    fs::create_dir(out("two").join(".unfinished-run-x")).unwrap();
    let rest = || Options { features: Some(cache.clone()), resume: true, ..Options::default() };
    run(&recipe, &out("one"), rest()).unwrap();
    let pause = Options { features: Some(cache.clone()), ..until(7, true) };
    run(&recipe, &out("two"), pause).unwrap();
    run(&recipe, &out("two"), rest()).unwrap();
    assert_same(&files(&out("one")), &files(&out("two")));
    assert!(!out("two").join(".unfinished-run-x").exists());
    // Augmented pictures leave nothing to keep.
    recipe.augment.as_mut().unwrap().backbone_sees = BackboneSees::Augmented;
    let other = FeatureCache { dir: out("other"), ..cache };
    let options = Options { features: Some(other.clone()), ..Options::default() };
    run(&recipe, &out("augmented"), options).unwrap();
    assert!(!other.dir.exists());
}

#[test]
fn a_folder_with_a_run_is_neither_overwritten_nor_continued_with_another_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let resume = || Options { resume: true, ..Options::default() };
    let error = run(&recipe(), &out, resume()).unwrap_err();
    assert!(error.to_string().starts_with("no run to continue"), "{error}");
    run(&recipe(), &out, until(2, false)).unwrap();
    let error = run(&recipe(), &out, Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("the folder already holds a run at step 2"), "{error}");
    let other = Recipe { batch_size: 5, ..recipe() };
    let error = run(&other, &out, resume()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the run was begun with another recipe: expected `batch_size = 4`, found `batch_size = 5`"
    );
    let error = train(&recipe(), Arc::new(Toy::new(&[9, 9])), &out, &Device::flex(), resume());
    assert!(error.unwrap_err().to_string().contains("another dataset"));
}

#[test]
fn a_time_limit_ends_a_run_with_its_rate_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { time_limit: Some(std::time::Duration::from_secs(4)), ..Options::default() };
    let summary = run(&recipe(), folder.path(), options).unwrap();
    assert_eq!(summary.ending, Ending::TimeUp);
    let rows = read_metrics(folder.path()).unwrap();
    let rates: Vec<_> = rows.iter().filter_map(|row| row.learning_rate).collect();
    assert!(rates.len() > 12, "{} steps", rates.len());
    assert!(rates[rates.len() - 1] < 0.1 * 2e-3, "{rates:?}");
}

#[test]
fn a_rate_that_explodes_is_an_error_and_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut explosive = recipe();
    explosive.optimizer.learning_rate = 1e30;
    explosive.schedule = ScheduleConfig::Constant;
    let error = run(&explosive, folder.path(), Options::default()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}
