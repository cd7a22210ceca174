//! The formulas of `tests/golden/make_hdf5.py`, for tests.

use std::path::{Path, PathBuf};

use engraft_core::{DepthImage, RgbImage};

/// Width and height of every picture.
pub(crate) const SIZE: (usize, usize) = (8, 6);

/// The number, which is also its factor, and the length of each file of ALOHA and `SpawnNet`.
pub(crate) const FILES: [(usize, usize); 3] = [(0, 4), (2, 3), (10, 2)];

/// A golden file or folder.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/hdf5").join(name)
}

pub(crate) fn picture(episode: usize, step: usize, view: usize) -> RgbImage {
    let (width, height) = SIZE;
    let value = |y: usize, x: usize, c: usize| {
        (7 * x + 13 * y + 50 * c + 3 * step + 11 * episode + 29 * view) % 256
    };
    let pixels = (0..height * width * 3).map(|i| value(i / 3 / width, i / 3 % width, i % 3) as u8);
    RgbImage::new(width, height, pixels.collect()).unwrap()
}

pub(crate) fn depth(episode: usize, step: usize, view: usize) -> DepthImage {
    let (width, height) = SIZE;
    let metres =
        (0..height * width).map(|i| (i + 64 * step + 16 * episode + 8 * view) as f32 / 128.0);
    DepthImage::new(width, height, metres.collect()).unwrap()
}

pub(crate) fn numbers(width: usize, episode: usize, step: usize, scale: f32) -> Vec<f32> {
    (0..width).map(|i| (episode * 100 + step) as f32 * scale + i as f32).collect()
}
