//! Pictures out of an array, one step at a time.

use std::sync::Arc;

use engraft_core::{DepthImage, RgbImage};

use super::array::{Array, Elements};
use super::dtype::Dtype;
use crate::column::Kind;
use crate::source::Frames;
use crate::{DatasetError, PictureError};

/// A larger picture is damage.
const MAX_PICTURE: usize = 1 << 28;

/// Arrays of fractions with shorter sides are taken for matrices, not pictures.
const MIN_SIDE: usize = 8;

/// The pictures of an array from step `start` of it.
pub(super) struct ArrayFrames {
    array: Arc<Array>,
    dtype: Dtype,
    start: usize,
    len: usize,
    layout: Layout,
}

/// How the numbers of a step make up a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    width: usize,
    height: usize,
    channels: usize,
    channels_first: bool,
    depth: bool,
}

impl Layout {
    /// The layout of an array of pictures; none where it holds something else.
    pub(super) fn of(array: &Array) -> Option<Self> {
        let Elements::Numbers(dtype) = array.elements() else { return None };
        let name = array.key.rsplit('/').next().unwrap_or_default().to_lowercase();
        let depth = name.contains("depth") && (dtype.is_float() || dtype.is_u16());
        let [_, shape @ ..] = &array.shape[..] else { return None };
        let (height, width, channels, channels_first) = match *shape {
            [height, width] if depth => (height, width, 1, false),
            [height, width, channels @ (1 | 3 | 4)] => (height, width, channels, false),
            [channels @ (1 | 3 | 4), height, width] => (height, width, channels, true),
            _ => return None,
        };
        let fits = if depth {
            channels == 1
        } else {
            dtype.is_u8() || dtype.is_float() && height >= MIN_SIDE && width >= MIN_SIDE
        };
        let sides = [height, width, channels, dtype.size()];
        let bytes = sides.into_iter().fold(1, usize::saturating_mul);
        let found = Self { width, height, channels, channels_first, depth };
        (fits && (1..=MAX_PICTURE).contains(&bytes)).then_some(found)
    }

    /// What it is to a column.
    pub(super) fn kind(self) -> Kind {
        let Self { width, height, .. } = self;
        if self.depth { Kind::Depth { width, height } } else { Kind::Rgb { width, height } }
    }
}

impl ArrayFrames {
    /// The pictures of steps from `start` on, `len` of them.
    pub(super) fn new(
        array: &Arc<Array>,
        layout: Layout,
        start: usize,
        len: usize,
    ) -> Result<Self, DatasetError> {
        let dtype = array.numbers()?;
        Ok(Self { array: Arc::clone(array), dtype, start, len, layout })
    }

    fn bytes(&self, step: usize) -> Result<Vec<u8>, PictureError> {
        if step >= self.len {
            return Err(PictureError::Missing);
        }
        let row = self.start + step;
        self.array.rows(row..row + 1).map_err(|error| PictureError::Pixels(Box::new(error)))
    }
}

impl Frames for ArrayFrames {
    fn rgb(&self, step: usize) -> Result<RgbImage, PictureError> {
        let Layout { width, height, channels, channels_first, depth } = self.layout;
        if depth {
            return Err(PictureError::Kind { expected: "colour", found: "depth".into() });
        }
        let bytes = self.bytes(step)?;
        let values = if self.dtype.is_u8() { bytes } else { round(self.dtype.floats(&bytes))? };
        let area = width * height;
        let mut pixels = Vec::with_capacity(3 * area);
        if channels == 3 && !channels_first {
            pixels = values;
        } else {
            for at in 0..area {
                for channel in 0..3 {
                    let channel = if channels == 1 { 0 } else { channel };
                    let at =
                        if channels_first { channel * area + at } else { at * channels + channel };
                    pixels.push(values[at]);
                }
            }
        }
        let found = pixels.len();
        RgbImage::new(width, height, pixels).map_err(|_| PictureError::Kind {
            expected: "a whole picture",
            found: format!("{found} bytes"),
        })
    }

    fn depth(&self, step: usize) -> Result<DepthImage, PictureError> {
        let Layout { width, height, depth, .. } = self.layout;
        if !depth {
            return Err(PictureError::Kind { expected: "depth", found: "colour".into() });
        }
        let bytes = self.bytes(step)?;
        // Whole numbers are millimetres.
        let unit = if self.dtype.is_u16() { 1000.0 } else { 1.0 };
        let metres: Vec<f32> = self.dtype.floats(&bytes).map(|depth| depth / unit).collect();
        let found = metres.len();
        DepthImage::new(width, height, metres).map_err(|_| PictureError::Kind {
            expected: "a whole picture",
            found: format!("{found} numbers"),
        })
    }

    fn len(&self) -> usize {
        self.len
    }

    fn num_bytes(&self) -> usize {
        size_of::<Self>() // the array keeps what was decoded lately, within a budget of its own
    }
}

/// Brightness as fractions, from 0 to 255, as bytes.
fn round(values: impl Iterator<Item = f32>) -> Result<Vec<u8>, PictureError> {
    let wrong = |found: String| PictureError::Kind {
        expected: "brightness from 0 to 255 (multiply by 255 if it is from 0 to 1)",
        found,
    };
    let (mut bytes, mut largest, mut whole) = (Vec::new(), 0_f32, true);
    for value in values {
        let rounded = value.round();
        if !(0.0..=255.0).contains(&rounded) {
            return Err(wrong(value.to_string()));
        }
        largest = largest.max(value);
        whole &= rounded == value;
        bytes.push(rounded as u8);
    }
    if largest <= 1.0 && !whole { Err(wrong(format!("at most {largest}"))) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_is_rounded_and_what_is_none_is_refused() {
        assert_eq!(round([0.0, 254.6, 1.0].into_iter()).unwrap(), [0, 255, 1]);
        assert_eq!(round([0.0, 1.0].into_iter()).unwrap(), [0, 1]);
        for wrong in [[0.0, 0.5], [-3.0, 0.0], [256.0, 0.0], [f32::NAN, 0.0]] {
            let error = round(wrong.into_iter()).unwrap_err().to_string();
            assert!(error.contains("multiply by 255"), "{error}");
        }
    }
}
