//! What the tensors of the reference's files tell.

use engraft_backbones::{Architecture, NamedTensors};

use super::{ImportError, ImportOptions};

/// Width that the reference's stacked network hands to the head.
const STACKED_WIDTH: usize = 384;

/// What a sample is made of.
pub(super) struct Layout {
    pub(super) frames: usize,
    pub(super) views: usize,
    pub(super) proprio_dim: usize,
}

/// What the policy file tells.
pub(super) struct Head {
    pub(super) inputs: usize,
    pub(super) hidden: Vec<usize>,
    pub(super) horizon: usize,
    pub(super) scale: Vec<f32>,
    bias: Vec<f32>,
}

/// The reference's name of one of our tensors.
pub(crate) fn official(ours: &str, spawnnet: bool) -> String {
    let mut parts: Vec<String> = ours.split('.').map(str::to_owned).collect();
    if parts[0] == "head" {
        parts.remove(0);
        if parts[0] == "trunk" {
            // Layers alternate with activations.
            parts[1] = parts[1].parse().map_or(parts[1].clone(), |i: usize| (2 * i).to_string());
        }
        return parts.join(".");
    }
    for part in &mut parts {
        match part.as_str() {
            "first" => "1".clone_into(part),
            "second" => "3".clone_into(part),
            _ => {}
        }
    }
    let name = parts.iter().position(|part| part == "feat_convs" || part == "adapters");
    if let Some(at) = name {
        parts.insert(at + 2, "0".to_owned());
    }
    match (spawnnet, parts[0].as_str()) {
        (true, "adapters" | "linears") => parts.insert(0, "conv".to_owned()),
        (false, "conv") => drop(parts.remove(0)),
        _ => {}
    }
    parts.join(".")
}

/// Rows of a weight: how many values it puts out.
pub(super) fn rows(tensors: &NamedTensors, name: &str) -> Result<usize, ImportError> {
    let shape = tensors.shape(name).filter(|shape| !shape.is_empty());
    shape
        .map(|shape| shape[0])
        .ok_or_else(|| ImportError::Tensors { problems: format!("1 tensor(s) missing (`{name}`)") })
}

impl Head {
    pub(super) fn read(policy: &NamedTensors) -> Result<Self, ImportError> {
        let missing = |name: &str| ImportError::Tensors {
            problems: format!("1 tensor(s) missing (`{name}`)"),
        };
        let vector = |name: &str| {
            let data = policy.get(name).ok_or_else(|| missing(name))?;
            Ok::<_, ImportError>(data.iter::<f32>().collect::<Vec<_>>())
        };
        let (scale, bias) = (vector("scale")?, vector("bias")?);
        let mut widths = Vec::new();
        let mut inputs = None;
        for layer in 0.. {
            let Some(shape) = policy.shape(&format!("trunk.{}.weight", 2 * layer)) else { break };
            let [to, from] = shape[..] else { break };
            inputs.get_or_insert(from);
            widths.push(to);
        }
        let (Some(inputs), Some(outputs)) = (inputs, widths.pop()) else {
            return Err(missing("trunk.0.weight"));
        };
        if scale.is_empty() || scale.len() != bias.len() || outputs % scale.len() != 0 {
            let problems = format!(
                "`scale` has {} value(s) and `bias` {}, the last layer puts out {outputs}",
                scale.len(),
                bias.len()
            );
            return Err(ImportError::Tensors { problems });
        }
        Ok(Self { inputs, hidden: widths, horizon: outputs / scale.len(), scale, bias })
    }

    pub(super) fn check_horizon(&self, given: Option<usize>) -> Result<(), ImportError> {
        match given {
            Some(given) if given != self.horizon => Err(ImportError::Contradiction {
                flag: "--horizon",
                given,
                choices: format!("{} actions", self.horizon),
            }),
            _ => Ok(()),
        }
    }

    /// Lowest and highest value of each action dimension.
    pub(super) fn bounds(&self) -> Vec<[f32; 2]> {
        let pairs = self.scale.iter().zip(&self.bias);
        pairs.map(|(scale, bias)| [bias - scale, bias + scale]).collect()
    }
}

impl Layout {
    /// Splits a width that holds `picture` values per picture, and proprio per frame.
    pub(super) fn per_picture(
        inputs: usize,
        picture: usize,
        options: &ImportOptions,
    ) -> Result<Self, ImportError> {
        // Proprio is narrower than a picture's features, so each number of frames that divides
        // the width leaves one number of views.
        let fitting = (1..=inputs / picture.max(1)).filter(|frames| inputs.is_multiple_of(*frames));
        let layouts = fitting.map(|frames| Self {
            frames,
            views: inputs / frames / picture,
            proprio_dim: inputs / frames % picture,
        });
        Self::choose(layouts.filter(|layout| layout.views > 0).collect(), options, || {
            format!("the head reads {inputs} values, a picture is {picture} of them")
        })
    }

