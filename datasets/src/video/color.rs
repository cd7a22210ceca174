//! YUV to RGB, in the arithmetic of FFmpeg's swscale: chroma is repeated, products are rounded down
//! one by one.
//!
//! What comes out equals PyAV's `frame.to_ndarray(format="rgb24")` bit by bit for 4:2:0 of even
//! height and for 4:2:2; for odd heights and 4:4:4, swscale takes another way and differs a little.

use engraft_core::RgbImage;

use super::boxes::{Damage, damage};

/// Which colours Y, U and V stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color {
    /// The matrix, by its number in ISO/IEC 23091-4; 2 is unknown and taken for BT.601.
    matrix: u8,
    /// Whether all of 0 to 255 is used.
    full: bool,
}

impl Default for Color {
    fn default() -> Self {
        Self { matrix: 2, full: false }
    }
}

impl Color {
    pub(super) fn new(matrix: u8, full: bool) -> Self {
        Self { matrix, full }
    }

    /// What Y, U and V are multiplied with.
    fn factors(self) -> Factors {
        // Red of V, blue of U, green of U and of V, times 2^16, for limited range.
        let table: [i64; 4] = match self.matrix {
            1 => [117_489, 138_438, -13_975, -34_925],      // BT.709
            4 => [104_448, 132_798, -24_759, -53_109],      // FCC
            7 => [117_579, 136_230, -16_907, -35_559],      // SMPTE 240M
            9 | 10 => [110_013, 140_363, -12_277, -42_626], // BT.2020
            _ => [104_597, 132_201, -25_675, -53_279],      // BT.601
        };
        let chroma = |factor: i64| if self.full { factor * 224 / 255 } else { factor };
        let luma = if self.full { 1 << 16 } else { (255 << 16) / 219 };
        let narrow = |factor: i64| ((factor + 4) >> 3) as i16; // to 2^13
        let [red_of_v, blue_of_u, green_of_u, green_of_v] =
            table.map(|factor| narrow(chroma(factor)));
        let black = if self.full { 0 } else { 16 };
        Factors { black, luma: narrow(luma), red_of_v, blue_of_u, green_of_u, green_of_v }
    }
}

struct Factors {
    black: i16,
    luma: i16,
    red_of_v: i16,
    blue_of_u: i16,
    green_of_u: i16,
    green_of_v: i16,
}

/// How much of the chroma is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chroma {
    /// None: a grey picture.
    Grey,
    /// One of each for two by two pixels: 4:2:0.
    Quarter,
    /// One of each for two pixels in a row: 4:2:2.
    Half,
    /// One of each for every pixel: 4:4:4.
    Full,
}

/// A decoded picture of 8 bits.
pub(super) struct Planes<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) chroma: Chroma,
    pub(super) color: Color,
    /// Y, then U and V; these two are empty in a grey picture.
    pub(super) yuv: [&'a [u8]; 3],
    /// Bytes from row to row, of Y and of U and V.
    pub(super) strides: [usize; 2],
}

impl Planes<'_> {
    /// The picture as RGB.
    pub(super) fn to_rgb(&self) -> Result<RgbImage, Damage> {
        let Self { width, height, chroma, .. } = *self;
        let mut pixels = vec![0; width * height * 3];
        let mut row = Row::default();
        let factors = self.color.factors();
        for (y, out) in pixels.chunks_exact_mut(width * 3).enumerate() {
            let luma = self.row(0, y, width)?;
            let (chroma_y, chroma_width) = match chroma {
                Chroma::Grey => {
                    for (rgb, &value) in out.chunks_exact_mut(3).zip(luma) {
                        rgb.fill(value);
                    }
                    continue;
                }
                Chroma::Quarter => (y / 2, width.div_ceil(2)),
                Chroma::Half => (y, width.div_ceil(2)),
                Chroma::Full => (y, width),
            };
            if chroma != Chroma::Quarter || y % 2 == 0 {
                let (u, v) =
                    (self.row(1, chroma_y, chroma_width)?, self.row(2, chroma_y, chroma_width)?);
                row.set_chroma(&factors, u, v, chroma != Chroma::Full);
            }
            row.convert(&factors, luma, out);
        }
        RgbImage::new(width, height, pixels).map_err(|error| Damage(error.to_string()))
    }

    fn row(&self, plane: usize, y: usize, width: usize) -> Result<&[u8], Damage> {
        let from = y * self.strides[plane.min(1)];
        match self.yuv[plane].get(from..from + width) {
            Some(row) => Ok(row),
            None => damage(format!("row {y} of plane {plane} is missing")),
        }
    }
}

/// One row on its way, each step a pass that compilers turn into vector instructions.
#[derive(Default)]
struct Row {
    /// What chroma adds to each pixel, for red, green and blue.
    terms: [Vec<i16>; 3],
    chroma: Vec<i16>,
    luma: Vec<i16>,
    channels: [Vec<u8>; 3],
}

/// What each value is over `zero`, times `factor`, over 2^13, rounded down.
///
/// The factor is taken in two halves, so that 16 bits hold every number on the way.
#[inline(never)] // what surrounds it leads compilers to slower instructions
fn scale(values: &[u8], zero: i16, factor: i16, out: &mut Vec<i16>) {
    let (high, low) = (factor >> 8, factor & 0xff);
    out.resize(values.len(), 0);
    for (out, &value) in out.iter_mut().zip(values) {
        let value = i16::from(value) - zero;
        *out = (value * high + ((value * low) >> 8)) >> 5;
    }
}

