//! What is measured, against what, and how well engraft is meant to do.

use engraft_policies::Precision;
use serde_json::{Value, json};

/// The most that engraft may take of what PyTorch's best takes, by name of the row; the first
/// that fits counts. A star stands for anything.
const BARS: &[(&str, f64)] = &[
    ("forward/*", 1.0),
    ("step/*-b32", 1.0),
    ("latency/*", 0.8),
    ("augment/*", 1.0),
    ("epoch/*", 0.35),
    ("memory-training/*", 0.5),
    ("memory-server/*", 0.25),
];

/// The backbones, run up to their last tap at 224 pixels.
const BACKBONES: &[(&str, &str)] = &[
    ("efficientnet-lite0", "head"),
    ("mobilenet-v2", "head"),
    ("resnet18", "layer_4"),
    ("resnet50", "layer_4"),
    ("dino-vits8", "token_11"),
    ("dino-vits16", "token_11"),
];

/// Those that are run in bytes too, beside PyTorch in single precision: which is not the same work,
/// so no bar is set.
const BACKBONES_IN_INT8: &[(&str, &str)] =
    &[("efficientnet-lite0-int8", "head"), ("dino-vits16-int8", "token_11")];

/// What the name of a network ends in that computes its frozen features in bytes.
const IN_INT8: &str = "-int8";

/// The policies at their published widths. `spawnnet` is given the features of a ViT-S/8, and
/// `spawnnet-vits16` computes those of a ViT-S/16.
const POLICIES: &[&str] = &["lfs", "hansen", "spawnnet", "spawnnet-vits16"];

/// Sides of a picture and batches of the training steps.
const SHAPES: &[(usize, usize)] = &[(224, 8), (224, 32), (96, 8), (96, 32)];

/// The contract of every policy here: actions in a chunk, dimensions of an action and of proprio.
pub(crate) const HORIZON: usize = 8;
/// Dimensions of an action.
pub(crate) const ACTION_DIM: usize = 7;
/// Dimensions of proprio.
pub(crate) const PROPRIO_DIM: usize = 7;

/// How far a training step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Forward,
    Gradient,
    Step,
}

/// What is done to pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Augmentation {
    Shift,
    Crop,
    Color,
}

/// What a case does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A backbone up to the tap.
    Backbone(&'static str),
    /// A policy on a batch.
    Policy(Mode),
    /// A policy on one observation, from bytes to actions in physical units.
    Observation,
    /// Augmented pictures as a tensor, from bytes.
    Augment(Augmentation),
    /// Training from files: seconds per picture.
    Train,
    /// Training on cached features beside the same without; both sides are engraft.
    Epoch,
    /// Peak bytes of a process of its own that does the case inside.
    Memory(Box<Case>),
}

/// Something to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) group: &'static str,
    pub(crate) network: &'static str,
    pub(crate) side: usize,
    pub(crate) batch: usize,
    pub(crate) kind: Kind,
}

/// Which number of the samples a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistic {
    Median,
    P50,
    P99,
}

/// A way in which the other side does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Whether it may be the best, which the ratio is taken to.
    pub(crate) counted: bool,
}

const fn counted(name: &'static str) -> Variant {
    Variant { name, counted: true }
}

const NETWORK: &[Variant] = &[counted("eager"), counted("channels-last"), counted("compile")];
const FROZEN: &[Variant] = &[
    counted("eager"),
    counted("channels-last"),
    counted("compile"),
    Variant { name: "onnxruntime", counted: false },
];
/// A batch at once by `grid_sample`, or picture by picture.
const SHIFTS: &[Variant] = &[counted("eager"), counted("slices")];
/// Picture by picture, on one thread or on all.
const PER_PICTURE: &[Variant] = &[counted("eager"), counted("threads")];
/// With the data loader in the process, or in workers.
const LOADERS: &[Variant] = &[counted("eager"), counted("channels-last"), counted("workers")];
const PLAIN: &[Variant] = &[counted("eager")];

/// What `--variants` may name.
pub(crate) const VARIANT_NAMES: &[&str] =
    &["eager", "channels-last", "compile", "onnxruntime", "slices", "threads", "workers"];

