//! Learning from scratch: SpawnNet's learned stream without its features, after IMPALA.
//!
//! Source: the baseline in the public code of SpawnNet (Lin et al. 2023, arXiv:2307.03567),
//! whose networks go back to Espeholt et al. 2018, arXiv:1802.01561. Differs in: any picture that
//! the stem takes will do.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use engraft_kernels::fixed::Scaling;
use engraft_kernels::linear;
use serde::{Deserialize, Serialize};

use crate::head::{Head, HeadConfig};
use crate::layers::{ConvStream, Init, NUM_STAGES, append};
use crate::spawnnet::stage_sizes;
use crate::{Contract, PolicyError, PolicyInput};

/// Sizes of an [`Lfs`]. The defaults are those of the reference's large baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LfsConfig {
    /// Channels of the stream: 128 in the reference's `larger` network, else 64.
    #[serde(default = "published_width")]
    pub channels: usize,
    /// How pictures enter.
    #[serde(default)]
    pub pictures: Pictures,
    /// The action head.
    #[serde(default)]
    pub head: HeadConfig,
}

fn published_width() -> usize {
    128
}

/// How the pictures of a sample enter the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pictures {
    /// Each alone, with its depth as a fourth channel; the reference's `large` network.
    #[default]
    Separate,
    /// All at once, one after another on the channels, and every depth after them; a linear layer
    /// narrows the result to 384.
    Stacked,
}

/// Width that [`Pictures::Stacked`] is narrowed to.
const STACKED_WIDTH: usize = 384;

/// See the [module](self).
#[derive(Module, Debug)]
pub struct Lfs {
    pub(crate) conv: ConvStream,
    pub(crate) fc: Option<Linear>,
    pub(crate) head: Head,
    use_depth: bool,
    use_proprio: bool,
}

impl Default for LfsConfig {
    fn default() -> Self {
        Self {
            channels: published_width(),
            pictures: Pictures::default(),
            head: HeadConfig::default(),
        }
    }
}

impl LfsConfig {
    pub(crate) fn init(&self, contract: &Contract, init: &mut Init) -> Result<Lfs, PolicyError> {
        if self.channels == 0 {
            return Err(PolicyError::Zero { field: "channels" });
        }
        let [height, width] = stage_sizes(contract)?[NUM_STAGES - 1];
        let picture = self.channels * height * width;
        let (inputs, features) = match self.pictures {
            Pictures::Separate => (4, contract.num_pictures() * picture),
            Pictures::Stacked => (4 * contract.num_pictures(), STACKED_WIDTH),
        };
        let conv = ConvStream::new(init, inputs, self.channels, [self.channels; NUM_STAGES]);
        let stacked = self.pictures == Pictures::Stacked;
        let fc = stacked.then(|| init.linear(picture, STACKED_WIDTH));
        let proprio = contract.num_frames * contract.spec.proprio_dim();
        let head = self.head.init(init, features + proprio, contract)?;
        let (use_depth, use_proprio) = (contract.use_depth, contract.use_proprio);
        Ok(Lfs { conv, fc, head, use_depth, use_proprio })
    }
}

impl Lfs {
    /// Predicts one normalized chunk per sample.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, horizon, action_dim]`
    pub fn forward(&self, input: &PolicyInput) -> Tensor<3> {
        let [batch, ..] = input.dims();
        let mut x = self.conv.stem(self.stream_input(input));
        for stage in 0..NUM_STAGES {
            x = self.conv.refine(stage, self.conv.halve(stage, x));
        }
        let [rows, channels, height, width] = x.dims();
        let mut x = relu(x.reshape([rows, channels * height * width]));
        if let Some(fc) = &self.fc {
            x = relu(linear(fc, x));
        }
        let [rows, width] = x.dims();
        let x = x.reshape([batch, rows / batch * width]);
        let proprio = input.proprio.clone();
        let proprio = if self.use_proprio { proprio } else { proprio.zeros_like() };
        self.head.forward(append(x, proprio))
    }