/// Zero of U and V.
const GREY: i16 = 128;

impl Row {
    /// Takes the chroma of a row, or of two; `twice` where each value stands for two pixels.
    fn set_chroma(&mut self, factors: &Factors, u: &[u8], v: &[u8], twice: bool) {
        let Self { terms: [red, green, blue], chroma, luma, .. } = self;
        scale(v, GREY, factors.red_of_v, chroma);
        spread(chroma, twice, red);
        scale(u, GREY, factors.blue_of_u, chroma);
        spread(chroma, twice, blue);
        scale(u, GREY, factors.green_of_u, chroma);
        scale(v, GREY, factors.green_of_v, luma);
        chroma.iter_mut().zip(luma).for_each(|(of_u, of_v)| *of_u += *of_v);
        spread(chroma, twice, green);
    }

    /// Converts a row.
    fn convert(&mut self, factors: &Factors, luma: &[u8], out: &mut [u8]) {
        scale(luma, factors.black, factors.luma, &mut self.luma);
        for (channel, terms) in self.channels.iter_mut().zip(&self.terms) {
            channel.resize(luma.len(), 0);
            let values = self.luma.iter().zip(terms);
            for (out, (&luma, &term)) in channel.iter_mut().zip(values) {
                *out = (luma + term).clamp(0, 255) as u8;
            }
        }
        let [red, green, blue] = &self.channels;
        interleave(red, green, blue, out);
    }
}

fn spread(terms: &[i16], twice: bool, out: &mut Vec<i16>) {
    if twice {
        out.resize(2 * terms.len(), 0);
        let pairs = out.as_chunks_mut().0.iter_mut();
        pairs.zip(terms).for_each(|(pair, &term)| *pair = [term; 2]);
    } else {
        terms.clone_into(out);
    }
}

/// Four bytes are written for each pixel, the last of them to be written over by the next: one
/// store rather than three.
#[inline(never)] // as above
fn interleave(red: &[u8], green: &[u8], blue: &[u8], out: &mut [u8]) {
    let last = red.len() - 1;
    for at in 0..last {
        let pixel = u32::from(red[at]) | u32::from(green[at]) << 8 | u32::from(blue[at]) << 16;
        out[3 * at..3 * at + 4].copy_from_slice(&pixel.to_le_bytes());
    }
    out[3 * last..].copy_from_slice(&[red[last], green[last], blue[last]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row of pixels with chroma of their own.
    fn rgb(color: Color, yuv: &[[u8; 3]]) -> Vec<[u8; 3]> {
        let plane = |at: usize| yuv.iter().map(|pixel| pixel[at]).collect::<Vec<u8>>();
        let (y, u, v) = (plane(0), plane(1), plane(2));
        let planes = Planes {
            width: yuv.len(),
            height: 1,
            chroma: Chroma::Full,
            color,
            yuv: [&y, &u, &v],
            strides: [yuv.len(); 2],
        };
        planes.to_rgb().unwrap().pixels().as_chunks().0.to_vec()
    }

    #[test]
    fn grey_stays_grey_and_the_ends_of_the_range_are_black_and_white() {
        let limited = rgb(Color::default(), &[[16, 128, 128], [235, 128, 128], [255, 128, 128]]);
        assert_eq!(limited, [[0; 3], [255; 3], [255; 3]]);
        let full = rgb(Color::new(2, true), &[[0, 128, 128], [100, 128, 128], [255, 128, 128]]);
        assert_eq!(full, [[0; 3], [100; 3], [255; 3]]);
    }

    #[test]
    fn every_place_in_a_row_is_converted_alike() {
        let yuv: Vec<[u8; 3]> =
            (0..53_u8).map(|at| [at.wrapping_mul(37), at.wrapping_mul(91), !at]).collect();
        let whole = rgb(Color::default(), &yuv);
        for (pixel, found) in yuv.iter().zip(&whole) {
            assert_eq!(&rgb(Color::default(), &[*pixel])[0], found);
        }
    }

    #[test]
    fn each_matrix_is_within_three_of_its_definition() {
        for (matrix, red_weight, blue_weight) in
            [(1, 0.2126, 0.0722), (2, 0.299, 0.114), (9, 0.2627, 0.0593)]
        {
            let green_weight: f64 = 1.0 - red_weight - blue_weight;
            for at in 0..=255_u8 {
                let yuv = [at.wrapping_mul(3), at.wrapping_mul(7), at];
                let [y, u, v] = yuv.map(f64::from);
                let (y, u, v) = (
                    255.0 / 219.0 * (y - 16.0),
                    (u - 128.0) * 255.0 / 112.0,
                    (v - 128.0) * 255.0 / 112.0,
                );
                let (red, blue) = (y + v * (1.0 - red_weight), y + u * (1.0 - blue_weight));
                let green = (y - red_weight * red - blue_weight * blue) / green_weight;
                let found = rgb(Color::new(matrix, false), &[yuv])[0];
                for (found, expected) in found.into_iter().zip([red, green, blue]) {
                    let off = f64::from(found) - expected.clamp(0.0, 255.0);
                    assert!(off.abs() < 3.0, "{yuv:?}: {found}, {expected}");
                }
            }
        }
    }
}
