//! Pictures on a device.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use engraft_core::RgbImage;
use engraft_kernels::fixed::{Scaling, planes, scale_bytes, scale_pictures};

/// Pictures of one size.
///
/// On the CPU they are bytes as the camera gave them, and become numbers where a network reads
/// them, in the same pass that scales them. A GPU gets bytes too, and makes numbers of them there.
#[derive(Debug, Clone)]
pub struct Images(Values);

#[derive(Debug, Clone)]
enum Values {
    /// `[pictures, height, width, 3]`.
    Bytes(Tensor<4, Int>),
    /// `[pictures, 3, height, width]`, 0 to 255.
    Numbers(Tensor<4>),
}

impl Images {
    /// Copies pictures of `size` (height, width) to `device`.
    ///
    /// # Panics
    ///
    /// When one has another size.
    pub fn new<'a>(
        pictures: impl ExactSizeIterator<Item = &'a RgbImage>,
        size: [usize; 2],
        device: &Device,
    ) -> Self {
        let [height, width] = size;
        let shape = [pictures.len(), height, width, 3];
        let mut bytes = Vec::with_capacity(shape.iter().product());
        for picture in pictures {
            assert_eq!([picture.height(), picture.width()], size, "pictures of one size");
            bytes.extend_from_slice(picture.pixels());
        }
        Self::from_bytes(bytes, shape, device)
    }

    fn from_bytes(bytes: Vec<u8>, shape: [usize; 4], device: &Device) -> Self {
        if engraft_kernels::is_cpu(device) {
            let data = TensorData::new(bytes, shape);
            return Self(Values::Bytes(Tensor::from_data(data, (device, DType::U8))));
        }
        let numbers: Tensor<4> = numbers(&bytes, device).reshape(shape);
        Self(Values::Numbers(numbers.permute([0, 3, 1, 2])))
    }

    /// Bytes that a pixel takes on `device`.
    pub fn pixel_bytes(device: &Device) -> usize {
        3 * if engraft_kernels::is_cpu(device) { size_of::<u8>() } else { size_of::<f32>() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match &self.0 {
            Values::Bytes(bytes) => bytes.dims()[0],
            Values::Numbers(numbers) => numbers.dims()[0],
        }
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        match &self.0 {
            Values::Bytes(bytes) => [bytes.dims()[1], bytes.dims()[2]],
            Values::Numbers(numbers) => [numbers.dims()[2], numbers.dims()[3]],
        }
    }

    /// Where they are.
    pub fn device(&self) -> Device {
        match &self.0 {
            Values::Bytes(bytes) => bytes.device(),
            Values::Numbers(numbers) => numbers.device(),
        }
    }

    /// Some of them.
    #[must_use]
    pub fn some(&self, which: Range<usize>) -> Self {
        Self(match &self.0 {
            Values::Bytes(bytes) => Values::Bytes(bytes.clone().slice_dim(0, which)),
            Values::Numbers(numbers) => Values::Numbers(numbers.clone().slice_dim(0, which)),
        })
    }

    /// The same without automatic differentiation.
    #[must_use]
    pub fn inner(self) -> Self {
        Self(match self.0 {
            Values::Bytes(bytes) => Values::Bytes(bytes.inner()),
            Values::Numbers(numbers) => Values::Numbers(numbers.inner()),
        })
    }

    /// As numbers from 0 to 255: `[pictures, 3, height, width]`.
    pub fn numbers(&self) -> Tensor<4> {
        match &self.0 {
            Values::Bytes(bytes) => planes(bytes.clone()),
            Values::Numbers(numbers) => numbers.clone(),
        }
    }

    /// As a network reads them, see [`scale_pictures`].
    ///
    /// # Shapes
    ///
    /// - `depth`: `[pictures, 1, height, width]`
    /// - output: `[pictures, 3 or 4, height, width]`
    pub fn scaled(&self, depth: Option<Tensor<4>>, scaling: Scaling) -> Tensor<4> {
        match &self.0 {
            Values::Bytes(bytes) => scale_bytes(bytes.clone(), depth, scaling),
            Values::Numbers(numbers) => scale_pictures(numbers.clone(), depth, scaling),
        }
    }
}

/// Numbers from 0 to 255, `[pictures, 3, height, width]`.
impl From<Tensor<4>> for Images {
    fn from(numbers: Tensor<4>) -> Self {
        Self(Values::Numbers(numbers))
    }
}

/// Numbers from 0 to 255, `[batch, frames, views, 3, height, width]`.
impl From<Tensor<6>> for Images {
    fn from(numbers: Tensor<6>) -> Self {
        numbers.flatten::<4>(0, 2).into()
    }
}

/// Bytes as numbers. They travel four to an integer, since not every GPU has bytes.
fn numbers(bytes: &[u8], device: &Device) -> Tensor<1> {
    let word = |four: &[u8]| {
        let byte = |i: usize| four.get(i).copied().unwrap_or_default();
        i32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
    };
    let words: Vec<i32> = bytes.chunks(4).map(word).collect();
    let len = words.len();
    let words = Tensor::<1, Int>::from_data(TensorData::new(words, [len]), device);
    let nth = |i| words.clone().bitwise_right_shift_scalar(8 * i).bitwise_and_scalar(255);
    let columns = (0..4).map(|i| nth(i).reshape([len, 1])).collect();
    let values = Tensor::<2, Int>::cat(columns, 1).float().reshape([4 * len]);
    values.narrow(0, 0, bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    #[test]
    fn bytes_become_the_same_numbers_on_either_way() {
        let device = Device::flex();
        let picture = |seed: usize| {
            let bytes = (0..5 * 3 * 3).map(|i| ((i * 89 + seed * 37) % 256) as u8).collect();
            RgbImage::new(5, 3, bytes).unwrap()
        };
        let pictures = [0, 1, 2].map(picture);
        let here = Images::new(pictures.iter(), [3, 5], &device);
        assert_eq!((here.count(), here.size(), here.device()), (3, [3, 5], device.clone()));
        let bytes: Vec<u8> =
            pictures.iter().flat_map(|picture| picture.pixels().to_vec()).collect();
        let there: Tensor<4> = numbers(&bytes, &device).reshape([3, 3, 5, 3]);
        let there = Images::from(there.permute([0, 3, 1, 2]));
        assert_eq!(here.numbers().dims(), [3, 3, 3, 5]);
        assert_eq!(values(here.numbers()), values(there.numbers()));
        assert_eq!(values(here.some(1..2).numbers()), values(there.some(1..2).numbers()));
        let scaling = Scaling { shift: [100.0; 3], scale: [0.5, 0.25, 0.1], depth: [0.0, 1.0] };
        let depth = || Some(Tensor::full([3, 1, 3, 5], 0.5, &device));
        let scaled = |images: &Images| values(images.scaled(depth(), scaling));
        assert_eq!(scaled(&here), scaled(&there));
    }
}
