//! Pictures as bytes: PNG out, PNG or JPEG in.

use std::io::Cursor;

use engraft_core::{DepthImage, RgbImage};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageReader};

use crate::PictureError;

/// Depth at rest is in millimetres; zero is where the camera measured nothing.
const UNITS_PER_METRE: f32 = 1000.0;

/// A picture as PNG, packed for speed of reading: it is written once and decoded every epoch.
pub(crate) fn encode_rgb(image: &RgbImage) -> Result<Vec<u8>, PictureError> {
    encode(image.pixels(), image.width(), image.height(), ExtendedColorType::Rgb8)
}

/// Depth as PNG of 16-bit grey in millimetres: 0 to 65.535 m, to the nearest millimetre.
pub(crate) fn encode_depth(depth: &DepthImage) -> Result<Vec<u8>, PictureError> {
    // The cast saturates, and takes NaN to zero, which means that nothing was measured.
    let millimetres = depth.metres().iter().map(|metres| (metres * UNITS_PER_METRE).round() as u16);
    let bytes: Vec<u8> = millimetres.flat_map(u16::to_ne_bytes).collect();
    encode(&bytes, depth.width(), depth.height(), ExtendedColorType::L16)
}

fn encode(
    bytes: &[u8],
    width: usize,
    height: usize,
    color: ExtendedColorType,
) -> Result<Vec<u8>, PictureError> {
    let mut png = Vec::with_capacity(bytes.len() / 2 + 128);
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
        .write_image(bytes, width as u32, height as u32, color)?;
    Ok(png)
}

/// Bytes to a picture of `width` x `height`.
pub(crate) fn decode_rgb(
    bytes: &[u8],
    width: usize,
    height: usize,
) -> Result<RgbImage, PictureError> {
    let pixels = decode(bytes, width, height)?.into_rgb8().into_raw();
    Ok(RgbImage::new(width, height, pixels).expect("the decoder gives width x height pixels"))
}

/// Bytes to depth in metres of `width` x `height`.
pub(crate) fn decode_depth(
    bytes: &[u8],
    width: usize,
    height: usize,
) -> Result<DepthImage, PictureError> {
    let DynamicImage::ImageLuma16(millimetres) = decode(bytes, width, height)? else {
        return Err(PictureError::Depth { found: "another kind of picture".into() });
    };
    let metres = millimetres.as_raw().iter().map(|&mm| f32::from(mm) / UNITS_PER_METRE).collect();
    Ok(DepthImage::new(width, height, metres).expect("the decoder gives width x height pixels"))
}

fn decode(bytes: &[u8], width: usize, height: usize) -> Result<DynamicImage, PictureError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let image = reader.map_err(image::ImageError::IoError)?.decode()?;
    let found = (image.width() as usize, image.height() as usize);
    if found == (width, height) {
        Ok(image)
    } else {
        Err(PictureError::Size { expected: (width, height), found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> RgbImage {
        let pixels = (0..5 * 3 * 3).map(|i| (i * 37 % 256) as u8).collect();
        RgbImage::new(5, 3, pixels).unwrap()
    }

    #[test]
    fn a_picture_survives_its_bytes() {
        let png = encode_rgb(&gradient()).unwrap();
        assert_eq!(decode_rgb(&png, 5, 3).unwrap(), gradient());
    }

    #[test]
    fn a_picture_of_another_size_says_both_sizes() {
        let png = encode_rgb(&gradient()).unwrap();
        let error = decode_rgb(&png, 3, 5).unwrap_err();
        assert_eq!(error.to_string(), "expected 3 x 5 pixels, found 5 x 3");
    }

    #[test]
    fn depth_keeps_its_millimetres_and_nothing_measured_is_zero() {
        let depth = DepthImage::new(2, 2, vec![0.0, 1.2344, f32::NAN, 90.0]).unwrap();
        let png = encode_depth(&depth).unwrap();
        assert_eq!(decode_depth(&png, 2, 2).unwrap().metres(), [0.0, 1.234, 0.0, 65.535]);
    }

    #[test]
    fn colour_is_no_depth() {
        let png = encode_rgb(&gradient()).unwrap();
        assert!(matches!(decode_depth(&png, 5, 3), Err(PictureError::Depth { .. })));
    }

    #[test]
    fn every_truncation_is_an_error_not_a_panic() {
        let png = encode_rgb(&gradient()).unwrap();
        for len in 0..png.len() - 12 {
            assert!(decode_rgb(&png[..len], 5, 3).is_err(), "{len} bytes decoded");
        }
    }
}
