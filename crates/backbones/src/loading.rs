//! What loads, and what is said of what does not.

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, bridge};
use burn::tensor::{Device, Tensor, TensorData, Tolerance};

use crate::parity::made_up;
use crate::{Architecture, Backbone, Facet, NamedTensors, Precision, Tap};

const SMALL: [Architecture; 4] = [
    Architecture::EfficientnetLite0,
    Architecture::MobilenetV2,
    Architecture::Resnet18,
    Architecture::DinoVits16,
];

fn load(architecture: Architecture, tensors: NamedTensors) -> Result<Backbone, String> {
    Backbone::from_tensors(architecture, tensors, &Device::flex())
        .map_err(|error| error.to_string())
}

fn under(prefix: &str, tensors: NamedTensors) -> NamedTensors {
    tensors.into_iter().map(|(name, data)| (format!("{prefix}{name}"), data)).collect()
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(file)
}

#[test]
fn a_tensor_missing_left_over_or_misshapen_is_named() {
    for architecture in SMALL {
        let whole = made_up(architecture, 0);
        let some = whole.names().nth(20).unwrap().to_owned();
        let mut without = whole.clone();
        without.remove(&some);
        let error = load(architecture, without).unwrap_err();
        assert_eq!(
            error,
            format!("the weights do not fit {architecture}: 1 tensor missing (`{some}`)")
        );
        let mut with = whole.clone();
        with.insert("decoder.weight", TensorData::from([0.0_f32]));
        let error = load(architecture, with).unwrap_err();
        assert!(error.ends_with("1 tensor left over (`decoder.weight`)"), "{error}");
        let mut bent = whole.clone();
        bent.insert(some.clone(), TensorData::from([0.0_f32]));
        let error = load(architecture, bent).unwrap_err();
        assert!(error.contains(&format!("`{some}` has shape [1] instead of [")), "{error}");
    }
}

#[test]
fn a_checkpoint_of_another_network_is_an_error_that_says_which() {
    for (found, asked) in [
        (Architecture::Resnet18, Architecture::Resnet34),
        (Architecture::Resnet34, Architecture::Resnet18),
        (Architecture::MobilenetV2, Architecture::EfficientnetLite0),
        (Architecture::DinoVits16, Architecture::DinoVits8),
        (Architecture::EfficientnetLite0, Architecture::DinoVits16),
    ] {
        let error = load(asked, made_up(found, 0)).unwrap_err();
        assert!(error.starts_with(&format!("the weights do not fit {asked}: ")), "{error}");
        let left_over_alone = found == Architecture::Resnet34;
        assert!(
            left_over_alone || error.ends_with(&format!(", they look like {found}")),
            "{error}"
        );
    }
}

#[test]
fn counters_and_classifiers_of_the_reference_are_not_left_over() {
    let scalar = || TensorData::from([1_i64]);
    let mut resnet = made_up(Architecture::Resnet18, 0);
    resnet.insert("bn1.num_batches_tracked", scalar());
    resnet.insert("layer2.0.downsample.1.num_batches_tracked", scalar());
    resnet.insert("fc.weight", TensorData::from([[0.0_f32]]));
    load(Architecture::Resnet18, resnet).unwrap();
    let mut vit = made_up(Architecture::DinoVits16, 0);
    vit.insert("head.bias", TensorData::from([0.0_f32]));
    load(Architecture::DinoVits16, vit).unwrap();
}

#[test]
fn both_layouts_of_mobilenet_fill_the_same_network() {
    for layout in [0, 1] {
        load(Architecture::MobilenetV2, made_up(Architecture::MobilenetV2, layout)).unwrap();
    }
}

