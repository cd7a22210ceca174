//! Networks of inverted residual blocks: EfficientNet-Lite and `MobileNetV2`.
//!
//! Source: Sandler et al. 2018, arXiv:1801.04381. The two differ in their sizes, in how they
//! pad and in what their tensors are called; see `efficientnet.rs` and `mobilenet.rs`.

use std::ops::RangeInclusive;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use engraft_kernels::Activation::{None as Nothing, Relu6};
use engraft_kernels::Precision;
use engraft_kernels::fixed::conv2d;

use crate::tap::Collector;
use crate::{Architecture, Facet, Features, Preprocessing, Tap};

/// The sizes of a network.
pub(crate) struct Plan {
    pub(crate) stem: usize,
    pub(crate) stages: &'static [Stage],
    pub(crate) head: usize,
    pub(crate) classes: Option<usize>,
    pub(crate) padding: Padding,
    pub(crate) norm_epsilon: f64,
    pub(crate) taps_every_block: bool,
}

/// Blocks of one width; the first has the stride, the others have none.
pub(crate) struct Stage {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) expand: usize,
    pub(crate) channels: usize,
    pub(crate) blocks: usize,
}

/// What surrounds a picture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Half a kernel on every side.
    Half,
    /// As much as `ceil(size / stride)` outputs need; the odd pixel at the bottom and right.
    SameUpper,
}

/// One block's sizes.
struct BlockPlan {
    kernel: usize,
    stride: usize,
    expand: usize,
    inputs: usize,
    channels: usize,
    /// The tap that ends with this block, and its stride from the input.
    tap: Option<usize>,
    total_stride: usize,
}

/// EfficientNet-Lite or `MobileNetV2`.
#[derive(Module, Debug)]
pub struct InvertedResidualNet {
    stem: Conv2d,
    blocks: Vec<InvertedResidual>,
    head: Conv2d,
    classifier: Option<Linear>,
    #[module(skip)]
    architecture: Architecture,
    #[module(skip)]
    preprocessing: Preprocessing,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    tap_of_block: Vec<Option<usize>>,
}

#[derive(Module, Debug)]
struct InvertedResidual {
    expand: Option<Conv2d>,
    depthwise: Conv2d,
    project: Conv2d,
    has_shortcut: bool,
}

impl Plan {
    fn blocks(&self) -> Vec<BlockPlan> {
        let (mut inputs, mut total_stride) = (self.stem, 2);
        let mut blocks = Vec::new();
        for (stage_idx, stage) in self.stages.iter().enumerate() {
            for block in 0..stage.blocks {
                let stride = if block == 0 { stage.stride } else { 1 };
                total_stride *= stride;
                let ends_stage = block + 1 == stage.blocks;
                let tap = if self.taps_every_block {
                    Some(blocks.len() + 1) // counted from the stem, as the reference does
                } else {
                    ends_stage.then_some(stage_idx)
                };
                let Stage { kernel, expand, channels, .. } = *stage;
                blocks.push(BlockPlan {
                    kernel,
                    stride,
                    expand,
                    inputs,
                    channels,
                    tap,
                    total_stride,
                });
                inputs = channels;
            }
        }
        blocks
    }

    /// Number of blocks.
    pub(crate) fn num_blocks(&self) -> usize {
        self.stages.iter().map(|stage| stage.blocks).sum()
    }

    /// Whether a block widens its input first.
    pub(crate) fn expands(&self, block: usize) -> bool {
        self.blocks()[block].expand != 1
    }

    /// The indices of the `stage_i` taps.
    pub(crate) fn tap_indices(&self) -> RangeInclusive<usize> {
        if self.taps_every_block { 1..=self.num_blocks() } else { 0..=self.stages.len() - 1 }
    }

    /// Channels and stride of a tap that this plan has.
    pub(crate) fn tap_size(&self, tap: Tap) -> (usize, usize) {
        let blocks = self.blocks();
        if tap.facet() == Facet::Head {
            return (self.head, blocks.last().map_or(2, |block| block.total_stride));
        }
        blocks
            .iter()
            .find(|block| block.tap == Some(tap.index()))
            .map(|block| (block.channels, block.total_stride))
            .expect("the caller checked that the tap exists")
    }

