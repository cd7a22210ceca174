//! What damaged records come to: an error on one line, and never a panic.

use std::fs::{self, File};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

use super::columns::count_steps;
use super::example::{Feature, InFile, features};
use super::golden::{at_5_hz, golden};
use super::tfrecord::{self, masked_crc};
use crate::testing::damaged;
use crate::{chain, open_as};

const NAME: &str = "plain-train.tfrecord-00000-of-00001";

/// The records of the golden file without a description.
fn records() -> Vec<Vec<u8>> {
    let path = golden("plain").join("plain-train.tfrecord-00000-of-00002");
    let file = File::open(&path).unwrap();
    let places = tfrecord::places(&file, &path).unwrap();
    places.into_iter().map(|place| tfrecord::read(&file, place).unwrap()).collect()
}

fn framed(records: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records.iter().map(AsRef::as_ref) {
        let length = (record.len() as u64).to_le_bytes();
        bytes.extend(length);
        bytes.extend(masked_crc(&length).to_le_bytes());
        bytes.extend(record);
        bytes.extend(masked_crc(record).to_le_bytes());
    }
    bytes
}

fn folder(bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), bytes).unwrap();
    folder
}

/// The error of opening a file of these bytes, or of its second episode.
fn error(bytes: &[u8]) -> String {
    let folder = folder(bytes);
    let error = match open_as(folder.path(), &at_5_hz()) {
        Ok(dataset) => dataset.episode(1).err().unwrap(),
        Err(error) => error,
    };
    let line = chain(&error);
    assert!(!line.contains('\n') && line.contains(NAME), "{line}");
    line
}

#[test]
fn a_file_that_is_cut_off_is_named_with_its_record() {
    let bytes = framed(&records());
    let first = framed(&records()[..1]).len();
    assert!(error(&bytes[..bytes.len() - 1]).contains("`record 1`: expected"));
    for len in (1..bytes.len()).step_by(13).filter(|&len| len != first) {
        let line = error(&bytes[..len]);
        assert!(line.contains(if len < first { "record 0" } else { "record 1" }), "{line}");
    }
}

#[test]
fn a_wrong_checksum_is_told_from_a_wrong_length() {
    let mut bytes = framed(&records());
    let first = framed(&records()[..1]).len();
    *bytes.last_mut().unwrap() ^= 1;
    assert!(error(&bytes).contains("record 1: the checksum is another one"));
    bytes[first + 8] ^= 1;
    assert!(error(&bytes).contains("`record 1`: expected a length and its checksum"));
    let lie = (3_u64 << 30).to_le_bytes();
    let huge = [&bytes[..first], &lie, &masked_crc(&lie).to_le_bytes(), b"x"].concat();
    assert!(error(&huge).contains("expected 3221225472 bytes and a checksum, found 1"));
    let lie = u64::MAX.to_le_bytes();
    let huge = [&bytes[..first], &lie, &masked_crc(&lie).to_le_bytes(), b"x"].concat();
    assert!(error(&huge).contains("cut off"));
}

#[test]
fn records_of_another_kind_are_named() {
    let good = records().remove(0);
    for (record, expected) in [
        (&b""[..], "expected steps, found none"),
        (b"\x0a\x05\x0a\x03", "expected 5 bytes, found 2"),
        (b"\x0b", "expected a kind of field, found 3"),
        (b"\x08\x01", "expected a message in field 1"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a number does not end"),
        (b"\x0a\x04\x0a\x02\x18\x01", "expected a name and a list"),
        (b"\x0a\x00\x0a\x00", "expected one map of features"),
    ] {
        let line = error(&framed(&[&good[..], record]));
        assert!(line.contains("record 1") && line.contains(expected), "{line}");
    }
}

#[test]
fn an_episode_that_lacks_numbers_is_named() {
    let [first, second] = [0, 1].map(|at| records().remove(at));
    // The second list of three floats in each step becomes a list under another name.
    let name = b"steps/action/rotation_delta";
    let at = second.windows(name.len()).position(|part| part == name).unwrap();
    let mut renamed = second.clone();
    renamed[at] = b'S';
    let line = error(&framed(&[first, renamed]));
    assert!(line.contains("steps/action/rotation_delta: expected a list, found none"), "{line}");
}

#[test]
fn a_record_is_the_same_in_memory_and_through_a_window() {
    let path = golden("plain").join("plain-train.tfrecord-00000-of-00002");
    let file = File::open(&path).unwrap();
    for place in tfrecord::places(&file, &path).unwrap() {
        let record = tfrecord::read(&file, place).unwrap();
        let mut window = InFile::new(&file, place.at, place.len);
        let found = features(&mut window, place.len).unwrap();
        assert_eq!(found, features(&mut &record[..], place.len).unwrap());
        let steps = count_steps(&found, &[], &mut window).unwrap();
        assert_eq!(steps, count_steps(&found, &[], &mut &record[..]).unwrap());
    }
}

/// Does with a record all that is done when it is opened and loaded.
fn digest(record: &[u8]) -> Result<usize, String> {
    let mut bytes = record;
    let all: Vec<Feature> = features(&mut bytes, record.len() as u64)?;
    let mut seen = count_steps(&all, &[], &mut bytes).unwrap_or(0);
    for feature in &all {
        let numbers = feature.numbers(record).map_or(0, |numbers| numbers.len());
        let elements = feature.elements(&mut bytes, usize::MAX).map_or(0, |all| all.len());
        assert!(numbers <= record.len() && elements <= record.len());
        seen += numbers + elements;
        seen += feature.num_floats(&mut bytes).unwrap_or(0) as usize;
        seen += feature.num_integers(&mut bytes).unwrap_or(0) as usize;
        let _ = feature.first(&mut bytes, 64);
    }
    Ok(seen)
}

#[test]
fn damaged_records_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let record = records().remove(1);
    assert!(digest(&record).unwrap() > 20);
    let failed = (0..60_000).filter(|_| digest(&damaged(&record, &mut rng)).is_err()).count();
    assert!(failed > 1000, "{failed}");
}

#[test]
fn damaged_files_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let records = records();
    let folder = folder(b"");
    for at in 0..600 {
        // Half of them with checksums that fit, so that what lies inside is looked at.
        let bytes = if at % 2 == 0 {
            damaged(&framed(&records), &mut rng)
        } else {
            framed(&[damaged(&records[0], &mut rng), damaged(&records[1], &mut rng)])
        };
        fs::write(folder.path().join(NAME), bytes).unwrap();
        if let Ok(dataset) = open_as(folder.path(), &at_5_hz()) {
            for episode in 0..dataset.num_episodes() {
                let _ = dataset.episode(episode);
            }
        }
    }
}

#[test]
fn damaged_descriptions_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let text = fs::read(golden("bridge/1.0.0/features.json")).unwrap();
    let shard = "bridge-val.tfrecord-00000-of-00001";
    let copied = tempfile::tempdir().unwrap();
    fs::copy(golden("bridge/1.0.0").join(shard), copied.path().join(shard)).unwrap();
    for _ in 0..300 {
        fs::write(copied.path().join("features.json"), damaged(&text, &mut rng)).unwrap();
        if let Ok(dataset) = open_as(copied.path(), &at_5_hz()) {
            let _ = dataset.episode(0);
        }
    }
}
