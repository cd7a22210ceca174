//! What zarr itself wrote. Both replay buffers, and the formulas, come from
//! `tests/golden/make_zarr.py` (zarr 2.18.7, numcodecs 0.15.2, imagecodecs 2026.3.6).

use std::path::{Path, PathBuf};

use engraft_core::RgbImage;

use super::ZarrSource;
use crate::source::{Frames, Source, Track};
use crate::{Mapping, open, open_as};

const LENGTHS: [usize; 3] = [5, 7, 8];
const WIDTH: usize = 10;
const HEIGHT: usize = 8;

pub(super) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/zarr").join(name)
}

fn picture(row: usize) -> RgbImage {
    let value = |y: usize, x: usize, c: usize| (7 * x + 13 * y + 50 * c + 3 * row) % 256;
    let pixels = (0..HEIGHT * WIDTH * 3).map(|i| value(i / 3 / WIDTH, i / 3 % WIDTH, i % 3) as u8);
    RgbImage::new(WIDTH, HEIGHT, pixels.collect()).unwrap()
}

fn numbers(first: f32, width: usize, row: usize) -> Vec<f32> {
    (0..width).map(|at| first + row as f32 * 0.125 + at as f32).collect()
}

/// Rows 12 to 20 of a column, which are those of the last episode.
fn last_episode(source: &ZarrSource, column: &str) -> Track {
    let at = source.about().columns.iter().position(|found| found.name == column).unwrap();
    source.load(2, &[at]).unwrap().remove(0)
}

fn frames(source: &ZarrSource, column: &str) -> Box<dyn Frames> {
    match last_episode(source, column) {
        Track::Pictures(frames) => frames,
        Track::Numbers(_) => panic!("{column} holds numbers"),
    }
}

#[test]
fn a_replay_buffer_is_read_value_by_value() {
    let said = Mapping { fps: Some(10.0), ..Mapping::default() };
    let dataset = open_as(golden("pusht.zarr"), &said).unwrap();
    assert_eq!(dataset.info().unwrap().format, "zarr v2 replay buffer");
    let mapping = dataset.mapping();
    assert_eq!(mapping.view[0].to_string(), "img=img");
    assert_eq!((&*mapping.proprio[0].column, &*mapping.action[0].column), ("state", "action"));
    let mut row = 0;
    for (index, length) in LENGTHS.into_iter().enumerate() {
        let episode = dataset.episode(index).unwrap();
        assert_eq!((episode.num_steps(), episode.task()), (length, ""));
        for step in 0..length {
            let observation = episode.observation(step).unwrap();
            assert_eq!(observation.proprio, numbers(-2.0, 5, row));
            assert_eq!(observation.views[0].rgb, picture(row));
            assert_eq!(episode.actions(step..step + 1).unwrap().values(), numbers(1.0, 2, row));
            row += 1;
        }
    }
    assert!(dataset.check().is_empty());
    let again = open_as(golden("pusht.zarr"), &said).unwrap();
    assert_eq!(dataset.fingerprint().unwrap(), again.fingerprint().unwrap());
}

#[test]
fn what_the_format_does_not_say_is_asked_for() {
    let error = open(golden("pusht.zarr")).err().unwrap().to_string();
    assert!(error.contains("say it with `--fps RATE`"), "{error}");
    let said = Mapping { mask: Some("train".into()), ..Mapping::default() };
    let error = open_as(golden("pusht.zarr"), &said).err().unwrap().to_string();
    assert!(error.contains("`mask`: expected none"), "{error}");
}

#[test]
fn every_compressor_gives_the_same_numbers() {
    let source = ZarrSource::open(&golden("codecs.zarr.zip"), None).unwrap();
    let value = |row: usize, column: usize| (row * row * 7 + row / 9 + 13 * column) % 101;
    let compressed = |name: &str| {
        ["plain", "zstd", "zlib", "gzip", "lz4"].contains(&name) || name.starts_with("blosc_")
    };
    let mut seen = 0;
    for (array, _) in &source.arrays {
        let name = array.key.strip_prefix("data/").unwrap();
        let offset = match name.strip_prefix("dtype_") {
            Some(dtype) if dtype.starts_with('u') => 0,
            Some("b1") => {
                let bytes = array.rows(0..700).unwrap();
                let expected = (0..2100).map(|at| (value(at / 3, at % 3) % 2 == 1).into());
                assert_eq!(bytes, expected.collect::<Vec<u8>>());
                continue;
            }
            Some(_) => 50,
            None if compressed(name) => 50,
            None => continue,
        };
        let bytes = array.rows(0..700).unwrap();
        let found: Vec<f32> = array.numbers().unwrap().floats(&bytes).collect();
        let expected = (0..2100).map(|at| value(at / 3, at % 3) as f32 - offset as f32);
        assert_eq!(found, expected.collect::<Vec<f32>>(), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 5 + 18 + 11);
}

#[test]
fn pictures_are_found_in_any_layout() {
    let source = ZarrSource::open(&golden("codecs.zarr.zip"), None).unwrap();
    for column in ["jpeg2k_image", "jpegxl_image", "parts_image", "first_image"] {
        let frames = frames(&source, column);
        assert_eq!(frames.len(), 8);
        for step in [7, 0, 3] {
            assert_eq!(frames.rgb(step).unwrap(), picture(12 + step), "{column}");
        }
        assert!(frames.depth(0).is_err() && frames.rgb(8).is_err());
    }
    let depth = frames(&source, "jpeg2k_depth");
    let colour = picture(15);
    let expected = colour.pixels().chunks(3).map(|rgb| f32::from(rgb[0]) * 0.01);
    assert_eq!(depth.depth(3).unwrap().metres(), expected.collect::<Vec<f32>>());
    assert!(depth.rgb(0).is_err());
}

#[test]
fn an_archive_says_its_rate_and_what_the_robot_senses() {
    let dataset = open(golden("codecs.zarr.zip")).unwrap();
    let mapping = dataset.mapping();
    assert_eq!(dataset.spec().control_hz, 20.0);
    let proprio: Vec<String> = mapping.proprio.iter().map(ToString::to_string).collect();
    assert_eq!(proprio, ["robot_eef_pose"]);
    let views: Vec<String> = mapping.view.iter().map(ToString::to_string).collect();
    assert_eq!(views[1..3], ["jpeg2k=jpeg2k_image", "jpegxl=jpegxl_image"]);
    assert_eq!(mapping.depth[0].to_string(), "jpeg2k=jpeg2k_depth");
    let episode = dataset.episode(2).unwrap();
    assert_eq!(episode.proprio(4).unwrap(), numbers(-2.0, 6, 16));
    assert_eq!(episode.actions(7..8).unwrap().values(), numbers(1.0, 2, 19));
    let info = dataset.info().unwrap();
    assert!(info.warnings.iter().any(|line| line.contains("data/zstd has 700 steps")));
}
