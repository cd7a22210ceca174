//! The closed set of networks.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::inverted::{InvertedResidualNet, Plan};
use crate::resnet::{self, Resnet};
use crate::vit::{Vit, VitConfig};
use crate::{Backbone, BackboneError, Facet, Normalization, Preprocessing, Tap, TapShape};

/// A network that engraft can run, whatever weights it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// EfficientNet-Lite0: taps `stage_0` to `stage_6` and `head`.
    EfficientnetLite0,
    /// `MobileNetV2` of width 1: taps `stage_1` to `stage_17` (its blocks) and `head`.
    MobilenetV2,
    /// ResNet-18: taps `layer_1` to `layer_4`.
    Resnet18,
    /// ResNet-34: taps `layer_1` to `layer_4`.
    Resnet34,
    /// ResNet-50: taps `layer_1` to `layer_4`. R3M and MoCo use it.
    Resnet50,
    /// DINO's ViT-S with patches of 8 pixels.
    DinoVits8,
    /// DINO's ViT-S with patches of 16 pixels.
    DinoVits16,
    /// DINO's ViT-B with patches of 8 pixels.
    DinoVitb8,
    /// DINO's ViT-B with patches of 16 pixels.
    DinoVitb16,
    /// The ViT-B with patches of 16 pixels of MAE, MVP and timm.
    MaeVitb16,
}