    /// Splits the input channels of a network that takes all pictures at once.
    pub(super) fn stacked(
        inputs: usize,
        encoder: &NamedTensors,
        options: &ImportOptions,
    ) -> Result<Self, ImportError> {
        let channels = encoder.shape("stem.weight").and_then(|shape| shape.get(1).copied());
        let pictures = channels.unwrap_or_default() / 4;
        let proprio = inputs.saturating_sub(STACKED_WIDTH);
        let fitting = (1..=pictures)
            .filter(|frames| pictures.is_multiple_of(*frames) && proprio.is_multiple_of(*frames));
        let layouts = fitting.map(|frames| Self {
            frames,
            views: pictures / frames,
            proprio_dim: proprio / frames,
        });
        Self::choose(layouts.collect(), options, || {
            format!("the stem reads {pictures} picture(s), the head {inputs} values")
        })
    }

    fn choose(
        layouts: Vec<Self>,
        options: &ImportOptions,
        say: impl Fn() -> String,
    ) -> Result<Self, ImportError> {
        let list = |values: Vec<usize>| {
            let values: Vec<_> = values.iter().map(usize::to_string).collect();
            format!("{} would fit", values.join(", "))
        };
        let frames = list(layouts.iter().map(|layout| layout.frames).collect());
        let views = list(layouts.iter().map(|layout| layout.views).collect());
        if layouts.is_empty() {
            return Err(ImportError::Tensors { problems: say() });
        }
        let mut left = layouts;
        if let Some(given) = options.frames {
            left.retain(|layout| layout.frames == given);
            if left.is_empty() {
                let choices = frames;
                return Err(ImportError::Contradiction { flag: "--frames", given, choices });
            }
        }
        if let Some(given) = options.views {
            left.retain(|layout| layout.views == given);
            if left.is_empty() {
                let choices = views;
                return Err(ImportError::Contradiction { flag: "--views", given, choices });
            }
        }
        if left.len() > 1 {
            return Err(ImportError::Flag { what: "frames", flag: "--frames", choices: frames });
        }
        left.pop().ok_or_else(|| ImportError::Tensors { problems: say() })
    }
}

/// Which backbone an encoder holds, by names and shapes.
pub(super) fn backbone(vit: &NamedTensors) -> Result<Architecture, ImportError> {
    let odd = |reason: String| Err(ImportError::Backbone { reason });
    if let Some(patch) = vit.shape("patch_embed.proj.weight") {
        return match (patch.first(), patch.last()) {
            (Some(384), Some(8)) => Ok(Architecture::DinoVits8),
            (Some(384), Some(16)) => Ok(Architecture::DinoVits16),
            (Some(768), Some(8)) => Ok(Architecture::DinoVitb8),
            // DINO's has the same shapes; the reference has recipes for MVP's alone.
            (Some(768), Some(16)) => Ok(Architecture::MaeVitb16),
            _ => odd(format!("`vit.patch_embed.proj.weight` has shape {patch:?}")),
        };
    }
    let has = |part: &str| vit.names().any(|name| name.contains(part));
    if has("layer1.0.conv3.weight") {
        Ok(Architecture::Resnet50)
    } else if has("layer1.2.conv1.weight") {
        Ok(Architecture::Resnet34)
    } else if has("layer1.0.conv1.weight") {
        Ok(Architecture::Resnet18)
    } else {
        odd("there is neither a patch embedding nor a residual layer under `vit.`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(inputs: usize, frames: Option<usize>) -> Result<[usize; 3], String> {
        let options = ImportOptions { frames, ..ImportOptions::default() };
        Layout::per_picture(inputs, 6272, &options)
            .map(|layout| [layout.frames, layout.views, layout.proprio_dim])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_published_widths_split_as_they_were_made() {
        assert_eq!(open(18_865, None), Ok([1, 3, 49]));
        assert_eq!(open(50_204, Some(4)), Ok([4, 2, 7]));
        assert_eq!(
            open(50_204, None).unwrap_err(),
            "the tensors leave open how many frames there are, give --frames (1, 2, 4, 7 would fit)"
        );
        assert_eq!(
            open(50_204, Some(3)).unwrap_err(),
            "--frames 3 does not fit the tensors (1, 2, 4, 7 would fit)"
        );
    }

    #[test]
    fn names_are_those_of_the_reference() {
        for (ours, theirs) in [
            ("conv.stem.weight", "conv.stem.weight"),
            ("conv.feat_convs.2.bias", "conv.feat_convs.2.0.bias"),
            ("conv.resnet1.0.first.weight", "conv.resnet1.0.1.weight"),
            ("conv.resnet2.1.second.bias", "conv.resnet2.1.3.bias"),
            ("adapters.1.weight", "conv.adapters.1.0.weight"),
            ("linears.1.weight", "conv.linears.1.weight"),
            ("head.trunk.1.weight", "trunk.2.weight"),
            ("head.scale", "scale"),
        ] {
            assert_eq!(official(ours, true), theirs);
        }
        assert_eq!(official("conv.feat_convs.0.weight", false), "feat_convs.0.0.weight");
        assert_eq!(official("fc.bias", false), "fc.bias");
    }
}
