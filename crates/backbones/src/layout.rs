//! What the references call their tensors, and how they become ours.
//!
//! Our modules hold one convolution where a reference holds a convolution and a batch norm, so
//! a layout is a list of pairs to fold and of names to keep. Every name that a file must have,
//! and its shape, follows from it; what is missing or left over is known before a tensor moves.

use std::collections::BTreeMap;

use burn::tensor::{Device, TensorData};

use crate::architecture::Family;
use crate::tensors::{Problems, parameter_shapes};
use crate::{Architecture, NamedTensors, WeightsError, inverted, resnet};

/// One way in which files name the tensors of an architecture.
pub(crate) struct Layout {
    folds: Vec<Fold>,
    /// Their name and ours.
    kept: Vec<(String, String)>,
    /// Parts of the reference that we have no use for.
    ignored: &'static [&'static str],
    norm_epsilon: f64,
    /// A name that only the beginning of the network has.
    anchor: &'static str,
    /// Shapes of our parameters, under our names.
    ours: BTreeMap<String, Vec<usize>>,
}

/// A convolution and the batch norm behind it.
struct Fold {
    ours: String,
    conv: String,
    norm: String,
}

const NORM_TENSORS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl Layout {
    /// Every layout that files of this architecture come in; the reference's own is the first.
    pub(crate) fn all(architecture: Architecture, device: &Device) -> Vec<Self> {
        // Parameters are lazy: nothing is drawn for their shapes.
        let ours = parameter_shapes(&architecture.init(device));
        let build =
            |folds: Vec<Fold>, anchor, ignored, norm_epsilon, rename: fn(&str) -> String| {
                let folded = |name: &str| {
                    folds.iter().any(|fold| {
                        name.strip_prefix(fold.ours.as_str())
                            .is_some_and(|rest| rest == ".weight" || rest == ".bias")
                    })
                };
                let kept = ours.keys().filter(|name| !folded(name));
                let kept = kept.map(|name| (rename(name), name.clone())).collect();
                Self { folds, kept, ignored, norm_epsilon, anchor, ours: ours.clone() }
            };
        let same = |name: &str| name.to_owned();
        match architecture.family() {
            Family::Inverted(plan) => {
                let epsilon = plan.norm_epsilon;
                let fc = |name: &str| name.replace("classifier.", "_fc.");
                let mut layouts = match architecture {
                    Architecture::MobilenetV2 => [mobilenet_flat, mobilenet_nested]
                        .map(|folds| {
                            build(
                                folds(plan),
                                "features.0.0.weight",
                                &["classifier."],
                                epsilon,
                                same,
                            )
                        })
                        .into(),
                    _ => vec![build(efficientnet(plan), "_conv_stem.weight", &[], epsilon, fc)],
                };
                layouts.push(build(Vec::new(), "stem.weight", &[], epsilon, same));
                layouts
            }
            Family::Resnet(plan) => {
                let anchor = "layer1.0.conv1.weight";
                vec![
                    build(torchvision_resnet(plan), anchor, &["fc."], 1e-5, same),
                    build(Vec::new(), anchor, &[], 1e-5, same),
                ]
            }
            Family::Vit(_) => {
                vec![build(Vec::new(), "patch_embed.proj.weight", &["head."], 0.0, same)]
            }
        }
    }

    /// Every name that a file needs, with its shape.
    pub(crate) fn expected(&self) -> BTreeMap<String, Vec<usize>> {
        let mut expected = BTreeMap::new();
        for Fold { ours, conv, norm } in &self.folds {
            let shape = &self.ours[&format!("{ours}.weight")];
            expected.insert(format!("{conv}.weight"), shape.clone());
            for part in NORM_TENSORS {
                expected.insert(format!("{norm}.{part}"), vec![shape[0]]);
            }
        }
        for (theirs, ours) in &self.kept {
            expected.insert(theirs.clone(), self.ours[ours].clone());
        }
        expected
    }

    fn is_ignored(&self, name: &str) -> bool {
        let counter = name.strip_suffix(".num_batches_tracked");
        counter.is_some_and(|norm| self.folds.iter().any(|fold| fold.norm == norm))
            || self.ignored.iter().any(|part| name.starts_with(part))
    }

    fn problems(&self, tensors: &NamedTensors) -> Problems {
        let expected = self.expected();
        let mut problems = Problems::default();
        for (name, shape) in &expected {
            match tensors.shape(name) {
                None => problems.missing.push(name.clone()),
                Some(found) if found != *shape => problems
                    .other
                    .push(format!("`{name}` has shape {found:?} instead of {shape:?}")),
                Some(_) => {}
            }
        }
        let left_over = tensors.names().filter(|name| !expected.contains_key(*name));
        problems.left_over =
            left_over.filter(|name| !self.is_ignored(name)).map(str::to_owned).collect();
        problems
    }

    /// Turns tensors without [`problems`](Self::problems) into ours.
    fn convert(&self, mut tensors: NamedTensors) -> NamedTensors {
        let mut converted = NamedTensors::default();
        let mut take = |name: String| tensors.remove(&name).expect("checked to be there");
        for Fold { ours, conv, norm } in &self.folds {
            let weight = take(format!("{conv}.weight"));
            let [scale, shift, mean, variance] =
                NORM_TENSORS.map(|part| values(&take(format!("{norm}.{part}"))));
            let (weight, bias) = fold(&weight, &scale, &shift, &mean, &variance, self.norm_epsilon);
            converted.insert(format!("{ours}.weight"), weight);
            converted.insert(format!("{ours}.bias"), bias);
        }
        for (theirs, ours) in &self.kept {
            converted.insert(ours.clone(), take(theirs.clone()));
        }
        converted
    }
}

