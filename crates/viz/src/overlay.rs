//! Where a policy looked, drawn over what it saw.

use engraft_core::{AttentionMap, RgbImage};

use crate::viridis;

/// Keeps a map without contrast from dividing by zero.
const EPSILON: f32 = 1e-8;

/// Why a map could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// The number of weights is not `width * height`, or is zero.
    #[error("attention map `{tap}` of {width} x {height} needs {expected} weights, found {found}")]
    Length {
        /// The map's tap.
        tap: String,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Weights needed.
        expected: usize,
        /// Weights found.
        found: usize,
    },
}

/// Draws `map` over `picture` as the `SpawnNet` paper does.
///
/// Weights are stretched to the map's own minimum and maximum, enlarged to the picture by nearest
/// neighbour, coloured by [`viridis`], and blended half and half with the picture. A weight that
/// is no number counts as the minimum.
///
/// # Errors
///
/// When the map does not hold `width * height` weights.
pub fn overlay(picture: &RgbImage, map: &AttentionMap) -> Result<RgbImage, OverlayError> {
    let expected = map.width.saturating_mul(map.height);
    if expected == 0 || map.weights.len() != expected {
        return Err(OverlayError::Length {
            tap: map.tap.clone(),
            width: map.width,
            height: map.height,
            expected,
            found: map.weights.len(),
        });
    }
    let finite = || map.weights.iter().copied().filter(|weight| weight.is_finite());
    let min = finite().fold(f32::INFINITY, f32::min);
    let max = finite().fold(f32::NEG_INFINITY, f32::max);
    let color = |&weight: &f32| {
        viridis(if weight.is_finite() { (weight - min) / (max - min + EPSILON) } else { 0.0 })
    };
    let colors: Vec<[u8; 3]> = map.weights.iter().map(color).collect();

    let (width, height) = (picture.width(), picture.height());
    let mut blend = picture.clone();
    for (i, pixel) in blend.pixels_mut().chunks_exact_mut(3).enumerate() {
        let (column, row) = (i % width * map.width / width, i / width * map.height / height);
        let heat = colors[row * map.width + column];
        for (channel, heat) in pixel.iter_mut().zip(heat) {
            *channel = (u16::from(*channel) + u16::from(heat)).div_ceil(2) as u8;
        }
    }
    Ok(blend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(width: usize, height: usize, weights: Vec<f32>) -> AttentionMap {
        AttentionMap { view: 0, tap: "token_5".into(), width, height, weights }
    }

    #[test]
    fn the_maximum_of_a_one_hot_map_lands_on_its_square_and_nowhere_else() {
        let mut weights = vec![0.0; 28 * 28];
        weights[3 * 28 + 20] = 1.0; // column 20, row 3
        let picture = RgbImage::filled(224, 112, [0; 3]);
        let seen = overlay(&picture, &map(28, 28, weights)).unwrap();
        let yellow = viridis(1.0).map(|channel| channel.div_ceil(2));
        for (x, y) in (0..224).flat_map(|x| (0..112).map(move |y| (x, y))) {
            let inside = (160..168).contains(&x) && (12..16).contains(&y);
            assert_eq!(seen.pixel(x, y) == yellow, inside, "pixel {x}, {y}");
        }
    }

    #[test]
    fn a_map_without_contrast_is_the_colour_of_zero() {
        let seen = overlay(&RgbImage::filled(2, 2, [0; 3]), &map(1, 1, vec![0.25])).unwrap();
        assert_eq!(seen.pixel(0, 0), [34, 1, 42]);
    }

    #[test]
    fn what_is_no_number_is_drawn_as_the_minimum() {
        let weights = vec![0.0, f32::NAN, f32::INFINITY, 1.0];
        let seen = overlay(&RgbImage::filled(4, 1, [0; 3]), &map(4, 1, weights)).unwrap();
        assert_eq!(seen.pixel(1, 0), seen.pixel(0, 0));
        assert_eq!(seen.pixel(2, 0), seen.pixel(0, 0));
        assert_ne!(seen.pixel(3, 0), seen.pixel(0, 0));
    }

    #[test]
    fn a_map_of_the_wrong_length_is_an_error_that_says_both() {
        let error = overlay(&RgbImage::filled(2, 2, [0; 3]), &map(2, 2, vec![0.0])).unwrap_err();
        assert_eq!(error.to_string(), "attention map `token_5` of 2 x 2 needs 4 weights, found 1");
    }
}
