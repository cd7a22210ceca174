//! Procedural textures, baked to a tile with its reductions.

use crate::Split;

/// How a surface is patterned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// One colour with a faint grain.
    Plain,
    /// Grain along the first axis.
    Wood,
    /// Bands along the second axis.
    Stripes,
    /// Squares.
    Checker,
    /// Veins.
    Marble,
    /// Round spots.
    Dots,
    /// Courses of bricks.
    Brick,
    /// Zigzag bands.
    Zigzag,
}

impl Pattern {
    /// The patterns of a split. None is in both.
    pub fn of(split: Split) -> &'static [Self] {
        match split {
            Split::Train => &[Self::Plain, Self::Wood, Self::Stripes, Self::Checker],
            Split::Heldout => &[Self::Marble, Self::Dots, Self::Brick, Self::Zigzag],
        }
    }
}

/// A pattern in two colours.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// The pattern.
    pub pattern: Pattern,
    /// The main colour, sRGB from 0 to 1.
    pub main: [f32; 3],
    /// The other colour.
    pub other: [f32; 3],
    /// Side of the tile in metres.
    pub tile_m: f32,
    /// How much it shines, from 0 to 1.
    pub gloss: f32,
}

impl Look {
    /// One colour.
    pub fn plain(rgb: [f32; 3], gloss: f32) -> Self {
        Self { pattern: Pattern::Plain, main: rgb, other: rgb, tile_m: 0.2, gloss }
    }
}

const SIDE: usize = 64;

/// A square tile in linear light, at full size and halved down to one pixel.
#[derive(Debug, Clone)]
pub struct Texture {
    levels: Vec<Vec<[f32; 3]>>,
    tile_m: f32,
}

impl Texture {
    /// Paints a look.
    pub fn bake(look: &Look, seed: u64) -> Self {
        let linear = |rgb: [f32; 3]| rgb.map(|c| c * c);
        let (main, other) = (linear(look.main), linear(look.other));
        let mut level = Vec::with_capacity(SIDE * SIDE);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (u, v) = ((x as f32 + 0.5) / SIDE as f32, (y as f32 + 0.5) / SIDE as f32);
                let mix = weight(look.pattern, u, v, seed).clamp(0.0, 1.0);
                let grain = 0.94 + 0.12 * noise(u, v, 16, seed ^ 0x5eed);
                level.push([0, 1, 2].map(|i| (main[i] + (other[i] - main[i]) * mix) * grain));
            }
        }
        let mut levels = vec![level];
        let mut side = SIDE;
        while side > 1 {
            let above = &levels[levels.len() - 1];
            side /= 2;
            let halved = (0..side * side).map(|i| {
                let (x, y) = (i % side * 2, i / side * 2);
                let at = |dx: usize, dy: usize| above[(y + dy) * side * 2 + x + dx];
                let four = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)];
                [0, 1, 2].map(|c| four.iter().map(|rgb| rgb[c]).sum::<f32>() / 4.0)
            });
            levels.push(halved.collect());
        }
        Self { levels, tile_m: look.tile_m }
    }

    /// The colour at a place, averaged over a square of `footprint_m`; linear light.
    pub fn sample(&self, uv: [f32; 2], footprint_m: f32) -> [f32; 3] {
        let texels = footprint_m / self.tile_m * SIDE as f32;
        // The exponent of a float is its binary logarithm, rounded down.
        let octave = ((texels.max(1.0).to_bits() >> 23) as i32 - 127).max(0) as usize;
        let level = octave.min(self.levels.len() - 1);
        let side = SIDE >> level;
        let texels = &self.levels[level];
        let x = uv[0] / self.tile_m * side as f32 - 0.5;
        let y = uv[1] / self.tile_m * side as f32 - 0.5;
        let floor = |x: f32| x as i32 - i32::from(x < 0.0);
        let (left, top) = (floor(x), floor(y));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let mask = side as i32 - 1;
        let (x0, y0) = ((left & mask) as usize, (top & mask) as usize);
        let (x1, y1) = (((left + 1) & mask) as usize, ((top + 1) & mask) as usize);
        let [a, b] = [texels[y0 * side + x0], texels[y0 * side + x1]];
        let [c, d] = [texels[y1 * side + x0], texels[y1 * side + x1]];
        [0, 1, 2].map(|i| {
            let upper = a[i] + (b[i] - a[i]) * fx;
            let lower = c[i] + (d[i] - c[i]) * fx;
            upper + (lower - upper) * fy
        })
    }
}

