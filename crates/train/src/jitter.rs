//! Colour jitter of one picture.

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
        let bright: Vec<f32> =
            (0..256_u16).map(|v| (f32::from(v) * self.brightness).min(255.0)).collect();
        if plain {
            let bytes: Vec<u8> = bright.iter().map(|v| v.round() as u8).collect();
            for value in pixels {
                *value = bytes[usize::from(*value)];
            }
            return;
        }
        let mean = if self.contrast == 1.0 {
            0.0
        } else {
            let sum: f64 = pixels
                .chunks_exact(3)
                .map(|p| f64::from(grey([p[0], p[1], p[2]].map(|v| bright[usize::from(v)]))))
                .sum();
            (sum / (pixels.len() / 3).max(1) as f64) as f32
        };
        for pixel in pixels.chunks_exact_mut(3) {
            let mut rgb = [pixel[0], pixel[1], pixel[2]].map(|v| bright[usize::from(v)]);
            rgb = blend(rgb, mean, self.contrast);
            rgb = blend(rgb, grey(rgb), self.saturation);
            if self.hue_turns != 0.0 {
                rgb = rotate_hue(rgb, self.hue_turns);
            }
            for (v, to) in pixel.iter_mut().zip(rgb) {
                *v = to.round().clamp(0.0, 255.0) as u8;
            }
        }
    }
}

/// Luma of ITU-R BT.601, as torchvision takes it.
fn grey([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn blend(rgb: [f32; 3], towards: f32, factor: f32) -> [f32; 3] {
    rgb.map(|v| (towards + (v - towards) * factor).clamp(0.0, 255.0))
}

/// Turns the hue and keeps saturation and value (HSV).
fn rotate_hue(rgb: [f32; 3], turns: f32) -> [f32; 3] {
    let [r, g, b] = rgb;
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = max - min;
    if chroma <= 0.0 {
        return rgb;
    }
    let sixths = if max == r {
        (g - b) / chroma
    } else if max == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    let sixths = (sixths + 6.0 * turns).rem_euclid(6.0);
    // Each channel is the maximum over two sixths of the circle and ramps beside them.
    let channel = |offset: f32| {
        let k = (offset + sixths).rem_euclid(6.0);
        max - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_as_their_names_say() {
        let plain = Jitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue_turns: 0.0 };
        let apply = |jitter: Jitter, pixels: &[u8]| {
            let mut pixels = pixels.to_vec();
            jitter.apply(&mut pixels);
            pixels
        };
        assert_eq!(apply(plain, &[10, 20, 30]), [10, 20, 30]);
        assert_eq!(apply(Jitter { brightness: 1.5, ..plain }, &[10, 20, 200]), [15, 30, 255]);
        let flat = apply(Jitter { contrast: 0.0, ..plain }, &[0, 0, 0, 200, 200, 200]);
        assert_eq!(flat, [100; 6]);
        let greyed = apply(Jitter { saturation: 0.0, ..plain }, &[200, 0, 0]);
        assert_eq!(greyed, [60; 3]);
        let turned = apply(Jitter { hue_turns: 1.0 / 3.0, ..plain }, &[255, 0, 0]);
        assert_eq!(turned, [0, 255, 0]);
        assert_eq!(apply(Jitter { hue_turns: 0.5, ..plain }, &[0, 255, 0]), [255, 0, 255]);
    }
}