impl Case {
    /// The network, and how precisely what is frozen of it computes here.
    pub(crate) fn network(&self) -> (&'static str, Precision) {
        match self.network.strip_suffix(IN_INT8) {
            Some(network) => (network, Precision::Int8),
            None => (self.network, Precision::Single),
        }
    }

    /// Group, network and shape.
    pub(crate) fn name(&self) -> String {
        let Self { group, network, side, batch, kind } = self;
        let shape = match kind {
            Kind::Backbone(_) => format!("b{batch}"),
            Kind::Observation => format!("{side}"),
            Kind::Memory(inside) if inside.kind == Kind::Observation => format!("{side}"),
            _ => format!("{side}-b{batch}"),
        };
        format!("{group}/{network}/{shape}")
    }

    /// The rows that come of it, and what each is called.
    pub(crate) fn rows(&self) -> Vec<(String, Statistic)> {
        let name = self.name();
        if self.kind == Kind::Observation {
            let row = |end, statistic| (format!("{name}-{end}"), statistic);
            vec![row("p50", Statistic::P50), row("p99", Statistic::P99)]
        } else {
            vec![(name, Statistic::Median)]
        }
    }

    /// How PyTorch may do the same; none where both sides are engraft.
    pub(crate) fn variants(&self) -> &'static [Variant] {
        match &self.kind {
            Kind::Backbone(_) => FROZEN,
            Kind::Policy(_) | Kind::Observation => NETWORK,
            Kind::Augment(Augmentation::Shift) => SHIFTS,
            Kind::Augment(_) => PER_PICTURE,
            Kind::Train => LOADERS,
            Kind::Memory(_) => PLAIN,
            Kind::Epoch => &[],
        }
    }

    /// What the samples count.
    pub(crate) fn unit(&self) -> Unit {
        match self.kind {
            Kind::Memory(_) => Unit::Bytes,
            Kind::Train => Unit::SecondsPerPicture,
            _ => Unit::Seconds,
        }
    }

    /// The case as the Python side reads it.
    pub(crate) fn to_json(&self) -> Value {
        let ((network, _), side, batch) = (self.network(), self.side, self.batch);
        let mut case = json!({ "network": network, "side": side, "batch": batch });
        case["kind"] = json!(match &self.kind {
            Kind::Backbone(_) => "backbone",
            Kind::Policy(mode) => {
                case["mode"] = json!(match mode {
                    Mode::Forward => "forward",
                    Mode::Gradient => "gradient",
                    Mode::Step => "step",
                });
                "policy"
            }
            Kind::Observation => "observation",
            Kind::Augment(_) => "augment",
            Kind::Train | Kind::Epoch => "train",
            Kind::Memory(inside) => {
                case["inside"] = inside.to_json();
                case["iterations"] = json!(inside.iterations_for_memory());
                "memory"
            }
        });
        case
    }

    /// Iterations after which a process has reached its peak.
    pub(crate) fn iterations_for_memory(&self) -> usize {
        if self.kind == Kind::Observation { 20 } else { 4 }
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    SecondsPerPicture,
    Bytes,
}

impl Unit {
    /// As JSON has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::SecondsPerPicture => "s/picture",
            Self::Bytes => "bytes",
        }
    }

    /// A number for people.
    pub(crate) fn say(self, value: f64) -> String {
        let (value, unit) = match self {
            Self::Bytes => (value / 1e6, "MB"),
            _ if value < 1.0 => (value * 1e3, "ms"),
            _ => (value, "s"),
        };
        let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        format!("{value:.decimals$} {unit}")
    }
}

