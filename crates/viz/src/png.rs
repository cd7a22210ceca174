//! Pictures as PNG.

use std::path::{Path, PathBuf};

use engraft_core::RgbImage;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PngError {
    /// The file could not be written.
    #[error("cannot write picture (path: {path:?})")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A picture as the bytes of a PNG file.
pub fn png_bytes(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(picture.pixels(), width, height, ExtendedColorType::Rgb8)
        .expect("an RgbImage holds width * height * 3 bytes, and memory takes them");
    bytes
}

/// Writes a picture as a PNG file.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_png(picture: &RgbImage, path: &Path) -> Result<(), PngError> {
    std::fs::write(path, png_bytes(picture))
        .map_err(|source| PngError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_survives_the_file() {
        let pixels = (0..24).collect();
        let picture = RgbImage::new(4, 2, pixels).unwrap();
        let read = image::load_from_memory(&png_bytes(&picture)).unwrap().to_rgb8();
        assert_eq!(read.dimensions(), (4, 2));
        assert_eq!(read.as_raw(), picture.pixels());
    }

    #[test]
    fn an_impossible_path_is_named() {
        let picture = RgbImage::filled(1, 1, [0; 3]);
        let error = write_png(&picture, Path::new("/no/such/folder/x.png")).unwrap_err();
        assert_eq!(error.to_string(), r#"cannot write picture (path: "/no/such/folder/x.png")"#);
    }
}