fn values(data: &TensorData) -> Vec<f64> {
    data.iter::<f64>().collect()
}

/// The convolution that does what a convolution and a batch norm with fixed statistics do.
fn fold(
    weight: &TensorData,
    scale: &[f64],
    shift: &[f64],
    mean: &[f64],
    variance: &[f64],
    epsilon: f64,
) -> (TensorData, TensorData) {
    let shape = weight.shape().clone();
    let factors: Vec<f64> = scale
        .iter()
        .zip(variance)
        .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
        .collect();
    let per_channel = shape.num_elements() / factors.len().max(1);
    let folded: Vec<f32> = weight
        .iter::<f64>()
        .enumerate()
        .map(|(i, value)| (value * factors[i / per_channel]) as f32)
        .collect();
    let bias: Vec<f32> = shift
        .iter()
        .zip(mean)
        .zip(&factors)
        .map(|((shift, mean), factor)| (shift - mean * factor) as f32)
        .collect();
    (TensorData::new(folded, shape), TensorData::new(bias, [factors.len()]))
}

fn fold_names(ours: impl Into<String>, conv: impl Into<String>, norm: impl Into<String>) -> Fold {
    Fold { ours: ours.into(), conv: conv.into(), norm: norm.into() }
}

fn efficientnet(plan: &inverted::Plan) -> Vec<Fold> {
    let mut folds =
        vec![fold_names("stem", "_conv_stem", "_bn0"), fold_names("head", "_conv_head", "_bn1")];
    for i in 0..plan.num_blocks() {
        let parts = [
            ("expand", "_expand_conv", 0),
            ("depthwise", "_depthwise_conv", 1),
            ("project", "_project_conv", 2),
        ];
        for (ours, conv, norm) in parts.into_iter().skip(usize::from(!plan.expands(i))) {
            folds.push(fold_names(
                format!("blocks.{i}.{ours}"),
                format!("_blocks.{i}.{conv}"),
                format!("_blocks.{i}._bn{norm}"),
            ));
        }
    }
    folds
}

/// `MobileNetV2` with everything of a block in one list: `conv.0`, norm `conv.1`, relu, `conv.3`...
fn mobilenet_flat(plan: &inverted::Plan) -> Vec<Fold> {
    mobilenet(plan, |position, _| {
        (format!("conv.{}", 3 * position), format!("conv.{}", 3 * position + 1))
    })
}

/// torchvision's: each convolution with an activation is a list of its own.
fn mobilenet_nested(plan: &inverted::Plan) -> Vec<Fold> {
    mobilenet(plan, |position, is_last| {
        if is_last {
            (format!("conv.{position}"), format!("conv.{}", position + 1))
        } else {
            (format!("conv.{position}.0"), format!("conv.{position}.1"))
        }
    })
}

fn mobilenet(plan: &inverted::Plan, name: impl Fn(usize, bool) -> (String, String)) -> Vec<Fold> {
    let last = plan.num_blocks() + 1;
    let mut folds = vec![
        fold_names("stem", "features.0.0", "features.0.1"),
        fold_names("head", format!("features.{last}.0"), format!("features.{last}.1")),
    ];
    for i in 0..plan.num_blocks() {
        let parts = &["expand", "depthwise", "project"][usize::from(!plan.expands(i))..];
        for (position, ours) in parts.iter().enumerate() {
            let (conv, norm) = name(position, position + 1 == parts.len());
            let block = i + 1; // the stem is feature 0
            folds.push(fold_names(
                format!("blocks.{i}.{ours}"),
                format!("features.{block}.{conv}"),
                format!("features.{block}.{norm}"),
            ));
        }
    }
    folds
}

