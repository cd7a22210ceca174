//! The published vectors, and the shapes behind them.

use burn::tensor::{Device, TensorData};
use engraft_backbones::{Architecture, NamedTensors};
use engraft_core::Dimension;

use super::*;
use crate::testing::{self, assert_saved_equals_loaded, contract, memorize};
use crate::{Policy, PolicyConfig, Precision, import};

/// Features, attention and actions that the published modules computed from parameters, pictures
/// and taps which are sines of their indices (see `fill` and `example`).
struct Expected {
    features: [(usize, f64); 10],
    sum: f64,
    sum_of_squares: f64,
    actions: [f64; 8],
}

const DEFAULT: Expected = Expected {
    features: [
        (0, 0.08513),
        (1, 0.15645),
        (2, 0.28988),
        (3, 0.40303),
        (63, 0.63790),
        (64, 0.03651),
        (127, 0.53112),
        (128, 0.11253),
        (6271, 0.15901),
        (6272, 0.08403),
    ],
    sum: 2601.6192,
    sum_of_squares: 2152.3011,
    actions: [
        -0.084_022, -4.403_232, -0.960_188, 4.211_514, 2.049_924, -3.660_096, -2.917_379, 1.987_510,
    ],
};

const RGB_ONLY: Expected = Expected {
    features: [
        (0, 0.06504),
        (1, 0.12468),
        (2, 0.25149),
        (3, 0.35924),
        (63, 0.58873),
        (64, 0.04379),
        (127, 0.52527),
        (128, 0.08738),
        (6271, 0.16471),
        (6272, 0.05049),
    ],
    sum: 2562.5997,
    sum_of_squares: 1982.3023,
    actions: [
        -0.062_222, -4.031_800, -0.889_816, 3.857_545, 1.891_715, -3.345_387, -2.681_074, 1.859_475,
    ],
};

/// Value at the first place, the largest and its place, for each tap of the first view.
const ATTENTION: [(f64, f64, usize); 3] = [
    (4.389_318e-4, 3.457_692e-3, 657),
    (2.295_292e-4, 3.522_150e-3, 578),
    (1.951_323e-3, 3.072_885e-3, 742),
];

/// Tensors of the reference's encoder outside its backbone, in the order of its files.
fn encoder_names() -> Vec<String> {
    let mut layers = vec!["conv.stem".to_owned()];
    layers.extend((0..3).map(|stage| format!("conv.feat_convs.{stage}.0")));
    for blocks in ["resnet1", "resnet2"] {
        let convs = (0..3).flat_map(|stage| [(stage, 1), (stage, 3)]);
        layers.extend(convs.map(|(stage, conv)| format!("conv.{blocks}.{stage}.{conv}")));
    }
    layers.extend((0..3).map(|stage| format!("conv.adapters.{stage}.0")));
    layers.extend((0..2).map(|stage| format!("conv.linears.{stage}")));
    layers.iter().flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")]).collect()
}

fn policy_names() -> Vec<String> {
    let layers = [0, 2, 4].map(|layer| format!("trunk.{layer}"));
    layers.iter().flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")]).collect()
}

/// Parameter `k` of a file holds `s * sin(1 + 0.37 k + 0.0113 i)`.
fn sines(names: &[String], shape: impl Fn(&str) -> Vec<usize>) -> NamedTensors {
    let tensor = |(k, name): (usize, &String)| {
        let shape = shape(name);
        let scale = if shape.len() < 2 {
            0.1
        } else {
            1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt()
        };
        let value = |i| (scale * (1.0 + 0.37 * k as f64 + 0.0113 * i as f64).sin()) as f32;
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(value).collect();
        (name.clone(), TensorData::new(values, shape))
    };
    names.iter().enumerate().map(tensor).collect()
}

/// The reference's settings for its arm, with one frame.
fn published(channel_mask: ChannelMask) -> (SpawnNetConfig, Contract) {
    let mut contract = contract(1, 224, 224);
    contract.spec.proprio = (0..7).map(|i| Dimension::new(format!("state_{i}"), "")).collect();
    contract.spec.actions = (0..8).map(|i| Dimension::new(format!("action_{i}"), "")).collect();
    let mut bounds = vec![[-1.0, 1.0]; 8];
    bounds[7] = [0.0, 1.0];
    let backbone = BackboneConfig {
        architecture: Architecture::DinoVits8,
        weights: None,
        taps: Vec::new(),
        size: None,
        fine_tune: false,
        precision: Precision::Single,
    };
    let head = HeadConfig { bounds: Some(bounds), ..HeadConfig::default() };
    (SpawnNetConfig { channel_mask, head, ..SpawnNetConfig::new(backbone) }, contract)
}

