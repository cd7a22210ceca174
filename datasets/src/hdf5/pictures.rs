//! Pictures that are rows of a dataset, read and decoded one by one.

use std::io::Cursor;
use std::ops::Range;

use engraft_core::{DepthImage, RgbImage};
use image::ImageReader;

use super::element::Element;
use super::table::Table;
use crate::picture::decode_rgb;
use crate::source::Frames;
use crate::{DatasetError, PictureError};

/// What an open dataset keeps in memory besides its content.
const TABLE_BYTES: usize = 1024;

/// The order of a picture's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axes {
    /// Height, width, channels.
    ChannelsLast,
    /// Channels, height, width.
    ChannelsFirst,
}

/// Raw pixels or depth in metres.
pub(crate) struct Pixels {
    table: Table,
    axes: Axes,
    width: usize,
    height: usize,
    /// Which of the pictures that share a row.
    view: usize,
}

/// Colour as JPEG, padded to rows of one length.
///
/// What follows a picture's end does not concern its decoder, so its length need not be known.
pub(crate) struct Jpegs {
    table: Table,
    width: usize,
    height: usize,
}

impl Axes {
    /// The order, the width and the height of pictures of `channels` channels.
    pub(crate) fn of(shape: &[usize], channels: usize) -> Option<(Self, usize, usize)> {
        let found = match *shape {
            [height, width, c] if c == channels => (Self::ChannelsLast, width, height),
            [c, height, width] if c == channels => (Self::ChannelsFirst, width, height),
            _ => return None,
        };
        (found.1 > 0 && found.2 > 0).then_some(found)
    }
}

fn pixels_error(error: DatasetError) -> PictureError {
    PictureError::Pixels(Box::new(error))
}

impl Pixels {
    /// Pictures of `width` x `height`, one per row, or as many as a row has room for.
    pub(crate) fn new(table: Table, axes: Axes, (width, height): (usize, usize)) -> Self {
        Self { table, axes, width, height, view: 0 }
    }

    /// The picture `view` of those that share a row.
    pub(crate) fn of_view(self, view: usize) -> Self {
        Self { view, ..self }
    }

    fn part(&self, bytes_per_pixel: usize) -> Range<usize> {
        let len = self.width * self.height * bytes_per_pixel;
        self.view * len..(self.view + 1) * len
    }
}

impl Frames for Pixels {
    fn rgb(&self, step: usize) -> Result<RgbImage, PictureError> {
        if !matches!(self.table.element(), Element::Number(number) if number.is_u8()) {
            return Err(PictureError::Kind { expected: "colour", found: "depth".into() });
        }
        let stored = self.table.row_part(step, self.part(3)).map_err(pixels_error)?;
        let pixels = match self.axes {
            Axes::ChannelsLast => stored,
            Axes::ChannelsFirst => {
                let area = self.width * self.height;
                let (red, rest) = stored.split_at(area);
                let (green, blue) = rest.split_at(area);
                let channels = red.iter().zip(green).zip(blue);
                channels.flat_map(|((&r, &g), &b)| [r, g, b]).collect()
            }
        };
        Ok(RgbImage::new(self.width, self.height, pixels).expect("a row holds whole pictures"))
    }

    fn depth(&self, step: usize) -> Result<DepthImage, PictureError> {
        let number = self.table.numbers().map_err(pixels_error)?;
        if !number.is_float() {
            return Err(PictureError::Kind { expected: "depth", found: "colour".into() });
        }
        let stored = self.table.row_part(step, self.part(number.size())).map_err(pixels_error)?;
        let metres = number.to_f32(&stored);
        Ok(DepthImage::new(self.width, self.height, metres).expect("a row holds whole pictures"))
    }

    fn len(&self) -> usize {
        self.table.num_rows()
    }

    fn num_bytes(&self) -> usize {
        TABLE_BYTES + self.table.cached_bytes()
    }
}

impl Jpegs {
    /// Pictures of `width` x `height`, one per row.
    pub(crate) fn new(table: Table, (width, height): (usize, usize)) -> Self {
        Self { table, width, height }
    }

    /// Width and height of the first picture; none if it is no picture.
    pub(crate) fn size(table: &Table) -> Result<Option<(usize, usize)>, DatasetError> {
        let first = table.bytes(0..1)?;
        let reader = ImageReader::new(Cursor::new(first)).with_guessed_format();
        let size = reader.ok().and_then(|reader| reader.into_dimensions().ok());
        Ok(size.map(|(width, height)| (width as usize, height as usize)))
    }
}

impl Frames for Jpegs {
    fn rgb(&self, step: usize) -> Result<RgbImage, PictureError> {
        let stored = self.table.bytes(step..step + 1).map_err(pixels_error)?;
        let mirrored = decode_rgb(&stored, self.width, self.height)?;
        // OpenCV took what was red, green, blue for blue, green, red when it packed the picture.
        let (pixels, _) = mirrored.pixels().as_chunks::<3>();
        let pixels = pixels.iter().flat_map(|&[b, g, r]| [r, g, b]).collect();
        Ok(RgbImage::new(self.width, self.height, pixels).expect("as many pixels as before"))
    }

    fn len(&self) -> usize {
        self.table.num_rows()
    }

    fn num_bytes(&self) -> usize {
        TABLE_BYTES + self.table.cached_bytes()
    }
}