fn torchvision_resnet(plan: &resnet::Plan) -> Vec<Fold> {
    let mut folds = vec![fold_names("conv1", "conv1", "bn1")];
    for (layer, &blocks) in (1..).zip(&plan.blocks) {
        for block in 0..blocks {
            let at = format!("layer{layer}.{block}");
            for conv in 1..=if plan.bottleneck { 3 } else { 2 } {
                let name = format!("{at}.conv{conv}");
                folds.push(fold_names(name.clone(), name, format!("{at}.bn{conv}")));
            }
            if block == 0 && plan.downsamples(layer) {
                let name = format!("{at}.downsample");
                folds.push(fold_names(name.clone(), format!("{name}.0"), format!("{name}.1")));
            }
        }
    }
    folds
}

/// The prefixes under which a network stands in a file, the empty one included.
fn prefixes(layouts: &[Layout], tensors: &NamedTensors) -> Vec<String> {
    let mut found: Vec<String> = layouts
        .iter()
        .flat_map(|layout| tensors.names().filter_map(|name| name.strip_suffix(layout.anchor)))
        .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

fn best(layouts: Vec<Layout>, tensors: &NamedTensors) -> Layout {
    let matches = |layout: &Layout| {
        let expected = layout.expected();
        tensors.names().filter(|name| expected.contains_key(*name)).count()
    };
    layouts.into_iter().rev().max_by_key(matches).expect("an architecture has a layout")
}

/// Turns the tensors of a file into those of our module.
///
/// # Errors
///
/// When they are not exactly this architecture.
pub(crate) fn translate(
    architecture: Architecture,
    mut tensors: NamedTensors,
    device: &Device,
) -> Result<NamedTensors, WeightsError> {
    let layouts = Layout::all(architecture, device);
    let prefixes = prefixes(&layouts, &tensors);
    let mut outside = Vec::new();
    let mut hint = String::new();
    match prefixes.as_slice() {
        [prefix] if !prefix.is_empty() => {
            let inside = tensors.split_off(prefix);
            outside.extend(tensors.names().map(str::to_owned));
            tensors = inside;
            if !outside.is_empty() {
                hint = format!(
                    ", the network stands under `{prefix}` (name it with --prefix to leave the rest out)"
                );
            }
        }
        [first, .., last] if !first.is_empty() => {
            hint =
                format!(", it stands under `{first}` and under `{last}` (name one with --prefix)");
        }
        _ => {}
    }
    let layout = best(layouts, &tensors);
    let mut problems = layout.problems(&tensors);
    if hint.is_empty() && !(problems.missing.is_empty() && problems.other.is_empty()) {
        let looks: Vec<_> = detect(&tensors, device).iter().map(ToString::to_string).collect();
        if !looks.is_empty() {
            hint = format!(", they look like {}", looks.join(" or "));
        }
    }
    problems.left_over.extend(outside);
    problems.into_result(architecture.name(), hint)?;
    Ok(layout.convert(tensors))
}

/// The architectures that tensors could be; more than one where layouts are the same.
pub(crate) fn detect(tensors: &NamedTensors, device: &Device) -> Vec<Architecture> {
    let fits = |architecture: &Architecture| {
        let layouts = Layout::all(*architecture, device);
        let prefixes = prefixes(&layouts, tensors);
        let [prefix] = prefixes.as_slice() else { return false };
        let fits = |layout: &Layout| {
            layout.expected().iter().all(|(name, shape)| {
                tensors.shape(&format!("{prefix}{name}")).is_some_and(|found| found == *shape)
            })
        };
        layouts.iter().any(fits)
    };
    Architecture::ALL.into_iter().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_norm_folds_into_the_convolution_before_it() {
        let weight = TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0], [2, 2, 1, 1]);
        let (folded, bias) = fold(&weight, &[2.0, 1.0], &[0.5, 0.0], &[3.0, 1.0], &[3.0, 0.0], 1.0);
        assert_eq!(folded, TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0], [2, 2, 1, 1]));
        assert_eq!(bias, TensorData::from([-2.5_f32, -1.0]));
    }
}
