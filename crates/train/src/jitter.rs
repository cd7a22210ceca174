//! Colour jitter of one picture.
//!
//! Pixels go through in blocks, each channel by itself and without branches, so that the compiler
//! turns the arithmetic into vector instructions; every number is what it would be pixel by pixel.

/// Pixels of a block.
const BLOCK: usize = 64;

/// Adding this to a number from 0 up to 2^22 leaves it rounded, halves to even, in the low bits.
const ROUNDING: f32 = 8_388_608.0;

/// What is done to the colours: brightness, contrast and saturation are factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Jitter {
    pub(crate) brightness: f32,
    pub(crate) contrast: f32,
    pub(crate) saturation: f32,
    pub(crate) hue_turns: f32,
}

impl Jitter {
    /// Brightness, contrast, saturation, hue, in this order, rounded once at the end.
    pub(crate) fn apply(&self, pixels: &mut [u8]) {
        let plain = self.contrast == 1.0 && self.saturation == 1.0 && self.hue_turns == 0.0;
        if plain && self.brightness == 1.0 {
            return;
        }
        if plain {
            let bright: [u8; 256] =
                std::array::from_fn(|v| (v as f32 * self.brightness).min(255.0).round() as u8);
            for value in pixels {
                *value = bright[usize::from(*value)];
            }
            return;
        }
        let mean = if self.contrast == 1.0 { 0.0 } else { self.mean_grey(pixels) };
        if self.hue_turns == 0.0 {
            self.change(pixels, mean, |rgb| rgb);
        } else {
            let sixths = 6.0 * self.hue_turns;
            self.change(pixels, mean, |rgb| rotate_hue(rgb, sixths));
        }
    }

    /// The mean grey of the brightened picture.
    ///
    /// A grey is zero or, unless the factor is tiny, a multiple of 2^-29: so the sum in double
    /// precision is exact, in any order.
    fn mean_grey(&self, pixels: &[u8]) -> f32 {
        let mut sums = [0.0_f64; BLOCK];
        for block in pixels.chunks(3 * BLOCK) {
            let planes = split(&padded(block));
            for (i, sum) in sums.iter_mut().enumerate() {
                let rgb = planes.each_ref().map(|plane| self.brighten(plane[i]));
                *sum += f64::from(grey(rgb));
            }
        }
        // What a block is padded with is black and adds nothing.
        (sums.iter().sum::<f64>() / (pixels.len() / 3).max(1) as f64) as f32
    }

    /// `last` is what is done after saturation.
    fn change(&self, pixels: &mut [u8], mean: f32, last: impl Fn([f32; 3]) -> [f32; 3]) {
        for block in pixels.chunks_mut(3 * BLOCK) {
            let mut planes = split(&padded(block));
            for i in 0..BLOCK {
                let rgb = planes.each_ref().map(|plane| self.brighten(plane[i]));
                let rgb = blend(rgb, mean, self.contrast);
                let rgb = last(blend(rgb, grey(rgb), self.saturation));
                for (plane, value) in planes.iter_mut().zip(rgb) {
                    plane[i] = round(value.clamp(0.0, 255.0));
                }
            }
            let [red, green, blue] = &planes;
            let (pixels, _) = block.as_chunks_mut::<3>();
            for (pixel, ((&r, &g), &b)) in pixels.iter_mut().zip(red.iter().zip(green).zip(blue)) {
                *pixel = [r, g, b].map(|v| v.to_bits() as u8);
            }
        }
    }

    fn brighten(&self, value: f32) -> f32 {
        smaller(value * self.brightness, 255.0)
    }
}

/// A block, filled up with black.
fn padded(block: &[u8]) -> [u8; 3 * BLOCK] {
    let mut bytes = [0; 3 * BLOCK];
    bytes[..block.len()].copy_from_slice(block);
    bytes
}

/// The channels of a block.
fn split(bytes: &[u8; 3 * BLOCK]) -> [[f32; BLOCK]; 3] {
    let (pixels, _) = bytes.as_chunks::<3>();
    std::array::from_fn(|channel| std::array::from_fn(|i| f32::from(pixels[i][channel])))
}

/// A number from 0 to 255 to the nearest whole one, halves up, in the low byte of the result.
fn round(value: f32) -> f32 {
    let even = value + ROUNDING;
    let below = value - (even - ROUNDING) == 0.5;
    f32::from_bits(even.to_bits() + u32::from(below))
}

