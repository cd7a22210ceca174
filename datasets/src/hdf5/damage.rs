//! Files that are damaged or lie: an error that names the file, never a panic, never much memory.

use std::fs;
use std::path::{Path, PathBuf};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::golden::golden;
use super::messages::{self, Stored};
use super::*;
use crate::{DatasetError, Mapping, open_as};

/// Every value that opening and reading everything comes to, or why not.
fn read(path: &Path) -> Result<usize, DatasetError> {
    let said = Mapping { fps: Some(10.0), ..Mapping::default() };
    let dataset = open_as(path, &said)?;
    dataset.info()?;
    dataset.fingerprint()?;
    let mut count = 0;
    for index in 0..dataset.num_episodes() {
        let episode = dataset.episode(index)?;
        for step in 0..episode.num_steps() {
            count += episode.observation(step)?.proprio.len();
        }
    }
    Ok(count)
}

/// Reads `bytes` as the file `name` of a dataset like `original`; says what is wrong, if anything.
fn read_with(folder: &Path, original: &str, name: &str, bytes: &[u8]) -> Option<String> {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let whole = if golden(original).is_dir() { folder } else { &*path };
    let error = read(whole).err()?;
    let line = crate::chain(&error);
    assert!(!line.contains('\n'), "{line:?}");
    Some(line)
}

/// The smallest file of each format, with its name in its folder.
const SMALL: [(&str, &str); 5] = [
    ("low_dim.hdf5", "demo.hdf5"),
    ("latest.hdf5", "demo.hdf5"),
    ("aloha", "episode_10.hdf5"),
    ("aloha_compressed", "episode_10.hdf5"),
    ("spawnnet", "none/bag/traj_10.h5"),
];

fn bytes_of(original: &str, name: &str) -> Vec<u8> {
    let path = golden(original);
    fs::read(if path.is_dir() { path.join(name) } else { path }).unwrap()
}

#[test]
fn every_truncation_is_an_error_that_names_the_file() {
    for (original, name) in SMALL {
        let folder = tempfile::tempdir().unwrap();
        let read_with = |bytes: &[u8]| read_with(folder.path(), original, name, bytes);
        let bytes = bytes_of(original, name);
        assert_eq!(read_with(&bytes), None);
        for len in (0..bytes.len() - 1).step_by(bytes.len() / 150) {
            let error = read_with(&bytes[..len]);
            // What is cut off may be what nobody reads: `next_obs`, masks, rewards.
            if len < bytes.len() / 2 {
                let error = error.unwrap_or_else(|| panic!("{original}: {len} bytes were read"));
                let last = name.rsplit('/').next().unwrap();
                assert!(error.contains(last) || error.contains("known format"), "{error}");
            }
        }
    }
}

#[test]
fn flipped_bytes_are_errors_or_other_values() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut failed = 0;
    for (original, name) in SMALL {
        let folder = tempfile::tempdir().unwrap();
        let bytes = bytes_of(original, name);
        for _ in 0..600 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.next_u32() % 4 {
                let at = random.next_u32() as usize % damaged.len();
                damaged[at] = random.next_u32() as u8;
            }
            failed += usize::from(read_with(folder.path(), original, name, &damaged).is_some());
        }
    }
    assert!(failed > 100, "only {failed} of 3000 were noticed");
}

/// A robomimic file of one demonstration with these members.
fn demo(
    folder: &Path,
    fill: impl Fn(&mut Writer) -> Vec<(&'static str, u64)>,
) -> Result<PathBuf, DatasetError> {
    let path = folder.join("demo.hdf5");
    let mut writer = Writer::create(&path)?;
    let members = fill(&mut writer).into_iter().map(|(name, at)| (name.to_owned(), at)).collect();
    let demo = writer.group(members, &[])?.address();
    let data = writer.group(vec![("demo_0".into(), demo)], &[])?.address();
    let root = writer.group(vec![("data".into(), data)], &[])?;
    writer.finish(&root)?;
    Ok(path)
}

#[test]
fn a_header_that_claims_more_than_the_file_holds_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = demo(folder.path(), |writer| {
        vec![("actions", writer.dataset(Stored::F64, &[4, 7], &[0; 4 * 7 * 8]).unwrap())]
    })
    .unwrap();
    let honest = fs::read(&path).unwrap();
    let shape = messages::dataspace(&[4, 7]);
    let at = honest.windows(shape.len()).position(|window| window == shape).unwrap();
    for rows in [5_u64, 50_000_000, 1 << 40, u64::MAX / 8, u64::MAX] {
        let mut lying = honest.clone();
        lying[at..at + shape.len()].copy_from_slice(&messages::dataspace(&[rows, 7]));
        fs::write(&path, lying).unwrap();
        let error = read(&path).unwrap_err();
        let line = crate::chain(&error);
        assert!(line.contains("claim") && line.contains("data/demo_0/actions"), "{line}");
    }
}

#[test]
fn chunks_that_were_never_written_are_zeros_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let chunks = Chunks::new(Stored::F32, &[2], None);
    let path = demo(folder.path(), |writer| vec![("actions", writer.chunked(&chunks).unwrap())]);
    let path = path.unwrap();
    let honest = fs::read(&path).unwrap();
    let shape = messages::dataspace(&[0, 2]);
    let at = honest.windows(shape.len()).position(|window| window == shape).unwrap();
    for (rows, readable) in [(3, true), (1 << 36, false)] {
        let mut lying = honest.clone();
        lying[at..at + shape.len()].copy_from_slice(&messages::dataspace(&[rows, 2]));
        fs::write(&path, lying).unwrap();
        assert_eq!(read(&path).is_ok(), readable, "{:?}", read(&path));
    }
}

#[test]
fn actions_that_are_no_numbers_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = demo(folder.path(), |writer| {
        vec![("actions", writer.dataset(Stored::Text(4), &[3], b"leftrighup..").unwrap())]
    });
    let error = crate::chain(&read(&path.unwrap()).unwrap_err());
    assert!(error.contains("no column looks like an action"), "{error}");
}

#[test]
fn a_file_of_another_kind_says_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.hdf5");
    fs::write(&path, b"not HDF5 at all").unwrap();
    let error = crate::chain(&read(&path).unwrap_err());
    assert!(error.contains("cannot process HDF5 file") && error.contains("demo.hdf5"), "{error}");
    let single = golden("spawnnet/none/bag/traj_0.h5");
    let error = crate::chain(&read(&single).unwrap_err());
    assert!(error.contains("name the folder"), "{error}");
}
