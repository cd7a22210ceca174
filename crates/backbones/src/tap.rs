//! Where features are taken from, and what comes out.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::BackboneError;

/// What kind of layer a [`Tap`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// Output of a stage (EfficientNet) or of a block (MobileNet) of a mobile network.
    Stage,
    /// Output of one of the four layers of a ResNet.
    Layer,
    /// The residual stream after a transformer block, before the final norm.
    Token,
    /// The keys of a transformer block, all heads side by side: channel `head * head_dim + i`, as
    /// the layer writes them. (The extractor that SpawnNet's DINO baseline uses has the head
    /// fastest: `i * heads + head`.)
    Key,
    /// The queries of a transformer block, all heads side by side.
    Query,
    /// The values of a transformer block, all heads side by side.
    Value,
    /// How strongly the class token of a transformer block attends to each patch, per head.
    Attn,
    /// The last convolution of a mobile network, just before its classifier pools.
    Head,
}

/// A layer that a backbone hands out, written `stage_4`, `layer_3`, `token_11`, `head`...
///
/// ```
/// use engraft_backbones::{Facet, Tap};
/// let tap: Tap = "key_9".parse()?;
/// assert_eq!(tap, Tap::new(Facet::Key, 9));
/// assert_eq!(tap.to_string(), "key_9");
/// # Ok::<(), engraft_backbones::BackboneError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tap {
    facet: Facet,
    index: usize,
}

/// How large the features of one tap are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TapShape {
    /// Channels of the map (and of the class token).
    pub channels: usize,
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// Whether a class token comes with the map.
    pub has_cls: bool,
}

/// The features of one tap.
#[derive(Debug, Clone)]
pub struct Features {
    /// `[n, channels, height, width]`, row 0 at the top of the picture.
    pub map: Tensor<4>,
    /// `[n, channels]`: the class token of a transformer, `None` for a convolutional network.
    pub cls: Option<Tensor<2>>,
}

impl Facet {
    const ALL: [Self; 8] = [
        Self::Stage,
        Self::Layer,
        Self::Token,
        Self::Key,
        Self::Query,
        Self::Value,
        Self::Attn,
        Self::Head,
    ];

    /// The word before the underscore.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Layer => "layer",
            Self::Token => "token",
            Self::Key => "key",
            Self::Query => "query",
            Self::Value => "value",
            Self::Attn => "attn",
            Self::Head => "head",
        }
    }
}

impl Tap {
    /// The tap of `facet` at layer `index`, counted as the reference counts. The one
    /// [`Facet::Head`] has no index; it is ignored.
    pub fn new(facet: Facet, index: usize) -> Self {
        Self { facet, index: if facet == Facet::Head { 0 } else { index } }
    }

    /// What kind of layer this is.
    pub fn facet(self) -> Facet {
        self.facet
    }

    /// Which layer of that kind.
    pub fn index(self) -> usize {
        self.index
    }
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.facet {
            Facet::Head => f.write_str("head"),
            facet => write!(f, "{}_{}", facet.name(), self.index),
        }
    }
}

impl FromStr for Tap {
    type Err = BackboneError;

    fn from_str(text: &str) -> Result<Self, BackboneError> {
        let error = || BackboneError::TapSyntax { found: text.to_owned() };
        if text == "head" {
            return Ok(Self::new(Facet::Head, 0));
        }
        let (word, digits) = text.split_once('_').ok_or_else(error)?;
        let facet = Facet::ALL
            .into_iter()
            .find(|facet| facet.name() == word && *facet != Facet::Head)
            .ok_or_else(error)?;
        if digits.len() > 1 && digits.starts_with('0') || digits.starts_with('+') {
            return Err(error());
        }
        let index = digits.parse().map_err(|_| error())?;
        Ok(Self::new(facet, index))
    }
}

impl TryFrom<String> for Tap {
    type Error = BackboneError;

    fn try_from(text: String) -> Result<Self, BackboneError> {
        text.parse()
    }
}

impl From<Tap> for String {
    fn from(tap: Tap) -> Self {
        tap.to_string()
    }
}

/// Keeps what was asked for while a network runs, and knows when it may stop.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    taps: &'a [Tap],
    found: Vec<Option<Features>>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(taps: &'a [Tap]) -> Self {
        Self { taps, found: taps.iter().map(|_| None).collect() }
    }

    /// Whether anybody asked for this layer.
    pub(crate) fn wants(&self, facet: Facet, index: usize) -> bool {
        self.taps.contains(&Tap::new(facet, index))
    }

    /// Keeps `features()` for every tap that names this layer.
    pub(crate) fn offer(&mut self, facet: Facet, index: usize, features: impl Fn() -> Features) {
        let tap = Tap::new(facet, index);
        for (asked, slot) in self.taps.iter().zip(&mut self.found) {
            if *asked == tap {
                *slot = Some(features());
            }
        }
    }

    /// Whether every tap has its features.
    pub(crate) fn is_full(&self) -> bool {
        self.found.iter().all(Option::is_some)
    }

    /// The features in the order of the taps.
    pub(crate) fn finish(self) -> Vec<Features> {
        let taps = self.taps;
        let pairs = self.found.into_iter().zip(taps);
        pairs
            .map(|(features, tap)| {
                features.unwrap_or_else(|| panic!("this backbone has no tap `{tap}`"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tap_reads_back_as_written() {
        for text in ["stage_0", "layer_4", "token_11", "key_9", "query_0", "value_3", "attn_5"] {
            assert_eq!(text.parse::<Tap>().unwrap().to_string(), text);
        }
        assert_eq!("head".parse::<Tap>().unwrap().to_string(), "head");
    }

    #[test]
    fn a_misspelt_tap_is_an_error_that_shows_how_taps_are_written() {
        for text in ["", "token", "token_", "tokens_3", "token_-1", "token_03", "head_0", "key_+1"]
        {
            let error = text.parse::<Tap>().unwrap_err().to_string();
            assert!(error.contains("token_11"), "{text}: {error}");
        }
    }
}