#[test]
fn a_wrapper_around_the_network_is_taken_off() {
    let device = Device::flex();
    for prefix in ["module.", "vit.module.convnet."] {
        let wrapped = under(prefix, made_up(Architecture::Resnet18, 0));
        assert_eq!(wrapped.detect(&device), [Architecture::Resnet18]);
        load(Architecture::Resnet18, wrapped).unwrap();
    }
    // As R3M's files are: other networks lie beside it.
    let mut r3m = under("r3m.module.convnet.", made_up(Architecture::Resnet18, 0));
    r3m.insert("r3m.module.lang_rew.0.weight", TensorData::from([0.0_f32]));
    let error = load(Architecture::Resnet18, r3m.clone()).unwrap_err();
    assert!(error.contains("1 tensor left over (`r3m.module.lang_rew.0.weight`)"), "{error}");
    assert!(error.contains("stands under `r3m.module.convnet.` (name it with --prefix"), "{error}");
    load(Architecture::Resnet18, r3m.split_off("r3m.module.convnet.")).unwrap();
    // As MoCo's are: the network stands there twice.
    let query = under("module.encoder_q.", made_up(Architecture::Resnet18, 0));
    let key = under("module.encoder_k.", made_up(Architecture::Resnet18, 0));
    let error = load(Architecture::Resnet18, query.into_iter().chain(key).collect()).unwrap_err();
    let hint = "under `module.encoder_k.` and under `module.encoder_q.` (name one with --prefix)";
    assert!(error.ends_with(hint), "{error}");
}

#[test]
fn architectures_of_one_layout_are_told_together() {
    let found = made_up(Architecture::MaeVitb16, 0).detect(&Device::flex());
    assert_eq!(found, [Architecture::DinoVitb16, Architecture::MaeVitb16]);
}

#[test]
fn what_engraft_saves_it_loads() {
    let taps = Architecture::MobilenetV2.default_taps();
    for architecture in SMALL {
        let saved = load(architecture, made_up(architecture, 0)).unwrap();
        let tensors = saved.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        let tensors: NamedTensors = tensors
            .into_iter()
            .map(|tensor| (tensor.name.clone(), bridge::into_data(tensor).unwrap()))
            .collect();
        let loaded = load(architecture, tensors).unwrap();
        if architecture == Architecture::MobilenetV2 {
            let image = Tensor::full([1, 3, 32, 32], 90.0, &Device::flex());
            let map = |backbone: &Backbone| backbone.features(image.clone(), &taps).remove(2).map;
            assert_eq!(map(&saved).into_data(), map(&loaded).into_data());
        }
    }
}

#[test]
fn both_file_formats_of_pytorch_are_read() {
    for file in ["tensors_zip.pth", "tensors_legacy.pth"] {
        let tensors = NamedTensors::read(&golden(file)).unwrap();
        let values = |name: &str| {
            let data = tensors.get(&format!("state_dict.{name}")).unwrap();
            (data.shape().to_vec(), data.iter::<f32>().collect::<Vec<_>>())
        };
        assert_eq!(values("strided"), (vec![3, 2], vec![0., 3., 1., 4., 2., 5.]), "{file}");
        assert_eq!(values("half"), (vec![3], vec![0., 1., 2.]));
        assert_eq!(values("double"), (vec![3], vec![3., 4., 5.]));
        assert_eq!(values("steps").1, [7.0]);
        assert_eq!(tensors.len(), 4);
    }
}

#[test]
fn every_truncation_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["tensors_zip.pth", "tensors_legacy.pth"] {
        let bytes = fs::read(golden(file)).unwrap();
        let cut = dir.path().join(file);
        for len in 0..bytes.len() {
            fs::write(&cut, &bytes[..len]).unwrap();
            if let Err(error) = NamedTensors::read(&cut) {
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            } else {
                panic!("{len} of {} bytes of {file} were read", bytes.len());
            }
        }
    }
    let text = dir.path().join("notes.txt");
    fs::write(&text, "these are not weights").unwrap();
    let error = NamedTensors::read(&text).unwrap_err().to_string();
    assert!(error.starts_with("cannot read weight file: "), "{error}");
}

#[test]
fn a_packed_backbone_says_the_same() {
    let device = Device::flex();
    for architecture in SMALL {
        let tensors = made_up(architecture, 0);
        let backbone = Backbone::from_tensors(architecture, tensors, &device).unwrap().freeze();
        let mut taps = architecture.default_taps().to_vec();
        if architecture == Architecture::DinoVits16 {
            taps.push(Tap::new(Facet::Attn, 2));
        }
        let image = Tensor::full([1, 3, 64, 64], 90.0, &device);
        let say = |backbone: &Backbone| {
            let features = backbone.frozen_features(image.clone(), &taps);
            features.into_iter().map(|features| features.map.into_data()).collect::<Vec<_>>()
        };
        let expected = say(&backbone);
        assert_eq!(say(&backbone.clone().packed()), expected, "{architecture}");
        let int8 = backbone.with_precision(Precision::Int8);
        let expected = say(&int8);
        assert_eq!(say(&int8.packed()), expected, "{architecture} in int8");
    }
}

