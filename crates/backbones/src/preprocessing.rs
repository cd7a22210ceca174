//! What a backbone does to a picture before it looks at it.

use burn::tensor::Tensor;
use engraft_core::RgbImage;
use engraft_kernels::fixed::{Scaling, scale_pictures};
use serde::{Deserialize, Serialize};

/// How pixels become what the network was trained on.
///
/// Every backbone owns one and applies it inside
/// [`features`](crate::Backbone::features), so callers hand over plain pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Which means and standard deviations.
    pub normalization: Normalization,
    /// Height and width of the pictures the network was trained on, in pixels.
    pub size: usize,
    /// The share of a picture's shorter side that [`fit`](Self::fit) keeps.
    pub crop: f32,
}

/// Mean and standard deviation per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalization {
    /// The mean and deviation of `ImageNet`'s pixels: torchvision, DINO, R3M, MoCo, timm.
    Imagenet,
    /// Mean and deviation 0.5, as MVP has it: pixels become -1 to 1.
    Half,
    /// `(pixel - 127) / 128`, as the EfficientNet-Lite family has it.
    EfficientnetLite,
}

impl Normalization {
    /// Mean of each channel, on the scale of pixels, 0 to 255.
    pub fn mean(self) -> [f32; 3] {
        match self {
            Self::Imagenet => [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
            Self::Half => [127.5; 3],
            Self::EfficientnetLite => [127.0; 3],
        }
    }

    /// Standard deviation of each channel, on the scale of pixels, 0 to 255.
    pub fn std(self) -> [f32; 3] {
        match self {
            Self::Imagenet => [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
            Self::Half => [127.5; 3],
            Self::EfficientnetLite => [128.0; 3],
        }
    }
}

impl Preprocessing {
    /// Pixels to network inputs.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, 3, height, width]`, RGB, 0 to 255
    /// - output: the same shape, normalized
    pub fn normalize(&self, images: Tensor<4>) -> Tensor<4> {
        scale_pictures(images, None, self.scaling([0.0, 0.0]))
    }

    /// The same for pictures beside depth, which is kept within `depth`.
    pub fn scaling(&self, depth: [f32; 2]) -> Scaling {
        Scaling {
            shift: self.normalization.mean(),
            scale: self.normalization.std().map(|deviation| 1.0 / deviation),
            depth,
        }
    }

    /// The part of a photograph that the network was tested on: the shorter side shrunk to
    /// `size / crop` (bicubic, antialiased), and the middle square of `size` kept.
    ///
    /// Only for classifying photographs; a policy looks at the whole picture.
    pub fn fit(&self, image: &RgbImage) -> RgbImage {
        let shorter = (self.size as f32 / self.crop).round() as usize;
        let (w, h) = (image.width(), image.height());
        let scaled = |side: usize| (side * shorter + w.min(h) / 2) / w.min(h);
        let (w, h) = (scaled(w), scaled(h));
        let resized = image.resize_bicubic(w, h);
        resized.crop((w - self.size) / 2, (h - self.size) / 2, self.size, self.size)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn black_and_white_land_where_each_network_expects_them() {
        let device = Device::flex();
        for (normalization, black, white) in [
            (Normalization::Imagenet, -2.117_904, 2.248_908_3),
            (Normalization::Half, -1.0, 1.0),
            (Normalization::EfficientnetLite, -0.992_187_5, 1.0),
        ] {
            let rule = Preprocessing { normalization, size: 224, crop: 0.875 };
            for (pixel, expected) in [(0.0, black), (255.0, white)] {
                let out = rule.normalize(Tensor::full([1, 3, 1, 1], pixel, &device));
                let red = out.into_data().try_to_vec::<f32>().unwrap()[0];
                assert!((red - expected).abs() < 1e-5, "{normalization:?}: {red} for {pixel}");
            }
        }
    }

    #[test]
    fn a_wide_photograph_is_cropped_to_its_middle_square() {
        let rule = Preprocessing { normalization: Normalization::Imagenet, size: 224, crop: 0.875 };
        let fitted = rule.fit(&RgbImage::filled(600, 300, [9, 8, 7]));
        assert_eq!((fitted.width(), fitted.height()), (224, 224));
        assert_eq!(fitted.pixel(100, 100), [9, 8, 7]);
    }
}