/// How much of the other colour there is at a place of the tile.
fn weight(pattern: Pattern, u: f32, v: f32, seed: u64) -> f32 {
    let edge = |distance: f32, width: f32| (distance / width + 0.5).clamp(0.0, 1.0);
    let wave = |x: f32| (x.fract() - 0.5).abs() * 2.0; // 1 at whole numbers, 0 between
    match pattern {
        Pattern::Plain => 0.0,
        Pattern::Wood => {
            let warp = noise(u, v, 2, seed) * 0.8 + noise(u, v, 4, seed ^ 1) * 0.3;
            let rings = wave(v * 5.0 + warp * 1.5);
            0.65 * rings * rings + 0.35 * noise(u, v * 6.0, 8, seed ^ 2)
        }
        Pattern::Stripes => edge(wave(v * 2.0) - 0.5, 0.12),
        Pattern::Checker => {
            let (a, b) = (wave(u * 2.0) - 0.5, wave(v * 2.0) - 0.5);
            edge((a * b).signum() * a.abs().min(b.abs()), 0.08)
        }
        Pattern::Marble => {
            let warp = noise(u, v, 3, seed) + 0.5 * noise(u, v, 6, seed ^ 3);
            wave((u + v) * 2.0 + 2.0 * warp).powi(4) + 0.25 * noise(u, v, 12, seed ^ 4)
        }
        Pattern::Dots => {
            let row = (v * 3.0).floor();
            let (x, y) = ((u * 3.0 + 0.5 * (row % 2.0)).fract() - 0.5, (v * 3.0).fract() - 0.5);
            edge(0.28 - x.hypot(y), 0.12)
        }
        Pattern::Brick => {
            let row = (v * 4.0).floor();
            let (x, y) = ((u * 2.0 + 0.5 * (row % 2.0)).fract(), (v * 4.0).fract());
            let joint = (x.min(1.0 - x) * 2.0).min(y.min(1.0 - y));
            edge(0.1 - joint, 0.08)
        }
        Pattern::Zigzag => edge(wave(v * 3.0 + wave(u * 3.0) * 0.6) - 0.5, 0.15),
    }
}

/// Smooth noise from 0 to 1 that repeats with the tile, in `cells` cells a side.
fn noise(u: f32, v: f32, cells: i32, seed: u64) -> f32 {
    let (x, y) = (u * cells as f32, v * cells as f32);
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (ease(x - left), ease(y - top));
    let at = |dx: i32, dy: i32| {
        let column = (left as i32 + dx).rem_euclid(cells) as u64;
        let row = (top as i32 + dy).rem_euclid(cells) as u64;
        let mut word = seed ^ column.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (row << 32);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word >> 40) as f32 / (1u64 << 24) as f32
    };
    let upper = at(0, 0) + (at(1, 0) - at(0, 0)) * fx;
    let lower = at(0, 1) + (at(1, 1) - at(0, 1)) * fx;
    upper + (lower - upper) * fy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_is_in_both_splits() {
        for pattern in Pattern::of(Split::Heldout) {
            assert!(!Pattern::of(Split::Train).contains(pattern), "{pattern:?}");
        }
    }

    #[test]
    fn seen_from_far_a_checker_is_the_mean_of_its_colours() {
        let look = Look {
            pattern: Pattern::Checker,
            main: [0.0; 3],
            other: [1.0; 3],
            tile_m: 0.1,
            gloss: 0.0,
        };
        let far = Texture::bake(&look, 1).sample([0.03, 0.07], 10.0);
        assert!((far[0] - 0.5).abs() < 0.03, "{far:?}");
    }

    #[test]
    fn a_tile_repeats() {
        let look = Look { pattern: Pattern::Wood, other: [0.2; 3], ..Look::plain([0.8; 3], 0.0) };
        let texture = Texture::bake(&look, 7);
        let (here, next) =
            (texture.sample([0.011, 0.05], 0.0), texture.sample([0.011 + 0.2, 0.05 - 0.2], 0.0));
        assert!((here[1] - next[1]).abs() < 1e-4, "{here:?} {next:?}");
    }
}
