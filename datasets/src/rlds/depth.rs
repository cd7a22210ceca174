//! Depth as fractions, which TFDS packs in the four channels of a PNG.

use std::io::Cursor;

use engraft_core::DepthImage;
use image::{DynamicImage, ImageReader};

use crate::PictureError;
use crate::source::Frames;

/// Pictures of four bytes for each pixel, which are a float in metres.
pub(super) struct FloatDepth {
    bytes: Vec<Vec<u8>>,
    width: usize,
    height: usize,
}

impl FloatDepth {
    /// One picture of `width` x `height` per step.
    pub(super) fn new(bytes: Vec<Vec<u8>>, width: usize, height: usize) -> Self {
        Self { bytes, width, height }
    }
}

impl Frames for FloatDepth {
    fn depth(&self, step: usize) -> Result<DepthImage, PictureError> {
        let bytes = self.bytes.get(step).ok_or(PictureError::Missing)?;
        let reader = ImageReader::new(Cursor::new(&**bytes)).with_guessed_format();
        let image = reader.map_err(image::ImageError::IoError)?.decode()?;
        let (expected, found) =
            ((self.width, self.height), (image.width() as usize, image.height() as usize));
        if expected != found {
            return Err(PictureError::Size { expected, found });
        }
        let DynamicImage::ImageRgba8(pixels) = image else {
            let found = "another kind of picture".into();
            return Err(PictureError::Kind { expected: "depth in four channels", found });
        };
        let (floats, _) = pixels.as_raw().as_chunks();
        let metres = floats.iter().map(|float| f32::from_le_bytes(*float)).collect();
        Ok(DepthImage::new(self.width, self.height, metres).expect("one float for each pixel"))
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn num_bytes(&self) -> usize {
        self.bytes.iter().map(|bytes| bytes.len() + size_of::<Vec<u8>>()).sum()
    }
}
