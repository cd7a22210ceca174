//! What damaged replay buffers come to: an error on one line, and never a panic.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::array::Array;
use super::codec::Codec;
use super::golden::golden;
use super::store::Store;
use super::{ZarrSource, blosc};
use crate::source::Source;
use crate::testing::damaged;
use crate::{Dataset, DatasetError, Mapping, chain, open_as};

const ACTION: &str = r#"{"zarr_format": 2, "shape": [4, 2], "chunks": [2, 2], "dtype": "<f4",
    "compressor": null, "filters": null, "fill_value": 0.0, "order": "C"}"#;

fn write(root: &Path, key: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Two episodes of two steps, whose actions are zeros in two chunks.
fn buffer() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for group in ["", "data/", "meta/"] {
        write(root, &format!("{group}.zgroup"), r#"{"zarr_format": 2}"#);
    }
    write(root, "data/action/.zarray", ACTION);
    write(root, "data/action/0.0", [0; 16]);
    write(root, "data/action/1.0", [0; 16]);
    let ends = ACTION.replace("[4, 2]", "[2]").replace("[2, 2]", "[2]").replace("<f4", "<i8");
    write(root, "meta/episode_ends/.zarray", ends);
    let bytes: Vec<u8> = [2_i64, 4].into_iter().flat_map(i64::to_le_bytes).collect();
    write(root, "meta/episode_ends/0", bytes);
    folder
}

fn open(root: &Path) -> Result<Box<dyn Dataset>, DatasetError> {
    open_as(root, &Mapping { fps: Some(10.0), ..Mapping::default() })
}

/// The error of opening the folder or of its last episode.
fn error(root: &Path) -> String {
    let error = match open(root) {
        Ok(dataset) => dataset.episode(dataset.num_episodes() - 1).err().unwrap(),
        Err(error) => error,
    };
    let line = chain(&error);
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn a_chunk_that_is_not_there_is_named() {
    let folder = buffer();
    assert!(open(folder.path()).unwrap().check().is_empty());
    fs::remove_file(folder.path().join("data/action/1.0")).unwrap();
    let dataset = open(folder.path()).unwrap();
    assert!(dataset.episode(0).is_ok());
    let line = error(folder.path());
    assert!(line.contains("copy the dataset again") && line.contains("action/1.0"), "{line}");
    fs::write(folder.path().join("data/action/1.0"), [0; 15]).unwrap();
    assert!(error(folder.path()).contains("expected a chunk of 16 bytes, found 15"));
}

#[test]
fn what_the_metadata_may_not_say_is_answered_with_what_it_may() {
    let cases = [
        (r#""zarr_format": 2"#, r#""zarr_format": 3"#, "expected 2, found 3"),
        (r#""order": "C""#, r#""order": "F""#, "order='C'"),
        (r#""filters": null"#, r#""filters": [{"id": "delta"}]"#, "expected no filter"),
        (r#""compressor": null"#, r#""compressor": {"id": "bz2"}"#, "imagecodecs_jpegxl"),
        ("[4, 2]", "[4]", "as many as axes"),
        ("[2, 2]", "[2, 0]", "above zero"),
        ("[2, 2]", "[400000000, 2]", "write it in smaller chunks"),
        ("[4, 2]", "[3, 2]", "expected 4 steps"),
        ("[4, 2]", "[4, 99999999]", "at most 65536"),
        ("[4, 2]", "[18446744073709551615, 99999]", "at most 65536"),
        (r#""dtype": "<f4""#, r#""dtype": "<U7""#, "no column looks like an action"),
        (r#""order": "C""#, r#""dimension_separator": "..""#, "expected . or /"),
        ("{", "[", "cannot understand JSON"),
    ];
    for (from, to, expected) in cases {
        let folder = buffer();
        write(folder.path(), "data/action/.zarray", ACTION.replace(from, to));
        let line = error(folder.path());
        assert!(line.contains(expected), "{to}: {line}");
    }
    let folder = buffer();
    write(folder.path(), "zarr.json", "{}");
    assert!(error(folder.path()).contains("expected zarr v2 (write it again with zarr_format=2)"));
}

#[test]
fn a_shape_that_lies_takes_no_memory() {
    let folder = buffer();
    let ends: Vec<u8> = [2_i64, 3_000_000_000].into_iter().flat_map(i64::to_le_bytes).collect();
    write(folder.path(), "meta/episode_ends/0", ends);
    let long = ACTION.replace("[4, 2]", "[3000000000, 2]");
    write(folder.path(), "data/action/.zarray", &long);
    let dataset = open(folder.path()).unwrap();
    assert_eq!(dataset.num_steps(), 3_000_000_000);
    assert!(chain(&dataset.episode(1).err().unwrap()).contains("action/2.0"));
    let ends = fs::read_to_string(folder.path().join("meta/episode_ends/.zarray")).unwrap();
    let many = ends.replace("\"shape\": [2]", "\"shape\": [3000000000]");
    write(folder.path(), "meta/episode_ends/.zarray", many);
    assert!(error(folder.path()).contains("episode_ends/1"));
}

#[test]
fn ends_of_episodes_rise() {
    for (ends, expected) in [([2, 2], "2 after 2"), ([-1, 4], "-1 after 0"), ([4, 3], "3 after 4")]
    {
        let folder = buffer();
        let bytes: Vec<u8> = ends.into_iter().flat_map(i64::to_le_bytes).collect();
        write(folder.path(), "meta/episode_ends/0", bytes);
        assert!(error(folder.path()).contains(expected));
    }
}

#[test]
fn a_pickled_object_is_never_opened() {
    let folder = buffer();
    let pickled = ACTION
        .replace("<f4", "|O")
        .replace("\"filters\": null", r#""filters": [{"id": "pickle"}]"#);
    write(folder.path(), "data/action/.zarray", pickled);
    let failed = open(folder.path()).unwrap().episode(0).err().unwrap();
    assert!(matches!(&failed, DatasetError::Pickled { what, .. } if what == "data/action"));
}

#[test]
fn a_name_in_an_archive_may_not_leave_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let names =
        ["data/action/.zarray", "data/../../x/.zarray", "/data/y/.zarray", "data//z/.zarray"];
    for name in names {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(ACTION.as_bytes()).unwrap();
    }
    let path = folder.path().join("x.zarr.zip");
    fs::write(&path, writer.finish().unwrap().into_inner()).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.arrays("data").unwrap(), ["data/action"]);
    assert!(error(&path).contains("meta/episode_ends"));
}

/// A chunk of each compressor, and its length when decoded.
fn chunks() -> Vec<(String, Codec, Vec<u8>, usize)> {
    let path = golden("codecs.zarr.zip");
    let source = ZarrSource::open(&path, None).unwrap();
    let mut chunks = Vec::new();
    for (array, _) in &source.arrays {
        let name = array.key.strip_prefix("data/").unwrap();
        let picture = name.starts_with("jpeg") && name.ends_with("image");
        let (key, len) = if picture { ("0.0.0.0", 240) } else { ("0.0", 6000) };
        let text = source.store.read(&format!("{}/.zarray", array.key), 1 << 20).unwrap().unwrap();
        let meta: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let codec = Codec::parse(&meta["compressor"]).unwrap();
        let sized = meta["chunks"] == serde_json::json!([500, 3]) || picture;
        if sized && codec != Codec::Plain {
            let bytes =
                source.store.read(&format!("{}/{key}", array.key), 1 << 20).unwrap().unwrap();
            chunks.push((name.to_owned(), codec, bytes, len));
        }
    }
    assert_eq!(chunks.len(), 4 + 18 + 2);
    chunks
}

#[test]
fn a_size_that_lies_is_refused_before_memory_is_taken() {
    let mut huge = vec![2, 1, 0x31, 4];
    for number in [3_u32 << 29, 1 << 20, 16] {
        huge.extend(number.to_le_bytes());
    }
    let error = blosc::decode(&huge, 3 << 29).unwrap_err();
    assert!(error.contains("ends before byte 16"), "{error}");
    assert!(blosc::decode(&huge, 100).unwrap_err().contains("expected a chunk of 100 bytes"));
    let packed = [&(1_u32 << 30).to_le_bytes()[..], &[0; 8]].concat();
    assert!(Codec::Lz4.decode(packed, 1 << 30).unwrap_err().contains("cannot hold"));
    for (name, codec, bytes, len) in chunks() {
        assert_eq!(codec.decode(bytes.clone(), len).unwrap().len(), len, "{name}");
        assert!(codec.decode(bytes, len - 1).is_err(), "{name}");
    }
}

#[test]
fn damaged_chunks_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (_, codec, bytes, len) in chunks() {
        let picture = matches!(codec, Codec::Jpeg2000 | Codec::JpegXl);
        let (mut survived, cases) = (0, if picture { 300 } else { 3000 });
        for _ in 0..cases {
            let found = codec.decode(damaged(&bytes, &mut rng), len);
            survived += usize::from(found.is_ok_and(|decoded| decoded.len() == len));
        }
        assert!(survived < cases);
    }
}

#[test]
fn damaged_metadata_never_panics() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let folder = buffer();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let mut parsed = 0;
    for at in 0..20_000 {
        let bytes = damaged(ACTION.as_bytes(), &mut rng);
        let Ok(array) = Array::parse(&store, "data/action", &bytes) else { continue };
        parsed += 1;
        let _ = super::column(&array, super::Layout::of(&array));
        if at % 20 == 0 {
            let _ = array.rows(0..array.shape.first().map_or(0, |&rows| rows.min(4)));
        }
    }
    assert!((1..20_000).contains(&parsed));
}

#[test]
fn damaged_archives_never_panic() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let whole = buffer();
    for key in [
        "data/action/.zarray",
        "data/action/0.0",
        "meta/episode_ends/.zarray",
        "meta/episode_ends/0",
    ] {
        writer.start_file(key, SimpleFileOptions::default()).unwrap();
        writer.write_all(&fs::read(whole.path().join(key)).unwrap()).unwrap();
    }
    let bytes = writer.finish().unwrap().into_inner();
    let path = folder.path().join("x.zarr.zip");
    let mut opened = 0;
    for _ in 0..500 {
        fs::write(&path, damaged(&bytes, &mut rng)).unwrap();
        if let Ok(source) = ZarrSource::open(&path, None) {
            opened += 1;
            let all: Vec<usize> = (0..source.arrays.len()).collect();
            let _ = source.load(0, &all);
        }
    }
    assert!((1..500).contains(&opened));
}
