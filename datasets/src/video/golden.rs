//! Videos that PyAV wrote, held against what PyAV makes of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engraft_core::hex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Video, VideoCache};

/// All that `tests/golden/make_video.py` writes.
pub(super) const NAMES: [&str; 9] =
    ["av1", "bt709", "episodes", "full_range", "h264", "h264_g2", "h264_main", "odd", "odd_av1"];

#[derive(Deserialize)]
struct Expected {
    codec: String,
    width: usize,
    height: usize,
    /// As text: JSON readers may round.
    times: Vec<String>,
    sha256: Vec<String>,
}

pub(super) fn path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/video");
    root.join(name).with_extension("mp4")
}

fn expected(name: &str) -> Expected {
    let json = std::fs::read(path(name).with_extension("json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn assert_frame(video: &Video, name: &str, expected: &Expected, index: usize) {
    let pixels = video.frame(index).unwrap().into_pixels();
    assert_eq!(hex(&Sha256::digest(&pixels)), expected.sha256[index], "frame {index} of {name}");
}

#[test]
fn every_frame_and_its_time_equal_those_of_pyav() {
    for name in NAMES {
        let expected = expected(name);
        let video = Video::open(&path(name)).unwrap();
        assert_eq!(video.codec().to_string(), expected.codec, "{name}");
        assert_eq!((video.width(), video.height()), (expected.width, expected.height), "{name}");
        let times: Vec<f64> = expected.times.iter().map(|time| time.parse().unwrap()).collect();
        assert_eq!(video.times(), times, "{name}");
        for index in 0..expected.times.len() {
            assert_frame(&video, name, &expected, index);
        }
    }
}

#[test]
fn frames_are_the_same_in_any_order() {
    let mut draws = ChaCha8Rng::seed_from_u64(1);
    for name in NAMES {
        let expected = expected(name);
        let video = Video::open(&path(name)).unwrap();
        let count = expected.times.len();
        for _ in 0..100 {
            assert_frame(&video, name, &expected, draws.next_u32() as usize % count);
        }
        for index in (0..count).rev() {
            assert_frame(&video, name, &expected, index);
        }
        for start in 0..count.saturating_sub(3) {
            for index in start..start + 4 {
                assert_frame(&video, name, &expected, index);
            }
        }
    }
}

#[test]
fn threads_share_videos_and_decoders() {
    let cache = Arc::new(VideoCache::default());
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let cache = Arc::clone(&cache);
            scope.spawn(move || {
                let mut draws = ChaCha8Rng::seed_from_u64(seed);
                for _ in 0..60 {
                    let name = NAMES[draws.next_u32() as usize % NAMES.len()];
                    let expected = expected(name);
                    let index = draws.next_u32() as usize % expected.times.len();
                    let video = cache.get(&path(name)).unwrap();
                    assert_frame(&video, name, &expected, index);
                }
            });
        }
    });
    assert!(cache.decoder_bytes() > 0);
}

#[test]
fn the_nearest_frame_is_neither_cut_nor_rounded_down() {
    let video = Video::open(&path("av1")).unwrap();
    let last = video.times().len() - 1;
    for (index, &time) in video.times().iter().enumerate() {
        assert_eq!(video.nearest(time), Some((index, 0.0)));
        assert_eq!(video.nearest(time - 1e-9).unwrap().0, index);
        assert_eq!(video.nearest(time + 0.4 / 30.0).unwrap().0, index);
        assert_eq!(video.nearest(time + 0.6 / 30.0).unwrap().0, (index + 1).min(last));
    }
    assert_eq!(video.nearest(-1.0), Some((0, 1.0)));
    assert_eq!(video.nearest(100.0).unwrap().0, last);
}

#[test]
fn a_frame_stack_decodes_each_frame_once() {
    for name in ["av1", "h264"] {
        let video = Video::open(&path(name)).unwrap();
        for index in 0..video.times().len() {
            for index in index.saturating_sub(3)..=index {
                video.frame(index).unwrap();
            }
        }
        assert_eq!(video.decoders.decoded(), video.times().len(), "{name}");
    }
}
