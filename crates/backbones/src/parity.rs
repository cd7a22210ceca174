//! Taps against the public implementations, on the same weights.
//!
//! The golden files and their versions: `tests/golden/make_backbones.py`. Weights that are not
//! trained are made up, each tensor from its name, here and there alike.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use engraft_core::RgbImage;

use crate::layout::Layout;
use crate::weights::Cache;
use crate::{Architecture, Backbone, NamedTensors, Tap};

/// `count` numbers in -1..1 that only the name decides; exact in f32.
fn noise(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |seed, byte| {
        (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

fn made_up_tensor(name: &str, shape: &[usize]) -> TensorData {
    let values = noise(name, shape.iter().product());
    let is_embedding = name == "cls_token" || name == "pos_embed";
    let (shift, scale) = match shape {
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if is_embedding => (0.0, 0.5),
        [_] => (if name.ends_with("weight") { 1.0 } else { 0.0 }, 0.2),
        [_, inputs @ ..] => (0.0, (3.0 / inputs.iter().product::<usize>() as f64).sqrt()),
        [] => (0.0, 1.0),
    };
    let values: Vec<f32> = values.map(|value| (shift + scale * value) as f32).collect();
    TensorData::new(values, shape.to_vec())
}

/// A checkpoint of made-up weights under the reference's names.
pub(crate) fn made_up(architecture: Architecture, layout: usize) -> NamedTensors {
    let expected = Layout::all(architecture, &Device::flex()).remove(layout).expected();
    let tensors = expected.into_iter();
    tensors.map(|(name, shape)| (name.clone(), made_up_tensor(&name, &shape))).collect()
}

fn picture(height: usize, width: usize) -> Tensor<4> {
    let mut values = Vec::with_capacity(3 * height * width);
    for c in 0..3 {
        for y in 0..height {
            for x in 0..width {
                values.push(((5 * y + 3 * x + 70 * c + 7 * ((x * y) >> 4)) % 256) as f32);
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [1, 3, height, width]), &Device::flex())
}

fn golden(file: &str) -> BTreeMap<String, Vec<f32>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(file);
    let tensors = NamedTensors::read(&path).unwrap().into_iter();
    tensors.map(|(name, data)| (name, data.iter::<f32>().collect())).collect()
}

/// The largest difference between a tap and its golden values (the tap's largest magnitude, a
/// step, and the values at every so many places), relative to that magnitude.
fn difference<const D: usize>(found: Tensor<D>, golden: &[f32]) -> f32 {
    let found: Vec<f32> = found.into_data().iter::<f32>().collect();
    let [scale, step, golden @ ..] = golden else { panic!("not golden values") };
    let step = *step as usize;
    assert_eq!(found.len().div_ceil(step), golden.len(), "another number of values");
    let pairs = found.iter().step_by(step).zip(golden);
    let differences = pairs.map(|(found, golden)| (found - golden).abs());
    // Unlike `f32::max`, `total_cmp` does not lose a NaN.
    differences.max_by(f32::total_cmp).unwrap() / scale
}

const TOLERANCE: f32 = 1e-4;

/// Compares every golden tap of `case`, and says how many there were.
fn compare(
    backbone: &Backbone,
    images: &Tensor<4>,
    golden: &BTreeMap<String, Vec<f32>>,
    case: &str,
) {
    let named = golden.iter().filter_map(|(name, values)| Some((name.strip_prefix(case)?, values)));
    let (cls, maps): (Vec<_>, Vec<_>) =
        named.filter(|(name, _)| *name != "logits").partition(|(name, _)| name.contains(".cls"));
    assert!(!maps.is_empty(), "no golden values for {case}");
    let taps: Vec<Tap> = maps.iter().map(|(name, _)| name.parse().unwrap()).collect();
    let found = backbone.features(images.clone(), &taps);
    let [_, _, height, width] = images.dims();
    let mut worst = 0.0_f32;
    for ((tap, features), (_, values)) in taps.iter().zip(found).zip(maps) {
        let shape = backbone.architecture().tap_shape(tap, height, width).unwrap();
        assert_eq!(features.map.dims(), [1, shape.channels, shape.height, shape.width], "{tap}");
        assert_eq!(features.cls.is_some(), shape.has_cls, "{tap}");
        let mut off = difference(features.map, values);
        if let Some(found) = features.cls {
            let name = format!("{tap}.cls");
            let (_, values) = cls.iter().find(|(golden, _)| *golden == name).unwrap();
            off = off.max(difference(found, values));
        }
        assert!(off <= TOLERANCE, "{case}{tap} is off by {off:e} of its scale");
        worst = worst.max(off);
    }
    println!("{case}: {} taps, worst {worst:.1e} of a tap's scale", taps.len());
}

fn made_up_backbone(architecture: Architecture, layout: usize) -> Backbone {
    let tensors = made_up(architecture, layout);
    Backbone::from_tensors(architecture, tensors, &Device::flex()).unwrap()
}

#[test]
fn mobile_networks_match_the_public_ones() {
    let golden = golden("backbones.safetensors");
    let backbone = made_up_backbone(Architecture::EfficientnetLite0, 0);
    compare(&backbone, &picture(97, 130), &golden, "efficientnet-lite0/97x130/");
    let logits = backbone.classify(picture(97, 130)).unwrap();
    assert!(difference(logits, &golden["efficientnet-lite0/97x130/logits"]) <= TOLERANCE);
    // torchvision's names; the other layout is that of the trained checkpoint.
    let backbone = made_up_backbone(Architecture::MobilenetV2, 1);
    compare(&backbone, &picture(97, 130), &golden, "mobilenet-v2/97x130/");
}

#[test]
fn resnets_match_torchvision() {
    let golden = golden("backbones.safetensors");
    for (architecture, height, width) in [
        (Architecture::Resnet18, 96, 130),
        (Architecture::Resnet34, 64, 64),
        (Architecture::Resnet50, 65, 96),
    ] {
        let backbone = made_up_backbone(architecture, 0);
        let case = format!("{architecture}/{height}x{width}/");
        compare(&backbone, &picture(height, width), &golden, &case);
    }
}

#[test]
fn transformers_match_timm_at_the_trained_size_and_at_others() {
    let golden = golden("backbones.safetensors");
    let backbone = made_up_backbone(Architecture::DinoVits16, 0);
    compare(&backbone, &picture(224, 224), &golden, "dino-vits16/224x224/");
    compare(&backbone, &picture(100, 160), &golden, "dino-vits16/100x160/");
    let backbone = made_up_backbone(Architecture::DinoVits8, 0);
    compare(&backbone, &picture(64, 48), &golden, "dino-vits8/64x48/");
}

/// The trained network of that name, or `None` on a machine that did not pull it.
///
/// Where `ENGRAFT_TEST_WEIGHTS` is set it must be there.
fn trained(name: &str) -> Option<Backbone> {
    let cache = Cache::open().unwrap();
    if std::env::var_os("ENGRAFT_TEST_WEIGHTS").is_none() && !cache.has(&cache.named(name).unwrap())
    {
        println!("SKIPPED: get the weights with `engraft weights pull {name}`");
        return None;
    }
    Some(cache.load(name, &Device::flex()).unwrap())
}

fn chelsea() -> (RgbImage, Tensor<4>, BTreeMap<String, Vec<f32>>) {
    let golden = golden("backbones_trained.safetensors");
    let planes = &golden["pixels"];
    let pixels = (0..224 * 224).flat_map(|i| [0, 1, 2].map(|c| planes[c * 224 * 224 + i] as u8));
    let image = RgbImage::new(224, 224, pixels.collect()).unwrap();
    let data = TensorData::new(planes.clone(), [1, 3, 224, 224]);
    (image, Tensor::from_data(data, &Device::flex()), golden)
}

fn top_five(logits: Tensor<2>) -> Vec<(usize, f32)> {
    let scores = burn::tensor::activation::softmax(logits, 1).into_data();
    let mut ranked: Vec<_> = scores.iter::<f32>().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(5);
    ranked
}

#[test]
fn trained_efficientnet_matches_its_golden_taps_and_sees_a_cat() {
    let Some(backbone) = trained("efficientnet-lite0") else { return };
    let (photo, images, golden) = chelsea();
    compare(&backbone, &images, &golden, "efficientnet-lite0/");
    let logits = backbone.classify(images).unwrap();
    assert!(difference(logits.clone(), &golden["efficientnet-lite0/logits"]) <= TOLERANCE);
    // ImageNet's classes: 281 tabby, 282 tiger cat, 285 Egyptian cat, 287 lynx.
    let top = top_five(logits);
    assert_eq!(top[..4].iter().map(|(class, _)| *class).collect::<Vec<_>>(), [282, 285, 281, 287]);
    assert!((top[0].1 - 0.386).abs() < 1e-3, "{top:?}");
    // The photograph through the resize rule: a small detour may not lose the cat.
    let fitted = backbone.preprocessing().fit(&photo.resize_bicubic(300, 256));
    let planes: Vec<f32> = (0..3)
        .flat_map(|c| fitted.pixels().iter().skip(c).step_by(3).map(|&pixel| f32::from(pixel)))
        .collect();
    let images = Tensor::from_data(TensorData::new(planes, [1, 3, 224, 224]), &Device::flex());
    assert!([281, 282, 285].contains(&top_five(backbone.classify(images).unwrap())[0].0));
}

#[test]
fn trained_mobilenet_matches_its_golden_taps() {
    let Some(backbone) = trained("mobilenet-v2") else { return };
    let (_, images, golden) = chelsea();
    compare(&backbone, &images, &golden, "mobilenet-v2/");
    assert!(backbone.classify(images).is_none());
}
