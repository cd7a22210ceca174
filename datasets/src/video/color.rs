//! YUV to RGB, in the arithmetic of FFmpeg's swscale: chroma is repeated, products are cut to
//! 16 bits. What comes out equals PyAV's `frame.to_ndarray(format="rgb24")` bit by bit, for 4:2:0
//! of even height and for 4:2:2.

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
        let black = if self.full { 0 } else { 16 << 3 };
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
    pub(super) planes: [&'a [u8]; 3],
    /// Bytes from row to row, of Y and of U and V.
    pub(super) strides: [usize; 2],
}

impl Planes<'_> {
    /// The picture as RGB.
    pub(super) fn to_rgb(&self) -> Result<RgbImage, Damage> {
        let Self { width, height, chroma, .. } = *self;
        let mut pixels = vec![0; width * height * 3];
        let mut terms = Terms::default();
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
                terms.fill(&factors, u, v, chroma != Chroma::Full);
            }
            terms.add(&factors, luma, out);
        }
        RgbImage::new(width, height, pixels).map_err(|error| Damage(error.to_string()))
    }

    fn row(&self, plane: usize, y: usize, width: usize) -> Result<&[u8], Damage> {
        let from = y * self.strides[plane.min(1)];
        match self.planes[plane].get(from..from + width) {
            Some(row) => Ok(row),
            None => damage(format!("row {y} of plane {plane} is missing")),
        }
    }
}

/// What chroma adds to each pixel of a row, for red, green and blue.
#[derive(Default)]
struct Terms {
    red: Vec<i16>,
    green: Vec<i16>,
    blue: Vec<i16>,
}

/// The upper 16 bits of a product.
#[inline(always)]
fn high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

impl Terms {
    fn fill(&mut self, factors: &Factors, u: &[u8], v: &[u8], twice: bool) {
        let repeat = if twice { 2 } else { 1 };
        for terms in [&mut self.red, &mut self.green, &mut self.blue] {
            terms.resize(u.len() * repeat, 0);
        }
        let centred = |value: u8| (i16::from(value) - 128) << 3;
        let red = self.red.chunks_exact_mut(repeat);
        let terms =
            red.zip(self.green.chunks_exact_mut(repeat)).zip(self.blue.chunks_exact_mut(repeat));
        for (((red, green), blue), (&u, &v)) in terms.zip(u.iter().zip(v)) {
            let (u, v) = (centred(u), centred(v));
            red.fill(high(v, factors.red_of_v));
            green.fill(high(u, factors.green_of_u) + high(v, factors.green_of_v));
            blue.fill(high(u, factors.blue_of_u));
        }
    }

    fn add(&self, factors: &Factors, luma: &[u8], out: &mut [u8]) {
        let terms = self.red.iter().zip(&self.green).zip(&self.blue);
        for ((rgb, &y), ((&red, &green), &blue)) in out.chunks_exact_mut(3).zip(luma).zip(terms) {
            let y = high((i16::from(y) << 3) - factors.black, factors.luma);
            rgb[0] = (y + red).clamp(0, 255) as u8;
            rgb[1] = (y + green).clamp(0, 255) as u8;
            rgb[2] = (y + blue).clamp(0, 255) as u8;
        }
    }
}
