//! Augmentation, on the host's bytes before there is a tensor.
//!
//! One draw per sample, shared by its frames and views, so that what moves between two frames
//! still moves by the same amount; depth is cropped and shifted with its picture. A draw depends
//! on the seed, the pass over the data and the sample's index, and on nothing else.
//!
//! Source: random shift after Kostrikov et al. (arXiv:2004.13649) and DrQ-v2; crop and jitter
//! after `SpawnNet`. Differs in: whole-pixel shifts by row copies; depth moves with its picture; a
//! crop that would leave the picture is cut to it instead of being drawn again.

use engraft_core::{DepthImage, Observation, View};
use serde::{Deserialize, Serialize};

use crate::RecipeError;
use crate::jitter::Jitter;
use crate::order::{Purpose, below, generator, uniform};

/// What the frozen backbone sees of an augmented sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneSees {
    /// The augmented picture, so its features are computed at every step.
    #[default]
    Augmented,
    /// The clean picture, so its features can be computed once and kept.
    Clean,
}

/// What is drawn for each training sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Share of the samples that are changed at all.
    pub probability: f32,
    /// Largest random shift in pixels, in each direction; the border is repeated.
    #[serde(default)]
    pub shift_pixels: usize,
    /// Random resized crop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<CropConfig>,
    /// Range of the factor on every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brightness: Option<[f32; 2]>,
    /// Range of the factor on the distance from the picture's mean grey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<[f32; 2]>,
    /// Range of the factor on the distance from each pixel's own grey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<[f32; 2]>,
    /// Range of the rotation of the colour circle, in turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hue: Option<[f32; 2]>,
    /// What a frozen backbone sees.
    #[serde(default)]
    pub backbone_sees: BackboneSees,
}

/// Random resized crop: a part of the picture, stretched to the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropConfig {
    /// Range of the part's area, as a share of the picture's.
    pub area: [f32; 2],
    /// Range of the part's width over its height.
    pub aspect: [f32; 2],
}

/// What was drawn for one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    shift: [isize; 2],
    crop: Option<Crop>,
    jitter: Jitter,
}

#[derive(Debug, Clone, PartialEq)]
struct Crop {
    area: f32,
    aspect: f32,
    /// Where the part lies in the room that it has, 0 to 1 in x and y.
    place: [f32; 2],
}

impl AugmentConfig {
    /// Every sample is drawn for and nothing is changed: what to begin from.
    pub const NOTHING: Self = Self {
        probability: 1.0,
        shift_pixels: 0,
        crop: None,
        brightness: None,
        contrast: None,
        saturation: None,
        hue: None,
        backbone_sees: BackboneSees::Augmented,
    };

    /// Checks every range.
    ///
    /// # Errors
    ///
    /// The first field that makes no sense, by name.
    pub fn check(&self) -> Result<(), RecipeError> {
        let bad = |field: &str, expected: &str, found: String| {
            Err(RecipeError::Value {
                field: format!("augment.{field}"),
                expected: expected.into(),
                found,
            })
        };
        if !(0.0..=1.0).contains(&self.probability) {
            return bad("probability", "a share from 0 to 1", self.probability.to_string());
        }
        let factors = [
            ("brightness", self.brightness, [0.0, f32::MAX]),
            ("contrast", self.contrast, [0.0, f32::MAX]),
            ("saturation", self.saturation, [0.0, f32::MAX]),
            ("hue", self.hue, [-0.5, 0.5]),
            ("crop.area", self.crop.as_ref().map(|crop| crop.area), [f32::MIN_POSITIVE, 1.0]),
            ("crop.aspect", self.crop.as_ref().map(|crop| crop.aspect), [0.1, 10.0]),
        ];
        for (field, range, [min, max]) in factors {
            if let Some([low, high]) = range
                && !(min <= low && low <= high && high <= max)
            {
                let expected = format!("a range [low, high] within {min:e} and {max:e}");
                return bad(field, &expected, format!("[{low}, {high}]"));
            }
        }
        Ok(())
    }

    /// What pass `pass` does to sample `sample`; `None` where it is left as it is.
    pub fn draw(&self, seed: u64, pass: u64, sample: usize) -> Option<Draw> {
        let mut rng = generator(seed, Purpose::Augment, [pass, sample as u64]);
        if uniform(&mut rng, [0.0, 1.0]) >= self.probability {
            return None;
        }
        let mut offset = || {
            let reach = self.shift_pixels as u64;
            below(&mut rng, 2 * reach + 1) as isize - reach as isize
        };
        let shift = [offset(), offset()];
        let crop = self.crop.as_ref().map(|crop| Crop {
            area: uniform(&mut rng, crop.area),
            aspect: uniform(&mut rng, crop.aspect.map(f32::ln)).exp(),
            place: [uniform(&mut rng, [0.0, 1.0]), uniform(&mut rng, [0.0, 1.0])],
        });
        let mut factor =
            |range: Option<[f32; 2]>, none| range.map_or(none, |range| uniform(&mut rng, range));
        Some(Draw {
            shift,
            crop,
            jitter: Jitter {
                brightness: factor(self.brightness, 1.0),
                contrast: factor(self.contrast, 1.0),
                saturation: factor(self.saturation, 1.0),
                hue_turns: factor(self.hue, 0.0),
            },
        })
    }
}

