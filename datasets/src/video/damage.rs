//! Videos that lie, end early or were hit by a cosmic ray: errors, never a panic, never much memory.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::boxes::Boxes;
use super::golden::{NAMES, path};
use super::index::Index;
use super::{Codec, Video};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Where a box of `kind` begins and where it ends, its contents only.
fn place(bytes: &[u8], kind: [u8; 4]) -> std::ops::Range<usize> {
    let body = Boxes::need(bytes, kind).unwrap();
    let start = body.as_ptr() as usize - bytes.as_ptr() as usize;
    start..start + body.len()
}

fn draw(draws: &mut ChaCha8Rng, below: usize) -> usize {
    draws.next_u32() as usize % below
}

/// Changes up to four places of `bytes` to values that are likely to hurt.
fn mutate(bytes: &mut [u8], draws: &mut ChaCha8Rng) {
    for _ in 0..=draw(draws, 4) {
        let at = draw(draws, bytes.len());
        match draw(draws, 4) {
            0 => bytes[at] ^= 1 << draw(draws, 8),
            1 => bytes[at] = draws.next_u32() as u8,
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw(draws, 5)],
            _ => {
                let value = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX][draw(draws, 5)];
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]);
            }
        }
    }
}

/// The error of opening a file with these bytes, with its cause.
fn error_of(folder: &Path, bytes: &[u8]) -> String {
    let path = folder.join("damaged.mp4");
    std::fs::write(&path, bytes).unwrap();
    crate::chain(&Video::open(&path).unwrap_err())
}

#[test]
fn an_index_with_changed_bytes_is_read_or_refused() {
    let mut draws = ChaCha8Rng::seed_from_u64(1);
    let (mut read, mut refused) = (0, 0);
    for name in ["h264", "episodes", "odd"] {
        let whole = bytes(name);
        let moov = &whole[place(&whole, *b"moov")];
        for _ in 0..40_000 {
            let mut moov = moov.to_vec();
            mutate(&mut moov, &mut draws);
            let Ok(index) = Index::parse(&moov, whole.len() as u64) else {
                refused += 1;
                continue;
            };
            read += 1;
            assert!(index.num_bytes() <= 28 * whole.len());
            assert!(index.times.is_sorted() && index.times.iter().all(|time| time.is_finite()));
            assert!(index.order.iter().all(|&sample| (sample as usize) < index.samples.len()));
            let end = |sample: &super::index::Sample| sample.offset + u64::from(sample.size);
            assert!(index.samples.iter().all(|sample| end(sample) <= whole.len() as u64));
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn samples_with_changed_bytes_are_decoded_or_refused() {
    let mut draws = ChaCha8Rng::seed_from_u64(2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.mp4");
    let (mut decoded, mut refused) = (0, 0);
    for name in NAMES {
        let whole = bytes(name);
        let mdat = place(&whole, *b"mdat");
        for _ in 0..400 {
            let mut damaged = whole.clone();
            mutate(&mut damaged[mdat.clone()], &mut draws);
            std::fs::write(&path, damaged).unwrap();
            let video = Video::open(&path).unwrap();
            for index in 0..video.times().len().min(8) {
                match video.frame(index) {
                    Ok(_) => decoded += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(decoded > 1000 && refused > 10, "{decoded} decoded, {refused} refused");
}

#[test]
fn a_file_that_ends_early_is_refused_wherever_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let whole = bytes("av1"); // its index stands last
    for len in (0..whole.len()).step_by(13) {
        let error = error_of(folder.path(), &whole[..len]);
        assert!(error.contains("damaged.mp4"), "{error}");
    }
    let index_first =
        [&whole[..0], b"\0\0\0\x08ftyp", &whole[place(&whole, *b"mdat").end..]].concat();
    let error = error_of(folder.path(), &index_first);
    assert!(error.contains("lies past the end of the file"), "{error}");
}

#[test]
fn a_recording_that_was_not_finished_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let whole = bytes("av1");
    let error = error_of(folder.path(), &whole[..place(&whole, *b"mdat").end]);
    assert!(error.contains("recording or copy was not finished"), "{error}");
    let error = error_of(folder.path(), b"\x89PNG\r\n\x1a\n and more");
    assert!(error.contains("`ftyp` of an mp4"), "{error}");
}

#[test]
fn counts_that_lie_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = bytes("av1");
    let moov = place(&whole, *b"moov");
    let find = |kind: &[u8; 4]| {
        let at = whole[moov.clone()].windows(4).position(|window| window == kind).unwrap();
        moov.start + at + 4
    };
    let huge = 0xc000_0000_u32.to_be_bytes();
    for (kind, at) in [(b"stsz", 8), (b"stts", 4), (b"stsc", 4), (b"stco", 4), (b"stss", 4)] {
        let mut lying = whole.clone();
        let at = find(kind) + at;
        lying[at..at + 4].copy_from_slice(&huge);
        let error = error_of(folder.path(), &lying);
        assert!(error.contains("a table says 3221225472 entries"), "{error}");
    }
    // All samples of one size, so that no table stands behind the count.
    let mut lying = whole.clone();
    let at = find(b"stsz") + 4;
    lying[at..at + 8].copy_from_slice(&[0, 0, 0, 1, 0xc0, 0, 0, 0]);
    let error = error_of(folder.path(), &lying);
    assert!(error.contains("expected at most 4194304 frames"), "{error}");
    let mut lying = whole.clone();
    lying[moov.start - 8..moov.start - 4].copy_from_slice(&huge);
    assert!(error_of(folder.path(), &lying).contains("`moov`: expected at most"));
}

#[test]
fn a_codec_that_is_not_read_is_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let rename = |to: &[u8; 4]| {
        let mut renamed = bytes("av1");
        let at = renamed.windows(4).rposition(|window| window == b"av01").unwrap();
        renamed[at..at + 4].copy_from_slice(to);
        error_of(folder.path(), &renamed)
    };
    let error = rename(b"hvc1");
    assert!(error.contains("found HEVC video") && error.contains("ffmpeg -i IN"), "{error}");
    assert!(!error.contains('\n'));
    assert!(rename(b"xyz9").contains("found xyz9 video"));
    assert_eq!(Codec::H264.to_string(), "H.264");
}

#[test]
fn there_is_no_frame_past_the_end() {
    let video = Video::open(&path("bt709")).unwrap();
    assert!(video.frame(video.times().len()).is_err());
}
