//! ResNet-18, 34 and 50.
//!
//! Source: He et al. 2015, arXiv:1512.03385, as torchvision writes it (the stride of a bottleneck
//! is on its 3 x 3 convolution). R3M's and MoCo's checkpoints have the same layout.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use engraft_kernels::Activation::{None as Nothing, Relu};
use engraft_kernels::fixed::conv2d;
use engraft_kernels::{Precision, max_pool2d};

use crate::inverted::{RELU_GAIN, zero_bias};
use crate::tap::Collector;
use crate::{Architecture, Facet, Features, Preprocessing, Tap};

/// The sizes of a network.
pub(crate) struct Plan {
    pub(crate) blocks: [usize; 4],
    pub(crate) bottleneck: bool,
}

pub(crate) static RESNET18: Plan = Plan { blocks: [2, 2, 2, 2], bottleneck: false };
pub(crate) static RESNET34: Plan = Plan { blocks: [3, 4, 6, 3], bottleneck: false };
pub(crate) static RESNET50: Plan = Plan { blocks: [3, 4, 6, 3], bottleneck: true };

/// A ResNet without its classifier.
#[derive(Module, Debug)]
pub struct Resnet {
    conv1: Conv2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    #[module(skip)]
    architecture: Architecture,
    #[module(skip)]
    preprocessing: Preprocessing,
    #[module(skip)]
    precision: Precision,
}

/// Two convolutions, or three with a narrow middle.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Option<Conv2d>,
    downsample: Option<Conv2d>,
}

impl Plan {
    /// Channels of `layer_i`, counted from 1.
    pub(crate) fn channels(&self, layer: usize) -> usize {
        let narrow = 32 << layer;
        if self.bottleneck { narrow * 4 } else { narrow }
    }

    /// Whether the first block of `layer_i` changes its input's shape.
    pub(crate) fn downsamples(&self, layer: usize) -> bool {
        layer > 1 || self.bottleneck
    }

    fn layer(&self, layer: usize, device: &Device) -> Vec<Block> {
        let inputs = if layer == 1 { 64 } else { self.channels(layer - 1) };
        let outputs = self.channels(layer);
        let narrow = 32 << layer;
        let block = |block: usize| {
            let inputs = if block == 0 { inputs } else { outputs };
            let stride = if block == 0 && layer > 1 { 2 } else { 1 };
            let (first, second) = if self.bottleneck {
                (
                    conv([inputs, narrow], 1, 1, RELU_GAIN),
                    conv([narrow, narrow], 3, stride, RELU_GAIN),
                )
            } else {
                (
                    conv([inputs, narrow], 3, stride, RELU_GAIN),
                    conv([narrow, narrow], 3, 1, BRANCH_GAIN),
                )
            };
            Block {
                conv1: zero_bias(first.init(device)),
                conv2: zero_bias(second.init(device)),
                conv3: self
                    .bottleneck
                    .then(|| zero_bias(conv([narrow, outputs], 1, 1, BRANCH_GAIN).init(device))),
                downsample: (block == 0 && self.downsamples(layer))
                    .then(|| zero_bias(conv([inputs, outputs], 1, stride, 1.0).init(device))),
            }
        };
        (0..self.blocks[layer - 1]).map(block).collect()
    }
}

/// Keeps the sum of many random branches from growing.
const BRANCH_GAIN: f64 = 0.5;

fn conv(channels: [usize; 2], kernel: usize, stride: usize, gain: f64) -> Conv2dConfig {
    let half = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(half, half, half, half))
        .with_initializer(Initializer::KaimingNormal { gain, fan_out_only: false })
}

impl Resnet {
    pub(crate) fn init(architecture: Architecture, plan: &Plan, device: &Device) -> Self {
        Self {
            conv1: zero_bias(conv([3, 64], 7, 2, RELU_GAIN).init(device)),
            layer1: plan.layer(1, device),
            layer2: plan.layer(2, device),
            layer3: plan.layer(3, device),
            layer4: plan.layer(4, device),
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

    /// # Shapes
    ///
    /// - `inputs`: `[n, 3, height, width]`, normalized
    pub(crate) fn features(&self, inputs: Tensor<4>, taps: &[Tap]) -> Vec<Features> {
        let mut collector = Collector::new(taps);
        let x = conv2d(&self.conv1, inputs, Relu); // [n, 64, h / 2, w / 2]
        let mut x = max_pool2d(x, 3, 2, 1); // [n, 64, h / 4, w / 4]
        let layers = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        for (layer, blocks) in (1..).zip(layers) {
            if collector.is_full() {
                break;
            }
            x = blocks.iter().fold(x, |x, block| block.forward(x, self.precision)); // halves all but the first
            collector.offer(Facet::Layer, layer, || Features { map: x.clone(), cls: None });
        }
        collector.finish()
    }
}

impl Block {
    fn forward(&self, input: Tensor<4>, precision: Precision) -> Tensor<4> {
        let x = precision.conv2d(&self.conv1, input.clone(), Relu);
        let (x, last) = match &self.conv3 {
            Some(conv3) => (precision.conv2d(&self.conv2, x, Relu), conv3),
            None => (x, &self.conv2),
        };
        let shortcut = match &self.downsample {
            Some(downsample) => precision.conv2d(downsample, input, Nothing),
            None => input,
        };
        precision.conv2d_add(last, x, shortcut, Relu)
    }
}