impl Draw {
    /// Changes every frame and view of a sample alike.
    pub fn apply(&self, frames: &mut [Observation]) {
        for view in frames.iter_mut().flat_map(|frame| &mut frame.views) {
            self.view(view);
        }
    }

    fn view(&self, View { rgb, depth }: &mut View) {
        let width = rgb.width();
        shift(rgb.pixels_mut(), width, 3, self.shift);
        if let Some(crop) = &self.crop {
            let (width, height) = (rgb.width(), rgb.height());
            let [x, y, w, h] = crop.part(width, height);
            *rgb = rgb.crop(x, y, w, h).resize(width, height);
        }
        self.jitter.apply(rgb.pixels_mut());
        let Some(depth) = depth else { return };
        let width = depth.width();
        shift(depth.metres_mut(), width, 1, self.shift);
        if let Some(crop) = &self.crop {
            let (width, height) = (depth.width(), depth.height());
            *depth = crop_depth(depth, crop.part(width, height)).resize(width, height);
        }
    }
}

impl Crop {
    /// `[x, y, width, height]` of the part, inside a picture of `width` x `height`.
    fn part(&self, width: usize, height: usize) -> [usize; 4] {
        let area = self.area * (width * height) as f32;
        let w = ((area * self.aspect).sqrt().round() as usize).clamp(1, width);
        let h = ((area / self.aspect).sqrt().round() as usize).clamp(1, height);
        let at = |place: f32, room: usize| ((place * (room + 1) as f32) as usize).min(room);
        [at(self.place[0], width - w), at(self.place[1], height - h), w, h]
    }
}

/// Moves a picture in place: row `y` becomes what row `y + dy` was, a column likewise; the border
/// repeats.
fn shift<T: Copy>(values: &mut [T], width: usize, channels: usize, [dx, dy]: [isize; 2]) {
    if [dx, dy] == [0, 0] {
        return;
    }
    let row = width * channels;
    let height = values.len() / row;
    let left = dx.min(0).unsigned_abs().min(width - 1) * channels;
    let right = dx.max(0).unsigned_abs().min(width - 1) * channels;
    let mut line = |y: usize| {
        let to = y * row;
        let from = y.saturating_add_signed(dy).min(height - 1) * row;
        values.copy_within(from + right..from + row - left, to + left);
        let line = &mut values[to..to + row];
        // The pixel at the edge now lies beside the gap; it fills it one pixel after the other.
        for at in (channels..=left).rev().step_by(channels) {
            line.copy_within(at..at + channels, at - channels);
        }
        for at in (row - right..row).step_by(channels) {
            line.copy_within(at - channels..at, at);
        }
    };
    // In the order in which no row is overwritten before it was moved.
    if dy < 0 { (0..height).rev().for_each(&mut line) } else { (0..height).for_each(line) }
}

fn crop_depth(image: &DepthImage, [x, y, w, h]: [usize; 4]) -> DepthImage {
    let rows = (y..y + h).map(|row| &image.metres()[row * image.width() + x..][..w]);
    DepthImage::new(w, h, rows.flatten().copied().collect()).expect("a part has its size")
}

#[cfg(test)]
mod tests {
    use engraft_core::RgbImage;

    use super::*;

    fn observation() -> Observation {
        let pixels = (0..4 * 3 * 3).map(|i| (i * 7) as u8).collect();
        let rgb = RgbImage::new(4, 3, pixels).unwrap();
        let depth = DepthImage::new(4, 3, (0..12).map(|i| i as f32).collect()).unwrap();
        Observation { views: vec![View { rgb, depth: Some(depth) }], proprio: vec![0.5] }
    }

    #[test]
    fn a_shift_repeats_the_border() {
        let shifted = |width, channels, by| {
            let mut values = [1, 2, 3, 4];
            shift(&mut values, width, channels, by);
            values
        };
        assert_eq!(shifted(4, 1, [1, 0]), [2, 3, 4, 4]);
        assert_eq!(shifted(4, 1, [-2, 0]), [1, 1, 1, 2]);
        assert_eq!(shifted(2, 1, [0, 1]), [3, 4, 3, 4]);
        assert_eq!(shifted(2, 1, [0, -1]), [1, 2, 1, 2]);
        assert_eq!(shifted(2, 2, [1, 0]), [3, 4, 3, 4]);
        assert_eq!(shifted(4, 1, [9, 9]), [4, 4, 4, 4]);
        assert_eq!(shifted(4, 1, [-9, -9]), [1, 1, 1, 1]);
    }

