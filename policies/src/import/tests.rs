//! Official checkpoints, made up and imported.

use std::path::Path;

use burn::tensor::TensorData;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use super::*;
use crate::testing::values;
use crate::{PolicyInput, predict_file};

/// Writes tensors as a file that the reader tells from PyTorch's by its first bytes.
fn write(path: &Path, tensors: &NamedTensors) {
    let tensors: Vec<_> = tensors
        .clone()
        .into_iter()
        .map(|(name, data)| {
            let bytes: Vec<u8> = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
            (name, data.shape().to_vec(), bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

fn sines(shape: &[usize]) -> TensorData {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32).sin()).collect();
    TensorData::new(values, shape.to_vec())
}

/// The two files of a narrow IMPALA-style network: two frames, one view, three proprio
/// dimensions, chunks of 2 x 2.
fn files(folder: &Path, change: impl Fn(&mut NamedTensors)) -> ImportOptions {
    let mut encoder = NamedTensors::default();
    let mut layer = |name: String, shape: [usize; 4]| {
        encoder.insert(format!("{name}.bias"), sines(&shape[..1]));
        encoder.insert(format!("{name}.weight"), sines(&shape));
    };
    layer("stem".into(), [4, 4, 4, 4]);
    for stage in 0..3 {
        layer(format!("feat_convs.{stage}.0"), [4, 4, 3, 3]);
        for (block, conv) in [("resnet1", 1), ("resnet1", 3), ("resnet2", 1), ("resnet2", 3)] {
            layer(format!("{block}.{stage}.{conv}"), [4, 4, 3, 3]);
        }
    }
    let mut policy = NamedTensors::default();
    for (layer, to, from) in [(0, 8, 2 * (4 * 49 + 3)), (2, 6, 8), (4, 4, 6)] {
        policy.insert(format!("trunk.{layer}.bias"), sines(&[to]));
        policy.insert(format!("trunk.{layer}.weight"), sines(&[to, from]));
    }
    policy.insert("scale", TensorData::from([1.0_f32, 0.5]));
    policy.insert("bias", TensorData::from([0.0_f32, 0.5]));
    change(&mut encoder);
    let options = ImportOptions {
        encoder: folder.join("encoder.ckpt"),
        policy: folder.join("policy.ckpt"),
        frames: Some(2),
        ..ImportOptions::default()
    };
    write(&options.encoder, &encoder);
    write(&options.policy, &policy);
    options
}

#[test]
fn what_the_tensors_tell_is_read_off_them() {
    let folder = tempfile::tempdir().unwrap();
    let options = files(folder.path(), |_| {});
    let run = import_spawnnet(&options, &Device::flex()).unwrap().checkpoint;
    let PolicyConfig::Lfs(config) = &run.policy_config else { panic!("{:?}", run.policy_config) };
    assert_eq!((config.channels, config.pictures), (4, Pictures::Separate));
    assert_eq!(config.head.hidden, [8, 6]);
    assert_eq!(config.head.bounds, Some(vec![[-1.0, 1.0], [0.0, 1.0]]));
    let contract = &run.contract;
    assert_eq!((contract.num_frames, contract.horizon), (2, 2));
    let spec = &contract.spec;
    assert_eq!((spec.num_views(), spec.proprio_dim(), spec.action_dim()), (1, 3, 2));
}

#[test]
fn an_imported_run_saves_opens_and_predicts_from_a_file() {
    let (folder, device) = (tempfile::tempdir().unwrap(), Device::flex());
    let options = files(folder.path(), |_| {});
    let imported = import_spawnnet(&options, &device).unwrap().checkpoint;
    imported.save(&folder.path().join("run")).unwrap();
    let run = Checkpoint::open(&folder.path().join("run"), &device).unwrap();
    let mut observation = NamedTensors::default();
    let pictures = [2, 1, 3, 224, 224];
    observation.insert("rgb", TensorData::full::<f32, _>(pictures, 100.0));
    observation.insert("proprio", TensorData::from([[0.1_f32, 0.2, 0.3], [0.4, 0.5, 0.6]]));
    let path = folder.path().join("observation.safetensors");
    write(&path, &observation);
    let chunk = predict_file(&run, &path).unwrap();
    let input = PolicyInput {
        rgb: Tensor::<4>::full([2, 3, 224, 224], 100.0, &device).into(),
        depth: None,
        proprio: Tensor::from_data([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]], &device),
        features: None,
    };
    assert_eq!(chunk.values(), values(imported.policy.forward(input)));

    observation.remove("proprio");
    write(&path, &observation);
    let message = predict_file(&run, &path).unwrap_err().to_string();
    assert_eq!(message, "the observation has no tensor `proprio`");
    observation.insert("rgb", TensorData::full::<f32, _>([1, 1, 3, 224, 224], 100.0));
    write(&path, &observation);
    let message = predict_file(&run, &path).unwrap_err().to_string();
    assert_eq!(
        message,
        "tensor `rgb` of the observation has shape [1, 1, 3, 224, 224], the run needs [2, 1, 3, 224, 224]"
    );
}

#[test]
fn every_tensor_is_accounted_for_by_the_references_name() {
    let folder = tempfile::tempdir().unwrap();
    let message = |change: &dyn Fn(&mut NamedTensors)| {
        let options = files(folder.path(), change);
        import_spawnnet(&options, &Device::flex()).unwrap_err().to_string()
    };
    assert_eq!(
        message(&|encoder| {
            let bias = encoder.remove("resnet2.0.3.bias").unwrap();
            encoder.insert("extra", bias);
        }),
        "the checkpoint does not fit: 1 tensor(s) missing (`resnet2.0.3.bias`); 1 tensor(s) left over (`extra`)"
    );
    assert_eq!(
        message(&|encoder| {
            encoder.insert("feat_convs.1.0.bias", sines(&[5]));
        }),
        "the checkpoint does not fit: `feat_convs.1.0.bias` has shape [5] instead of [4]"
    );
    let neither = message(&|encoder| drop(encoder.remove("stem.weight")));
    assert!(neither.starts_with("the encoder is neither SpawnNet"), "{neither}");
}

#[test]
fn a_flag_is_asked_for_or_contradicted_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let options = files(folder.path(), |_| {});
    let message = |options: ImportOptions| {
        import_spawnnet(&options, &Device::flex()).unwrap_err().to_string()
    };
    assert_eq!(
        message(ImportOptions { frames: None, ..options.clone() }),
        "the tensors leave open how many frames there are, give --frames (1, 2 would fit)"
    );
    assert_eq!(
        message(ImportOptions { views: Some(3), ..options.clone() }),
        "--views 3 does not fit the tensors (2, 1 would fit)"
    );
    assert_eq!(
        message(ImportOptions { horizon: Some(9), ..options }),
        "--horizon 9 does not fit the tensors (2 actions)"
    );
}
