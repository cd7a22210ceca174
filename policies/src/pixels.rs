//! Pictures on their way to a device.

use burn::tensor::{Device, Int, Tensor, TensorData};
use engraft_core::RgbImage;
use engraft_kernels::append_planes;

/// Pictures of one size, collected for one tensor.
///
/// The CPU's backend gets the numbers as it will read them. A GPU gets bytes, a quarter as much to
/// send, and makes numbers of them there.
#[derive(Debug)]
pub struct Pixels {
    size: [usize; 2],
    count: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Channel by channel.
    Planes(Vec<f32>),
    /// As they lie in the picture.
    Bytes(Vec<u8>),
}

impl Pixels {
    /// Room for `count` pictures of `size` (height, width) that go to `device`.
    pub fn new(count: usize, size: [usize; 2], device: &Device) -> Self {
        let room = 3 * count * size[0] * size[1];
        let values = if engraft_kernels::is_cpu(device) {
            Values::Planes(Vec::with_capacity(room))
        } else {
            Values::Bytes(Vec::with_capacity(room))
        };
        Self { size, count: 0, values }
    }

    /// Adds a picture.
    ///
    /// # Panics
    ///
    /// When it has another size.
    pub fn push(&mut self, picture: &RgbImage) {
        assert_eq!([picture.height(), picture.width()], self.size, "pictures of one size");
        self.count += 1;
        match &mut self.values {
            Values::Planes(values) => append_planes(picture.pixels(), values),
            Values::Bytes(bytes) => bytes.extend_from_slice(picture.pixels()),
        }
    }

    /// All of them on `device`: `[pictures, 3, height, width]`, 0 to 255.
    pub fn into_tensor(self, device: &Device) -> Tensor<4> {
        let (count, [height, width]) = (self.count, self.size);
        match self.values {
            Values::Planes(values) => {
                Tensor::from_data(TensorData::new(values, [count, 3, height, width]), device)
            }
            Values::Bytes(bytes) => {
                let values: Tensor<4> = numbers(&bytes, device).reshape([count, height, width, 3]);
                values.permute([0, 3, 1, 2])
            }
        }
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

    #[test]
    fn bytes_become_the_same_numbers_on_either_way() {
        let device = Device::flex();
        let picture = |seed: usize| {
            let bytes = (0..5 * 3 * 3).map(|i| ((i * 89 + seed * 37) % 256) as u8).collect();
            RgbImage::new(5, 3, bytes).unwrap()
        };
        let tensor = |values| {
            let mut pixels = Pixels { size: [3, 5], count: 0, values };
            [0, 1, 2].map(picture).iter().for_each(|picture| pixels.push(picture));
            pixels.into_tensor(&device)
        };
        let (planes, bytes) = (Values::Planes(Vec::new()), Values::Bytes(Vec::new()));
        let (planes, bytes) = (tensor(planes), tensor(bytes));
        assert_eq!(planes.dims(), [3, 3, 3, 5]);
        let off = (planes.clone() - bytes).abs().max().into_scalar::<f32>();
        assert_eq!((off, planes.max().into_scalar::<f32>() > 250.0), (0.0, true));
    }
}