/// One instruction, where `f32::min` is several: neither is ever not a number.
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Luma of ITU-R BT.601, as torchvision takes it.
fn grey([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn blend(rgb: [f32; 3], towards: f32, factor: f32) -> [f32; 3] {
    rgb.map(|v| (towards + (v - towards) * factor).clamp(0.0, 255.0))
}

/// Turns the hue by so many sixths of the circle (-3 to 3) and keeps saturation and value (HSV).
fn rotate_hue([r, g, b]: [f32; 3], turn: f32) -> [f32; 3] {
    let (max, min) = (larger(larger(r, g), b), smaller(smaller(r, g), b));
    let chroma = max - min;
    // Without chroma there is no hue, and any will do: each channel stays the maximum.
    let by_chroma = |difference: f32| difference / larger(chroma, f32::MIN_POSITIVE);
    let other = if max == g { (b - r, 2.0) } else { (r - g, 4.0) };
    let (difference, start) = if max == r { (g - b, 0.0) } else { other };
    let sixths = by_chroma(difference) + start + turn;
    let sixths = if sixths < 0.0 { sixths + 6.0 } else { once_round(sixths) };
    // Each channel is the maximum over two sixths of the circle and ramps beside them.
    let channel = |offset: f32| {
        let k = once_round(offset + sixths);
        max - chroma * smaller(k, 4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// The remainder of a number from 0 to 12 by 6.
fn once_round(sixths: f32) -> f32 {
    sixths - if sixths >= 6.0 { 6.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Purpose, generator, uniform};

    const PLAIN: Jitter =
        Jitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue_turns: 0.0 };

    fn apply(jitter: Jitter, pixels: &[u8]) -> Vec<u8> {
        let mut pixels = pixels.to_vec();
        jitter.apply(&mut pixels);
        pixels
    }

    #[test]
    fn colours_change_as_their_names_say() {
        assert_eq!(apply(PLAIN, &[10, 20, 30]), [10, 20, 30]);
        assert_eq!(apply(Jitter { brightness: 1.5, ..PLAIN }, &[10, 20, 200]), [15, 30, 255]);
        let flat = apply(Jitter { contrast: 0.0, ..PLAIN }, &[0, 0, 0, 200, 200, 200]);
        assert_eq!(flat, [100; 6]);
        let greyed = apply(Jitter { saturation: 0.0, ..PLAIN }, &[200, 0, 0]);
        assert_eq!(greyed, [60; 3]);
        let turned = apply(Jitter { hue_turns: 1.0 / 3.0, ..PLAIN }, &[255, 0, 0]);
        assert_eq!(turned, [0, 255, 0]);
        assert_eq!(apply(Jitter { hue_turns: 0.5, ..PLAIN }, &[0, 255, 0]), [255, 0, 255]);
    }

    /// The definition, one pixel at a time.
    fn slowly(jitter: Jitter, pixels: &[u8]) -> Vec<u8> {
        let bright = |v: u8| (f32::from(v) * jitter.brightness).min(255.0);
        let (whole, _) = pixels.as_chunks::<3>();
        let sum: f64 = whole.iter().map(|pixel| f64::from(grey(pixel.map(bright)))).sum();
        let mean = (sum / whole.len() as f64) as f32;
        let change = |pixel: &[u8; 3]| {
            let rgb = blend(pixel.map(bright), mean, jitter.contrast);
            let rgb = blend(rgb, grey(rgb), jitter.saturation);
            let [max, min] = [f32::max, f32::min].map(|pick| rgb.into_iter().reduce(pick).unwrap());
            let chroma = max - min;
            if jitter.hue_turns == 0.0 || chroma == 0.0 {
                return rgb;
            }
            let [r, g, b] = rgb;
            let sixths = match max {
                _ if max == r => (g - b) / chroma,
                _ if max == g => (b - r) / chroma + 2.0,
                _ => (r - g) / chroma + 4.0,
            };
            let sixths = (sixths + 6.0 * jitter.hue_turns).rem_euclid(6.0);
            [5.0, 3.0, 1.0].map(|offset: f32| {
                let k = (offset + sixths).rem_euclid(6.0);
                max - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
            })
        };
        let bytes = |rgb: [f32; 3]| rgb.map(|v| v.round().clamp(0.0, 255.0) as u8);
        whole.iter().map(change).flat_map(bytes).collect()
    }

    #[test]
    fn a_block_at_a_time_is_a_pixel_at_a_time() {
        let mut rng = generator(3, Purpose::Augment, [0, 0]);
        for case in 0..200 {
            let mut draw = |low, high| uniform(&mut rng, [low, high]);
            let pixels: Vec<u8> = (0..3 * (1 + case)).map(|_| draw(-20.0, 280.0) as u8).collect();
            let jitter = Jitter {
                brightness: draw(0.2, 1.8),
                contrast: draw(0.0, 2.0),
                saturation: if case % 3 == 0 { 1.5 } else { draw(0.0, 2.0) },
                hue_turns: if case % 4 == 0 { 0.0 } else { draw(-0.5, 0.5) },
            };
            assert_eq!(apply(jitter, &pixels), slowly(jitter, &pixels), "{jitter:?}");
        }
    }

    #[test]
    fn halves_are_rounded_up_and_nothing_else_is() {
        for value in [0.0, 0.499_999_97, 0.5, 1.5, 2.5, 127.499_99, 254.5, 254.999_98, 255.0_f32] {
            assert_eq!(round(value).to_bits() as u8, value.round() as u8, "{value}");
        }
    }
}