#[test]
fn int8_features_are_nearly_those_in_single_precision() {
    let device = Device::flex();
    for architecture in Architecture::ALL.into_iter().filter(|network| network.has_int8()) {
        if matches!(architecture, Architecture::DinoVitb8 | Architecture::DinoVits8) {
            continue; // the same layers at a greater expense
        }
        let tensors = made_up(architecture, 0);
        let backbone = Backbone::from_tensors(architecture, tensors, &device).unwrap().freeze();
        let taps = architecture.default_taps();
        let values: Vec<f32> =
            (0..3 * 96 * 64).map(|i| ((i * 7919 + i / 251) % 256) as f32).collect();
        let image = Tensor::from_data(TensorData::new(values, [1, 3, 96, 64]), &device);
        let say = |backbone: &Backbone| backbone.frozen_features(image.clone(), &taps);
        let single = say(&backbone);
        let int8 = say(&backbone.with_precision(Precision::Int8));
        let mut most = 0.0;
        for ((single, int8), tap) in single.into_iter().zip(int8).zip(taps) {
            let error = (int8.map - single.map.clone()).square().sum().into_scalar::<f32>();
            let apart = (error / single.map.square().sum().into_scalar::<f32>()).sqrt();
            assert!(apart < 0.05, "{architecture}, {tap}: {apart} of its length apart");
            most = apart.max(most);
        }
        // The first layers of a mobile network are too narrow to gain by it.
        assert!(most > 0.0, "{architecture}: nothing was computed in int8");
    }
}

#[test]
fn a_backbone_that_is_learned_computes_in_single_precision() {
    let device = Device::flex().autodiff();
    let architecture = Architecture::MobilenetV2;
    let backbone = Backbone::from_tensors(architecture, made_up(architecture, 0), &device).unwrap();
    let image = Tensor::full([1, 3, 64, 64], 90.0, &device);
    let taps = architecture.default_taps();
    let say = |backbone: &Backbone| {
        backbone.features(image.clone(), &taps).remove(2).map.inner().into_data()
    };
    let single = say(&backbone);
    assert_eq!(say(&backbone.with_precision(Precision::Int8)), single);
}

#[test]
fn a_frozen_stream_is_no_part_of_a_graph() {
    let device = Device::flex().autodiff();
    let architecture = Architecture::MobilenetV2;
    let backbone = Backbone::from_tensors(architecture, made_up(architecture, 0), &device).unwrap();
    let taps = architecture.default_taps();
    let image = Tensor::full([2, 3, 32, 32], 90.0, &device);
    let frozen = backbone.frozen_features(image.clone(), &taps).remove(0).map;
    assert!(!frozen.is_tracked() && !frozen.is_autodiff());
    // Frozen parameters do not start a graph either.
    let still = backbone.clone().freeze().features(image.clone(), &taps).remove(0).map;
    assert!(!still.is_tracked());
    // Fine-tuning does, and gives the same features.
    let tuned = backbone.features(image, &taps).remove(0).map;
    assert!(tuned.is_tracked());
    let (tuned_data, frozen_data) = (tuned.clone().inner().into_data(), frozen.clone().into_data());
    tuned_data.assert_approx_eq::<f32>(&frozen_data, Tolerance::rel_abs(1e-4, 1e-4));
    // A constant beside a tracked tensor.
    let scale = Tensor::<1>::from_data([2.0], &device).require_grad();
    let sum = (frozen * scale.clone().reshape([1, 1, 1, 1])).sum() + tuned.sum();
    let grads = sum.backward();
    assert!(scale.grad(&grads).is_some());
    let Backbone::Inverted(net) = &backbone else { panic!("MobileNet is one") };
    let stem = net.stem_weight().grad(&grads).unwrap();
    assert!(stem.abs().sum().into_scalar::<f32>() > 0.0);
}