    /// Colour from 0 to 1 and depth in metres: `[pictures, 4, h, w]`, or all of a sample on the
    /// channels.
    fn stream_input(&self, input: &PolicyInput) -> Tensor<4> {
        let [batch, frames, views, height, width] = input.dims();
        let stacked = self.fc.is_some();
        let (rows, group) =
            if stacked { (batch, frames * views) } else { (batch * frames * views, 1) };
        let depth = match &input.depth {
            Some(depth) if self.use_depth => depth.clone().reshape([rows, group, height, width]),
            _ => Tensor::zeros([rows, group, height, width], &input.rgb.device()),
        };
        if group > 1 {
            let rgb = input.rgb.numbers().reshape([rows, 3 * group, height, width]);
            return Tensor::cat(vec![rgb.div_scalar(255.0), depth], 1);
        }
        let scale = [1.0 / 255.0; 3];
        let depth_range = [f32::NEG_INFINITY, f32::INFINITY];
        let scaling = Scaling { shift: [0.0; 3], scale, depth: depth_range };
        input.rgb.scaled(Some(depth), scaling)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use engraft_core::Dimension;

    use super::*;
    use crate::PolicyConfig;
    use crate::testing::{self, assert_saved_equals_loaded, contract, memorize};

    fn small(pictures: Pictures) -> PolicyConfig {
        let head = HeadConfig { hidden: vec![32], bounds: None };
        PolicyConfig::Lfs(LfsConfig { channels: 8, pictures, head })
    }

    /// Learned parameters before the head, and the width of what the head reads.
    fn published(channels: usize, pictures: Pictures, views: usize) -> (usize, usize) {
        let (frames, state) = if views == 2 { (4, 7) } else { (1, 49) };
        let mut contract = contract(frames, 224, 224);
        contract.spec.proprio = vec![Dimension::new("state", ""); state];
        let view = contract.spec.views[0].clone();
        contract.spec.views.resize(views, view);
        let config = LfsConfig { channels, pictures, head: HeadConfig::default() };
        let policy = config.init(&contract, &mut Init::new(1, &Device::flex())).unwrap();
        let inputs = policy.head.trunk()[0].weight.lazy_shape()[0];
        (policy.num_params() - policy.head.num_params(), inputs)
    }

    #[test]
    fn sizes_are_those_of_the_reference() {
        assert_eq!(published(128, Pictures::Separate, 2), (2_222_080, 50_204));
        assert_eq!(published(128, Pictures::Separate, 3), (2_222_080, 18_865));
        assert_eq!(published(64, Pictures::Separate, 2), (558_080, 25_116));
        assert_eq!(published(64, Pictures::Stacked, 2), (1_791_360, 412));
    }

    #[test]
    fn shapes_hold_however_pictures_enter() {
        for pictures in [Pictures::Separate, Pictures::Stacked] {
            let contract = contract(2, 40, 56);
            let policy = small(pictures).init(&contract, 1, &Device::flex()).unwrap();
            let input = testing::input(&contract, 3, &Device::flex());
            assert!(policy.attention(input.clone()).is_none());
            assert_eq!(policy.forward(input).dims(), [3, 4, 2]);
        }
    }

    #[test]
    fn stacked_pictures_put_every_depth_after_every_colour() {
        let contract = contract(2, 8, 8);
        let config = LfsConfig { pictures: Pictures::Stacked, ..LfsConfig::default() };
        let policy = config.init(&contract, &mut Init::new(1, &Device::flex())).unwrap();
        let mut input = testing::input(&contract, 1, &Device::flex());
        input.rgb = (input.rgb.numbers().ones_like() * 255.0).into();
        input.depth = input.depth.map(|depth| depth.zeros_like() + 3.0);
        let x = policy.stream_input(&input);
        assert_eq!(x.dims(), [1, 16, 8, 8]);
        let column = testing::values(x.slice([0..1, 0..16, 0..1, 0..1]));
        assert_eq!(column[..12], [1.0; 12]);
        assert_eq!(column[12..], [3.0; 4]);
    }

    #[test]
    fn depth_is_not_clamped_here() {
        let contract = contract(1, 8, 8);
        let config = LfsConfig { channels: 4, ..LfsConfig::default() };
        let policy = config.init(&contract, &mut Init::new(1, &Device::flex())).unwrap();
        let mut input = testing::input(&contract, 1, &Device::flex());
        input.depth = input.depth.map(|depth| depth.zeros_like() + 3.0);
        let x = policy.stream_input(&input);
        assert_eq!(x.slice([1..2, 3..4, 2..3, 2..3]).into_scalar::<f32>(), 3.0);
    }

    #[test]
    fn one_batch_is_memorized() {
        let (_, first, last) = memorize(&small(Pictures::Separate), &contract(1, 32, 32), 60);
        assert!(last < 0.05 * first, "{first} to {last}");
    }

    #[test]
    fn saved_equals_loaded() {
        assert_saved_equals_loaded(&small(Pictures::Separate), &contract(2, 32, 40));
        assert_saved_equals_loaded(&small(Pictures::Stacked), &contract(2, 32, 40));
    }
}
