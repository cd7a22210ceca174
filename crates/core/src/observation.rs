//! What is sensed at one instant, and the only resize there is.

use fast_image_resize as fir;
use serde::{Deserialize, Serialize};

/// Why pixels could not become an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The buffer's length is not that of the picture it is said to hold.
    #[error(
        "an image of {width} x {height} with {channels} channel(s) needs {expected} values, found {found}"
    )]
    Length {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Values per pixel.
        channels: usize,
        /// Values needed.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A side is zero.
    #[error("an image needs at least one pixel, found {width} x {height}")]
    Empty {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
}

/// One camera's picture: 8-bit RGB, row by row, channels interleaved.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// One camera's depth in metres, row by row.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct DepthImage {
    width: usize,
    height: usize,
    metres: Vec<f32>,
}

/// What one camera saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The colour picture.
    pub rgb: RgbImage,
    /// Depth of each pixel, where the camera measures it.
    pub depth: Option<DepthImage>,
}

/// What a robot sensed at one instant.
///
/// Views and proprio stand in the order of the robot's [`RobotSpec`](crate::RobotSpec).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// One entry per camera.
    pub views: Vec<View>,
    /// Joint angles and gripper, in the units that the spec names.
    pub proprio: Vec<f32>,
}

fn check(width: usize, height: usize, channels: usize, found: usize) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let expected = width.saturating_mul(height).saturating_mul(channels);
    if expected == found {
        Ok(())
    } else {
        Err(ImageError::Length { width, height, channels, expected, found })
    }
}

impl RgbImage {
    /// Takes `height * width * 3` bytes, row by row, channels interleaved.
    ///
    /// # Errors
    ///
    /// When a side is zero or the length does not fit.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, ImageError> {
        check(width, height, 3, pixels.len())?;
        Ok(Self { width, height, pixels })
    }

    /// A picture of one colour.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    pub fn filled(width: usize, height: usize, rgb: [u8; 3]) -> Self {
        assert!(width > 0 && height > 0, "an image needs at least one pixel");
        Self { width, height, pixels: rgb.repeat(width * height) }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, row by row, channels interleaved.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, to change in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The bytes, given away.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// One pixel.
    ///
    /// # Panics
    ///
    /// Outside the picture.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "pixel outside the picture");
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Bilinear resize that averages when it shrinks, as Pillow's does.
    ///
    /// The picture is squashed to the new shape; nothing is cropped.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    pub fn resize(&self, width: usize, height: usize) -> Self {
        self.resize_with(width, height, fir::FilterType::Bilinear)
    }

    /// Bicubic resize that averages when it shrinks, as Pillow's does.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    pub fn resize_bicubic(&self, width: usize, height: usize) -> Self {
        // Pillow's bicubic has a = -0.5, which is Catmull-Rom.
        self.resize_with(width, height, fir::FilterType::CatmullRom)
    }

    fn resize_with(&self, width: usize, height: usize, filter: fir::FilterType) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        resized(&self.source(), width, height, filter)
    }

    fn source(&self) -> fir::images::ImageRef<'_> {
        let (width, height) = (self.width as u32, self.height as u32);
        fir::images::ImageRef::new(width, height, &self.pixels, fir::PixelType::U8x3)
            .expect("an RgbImage holds width * height * 3 bytes")
    }

    /// The part that starts at `(x, y)`.
    ///
    /// # Panics
    ///
    /// When the part is empty or does not lie inside the picture.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        assert!(width > 0 && height > 0, "an image needs at least one pixel");
        assert!(x + width <= self.width && y + height <= self.height, "crop leaves the picture");
        let rows = (y..y + height).map(|row| {
            let start = (row * self.width + x) * 3;
            &self.pixels[start..start + width * 3]
        });
        Self { width, height, pixels: rows.flatten().copied().collect() }
    }
}

fn resized(
    source: &fir::images::ImageRef<'_>,
    width: usize,
    height: usize,
    filter: fir::FilterType,
) -> RgbImage {
    assert!(width > 0 && height > 0, "an image needs at least one pixel");
    let mut target = fir::images::Image::new(width as u32, height as u32, fir::PixelType::U8x3);
    let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(filter));
    fir::Resizer::new()
        .resize(source, &mut target, &options)
        .expect("both pictures are RGB with at least one pixel");
    RgbImage { width, height, pixels: target.into_vec() }
}

impl DepthImage {
    /// Takes `height * width` depths in metres, row by row.
    ///
    /// # Errors
    ///
    /// When a side is zero or the length does not fit.
    pub fn new(width: usize, height: usize, metres: Vec<f32>) -> Result<Self, ImageError> {
        check(width, height, 1, metres.len())?;
        Ok(Self { width, height, metres })
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Depths in metres, row by row.
    pub fn metres(&self) -> &[f32] {
        &self.metres
    }

    /// Depths in metres, to change in place.
    pub fn metres_mut(&mut self) -> &mut [f32] {
        &mut self.metres
    }

    /// Nearest-neighbour resize: depths of different surfaces are never mixed.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    pub fn resize(&self, width: usize, height: usize) -> Self {
        assert!(width > 0 && height > 0, "an image needs at least one pixel");
        let at = |to: usize, from: usize, i: usize| ((2 * i + 1) * from / (2 * to)).min(from - 1);
        let metres = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| {
                self.metres[at(height, self.height, y) * self.width + at(width, self.width, x)]
            })
            .collect();
        Self { width, height, metres }
    }
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({} x {})", self.width, self.height)
    }
}

impl std::fmt::Debug for DepthImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DepthImage({} x {})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_of_the_wrong_length_is_an_error_that_says_both_lengths() {
        let error = RgbImage::new(2, 2, vec![0; 11]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an image of 2 x 2 with 3 channel(s) needs 12 values, found 11"
        );
        assert!(RgbImage::new(0, 2, vec![]).is_err());
    }

    #[test]
    fn shrinking_by_two_averages_each_square() {
        let pixels = [0, 100, 40, 60].iter().flat_map(|&v| [v; 3]).collect();
        let image = RgbImage::new(2, 2, pixels).unwrap();
        assert_eq!(image.resize(1, 1).pixels(), [50; 3]);
    }

    #[test]
    fn a_crop_keeps_the_pixels_it_covers() {
        let pixels = (0..9u8).flat_map(|v| [v; 3]).collect();
        let image = RgbImage::new(3, 3, pixels).unwrap();
        let part = image.crop(1, 1, 2, 2);
        assert_eq!([part.pixel(0, 0)[0], part.pixel(1, 1)[0]], [4, 8]);
    }

    #[test]
    fn depth_is_never_mixed() {
        let depth = DepthImage::new(2, 1, vec![1.0, 3.0]).unwrap();
        assert_eq!(depth.resize(4, 1).metres(), [1.0, 1.0, 3.0, 3.0]);
    }
}