    fn conv(
        &self,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
        gain: f64,
    ) -> Conv2dConfig {
        let half = kernel / 2;
        let padding = match self.padding {
            _ if kernel == 1 => PaddingConfig2d::Valid,
            Padding::Half => PaddingConfig2d::Explicit(half, half, half, half),
            Padding::SameUpper => PaddingConfig2d::Same,
        };
        Conv2dConfig::new(channels, [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(padding)
            .with_groups(groups)
            .with_initializer(Initializer::KaimingNormal { gain, fan_out_only: false })
    }
}

impl BlockPlan {
    fn init(&self, plan: &Plan, device: &Device) -> InvertedResidual {
        let wide = self.inputs * self.expand;
        let expand = plan.conv([self.inputs, wide], 1, 1, 1, RELU_GAIN);
        let depthwise = plan.conv([wide, wide], self.kernel, self.stride, wide, RELU_GAIN);
        let project = plan.conv([wide, self.channels], 1, 1, 1, 1.0);
        InvertedResidual {
            expand: (self.expand != 1).then(|| zero_bias(expand.init(device))),
            depthwise: zero_bias(depthwise.init(device)),
            project: zero_bias(project.init(device)),
            has_shortcut: self.stride == 1 && self.inputs == self.channels,
        }
    }
}

/// Keeps the variance of what goes through a `ReLU`.
pub(crate) const RELU_GAIN: f64 = std::f64::consts::SQRT_2;

/// A convolution whose bias starts at zero, as that of a fresh batch norm does.
pub(crate) fn zero_bias(mut conv: Conv2d) -> Conv2d {
    conv.bias = conv.bias.map(|bias| {
        let device = bias.lazy_device();
        Initializer::Zeros.init(bias.lazy_shape(), &device)
    });
    conv
}

impl InvertedResidualNet {
    pub(crate) fn init(architecture: Architecture, plan: &Plan, device: &Device) -> Self {
        let blocks = plan.blocks();
        let last = blocks.last().map_or(plan.stem, |block| block.channels);
        Self {
            stem: zero_bias(plan.conv([3, plan.stem], 3, 2, 1, RELU_GAIN).init(device)),
            tap_of_block: blocks.iter().map(|block| block.tap).collect(),
            blocks: blocks.iter().map(|block| block.init(plan, device)).collect(),
            head: zero_bias(plan.conv([last, plan.head], 1, 1, 1, RELU_GAIN).init(device)),
            classifier: plan
                .classes
                .map(|classes| LinearConfig::new(plan.head, classes).init(device)),
            architecture,
            preprocessing: architecture.preprocessing(),
            precision: Precision::default(),
        }
    }

    pub(crate) fn architecture(&self) -> Architecture {
        self.architecture
    }

    pub(crate) fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    pub(crate) fn with_preprocessing(self, preprocessing: Preprocessing) -> Self {
        Self { preprocessing, ..self }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    #[cfg(test)]
    pub(crate) fn stem_weight(&self) -> Tensor<4> {
        self.stem.weight.val()
    }

    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`, normalized
    pub(crate) fn features(&self, inputs: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        let mut collector = Collector::new(taps);
        let mut x = conv2d(&self.stem, inputs, Relu6); // [n, stem, h / 2, w / 2]
        for (block, tap) in self.blocks.iter().zip(&self.tap_of_block) {
            if collector.is_full() {
                return collector.finish();
            }
            x = block.forward(x, self.precision);
            if let Some(index) = *tap {
                collector.offer(Facet::Stage, index, || Features { map: x.clone(), cls: None });
            }
        }
        if collector.wants(Facet::Head, 0) {
            let map = self.precision.conv2d(&self.head, x, Relu6); // [n, head, h / 32, w / 32]
            collector.offer(Facet::Head, 0, || Features { map: map.clone(), cls: None });
        }
        collector.finish()
    }

    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`, normalized
    /// - output: `[n, classes]`
    pub(crate) fn classify(&self, inputs: Tensor<4>) -> Option<Tensor<2>> {
        let classifier = self.classifier.as_ref()?;
        let head = self.features(inputs, &[Tap::new(Facet::Head, 0)]).remove(0).map;
        let [n, channels, h, w] = head.dims();
        let pooled = head.reshape([n, channels, h * w]).mean_dim(2).reshape([n, channels]);
        Some(classifier.forward(pooled))
    }
}

impl InvertedResidual {
    fn forward(&self, input: Tensor<4>, precision: Precision) -> Tensor<4> {
        let mut x = input.clone();
        if let Some(expand) = &self.expand {
            x = precision.conv2d(expand, x, Relu6); // [n, wide, h, w]
        }
        let x = conv2d(&self.depthwise, x, Relu6); // [n, wide, h / stride, w / stride]
        // [n, channels, h / stride, w / stride]
        if self.has_shortcut {
            precision.conv2d_add(&self.project, x, input, Nothing)
        } else {
            precision.conv2d(&self.project, x, Nothing)
        }
    }
}