fn filled(config: SpawnNetConfig, contract: &Contract) -> SpawnNet {
    let policy = PolicyConfig::SpawnNet(config).build(contract, 1, &Device::flex(), false).unwrap();
    let shapes = import::learned_shapes(&policy);
    let shape = |official: &str| {
        let ours = |name: &str| import::layout::official(name, true) == official;
        shapes.iter().find(|(name, _)| ours(name)).expect("a known name").1.clone()
    };
    let encoder = sines(&encoder_names(), shape);
    let mut head = sines(&policy_names(), shape);
    let bounds = |last: f32, rest: f32| {
        let values: Vec<f32> = (0..8).map(|i| if i == 7 { last } else { rest }).collect();
        TensorData::new(values, [8])
    };
    head.insert("scale", bounds(0.5, 1.0));
    head.insert("bias", bounds(0.5, 0.0));
    match import::fill(policy, encoder, head).unwrap() {
        Policy::SpawnNet(policy) => policy,
        other => panic!("a SpawnNet became {other:?}"),
    }
}

fn example(device: &Device) -> PolicyInput {
    let tensor = |shape: [usize; 6], value: &dyn Fn([usize; 4]) -> f64| {
        let [_, _, views, channels, height, width] = shape;
        let mut values = Vec::with_capacity(views * channels * height * width);
        for v in 0..views {
            for c in 0..channels {
                for h in 0..height {
                    values.extend((0..width).map(|w| value([v, c, h, w]) as f32));
                }
            }
        }
        Tensor::<6>::from_data(TensorData::new(values, shape), device)
    };
    let rgb = tensor([1, 1, 2, 3, 224, 224], &|i| {
        let [v, c, h, w] = i.map(|i| i as f64);
        (127.5 * (1.0 + (0.05 * h + 0.03 * w + 1.7 * c + 0.9 * v).sin())).floor()
    });
    let depth = tensor([1, 1, 2, 1, 224, 224], &|i| {
        let [v, _, h, w] = i.map(|i| i as f64);
        1.2 + (0.02 * h + 0.01 * w + 0.5 * v).sin()
    });
    let proprio: Vec<f32> = (0..7).map(|j| f64::from(j).cos() as f32).collect();
    let token = |l: usize, n: usize, t: usize| {
        let value = |d: usize| {
            let [t, d, l, n] = [t, d, l, n].map(|i| i as f64);
            (0.013 * t + 0.021 * d + l + 0.5 * n).sin() as f32
        };
        (0..384).map(value).collect::<Vec<f32>>()
    };
    let features = (0..3).map(|l| {
        let pairs = (0..2).flat_map(|n| (1..785).map(move |t| (n, t))); // 0 is the class token
        let tokens: Vec<f32> = pairs.flat_map(|(n, t)| token(l, n, t)).collect();
        let map = Tensor::<4>::from_data(TensorData::new(tokens, [2, 28, 28, 384]), device);
        Features { map: unit_pixels(map.permute([0, 3, 1, 2])), cls: None }
    });
    PolicyInput {
        rgb: rgb.into(),
        depth: Some(depth),
        proprio: Tensor::from_data(TensorData::new(proprio, [1, 1, 7]), device),
        features: Some(features.collect()),
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    testing::values(x).into_iter().map(f64::from).collect()
}

/// Whether two numbers agree to 1e-4 of the second, or to what its printed digits can tell.
fn assert_close(what: &str, found: f64, expected: f64, half_digit: f64) {
    let tolerance = (1e-4 * expected.abs()).max(half_digit);
    assert!((found - expected).abs() <= tolerance, "{what}: {found} instead of {expected}");
}

fn assert_reference(channel_mask: ChannelMask, expected: &Expected) {
    let (config, contract) = published(channel_mask);
    let policy = filled(config, &contract);
    let input = example(&Device::flex());
    let features = values(policy.encode(input.clone()).features);
    assert_eq!(features.len(), 12_551);
    for (at, value) in expected.features {
        assert_close(&format!("feature {at}"), features[at], value, 6e-6);
    }
    assert_close("sum", features.iter().sum(), expected.sum, 0.0);
    let squares = features.iter().map(|value| value * value).sum();
    assert_close("sum of squares", squares, expected.sum_of_squares, 0.0);
    assert!((features[12_544] - 1.0).abs() < 1e-6, "the last seven are proprio");
    let actions = values(policy.forward(input));
    for (at, value) in expected.actions.into_iter().enumerate() {
        assert_close(&format!("action {at}"), actions[at], value, 6e-7);
    }
}

#[test]
fn the_default_matches_the_reference() {
    assert_reference(ChannelMask::All, &DEFAULT);
}

#[test]
fn rgb_only_matches_the_reference() {
    assert_reference(ChannelMask::RgbOnly, &RGB_ONLY);
}

#[test]
fn attention_matches_the_reference() {
    let (config, contract) = published(ChannelMask::All);
    let policy = filled(config, &contract);
    let (_, attention) = policy.forward_with_attention(example(&Device::flex()));
    assert_eq!(attention.maps.dims(), [1, 1, 2, 3, 28, 28]);
    assert_eq!(attention.taps.len(), 3);
    let maps = values(attention.maps);
    for (tap, (first, largest, place)) in ATTENTION.into_iter().enumerate() {
        let map = &maps[tap * 784..(tap + 1) * 784];
        assert_close("first place", map[0], first, 0.0);
        assert_close("largest", map[place], largest, 0.0);
        assert!(map.iter().all(|&value| value <= map[place]), "tap {tap}");
        assert_close("total", map.iter().sum(), 1.0, 0.0);
    }
}

#[test]
fn parameter_counts_are_those_of_the_reference() {
    let learned = |change: &dyn Fn(&mut SpawnNetConfig)| {
        let (mut config, contract) = published(ChannelMask::All);
        change(&mut config);
        let policy = PolicyConfig::SpawnNet(config);
        let policy = policy.build(&contract, 1, &Device::flex(), false).unwrap();
        let head = policy.head().num_params() - 16;
        policy.num_learned_params() - head
    };
    assert_eq!(learned(&|_| {}), 1_976_384);
    assert_eq!(learned(&|config| config.fusion = Fusion::Last), 1_025_344);
    assert_eq!(learned(&|c| c.backbone.architecture = Architecture::MaeVitb16), 2_050_112);
    assert_eq!(learned(&|c| c.backbone.architecture = Architecture::Resnet50), 2_132_032);
}

/// A small policy on a backbone that is quick on small pictures.
fn small(change: impl Fn(&mut SpawnNetConfig)) -> PolicyConfig {
    let backbone = BackboneConfig {
        architecture: Architecture::Resnet18,
        weights: None,
        taps: ["layer_1", "layer_2", "layer_3"].map(|tap| tap.parse().unwrap()).to_vec(),
        size: None,
        fine_tune: false,
        precision: Precision::Single,
    };
    let head = HeadConfig { hidden: vec![32], bounds: None };
    let mut config = SpawnNetConfig { head, ..SpawnNetConfig::new(backbone) };
    (config.channels, config.adapter_channels) = (8, 4);
    change(&mut config);
    PolicyConfig::SpawnNet(config)
}

#[test]
fn shapes_hold_for_every_ablation_and_for_pictures_that_are_not_square() {
    let device = Device::flex();
    let masks =
        [ChannelMask::All, ChannelMask::RgbOnly, ChannelMask::DepthOnly, ChannelMask::NoRgbd];
    for (i, channel_mask) in masks.into_iter().enumerate() {
        let contract = contract(2, 40, 56);
        let config = small(|config| {
            config.channel_mask = channel_mask;
            config.fusion = if i % 2 == 0 { Fusion::All } else { Fusion::Last };
            config.tokens = if i < 2 { Tokens::Dense } else { Tokens::Cls };
            config.backbone.size = (i == 3).then_some(48);
        });
        let policy = config.init(&contract, 1, &device).unwrap();
        let input = testing::input(&contract, 3, &device);
        let (actions, attention) = policy.forward_with_attention(input);
        assert_eq!(actions.dims(), [3, 4, 2]);
        let taps = if i % 2 == 0 { 3 } else { 1 };
        assert_eq!(attention.unwrap().maps.dims(), [3, 2, 2, taps, 5, 7]);
    }
}

#[test]
fn a_mask_hides_what_it_says() {
    let device = Device::flex();
    let contract = contract(1, 32, 32);
    let differs = |channel_mask, change: &dyn Fn(&mut PolicyInput)| {
        let config = small(|config| config.channel_mask = channel_mask);
        let policy = config.init(&contract, 1, &device).unwrap();
        let images = testing::input(&contract, 1, &device).rgb;
        let mut input = testing::input(&contract, 1, &device);
        input.features = policy.frozen_features(&images);
        let before = values(policy.forward(input.clone()));
        change(&mut input);
        before != values(policy.forward(input))
    };
    let colour = |input: &mut PolicyInput| input.rgb = input.rgb.numbers().zeros_like().into();
    let depth = |input: &mut PolicyInput| input.depth = None;
    let found =
        [ChannelMask::All, ChannelMask::RgbOnly, ChannelMask::DepthOnly, ChannelMask::NoRgbd]
            .map(|mask| (differs(mask, &colour), differs(mask, &depth)));
    assert_eq!(found, [(true, true), (true, false), (false, true), (false, false)]);
}

#[test]
fn features_computed_earlier_change_nothing() {
    let device = Device::flex();
    let contract = contract(2, 32, 32);
    let policy = small(|_| {}).init(&contract, 1, &device).unwrap();
    let input = testing::input(&contract, 2, &device);
    let features = policy.frozen_features(&input.rgb);
    assert!(features.is_some());
    let earlier = PolicyInput { features, ..input.clone() };
    assert_eq!(values(policy.forward(input)), values(policy.forward(earlier)));
}

#[test]
fn one_batch_is_memorized() {
    let (_, first, last) = memorize(&small(|_| {}), &contract(1, 32, 32), 60);
    assert!(last < 0.05 * first, "{first} to {last}");
}

#[test]
fn saved_equals_loaded() {
    assert_saved_equals_loaded(&small(|_| {}), &contract(2, 32, 40));
}

#[test]
fn a_wrong_number_of_taps_is_an_error() {
    let config = small(|config| config.backbone.taps.truncate(2));
    let error = config.init(&contract(1, 32, 32), 1, &Device::flex()).unwrap_err();
    assert_eq!(error.to_string(), "this policy reads 3 tap(s) of its backbone, the config names 2");
}