/// Everything that is measured, in the order of the report.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(network, tap) in BACKBONES.iter().chain(BACKBONES_IN_INT8) {
        for batch in [1, 8] {
            let kind = Kind::Backbone(tap);
            cases.push(Case { group: "forward", network, side: 224, batch, kind });
        }
    }
    let modes = [("policy", Mode::Forward), ("gradient", Mode::Gradient), ("step", Mode::Step)];
    for (group, mode) in modes {
        for &network in POLICIES {
            for &(side, batch) in SHAPES {
                cases.push(Case { group, network, side, batch, kind: Kind::Policy(mode) });
            }
        }
    }
    let observation = |group, network| {
        let kind = Kind::Observation;
        Case { group, network, side: 224, batch: 1, kind }
    };
    for network in ["lfs", "hansen", "spawnnet-vits16", "spawnnet-vits16-int8"] {
        cases.push(observation("latency", network));
    }
    let augmentations = [
        ("shift", Augmentation::Shift),
        ("crop", Augmentation::Crop),
        ("color", Augmentation::Color),
    ];
    for (network, augmentation) in augmentations {
        for side in [224, 96] {
            let kind = Kind::Augment(augmentation);
            cases.push(Case { group: "augment", network, side, batch: 32, kind });
        }
    }
    let (train, epoch) = (Kind::Train, Kind::Epoch);
    cases.push(Case {
        group: "train",
        network: "hansen",
        side: 96,
        batch: 32,
        kind: train.clone(),
    });
    cases.push(Case { group: "train", network: "lfs", side: 96, batch: 32, kind: train });
    let network = "spawnnet-vits16";
    cases.push(Case { group: "epoch", network, side: 224, batch: 32, kind: epoch });
    for network in ["lfs", "spawnnet-vits16"] {
        let (side, batch) = (224, 32);
        let step = Case { group: "step", network, side, batch, kind: Kind::Policy(Mode::Step) };
        let kind = Kind::Memory(Box::new(step));
        cases.push(Case { group: "memory-training", network, side, batch, kind });
    }
    for network in ["lfs", "spawnnet-vits16", "spawnnet-vits16-int8"] {
        let kind = Kind::Memory(Box::new(observation("latency", network)));
        cases.push(Case { group: "memory-server", network, side: 224, batch: 1, kind });
    }
    cases
}

/// The bar of a row, if one is set.
pub(crate) fn bar(row: &str) -> Option<f64> {
    let fits = |pattern: &str| match pattern.split_once('*') {
        Some((start, end)) => {
            row.len() >= start.len() + end.len() && row.starts_with(start) && row.ends_with(end)
        }
        None => row == pattern,
    };
    let same_work = !row.split('/').any(|part| part.ends_with(IN_INT8));
    BARS.iter().find(|(pattern, _)| same_work && fits(pattern)).map(|(_, bar)| *bar)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_have_names_of_three_parts_and_no_two_the_same() {
        let rows: Vec<_> = all().iter().flat_map(Case::rows).map(|(name, _)| name).collect();
        assert!(rows.iter().all(|name| name.split('/').count() == 3), "{rows:?}");
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len());
        assert!(rows.contains(&"forward/resnet18/b1".into()), "{rows:?}");
        assert!(rows.contains(&"latency/lfs/224-p99".into()), "{rows:?}");
    }

    #[test]
    fn bars_are_found_by_name() {
        assert_eq!(bar("forward/dino-vits8/b8"), Some(1.0));
        assert_eq!(bar("step/lfs/224-b32"), Some(1.0));
        assert_eq!(bar("step/lfs/224-b8"), None);
        assert_eq!(bar("latency/hansen/224-p99"), Some(0.8));
        assert_eq!(bar("memory-server/lfs/224"), Some(0.25));
        assert_eq!(bar("policy/lfs/224-b8"), None);
        assert_eq!(bar("forward/dino-vits16-int8/b1"), None);
        assert_eq!(bar("latency/spawnnet-vits16-int8/224-p50"), None);
    }

    #[test]
    fn every_bar_is_some_rows() {
        let rows: Vec<_> = all().iter().flat_map(Case::rows).map(|(name, _)| name).collect();
        for (pattern, at_most) in BARS {
            assert!(rows.iter().any(|row| bar(row) == Some(*at_most)), "{pattern}");
        }
    }

    #[test]
    fn every_variant_can_be_picked() {
        for case in all() {
            for variant in case.variants() {
                assert!(VARIANT_NAMES.contains(&variant.name), "{}", variant.name);
            }
        }
    }

    #[test]
    fn numbers_are_said_in_units_that_fit() {
        assert_eq!(Unit::Seconds.say(0.001_234), "1.23 ms");
        assert_eq!(Unit::Seconds.say(0.0456), "45.6 ms");
        assert_eq!(Unit::Seconds.say(12.345), "12.3 s");
        assert_eq!(Unit::Bytes.say(345e6), "345 MB");
    }
}