/// Which family a network belongs to, with its sizes.
pub(crate) enum Family {
    Inverted(&'static Plan),
    Resnet(&'static resnet::Plan),
    Vit(VitConfig),
}

impl Architecture {
    /// Every architecture, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::EfficientnetLite0,
        Self::MobilenetV2,
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::DinoVits8,
        Self::DinoVits16,
        Self::DinoVitb8,
        Self::DinoVitb16,
        Self::MaeVitb16,
    ];

    /// The name in configs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientnetLite0 => "efficientnet-lite0",
            Self::MobilenetV2 => "mobilenet-v2",
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::DinoVits8 => "dino-vits8",
            Self::DinoVits16 => "dino-vits16",
            Self::DinoVitb8 => "dino-vitb8",
            Self::DinoVitb16 => "dino-vitb16",
            Self::MaeVitb16 => "mae-vitb16",
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::EfficientnetLite0 => Family::Inverted(&crate::efficientnet::LITE0),
            Self::MobilenetV2 => Family::Inverted(&crate::mobilenet::V2),
            Self::Resnet18 => Family::Resnet(&resnet::RESNET18),
            Self::Resnet34 => Family::Resnet(&resnet::RESNET34),
            Self::Resnet50 => Family::Resnet(&resnet::RESNET50),
            Self::DinoVits8 => Family::Vit(VitConfig::small(8)),
            Self::DinoVits16 => Family::Vit(VitConfig::small(16)),
            Self::DinoVitb8 => Family::Vit(VitConfig::base(8)),
            Self::DinoVitb16 | Self::MaeVitb16 => Family::Vit(VitConfig::base(16)),
        }
    }

    /// Every tap, from the input to the output.
    pub fn taps(self) -> Vec<Tap> {
        let all = |facet, indices: std::ops::RangeInclusive<usize>| {
            indices.map(move |index| Tap::new(facet, index))
        };
        match self.family() {
            Family::Inverted(plan) => {
                all(Facet::Stage, plan.tap_indices()).chain([Tap::new(Facet::Head, 0)]).collect()
            }
            Family::Resnet(_) => all(Facet::Layer, 1..=4).collect(),
            Family::Vit(config) => {
                [Facet::Token, Facet::Key, Facet::Query, Facet::Value, Facet::Attn]
                    .into_iter()
                    .flat_map(|facet| all(facet, 0..=config.depth - 1))
                    .collect()
            }
        }
    }

    /// The three taps that SpawnNet fuses, coarse last.
    ///
    /// Source: the SpawnNet paper's choice for DINO, MVP and R3M; for the two mobile networks
    /// the layers of the same strides as R3M's.
    pub fn default_taps(self) -> [Tap; 3] {
        match self {
            Self::EfficientnetLite0 => [2, 4, 6].map(|index| Tap::new(Facet::Stage, index)),
            Self::MobilenetV2 => [6, 13, 17].map(|index| Tap::new(Facet::Stage, index)),
            Self::Resnet18 | Self::Resnet34 | Self::Resnet50 => {
                [2, 3, 4].map(|index| Tap::new(Facet::Layer, index))
            }
            _ => [5, 8, 11].map(|index| Tap::new(Facet::Token, index)),
        }
    }

    /// Reads a tap and checks that this architecture has it.
    ///
    /// # Errors
    ///
    /// When the text is no tap, or none of this architecture; the message names those it has.
    pub fn tap(self, text: &str) -> Result<Tap, BackboneError> {
        let tap = text.parse()?;
        self.check(&tap)?;
        Ok(tap)
    }

    fn check(self, tap: &Tap) -> Result<(), BackboneError> {
        if self.taps().contains(tap) {
            return Ok(());
        }
        let valid = match self.family() {
            Family::Inverted(plan) => {
                let indices = plan.tap_indices();
                format!("stage_{} to stage_{} and head", indices.start(), indices.end())
            }
            Family::Resnet(_) => "layer_1 to layer_4".to_owned(),
            Family::Vit(config) => {
                format!(
                    "token_i, key_i, query_i, value_i and attn_i for i from 0 to {}",
                    config.depth - 1
                )
            }
        };
        Err(BackboneError::UnknownTap { architecture: self, tap: *tap, valid })
    }

    /// How large the features of `tap` are for pictures of `height` by `width` pixels.
    ///
    /// # Errors
    ///
    /// When this architecture has no such tap, or the picture is smaller than one patch.
    pub fn tap_shape(
        self,
        tap: &Tap,
        height: usize,
        width: usize,
    ) -> Result<TapShape, BackboneError> {
        self.check(tap)?;
        let smallest = match self.family() {
            Family::Vit(config) => config.patch,
            _ => 1,
        };
        if height < smallest || width < smallest {
            return Err(BackboneError::TooSmall { architecture: self, height, width, smallest });
        }
        let strided = |channels, stride: usize| TapShape {
            channels,
            height: height.div_ceil(stride),
            width: width.div_ceil(stride),
            has_cls: false,
        };
        Ok(match self.family() {
            Family::Inverted(plan) => {
                let (channels, stride) = plan.tap_size(*tap);
                strided(channels, stride)
            }
            Family::Resnet(plan) => strided(plan.channels(tap.index()), 2 << tap.index()),
            Family::Vit(config) => TapShape {
                channels: if tap.facet() == Facet::Attn { config.heads } else { config.width },
                height: height / config.patch,
                width: width / config.patch,
                has_cls: true,
            },
        })
    }

    /// Whether it has layers that compute in [`Precision::Int8`](crate::Precision::Int8): linear ones,
    /// and convolutions of one pixel that are not small. The two smaller `ResNets` have none that
    /// matter.
    pub fn has_int8(self) -> bool {
        !matches!(self, Self::Resnet18 | Self::Resnet34)
    }

    /// How this network wants its pixels, unless its weights say otherwise.
    pub fn preprocessing(self) -> Preprocessing {
        let normalization = match self {
            Self::EfficientnetLite0 => Normalization::EfficientnetLite,
            Self::MaeVitb16 => Normalization::Half,
            _ => Normalization::Imagenet,
        };
        Preprocessing { normalization, size: 224, crop: 0.875 }
    }

    /// The network with random weights: the control that shows what training is worth.
    ///
    /// Weights are drawn from the device's generator (`device.seed`), lazily.
    pub fn init(self, device: &Device) -> Backbone {
        match self.family() {
            Family::Inverted(plan) => {
                Backbone::Inverted(InvertedResidualNet::init(self, plan, device))
            }
            Family::Resnet(plan) => Backbone::Resnet(Resnet::init(self, plan, device)),
            Family::Vit(config) => Backbone::Vit(Vit::init(self, &config, device)),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = BackboneError;

    fn from_str(text: &str) -> Result<Self, BackboneError> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|architecture| architecture.name()).collect();
            BackboneError::UnknownArchitecture { found: text.to_owned(), known: known.join(", ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_configs_and_on_the_command_line() {
        for architecture in Architecture::ALL {
            let json = serde_json::to_string(&architecture).unwrap();
            assert_eq!(json, format!("\"{architecture}\""));
            assert_eq!(architecture.name().parse::<Architecture>().unwrap(), architecture);
        }
        let error = "resnet101".parse::<Architecture>().unwrap_err().to_string();
        assert!(error.contains("resnet50, dino-vits8"), "{error}");
    }

    #[test]
    fn a_tap_of_another_architecture_is_an_error_that_names_the_right_ones() {
        let error = Architecture::EfficientnetLite0.tap("token_5").unwrap_err().to_string();
        assert_eq!(
            error,
            "efficientnet-lite0 has no tap `token_5`, it has stage_0 to stage_6 and head"
        );
        assert!(Architecture::DinoVits8.tap("token_12").is_err());
        assert!(Architecture::Resnet18.tap("layer_0").is_err());
        assert!(Architecture::MobilenetV2.tap("stage_0").is_err());
    }

    #[test]
    fn default_taps_have_the_sizes_of_the_reference() {
        let shapes = |architecture: Architecture| {
            architecture.default_taps().map(|tap| {
                let shape = architecture.tap_shape(&tap, 224, 224).unwrap();
                (shape.channels, shape.height)
            })
        };
        assert_eq!(shapes(Architecture::DinoVits8), [(384, 28); 3]);
        assert_eq!(shapes(Architecture::MaeVitb16), [(768, 14); 3]);
        assert_eq!(shapes(Architecture::Resnet50), [(512, 28), (1024, 14), (2048, 7)]);
        assert_eq!(shapes(Architecture::EfficientnetLite0), [(40, 28), (112, 14), (320, 7)]);
        assert_eq!(shapes(Architecture::MobilenetV2), [(32, 28), (96, 14), (320, 7)]);
    }

    #[test]
    fn a_picture_smaller_than_a_patch_is_an_error() {
        let tap = Architecture::DinoVits16.default_taps()[0];
        let error = Architecture::DinoVits16.tap_shape(&tap, 15, 64).unwrap_err().to_string();
        assert_eq!(error, "dino-vits16 needs pictures of at least 16 x 16 pixels, found 15 x 64");
    }
}