    #[test]
    fn every_shift_reads_each_pixel_from_where_it_was() {
        let (width, height, channels) = (7, 5, 3);
        let picture: Vec<u8> = (0..width * height * channels).map(|i| i as u8).collect();
        for (dx, dy) in (-8..=8).flat_map(|dx| (-6..=6).map(move |dy| (dx, dy))) {
            let mut moved = picture.clone();
            shift(&mut moved, width, channels, [dx, dy]);
            for (i, &value) in moved.iter().enumerate() {
                let (x, y) = (i / channels % width, i / channels / width);
                let x = x.saturating_add_signed(dx).min(width - 1);
                let y = y.saturating_add_signed(dy).min(height - 1);
                assert_eq!(value, picture[(y * width + x) * channels + i % channels]);
            }
        }
    }

    #[test]
    fn depth_moves_with_its_picture_and_frames_and_views_share_one_draw() {
        let augment = AugmentConfig {
            shift_pixels: 2,
            crop: Some(CropConfig { area: [0.5, 1.0], aspect: [0.75, 1.333] }),
            ..AugmentConfig::NOTHING
        };
        // The depth of each pixel is also its red value, so both must stay equal under moves
        // that copy pixels (a shift); under a crop both must show the same part.
        let mut frame = observation();
        let red: Vec<u8> = (0..12).collect();
        let pixels = red.iter().flat_map(|&v| [v, 0, 0]).collect();
        frame.views[0].rgb = RgbImage::new(4, 3, pixels).unwrap();
        for sample in 0..20 {
            let draw = Draw { crop: None, ..augment.draw(1, 0, sample).unwrap() };
            let mut frames = [frame.clone(), frame.clone()];
            draw.apply(&mut frames);
            assert_eq!(frames[0], frames[1]);
            let view = &frames[0].views[0];
            for (pixel, depth) in
                view.rgb.pixels().chunks_exact(3).zip(view.depth.as_ref().unwrap().metres())
            {
                assert_eq!(f32::from(pixel[0]), *depth);
            }
        }
        let crop = augment.draw(1, 0, 3).unwrap().crop.unwrap();
        assert_eq!(crop.part(4, 3), crop.part(4, 3));
    }

    #[test]
    fn a_draw_depends_on_seed_pass_and_sample_alone() {
        let augment = AugmentConfig {
            shift_pixels: 4,
            brightness: Some([0.7, 1.3]),
            ..AugmentConfig::NOTHING
        };
        assert_eq!(augment.draw(1, 2, 3), augment.draw(1, 2, 3));
        assert_ne!(augment.draw(1, 2, 3), augment.draw(2, 2, 3));
        assert_ne!(augment.draw(1, 2, 3), augment.draw(1, 3, 3));
        assert_ne!(augment.draw(1, 2, 3), augment.draw(1, 2, 4));
    }

    #[test]
    fn probability_is_the_share_of_changed_samples() {
        let augment =
            AugmentConfig { probability: 0.25, shift_pixels: 4, ..AugmentConfig::NOTHING };
        let changed = (0..4000).filter(|&i| augment.draw(1, 0, i).is_some()).count();
        assert!((900..1100).contains(&changed), "{changed} of 4000");
        let never = AugmentConfig { probability: 0.0, ..augment };
        assert!((0..100).all(|i| never.draw(1, 0, i).is_none()));
    }

    #[test]
    fn shifts_reach_both_ends_and_no_further() {
        let augment = AugmentConfig { shift_pixels: 2, ..AugmentConfig::NOTHING };
        let mut seen: Vec<_> =
            (0..500).flat_map(|i| augment.draw(1, 0, i).unwrap().shift).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [-2, -1, 0, 1, 2]);
    }

    #[test]
    fn a_crop_lies_inside_the_picture_and_has_its_area() {
        let augment = AugmentConfig {
            crop: Some(CropConfig { area: [0.7, 1.0], aspect: [0.75, 4.0 / 3.0] }),
            ..AugmentConfig::NOTHING
        };
        for sample in 0..200 {
            let crop = augment.draw(9, 0, sample).unwrap().crop.unwrap();
            let [x, y, w, h] = crop.part(96, 96);
            assert!(x + w <= 96 && y + h <= 96);
            assert!(w * h > 96 * 96 * 6 / 10, "{w} x {h}");
        }
        let mut frames = [observation()];
        augment.draw(9, 0, 0).unwrap().apply(&mut frames);
        assert_eq!((frames[0].views[0].rgb.width(), frames[0].views[0].rgb.height()), (4, 3));
        assert_eq!(frames[0].views[0].depth.as_ref().unwrap().width(), 4);
    }

    #[test]
    fn a_range_that_makes_no_sense_is_refused_by_name() {
        let wrong = AugmentConfig { brightness: Some([1.3, 0.7]), ..AugmentConfig::NOTHING };
        let message = wrong.check().unwrap_err().to_string();
        assert!(message.starts_with("`augment.brightness` needs"), "{message}");
    }
}
